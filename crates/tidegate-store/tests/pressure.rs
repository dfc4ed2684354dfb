//! When memory is short: what is at rest goes first, then keys share, and what is kept in a slab is bounded too.

mod common;

use common::{START, apply, peek, plan, ready, rules, store};
use tidegate_core::quota::Algorithm;
use tidegate_core::time::{Micros, Timestamp};
use tidegate_store::{BucketStore, MIN_MEMORY_BYTES, MemoryStore, Plan};

const HOUR: Micros = Micros::from_secs(3_600);

/// Keys come to rest as fast as new ones come: none is ever refused its own bucket.
#[test]
fn buckets_at_rest_make_room() {
    let rules = rules(&[(Algorithm::TokenBucket, 1, Micros::from_millis(5))]);
    let store = store(MIN_MEMORY_BYTES);
    for number in 0..100_000 {
        let now = START.saturating_add(Micros::from_micros(number));
        assert!(apply(&store, &plan(&rules, &[0], &format!("user-{number}")), now).charged);
    }
    let stats = store.stats();
    assert_eq!((stats.spilled, stats.evicted_live), (0, 0), "{stats:?}");
    assert!(stats.evicted_at_rest > 0 && stats.bytes <= MIN_MEMORY_BYTES, "{stats:?}");
}

/// Nothing presses: buckets at rest go with the insertions of others, and in the background.
#[test]
fn buckets_at_rest_are_swept() {
    let rules = rules(&[(Algorithm::FixedWindow, 1, Micros::from_secs(1))]);
    let store = store(MIN_MEMORY_BYTES * 64);
    let fill = |from: u64, now| {
        for number in from..from + 20_000 {
            apply(&store, &plan(&rules, &[0], &format!("user-{number}")), now);
        }
    };
    fill(0, START);
    let full = store.stats();
    let later = START.saturating_add(Micros::from_secs(60));
    fill(20_000, later);
    let swept = store.stats();
    assert!(swept.swept > 19_000 && swept.bytes < full.bytes * 5 / 4, "{full:?} {swept:?}");
    let end = later.saturating_add(HOUR);
    let mut examined = 0;
    while store.stats().keys > 0 {
        examined += store.sweep(end, 1_000).examined;
        assert!(examined < 1_000_000, "{:?}", store.stats());
    }
    store.sweep(end, usize::MAX);
    assert!(store.stats().bytes < full.bytes / 4, "{:?}", store.stats());
}

/// Keys without room of their own share a bucket, which is as exact as any.
#[test]
fn keys_without_room_share_a_bucket() {
    let rules = rules(&[(Algorithm::FixedWindow, 10, HOUR)]);
    let store = full_store(&rules);
    let before = store.stats();
    let users: Vec<String> = (0..5_000).map(|number| format!("late-{number}")).collect();
    let mut passed = 0;
    for user in &users {
        let looked = peek(&store, &plan(&rules, &[0], user), START);
        let outcome = apply(&store, &plan(&rules, &[0], user), START);
        assert_eq!(looked.results[0].verdict, outcome.results[0].verdict, "a peek sees the same bucket");
        passed += u64::from(outcome.charged);
    }
    let after = store.stats();
    assert_eq!((after.spilled - before.spilled, after.evicted_live), (passed, 0));
    assert!(passed <= 64 * 10, "one bucket per shard: {passed}");
    let user = &users[0];
    ready(store.reset(&plan(&rules, &[0], user), START)).unwrap();
    assert!(apply(&store, &plan(&rules, &[0], user), START).charged);
    assert_eq!(peek(&store, &plan(&rules, &[0], user), START).results[0].gauge.used, 1);
    ready(store.refund(&plan(&rules, &[0], user), START)).unwrap();
    assert_eq!(peek(&store, &plan(&rules, &[0], user), START).results[0].gauge.used, 0);
}

