//! Subjects: whose tier is what, what they have used, and giving it back.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_catalog::model::{Override, Subject, SubjectKey, qualified};
use tidegate_core::rule::RuleTier;
use tidegate_core::rule::model::MAX_NAME_BYTES;
use tidegate_engine::{EngineError, Request, Selection, SubjectQuotas};
use tidegate_wire::check::MAX_COST;
use tidegate_wire::problem::{Problem, ProblemType};

use super::answer::{Answer, Answered, Refusal, next_page, time, time_or_null};
use super::buckets::buckets_of;
use super::call::Call;
use super::{Admin, overrides};

/// The most subjects of one request.
const MAX_AT_ONCE: usize = 100_000;

/// A subject's tier.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Tier {
    /// Its name.
    #[schemars(length(min = 1, max = MAX_NAME_BYTES))]
    tier: String,
}

/// The tiers of many subjects.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Tiers {
    /// Tiers by subject, at most 100,000; `null` gives a subject the default tier again.
    #[schemars(with = "BTreeMap<String, crate::door::open_api::Nullable<String>>", extend("minProperties" = 1, "maxProperties" = MAX_AT_ONCE))]
    tiers: BTreeMap<String, Option<String>>,
}

/// Which buckets of the subject.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "BucketsOfSubject")]
pub(super) struct Which {
    /// The units to give back; of refunds only, and needed there.
    #[serde(default)]
    #[schemars(range(min = 1, max = MAX_COST))]
    cost: Option<u64>,
    /// Further entries of the request, for rules with more than one key entry or with conditions.
    #[serde(default)]
    descriptors: BTreeMap<String, String>,
}

pub(super) async fn list(admin: &Admin, call: &Call) -> Answered {
    let (domain, limit) = (call.name("domain")?, call.limit()?);
    admin.check_domain(&call.tenant, &domain)?;
    let (after, tier) = (call.parameter("after")?, call.parameter("tier")?);
    let rows =
        admin.repository.subjects(&call.tenant, &domain, after.as_deref(), tier.as_deref(), limit).await?;
    let next = next_page(&rows, limit, |(subject, _)| Value::from(subject.as_str()));
    let items = rows.iter().map(|(subject, tier)| json!({ "subject": subject, "tier": tier })).collect();
    Ok(Answer::page(items, next))
}

pub(super) async fn put(admin: &Admin, call: &Call) -> Answered {
    let subject = call.name("subject")?;
    let Tier { tier } = call.json()?;
    write(admin, call, vec![(subject, Some(tier))]).await
}

pub(super) async fn delete(admin: &Admin, call: &Call) -> Answered {
    let subject = call.name("subject")?;
    write(admin, call, vec![(subject, None)]).await
}

pub(super) async fn put_many(admin: &Admin, call: &Call) -> Answered {
    let Tiers { tiers } = call.json()?;
    if tiers.is_empty() || tiers.len() > MAX_AT_ONCE {
        return Err(Problem::invalid_field("tiers", format!("name 1 to {MAX_AT_ONCE} subjects")).into());
    }
    write(admin, call, tiers.into_iter().collect()).await
}

async fn write(admin: &Admin, call: &Call, tiers: Vec<(String, Option<String>)>) -> Answered {
    let key = subject_key(admin, call, String::new())?;
    for (subject, tier) in &tiers {
        check_subject(subject)?;
        tier.as_deref().map_or(Ok(()), check_tier)?;
    }
    let repository = &admin.repository;
    let version =
        repository.put_subjects(&call.actor(), call.now_us, &key.tenant, &key.domain, &tiers).await?;
    let in_force = admin.subjects_in_force(version).await;
    let warnings = unknown_tiers(admin, &key, &tiers);
    Ok(Answer::json(&json!({ "subjects": tiers.len(), "in_force": in_force, "warnings": warnings })))
}

