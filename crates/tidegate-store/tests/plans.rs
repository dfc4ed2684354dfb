//! Plans out of the ordinary, as the memory store takes them.

mod common;

use common::{START, apply, peek, plan, ready, rules, store};
use tidegate_core::quota::Algorithm;
use tidegate_core::time::Micros;
use tidegate_store::{BucketStore, DEFAULT_MEMORY_BYTES};

/// A bucket that stands in a plan twice is one bucket: charged once, wherever its state is kept.
#[test]
fn a_bucket_that_stands_twice_is_charged_once() {
    for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| *algorithm != Algorithm::LeakyBucket) {
        let rules = rules(&[(algorithm, 3, Micros::from_secs(60))]);
        let store = store(DEFAULT_MEMORY_BYTES);
        let twice = plan(&rules, &[0, 0], "ann");
        for used in 1..=3 {
            let outcome = apply(&store, &twice, START);
            assert!(outcome.charged);
            assert_eq!(outcome.results[0], outcome.results[1]);
            assert_eq!(outcome.results[0].gauge.used, used, "{algorithm}");
        }
        assert!(!apply(&store, &twice, START).charged);
        assert_eq!(peek(&store, &plan(&rules, &[0], "ann"), START).results[0].gauge.used, 3, "{algorithm}");
        ready(store.refund(&twice, START)).unwrap();
        let used = if algorithm == Algorithm::Concurrency { 3 } else { 2 };
        assert_eq!(peek(&store, &twice, START).results[1].gauge.used, used, "{algorithm}");
    }
}

/// The rules changed between a call and its retry: it is not charged again, and the results fit the new plan.
#[test]
fn a_retry_under_other_rules_is_not_charged_again() {
    let quota = (Algorithm::FixedWindow, 10, Micros::from_secs(60));
    let rules = rules(&[quota, quota]);
    let store = store(DEFAULT_MEMORY_BYTES);
    let keyed = |places| {
        let mut plan = plan(&rules, places, "ann");
        plan.idempotency_key = Some(Box::from(b"order-1".as_slice()));
        plan
    };
    assert!(apply(&store, &keyed(&[0]), START).charged);
    let again = apply(&store, &keyed(&[0, 1]), START);
    assert!(again.charged && again.repeated);
    let used: Vec<u64> = again.results.iter().map(|result| result.gauge.used).collect();
    assert_eq!(used, [1, 0]);
}
