//! The header fields of a decision.

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue};
use tidegate_core::rule::model::FailurePolicy;
use tidegate_core::time::Micros;
use tidegate_engine::{Decision, RuleVerdict};
use tidegate_wire::rate_limit_fields::{
    self as wire, FieldNames, LimitItem, PolicyItem, X_RATELIMIT_LIMIT, X_RATELIMIT_REMAINING,
    X_RATELIMIT_RESET,
};

use super::shown;
use crate::door::LegacyFields;

/// Where header fields go: a response, or a message that carries them.
pub(crate) trait Fields {
    /// Sets a field, which is not there yet. The value is visible ASCII.
    fn put(&mut self, name: HeaderName, value: &[u8]);
}

impl Fields for HeaderMap {
    fn put(&mut self, name: HeaderName, value: &[u8]) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            self.insert(name, value);
        }
    }
}

/// Draft 11's names; the draft may still rename them, and this is the one place that chooses.
const NAMES: FieldNames = FieldNames::DRAFT_11;

/// By which policy a decision was made without the store: `allow`, `deny` or `local`.
const X_TIDEGATE_DEGRADED: HeaderName = HeaderName::from_static("x-tidegate-degraded");

/// `RateLimit-Policy` and `RateLimit` for every enforced rule, `Retry-After` on a denial, and the legacy fields of
/// the binding rule where they are wanted. Where no enforced rule was asked, only what a failure policy says.
pub(crate) fn write(headers: &mut impl Fields, decision: &Decision, legacy: LegacyFields) {
    if let Some(degraded) = decision.degraded() {
        write_degraded(headers, degraded.policy);
    }
    let mut text = Vec::with_capacity(64);
    let Some(binding) = decision.binding() else {
        if let Some(retry_after) = decision.retry_after() {
            wire::write_retry_after(&mut text, retry_after.as_micros(), None);
            insert(headers, RETRY_AFTER, &mut text);
        }
        return;
    };
    let enforced = || decision.verdicts().filter(RuleVerdict::is_enforced);
    NAMES.write_policy(&mut text, enforced().map(policy_item));
    insert(headers, NAMES.policy, &mut text);
    NAMES.write_rate_limit(&mut text, enforced().map(limit_item));
    insert(headers, NAMES.rate_limit, &mut text);
    if let Some(retry_after) = decision.retry_after() {
        // Of the rules that refuse, only: how soon another rule has more does not hold anybody up. For a rule that
        // refuses, `t` is never later than its own retry_after.
        wire::write_retry_after(&mut text, retry_after.as_micros(), None);
        insert(headers, RETRY_AFTER, &mut text);
    }
    if legacy == LegacyFields::Send {
        wire::write_legacy_units(&mut text, binding.quota.limit());
        insert(headers, X_RATELIMIT_LIMIT, &mut text);
        wire::write_legacy_units(&mut text, binding.gauge.remaining);
        insert(headers, X_RATELIMIT_REMAINING, &mut text);
        wire::write_legacy_reset(&mut text, binding.gauge.reset_after.as_micros());
        insert(headers, X_RATELIMIT_RESET, &mut text);
    }
}

pub(crate) fn write_degraded(headers: &mut impl Fields, policy: FailurePolicy) {
    headers.put(X_TIDEGATE_DEGRADED, policy.name().as_bytes());
}

fn policy_item<'a>(verdict: RuleVerdict<'a>) -> PolicyItem<'a> {
    PolicyItem {
        name: shown(verdict.rule.name()),
        limit: verdict.quota.limit(),
        window_us: verdict.quota.window().as_micros(),
    }
}

fn limit_item<'a>(verdict: RuleVerdict<'a>) -> LimitItem<'a> {
    LimitItem {
        name: shown(verdict.rule.name()),
        remaining: verdict.gauge.remaining,
        replenish_after_us: verdict.gauge.replenish_after.map(Micros::as_micros),
    }
}

fn insert(headers: &mut impl Fields, name: HeaderName, text: &mut Vec<u8>) {
    headers.put(name, text);
    text.clear();
}
