//! One shard: a table of entries, a slab behind it, and a hand that goes round to sweep and to make room.
//!
//! A table is filled to 26 of 32 slots with keys of their own. One slot in 32 is for coarse buckets, and one stays
//! free, so that a table that may not grow can be cleared of tombstones at a bounded price per insertion.

use hashbrown::HashTable;
use tidegate_core::algorithm::{Meter, State};
use tidegate_core::rule::Revision;
use tidegate_core::time::{Micros, Timestamp};

use super::Around;
use super::entry::{Entry, Home, Packed};
use super::key::Key;
use super::slab::{Slab, compact};

/// Slots of the smallest table.
pub(super) const MIN_SLOTS: usize = 32;
/// Slots that the hand looks at to make room.
const PROBES: usize = 32;
/// Slots that the hand passes with every insertion: sweeping keeps ahead of any flood.
const SWEEP_SLOTS: usize = 4;
/// How long a bucket at rest is kept when nothing presses, for callers whose clock is a little behind.
const SWEEP_GRACE: Micros = Micros::from_secs(1);
/// What a new state in the slab takes at least, in bytes.
const SLAB_STATE_BYTES: usize = 256;

/// What happened in a shard so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) spilled: u64,
    pub(super) evicted_at_rest: u64,
    pub(super) evicted_live: u64,
    pub(super) swept: u64,
    pub(super) repairs: u64,
}

/// Where a state is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Inline,
    Slab,
}

#[derive(Default)]
pub(super) struct Shard {
    table: HashTable<Entry>,
    slab: Slab,
    hand: usize,
    coarse: usize,
    /// The bytes that the budget knows of.
    accounted: usize,
    pub(super) counts: Counts,
}

// --- looking up ---

impl Shard {
    pub(super) fn find(&self, key: Key) -> Option<&Entry> {
        self.table.find(key.table, |entry| entry.is(key))
    }

    pub(super) fn find_mut(&mut self, key: Key) -> Option<&mut Entry> {
        self.table.find_mut(key.table, |entry| entry.is(key))
    }

    pub(super) fn slab(&self) -> &Slab {
        &self.slab
    }

    pub(super) fn slab_mut(&mut self) -> &mut Slab {
        &mut self.slab
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Slots of the table; an empty one has none.
    pub(super) fn slots(&self) -> usize {
        if self.table.allocation_size() == 0 { 0 } else { self.table.num_buckets() }
    }

    /// The entry in a slot.
    pub(super) fn slot(&self, index: usize) -> Option<&Entry> {
        self.table.get_bucket(index)
    }
}

// --- making room ---

impl Shard {
    /// Whose bucket a new key gets: its own where there is room, or can be made without losing anything; else the
    /// coarse one of its rule; else its own again, and another bucket will have to go. `pending` other new keys are
    /// about to be inserted.
    pub(super) fn make_home(
        &mut self,
        coarse: impl FnOnce() -> Key,
        size: Size,
        pending: usize,
        now: Timestamp,
        around: &Around,
    ) -> (Home, Option<Key>) {
        if self.make_room(size, pending, now, around) {
            return (Home::Own, None);
        }
        let coarse = coarse();
        if self.find(coarse).is_some() || self.coarse < coarse_slots(self.slots()) {
            (Home::Coarse, Some(coarse))
        } else {
            (Home::Own, None)
        }
    }

    /// Whether a new key would have a bucket of its own. Changes nothing.
    pub(super) fn has_room(&self, size: Size, now: Timestamp, around: &Around) -> bool {
        let heap_fits = size == Size::Inline || around.budget.fits(SLAB_STATE_BYTES);
        heap_fits
            && (self.own() < own_slots(self.slots())
                || around.budget.fits(table_bytes(self.next_slots()) - table_bytes(self.slots()))
                || self
                    .probe()
                    .any(|index| self.slot(index).is_some_and(|entry| around.epochs.may_drop(entry, now))))
    }

