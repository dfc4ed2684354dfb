//! When the next attempt to connect may start. Sans-IO: local time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// The shortest pause after a failed attempt, and the longest before the first one after a loss.
const FLOOR: Duration = Duration::from_millis(25);
/// The longest pause.
const CEILING: Duration = Duration::from_secs(1);
/// A connection that lived this long was a good one: its loss is a first failure, not another of a row.
const STEADY: Duration = Duration::from_secs(1);

/// Paces the attempts to connect to one server: jittered exponential back-off from 25 ms to 1 s.
///
/// The pause after the n-th failure in a row is evenly spread between 25 ms and min(1 s, 25 ms · 2^n), so that the
/// processes that lost a server together do not come back together. After a loss the first attempt waits up to 25 ms.
/// A connection that is lost within a second counts as a failure of the row: a server that accepts and drops is not
/// hammered.
#[derive(Debug)]
pub struct Reconnect {
    failures: u32,
    next: Instant,
    since: Option<Instant>,
    rng: fastrand::Rng,
}

impl Reconnect {
    /// The first attempt may start now.
    #[must_use]
    pub const fn new(now: Instant, rng: fastrand::Rng) -> Self {
        Self { failures: 0, next: now, since: None, rng }
    }

    /// The instant from which an attempt may start.
    #[must_use]
    pub const fn next_at(&self) -> Instant {
        self.next
    }

    /// Whether an attempt starts now. If it says yes it does not say so again before the longest pause is over, unless
    /// the attempt is reported as [`failed`](Self::failed) or the connection as [`lost`](Self::lost).
    pub fn begin(&mut self, now: Instant) -> bool {
        let may = now >= self.next;
        if may {
            self.next = now + CEILING;
        }
        may
    }

    /// The attempt gave no connection.
    pub fn failed(&mut self, now: Instant) {
        self.since = None;
        self.failures = self.failures.saturating_add(1);
        self.next = now + self.pause();
    }

    /// The attempt gave a connection.
    pub const fn succeeded(&mut self, now: Instant) {
        self.since = Some(now);
    }

    /// The connection is gone.
    pub fn lost(&mut self, now: Instant) {
        let steady = self.since.take().is_some_and(|since| now.saturating_duration_since(since) >= STEADY);
        self.failures = if steady { 0 } else { self.failures.saturating_add(1) };
        self.next = now + self.pause();
    }

    fn pause(&mut self) -> Duration {
        let most = FLOOR.saturating_mul(1 << self.failures.min(8)).min(CEILING);
        let least = if self.failures == 0 { Duration::ZERO } else { FLOOR };
        least + (most - least).mul_f64(self.rng.f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(seed: u64, count: usize) -> Vec<Duration> {
        let mut now = Instant::now();
        let mut reconnect = Reconnect::new(now, fastrand::Rng::with_seed(seed));
        let mut seen = Vec::new();
        for _ in 0..count {
            assert!(reconnect.begin(now));
            assert!(!reconnect.begin(now), "one attempt at a time");
            reconnect.failed(now);
            seen.push(reconnect.next_at() - now);
            now = reconnect.next_at();
        }
        seen
    }

    #[test]
    fn pauses_grow_from_25_ms_to_1_s() {
        for seed in 0..500 {
            for (index, pause) in pauses(seed, 12).into_iter().enumerate() {
                let most = Duration::from_millis(50 << index.min(6)).min(CEILING);
                assert!(pause >= FLOOR && pause <= most, "seed {seed}, failure {index}: {pause:?}");
            }
        }
    }

    #[test]
    fn pauses_are_spread_over_the_whole_range() {
        let last: Vec<Duration> = (0..500).map(|seed| pauses(seed, 8)[7]).collect();
        let below = |ms| last.iter().filter(|pause| **pause < Duration::from_millis(ms)).count();
        assert!(below(270) > 80 && below(512) > 180 && below(760) < 440, "{} {}", below(270), below(512));
    }

    #[test]
    fn an_attempt_does_not_start_early() {
        let now = Instant::now();
        let mut reconnect = Reconnect::new(now, fastrand::Rng::with_seed(1));
        assert!(reconnect.begin(now));
        reconnect.failed(now);
        let due = reconnect.next_at();
        assert!(!reconnect.begin(due - Duration::from_micros(1)));
        assert!(reconnect.begin(due));
    }

    #[test]
    fn a_steady_connection_clears_the_row_and_a_short_one_does_not() {
        let mut now = Instant::now();
        let mut reconnect = Reconnect::new(now, fastrand::Rng::with_seed(2));
        for _ in 0..9 {
            now = now.max(reconnect.next_at());
            assert!(reconnect.begin(now));
            reconnect.failed(now);
        }
        now = reconnect.next_at();
        assert!(reconnect.begin(now));
        reconnect.succeeded(now);
        now += Duration::from_millis(999);
        reconnect.lost(now);
        assert_eq!(reconnect.failures, 10);
        now = reconnect.next_at();
        assert!(reconnect.begin(now));
        reconnect.succeeded(now);
        now += STEADY;
        reconnect.lost(now);
        assert!(reconnect.next_at() <= now + FLOOR);
        assert_eq!(reconnect.failures, 0);
    }
}
