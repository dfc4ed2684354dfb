//! What was used, and by whom most.

use serde_json::{Value, json};
use tidegate_catalog::model::{DEFAULT_TENANT, Resolution, qualified};
use tidegate_catalog::repository::{Dimension, UsageQuery};
use tidegate_config::parse_duration;
use tidegate_wire::problem::Problem;

use super::Admin;
use super::answer::{Answer, Answered, Refusal, time};
use super::call::Call;

/// The span of a question that names none: the last hour.
const USUAL_SPAN_S: i64 = 3_600;
/// The most rows of one answer.
const MAX_ROWS: u32 = 10_000;
/// How many keys are named where the caller does not say, and at the most.
const USUAL_TOP: usize = 20;
const MAX_TOP: i64 = 200;

/// What a caller may keep apart.
const DIMENSIONS: [(&str, Dimension); 5] = [
    ("tenant", Dimension::Tenant),
    ("domain", Dimension::Domain),
    ("rule", Dimension::Rule),
    ("tier", Dimension::Tier),
    ("time", Dimension::Time),
];

pub(super) async fn usage(admin: &Admin, call: &Call) -> Answered {
    let now_s = call.now_us / 1_000_000;
    let (from_s, to_s) = span(call, now_s)?;
    let resolution = match call.parameter("resolution")?.as_deref() {
        None | Some("minute") => Resolution::Minute,
        Some("hour") => Resolution::Hour,
        Some(_) => return Err(Problem::invalid_field("resolution", "write minute or hour").into()),
    };
    let from_s = from_s.max(made_s(admin, call, resolution).await?);
    let group_by = group_by(call)?;
    let limit = match call.number("limit")? {
        None => MAX_ROWS,
        Some(number) => u32::try_from(number)
            .ok()
            .filter(|number| (1..=MAX_ROWS).contains(number))
            .ok_or_else(|| Problem::invalid_field("limit", format!("write 1 to {MAX_ROWS}")))?,
    };
    let query = UsageQuery {
        tenant: call.listed_tenant().map(str::to_owned),
        domain: call.parameter("domain")?,
        rule: call.parameter("rule")?,
        tier: call.parameter("tier")?,
        from_s,
        to_s,
        resolution,
        group_by: group_by.iter().map(|(_, dimension)| *dimension).collect(),
        limit,
    };
    let rows = admin.repository.usage(&query).await?;
    let items: Vec<Value> = rows
        .iter()
        .map(|(key, counts)| {
            let mut item = json!({ "allowed": counts.allowed, "denied": counts.denied, "cost": counts.cost });
            for (name, dimension) in &group_by {
                item[*name] = match dimension {
                    Dimension::Tenant => Value::from(key.tenant.as_str()),
                    Dimension::Domain => Value::from(key.domain.as_str()),
                    Dimension::Rule => Value::from(key.rule.as_str()),
                    Dimension::Tier => Value::from(key.tier.as_str()),
                    Dimension::Time => time(key.at_s.saturating_mul(1_000_000)),
                };
            }
            item
        })
        .collect();
    let whole = items.len() < limit as usize;
    Ok(Answer::json(&json!({
        "from": time(from_s.saturating_mul(1_000_000)),
        "to": time(to_s.saturating_mul(1_000_000)),
        "resolution": resolution.name(),
        "items": items,
        "complete": whole,
    })))
}

/// The beginning of the span in which the tenant was made: what was counted under its name before is somebody else's, and
/// the name has rested for longer than a span.
async fn made_s(admin: &Admin, call: &Call, resolution: Resolution) -> Result<i64, Refusal> {
    let Some(tenant) = call.listed_tenant() else { return Ok(0) };
    let tenant = admin.repository.tenant(tenant).await?;
    let made_s = tenant.map_or(0, |tenant| tenant.created_us / 1_000_000);
    Ok(made_s.div_euclid(resolution.seconds()).saturating_mul(resolution.seconds()))
}

/// The span asked for: `last=15m`, or `from` and `to` as times of RFC 3339.
fn span(call: &Call, now_s: i64) -> Result<(i64, i64), Problem> {
    // What is being counted belongs to the minute that has begun.
    let end = now_s.saturating_add(60);
    if let Some(last) = call.parameter("last")? {
        let span =
            parse_duration(&last).map_err(|error| Problem::invalid_field("last", error.to_string()))?;
        let seconds = i64::try_from(span.as_micros() / 1_000_000).unwrap_or(i64::MAX);
        return Ok((now_s.saturating_sub(seconds), end));
    }
    let read = |name: &str| -> Result<Option<i64>, Problem> {
        let Some(text) = call.parameter(name)? else { return Ok(None) };
        let time = text.parse::<jiff::Timestamp>();
        time.map(|time| Some(time.as_second()))
            .map_err(|_| Problem::invalid_field(name.to_owned(), "write a time like 2026-12-24T18:00:00Z"))
    };
    let to = read("to")?.unwrap_or(end);
    let from = read("from")?.unwrap_or_else(|| to.saturating_sub(USUAL_SPAN_S));
    if from < to { Ok((from, to)) } else { Err(Problem::invalid_field("from", "write a time before to")) }
}

fn group_by(call: &Call) -> Result<Vec<(&'static str, Dimension)>, Problem> {
    let text = call.parameter("by")?.unwrap_or_else(|| "domain,rule,tier,time".to_owned());
    let mut dimensions = Vec::new();
    for name in text.split(',').filter(|name| !name.is_empty()) {
        let known = DIMENSIONS.iter().find(|(known, _)| *known == name);
        let known = known.ok_or_else(|| {
            Problem::invalid_field(
                "by",
                "write some of tenant, domain, rule, tier, time, with commas between",
            )
        })?;
        if !dimensions.contains(known) {
            dimensions.push(*known);
        }
    }
    Ok(dimensions)
}

pub(super) async fn top(admin: &Admin, call: &Call) -> Answered {
    let domain = call
        .parameter("domain")?
        .ok_or_else(|| Problem::invalid_field("domain", "name the domain: ?domain=payments"))?;
    let tenant = call.listed_tenant().unwrap_or(DEFAULT_TENANT);
    admin.check_domain(tenant, &domain)?;
    let wanted = match call.number("limit")? {
        None => USUAL_TOP,
        Some(number @ 1..=MAX_TOP) => usize::try_from(number).unwrap_or(USUAL_TOP),
        Some(_) => return Err(Problem::invalid_field("limit", format!("write 1 to {MAX_TOP}")).into()),
    };
    let keys = admin.catalog.top(&qualified(tenant, &domain), wanted, call.now_us);
    let items = keys
        .iter()
        .map(|key| {
            json!({
                "key": key.key,
                "requests_at_most": key.count,
                "requests_at_least": key.count.saturating_sub(key.error),
                "allowed": key.allowed,
                "denied": key.denied,
                "cost": key.cost,
            })
        })
        .collect();
    Ok(Answer::page(items, None))
}