    fn make_room(&mut self, size: Size, pending: usize, now: Timestamp, around: &Around) -> bool {
        if size == Size::Slab && !around.budget.fits(SLAB_STATE_BYTES) {
            self.drop_at_rest(now, around);
            if !around.budget.fits(SLAB_STATE_BYTES) {
                return false;
            }
        }
        let lacks = |shard: &Self| shard.own() + pending >= own_slots(shard.slots());
        while lacks(self) {
            if !self.grow(around) && !self.drop_at_rest(now, around) {
                return false;
            }
        }
        true
    }

    /// Buckets that are one key's own.
    fn own(&self) -> usize {
        self.table.len() - self.coarse
    }

    fn next_slots(&self) -> usize {
        (self.slots() * 2).max(MIN_SLOTS)
    }

    fn grow(&mut self, around: &Around) -> bool {
        let slots = self.next_slots();
        let bytes = table_bytes(slots) - table_bytes(self.slots());
        if !around.budget.try_take(bytes) {
            return false;
        }
        self.accounted += bytes;
        self.resize(slots);
        self.settle(around);
        true
    }

    fn resize(&mut self, slots: usize) {
        self.table.reserve(slots / 8 * 7 - self.table.len(), Entry::table_hash);
    }

    /// The same table without the marks that removed entries left.
    fn clear_tombstones(&mut self) {
        let mut table = HashTable::with_capacity(self.slots() / 8 * 7);
        for entry in &self.table {
            table.insert_unique(entry.table_hash(), *entry, Entry::table_hash);
        }
        self.table = table;
    }

    fn probe(&self) -> impl Iterator<Item = usize> + use<> {
        let (hand, slots) = (self.hand, self.slots());
        (0..PROBES.min(slots)).map(move |step| (hand + step) % slots)
    }

    /// Drops one bucket at rest among those the hand comes to next.
    fn drop_at_rest(&mut self, now: Timestamp, around: &Around) -> bool {
        let found = self
            .probe()
            .find(|index| self.slot(*index).is_some_and(|entry| around.epochs.may_drop(entry, now)));
        self.hand = found.map_or(self.hand + PROBES, |index| index + 1) % self.slots().max(1);
        let Some(index) = found else { return false };
        self.remove_slot(index);
        self.settle(around);
        self.counts.evicted_at_rest += 1;
        true
    }

    /// Drops the bucket nearest to rest among those the hand comes to next.
    fn drop_nearest_to_rest(&mut self) {
        let occupied = |index: usize| self.slot(index).map(|entry| (entry.rest(), index));
        let nearest = self.probe().filter_map(occupied).min();
        // So many empty slots in a row are possible, if barely; then any bucket has to do.
        let nearest = nearest.or_else(|| (0..self.slots()).find_map(occupied));
        self.hand = (self.hand + PROBES) % self.slots().max(1);
        if let Some((_, index)) = nearest {
            self.remove_slot(index);
            self.counts.evicted_live += 1;
        }
    }
}

// --- changing ---

impl Shard {
    /// Keeps a state under a key, or drops the bucket where the state is at rest. Room for a new bucket has been
    /// made before; where there was none to make, another one is dropped.
    pub(super) fn write(
        &mut self,
        (key, home): (Key, Home),
        (revision, meter): (Revision, &Meter),
        state: State,
        now: Timestamp,
        around: &Around,
    ) {
        match Packed::new(meter, &state) {
            Some(packed) if packed.rest <= now.as_micros() => self.remove(key, around),
            Some(packed) => self.write_inline(key, home, revision, packed, now, around),
            None => {
                let rest = rest_in_slab(meter, &state);
                if rest <= now.as_micros() {
                    self.remove(key, around);
                } else {
                    self.write_slab((key, home), revision, state, rest, now, around);
                }
            }
        }
    }

