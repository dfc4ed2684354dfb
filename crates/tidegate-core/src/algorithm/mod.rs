//! The algorithms: one file each, a state apart from the quota, and one [`Meter`] in front of them all.
//!
//! Every algorithm answers the same questions about a [`State`] and a `now` that the caller brings: may this cost
//! pass ([`Meter::judge`], which changes nothing), take it ([`Meter::charge`]), give it back ([`Meter::refund`]),
//! what is left ([`Meter::gauge`]). Deciding over several buckets is: judge all, and only then charge all.
//!
//! Clocks. A `now` earlier than the state's own time is taken for the state's own time, so nothing is refilled
//! twice. A state that is further in the future than its rule could ever have put it, and more than
//! [`CLOCK_TOLERANCE`] beyond that, was written under a clock that was wrong: [`Meter::repair`] pulls it back to
//! the fullest state possible now, so that a bad clock does not lock a key out for hours.

mod concurrency;
mod fixed_window;
mod gcra;
mod sliding_window;
mod sliding_window_log;
mod terms;

pub use concurrency::{Permit, Permits};
pub use fixed_window::Count;
pub use gcra::Tat;
pub use sliding_window::CountPair;
pub use sliding_window_log::{Admission, AdmissionLog};
pub use terms::{Span, Terms};

use concurrency::Concurrency;
use fixed_window::FixedWindow;
use gcra::Gcra;
use sliding_window::SlidingWindow;
use sliding_window_log::SlidingWindowLog;

use crate::decision::{Gauge, Verdict};
use crate::quota::{Algorithm, Quota};
use crate::rule::model::Queue;
use crate::time::{Micros, Timestamp};

/// How far a state may lie beyond what its rule allows before it counts as written by a wrong clock. Larger than
/// any difference between the clocks of threads and nodes that work, smaller than a lock-out anyone would notice.
pub const CLOCK_TOLERANCE: Micros = Micros::from_secs(10);

/// What one request asks of one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Units to take.
    pub cost: u64,
    /// Units of the bucket that this request must leave to requests of a higher priority.
    pub reserved: u64,
    /// Names the permit that a concurrency bucket would hand out; unused elsewhere.
    pub permit: u64,
}

impl Ask {
    /// `cost` units, with nothing reserved.
    #[must_use]
    pub const fn cost(cost: u64) -> Self {
        Self { cost, reserved: 0, permit: 0 }
    }
}

/// A charge that was made, by what it takes to undo it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// When it was made, by the clock that decided.
    pub at: Timestamp,
    /// Units taken.
    pub cost: u64,
    /// The permit that was handed out.
    pub permit: u64,
    /// The place taken in a queue: TAT as the charge left it.
    pub place: Option<Tat>,
}

/// What is stored for one bucket. Which variant it is follows from the rule's algorithm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// `token_bucket`, `leaky_bucket`.
    Tat(Tat),
    /// `fixed_window`.
    Count(Count),
    /// `sliding_window`.
    CountPair(CountPair),
    /// `sliding_window_log`.
    Log(AdmissionLog),
    /// `concurrency`.
    Permits(Permits),
}

/// A quota made ready for deciding: everything that can be computed beforehand is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meter {
    algorithm: Algorithm,
    quota: Quota,
    /// The most units a state can hold without a clock error.
    ceiling: u64,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Gcra(Gcra),
    FixedWindow(FixedWindow),
    SlidingWindow(SlidingWindow),
    SlidingWindowLog(SlidingWindowLog),
    Concurrency(Concurrency),
}

/// Runs one method of the algorithm on the state, or on a fresh state where the stored one is of another kind (only
/// a foreign or damaged store can hold that).
macro_rules! with_state {
    ($meter:expr, $state:expr, |$algorithm:ident, $inner:ident| $body:expr) => {
        match (&$meter.kind, $state) {
            (Kind::Gcra($algorithm), State::Tat($inner)) => $body,
            (Kind::FixedWindow($algorithm), State::Count($inner)) => $body,
            (Kind::SlidingWindow($algorithm), State::CountPair($inner)) => $body,
            (Kind::SlidingWindowLog($algorithm), State::Log($inner)) => $body,
            (Kind::Concurrency($algorithm), State::Permits($inner)) => $body,
            (Kind::Gcra($algorithm), _) => {
                let $inner = &mut Tat::default();
                $body
            }
            (Kind::FixedWindow($algorithm), _) => {
                let $inner = &mut Count::default();
                $body
            }
            (Kind::SlidingWindow($algorithm), _) => {
                let $inner = &mut CountPair::default();
                $body
            }
            (Kind::SlidingWindowLog($algorithm), _) => {
                let $inner = &mut AdmissionLog::default();
                $body
            }
            (Kind::Concurrency($algorithm), _) => {
                let $inner = &mut Permits::default();
                $body
            }
        }
    };
}

