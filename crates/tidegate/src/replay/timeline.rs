//! Requests over time in a bounded number of buckets, whatever the length of the log.
//!
//! The buckets begin one second wide. Where the log outgrows them, neighbours are joined to the next width;
//! each width is a multiple of the one before, so joining is exact.

use super::report::Outcome;
use super::time::SECOND_US;

#[cfg(test)]
mod tests;

/// The most buckets kept while reading.
const MAX_KEPT: usize = 512;

/// Widths in seconds that people read easily. Beyond the last each is twice the one before.
const WIDTHS_S: [u64; 13] = [1, 5, 15, 30, 60, 300, 900, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400];

/// What happened in one bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) allowed: u64,
    pub(super) waited: u64,
    pub(super) denied: u64,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.allowed += other.allowed;
        self.waited += other.waited;
        self.denied += other.denied;
    }
}

/// Counts over time.
#[derive(Debug, Clone)]
pub(super) struct Timeline {
    width_us: u64,
    /// The first bucket's number: its start divided by the width.
    first: u64,
    buckets: Vec<Counts>,
}

impl Timeline {
    /// A timeline without requests.
    pub(super) const fn new() -> Self {
        Self { width_us: WIDTHS_S[0] * SECOND_US, first: 0, buckets: Vec::new() }
    }

    /// Counts a request. Times do not go back; one that did would count in the first bucket.
    pub(super) fn record(&mut self, at_us: u64, outcome: Outcome) {
        if self.buckets.is_empty() {
            self.first = at_us / self.width_us;
        }
        let mut index = self.index(at_us);
        while index >= MAX_KEPT as u64 {
            self.widen();
            index = self.index(at_us);
        }
        let index = usize::try_from(index).unwrap_or(0);
        if index >= self.buckets.len() {
            self.buckets.resize(index + 1, Counts::default());
        }
        let bucket = &mut self.buckets[index];
        match outcome {
            Outcome::Allowed => bucket.allowed += 1,
            Outcome::Waited => bucket.waited += 1,
            Outcome::Denied => bucket.denied += 1,
        }
    }

    /// Joins buckets until there are at most `max` of them (at least 1).
    pub(super) fn shrink_to(&mut self, max: usize) {
        while self.buckets.len() > max.max(1) {
            self.widen();
        }
    }

    /// The width of a bucket in seconds.
    pub(super) const fn width_s(&self) -> u64 {
        self.width_us / SECOND_US
    }

    /// Each bucket's start in microseconds since the epoch, and its counts.
    pub(super) fn buckets(&self) -> impl Iterator<Item = (u64, &Counts)> {
        (self.first..).zip(&self.buckets).map(|(number, counts)| (number * self.width_us, counts))
    }

    const fn index(&self, at_us: u64) -> u64 {
        (at_us / self.width_us).saturating_sub(self.first)
    }

    fn widen(&mut self) {
        let width_s = self.width_s();
        let next_s = WIDTHS_S.into_iter().find(|next| *next > width_s).unwrap_or(width_s * 2);
        let factor = next_s / width_s;
        let first = self.first / factor;
        let mut joined: Vec<Counts> = Vec::new();
        for (number, counts) in (self.first..).zip(&self.buckets) {
            let index = usize::try_from(number / factor - first).unwrap_or(0);
            if index >= joined.len() {
                joined.push(Counts::default());
            }
            joined[index].add(counts);
        }
        *self = Self { width_us: next_s * SECOND_US, first, buckets: joined };
    }
}
