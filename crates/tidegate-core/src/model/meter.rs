//! The algorithms of the model: one quota, and what it says about a state.

use std::collections::BTreeMap;

use super::search::{earliest, largest};
use super::state::{
    ModelPermit, ModelState, refund_log, repair_log, repair_permits, repair_windows, units_before, units_of,
    window_number,
};
use crate::algorithm::CLOCK_TOLERANCE;
use crate::decision::{Gauge, Verdict};
use crate::quota::{Algorithm, Quota};
use crate::rule::model::Queue;
use crate::time::{Micros, Timestamp};

/// One quota of a rule, as the model reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelMeter {
    algorithm: Algorithm,
    limit: u64,
    window: u64,
    burst: u64,
    /// L in lowest terms: how many parts a microsecond has.
    parts: i128,
    /// W in lowest terms: how many such parts a token takes, T = token / parts µs.
    token: i128,
    queue: Option<Queue>,
    /// The most units a state may hold because an earlier or another quota of the rule allowed them.
    pub(super) ceiling: u64,
    /// The longest life any permit of the bucket may have been given, in µs.
    pub(super) longest_life: u64,
}

impl ModelMeter {
    /// The meter of a quota.
    #[must_use]
    pub fn new(algorithm: Algorithm, quota: &Quota, queue: Option<Queue>) -> Self {
        let (limit, window) = (quota.limit(), quota.window().as_micros());
        // A limit of 0 lets nothing pass; what is left of earlier rules fades by one unit a window.
        let numerator = limit.max(1);
        let divisor = greatest_divisor(numerator, window);
        let mut meter = Self {
            algorithm,
            limit,
            window,
            burst: quota.burst(),
            parts: i128::from(numerator / divisor),
            token: i128::from(window / divisor),
            queue: queue.filter(|_| algorithm.has_burst()),
            ceiling: 0,
            longest_life: window,
        };
        meter.ceiling = meter.own_ceiling();
        meter
    }

    /// The state of a bucket nobody has used.
    #[must_use]
    pub fn fresh(&self) -> ModelState {
        match self.algorithm {
            Algorithm::TokenBucket | Algorithm::LeakyBucket => ModelState::Tat(0),
            Algorithm::FixedWindow | Algorithm::SlidingWindow => ModelState::Windows(BTreeMap::new()),
            Algorithm::SlidingWindowLog => ModelState::Log(Vec::new()),
            Algorithm::Concurrency => ModelState::Permits(Vec::new()),
        }
    }

    /// Whether `cost` may pass.
    #[must_use]
    pub fn judge(&self, state: &ModelState, now: Timestamp, cost: u64, reserved: u64) -> Verdict {
        let now = now.as_micros();
        if self.limit == 0 || u128::from(cost) + u128::from(reserved) > u128::from(self.burst) {
            return Verdict::NEVER;
        }
        if self.conforms(state, now, cost, reserved) {
            return Verdict::ALLOW;
        }
        let waits = |at| self.conforms(state, at, cost, reserved) || self.may_wait(state, at, cost, reserved);
        if waits(now) {
            return Verdict::Allow { wait: earliest(now, |at| self.conforms(state, at, cost, reserved)) };
        }
        Verdict::Deny { retry_after: Some(earliest(now, waits)) }
    }

    /// Takes `cost`, which may pass.
    pub fn charge(&self, state: &mut ModelState, now: Timestamp, cost: u64, permit: u64) {
        let now = now.as_micros();
        self.forget_what_is_over(state, now);
        match state {
            ModelState::Tat(tat) => *tat = (*tat).max(self.instant(now)) + self.tokens(cost),
            ModelState::Windows(windows) => {
                *windows.entry(window_number(windows, now, self.window)).or_insert(0) += cost;
            }
            ModelState::Log(log) if cost > 0 => {
                let newest = log.last().map_or(0, |(at, _)| *at);
                log.push((now.max(newest), cost));
            }
            ModelState::Permits(permits) if cost > 0 => {
                permits.push(ModelPermit { id: permit, expires_at: now + self.window, units: cost });
            }
            ModelState::Log(_) | ModelState::Permits(_) => {}
        }
    }

    /// Takes `cost` units of a token bucket whether or not they are there, but no more than it holds.
    pub fn debit(&self, state: &mut ModelState, now: Timestamp, cost: u64) {
        let now = self.instant(now.as_micros());
        if let ModelState::Tat(tat) = state {
            let base = (*tat).max(now);
            let full = now + self.tokens(self.ceiling);
            *tat = (base + self.tokens(cost)).min(full.max(base));
        }
    }

