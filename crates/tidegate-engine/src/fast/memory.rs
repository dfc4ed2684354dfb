//! What replies said about buckets: bounded, sharded, each bucket under a keyed hash of its key.
//!
//! - A shard's lock is held for one look or one change, never while anything waits, and never two at a time. A key of
//!   which its [`stripe`](super::stripe) says that nothing is remembered takes none.
//! - A reply is remembered only if its bucket was not forgotten since the call was sent: [`Memory::forget`] first
//!   begins another epoch of the stripe, then removes the bucket; [`Memory::learn`] compares epochs under the lock.

use core::hash::{BuildHasherDefault, Hash, Hasher};
use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use siphasher::sip128::SipHasher13;
use smallvec::SmallVec;
use tidegate_core::algorithm::{Ask, State};
use tidegate_core::decision::Verdict;
use tidegate_core::quota::Algorithm;
use tidegate_core::rule::{Metered, Revision};
use tidegate_core::time::{Micros, Timestamp};
use tidegate_store::{BucketResult, Outcome, Plan};

use super::stripe::{Epoch, Stripe, Stripes};
use super::{FastOptions, FastStats};

/// Shards, a power of two.
const SHARDS: usize = 16;
/// How many entries are looked at for their age whenever one is kept: more than come to be, so that those of no use
/// any more do not gather.
const SWEPT_AT_ONCE: usize = 2;
/// How many entries, drawn at random, the one to be evicted is the oldest of.
const EVICTION_DRAWS: usize = 4;
/// Admissions of a log that weigh as much as an entry.
const ADMISSIONS_PER_ENTRY: usize = 4;
/// A state that takes more than one part in so many of a shard is not remembered.
const LARGEST_PART: usize = 8;
/// Clocks that work run apart by less than one part in 2^so many.
const DRIFT_SHIFT: u32 = 10;
/// What rounding to whole microseconds can hide.
const ROUNDING: u64 = 3;

/// What stands for a bucket's key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint {
    /// The hash that the tables use.
    table: u64,
    /// 64 more bits, which choose shard and stripe.
    rest: u64,
}

impl Hash for Fingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.table);
    }
}

/// A fingerprint is a hash already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// One bucket of a plan that the store is asked about.
pub(super) struct Asked {
    pub(super) fingerprint: Fingerprint,
    /// The epoch of its stripe when it was asked.
    epoch: Epoch,
    /// Whether something was remembered of it.
    is_known: bool,
    is_hot: bool,
}

/// What is remembered of a plan.
pub(super) enum Recalled {
    /// Every bucket is sure to deny.
    Denied(Outcome),
    /// The store has to be asked.
    Unsure(SmallVec<[Asked; 2]>),
}

/// What was last said of one bucket.
struct Entry {
    fingerprint: Fingerprint,
    revision: Revision,
    /// By the store's clock.
    decided_at: Timestamp,
    /// By this node's.
    sent: Timestamp,
    state: State,
}

impl Entry {
    /// The denial that is sure at `now`, and its instant by the store's clock.
    fn denial(
        &self,
        metered: &Metered,
        ask: &Ask,
        now: Timestamp,
        max_age: Micros,
    ) -> Option<(Timestamp, BucketResult)> {
        let age = now.since(self.sent);
        if self.revision != metered.revision || age >= max_age {
            return None;
        }
        let meter = &metered.meter;
        let present = self.decided_at.saturating_add(age);
        let latest = present.saturating_add(Micros::from_micros((age.as_micros() >> DRIFT_SHIFT) + ROUNDING));
        if !is_passing_denial(meter.judge(&self.state, latest, ask)) {
            return None;
        }
        let verdict = meter.judge(&self.state, present, ask);
        let gauge = meter.gauge(&self.state, present, ask.reserved);
        Some((present, BucketResult { verdict, gauge, place: None }))
    }
}

/// Whether this is a denial that waiting lifts.
const fn is_passing_denial(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Deny { retry_after: Some(_) })
}

/// The entries of one shard.
#[derive(Default)]
struct Table {
    places: HashMap<Fingerprint, u32, BuildHasherDefault<AsItIs>>,
    entries: Vec<Entry>,
    /// The weight of all entries.
    weight: usize,
    /// The place that the sweep goes on with.
    hand: usize,
    /// The last random number.
    drawn: u64,
}