/// A small store in which no key finds room any more.
fn full_store(rules: &tidegate_core::rule::RuleSet) -> MemoryStore {
    let store = store(MIN_MEMORY_BYTES);
    for number in 0..100_000 {
        apply(&store, &plan(rules, &[0], &format!("user-{number}")), START);
    }
    assert!(store.stats().spilled > 0 && store.stats().bytes <= MIN_MEMORY_BYTES, "{:?}", store.stats());
    store
}

/// Permits of a shared bucket are given back by the address of the key that took them.
#[test]
fn permits_of_a_shared_bucket_are_given_back() {
    let rules = rules(&[(Algorithm::Concurrency, 3, HOUR)]);
    let store = full_store(&rules);
    let taken = (0..100_000_u64).find(|number| {
        let before = store.stats().spilled;
        let (user, mut plan) = (format!("late-{number}"), Plan::new(1));
        let rule = &common::all_of(&rules)[0];
        plan.add(rule, rule.metered(None), 0, &[("user", &user)]);
        plan.permit = 1_000_000 + number;
        // A full shared bucket is emptied first.
        ready(store.reset(&plan, START)).unwrap();
        apply(&store, &plan, START).charged && store.stats().spilled > before
    });
    let number = taken.expect("some key shares");
    let plan = plan(&rules, &[0], &format!("late-{number}"));
    let address = store.address(&plan, &plan.buckets()[0]);
    assert_eq!(ready(store.release(&address, 1_000_000 + number, START)), Ok(true));
    assert_eq!(ready(store.release(&address, 1_000_000 + number, START)), Ok(false));
    assert_eq!(ready(store.release(&Default::default(), 1, START)), Ok(false), "no address at all");
}

/// Logs may grow to a hundred thousand entries each: together they stay within the bound, and never admit too many.
#[test]
fn logs_and_permits_are_bounded_together() {
    for algorithm in [Algorithm::SlidingWindowLog, Algorithm::Concurrency] {
        let rules = rules(&[(algorithm, 10_000, HOUR)]);
        let store = store(MIN_MEMORY_BYTES);
        let mut most = 0;
        for number in 0..60_000_u64 {
            let now = START.saturating_add(Micros::from_micros(number));
            let mut plan = plan(&rules, &[0], &format!("user-{}", number % 40));
            plan.permit = number;
            apply(&store, &plan, now);
            if number % 64 == 0 {
                most = most.max(store.stats().bytes);
            }
        }
        assert!(most <= MIN_MEMORY_BYTES * 11 / 10, "{algorithm}: {most}");
        if algorithm == Algorithm::SlidingWindowLog {
            let end = Timestamp::from_micros(START.as_micros() + 60_000);
            for user in 0..40 {
                let used =
                    peek(&store, &plan(&rules, &[0], &format!("user-{user}")), end).results[0].gauge.used;
                assert_eq!(used, 1_500, "precision may be lost, units never");
            }
        }
    }
}

/// A bucket that a changed rule has slowed down is kept until it is at rest under the new rule.
#[test]
fn a_slower_rule_keeps_buckets_that_the_old_one_would_have_dropped() {
    let fast = rules(&[(Algorithm::TokenBucket, 10, Micros::from_secs(1))]);
    let slow = rules(&[(Algorithm::TokenBucket, 10, HOUR)]);
    let store = store(MIN_MEMORY_BYTES * 64);
    for _ in 0..10 {
        assert!(apply(&store, &plan(&fast, &[0], "ann"), START).charged);
    }
    let slow = slow.succeeding(&fast, START);
    store.rules_changed(&slow, START);
    let later = START.saturating_add(Micros::from_secs(60));
    store.sweep(later, usize::MAX);
    assert!(!apply(&store, &plan(&slow, &[0], "ann"), later).charged, "ten units fade in an hour now");
    let rested = START.saturating_add(HOUR).saturating_add(Micros::from_secs(2));
    assert_eq!(store.sweep(rested, usize::MAX).dropped, 1);
    assert_eq!(store.stats().keys, 0);
}
