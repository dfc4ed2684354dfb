//! The only place that reads a clock. Everything below takes `now` as an argument.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tidegate_core::time::{Micros, Timestamp};

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// The present.
    fn now(&self) -> Timestamp;
}

/// The time of day when it was made, carried on by the monotonic clock: it never steps back, whatever happens to
/// the system's time of day.
#[derive(Clone, Debug)]
pub struct SystemClock {
    base: Timestamp,
    origin: Instant,
}

impl SystemClock {
    /// A clock that starts from the system's time of day.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one clock that the others are arguments for")]
    pub fn new() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let base = Timestamp::from_micros(u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX));
        Self { base, origin: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let elapsed = self.origin.elapsed();
        let micros =
            elapsed.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(elapsed.subsec_micros()));
        self.base.saturating_add(Micros::from_micros(micros))
    }
}

/// A clock that stands still until it is moved: for tests, and for replaying a log. Clones share the time.
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self(Arc::new(AtomicU64::new(now.as_micros())))
    }

    /// Shows `now` from here on.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.as_micros(), Ordering::SeqCst);
    }

    /// Moves forward.
    pub fn advance(&self, span: Micros) {
        self.0.fetch_add(span.as_micros(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}
