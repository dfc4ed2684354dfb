//! When a visitor is to poll next, and for how long its place is kept without.
//!
//! The interval is a tenth of the wait, so the load follows how fast the line moves and not how long it is. It is
//! never so long that somebody who polls as told could miss a claim window, however fast the release rate lets the line move.

use super::number::QueueNumber;
use crate::time::Micros;

/// The interval at the head of the line, and of those who were called or let in.
pub const HEAD_INTERVAL: Micros = Micros::from_secs(1);
/// The shortest interval elsewhere.
pub const MIN_INTERVAL: Micros = Micros::from_secs(2);
/// The longest interval.
pub const MAX_INTERVAL: Micros = Micros::from_secs(300);
/// How many tickets are the head of the line.
pub const HEAD_TICKETS: u64 = 16;

/// The interval is this part of the wait.
const PART: u64 = 10;
/// A lease is so many intervals.
const LEASE_INTERVALS: u64 = 3;
/// Jitter adds at most a quarter.
const JITTER_SCALE: u64 = 1_024;

/// The interval of a visitor whose wait is about `wait`, and at least `soonest` if everything goes as fast as it may;
/// from then on it has `claim_window` to come. `jitter` makes it up to a quarter longer.
#[must_use]
pub fn interval(wait: Micros, soonest: Micros, claim_window: Micros, jitter: u8) -> Micros {
    let longest = MAX_INTERVAL.as_micros() * JITTER_SCALE / (JITTER_SCALE + u64::from(u8::MAX));
    let base = (wait.as_micros() / PART).clamp(MIN_INTERVAL.as_micros(), longest);
    let wanted = base + base * u64::from(jitter) / JITTER_SCALE;
    let in_time = soonest.as_micros().saturating_add(claim_window.as_micros() / 2);
    Micros::from_micros(wanted.min(in_time.max(MIN_INTERVAL.as_micros())))
}

/// What spreads the polls of visitors who came together: the same for a visitor each time.
#[must_use]
pub fn jitter(number: QueueNumber) -> u8 {
    // Fibonacci hashing (Knuth, TAOCP 6.4): numbers that follow one another are far apart.
    (number.get().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// The lease of a visitor who is to poll after `interval`, in a room where none is shorter than `least`.
#[must_use]
pub fn lease(interval: Micros, least: Micros) -> Micros {
    Micros::from_micros(interval.as_micros() * LEASE_INTERVALS).max(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIM: Micros = Micros::from_secs(20);

    #[test]
    fn an_interval_is_a_tenth_of_the_wait_between_its_bounds() {
        let secs = Micros::from_secs;
        let of = |wait, jitter| interval(secs(wait), secs(wait), CLAIM, jitter).as_micros();
        assert_eq!([of(0, 0), of(19, 0), of(100, 0)], [2_000_000, 2_000_000, 10_000_000]);
        assert_eq!([of(100, 128), of(0, 255)], [11_250_000, 2_498_046]);
        assert!(of(1 << 40, 255) <= MAX_INTERVAL.as_micros());
        assert!(of(1 << 40, 255) > MAX_INTERVAL.as_micros() - 10);
    }

    #[test]
    fn who_may_be_called_soon_polls_within_half_of_the_claim_window() {
        let of = |soonest, claim| interval(Micros::from_secs(7_200), soonest, claim, 255);
        assert_eq!(of(Micros::ZERO, CLAIM), Micros::from_secs(10));
        assert_eq!(of(Micros::from_secs(5), CLAIM), Micros::from_secs(15));
        assert_eq!(of(Micros::ZERO, Micros::from_secs(1)), MIN_INTERVAL);
    }

    #[test]
    fn jitter_is_spread_evenly() {
        let mut quarters = [0; 4];
        (1..=1_000).for_each(|number| quarters[usize::from(jitter(QueueNumber::new(number)) / 64)] += 1);
        assert!(quarters.iter().all(|count| (240..=260).contains(count)), "{quarters:?}");
    }
}
