//! Token and leaky bucket: the generic cell rate algorithm in its virtual scheduling form
//! (ITU-T I.371 annex A, ATM Forum TM 4.0), with costs, a burst and a queue.
//!
//! With rate L/W, T = W/L and a theoretical arrival time TAT, a cost c conforms iff
//! `max(TAT, now) + c·T − now ≤ B·T`, and then `TAT ← max(TAT, now) + c·T`.
//!
//! The rate stays rational. L/W is kept in lowest terms, and TAT as whole microseconds plus a numerator over L, so
//! nothing is ever rounded: after any time the admitted count is the exact one. Debts are compared in units of
//! 1/L µs, where one token is W and one microsecond is L.
//!
//! A queue only widens the tolerance: a request that would conform within `max_wait`, and with at most `max_depth`
//! units ahead of the burst, is admitted with a wait. Its place is charged when it comes, so the order of waiting
//! is the order of arrival on every node.

use super::{Ask, CLOCK_TOLERANCE, Charge, Queue, Quota, Span, Timestamp, Verdict};
use crate::time::Micros;

/// Theoretical arrival time: when the bucket would be full again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tat {
    /// Whole microseconds since the Unix epoch.
    pub micros: u64,
    /// What is left of a microsecond, over the quota's L in lowest terms; below it.
    pub fraction: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gcra {
    /// L in lowest terms: the parts of a microsecond.
    limit: u64,
    /// W in lowest terms: what one token weighs.
    window: u64,
    burst: u64,
    /// The most units a state can hold, where an earlier version of the rule allowed more than this one.
    inherited: u64,
    /// B·W.
    capacity: u128,
    /// How much later than conforming a request may be: min(max_wait · L, max_depth · W).
    queue: u128,
    /// The step of one token, the commonest cost.
    one: Span,
}

impl Gcra {
    pub(super) fn new(quota: &Quota, queue: Option<Queue>) -> Self {
        let (limit, window) = quota.rate();
        let queue = queue.map_or(0, |queue| {
            let by_time = u128::from(queue.max_wait.as_micros()) * u128::from(limit);
            let by_depth = u128::from(queue.max_depth) * u128::from(window);
            by_time.min(by_depth)
        });
        Self {
            limit,
            window,
            burst: quota.burst(),
            inherited: 0,
            capacity: u128::from(quota.burst()) * u128::from(window),
            queue,
            one: Span { micros: window / limit, fraction: window % limit },
        }
    }

    pub(super) fn rate(&self) -> (u64, u64) {
        (self.limit, self.window)
    }

    /// B·W.
    pub(super) fn capacity(&self) -> u128 {
        self.capacity
    }

    /// How much later than conforming a request may be, in units of 1/L µs.
    pub(super) fn queue(&self) -> u128 {
        self.queue
    }

    /// The most units this quota alone can bring a state to: the burst, and what waits behind it.
    pub(super) fn own_ceiling(&self) -> u64 {
        let waiting = self.queue.div_ceil(u128::from(self.window));
        self.burst.saturating_add(u64::try_from(waiting).unwrap_or(u64::MAX))
    }

    pub(super) fn inherit_ceiling(&mut self, units: u64) {
        self.inherited = units;
    }

    pub(super) fn judge(&self, tat: &Tat, now: Timestamp, ask: &Ask) -> Verdict {
        if !self.can_ever_pass(ask) {
            return Verdict::NEVER;
        }
        let over = self.over(tat, now, ask);
        if over == 0 {
            Verdict::ALLOW
        } else if over <= self.queue {
            Verdict::Allow { wait: self.micros_ceil(over) }
        } else {
            Verdict::Deny { retry_after: Some(self.micros_ceil(over - self.queue)) }
        }
    }

    pub(super) fn charge(&self, tat: &mut Tat, now: Timestamp, ask: &Ask) {
        let base = (*tat).max(Tat { micros: now.as_micros(), fraction: 0 });
        *tat = self.later(base, self.step(ask.cost));
    }

    pub(super) fn refund(&self, tat: &mut Tat, now: Timestamp, cost: u64) {
        // Those who wait were told their instants: a place before them must not be given out again behind them.
        let somebody_waits = self.queue > 0 && self.debt(tat, now) > self.capacity;
        if !somebody_waits {
            self.take_back(tat, now, cost);
        }
    }

    /// Charges without asking, up to the fullest state.
    pub(super) fn debit(&self, tat: &mut Tat, now: Timestamp, cost: u64, _ceiling: u64) {
        let base = (*tat).max(Tat { micros: now.as_micros(), fraction: 0 });
        // A state that is fuller already is a clock's or an earlier rule's doing, and stays.
        *tat = self.later(base, self.step(cost)).min(self.fullest(now).max(base));
    }

    /// Undoes a charge. A place in the queue is given back while nobody stands behind it: while TAT is still what
    /// the charge made it.
    pub(super) fn withdraw(&self, tat: &mut Tat, now: Timestamp, charge: &Charge) {
        match charge.place {
            Some(place) if place == *tat => self.take_back(tat, now, charge.cost),
            Some(_) => {}
            None => self.refund(tat, now, charge.cost),
        }
    }

    fn take_back(&self, tat: &mut Tat, now: Timestamp, cost: u64) {
        if tat.micros < now.as_micros() {
            // At rest: nothing to give back, and a later time here would only hurt if the clock stepped back.
            return;
        }
        let step = self.step(cost);
        let micros = tat.micros.saturating_sub(step.micros);
        *tat = if tat.fraction >= step.fraction {
            Tat { micros, fraction: tat.fraction - step.fraction }
        } else if micros == 0 {
            Tat::default()
        } else {
            Tat { micros: micros - 1, fraction: tat.fraction + (self.limit - step.fraction) }
        };
        if tat.micros < now.as_micros() {
            *tat = Tat { micros: now.as_micros(), fraction: 0 };
        }
    }

