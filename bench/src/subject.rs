//! Tidegate as the subject of a measurement: rules, store, engine, and a decision without a runtime.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use anyhow::anyhow;
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::rule::RuleSet;
use tidegate_core::rule::model::{Domain, Rule, Rules};
use tidegate_core::time::Micros;
use tidegate_engine::Engine;
use tidegate_store::{DEFAULT_MEMORY_BYTES, MemoryOptions, MemoryStore};

/// The domain of every measured rule.
pub const DOMAIN: &str = "default";
/// How much of what is asked passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Nearly everything.
    Passes,
    /// Next to nothing: every bucket is exhausted by its first request.
    Denied,
}

/// Units that pass at one instant under [`Load::Passes`]: more than a run asks of one key.
pub const LARGE_BURST: u32 = 500_000_000;
/// The hourly limit of [`Load::Passes`]: buckets fill slowly, so none is at rest while it is measured.
pub const HOURLY_LIMIT: u32 = 1_000;

/// The quota of a load; the rivals' quotas are the same.
///
/// # Errors
/// Never for the loads there are; the quota's own check.
pub fn quota(load: Load) -> anyhow::Result<Quota> {
    let hour = Micros::from_secs(3_600);
    let (limit, burst) = match load {
        Load::Passes => (u64::from(HOURLY_LIMIT), u64::from(LARGE_BURST)),
        Load::Denied => (1, 1),
    };
    Quota::new(Algorithm::TokenBucket, limit, hour, Some(burst)).map_err(|error| anyhow!("{error}"))
}

/// A token bucket per value of `entry`.
///
/// # Errors
/// As [`quota`].
pub fn rule_per(entry: &str, load: Load) -> anyhow::Result<Rule> {
    Ok(Rule::new(format!("per-{entry}"), Algorithm::TokenBucket, quota(load)?).with_key([entry]))
}

/// Rules of one domain.
///
/// # Errors
/// The rules do not make a set.
pub fn compile(rules: Vec<Rule>) -> anyhow::Result<RuleSet> {
    RuleSet::compile(Rules { domains: vec![Domain::new(DOMAIN, rules)] }).map_err(|error| anyhow!("{error}"))
}

/// An empty store under a random seed.
#[must_use]
pub fn store(max_bytes: usize) -> MemoryStore {
    let seed = [fastrand::u64(..), fastrand::u64(..)];
    MemoryStore::new(&MemoryOptions { max_bytes, ..MemoryOptions::new(seed) })
}

/// An engine over a store of the default size.
///
/// # Errors
/// The rules do not make a set.
pub fn engine(rules: Vec<Rule>) -> anyhow::Result<Engine<MemoryStore>> {
    Ok(Engine::new(compile(rules)?, store(DEFAULT_MEMORY_BYTES)))
}

/// The result of a future that is ready at once, as those of the memory store are. It is polled where it was made:
/// moving a future is no part of a decision.
///
/// # Panics
/// The future is not ready.
#[inline]
pub fn at_once<F: Future>(future: Pin<&mut F>) -> F::Output {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the memory store does not wait"),
    }
}
