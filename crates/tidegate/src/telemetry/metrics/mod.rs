//! What a node counts, for Prometheus.
//!
//! ```text
//! catalogue  every metric: name, kind, labels, unit, what it says
//! cells      counters and histograms that threads write to without meeting
//! series     decisions by rule, bounded
//! sources    what others have counted, read when somebody asks
//! page       numbers of the moment, as text
//! reference  docs/reference/metrics.md
//! ```
//!
//! A request costs its door three additions and no allocation, and each call, be it a batch, two readings of the clock. Nothing of a request becomes a
//! label: labels are names from the rules, of doors and listeners, and words of the catalogue.

pub mod catalogue;
mod cells;
mod page;
pub mod reference;
mod rooms;
mod series;
mod sources;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tidegate_core::rule::RuleSet;
use tidegate_core::rule::model::FailurePolicy;
use tidegate_core::time::{Micros, Timestamp};
use tidegate_engine::{Clock, Decision, Degraded, EngineError, FailureCause, Observer};
use tidegate_store::StoreError;
use tokio::time::Instant;

pub(crate) use page::Page;
pub use series::MAX_SERIES;
pub(crate) use series::Sees;
pub use sources::StoreReport;

use catalogue::{
    BUILD, CEILING_REFUSALS, CHECK_DURATION, CHECK_FAILURES, DEGRADED, QUEUE_ABANDONED, QUEUE_WAIT,
    QUEUE_WAITING, START_TIME, STORE_CALL_DURATION, STORE_ERRORS,
};
use cells::{CALL_BOUNDS, Counter, Histogram, WAIT_BOUNDS};
use series::RuleSeries;
use sources::Sources;

pub(crate) use rooms::{RoomReport, RoomWaits};

/// Through which door a request came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DoorName {
    /// None: it was asked in this process.
    #[default]
    InProcess,
    /// HTTP.
    Http,
    /// gRPC.
    Grpc,
    /// The protocol of Redis.
    Resp,
}

impl DoorName {
    /// All of them, by their number.
    pub const ALL: [Self; 4] = [Self::InProcess, Self::Http, Self::Grpc, Self::Resp];
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The name in labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            DoorName::InProcess => "in_process",
            DoorName::Http => "http",
            DoorName::Grpc => "grpc",
            DoorName::Resp => "resp",
        }
    }
}

const POLICIES: [FailurePolicy; 3] = [FailurePolicy::Allow, FailurePolicy::Deny, FailurePolicy::Local];
const CAUSES: [FailureCause; 4] =
    [FailureCause::Unavailable, FailureCause::Timeout, FailureCause::Corrupt, FailureCause::Misconfigured];

/// What a node counts. One for all doors.
#[derive(Debug)]
pub struct Metrics {
    started_at: Timestamp,
    doors: [DoorCounts; DoorName::COUNT],
    rules: Arc<RuleSeries>,
    store: Arc<StoreCalls>,
    degraded: [[Counter; CAUSES.len()]; POLICIES.len()],
    queue_waits: Histogram,
    waiting: AtomicU64,
    abandoned: Counter,
    sources: Mutex<Sources>,
}

/// What is counted of one door.
#[derive(Debug)]
struct DoorCounts {
    is_open: AtomicBool,
    took: Histogram,
    failures: Counter,
    over_ceiling: Counter,
}

impl Default for DoorCounts {
    fn default() -> Self {
        Self {
            is_open: AtomicBool::new(false),
            took: Histogram::new(&CALL_BOUNDS),
            failures: Counter::default(),
            over_ceiling: Counter::default(),
        }
    }
}

/// Calls to a guarded store, told by its guard.
#[derive(Debug)]
pub struct StoreCalls {
    took: Histogram,
    errors: [Counter; CAUSES.len()],
}

impl Observer for StoreCalls {
    fn decided(&self, _: &Decision) {}

    fn store_called(&self, took: Micros, error: Option<&StoreError>) {
        self.took.observe(took.into());
        if let Some(error) = error {
            self.errors[FailureCause::of(error) as usize].add(1);
        }
    }
}

impl Metrics {
    /// Nothing is counted yet.
    #[must_use]
    pub fn new(clock: impl Clock) -> Self {
        let store = StoreCalls { took: Histogram::new(&CALL_BOUNDS), errors: Default::default() };
        Self {
            started_at: clock.now(),
            doors: Default::default(),
            rules: Arc::new(RuleSeries::new(clock)),
            store: Arc::new(store),
            degraded: Default::default(),
            queue_waits: Histogram::new(&WAIT_BOUNDS),
            waiting: AtomicU64::new(0),
            abandoned: Counter::default(),
            sources: Mutex::default(),
        }
    }

    /// What an engine is to tell of its rules, so that a change of them costs no request anything.
    #[must_use]
    pub fn of_rules(&self) -> Arc<dyn Observer> {
        Arc::clone(&self.rules) as Arc<dyn Observer>
    }

    /// What the guard of a store is to tell of its calls.
    #[must_use]
    pub fn of_store(&self) -> Arc<StoreCalls> {
        Arc::clone(&self.store)
    }

    /// Makes room for these rules.
    pub(crate) fn adopt(&self, rules: &RuleSet) {
        self.rules.adopt(rules);
    }