    /// Gives `cost` units back, at most what is used. Permits stay as they are.
    pub fn refund(&self, state: &mut ModelState, now: Timestamp, cost: u64) {
        let now = now.as_micros();
        self.forget_what_is_over(state, now);
        match state {
            // Whoever waits was told an instant that counts on what was charged before.
            ModelState::Tat(tat)
                if self.queue_parts() > 0 && *tat - self.instant(now) > self.tokens(self.burst) => {}
            // Not before now, but never later than it was.
            ModelState::Tat(tat) => *tat = (*tat - self.tokens(cost)).max((*tat).min(self.instant(now))),
            ModelState::Windows(windows) => {
                let number = window_number(windows, now, self.window);
                let present = windows.entry(number).or_insert(0);
                let taken = cost.min(*present);
                *present -= taken;
                let before = number.checked_sub(1).and_then(|number| windows.get_mut(&number));
                if let Some(before) = before {
                    *before = before.saturating_sub(cost - taken);
                }
            }
            ModelState::Log(log) => refund_log(log, cost),
            ModelState::Permits(_) => {}
        }
    }

    /// What the bucket holds.
    #[must_use]
    pub fn gauge(&self, state: &ModelState, now: Timestamp, reserved: u64) -> Gauge {
        let at = now.as_micros();
        let used = self.used(state, at);
        let rest = earliest(at, |at| self.used(state, at) == 0);
        let reset_after = rest.min(Timestamp::MAX.since(now));
        let within_reach = if self.limit == 0 { 0 } else { self.burst.saturating_sub(reserved) };
        let fits = |cost| self.conforms(state, at, cost, reserved);
        let remaining = largest(within_reach, fits);
        let replenish_after = (remaining < within_reach)
            .then(|| earliest(at, |at| self.conforms(state, at, remaining + 1, reserved)));
        Gauge { used, remaining, reset_after, replenish_after }
    }

    /// Pulls back a state that only a wrong clock can have written. True when it was changed.
    pub fn repair(&self, state: &mut ModelState, now: Timestamp) -> bool {
        let at = now.as_micros();
        match state {
            ModelState::Tat(tat) => {
                let most = self.instant(at) + self.most();
                let wrong = *tat > most + self.instant(CLOCK_TOLERANCE.as_micros());
                if wrong {
                    *tat = most;
                }
                wrong
            }
            ModelState::Windows(windows) => repair_windows(windows, at, self.window),
            ModelState::Log(log) => repair_log(log, at),
            ModelState::Permits(permits) => repair_permits(permits, at, self.longest_life),
        }
    }

    /// What a state of `from` becomes when this meter takes its place at `now`: what was used stays used.
    #[must_use]
    pub fn convert(&self, from: &ModelMeter, state: &ModelState, now: Timestamp) -> ModelState {
        let at = now.as_micros();
        match (state, self.fresh()) {
            (ModelState::Permits(_), ModelState::Permits(_)) => state.clone(),
            (ModelState::Permits(_), _) | (_, ModelState::Permits(_)) => self.fresh(),
            (ModelState::Tat(tat), ModelState::Tat(_)) => {
                if (self.parts, self.token) == (from.parts, from.token) {
                    return state.clone();
                }
                let debt = (tat - from.instant(at)).max(0);
                let (whole, rest) = (debt / from.token, debt % from.token);
                // used · T', where used = whole + rest / token, rounded up to a part of a microsecond.
                let fading = whole * self.token + (rest * self.token + from.token - 1) / from.token;
                ModelState::Tat(self.instant(at) + fading)
            }
            _ if self.algorithm == from.algorithm && self.window == from.window => state.clone(),
            _ => self.with_used(from.used(state, at).min(self.algorithm.max_limit()), at),
        }
    }

    /// When a bucket that holds as much as it ever can at `now` is at rest.
    pub(super) fn fullest_rests_at(&self, now: Timestamp) -> Timestamp {
        let at = now.as_micros();
        let fullest = match self.fresh() {
            ModelState::Tat(_) => ModelState::Tat(self.instant(at) + self.most()),
            ModelState::Permits(_) => return now.saturating_add(Micros::from_micros(self.longest_life)),
            _ => self.with_used(self.ceiling, at),
        };
        now.saturating_add(earliest(at, |at| self.used(&fullest, at) == 0))
    }

    /// The life this quota alone gives to a permit.
    pub(super) fn own_life(&self) -> u64 {
        self.window
    }

    /// The most units this quota alone can bring a state to: the burst and what may wait behind it.
    pub(super) fn own_ceiling(&self) -> u64 {
        let waiting = (self.queue_parts() + self.token - 1) / self.token;
        self.burst.saturating_add(u64::try_from(waiting).unwrap_or(u64::MAX))
    }
}

// === the definitions ===

