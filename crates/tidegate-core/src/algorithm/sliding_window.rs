//! Sliding window: the counts of two aligned windows, the older one weighted by how much of it the true window
//! still covers. With e the time since the current window began, a cost c conforms iff
//! `previous·(W − e) + (used + c)·W ≤ L·W`.
//!
//! In a true window of W up to 2·L − 1 can pass, never two bursts at one instant. The weighted sum falls steadily
//! and has no step at the boundary, so the earliest instant for a denied cost can be solved for exactly.

use super::fixed_window::window_start;
use super::{Ask, CLOCK_TOLERANCE, Charge, Quota, Timestamp, Verdict};
use crate::time::Micros;

/// The counts of an aligned window and of the one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CountPair {
    /// Start of the current window, microseconds since the Unix epoch; a multiple of the window.
    pub start: u64,
    /// Units taken in the current window.
    pub used: u64,
    /// Units taken in the window before.
    pub previous: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SlidingWindow {
    limit: u64,
    window: u64,
}

impl SlidingWindow {
    pub(super) fn new(quota: &Quota) -> Self {
        Self { limit: quota.limit(), window: quota.window().as_micros() }
    }

    /// The pair that holds at `now`: windows that are over move one place back or fall out.
    fn current(&self, pair: &CountPair, now: Timestamp) -> CountPair {
        let start = window_start(now, self.window);
        if pair.start >= start {
            *pair
        } else if pair.start + self.window == start {
            CountPair { start, used: 0, previous: pair.used }
        } else {
            CountPair { start, used: 0, previous: 0 }
        }
    }

    /// previous·(W − e): what the older window still counts, times W.
    fn weight(&self, pair: &CountPair, now: Timestamp) -> u128 {
        let elapsed = now.as_micros().saturating_sub(pair.start);
        u128::from(pair.previous) * u128::from(self.window - elapsed)
    }

    pub(super) fn judge(&self, pair: &CountPair, now: Timestamp, ask: &Ask) -> Verdict {
        match self.retry_after(pair, now, ask) {
            Some(Micros::ZERO) => Verdict::ALLOW,
            retry_after => Verdict::Deny { retry_after },
        }
    }

    pub(super) fn charge(&self, pair: &mut CountPair, now: Timestamp, ask: &Ask) {
        *pair = self.current(pair, now);
        pair.used = pair.used.saturating_add(ask.cost);
    }

    pub(super) fn refund(&self, pair: &mut CountPair, now: Timestamp, cost: u64) {
        *pair = self.current(pair, now);
        let from_current = cost.min(pair.used);
        pair.used -= from_current;
        pair.previous = pair.previous.saturating_sub(cost - from_current);
    }

    /// Charges without asking, up to `ceiling` in this window.
    pub(super) fn debit(&self, pair: &mut CountPair, now: Timestamp, cost: u64, ceiling: u64) {
        *pair = self.current(pair, now);
        pair.used = pair.used.saturating_add(cost).min(ceiling.max(pair.used));
    }

    /// Undoes a charge in the window it was made in, as long as that is kept.
    pub(super) fn withdraw(&self, pair: &mut CountPair, _now: Timestamp, charge: &Charge) {
        let start = window_start(charge.at, self.window);
        if start == pair.start {
            pair.used = pair.used.saturating_sub(charge.cost);
        } else if start.saturating_add(self.window) == pair.start {
            pair.previous = pair.previous.saturating_sub(charge.cost);
        }
    }

    pub(super) fn level(&self, pair: &CountPair, now: Timestamp, reserved: u64) -> (u64, u64) {
        let pair = self.current(pair, now);
        let older = self.weight(&pair, now).div_ceil(u128::from(self.window));
        let used = u64::try_from(older).unwrap_or(u64::MAX).saturating_add(pair.used);
        (used, self.limit.saturating_sub(reserved).saturating_sub(used))
    }

    pub(super) fn retry_after(&self, pair: &CountPair, now: Timestamp, ask: &Ask) -> Option<Micros> {
        let room = self.limit.checked_sub(ask.reserved)?.checked_sub(ask.cost)?;
        let pair = self.current(pair, now);
        let window = u128::from(self.window);
        // Within this window the older count must fade until it fits beside the newer one; where the newer alone is
        // too much, it must first become the older one and fade itself.
        let (start, fading, fits) = match room.checked_sub(pair.used) {
            Some(free) if self.weight(&pair, now) <= u128::from(free) * window => return Some(Micros::ZERO),
            Some(free) => (pair.start, pair.previous, free),
            None => (pair.start + self.window, pair.used, room),
        };
        let may_remain = u128::from(fits) * window / u128::from(fading.max(1));
        let faded_after = self.window - u64::try_from(may_remain).unwrap_or(u64::MAX).min(self.window);
        Some(Micros::from_micros((start + faded_after).saturating_sub(now.as_micros())))
    }

    pub(super) fn rest_at(&self, pair: &CountPair) -> Timestamp {
        let windows = match (pair.used, pair.previous) {
            (0, 0) => return Timestamp::EPOCH,
            (0, _) => 1,
            _ => 2,
        };
        Timestamp::from_micros(pair.start.saturating_add(windows * self.window))
    }

    pub(super) fn repair(&self, pair: &mut CountPair, now: Timestamp) -> bool {
        let wrong = pair.start > now.saturating_add(CLOCK_TOLERANCE).as_micros();
        if wrong {
            pair.start = window_start(now, self.window);
        }
        wrong
    }

    pub(super) fn with_used(&self, used: u64, at: Timestamp) -> CountPair {
        CountPair { start: window_start(at, self.window), used, previous: 0 }
    }
}
