//! Counters and histograms that threads write to without meeting.
//!
//! Each thread has a number, and by it a shard of its own, as long as there are no more threads than shards. All is relaxed:
//! a page adds the shards up and may miss what is being counted at the same time, but never counts twice or backwards.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Shards; with more threads, some share one.
pub(super) const SHARDS: usize = 8;
/// The most bounds of a histogram.
const MAX_BOUNDS: usize = 20;

/// The shard that the present thread counts in.
pub(super) fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed));
    }
    NUMBER.with(Cell::get) % SHARDS
}

/// What only grows; for what happens seldom.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of a histogram's buckets, in nanoseconds, ascending, at most [`MAX_BOUNDS`].
pub(super) type Bounds = [u64; MAX_BOUNDS];

const MICRO: u64 = 1_000;
const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// From a decision in memory to a store at its deadline: 1 µs to 2.5 s.
pub(super) static CALL_BOUNDS: Bounds = [
    MICRO,
    5 * MICRO / 2,
    5 * MICRO,
    10 * MICRO,
    25 * MICRO,
    50 * MICRO,
    100 * MICRO,
    250 * MICRO,
    500 * MICRO,
    MILLI,
    5 * MILLI / 2,
    5 * MILLI,
    10 * MILLI,
    25 * MILLI,
    50 * MILLI,
    100 * MILLI,
    250 * MILLI,
    500 * MILLI,
    SECOND,
    5 * SECOND / 2,
];

/// How long requests stand in a queue: 1 ms to 10 min.
pub(super) static WAIT_BOUNDS: Bounds = [
    MILLI,
    5 * MILLI / 2,
    5 * MILLI,
    10 * MILLI,
    25 * MILLI,
    50 * MILLI,
    100 * MILLI,
    250 * MILLI,
    500 * MILLI,
    SECOND,
    5 * SECOND / 2,
    5 * SECOND,
    10 * SECOND,
    20 * SECOND,
    30 * SECOND,
    60 * SECOND,
    120 * SECOND,
    180 * SECOND,
    300 * SECOND,
    600 * SECOND,
];

/// How long visitors wait in a line: 1 s to a day.
pub(super) static LINE_BOUNDS: Bounds = [
    SECOND,
    2 * SECOND,
    5 * SECOND,
    10 * SECOND,
    20 * SECOND,
    30 * SECOND,
    60 * SECOND,
    120 * SECOND,
    300 * SECOND,
    600 * SECOND,
    900 * SECOND,
    1_800 * SECOND,
    2_700 * SECOND,
    3_600 * SECOND,
    5_400 * SECOND,
    7_200 * SECOND,
    10_800 * SECOND,
    21_600 * SECOND,
    43_200 * SECOND,
    86_400 * SECOND,
];

/// How many of what took how long.
#[derive(Debug)]
pub(super) struct Histogram {
    bounds: &'static Bounds,
    shards: [HistogramShard; SHARDS],
}

/// Neighbours are fetched in pairs of cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
struct HistogramShard {
    buckets: [AtomicU64; MAX_BOUNDS],
    /// Beyond the last bound.
    beyond: AtomicU64,
    sum_ns: AtomicU64,
}

/// A histogram at one time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct HistogramReading {
    /// In seconds.
    pub(super) sum: f64,
    pub(super) count: u64,
    /// Upper bounds in seconds, each with what lies between it and the one before.
    pub(super) buckets: Vec<(f64, u64)>,
}

impl Histogram {
    pub(super) fn new(bounds: &'static Bounds) -> Self {
        Self { bounds, shards: Default::default() }
    }

    /// Counts what took so long. Costs two additions.
    pub(super) fn observe(&self, took: Duration) {
        self.observe_each(took, 1);
    }

    /// Counts so many that took so long each. Costs as much as one.
    pub(super) fn observe_each(&self, took: Duration, number: u32) {
        let number = u64::from(number);
        let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let shard = &self.shards[shard()];
        let bucket = self.bounds.partition_point(|bound| *bound < took_ns);
        shard.buckets.get(bucket).unwrap_or(&shard.beyond).fetch_add(number, Ordering::Relaxed);
        shard.sum_ns.fetch_add(took_ns.wrapping_mul(number), Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> HistogramReading {
        let sum_of =
            |cell: &dyn Fn(&HistogramShard) -> u64| self.shards.iter().map(cell).fold(0, u64::wrapping_add);
        let seconds = |nanoseconds: u64| nanoseconds as f64 / SECOND as f64;
        let mut buckets: Vec<(f64, u64)> = (0..MAX_BOUNDS)
            .map(|index| {
                let counted = sum_of(&|shard| shard.buckets[index].load(Ordering::Relaxed));
                (seconds(self.bounds[index]), counted)
            })
            .collect();
        buckets.push((f64::INFINITY, sum_of(&|shard| shard.beyond.load(Ordering::Relaxed))));
        let sum = seconds(sum_of(&|shard| shard.sum_ns.load(Ordering::Relaxed)));
        HistogramReading { sum, count: buckets.iter().map(|(_, counted)| counted).sum(), buckets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_ascend() {
        for bounds in [&CALL_BOUNDS, &WAIT_BOUNDS] {
            assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]), "{bounds:?}");
        }
    }

    #[test]
    fn a_bound_is_part_of_its_bucket() {
        let histogram = Histogram::new(&CALL_BOUNDS);
        for took_ns in [0, 1_000, 1_001, 2_500_000_000, 2_500_000_001, u64::MAX >> 8] {
            histogram.observe(Duration::from_nanos(took_ns));
        }
        let read = histogram.read();
        let counted: Vec<(f64, u64)> =
            read.buckets.iter().copied().filter(|(_, counted)| *counted > 0).collect();
        assert_eq!(counted, [(1e-6, 2), (2.5e-6, 1), (2.5, 1), (f64::INFINITY, 2)]);
        assert_eq!(read.count, 6);
    }

    #[test]
    fn several_at_once_are_as_many_one_by_one() {
        let (together, apart) = (Histogram::new(&CALL_BOUNDS), Histogram::new(&CALL_BOUNDS));
        together.observe_each(Duration::from_micros(7), 100);
        (0..100).for_each(|_| apart.observe(Duration::from_micros(7)));
        assert_eq!(together.read(), apart.read());
    }

    #[test]
    fn threads_add_up() {
        let histogram = Histogram::new(&CALL_BOUNDS);
        std::thread::scope(|scope| {
            for _ in 0..12 {
                scope.spawn(|| {
                    (0..1_000).for_each(|_| histogram.observe(Duration::from_micros(3)));
                });
            }
        });
        let read = histogram.read();
        assert_eq!((read.count, read.buckets[2]), (12_000, (5e-6, 12_000)));
        assert!((read.sum - 0.036).abs() < 1e-9, "{}", read.sum);
    }
}
