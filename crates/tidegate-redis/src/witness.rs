//! How full this node has seen buckets, for a store that forgets.
//!
//! A server that restarts without its data, or a replica that takes over before it has the last writes, has lost what was
//! charged. TAT and the counts of a window only grow while nothing is given back, so the largest that any node has seen is
//! a lower bound of the truth: after a connection was lost, this node sends along what it has seen of a bucket, once, and
//! the script goes on from the fuller of the two.
//!
//! A refund or reset makes a bucket emptier: through this node its witness is dropped. One made through another node
//! is not seen here, and is undone if the store loses its data within the bucket's time to rest: too few pass then,
//! never too many.

use hashbrown::HashTable;
use parking_lot::Mutex;
use tidegate_core::algorithm::State;
use tidegate_core::rule::{Metered, Revision};
use tidegate_core::time::Timestamp;
use tidegate_store::Plan;

use crate::key::{KeyMaker, RedisKey};
use crate::order::Order;

/// Parts with a lock each.
const SHARDS: usize = 16;
/// The most buckets that are remembered, over all parts.
const MAX_WITNESSES: usize = 1 << 17;

/// The fullest states seen. Bounded: where there is no room, a bucket at rest makes way, else the one that rests first
/// of a few.
#[derive(Debug)]
pub(crate) struct Witnesses {
    shards: Box<[Mutex<Shard>]>,
}

#[derive(Debug, Default)]
struct Shard {
    table: HashTable<Seen>,
    /// Where the search for one to make way goes on.
    hand: usize,
}

/// What was seen of one bucket.
#[derive(Clone, Debug)]
struct Seen {
    key: RedisKey,
    revision: Revision,
    numbers: [u64; 3],
    rest_at: Timestamp,
    /// How many losses of connection there had been when the store last told its state.
    epoch: u64,
}

impl Witnesses {
    pub(crate) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    /// Sends along what was seen of buckets of which the store has not spoken since the last loss of a connection.
    pub(crate) fn attach(&self, order: &mut Order, epoch: u64) {
        if epoch == 0 {
            return;
        }
        for bucket in &mut order.buckets {
            let shard = self.shard(&bucket.key).lock();
            let seen = shard.table.find(hash(&bucket.key), |seen| seen.key == bucket.key);
            let wanted = seen.filter(|seen| seen.epoch < epoch && seen.revision == bucket.ask.revision());
            bucket.witness = wanted.map(|seen| seen.numbers);
        }
    }

    /// The store said that a bucket holds this.
    pub(crate) fn note(&self, key: &RedisKey, metered: &Metered, state: &State, now: Timestamp, epoch: u64) {
        let rest_at = metered.meter.rest_at(state);
        let Some(numbers) = numbers_of(state) else { return };
        let mut shard = self.shard(key).lock();
        let entry = shard.table.find_entry(hash(key), |seen| seen.key == *key);
        match entry {
            Ok(found) if rest_at <= now => {
                found.remove();
            }
            Ok(found) => {
                let seen = found.into_mut();
                let is_later = seen.revision != metered.revision || seen.numbers <= numbers;
                if is_later {
                    (seen.revision, seen.numbers, seen.rest_at) = (metered.revision, numbers, rest_at);
                }
                seen.epoch = seen.epoch.max(epoch);
            }
            Err(_) if rest_at <= now => {}
            Err(_) => {
                if shard.table.len() >= MAX_WITNESSES / SHARDS {
                    shard.make_way();
                }
                let seen = Seen { key: key.clone(), revision: metered.revision, numbers, rest_at, epoch };
                shard.table.insert_unique(hash(key), seen, |seen| hash(&seen.key));
            }
        }
    }

    /// Drops what was seen of a plan's buckets: they are about to become emptier.
    pub(crate) fn forget(&self, plan: &Plan<'_>, keys: &KeyMaker) {
        for bucket in plan.buckets() {
            let key = keys.bucket(bucket.rule.domain_uid(), plan.key_of(bucket));
            let mut shard = self.shard(&key).lock();
            if let Ok(found) = shard.table.find_entry(hash(&key), |seen| seen.key == key) {
                found.remove();
            }
        }
    }

    fn shard(&self, key: &RedisKey) -> &Mutex<Shard> {
        let index = (hash(key) >> 32) as usize % SHARDS;
        // There are exactly so many.
        &self.shards[index]
    }
}

impl Shard {
    /// Removes the one that rests first of a few, going around.
    fn make_way(&mut self) {
        const CANDIDATES: usize = 8;
        let buckets = self.table.num_buckets();
        let mut first: Option<(Timestamp, usize)> = None;
        let mut looked_at = 0;
        for _ in 0..buckets {
            self.hand = (self.hand + 1) % buckets.max(1);
            if let Some(seen) = self.table.get_bucket(self.hand) {
                let candidate = (seen.rest_at, self.hand);
                first = Some(first.map_or(candidate, |first| first.min(candidate)));
                looked_at += 1;
            }
            if looked_at == CANDIDATES {
                break;
            }
        }
        if let Some(entry) = first.and_then(|(_, index)| self.table.get_bucket_entry(index).ok()) {
            entry.remove();
        }
    }
}

/// Keys end in their fingerprint.
fn hash(key: &RedisKey) -> u64 {
    let (_, last) = key.split_last_chunk::<8>().unwrap_or((&[], &[0; 8]));
    u64::from_le_bytes(*last)
}

fn numbers_of(state: &State) -> Option<[u64; 3]> {
    match state {
        State::Tat(tat) => Some([tat.micros, tat.fraction, 0]),
        State::Count(count) => Some([count.start, count.used, 0]),
        State::CountPair(pair) => Some([pair.start, pair.used, pair.previous]),
        State::Log(_) | State::Permits(_) => None,
    }
}
