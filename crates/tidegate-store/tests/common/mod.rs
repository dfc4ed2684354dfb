//! What the tests of the memory store share.

#![allow(dead_code, reason = "every test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "only tests use it")]

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::rule::model::{Domain, Rule, Rules};
use tidegate_core::rule::{CompiledRule, RuleSet};
use tidegate_core::time::{Micros, Timestamp};
use tidegate_store::{Applied, BucketStore, MemoryOptions, MemoryStore, Outcome, Plan};

pub(crate) const START: Timestamp = Timestamp::from_micros(1_780_000_000_000_000);
pub(crate) const SEED: [u64; 2] = [0x5eed, 0xbed5];

/// The output of a future of the memory store, which is ready at once.
pub(crate) fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the memory store never waits"),
    }
}

pub(crate) fn store(max_bytes: usize) -> MemoryStore {
    MemoryStore::new(&MemoryOptions { max_bytes, ..MemoryOptions::new(SEED) })
}

/// One domain with one rule per algorithm and limit, each keyed by `user`.
pub(crate) fn rules(quotas: &[(Algorithm, u64, Micros)]) -> RuleSet {
    let rule = |(index, (algorithm, limit, window)): (usize, &(Algorithm, u64, Micros))| {
        let quota = Quota::new(*algorithm, *limit, *window, None).unwrap();
        Rule::new(format!("r{index}"), *algorithm, quota).with_key(["user"])
    };
    let rules = quotas.iter().enumerate().map(rule).collect();
    RuleSet::compile(Rules { domains: vec![Domain::new("d", rules)] }).unwrap()
}

pub(crate) fn all_of(rules: &RuleSet) -> &[CompiledRule] {
    rules.domain("d").unwrap().rules()
}

/// A plan over the rules at these places.
pub(crate) fn plan<'a>(rules: &'a RuleSet, places: &[usize], user: &str) -> Plan<'a> {
    let mut plan = Plan::new(1);
    for place in places {
        let rule = &all_of(rules)[*place];
        plan.add(rule, rule.metered(None), 0, &[("user", user)]);
    }
    plan
}

pub(crate) fn apply(store: &MemoryStore, plan: &Plan<'_>, now: Timestamp) -> Outcome {
    decided(ready(store.apply(plan, now)).unwrap())
}

pub(crate) fn peek(store: &MemoryStore, plan: &Plan<'_>, now: Timestamp) -> Outcome {
    decided(ready(store.peek(plan, now)).unwrap())
}

fn decided(applied: Applied) -> Outcome {
    match applied {
        Applied::Decided(outcome) => outcome,
        Applied::Stale => panic!("stale"),
    }
}

/// Memory that this process occupies, in bytes.
pub(crate) fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}
