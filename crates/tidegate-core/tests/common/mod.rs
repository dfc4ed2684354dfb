//! What the tests of the algorithms share: a seeded generator, random quotas, and the smallest possible real store.
#![allow(dead_code, unreachable_pub, reason = "every test file uses a part")]

pub mod admissions;
pub mod house;
pub mod promises;
pub mod room;

use std::collections::HashMap;

use tidegate_core::algorithm::{Ask, State};
use tidegate_core::decision::{Gauge, Verdict};
use tidegate_core::model::{ModelBucket, ModelOutcome, Take};
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::rule::model::{Domain, Mode, Queue, Rule, Rules};
use tidegate_core::rule::{CompiledRule, Metered, Revision, RuleSet};
use tidegate_core::time::{Micros, Timestamp};

pub const SECOND: u64 = 1_000_000;
pub const DAY: u64 = 86_400 * SECOND;
/// 2026-01-01T00:00:00Z, in microseconds.
pub const START: u64 = 1_767_225_600 * SECOND;

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// A number whose size is as random as its value, up to `most`.
    pub fn any_size(&mut self, most: u64) -> u64 {
        let bits = self.below(65 - u64::from(most.leading_zeros()));
        (self.next() & (1_u64.checked_shl(bits as u32).unwrap_or(0)).wrapping_sub(1)).min(most)
    }
}

#[expect(clippy::disallowed_methods, reason = "a test is repeated by naming its seed")]
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

/// The seed of this run: `TIDEGATE_SEED`, or a fixed one. Printed, so that a failure can be repeated.
pub fn seed() -> u64 {
    let seed = setting("TIDEGATE_SEED").unwrap_or(0x7d64_6174);
    println!("TIDEGATE_SEED={seed}");
    seed
}

/// How many random operations a trace test does: `TIDEGATE_OPERATIONS`, or `default`.
pub fn operations(default: u64) -> u64 {
    setting("TIDEGATE_OPERATIONS").unwrap_or(default)
}

pub fn at(micros: u64) -> Timestamp {
    Timestamp::from_micros(micros)
}

pub fn quota(algorithm: Algorithm, limit: u64, window: u64, burst: Option<u64>) -> Quota {
    Quota::new(algorithm, limit, Micros::from_micros(window), burst).unwrap()
}

/// Limits and windows that do not divide each other, next to ordinary ones and to both ends of the range.
pub fn random_quota(random: &mut Random, algorithm: Algorithm) -> Quota {
    loop {
        let (limit, window) = match random.below(10) {
            0 => (7, SECOND),
            1 => (1_000_003, SECOND),
            2 => (3, DAY),
            3 => (random.range(0, 3), random.range(1_000, 60 * SECOND)),
            4 => (random.any_size(algorithm.max_limit()), random.range(1_000, DAY)),
            5 => (100, 60 * SECOND),
            6 => (10, SECOND),
            _ => (random.range(1, 50), random.range(1_000, 100 * SECOND)),
        };
        let burst = match random.below(3) {
            _ if !algorithm.has_burst() => None,
            0 => None,
            1 => Some(random.range(1, 20)),
            _ => Some(random.any_size(limit.max(1)).max(1)),
        };
        let limit = limit.min(algorithm.max_limit());
        if let Ok(quota) = Quota::new(algorithm, limit, Micros::from_micros(window), burst) {
            return quota;
        }
    }
}

pub fn random_queue(random: &mut Random, algorithm: Algorithm) -> Option<Queue> {
    (algorithm.has_burst() && random.once_in(2)).then(|| Queue {
        max_wait: Micros::from_micros(random.any_size(60 * SECOND)),
        max_depth: random.any_size(100),
    })
}

/// One key of one rule, or of several at once.
pub fn bucket(rule: &str, key: &str, tier: Option<&str>, reserved: u64) -> ModelBucket {
    ModelBucket { rule: rule.to_owned(), key: key.to_owned(), tier: tier.map(str::to_owned), reserved }
}

/// A map from buckets to states, with the real meters and the real lineage: what any store does, and nothing else.
pub struct RealStore {
    pub rules: RuleSet,
    pub buckets: HashMap<(u128, String), (Revision, State)>,
    /// Whether buckets at rest are dropped, as stores do: when met, and all of them before a change of rules.
    pub evicts: Eviction,
    /// Rules as they last were, by uid, by which the buckets of removed ones fade.
    last: HashMap<u128, CompiledRule>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Eviction {
    AtRest,
    Never,
}

pub fn rule_set(rules: &[Rule]) -> RuleSet {
    RuleSet::compile(Rules { domains: vec![Domain::new("d", rules.to_vec())] }).unwrap()
}

impl RealStore {
    pub fn new(rules: &[Rule], evicts: Eviction) -> Self {
        Self { rules: rule_set(rules), buckets: HashMap::new(), evicts, last: HashMap::new() }
    }

