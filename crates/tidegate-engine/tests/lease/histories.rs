//! Random histories: calls that take time and overtake one another, requests that are given up, nodes that die, a store
//! that fails or does not say what it did. Whatever happens, what passed keeps to the bound.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::rule::model::Rule;
use tidegate_core::time::{Micros, Timestamp};
use tidegate_engine::{Clock, Decision, EngineError, Request};
use tidegate_testkit::excess::{
    Admission, TokenBound, any_window_excess, certain_token_excess, fixed_window_excess,
};

use super::store::Mood;
use super::{Fleet, leased, poll_once, ready, rule};

const ALGORITHMS: [Algorithm; 5] = [
    Algorithm::TokenBucket,
    Algorithm::LeakyBucket,
    Algorithm::FixedWindow,
    Algorithm::SlidingWindow,
    Algorithm::SlidingWindowLog,
];
const SEEDS: u64 = 40;
const STEPS: u64 = 4_000;
const USERS: [&str; 2] = ["u0", "u1"];
const IN_FLIGHT: usize = 12;

/// Random enough (SplitMix64), and the same for the same seed.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.next() % (most - least + 1)
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.next().is_multiple_of(chances)
    }
}

type Call = Pin<Box<dyn Future<Output = Option<Result<Decision, EngineError>>>>>;

struct InFlight {
    call: Call,
    node: usize,
    user: usize,
    cost: u64,
    sent: Timestamp,
}

/// What the history did.
#[derive(Debug, Default)]
struct Tally {
    asked: u64,
    passed: u64,
    answered_here: u64,
    leases: u64,
}

struct History {
    rng: Rng,
    fleet: Fleet,
    /// The rule with a bucket for each user, and the one with a bucket for all.
    rules: Vec<Rule>,
    in_flight: Vec<InFlight>,
    /// What passed, by user.
    admitted: Vec<Vec<Admission>>,
    tally: Tally,
}

impl History {
    fn new(seed: u64, algorithm: Algorithm) -> Self {
        let mut rng = Rng(seed);
        let window = Micros::from_millis(rng.between(200, 3_000));
        let limit = rng.between(5, 120);
        let with_burst = |mut rule: Rule, burst| {
            if algorithm.has_burst() {
                let quota = Quota::new(algorithm, rule.quota.limit(), window, Some(burst));
                rule.quota = quota.unwrap();
            }
            rule
        };
        let hold = Micros::from_millis(rng.between(100, 2_000));
        let of_user = with_burst(rule("r", algorithm, limit, window), rng.between(2, limit));
        let mut rules = vec![leased(of_user, rng.between(1, limit.min(20)), hold)];
        if rng.one_in(2) {
            let limit = rng.between(limit, 2 * limit);
            let all = Rule { key: Vec::new(), ..with_burst(rule("all", algorithm, limit, window), limit) };
            rules.push(if rng.one_in(3) { all } else { leased(all, rng.between(1, 20), hold) });
        }
        if rng.one_in(3) {
            rules.push(rule("exact", Algorithm::TokenBucket, 3 * limit, window));
        }
        let nodes = rng.between(1, 4) as usize;
        let (fleet, admitted) = (Fleet::new(rules.clone(), nodes), vec![Vec::new(); USERS.len()]);
        Self { rng, fleet, rules, in_flight: Vec::new(), admitted, tally: Tally::default() }
    }

    fn run(mut self) -> Self {
        for _ in 0..STEPS {
            self.step();
        }
        self.fleet.store.set_mood(Mood::Well);
        while !self.in_flight.is_empty() {
            // Some wait for others.
            (0..self.in_flight.len()).rev().for_each(|place| self.poll(place));
        }
        for node in &self.fleet.nodes {
            let stats = node.store().stats();
            self.tally.answered_here += stats.answered;
            self.tally.leases += stats.leases;
        }
        self
    }

