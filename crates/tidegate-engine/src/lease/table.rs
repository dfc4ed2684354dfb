//! The grants of this node: bounded, sharded, each bucket under its key.
//!
//! A shard's lock is held for one look or one change, never while anything waits, and never two at a time. While the
//! store is asked about a bucket, for more units or to take some back, its slot has a [`Flight`]: nobody else asks, so
//! that no more than one lease of a bucket is ever outstanding, held or on its way.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use siphasher::sip::SipHasher13;
use tidegate_core::rule::{CompiledRule, Metered, Revision};
use tidegate_core::time::{Micros, Timestamp};
use tidegate_store::StoreError;
use tokio::sync::Notify;

use super::LeaseOptions;
use super::grant::{Grant, Take};
use crate::fast::stripe::Stripes;

/// Shards, a power of two.
const SHARDS: usize = 16;
/// The span in which a bucket must be asked about a few times to be leased.
const WARM_UP: Micros = Micros::from_secs(1);
/// The longest key that is leased, in bytes: longer ones are rare, and would make the table's size depend on callers.
const MAX_KEY_BYTES: usize = 512;

/// Hashes under a secret, so that nobody can choose keys that meet.
#[derive(Clone)]
struct Keyed(SipHasher13);

impl BuildHasher for Keyed {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        self.0
    }
}

/// A call to the store about one bucket's grant.
#[derive(Default)]
pub(super) struct Flight {
    pub(super) landed: Notify,
    end: OnceLock<Result<(), StoreError>>,
}

impl Flight {
    /// How it ended; `None` while it lasts.
    pub(super) fn end(&self) -> Option<&Result<(), StoreError>> {
        self.end.get()
    }
}

/// What becomes of the units that a flight brings, when it lands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Keep,
    /// They are given back: the rule has changed, or this node stops.
    Retire,
    /// They are forgotten: the bucket was put to rest.
    Discard,
}

/// What is held of one bucket.
struct Slot {
    rule: Arc<CompiledRule>,
    revision: Revision,
    grant: Option<Grant>,
    flight: Option<Arc<Flight>>,
    /// Units that those who wait for the flight have not spoken for yet.
    room: u64,
    fate: Fate,
    /// The store had too little for a lease, and is asked exactly until then, by this node's clock.
    scarce_until: Timestamp,
}

struct Shard {
    slots: Mutex<HashMap<Box<[u8]>, Slot, Keyed>>,
    answered: AtomicU64,
}

/// The grants of this node.
pub(super) struct Table {
    hasher: Keyed,
    shards: [Shard; SHARDS],
    heat: Stripes,
    max_in_shard: usize,
    ids: AtomicU64,
    pub(super) counts: Counts,
}

/// What was done so far.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) leases: AtomicU64,
    pub(super) returned: AtomicU64,
    pub(super) lost: AtomicU64,
}

/// A bucket of a plan that may be leased.
pub(super) struct Leasable<'a> {
    pub(super) key: &'a [u8],
    pub(super) metered: &'a Metered,
    /// The most units that this node holds of it.
    pub(super) units: u64,
    pub(super) hold: Micros,
}

/// What is to be done for a request that the units held do not cover.
pub(super) enum Step<'t> {
    /// They do by now.
    Taken(Take),
    /// Somebody is asking the store already, for enough.
    Wait(Arc<Flight>),
    /// The store is to be asked, by this request.
    Lead(Lead<'t>),
    /// The store is to be asked for exactly what the request needs.
    Exact,
}

/// The right to ask the store about a bucket's grant. Whoever drops it without an end gave up, and leaves what is still
/// here as it was.
pub(super) struct Lead<'t> {
    table: &'t Table,
    key: Box<[u8]>,
    pub(super) rule: Arc<CompiledRule>,
    pub(super) revision: Revision,
    /// What was held before, taken out. To be given back it is taken from here too: should the one who waits for that go
    /// away, nobody knows what the store did.
    pub(super) held: Option<Grant>,
    flight: Option<Arc<Flight>>,
}

impl Table {
    pub(super) fn new(options: &LeaseOptions) -> Self {
        let [a, b] = options.seed;
        let hasher = Keyed(SipHasher13::new_with_keys(a, b));
        let shard = |_| Shard {
            slots: Mutex::new(HashMap::with_hasher(hasher.clone())),
            answered: AtomicU64::new(0),
        };
        Self {
            shards: std::array::from_fn(shard),
            hasher,
            heat: Stripes::new(WARM_UP),
            max_in_shard: options.max_leases.div_ceil(SHARDS),
            ids: AtomicU64::new(0),
            counts: Counts::default(),
        }
    }

