//! A circuit breaker: after so many failures in a row nobody asks the store any more, until it has had time to get well.
//!
//! No clock and no I/O: time is an argument, and whoever makes the calls says how they ended. While the circuit is closed,
//! a call costs two relaxed loads.
//!
//! ```text
//! closed ── 5 failures in a row ──> open ── cool-down over, or a probe answered ──> half-open ──> one call
//!    ^                                ^────────────────── it failed ────────────────────┘            │
//!    └─────────────────────────────────────────── it succeeded ──────────────────────────────────────┘
//! ```
//!
//! Every change of state begins a new era, and a call ends in the era it began in: the late result of a call from an
//! earlier era says nothing about the store of now, and is ignored.

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;
use tidegate_core::time::{Micros, Timestamp};
use tidegate_store::StoreError;

/// When the circuit opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerOptions {
    /// Failures in a row that open it; at least 1.
    pub failure_threshold: u32,
    /// Two failures or more in a row that span this time open it too: with little traffic the threshold would be
    /// reached late.
    pub failure_deadline: Micros,
    /// How long it stays open, unless a probe is answered before.
    pub cool_down: Micros,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self {
            failure_threshold: 5,
            failure_deadline: Micros::from_secs(10),
            cool_down: Micros::from_secs(60),
        }
    }
}

/// Whether calls reach the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// They do.
    #[default]
    Closed,
    /// None does.
    Open,
    /// One at a time does, to see whether the store is well.
    HalfOpen,
}

/// What a breaker looks like at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerStatus {
    /// The store behind it, by the name of its kind.
    pub store: &'static str,
    /// Whether calls reach the store.
    pub state: BreakerState,
    /// Failures since the last success.
    pub consecutive_failures: u32,
    /// How it was set.
    pub options: BreakerOptions,
    /// When it left the closed state; `None` while it is closed.
    pub opened_at: Option<Timestamp>,
    /// The time until the store is asked again; `None` while the circuit is closed.
    pub next_attempt_in: Option<Micros>,
    /// The last failure, also of an outage that is over.
    pub last_error: Option<StoreError>,
    /// Changes of state so far.
    pub transitions: u64,
    /// Calls that were not let through to the store.
    pub rejected: u64,
}

/// Permission for one call. It ends with [`Breaker::succeeded`], [`Breaker::failed`] or [`Breaker::abandoned`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the breaker has to hear how the call ended"]
pub struct Admission {
    era: u64,
    began_at: Timestamp,
}

/// The circuit breaker of one store.
#[derive(Debug)]
pub struct Breaker {
    store: &'static str,
    options: BreakerOptions,
    /// The era, and in the lowest bit whether the circuit is closed.
    gate: AtomicU64,
    /// What [`Circuit::failures`] is, to be read without the lock.
    failures: AtomicU32,
    rejected: AtomicU64,
    circuit: Mutex<Circuit>,
}

#[derive(Debug, Default)]
struct Circuit {
    state: BreakerState,
    era: u64,
    failures: u32,
    first_failure_at: Timestamp,
    /// When the last one that counted ended.
    last_failure_at: Timestamp,
    opened_at: Option<Timestamp>,
    /// When the cool-down is over; half-open, when the call under way is no longer waited for.
    next_attempt_at: Timestamp,
    next_probe_at: Option<Timestamp>,
    /// Half-open: a call is under way.
    trying: bool,
    last_error: Option<StoreError>,
    transitions: u64,
}

impl Breaker {
    /// A closed breaker in front of a store of this kind.
    #[must_use]
    pub fn new(store: &'static str, options: BreakerOptions) -> Self {
        Self {
            store,
            options: BreakerOptions { failure_threshold: options.failure_threshold.max(1), ..options },
            gate: AtomicU64::new(gate_of(&Circuit::default())),
            failures: AtomicU32::new(0),
            rejected: AtomicU64::new(0),
            circuit: Mutex::default(),
        }
    }

