//! Many orders in one call of the deciding script, and its reply taken apart again.
//!
//! Equal orders on one bucket ride as one: the script grants the first so many of them, in the order they came. What
//! each is told follows from the bucket's state before them all and its own place among them.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use redis::Cmd;
use smallvec::SmallVec;
use tidegate_core::time::Timestamp;

use crate::ask::{self, AskRow};
use crate::key::{Packing, Place, RedisKey};
use crate::keys::Keys;
use crate::order::{Deed, Order, Waiting};
use crate::riders::Riders;
use crate::script::Script;

/// The most keys in one call: a script's stack bounds how many it can read at once.
pub(crate) const MAX_KEYS: usize = 1_000;
/// How many of the latest asks are looked through before they are looked up.
const NEAR_ASKS: usize = 4;
/// The most orders in one call: a script must not keep the server from its other work for long.
pub(crate) const MAX_ORDERS: usize = 1_024;

/// Orders for one call, and what is sent for them.
#[derive(Debug)]
pub(crate) struct Call {
    slot: u16,
    coalesce: bool,
    packing: Option<Packing>,
    riders: Riders,
    entries: Vec<Entry>,
    plain: Keys,
    /// Of each plain key, whether the first who asked of it keeps it in the short form.
    shorts: Vec<bool>,
    other: Keys,
    remembered: Vec<RedisKey>,
    asks: Vec<AskRow>,
    ask_places: HashTable<usize>,
    hasher: RandomState,
    witnesses: Vec<(usize, [u64; 3])>,
    /// Of each plain key the last entry on it, if equal orders may join that.
    open: Vec<Option<usize>>,
    at: Option<Timestamp>,
}

/// One plan as the script sees it.
#[derive(Debug)]
struct Entry {
    calls: u64,
    is_peek: bool,
    extra: Option<(u64, Option<usize>)>,
    buckets: SmallVec<[(KeyPlace, usize); 2]>,
    width: usize,
}

/// Where a key stands among those of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyPlace {
    Plain(usize),
    Other(usize),
}

impl Call {
    /// A call to a slot.
    pub(crate) fn new(slot: u16, epoch: u64, coalesce: bool, packing: Option<Packing>) -> Self {
        Self {
            slot,
            coalesce,
            packing,
            riders: Riders::new(epoch),
            entries: Vec::new(),
            plain: Keys::default(),
            shorts: Vec::new(),
            other: Keys::default(),
            remembered: Vec::new(),
            asks: Vec::new(),
            ask_places: HashTable::new(),
            hasher: RandomState::new(),
            witnesses: Vec::new(),
            open: Vec::new(),
            at: None,
        }
    }

    pub(crate) const fn slot(&self) -> u16 {
        self.slot
    }

    pub(crate) const fn riders(&self) -> &Riders {
        &self.riders
    }

    /// Whether it has to do with any bucket of the order.
    pub(crate) fn touches(&self, order: &Order) -> bool {
        order.buckets.iter().any(|bucket| self.plain.has(&bucket.key) || self.other.has(&bucket.key))
    }

    /// How many plans the script sees.
    pub(crate) fn plans(&self) -> usize {
        self.entries.len()
    }

    /// Whether an order can go with those already here.
    pub(crate) fn takes(&self, order: &Order) -> bool {
        self.riders.is_empty()
            || (!order.alone
                && !self.riders.is_alone()
                && self.at == order.at
                && self.riders.len() < MAX_ORDERS
                && self.plain.len() + self.other.len() + self.remembered.len() + order.buckets.len()
                    < MAX_KEYS)
    }

    /// Adds an order, behind all others on the same buckets.
    pub(crate) fn add(&mut self, waiting: Box<Waiting>) {
        let order = &waiting.order;
        self.at = order.at;
        let joined = (self.coalesce && order.can_ride_together()).then(|| self.join(order)).flatten();
        let (entry, place) = joined.unwrap_or_else(|| (self.enter(order), 0));
        self.riders.push(waiting, entry, place);
    }

    /// Joins equal orders on the same bucket, unless another kind of order on it has come in between.
    fn join(&mut self, order: &Order) -> Option<(usize, u64)> {
        let [bucket] = order.buckets.as_slice() else { return None };
        let place = self.plain.place_of(&bucket.key);
        let at = self.open.get(place).copied().flatten()?;
        let entry = self.entries.get_mut(at)?;
        let (_, ask) = entry.buckets.first()?;
        if self.asks.get(*ask) != Some(&bucket.ask) {
            return None;
        }
        entry.calls += 1;
        Some((at, entry.calls - 1))
    }

    fn enter(&mut self, order: &Order) -> usize {
        let at = self.entries.len();
        let mut buckets = SmallVec::new();
        for bucket in &order.buckets {
            let ask = self.ask(&bucket.ask);
            let place = if bucket.ask.is_plain() {
                let place = self.plain.place_of(&bucket.key);
                if self.shorts.len() <= place {
                    self.shorts.push(bucket.ask.is_short());
                }
                // Nobody may join an earlier entry on this bucket any more: it would overtake.
                self.set_open(place, order.can_ride_together().then_some(at));
                if let Some(witness) = bucket.witness {
                    self.witnesses.push((place, witness));
                }
                KeyPlace::Plain(place)
            } else {
                KeyPlace::Other(self.other.place_of(&bucket.key))
            };
            buckets.push((place, ask));
        }
        let remembered = order.remembered.as_ref().map(|key| {
            self.remembered.push(key.clone());
            self.remembered.len() - 1
        });
        let permits = order.buckets.iter().any(|bucket| !bucket.ask.is_plain());
        let extra = (remembered.is_some() || permits).then_some((order.permit, remembered));
        let is_peek = order.deed == Deed::Peek;
        self.entries.push(Entry { calls: 1, is_peek, extra, buckets, width: order.width() });
        at
    }

