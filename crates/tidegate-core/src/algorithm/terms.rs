//! A question in plain numbers, for a store that decides elsewhere: in a script that has neither 128 bits nor
//! division it can trust. Everything that needs them is computed here, beforehand; what is left are additions and
//! comparisons of integers below 2^53.

use super::gcra::Gcra;
use super::{Ask, Kind, Meter};
use crate::quota::Algorithm;

/// A span of whole microseconds and a fraction over the quota's L.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Whole microseconds.
    pub micros: u64,
    /// What is left of one, over L in lowest terms; below it.
    pub fraction: u64,
}

/// What a store elsewhere must know to decide one [`Ask`] like the [`Meter`] would.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Terms {
    /// `token_bucket`, `leaky_bucket`: with debt = max(TAT − now, 0), allowed iff debt ≤ `tolerance`; then
    /// TAT ← max(TAT, now) + `step`.
    Tat {
        /// L in lowest terms: how many fractions make a microsecond.
        parts: u64,
        /// What the cost adds.
        step: Span,
        /// The largest debt at which the cost passes; `None` where it never can.
        tolerance: Option<Span>,
        /// The debt beyond which somebody waits in a queue, so that nothing is given back; `None` without a queue.
        waiting: Option<Span>,
        /// The largest debt without a clock error.
        fullest: Span,
    },
    /// `fixed_window`, `sliding_window`, `sliding_window_log`: allowed iff what counts is at most `room`.
    Window {
        /// The window, µs.
        window: u64,
        /// Units to take.
        cost: u64,
        /// Limit − reserved − cost; `None` where that is negative.
        room: Option<u64>,
        /// Limit − reserved, at least 0.
        free: u64,
        /// The most units without a clock error.
        ceiling: u64,
    },
    /// `concurrency`: allowed iff the live permits take at most `room` places.
    Permits {
        /// The life of a permit, µs.
        life: u64,
        /// The longest life a permit here may have been given, µs.
        longest_life: u64,
        /// Places to take.
        cost: u64,
        /// Limit − reserved − cost; `None` where that is negative.
        room: Option<u64>,
        /// Limit − reserved, at least 0.
        free: u64,
    },
}

impl Meter {
    /// This question in plain numbers.
    #[must_use]
    pub fn terms(&self, ask: &Ask) -> Terms {
        let limit = self.quota.limit();
        let room = limit.checked_sub(ask.reserved).and_then(|free| free.checked_sub(ask.cost));
        // A limit of nothing lets nothing pass, not even a cost of nothing.
        let room = room.filter(|_| limit > 0);
        let free = limit.saturating_sub(ask.reserved);
        match &self.kind {
            Kind::Gcra(gcra) => gcra.terms(ask, limit > 0),
            Kind::Concurrency(concurrency) => Terms::Permits {
                life: self.quota.window().as_micros(),
                longest_life: concurrency.longest_life().as_micros(),
                cost: ask.cost,
                room,
                free,
            },
            Kind::FixedWindow(_) | Kind::SlidingWindow(_) | Kind::SlidingWindowLog(_) => Terms::Window {
                window: self.quota.window().as_micros(),
                cost: ask.cost,
                room,
                free,
                ceiling: self.ceiling.min(self.algorithm.max_limit()),
            },
        }
    }

    /// The algorithm whose states this meter reads: leaky buckets read those of token buckets.
    #[must_use]
    pub const fn state_algorithm(&self) -> Algorithm {
        match self.algorithm {
            Algorithm::LeakyBucket => Algorithm::TokenBucket,
            other => other,
        }
    }
}

impl Gcra {
    fn terms(&self, ask: &Ask, passes_at_all: bool) -> Terms {
        let wanted = (u128::from(ask.cost) + u128::from(ask.reserved)) * u128::from(self.rate().1);
        let passes = passes_at_all && self.can_ever_pass(ask);
        let tolerance = (self.capacity() + self.queue()).checked_sub(wanted).filter(|_| passes);
        Terms::Tat {
            parts: self.rate().0,
            step: self.span(u128::from(ask.cost) * u128::from(self.rate().1)),
            tolerance: tolerance.map(|parts| self.span(parts)),
            waiting: (self.queue() > 0).then(|| self.span(self.capacity())),
            fullest: self.span(self.most()),
        }
    }
}