/// Keeps neighbours out of one another's cache lines, which are fetched in pairs.
#[repr(align(128))]
#[derive(Default)]
struct Shard {
    table: Mutex<Table>,
    /// Requests for which the store was asked.
    unsure: AtomicU64,
    answered: AtomicU64,
    remembered: AtomicU64,
    evicted: AtomicU64,
}

/// What replies said.
pub(super) struct Memory {
    hasher: SipHasher13,
    shards: [Shard; SHARDS],
    stripes: Stripes,
    deny_cache: bool,
    shadow: bool,
    max_age: Micros,
    /// The most that the entries of a shard may weigh.
    max_weight: usize,
}

impl Memory {
    pub(super) fn new(options: &FastOptions) -> Self {
        let [a, b] = options.seed;
        Self {
            hasher: SipHasher13::new_with_keys(a, b),
            shards: Default::default(),
            stripes: Stripes::new(options.max_age),
            deny_cache: options.deny_cache,
            shadow: options.shadow,
            max_age: options.max_age,
            max_weight: options.max_entries.div_ceil(SHARDS),
        }
    }

    pub(super) fn fingerprint(&self, key: &[u8]) -> Fingerprint {
        let (table, rest) = self.hasher.hash(key).as_u64();
        Fingerprint { table, rest }
    }

    /// What is sure of a plan at `now`.
    pub(super) fn recall(&self, plan: &Plan<'_>, now: Timestamp, answerable: bool) -> Recalled {
        let mut is_sure = answerable && !plan.buckets().is_empty();
        let mut results = SmallVec::new();
        let mut decided_at = Timestamp::MAX;
        let mut asked = SmallVec::new();
        for bucket in plan.buckets() {
            let fingerprint = self.fingerprint(plan.key_of(bucket));
            // Before the call is sent: what is forgotten from here on, its reply must not bring back.
            let (epoch, mut is_known) = self.stripe(fingerprint).look();
            let mut denial = None;
            if is_known {
                let table = self.shard(fingerprint).table.lock();
                let entry = table.find(fingerprint);
                is_known = entry.is_some();
                denial = entry
                    .filter(|_| is_sure)
                    .and_then(|entry| entry.denial(bucket.metered, &plan.ask(bucket), now, self.max_age));
            }
            match denial {
                Some((at, result)) => {
                    decided_at = decided_at.min(at);
                    results.push(result);
                }
                None => is_sure = false,
            }
            asked.push(Asked { fingerprint, epoch, is_known, is_hot: false });
        }
        self.count(&mut asked, now, is_sure);
        if is_sure {
            Recalled::Denied(Outcome::new(decided_at, results, false))
        } else {
            Recalled::Unsure(asked)
        }
    }

