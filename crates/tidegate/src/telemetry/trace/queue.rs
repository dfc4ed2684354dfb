//! Finished requests that wait to be sent. Bounded: what does not fit is dropped and counted, and nobody waits.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::TraceStats;
use super::request::Record;

/// The queue between the requests and the thread that sends.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    max_spans: usize,
    batch_spans: usize,
    /// Told when a batch is full, and when the queue is closed. The thread is not woken for less.
    pub(super) worth_looking: Notify,
    /// Told when the queue is closed.
    pub(super) closed: Notify,
    exported: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    records: VecDeque<Record>,
    /// How many spans the records make.
    spans: usize,
    is_closed: bool,
}

/// What became of spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Exported,
    Failed,
    Dropped,
}

impl Queue {
    /// A queue of at most `max_spans`, from which batches of about `batch_spans` are taken.
    pub(super) fn new(max_spans: usize, batch_spans: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            max_spans,
            batch_spans: batch_spans.min(max_spans),
            worth_looking: Notify::new(),
            closed: Notify::new(),
            exported: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// Adds a request's spans: all of them or none.
    pub(super) fn push(&self, record: Record) {
        let spans = record.span_count();
        let fills_a_batch = {
            let mut waiting = self.waiting.lock();
            if waiting.is_closed || waiting.spans + spans > self.max_spans {
                drop(waiting);
                return self.count(Fate::Dropped, spans);
            }
            let before = waiting.spans;
            waiting.spans += spans;
            waiting.records.push_back(record);
            before < self.batch_spans && waiting.spans >= self.batch_spans
        };
        if fills_a_batch {
            self.worth_looking.notify_one();
        }
    }

    /// Takes the oldest requests, with as many spans as a batch has; the last request's are all taken. Empty if there are none.
    pub(super) fn take(&self) -> Vec<Record> {
        let mut waiting = self.waiting.lock();
        let (mut batch, mut taken) = (Vec::new(), 0);
        while taken < self.batch_spans {
            let Some(record) = waiting.records.pop_front() else { break };
            taken += record.span_count();
            batch.push(record);
        }
        waiting.spans -= taken;
        batch
    }

    /// Whether a whole batch waits.
    pub(super) fn has_batch(&self) -> bool {
        self.waiting.lock().spans >= self.batch_spans
    }

    pub(super) fn is_closed(&self) -> bool {
        self.waiting.lock().is_closed
    }

    /// Takes nothing more.
    pub(super) fn close(&self) {
        self.waiting.lock().is_closed = true;
        self.closed.notify_waiters();
        self.closed.notify_one();
        self.worth_looking.notify_one();
    }

    /// Drops what waits.
    pub(super) fn abandon(&self) {
        let left = std::mem::take(&mut self.waiting.lock().records);
        self.count(Fate::Dropped, left.iter().map(Record::span_count).sum());
    }

    pub(super) fn count(&self, fate: Fate, spans: usize) {
        let counter = match fate {
            Fate::Exported => &self.exported,
            Fate::Failed => &self.failed,
            Fate::Dropped => &self.dropped,
        };
        counter.fetch_add(spans as u64, Ordering::Relaxed);
    }

    pub(super) fn stats(&self) -> TraceStats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TraceStats {
            exported: count(&self.exported),
            failed: count(&self.failed),
            dropped: count(&self.dropped),
        }
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("max_spans", &self.max_spans).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use tidegate_core::time::Timestamp;
    use tidegate_engine::{Stage, StageKind};

    use super::*;
    use crate::telemetry::trace::{Call, HttpCall, TraceId};

    fn record(spans: usize) -> Record {
        let call = Call::Http(HttpCall { method: "POST", route: None });
        let call = (call, ([127, 0, 0, 1], 8_080).into());
        let now = Timestamp::from_micros(1);
        let correlation = HeaderValue::from_static("c");
        let mut record = Record::new(TraceId::random(), None, None, call, correlation, now);
        let stage = Stage { kind: StageKind::Store, began: now, ended: None };
        record.stages = std::iter::repeat_n(stage, spans - 1).collect();
        record
    }

    fn sizes(batch: &[Record]) -> Vec<usize> {
        batch.iter().map(Record::span_count).collect()
    }

    #[test]
    fn what_does_not_fit_is_dropped_whole_and_counted() {
        let queue = Queue::new(5, 4);
        for spans in [2, 2, 2, 1, 1] {
            queue.push(record(spans));
        }
        assert_eq!(queue.stats(), TraceStats { dropped: 3, ..TraceStats::default() });
        assert_eq!(sizes(&queue.take()), [2, 2]);
        queue.push(record(4));
        assert_eq!(sizes(&queue.take()), [1, 4], "a request's spans stay together");
        assert_eq!(sizes(&queue.take()), [] as [usize; 0]);
        assert_eq!(queue.stats().dropped, 3);
    }

    #[test]
    fn a_closed_queue_gives_what_it_has_and_takes_nothing() {
        let queue = Queue::new(100, 2);
        for _ in 0..3 {
            queue.push(record(1));
        }
        assert!(queue.has_batch() && !queue.is_closed());
        queue.close();
        queue.push(record(3));
        assert_eq!(queue.stats().dropped, 3);
        assert_eq!(sizes(&queue.take()), [1, 1]);
        assert!(!queue.has_batch() && queue.is_closed());
        queue.abandon();
        assert_eq!(queue.stats().dropped, 4);
    }

    #[tokio::test]
    async fn the_thread_is_woken_by_a_full_batch_only() {
        let queue = Queue::new(100, 3);
        queue.push(record(2));
        let woken = async || {
            tokio::time::timeout(std::time::Duration::ZERO, queue.worth_looking.notified()).await.is_ok()
        };
        assert!(!woken().await);
        queue.push(record(2));
        assert!(woken().await);
        queue.push(record(2));
        assert!(!woken().await, "it knows already");
    }
}
