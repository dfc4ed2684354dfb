//! Real threads on one store: exactly what the quota allows passes, and overlapping plans never wait for each other
//! for ever.

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use common::{SEED, START, apply, peek, plan, rules};
use tidegate_core::quota::Algorithm;
use tidegate_core::time::Micros;
use tidegate_store::{MemoryOptions, MemoryStore};

const THREADS: usize = 64;
const HOUR: Micros = Micros::from_secs(3_600);

#[test]
fn all_threads_together_get_exactly_the_burst() {
    for algorithm in Algorithm::ALL {
        let rules = rules(&[(algorithm, 1_000, HOUR)]);
        let burst = if algorithm == Algorithm::LeakyBucket { 1 } else { 1_000 };
        let store = MemoryStore::new(&MemoryOptions::new(SEED));
        let passed = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let charged = apply(&store, &plan(&rules, &[0], "ann"), START).charged;
                        passed.fetch_add(u64::from(charged), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(passed.into_inner(), burst, "{algorithm}");
    }
}

/// Threads ask overlapping buckets in different orders, on few shards and on many. What every bucket says it has used
/// is what the callers were granted.
#[test]
fn overlapping_plans_neither_deadlock_nor_miscount() {
    let orders: [&[usize]; 6] = [&[0, 1, 2], &[2, 1, 0], &[1, 0], &[0, 2], &[2, 1], &[1]];
    let users = ["ann", "bob", "cid"];
    let rules = rules(&[
        (Algorithm::FixedWindow, 700, HOUR),
        (Algorithm::SlidingWindowLog, 600, HOUR),
        (Algorithm::Concurrency, 500, HOUR),
    ]);
    for shards in [1, 2, 64] {
        let store = MemoryStore::new(&MemoryOptions { shards: Some(shards), ..MemoryOptions::new(SEED) });
        let granted: [[AtomicU64; 3]; 3] = Default::default();
        thread::scope(|scope| {
            for number in 0..24_usize {
                let (store, rules, granted) = (&store, &rules, &granted);
                scope.spawn(move || {
                    for round in 0..200 {
                        let user = (number + round) % users.len();
                        let order = orders[(number * 7 + round) % orders.len()];
                        if apply(store, &plan(rules, order, users[user]), START).charged {
                            for place in order {
                                granted[user][*place].fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                });
            }
        });
        for (user, granted) in users.iter().zip(&granted) {
            let outcome = peek(&store, &plan(&rules, &[0, 1, 2], user), START);
            for (result, granted) in outcome.results.iter().zip(granted) {
                assert_eq!(result.gauge.used, granted.load(Ordering::Relaxed), "{user}, {shards} shards");
            }
        }
    }
}

#[test]
fn one_idempotency_key_is_charged_once_by_all_threads() {
    let rules = rules(&[(Algorithm::FixedWindow, 1_000, HOUR)]);
    let store = MemoryStore::new(&MemoryOptions::new(SEED));
    let first = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for round in 0..20_u64 {
                    let mut plan = plan(&rules, &[0], "ann");
                    plan.idempotency_key = Some(Box::from(round.to_le_bytes().as_slice()));
                    let outcome = apply(&store, &plan, START);
                    assert!(outcome.charged);
                    first.fetch_add(u64::from(!outcome.repeated), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(first.into_inner(), 20);
    assert_eq!(peek(&store, &plan(&rules, &[0], "ann"), START).results[0].gauge.used, 20);
}
