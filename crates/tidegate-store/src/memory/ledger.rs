//! Outcomes remembered under idempotency keys, for a while and in bounded memory, the oldest forgotten first.
//!
//! The ledger's lock is held while its plan is decided, and always taken before any shard's: of two calls with one
//! key the second waits and then repeats the first.

use std::collections::VecDeque;

use hashbrown::HashTable;
use tidegate_core::time::{Micros, Timestamp};

use crate::plan::{BucketResult, Outcome};

/// How long an outcome is remembered.
pub(super) const REMEMBERED_FOR: Micros = Micros::from_secs(600);
/// What the table and the queue take for one outcome, in bytes, at their emptiest.
const RECORD_BYTES: usize = 2 * size_of::<Record>() + 4 * (size_of::<u64>() + 1);

/// A part of all remembered outcomes.
pub(super) struct Ledger {
    /// In the order they were written; the first has the number `first`.
    records: VecDeque<Record>,
    first: u64,
    /// The number of each key's record.
    numbers: HashTable<u64>,
    bytes: usize,
    max_bytes: usize,
}

struct Record {
    key: [u64; 2],
    at: Timestamp,
    decided_at: Timestamp,
    results: Box<[BucketResult]>,
}

impl Record {
    fn bytes(&self) -> usize {
        RECORD_BYTES + size_of_val(&*self.results)
    }
}

impl Ledger {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { records: VecDeque::new(), first: 0, numbers: HashTable::new(), bytes: 0, max_bytes }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The outcome remembered under a key.
    pub(super) fn find(&self, key: [u64; 2], now: Timestamp) -> Option<Outcome> {
        let number = self.numbers.find(key[0], |number| self.key_of(*number) == Some(key))?;
        let record = self.record(*number)?;
        (now.since(record.at) < REMEMBERED_FOR).then(|| Outcome {
            decided_at: record.decided_at,
            results: record.results.iter().copied().collect(),
            charged: true,
            repeated: true,
            states: None,
        })
    }

    /// Remembers an outcome.
    pub(super) fn remember(&mut self, key: [u64; 2], outcome: &Outcome, now: Timestamp) {
        self.forget_old(now);
        let results = outcome.results.iter().copied().collect();
        let record = Record { key, at: now, decided_at: outcome.decided_at, results };
        self.bytes += record.bytes();
        let number = self.first + self.records.len() as u64;
        self.records.push_back(record);
        let Self { records, first, numbers, .. } = self;
        let key_of = |number: &u64| key_at(records, *first, *number);
        match numbers.find_mut(key[0], |number| key_of(number) == Some(key)) {
            Some(older) => *older = number,
            None => {
                numbers.insert_unique(key[0], number, |number| key_of(number).map_or(0, |key| key[0]));
            }
        }
    }

    /// Forgets what is remembered under a key; its record goes when it would have gone anyway.
    pub(super) fn forget(&mut self, key: [u64; 2]) {
        let Self { records, first, numbers, .. } = self;
        if let Ok(occupied) =
            numbers.find_entry(key[0], |number| key_at(records, *first, *number) == Some(key))
        {
            occupied.remove();
        }
    }

    fn forget_old(&mut self, now: Timestamp) {
        while let Some(oldest) = self.records.front() {
            let over = now.since(oldest.at) >= REMEMBERED_FOR;
            if !over && self.bytes <= self.max_bytes {
                return;
            }
            let (key, bytes, number) = (oldest.key, oldest.bytes(), self.first);
            if let Ok(occupied) = self.numbers.find_entry(key[0], |kept| *kept == number) {
                occupied.remove();
            }
            self.records.pop_front();
            self.first += 1;
            self.bytes -= bytes;
        }
    }

    fn record(&self, number: u64) -> Option<&Record> {
        self.records.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    fn key_of(&self, number: u64) -> Option<[u64; 2]> {
        key_at(&self.records, self.first, number)
    }
}

fn key_at(records: &VecDeque<Record>, first: u64, number: u64) -> Option<[u64; 2]> {
    let index = usize::try_from(number.checked_sub(first)?).ok()?;
    records.get(index).map(|record| record.key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(at: Timestamp) -> Outcome {
        Outcome::new(at, Default::default(), true)
    }

    #[test]
    fn what_is_forgotten_can_be_remembered_anew() {
        let now = Timestamp::from_micros(1_000_000);
        let mut ledger = Ledger::new(1 << 20);
        ledger.remember([1, 2], &outcome(now), now);
        ledger.forget([1, 2]);
        assert!(ledger.find([1, 2], now).is_none());
        ledger.remember([1, 2], &outcome(now), now);
        assert!(ledger.find([1, 2], now).is_some());
        ledger.forget([3, 4]);
    }

    #[test]
    fn an_outcome_is_remembered_for_ten_minutes() {
        let mut ledger = Ledger::new(1_000_000);
        let start = Timestamp::from_micros(1_000_000);
        ledger.remember([1, 2], &outcome(start), start);
        let last = start.saturating_add(REMEMBERED_FOR).saturating_sub(Micros::from_micros(1));
        assert_eq!(ledger.find([1, 2], last).map(|outcome| outcome.decided_at), Some(start));
        assert_eq!(ledger.find([1, 3], last), None);
        let over = start.saturating_add(REMEMBERED_FOR);
        assert_eq!(ledger.find([1, 2], over), None);
        ledger.remember([1, 2], &outcome(over), over);
        assert_eq!(ledger.find([1, 2], over).map(|outcome| outcome.decided_at), Some(over));
        assert_eq!((ledger.records.len(), ledger.numbers.len()), (1, 1));
    }

    #[test]
    fn the_oldest_are_forgotten_first_when_there_are_too_many() {
        let max_bytes = 100_000;
        let mut ledger = Ledger::new(max_bytes);
        let now = Timestamp::from_micros(5);
        for number in 0..100_000 {
            ledger.remember([number, 0], &outcome(now), now);
            assert!(ledger.bytes() <= max_bytes + RECORD_BYTES);
        }
        assert!(ledger.find([99_999, 0], now).is_some());
        assert!(ledger.find([0, 0], now).is_none());
        assert_eq!(ledger.records.len(), ledger.numbers.len());
        let kept = ledger.records.len() as u64;
        assert!((100_000 - kept..100_000).all(|number| ledger.find([number, 0], now).is_some()));
    }
}
