//! Rule snapshot → plan → store → decision.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use smallvec::SmallVec;
use tidegate_core::quota::Algorithm;
use tidegate_core::rule::model::{Condition, Mode};
use tidegate_core::rule::{CompiledDomain, CompiledRule, RuleSet};
use tidegate_core::time::{Micros, Timestamp};
use tidegate_store::{Applied, BucketStore, Outcome, Plan, UnknownRevisions};

use crate::clock::{Clock, SystemClock};
use crate::decision::{Answer, Asked, Decision};
use crate::error::EngineError;
use crate::observe::Observer;
use crate::permit::PermitToken;
use crate::random::PermitIds;
use crate::request::{PRIORITY_ENTRY, Request, TIER_ENTRY};
use crate::wait::Withdrawal;

/// How often a request is planned again because the rules changed under it.
const MAX_PLANS: usize = 32;
/// The most buckets that [`Engine::stats`] reads at once.
const MAX_STATS: usize = 100;

/// Decides requests by the rules of the moment. Clones share everything.
#[derive(Debug)]
pub struct Engine<S, C = SystemClock> {
    shared: Arc<Shared<S, C>>,
}

struct Shared<S, C> {
    rules: ArcSwap<RuleSet>,
    /// Held while rules are replaced, so that each set succeeds the one before it.
    replacing: Mutex<()>,
    store: S,
    clock: C,
    observer: Option<Box<dyn Observer>>,
    permits: PermitIds,
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
enum Call<'a> {
    /// The buckets of every rule that a request matches.
    Request(&'a Request<'a>),
    /// The buckets that one value selects.
    Stats { domain: &'a str, value: &'a str },
}

