//! What a rule's quotas were before: how state written under an earlier version is carried to the present one.
//!
//! A bucket stores the revision it was written under. When the rule changes, buckets are not touched: the next
//! request that meets an old revision carries the state along every change in between, each at the instant it
//! happened, exactly as if it had been carried at once.

use std::collections::VecDeque;

use crate::algorithm::{Meter, State};
use crate::hash::FnvMap;
use crate::time::Timestamp;

/// The most earlier revisions that one rule remembers; the oldest is dropped first.
pub const MAX_LINEAGE: usize = 1_024;
/// The most revisions at rest that one rule still knows by their number; the oldest is dropped first.
const MAX_REVISIONS_AT_REST: usize = 4 * MAX_LINEAGE;

/// Names one version of one quota of a rule, in 24 bits. A quota that is not changed has the same revision on every
/// node and after every restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Revision(u32);

impl Revision {
    /// Bits of a revision.
    pub const BITS: u32 = 24;
    const MASK: u32 = (1 << Self::BITS) - 1;

    /// A revision from its number; higher bits are dropped.
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        Self(number & Self::MASK)
    }

    /// The number, below 2^24.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// How many tags there are.
    pub const TAGS: u32 = 250;

    /// The revision in short, for a store that counts every byte. While a rule has few enough revisions, no two of
    /// them that a live bucket can have been written under share a tag: [`CompiledRule::has_tags`].
    ///
    /// [`CompiledRule::has_tags`]: super::CompiledRule::has_tags
    #[must_use]
    pub const fn tag(self) -> u32 {
        self.0 % Self::TAGS
    }

    pub(super) fn first_of(meter: &Meter) -> Self {
        let shape = meter.shape();
        Self::from_number((shape ^ (shape >> 32)) as u32)
    }

    /// The same for one quota in one version of its rule, whatever was before; `place` is the quota's among those of the
    /// rule. Versions that follow one another have tags that follow one another, so that those which are alive at one time
    /// share none.
    pub(super) fn stamped(meter: &Meter, version: u64, place: usize) -> Self {
        /// Quotas of a version before its tags meet those of the next.
        const QUOTAS: u64 = 8;
        let tags = u64::from(Self::TAGS);
        let tag = (version % tags * QUOTAS + place as u64 % tags) % tags;
        let mixed = (meter.shape() ^ version).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let rows = u64::from(Self::MASK / Self::TAGS);
        Self::from_number((mixed % rows * tags + tag) as u32)
    }

    pub(super) const fn next(self) -> Self {
        Self::from_number(self.0.wrapping_add(1))
    }
}

/// The earlier revisions of one rule, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Lineage {
    records: Vec<Record>,
    /// Revisions of which every bucket is at rest, and until when one could last be in its own terms. Their states mean
    /// nothing any more, but read in other terms they could seem to.
    at_rest: VecDeque<(Revision, Timestamp)>,
}

#[derive(Clone, Debug)]
struct Record {
    revision: Revision,
    meter: Meter,
    retired_at: Timestamp,
    successor: Revision,
    /// The fullest bucket of this revision, carried along ever since: when it is at rest, all are.
    fullest: State,
    /// The revision in whose terms `fullest` stands, and its meter.
    stands_in: (Revision, Meter),
}

impl Record {
    /// Until when the fullest bucket would not have been at rest, had nothing changed.
    fn last(&self) -> Timestamp {
        self.meter.rest_at(&self.meter.fullest(self.retired_at))
    }

    fn rests_at(&self) -> Timestamp {
        self.stands_in.1.rest_at(&self.fullest)
    }
}

/// One step of the way to the present.
pub(super) struct Step<'a> {
    /// Its place in the lineage; the successor's, where it is retired too, is a later one.
    pub(super) place: usize,
    pub(super) meter: &'a Meter,
    pub(super) retired_at: Timestamp,
    pub(super) successor: Revision,
}

impl Lineage {
    /// The step of an earlier revision, sought from a place on: the whole way is then walked in one pass.
    pub(super) fn step(&self, revision: Revision, from: usize) -> Option<Step<'_>> {
        let mut places = self.records.iter().enumerate().skip(from);
        places.find(|(_, record)| record.revision == revision).map(|(place, record)| Step {
            place,
            meter: &record.meter,
            retired_at: record.retired_at,
            successor: record.successor,
        })
    }

    /// Whether every bucket of this earlier revision is at rest.
    pub(super) fn is_at_rest(&self, revision: Revision) -> bool {
        self.at_rest.iter().any(|(known, _)| *known == revision)
    }

    /// Until when a bucket of this earlier revision could last be not at rest, in its own terms: one that is later was written
    /// by somebody who calls another quota so.
    pub(super) fn last_of(&self, revision: Revision) -> Option<Timestamp> {
        let at_rest = self.at_rest.iter().rev().find(|(known, _)| *known == revision).map(|(_, last)| *last);
        at_rest.or_else(|| {
            self.records.iter().rev().find(|record| record.revision == revision).map(Record::last)
        })
    }

    /// Whether the number stands for an earlier revision.
    pub(super) fn knows(&self, revision: Revision) -> bool {
        self.step(revision, 0).is_some() || self.is_at_rest(revision)
    }

    /// The earlier revisions of which a bucket may not be at rest, newest first.
    pub(super) fn revisions(&self) -> impl Iterator<Item = Revision> {
        self.records.iter().rev().map(|record| record.revision)
    }

    /// The earlier revisions of which every bucket is at rest, newest first.
    pub(super) fn at_rest(&self) -> impl Iterator<Item = Revision> {
        self.at_rest.iter().rev().map(|(revision, _)| *revision)
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Notes that `revision` gave way to `successor` at `at`.
    pub(super) fn retire(
        &mut self,
        revision: Revision,
        meter: &Meter,
        successor: (Revision, &Meter),
        at: Timestamp,
    ) {
        let (successor, successor_meter) = successor;
        let carried = |state: &State| successor_meter.carry(meter, state, at);
        for record in self.records.iter_mut().filter(|record| record.stands_in.0 == revision) {
            record.fullest = carried(&record.fullest);
            record.stands_in = (successor, successor_meter.clone());
        }
        let fullest = carried(&meter.fullest(at));
        let stands_in = (successor, successor_meter.clone());
        self.records.push(Record {
            revision,
            meter: meter.clone(),
            retired_at: at,
            successor,
            fullest,
            stands_in,
        });
    }

    /// When every bucket of every earlier revision is at rest.
    pub(super) fn rests_at(&self) -> Timestamp {
        self.records.iter().map(Record::rests_at).max().unwrap_or(Timestamp::EPOCH)
    }

    /// Whether [`prune`](Self::prune) may find something.
    pub(super) fn is_prunable(&self, now: Timestamp) -> bool {
        self.records.len() > MAX_LINEAGE || self.records.iter().any(|record| record.rests_at() <= now)
    }

    /// Forgets how revisions of which every bucket is at rest were metered, unless an older one leads over them.
    pub(super) fn prune(&mut self, now: Timestamp) {
        let mut on_the_way: FnvMap<Revision, ()> = FnvMap::default();
        self.records.retain(|record| {
            let needed = record.rests_at() > now || on_the_way.contains_key(&record.revision);
            if needed {
                on_the_way.insert(record.successor, ());
            } else {
                self.at_rest.push_back((record.revision, record.last()));
            }
            needed
        });
        self.at_rest.drain(..self.at_rest.len().saturating_sub(MAX_REVISIONS_AT_REST));
        let excess = self.records.len().saturating_sub(MAX_LINEAGE);
        self.records.drain(..excess);
    }
}
