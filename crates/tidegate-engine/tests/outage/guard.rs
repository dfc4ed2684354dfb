//! The guard: when calls reach the store, and how soon its return is noticed.

use std::sync::Arc;
use std::time::Duration;

use tidegate_store::StoreError;

use super::*;

fn rules() -> Vec<Rule> {
    vec![bucket("r", 100, FailurePolicy::Allow)]
}

#[tokio::test(start_paused = true)]
async fn after_five_failures_no_call_reaches_the_store() {
    let site = Site::new(rules());
    site.store.set(Mood::Failing);
    for failures in 1..=5 {
        assert!(site.decide().await.is_allowed());
        assert_eq!(site.engine.breaker_status().consecutive_failures, failures);
    }
    assert_eq!(site.engine.breaker_status().state, BreakerState::Open);
    assert_eq!(site.passed(1_000).await, 1_000);
    assert_eq!(site.store.calls(), 5);
    assert_eq!(site.engine.breaker_status().rejected, 1_000);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_costs_its_deadline_five_times_and_then_nothing() {
    let guard = GuardOptions { call_deadline: Some(Duration::from_millis(100)), ..GuardOptions::default() };
    let site = Site::with(rules(), guard, EngineOptions::default());
    site.store.set(Mood::Hanging);
    let began = tokio::time::Instant::now();
    for _ in 0..5 {
        let decision = site.decide().await;
        assert_eq!(decision.degraded().unwrap().cause, tidegate_engine::FailureCause::Timeout);
    }
    assert_eq!(began.elapsed(), Duration::from_millis(500));
    site.passed(1_000).await;
    assert_eq!(began.elapsed(), Duration::from_millis(500), "nobody waits any more");
}

#[tokio::test(start_paused = true)]
async fn after_the_cool_down_one_call_is_let_through_while_the_others_are_not() {
    let site = Site::new(rules());
    site.outage().await;
    site.clock.advance(Micros::from_secs(60));
    site.store.set(Mood::Hanging);
    let before = site.store.calls();
    let trial = tokio::spawn({
        let engine = site.engine.clone();
        async move { engine.decide(&request()).await.unwrap().degraded() }
    });
    while site.store.calls() == before {
        tokio::task::yield_now().await;
    }
    assert_eq!(site.engine.breaker_status().state, BreakerState::HalfOpen);
    assert_eq!(site.passed(10).await, 10);
    assert_eq!(site.store.calls(), before + 1, "one at a time");
    site.store.set(Mood::Well);
    assert_eq!(trial.await.unwrap(), None, "the one was answered by the store");
    assert_eq!(site.engine.breaker_status().state, BreakerState::Closed);
    assert_eq!(site.decide().await.degraded(), None);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_does_not_block_the_way_back() {
    let site = Site::new(rules());
    site.outage().await;
    site.clock.advance(Micros::from_secs(60));
    site.store.set(Mood::Hanging);
    let entries = request();
    let left = tokio::time::timeout(Duration::from_millis(10), site.engine.decide(&entries)).await;
    assert!(left.is_err());
    site.store.set(Mood::Well);
    assert_eq!(site.decide().await.degraded(), None);
}

#[tokio::test(start_paused = true)]
async fn with_probes_the_return_is_noticed_within_two_seconds() {
    let site = Site::new(rules());
    site.spawn_loops();
    site.advance(5_000).await;
    assert_eq!(site.store.probes(), 0, "a store that answers is not probed");
    site.outage().await;
    let calls = site.store.calls();
    site.advance(10_000).await;
    let probes = site.store.probes();
    assert!((16..=27).contains(&probes), "one every half second, give or take: {probes}");
    assert_eq!(site.store.calls(), calls, "probes only");
    site.store.set(Mood::Well);
    site.advance(2_000).await;
    assert_eq!(site.decide().await.degraded(), None);
    assert_eq!(site.engine.breaker_status().state, BreakerState::Closed);
    let probes = site.store.probes();
    site.advance(5_000).await;
    assert_eq!(site.store.probes(), probes, "and that was the last probe");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_hangs_ends_and_the_return_is_noticed_all_the_same() {
    let site = Site::new(rules());
    site.spawn_loops();
    site.outage().await;
    site.store.set(Mood::Hanging);
    site.advance(10_000).await;
    assert!((8..=14).contains(&site.store.probes()), "{}", site.store.probes());
    site.store.set(Mood::Well);
    site.advance(2_000).await;
    assert_eq!(site.decide().await.degraded(), None);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_answers_probes_only_stays_closed_to_all_but_one_call_a_probe() {
    let site = Site::new(rules());
    site.spawn_loops();
    site.outage().await;
    site.store.set(Mood::OnlyProbes);
    let calls = site.store.calls();
    for _ in 0..100 {
        site.advance(100).await;
        site.passed(10).await;
    }
    let trials = site.store.calls() - calls;
    assert!((10..=27).contains(&trials), "of 1,000 calls in 10 s: {trials}");
}

#[tokio::test(start_paused = true)]
async fn an_observer_hears_of_every_change_once() {
    let seen = Seen::default();
    let clock = ManualClock::new(START);
    let store = Flaky::default();
    let observer: Arc<dyn tidegate_engine::Observer> = Arc::new(seen.clone());
    let guarded =
        Guarded::new("redis", store.clone(), GuardOptions::default(), clock.clone(), Some(observer));
    let options = EngineOptions { breaker: Some(guarded.breaker()), ..EngineOptions::default() };
    let site =
        Site { engine: Engine::with_options(set(rules()), guarded, clock.clone(), options), store, clock };
    site.outage().await;
    site.passed(100).await;
    site.recovery().await;
    site.passed(100).await;
    use BreakerState::{Closed, HalfOpen, Open};
    assert_eq!(*seen.0.lock().unwrap(), [Open, HalfOpen, Closed]);
}

/// Calls of the store, as an observer hears of them.
#[derive(Clone, Default)]
struct Calls(Arc<std::sync::Mutex<Vec<Call>>>);

/// How long it took, and why it failed.
type Call = (Micros, Option<FailureCause>);

impl tidegate_engine::Observer for Calls {
    fn decided(&self, _: &Decision) {}

    fn store_called(&self, took: Micros, error: Option<&StoreError>) {
        self.0.lock().unwrap().push((took, error.map(FailureCause::of)));
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_hears_of_every_call_that_reached_the_store() {
    let calls = Calls::default();
    let (clock, store) = (ManualClock::new(START), Flaky::default());
    let observer: Arc<dyn tidegate_engine::Observer> = Arc::new(calls.clone());
    let guarded =
        Guarded::new("redis", store.clone(), GuardOptions::default(), clock.clone(), Some(observer));
    let options = EngineOptions { breaker: Some(guarded.breaker()), ..EngineOptions::default() };
    let site =
        Site { engine: Engine::with_options(set(rules()), guarded, clock.clone(), options), store, clock };
    site.passed(2).await;
    site.store.set(Mood::Failing);
    site.passed(100).await;
    let well = (Micros::ZERO, None);
    let failed = (Micros::ZERO, Some(FailureCause::Unavailable));
    assert_eq!(*calls.0.lock().unwrap(), [well, well, failed, failed, failed, failed, failed]);
}