/// What is done with a plan.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Apply,
    Peek,
    Refund,
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
        store.rules_changed(&rules, clock.now());
        let (rules, replacing, permits) =
            (ArcSwap::from_pointee(rules), Mutex::new(()), PermitIds::default());
        Self { shared: Arc::new(Shared { rules, replacing, store, clock, observer, permits }) }
    }

    /// Decides a request and charges it if it may pass. Where a rule lets it wait, waits: this future ends when it is
    /// the request's turn, and when it is dropped before, the request's place is given up.
    ///
    /// # Errors
    /// [`EngineError`] when the store gave no answer.
    pub async fn check(&self, request: &Request<'_>) -> Result<Decision, EngineError> {
        let decision = self.decide(request).await?;
        let wait = self.left_to_wait(&decision);
        if wait > Micros::ZERO {
            let mut withdrawal = Withdrawal::new(self, request, &decision);
            tokio::time::sleep(wait.into()).await;
            withdrawal.disarm();
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
        tokio::time::sleep(longest.into()).await;
        withdrawals.iter_mut().for_each(Withdrawal::disarm);
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
    /// [`EngineError`] when the store gave no answer.
    pub fn decide<'a>(
        &'a self,
        request: &'a Request<'a>,
    ) -> impl Future<Output = Result<Decision, EngineError>> + Send + 'a {
        self.run(Call::Request(request), Operation::Apply)
    }

    /// What [`Engine::decide`] would say, without changing anything.
    ///
    /// # Errors
    /// [`EngineError`] when the store gave no answer.
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
        self.plan_request(&mut planned, &rules, request, Operation::Apply);
        Ok(self.shared.store.reset(&planned.plan, self.now()).await?)
    }

    /// The state of every bucket of a domain that `value` alone selects: of rules whose partition key is one entry,
    /// and whose condition on that entry, if any, it meets. At most 100.
    ///
    /// # Errors
    /// [`EngineError`] when the store gave no answer.
    pub fn stats<'a>(
        &'a self,
        domain: &'a str,
        value: &'a str,
    ) -> impl Future<Output = Result<Decision, EngineError>> + Send + 'a {
        self.run(Call::Stats { domain, value }, Operation::Peek)
    }

    /// Gives a permit back. True when it was still held.
    ///
    /// # Errors
    /// [`EngineError`] when the store gave no answer.
    pub async fn release(&self, permit: &PermitToken) -> Result<bool, EngineError> {
        let mut held = false;
        for bucket in &permit.buckets {
            held |= self.shared.store.release(bucket, permit.id, self.now()).await?;
        }
        Ok(held)
    }

    /// Puts new rules in force, in one step, and carries over what buckets hold. Returns the new version.
    pub fn replace_rules(&self, rules: RuleSet) -> u64 {
        let _replacing = self.shared.replacing.lock();
        let now = self.now();
        let successor = rules.succeeding(&self.shared.rules.load(), now);
        let version = successor.version();
        self.shared.store.rules_changed(&successor, now);
        self.shared.rules.store(Arc::new(successor));
        if let Some(observer) = &self.shared.observer {
            observer.rules_replaced(version);
        }
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

    /// The present, by the engine's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Plans and runs until the plan's rules are not older than those of any bucket it meets. One future without
    /// others inside: every layer would copy the outcome once more.
    async fn run(&self, call: Call<'_>, operation: Operation) -> Result<Decision, EngineError> {
        let mut rules = self.shared.rules.load();
        let mut unknown_revisions = UnknownRevisions::Refuse;
        for _ in 0..MAX_PLANS {
            let settled = {
                let mut planned = Planned::new();
                self.plan(&mut planned, &rules, call, operation);
                planned.plan.unknown_revisions = unknown_revisions;
                let now = self.now();
                let plan = &planned.plan;
                let applied = match operation {
                    _ if plan.buckets().is_empty() => Applied::Decided(nothing_to_ask(now)),
                    Operation::Apply => self.shared.store.apply(plan, now).await?,
                    Operation::Peek => self.shared.store.peek(plan, now).await?,
                    Operation::Refund => self.shared.store.refund(plan, now).await?,
                };
                match applied {
                    Applied::Decided(outcome) => {
                        let permit = self.permit_of(plan, &outcome, operation);
                        Some((planned.domain, planned.asked, outcome, planned.plan.cost, permit))
                    }
                    Applied::Stale => None,
                }
            };
            if let Some((domain, asked, outcome, cost, permit)) = settled {
                let decision = Decision::new(rules, domain, asked, outcome, cost, permit);
                if let (Some(observer), Operation::Apply) = (&self.shared.observer, operation) {
                    observer.decided(&decision);
                }
                return Ok(decision);
            }
            let newest = self.shared.rules.load();
            if Arc::ptr_eq(&rules, &newest) {
                unknown_revisions = UnknownRevisions::Adopt;
            }
            rules = newest;
        }
        Err(EngineError::RulesUnsettled)
    }

    fn plan<'r>(&self, planned: &mut Planned<'r>, rules: &'r RuleSet, call: Call<'_>, operation: Operation) {
        match call {
            Call::Request(request) => self.plan_request(planned, rules, request, operation),
            Call::Stats { domain, value } => plan_stats(planned, rules, domain, value),
        }
    }

    fn plan_request<'r>(
        &self,
        planned: &mut Planned<'r>,
        rules: &'r RuleSet,
        request: &Request<'_>,
        operation: Operation,
    ) {
        planned.plan.cost = request.cost;
        let Some((index, domain)) = find_domain(rules, request.domain) else { return };
        planned.domain = Some(index);
        let tier = request.entry(TIER_ENTRY).or(domain.default_tier());
        let priority = request.entry(PRIORITY_ENTRY);
        let matches = domain.matches(request.entries);
        for position in matches.as_slice() {
            if let Some(rule) = domain.rule(*position) {
                planned.add(*position, rule, tier, priority, request.entries);
            }
        }
        planned.plan.idempotency_key =
            request.idempotency_key.map(|key| name_of_call(request, key, operation));
        if operation == Operation::Apply && planned.has_concurrency() {
            planned.plan.permit = self.shared.permits.draw(planned.plan.idempotency_key.as_deref());
        }
    }

    fn permit_of(
        &self,
        plan: &Plan<'_>,
        outcome: &Outcome,
        operation: Operation,
    ) -> Option<Box<PermitToken>> {
        if operation != Operation::Apply || !outcome.charged || plan.permit == 0 {
            return None;
        }
        let results = plan.buckets().iter().zip(&outcome.results);
        let holding = results.filter(|(bucket, result)| {
            bucket.rule.model().algorithm == Algorithm::Concurrency && result.verdict.is_allow()
        });
        let buckets: SmallVec<_> =
            holding.map(|(bucket, _)| self.shared.store.address(plan.key_of(bucket))).collect();
        (!buckets.is_empty()).then(|| Box::new(PermitToken { id: plan.permit, buckets }))
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
        self.plan_request(&mut planned, rules, request, Operation::Apply);
        planned.plan.permit = permit;
        // When the store does not answer, the place stays taken: never too many pass.
        let _ = self.shared.store.withdraw(&planned.plan, outcome, self.now()).await;
    }

    pub(crate) fn snapshot_of(decision: &Decision) -> Arc<RuleSet> {
        Arc::clone(&decision.rules)
    }
}