    fn write_inline(
        &mut self,
        key: Key,
        home: Home,
        revision: Revision,
        packed: Packed,
        now: Timestamp,
        around: &Around,
    ) {
        if let Some(index) = self.find(key).and_then(Entry::slab_index) {
            self.remove_from_slab(index);
            self.settle(around);
        }
        match self.find_mut(key) {
            Some(entry) => entry.set(revision, around.epochs.mark(), packed),
            None => self.insert(Entry::new(key, home, revision, around.epochs.mark(), packed), now, around),
        }
    }

    fn write_slab(
        &mut self,
        (key, home): (Key, Home),
        revision: Revision,
        state: State,
        rest: u64,
        now: Timestamp,
        around: &Around,
    ) {
        if self.find(key).is_none() {
            // Before the state is in the slab: another's may have to go, and the last one moves into its place.
            self.make_slot(home);
        }
        let index = match self.find(key).and_then(Entry::slab_index) {
            Some(index) => {
                self.slab.put(index, state);
                index
            }
            None => self.slab.insert(key, state),
        };
        let packed = Packed::in_slab(index, rest);
        match self.find_mut(key) {
            Some(entry) => entry.set(revision, around.epochs.mark(), packed),
            None => self.insert(Entry::new(key, home, revision, around.epochs.mark(), packed), now, around),
        }
        self.settle(around);
        if around.budget.is_exceeded() {
            self.compact(key, around);
        }
    }

    /// Puts a new entry into the table.
    fn insert(&mut self, entry: Entry, now: Timestamp, around: &Around) {
        self.make_slot(entry.home());
        self.table.insert_unique(entry.table_hash(), entry, Entry::table_hash);
        self.coarse += usize::from(entry.home() == Home::Coarse);
        self.settle(around);
        self.sweep(SWEEP_SLOTS, now, around);
    }

    /// Takes over a bucket from a snapshot, unless there is no room for it.
    pub(super) fn restore(&mut self, entry: Entry, in_slab: Option<State>, now: Timestamp, around: &Around) {
        let size = if in_slab.is_some() { Size::Slab } else { Size::Inline };
        let has_room = match entry.home() {
            Home::Own => self.make_room(size, 0, now, around),
            Home::Coarse => self.coarse < coarse_slots(self.slots()),
        };
        if !has_room || self.find(entry.key()).is_some() {
            self.counts.evicted_live += u64::from(!has_room);
            return;
        }
        let mut entry = entry;
        if let Some(state) = in_slab {
            let index = self.slab.insert(entry.key(), state);
            entry.set(entry.revision(), entry.epoch(), Packed::in_slab(index, entry.rest()));
        }
        self.insert(entry, now, around);
        if around.budget.is_exceeded() {
            self.compact(entry.key(), around);
        }
    }

    /// Makes sure that an entry can be inserted without the table growing.
    fn make_slot(&mut self, home: Home) {
        let has_slot = match home {
            Home::Own => self.own() < own_slots(self.slots()),
            Home::Coarse => self.coarse < coarse_slots(self.slots()),
        };
        if self.slots() == 0 {
            self.resize(MIN_SLOTS);
        } else if !has_slot {
            self.drop_nearest_to_rest();
        }
        if self.table.capacity() == self.table.len() {
            self.clear_tombstones();
        }
    }

    /// Puts a bucket to rest.
    pub(super) fn remove(&mut self, key: Key, around: &Around) {
        if let Some(index) = self.table.find_bucket_index(key.table, |entry| entry.is(key)) {
            self.remove_slot(index);
            self.settle(around);
        }
    }

    /// Makes a state in the slab smaller until the budget is kept; where that is not enough, others go.
    fn compact(&mut self, key: Key, around: &Around) {
        while around.budget.is_exceeded() {
            let Some(index) = self.find(key).and_then(Entry::slab_index) else { return };
            let Some(mut state) = self.slab.take(index) else { return };
            let smaller = compact(&mut state);
            let ended_early = smaller && matches!(state, State::Permits(_));
            self.slab.put(index, state);
            if !smaller {
                let Some(other) = self.slab.owners().find(|owner| *owner != key) else { return };
                self.remove(other, around);
            }
            self.counts.evicted_live += u64::from(ended_early || !smaller);
            self.settle(around);
        }
    }

