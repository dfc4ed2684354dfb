//! What is asked: which keys, and of which limit.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tidegate_bench::keys::write_key;
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::rule::RuleSet;
use tidegate_core::rule::model::{Domain, Rule, Rules};
use tidegate_core::time::Micros;

/// The domain of every measured rule.
pub(crate) const DOMAIN: &str = "payments";
/// The entry that names who asks.
pub(crate) const SUBJECT: &str = "user_id";
/// Keys that are drawn in advance; a run goes around them.
const DRAWN: usize = 1 << 20;
/// The exponent of the Zipf distribution.
const ZIPF_EXPONENT: f64 = 1.1;

/// A token bucket: so many units in a window, and at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) units: u64,
    pub(crate) window: Duration,
    pub(crate) burst: u64,
}

impl Limit {
    /// 100 a minute, with a burst that no run uses up: everything passes, and no bucket comes to rest.
    pub(crate) const PASSES: Self = Self { units: 100, window: Duration::from_secs(60), burst: 400_000_000 };
    /// 100 a minute: the rule of the memory figures.
    pub(crate) const MINUTE: Self = Self { units: 100, window: Duration::from_secs(60), burst: 100 };

    /// So many a second, and as many at once.
    pub(crate) const fn per_second(units: u64) -> Self {
        Self { units, window: Duration::from_secs(1), burst: units }
    }

    /// Between two units, µs. Limits here divide their window.
    pub(crate) fn step_micros(self) -> u64 {
        self.window.as_micros() as u64 / self.units
    }

    /// The rule set of one rule with this limit for every value of [`SUBJECT`].
    pub(crate) fn rules(self) -> anyhow::Result<RuleSet> {
        let window = Micros::from_micros(self.window.as_micros() as u64);
        let quota = Quota::new(Algorithm::TokenBucket, self.units, window, Some(self.burst))
            .map_err(|error| anyhow!("{error}"))?;
        let rule = Rule::new("per-user", Algorithm::TokenBucket, quota).with_key([SUBJECT]);
        let rules = Rules { domains: vec![Domain::new(DOMAIN, vec![rule])] };
        RuleSet::compile(rules).map_err(|error| anyhow!("{error}"))
    }
}

/// How checks spread over keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spread {
    Uniform,
    Zipf,
    /// One key.
    Hot,
}

/// A mix of checks.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) limit: Limit,
    numbers: Arc<[u32]>,
}

impl Workload {
    /// Draws the keys, the same in every run.
    pub(crate) fn new(name: &'static str, spread: Spread, keys: u32, limit: Limit) -> Self {
        let mut random = fastrand::Rng::with_seed(11);
        let numbers = match spread {
            Spread::Uniform => (0..DRAWN).map(|_| random.u32(..keys)).collect(),
            Spread::Hot => Arc::from([7]),
            Spread::Zipf => zipf(&mut random, keys),
        };
        Self { name, limit, numbers }
    }

    /// A walk through the keys from a place of its own.
    pub(crate) fn walk(&self, walker: usize) -> Walk {
        let at = walker.wrapping_mul(7_919) % self.numbers.len();
        Walk { numbers: Arc::clone(&self.numbers), at, key: String::new() }
    }
}

/// One key after another.
#[derive(Debug)]
pub(crate) struct Walk {
    numbers: Arc<[u32]>,
    at: usize,
    key: String,
}

impl Walk {
    /// The next key, as `user:000123456`.
    pub(crate) fn next_key(&mut self) -> &str {
        let number = self.numbers.get(self.at).copied().unwrap_or(0);
        self.at = if self.at + 1 < self.numbers.len() { self.at + 1 } else { 0 };
        write_key(&mut self.key, u64::from(number));
        &self.key
    }
}

fn zipf(random: &mut fastrand::Rng, keys: u32) -> Arc<[u32]> {
    let mut total = 0.0;
    let sums: Vec<f64> = (1..=keys)
        .map(|rank| {
            total += f64::from(rank).powf(-ZIPF_EXPONENT);
            total
        })
        .collect();
    let draws = (0..DRAWN).map(|_| random.f64() * total);
    draws.map(|wanted| sums.partition_point(|sum| *sum < wanted) as u32).collect()
}

/// The mixes that are measured.
pub(crate) fn all(keys: u32, denied_limit: u64) -> Vec<Workload> {
    vec![
        Workload::new("uniform", Spread::Uniform, keys, Limit::PASSES),
        Workload::new("zipf", Spread::Zipf, keys, Limit::PASSES),
        Workload::new("hot", Spread::Hot, 1, Limit::PASSES),
        Workload::new("hot-denied", Spread::Hot, 1, Limit::per_second(denied_limit)),
    ]
}

/// The mix with this name.
pub(crate) fn named<'w>(workloads: &'w [Workload], name: &str) -> anyhow::Result<&'w Workload> {
    workloads.iter().find(|workload| workload.name == name).with_context(|| format!("no workload {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zipf_prefers_the_first_keys_as_much_as_it_should() {
        let numbers = zipf(&mut fastrand::Rng::with_seed(1), 1_000);
        let share =
            |rank: u32| numbers.iter().filter(|number| **number == rank).count() as f64 / DRAWN as f64;
        let sum: f64 = (1..=1_000).map(|rank| f64::from(rank).powf(-1.1)).sum();
        assert!((share(0) - 1.0 / sum).abs() < 0.002, "{}", share(0));
        assert!((share(1) - 2_f64.powf(-1.1) / sum).abs() < 0.002, "{}", share(1));
        assert!(numbers.iter().all(|number| *number < 1_000));
    }

    #[test]
    fn limits_divide_their_windows() {
        for limit in [Limit::PASSES, Limit::MINUTE, Limit::per_second(5_000)] {
            assert_eq!(limit.window.as_micros() as u64 % limit.units, 0);
            limit.rules().unwrap();
        }
    }
}
