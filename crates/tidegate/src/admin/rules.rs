//! Single rules.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_catalog::edit::{Change, rule_value};
use tidegate_catalog::model::StoredRule;

use super::answer::{Answer, Answered, Refusal, next_page};
use super::call::Call;
use super::{Admin, domains};

/// A rule's new name.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewName {
    /// The name that it is to have.
    to: String,
}

pub(super) async fn list(admin: &Admin, call: &Call) -> Answered {
    let (limit, after) = (call.limit()?, call.parameter("after")?);
    let stored = domains::find(admin, call).await?;
    // By name, not by place: what is removed between two pages leaves no gap.
    let mut rules: Vec<&StoredRule> = stored.rules.iter().collect();
    rules.sort_unstable_by_key(|rule| &rule.name);
    let first = after.map_or(0, |after| rules.partition_point(|rule| rule.name <= after));
    let page: Vec<&StoredRule> = rules.into_iter().skip(first).take(limit as usize).collect();
    let next = next_page(&page, limit, |last| Value::from(last.name.as_str()));
    let items = page
        .iter()
        .map(|rule| {
            Ok(json!({ "name": rule.name, "version": rule.version, "rule": rule_value(&rule.document)? }))
        })
        .collect::<Result<Vec<Value>, Refusal>>()?;
    Ok(Answer::page(items, next))
}

pub(super) async fn get(admin: &Admin, call: &Call) -> Answered {
    let (stored, name) = (domains::find(admin, call).await?, call.name("rule")?);
    let rule =
        stored.rules.iter().find(|rule| rule.name == name).ok_or_else(|| Refusal::not_found("rule"))?;
    Ok(Answer::json(&rule_value(&rule.document)?).with_version(rule.version))
}

pub(super) async fn put(admin: &Admin, call: &Call) -> Answered {
    let (domain, rule, expect) = (call.name("domain")?, call.name("rule")?, call.expectation()?);
    let document = admin.editor.read_rule(call.text()?).await.map_err(domains::refusal)?;
    domains::make(admin, call, Change::PutRule { domain, rule, document: Box::new(document), expect }).await
}

pub(super) async fn delete(admin: &Admin, call: &Call) -> Answered {
    let (domain, rule, expect) = (call.name("domain")?, call.name("rule")?, call.expectation()?);
    domains::make(admin, call, Change::DeleteRule { domain, rule, expect }).await
}

pub(super) async fn rename(admin: &Admin, call: &Call) -> Answered {
    let (domain, rule, expect) = (call.name("domain")?, call.name("rule")?, call.expectation()?);
    let NewName { to } = call.json()?;
    domains::make(admin, call, Change::RenameRule { domain, rule, to, expect }).await
}
