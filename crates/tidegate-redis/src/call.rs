//! Many orders in one call of the deciding script, and its reply taken apart again.
//!
//! Equal orders on one bucket ride as one: the script grants the first so many of them, in the order they came. What
//! each is told follows from the bucket's state before them all and its own place among them.

use hashbrown::HashTable;
use redis::{Cmd, Value};
use smallvec::SmallVec;
use tidegate_core::time::Timestamp;

use crate::ask::{self, AskRow};
use crate::key::RedisKey;
use crate::link::Refusal;
use crate::order::{Deed, Failure, Order, Report, Waiting};
use crate::script::Script;

/// The most keys in one call: a script's stack bounds how many it can read at once.
pub(crate) const MAX_KEYS: usize = 1_000;
/// The most orders in one call: a script must not keep the server from its other work for long.
pub(crate) const MAX_ORDERS: usize = 1_024;

/// Orders for one call, and what is sent for them.
#[derive(Debug)]
pub(crate) struct Call {
    slot: u16,
    /// How many losses of connection there were when it was put together.
    epoch: u64,
    coalesce: bool,
    riders: Vec<Rider>,
    entries: Vec<Entry>,
    plain: Keys,
    other: Keys,
    remembered: Vec<RedisKey>,
    asks: Vec<AskRow>,
    witnesses: Vec<(usize, [u64; 3])>,
    /// Of each plain key the last entry on it, if equal orders may join that.
    open: Vec<Option<usize>>,
    at: Option<Timestamp>,
}

/// An order that waits, and where its answer is in the reply.
#[derive(Debug)]
struct Rider {
    waiting: Waiting,
    entry: usize,
    /// Its place among the equal orders of the entry.
    place: u64,
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

/// Distinct keys.
#[derive(Debug, Default)]
struct Keys {
    keys: Vec<RedisKey>,
    places: HashTable<usize>,
}

impl Keys {
    fn place_of(&mut self, key: &RedisKey) -> usize {
        let Self { keys, places } = self;
        let hash = hash_of(key.as_slice());
        let entry = places.entry(
            hash,
            |place| keys.get(*place).is_some_and(|known| known == key),
            |place| keys.get(*place).map_or(0, |known| hash_of(known.as_slice())),
        );
        match entry {
            hashbrown::hash_table::Entry::Occupied(known) => *known.get(),
            hashbrown::hash_table::Entry::Vacant(free) => {
                free.insert(keys.len());
                keys.push(key.clone());
                keys.len() - 1
            }
        }
    }
}

impl Call {
    /// A call to a slot.
    pub(crate) fn new(slot: u16, epoch: u64, coalesce: bool) -> Self {
        Self {
            slot,
            epoch,
            coalesce,
            riders: Vec::new(),
            entries: Vec::new(),
            plain: Keys::default(),
            other: Keys::default(),
            remembered: Vec::new(),
            asks: Vec::new(),
            witnesses: Vec::new(),
            open: Vec::new(),
            at: None,
        }
    }

    pub(crate) const fn slot(&self) -> u16 {
        self.slot
    }

    /// How many orders ride in it.
    pub(crate) fn orders(&self) -> usize {
        self.riders.len()
    }

    /// How many plans the script sees.
    pub(crate) fn plans(&self) -> usize {
        self.entries.len()
    }

    /// Whether an order can go with those already here.
    pub(crate) fn takes(&self, order: &Order) -> bool {
        self.riders.is_empty()
            || (!order.alone
                && !self.riders.iter().take(1).any(|rider| rider.waiting.order.alone)
                && self.at == order.at
                && self.riders.len() < MAX_ORDERS
                && self.plain.keys.len()
                    + self.other.keys.len()
                    + self.remembered.len()
                    + order.buckets.len()
                    < MAX_KEYS)
    }

