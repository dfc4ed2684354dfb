//! The model of a whole store: rules by name, buckets by rule and key, and every operation of the port.

use std::collections::BTreeMap;

use super::meter::ModelMeter;
use super::state::ModelState;
use crate::decision::{Gauge, Verdict};
use crate::rule::model::{Mode, Rule};
use crate::time::Timestamp;

/// One bucket that a request asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelBucket {
    /// The rule's name.
    pub rule: String,
    /// The partition key, in any form that is the same for the same bucket.
    pub key: String,
    /// The request's tier. One that the rule does not name means the rule's own quota.
    pub tier: Option<String>,
    /// Units that the request must leave to higher priorities.
    pub reserved: u64,
}

/// What a request takes from every bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Take {
    /// Units.
    pub cost: u64,
    /// The name of the permit that concurrency buckets hand out.
    pub permit: u64,
}

/// What a request was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelOutcome {
    /// Per bucket, in the order asked: its own verdict, and what it holds after the decision.
    pub results: Vec<(Verdict, Gauge)>,
    /// Whether the buckets that allowed it were charged.
    pub charged: bool,
}

/// A store that keeps everything in maps and converts every bucket when its rule changes.
///
/// What a bucket is brought to before it is asked (its rule's or tier's present quota, a time within reason) is kept
/// by every operation but [`ModelStore::peek`], also when the answer is a denial: neither is a charge, and a bucket
/// spoilt by a wrong clock would otherwise never refill.
#[derive(Clone, Debug, Default)]
pub struct ModelStore {
    rules: BTreeMap<String, ModelRule>,
    buckets: BTreeMap<(String, String), Held>,
}

#[derive(Clone, Debug)]
struct ModelRule {
    /// A rule that was removed keeps its quotas, by which its buckets go on fading.
    is_present: bool,
    is_enforced: bool,
    base: ModelMeter,
    tiers: BTreeMap<String, ModelMeter>,
    /// Until when buckets may hold more than the present quotas allow, because of earlier ones.
    inherits_until: Timestamp,
}

/// A bucket in the terms of one of its rule's present quotas.
#[derive(Clone, Debug)]
struct Held {
    tier: Option<String>,
    meter: ModelMeter,
    state: ModelState,
}

impl ModelRule {
    fn new(rule: &Rule) -> Self {
        let meter = |quota| ModelMeter::new(rule.algorithm, quota, rule.queue);
        let mut new = Self {
            is_present: true,
            is_enforced: rule.mode == Mode::Enforce,
            base: meter(&rule.quota),
            tiers: rule.tiers.iter().map(|(name, quota)| (name.clone(), meter(quota))).collect(),
            inherits_until: Timestamp::EPOCH,
        };
        new.raise(0, 0);
        new
    }

    fn meters(&self) -> impl Iterator<Item = &ModelMeter> {
        core::iter::once(&self.base).chain(self.tiers.values())
    }

    /// Lets every quota's states hold what any quota of the rule can lead to, and at least this.
    fn raise(&mut self, units: u64, life: u64) {
        let units = self.meters().map(|meter| meter.own_ceiling()).fold(units, u64::max);
        let life = self.meters().map(|meter| meter.own_life()).fold(life, u64::max);
        for meter in core::iter::once(&mut self.base).chain(self.tiers.values_mut()) {
            meter.ceiling = units;
            meter.longest_life = life;
        }
    }

    /// This rule in the place of `before`, from `now` on.
    fn succeeding(mut self, before: &ModelRule, now: Timestamp) -> Self {
        if now < before.inherits_until {
            self.raise(before.base.ceiling, before.base.longest_life);
        } else {
            let units = before.meters().map(|meter| meter.own_ceiling()).fold(0, u64::max);
            let life = before.meters().map(|meter| meter.own_life()).fold(0, u64::max);
            self.raise(units, life);
        }
        let rests_at = self.meters().map(|meter| meter.fullest_rests_at(now));
        self.inherits_until = rests_at.fold(Timestamp::EPOCH, Timestamp::max);
        self
    }

    /// The quota of a tier, and the tier's name where the rule knows it.
    fn select(&self, tier: Option<&str>) -> (Option<String>, &ModelMeter) {
        match tier.and_then(|tier| self.tiers.get_key_value(tier)) {
            Some((name, meter)) => (Some(name.clone()), meter),
            None => (None, &self.base),
        }
    }
}

impl ModelStore {
    /// A store without rules.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a rule or changes it, and converts all its buckets at once.
    pub fn change_rule(&mut self, rule: &Rule, now: Timestamp) {
        let mut new = ModelRule::new(rule);
        if let Some(before) = self.rules.get(&rule.name) {
            new = new.succeeding(before, now);
            for (_, held) in self.buckets.iter_mut().filter(|((name, _), _)| *name == rule.name) {
                let (tier, meter) = new.select(held.tier.as_deref());
                let state = meter.convert(&held.meter, &held.state, now);
                *held = Held { tier, meter: meter.clone(), state };
            }
        }
        self.rules.insert(rule.name.clone(), new);
    }

