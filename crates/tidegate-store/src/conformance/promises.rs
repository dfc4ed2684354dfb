//! What every store promises about charges.

use tidegate_core::algorithm::CLOCK_TOLERANCE;
use tidegate_core::decision::Verdict;
use tidegate_core::quota::Algorithm;
use tidegate_core::rule::model::{Mode, Reserve, Rule};
use tidegate_core::time::Micros;

use super::site::{
    MINUTE, Request, SECOND, START, Site, decided, gauges, join_all, quota, remaining, rule, verdicts,
};
use crate::plan::Plan;
use crate::port::BucketStore;

/// Requests that race in one task.
const RACERS: usize = 64;

/// One rule of every algorithm, each with room for `limit`, and `limit` in every one.
fn every_algorithm(limit: u64) -> Vec<Rule> {
    Algorithm::ALL
        .into_iter()
        .map(|algorithm| {
            let burst = algorithm.has_burst().then_some(limit);
            let quota = tidegate_core::quota::Quota::new(algorithm, limit, MINUTE, burst);
            Rule::new(algorithm.name(), algorithm, quota.expect("the quota is in range")).with_key(["user"])
        })
        .collect()
}

pub(super) async fn all_buckets_or_none_are_charged<S: BucketStore>(store: &S) {
    for denying in Algorithm::ALL {
        let mut rules = every_algorithm(10);
        let tight = rule("tight", denying, 1, MINUTE);
        rules.insert(3, tight);
        let site = Site::new(&format!("all-or-none-{denying}"), rules);
        let request = Request { permit: 7, ..Request::of("ann") };
        assert!(site.apply(store, request, START).await.charged);
        let before = site.peek(store, request, START).await;
        let denied = site.apply(store, request, START).await;
        assert!(!denied.charged, "{denying} has one unit");
        let allowing = denied.results.iter().filter(|result| result.verdict.is_allow()).count();
        assert_eq!(allowing, Algorithm::ALL.len(), "only {denying} denies");
        assert_eq!(gauges(&denied), gauges(&before), "a denial by {denying} charges nobody");
        assert_eq!(site.peek(store, request, START).await, before, "a denial by {denying} leaves no trace");
    }
}

pub(super) async fn a_peek_changes_nothing<S: BucketStore>(store: &S) {
    let site = Site::new("peek", every_algorithm(3));
    let request = Request::of("ann").costing(2);
    let first = site.peek(store, request, START).await;
    assert!(!first.charged && !first.repeated);
    assert_eq!(remaining(&first), [3; 6], "a peek shows what is there, not what would be left");
    assert!(first.results.iter().all(|result| result.verdict.is_allow()));
    assert_eq!(site.peek(store, request, START).await, first);
    assert!(site.apply(store, request, START).await.charged);
    let after = site.peek(store, request, START).await;
    assert_eq!(remaining(&after), [1; 6]);
    assert!(after.results.iter().all(|result| !result.verdict.is_allow()));
    assert_eq!(site.peek(store, request, START).await, after);
}

pub(super) async fn a_denial_is_lifted_at_its_instant_and_not_before<S: BucketStore>(store: &S) {
    for algorithm in Algorithm::ALL {
        let site = Site::new(
            &format!("retry-{algorithm}"),
            vec![rule("r", algorithm, 7, Micros::from_micros(999_983))],
        );
        for (index, cost) in [1, 3, 7].into_iter().enumerate() {
            let mut request = Request { permit: 1, ..Request::of(["a", "b", "c"][index]).costing(cost) };
            let mut now = START;
            if algorithm == Algorithm::LeakyBucket && cost > 1 {
                continue;
            }
            while site.apply(store, request, now).await.charged {
                now = now.saturating_add(Micros::from_micros(17));
                request.permit += 1;
            }
            let denied = site.peek(store, request, now).await;
            let [Verdict::Deny { retry_after: Some(retry_after) }] = verdicts(&denied)[..] else {
                panic!("{algorithm}: {denied:?}")
            };
            let then = now.saturating_add(retry_after);
            let early = then.saturating_sub(Micros::from_micros(1));
            assert!(!site.apply(store, request, early).await.charged, "{algorithm}, cost {cost}: too early");
            assert!(site.apply(store, request, then).await.charged, "{algorithm}, cost {cost}: in time");
        }
    }
}

pub(super) async fn more_than_the_burst_can_never_pass<S: BucketStore>(store: &S) {
    let site = Site::new("never", every_algorithm(5));
    let outcome = site.apply(store, Request::of("ann").costing(6), START).await;
    assert!(!outcome.charged);
    assert_eq!(verdicts(&outcome), [Verdict::NEVER; 6]);
    assert_eq!(remaining(&outcome), [5; 6]);
    let none = Site::new("nothing", vec![rule("r", Algorithm::TokenBucket, 0, MINUTE)]);
    assert_eq!(verdicts(&none.apply(store, Request::of("ann"), START).await), [Verdict::NEVER]);
}

