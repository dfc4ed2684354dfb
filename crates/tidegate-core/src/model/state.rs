//! What the model keeps for one bucket, and the few questions that need only the state and a window.

use std::collections::BTreeMap;

use crate::algorithm::CLOCK_TOLERANCE;
use crate::time::Timestamp;

/// The state of one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelState {
    /// Token and leaky bucket: the theoretical arrival time, counted in 1/L µs.
    Tat(i128),
    /// Fixed and sliding window: units by the number of the aligned window. An entry may be 0.
    Windows(BTreeMap<u64, u64>),
    /// Sliding window log: (time in µs, units), oldest first.
    Log(Vec<(u64, u64)>),
    /// Concurrency: the permits, in the order they were taken.
    Permits(Vec<ModelPermit>),
}

/// One permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelPermit {
    /// Its name.
    pub id: u64,
    /// When it ends by itself, in µs.
    pub expires_at: u64,
    /// Places it takes.
    pub units: u64,
}

/// The number of the window that holds at `now`: never one before the last that was written.
pub(super) fn window_number(windows: &BTreeMap<u64, u64>, now: u64, window: u64) -> u64 {
    let last = windows.last_key_value().map_or(0, |(number, _)| *number);
    last.max(now / window)
}

/// The units of a window, 0 where nothing was written.
pub(super) fn units_of(windows: &BTreeMap<u64, u64>, number: u64) -> u64 {
    windows.get(&number).copied().unwrap_or(0)
}

/// The units of the window before, 0 before the first.
pub(super) fn units_before(windows: &BTreeMap<u64, u64>, number: u64) -> u64 {
    number.checked_sub(1).map_or(0, |before| units_of(windows, before))
}

/// The latest time at which a working clock can have written something at `now`.
fn latest(now: u64) -> u64 {
    Timestamp::from_micros(now).saturating_add(CLOCK_TOLERANCE).as_micros()
}

/// Windows that begin later than any working clock says are moved back so that the last one is the present one.
pub(super) fn repair_windows(windows: &mut BTreeMap<u64, u64>, now: u64, window: u64) -> bool {
    let Some(last) = windows.last_key_value().map(|(number, _)| *number) else { return false };
    if last * window <= latest(now) {
        return false;
    }
    let present = now / window;
    let moved = windows.iter().filter_map(|(number, units)| {
        let age = last - number;
        present.checked_sub(age).map(|number| (number, *units))
    });
    *windows = moved.collect();
    true
}

/// Entries later than any working clock says become entries of now, and the list stays in order.
pub(super) fn repair_log(log: &mut [(u64, u64)], now: u64) -> bool {
    if log.last().is_none_or(|(at, _)| *at <= latest(now)) {
        return false;
    }
    let mut before = 0;
    for (at, _) in log {
        if *at > latest(now) {
            *at = now;
        }
        *at = before.max(*at);
        before = *at;
    }
    true
}

/// Permits that end later than any working clock could have said end when the longest permit of now would.
pub(super) fn repair_permits(permits: &mut [ModelPermit], now: u64, longest_life: u64) -> bool {
    let possible = now + longest_life;
    let wrong = permits.iter().any(|permit| permit.expires_at > possible + CLOCK_TOLERANCE.as_micros());
    if wrong {
        for permit in permits {
            permit.expires_at = permit.expires_at.min(possible);
        }
    }
    wrong
}

/// Takes back `cost` units, the newest first.
pub(super) fn refund_log(log: &mut Vec<(u64, u64)>, cost: u64) {
    let mut left = cost;
    while let Some((_, units)) = log.last_mut() {
        if *units > left {
            *units -= left;
            return;
        }
        left -= *units;
        log.pop();
    }
}