    fn step(&mut self) {
        let node = self.rng.next() as usize % self.fleet.nodes.len();
        match self.rng.between(0, 99) {
            0..=44 if self.in_flight.len() < IN_FLIGHT => self.ask(node),
            0..=79 if !self.in_flight.is_empty() => {
                let place = self.rng.next() as usize % self.in_flight.len();
                self.poll(place);
            }
            80..=89 => {
                let micros = self.rng.between(1, 20_000);
                self.fleet.clock.advance(Micros::from_micros(micros));
            }
            90 => {
                let micros = self.rng.between(1, 2_000_000);
                self.fleet.clock.advance(Micros::from_micros(micros));
            }
            91..=94 => self.sweep(node),
            95 if self.rng.one_in(4) => self.kill(node),
            96 if !self.in_flight.is_empty() => {
                let place = self.rng.next() as usize % self.in_flight.len();
                drop(self.in_flight.swap_remove(place));
            }
            97 => {
                let mood = [Mood::Well, Mood::Well, Mood::Failing, Mood::Mute][self.rng.next() as usize % 4];
                self.fleet.store.set_mood(mood);
            }
            98 if self.calls_take_time() => {
                self.fleet.store.set_legs([self.rng.next() % 4, self.rng.next() % 4]);
            }
            _ => self.fleet.store.set_mood(Mood::Well),
        }
    }

    /// A request of several rules takes what is held of one when it comes, and of the others when the store is asked.
    /// Where that could be two windows, it is to be one instant.
    fn calls_take_time(&self) -> bool {
        self.rules.len() == 1 || self.rules[0].algorithm.has_burst()
    }

    fn ask(&mut self, node: usize) {
        let user = self.rng.next() as usize % USERS.len();
        let cost = if self.rng.one_in(4) { self.rng.between(1, 4) } else { 1 };
        let engine = self.fleet.nodes[node].clone();
        let call: Call = Box::pin(async move {
            let entries = [("user", USERS[user])];
            Some(engine.decide(&Request::new("d", &entries).with_cost(cost)).await)
        });
        self.tally.asked += 1;
        let sent = self.fleet.clock.now();
        self.in_flight.push(InFlight { call, node, user, cost, sent });
        self.poll(self.in_flight.len() - 1);
    }

    fn sweep(&mut self, node: usize) {
        let engine = self.fleet.nodes[node].clone();
        let call: Call = Box::pin(async move {
            engine.store().return_due().await;
            None
        });
        let sent = self.fleet.clock.now();
        self.in_flight.push(InFlight { call, node, user: 0, cost: 0, sent });
    }

    /// A node dies with all that it holds, and another one takes its place.
    fn kill(&mut self, node: usize) {
        self.in_flight.retain(|in_flight| in_flight.node != node);
        let stats = self.fleet.stats(node);
        self.tally.answered_here += stats.answered;
        self.tally.leases += stats.leases;
        self.fleet.nodes[node] = self.fleet.new_node();
    }

    fn poll(&mut self, place: usize) {
        let Poll::Ready(answer) = poll_once(self.in_flight[place].call.as_mut()) else { return };
        let InFlight { user, cost, sent, .. } = self.in_flight.swap_remove(place);
        let Some(decision) = answer.map(|answer| answer.expect("a decision")) else { return };
        if !decision.is_allowed() || decision.degraded().is_some() {
            return;
        }
        // The store decides when a call arrives there; what is spent here, is spent now.
        let at = decision.decided_at().min(self.fleet.clock.now());
        let admission = match (self.rules.len(), self.calls_take_time()) {
            (1, _) | (_, false) => Admission::at(micros(at), cost),
            (_, true) => Admission::between(micros(sent), micros(self.fleet.clock.now()), cost),
        };
        self.admitted[user].push(admission);
        self.tally.passed += 1;
    }

    /// Whether what passed keeps to the bound of each rule.
    fn check(&self) {
        let nodes = self.fleet.nodes.len() as u64;
        for rule in &self.rules {
            let more = rule.overshoot_per_node(&rule.quota).map_or(0, |units| units * nodes);
            if rule.key.is_empty() {
                check(rule, more, &self.admitted.concat());
            } else {
                self.admitted.iter().for_each(|history| check(rule, more, history));
            }
        }
    }
}

fn micros(at: Timestamp) -> i64 {
    i64::try_from(at.as_micros()).unwrap()
}

