//! Bans: subjects that are refused whatever the rules say.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_catalog::model::{Ban, MAX_REASON_BYTES};
use tidegate_wire::problem::Problem;

use super::Admin;
use super::answer::{Answer, Answered, next_page, time, time_or_null};
use super::call::{Call, end_of};
use super::subjects::subject_key;

/// A ban.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewBan")]
pub(super) struct WantedBan {
    /// Why: who is refused is told.
    #[schemars(length(min = 1, max = MAX_REASON_BYTES))]
    reason: String,
    /// When it ends, as a time of RFC 3339. Or `for`.
    #[serde(default)]
    until: Option<String>,
    /// How long it lasts, for example `7d`.
    #[serde(default, rename = "for")]
    lasting: Option<String>,
}

pub(super) async fn put(admin: &Admin, call: &Call) -> Answered {
    let (key, wanted) = (subject_key(admin, call, call.name("subject")?)?, call.json::<WantedBan>()?);
    let until_us = end_of(wanted.until.as_deref(), wanted.lasting.as_deref(), call.now_us)?;
    let reason = checked_reason(wanted.reason)?;
    if reason.is_empty() {
        return Err(Problem::invalid_field("reason", "say why: who is refused is told").into());
    }
    let ban = Ban { reason, until_us, by: call.caller.name.clone(), since_us: call.now_us };
    let version = admin.repository.put_ban(&call.actor(), call.now_us, &key, &ban).await?;
    let in_force = admin.subjects_in_force(version).await;
    let mut body = value(&key.subject, &ban);
    body["in_force"] = Value::from(in_force);
    Ok(Answer::json(&body))
}

pub(super) async fn delete(admin: &Admin, call: &Call) -> Answered {
    let key = subject_key(admin, call, call.name("subject")?)?;
    let version = admin.repository.delete_ban(&call.actor(), call.now_us, &key).await?;
    let in_force = admin.subjects_in_force(version).await;
    Ok(Answer::json(&json!({ "unbanned": key.subject, "in_force": in_force })))
}

pub(super) async fn list(admin: &Admin, call: &Call) -> Answered {
    let (domain, limit) = (call.name("domain")?, call.limit()?);
    admin.check_domain(&call.tenant, &domain)?;
    let rows =
        admin.repository.bans(&call.tenant, &domain, call.parameter("after")?.as_deref(), limit).await?;
    let next = next_page(&rows, limit, |(subject, _)| Value::from(subject.as_str()));
    Ok(Answer::page(rows.iter().map(|(subject, ban)| value(subject, ban)).collect(), next))
}

/// A reason for people, within its length.
pub(super) fn checked_reason(reason: String) -> Result<String, Problem> {
    if reason.len() > MAX_REASON_BYTES || reason.chars().any(char::is_control) {
        let detail = format!("write at most {MAX_REASON_BYTES} bytes without control characters");
        return Err(Problem::invalid_field("reason", detail));
    }
    Ok(reason)
}

fn value(subject: &str, ban: &Ban) -> Value {
    json!({
        "subject": subject,
        "reason": ban.reason,
        "until": time_or_null(ban.until_us),
        "by": ban.by,
        "since": time(ban.since_us),
    })
}
