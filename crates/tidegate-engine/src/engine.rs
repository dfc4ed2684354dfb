//! Rule snapshot → plan → store → decision.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use smallvec::SmallVec;
use tidegate_core::rule::RuleSet;
use tidegate_core::time::{Micros, Timestamp};
use tidegate_store::{Applied, BucketStore, Outcome, UnknownRevisions};

use crate::ad_hoc::{AdHoc, AdHocs, KEY_ENTRY};
use crate::clock::{Clock, SystemClock};
use crate::decision::{Answer, Decision, Snapshot};
use crate::error::EngineError;
use crate::failure::Failure;
use crate::observe::Observer;
use crate::options::EngineOptions;
use crate::permit::{Keeper, PermitToken};
use crate::planned::{Operation, Planned};
use crate::random::PermitIds;
use crate::request::{Request, Selection};
use crate::stages::{Began, StageEnd, StageKind, Stages};
use crate::wait::Withdrawal;

/// How often a request is planned again because the rules changed under it.
pub(crate) const MAX_PLANS: usize = 32;

/// Decides requests by the rules of the moment. Clones share everything.
#[derive(Debug)]
pub struct Engine<S, C = SystemClock> {
    pub(crate) shared: Arc<Shared<S, C>>,
}

pub(crate) struct Shared<S, C> {
    pub(crate) rules: ArcSwap<RuleSet>,
    /// Held while rules are replaced, so that each set succeeds the one before it.
    replacing: Mutex<()>,
    pub(crate) store: S,
    clock: C,
    pub(crate) observer: Option<Box<dyn Observer>>,
    pub(crate) permits: PermitIds,
    pub(crate) failure: Failure,
    pub(crate) ad_hocs: AdHocs,
}

impl<S, C> std::fmt::Debug for Shared<S, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("rules_version", &self.rules.load().version()).finish_non_exhaustive()
    }
}

impl<S, C> Clone for Engine<S, C> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

/// What is asked.
#[derive(Clone, Copy)]
pub(crate) enum Call<'a> {
    /// The buckets of every rule that a request matches.
    Request(&'a Request<'a>),
    /// The buckets that one value selects.
    Selected(&'a Selection<'a>),
    /// The bucket of a request that brings its own quota: its key, and the units to take.
    AdHoc(&'a AdHoc, &'a str, u64),
}

impl<'a> Call<'a> {
    /// Where it is written down what the call waits for.
    const fn stages(self) -> Option<&'a Stages> {
        match self {
            Call::Request(request) => request.stages,
            Call::Selected(_) | Call::AdHoc(..) => None,
        }
    }
}

impl<S: BucketStore> Engine<S> {
    /// An engine by the system's clock that nobody observes.
    #[must_use]
    pub fn new(rules: RuleSet, store: S) -> Self {
        Self::with_parts(rules, store, SystemClock::new(), None)
    }
}

impl<S: BucketStore, C: Clock> Engine<S, C> {
    /// An engine with its clock and observer.
    #[must_use]
    pub fn with_parts(rules: RuleSet, store: S, clock: C, observer: Option<Box<dyn Observer>>) -> Self {
        Self::with_options(rules, store, clock, EngineOptions { observer, ..EngineOptions::default() })
    }

    /// An engine that is told everything.
    #[must_use]
    pub fn with_options(rules: RuleSet, store: S, clock: C, options: EngineOptions) -> Self {
        store.rules_changed(&rules, clock.now());
        let EngineOptions { observer, default_failure, breaker, local_max_bytes } = options;
        let (rules, replacing, permits) =
            (ArcSwap::from_pointee(rules), Mutex::new(()), PermitIds::default());
        let failure = Failure::new(default_failure, breaker, local_max_bytes);
        let ad_hocs = AdHocs::default();
        let shared = Shared { rules, replacing, store, clock, observer, permits, failure, ad_hocs };
        Self { shared: Arc::new(shared) }
    }