    fn set_open(&mut self, place: usize, entry: Option<usize>) {
        if self.open.len() <= place {
            self.open.resize(place + 1, None);
        }
        if let Some(open) = self.open.get_mut(place) {
            *open = entry;
        }
    }

    /// The place of an ask, which is given one if it is new.
    fn ask(&mut self, ask: &AskRow) -> usize {
        // A call has few different asks mostly; where clients choose their costs it can have as many as orders.
        let near = self.asks.iter().rev().take(NEAR_ASKS).position(|known| known == ask);
        if let Some(back) = near {
            return self.asks.len() - 1 - back;
        }
        let Self { asks, ask_places, hasher, .. } = self;
        let hash = hasher.hash_one(ask);
        let is_it = |place: &usize| asks.get(*place) == Some(ask);
        if let Some(place) = ask_places.find(hash, is_it) {
            return *place;
        }
        asks.push(*ask);
        let place = asks.len() - 1;
        ask_places
            .insert_unique(hash, place, |place| asks.get(*place).map_or(0, |known| hasher.hash_one(known)));
        place
    }

    /// The command. `deadline` is in the server's time, 0 for none.
    pub(crate) fn command(&self, script: &Script, by_name: bool, deadline: u64, slack_ms: u64) -> Cmd {
        let mut packed = Vec::with_capacity(64 + 24 * self.asks.len() * 4 + 8 * self.entries.len());
        ask::array(&mut packed, 8 + usize::from(self.packing.is_some()));
        ask::uint(&mut packed, deadline);
        ask::uint(&mut packed, self.at.map_or(0, Timestamp::as_micros));
        ask::uint(&mut packed, slack_ms);
        ask::uint(&mut packed, self.plain.len() as u64);
        ask::array(&mut packed, self.asks.len());
        let min_rung = Packing::min_rung(self.packing);
        self.asks.iter().for_each(|row| row.encode(&mut packed, min_rung));
        self.encode_plans(&mut packed);
        ask::array(&mut packed, 4 * self.witnesses.len());
        for (place, numbers) in &self.witnesses {
            ask::uint(&mut packed, *place as u64 + 1);
            numbers.iter().for_each(|number| ask::uint(&mut packed, *number));
        }
        let others = self.other.iter().chain(&self.remembered);
        match self.packing {
            None => {
                let keys = self.plain.iter().chain(others);
                script.command(by_name, keys.map(|key| key.as_slice()), &[&packed])
            }
            Some(packing) => {
                let places: Vec<Place> = self.places(packing).collect();
                ask::array(&mut packed, places.len());
                places.iter().for_each(|place| ask::bytes(&mut packed, &place.member));
                let keys = places.iter().map(|place| &place.key).chain(others);
                script.command(by_name, keys.map(|key| key.as_slice()), &[&packed])
            }
        }
    }

    /// Where the buckets of the plain keys are.
    fn places(&self, packing: Packing) -> impl Iterator<Item = Place> {
        self.plain.iter().zip(&self.shorts).map(move |(key, is_short)| {
            if *is_short { packing.place_of(key) } else { Place::own(key.clone()) }
        })
    }

    fn encode_plans(&self, packed: &mut Vec<u8>) {
        let numbers: usize = self.entries.iter().map(|entry| 3 + 2 * entry.buckets.len()).sum();
        let plain = self.plain.len();
        let buckets = plain + self.other.len();
        let extras: Vec<_> = self.entries.iter().filter_map(|entry| entry.extra).collect();
        ask::array(packed, numbers);
        let mut extra = 0;
        for entry in &self.entries {
            ask::uint(packed, if entry.is_peek { 0 } else { entry.calls });
            extra += u64::from(entry.extra.is_some());
            ask::uint(packed, if entry.extra.is_some() { extra } else { 0 });
            ask::uint(packed, entry.buckets.len() as u64);
            for (place, row) in &entry.buckets {
                let place = match place {
                    KeyPlace::Plain(place) => *place,
                    KeyPlace::Other(place) => plain + place,
                };
                ask::uint(packed, place as u64 + 1);
                ask::uint(packed, *row as u64 + 1);
            }
        }
        ask::array(packed, extras.len());
        for (permit, remembered) in extras {
            ask::array(packed, 2);
            ask::bytes(packed, &permit.to_le_bytes());
            ask::uint(packed, remembered.map_or(0, |place| (buckets + place) as u64 + 1));
        }
    }

    /// The orders, and how many numbers the states of each plan take in the reply.
    pub(crate) fn into_riders(self) -> (Riders, Vec<usize>) {
        let widths = self.entries.iter().map(|entry| entry.width).collect();
        (self.riders, widths)
    }
}