impl Meter {
    /// The meter of a quota. A queue is used by `token_bucket` and `leaky_bucket` only.
    #[must_use]
    pub fn new(algorithm: Algorithm, quota: Quota, queue: Option<Queue>) -> Self {
        let kind = match algorithm {
            Algorithm::TokenBucket | Algorithm::LeakyBucket => Kind::Gcra(Gcra::new(&quota, queue)),
            Algorithm::FixedWindow => Kind::FixedWindow(FixedWindow::new(&quota)),
            Algorithm::SlidingWindow => Kind::SlidingWindow(SlidingWindow::new(&quota)),
            Algorithm::SlidingWindowLog => Kind::SlidingWindowLog(SlidingWindowLog::new(&quota)),
            Algorithm::Concurrency => Kind::Concurrency(Concurrency::new(&quota)),
        };
        let mut meter = Self { algorithm, quota, ceiling: 0, kind };
        meter.ceiling = meter.own_ceiling();
        meter
    }

    /// The algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The quota.
    #[must_use]
    pub const fn quota(&self) -> &Quota {
        &self.quota
    }

    /// The state of a bucket that nobody has used.
    #[must_use]
    pub fn fresh(&self) -> State {
        match self.kind {
            Kind::Gcra(_) => State::Tat(Tat::default()),
            Kind::FixedWindow(_) => State::Count(Count::default()),
            Kind::SlidingWindow(_) => State::CountPair(CountPair::default()),
            Kind::SlidingWindowLog(_) => State::Log(AdmissionLog::default()),
            Kind::Concurrency(_) => State::Permits(Permits::default()),
        }
    }

    /// Whether `ask` conforms. Changes nothing.
    #[must_use]
    pub fn judge(&self, state: &State, now: Timestamp, ask: &Ask) -> Verdict {
        if self.quota.limit() == 0 {
            return Verdict::NEVER;
        }
        with_state!(self, state, |algorithm, inner| algorithm.judge(inner, now, ask))
    }

    /// Takes `ask`, which [`Meter::judge`] has allowed at the same `now`.
    pub fn charge(&self, state: &mut State, now: Timestamp, ask: &Ask) {
        self.replace_foreign(state);
        with_state!(self, state, |algorithm, inner| algorithm.charge(inner, now, ask));
    }

    /// Gives `cost` units back, at most what is used; none of a queue in which somebody waits. Permits are given back with [`Permits::release`] instead.
    pub fn refund(&self, state: &mut State, now: Timestamp, cost: u64) {
        self.replace_foreign(state);
        with_state!(self, state, |algorithm, inner| algorithm.refund(inner, now, cost));
    }

    /// Takes `cost` units whether or not they are there, but never more than the state can hold without a clock
    /// error: for what was let through elsewhere. Permits are not handed out.
    pub fn debit(&self, state: &mut State, now: Timestamp, cost: u64) {
        self.replace_foreign(state);
        let ceiling = self.ceiling.min(self.algorithm.max_limit());
        with_state!(self, state, |algorithm, inner| algorithm.debit(inner, now, cost, ceiling));
    }

    /// Undoes a charge whose request never ran, as if it had not been made, as far as the state still knows of it.
    pub fn withdraw(&self, state: &mut State, now: Timestamp, charge: &Charge) {
        self.replace_foreign(state);
        with_state!(self, state, |algorithm, inner| algorithm.withdraw(inner, now, charge));
    }

    /// What the bucket holds at `now`, for a requester who must leave `reserved` units.
    #[must_use]
    pub fn gauge(&self, state: &State, now: Timestamp, reserved: u64) -> Gauge {
        let (used, remaining) =
            with_state!(self, state, |algorithm, inner| algorithm.level(inner, now, reserved));
        let reset_after = self.rest_at(state).since(now);
        if self.quota.limit() == 0 {
            return Gauge { used, remaining: 0, reset_after, replenish_after: None };
        }
        let one_more = Ask { cost: remaining.saturating_add(1), reserved, permit: 0 };
        let replenish_after =
            with_state!(self, state, |algorithm, inner| algorithm.retry_after(inner, now, &one_more));
        Gauge { used, remaining, reset_after, replenish_after }
    }

    /// When the bucket is at rest: from then on it is the same as a fresh one and need not be kept.
    #[must_use]
    pub fn rest_at(&self, state: &State) -> Timestamp {
        with_state!(self, state, |algorithm, inner| algorithm.rest_at(inner))
    }

    /// Pulls back a state that only a wrong clock can have written. True when the state was changed.
    pub fn repair(&self, state: &mut State, now: Timestamp) -> bool {
        self.replace_foreign(state)
            || with_state!(self, state, |algorithm, inner| algorithm.repair(inner, now))
    }

    /// Puts a fresh state in the place of one of another kind, which would not keep what is charged to it.
    fn replace_foreign(&self, state: &mut State) -> bool {
        let is_own = matches!(
            (&self.kind, &*state),
            (Kind::Gcra(_), State::Tat(_))
                | (Kind::FixedWindow(_), State::Count(_))
                | (Kind::SlidingWindow(_), State::CountPair(_))
                | (Kind::SlidingWindowLog(_), State::Log(_))
                | (Kind::Concurrency(_), State::Permits(_))
        );
        if !is_own {
            *state = self.fresh();
        }
        !is_own
    }
}

