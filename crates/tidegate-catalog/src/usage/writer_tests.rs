//! Tests of writing usage: whatever fails, nothing is lost unnoticed and nothing counts twice.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::super::{Counted, Names};
use super::*;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Added,
    NotAdded,
    AddedUnnoticed,
    Refused,
}

/// A sink that does what it is told, and adds each batch once.
#[derive(Default)]
struct Told {
    fates: Mutex<Vec<Fate>>,
    batches: Mutex<HashMap<i64, Vec<(UsageKey, UsageCounts)>>>,
}

impl UsageSink for Arc<Told> {
    async fn add(
        &self,
        node: &str,
        batch: i64,
        _now_us: i64,
        rows: &[(UsageKey, UsageCounts)],
    ) -> Result<(), CatalogError> {
        assert_eq!(node, "n");
        assert!(!rows.is_empty() && rows.len() <= BATCH_ROWS);
        let fate = self.fates.lock().pop().unwrap_or(Fate::Added);
        if fate == Fate::Refused {
            return Err(CatalogError::Misconfigured("told so".to_owned()));
        }
        if fate != Fate::NotAdded {
            let mut batches = self.batches.lock();
            let kept = batches.entry(batch).or_insert_with(|| rows.to_vec());
            assert_eq!(kept, rows, "a number stands for the same rows for ever");
        }
        if fate == Fate::Added { Ok(()) } else { Err(CatalogError::Unavailable("told so".to_owned())) }
    }
}

impl Told {
    fn sum(&self) -> u64 {
        self.batches.lock().values().map(|rows| requests(rows.iter().map(|(_, counts)| counts))).sum()
    }
}

fn requests<'a>(rows: impl Iterator<Item = &'a UsageCounts>) -> u64 {
    rows.map(|counts| counts.allowed + counts.denied).sum()
}

fn writer(buffer_rows: usize, max_rows: usize) -> (Writer<Arc<Told>>, Arc<Told>) {
    let (sink, meter) = (Arc::new(Told::default()), Arc::new(UsageMeter::new(max_rows)));
    let options = WriterOptions { node: "n".to_owned(), flush: Duration::from_secs(10), buffer_rows };
    (Writer::new(Arc::clone(&sink), meter, Arc::default(), options), sink)
}

fn record(meter: &UsageMeter, id: u64, allowed: u64) {
    let names = || Names {
        tenant: "acme".to_owned(),
        domain: "pay".to_owned(),
        rule: id.to_string(),
        tier: String::new(),
    };
    meter.record(0, (Counted::Rule(id.into()), ""), UsageCounts { allowed, denied: 1, cost: allowed }, names);
}

/// What waits in a writer, in verdicts. A batch whose arrival went unnoticed is the sink's.
fn waiting(writer: &Writer<Arc<Told>>, sink: &Told) -> u64 {
    let on_its_way =
        writer.on_its_way.as_ref().filter(|batch| !sink.batches.lock().contains_key(&batch.number));
    let on_its_way = on_its_way.map_or(0, |batch| requests(batch.rows.iter().map(|(_, counts)| counts)));
    on_its_way + requests(writer.waiting.values())
}

#[tokio::test]
async fn every_verdict_is_written_once_or_waits_or_is_counted_as_dropped() {
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut writer, sink) = writer(12, 10);
        let mut recorded = 0;
        for _ in 0..40 {
            for _ in 0..random.u64(..20) {
                let allowed = random.u64(..5);
                recorded += allowed + 1;
                record(&writer.meter, random.u64(..30), allowed);
            }
            let fates = [Fate::Added, Fate::NotAdded, Fate::AddedUnnoticed];
            *sink.fates.lock() = vec![fates[random.usize(..3)]];
            writer.step(0).await;
            let written = writer.stats.get();
            assert_eq!(sink.sum() + written.dropped + waiting(&writer, &sink), recorded, "seed {seed}");
            assert!(written.waiting <= 12, "seed {seed}");
        }
        sink.fates.lock().clear();
        writer.step(0).await;
        let written = writer.stats.get();
        assert_eq!((written.waiting, sink.sum() + written.dropped), (0, recorded), "seed {seed}");
        assert_eq!(written.batches, sink.batches.lock().len() as u64, "seed {seed}");
    }
}

