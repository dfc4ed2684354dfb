//! Goal: a quota that a request brings itself is kept exactly, whoever else asks, whatever came before.
//! Method: the embedded store on a clock that the test moves, against a token bucket counted in whole numbers; threads for
//! races; a snapshot for restarts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

use proptest::prelude::*;
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::rule::RuleSet;
use tidegate_core::time::{Micros, Timestamp};
use tidegate_engine::{Decision, Engine, MAX_AD_HOC_QUOTAS, ManualClock};
use tidegate_store::{MemoryOptions, MemoryStore};

const START: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

type TestEngine = Engine<MemoryStore, ManualClock>;

fn engine_over(store: MemoryStore) -> (TestEngine, ManualClock) {
    let clock = ManualClock::new(START);
    (Engine::with_parts(RuleSet::default(), store, clock.clone(), None), clock)
}

fn engine() -> (TestEngine, ManualClock) {
    engine_over(MemoryStore::new(&MemoryOptions::new([1, 2])))
}

fn quota(count: u64, period_s: u64, burst: u64) -> Quota {
    Quota::new(Algorithm::TokenBucket, count, Micros::from_secs(period_s), Some(burst)).unwrap()
}

async fn throttle(engine: &TestEngine, family: &str, key: &str, quota: Quota, cost: u64) -> Decision {
    let ad_hoc = engine.ad_hoc(family, Algorithm::TokenBucket, quota).unwrap();
    engine.throttle(&ad_hoc, key, cost).await.unwrap()
}

fn remaining(decision: &Decision) -> u64 {
    decision.binding().unwrap().gauge.remaining
}

#[tokio::test]
async fn families_and_keys_have_buckets_of_their_own() {
    let (engine, _) = engine();
    let quota = quota(30, 60, 16);
    for (family, key) in [("a", "k"), ("b", "k"), ("a", "l")] {
        assert_eq!(remaining(&throttle(&engine, family, key, quota, 1).await), 15, "{family} {key}");
    }
    assert_eq!(remaining(&throttle(&engine, "a", "k", quota, 1).await), 14);
    let ad_hoc = engine.ad_hoc("a", Algorithm::TokenBucket, quota).unwrap();
    let peeked = engine.peek_throttle(&ad_hoc, "k", 14).await.unwrap();
    assert!(peeked.is_allowed() && remaining(&peeked) == 14, "a look takes nothing");
    assert!(!engine.peek_throttle(&ad_hoc, "k", 15).await.unwrap().is_allowed());
}

#[tokio::test]
async fn other_numbers_continue_the_bucket_as_it_is() {
    let (engine, clock) = engine();
    for _ in 0..5 {
        throttle(&engine, "f", "k", quota(10, 10, 10), 1).await;
    }
    // Five seconds from rest: at half a unit a second that is two and a half of four.
    let slower = throttle(&engine, "f", "k", quota(1, 2, 4), 1).await;
    assert!(slower.is_allowed());
    assert_eq!(remaining(&slower), 0);
    assert_eq!(slower.binding().unwrap().gauge.reset_after, Micros::from_secs(7));
    assert!(!throttle(&engine, "f", "k", quota(1, 2, 4), 1).await.is_allowed());
    clock.advance(Micros::from_secs(1));
    assert!(throttle(&engine, "f", "k", quota(1, 2, 4), 1).await.is_allowed());
    // Another burst at the same rate is compared with the same state.
    assert_eq!(remaining(&throttle(&engine, "f", "k", quota(1, 2, 10), 1).await), 5);
}

#[tokio::test]
async fn a_count_means_nothing_in_another_window_nor_to_another_algorithm() {
    let (engine, _) = engine();
    let mut left = Vec::new();
    for (algorithm, window) in [
        (Algorithm::FixedWindow, 60),
        (Algorithm::FixedWindow, 3_600),
        (Algorithm::SlidingWindow, 60),
        (Algorithm::TokenBucket, 60),
        (Algorithm::FixedWindow, 60),
    ] {
        let quota = Quota::new(algorithm, 5, Micros::from_secs(window), None).unwrap();
        let ad_hoc = engine.ad_hoc("f", algorithm, quota).unwrap();
        left.push(remaining(&engine.throttle(&ad_hoc, "k", 1).await.unwrap()));
    }
    assert_eq!(left, [4, 4, 4, 4, 3]);
}

