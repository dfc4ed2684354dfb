//! Usage, written to the database in numbered batches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::UsageMeter;
use crate::model::{UsageCounts, UsageKey};
use crate::repository::{CatalogError, Repository};

/// Most rows of a batch.
const BATCH_ROWS: usize = 5_000;
/// How often the last usage is tried when stopping.
const LAST_TRIES: u32 = 3;
/// Between two such tries.
const LAST_PAUSE: Duration = Duration::from_millis(100);

/// Where usage is written to.
pub trait UsageSink: Send + Sync + 'static {
    /// Adds a node's batch. One with the same node and number is added once only, however often it is sent.
    ///
    /// # Errors
    /// [`CatalogError`]; the batch may have been added all the same.
    fn add(
        &self,
        node: &str,
        batch: i64,
        now_us: i64,
        rows: &[(UsageKey, UsageCounts)],
    ) -> impl Future<Output = Result<(), CatalogError>> + Send;
}

impl UsageSink for Repository {
    async fn add(
        &self,
        node: &str,
        batch: i64,
        now_us: i64,
        rows: &[(UsageKey, UsageCounts)],
    ) -> Result<(), CatalogError> {
        self.add_usage(node, batch, now_us, rows).await.map(drop)
    }
}

/// How usage is written.
#[derive(Clone, Debug)]
pub struct WriterOptions {
    /// A name of this process that no other has or had: batches are told apart by it and their number.
    pub node: String,
    /// How often.
    pub flush: Duration,
    /// Most rows that wait while the database does not answer. Beyond, what is new is dropped and counted.
    pub buffer_rows: usize,
}

/// How writing goes, as it is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Rows that wait, those on their way included.
    pub waiting: u64,
    /// Verdicts that were not counted for want of room.
    pub dropped: u64,
    /// Batches that were written.
    pub batches: u64,
    /// Tries that failed.
    pub failures: u64,
}

/// How writing goes.
#[derive(Debug, Default)]
pub struct WriterStats {
    waiting: AtomicU64,
    dropped: AtomicU64,
    batches: AtomicU64,
    failures: AtomicU64,
}

impl WriterStats {
    /// As it is now.
    #[must_use]
    pub fn get(&self) -> Written {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Written {
            waiting: get(&self.waiting),
            dropped: get(&self.dropped),
            batches: get(&self.batches),
            failures: get(&self.failures),
        }
    }
}

/// A batch on its way: sent unchanged, under its number, until it has arrived. Its number would otherwise stand for other
/// rows than those that may have been added already.
#[derive(Debug)]
struct Batch {
    number: i64,
    /// When it was first sent.
    begun_us: i64,
    rows: Vec<(UsageKey, UsageCounts)>,
}

/// After so many refusals in a row a batch is given up.
const MAX_REFUSALS: u32 = 20;
/// A batch is given up so long after it was first sent: the database knows for a day which batches it has, and after that would
/// count one twice that had arrived unnoticed. The hour between is for clocks that differ.
const MAX_AGE_US: i64 = 23 * 3_600 * 1_000_000;

/// Writes what a meter has counted.
#[derive(Debug)]
pub struct Writer<S> {
    sink: S,
    meter: Arc<UsageMeter>,
    stats: Arc<WriterStats>,
    options: WriterOptions,
    waiting: BTreeMap<UsageKey, UsageCounts>,
    on_its_way: Option<Batch>,
    next_number: i64,
    failing: bool,
    /// How often in a row the batch on its way was refused, and not just unanswered.
    refusals: u32,
}

impl<S: UsageSink> Writer<S> {
    /// Writes what `meter` counts to `sink`.
    pub const fn new(
        sink: S,
        meter: Arc<UsageMeter>,
        stats: Arc<WriterStats>,
        options: WriterOptions,
    ) -> Self {
        let waiting = BTreeMap::new();
        Self {
            sink,
            meter,
            stats,
            options,
            waiting,
            on_its_way: None,
            next_number: 1,
            failing: false,
            refusals: 0,
        }
    }

