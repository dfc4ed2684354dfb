//! The embedded store: buckets in this process's memory, as exact as a store can be, and bounded in bytes.
//!
//! - No key is kept, only 104 bits of a keyed hash of it ([`key`]); a bucket is 32 bytes ([`entry`]), logs and
//!   permits lie in a slab beside the table ([`slab`]).
//! - One request is one atomic step: the shards of all its buckets are locked in ascending order, each once; all are
//!   judged, and only then charged ([`decide`]). Locks are never held while anything waits.
//! - Lock order: a ledger of idempotency keys ([`ledger`]) before shards, shards in ascending order.
//! - Memory ([`shard`], [`budget`]): where no more is to be had, a new key first takes the place of a bucket at rest,
//!   which loses nothing; then all new keys of a rule share one coarse bucket per shard; then the bucket nearest to
//!   rest has to go. Buckets that are there keep their verdicts, and memory never grows beyond its bound.
//! - When rules change, buckets are not touched: they are carried over when they are next asked ([`held`]), and are
//!   kept until they are at rest under the rules of then ([`epoch`]).
//! - A bucket that came to rest is swept away with the insertions of others, a few slots at a time, and by
//!   [`MemoryStore::sweep`].

mod book;
mod budget;
mod change;
mod decide;
mod entry;
mod epoch;
mod held;
mod key;
mod ledger;
mod shard;
mod slab;
mod snapshot;

use core::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tidegate_core::rule::RuleSet;
use tidegate_core::time::Timestamp;

use crate::error::StoreError;
use crate::plan::{Outcome, Plan, PlannedBucket, UnknownRevisions};
use crate::port::{Applied, BucketAddress, BucketStore};
use book::Book;
use budget::Budget;
use epoch::Epochs;
use held::Setting;
use key::{Key, KeyHasher, MAX_SHARDS, ShardCurve};
use ledger::Ledger;
use shard::{Counts, Shard, table_bytes};

pub use snapshot::SnapshotError;

/// The least memory a store can be given: 1 MiB.
pub const MIN_MEMORY_BYTES: usize = 1 << 20;
/// The memory a store is given where nothing else is said: 256 MiB.
pub const DEFAULT_MEMORY_BYTES: usize = 256 << 20;

/// A shard's table should not become larger than about twice this: resizing it then takes less than a millisecond.
const SHARD_BYTES: usize = 512 << 10;
const MIN_SHARDS: usize = 64;
/// Ledgers of idempotency keys.
const LEDGERS: usize = 16;
/// One part in so many of the memory is for what is there already and grows, and as much for idempotency keys.
const RESERVE_PARTS: usize = 20;
/// The most slots that [`MemoryStore::sweep`] passes under one lock.
const SWEEP_SLOTS_PER_LOCK: usize = 4_096;

/// How a [`MemoryStore`] is made.
#[derive(Clone)]
pub struct MemoryOptions {
    /// The most memory for buckets and remembered outcomes, in bytes; at least [`MIN_MEMORY_BYTES`]. While a table is
    /// resized, the old one (at most about 1 MiB) comes on top.
    pub max_bytes: usize,
    /// The secret that keys are hashed under. Draw it at random: who knows it can make keys meet.
    pub seed: [u64; 2],
    /// The number of shards, 1 to 4,096; by default as many as the memory asks for.
    pub shards: Option<usize>,
}

impl MemoryOptions {
    /// [`DEFAULT_MEMORY_BYTES`] and a secret seed.
    #[must_use]
    pub const fn new(seed: [u64; 2]) -> Self {
        Self { max_bytes: DEFAULT_MEMORY_BYTES, seed, shards: None }
    }
}

impl fmt::Debug for MemoryOptions {
    /// Everything but the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryOptions")
            .field("max_bytes", &self.max_bytes)
            .field("shards", &self.shards)
            .finish_non_exhaustive()
    }
}

/// What a [`MemoryStore`] holds and has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// Buckets that are kept.
    pub keys: usize,
    /// Bytes taken, with everything around the buckets.
    pub bytes: usize,
    /// The most bytes it may take.
    pub max_bytes: usize,
    /// Charges made to a coarse bucket, because no room was left for the key's own.
    pub spilled: u64,
    /// Buckets at rest that gave their place to others.
    pub evicted_at_rest: u64,
    /// Buckets that had to go although they were not at rest, and permits that ended early: state was lost.
    pub evicted_live: u64,
    /// Buckets that were swept away some time after they came to rest.
    pub swept: u64,
    /// States that only a wrong clock can have written, and that were pulled back.
    pub repairs: u64,
}

/// What one call of [`MemoryStore::sweep`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Slots looked at.
    pub examined: usize,
    /// Buckets at rest that were dropped.
    pub dropped: usize,
}

/// Buckets in memory, shared by all threads of this process.
pub struct MemoryStore {
    hasher: KeyHasher,
    curve: ShardCurve,
    shards: Box<[Padded<Mutex<Shard>>]>,
    ledgers: Box<[Mutex<Ledger>]>,
    around: Around,
    max_bytes: usize,
    /// The shard that [`MemoryStore::sweep`] goes on with.
    sweeping: AtomicUsize,
}

/// What all shards share.
struct Around {
    budget: Budget,
    epochs: Epochs,
    book: Book,
}

