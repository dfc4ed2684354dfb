//! What the server's clock shows, from replies that carry its time. Sans-IO: local time is an argument.

use std::time::Duration;

use tidegate_core::time::{Micros, Timestamp};
use tokio::time::Instant;

/// How far two clocks may drift apart, in millionths: the most that NTP lets a clock be slewed.
const DRIFT_PPM: u128 = 500;

/// Bounds on the time that a server's clock shows.
///
/// The server read its clock between the moment a request left and the moment its reply came: that gives a lower and an
/// upper bound, as far apart as the round trip took. The best of the newest bounds and the older ones (widened by
/// [500 ppm](DRIFT_PPM) of their age) is kept. If they contradict each other, the server's clock was set, and
/// the newest stand alone. So the bounds are an estimate for deadlines, never a ground to admit or deny.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClockEstimate {
    bounds: Option<Bounds>,
}

/// At the local instant `at` the server's clock showed `low` to `high`.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    at: Instant,
    low: Timestamp,
    high: Timestamp,
}

impl ClockEstimate {
    /// Nothing is known.
    #[must_use]
    pub const fn new() -> Self {
        Self { bounds: None }
    }

    /// A reply to a request `sent` then and `received` then carried this time of the server.
    pub fn note(&mut self, sent: Instant, received: Instant, server_time: Timestamp) {
        let round_trip = micros(received.saturating_duration_since(sent));
        let fresh = Bounds { at: received, low: server_time, high: server_time.saturating_add(round_trip) };
        self.bounds = Some(match self.bounds {
            Some(old) => old.aged(received).narrowed(fresh).unwrap_or(fresh),
            None => fresh,
        });
    }

    /// The server's clock shows this or later at the local instant; `None` while nothing is known.
    #[must_use]
    pub fn server_at_least(&self, local: Instant) -> Option<Timestamp> {
        self.bounds.map(|bounds| bounds.aged(local).low)
    }

    /// The server's clock shows this or earlier at the local instant; `None` while nothing is known.
    #[must_use]
    pub fn server_at_most(&self, local: Instant) -> Option<Timestamp> {
        self.bounds.map(|bounds| bounds.aged(local).high)
    }
}

impl Bounds {
    /// The same knowledge at another local instant, less certain.
    fn aged(self, local: Instant) -> Self {
        let ahead = micros(local.saturating_duration_since(self.at));
        let back = micros(self.at.saturating_duration_since(local));
        let drift = drift(ahead.saturating_add(back));
        let moved = |time: Timestamp| time.saturating_add(ahead).saturating_sub(back);
        Self {
            at: local,
            low: moved(self.low).saturating_sub(drift),
            high: moved(self.high).saturating_add(drift),
        }
    }

    /// What both bounds, of the same instant, allow.
    fn narrowed(self, other: Self) -> Option<Self> {
        let (low, high) = (self.low.max(other.low), self.high.min(other.high));
        (low <= high).then_some(Self { at: other.at, low, high })
    }
}

fn micros(span: Duration) -> Micros {
    Micros::from_micros(u64::try_from(span.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX))
}

fn drift(span: Micros) -> Micros {
    let drift = (u128::from(span.as_micros()) * DRIFT_PPM).div_ceil(1_000_000);
    Micros::from_micros(u64::try_from(drift).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, us: u64) -> Instant {
        start + Duration::from_micros(us)
    }

    fn server(us: u64) -> Timestamp {
        Timestamp::from_micros(1_780_000_000_000_000 + us)
    }

    #[test]
    fn bounds_are_as_far_apart_as_the_round_trip() {
        let start = Instant::now();
        let mut clock = ClockEstimate::new();
        assert_eq!(clock.server_at_least(start), None);
        clock.note(at(start, 0), at(start, 300), server(1_000));
        assert_eq!(clock.server_at_least(at(start, 300)), Some(server(1_000)));
        assert_eq!(clock.server_at_most(at(start, 300)), Some(server(1_300)));
    }

    #[test]
    fn time_goes_on_and_certainty_goes_down() {
        let start = Instant::now();
        let mut clock = ClockEstimate::new();
        clock.note(start, start, server(0));
        let later = at(start, 2_000_000);
        assert_eq!(clock.server_at_least(later), Some(server(2_000_000 - 1_000)));
        assert_eq!(clock.server_at_most(later), Some(server(2_000_000 + 1_000)));
    }

    #[test]
    fn a_slow_reply_does_not_spoil_a_quick_one() {
        let start = Instant::now();
        let mut clock = ClockEstimate::new();
        clock.note(at(start, 0), at(start, 100), server(0));
        clock.note(at(start, 100), at(start, 90_100), server(45_000));
        let now = at(start, 90_100);
        let width = clock.server_at_most(now).unwrap().since(clock.server_at_least(now).unwrap());
        assert!(width <= Micros::from_micros(100 + 2 * 45), "{width}");
    }

    #[test]
    fn a_clock_that_was_set_is_believed() {
        let start = Instant::now();
        let mut clock = ClockEstimate::new();
        clock.note(at(start, 0), at(start, 100), server(0));
        clock.note(at(start, 200), at(start, 300), server(3_600_000_000));
        assert_eq!(clock.server_at_least(at(start, 300)), Some(server(3_600_000_000)));
        clock.note(at(start, 400), at(start, 500), server(7));
        assert_eq!(clock.server_at_most(at(start, 500)), Some(server(107)));
    }

    #[test]
    fn the_truth_is_always_within_the_bounds() {
        let mut rng = fastrand::Rng::with_seed(0xc10c);
        for _ in 0..200 {
            let start = Instant::now();
            let mut clock = ClockEstimate::new();
            // A server whose clock runs up to 400 ppm fast or slow.
            let rate = 1_000_000 + rng.i64(-400..=400);
            let shows = |us: u64| server((us as i64 * rate / 1_000_000) as u64);
            let mut now = 0;
            for _ in 0..50 {
                now += rng.u64(0..2_000_000);
                let (there, back) = (rng.u64(0..50_000), rng.u64(0..50_000));
                clock.note(at(start, now), at(start, now + there + back), shows(now + there));
                now += there + back;
                let probe = now + rng.u64(0..1_000_000);
                let truth = shows(probe);
                let (low, high) =
                    (clock.server_at_least(at(start, probe)), clock.server_at_most(at(start, probe)));
                assert!(low.unwrap() <= truth && truth <= high.unwrap(), "{low:?} {truth:?} {high:?}");
            }
        }
    }
}