    /// Units used (rounded up) and units left (rounded down).
    pub(super) fn level(&self, tat: &Tat, now: Timestamp, reserved: u64) -> (u64, u64) {
        let debt = self.debt(tat, now);
        if debt == 0 {
            return (0, self.burst.saturating_sub(reserved));
        }
        let free =
            self.capacity.saturating_sub(u128::from(reserved) * u128::from(self.window)).saturating_sub(debt);
        (divide(debt + u128::from(self.window - 1), self.window), divide(free, self.window))
    }

    pub(super) fn retry_after(&self, tat: &Tat, now: Timestamp, ask: &Ask) -> Option<Micros> {
        self.can_ever_pass(ask).then(|| self.micros_ceil(self.over(tat, now, ask)))
    }

    pub(super) fn rest_at(&self, tat: &Tat) -> Timestamp {
        Timestamp::from_micros(tat.micros.saturating_add(u64::from(tat.fraction > 0)))
    }

    pub(super) fn repair(&self, tat: &mut Tat, now: Timestamp) -> bool {
        if tat.fraction >= self.limit {
            // Written at another rate, by rules nobody remembers: less than a microsecond there, so at most one here.
            *tat = Tat { micros: tat.micros.saturating_add(1), fraction: 0 };
            self.repair(tat, now);
            return true;
        }
        let tolerance = u128::from(CLOCK_TOLERANCE.as_micros()) * u128::from(self.limit);
        let wrong = self.debt(tat, now) > self.most() + tolerance;
        if wrong {
            *tat = self.fullest(now);
        }
        wrong
    }

    pub(super) fn fullest(&self, at: Timestamp) -> Tat {
        self.after(at, self.most())
    }

    /// What `old` holds at `at`, in this meter's terms: used = debt / W tokens, rounded up to 1/L µs.
    pub(super) fn carry(&self, old: &Gcra, tat: Tat, at: Timestamp) -> Tat {
        let debt = old.debt(&tat, at);
        let (old_window, window) = (u128::from(old.window), u128::from(self.window));
        // Whole tokens apart from the rest of one, so that the products stay exact.
        let (tokens, rest) = (debt / old_window, debt % old_window);
        self.after(at, tokens.saturating_mul(window).saturating_add((rest * window).div_ceil(old_window)))
    }

    pub(super) fn with_used(&self, used: u64, at: Timestamp) -> Tat {
        self.after(at, u128::from(used) * u128::from(self.window))
    }

    // --- arithmetic in units of 1/L µs ---

    /// The largest debt a working clock can lead to.
    pub(super) fn most(&self) -> u128 {
        (self.capacity + self.queue).max(u128::from(self.inherited) * u128::from(self.window))
    }

    pub(super) fn can_ever_pass(&self, ask: &Ask) -> bool {
        self.burst.checked_sub(ask.reserved).is_some_and(|free| ask.cost <= free)
    }

    /// max(TAT − now, 0).
    fn debt(&self, tat: &Tat, now: Timestamp) -> u128 {
        match tat.micros.checked_sub(now.as_micros()) {
            Some(micros) => u128::from(micros) * u128::from(self.limit) + u128::from(tat.fraction),
            None => 0,
        }
    }

    /// How far debt and cost together exceed what the bucket holds for this requester; zero when they fit.
    fn over(&self, tat: &Tat, now: Timestamp, ask: &Ask) -> u128 {
        let wanted = (u128::from(ask.cost) + u128::from(ask.reserved)) * u128::from(self.window);
        (self.debt(tat, now) + wanted).saturating_sub(self.capacity)
    }

    fn step(&self, cost: u64) -> Span {
        if cost == 1 {
            return self.one;
        }
        self.span(u128::from(cost) * u128::from(self.window))
    }

    /// A span of so many 1/L µs.
    pub(super) fn span(&self, parts: u128) -> Span {
        let limit = u128::from(self.limit);
        match u64::try_from(parts) {
            Ok(parts) => Span { micros: parts / self.limit, fraction: parts % self.limit },
            Err(_) => Span {
                micros: u64::try_from(parts / limit).unwrap_or(u64::MAX),
                // Below `limit`, so it fits.
                fraction: u64::try_from(parts % limit).unwrap_or(0),
            },
        }
    }

    fn later(&self, base: Tat, step: Span) -> Tat {
        let fraction = base.fraction + step.fraction;
        let carry = u64::from(fraction >= self.limit);
        Tat {
            // Twice the longest fill beyond the last timestamp still fits a store's 56 bits.
            micros: base.micros.saturating_add(step.micros).saturating_add(carry).min(TAT_MAX_MICROS),
            fraction: fraction - carry * self.limit,
        }
    }

    fn after(&self, at: Timestamp, parts: u128) -> Tat {
        self.later(Tat { micros: at.as_micros(), fraction: 0 }, self.span(parts))
    }

    fn micros_ceil(&self, parts: u128) -> Micros {
        Micros::from_micros(match u64::try_from(parts) {
            Ok(parts) => parts.div_ceil(self.limit),
            Err(_) => u64::try_from(parts.div_ceil(u128::from(self.limit))).unwrap_or(u64::MAX),
        })
    }
}

/// The latest theoretical arrival time that is kept: 56 bits of microseconds.
const TAT_MAX_MICROS: u64 = (1 << 56) - 1;

/// Division that takes the 64-bit instruction when it can, which is several times faster.
fn divide(parts: u128, by: u64) -> u64 {
    match u64::try_from(parts) {
        Ok(parts) => parts / by,
        Err(_) => u64::try_from(parts / u128::from(by)).unwrap_or(u64::MAX),
    }
}
