//! Decisions as JSON bodies.

use std::borrow::Cow;

use http::StatusCode;
use tidegate_catalog::model::Ban;
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::time::Timestamp;
use tidegate_engine::{Answer, Decision, RuleVerdict};
use tidegate_wire::problem::ProblemType;

use super::{Sent, shown};
use crate::door::json::Object;

/// Enough for the answer of one rule.
pub(crate) const USUAL_BODY_BYTES: usize = 256;

pub(crate) fn decision(
    decision: &Decision,
    subject: SubjectSeen<'_>,
    status: StatusCode,
    sent: &Sent,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(USUAL_BODY_BYTES);
    write_decision(&mut out, decision, subject, status, sent);
    out
}

/// What the catalog knows of the request's subject, for the answer.
#[derive(Clone, Copy, Default)]
pub(crate) struct SubjectSeen<'a> {
    /// Its tier there.
    pub(crate) tier: Option<&'a str>,
    /// Of a lookup that did not go as it should.
    pub(crate) trouble: Option<&'static str>,
}

/// The contract's fields, and for a denial those of a problem in front of them.
pub(crate) fn write_decision(
    out: &mut Vec<u8>,
    decision: &Decision,
    subject: SubjectSeen<'_>,
    status: StatusCode,
    sent: &Sent,
) {
    let mut object = Object::begin(out);
    if !decision.is_allowed() {
        problem_members(&mut object, decision, status, sent);
    }
    object.boolean("allowed", decision.is_allowed());
    level_members(&mut object, decision);
    if let Some(waits) = &sent.waits {
        object.integer("retry_after_ms", waits.retry_after_ms);
    } else if let Some(retry_after) = decision.retry_after() {
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
    if let Some(seat) = &sent.seat {
        object.raw("room", seat);
    }
    object.end();
}

/// A request of a banned subject: no rule was asked.
pub(crate) fn write_ban(out: &mut Vec<u8>, ban: &Ban, retry_after_ms: Option<u64>) {
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

/// Says that the store did not make the decision; nothing where it did.
pub(crate) fn degraded_member(object: &mut Object<'_>, decision: &Decision) {
    if decision.degraded().is_some() {
        object.boolean("degraded", true);
    }
}

fn problem_members(object: &mut Object<'_>, decision: &Decision, status: StatusCode, sent: &Sent) {
    let kind = match status {
        StatusCode::TOO_MANY_REQUESTS => ProblemType::QuotaExceeded,
        StatusCode::SERVICE_UNAVAILABLE => ProblemType::StoreUnavailable,
        _ => ProblemType::CostNeverPasses,
    };
    object.string("type", kind.uri());
    object.string("title", kind.title());
    object.integer("status", u64::from(status.as_u16()));
    let message = sent.waits.as_ref().map_or_else(|| message(decision), |waits| waits.message.clone());
    object.string("detail", &message);
    object.string("message", &message);
    if kind == ProblemType::StoreUnavailable {
        return;
    }
    let denying = decision.verdicts().filter(|verdict| verdict.is_enforced() && !verdict.verdict.is_allow());
    object.strings("violated-policies", denying.map(|verdict| shown(verdict.rule.name())));
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
pub(crate) fn level_members(object: &mut Object<'_>, decision: &Decision) {
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
pub(crate) fn rule_members(object: &mut Object<'_>, decision: &Decision) {
    match decision.domain() {
        Some(domain) => object.string("domain", shown(domain)),
        None => object.null("domain"),
    }
    let binding = decision.binding();
    match &binding {
        Some(binding) => object.string("rule", shown(binding.rule.name())),
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

pub(crate) fn rule_verdict(item: &mut Object<'_>, verdict: &RuleVerdict<'_>, decided_at: Timestamp) {
    item.string("rule", shown(verdict.rule.name()));
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