    fn remove_slot(&mut self, index: usize) -> bool {
        let Ok(occupied) = self.table.get_bucket_entry(index) else { return false };
        let (entry, _) = occupied.remove();
        self.coarse -= usize::from(entry.home() == Home::Coarse);
        if let Some(index) = entry.slab_index() {
            self.remove_from_slab(index);
        }
        true
    }

    fn remove_from_slab(&mut self, index: usize) {
        if let Some(owner) = self.slab.remove(index)
            && let Some(entry) = self.find_mut(owner)
        {
            entry.set(entry.revision(), entry.epoch(), Packed::in_slab(index, entry.rest()));
        }
    }

    /// Tells the budget what this shard takes now.
    pub(super) fn settle(&mut self, around: &Around) {
        let bytes = set_aside(self.table.allocation_size()) + self.slab.bytes();
        around.budget.replace(self.accounted, bytes);
        self.accounted = bytes;
    }
}

// --- sweeping ---

impl Shard {
    /// Lets the hand pass `slots` slots and drops what is at rest. Gives the number of buckets dropped.
    pub(super) fn sweep(&mut self, slots: usize, now: Timestamp, around: &Around) -> usize {
        let before = now.saturating_sub(SWEEP_GRACE);
        let mut dropped = 0;
        for _ in 0..slots.min(self.slots()) {
            self.hand = if self.hand + 1 < self.slots() { self.hand + 1 } else { 0 };
            if self.slot(self.hand).is_some_and(|entry| around.epochs.may_drop(entry, before)) {
                dropped += usize::from(self.remove_slot(self.hand));
            }
        }
        if dropped > 0 {
            self.counts.swept += dropped as u64;
            self.settle(around);
        }
        dropped
    }

    /// Makes a table that has become sparse smaller.
    pub(super) fn shrink(&mut self, around: &Around) {
        if self.slots() > MIN_SLOTS && self.table.len() < self.slots() / 8 {
            self.table.shrink_to((self.table.len() * 3 / 2).max(MIN_SLOTS / 8 * 7), Entry::table_hash);
            self.hand = 0;
            self.settle(around);
        }
    }
}

/// When a log or permits are at rest, µs; not cut off at the last timestamp.
fn rest_in_slab(meter: &Meter, state: &State) -> u64 {
    match state {
        State::Log(log) => log.newest().map_or(0, |at| at.saturating_add(meter.quota().window().as_micros())),
        State::Permits(permits) => permits.held().last().map_or(0, |permit| permit.expires_at),
        State::Tat(_) | State::Count(_) | State::CountPair(_) => meter.rest_at(state).as_micros(),
    }
}

/// How many slots of a table are for keys of their own.
const fn own_slots(slots: usize) -> usize {
    slots / 32 * 26
}

/// How many slots of a table are for coarse buckets.
const fn coarse_slots(slots: usize) -> usize {
    slots / 32
}

/// What a table of so many slots takes: an entry and a control byte each, and one group of control bytes more.
pub(super) const fn table_bytes(slots: usize) -> usize {
    if slots == 0 { 0 } else { set_aside(slots * (size_of::<Entry>() + 1) + 16) }
}

/// What an allocator sets aside for a table: usual ones have eight sizes between two powers of two. Without this the
/// process would outgrow the memory that was allowed, by up to an eighth.
const fn set_aside(bytes: usize) -> usize {
    let step = bytes.next_power_of_two() / 16;
    if step == 0 { bytes } else { bytes.next_multiple_of(step) }
}

#[cfg(test)]
mod tests;
