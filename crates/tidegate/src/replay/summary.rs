//! The finished report as data: what all renderers show, and the schema of the JSON output.

use serde::Serialize;

use super::stream::ReadStats;
use super::time;

/// The most buckets a finished timeline has.
pub(super) const MAX_SHOWN_BUCKETS: usize = 72;

/// The finished report. Field names are the JSON output's and stable.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The time covered; null without requests.
    pub period: Option<Period>,
    /// What was read.
    pub lines: ReadStats,
    /// What became of the requests.
    pub requests: RequestTotals,
    /// Each rule, in the order of declaration or first match.
    pub rules: Vec<RuleSummary>,
    /// The keys denied most over all rules, worst first.
    pub top_keys: Vec<KeyRow>,
    /// False if there were more keys than could be counted: then the keys seen first are, and numbers by key
    /// and of distinct keys are lower bounds.
    pub keys_complete: bool,
    /// Requests over time.
    pub timeline: TimelineSummary,
}

/// From the first to the last request, as RFC 3339 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Period {
    /// The first request's time, in microseconds since the Unix epoch.
    #[serde(rename = "start", serialize_with = "time::serialize")]
    pub start_us: u64,
    /// The last request's time, in microseconds since the Unix epoch.
    #[serde(rename = "end", serialize_with = "time::serialize")]
    pub end_us: u64,
}

/// Requests by what became of them. `total` = `allowed` + `waited` + `denied`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RequestTotals {
    /// All requests.
    pub total: u64,
    /// Let through at once.
    pub allowed: u64,
    /// Let through after waiting.
    pub waited: u64,
    /// Refused.
    pub denied: u64,
    /// Matched by no rule; counted by what became of them, too.
    pub unmatched: u64,
}

/// One rule's row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleRow {
    /// The rule's domain.
    pub domain: String,
    /// The rule's name.
    pub rule: String,
    /// Requests it was asked about. = `allowed` + `denied` + `shadow_denied`.
    pub evaluated: u64,
    /// Those it allowed.
    pub allowed: u64,
    /// Those it denied, whether or not another rule denied them as well.
    pub denied: u64,
    /// Denials in which it was the binding rule.
    pub binding_denials: u64,
    /// Those it would have denied outside shadow mode.
    pub shadow_denied: u64,
    /// Partition keys seen.
    pub distinct_keys: u64,
    /// False if `distinct_keys` and numbers by key are lower bounds.
    pub keys_complete: bool,
    /// The least that was left in any of its buckets; null if it never matched.
    pub lowest_remaining: Option<u64>,
    /// The first denial's time, shadow or not, in microseconds since the Unix epoch.
    #[serde(rename = "first_denial", serialize_with = "time::serialize_option")]
    pub first_denial_us: Option<u64>,
}

impl RuleRow {
    pub(super) fn new(domain: &str, rule: &str) -> Self {
        Self {
            domain: domain.to_owned(),
            rule: rule.to_owned(),
            evaluated: 0,
            allowed: 0,
            denied: 0,
            binding_denials: 0,
            shadow_denied: 0,
            distinct_keys: 0,
            keys_complete: true,
            lowest_remaining: None,
            first_denial_us: None,
        }
    }
}

/// One rule and the keys it denied most.
#[derive(Debug, Clone, Serialize)]
pub struct RuleSummary {
    /// The rule's numbers.
    #[serde(flatten)]
    pub row: RuleRow,
    /// The keys it denied most, worst first.
    pub top_keys: Vec<KeyRow>,
}

/// One partition key of one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyRow {
    /// The rule's domain.
    pub domain: String,
    /// The rule's name.
    pub rule: String,
    /// The partition key.
    pub key: String,
    /// Requests of this key that the rule was asked about.
    pub evaluated: u64,
    /// Those it denied.
    pub denied: u64,
    /// Those it would have denied outside shadow mode.
    pub shadow_denied: u64,
}

/// Requests over time.
#[derive(Debug, Clone, Serialize)]
pub struct TimelineSummary {
    /// The width of each bucket, in seconds.
    pub bucket_seconds: u64,
    /// The buckets without gaps, in order.
    pub buckets: Vec<TimelineBucket>,
}

/// What happened in one bucket of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TimelineBucket {
    /// Its start, in microseconds since the Unix epoch: a multiple of the width.
    #[serde(rename = "start", serialize_with = "time::serialize")]
    pub start_us: u64,
    /// Requests let through at once.
    pub allowed: u64,
    /// Requests let through after waiting.
    pub waited: u64,
    /// Requests refused.
    pub denied: u64,
}
