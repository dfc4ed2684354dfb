//! Whether this node itself stood still: it was paused, had no processor, or its machine slept.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// When a node was seen to run last.
pub(super) struct Pulse {
    start: Instant,
    /// Microseconds since `start`.
    last: AtomicU64,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), last: AtomicU64::new(0) }
    }

    /// For how long it was not seen to run.
    pub(super) fn missing(&self, now: Instant) -> Duration {
        now - (self.start + Duration::from_micros(self.last.load(Ordering::Acquire)))
    }

    /// It runs.
    pub(super) fn beat(&self, now: Instant) {
        let since = u64::try_from((now - self.start).as_micros()).unwrap_or(u64::MAX);
        self.last.fetch_max(since, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_the_time_since_the_last_beat() {
        let (pulse, second) = (Pulse::new(), Duration::from_secs(1));
        assert_eq!(pulse.missing(pulse.start + second), second);
        pulse.beat(pulse.start + second * 3);
        pulse.beat(pulse.start + second * 2);
        assert_eq!(pulse.missing(pulse.start + second * 5), second * 2);
        assert_eq!(pulse.missing(pulse.start), Duration::ZERO);
    }
}
