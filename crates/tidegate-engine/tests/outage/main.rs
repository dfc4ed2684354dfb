//! Goal: while the store does not answer, nobody waits for it, every rule's policy is kept, and what was let through is
//! paid back.
//! Method: the embedded store behind a switch that makes it fail or hang, under the guard, on a clock that the test moves
//! together with tokio's paused time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod ad_hoc;
mod debts;
mod guard;
mod policies;
mod share;
mod store;

use std::sync::Arc;
use std::time::Duration;

use store::{Flaky, Mood};
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::rule::RuleSet;
use tidegate_core::rule::model::{Domain, FailurePolicy, Rule, Rules};
use tidegate_core::time::{Micros, Timestamp};
use tidegate_engine::{
    BreakerState, Decision, Engine, EngineOptions, FailureCause, GuardOptions, Guarded, ManualClock, Request,
    Selection,
};

const START: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);
const MINUTE: Micros = Micros::from_secs(60);
const USER: [(&str, &str); 1] = [("user", "u1")];

type TestEngine = Engine<Guarded<Flaky>, ManualClock>;

fn rule(name: &str, algorithm: Algorithm, limit: u64, policy: FailurePolicy) -> Rule {
    let quota = Quota::new(algorithm, limit, MINUTE, None).unwrap();
    Rule { on_store_failure: Some(policy), ..Rule::new(name, algorithm, quota).with_key(["user"]) }
}

/// A token bucket of one user.
fn bucket(name: &str, limit: u64, policy: FailurePolicy) -> Rule {
    rule(name, Algorithm::TokenBucket, limit, policy)
}

fn set(rules: Vec<Rule>) -> RuleSet {
    RuleSet::compile(Rules { domains: vec![Domain::new("d", rules)] }).unwrap()
}

fn request() -> Request<'static> {
    Request::new("d", &USER)
}

/// An engine with its guarded store, the switch, and the clock.
struct Site {
    engine: TestEngine,
    store: Flaky,
    clock: ManualClock,
}

impl Site {
    fn new(rules: Vec<Rule>) -> Self {
        Self::with(rules, GuardOptions::default(), EngineOptions::default())
    }

    fn with(rules: Vec<Rule>, guard: GuardOptions, options: EngineOptions) -> Self {
        let (clock, store) = (ManualClock::new(START), Flaky::default());
        let guarded = Guarded::new("redis", store.clone(), guard, clock.clone(), None);
        let options = EngineOptions { breaker: Some(guarded.breaker()), ..options };
        let engine = Engine::with_options(set(rules), guarded, clock.clone(), options);
        Self { engine, store, clock }
    }

    async fn decide(&self) -> Decision {
        self.engine.decide(&request()).await.unwrap()
    }

    /// How many of so many requests pass.
    async fn passed(&self, asked: u64) -> u64 {
        let mut passed = 0;
        for _ in 0..asked {
            passed += u64::from(self.decide().await.is_allowed());
        }
        passed
    }

    /// The store fails, and the circuit is open.
    async fn outage(&self) {
        self.store.set(Mood::Failing);
        while self.engine.breaker_status().state != BreakerState::Open {
            let _ = self.engine.stats(&Selection::new("d", "nobody")).await;
        }
    }

    /// The store is well again, and the circuit closed.
    async fn recovery(&self) {
        self.store.set(Mood::Well);
        self.advance(60_000).await;
        self.engine.stats(&Selection::new("d", "nobody")).await.unwrap();
        assert_eq!(self.engine.breaker_status().state, BreakerState::Closed);
    }

    /// Moves both clocks, by steps small enough for every timer to be on time by either.
    async fn advance(&self, millis: u64) {
        for _ in 0..millis / 25 {
            self.clock.advance(Micros::from_millis(25));
            tokio::time::advance(Duration::from_millis(25)).await;
            tokio::task::yield_now().await;
        }
    }

    fn spawn_loops(&self) {
        let engine = self.engine.clone();
        tokio::spawn(async move { engine.store().probe_loop().await });
        let engine = self.engine.clone();
        tokio::spawn(async move { engine.settle_loop().await });
    }
}

/// What an observer saw.
#[derive(Clone, Default)]
struct Seen(Arc<std::sync::Mutex<Vec<BreakerState>>>);

impl tidegate_engine::Observer for Seen {
    fn decided(&self, _: &Decision) {}

    fn breaker_changed(&self, status: &tidegate_engine::BreakerStatus) {
        let mut seen = self.0.lock().unwrap();
        seen.push(status.state);
        assert_eq!(status.transitions as usize, seen.len(), "every change, once, in order");
    }
}