    /// Removes a rule. Its buckets go on fading, should it come back.
    pub fn remove_rule(&mut self, name: &str) {
        if let Some(rule) = self.rules.get_mut(name) {
            rule.is_present = false;
        }
    }

    /// Decides, and where every enforced bucket allows it, charges every bucket that allows it. A bucket whose rule
    /// is not there allows everything.
    pub fn apply(&mut self, buckets: &[ModelBucket], take: Take, now: Timestamp) -> ModelOutcome {
        let mut settled: Vec<_> = buckets.iter().map(|bucket| self.settled(bucket, now)).collect();
        let verdicts = self.verdicts(buckets, &settled, take, now);
        let charged = buckets.iter().zip(&verdicts).all(|(bucket, verdict)| {
            let is_obeyed =
                self.rules.get(&bucket.rule).is_some_and(|rule| rule.is_present && rule.is_enforced);
            !is_obeyed || verdict.is_allow()
        });
        for (held, _) in
            settled.iter_mut().zip(&verdicts).filter(|(_, verdict)| charged && verdict.is_allow())
        {
            if let Some(held) = held {
                held.meter.charge(&mut held.state, now, take.cost, take.permit);
            }
        }
        let results = verdicts.into_iter().zip(gauges(buckets, &settled, now)).collect();
        self.keep(buckets, settled);
        ModelOutcome { results, charged }
    }

    /// What every bucket by itself would say, and what it holds. Changes nothing.
    #[must_use]
    pub fn peek(&self, buckets: &[ModelBucket], cost: u64, now: Timestamp) -> Vec<(Verdict, Gauge)> {
        let settled: Vec<_> = buckets.iter().map(|bucket| self.settled(bucket, now)).collect();
        let verdicts = self.verdicts(buckets, &settled, Take { cost, permit: 0 }, now);
        verdicts.into_iter().zip(gauges(buckets, &settled, now)).collect()
    }

    /// Gives `cost` units back to every bucket, at most what it has used, and says what it holds then.
    pub fn refund(&mut self, buckets: &[ModelBucket], cost: u64, now: Timestamp) -> Vec<Gauge> {
        let mut settled: Vec<_> = buckets.iter().map(|bucket| self.settled(bucket, now)).collect();
        for held in settled.iter_mut().flatten() {
            held.meter.refund(&mut held.state, now, cost);
        }
        let gauges = gauges(buckets, &settled, now).collect();
        self.keep(buckets, settled);
        gauges
    }

    /// Puts every bucket to rest.
    pub fn reset(&mut self, buckets: &[ModelBucket]) {
        for bucket in buckets {
            self.buckets.remove(&(bucket.rule.clone(), bucket.key.clone()));
        }
    }

    /// Gives a permit back. True when it was still held.
    pub fn release(&mut self, rule: &str, key: &str, permit: u64, now: Timestamp) -> bool {
        match self.buckets.get_mut(&(rule.to_owned(), key.to_owned())).map(|held| &mut held.state) {
            Some(ModelState::Permits(permits)) => {
                let Some(index) = permits.iter().position(|held| held.id == permit) else { return false };
                permits.remove(index).expires_at > now.as_micros()
            }
            _ => false,
        }
    }

    /// The bucket as it stands at `now` in the terms of the request's quota; `None` where the rule is not there.
    fn settled(&self, bucket: &ModelBucket, now: Timestamp) -> Option<Held> {
        let rule = self.rules.get(&bucket.rule).filter(|rule| rule.is_present)?;
        let (tier, meter) = rule.select(bucket.tier.as_deref());
        let mut state = match self.buckets.get(&(bucket.rule.clone(), bucket.key.clone())) {
            Some(held) if held.tier == tier => held.state.clone(),
            Some(held) => meter.convert(&held.meter, &held.state, now),
            None => meter.fresh(),
        };
        meter.repair(&mut state, now);
        Some(Held { tier, meter: meter.clone(), state })
    }

    fn verdicts(
        &self,
        buckets: &[ModelBucket],
        settled: &[Option<Held>],
        take: Take,
        now: Timestamp,
    ) -> Vec<Verdict> {
        let judge = |(bucket, held): (&ModelBucket, &Option<Held>)| match held {
            Some(held) => held.meter.judge(&held.state, now, take.cost, bucket.reserved),
            None => Verdict::ALLOW,
        };
        buckets.iter().zip(settled).map(judge).collect()
    }

    fn keep(&mut self, buckets: &[ModelBucket], settled: Vec<Option<Held>>) {
        for (bucket, held) in buckets.iter().zip(settled) {
            if let Some(held) = held {
                self.buckets.insert((bucket.rule.clone(), bucket.key.clone()), held);
            }
        }
    }
}

fn gauges(buckets: &[ModelBucket], settled: &[Option<Held>], now: Timestamp) -> impl Iterator<Item = Gauge> {
    let gauge = move |(bucket, held): (&ModelBucket, &Option<Held>)| {
        held.as_ref().map_or(Gauge::default(), |held| held.meter.gauge(&held.state, now, bucket.reserved))
    };
    buckets.iter().zip(settled).map(gauge)
}