fn check(rule: &Rule, more: u64, history: &[Admission]) {
    let (limit, window) = (rule.quota.limit(), rule.quota.window().as_micros());
    let too_many = match rule.algorithm {
        Algorithm::TokenBucket | Algorithm::LeakyBucket => {
            let (tokens, per_micros) = rule.quota.rate();
            let bound = TokenBound { burst: rule.quota.burst() + more, tokens, per_micros };
            certain_token_excess(history, bound).map(|excess| excess.tokens())
        }
        Algorithm::FixedWindow => {
            assert_eq!(more, 0);
            fixed_window_excess(history, limit, window).map(|(excess, _)| excess)
        }
        Algorithm::SlidingWindow => {
            assert_eq!(more, 0);
            weighted_excess(history, limit, window)
                .max(any_window_excess(history, 2 * limit - 1, window).map(|(excess, _)| excess))
        }
        Algorithm::SlidingWindowLog => {
            any_window_excess(history, limit + more, window).map(|(excess, _)| excess)
        }
        Algorithm::Concurrency => panic!("never leased"),
    };
    assert!(too_many.is_none_or(|units| units <= 0), "{} of {rule:?} too many", too_many.unwrap());
}

/// By how much a history goes beyond what a sliding window itself asks of every admission.
fn weighted_excess(history: &[Admission], limit: u64, window: u64) -> Option<i128> {
    let mut sorted = history.to_vec();
    sorted.sort_by_key(|admission| admission.earliest);
    let window = i64::try_from(window).unwrap();
    let units = |from: i64, upto: usize| -> i128 {
        let there = sorted[..=upto].iter().filter(|other| (from..from + window).contains(&other.earliest));
        there.map(|other| i128::from(other.tokens)).sum()
    };
    let excess = sorted.iter().enumerate().map(|(index, admission)| {
        let start = admission.earliest - admission.earliest % window;
        let covered = i128::from(start + window - admission.earliest);
        let weighted = units(start - window, index) * covered + units(start, index) * i128::from(window);
        (weighted - i128::from(limit) * i128::from(window) + i128::from(window) - 1)
            .div_euclid(i128::from(window))
    });
    excess.max()
}

fn run(algorithm: Algorithm) {
    let mut all = Tally::default();
    for seed in 0..SEEDS {
        println!("{algorithm}, seed {seed}");
        let history = History::new(seed, algorithm).run();
        history.check();
        all.asked += history.tally.asked;
        all.passed += history.tally.passed;
        all.answered_here += history.tally.answered_here;
        all.leases += history.tally.leases;
    }
    println!("{algorithm}: {all:?}");
    assert!(all.leases > SEEDS * 10 && all.answered_here > SEEDS * 10, "{all:?}");
}

#[test]
fn token_buckets_keep_their_bound() {
    run(Algorithm::TokenBucket);
}

#[test]
fn leaky_buckets_keep_their_bound() {
    run(Algorithm::LeakyBucket);
}

#[test]
fn fixed_windows_keep_their_bound() {
    run(Algorithm::FixedWindow);
}

#[test]
fn sliding_windows_keep_their_bound() {
    run(Algorithm::SlidingWindow);
}

#[test]
fn logs_keep_their_bound() {
    run(Algorithm::SlidingWindowLog);
}

/// Where nobody dies, gives up or fails, every unit is spent or given back: in the end the store has counted exactly what
/// passed, and all the rest can still be had.
#[test]
fn nothing_is_lost_and_nothing_is_counted_twice() {
    let window = Micros::from_secs(3_650 * 86_400);
    for algorithm in ALGORITHMS {
        for seed in 0..10 {
            println!("{algorithm}, seed {seed}");
            let mut rng = Rng(seed);
            let limit = rng.between(200, 2_000);
            let mut long = rule("r", algorithm, limit, window);
            if algorithm.has_burst() {
                long.quota = Quota::new(algorithm, limit, window, Some(limit)).unwrap();
            }
            let hold = Micros::from_millis(rng.between(100, 500));
            let fleet = Fleet::new(vec![leased(long, rng.between(1, 30), hold)], 3);
            let mut passed = 0;
            for _ in 0..300 {
                let (node, cost) = (rng.next() as usize % 3, rng.between(1, 4));
                passed += if fleet.decide_cost(node, cost).is_allowed() { cost } else { 0 };
                fleet.clock.advance(Micros::from_micros(rng.between(0, 100_000)));
                fleet.return_due(rng.next() as usize % 3);
            }
            let held: u64 = (0..3).map(|node| fleet.stats(node).units).sum();
            assert_eq!(fleet.used(), passed + held, "spent or held");
            for node in &fleet.nodes {
                ready(node.store().return_all());
                assert_eq!(node.store().stats().units, 0);
                assert_eq!(node.store().stats().lost, 0);
            }
            assert_eq!(fleet.used(), passed);
            passed += fleet.passed(0, limit + 1);
            assert_eq!(passed, limit);
        }
    }
}