impl ModelMeter {
    /// Whether `cost` fits at `at`, leaving `reserved` units.
    fn conforms(&self, state: &ModelState, at: u64, cost: u64, reserved: u64) -> bool {
        let wanted = u128::from(cost) + u128::from(reserved);
        let (limit, window) = (u128::from(self.limit), u128::from(self.window));
        match state {
            ModelState::Tat(tat) => self.lateness(*tat, at, cost, reserved) <= 0,
            ModelState::Windows(windows) if self.algorithm == Algorithm::FixedWindow => {
                let number = window_number(windows, at, self.window);
                u128::from(units_of(windows, number)) + wanted <= limit
            }
            ModelState::Windows(windows) => {
                let number = window_number(windows, at, self.window);
                let present = u128::from(units_of(windows, number));
                self.weighted_before(windows, at) + (present + wanted) * window <= limit * window
            }
            ModelState::Log(_) | ModelState::Permits(_) => u128::from(self.used(state, at)) + wanted <= limit,
        }
    }

    /// ITU-T I.371: max(TAT, now) + c·T − now − B·T, in parts of a microsecond. Conforming is 0 or less.
    fn lateness(&self, tat: i128, at: u64, cost: u64, reserved: u64) -> i128 {
        let now = self.instant(at);
        tat.max(now) + self.tokens(cost) + self.tokens(reserved) - now - self.tokens(self.burst)
    }

    /// Whether `cost` would conform soon enough, and near enough to the head, to wait for it.
    fn may_wait(&self, state: &ModelState, at: u64, cost: u64, reserved: u64) -> bool {
        match state {
            ModelState::Tat(tat) => self.lateness(*tat, at, cost, reserved) <= self.queue_parts(),
            _ => false,
        }
    }

    /// Units taken, rounded up.
    fn used(&self, state: &ModelState, at: u64) -> u64 {
        let used = match state {
            ModelState::Tat(tat) => {
                let debt = (tat - self.instant(at)).max(0);
                ((debt + self.token - 1) / self.token).unsigned_abs()
            }
            ModelState::Windows(windows) => {
                let number = window_number(windows, at, self.window);
                let before = self.weighted_before(windows, at).div_ceil(u128::from(self.window));
                u128::from(units_of(windows, number)) + before
            }
            ModelState::Log(log) => log
                .iter()
                .filter(|(time, _)| time + self.window > at)
                .map(|(_, units)| u128::from(*units))
                .sum(),
            ModelState::Permits(permits) => permits
                .iter()
                .filter(|permit| permit.expires_at > at)
                .map(|permit| u128::from(permit.units))
                .sum(),
        };
        u64::try_from(used).unwrap_or(u64::MAX)
    }

    /// What the window before still counts, times W: its units · (W − time since the present window began).
    fn weighted_before(&self, windows: &BTreeMap<u64, u64>, at: u64) -> u128 {
        if self.algorithm == Algorithm::FixedWindow {
            return 0;
        }
        let number = window_number(windows, at, self.window);
        let elapsed = at.saturating_sub(number * self.window);
        u128::from(units_before(windows, number)) * u128::from(self.window - elapsed)
    }

    /// A charge or refund forgets what no longer counts at its time.
    fn forget_what_is_over(&self, state: &mut ModelState, now: u64) {
        match state {
            ModelState::Log(log) => log.retain(|(at, _)| at + self.window > now),
            ModelState::Permits(permits) => permits.retain(|permit| permit.expires_at > now),
            ModelState::Windows(windows) => {
                let number = window_number(windows, now, self.window);
                windows.retain(|key, _| key + 1 >= number);
            }
            ModelState::Tat(_) => {}
        }
    }

    fn with_used(&self, used: u64, at: u64) -> ModelState {
        match self.fresh() {
            fresh if used == 0 => fresh,
            ModelState::Tat(_) => ModelState::Tat(self.instant(at) + self.tokens(used)),
            ModelState::Windows(_) => ModelState::Windows(BTreeMap::from([(at / self.window, used)])),
            ModelState::Log(_) => ModelState::Log(vec![(at, used)]),
            fresh @ ModelState::Permits(_) => fresh,
        }
    }

    /// A time in parts of a microsecond.
    fn instant(&self, at: u64) -> i128 {
        i128::from(at) * self.parts
    }

    /// c·T in parts of a microsecond.
    fn tokens(&self, cost: u64) -> i128 {
        i128::from(cost) * self.token
    }

    /// How much later than conforming a request may be.
    fn queue_parts(&self) -> i128 {
        self.queue
            .map_or(0, |queue| self.instant(queue.max_wait.as_micros()).min(self.tokens(queue.max_depth)))
    }

    /// The largest debt a working clock can lead to.
    fn most(&self) -> i128 {
        (self.tokens(self.burst) + self.queue_parts()).max(self.tokens(self.ceiling))
    }
}

/// Euclid.
fn greatest_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_divisor(b, a % b) }
}
