//! Goal: the real algorithms answer exactly as the reference model does, to the last integer.
//! Method: random operations (costs, reserves, queues, refunds, peeks, resets, releases, clock steps) on one bucket and on
//! hierarchies of up to four, with random quotas, done on both; every verdict and every gauge is compared.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail, and prints its seed"
)]

mod common;

use common::*;
use tidegate_core::model::{ModelBucket, ModelStore, Take};
use tidegate_core::quota::Algorithm;
use tidegate_core::rule::model::{Mode, Rule};

/// How clocks behave in a trace.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clock {
    Forward,
    Steps,
}

/// Both stores, and the time.
struct Trace {
    random: Random,
    real: RealStore,
    model: ModelStore,
    now: u64,
    clock: Clock,
    permits: u64,
    allowed: u64,
    denied: u64,
}

impl Trace {
    fn new(seed: u64, rules: &[Rule], clock: Clock) -> Self {
        let mut random = Random::new(seed);
        let now = START + random.below(DAY);
        let evicts = if clock == Clock::Forward { Eviction::AtRest } else { Eviction::Never };
        let mut model = ModelStore::new();
        rules.iter().for_each(|rule| model.change_rule(rule, at(now)));
        let real = RealStore::new(rules, evicts);
        Self { random, real, model, now, clock, permits: 0, allowed: 0, denied: 0 }
    }

    fn advance(&mut self, window: u64) {
        let step = match self.random.below(8) {
            0..=2 => 0,
            3..=4 => self.random.below(window / 10 + 2),
            5 => self.random.below(window + 2),
            6 => self.random.any_size(4 * window),
            // To a boundary of the aligned window, or one microsecond before it.
            _ => (window - self.now % window) - self.random.below(2),
        };
        self.now += step;
        if self.clock == Clock::Steps && self.random.once_in(20) {
            let step = self.random.pick(&[1, 1_000, SECOND, 9 * SECOND, 10 * SECOND + 1, 3_600 * SECOND]);
            self.now = if self.random.once_in(2) { self.now + step } else { self.now - step };
        }
    }

    fn step(&mut self, buckets: &[ModelBucket], burst: u64) {
        let cost = match self.random.below(12) {
            0 => 0,
            1..=5 => 1,
            6..=7 => self.random.range(1, burst.max(1)),
            8 => self.random.any_size(burst.max(1)),
            9 => burst,
            10 => burst.saturating_add(self.random.range(0, 2)),
            _ => self.random.pick(&[u64::MAX, u64::MAX - 1, 1 << 53, 3]),
        };
        let now = at(self.now);
        let context = || format!("now={now:?} cost={cost} buckets={buckets:?}");
        match self.random.below(16) {
            0 => assert_eq!(
                self.real.refund(buckets, cost, now),
                self.model.refund(buckets, cost, now),
                "refund {}",
                context()
            ),
            1..=2 => assert_eq!(
                self.real.peek(buckets, cost, now),
                self.model.peek(buckets, cost, now),
                "peek {}",
                context()
            ),
            3 if self.random.once_in(20) => {
                self.real.reset(buckets);
                self.model.reset(buckets);
            }
            3..=4 => {
                let permit = self.permits - self.random.below(20).min(self.permits);
                for bucket in buckets {
                    let real = self.real.release(&bucket.rule, &bucket.key, permit, now);
                    let model = self.model.release(&bucket.rule, &bucket.key, permit, now);
                    assert_eq!(real, model, "release {permit} {}", context());
                }
            }
            _ => {
                self.permits += 1;
                let take = Take { cost, permit: self.permits };
                let outcome = self.real.apply(buckets, take, now);
                assert_eq!(outcome, self.model.apply(buckets, take, now), "apply {}", context());
                if outcome.charged { self.allowed += 1 } else { self.denied += 1 }
            }
        }
    }
}

fn random_rule(random: &mut Random, name: &str, algorithm: Algorithm) -> Rule {
    let mut rule = Rule::new(name, algorithm, random_quota(random, algorithm)).with_key(["k"]);
    rule.queue = random_queue(random, algorithm);
    rule
}

/// `operations` steps in traces of 500, each with new quotas.
fn compare(algorithm: Algorithm, clock: Clock) {
    let seed = seed() ^ algorithm as u64;
    let total = operations(60_000);
    let (mut allowed, mut denied) = (0, 0);
    for number in 0..total.div_ceil(500) {
        let mut random = Random::new(seed.wrapping_add(number));
        let rule = random_rule(&mut random, "r", algorithm);
        let quota = rule.quota;
        let mut trace = Trace::new(random.next(), &[rule], clock);
        for _ in 0..500 {
            trace.advance(quota.window().as_micros());
            let key = trace.random.pick(&["a", "a", "b"]);
            let reserved = if trace.random.once_in(3) { trace.random.below(quota.burst() + 2) } else { 0 };
            trace.step(&[bucket("r", key, None, reserved)], quota.burst());
        }
        allowed += trace.allowed;
        denied += trace.denied;
    }
    println!("{algorithm}: {total} operations, {allowed} allowed, {denied} denied");
    assert!(
        allowed * 10 > total && denied * 10 > total,
        "a trace that never changes its answer tests little"
    );
}

fn compare_both(algorithm: Algorithm) {
    compare(algorithm, Clock::Forward);
    compare(algorithm, Clock::Steps);
}

#[test]
fn token_bucket_equals_the_model() {
    compare_both(Algorithm::TokenBucket);
}

#[test]
fn leaky_bucket_equals_the_model() {
    compare_both(Algorithm::LeakyBucket);
}

#[test]
fn fixed_window_equals_the_model() {
    compare_both(Algorithm::FixedWindow);
}

#[test]
fn sliding_window_equals_the_model() {
    compare_both(Algorithm::SlidingWindow);
}

#[test]
fn sliding_window_log_equals_the_model() {
    compare_both(Algorithm::SlidingWindowLog);
}

#[test]
fn concurrency_equals_the_model() {
    compare_both(Algorithm::Concurrency);
}

/// All or nothing: one to four buckets of any algorithms, some of them shadow.
#[test]
fn hierarchies_equal_the_model() {
    let seed = seed();
    let total = operations(60_000);
    let (mut allowed, mut denied) = (0, 0);
    for number in 0..total.div_ceil(500) {
        let mut random = Random::new(seed.wrapping_add(number));
        let names = ["r0", "r1", "r2", "r3"];
        let rules: Vec<Rule> = names
            .iter()
            .map(|name| {
                let algorithm = random.pick(&Algorithm::ALL);
                let mut rule = random_rule(&mut random, name, algorithm);
                rule.mode = if random.once_in(4) { Mode::Shadow } else { Mode::Enforce };
                rule
            })
            .collect();
        let mut trace = Trace::new(random.next(), &rules, random.pick(&[Clock::Forward, Clock::Steps]));
        for _ in 0..500 {
            let about = trace.random.pick(&[0, 1, 2, 3]);
            let quota = rules[about].quota;
            trace.advance(quota.window().as_micros());
            let count = trace.random.range(1, 4) as usize;
            let buckets: Vec<_> = names[..count]
                .iter()
                .map(|name| bucket(name, trace.random.pick(&["a", "b"]), None, trace.random.below(2)))
                .collect();
            trace.step(&buckets, quota.burst());
        }
        allowed += trace.allowed;
        denied += trace.denied;
    }
    println!("hierarchies: {total} operations, {allowed} allowed, {denied} denied");
    assert!(allowed * 20 > total && denied * 20 > total);
}