    pub fn replace_rules(&mut self, rules: &[Rule], now: Timestamp) {
        for rule in self.rules.domain("d").unwrap().rules() {
            self.last.insert(rule.uid(), rule.clone());
        }
        let (last, evicts) = (&self.last, self.evicts);
        self.buckets.retain(|(uid, _), (revision, state)| {
            let rule = &last[uid];
            let base = rule.metered(None);
            let carried = rule.carry(state.clone(), *revision, base, now);
            evicts == Eviction::Never || carried.is_none_or(|state| base.meter.rest_at(&state) > now)
        });
        self.rules = rule_set(rules).succeeding(&self.rules, now);
    }

    pub fn rule(&self, name: &str) -> Option<&CompiledRule> {
        self.rules.domain("d").unwrap().rules().iter().find(|rule| rule.name() == name)
    }

    /// Where a bucket is kept: by its rule's uid, as stores do.
    fn place(&self, rule: &str, key: &str) -> (u128, String) {
        let gone = || self.last.values().find(|last| last.name() == rule);
        (self.rule(rule).or_else(gone).map_or(0, CompiledRule::uid), key.to_owned())
    }

    /// The bucket in its rule's present terms.
    pub fn settled(&self, bucket: &ModelBucket, now: Timestamp) -> Option<(&CompiledRule, &Metered, State)> {
        let rule = self.rule(&bucket.rule)?;
        let metered = rule.metered(bucket.tier.as_deref());
        let mut state = match self.buckets.get(&self.place(&bucket.rule, &bucket.key)) {
            Some((revision, state)) => {
                rule.carry(state.clone(), *revision, metered, now).unwrap_or_else(|| state.clone())
            }
            None => metered.meter.fresh(),
        };
        metered.meter.repair(&mut state, now);
        Some((rule, metered, state))
    }

    fn keep(&mut self, bucket: &ModelBucket, revision: Revision, state: State, at_rest: bool) {
        let key = self.place(&bucket.rule, &bucket.key);
        if at_rest && self.evicts == Eviction::AtRest {
            self.buckets.remove(&key);
        } else {
            self.buckets.insert(key, (revision, state));
        }
    }

    pub fn apply(&mut self, buckets: &[ModelBucket], take: Take, now: Timestamp) -> ModelOutcome {
        let mut planned = Vec::new();
        let mut charged = true;
        for bucket in buckets {
            let Some((rule, metered, state)) = self.settled(bucket, now) else {
                planned.push(None);
                continue;
            };
            let ask = Ask { cost: take.cost, reserved: bucket.reserved, permit: take.permit };
            let verdict = metered.meter.judge(&state, now, &ask);
            charged &= verdict.is_allow() || rule.model().mode != Mode::Enforce;
            planned.push(Some((metered.clone(), ask, state, verdict)));
        }
        let mut results = Vec::new();
        for (bucket, planned) in buckets.iter().zip(planned) {
            let Some((metered, ask, mut state, verdict)) = planned else {
                results.push((Verdict::ALLOW, Gauge::default()));
                continue;
            };
            let meter = &metered.meter;
            if charged && verdict.is_allow() {
                meter.charge(&mut state, now, &ask);
            }
            results.push((verdict, meter.gauge(&state, now, ask.reserved)));
            let at_rest = meter.rest_at(&state) <= now;
            self.keep(bucket, metered.revision, state, at_rest);
        }
        ModelOutcome { results, charged }
    }

    pub fn peek(&self, buckets: &[ModelBucket], cost: u64, now: Timestamp) -> Vec<(Verdict, Gauge)> {
        let peek = |bucket: &ModelBucket| match self.settled(bucket, now) {
            Some((_, metered, state)) => {
                let ask = Ask { cost, reserved: bucket.reserved, permit: 0 };
                let meter = &metered.meter;
                (meter.judge(&state, now, &ask), meter.gauge(&state, now, bucket.reserved))
            }
            None => (Verdict::ALLOW, Gauge::default()),
        };
        buckets.iter().map(peek).collect()
    }

    pub fn refund(&mut self, buckets: &[ModelBucket], cost: u64, now: Timestamp) -> Vec<Gauge> {
        let mut gauges = Vec::new();
        for bucket in buckets {
            let Some((_, metered, mut state)) = self.settled(bucket, now) else {
                gauges.push(Gauge::default());
                continue;
            };
            let metered = metered.clone();
            metered.meter.refund(&mut state, now, cost);
            gauges.push(metered.meter.gauge(&state, now, bucket.reserved));
            let at_rest = metered.meter.rest_at(&state) <= now;
            self.keep(bucket, metered.revision, state, at_rest);
        }
        gauges
    }

    pub fn reset(&mut self, buckets: &[ModelBucket]) {
        for bucket in buckets {
            self.buckets.remove(&self.place(&bucket.rule, &bucket.key));
        }
    }

    pub fn release(&mut self, rule: &str, key: &str, permit: u64, now: Timestamp) -> bool {
        match self.buckets.get_mut(&self.place(rule, key)) {
            Some((_, State::Permits(permits))) => permits.release(permit, now),
            _ => false,
        }
    }
}
