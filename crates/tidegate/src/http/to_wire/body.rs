//! The JSON bodies of what is no decision, written straight into a buffer.

use tidegate_catalog::model::split_qualified;
use tidegate_engine::{BreakerStatus, Decision, FailureCause};

use crate::door::answer::body::{
    USUAL_BODY_BYTES, degraded_member, level_members, rule_members, rule_verdict,
};
use crate::door::json::Object;

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
