//! Everything that changes buckets besides a charge: refund, withdrawal, reset, release of a permit.

use smallvec::SmallVec;
use tidegate_core::algorithm::{Charge, State};
use tidegate_core::decision::Verdict;
use tidegate_core::time::Timestamp;

use super::MemoryStore;
use super::decide::{hold_all, uid_of};
use super::entry::{Entry, Packed};
use super::held::{Held, Purpose, Stale};
use super::key::Key;
use crate::plan::{BucketResult, Outcome, Plan, PlannedBucket};
use crate::port::{Applied, BucketAddress};

/// Bytes of an address: the fingerprint and the rule's uid, by which the coarse bucket is found.
const ADDRESS_BYTES: usize = 32;

/// Whether a change is to be kept.
enum Change {
    Keep,
    Leave,
}

impl MemoryStore {
    pub(super) fn refund_plan(&self, plan: &Plan<'_>, now: Timestamp) -> Applied {
        let Some(idempotency_key) = &plan.idempotency_key else { return self.give_back(plan, now) };
        let key = self.hasher.idempotency(idempotency_key);
        let mut ledger = self.ledger(key);
        match ledger.find(key, now) {
            Some(outcome) if outcome.results.len() == plan.buckets().len() => {
                Applied::Decided(Outcome { charged: false, ..outcome })
            }
            _ => {
                let applied = self.give_back(plan, now);
                if let Applied::Decided(outcome) = &applied {
                    ledger.remember(key, outcome, now);
                }
                applied
            }
        }
    }

    fn give_back(&self, plan: &Plan<'_>, now: Timestamp) -> Applied {
        let results = self.change(plan, now, |_, bucket, state| {
            bucket.metered.meter.refund(state, now, plan.cost);
            Change::Keep
        });
        match results {
            Ok(results) => Applied::Decided(Outcome::new(now, results, false)),
            Err(Stale) => Applied::Stale,
        }
    }

    /// Debits like a charge that everything allows, so that a bucket which is not there yet comes to be.
    pub(super) fn debit_plan(&self, plan: &Plan<'_>, now: Timestamp) -> Applied {
        let (parts, mut shards) = self.lock_plan(plan);
        let setting = self.setting(now, plan.unknown_revisions);
        let purpose =
            |held: &[Held]| Purpose::Keep { pending: held.iter().filter(|held| !held.stored).count() };
        let Ok(held) = hold_all(&setting, &parts, &mut shards, purpose) else { return Applied::Stale };
        let mut results = SmallVec::new();
        for (part, mut held) in parts.iter().zip(held) {
            let meter = &part.bucket.metered.meter;
            meter.debit(&mut held.state, now, plan.cost);
            let gauge = meter.gauge(&held.state, now, part.bucket.reserved);
            results.push(BucketResult { verdict: Verdict::ALLOW, gauge, place: None });
            held.keep(shards.at(part.shard), part.bucket, now, &self.around);
        }
        Applied::Decided(Outcome::new(now, results, true))
    }

    pub(super) fn withdraw_plan(&self, plan: &Plan<'_>, outcome: &Outcome, now: Timestamp) {
        if !outcome.charged || outcome.repeated {
            return;
        }
        // The charge is undone, so a later call with the same key is to be charged.
        let mut ledger = plan.idempotency_key.as_ref().map(|bytes| {
            let key = self.hasher.idempotency(bytes);
            (key, self.ledger(key))
        });
        if let Some((key, ledger)) = &mut ledger {
            ledger.forget(*key);
        }
        // A bucket under rules that the plan does not know keeps what it has: never too many pass.
        let _ = self.change(plan, now, |index, bucket, state| {
            let Some(result) = outcome.results.get(index).filter(|result| result.verdict.is_allow()) else {
                return Change::Leave;
            };
            let charge =
                Charge { at: outcome.decided_at, cost: plan.cost, permit: plan.permit, place: result.place };
            bucket.metered.meter.withdraw(state, now, &charge);
            Change::Keep
        });
    }

