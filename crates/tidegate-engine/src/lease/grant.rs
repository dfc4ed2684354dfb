//! What one node holds of one bucket, and until when it may be spent.

use tidegate_core::algorithm::Meter;
use tidegate_core::quota::Algorithm;
use tidegate_core::time::{Micros, Timestamp};

/// Clocks that work run apart by less than one part in 2^so many.
const DRIFT_SHIFT: u32 = 10;
/// What rounding to whole microseconds can hide, in microseconds.
const ROUNDING: u64 = 3;

/// Units that the store has debited and that are not spent yet.
pub(super) struct Grant {
    /// Names this grant among those of its node.
    pub(super) id: u64,
    /// What is left.
    pub(super) units: u64,
    /// What the bucket had used when it was debited, these units with it.
    used: u64,
    /// When it was debited, by the store's clock.
    pub(super) charged_at: Timestamp,
    /// From when on it is not spent any more, by the store's clock.
    ends_at: Timestamp,
    /// When the store was asked for it, by this node's clock.
    sent: Timestamp,
    /// When what is left is to be given back, by this node's clock.
    pub(super) return_at: Timestamp,
    /// Not spent any more: its rule has changed, or this node stops.
    pub(super) is_retired: bool,
}

/// Where a grant's numbers come from.
pub(super) struct Charged {
    pub(super) at: Timestamp,
    pub(super) used: u64,
    pub(super) sent: Timestamp,
}

/// What was taken from a grant, and what the bucket seems to hold afterwards.
pub(super) struct Take {
    /// The grant.
    pub(super) id: u64,
    /// Units used of the bucket when the grant was made, without those still held here.
    pub(super) used: u64,
    pub(super) charged_at: Timestamp,
    /// The present, by the store's clock, or a little later.
    pub(super) at: Timestamp,
}

impl Grant {
    pub(super) fn new(id: u64, units: u64, charged: &Charged, meter: &Meter, hold: Micros) -> Self {
        Self {
            id,
            units,
            used: charged.used,
            charged_at: charged.at,
            ends_at: end_of(meter, charged.at),
            sent: charged.sent,
            return_at: charged.sent.saturating_add(hold),
            is_retired: false,
        }
    }

    /// Whether it may be spent at `now`, by this node's clock. It was debited after it was asked for, so the store's
    /// clock shows at most as much more as this node's has gone on since; a margin covers clocks that run apart.
    pub(super) fn is_usable(&self, now: Timestamp) -> bool {
        let age = now.since(self.sent);
        let margin = Micros::from_micros((age.as_micros() >> DRIFT_SHIFT) + ROUNDING);
        !self.is_retired && self.present(now).saturating_add(margin) < self.ends_at
    }

    /// Whether it may be spent together with units that were debited at `at`, by the store's clock.
    pub(super) fn lasts_until(&self, at: Timestamp) -> bool {
        !self.is_retired && at < self.ends_at
    }

    /// Takes units, if so many are left.
    pub(super) fn take(&mut self, cost: u64, now: Timestamp) -> Option<Take> {
        self.units = self.units.checked_sub(cost)?;
        let used = self.used.saturating_sub(self.units);
        Some(Take { id: self.id, used, charged_at: self.charged_at, at: self.present(now) })
    }

    /// Whether it would change anything to give it back: what was debited in a window that is over counts no more,
    /// except beside the next one in a sliding window.
    pub(super) fn counts_still(&self, meter: &Meter, now: Timestamp) -> bool {
        let outlives_its_window = meter.algorithm() == Algorithm::SlidingWindow;
        self.units > 0 && (outlives_its_window || self.present(now) < self.ends_at)
    }

    /// The present by the store's clock, or as much later as the call took to get there.
    fn present(&self, now: Timestamp) -> Timestamp {
        self.charged_at.saturating_add(now.since(self.sent))
    }
}

/// From when on units that were debited at `at` must not be spent: a lease does not outlive its window, and so adds
/// nothing to what an aligned window lets pass.
fn end_of(meter: &Meter, at: Timestamp) -> Timestamp {
    let window = meter.quota().window();
    match meter.algorithm() {
        Algorithm::FixedWindow | Algorithm::SlidingWindow => {
            let into = at.as_micros() % window.as_micros();
            Timestamp::from_micros(at.as_micros() - into).saturating_add(window)
        }
        Algorithm::SlidingWindowLog => at.saturating_add(window),
        Algorithm::TokenBucket | Algorithm::LeakyBucket | Algorithm::Concurrency => Timestamp::MAX,
    }
}
