//! The JSON schema: changing a field here means changing VERSION.

use super::super::report::{Outcome, Report, RuleSample, Sample};
use super::super::stream::{ReadStats, UnreadableLine};
use super::*;

#[test]
fn the_schema() {
    let mut report = Report::new();
    let verdict = RuleSample {
        domain: "d",
        rule: "r",
        key: "k\n",
        allowed: false,
        shadow: false,
        binding: true,
        remaining: 0,
    };
    report.record(&Sample { at_us: 1_431_857_103_500_000, outcome: Outcome::Denied, verdicts: &[verdict] });
    let line = UnreadableLine { file: "a.log".into(), line: 7, reason: "why".into() };
    let stats =
        ReadStats { files: 1, lines: 2, unreadable: 1, first_unreadable: vec![line], ..ReadStats::default() };
    let mut out = Vec::new();
    write_json(&report.summary(&stats, 5), &mut out).unwrap();
    assert_eq!(out.last(), Some(&b'\n'));
    let key = serde_json::json!(
        {"domain": "d", "rule": "r", "key": "k\n", "evaluated": 1, "denied": 1, "shadow_denied": 0}
    );
    let expected = serde_json::json!({
        "format": "tidegate-replay",
        "version": 1,
        "period": {"start": "2015-05-17T10:05:03.5Z", "end": "2015-05-17T10:05:03.5Z"},
        "lines": {
            "files": 1, "lines": 2, "blank": 0, "unreadable": 1, "late": 0,
            "first_unreadable": [{"file": "a.log", "line": 7, "reason": "why"}],
            "damaged": [],
        },
        "requests": {"total": 1, "allowed": 0, "waited": 0, "denied": 1, "unmatched": 0},
        "rules": [{
            "domain": "d", "rule": "r", "evaluated": 1, "allowed": 0, "denied": 1, "binding_denials": 1,
            "shadow_denied": 0, "distinct_keys": 1, "keys_complete": true, "lowest_remaining": 0,
            "first_denial": "2015-05-17T10:05:03.5Z", "top_keys": [key],
        }],
        "top_keys": [key],
        "keys_complete": true,
        "timeline": {
            "bucket_seconds": 1,
            "buckets": [{"start": "2015-05-17T10:05:03Z", "allowed": 0, "waited": 0, "denied": 1}],
        },
    });
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&out).unwrap(), expected);
}

#[test]
fn nothing_is_null() {
    let mut out = Vec::new();
    write_json(&Report::new().summary(&ReadStats::default(), 5), &mut out).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert!(value["period"].is_null());
}
