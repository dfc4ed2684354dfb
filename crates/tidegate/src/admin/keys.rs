//! API keys: made, rotated, revoked. A secret is shown once, in the answer that makes it.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_catalog::keys::NewKey;
use tidegate_catalog::model::{ApiKey, Scope};
use tidegate_config::parse_duration;
use tidegate_wire::problem::{Problem, ProblemType};

use super::Admin;
use super::answer::{Answer, Answered, Refusal, next_page, time, time_or_null};
use super::call::{Call, end_of};

/// The longest name of a key, in bytes.
const MAX_NAME_BYTES: usize = 128;
/// How long a rotated secret stays good where the caller does not say, and at the most.
const USUAL_GRACE_US: i64 = 24 * 3_600 * 1_000_000;
const MAX_GRACE_US: i64 = 90 * USUAL_GRACE_US;

/// A key to be made.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewKey")]
pub(super) struct WantedKey {
    /// What it is for.
    #[schemars(length(min = 1, max = MAX_NAME_BYTES))]
    name: String,
    /// One or several of `check`, `admin-read`, `admin-write`.
    #[schemars(length(min = 1), inner(regex(pattern = "^(check|admin-read|admin-write)$")))]
    scopes: Vec<String>,
    /// Whether it is an operator's; only operators make those.
    #[serde(default)]
    #[schemars(with = "Option<bool>")]
    operator: Owner,
    /// When it ends, as a time of RFC 3339. Or `for`.
    #[serde(default)]
    until: Option<String>,
    /// How long it is good, for example `90d`.
    #[serde(default, rename = "for")]
    lasting: Option<String>,
}

/// Whose key it is to be; in JSON `"operator": true` for an operator's.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Owner {
    #[default]
    Tenant,
    Operator,
}

impl<'de> Deserialize<'de> for Owner {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bool::deserialize(deserializer).map(|operator| if operator { Owner::Operator } else { Owner::Tenant })
    }
}

/// How to change a key's secret.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotation {
    /// How long the old secret stays good: up to `90d`, 24 hours where it is left out.
    #[serde(default)]
    grace: Option<String>,
}

pub(super) async fn list(admin: &Admin, call: &Call) -> Answered {
    let limit = call.limit()?;
    let keys =
        admin.repository.keys(call.listed_tenant(), call.parameter("after")?.as_deref(), limit).await?;
    let next = next_page(&keys, limit, |last| Value::from(last.prefix.as_str()));
    Ok(Answer::page(keys.iter().map(value).collect(), next))
}

pub(super) async fn get(admin: &Admin, call: &Call) -> Answered {
    Ok(Answer::json(&value(&find(admin, call).await?)))
}

pub(super) async fn create(admin: &Admin, call: &Call) -> Answered {
    let wanted: WantedKey = call.json()?;
    if wanted.name.trim().is_empty()
        || wanted.name.len() > MAX_NAME_BYTES
        || wanted.name.chars().any(char::is_control)
    {
        let detail = format!("write 1 to {MAX_NAME_BYTES} bytes that say what the key is for");
        return Err(Problem::invalid_field("name", detail).into());
    }
    if wanted.operator == Owner::Operator && call.caller.tenant.is_some() {
        let detail = "only an operator makes keys of operators";
        return Err(Problem::new(ProblemType::Forbidden, detail).into());
    }
    let scopes = scopes(&wanted.scopes)?;
    let expires_us = end_of(wanted.until.as_deref(), wanted.lasting.as_deref(), call.now_us)?;
    let new = NewKey::new(getrandom::fill)
        .map_err(|error| Problem::new(ProblemType::Internal, error.to_string()))?;
    let key = ApiKey {
        prefix: new.prefix.clone(),
        tenant: (wanted.operator == Owner::Tenant).then(|| call.tenant.clone()),
        name: wanted.name,
        scopes,
        hash: new.hash,
        previous: None,
        created_us: call.now_us,
        expires_us,
        last_used_us: None,
        revoked_us: None,
    };
    let version = admin.repository.create_key(&call.actor(), call.now_us, &key).await?;
    let in_force = admin.keys_in_force(version).await;
    Ok(Answer::created(&shown(&key, new.shown.reveal(), in_force)))
}

pub(super) async fn rotate(admin: &Admin, call: &Call) -> Answered {
    let Rotation { grace } = call.json_or_nothing()?;
    let grace_us = match grace.as_deref() {
        None => USUAL_GRACE_US,
        Some("0" | "0s") => 0,
        Some(text) => parse_duration(text)
            .ok()
            .and_then(|span| i64::try_from(span.as_micros()).ok())
            .filter(|span| *span <= MAX_GRACE_US)
            .ok_or_else(|| {
                Problem::invalid_field("grace", "write a duration up to 90d, for example 24h, or 0s")
            })?,
    };
    let key = find(admin, call).await?;
    let prefix = key.prefix.as_str();
    let new = NewKey::with_prefix(prefix, getrandom::fill)
        .map_err(|error| Problem::new(ProblemType::Internal, error.to_string()))?;
    let until_us = call.now_us.saturating_add(grace_us);
    let version = admin.repository.rotate_key(&call.actor(), call.now_us, prefix, new.hash, until_us).await?;
    let in_force = admin.keys_in_force(version).await;
    let mut body = shown(&key, new.shown.reveal(), in_force);
    body["previous_until"] = time(until_us);
    Ok(Answer::json(&body))
}

pub(super) async fn revoke(admin: &Admin, call: &Call) -> Answered {
    let key = find(admin, call).await?;
    let version = admin.repository.revoke_key(&call.actor(), call.now_us, &key.prefix).await?;
    let in_force = admin.keys_in_force(version).await;
    Ok(Answer::json(&json!({ "revoked": key.prefix, "in_force": in_force })))
}

/// The key of the path; one of another tenant is not there for a tenant's key.
async fn find(admin: &Admin, call: &Call) -> Result<ApiKey, Refusal> {
    let found = admin.repository.key(&call.name("prefix")?).await?;
    let may_see =
        |key: &ApiKey| call.listed_tenant().is_none_or(|tenant| key.tenant.as_deref() == Some(tenant));
    found.filter(may_see).ok_or_else(|| Refusal::not_found("key"))
}

fn scopes(names: &[String]) -> Result<Vec<Scope>, Problem> {
    let remedy = "write one or several of check, admin-read, admin-write";
    let mut scopes = names
        .iter()
        .map(|name| Scope::of_name(name).ok_or_else(|| Problem::invalid_field("scopes", remedy)))
        .collect::<Result<Vec<Scope>, Problem>>()?;
    scopes.sort_unstable();
    scopes.dedup();
    if scopes.is_empty() { Err(Problem::invalid_field("scopes", remedy)) } else { Ok(scopes) }
}

fn shown(key: &ApiKey, secret: &str, in_force: bool) -> Value {
    let mut body = value(key);
    body["key"] = Value::from(secret);
    body["in_force"] = Value::from(in_force);
    body
}

fn value(key: &ApiKey) -> Value {
    let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.name()).collect();
    json!({
        "prefix": key.prefix,
        "tenant": key.tenant,
        "operator": key.tenant.is_none(),
        "name": key.name,
        "scopes": scopes,
        "created_at": time(key.created_us),
        "expires_at": time_or_null(key.expires_us),
        "last_used_at": time_or_null(key.last_used_us),
        "revoked_at": time_or_null(key.revoked_us),
    })
}
