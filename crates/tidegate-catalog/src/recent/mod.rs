//! Requests of the last minutes, to try a change on.
//!
//! A fixed number of bytes, taken at the start and shared by several rings; the oldest requests make room for new ones. A
//! request never waits to be recorded.

mod ring;

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use ring::Ring;

use crate::usage::{Padded, thread_number};

/// Rings; threads seldom meet in one.
const RINGS: usize = 8;
/// Largest request that is recorded, in bytes of a ring.
const MAX_RECORD_BYTES: usize = 16 * 1024;
/// The entry that a subject's tier is recorded as.
const TIER_ENTRY: &str = "tier";

/// A request as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentRequest {
    /// When, in microseconds since the Unix epoch.
    pub at_us: i64,
    /// Its entries, and its subject's tier as an entry `tier`.
    pub entries: Vec<(String, String)>,
    /// Units that it asked for.
    pub cost: u64,
}

/// Keeps requests of the last minutes.
#[derive(Debug)]
pub struct Recorder {
    rings: [Padded<Mutex<Ring>>; RINGS],
    ring_bytes: usize,
    skipped: AtomicU64,
}

thread_local! {
    /// The ring that the thread writes to next.
    static NEXT: Cell<usize> = Cell::new(thread_number());
}

impl Recorder {
    /// Keeps as many requests as there is room for in `capacity_bytes`. 0: none.
    #[must_use]
    pub fn new(capacity_bytes: usize) -> Self {
        let ring_bytes = capacity_bytes / RINGS;
        let rings = std::array::from_fn(|_| Padded(Mutex::new(Ring::new(ring_bytes))));
        Self { rings, ring_bytes, skipped: AtomicU64::new(0) }
    }

    /// Records a request to a domain, named as the engine knows it. `tier` is kept where the request has no entry `tier`.
    /// Skips what is too large, and what would have to wait; that is counted.
    pub fn record(&self, at_us: i64, domain: &str, entries: &[(&str, &str)], tier: Option<&str>, cost: u64) {
        if self.ring_bytes == 0 {
            return;
        }
        let tier = tier.filter(|_| entries.iter().all(|(name, _)| *name != TIER_ENTRY));
        let tier = tier.map(|tier| (TIER_ENTRY, tier));
        let entries = || entries.iter().copied().chain(tier);
        let bytes = record_bytes(domain, entries());
        if bytes > MAX_RECORD_BYTES.min(self.ring_bytes)
            || !self.append(bytes, at_us, cost, domain, entries())
        {
            self.skipped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn append<'a>(
        &self,
        bytes: usize,
        at_us: i64,
        cost: u64,
        domain: &str,
        entries: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> bool {
        let first = NEXT.replace(NEXT.get().wrapping_add(1));
        let mut free =
            (0..RINGS).filter_map(|step| self.rings[first.wrapping_add(step) % RINGS].0.try_lock());
        let Some(mut ring) = free.next() else { return false };
        ring.make_room(bytes);
        ring.write(&length(bytes));
        ring.write(&at_us.to_le_bytes());
        ring.write(&cost.to_le_bytes());
        ring.write_text(domain);
        for (name, value) in entries {
            ring.write_text(name);
            ring.write_text(value);
        }
        true
    }

    /// Requests to a domain from a time on, in the order of time: the newest, at most so many.
    #[must_use]
    pub fn since(&self, from_us: i64, domain: &str, most: usize) -> Vec<RecentRequest> {
        let mut requests = Vec::new();
        for Padded(ring) in &self.rings {
            // Copied first, so that the ring is held no longer than that takes.
            let bytes = ring.lock().to_vec();
            let mut rest = bytes.as_slice();
            while let Some(record) = ring::next_record(&mut rest) {
                requests.extend(parse(record, from_us, domain));
                if requests.len() >= most.saturating_mul(2) {
                    keep_newest(&mut requests, most);
                }
            }
        }
        keep_newest(&mut requests, most);
        requests
    }

    /// The bytes that requests can take.
    #[must_use]
    pub const fn capacity_bytes(&self) -> usize {
        self.ring_bytes * RINGS
    }

    /// Requests that were not recorded.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }
}

/// Puts requests in the order of time and forgets all but the newest.
fn keep_newest(requests: &mut Vec<RecentRequest>, most: usize) {
    requests.sort_by_key(|request| request.at_us);
    requests.drain(..requests.len().saturating_sub(most));
}

/// The bytes of a record: its length, time, cost, and texts with their lengths.
fn record_bytes<'a>(domain: &str, entries: impl Iterator<Item = (&'a str, &'a str)>) -> usize {
    let text = |text: &str| ring::LENGTH_BYTES + text.len();
    let head = ring::LENGTH_BYTES + size_of::<i64>() + size_of::<u64>() + text(domain);
    entries.fold(head, |sum, (name, value)| sum.saturating_add(text(name)).saturating_add(text(value)))
}

/// A length as it is written. None is above [`MAX_RECORD_BYTES`].
fn length(bytes: usize) -> [u8; ring::LENGTH_BYTES] {
    u16::try_from(bytes).unwrap_or(u16::MAX).to_le_bytes()
}

/// A record's request, if it is one to the domain from the time on.
fn parse(mut record: &[u8], from_us: i64, domain: &str) -> Option<RecentRequest> {
    let at_us = i64::from_le_bytes(*record.split_off(..8)?.first_chunk()?);
    let cost = u64::from_le_bytes(*record.split_off(..8)?.first_chunk()?);
    if at_us < from_us || text(&mut record)? != domain {
        return None;
    }
    let mut entries = Vec::new();
    while let Some(name) = text(&mut record) {
        entries.push((name.to_owned(), text(&mut record)?.to_owned()));
    }
    Some(RecentRequest { at_us, entries, cost })
}

fn text<'a>(record: &mut &'a [u8]) -> Option<&'a str> {
    let bytes = u16::from_le_bytes(*record.split_off(..ring::LENGTH_BYTES)?.first_chunk()?);
    std::str::from_utf8(record.split_off(..usize::from(bytes))?).ok()
}

#[cfg(test)]
mod tests;