    /// A door is open: from now on it is shown, even while nothing comes through it.
    pub(crate) fn open_door(&self, door: DoorName) {
        self.door(door).is_open.store(true, Ordering::Relaxed);
    }

    /// Requests are about to be decided, one or several after one another, and are timed together.
    pub(crate) fn begin(&self, door: DoorName) -> Timed<'_> {
        Timed { metrics: self, door, began_at: Instant::now(), asked: 0, decided: 0 }
    }

    /// So many requests were beyond their tenant's ceiling.
    pub(crate) fn over_ceiling(&self, door: DoorName, requests: u64) {
        self.door(door).over_ceiling.add(requests);
    }

    /// Requests begin to wait, each for so long.
    pub(crate) fn begin_waiting(&self, waits: impl Iterator<Item = Micros>) -> Waiting<'_> {
        let number = waits.map(|wait| self.queue_waits.observe(wait.into())).count() as u64;
        self.waiting.fetch_add(number, Ordering::Relaxed);
        Waiting { metrics: self, number, are_done: false }
    }

    fn door(&self, door: DoorName) -> &DoorCounts {
        &self.doors[door as usize]
    }

    /// Writes what is counted here, for one who may see so much.
    pub(crate) fn write(&self, page: &mut Page, sees: Sees) {
        let is_open = |door: DoorName| self.door(door).is_open.load(Ordering::Relaxed);
        self.rules.write(page, sees, is_open);
        for door in DoorName::ALL.into_iter().filter(|door| is_open(*door)) {
            let DoorCounts { took, failures, over_ceiling, .. } = self.door(door);
            page.histogram(&CHECK_DURATION, [door.name()], took.read());
            page.labelled(&CHECK_FAILURES, [door.name()], failures.get());
            page.labelled(&CEILING_REFUSALS, [door.name()], over_ceiling.get());
        }
        for (policy, counts) in POLICIES.iter().zip(&self.degraded) {
            for (cause, count) in CAUSES.iter().zip(counts) {
                page.labelled(&DEGRADED, [policy.name(), cause.name()], count.get());
            }
        }
        page.number(&QUEUE_WAITING, self.waiting.load(Ordering::Relaxed));
        page.histogram(&QUEUE_WAIT, [], self.queue_waits.read());
        page.number(&QUEUE_ABANDONED, self.abandoned.get());
        page.histogram(&STORE_CALL_DURATION, [], self.store.took.read());
        for (cause, count) in CAUSES.iter().zip(&self.store.errors) {
            page.labelled(&STORE_ERRORS, [cause.name()], count.get());
        }
        self.sources.lock().write(page);
        page.labelled(&BUILD, [env!("CARGO_PKG_VERSION")], 1);
        page.real(&START_TIME, self.started_at.as_micros() as f64 / 1e6);
    }
}

/// Requests that are being decided; when this is dropped, each decision has had an equal share of the time since it began. A
/// batch that is given up half-way has counted what was decided.
#[derive(Debug)]
pub(crate) struct Timed<'a> {
    metrics: &'a Metrics,
    door: DoorName,
    began_at: Instant,
    asked: u32,
    decided: u32,
}

impl Timed<'_> {
    /// Counts what came of a request. `rules` are those in force, and are asked for where they are not known.
    pub(crate) fn count(
        &mut self,
        decided: Result<Decision, EngineError>,
        rules: impl FnOnce() -> Arc<RuleSet>,
    ) -> Result<Decision, EngineError> {
        self.end(&decided);
        if let Ok(decision) = &decided {
            self.metrics.rules.count(self.door, decision, rules);
        }
        decided
    }

    /// Counts what came of a request that brought its own quota.
    pub(crate) fn count_ad_hoc(
        &mut self,
        decided: Result<Decision, EngineError>,
    ) -> Result<Decision, EngineError> {
        self.end(&decided);
        if let Ok(decision) = &decided {
            self.metrics.rules.count_ad_hoc(self.door, decision);
        }
        decided
    }

    /// A look, which took its time and is no decision.
    pub(crate) fn looked(&mut self) {
        self.asked += 1;
    }

    fn end(&mut self, decided: &Result<Decision, EngineError>) {
        self.asked += 1;
        match decided {
            Ok(decision) => {
                self.decided += 1;
                if let Some(Degraded { policy, cause }) = decision.degraded() {
                    self.metrics.degraded[policy_index(policy)][cause as usize].add(1);
                }
            }
            Err(_) => self.metrics.door(self.door).failures.add(1),
        }
    }
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        if self.decided > 0 {
            let share = self.began_at.elapsed() / self.asked;
            self.metrics.door(self.door).took.observe_each(share, self.decided);
        }
    }
}

const fn policy_index(policy: FailurePolicy) -> usize {
    match policy {
        FailurePolicy::Allow => 0,
        FailurePolicy::Deny => 1,
        FailurePolicy::Local => 2,
    }
}

/// Requests that wait; dropped before their turn, they were abandoned.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    metrics: &'a Metrics,
    number: u64,
    are_done: bool,
}

impl Waiting<'_> {
    /// Their turn has come.
    pub(crate) fn done(mut self) {
        self.are_done = true;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.metrics.waiting.fetch_sub(self.number, Ordering::Relaxed);
        if !self.are_done {
            self.metrics.abandoned.add(self.number);
        }
    }
}