pub(super) async fn a_refund_gives_back_at_most_what_was_used<S: BucketStore>(store: &S) {
    let rules: Vec<Rule> =
        every_algorithm(9).into_iter().filter(|rule| rule.algorithm != Algorithm::Concurrency).collect();
    let site = Site::new("refund", rules);
    let ann = Request::of("ann");
    assert_eq!(remaining(&site.refund(store, ann, START).await), [9; 5], "nothing was used");
    assert!(site.apply(store, ann.costing(4), START).await.charged);
    assert_eq!(remaining(&site.refund(store, ann.costing(3), START).await), [8; 5]);
    assert_eq!(remaining(&site.peek(store, ann, START).await), [8; 5]);
    assert_eq!(remaining(&site.refund(store, ann.costing(100), START).await), [9; 5]);
    assert_eq!(site.count(store, ann, START, 20).await, 9, "never more than the burst after a refund");
}

pub(super) async fn a_debit_takes_without_asking<S: BucketStore>(store: &S) {
    let rules: Vec<Rule> =
        every_algorithm(9).into_iter().filter(|rule| rule.algorithm != Algorithm::Concurrency).collect();
    let site = Site::new("debit", rules);
    let ann = Request::of("ann");
    let debit = |request, cost| {
        let plan = site.plan(Request::costing(request, cost));
        async move { decided(store.debit(&plan, START).await.expect("the store answers")) }
    };
    assert_eq!(remaining(&debit(ann, 4).await), [5; 5], "a bucket that was not there comes to be");
    assert_eq!(site.count(store, ann, START, 20).await, 5);
    let full = site.peek(store, ann, START).await;
    assert_eq!(gauges(&debit(ann, 1_000).await), gauges(&full), "a full bucket holds no more");
    assert_eq!(remaining(&site.refund(store, ann.costing(9), START).await), [9; 5], "no debt is left over");
}

pub(super) async fn a_reset_puts_to_rest<S: BucketStore>(store: &S) {
    let site = Site::new("reset", every_algorithm(2));
    let (ann, bob) = (Request::of("ann").costing(2), Request::of("bob").costing(2));
    let fresh = site.peek(store, ann, START).await;
    assert!(site.apply(store, ann, START).await.charged && site.apply(store, bob, START).await.charged);
    store.reset(&site.plan(ann), START).await.expect("the store answers");
    assert_eq!(site.peek(store, ann, START).await, fresh);
    assert_eq!(remaining(&site.peek(store, bob, START).await), [0; 6], "a reset is for one key");
}

pub(super) async fn a_shadow_rule_does_not_hinder<S: BucketStore>(store: &S) {
    let mut shadow = rule("shadow", Algorithm::TokenBucket, 1, MINUTE);
    shadow.mode = Mode::Shadow;
    let site = Site::new("shadow", vec![shadow.clone(), rule("real", Algorithm::FixedWindow, 3, MINUTE)]);
    let ann = Request::of("ann");
    let first = site.apply(store, ann, START).await;
    assert_eq!((first.charged, remaining(&first)), (true, vec![0, 2]), "both are charged");
    let second = site.apply(store, ann, START).await;
    assert!(second.charged && !second.results[0].verdict.is_allow());
    assert_eq!(remaining(&second), [0, 1], "it is reported and not charged");
    assert_eq!(second.results[0].gauge, first.results[0].gauge);
    assert_eq!(site.count(store, ann, START, 5).await, 1);
    let alone = Site::new("shadow-alone", vec![shadow]);
    assert_eq!(alone.count(store, ann, START, 3).await, 3);
}

pub(super) async fn what_is_reserved_is_left_to_higher_priorities<S: BucketStore>(store: &S) {
    let mut kept = rule("r", Algorithm::FixedWindow, 10, MINUTE);
    kept.reserve = vec![Reserve { priority: "critical".to_owned(), percent: 20 }];
    let site = Site::new("reserve", vec![kept]);
    let ann = Request::of("ann");
    assert_eq!(remaining(&site.peek(store, ann, START).await), [8]);
    assert_eq!(site.count(store, ann, START, 20).await, 8);
    let critical = Request { priority: Some("critical"), ..ann };
    assert_eq!(site.count(store, critical, START, 20).await, 2);
}

