//! Deciding a plan: lock, find, judge all, then charge all or none.

use parking_lot::MutexGuard;
use smallvec::SmallVec;
use tidegate_core::algorithm::{Meter, State};
use tidegate_core::decision::Verdict;
use tidegate_core::time::Timestamp;

use super::MemoryStore;
use super::entry::{Home, Packed};
use super::held::{Held, Purpose, Setting, Stale};
use super::key::Key;
use super::shard::Shard;
use crate::plan::{BucketResult, Outcome, Plan, PlannedBucket};
use crate::port::Applied;

/// The shards of a plan, locked in ascending order.
pub(super) struct LockedShards<'s> {
    guards: SmallVec<[MutexGuard<'s, Shard>; 4]>,
}

impl LockedShards<'_> {
    /// The shard at a place among the locked ones.
    pub(super) fn at(&mut self, place: usize) -> &mut Shard {
        &mut self.guards[place]
    }
}

/// A bucket of a plan and where it is.
pub(super) struct Part<'p, 'a> {
    pub(super) bucket: &'p PlannedBucket<'a>,
    pub(super) key: Key,
    pub(super) rule_uid: u128,
    /// The place of its shard among the locked ones.
    pub(super) shard: usize,
}

pub(super) type Parts<'p, 'a> = SmallVec<[Part<'p, 'a>; 4]>;
pub(super) type HeldParts = SmallVec<[Held; 4]>;

impl MemoryStore {
    #[inline]
    pub(super) fn apply_plan(&self, plan: &Plan<'_>, now: Timestamp) -> Applied {
        let Some(idempotency_key) = &plan.idempotency_key else { return self.charge_plan(plan, now) };
        let key = self.hasher.idempotency(idempotency_key);
        let mut ledger = self.ledger(key);
        match ledger.find(key, now) {
            Some(outcome) if outcome.results.len() == plan.buckets().len() => Applied::Decided(outcome),
            // The rules have changed in between: nothing is charged again, but the results are of now.
            Some(_) => match self.peek_plan(plan, now) {
                Applied::Decided(outcome) => {
                    Applied::Decided(Outcome { charged: true, repeated: true, ..outcome })
                }
                Applied::Stale => Applied::Stale,
            },
            None => {
                let applied = self.charge_plan(plan, now);
                if let Applied::Decided(outcome) = &applied
                    && outcome.charged
                {
                    ledger.remember(key, outcome, now);
                }
                applied
            }
        }
    }

    pub(super) fn peek_plan(&self, plan: &Plan<'_>, now: Timestamp) -> Applied {
        let (parts, mut shards) = self.lock_plan(plan);
        let setting = self.setting(now, plan.unknown_revisions);
        let Ok(held) = hold_all(&setting, &parts, &mut shards, |_| Purpose::Look) else {
            return Applied::Stale;
        };
        let mut results = SmallVec::new();
        for (part, held) in parts.iter().zip(held) {
            let ask = plan.ask(part.bucket);
            let meter = &part.bucket.metered.meter;
            let verdict = meter.judge(&held.state, now, &ask);
            let gauge = meter.gauge(&held.state, now, ask.reserved);
            results.push(BucketResult { verdict, gauge, place: None });
            held.leave(shards.at(part.shard));
        }
        Applied::Decided(Outcome::new(now, results, false))
    }

    #[inline]
    fn charge_plan(&self, plan: &Plan<'_>, now: Timestamp) -> Applied {
        if let [bucket] = plan.buckets()
            && let Some(applied) = self.charge_present(plan, bucket, now)
        {
            return applied;
        }
        self.charge_many(plan, now)
    }

    /// The commonest case at its shortest: one bucket that is there, in its entry, written under the present rule.
    #[inline]
    fn charge_present(&self, plan: &Plan<'_>, bucket: &PlannedBucket<'_>, now: Timestamp) -> Option<Applied> {
        let key = self.hasher.bucket(plan.key_of(bucket));
        let meter = &bucket.metered.meter;
        let ask = plan.ask(bucket);
        let mut shard = self.lock(self.shard_of(key));
        let entry = shard.find_mut(key).filter(|entry| entry.revision() == bucket.metered.revision)?;
        let mut state = entry.unpack(meter)?;
        let repaired = meter.repair(&mut state, now);
        let verdict = meter.judge(&state, now, &ask);
        let allowed = verdict.is_allow();
        if allowed {
            meter.charge(&mut state, now, &ask);
        }
        let result = result_of(meter, &state, now, verdict, ask.reserved);
        if allowed || repaired {
            match Packed::new(meter, &state) {
                Some(packed) if packed.rest > now.as_micros() => {
                    entry.set(bucket.metered.revision, self.around.epochs.mark(), packed);
                }
                _ => shard.remove(key, &self.around),
            }
            shard.counts.repairs += u64::from(repaired);
        }
        let charged = allowed || !bucket.is_enforced();
        drop(shard);
        let mut results = SmallVec::new();
        results.push(result);
        Some(Applied::Decided(Outcome::new(now, results, charged)))
    }

