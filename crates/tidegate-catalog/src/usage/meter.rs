//! Usage, counted per minute in memory.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;
use std::mem;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::{Padded, thread_number};
use crate::model::{UsageCounts, UsageKey};

/// Shards; each thread writes to one, so threads seldom meet.
const SHARDS: usize = 16;
/// Microseconds in a minute.
const MINUTE_US: i64 = 60_000_000;

/// What usage is counted under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The tenant.
    pub tenant: String,
    /// The domain, without its tenant.
    pub domain: String,
    /// The rule; empty for requests that no rule matched.
    pub rule: String,
    /// The tier; empty where there is none.
    pub tier: String,
}

/// What is counted, without its names: the same for the same names only.
#[derive(Clone, Copy, Debug, Hash)]
pub enum Counted<'a> {
    /// A rule, by its uid.
    Rule(u128),
    /// A domain's requests that no rule was asked about, by its qualified name.
    NoRule(&'a str),
}

/// Counts usage per minute. Allocates only for what was not counted since the last [`UsageMeter::drain`].
#[derive(Debug)]
pub struct UsageMeter {
    shards: [Padded<Mutex<Shard>>; SHARDS],
    /// Makes the numbers of rows. Its secret keeps a tenant from naming a tier so that its row is another tenant's.
    numbers: RandomState,
    max_rows: usize,
    rows: AtomicUsize,
    dropped: AtomicU64,
}

/// By number and minute.
type Shard = HashMap<(u64, i64), (Names, UsageCounts)>;

impl UsageMeter {
    /// Counts under at most `max_rows` keys between two drains. A key that several threads use can take a row for each.
    #[must_use]
    pub fn new(max_rows: usize) -> Self {
        let (rows, dropped) = (AtomicUsize::new(0), AtomicU64::new(0));
        Self { shards: Default::default(), numbers: RandomState::new(), max_rows, rows, dropped }
    }

    /// Adds counts to the minute of `now_us` of what is counted under a tier. `names` is asked when they are new. Beyond the
    /// most rows, what is new is dropped and counted.
    pub fn record(
        &self,
        now_us: i64,
        (counted, tier): (Counted<'_>, &str),
        counts: UsageCounts,
        names: impl FnOnce() -> Names,
    ) {
        let id = self.numbers.hash_one((counted, tier));
        let minute = now_us.div_euclid(MINUTE_US);
        let mut shard = self.shards[thread_number() % SHARDS].0.lock();
        match shard.entry((id, minute)) {
            Entry::Occupied(mut row) => row.get_mut().1.add(counts),
            Entry::Vacant(place) => {
                if self.rows.fetch_add(1, Ordering::Relaxed) < self.max_rows {
                    place.insert((names(), counts));
                } else {
                    self.rows.fetch_sub(1, Ordering::Relaxed);
                    self.dropped.fetch_add(counts.allowed.saturating_add(counts.denied), Ordering::Relaxed);
                }
            }
        }
    }

    /// Takes what was counted. A key can come more than once. A shard is held only while its map is exchanged.
    #[must_use]
    pub fn drain(&self) -> Vec<(UsageKey, UsageCounts)> {
        let mut drained = Vec::new();
        for Padded(shard) in &self.shards {
            let expected = shard.lock().len();
            if expected == 0 {
                continue;
            }
            let mut taken = Shard::with_capacity(expected);
            mem::swap(&mut *shard.lock(), &mut taken);
            self.rows.fetch_sub(taken.len(), Ordering::Relaxed);
            drained.extend(taken.into_iter().map(|((_, minute), (names, counts))| {
                let Names { tenant, domain, rule, tier } = names;
                (UsageKey { tenant, domain, rule, tier, at_s: minute * 60 }, counts)
            }));
        }
        drained
    }

    /// Takes the number of verdicts that were dropped since it was last asked.
    pub(super) fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    const ONE: UsageCounts = UsageCounts { allowed: 1, denied: 0, cost: 3 };

    fn rule(uid: u128) -> (Counted<'static>, &'static str) {
        (Counted::Rule(uid), "")
    }

    fn names(rule: &str) -> Names {
        let text = str::to_owned;
        Names { tenant: text("acme"), domain: text("pay"), rule: text(rule), tier: text("") }
    }

    fn sum(rows: &[(UsageKey, UsageCounts)]) -> UsageCounts {
        rows.iter().fold(UsageCounts::default(), |mut sum, (_, counts)| {
            sum.add(*counts);
            sum
        })
    }

    #[test]
    fn a_minute_is_one_row() {
        let meter = UsageMeter::new(10);
        for now_us in [60_000_000, 119_999_999, 120_000_000] {
            meter.record(now_us, rule(7), ONE, || names("a"));
        }
        let mut rows = meter.drain();
        rows.sort_by_key(|(key, _)| key.at_s);
        assert_eq!(
            rows.iter().map(|(key, counts)| (key.at_s, counts.allowed)).collect::<Vec<_>>(),
            [(60, 2), (120, 1)]
        );
        assert_eq!(rows[0].1.cost, 6);
        assert_eq!(meter.drain(), []);
    }

    #[test]
    fn rules_and_tiers_and_what_no_rule_matched_are_apart() {
        let meter = UsageMeter::new(10);
        let keys = [
            (Counted::Rule(1), ""),
            (Counted::Rule(1 << 64 | 1), ""),
            (Counted::Rule(1), "gold"),
            (Counted::NoRule("pay"), ""),
            (Counted::NoRule("pa"), "y"),
        ];
        for key in keys.into_iter().chain(keys) {
            meter.record(0, key, ONE, || names("a"));
        }
        assert_eq!(meter.drain().iter().map(|(_, counts)| counts.allowed).collect::<Vec<_>>(), [2; 5]);
    }

    #[test]
    fn names_are_asked_for_once() {
        let meter = UsageMeter::new(10);
        meter.record(0, rule(7), ONE, || names("a"));
        meter.record(0, rule(7), ONE, || panic!("it is known"));
        assert_eq!(meter.drain().len(), 1);
    }

    #[test]
    fn beyond_the_most_rows_it_is_dropped_and_counted() {
        let meter = UsageMeter::new(3);
        for id in 0..5 {
            meter.record(0, rule(id), ONE, || names(&id.to_string()));
        }
        meter.record(0, rule(0), ONE, || names("0"));
        assert_eq!((meter.drain().len(), meter.take_dropped(), meter.take_dropped()), (3, 2, 0));
        meter.record(0, rule(4), ONE, || names("4"));
        assert_eq!((meter.drain().len(), meter.take_dropped()), (1, 0));
    }

    #[test]
    fn nothing_is_lost_between_threads_and_drains() {
        let (meter, done) = (UsageMeter::new(1_000), AtomicBool::new(false));
        let drained = std::thread::scope(|scope| {
            let drainer = scope.spawn(|| {
                let mut rows = Vec::new();
                while !done.load(Ordering::Acquire) {
                    rows.extend(meter.drain());
                }
                rows
            });
            let record =
                |id: u128| (0..5_000).for_each(|_| meter.record(0, rule(id % 3), ONE, || names("a")));
            let threads: Vec<_> = (0..4_u128).map(|id| scope.spawn(move || record(id))).collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            done.store(true, Ordering::Release);
            drainer.join().unwrap()
        });
        let (mut all, last) = (sum(&drained), sum(&meter.drain()));
        all.add(last);
        assert_eq!((all.allowed, all.cost, meter.take_dropped()), (20_000, 60_000, 0));
    }
}