/// Tiers that no rule of the domain names: they are allowed, since rules may come later, and mostly misspelt.
fn unknown_tiers(admin: &Admin, key: &SubjectKey, tiers: &[(String, Option<String>)]) -> Vec<String> {
    let rules = admin.buckets.rules();
    let Some(domain) = rules.domain(&qualified(&key.tenant, &key.domain)) else { return Vec::new() };
    let mut names: Vec<&str> = tiers.iter().filter_map(|(_, tier)| tier.as_deref()).collect();
    names.sort_unstable();
    names.dedup();
    let known = |name: &str| {
        domain.default_tier() == Some(name)
            || domain.rules().iter().any(|rule| rule.model().tiers.iter().any(|(tier, _)| tier == name))
    };
    let unknown = names.into_iter().filter(|name| !known(name)).take(10);
    unknown
        .map(|name| {
            format!("no rule of the domain names the tier '{name}': its subjects have the rules' own quotas")
        })
        .collect()
}

pub(super) async fn inspect(admin: &Admin, call: &Call) -> Answered {
    let key = subject_key(admin, call, call.name("subject")?)?;
    let known = admin.repository.subject(&key, call.now_us).await?;
    let quotas = Quotas::of(&known);
    let domain = qualified(&key.tenant, &key.domain);
    let entry = subject_entry(admin, &key)?;
    let selection = Selection {
        entry: Some(&entry),
        quotas: quotas.borrowed(&known),
        ..Selection::new(&domain, &key.subject)
    };
    let decision = admin.buckets.stats(&selection).await.map_err(|error| engine_refusal(&error))?;
    let ban = known.ban.as_ref().map(|ban| {
        json!({ "reason": ban.reason, "until": time_or_null(ban.until_us), "by": ban.by, "since": time(ban.since_us) })
    });
    let overrides: Vec<Value> = known.overrides.iter().map(overrides::value).collect();
    Ok(Answer::json(&json!({
        "subject": key.subject,
        "tier": known.tier,
        "ban": ban,
        "overrides": overrides,
        "buckets": buckets_of(&decision),
    })))
}

pub(super) async fn reset(admin: &Admin, call: &Call) -> Answered {
    let (key, which) = (subject_key(admin, call, call.name("subject")?)?, call.json_or_nothing::<Which>()?);
    let known = admin.repository.subject(&key, call.now_us).await?;
    let (quotas, entry, domain) =
        (Quotas::of(&known), subject_entry(admin, &key)?, qualified(&key.tenant, &key.domain));
    let entries = entries_of(&which, &entry, &key.subject)?;
    admin.note(call, "subject.reset", &key, &json!({ "descriptors": which.descriptors })).await?;
    if which.descriptors.is_empty() {
        let selection = Selection {
            entry: Some(&entry),
            quotas: quotas.borrowed(&known),
            ..Selection::new(&domain, &key.subject)
        };
        let buckets =
            admin.buckets.reset_selected(&selection).await.map_err(|error| engine_refusal(&error))?;
        return Ok(Answer::json(&json!({ "reset": buckets })));
    }
    let request = Request::new(&domain, &entries).with_quotas(quotas.borrowed(&known));
    admin.buckets.reset(&request).await.map_err(|error| engine_refusal(&error))?;
    Ok(Answer::json(&json!({ "reset": Value::Null })))
}

