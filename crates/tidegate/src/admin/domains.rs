//! Domains: a container of rules each, read and changed whole. Also what all changes of rules have in common.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidegate_catalog::edit::{Change, EditError, Planned, rule_value};
use tidegate_catalog::model::{DEFAULT_TENANT, StoredDomain, StoredRule};
use tidegate_catalog::repository::CatalogError;
use tidegate_config::{Finding, domain_settings_json, rule_json};
use tidegate_core::rule::CompiledRule;
use tidegate_core::rule::model::Domain;
use tidegate_wire::problem::{Problem, ProblemType};

use super::answer::{Answer, Answered, Refusal, next_page};
use super::call::Call;
use super::{Admin, beside, trial};

pub(super) async fn list(admin: &Admin, call: &Call) -> Answered {
    let limit = call.limit()?;
    let after = call.parameter("after")?;
    let stored = admin.repository.domains(&call.tenant, after.as_deref(), limit).await?;
    let of_database = stored.into_iter().map(|domain| {
        let (rules, version) = (domain.rules, domain.content_version);
        let item = json!({ "name": domain.name, "source": "database", "rules": rules, "version": version });
        (domain.name, item)
    });
    let mut page: BTreeMap<String, Value> = of_database.collect();
    if call.tenant == DEFAULT_TENANT {
        let in_file = admin.catalog.state().get().file_domains;
        let is_later = |name: &&String| after.as_ref().is_none_or(|after| *name > after);
        // Where both have one of a name, the file's holds.
        page.extend(
            in_file
                .iter()
                .filter(is_later)
                .map(|name| (name.clone(), json!({ "name": name, "source": "file" }))),
        );
    }
    let page: Vec<(String, Value)> = page.into_iter().take(limit as usize).collect();
    let next = next_page(&page, limit, |(last, _)| Value::from(last.as_str()));
    Ok(Answer::page(page.into_iter().map(|(_, item)| item).collect(), next))
}

pub(super) async fn get(admin: &Admin, call: &Call) -> Answered {
    let stored = find(admin, call).await?;
    Ok(Answer::json(&value(&stored)?).with_version(stored.content_version))
}

pub(super) async fn put(admin: &Admin, call: &Call) -> Answered {
    let (domain, expect) = (call.name("domain")?, call.expectation()?);
    let document = admin.editor.read_domain(call.text()?).await.map_err(refusal)?;
    make(admin, call, Change::PutDomain { domain, document, expect }).await
}

pub(super) async fn delete(admin: &Admin, call: &Call) -> Answered {
    let (domain, expect) = (call.name("domain")?, call.expectation()?);
    make(admin, call, Change::DeleteDomain { domain, expect }).await
}

/// The domain of the path; the rule file's as it is in force, in version 0.
pub(super) async fn find(admin: &Admin, call: &Call) -> Result<StoredDomain, Refusal> {
    let name = call.name("domain")?;
    if is_in_file(admin, call, &name) {
        return of_file(admin, &name).ok_or_else(|| Refusal::not_found("domain"));
    }
    let found = admin.repository.domain(&call.tenant, &name).await?;
    found.ok_or_else(|| Refusal::not_found("domain"))
}

fn of_file(admin: &Admin, name: &str) -> Option<StoredDomain> {
    let rules = admin.buckets.rules();
    let domain = rules.domain(name)?;
    let rule = |rule: &CompiledRule| {
        let mut model = rule.model().clone();
        // What stands for single subjects is no part of the file.
        model.tiers.retain(|(tier, _)| !tier.starts_with('='));
        StoredRule { name: model.name.clone(), document: rule_json(&model).to_string(), version: 0 }
    };
    let settings = Domain {
        name: name.to_owned(),
        subject: domain.subject().map(str::to_owned),
        default_tier: domain.default_tier().map(str::to_owned),
        on_store_failure: domain.on_store_failure(),
        rules: Vec::new(),
    };
    Some(StoredDomain {
        tenant: DEFAULT_TENANT.to_owned(),
        name: name.to_owned(),
        document: domain_settings_json(&settings).to_string(),
        version: 0,
        content_version: 0,
        rules: domain.rules().iter().map(rule).collect(),
    })
}

/// A domain with its rules, in the form of the rule file.
pub(super) fn value(stored: &StoredDomain) -> Result<Value, Refusal> {
    let mut document = rule_value(&stored.document)?;
    let rules = stored.rules.iter().map(|rule| rule_value(&rule.document)).collect::<Result<Vec<_>, _>>()?;
    let fields = document.as_object_mut();
    let fields =
        fields.ok_or_else(|| CatalogError::Corrupt("a domain that is not a JSON object".to_owned()))?;
    fields.insert("rules".to_owned(), Value::Array(rules));
    Ok(document)
}

/// Makes a change of rules, or says what it would do where the caller asks for a dry run.
pub(super) async fn make(admin: &Admin, call: &Call, change: Change) -> Answered {
    if let Some(span) = trial::asked_for(call)? {
        let planned = admin.editor.plan(&call.tenant, change).await.map_err(refusal)?;
        return trial::of_plan(admin, call, planned, span).await;
    }
    let is_of_one = change.domain().is_some();
    let made = admin.editor.make(&call.actor(), call.now_us, &call.tenant, change).await;
    let (version, planned) = made.map_err(refusal)?;
    let in_force = admin.rules_in_force(version).await;
    let answer = beside(move || Answer::json(&said(&planned, version, in_force))).await?;
    // The version of many things is of none that could be changed with it.
    Ok(if is_of_one { answer.with_version(version) } else { answer })
}

/// What a change has done.
fn said(planned: &Planned, version: i64, in_force: bool) -> Value {
    json!({
        "version": version,
        "in_force": in_force,
        "changed": trial::differences(&planned.changed),
        "warnings": planned.warnings,
    })
}

fn is_in_file(admin: &Admin, call: &Call, domain: &str) -> bool {
    call.tenant == DEFAULT_TENANT
        && admin.catalog.state().get().file_domains.iter().any(|name| name == domain)
}

fn in_file(domain: &str) -> Problem {
    let detail = format!(
        "the domain '{domain}' is in the rule file, and only the file changes it: change the file, or take the domain out of it"
    );
    Problem::new(ProblemType::Conflicting, detail)
}

/// Why a change was not made, for the caller: findings with their places, as `check-config` gives them.
pub(super) fn refusal(error: EditError) -> Refusal {
    match error {
        EditError::Findings(errors) => {
            let first = errors.errors.first().map(ToString::to_string).unwrap_or_default();
            let problem = Problem::invalid_field("body", first);
            let findings: Vec<Value> = errors.errors.iter().map(finding).collect();
            let members = json!({ "findings": findings, "omitted": errors.omitted });
            Refusal::Detailed(Box::new((problem, members)))
        }
        EditError::InFile(domain) => in_file(&domain).into(),
        EditError::Invalid { field, detail } => Problem::invalid_field(field, detail).into(),
        EditError::Catalog(error) => error.into(),
        EditError::Kept(error) => CatalogError::Corrupt(error.to_string()).into(),
    }
}

fn finding(finding: &Finding) -> Value {
    json!({
        "line": finding.line,
        "column": finding.column,
        "field": finding.field,
        "message": finding.message,
        "remedy": finding.remedy,
    })
}