    pub(super) fn reset_plan(&self, plan: &Plan<'_>, now: Timestamp) {
        let (parts, mut shards) = self.lock_plan(plan);
        let setting = self.setting(now, plan.unknown_revisions);
        for part in &parts {
            let shard = shards.at(part.shard);
            if shard.find(part.key).is_some() {
                shard.remove(part.key, &self.around);
            } else {
                shard.remove(setting.coarse_of(part.rule_uid, part.key), &self.around);
            }
        }
    }

    pub(super) fn address_of(&self, key: &[u8]) -> BucketAddress {
        let Key { table, rest } = self.hasher.bucket(key);
        let fingerprint = u128::from(table) | u128::from(rest) << 64;
        [fingerprint, uid_of(key)].iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    pub(super) fn release_permit(&self, address: &BucketAddress, permit: u64, now: Timestamp) -> bool {
        let Some((key, rule_uid)) = parse_address(address) else { return false };
        let shard = self.shard_of(key);
        let coarse = self.hasher.coarse(rule_uid, &self.curve, shard);
        self.release_from(shard, key, permit, now) || self.release_from(shard, coarse, permit, now)
    }

    fn release_from(&self, shard: usize, key: Key, permit: u64, now: Timestamp) -> bool {
        let mut shard = self.lock(shard);
        let Some(index) = shard.find(key).and_then(Entry::slab_index) else { return false };
        let Some(mut state) = shard.slab_mut().take(index) else { return false };
        let (mut was_held, mut rest) = (false, None);
        if let State::Permits(permits) = &mut state {
            was_held = permits.release(permit, now);
            rest = Some(permits.held().last().map_or(0, |last| last.expires_at));
        }
        shard.slab_mut().put(index, state);
        match rest {
            Some(rest) if rest <= now.as_micros() => shard.remove(key, &self.around),
            Some(rest) => {
                if let Some(entry) = shard.find_mut(key) {
                    entry.set(entry.revision(), entry.epoch(), Packed::in_slab(index, rest));
                }
            }
            None => {}
        }
        was_held
    }

    /// Works on the buckets of a plan that are there, and gives what they hold afterwards.
    fn change(
        &self,
        plan: &Plan<'_>,
        now: Timestamp,
        mut work: impl FnMut(usize, &PlannedBucket<'_>, &mut State) -> Change,
    ) -> Result<SmallVec<[BucketResult; 1]>, Stale> {
        let (parts, mut shards) = self.lock_plan(plan);
        let setting = self.setting(now, plan.unknown_revisions);
        let held = hold_all(&setting, &parts, &mut shards, |_| Purpose::Look)?;
        let mut results = SmallVec::new();
        for (index, (part, mut held)) in parts.iter().zip(held).enumerate() {
            let change = if held.stored { work(index, part.bucket, &mut held.state) } else { Change::Leave };
            let gauge = part.bucket.metered.meter.gauge(&held.state, now, part.bucket.reserved);
            results.push(BucketResult { verdict: Verdict::ALLOW, gauge, place: None });
            let shard = shards.at(part.shard);
            shard.counts.repairs += u64::from(held.repaired);
            match change {
                Change::Leave if !held.repaired => held.leave(shard),
                Change::Keep | Change::Leave => held.keep(shard, part.bucket, now, &self.around),
            }
        }
        Ok(results)
    }
}

fn parse_address(address: &[u8]) -> Option<(Key, u128)> {
    let address: &[u8; ADDRESS_BYTES] = address.try_into().ok()?;
    let (words, _) = address.as_chunks::<16>();
    let [fingerprint, uid] = *words else { return None };
    let fingerprint = u128::from_le_bytes(fingerprint);
    let key = Key::from_words(fingerprint as u64, (fingerprint >> 64) as u64);
    Some((key, u128::from_le_bytes(uid)))
}