    /// Decides a request and charges it if it may pass. When the store gives no answer, the failure policies of the rules
    /// that match decide, and [`Decision::degraded`] says so. Where a rule lets it wait, waits: this future ends when it is
    /// the request's turn, and when it is dropped before, the request's place is given up.
    ///
    /// # Errors
    /// [`EngineError::RulesUnsettled`]; [`EngineError::Store`] only where this node cannot decide by its share either.
    pub async fn check(&self, request: &Request<'_>) -> Result<Decision, EngineError> {
        let decision = self.decide(request).await?;
        let wait = self.left_to_wait(&decision);
        if wait > Micros::ZERO {
            let mut withdrawal = Withdrawal::new(self, request, &decision);
            let queued = self.begin(request.stages, StageKind::Queue);
            tokio::time::sleep(wait.into()).await;
            withdrawal.disarm();
            self.end(queued, StageEnd::Done);
        }
        Ok(decision)
    }

    /// Waits once until it is the turn of all these requests, each with the decision that [`Engine::decide`] made of it.
    /// When this future is dropped before, every place in a queue is given up.
    pub async fn wait_for_all(&self, decided: &[(Request<'_>, &Decision)]) {
        let waiting =
            decided.iter().map(|(request, decision)| (request, *decision, self.left_to_wait(decision)));
        let waiting: Vec<_> = waiting.filter(|(_, _, wait)| *wait > Micros::ZERO).collect();
        let Some(longest) = waiting.iter().map(|(_, _, wait)| *wait).max() else { return };
        let mut withdrawals: Vec<_> =
            waiting.iter().map(|(request, decision, _)| Withdrawal::new(self, request, decision)).collect();
        let stages = waiting.iter().find_map(|(request, _, _)| request.stages);
        let queued = self.begin(stages, StageKind::Queue);
        tokio::time::sleep(longest.into()).await;
        withdrawals.iter_mut().for_each(Withdrawal::disarm);
        self.end(queued, StageEnd::Done);
    }

    /// What is left of a decision's wait: all of it, except for one that repeats an earlier call's.
    fn left_to_wait(&self, decision: &Decision) -> Micros {
        match decision.answer() {
            Answer::Wait(wait) if decision.is_repeated() => {
                wait.saturating_sub(self.now().since(decision.decided_at()))
            }
            Answer::Wait(wait) => wait,
            Answer::Allow | Answer::Deny => Micros::ZERO,
        }
    }

    /// Decides a request like [`Engine::check`], but leaves the waiting to the caller.
    ///
    /// # Errors
    /// [`EngineError::RulesUnsettled`]; [`EngineError::Store`] only where this node cannot decide by its share either.
    pub fn decide<'a>(
        &'a self,
        request: &'a Request<'a>,
    ) -> impl Future<Output = Result<Decision, EngineError>> + Send + 'a {
        self.run(Call::Request(request), Operation::Apply)
    }