    /// Whether every call is let through.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.gate.load(Ordering::Relaxed) & CLOSED != 0
    }

    /// Asks for permission to call the store; `None` when the call must not be made.
    pub fn admit(&self, now: Timestamp) -> Option<Admission> {
        let gate = self.gate.load(Ordering::Relaxed);
        if gate & CLOSED != 0 {
            Some(Admission { era: gate >> 1, began_at: now })
        } else {
            self.admit_to_open(now)
        }
    }

    #[cold]
    fn admit_to_open(&self, now: Timestamp) -> Option<Admission> {
        let mut circuit = self.circuit.lock();
        let admitted = match circuit.state {
            BreakerState::Closed => true,
            BreakerState::HalfOpen if !circuit.trying => {
                circuit.trying = true;
                circuit.next_attempt_at = now.saturating_add(self.options.cool_down);
                true
            }
            BreakerState::HalfOpen | BreakerState::Open => false,
        };
        if !admitted {
            self.rejected.fetch_add(1, Ordering::Relaxed);
        }
        admitted.then_some(Admission { era: circuit.era, began_at: now })
    }

    /// The call was answered. Returns what changed by that, as all of these do.
    pub fn succeeded(&self, Admission { era, .. }: Admission, now: Timestamp) -> Option<BreakerStatus> {
        let nothing_to_mend = self.failures.load(Ordering::Relaxed) == 0;
        if nothing_to_mend { None } else { self.mend(era, now) }
    }

    #[cold]
    fn mend(&self, era: u64, now: Timestamp) -> Option<BreakerStatus> {
        let mut circuit = self.circuit.lock();
        if circuit.era != era {
            return None;
        }
        self.set_failures(&mut circuit, 0);
        (circuit.state == BreakerState::HalfOpen)
            .then(|| self.change(&mut circuit, BreakerState::Closed, now))
    }

    /// The call ended in an error, at `now`.
    #[cold]
    pub fn failed(
        &self,
        Admission { era, began_at }: Admission,
        error: &StoreError,
        now: Timestamp,
    ) -> Option<BreakerStatus> {
        let mut circuit = self.circuit.lock();
        // Calls that were under way together fail together: one lost connection is one failure, not hundreds.
        let is_known = circuit.failures > 0 && began_at < circuit.last_failure_at;
        if circuit.era != era || (is_known && circuit.state == BreakerState::Closed) {
            return None;
        }
        if circuit.failures == 0 {
            circuit.first_failure_at = now;
        }
        circuit.last_failure_at = now;
        let failures = circuit.failures.saturating_add(1);
        self.set_failures(&mut circuit, failures);
        circuit.last_error = Some(error.clone());
        let lasting = now.since(circuit.first_failure_at) >= self.options.failure_deadline;
        let enough = failures >= self.options.failure_threshold || (failures > 1 && lasting);
        let opens = circuit.state == BreakerState::HalfOpen || enough;
        opens.then(|| self.change(&mut circuit, BreakerState::Open, now))
    }

    /// Nobody waited for the call's end. It says nothing about the store; half-open, the next one may try.
    #[cold]
    pub fn abandoned(&self, Admission { era, .. }: Admission) {
        let mut circuit = self.circuit.lock();
        if circuit.era == era {
            circuit.trying = false;
        }
    }

    /// Lets time do its work: after the cool-down, the circuit is half-open. To be called before [`Breaker::admit`]
    /// while the circuit is not closed.
    #[cold]
    pub fn tick(&self, now: Timestamp) -> Option<BreakerStatus> {
        let mut circuit = self.circuit.lock();
        if now < circuit.next_attempt_at {
            return None;
        }
        match circuit.state {
            BreakerState::Open => Some(self.change(&mut circuit, BreakerState::HalfOpen, now)),
            BreakerState::HalfOpen if circuit.trying => {
                // Its caller never said how it ended; another call may try, and this one's end counts no more.
                self.begin_era(&mut circuit, BreakerState::HalfOpen);
                None
            }
            BreakerState::HalfOpen | BreakerState::Closed => None,
        }
    }

    /// Whether a call has a chance of being let through: not while the circuit is open and the cool-down lasts.
    #[must_use]
    pub fn may_admit(&self, now: Timestamp) -> bool {
        if self.is_closed() {
            return true;
        }
        let circuit = self.circuit.lock();
        circuit.state != BreakerState::Open || now >= circuit.next_attempt_at
    }

    /// When the store is to be probed next, for the status.
    pub fn probe_due_at(&self, at: Timestamp) {
        self.circuit.lock().next_probe_at = Some(at);
    }

    /// The store answered a probe: an open circuit is half-open, whatever is left of the cool-down.
    pub fn probe_answered(&self, now: Timestamp) -> Option<BreakerStatus> {
        let mut circuit = self.circuit.lock();
        (circuit.state == BreakerState::Open).then(|| self.change(&mut circuit, BreakerState::HalfOpen, now))
    }

    /// Whether the circuit is closed, open or half-open.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        if self.is_closed() { BreakerState::Closed } else { self.circuit.lock().state }
    }

    /// What it looks like now.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> BreakerStatus {
        self.status_of(&self.circuit.lock(), now)
    }

    /// The time until the store is asked again, by a call or a probe; `None` while the circuit is closed.
    #[must_use]
    pub fn next_attempt_in(&self, now: Timestamp) -> Option<Micros> {
        if self.is_closed() { None } else { self.circuit.lock().next_attempt_in(now) }
    }

    fn status_of(&self, circuit: &Circuit, now: Timestamp) -> BreakerStatus {
        BreakerStatus {
            store: self.store,
            state: circuit.state,
            consecutive_failures: circuit.failures,
            options: self.options,
            opened_at: circuit.opened_at,
            next_attempt_in: circuit.next_attempt_in(now),
            last_error: circuit.last_error.clone(),
            transitions: circuit.transitions,
            rejected: self.rejected.load(Ordering::Relaxed),
        }
    }

    fn change(&self, circuit: &mut Circuit, to: BreakerState, now: Timestamp) -> BreakerStatus {
        match to {
            BreakerState::Closed => circuit.opened_at = None,
            BreakerState::HalfOpen => {}
            BreakerState::Open => {
                circuit.opened_at.get_or_insert(now);
                circuit.next_attempt_at = now.saturating_add(self.options.cool_down);
            }
        }
        circuit.next_probe_at = None;
        circuit.transitions += 1;
        self.begin_era(circuit, to);
        self.status_of(circuit, now)
    }

    fn begin_era(&self, circuit: &mut Circuit, state: BreakerState) {
        circuit.state = state;
        circuit.trying = false;
        circuit.era += 1;
        self.gate.store(gate_of(circuit), Ordering::Relaxed);
    }

    fn set_failures(&self, circuit: &mut Circuit, failures: u32) {
        circuit.failures = failures;
        self.failures.store(failures, Ordering::Relaxed);
    }
}

impl Circuit {
    fn next_attempt_in(&self, now: Timestamp) -> Option<Micros> {
        match self.state {
            BreakerState::Closed => None,
            BreakerState::HalfOpen => Some(Micros::ZERO),
            BreakerState::Open => {
                let probe = self.next_probe_at.unwrap_or(Timestamp::MAX);
                Some(self.next_attempt_at.min(probe).since(now))
            }
        }
    }
}

/// The bit of [`Breaker::gate`] that is set while the circuit is closed.
const CLOSED: u64 = 1;

fn gate_of(circuit: &Circuit) -> u64 {
    circuit.era << 1 | u64::from(circuit.state == BreakerState::Closed)
}

impl BreakerState {
    /// The name in answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
            BreakerState::HalfOpen => "half_open",
        }
    }
}

impl BreakerStatus {
    /// The status of a store that always answers: closed, and never to open.
    #[must_use]
    pub fn always_closed(store: &'static str) -> Self {
        Breaker::new(store, BreakerOptions::default()).status(Timestamp::EPOCH)
    }
}