pub(super) async fn refund(admin: &Admin, call: &Call) -> Answered {
    let (key, which) = (subject_key(admin, call, call.name("subject")?)?, call.json::<Which>()?);
    let Some(cost) = which.cost.filter(|cost| (1..=MAX_COST).contains(cost)) else {
        return Err(
            Problem::invalid_field("cost", format!("write the units to give back, 1 to {MAX_COST}")).into()
        );
    };
    let known = admin.repository.subject(&key, call.now_us).await?;
    let (quotas, entry, domain) =
        (Quotas::of(&known), subject_entry(admin, &key)?, qualified(&key.tenant, &key.domain));
    let quotas = quotas.borrowed(&known);
    let entries = entries_of(&which, &entry, &key.subject)?;
    let wanted = json!({ "cost": cost, "descriptors": which.descriptors });
    admin.note(call, "subject.refund", &key, &wanted).await?;
    let decision = if which.descriptors.is_empty() {
        let selection =
            Selection { entry: Some(&entry), cost, quotas, ..Selection::new(&domain, &key.subject) };
        admin.buckets.refund_selected(&selection).await.map_err(|error| engine_refusal(&error))?
    } else {
        let request = Request::new(&domain, &entries).with_cost(cost).with_quotas(quotas);
        admin.buckets.refund(&request).await.map_err(|error| engine_refusal(&error))?
    };
    Ok(Answer::json(&json!({ "buckets": buckets_of(&decision) })))
}

/// The quotas of a subject, as the engine wants them.
struct Quotas(Vec<RuleTier>);

impl Quotas {
    fn of(known: &Subject) -> Self {
        let tier = |given: &Override| RuleTier {
            rule: given.rule.as_str().into(),
            tier: given.quota.to_string().into_boxed_str(),
        };
        Self(known.overrides.iter().map(tier).collect())
    }

    fn borrowed<'a>(&'a self, known: &'a Subject) -> SubjectQuotas<'a> {
        SubjectQuotas { tier: known.tier.as_deref(), by_rule: &self.0 }
    }
}

fn entries_of<'a>(
    which: &'a Which,
    entry: &'a str,
    subject: &'a str,
) -> Result<Vec<(&'a str, &'a str)>, Problem> {
    if which.descriptors.len() >= tidegate_wire::check::MAX_ENTRIES || which.descriptors.contains_key(entry) {
        return Err(Problem::invalid_field("descriptors", "name further entries only, at most 31"));
    }
    let others = which.descriptors.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Ok(others.chain([(entry, subject)]).collect())
}

/// The subject of the path, in a domain that knows subjects.
pub(super) fn subject_key(admin: &Admin, call: &Call, subject: String) -> Result<SubjectKey, Refusal> {
    let key = SubjectKey { tenant: call.tenant.clone(), domain: call.name("domain")?, subject };
    admin.check_domain(&key.tenant, &key.domain)?;
    subject_entry(admin, &key)?;
    Ok(key)
}

/// The entry by which the domain knows its subjects.
fn subject_entry(admin: &Admin, key: &SubjectKey) -> Result<String, Refusal> {
    let rules = admin.buckets.rules();
    let entry = rules.domain(&qualified(&key.tenant, &key.domain)).and_then(|domain| domain.subject());
    entry.map(str::to_owned).ok_or_else(|| {
        let detail =
            "the domain does not say which entry its subjects are: give it subject: user_id, for example";
        Problem::new(ProblemType::Conflicting, detail).into()
    })
}

fn check_subject(subject: &str) -> Result<(), Problem> {
    let is_good = !subject.is_empty()
        && subject.len() <= tidegate_catalog::model::MAX_SUBJECT_BYTES
        && !subject.chars().any(char::is_control);
    if is_good {
        return Ok(());
    }
    Err(Problem::invalid_field("subject", "write 1 to 1024 bytes of text without control characters"))
}

fn check_tier(tier: &str) -> Result<(), Problem> {
    let is_good = !tier.is_empty()
        && tier.len() <= MAX_NAME_BYTES
        && tier.trim() == tier
        && !tier.starts_with('=')
        && !tier.chars().any(char::is_control);
    if is_good {
        return Ok(());
    }
    let detail =
        format!("write the name of a tier: 1 to {MAX_NAME_BYTES} bytes, not beginning with '=' or a blank");
    Err(Problem::invalid_field("tier", detail))
}

fn engine_refusal(error: &EngineError) -> Refusal {
    tracing::warn!(%error, "the admin API could not reach the buckets");
    Problem::new(ProblemType::StoreUnavailable, "the store of the buckets does not answer; try again shortly")
        .into()
}