    /// Adds an order, behind all others on the same buckets.
    pub(crate) fn add(&mut self, waiting: Waiting) {
        let order = &waiting.order;
        self.at = order.at;
        let joined = (self.coalesce && order.can_ride_together()).then(|| self.join(order)).flatten();
        let (entry, place) = joined.unwrap_or_else(|| (self.enter(order), 0));
        self.riders.push(Rider { waiting, entry, place });
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

    fn ask(&mut self, ask: &AskRow) -> usize {
        // A call has few different asks, and its neighbours' mostly.
        match self.asks.iter().rposition(|known| known == ask) {
            Some(index) => index,
            None => {
                self.asks.push(*ask);
                self.asks.len() - 1
            }
        }
    }

    /// The command. `deadline` is in the server's time, 0 for none.
    pub(crate) fn command(&self, script: &Script, by_name: bool, deadline: u64, slack_ms: u64) -> Cmd {
        let mut packed = Vec::with_capacity(64 + 24 * self.asks.len() * 4 + 8 * self.entries.len());
        ask::array(&mut packed, 8);
        ask::uint(&mut packed, deadline);
        ask::uint(&mut packed, self.at.map_or(0, Timestamp::as_micros));
        ask::uint(&mut packed, slack_ms);
        ask::uint(&mut packed, self.plain.keys.len() as u64);
        ask::array(&mut packed, self.asks.len());
        self.asks.iter().for_each(|row| row.encode(&mut packed));
        self.encode_plans(&mut packed);
        ask::array(&mut packed, 4 * self.witnesses.len());
        for (place, numbers) in &self.witnesses {
            ask::uint(&mut packed, *place as u64 + 1);
            numbers.iter().for_each(|number| ask::uint(&mut packed, *number));
        }
        let keys = self.plain.keys.iter().chain(&self.other.keys).chain(&self.remembered);
        script.command(by_name, keys.map(|key| key.as_slice()), &[&packed])
    }

    fn encode_plans(&self, packed: &mut Vec<u8>) {
        let numbers: usize = self.entries.iter().map(|entry| 3 + 2 * entry.buckets.len()).sum();
        let plain = self.plain.keys.len();
        let buckets = plain + self.other.keys.len();
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

    /// Hands every order its part of the reply. The time that the script read, where it did.
    pub(crate) fn answer(self, reply: &Value) -> Option<Timestamp> {
        match self.take_apart(reply) {
            Ok((now, reports)) => {
                for rider in self.riders {
                    let report =
                        reports.get(rider.entry).map_or(Err(garbled("a plan without an answer")), |entry| {
                            entry.report(now, rider.place, self.epoch)
                        });
                    // Whoever does not wait any longer has given up.
                    let _ = rider.waiting.reply.send(report);
                }
                Some(now)
            }
            Err((now, failure)) => {
                self.fail(&failure);
                now
            }
        }
    }

    /// Tells every order the same failure.
    pub(crate) fn fail(self, failure: &Failure) {
        for rider in self.riders {
            let _ = rider.waiting.reply.send(Err(failure.clone()));
        }
    }

    /// Gives every order back to who waits for it: the server has not executed it and said why.
    pub(crate) fn give_back(self, refusal: &Refusal) {
        for Rider { waiting, .. } in self.riders {
            let Waiting { order, reply } = waiting;
            let _ = reply.send(Err(Failure::Elsewhere(Box::new((order, refusal.clone())))));
        }
    }

    fn take_apart(
        &self,
        reply: &Value,
    ) -> Result<(Timestamp, Vec<EntryReply>), (Option<Timestamp>, Failure)> {
        let Value::Array(values) = reply else { return Err((None, garbled("not an array"))) };
        let mut values = values.iter();
        let now = match values.next() {
            Some(Value::Int(now)) => u64::try_from(*now).map(Timestamp::from_micros),
            _ => return Err((None, garbled("no time"))),
        };
        let Ok(now) = now else { return Err((None, garbled("a negative time"))) };
        if let (1, Some(Value::BulkString(_))) = (values.len(), values.as_slice().first()) {
            return Err((Some(now), Failure::NotDone("the server got to it too late".to_owned())));
        }
        let mut replies = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            let reply =
                EntryReply::read(entry, &mut values).ok_or((Some(now), garbled("a plan cut short")))?;
            replies.push(reply);
        }
        if values.next().is_some() {
            return Err((Some(now), garbled("more than was asked for")));
        }
        Ok((now, replies))
    }
}

/// The script's answer to one entry.
#[derive(Debug)]
enum EntryReply {
    Granted { calls: u64, states: SmallVec<[u64; 8]> },
    Attention,
    Remembered(Vec<u8>),
}

impl EntryReply {
    fn read<'v>(entry: &Entry, values: &mut impl Iterator<Item = &'v Value>) -> Option<Self> {
        match values.next()? {
            Value::Int(-1) => Some(Self::Attention),
            Value::Int(-2) => match values.next()? {
                Value::BulkString(record) => Some(Self::Remembered(record.clone())),
                _ => None,
            },
            Value::Int(calls) => {
                let calls = u64::try_from(*calls).ok()?;
                let mut states = SmallVec::with_capacity(entry.width);
                for _ in 0..entry.width {
                    match values.next()? {
                        Value::Int(number) => states.push(u64::try_from(*number).ok()?),
                        _ => return None,
                    }
                }
                Some(Self::Granted { calls, states })
            }
            _ => None,
        }
    }

    fn report(&self, now: Timestamp, place: u64, epoch: u64) -> Result<Report, Failure> {
        Ok(match self {
            Self::Granted { calls, states } => Report::Decided {
                now,
                granted: place < *calls,
                place: place.min(*calls),
                states: states.clone(),
                epoch,
            },
            Self::Attention => Report::Attention { now },
            Self::Remembered(record) => Report::Remembered(record.clone()),
        })
    }
}

fn garbled(what: &str) -> Failure {
    Failure::Garbled(format!("the script's reply: {what}"))
}

/// Keys are fingerprints already, which nobody can choose.
fn hash_of(key: &[u8]) -> u64 {
    key.last_chunk::<8>().map_or(0, |last| u64::from_le_bytes(*last))
}