#[tokio::test]
async fn a_batch_that_arrived_unnoticed_is_not_added_twice() {
    let (mut writer, sink) = writer(10, 10);
    record(&writer.meter, 1, 4);
    sink.fates.lock().push(Fate::AddedUnnoticed);
    writer.step(0).await;
    assert_eq!(writer.stats.get(), Written { waiting: 1, dropped: 0, batches: 0, failures: 1 });
    record(&writer.meter, 1, 2);
    writer.step(0).await;
    assert_eq!(writer.stats.get(), Written { waiting: 0, dropped: 0, batches: 2, failures: 1 });
    assert_eq!((sink.sum(), sink.batches.lock().len()), (5 + 3, 2));
}

#[tokio::test]
async fn rows_beyond_the_buffer_are_dropped_and_those_that_wait_still_count() {
    let (mut writer, sink) = writer(2, 10);
    *sink.fates.lock() = vec![Fate::NotAdded; 3];
    record(&writer.meter, 1, 0);
    writer.step(0).await;
    record(&writer.meter, 2, 0);
    writer.step(0).await;
    record(&writer.meter, 2, 0);
    record(&writer.meter, 3, 6);
    writer.step(0).await;
    assert_eq!(writer.stats.get(), Written { waiting: 2, dropped: 7, batches: 0, failures: 3 });
    writer.step(0).await;
    assert_eq!((sink.sum(), writer.stats.get().waiting), (3, 0));
}

#[tokio::test]
async fn many_rows_go_in_several_batches() {
    let (mut writer, sink) = writer(20_000, 20_000);
    (0..12_000).for_each(|id| record(&writer.meter, id, 0));
    writer.step(0).await;
    assert_eq!((sink.sum(), sink.batches.lock().len()), (12_000, 3));
}

#[tokio::test(start_paused = true)]
async fn what_is_left_is_written_when_stopping() {
    let (writer, sink) = writer(10, 10);
    let (meter, stats) = (Arc::clone(&writer.meter), Arc::clone(&writer.stats));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(writer.run(|| 0, async move { drop(stopped.await) }));
    tokio::time::sleep(Duration::from_secs(15)).await;
    record(&meter, 1, 0);
    sink.fates.lock().push(Fate::NotAdded);
    drop(stop);
    running.await.unwrap();
    assert_eq!(sink.sum(), 1);
    assert_eq!(stats.get(), Written { waiting: 0, dropped: 0, batches: 1, failures: 1 });
}

#[tokio::test]
async fn a_batch_that_is_refused_for_ever_is_given_up_and_the_next_one_is_written() {
    let (mut writer, sink) = writer(100, 100);
    *sink.fates.lock() = vec![Fate::Refused; MAX_REFUSALS as usize];
    record(&writer.meter, 1, 3);
    for _ in 0..MAX_REFUSALS {
        writer.step(0).await;
    }
    assert_eq!((writer.rows(), writer.stats.get().dropped), (0, 4));
    record(&writer.meter, 2, 1);
    writer.step(0).await;
    assert_eq!(sink.sum(), 2);
}

#[tokio::test]
async fn a_batch_that_the_database_may_have_forgotten_is_not_sent_again() {
    let (mut writer, sink) = writer(100, 100);
    *sink.fates.lock() = vec![Fate::AddedUnnoticed; 2];
    record(&writer.meter, 1, 3);
    let begun_us = 1_000;
    writer.step(begun_us).await;
    writer.step(begun_us + MAX_AGE_US - 1).await;
    assert_eq!((writer.rows(), writer.stats.get().dropped), (1, 0));
    sink.batches.lock().clear();
    record(&writer.meter, 2, 1);
    writer.step(begun_us + MAX_AGE_US).await;
    assert_eq!((writer.rows(), writer.stats.get().dropped), (0, 4));
    assert_eq!(sink.sum(), 2, "the old one would count twice");
}
