//! Who changed what.

use serde_json::{Value, json};

use super::Admin;
use super::answer::{Answer, Answered, next_page, time};
use super::call::Call;

pub(super) async fn list(admin: &Admin, call: &Call) -> Answered {
    let (limit, before) = (call.limit()?, call.number("before")?);
    // An operator that names no tenant sees all; a tenant's key its own.
    let entries = admin.repository.audit(call.listed_tenant(), before, limit).await?;
    let next = next_page(&entries, limit, |last| Value::from(last.id));
    let parsed = |text: &Option<String>| -> Value {
        text.as_deref()
            .map_or(Value::Null, |text| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)))
    };
    let items = entries
        .iter()
        .map(|entry| {
            json!({
                "id": entry.id,
                "at": time(entry.at_us),
                "actor": entry.actor,
                "tenant": entry.tenant,
                "action": entry.action,
                "target": entry.target,
                "before": parsed(&entry.before),
                "after": parsed(&entry.after),
                "correlation_id": entry.correlation,
            })
        })
        .collect();
    Ok(Answer::page(items, next))
}