    /// What [`Engine::decide`] would say, without changing anything. Failure policies decide here, too.
    ///
    /// # Errors
    /// [`EngineError::RulesUnsettled`]; [`EngineError::Store`] only where this node cannot decide by its share either.
    pub fn peek<'a>(
        &'a self,
        request: &'a Request<'a>,
    ) -> impl Future<Output = Result<Decision, EngineError>> + Send + 'a {
        self.run(Call::Request(request), Operation::Peek)
    }

    /// Gives the request's cost back to every rule that matches it, at most what was used. The decision says what is
    /// left.
    ///
    /// # Errors
    /// [`EngineError`] when the store gave no answer.
    pub fn refund<'a>(
        &'a self,
        request: &'a Request<'a>,
    ) -> impl Future<Output = Result<Decision, EngineError>> + Send + 'a {
        self.run(Call::Request(request), Operation::Refund)
    }

    /// Puts every bucket that the request selects to rest.
    ///
    /// # Errors
    /// [`EngineError`] when the store gave no answer.
    pub async fn reset(&self, request: &Request<'_>) -> Result<(), EngineError> {
        let rules = self.shared.rules.load();
        let mut planned = Planned::new();
        planned.request(&rules, request, Operation::Apply, &self.shared.permits, |_| true);
        Ok(self.shared.store.reset(&planned.plan, self.now()).await?)
    }

    /// The state of every bucket that one value selects. At most 100.
    ///
    /// # Errors
    /// [`EngineError`] when the store gave no answer.
    pub fn stats<'a>(
        &'a self,
        selection: &'a Selection<'a>,
    ) -> impl Future<Output = Result<Decision, EngineError>> + Send + 'a {
        self.run(Call::Selected(selection), Operation::Peek)
    }

    /// Gives units back to every bucket that one value selects, at most what was used of each. At most 100 buckets; the
    /// decision says what is left.
    ///
    /// # Errors
    /// [`EngineError`] when the store gave no answer.
    pub fn refund_selected<'a>(
        &'a self,
        selection: &'a Selection<'a>,
    ) -> impl Future<Output = Result<Decision, EngineError>> + Send + 'a {
        self.run(Call::Selected(selection), Operation::Refund)
    }

    /// Puts every bucket that one value selects to rest, at most 100. Returns how many there were.
    ///
    /// # Errors
    /// [`EngineError`] when the store gave no answer.
    pub async fn reset_selected(&self, selection: &Selection<'_>) -> Result<usize, EngineError> {
        let rules = self.shared.rules.load();
        let mut planned = Planned::new();
        planned.selected(&rules, selection);
        if !planned.plan.buckets().is_empty() {
            self.shared.store.reset(&planned.plan, self.now()).await?;
        }
        Ok(planned.plan.buckets().len())
    }

    /// The value of the entry by which a domain knows its subjects, if the request has it.
    #[must_use]
    pub fn subject_of<'a>(&self, domain: &str, entries: &'a [(&'a str, &'a str)]) -> Option<&'a str> {
        let rules = self.shared.rules.load();
        let subject = rules.domain(domain)?.subject()?;
        entries.iter().find(|(entry, _)| *entry == subject).map(|(_, value)| *value)
    }

    /// Gives a permit back. True when it was still held.
    ///
    /// # Errors
    /// [`EngineError`] when the store gave no answer.
    pub async fn release(&self, permit: &PermitToken) -> Result<bool, EngineError> {
        if permit.keeper == Keeper::Node {
            let local = &self.shared.failure.local;
            let held = permit.buckets.iter().map(|bucket| local.release(bucket, permit.id, self.now()));
            return Ok(held.fold(false, |any, held| any | held));
        }
        let mut held = false;
        for bucket in &permit.buckets {
            held |= self.shared.store.release(bucket, permit.id, self.now()).await?;
        }
        Ok(held)
    }

    /// Puts new rules in force, in one step, and carries over what buckets hold. Returns the new version: one more than
    /// before, or the set's own where that is higher.
    pub fn replace_rules(&self, rules: RuleSet) -> u64 {
        let _replacing = self.shared.replacing.lock();
        let now = self.now();
        let successor = rules.succeeding(&self.shared.rules.load(), now);
        let version = successor.version();
        self.shared.store.rules_changed(&successor, now);
        if let Some(observer) = &self.shared.observer {
            observer.rules_replaced(&successor);
        }
        self.shared.rules.store(Arc::new(successor));
        version
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> Arc<RuleSet> {
        self.shared.rules.load_full()
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.shared.store
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &C {
        &self.shared.clock
    }

    /// The present, by the engine's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Plans and runs until the plan's rules are not older than those of any bucket it meets. One future without
    /// others inside: every layer would copy the outcome once more.
    pub(crate) async fn run(&self, call: Call<'_>, operation: Operation) -> Result<Decision, EngineError> {
        let mut rules = self.rules_of(call);
        let mut unknown_revisions = UnknownRevisions::Refuse;
        for _ in 0..MAX_PLANS {
            let settled = {
                let mut planned = Planned::new();
                self.plan(&mut planned, &rules, call, operation);
                planned.plan.unknown_revisions = unknown_revisions;
                let now = self.now();
                let plan = &planned.plan;
                let asking =
                    self.begin(call.stages().filter(|_| !plan.buckets().is_empty()), StageKind::Store);
                let applied = match operation {
                    _ if plan.buckets().is_empty() => Ok(Applied::Decided(nothing_to_ask(now))),
                    Operation::Apply => self.shared.store.apply(plan, now).await,
                    Operation::Peek => self.shared.store.peek(plan, now).await,
                    Operation::Refund => self.shared.store.refund(plan, now).await,
                };
                self.end(asking, if applied.is_ok() { StageEnd::Done } else { StageEnd::Failed });
                match applied {
                    Ok(Applied::Decided(outcome)) => {
                        let granted = operation == Operation::Apply;
                        let permit = granted
                            .then(|| PermitToken::granted(Keeper::Store, &self.shared.store, plan, &outcome))
                            .flatten();
                        Ok(Some((planned.domain, planned.asked, outcome, planned.plan.cost, permit)))
                    }
                    Ok(Applied::Stale) => Ok(None),
                    Err(error) => Err(error),
                }
            };
            let settled = match settled {
                Ok(settled) => settled,
                Err(error) => return self.without_store(rules, call, operation, error),
            };
            if let Some((domain, asked, outcome, cost, permit)) = settled {
                let mut decision = Decision::new(rules, domain, asked, outcome, cost, permit);
                decision.leasing_nodes = self.leasing_nodes();
                if let (Some(observer), Operation::Apply) = (&self.shared.observer, operation) {
                    observer.decided(&decision);
                }
                return Ok(decision);
            }
            let newest = self.rules_of(call);
            if Arc::ptr_eq(&rules, &newest) {
                unknown_revisions = UnknownRevisions::Adopt;
            }
            rules = newest;
        }
        Err(EngineError::RulesUnsettled)
    }

    /// The rules that a call is decided by: those in force, or its own.
    pub(crate) fn rules_of(&self, call: Call<'_>) -> Snapshot {
        match call {
            Call::Request(_) | Call::Selected(_) => self.shared.rules.load(),
            Call::AdHoc(ad_hoc, ..) => Guard::from_inner(Arc::clone(&ad_hoc.rules)),
        }
    }

    /// Writes down that a stage begins, where somebody asks.
    fn begin<'a>(&self, stages: Option<&'a Stages>, kind: StageKind) -> Option<(&'a Stages, Began)> {
        stages.map(|stages| (stages, stages.begin(kind, self.now())))
    }

    fn end(&self, began: Option<(&Stages, Began)>, end: StageEnd) {
        if let Some((stages, began)) = began {
            stages.end(began, self.now(), end);
        }
    }

    /// How many nodes may hold leases.
    fn leasing_nodes(&self) -> u32 {
        if self.shared.store.leases() { self.shared.failure.local.nodes() } else { 0 }
    }

    fn plan<'r>(&self, planned: &mut Planned<'r>, rules: &'r RuleSet, call: Call<'_>, operation: Operation) {
        match call {
            Call::Request(request) => {
                planned.request(rules, request, operation, &self.shared.permits, |_| true);
            }
            Call::AdHoc(_, key, cost) => {
                planned.only(rules, (&[(KEY_ENTRY, key)], cost), operation, &self.shared.permits);
            }
            Call::Selected(selection) => planned.selected(rules, selection),
        }
    }

    /// Takes back a charge whose request gave up waiting.
    pub(crate) async fn withdraw(
        &self,
        rules: &RuleSet,
        request: &Request<'_>,
        outcome: &Outcome,
        permit: u64,
    ) {
        let mut planned = Planned::new();
        planned.request(rules, request, Operation::Apply, &self.shared.permits, |_| true);
        planned.plan.permit = permit;
        // When the store does not answer, the place stays taken: never too many pass.
        let _ = self.shared.store.withdraw(&planned.plan, outcome, self.now()).await;
    }

    pub(crate) fn snapshot_of(decision: &Decision) -> Arc<RuleSet> {
        Arc::clone(&decision.rules)
    }
}

fn nothing_to_ask(now: Timestamp) -> Outcome {
    Outcome::new(now, SmallVec::new(), true)
}