/// A plan and which rules it asks.
struct Planned<'a> {
    plan: Plan<'a>,
    asked: SmallVec<[Asked; 2]>,
    domain: Option<usize>,
}

impl<'a> Planned<'a> {
    fn new() -> Self {
        Self { plan: Plan::new(1), asked: SmallVec::new(), domain: None }
    }

    fn add(
        &mut self,
        position: u32,
        rule: &'a CompiledRule,
        tier: Option<&str>,
        priority: Option<&str>,
        entries: &[(&str, &str)],
    ) {
        let quota = rule.quota_index(tier);
        let metered = rule.metered_at(quota);
        let reserved = rule.reserved(metered, priority);
        self.plan.add(rule, metered, reserved, entries);
        // A rule has at most 64 tiers.
        self.asked.push(Asked { position, quota: quota as u32, reserved });
    }

    fn has_concurrency(&self) -> bool {
        self.plan.buckets().iter().any(|bucket| bucket.rule.model().algorithm == Algorithm::Concurrency)
    }
}

/// Everything that makes a call this call, so that a key used again for another one repeats nothing: what is done,
/// the key, the domain, the cost, and the entries in the order of their names.
fn name_of_call(request: &Request<'_>, key: &str, operation: Operation) -> Box<[u8]> {
    let mut name = Vec::new();
    let mut part = |text: &str| {
        name.extend_from_slice(&(text.len() as u64).to_le_bytes());
        name.extend_from_slice(text.as_bytes());
    };
    part(if operation == Operation::Refund { "refund" } else { "charge" });
    part(key);
    part(request.domain);
    let mut entries: SmallVec<[(&str, &str); 8]> = SmallVec::from_slice(request.entries);
    entries.sort_unstable();
    for (entry, value) in entries {
        part(entry);
        part(value);
    }
    name.extend_from_slice(&request.cost.to_le_bytes());
    name.into_boxed_slice()
}

fn plan_stats<'r>(planned: &mut Planned<'r>, rules: &'r RuleSet, domain: &str, value: &str) {
    let Some((index, domain)) = find_domain(rules, domain) else { return };
    planned.domain = Some(index);
    for (position, rule) in rules_selected_by(domain, value).into_iter().take(MAX_STATS) {
        let entry = rule.model().key.first().map_or("", String::as_str);
        planned.add(position, rule, domain.default_tier(), None, &[(entry, value)]);
    }
}

fn find_domain<'a>(rules: &'a RuleSet, name: &str) -> Option<(usize, &'a CompiledDomain)> {
    let index = rules.domain_index(name)?;
    rules.domains().get(index).map(|domain| (index, domain))
}

fn nothing_to_ask(now: Timestamp) -> Outcome {
    Outcome { decided_at: now, results: SmallVec::new(), charged: true, repeated: false }
}

fn rules_selected_by<'a>(domain: &'a CompiledDomain, value: &str) -> Vec<(u32, &'a CompiledRule)> {
    let selected = |rule: &CompiledRule| match rule.model().key.as_slice() {
        [entry] => rule.model().conditions.iter().filter(|wanted| wanted.entry == *entry).all(|wanted| {
            wanted.condition.matches(Some(value)) && !matches!(wanted.condition, Condition::Absent)
        }),
        _ => false,
    };
    let live = |rule: &CompiledRule| rule.model().mode != Mode::Off && selected(rule);
    let mut rules: Vec<_> = (0_u32..).zip(domain.rules()).filter(|(_, rule)| live(rule)).collect();
    let specific = |rule: &CompiledRule| !rule.model().otherwise && rule.model().mode == Mode::Enforce;
    if rules.iter().any(|(_, rule)| specific(rule)) {
        rules.retain(|(_, rule)| !rule.model().otherwise);
    }
    rules
}
