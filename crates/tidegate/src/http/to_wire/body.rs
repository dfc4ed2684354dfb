//! The JSON bodies, written straight into a buffer.

use std::borrow::Cow;

use http::StatusCode;
use tidegate_catalog::model::{Ban, split_qualified};
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::time::{Micros, Timestamp};
use tidegate_engine::{Answer, BreakerStatus, Decision, FailureCause, RuleVerdict};
use tidegate_wire::problem::ProblemType;

/// Enough for the answer of one rule.
const USUAL_BODY_BYTES: usize = 256;

pub(super) fn decision(decision: &Decision, subject: SubjectSeen<'_>, status: StatusCode) -> Vec<u8> {
    let mut out = Vec::with_capacity(USUAL_BODY_BYTES);
    write_decision(&mut out, decision, subject, status);
    out
}

/// What the catalog knows of the request's subject, for the answer.
#[derive(Clone, Copy, Default)]
pub(super) struct SubjectSeen<'a> {
    /// Its tier there.
    pub(super) tier: Option<&'a str>,
    /// Of a lookup that did not go as it should.
    pub(super) trouble: Option<&'static str>,
}

/// The contract's fields, and for a denial those of a problem in front of them.
pub(super) fn write_decision(
    out: &mut Vec<u8>,
    decision: &Decision,
    subject: SubjectSeen<'_>,
    status: StatusCode,
) {
    let mut object = Object::begin(out);
    if !decision.is_allowed() {
        problem_members(&mut object, decision, status);
    }
    object.boolean("allowed", decision.is_allowed());
    level_members(&mut object, decision);
    if let Some(retry_after) = decision.retry_after() {
        object.integer("retry_after_ms", retry_after.as_millis_ceil());
    }
    if let Answer::Wait(wait) = decision.answer() {
        object.integer("wait_ms", wait.as_millis_ceil());
    }
    degraded_member(&mut object, decision);
    if decision.domain().is_none() {
        object.string("message", "There is no such domain in the rules: nothing limits this request.");
    }
    if let Some(permit) = decision.permit() {
        object.string("permit_id", &permit.to_string());
    }
    if decision.is_repeated() {
        object.boolean("repeated", true);
    }
    rule_members(&mut object, decision);
    if let Some(tier) = subject.tier {
        object.string("tier", tier);
    }
    if let Some(trouble) = subject.trouble {
        object.string("tier_lookup", trouble);
    }
    object.integer("rules_version", decision.rules_version());
    object.end();
}

/// A request of a banned subject: no rule was asked.
pub(super) fn write_ban(out: &mut Vec<u8>, ban: &Ban, retry_after_ms: Option<u64>) {
    let mut object = Object::begin(out);
    let kind = ProblemType::Banned;
    object.string("type", kind.uri());
    object.string("title", kind.title());
    object.integer("status", u64::from(kind.status().as_u16()));
    object.string("detail", &ban.reason);
    object.boolean("allowed", false);
    object.boolean("banned", true);
    match ban.until_us.and_then(|until| u64::try_from(until).ok()) {
        Some(until) => object.seconds("banned_until", Timestamp::from_micros(until)),
        None => object.null("banned_until"),
    }
    if let Some(retry_after_ms) = retry_after_ms {
        object.integer("retry_after_ms", retry_after_ms);
    }
    object.end();
}

pub(super) fn refund(decision: &Decision) -> Vec<u8> {
    let mut out = Vec::with_capacity(USUAL_BODY_BYTES);
    let mut object = Object::begin(&mut out);
    object.integer("cost", decision.cost());
    level_members(&mut object, decision);
    rule_members(&mut object, decision);
    object.end();
    out
}

pub(super) fn demo_data(user: &str, decision: &Decision) -> Vec<u8> {
    let mut out = Vec::with_capacity(USUAL_BODY_BYTES);
    let mut object = Object::begin(&mut out);
    object.string("message", "Here is your data.");
    object.string("user_id", user);
    level_members(&mut object, decision);
    degraded_member(&mut object, decision);
    object.end();
    out
}

pub(super) fn stats(name: &'static str, key: &str, decision: &Decision) -> Vec<u8> {
    let mut out = Vec::with_capacity(USUAL_BODY_BYTES);
    let mut object = Object::begin(&mut out);
    object.string(name, key);
    if let Some(domain) = decision.domain() {
        object.string("domain", split_qualified(domain).1);
    }
    if let Some(binding) = decision.binding() {
        object.integer("used", binding.gauge.used);
    }
    level_members(&mut object, decision);
    object.array("buckets", decision.verdicts(), |item, verdict| {
        rule_verdict(item, &verdict, decision.decided_at());
    });
    object.end();
    out
}

