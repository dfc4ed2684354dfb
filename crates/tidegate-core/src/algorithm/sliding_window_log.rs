//! Sliding window log: every admission with its time. An admission counts while it is younger than the window, so
//! never more than L pass in any window, wherever it begins.
//!
//! Totals run through the log, so that a question costs a binary search and not a walk. Admissions of one instant
//! share an entry, so the log never has more than L entries.

use std::collections::VecDeque;

use super::{Ask, CLOCK_TOLERANCE, Charge, Quota, Timestamp, Verdict};
use crate::time::Micros;

/// The admissions of one bucket, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdmissionLog {
    entries: VecDeque<Admission>,
    /// The running total before the first entry.
    base: u64,
}

/// The admissions of one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Admission {
    /// Microseconds since the Unix epoch.
    pub at: u64,
    /// All units ever admitted, up to and with this entry.
    pub total: u64,
}

impl AdmissionLog {
    /// A log of one admission of `used` units at `at`.
    #[must_use]
    pub fn with_used(used: u64, at: Timestamp) -> Self {
        Self { entries: VecDeque::from([Admission { at: at.as_micros(), total: used }]), base: 0 }
    }

    /// A log from admissions as (time in µs, units), oldest first. Times that step back are taken for the time before.
    #[must_use]
    pub fn from_admissions(admissions: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut log = Self::default();
        for (at, units) in admissions {
            log.push(at, units);
        }
        log
    }

    /// The admissions as (time in µs, units), oldest first.
    pub fn admissions(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let before = core::iter::once(self.base).chain(self.entries.iter().map(|entry| entry.total));
        self.entries.iter().zip(before).map(|(entry, before)| (entry.at, entry.total - before))
    }

    /// How many entries the log has room for: what it costs in memory, 16 bytes each.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.entries.capacity()
    }

    /// The time of the newest admission, in microseconds.
    #[must_use]
    pub fn newest(&self) -> Option<u64> {
        self.entries.back().map(|entry| entry.at)
    }

    fn total(&self) -> u64 {
        self.entries.back().map_or(self.base, |entry| entry.total)
    }

    /// The running total before the first admission that still counts.
    fn total_expired(&self, now: Timestamp, window: u64) -> u64 {
        let expired =
            self.entries.partition_point(|entry| entry.at.saturating_add(window) <= now.as_micros());
        match expired.checked_sub(1).and_then(|last| self.entries.get(last)) {
            Some(entry) => entry.total,
            None => self.base,
        }
    }

    fn push(&mut self, at: u64, units: u64) {
        let total = self.total().saturating_add(units);
        match self.entries.back_mut() {
            Some(newest) if newest.at >= at => newest.total = total,
            _ => self.entries.push_back(Admission { at, total }),
        }
    }

    fn drop_expired(&mut self, now: Timestamp, window: u64) {
        while let Some(oldest) = self.entries.front() {
            if oldest.at.saturating_add(window) > now.as_micros() {
                return;
            }
            self.base = oldest.total;
            self.entries.pop_front();
        }
        self.base = 0;
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SlidingWindowLog {
    limit: u64,
    window: u64,
}

impl SlidingWindowLog {
    pub(super) fn new(quota: &Quota) -> Self {
        Self { limit: quota.limit(), window: quota.window().as_micros() }
    }

    pub(super) fn judge(&self, log: &AdmissionLog, now: Timestamp, ask: &Ask) -> Verdict {
        match self.retry_after(log, now, ask) {
            Some(Micros::ZERO) => Verdict::ALLOW,
            retry_after => Verdict::Deny { retry_after },
        }
    }

    pub(super) fn charge(&self, log: &mut AdmissionLog, now: Timestamp, ask: &Ask) {
        log.drop_expired(now, self.window);
        if ask.cost > 0 {
            log.push(now.as_micros(), ask.cost);
        }
    }

    /// Takes back the newest admissions: they would have counted longest.
    pub(super) fn refund(&self, log: &mut AdmissionLog, now: Timestamp, cost: u64) {
        log.drop_expired(now, self.window);
        let kept = log.total().saturating_sub(cost).max(log.base);
        while log.entries.back().is_some_and(|newest| newest.total > kept) {
            let Some(newest) = log.entries.pop_back() else { return };
            if log.total() < kept {
                log.entries.push_back(Admission { at: newest.at, total: kept });
                return;
            }
        }
    }

    /// Charges without asking, up to `ceiling` in the window.
    pub(super) fn debit(&self, log: &mut AdmissionLog, now: Timestamp, cost: u64, ceiling: u64) {
        let (used, _) = self.level(log, now, 0);
        self.charge(log, now, &Ask::cost(cost.min(ceiling.saturating_sub(used))));
    }

    /// Undoes a charge by its own entry, as long as that is kept.
    pub(super) fn withdraw(&self, log: &mut AdmissionLog, _now: Timestamp, charge: &Charge) {
        let kept = log.admissions().map(|(at, units)| {
            let withdrawn = if at == charge.at.as_micros() { charge.cost } else { 0 };
            (at, units.saturating_sub(withdrawn))
        });
        *log = AdmissionLog::from_admissions(kept.filter(|(_, units)| *units > 0).collect::<Vec<_>>());
    }

    pub(super) fn level(&self, log: &AdmissionLog, now: Timestamp, reserved: u64) -> (u64, u64) {
        let used = log.total() - log.total_expired(now, self.window);
        (used, self.limit.saturating_sub(reserved).saturating_sub(used))
    }

    pub(super) fn retry_after(&self, log: &AdmissionLog, now: Timestamp, ask: &Ask) -> Option<Micros> {
        let room = self.limit.checked_sub(ask.reserved)?.checked_sub(ask.cost)?;
        let expired = log.total_expired(now, self.window);
        let Some(too_many) = (log.total() - expired).checked_sub(room).filter(|units| *units > 0) else {
            return Some(Micros::ZERO);
        };
        let needed = log.entries.partition_point(|entry| entry.total < expired + too_many);
        let at = log.entries.get(needed).map_or(now.as_micros(), |entry| entry.at);
        Some(Micros::from_micros((at.saturating_add(self.window)).saturating_sub(now.as_micros())))
    }

    pub(super) fn rest_at(&self, log: &AdmissionLog) -> Timestamp {
        match log.newest() {
            Some(at) => Timestamp::from_micros(at.saturating_add(self.window)),
            None => Timestamp::EPOCH,
        }
    }

    pub(super) fn repair(&self, log: &mut AdmissionLog, now: Timestamp) -> bool {
        let latest = now.saturating_add(CLOCK_TOLERANCE).as_micros();
        let wrong = log.newest().is_some_and(|at| at > latest);
        if wrong {
            *log = AdmissionLog::from_admissions(
                log.admissions()
                    .map(|(at, units)| (if at > latest { now.as_micros() } else { at }, units))
                    .collect::<Vec<_>>(),
            );
        }
        wrong
    }
}