    /// Takes units for a request, if enough are held.
    pub(super) fn take(&self, of: &Leasable<'_>, cost: u64, now: Timestamp) -> Option<Take> {
        let mut slots = self.shard(of.key).slots.lock();
        let slot = slots.get_mut(of.key).filter(|slot| slot.revision == of.metered.revision)?;
        slot.grant.as_mut().filter(|grant| grant.is_usable(now))?.take(cost, now)
    }

    /// Puts units back that were taken for a request which did not pass.
    pub(super) fn put_back(&self, key: &[u8], take: &Take, cost: u64) {
        let mut slots = self.shard(key).slots.lock();
        let slot = slots.get_mut(key);
        match slot.and_then(|slot| slot.grant.as_mut()).filter(|grant| grant.id == take.id) {
            Some(grant) => grant.units = grant.units.saturating_add(cost),
            // Into another grant they would make it larger than a lease.
            None => self.lose(cost),
        }
    }

    /// Units that are held and can be spent.
    pub(super) fn held(&self, of: &Leasable<'_>, now: Timestamp) -> u64 {
        let slots = self.shard(of.key).slots.lock();
        let slot = slots.get(of.key).filter(|slot| slot.revision == of.metered.revision);
        let grant = slot.and_then(|slot| slot.grant.as_ref()).filter(|grant| grant.is_usable(now));
        grant.map_or(0, |grant| grant.units)
    }

    /// What is to be done for a request of `cost` that was not covered. `rule` is asked for when the bucket is to be
    /// leased for the first time.
    pub(super) fn step(
        &self,
        of: &Leasable<'_>,
        cost: u64,
        now: Timestamp,
        rule: impl FnOnce() -> Option<Arc<CompiledRule>>,
    ) -> Step<'_> {
        let shard = self.shard(of.key);
        let is_warm = self.heat.count(self.heat.of(self.hasher.hash_one(of.key)), now);
        let mut slots = shard.slots.lock();
        let Some(slot) = slots.get_mut(of.key) else {
            let has_place = slots.len() < self.max_in_shard && of.key.len() <= MAX_KEY_BYTES;
            let Some(rule) = (is_warm && has_place).then(rule).flatten() else { return Step::Exact };
            let slot = slots.entry(of.key.into()).or_insert(Slot::new(rule, of.metered.revision));
            return Step::Lead(slot.lead(self, of.key, of.units));
        };
        if slot.revision != of.metered.revision {
            if let Some(grant) = &mut slot.grant {
                grant.is_retired = true;
            }
            return Step::Exact;
        }
        if let Some(flight) = &slot.flight {
            let Some(room) = slot.room.checked_sub(cost) else { return Step::Exact };
            slot.room = room;
            return Step::Wait(Arc::clone(flight));
        }
        let mut is_in_use = false;
        if let Some(grant) = &mut slot.grant {
            if grant.is_retired {
                return Step::Exact;
            }
            if let Some(take) = grant.is_usable(now).then(|| grant.take(cost, now)).flatten() {
                return Step::Taken(take);
            }
            // Spent before its time was over: the bucket is asked about often enough.
            is_in_use = now < grant.return_at;
        }
        if slot.scarce_until > now || !(is_warm || is_in_use) {
            return Step::Exact;
        }
        Step::Lead(slot.lead(self, of.key, of.units))
    }

    /// Takes a bucket's grant out, to give it back. `None` where there is nothing, or somebody is asking the store.
    pub(super) fn take_out(&self, key: &[u8]) -> Option<Lead<'_>> {
        let mut slots = self.shard(key).slots.lock();
        let slot = slots.get_mut(key).filter(|slot| slot.flight.is_none())?;
        slot.grant.as_ref().filter(|grant| grant.units > 0)?;
        Some(slot.lead(self, key, 0))
    }

    /// Forgets what is held of a bucket, and what is on its way.
    pub(super) fn discard(&self, key: &[u8]) {
        let mut slots = self.shard(key).slots.lock();
        let Some(slot) = slots.get_mut(key) else { return };
        slot.fate = Fate::Discard;
        let lost = slot.grant.take().map_or(0, |grant| grant.units);
        self.lose(lost);
    }

    /// Ends every grant, and those that are on their way: what is left is to be given back.
    pub(super) fn retire_all(&self) {
        for shard in &self.shards {
            for slot in shard.slots.lock().values_mut() {
                if slot.fate == Fate::Keep {
                    slot.fate = Fate::Retire;
                }
                if let Some(grant) = &mut slot.grant {
                    grant.is_retired = true;
                }
            }
        }
    }

    /// The buckets of one shard whose grants are to be given back at `now`. Slots that are of no use are dropped.
    pub(super) fn due(&self, shard: usize, now: Timestamp) -> Vec<Box<[u8]>> {
        let mut due = Vec::new();
        let Some(shard) = self.shards.get(shard) else { return due };
        shard.slots.lock().retain(|key, slot| {
            if slot.flight.is_some() {
                return true;
            }
            let Some(grant) = &slot.grant else { return slot.scarce_until > now };
            if now < grant.return_at && !grant.is_retired {
                return true;
            }
            if slot.metered().is_some_and(|metered| grant.counts_still(&metered.meter, now)) {
                due.push(key.clone());
                return true;
            }
            self.lose(grant.units);
            slot.grant = None;
            slot.scarce_until > now
        });
        due
    }

    pub(super) const fn shards(&self) -> usize {
        SHARDS
    }

    /// Counts a request that was answered from units held.
    pub(super) fn count_answer(&self, key: &[u8]) {
        self.shard(key).answered.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn answered(&self) -> u64 {
        self.shards.iter().map(|shard| shard.answered.load(Ordering::Relaxed)).sum()
    }

    /// Buckets of which something is held, and the units.
    pub(super) fn holdings(&self) -> (usize, u64) {
        self.shards.iter().fold((0, 0), |(buckets, units), shard| {
            let slots = shard.slots.lock();
            let grants = slots.values().filter_map(|slot| slot.grant.as_ref());
            grants.filter(|grant| grant.units > 0).fold((buckets, units), |(buckets, units), grant| {
                (buckets + 1, units.saturating_add(grant.units))
            })
        })
    }

    pub(super) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn lose(&self, units: u64) {
        self.counts.lost.fetch_add(units, Ordering::Relaxed);
    }

    fn shard(&self, key: &[u8]) -> &Shard {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key);
        &self.shards[(hasher.finish() >> 60) as usize % SHARDS]
    }
}

