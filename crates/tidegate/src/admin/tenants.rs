//! Tenants and their ceilings.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_catalog::model::{Ceilings, Tenant, is_tenant_name};
use tidegate_catalog::repository::CatalogError;
use tidegate_wire::problem::{Problem, ProblemType};

use super::Admin;
use super::answer::{Answer, Answered, Refusal, next_page, time};
use super::call::Call;

/// The highest ceilings that can be set.
const MAX_RULES: u32 = 100_000;
const MAX_KEYS: u32 = 10_000;
const MAX_REQUESTS_PER_SECOND: u32 = 100_000_000;

/// A tenant to be made.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTenant {
    /// 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    name: String,
    #[serde(default)]
    #[schemars(range(max = MAX_RULES))]
    max_rules: Option<u32>,
    #[serde(default)]
    #[schemars(range(max = MAX_KEYS))]
    max_keys: Option<u32>,
    /// Without it, the tenant may ask as often as it likes.
    #[serde(default)]
    #[schemars(range(max = MAX_REQUESTS_PER_SECOND))]
    max_requests_per_second: Option<u32>,
}

/// A tenant's ceilings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangedTenant {
    /// Its own, if any: a tenant keeps its name.
    #[serde(default)]
    name: Option<String>,
    #[schemars(range(max = MAX_RULES))]
    max_rules: u32,
    #[schemars(range(max = MAX_KEYS))]
    max_keys: u32,
    /// Without it, the tenant may ask as often as it likes.
    #[serde(default)]
    #[schemars(range(max = MAX_REQUESTS_PER_SECOND))]
    max_requests_per_second: Option<u32>,
}

pub(super) async fn list(admin: &Admin, call: &Call) -> Answered {
    let limit = call.limit()?;
    let tenants = admin.repository.tenants(call.parameter("after")?.as_deref(), limit).await?;
    let next = next_page(&tenants, limit, |last| Value::from(last.name.as_str()));
    Ok(Answer::page(tenants.iter().map(value).collect(), next))
}

pub(super) async fn create(admin: &Admin, call: &Call) -> Answered {
    let wanted: NewTenant = call.json()?;
    if !is_tenant_name(&wanted.name) {
        let detail = "write 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends";
        return Err(Problem::invalid_field("name", detail).into());
    }
    let usual = Ceilings::default();
    let ceilings = checked(Ceilings {
        max_rules: wanted.max_rules.unwrap_or(usual.max_rules),
        max_keys: wanted.max_keys.unwrap_or(usual.max_keys),
        max_requests_per_second: wanted.max_requests_per_second,
    })?;
    let made = admin.repository.create_tenant(&call.actor(), call.now_us, &wanted.name, &ceilings).await;
    let version = made.map_err(|error| match error {
        CatalogError::Conflict { .. } => {
            Problem::new(ProblemType::Conflicting, format!("there is a tenant '{}' already", wanted.name))
                .into()
        }
        error => Refusal::from(error),
    })?;
    let in_force = admin.rules_in_force(version).await;
    let tenant = Tenant { name: wanted.name, ceilings, created_us: call.now_us, version };
    let mut body = value(&tenant);
    body["in_force"] = Value::from(in_force);
    Ok(Answer::created(&body).with_version(version))
}

pub(super) async fn get(admin: &Admin, call: &Call) -> Answered {
    let tenant = find(admin, call).await?;
    Ok(Answer::json(&value(&tenant)).with_version(tenant.version))
}

pub(super) async fn put(admin: &Admin, call: &Call) -> Answered {
    let expect = call.expectation()?;
    let wanted: ChangedTenant = call.json()?;
    let before = find(admin, call).await?;
    if wanted.name.as_ref().is_some_and(|name| *name != before.name) {
        return Err(Problem::invalid_field("name", "a tenant keeps its name: make another one").into());
    }
    let ceilings = checked(Ceilings {
        max_rules: wanted.max_rules,
        max_keys: wanted.max_keys,
        max_requests_per_second: wanted.max_requests_per_second,
    })?;
    let name = before.name.as_str();
    let version = admin.repository.update_tenant(&call.actor(), call.now_us, name, &ceilings, expect).await?;
    let in_force = admin.rules_in_force(version).await;
    let mut body = value(&Tenant { ceilings, version, ..before });
    body["in_force"] = Value::from(in_force);
    Ok(Answer::json(&body).with_version(version))
}

pub(super) async fn delete(admin: &Admin, call: &Call) -> Answered {
    let expect = call.expectation()?;
    let tenant = find(admin, call).await?;
    let version = admin.repository.delete_tenant(&call.actor(), call.now_us, &tenant.name, expect).await?;
    let in_force = admin.rules_in_force(version).await;
    Ok(Answer::json(&json!({ "deleted": tenant.name, "version": version, "in_force": in_force })))
}

/// The tenant of the path; a tenant's key sees its own only.
async fn find(admin: &Admin, call: &Call) -> Result<Tenant, Refusal> {
    let name = call.name("tenant")?;
    if call.caller.tenant.as_deref().is_some_and(|own| own != name) {
        let detail = "a tenant's key reaches its own things only";
        return Err(Problem::new(ProblemType::Forbidden, detail).into());
    }
    admin.repository.tenant(&name).await?.ok_or_else(|| Refusal::not_found("tenant"))
}

fn checked(ceilings: Ceilings) -> Result<Ceilings, Problem> {
    let too_high =
        |field: &str, most: u32| Problem::invalid_field(field.to_owned(), format!("write at most {most}"));
    if ceilings.max_rules > MAX_RULES {
        return Err(too_high("max_rules", MAX_RULES));
    }
    if ceilings.max_keys > MAX_KEYS {
        return Err(too_high("max_keys", MAX_KEYS));
    }
    match ceilings.max_requests_per_second {
        Some(most) if most > MAX_REQUESTS_PER_SECOND => {
            Err(too_high("max_requests_per_second", MAX_REQUESTS_PER_SECOND))
        }
        _ => Ok(ceilings),
    }
}

fn value(tenant: &Tenant) -> Value {
    json!({
        "name": tenant.name,
        "max_rules": tenant.ceilings.max_rules,
        "max_keys": tenant.ceilings.max_keys,
        "max_requests_per_second": tenant.ceilings.max_requests_per_second,
        "created_at": time(tenant.created_us),
        "version": tenant.version,
    })
}
