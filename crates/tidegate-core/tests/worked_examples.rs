//! Goal: the worked examples of docs/reference/algorithms.md are true. Method: each is done as it is told there.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail, and prints its seed"
)]

mod common;

use common::*;
use tidegate_core::algorithm::{Ask, Meter, State};
use tidegate_core::decision::Verdict;
use tidegate_core::model::Take;
use tidegate_core::quota::Algorithm;
use tidegate_core::rule::model::{Queue, Rule};
use tidegate_core::time::Micros;

/// Noon, and a meter at rest.
struct Example {
    meter: Meter,
    state: State,
}

const ALLOW: Verdict = Verdict::ALLOW;
const MILLIS: u64 = 1_000;

impl Example {
    fn new(
        algorithm: Algorithm,
        limit: u64,
        window_s: u64,
        burst: Option<u64>,
        queue: Option<Queue>,
    ) -> Self {
        let meter = Meter::new(algorithm, quota(algorithm, limit, window_s * SECOND, burst), queue);
        Self { state: meter.fresh(), meter }
    }

    /// Asks for `cost` this many milliseconds after noon, and takes it where it passes.
    fn ask(&mut self, after_ms: u64, cost: u64) -> Verdict {
        let now = at(START + 12 * 3_600 * SECOND + after_ms * MILLIS);
        let ask = Ask { cost, reserved: 0, permit: after_ms };
        let verdict = self.meter.judge(&self.state, now, &ask);
        if verdict.is_allow() {
            self.meter.charge(&mut self.state, now, &ask);
        }
        verdict
    }
}

fn told(millis: u64) -> Verdict {
    Verdict::Deny { retry_after: Some(Micros::from_millis(millis)) }
}

#[test]
fn token_bucket() {
    let mut example = Example::new(Algorithm::TokenBucket, 10, 60, Some(5), None);
    (0..5).for_each(|_| assert_eq!(example.ask(0, 1), ALLOW));
    assert_eq!(example.ask(0, 1), told(6_000));
    assert_eq!(example.ask(6_000, 1), ALLOW);
    assert_eq!(example.ask(6_000, 1), told(6_000));
    assert_eq!(example.ask(6_000, 6), Verdict::NEVER);
}

#[test]
fn leaky_bucket_with_a_queue() {
    let queue = Queue { max_wait: Micros::from_secs(1), max_depth: 10 };
    let mut example = Example::new(Algorithm::LeakyBucket, 2, 1, None, Some(queue));
    let waits = |millis| Verdict::Allow { wait: Micros::from_millis(millis) };
    let answers: Vec<_> = (0..4).map(|_| example.ask(0, 1)).collect();
    assert_eq!(answers, [ALLOW, waits(500), waits(1_000), told(500)]);
}

#[test]
fn fixed_window() {
    let mut example = Example::new(Algorithm::FixedWindow, 10, 60, None, None);
    assert_eq!(example.ask(59_000, 10), ALLOW);
    assert_eq!(example.ask(59_000, 1), told(1_000));
    assert_eq!(example.ask(60_000, 10), ALLOW);
}

#[test]
fn sliding_window() {
    let mut example = Example::new(Algorithm::SlidingWindow, 10, 60, None, None);
    assert_eq!(example.ask(0, 8), ALLOW);
    assert_eq!(example.ask(75_000, 3), ALLOW);
    assert_eq!(example.ask(75_000, 2), told(7_500));
    assert_eq!(example.ask(75_000, 1), ALLOW);
    assert_eq!(example.ask(75_000, 11), Verdict::NEVER);
}

#[test]
fn sliding_window_log() {
    let mut example = Example::new(Algorithm::SlidingWindowLog, 3, 10, None, None);
    [0, 4_000, 7_000].iter().for_each(|after| assert_eq!(example.ask(*after, 1), ALLOW));
    assert_eq!(example.ask(8_000, 1), told(2_000));
    assert_eq!(example.ask(8_000, 2), told(6_000));
}

#[test]
fn concurrency() {
    let mut example = Example::new(Algorithm::Concurrency, 2, 30, None, None);
    assert_eq!(example.ask(0, 1), ALLOW);
    assert_eq!(example.ask(10_000, 1), ALLOW);
    assert_eq!(example.ask(12_000, 1), told(18_000));
    let State::Permits(permits) = &mut example.state else { unreachable!("a state of permits") };
    assert!(permits.release(0, at(START + 12 * 3_600 * SECOND + 13 * SECOND)));
    assert_eq!(example.ask(13_000, 1), ALLOW);
}

#[test]
fn a_change_of_rule() {
    let rule = |limit| {
        Rule::new("r", Algorithm::TokenBucket, quota(Algorithm::TokenBucket, limit, 60 * SECOND, None))
    };
    let mut real = RealStore::new(&[rule(100)], Eviction::AtRest);
    let asked = [bucket("r", "", None, 0)];
    assert!(real.apply(&asked, Take { cost: 100, permit: 0 }, at(START)).charged);
    real.replace_rules(&[rule(10)], at(START));
    let (verdict, gauge) = real.apply(&asked, Take { cost: 1, permit: 0 }, at(START)).results[0];
    assert_eq!((verdict, gauge.used), (told(546_000), 100));
}
