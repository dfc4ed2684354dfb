//! What the server's clock shows, as far as its replies tell.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tidegate_core::time::Timestamp;
use tidegate_store::rooms::Clock;
use tokio::time::Instant;

use crate::link::ClockEstimate;

/// The server's time, or the local one while nothing is known of it. It never goes back: after a step back of the server's clock it
/// stands until that has caught up.
pub(super) struct ServerClock {
    estimate: Mutex<ClockEstimate>,
    local: Clock,
    /// The latest that was shown, in µs.
    shown: AtomicU64,
}

impl ServerClock {
    pub(super) fn new(local: Clock) -> Self {
        Self { estimate: Mutex::new(ClockEstimate::new()), local, shown: AtomicU64::new(0) }
    }

    /// A reply to a request `sent` then and `received` then carried this time.
    pub(super) fn note(&self, sent: Instant, received: Instant, time: Timestamp) {
        self.estimate.lock().note(sent, received, time);
    }

    pub(super) fn now(&self, local: Instant) -> Timestamp {
        let estimate = *self.estimate.lock();
        let now = match (estimate.server_at_least(local), estimate.server_at_most(local)) {
            (Some(low), Some(high)) => low.as_micros().midpoint(high.as_micros()),
            _ => (self.local)().as_micros(),
        };
        Timestamp::from_micros(self.shown.fetch_max(now, Ordering::AcqRel).max(now))
    }
}

impl fmt::Debug for ServerClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerClock").field("estimate", &self.estimate).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    const DAY: u64 = 86_400_000_000;

    #[test]
    fn the_local_time_until_the_servers_is_known_and_never_back() {
        let clock = ServerClock::new(Arc::new(|| Timestamp::from_micros(3 * DAY)));
        let start = Instant::now();
        assert_eq!(clock.now(start), Timestamp::from_micros(3 * DAY));

        // The server is ahead.
        let received = start + Duration::from_micros(200);
        clock.note(start, received, Timestamp::from_micros(4 * DAY));
        assert_eq!(
            clock.now(received),
            Timestamp::from_micros(4 * DAY + 100),
            "the middle of what is possible"
        );
        let later = clock.now(received + Duration::from_secs(1)).as_micros();
        assert_eq!(later, 4 * DAY + 1_000_100);

        // It was set back: the clock stands until it has caught up.
        let sent = received + Duration::from_secs(2);
        clock.note(sent, sent, Timestamp::from_micros(4 * DAY));
        assert_eq!(clock.now(sent).as_micros(), later);
        assert_eq!(clock.now(sent + Duration::from_secs(1)).as_micros(), later);
        assert_eq!(clock.now(sent + Duration::from_secs(2)).as_micros(), 4 * DAY + 2_000_000);
    }
}
