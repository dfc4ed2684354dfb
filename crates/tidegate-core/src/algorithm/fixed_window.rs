//! Fixed window: a count per window `[k·W, (k+1)·W)`, aligned to the Unix epoch.
//!
//! Up to 2·L can pass around one boundary: L at the end of a window and L at the start of the next.

use super::{Ask, CLOCK_TOLERANCE, Charge, Quota, Timestamp, Verdict};
use crate::time::Micros;

/// The count of one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Count {
    /// Start of the window, microseconds since the Unix epoch; a multiple of the window.
    pub start: u64,
    /// Units taken in it.
    pub used: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FixedWindow {
    limit: u64,
    window: u64,
}

/// Start of the aligned window that holds `now`.
pub(super) const fn window_start(now: Timestamp, window: u64) -> u64 {
    now.as_micros() - now.as_micros() % window
}

impl FixedWindow {
    pub(super) fn new(quota: &Quota) -> Self {
        Self { limit: quota.limit(), window: quota.window().as_micros() }
    }

    /// The count that holds at `now`: the stored one, unless its window is over.
    fn current(&self, count: &Count, now: Timestamp) -> Count {
        let start = window_start(now, self.window);
        if count.start >= start { *count } else { Count { start, used: 0 } }
    }

    pub(super) fn judge(&self, count: &Count, now: Timestamp, ask: &Ask) -> Verdict {
        match self.retry_after(count, now, ask) {
            Some(Micros::ZERO) => Verdict::ALLOW,
            retry_after => Verdict::Deny { retry_after },
        }
    }

    pub(super) fn charge(&self, count: &mut Count, now: Timestamp, ask: &Ask) {
        *count = self.current(count, now);
        count.used = count.used.saturating_add(ask.cost);
    }

    pub(super) fn refund(&self, count: &mut Count, now: Timestamp, cost: u64) {
        *count = self.current(count, now);
        count.used = count.used.saturating_sub(cost);
    }

    /// Charges without asking, up to `ceiling` in this window.
    pub(super) fn debit(&self, count: &mut Count, now: Timestamp, cost: u64, ceiling: u64) {
        *count = self.current(count, now);
        count.used = count.used.saturating_add(cost).min(ceiling.max(count.used));
    }

    /// Undoes a charge, as long as its window is the one that is kept.
    pub(super) fn withdraw(&self, count: &mut Count, _now: Timestamp, charge: &Charge) {
        if count.start == window_start(charge.at, self.window) {
            count.used = count.used.saturating_sub(charge.cost);
        }
    }

    pub(super) fn level(&self, count: &Count, now: Timestamp, reserved: u64) -> (u64, u64) {
        let used = self.current(count, now).used;
        (used, self.limit.saturating_sub(reserved).saturating_sub(used))
    }

    pub(super) fn retry_after(&self, count: &Count, now: Timestamp, ask: &Ask) -> Option<Micros> {
        let room = self.limit.checked_sub(ask.reserved)?.checked_sub(ask.cost)?;
        let current = self.current(count, now);
        if current.used <= room {
            return Some(Micros::ZERO);
        }
        Some(Micros::from_micros((current.start + self.window).saturating_sub(now.as_micros())))
    }

    pub(super) fn rest_at(&self, count: &Count) -> Timestamp {
        if count.used == 0 {
            return Timestamp::EPOCH;
        }
        Timestamp::from_micros(count.start.saturating_add(self.window))
    }

    pub(super) fn repair(&self, count: &mut Count, now: Timestamp) -> bool {
        let wrong = count.start > now.saturating_add(CLOCK_TOLERANCE).as_micros();
        if wrong {
            count.start = window_start(now, self.window);
        }
        wrong
    }

    pub(super) fn with_used(&self, used: u64, at: Timestamp) -> Count {
        Count { start: window_start(at, self.window), used }
    }
}
