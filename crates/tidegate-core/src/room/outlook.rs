//! What is told to who waits, from the little that has to be known of the room: so that whoever has a copy of that can answer a poll
//! as the room would.

use super::answer::EstimatedWait;
use super::estimate::{self, Pace};
use super::line;
use super::number::QueueNumber;
use super::poll;
use super::settings::{Method, OpeningOrder, Settings};
use crate::time::{Micros, Timestamp};

/// What is known of a room at one instant by who tells others about it.
#[derive(Clone, Copy, Debug)]
pub struct Outlook<'a> {
    /// The settings in force.
    pub settings: &'a Settings,
    /// Whether the opening is over.
    pub is_open: bool,
    /// The pace of the line; `None` while nobody was ever called.
    pub pace: Option<Pace>,
    /// Live tickets in the line.
    pub waiting: u64,
}

impl Outlook<'_> {
    /// Whether it is known in which order those who wait now will be called: not before a shuffled opening, and never in a
    /// random order.
    #[must_use]
    pub fn is_in_order(&self) -> bool {
        let spec = self.settings.spec();
        let awaits_draw =
            !self.is_open && spec.opening.is_some_and(|opening| opening.order == OpeningOrder::Shuffled);
        spec.method != Method::Random && !awaits_draw
    }

    /// How long a ticket with `ahead` others ahead is likely to wait.
    #[must_use]
    pub fn estimated_wait(&self, now: Timestamp, ahead: u64) -> Option<EstimatedWait> {
        let pace = self.pace.as_ref()?;
        Some(if self.is_in_order() {
            estimate::in_order(now, ahead, pace)
        } else {
            estimate::drawn(now, self.waiting, pace)
        })
    }

    /// After what time a ticket with `ahead` others ahead is to poll. Before the opening, its turn is counted from there.
    #[must_use]
    pub fn interval(&self, now: Timestamp, number: QueueNumber, ahead: u64) -> Micros {
        let spec = self.settings.spec();
        let opening =
            spec.opening.filter(|_| !self.is_open).map_or(Micros::ZERO, |opening| opening.at.since(now));
        let quickest = self.settings.quickest_release();
        let pace = self.pace.map_or(quickest, |pace| pace.each);
        let (wait, soonest) = if spec.method == Method::Passthrough {
            (Micros::ZERO, Micros::ZERO)
        } else if !self.is_in_order() {
            // Anybody may be the first.
            (estimate::wait(self.waiting, pace), Micros::ZERO)
        } else if self.is_open && ahead < poll::HEAD_TICKETS {
            return poll::HEAD_INTERVAL;
        } else {
            let beyond_burst = (ahead + 1).saturating_sub(spec.release.burst());
            (estimate::wait(ahead, pace), estimate::wait(beyond_burst, quickest))
        };
        let (wait, soonest) = (opening.saturating_add(wait), opening.saturating_add(soonest));
        poll::interval(wait, soonest, spec.claim.window, poll::jitter(number))
    }

    /// When the lease of a ticket ends that polls at `now`: whole seconds since the Unix epoch.
    #[must_use]
    pub fn lease(&self, now: Timestamp, number: QueueNumber, ahead: u64) -> u32 {
        let lease = poll::lease(self.interval(now, number, ahead), self.settings.spec().min_lease);
        line::lease_ending(now.saturating_add(lease))
    }

    /// Whether a poll at `now` renews a lease that ends at `lease`: whether the time that the ticket was told to poll after has
    /// passed since it last did, to the second.
    #[must_use]
    pub fn is_due(&self, now: Timestamp, number: QueueNumber, ahead: u64, lease: u32) -> bool {
        let interval = self.interval(now, number, ahead);
        let full = poll::lease(interval, self.settings.spec().min_lease);
        line::lease_ending(now.saturating_add(full.saturating_sub(interval))) >= lease
    }
}
