//! A change of rules tried before it is made: on this node's recent requests, or on a log that the caller sends.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_catalog::edit::{Change, Changed, Planned};
use tidegate_catalog::model::Expect;
use tidegate_config::{domain_settings_json, parse_duration, rule_json};
use tidegate_core::rule::RuleSet;
use tidegate_core::rule::model::{Domain, Rules};
use tidegate_wire::problem::{Problem, ProblemType};

use super::answer::{Answer, Answered, Refusal, time};
use super::call::{Call, DRY_RUN};
use super::{Admin, domains};
use crate::replay::{LogFormat, LogInput, LogStream, ReadOptions, trial_requests};
use crate::trial::{Comparison, TrialRequest, compare};

/// How much of the past is tried where the caller does not say.
const USUAL_SPAN: &str = "15m";
/// Requests that are tried at the most.
const MAX_REQUESTS: usize = 1_000_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// The domain as it might be, with its rules.
    domain: Value,
    /// How much of this node's recent requests to try it on.
    #[serde(default)]
    last: Option<String>,
    /// The lines of an access log to try it on instead.
    #[serde(default)]
    log: Option<String>,
    /// What they look like.
    #[serde(default)]
    log_format: Option<String>,
    /// Where entries come from that the log calls otherwise, as `ENTRY=FIELD`.
    #[serde(default)]
    fields: Vec<String>,
}

/// The requests that a change is tried on.
enum Tried {
    Recent { last_us: i64 },
    Log(Vec<TrialRequest>),
}

/// Whether the caller wants to know what a change would do, and on how much of the past, in microseconds.
pub(super) fn asked_for(call: &Call) -> Result<Option<i64>, Problem> {
    call.parameter(DRY_RUN)?.map(|text| span_us(DRY_RUN, &text)).transpose()
}

fn span_us(field: &str, text: &str) -> Result<i64, Problem> {
    let text = if text == "true" { USUAL_SPAN } else { text };
    let span =
        parse_duration(text).map_err(|error| Problem::invalid_field(field.to_owned(), error.to_string()))?;
    Ok(i64::try_from(span.as_micros()).unwrap_or(i64::MAX))
}

pub(super) async fn run(admin: &Admin, call: &Call) -> Answered {
    let (domain, wanted) = (call.name("domain")?, call.json::<Wanted>()?);
    let text = wanted.domain.to_string();
    let change = Change::PutDomain { domain, text, expect: Expect::Any };
    let planned = admin.editor.plan(&call.tenant, &change).await.map_err(domains::refusal)?;
    let tried = match &wanted.log {
        Some(log) => Tried::Log(requests_of_log(log, &wanted, &planned)?),
        None => Tried::Recent { last_us: span_us("last", wanted.last.as_deref().unwrap_or(USUAL_SPAN))? },
    };
    report(admin, call, &planned, tried).await
}

/// What a planned change would have done.
pub(super) async fn of_plan(admin: &Admin, call: &Call, planned: &Planned, last_us: i64) -> Answered {
    report(admin, call, planned, Tried::Recent { last_us }).await
}

async fn report(admin: &Admin, call: &Call, planned: &Planned, tried: Tried) -> Answered {
    let tried = Arc::new(tried);
    let mut results = Vec::new();
    for changed in &planned.changed {
        let comparison = compared(admin, call, changed, Arc::clone(&tried)).await?;
        results.push(json!({ "domain": changed.domain, "effect": effect_json(&comparison) }));
    }
    Ok(Answer::json(&json!({
        "dry_run": true,
        "changed": differences(&planned.changed),
        "warnings": planned.warnings,
        "tried_on": match *tried { Tried::Recent { .. } => "recent requests of this node", Tried::Log(_) => "the log" },
        "results": results,
    })))
}

/// Tries both on the same requests, beside the requests of now.
async fn compared(
    admin: &Admin,
    call: &Call,
    changed: &Changed,
    tried: Arc<Tried>,
) -> Result<Comparison, Refusal> {
    let (before, after) = (alone(changed.before.as_ref())?, alone(changed.after.as_ref())?);
    let (tenant, domain) = (call.tenant.clone(), changed.domain.clone());
    let (catalog, now_us) = (Arc::clone(&admin.catalog), call.now_us);
    let turn = Arc::clone(&admin.trials).acquire_owned().await;
    let runtime = tokio::runtime::Handle::current();
    let comparing = tokio::task::spawn_blocking(move || {
        // Held here: it goes on where the caller has hung up, and the next one waits for it all the same.
        let _turn = turn;
        let recent;
        let requests = match &*tried {
            Tried::Recent { last_us } => {
                recent = catalog.recent_requests(&tenant, &domain, now_us.saturating_sub(*last_us));
                &recent
            }
            Tried::Log(requests) => requests,
        };
        runtime.block_on(compare(before, after, &domain, requests.iter().cloned()))
    });
    let failed = || Problem::new(ProblemType::Internal, "the trial was interrupted; try again");
    comparing.await.map_err(|_| failed())?.map_err(|_| failed().into())
}

