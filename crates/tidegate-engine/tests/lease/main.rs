//! Goal: what nodes spend of their leases keeps to the bound that the rules promise, nothing is given back twice, and
//! nothing is lost that need not be.
//! Method: several nodes with leases on one embedded store that is a way off, on a clock that the test moves; random
//! histories against the bounds of `tidegate_testkit::excess`, the worst case built by hand, and each promise alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod changes;
mod histories;
mod outages;
mod promises;
mod store;
mod worst_case;

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use store::Remote;
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::rule::RuleSet;
use tidegate_core::rule::model::{Consistency, Domain, Lease, Rule, Rules};
use tidegate_core::time::{Micros, Timestamp};
use tidegate_engine::{
    Decision, Engine, EngineOptions, LeaseOptions, LeaseStats, Leases, ManualClock, Request,
};

const START: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);
const SECOND: Micros = Micros::from_secs(1);
const MINUTE: Micros = Micros::from_secs(60);
const USER: [(&str, &str); 1] = [("user", "u1")];

type Node = Engine<Leases<Remote>, ManualClock>;

fn rule(name: &str, algorithm: Algorithm, limit: u64, window: Micros) -> Rule {
    let quota = Quota::new(algorithm, limit, window, None).unwrap();
    Rule::new(name, algorithm, quota).with_key(["user"])
}

fn leased(rule: Rule, units: u64, hold: Micros) -> Rule {
    Rule { consistency: Consistency::Leased(Lease::new(Some(units), Some(hold)).unwrap()), ..rule }
}

/// A leased token bucket of one user that refills so slowly that nothing comes back.
fn bucket(limit: u64, units: u64) -> Rule {
    leased(rule("r", Algorithm::TokenBucket, limit, Micros::from_secs(3_650 * 86_400)), units, SECOND)
}

fn set(rules: Vec<Rule>) -> RuleSet {
    RuleSet::compile(Rules { domains: vec![Domain::new("d", rules)] }).unwrap()
}

fn request() -> Request<'static> {
    Request::new("d", &USER)
}

/// Several nodes on one store.
struct Fleet {
    clock: ManualClock,
    store: Remote,
    rules: RuleSet,
    nodes: Vec<Node>,
}

impl Fleet {
    fn new(rules: Vec<Rule>, nodes: usize) -> Self {
        let clock = ManualClock::new(START);
        let store = Remote::new(&clock);
        let mut fleet = Self { rules: set(rules), store, clock, nodes: Vec::new() };
        fleet.nodes = (0..nodes).map(|_| fleet.new_node()).collect();
        fleet
    }

    fn new_node(&self) -> Node {
        let leases = Leases::new(self.store.clone(), &LeaseOptions::new([3, 4]), self.clock.clone());
        Engine::with_options(self.rules.clone(), leases, self.clock.clone(), EngineOptions::default())
    }

    fn decide(&self, node: usize) -> Decision {
        self.decide_cost(node, 1)
    }

    fn decide_cost(&self, node: usize, cost: u64) -> Decision {
        ready(self.nodes[node].decide(&request().with_cost(cost))).unwrap()
    }

    /// How many of so many requests pass.
    fn passed(&self, node: usize, asked: u64) -> u64 {
        (0..asked).map(|_| u64::from(self.decide(node).is_allowed())).sum()
    }

    /// Asks until the node holds a whole lease. Returns how many units that took.
    fn fill(&self, node: usize, units: u64) -> u64 {
        let asked = (1..=1_000).find(|_| self.decide(node).is_allowed() && self.stats(node).units == units);
        asked.expect("a lease")
    }

    fn stats(&self, node: usize) -> LeaseStats {
        self.nodes[node].store().stats()
    }

    /// Units used of the user's first bucket, by the store.
    fn used(&self) -> u64 {
        let rule = self.nodes[0].rules().domain("d").unwrap().rules()[0].clone();
        let mut plan = tidegate_store::Plan::new(1);
        plan.add(&rule, rule.metered(None), 0, &USER);
        self.store.used(&plan)
    }

    fn return_due(&self, node: usize) {
        ready(self.nodes[node].store().return_due());
    }
}

/// The result of a call that has nothing to wait for.
fn ready<F: Future>(call: F) -> F::Output {
    match poll_once(pin!(call)) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

fn poll_once<F: Future + ?Sized>(call: Pin<&mut F>) -> Poll<F::Output> {
    call.poll(&mut Context::from_waker(Waker::noop()))
}