/// Keeps neighbours out of one another's cache lines, which are fetched in pairs.
#[repr(align(128))]
struct Padded<T>(T);

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new(options: &MemoryOptions) -> Self {
        let max_bytes = options.max_bytes.max(MIN_MEMORY_BYTES);
        let wanted = options.shards.unwrap_or((max_bytes / SHARD_BYTES).max(MIN_SHARDS));
        let shard_count = wanted.clamp(1, MAX_SHARDS);
        let share = max_bytes / RESERVE_PARTS;
        // Every shard may make its smallest table, whatever the others took.
        let around = shard_count * (size_of::<Padded<Mutex<Shard>>>() + table_bytes(shard::MIN_SLOTS));
        let reserve = (max_bytes - share).saturating_sub(around);
        Self {
            hasher: KeyHasher::new(options.seed),
            curve: ShardCurve::new(shard_count),
            shards: (0..shard_count).map(|_| Padded(Mutex::default())).collect(),
            ledgers: (0..LEDGERS).map(|_| Mutex::new(Ledger::new(share / LEDGERS))).collect(),
            around: Around {
                budget: Budget::new(reserve.saturating_sub(share), reserve),
                epochs: Epochs::default(),
                book: Book::default(),
            },
            max_bytes,
            sweeping: AtomicUsize::new(0),
        }
    }

    /// What it holds and has done. Looks at one shard after the other.
    #[must_use]
    pub fn stats(&self) -> MemoryStats {
        let mut stats = MemoryStats {
            bytes: self.around.budget.used() + self.shards.len() * size_of::<Padded<Mutex<Shard>>>(),
            max_bytes: self.max_bytes,
            ..MemoryStats::default()
        };
        for shard in &self.shards {
            let shard = shard.0.lock();
            let Counts { spilled, evicted_at_rest, evicted_live, swept, repairs } = shard.counts;
            stats.keys += shard.len();
            stats.spilled += spilled;
            stats.evicted_at_rest += evicted_at_rest;
            stats.evicted_live += evicted_live;
            stats.swept += swept;
            stats.repairs += repairs;
        }
        stats.bytes += self.ledgers.iter().map(|ledger| ledger.lock().bytes()).sum::<usize>();
        stats
    }

    /// Drops buckets at rest and makes sparse tables smaller, looking at up to `max_slots` slots from where the last
    /// call ended, and at each shard once at the most. For a task in the background: without it, memory is given back
    /// only to other keys.
    pub fn sweep(&self, now: Timestamp, max_slots: usize) -> Swept {
        let mut swept = Swept::default();
        for _ in 0..self.shards.len() {
            if swept.examined >= max_slots {
                break;
            }
            let index = self.sweeping.fetch_add(1, Ordering::Relaxed) % self.shards.len();
            let mut left = self.lock(index).slots();
            while left > 0 && swept.examined < max_slots {
                let mut shard = self.lock(index);
                let slots = left.min(SWEEP_SLOTS_PER_LOCK).min(max_slots - swept.examined);
                swept.dropped += shard.sweep(slots, now, &self.around);
                swept.examined += slots;
                left -= slots;
            }
            self.lock(index).shrink(&self.around);
        }
        swept
    }

    fn lock(&self, shard: usize) -> MutexGuard<'_, Shard> {
        self.shards[shard].0.lock()
    }

    fn setting(&self, now: Timestamp, unknown: UnknownRevisions) -> Setting<'_> {
        Setting { hasher: &self.hasher, curve: &self.curve, around: &self.around, now, unknown }
    }

    fn ledger(&self, key: [u64; 2]) -> MutexGuard<'_, Ledger> {
        self.ledgers[key[1] as usize % LEDGERS].lock()
    }

    fn shard_of(&self, key: Key) -> usize {
        self.curve.shard_of(key)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("shards", &self.shards.len())
            .field("max_bytes", &self.max_bytes)
            .finish_non_exhaustive()
    }
}

/// Every call is done when its future is polled first.
impl BucketStore for MemoryStore {
    async fn apply(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Applied, StoreError> {
        Ok(self.apply_plan(plan, now))
    }

    async fn peek(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Applied, StoreError> {
        Ok(self.peek_plan(plan, now))
    }

    async fn refund(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Applied, StoreError> {
        Ok(self.refund_plan(plan, now))
    }

    async fn withdraw(&self, plan: &Plan<'_>, outcome: &Outcome, now: Timestamp) -> Result<(), StoreError> {
        self.withdraw_plan(plan, outcome, now);
        Ok(())
    }

    async fn debit(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Applied, StoreError> {
        Ok(self.debit_plan(plan, now))
    }

    async fn reset(&self, plan: &Plan<'_>, now: Timestamp) -> Result<(), StoreError> {
        self.reset_plan(plan, now);
        Ok(())
    }

    fn rules_changed(&self, rules: &RuleSet, at: Timestamp) {
        self.around.epochs.begin(rules, at);
        self.around.book.note(rules);
    }

    fn address(&self, plan: &Plan<'_>, bucket: &PlannedBucket<'_>) -> BucketAddress {
        self.address_of(plan.key_of(bucket))
    }

    async fn release(
        &self,
        address: &BucketAddress,
        permit: u64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        Ok(self.release_permit(address, permit, now))
    }
}
