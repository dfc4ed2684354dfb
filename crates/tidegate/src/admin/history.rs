//! How rules became what they are, and the way back.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_catalog::edit::{Change, rule_value};
use tidegate_catalog::model::Expect;
use tidegate_wire::problem::Problem;

use super::answer::{Answer, Answered, Refusal, next_page, time};
use super::call::Call;
use super::{Admin, domains};

/// Where to go back to.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Rollback")]
pub(super) struct Target {
    /// A version of the domain's history.
    version: i64,
}

pub(super) async fn list(admin: &Admin, call: &Call) -> Answered {
    let (domain, limit) = (call.name("domain")?, call.limit()?);
    let (rule, before) = (call.parameter("rule")?, call.number("before")?);
    let entries = admin.repository.history(&call.tenant, &domain, rule.as_deref(), before, limit).await?;
    let next = next_page(&entries, limit, |last| Value::from(last.id));
    let items = entries
        .iter()
        .map(|entry| {
            let document = entry.document.as_deref().map(rule_value).transpose()?;
            Ok(json!({
                "version": entry.version,
                "rule": entry.rule,
                "action": entry.action,
                "document": document,
                "actor": entry.actor,
                "at": time(entry.at_us),
            }))
        })
        .collect::<Result<Vec<Value>, Refusal>>()?;
    Ok(Answer::page(items, next))
}

pub(super) async fn at(admin: &Admin, call: &Call) -> Answered {
    let (domain, version) = (call.name("domain")?, call.name("version")?);
    let version: i64 =
        version.parse().map_err(|_| Problem::invalid_field("version", "write the number of a version"))?;
    let stored = admin.repository.domain_at(&call.tenant, &domain, version).await?;
    Ok(Answer::json(&domains::value(&stored.ok_or_else(|| Refusal::not_found("domain in that version"))?)?))
}

pub(super) async fn rollback(admin: &Admin, call: &Call) -> Answered {
    let domain = call.name("domain")?;
    let expect = match call.expectation()? {
        // Whatever is there, or is not there any more: a domain that was removed can be put back, too.
        Expect::Present => Expect::Any,
        expect => expect,
    };
    let Target { version } = call.json()?;
    domains::make(admin, call, Change::Rollback { domain, version, expect }).await
}
