//! Overrides: a quota for one subject instead of its tier's.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_catalog::compose::override_quota;
use tidegate_catalog::model::{MAX_SUBJECT_BYTES, Override, OverrideQuota, qualified};
use tidegate_config::parse_duration;
use tidegate_core::rule::model::MAX_NAME_BYTES;
use tidegate_wire::problem::Problem;

use super::Admin;
use super::answer::{Answer, Answered, Refusal, next_page, time_or_null};
use super::bans::checked_reason;
use super::call::{Call, end_of};
use super::subjects::subject_key;

/// The longest place in the list: a subject, a bar, a rule.
const MAX_PLACE_BYTES: usize = MAX_SUBJECT_BYTES + 1 + MAX_NAME_BYTES;

/// A quota for one subject.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewOverride")]
pub(super) struct WantedOverride {
    limit: u64,
    /// A duration, for example `1h`; the rule's where it is left out.
    #[serde(default)]
    window: Option<String>,
    #[serde(default)]
    burst: Option<u64>,
    #[serde(default)]
    reason: String,
    /// When it ends, as a time of RFC 3339. Or `for`.
    #[serde(default)]
    until: Option<String>,
    /// How long it lasts, for example `30d`.
    #[serde(default, rename = "for")]
    lasting: Option<String>,
}

pub(super) async fn put(admin: &Admin, call: &Call) -> Answered {
    let (key, rule) = (subject_key(admin, call, call.name("subject")?)?, call.name("rule")?);
    let wanted: WantedOverride = call.json()?;
    let until_us = end_of(wanted.until.as_deref(), wanted.lasting.as_deref(), call.now_us)?;
    let window = wanted.window.as_deref().map(parse_duration).transpose();
    let window = window.map_err(|error| Problem::invalid_field("window", error.to_string()))?;
    let window_us = window.map(|window| window.as_micros());
    let quota = OverrideQuota { limit: wanted.limit, window_us, burst: wanted.burst };
    let rules = admin.buckets.rules();
    let domain = rules.domain(&qualified(&key.tenant, &key.domain));
    let known = domain.and_then(|domain| domain.rules().iter().find(|known| known.name() == rule));
    let known = known.ok_or_else(|| Refusal::not_found("rule"))?;
    override_quota(known.model(), quota).map_err(|detail| Problem::invalid_field("limit", detail))?;
    let given = Override { rule, quota, reason: checked_reason(wanted.reason)?, until_us };
    let versions = admin.repository.put_override(&call.actor(), call.now_us, &key, &given).await?;
    let in_force =
        admin.rules_in_force(versions.rules).await && admin.subjects_in_force(versions.subjects).await;
    let mut body = value(&given);
    body["in_force"] = Value::from(in_force);
    Ok(Answer::json(&body))
}

pub(super) async fn delete(admin: &Admin, call: &Call) -> Answered {
    let (key, rule) = (subject_key(admin, call, call.name("subject")?)?, call.name("rule")?);
    let versions = admin.repository.delete_override(&call.actor(), call.now_us, &key, &rule).await?;
    let in_force =
        admin.rules_in_force(versions.rules).await && admin.subjects_in_force(versions.subjects).await;
    Ok(Answer::json(&json!({ "deleted": rule, "subject": key.subject, "in_force": in_force })))
}

pub(super) async fn list(admin: &Admin, call: &Call) -> Answered {
    let (domain, limit) = (call.name("domain")?, call.limit()?);
    admin.check_domain(&call.tenant, &domain)?;
    let after = call.parameter_within("after", MAX_PLACE_BYTES)?;
    // Rules have no bar in their names, so the last one is ours.
    let parts = |after| str::rsplit_once(after, '|').ok_or("write what 'next' was in the page before");
    let after = after.as_deref().map(parts).transpose();
    let after = after.map_err(|detail| Problem::invalid_field("after", detail))?;
    let subject = call.parameter("subject")?;
    let rows = admin.repository.overrides(&call.tenant, &domain, subject.as_deref(), after, limit).await?;
    let next = next_page(&rows, limit, |(subject, given)| Value::from(format!("{subject}|{}", given.rule)));
    let items = rows
        .iter()
        .map(|(subject, given)| {
            let mut item = value(given);
            item["subject"] = Value::from(subject.as_str());
            item
        })
        .collect();
    Ok(Answer::page(items, next))
}

/// An override, for answers.
pub(super) fn value(given: &Override) -> Value {
    json!({
        "rule": given.rule,
        "limit": given.quota.limit,
        "window_ms": given.quota.window_us.map(|window| window.div_ceil(1_000)),
        "burst": given.quota.burst,
        "reason": given.reason,
        "until": time_or_null(given.until_us),
    })
}
