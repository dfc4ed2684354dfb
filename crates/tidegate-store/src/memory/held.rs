//! One bucket of a plan while its shard is locked: found, carried to the present rule, worked on, and kept or left.

use tidegate_core::algorithm::{CLOCK_TOLERANCE, Meter, State};
use tidegate_core::quota::Algorithm;
use tidegate_core::rule::Metered;
use tidegate_core::time::Timestamp;

use super::Around;
use super::entry::{Entry, Home, fits};
use super::key::{Key, KeyHasher, ShardCurve};
use super::shard::{Shard, Size};
use crate::plan::{PlannedBucket, UnknownRevisions};

/// The bucket was written under rules that the plan does not know.
pub(super) struct Stale;

/// What the caller is about to do with a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Look only: nothing may be changed.
    Look,
    /// Perhaps keep a new bucket, besides so many other new ones in the same shard.
    Keep { pending: usize },
}

/// What all buckets of a call have in common.
pub(super) struct Setting<'s> {
    pub(super) hasher: &'s KeyHasher,
    pub(super) curve: &'s ShardCurve,
    pub(super) around: &'s Around,
    pub(super) now: Timestamp,
    pub(super) unknown: UnknownRevisions,
}

/// A bucket's state, in terms of the present rule.
pub(super) struct Held {
    pub(super) key: Key,
    pub(super) home: Home,
    pub(super) state: State,
    /// Whether a wrong clock's doing was undone.
    pub(super) repaired: bool,
    /// Whether the table has the bucket.
    pub(super) stored: bool,
    /// Whether the state was taken out of the slab and must be put back.
    taken: bool,
}

impl Setting<'_> {
    /// The coarse bucket of the rule that a key belongs to.
    pub(super) fn coarse_of(&self, rule_uid: u128, key: Key) -> Key {
        self.hasher.coarse(rule_uid, self.curve, self.curve.shard_of(key))
    }

    /// Finds the bucket of a key and gets its state ready. After `Err` nothing has been changed.
    pub(super) fn hold(
        &self,
        shard: &mut Shard,
        (key, rule_uid): (Key, u128),
        bucket: &PlannedBucket<'_>,
        purpose: Purpose,
    ) -> Result<Held, Stale> {
        if let Some(entry) = shard.find(key).copied() {
            return self.open(shard, key, entry, bucket);
        }
        let size = size_of_state(bucket);
        let (home, coarse) = match purpose {
            Purpose::Look if shard.has_room(size, self.now, self.around) => (Home::Own, None),
            Purpose::Look => {
                let coarse = self.coarse_of(rule_uid, key);
                shard.find(coarse).map_or((Home::Own, None), |_| (Home::Coarse, Some(coarse)))
            }
            Purpose::Keep { pending } => {
                shard.make_home(|| self.coarse_of(rule_uid, key), size, pending, self.now, self.around)
            }
        };
        let key = coarse.unwrap_or(key);
        match coarse.and_then(|coarse| shard.find(coarse).copied()) {
            Some(entry) => self.open(shard, key, entry, bucket),
            None => {
                let state = bucket.metered.meter.fresh();
                Ok(Held { key, home, state, repaired: false, stored: false, taken: false })
            }
        }
    }

    /// Gets the state of a bucket that is there ready.
    fn open(
        &self,
        shard: &mut Shard,
        key: Key,
        entry: Entry,
        bucket: &PlannedBucket<'_>,
    ) -> Result<Held, Stale> {
        let meter = &bucket.metered.meter;
        let (mut state, taken) = match entry.slab_index() {
            Some(index)
                if entry.revision() == bucket.metered.revision && !self.is_impossible(&entry, meter) =>
            {
                (shard.slab_mut().take(index), true)
            }
            Some(index) => (shard.slab().get(index).cloned(), false),
            None => (None, false),
        };
        if !taken {
            state = self.carried(&entry, state.as_ref(), bucket)?;
        }
        let mut state = match state.filter(|state| fits(meter, state)) {
            Some(state) => state,
            None => meter.fresh(),
        };
        let repaired = !taken && meter.repair(&mut state, self.now);
        Ok(Held { key, home: entry.home(), state, repaired, stored: true, taken })
    }

    /// What an entry says, carried to the present rule. `in_slab` is its state, if it lies there.
    fn carried(
        &self,
        entry: &Entry,
        in_slab: Option<&State>,
        bucket: &PlannedBucket<'_>,
    ) -> Result<Option<State>, Stale> {
        let present = bucket.metered;
        let revision = entry.revision();
        let read = |meter: &Meter| in_slab.cloned().or_else(|| entry.unpack(meter));
        if revision == present.revision {
            return Ok(read(&present.meter));
        }
        // A revision whose buckets are all at rest is known, though no longer how it was metered.
        let old = bucket.rule.meter_of(revision).and_then(read).unwrap_or_else(|| present.meter.fresh());
        let carried = bucket.rule.carry(old, revision, present, self.now);
        match (carried, self.unknown) {
            (Some(state), _) => Ok(Some(state)),
            (None, UnknownRevisions::Refuse) => Err(Stale),
            (None, UnknownRevisions::Adopt) => Ok(match self.around.book.meter_of(revision) {
                Some(meter) => read(&meter).map(|state| present.meter.carry(&meter, &state, self.now)),
                None => read(&present.meter),
            }),
        }
    }

    /// Whether only a wrong clock can have put a state in the slab this far into the future.
    fn is_impossible(&self, entry: &Entry, meter: &Meter) -> bool {
        let latest = self.now.saturating_add(meter.quota().window()).saturating_add(CLOCK_TOLERANCE);
        entry.rest() > latest.as_micros()
    }
}

impl Held {
    /// The same bucket once more.
    pub(super) fn again(&self) -> Self {
        let Held { key, home, repaired, .. } = *self;
        Held { key, home, state: self.state.clone(), repaired, stored: true, taken: false }
    }

    /// Keeps the state.
    pub(super) fn keep(self, shard: &mut Shard, bucket: &PlannedBucket<'_>, now: Timestamp, around: &Around) {
        let Metered { revision, meter } = bucket.metered;
        shard.write((self.key, self.home), (*revision, meter), self.state, now, around);
    }

    /// Leaves the bucket as it was.
    pub(super) fn leave(self, shard: &mut Shard) {
        if !self.taken {
            return;
        }
        if let Some(index) = shard.find(self.key).and_then(Entry::slab_index) {
            shard.slab_mut().put(index, self.state);
        }
    }
}

fn size_of_state(bucket: &PlannedBucket<'_>) -> Size {
    match bucket.metered.meter.algorithm() {
        Algorithm::SlidingWindowLog | Algorithm::Concurrency => Size::Slab,
        Algorithm::TokenBucket
        | Algorithm::LeakyBucket
        | Algorithm::FixedWindow
        | Algorithm::SlidingWindow => Size::Inline,
    }
}