// === impl change of rule ===

impl Meter {
    /// Whether a state of `other` means the same here, so that nothing has to be carried over. A limit or burst may
    /// differ: they are compared with the state, not stored in it.
    #[must_use]
    pub fn shares_state_with(&self, other: &Meter) -> bool {
        match (&self.kind, &other.kind) {
            (Kind::Gcra(a), Kind::Gcra(b)) => a.rate() == b.rate(),
            (Kind::FixedWindow(_), Kind::FixedWindow(_))
            | (Kind::SlidingWindow(_), Kind::SlidingWindow(_))
            | (Kind::SlidingWindowLog(_), Kind::SlidingWindowLog(_)) => {
                self.quota.window() == other.quota.window()
            }
            // A permit keeps the expiry it was given.
            (Kind::Concurrency(_), Kind::Concurrency(_)) => true,
            _ => false,
        }
    }

    /// A number from what [`Meter::shares_state_with`] compares, equal on every node and after every restart.
    #[must_use]
    pub fn shape(&self) -> u64 {
        let (kind, a, b) = match &self.kind {
            Kind::Gcra(gcra) => (1, gcra.rate().0, gcra.rate().1),
            Kind::FixedWindow(_) => (2, self.quota.window().as_micros(), 0),
            Kind::SlidingWindow(_) => (3, self.quota.window().as_micros(), 0),
            Kind::SlidingWindowLog(_) => (4, self.quota.window().as_micros(), 0),
            Kind::Concurrency(_) => (5, 0, 0),
        };
        crate::hash::fnv1a([kind, a, b].into_iter().flat_map(u64::to_le_bytes))
    }

    /// Carries a state of `from` over to this meter, the rule having changed at `at`: what was used stays used, to
    /// the fraction, and from then on fades at the new rate. There is no fresh burst, and nothing is forgotten to
    /// fit a smaller one. Permits and units are different things: between them nothing is carried.
    #[must_use]
    pub fn carry(&self, from: &Meter, state: &State, at: Timestamp) -> State {
        if self.shares_state_with(from) {
            return state.clone();
        }
        match (&self.kind, &from.kind, state) {
            (Kind::Concurrency(_), _, _) | (_, Kind::Concurrency(_), _) => self.fresh(),
            (Kind::Gcra(new), Kind::Gcra(old), State::Tat(tat)) => State::Tat(new.carry(old, *tat, at)),
            _ => {
                let (used, _) = with_state!(from, state, |algorithm, inner| algorithm.level(inner, at, 0));
                self.with_used(used.min(self.algorithm.max_limit()), at)
            }
        }
    }

    /// A state in which `used` units were taken at `at`.
    #[must_use]
    pub fn with_used(&self, used: u64, at: Timestamp) -> State {
        if used == 0 {
            return self.fresh();
        }
        match &self.kind {
            Kind::Gcra(gcra) => State::Tat(gcra.with_used(used, at)),
            Kind::FixedWindow(window) => State::Count(window.with_used(used, at)),
            Kind::SlidingWindow(window) => State::CountPair(window.with_used(used, at)),
            Kind::SlidingWindowLog(_) => State::Log(AdmissionLog::with_used(used, at)),
            Kind::Concurrency(_) => self.fresh(),
        }
    }

    /// The fullest state this meter can lead to at `at`: the last one of its kind to come to rest.
    #[must_use]
    pub fn fullest(&self, at: Timestamp) -> State {
        match &self.kind {
            Kind::Gcra(gcra) => State::Tat(gcra.fullest(at)),
            Kind::Concurrency(concurrency) => State::Permits(concurrency.fullest(at, self.ceiling)),
            _ => self.with_used(self.ceiling.min(self.algorithm.max_limit()), at),
        }
    }

    /// The same meter for a rule of which a state may hold up to `units`, more than its burst, because the rule had
    /// a larger burst before. Without this, [`Meter::repair`] would take such a state for a clock error.
    #[must_use]
    pub fn with_ceiling(mut self, units: u64) -> Self {
        self.ceiling = units.max(self.own_ceiling());
        if let Kind::Gcra(gcra) = &mut self.kind {
            gcra.inherit_ceiling(self.ceiling);
        }
        self
    }

    /// The same meter for a rule of which a permit may have been given a life of up to `life`.
    #[must_use]
    pub(crate) fn with_longest_life(mut self, life: Micros) -> Self {
        if let Kind::Concurrency(concurrency) = &mut self.kind {
            concurrency.inherit_life(life);
        }
        self
    }

    /// The most units a state can hold without a clock error.
    #[must_use]
    pub const fn ceiling(&self) -> u64 {
        self.ceiling
    }

    /// The most units that this quota alone, without those before it, can bring a state to.
    pub(crate) fn own_ceiling(&self) -> u64 {
        match &self.kind {
            Kind::Gcra(gcra) => gcra.own_ceiling(),
            _ => self.quota.limit(),
        }
    }
}