    fn count(&self, asked: &mut [Asked], now: Timestamp, is_sure: bool) {
        if let Some(first) = asked.first() {
            let shard = self.shard(first.fingerprint);
            let counter = if is_sure { &shard.answered } else { &shard.unsure };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        if self.shadow && !is_sure {
            for asked in asked {
                asked.is_hot = self.stripes.count(self.stripe(asked.fingerprint), now);
            }
        }
    }

    /// Remembers what is worth it of a reply.
    pub(super) fn learn(
        &self,
        plan: &Plan<'_>,
        sent: Timestamp,
        asked: &[Asked],
        outcome: &Outcome,
        states: Box<[State]>,
    ) {
        if states.len() != plan.buckets().len() || outcome.results.len() != states.len() {
            return;
        }
        let parts = plan.buckets().iter().zip(asked).zip(&outcome.results).zip(states);
        for (((bucket, asked), result), state) in parts {
            let Metered { revision, meter } = bucket.metered;
            if meter.algorithm() == Algorithm::Concurrency {
                continue;
            }
            let denied = is_passing_denial(result.verdict);
            let is_wanted = if denied {
                self.deny_cache
            } else {
                asked.is_hot
                    && result.gauge.remaining < plan.cost
                    && is_passing_denial(meter.judge(&state, outcome.decided_at, &plan.ask(bucket)))
            };
            if !is_wanted && !asked.is_known {
                continue;
            }
            let fingerprint = asked.fingerprint;
            let entry =
                Entry { fingerprint, revision: *revision, decided_at: outcome.decided_at, sent, state };
            let shard = self.shard(fingerprint);
            let mut table = shard.table.lock();
            if self.stripe(fingerprint).look().0 != asked.epoch {
                continue;
            }
            // A bucket that was exhausted of late is followed; without the shadow, only while it denies.
            if is_wanted || denied || self.shadow {
                let kept = self.keep(&mut table, entry, is_wanted);
                drop(table);
                shard.remembered.fetch_add(u64::from(kept.is_kept), Ordering::Relaxed);
                shard.evicted.fetch_add(kept.evicted, Ordering::Relaxed);
            } else {
                self.remove(&mut table, fingerprint);
            }
        }
    }

    /// Forgets these buckets, and replies about them that are on their way.
    pub(super) fn forget(&self, fingerprints: impl Iterator<Item = Fingerprint>) {
        for fingerprint in fingerprints {
            self.stripe(fingerprint).forget();
            self.remove(&mut self.shard(fingerprint).table.lock(), fingerprint);
        }
    }

    pub(super) fn forget_all(&self) {
        self.stripes.all().for_each(Stripe::forget);
        for shard in &self.shards {
            let forgotten = core::mem::take(&mut *shard.table.lock());
            forgotten.entries.iter().for_each(|entry| self.stripe(entry.fingerprint).removed());
        }
    }

    pub(super) fn stats(&self) -> FastStats {
        let sum = |counter: fn(&Shard) -> &AtomicU64| -> u64 {
            self.shards.iter().map(|shard| counter(shard).load(Ordering::Relaxed)).sum()
        };
        let answered = sum(|shard| &shard.answered);
        FastStats {
            entries: self.shards.iter().map(|shard| shard.table.lock().entries.len()).sum(),
            asked: sum(|shard| &shard.unsure) + answered,
            answered,
            remembered: sum(|shard| &shard.remembered),
            evicted: sum(|shard| &shard.evicted),
        }
    }

    fn shard(&self, fingerprint: Fingerprint) -> &Shard {
        &self.shards[(fingerprint.rest >> 60) as usize % SHARDS]
    }

    fn stripe(&self, fingerprint: Fingerprint) -> &Stripe {
        self.stripes.of(fingerprint.rest)
    }
}

/// What became of a state that was to be kept.
#[derive(Default)]
struct Kept {
    is_kept: bool,
    evicted: u64,
}

// === impl one shard, under its lock ===

impl Memory {
    /// Keeps an entry in the place of an earlier one of its bucket, or as a new one if that is wanted.
    fn keep(&self, table: &mut Table, entry: Entry, new_too: bool) -> Kept {
        let weight = weight_of(&entry.state);
        if weight > (self.max_weight / LARGEST_PART).max(1) {
            self.remove(table, entry.fingerprint);
            return Kept::default();
        }
        let sent = entry.sent;
        let place = u32::try_from(table.entries.len()).unwrap_or(u32::MAX);
        match table.places.entry(entry.fingerprint) {
            Slot::Occupied(slot) => {
                let Some(before) = table.entries.get_mut(*slot.get() as usize) else {
                    return Kept::default();
                };
                // Replies overtake one another. Both are true; the later call says more.
                if sent < before.sent {
                    return Kept::default();
                }
                table.weight = table.weight + weight - weight_of(&before.state);
                *before = entry;
            }
            Slot::Vacant(_) if !new_too => return Kept::default(),
            Slot::Vacant(slot) => {
                slot.insert(place);
                self.stripe(entry.fingerprint).added();
                table.weight += weight;
                table.entries.push(entry);
            }
        }
        self.sweep(table, sent);
        let mut evicted = 0;
        while table.weight > self.max_weight
            && let Some(oldest) = table.oldest_of_some()
        {
            self.remove(table, oldest);
            evicted += 1;
        }
        Kept { is_kept: true, evicted }
    }