impl Slot {
    fn new(rule: Arc<CompiledRule>, revision: Revision) -> Self {
        Self {
            rule,
            revision,
            grant: None,
            flight: None,
            room: 0,
            fate: Fate::Keep,
            scarce_until: Timestamp::EPOCH,
        }
    }

    fn lead<'t>(&mut self, table: &'t Table, key: &[u8], room: u64) -> Lead<'t> {
        let flight = Arc::new(Flight::default());
        self.flight = Some(Arc::clone(&flight));
        (self.room, self.fate) = (room, Fate::Keep);
        Lead {
            table,
            key: key.into(),
            rule: Arc::clone(&self.rule),
            revision: self.revision,
            held: self.grant.take(),
            flight: Some(flight),
        }
    }

    fn metered(&self) -> Option<&Metered> {
        metered_of(&self.rule, self.revision)
    }
}

/// The quota of a rule that has this revision at present.
pub(super) fn metered_of(rule: &CompiledRule, revision: Revision) -> Option<&Metered> {
    let quotas = 0..=rule.model().tiers.len();
    quotas.map(|index| rule.metered_at(index)).find(|metered| metered.revision == revision)
}

impl Lead<'_> {
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The call ended: this is held now, and whoever waited hears of it.
    pub(super) fn end(mut self, held: Option<Grant>, end: Result<(), StoreError>) {
        self.land(held, None, end);
    }

    /// The store has too little for a lease, and is asked exactly until `until`.
    pub(super) fn end_scarce(mut self, until: Timestamp) {
        let held = self.held.take();
        self.land(held, Some(until), Ok(()));
    }

    fn land(&mut self, held: Option<Grant>, scarce_until: Option<Timestamp>, end: Result<(), StoreError>) {
        let Some(flight) = self.flight.take() else { return };
        let mut slots = self.table.shard(&self.key).slots.lock();
        // A slot in flight is not dropped.
        if let Entry::Occupied(mut slot) = slots.entry(core::mem::take(&mut self.key)) {
            let slot = slot.get_mut();
            slot.flight = None;
            slot.grant = held;
            slot.scarce_until = scarce_until.unwrap_or(slot.scarce_until);
            match (slot.fate, &mut slot.grant) {
                (Fate::Keep, _) | (_, None) => {}
                (Fate::Retire, Some(grant)) => grant.is_retired = true,
                (Fate::Discard, Some(grant)) => {
                    self.table.lose(grant.units);
                    slot.grant = None;
                }
            }
        }
        drop(slots);
        let _ = flight.end.set(end);
        flight.landed.notify_waiters();
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let held = self.held.take();
        self.land(held, None, Ok(()));
    }
}
