//! A change of rules tried before it is made: on this node's recent requests, or on a log that the caller sends.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_catalog::edit::{Change, Changed, Planned};
use tidegate_catalog::model::Expect;
use tidegate_config::{domain_settings_json, parse_duration, rule_json};
use tidegate_core::rule::RuleSet;
use tidegate_core::rule::model::{Domain, Rule, Rules};
use tidegate_wire::problem::{Problem, ProblemType};
use tokio::time::Instant;

use super::answer::{Answer, Answered, time};
use super::call::{Call, DRY_RUN};
use super::{Admin, beside, domains};
use crate::gate::Catalog;
use crate::replay::{LogFormat, LogInput, LogStream, ReadOptions, trial_requests};
use crate::trial::{Comparison, Source, TrialRequest, compare};

/// How much of the past is tried where the caller does not say.
const USUAL_SPAN: &str = "15m";
/// Requests that are tried at the most: of this node's, the newest.
const MAX_REQUESTS: usize = 1_000_000;
/// How long a trial takes at the most; what is tried until then is the answer.
const MAX_TRIAL_TIME: Duration = Duration::from_secs(10);

/// Rules to be tried.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Trial")]
pub(super) struct Wanted {
    /// The domain as it might be, with its rules.
    #[schemars(with = "super::open_api::DomainDocument")]
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
    Log(Wanted),
}

/// A trial, made beside the requests of now.
struct Trial {
    catalog: Arc<Catalog>,
    runtime: tokio::runtime::Handle,
    tenant: String,
    now_us: i64,
    planned: Planned,
    tried: Tried,
    /// When it is over, tried to the end or not.
    until: Instant,
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
    let (domain, mut wanted) = (call.name("domain")?, call.json::<Wanted>()?);
    let text = std::mem::take(&mut wanted.domain).to_string();
    let document = admin.editor.read_domain(text).await.map_err(domains::refusal)?;
    let change = Change::PutDomain { domain, document, expect: Expect::Any };
    let planned = admin.editor.plan(&call.tenant, change).await.map_err(domains::refusal)?;
    let tried = match &wanted.log {
        Some(_) => Tried::Log(wanted),
        None => Tried::Recent { last_us: span_us("last", wanted.last.as_deref().unwrap_or(USUAL_SPAN))? },
    };
    report(admin, call, planned, tried).await
}

/// What a planned change would have done.
pub(super) async fn of_plan(admin: &Admin, call: &Call, planned: Planned, last_us: i64) -> Answered {
    report(admin, call, planned, Tried::Recent { last_us }).await
}

async fn report(admin: &Admin, call: &Call, planned: Planned, tried: Tried) -> Answered {
    let _turn = admin.trials.next().await?;
    let trial = Trial {
        catalog: Arc::clone(&admin.catalog),
        runtime: tokio::runtime::Handle::current(),
        tenant: call.tenant.clone(),
        now_us: call.now_us,
        planned,
        tried,
        until: Instant::now() + MAX_TRIAL_TIME,
    };
    Ok(beside(move || trial.answer()).await??)
}

impl Trial {
    fn answer(self) -> Result<Answer, Problem> {
        let (tried_on, log) = match &self.tried {
            Tried::Recent { .. } => ("recent requests of this node", None),
            Tried::Log(wanted) => ("the log", Some(requests_of_log(wanted, &self.planned)?)),
        };
        let (mut results, mut warnings) = (Vec::new(), self.planned.warnings.clone());
        for changed in &self.planned.changed {
            let recent;
            let requests = match (&log, &self.tried) {
                (Some(log), _) => log,
                (None, Tried::Recent { last_us }) if !self.is_over() => {
                    let from_us = self.now_us.saturating_sub(*last_us);
                    recent =
                        self.catalog.recent_requests(&self.tenant, &changed.domain, from_us, MAX_REQUESTS);
                    &recent
                }
                (None, _) => &Vec::new(),
            };
            let made = self.compared(changed, requests)?;
            results.push(json!({ "domain": changed.domain, "effect": effect_json(&made) }));
        }
        if self.is_over() {
            let seconds = MAX_TRIAL_TIME.as_secs();
            warnings
                .push(format!("the trial stopped after {seconds} s: the rest of the requests was not tried"));
        }
        Ok(Answer::json(&json!({
            "dry_run": true,
            "changed": differences(&self.planned.changed),
            "warnings": warnings,
            "tried_on": tried_on,
            "results": results,
        })))
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Tries both on the same requests.
    fn compared(&self, changed: &Changed, requests: &[TrialRequest]) -> Result<Comparison, Problem> {
        let (before, after) = (alone(changed.before.as_ref())?, alone(changed.after.as_ref())?);
        let requests = requests.iter().take_while(|_| !self.is_over()).cloned();
        let source = match self.tried {
            Tried::Recent { .. } => Source::Callers,
            Tried::Log(_) => Source::Log,
        };
        let made = self.runtime.block_on(compare(before, after, &changed.domain, source, requests));
        made.map_err(|_| Problem::new(ProblemType::Internal, "the trial was interrupted; try again"))
    }
}

/// One domain as a set of its own.
fn alone(domain: Option<&Domain>) -> Result<RuleSet, Problem> {
    let rules = Rules { domains: domain.into_iter().cloned().collect() };
    RuleSet::compile(rules).map_err(|error| Problem::invalid_field("body", error.to_string()))
}

fn requests_of_log(wanted: &Wanted, planned: &Planned) -> Result<Vec<TrialRequest>, Problem> {
    let of_log = |error: String| Problem::invalid_field("log", error);
    let format = wanted
        .log_format
        .as_deref()
        .map_or(Ok(LogFormat::Auto), str::parse)
        .map_err(|_| Problem::invalid_field("log_format", "write auto, common, combined or json"))?;
    let log = wanted.log.as_deref().unwrap_or_default().as_bytes().to_vec();
    let input = LogInput::from_reader("the log", Box::new(std::io::Cursor::new(log)), None)
        .map_err(|error| of_log(error.to_string()))?;
    let mut options = ReadOptions { format, ..ReadOptions::default() };
    for field in &wanted.fields {
        options.fields.add(field).map_err(|error| Problem::invalid_field("fields", error.to_string()))?;
    }
    let domains = planned.changed.iter().flat_map(|changed| [&changed.before, &changed.after]);
    options.fields.offer_used_by(domains.flatten().flat_map(|domain| &domain.rules));
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
        let (known, kept) = (by_name(one.before.as_ref()), by_name(one.after.as_ref()));
        for rule in rules_of(one.before.as_ref()).iter().filter(|rule| !kept.contains_key(&*rule.name)) {
            all.push(
                json!({ "domain": one.domain, "rule": rule.name, "before": rule_json(rule), "after": null }),
            );
        }
        for rule in rules_of(one.after.as_ref()) {
            let known = known.get(&*rule.name).copied();
            if known != Some(rule) {
                let known = known.map_or(Value::Null, rule_json);
                all.push(json!({ "domain": one.domain, "rule": rule.name, "before": known, "after": rule_json(rule) }));
            }
        }
    }
    all
}

fn rules_of(domain: Option<&Domain>) -> &[Rule] {
    domain.map_or(&[], |domain| &domain.rules)
}

fn by_name(domain: Option<&Domain>) -> HashMap<&str, &Rule> {
    rules_of(domain).iter().map(|rule| (&*rule.name, rule)).collect()
}