    /// Forgets some of those that are too old to be used.
    fn sweep(&self, table: &mut Table, now: Timestamp) {
        for _ in 0..SWEPT_AT_ONCE {
            match table.entries.get(table.hand) {
                Some(entry) if now.since(entry.sent) >= self.max_age => {
                    self.remove(table, entry.fingerprint);
                }
                Some(_) => table.hand += 1,
                None => table.hand = 0,
            }
        }
    }

    fn remove(&self, table: &mut Table, fingerprint: Fingerprint) {
        if table.remove(fingerprint) {
            self.stripe(fingerprint).removed();
        }
    }
}

impl Table {
    fn find(&self, fingerprint: Fingerprint) -> Option<&Entry> {
        self.places.get(&fingerprint).and_then(|place| self.entries.get(*place as usize))
    }

    /// The oldest of a few: the one that will be of no use soonest.
    fn oldest_of_some(&mut self) -> Option<Fingerprint> {
        let mut oldest: Option<&Entry> = None;
        for _ in 0..EVICTION_DRAWS {
            // Knuth's MMIX generator: only the high bits are random enough.
            self.drawn =
                self.drawn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let place = (self.drawn >> 33) as usize % self.entries.len().max(1);
            let drawn = self.entries.get(place)?;
            if oldest.is_none_or(|oldest| drawn.sent < oldest.sent) {
                oldest = Some(drawn);
            }
        }
        oldest.map(|entry| entry.fingerprint)
    }

    /// Whether there was one.
    fn remove(&mut self, fingerprint: Fingerprint) -> bool {
        let Some(place) = self.places.remove(&fingerprint) else { return false };
        let removed = self.entries.swap_remove(place as usize);
        self.weight -= weight_of(&removed.state);
        if let Some(moved) = self.entries.get(place as usize) {
            self.places.insert(moved.fingerprint, place);
        }
        true
    }
}

/// One, and more for what a state keeps elsewhere.
fn weight_of(state: &State) -> usize {
    match state {
        State::Log(log) => 1 + log.capacity() / ADMISSIONS_PER_ENTRY,
        State::Permits(permits) => 1 + permits.capacity() / ADMISSIONS_PER_ENTRY,
        State::Tat(_) | State::Count(_) | State::CountPair(_) => 1,
    }
}

#[cfg(test)]
mod tests {
    use tidegate_core::algorithm::Tat;

    use super::*;

    #[test]
    fn stripes_know_what_is_remembered_and_only_that() {
        let options = FastOptions { max_entries: 64, ..FastOptions::new([1, 2]) };
        let memory = Memory::new(&options);
        let fingerprints: Vec<_> = (0..1_000_u32).map(|key| memory.fingerprint(&key.to_le_bytes())).collect();
        let remember = |at: usize, fingerprint: Fingerprint| {
            let (sent, revision) = (Timestamp::from_micros(at as u64 * 100_000), Revision::from_number(1));
            let state = State::Tat(Tat::default());
            let entry = Entry { fingerprint, revision, decided_at: sent, sent, state };
            memory.keep(&mut memory.shard(fingerprint).table.lock(), entry, true);
        };
        let check = |kept: std::ops::RangeInclusive<usize>| {
            let entries = memory.stats().entries;
            let known = memory.stripes.all().filter(|stripe| stripe.look().1).count();
            assert!(
                kept.contains(&entries) && known <= entries && (known > 0) == (entries > 0),
                "{known} {entries}"
            );
            for fingerprint in &fingerprints {
                let found = memory.shard(*fingerprint).table.lock().find(*fingerprint).is_some();
                assert!(!found || memory.stripe(*fingerprint).look().1);
            }
        };
        // Evicted, swept, forgotten one by one and all at once.
        fingerprints.iter().for_each(|fingerprint| remember(0, *fingerprint));
        check(64..=64);
        fingerprints.iter().enumerate().for_each(|(at, fingerprint)| remember(at, *fingerprint));
        check(16..=64);
        memory.forget(fingerprints.iter().copied());
        check(0..=0);
        fingerprints.iter().for_each(|fingerprint| remember(0, *fingerprint));
        memory.forget_all();
        check(0..=0);
    }
}
