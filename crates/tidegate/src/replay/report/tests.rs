//! Counting requests, rules and keys.

use super::*;

const S: u64 = 1_000_000;

fn verdict<'a>(rule: &'a str, key: &'a str, allowed: bool, remaining: u64) -> RuleSample<'a> {
    RuleSample { domain: "d", rule, key, allowed, shadow: false, binding: !allowed, remaining }
}

fn summary(report: &Report) -> Summary {
    report.summary(&ReadStats::default(), 10)
}

#[test]
fn totals_and_rules() {
    let mut report = Report::new();
    report.declare_rule("d", "never");
    let shadow = |allowed| RuleSample { shadow: true, binding: false, ..verdict("trial", "k", allowed, 1) };
    let mut record = |second: u64, outcome, verdicts: &[RuleSample<'_>]| {
        report.record(&Sample { at_us: second * S, outcome, verdicts });
    };
    record(10, Outcome::Allowed, &[verdict("user", "a", true, 5), shadow(true)]);
    record(11, Outcome::Allowed, &[verdict("user", "a", true, 3), shadow(false)]);
    record(12, Outcome::Denied, &[verdict("user", "a", false, 3), shadow(false)]);
    record(12, Outcome::Waited, &[verdict("user", "b", true, 9)]);
    record(13, Outcome::Allowed, &[]);
    let also = RuleSample { binding: false, ..verdict("user", "b", false, 0) };
    record(14, Outcome::Denied, &[also, verdict("address", "1.2.3.4", false, 0)]);
    let summary = summary(&report);

    assert_eq!(summary.requests, RequestTotals { total: 6, allowed: 3, waited: 1, denied: 2, unmatched: 1 });
    assert_eq!(summary.period, Some(Period { start_us: 10 * S, end_us: 14 * S }));
    let names: Vec<_> = summary.rules.iter().map(|rule| rule.row.rule.as_str()).collect();
    assert_eq!(names, ["never", "user", "trial", "address"]);
    assert_eq!(summary.rules[0].row, RuleRow::new("d", "never"));
    let user = RuleRow {
        evaluated: 5,
        allowed: 3,
        denied: 2,
        binding_denials: 1,
        distinct_keys: 2,
        lowest_remaining: Some(0),
        first_denial_us: Some(12 * S),
        ..RuleRow::new("d", "user")
    };
    assert_eq!(summary.rules[1].row, user);
    let trial = RuleRow {
        evaluated: 3,
        allowed: 1,
        shadow_denied: 2,
        distinct_keys: 1,
        lowest_remaining: Some(1),
        first_denial_us: Some(11 * S),
        ..RuleRow::new("d", "trial")
    };
    assert_eq!(summary.rules[2].row, trial);
    let keys: Vec<_> = summary
        .top_keys
        .iter()
        .map(|row| (row.rule.as_str(), row.key.as_str(), row.denied, row.shadow_denied))
        .collect();
    // Enforced denials before shadow ones, equal ones by name.
    assert_eq!(
        keys,
        [("address", "1.2.3.4", 1, 0), ("user", "a", 1, 0), ("user", "b", 1, 0), ("trial", "k", 0, 2)]
    );
    assert_eq!(summary.timeline.buckets.iter().map(|bucket| bucket.denied).sum::<u64>(), 2);
    assert_eq!(summary.timeline.buckets.len(), 5);
}

#[test]
fn rules_of_one_name_in_two_domains_are_two() {
    let mut report = Report::new();
    let one = verdict("user", "a", false, 0);
    let other = RuleSample { domain: "e", ..one };
    report.record(&Sample { at_us: 1, outcome: Outcome::Denied, verdicts: &[one, other] });
    assert_eq!(summary(&report).rules.len(), 2);
    assert_eq!(summary(&report).top_keys.len(), 2);
}

#[test]
fn the_worst_keys_of_all_rules() {
    let mut report = Report::new();
    for (rule, count) in [("x", 3), ("y", 5)] {
        for key in 0..count {
            for _ in 0..=key {
                let key = key.to_string();
                let verdicts = [verdict(rule, &key, false, 0)];
                report.record(&Sample { at_us: 1, outcome: Outcome::Denied, verdicts: &verdicts });
            }
        }
    }
    let top = report.summary(&ReadStats::default(), 3);
    let keys: Vec<_> =
        top.top_keys.iter().map(|row| (row.rule.as_str(), row.key.as_str(), row.denied)).collect();
    assert_eq!(keys, [("y", "4", 5), ("y", "3", 4), ("x", "2", 3)]);
    assert_eq!(top.rules[0].top_keys.len(), 3);
}

#[test]
fn more_keys_than_can_be_counted() {
    let mut report = Report::with_budget(KeyBudget::new(2, 1_000));
    for key in ["a", "b", "c", "a", "c"] {
        let verdicts = [verdict("user", key, false, 0)];
        report.record(&Sample { at_us: 1, outcome: Outcome::Denied, verdicts: &verdicts });
    }
    report.declare_rule("d", "other");
    let summary = summary(&report);
    assert!(!summary.keys_complete);
    let user = &summary.rules[0].row;
    assert_eq!((user.denied, user.distinct_keys, user.keys_complete), (5, 2, false));
    assert!(summary.rules[1].row.keys_complete, "no key of this rule was turned away");
    assert_eq!(summary.top_keys[0].denied, 2);
}

#[test]
fn an_empty_report() {
    let summary = summary(&Report::default());
    assert_eq!((summary.period, summary.requests.total, summary.timeline.buckets.len()), (None, 0, 0));
    assert!(summary.keys_complete);
}