    /// Writes until `stop`, and then what is left. The caller bounds how long that may take.
    pub async fn run(mut self, now_us: impl Fn() -> i64, stop: impl Future<Output = ()>) {
        let mut ticks = tokio::time::interval(self.options.flush.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                _ = ticks.tick() => self.step(now_us()).await,
            }
        }
        for _ in 0..LAST_TRIES {
            self.step(now_us()).await;
            if self.rows() == 0 {
                return;
            }
            tokio::time::sleep(LAST_PAUSE).await;
        }
    }

    /// Takes what was counted, and sends batches until nothing waits or one fails.
    async fn step(&mut self, now_us: i64) {
        self.collect();
        self.give_up_old(now_us);
        while let Some(batch) = self.on_its_way.take().or_else(|| self.next_batch(now_us)) {
            let result = self.sink.add(&self.options.node, batch.number, now_us, &batch.rows).await;
            let (failed, refused) = (result.is_err(), result.as_ref().is_err_and(|error| !error.retryable()));
            self.count(result);
            if failed {
                self.keep_or_give_up(batch, refused);
                break;
            }
            self.refusals = 0;
        }
        self.stats.waiting.store(self.rows() as u64, Ordering::Relaxed);
    }

    /// A batch that the database refuses again and again would keep all others from being written.
    fn keep_or_give_up(&mut self, batch: Batch, refused: bool) {
        self.refusals = if refused { self.refusals + 1 } else { 0 };
        if self.refusals < MAX_REFUSALS {
            self.on_its_way = Some(batch);
            return;
        }
        self.refusals = 0;
        let lost = self.drop_batch(&batch);
        tracing::error!(lost, "usage that the database refuses was dropped");
    }

    fn give_up_old(&mut self, now_us: i64) {
        let old = |batch: &mut Batch| now_us.saturating_sub(batch.begun_us) >= MAX_AGE_US;
        if let Some(batch) = self.on_its_way.take_if(old) {
            self.refusals = 0;
            let lost = self.drop_batch(&batch);
            tracing::error!(lost, "usage that could not be written for a day was dropped");
        }
    }

    /// Counts it as dropped; how many verdicts it had.
    fn drop_batch(&self, batch: &Batch) -> u64 {
        let verdicts = |(_, counts): &(UsageKey, UsageCounts)| counts.allowed.saturating_add(counts.denied);
        let lost = batch.rows.iter().map(verdicts).fold(0, u64::saturating_add);
        self.stats.dropped.fetch_add(lost, Ordering::Relaxed);
        lost
    }

    fn collect(&mut self) {
        let mut dropped = self.meter.take_dropped();
        for (key, counts) in self.meter.drain() {
            if let Some(waiting) = self.waiting.get_mut(&key) {
                waiting.add(counts);
            } else if self.rows() < self.options.buffer_rows {
                self.waiting.insert(key, counts);
            } else {
                dropped = dropped.saturating_add(counts.allowed).saturating_add(counts.denied);
            }
        }
        self.stats.dropped.fetch_add(dropped, Ordering::Relaxed);
    }

    fn next_batch(&mut self, now_us: i64) -> Option<Batch> {
        let rows: Vec<_> = std::iter::from_fn(|| self.waiting.pop_first()).take(BATCH_ROWS).collect();
        if rows.is_empty() {
            return None;
        }
        let number = self.next_number;
        self.next_number += 1;
        Some(Batch { number, begun_us: now_us, rows })
    }

    fn count(&mut self, result: Result<(), CatalogError>) {
        match result {
            Ok(()) => {
                self.stats.batches.fetch_add(1, Ordering::Relaxed);
                if std::mem::take(&mut self.failing) {
                    tracing::info!("usage is written again");
                }
            }
            Err(error) => {
                self.stats.failures.fetch_add(1, Ordering::Relaxed);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(%error, "usage is not written, and waits in memory");
                }
            }
        }
    }

    /// Rows that wait, those on their way included.
    fn rows(&self) -> usize {
        self.waiting.len() + self.on_its_way.as_ref().map_or(0, |batch| batch.rows.len())
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