/// One domain as a set of its own.
fn alone(domain: Option<&Domain>) -> Result<RuleSet, Problem> {
    let rules = Rules { domains: domain.into_iter().cloned().collect() };
    RuleSet::compile(rules).map_err(|error| Problem::invalid_field("body", error.to_string()))
}

fn requests_of_log(log: &str, wanted: &Wanted, planned: &Planned) -> Result<Vec<TrialRequest>, Problem> {
    let of_log = |error: String| Problem::invalid_field("log", error);
    let format = wanted
        .log_format
        .as_deref()
        .map_or(Ok(LogFormat::Auto), str::parse)
        .map_err(|_| Problem::invalid_field("log_format", "write auto, common, combined or json"))?;
    let input =
        LogInput::from_reader("the log", Box::new(std::io::Cursor::new(log.as_bytes().to_vec())), None)
            .map_err(|error| of_log(error.to_string()))?;
    let mut options = ReadOptions { format, ..ReadOptions::default() };
    for field in &wanted.fields {
        options.fields.add(field).map_err(|error| Problem::invalid_field("fields", error.to_string()))?;
    }
    for domain in planned.changed.iter().filter_map(|changed| changed.after.as_ref()) {
        domain.rules.iter().flat_map(|rule| &rule.key).for_each(|entry| options.fields.offer(entry));
    }
    let stream = LogStream::new(vec![input], &options).map_err(|error| of_log(error.to_string()))?;
    let requests = trial_requests(stream).take(MAX_REQUESTS).collect::<Result<Vec<_>, _>>();
    requests.map_err(|error| of_log(error.to_string()))
}

/// A comparison, for answers.
#[must_use]
pub fn effect_json(made: &Comparison) -> Value {
    let micros = |us: u64| time(i64::try_from(us).unwrap_or(i64::MAX));
    let by_rule: Vec<Value> = made
        .by_rule
        .iter()
        .map(|rule| {
            json!({ "rule": rule.rule, "denied_before": rule.denied_before, "denied_after": rule.denied_after })
        })
        .collect();
    let keys: Vec<Value> =
        made.newly_denied_keys.iter().map(|(key, count)| json!({ "key": key, "requests": count })).collect();
    json!({
        "requests": made.requests,
        "from": made.span_us.map_or(Value::Null, |(first, _)| micros(first)),
        "to": made.span_us.map_or(Value::Null, |(_, last)| micros(last)),
        "before": { "allowed": made.before.allowed, "denied": made.before.denied },
        "after": { "allowed": made.after.allowed, "denied": made.after.denied },
        "newly_denied": made.newly_denied,
        "newly_allowed": made.newly_allowed,
        "unmatched": made.unmatched,
        "by_rule": by_rule,
        "newly_denied_keys": keys,
    })
}

/// What differs between domains before and after, rule by rule.
pub(super) fn differences(changed: &[Changed]) -> Vec<Value> {
    let mut all = Vec::new();
    for one in changed {
        let settings = |domain: &Option<Domain>| domain.as_ref().map_or(Value::Null, domain_settings_json);
        let (before, after) = (settings(&one.before), settings(&one.after));
        if before != after {
            all.push(json!({ "domain": one.domain, "rule": null, "before": before, "after": after }));
        }
        let rules =
            |domain: &Option<Domain>| domain.as_ref().map_or(Vec::new(), |domain| domain.rules.clone());
        let (before, after) = (rules(&one.before), rules(&one.after));
        for rule in &before {
            if !after.iter().any(|known| known.name == rule.name) {
                all.push(json!({ "domain": one.domain, "rule": rule.name, "before": rule_json(rule), "after": null }));
            }
        }
        for rule in &after {
            let known = before.iter().find(|known| known.name == rule.name);
            if known != Some(rule) {
                let known = known.map_or(Value::Null, rule_json);
                all.push(json!({ "domain": one.domain, "rule": rule.name, "before": known, "after": rule_json(rule) }));
            }
        }
    }
    all
}