#[tokio::test]
async fn more_quotas_than_are_kept_ready_are_exact_all_the_same() {
    let (engine, _) = engine();
    for round in 0..2 {
        for burst in 1..=2 * MAX_AD_HOC_QUOTAS as u64 {
            let decision = throttle(&engine, "f", &burst.to_string(), quota(1, 3_600, burst + 1), 1).await;
            assert_eq!(remaining(&decision), burst - round, "round {round}");
        }
    }
}

#[test]
fn threads_together_get_exactly_the_burst() {
    let (engine, _) = engine();
    let allowed: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                let engine = engine.clone();
                scope.spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    runtime.block_on(async {
                        let mut allowed = 0;
                        for call in 0..500 {
                            // The same rate in other words, and other bursts that are never reached.
                            let quota = quota(1 + (thread + call) % 3, (1 + (thread + call) % 3) * 60, 1_000);
                            allowed += u64::from(throttle(&engine, "f", "k", quota, 1).await.is_allowed());
                        }
                        allowed
                    })
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(allowed, 1_000);
}

#[tokio::test]
async fn a_snapshot_keeps_the_buckets() {
    let (engine, _) = engine();
    let quota = quota(30, 60, 16);
    throttle(&engine, "f", "k", quota, 9).await;
    let mut bytes = Vec::new();
    engine.store().write_snapshot(&mut bytes, START).unwrap();
    let restored = MemoryStore::restore(&*bytes, &MemoryOptions::new([7, 7]), START).unwrap();
    let (engine, _) = engine_over(restored);
    assert_eq!(remaining(&throttle(&engine, "f", "k", quota, 1).await), 6);
}

/// A token bucket in whole numbers: tokens are counted in units of one over the period in microseconds.
struct Reference {
    count: u128,
    period_us: u128,
    burst: u128,
    level: u128,
}

impl Reference {
    fn advance(&mut self, micros: u64) {
        let full = self.burst * self.period_us;
        self.level = (self.level + u128::from(micros) * self.count).min(full);
    }

    /// Whether so many units may pass, what is left, and the time until they may.
    fn take(&mut self, cost: u64) -> (bool, u64, Option<u64>) {
        let wanted = u128::from(cost) * self.period_us;
        let allowed = wanted <= self.level;
        let retry = (wanted - self.level.min(wanted)).div_ceil(self.count) as u64;
        if allowed {
            self.level -= wanted;
        }
        let possible = u128::from(cost) <= self.burst;
        (allowed, (self.level / self.period_us) as u64, (!allowed && possible).then_some(retry))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    /// CL.THROTTLE key max_burst count period: a token bucket of max_burst + 1 units, refilled by count in each period.
    #[test]
    fn it_is_a_token_bucket(
        max_burst in 0_u64..40,
        count in 1_u64..50,
        period_s in 1_u64..90,
        calls in prop::collection::vec((0_u64..3_000_000, 0_u64..8), 1..80),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (engine, clock) = engine();
        let (burst, period_us) = (u128::from(max_burst) + 1, u128::from(period_s) * 1_000_000);
        let mut reference = Reference { count: u128::from(count), period_us, burst, level: burst * period_us };
        for (pause, cost) in calls {
            clock.advance(Micros::from_micros(pause));
            reference.advance(pause);
            let decision = runtime.block_on(throttle(&engine, "f", "k", quota(count, period_s, max_burst + 1), cost));
            let retry = decision.retry_after().map(Micros::as_micros);
            let said = (decision.is_allowed(), remaining(&decision), retry);
            prop_assert_eq!(said, reference.take(cost));
        }
    }
}