    fn charge_many(&self, plan: &Plan<'_>, now: Timestamp) -> Applied {
        let (parts, mut shards) = self.lock_plan(plan);
        let setting = self.setting(now, plan.unknown_revisions);
        let purpose =
            |held: &[Held]| Purpose::Keep { pending: held.iter().filter(|held| !held.stored).count() };
        let Ok(held) = hold_all(&setting, &parts, &mut shards, purpose) else { return Applied::Stale };
        let verdicts: SmallVec<[Verdict; 4]> = parts
            .iter()
            .zip(&held)
            .map(|(part, held)| part.bucket.metered.meter.judge(&held.state, now, &plan.ask(part.bucket)))
            .collect();
        let charged = parts
            .iter()
            .zip(&verdicts)
            .all(|(part, verdict)| verdict.is_allow() || !part.bucket.is_enforced());
        let mut results = SmallVec::new();
        for ((part, mut held), verdict) in parts.iter().zip(held).zip(verdicts) {
            let (meter, ask) = (&part.bucket.metered.meter, plan.ask(part.bucket));
            let charge = charged && verdict.is_allow();
            if charge {
                meter.charge(&mut held.state, now, &ask);
            }
            let mut result = result_of(meter, &held.state, now, verdict, ask.reserved);
            if !charge {
                result.place = None;
            }
            results.push(result);
            let shard = shards.at(part.shard);
            shard.counts.repairs += u64::from(held.repaired);
            shard.counts.spilled += u64::from(charge && held.home == Home::Coarse);
            if charge || held.repaired {
                held.keep(shard, part.bucket, now, &self.around);
            } else {
                held.leave(shard);
            }
        }
        Applied::Decided(Outcome::new(now, results, charged))
    }

    /// Locks the shards of all buckets.
    pub(super) fn lock_plan<'p, 'a>(&self, plan: &'p Plan<'a>) -> (Parts<'p, 'a>, LockedShards<'_>) {
        let mut parts: Parts<'p, 'a> = SmallVec::new();
        let mut indexes: SmallVec<[usize; 4]> = SmallVec::new();
        for bucket in plan.buckets() {
            let bytes = plan.key_of(bucket);
            let key = self.hasher.bucket(bytes);
            let shard = self.shard_of(key);
            parts.push(Part { bucket, key, rule_uid: uid_of(bytes), shard });
            indexes.push(shard);
        }
        indexes.sort_unstable();
        indexes.dedup();
        for part in &mut parts {
            part.shard = indexes.binary_search(&part.shard).unwrap_or_default();
        }
        let guards = indexes.iter().map(|index| self.lock(*index)).collect();
        (parts, LockedShards { guards })
    }
}

/// Gets the states of all buckets ready; when one cannot be, all are left as they were.
pub(super) fn hold_all(
    setting: &Setting<'_>,
    parts: &[Part<'_, '_>],
    shards: &mut LockedShards<'_>,
    purpose: impl Fn(&[Held]) -> Purpose,
) -> Result<HeldParts, Stale> {
    let mut all = HeldParts::new();
    for part in parts {
        let shard = shards.at(part.shard);
        match setting.hold(shard, (part.key, part.rule_uid), part.bucket, purpose(&all)) {
            Ok(held) => {
                // A bucket that stands in a plan twice is one bucket: it is charged once.
                let first = all.iter().find(|first| first.key == held.key).map(Held::again);
                all.push(first.unwrap_or(held));
            }
            Err(stale) => {
                for (part, held) in parts.iter().zip(all) {
                    held.leave(shards.at(part.shard));
                }
                return Err(stale);
            }
        }
    }
    Ok(all)
}

fn result_of(meter: &Meter, state: &State, now: Timestamp, verdict: Verdict, reserved: u64) -> BucketResult {
    let place = match (verdict, state) {
        (Verdict::Allow { wait }, State::Tat(tat)) if wait.as_micros() > 0 => Some(*tat),
        _ => None,
    };
    BucketResult { verdict, gauge: meter.gauge(state, now, reserved), place }
}

/// The rule's uid, with which every key starts.
pub(super) fn uid_of(key: &[u8]) -> u128 {
    key.first_chunk().map_or(0, |bytes| u128::from_le_bytes(*bytes))
}