pub(super) async fn a_repeated_call_is_charged_once<S: BucketStore>(store: &S) {
    let site = Site::new("idempotency", every_algorithm(3));
    let keyed = Request { idempotency_key: Some("order-1"), permit: 5, ..Request::of("ann") };
    let first = site.apply(store, keyed, START).await;
    assert!(first.charged && !first.repeated);
    let again = site.apply(store, keyed, START.saturating_add(SECOND)).await;
    assert!(again.charged && again.repeated);
    assert_eq!((again.results, again.decided_at), (first.results, first.decided_at));
    assert_eq!(remaining(&site.peek(store, Request::of("ann"), START).await), [2; 6]);
    let other = Request { idempotency_key: Some("order-2"), permit: 6, ..keyed };
    assert!(!site.apply(store, other, START).await.repeated);
    assert_eq!(remaining(&site.peek(store, Request::of("ann"), START).await), [1; 6]);
    // A denial is not remembered: the retry is for its own sake.
    let denied = Request { idempotency_key: Some("order-3"), ..Request::of("ann").costing(2) };
    assert!(!site.apply(store, denied, START).await.charged);
    store.reset(&site.plan(denied), START).await.expect("the store answers");
    let retried = site.apply(store, denied, START).await;
    assert!(retried.charged && !retried.repeated);
}

pub(super) async fn racing_calls_with_one_idempotency_key_are_charged_once<S: BucketStore>(store: &S) {
    let site = Site::new("idempotency-race", vec![rule("r", Algorithm::FixedWindow, 1_000, MINUTE)]);
    let request = Request { idempotency_key: Some("one"), ..Request::of("ann") };
    let outcomes = join_all((0..RACERS).map(|_| site.apply(store, request, START))).await;
    assert!(outcomes.iter().all(|outcome| outcome.charged));
    assert_eq!(outcomes.iter().filter(|outcome| !outcome.repeated).count(), 1);
    assert_eq!(remaining(&site.peek(store, request, START).await), [999]);
}

pub(super) async fn many_at_once_get_exactly_the_burst<S: BucketStore>(store: &S) {
    let site = Site::new("burst", every_algorithm(20));
    let site = &site;
    let calls = (0..RACERS as u64).map(|number| async move {
        let request = Request { permit: number, ..Request::of("ann") };
        site.apply(store, request, START).await.charged
    });
    let charged = join_all(calls).await.into_iter().filter(|charged| *charged).count();
    assert_eq!(charged, 20);
    assert_eq!(remaining(&site.peek(store, Request::of("ann"), START).await), [0; 6]);
}

pub(super) async fn a_wrong_clock_locks_nobody_out<S: BucketStore>(store: &S) {
    for algorithm in Algorithm::ALL {
        let site = Site::new(&format!("clock-{algorithm}"), vec![rule("r", algorithm, 1, SECOND)]);
        let ann = Request::of("ann");
        let wrong = START.saturating_add(Micros::from_secs(86_400));
        assert!(site.apply(store, ann, wrong).await.charged);
        let looked = site.peek(store, ann, START).await;
        assert_eq!(site.peek(store, ann, START).await, looked, "a peek repairs nothing");
        let denied = site.apply(store, ann, START).await;
        assert!(!denied.charged, "{algorithm}: what was used is not forgotten");
        let soon = START.saturating_add(Micros::from_secs(2));
        assert!(site.apply(store, ann, soon).await.charged, "{algorithm}: the repair is kept");
        // A clock within the tolerance is no wrong clock: its time counts.
        let bob = Request::of("bob");
        assert!(site.apply(store, bob, START.saturating_add(CLOCK_TOLERANCE)).await.charged);
        assert!(!site.apply(store, bob, START.saturating_add(SECOND)).await.charged, "{algorithm}");
    }
}

pub(super) async fn buckets_are_told_apart<S: BucketStore>(store: &S) {
    let two = |name: &str| {
        let quota = quota(Algorithm::FixedWindow, 1, MINUTE);
        Rule::new(name, Algorithm::FixedWindow, quota).with_key(["user", "route"])
    };
    let site = Site::new("apart", vec![two("a"), two("b")]);
    let set = &site.rules;
    let rules: Vec<_> = set.domains().iter().flat_map(|domain| domain.rules()).collect();
    let keys = [("ab", "c"), ("a", "bc"), ("abc", ""), ("", "abc"), ("a|b", "c"), ("a", "b|c"), ("a\0", "c")];
    for rule in &rules {
        for (user, route) in keys {
            let mut plan = Plan::new(1);
            plan.add(rule, rule.metered(None), 0, &[("user", user), ("route", route)]);
            let outcome = decided(store.apply(&plan, START).await.expect("the store answers"));
            assert!(outcome.charged, "{user:?} and {route:?} have a bucket of their own");
            let outcome = decided(store.apply(&plan, START).await.expect("the store answers"));
            assert!(!outcome.charged, "{user:?} and {route:?} have one bucket");
        }
    }
}

pub(super) async fn a_plan_without_buckets_passes<S: BucketStore>(store: &S) {
    let plan = Plan::new(1);
    let outcome = decided(store.apply(&plan, START).await.expect("the store answers"));
    assert!(outcome.charged && outcome.results.is_empty());
    assert!(!decided(store.peek(&plan, START).await.expect("the store answers")).charged);
}
