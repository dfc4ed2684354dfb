//! A virtual clock over lines that are slightly out of order.
//!
//! Servers write an access log line when the request ends, with the time at which it began, so neighbours
//! are out of order by as much as requests last. The buffer holds lines back until they are older than the
//! newest by the horizon, and gives them out by time, equal times in the order of the file. What comes later
//! than that cannot be put in its place any more: the clock never goes back, so it happens "now" and is
//! counted.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

#[cfg(test)]
mod tests;

/// How far lines may be out of order, in microseconds: one minute, the longest time most servers let a
/// request take.
pub const HORIZON_US: u64 = 60_000_000;

/// The most lines held back at once over all logs.
pub const MAX_HELD_LINES: usize = 100_000;

/// Sorts items by time within a horizon; see the module.
#[derive(Debug)]
pub struct ReorderBuffer<T> {
    /// (time, arrival, slot): the heap moves these three words instead of the items.
    heap: BinaryHeap<Reverse<(u64, u64, usize)>>,
    slots: Vec<Option<T>>,
    free: Vec<usize>,
    arrivals: u64,
    newest_us: u64,
    clock_us: u64,
    late: u64,
    horizon_us: u64,
    max_held: usize,
}

impl<T> ReorderBuffer<T> {
    /// A buffer that holds items back for `horizon_us` microseconds, `max_held` of them at most (at least 1).
    #[must_use]
    pub fn new(horizon_us: u64, max_held: usize) -> Self {
        Self {
            heap: BinaryHeap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            arrivals: 0,
            newest_us: 0,
            clock_us: 0,
            late: 0,
            horizon_us,
            max_held: max_held.max(1),
        }
    }

    /// Takes in an item of that time.
    pub fn push(&mut self, at_us: u64, item: T) {
        if at_us < self.clock_us {
            self.late += 1;
        }
        let at_us = at_us.max(self.clock_us);
        self.newest_us = self.newest_us.max(at_us);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some(item);
        self.heap.push(Reverse((at_us, self.arrivals, slot)));
        self.arrivals += 1;
    }

    /// The next item whose turn has come, with its time, which never goes back.
    pub fn pop_ready(&mut self) -> Option<(u64, T)> {
        let Reverse((at_us, _, _)) = self.heap.peek()?;
        let due = self.newest_us.saturating_sub(*at_us) >= self.horizon_us;
        if due || self.heap.len() > self.max_held { self.pop() } else { None }
    }

    /// The next item, due or not: for the end of the log.
    pub fn pop(&mut self) -> Option<(u64, T)> {
        let Reverse((at_us, _, slot)) = self.heap.pop()?;
        self.clock_us = at_us;
        let item = self.slots.get_mut(slot)?.take()?;
        self.free.push(slot);
        Some((at_us, item))
    }

    /// How many items came too late to be put in their place.
    #[must_use]
    pub const fn late(&self) -> u64 {
        self.late
    }

    /// How many items are held back now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.heap.len()
    }
}
