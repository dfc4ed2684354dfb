//! What doors say, as names and texts, and what several of them say alike.

use tidegate_core::time::Micros;
use tidegate_engine::{Decision, RuleVerdict};

/// Names and texts of what was said, in one order for each door.
pub(crate) type Said = Vec<(&'static str, String)>;

/// What is not said.
pub(crate) const NOTHING: &str = "-";

pub(crate) fn or_nothing(value: Option<impl ToString>) -> String {
    value.map_or_else(|| NOTHING.to_owned(), |value| value.to_string())
}

/// The header fields that HTTP and Envoy's services send.
pub(crate) fn fields<'a>(value_of: impl Fn(&'static str) -> Option<&'a str>) -> Said {
    ["ratelimit-policy", "ratelimit", "retry-after"].map(|name| (name, or_nothing(value_of(name)))).to_vec()
}

/// The same of a decision: a list over all rules that are obeyed, in whole seconds that are rounded up.
pub(crate) fn expected_fields(decision: &Decision) -> Said {
    let obeyed = || decision.verdicts().filter(RuleVerdict::is_enforced);
    let policies = obeyed().map(|verdict| {
        let quota = &verdict.quota;
        format!("\"{}\";q={};w={}", verdict.rule.name(), quota.limit(), seconds(quota.window()))
    });
    let levels = obeyed().map(|verdict| {
        let replenished = verdict.gauge.replenish_after.map(|span| format!(";t={}", seconds(span)));
        let replenished = replenished.unwrap_or_default();
        format!("\"{}\";r={}{replenished}", verdict.rule.name(), verdict.gauge.remaining)
    });
    let list = |items: Vec<String>| or_nothing(Some(items.join(", ")).filter(|list| !list.is_empty()));
    vec![
        ("ratelimit-policy", list(policies.collect())),
        ("ratelimit", list(levels.collect())),
        ("retry-after", or_nothing(decision.retry_after().map(seconds))),
    ]
}

/// Whole seconds, rounded up.
pub(crate) fn seconds(span: Micros) -> u64 {
    span.as_micros().div_ceil(1_000_000)
}

/// Whole milliseconds, rounded up.
pub(crate) fn milliseconds(span: Micros) -> u64 {
    span.as_micros().div_ceil(1_000)
}