pub(super) fn health() -> Vec<u8> {
    concat!(r#"{"status":"ok","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#).as_bytes().to_vec()
}

/// `catalog` is the object that says how far this node has followed its catalog.
pub(super) fn ready(ready: bool, rules_version: u64, catalog: Option<&str>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut object = Object::begin(&mut out);
    object.boolean("ready", ready);
    object.integer("rules_version", rules_version);
    if let Some(catalog) = catalog {
        object.raw("catalog", catalog);
    }
    object.end();
    out
}

pub(super) fn breaker(status: &BreakerStatus) -> Vec<u8> {
    let mut out = Vec::with_capacity(USUAL_BODY_BYTES);
    let mut object = Object::begin(&mut out);
    object.string("state", status.state.name());
    object.integer("consecutive_failures", u64::from(status.consecutive_failures));
    object.integer("failure_threshold", u64::from(status.options.failure_threshold));
    object.integer("cool_down_ms", status.options.cool_down.as_millis_ceil());
    match status.opened_at {
        Some(opened_at) => object.seconds("opened_at", opened_at),
        None => object.null("opened_at"),
    }
    match status.next_attempt_in {
        Some(next) => object.integer("next_attempt_in_ms", next.as_millis_ceil()),
        None => object.null("next_attempt_in_ms"),
    }
    match &status.last_error {
        Some(error) => object.string("last_error", FailureCause::of(error).name()),
        None => object.null("last_error"),
    }
    object.integer("transitions", status.transitions);
    object.integer("rejected", status.rejected);
    object.string("store", status.store);
    object.end();
    out
}

/// Says that the store did not make the decision; nothing where it did.
fn degraded_member(object: &mut Object<'_>, decision: &Decision) {
    if decision.degraded().is_some() {
        object.boolean("degraded", true);
    }
}

fn problem_members(object: &mut Object<'_>, decision: &Decision, status: StatusCode) {
    let kind = match status {
        StatusCode::TOO_MANY_REQUESTS => ProblemType::QuotaExceeded,
        StatusCode::SERVICE_UNAVAILABLE => ProblemType::StoreUnavailable,
        _ => ProblemType::CostNeverPasses,
    };
    object.string("type", kind.uri());
    object.string("title", kind.title());
    object.integer("status", u64::from(status.as_u16()));
    let message = message(decision);
    object.string("detail", &message);
    object.string("message", &message);
    if kind == ProblemType::StoreUnavailable {
        return;
    }
    let denying = decision.verdicts().filter(|verdict| verdict.is_enforced() && !verdict.verdict.is_allow());
    object.strings("violated-policies", denying.map(|verdict| verdict.rule.name()));
}

/// What a person is told about a denial.
fn message(decision: &Decision) -> String {
    let what = match decision.binding() {
        _ if !decision.is_refused_for_want_of_store() => Cow::Borrowed("Rate limit exceeded."),
        Some(binding) => Cow::Owned(format!(
            "The store does not answer, and alone this node lets at most {} units pass at once.",
            binding.most
        )),
        None => Cow::Borrowed("The store does not answer, and nothing may pass without it."),
    };
    match (decision.retry_after(), decision.binding()) {
        (Some(retry_after), _) => match retry_after.as_secs_ceil() {
            1 => format!("{what} Try again in 1 second."),
            seconds => format!("{what} Try again in {seconds} seconds."),
        },
        (None, Some(binding)) if binding.most == 0 && binding.quota.limit() > 0 => {
            "All of this quota is kept for higher priorities: nothing else passes.".to_owned()
        }
        (None, Some(binding)) if binding.quota.limit() > 0 => format!(
            "A cost of {} can never pass: the most that fits is {}. Ask for less at a time.",
            decision.cost(),
            binding.most
        ),
        (None, _) => "Rate limit exceeded. This quota is zero: nothing passes.".to_owned(),
    }
}

/// `remaining`, `limit`, `window` and `reset_at` of the binding rule; null where no enforced rule applied.
fn level_members(object: &mut Object<'_>, decision: &Decision) {
    match decision.binding() {
        Some(binding) => {
            object.integer("remaining", binding.gauge.remaining);
            quota_members(object, &binding.quota);
            object.seconds("reset_at", reset_at(&binding, decision.decided_at()));
        }
        None => ["remaining", "limit", "window", "reset_at"].into_iter().for_each(|name| object.null(name)),
    }
}

fn quota_members(object: &mut Object<'_>, quota: &Quota) {
    object.integer("limit", quota.limit());
    object.decimal_seconds("window", quota.window());
}

/// `domain`, `rule`, and all verdicts where more than the binding rule was asked.
fn rule_members(object: &mut Object<'_>, decision: &Decision) {
    match decision.domain() {
        Some(domain) => object.string("domain", split_qualified(domain).1),
        None => object.null("domain"),
    }
    let binding = decision.binding();
    match &binding {
        Some(binding) => object.string("rule", binding.rule.name()),
        None => object.null("rule"),
    }
    if let Some(binding) = &binding {
        lease_members(object, binding);
    }
    if decision.verdicts().count() > usize::from(binding.is_some()) {
        object.array("verdicts", decision.verdicts(), |item, verdict| {
            rule_verdict(item, &verdict, decision.decided_at());
        });
    }
}

fn rule_verdict(item: &mut Object<'_>, verdict: &RuleVerdict<'_>, decided_at: Timestamp) {
    item.string("rule", verdict.rule.name());
    item.string("algorithm", verdict.rule.model().algorithm.name());
    item.string("mode", verdict.rule.model().mode.name());
    item.boolean("allowed", verdict.verdict.is_allow());
    item.integer("used", verdict.gauge.used);
    item.integer("remaining", verdict.gauge.remaining);
    quota_members(item, &verdict.quota);
    if matches!(verdict.rule.model().algorithm, Algorithm::TokenBucket | Algorithm::LeakyBucket) {
        item.integer("burst", verdict.quota.burst());
    }
    lease_members(item, verdict);
    item.seconds("reset_at", reset_at(verdict, decided_at));
    if let tidegate_core::decision::Verdict::Deny { retry_after: Some(retry_after) } = verdict.verdict {
        item.integer("retry_after_ms", retry_after.as_millis_ceil());
    }
}

/// Says that nodes take units of the rule in advance, and how much that can add to its bound; nothing where the store
/// decides every request.
fn lease_members(object: &mut Object<'_>, verdict: &RuleVerdict<'_>) {
    if let Some(overshoot_bound) = verdict.overshoot_bound {
        object.string("consistency", verdict.rule.model().consistency.name());
        object.integer("overshoot_bound", overshoot_bound);
    }
}

fn reset_at(verdict: &RuleVerdict<'_>, decided_at: Timestamp) -> Timestamp {
    decided_at.saturating_add(verdict.gauge.reset_after)
}

/// Writes one JSON object, member by member. Names are ours and need no escapes.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Object<'a> {
    fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    fn end(self) {
        self.out.push(b'}');
    }

    fn name(&mut self, name: &str) {
        self.out.extend_from_slice(if self.first { b"\"" } else { b",\"" });
        self.first = false;
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn null(&mut self, name: &str) {
        self.name(name);
        self.out.extend_from_slice(b"null");
    }

    fn boolean(&mut self, name: &str, value: bool) {
        self.name(name);
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    fn integer(&mut self, name: &str, value: u64) {
        self.name(name);
        write_integer(self.out, value);
    }

    fn string(&mut self, name: &str, value: &str) {
        self.name(name);
        write_string(self.out, value);
    }

    /// A value that is JSON already.
    fn raw(&mut self, name: &str, json: &str) {
        self.name(name);
        self.out.extend_from_slice(json.as_bytes());
    }

    fn strings<'s>(&mut self, name: &str, values: impl Iterator<Item = &'s str>) {
        self.name(name);
        self.out.push(b'[');
        for (index, value) in values.enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            write_string(self.out, value);
        }
        self.out.push(b']');
    }

    fn array<T>(&mut self, name: &str, items: impl Iterator<Item = T>, write: impl Fn(&mut Object<'_>, T)) {
        self.name(name);
        self.out.push(b'[');
        for (index, item) in items.enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            let mut object = Object::begin(self.out);
            write(&mut object, item);
            object.end();
        }
        self.out.push(b']');
    }

    /// A point in time as Unix seconds with milliseconds, rounded up.
    fn seconds(&mut self, name: &str, at: Timestamp) {
        let millis = at.as_micros().div_ceil(1_000);
        self.name(name);
        write_integer(self.out, millis / 1_000);
        self.out.push(b'.');
        let rest = u8::try_from(millis % 1_000 / 100).unwrap_or(0);
        self.out.push(b'0' + rest);
        let rest = u8::try_from(millis % 100).unwrap_or(0);
        self.out.extend_from_slice(&[b'0' + rest / 10, b'0' + rest % 10]);
    }

    /// A span as seconds: whole where it is whole, else with as many decimals as it takes.
    fn decimal_seconds(&mut self, name: &str, span: Micros) {
        self.name(name);
        write_integer(self.out, span.as_micros() / 1_000_000);
        let fraction = span.as_micros() % 1_000_000;
        if fraction > 0 {
            let digits = format!(".{fraction:06}");
            self.out.extend_from_slice(digits.trim_end_matches('0').as_bytes());
        }
    }
}

fn write_integer(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn write_string(out: &mut Vec<u8>, value: &str) {
    let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    if value.bytes().all(plain) {
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
    } else if serde_json::to_writer(&mut *out, value).is_err() {
        // Writing into memory does not fail; an empty text keeps the document whole.
        out.extend_from_slice(b"\"\"");
    }
}
