//! Changes of rules and tiers while buckets are in use.

use tidegate_core::quota::Algorithm;
use tidegate_core::rule::model::Rule;
use tidegate_core::time::{Micros, Timestamp};

use super::site::{MINUTE, Request, START, Site, decided, quota, remaining, rule};
use crate::plan::UnknownRevisions;
use crate::port::{Applied, BucketStore};

fn bucket(limit: u64) -> Vec<Rule> {
    vec![rule("r", Algorithm::TokenBucket, limit, MINUTE)]
}

pub(super) async fn a_changed_rule_keeps_what_was_used<S: BucketStore>(store: &S) {
    let site = Site::new("change", bucket(100));
    let ann = Request::of("ann");
    assert!(site.apply(store, ann.costing(60), START).await.charged);
    let smaller = site.changed(bucket(50), START);
    assert_eq!(remaining(&smaller.peek(store, ann, START).await), [0], "60 of 50 are used");
    assert!(!smaller.apply(store, ann, START).await.charged);
    // 60 units fade at 50 a minute: after 12 s, 50 are left.
    let later = START.saturating_add(Micros::from_secs(12));
    assert_eq!(remaining(&smaller.peek(store, ann, later).await), [0]);
    let later = START.saturating_add(Micros::from_millis(13_200));
    assert_eq!(smaller.count(store, ann, later, 5).await, 1);
    let larger = smaller.changed(bucket(200), later);
    assert_eq!(remaining(&larger.peek(store, ann, later).await), [150]);
}

pub(super) async fn changing_there_and_back_gives_nothing_away<S: BucketStore>(store: &S) {
    let mut site = Site::new("back-and-forth", bucket(100));
    let ann = Request::of("ann");
    let mut passed = site.count(store, ann, START, 200).await;
    for round in 0..40 {
        site = site.changed(bucket(if round % 2 == 0 { 10 } else { 100 }), START);
        passed += site.count(store, ann, START, 20).await;
    }
    assert_eq!(passed, 100, "one burst at one instant, however often the rule changes");
}

pub(super) async fn a_changed_tier_keeps_what_was_used<S: BucketStore>(store: &S) {
    let mut tiered = rule("r", Algorithm::SlidingWindow, 10, MINUTE);
    tiered.tiers = vec![("pro".to_owned(), quota(Algorithm::SlidingWindow, 1_000, MINUTE))];
    let site = Site::new("tier", vec![tiered]);
    let free = Request::of("ann");
    let pro = Request { tier: Some("pro"), ..free };
    assert_eq!(site.count(store, free, START, 30).await, 10);
    assert_eq!(remaining(&site.peek(store, pro, START).await), [990]);
    assert_eq!(site.count(store, pro, START, 20).await, 20);
    assert!(!site.apply(store, free, START).await.charged);
    assert_eq!(remaining(&site.peek(store, pro, START).await), [970]);
}

pub(super) async fn an_algorithm_changed_keeps_what_was_used<S: BucketStore>(store: &S) {
    let metered: Vec<Algorithm> =
        Algorithm::ALL.into_iter().filter(|algorithm| *algorithm != Algorithm::Concurrency).collect();
    for from in &metered {
        for to in &metered {
            let site = Site::new(&format!("{from}-to-{to}"), vec![wide(*from)]);
            let ann = Request::of("ann");
            assert!(site.apply(store, ann.costing(7), START).await.charged);
            let changed = site.changed(vec![wide(*to)], START);
            assert_eq!(remaining(&changed.peek(store, ann, START).await), [3], "{from} to {to}");
            assert_eq!(changed.count(store, ann, START, 20).await, 3, "{from} to {to}");
        }
    }
}

/// Ten units at one instant by any algorithm.
fn wide(algorithm: Algorithm) -> Rule {
    let burst = algorithm.has_burst().then_some(10);
    let quota =
        tidegate_core::quota::Quota::new(algorithm, 10, MINUTE, burst).expect("the quota is in range");
    Rule::new("r", algorithm, quota).with_key(["user"])
}

/// A bucket written under new rules, met by a plan made under the old ones.
async fn met_by_old_rules<S: BucketStore>(store: &S, name: &str) -> (Site, Timestamp) {
    let old = Site::new(name, vec![rule("r", Algorithm::TokenBucket, 10, MINUTE), log("s")]);
    let new = old.changed(vec![rule("r", Algorithm::TokenBucket, 20, MINUTE), log("s")], START);
    assert!(new.apply(store, Request::of("ann").costing(15), START).await.charged);
    (old, START)
}

/// A second bucket, kept in another way.
fn log(name: &str) -> Rule {
    rule(name, Algorithm::SlidingWindowLog, 30, MINUTE)
}

pub(super) async fn rules_too_old_for_a_bucket_are_refused<S: BucketStore>(store: &S) {
    let (old, now) = met_by_old_rules(store, "stale").await;
    let request = Request::of("ann");
    let plan = old.plan(request);
    assert_eq!(store.apply(&plan, now).await, Ok(Applied::Stale));
    assert_eq!(store.peek(&plan, now).await, Ok(Applied::Stale));
    assert_eq!(store.refund(&plan, now).await, Ok(Applied::Stale));
    let new = old.changed(vec![rule("r", Algorithm::TokenBucket, 20, MINUTE), log("s")], START);
    assert_eq!(remaining(&new.peek(store, request, now).await), [5, 15], "nothing was changed");
    assert!(old.apply(store, Request::of("bob"), now).await.charged, "other keys are not concerned");
}

pub(super) async fn a_foreign_revision_can_be_adopted<S: BucketStore>(store: &S) {
    let (old, now) = met_by_old_rules(store, "adopt").await;
    let mut plan = old.plan(Request::of("ann").costing(3));
    plan.unknown_revisions = UnknownRevisions::Adopt;
    let outcome = decided(store.apply(&plan, now).await.expect("the store answers"));
    // The time at which it is at rest, 45 s from now, is 7.5 units of the rule that takes it over.
    assert_eq!((outcome.charged, remaining(&outcome)), (false, vec![2, 15]));
    let mut plan = old.plan(Request::of("ann").costing(2));
    plan.unknown_revisions = UnknownRevisions::Adopt;
    let outcome = decided(store.apply(&plan, now).await.expect("the store answers"));
    assert_eq!((outcome.charged, remaining(&outcome)), (true, vec![0, 13]));
    assert!(!old.apply(store, Request::of("ann"), now).await.charged, "it is known now");
}
