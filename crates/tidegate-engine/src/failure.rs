//! Deciding while the store does not answer, by the policies of the rules that match.
//!
//! - An enforced rule with `deny` refuses the request, whatever the others say.
//! - Else the rules with `local` decide, by this node's share of their quotas.
//! - Else the request passes: `allow`.
//!
//! Every such decision says so. Nothing here is on the path of a request while the store answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::Guard;
use smallvec::SmallVec;
use tidegate_core::quota::Algorithm;
use tidegate_core::rule::model::{FailurePolicy, Mode};
use tidegate_core::rule::{CompiledDomain, CompiledRule, RuleSet};
use tidegate_core::time::{Micros, Timestamp};
use tidegate_store::{Applied, BucketStore, Outcome, StoreError, UnknownRevisions};
use tokio::sync::Notify;

use crate::ad_hoc::{AdHoc, KEY_ENTRY};
use crate::breaker::{Breaker, BreakerStatus};
use crate::clock::Clock;
use crate::debts::{Debt, Debts, Tally};
use crate::decision::{Decision, Snapshot};
use crate::engine::{Call, Engine, MAX_PLANS};
use crate::error::EngineError;
use crate::local::{Local, Share, at_once};
use crate::permit::{Keeper, PermitToken};
use crate::planned::{Operation, Planned, find_domain};
use crate::request::Request;

/// When a refused caller may come back where nothing better is known: the store is probed more often than that.
const USUAL_RETRY: Micros = Micros::from_secs(1);

/// Why a store gave no answer: the kind of the [`StoreError`] without its text, which is not for callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureCause {
    /// It could not be reached, or is not asked because it failed again and again.
    Unavailable,
    /// It took too long.
    Timeout,
    /// It holds what cannot be read.
    Corrupt,
    /// It is set up in a way that cannot work.
    Misconfigured,
}

impl FailureCause {
    /// The kind of an error.
    #[must_use]
    pub const fn of(error: &StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => FailureCause::Unavailable,
            StoreError::Timeout => FailureCause::Timeout,
            StoreError::Corrupt(_) => FailureCause::Corrupt,
            StoreError::Misconfigured(_) => FailureCause::Misconfigured,
        }
    }

    /// The name in answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            FailureCause::Unavailable => "unavailable",
            FailureCause::Timeout => "timeout",
            FailureCause::Corrupt => "corrupt",
            FailureCause::Misconfigured => "misconfigured",
        }
    }
}

/// How a decision was made without the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Degraded {
    /// The policy that decided.
    pub policy: FailurePolicy,
    /// Why the store could not.
    pub cause: FailureCause,
}

/// What was decided without the store since the start, and what became of the units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DegradedCounts {
    /// Requests that passed because of `allow`.
    pub allow: u64,
    /// Requests refused because of `deny`.
    pub deny: u64,
    /// Requests decided by this node's share, whichever way.
    pub local: u64,
    /// Buckets of which the store is to be told yet.
    pub debts: u64,
    /// Units that the store was told of.
    pub units_debited: u64,
    /// Units that the store may never hear of: too many buckets, the rule is gone, or it took too long to be told.
    pub units_lost: u64,
}

/// What a degraded decision knows besides its verdicts.
#[derive(Debug)]
pub(crate) struct WithoutStore {
    pub(crate) degraded: Degraded,
    /// When a caller refused by policy may come back.
    pub(crate) retry_after: Micros,
    /// Refused for ever by the share, but not by the whole quota: it may pass when the store is back.
    pub(crate) passes_later: bool,
    /// Of the rules in force; a share counts its own versions.
    pub(crate) rules_version: u64,
    /// The share that decided, if one did.
    pub(crate) share: Option<Arc<Share>>,
}

/// Everything an engine needs while its store does not answer.
pub(crate) struct Failure {
    default: FailurePolicy,
    pub(crate) breaker: Option<Arc<Breaker>>,
    pub(crate) local: Local,
    pub(crate) debts: Debts,
    allowed: AtomicU64,
    denied: AtomicU64,
    decided_locally: AtomicU64,
    /// Told of every decision by this node's share.
    pub(crate) used: Notify,
}

impl Failure {
    pub(crate) fn new(
        default: Option<FailurePolicy>,
        breaker: Option<Arc<Breaker>>,
        local_max_bytes: usize,
    ) -> Self {
        Self {
            default: default.unwrap_or_default(),
            breaker,
            local: Local::new(local_max_bytes),
            debts: Debts::default(),
            allowed: AtomicU64::new(0),
            denied: AtomicU64::new(0),
            decided_locally: AtomicU64::new(0),
            used: Notify::new(),
        }
    }

    fn policy_of(&self, rule: &CompiledRule) -> FailurePolicy {
        rule.on_store_failure().unwrap_or(self.default)
    }

    /// The strictest policy of the enforced rules that match: deny, local, allow.
    fn policy_for(&self, domain: Option<&CompiledDomain>, request: &Request<'_>) -> FailurePolicy {
        let Some(domain) = domain else { return FailurePolicy::Allow };
        let matches = domain.matches(request.entries);
        let rules = matches.as_slice().iter().filter_map(|position| domain.rule(*position));
        let rules = rules.filter(|rule| request.is_under(rule));
        let policies =
            rules.filter(|rule| rule.model().mode == Mode::Enforce).map(|rule| self.policy_of(rule));
        policies.max_by_key(|policy| strictness(*policy)).unwrap_or(FailurePolicy::Allow)
    }

    /// When the store is worth asking again, in whole seconds.
    fn retry_after(&self, now: Timestamp) -> Micros {
        let next = self.breaker.as_ref().and_then(|breaker| breaker.next_attempt_in(now));
        next.map_or(USUAL_RETRY, |next| Micros::from_secs(next.as_secs_ceil()).max(USUAL_RETRY))
    }

    fn count(&self, policy: FailurePolicy) {
        let counter = match policy {
            FailurePolicy::Allow => &self.allowed,
            FailurePolicy::Deny => &self.denied,
            FailurePolicy::Local => &self.decided_locally,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// How often this node's share decided.
    pub(crate) fn local_decisions(&self) -> u64 {
        self.decided_locally.load(Ordering::Relaxed)
    }
}

const fn strictness(policy: FailurePolicy) -> u8 {
    match policy {
        FailurePolicy::Allow => 0,
        FailurePolicy::Local => 1,
        FailurePolicy::Deny => 2,
    }
}

/// Whether the cost is one that the rules could let pass if each were asked with its whole quota. Rules and their share stand
/// at the same places.
fn fits_whole_quotas(rules: &RuleSet, planned: &Planned<'_>) -> bool {
    let Some(domain) = planned.domain.and_then(|index| rules.domains().get(index)) else { return false };
    let mut enforced =
        planned.asked.iter().zip(planned.plan.buckets()).filter(|(_, bucket)| bucket.is_enforced());
    enforced.all(|(asked, bucket)| {
        domain.rule(asked.position).is_some_and(|rule| {
            let whole = rule.metered_at(asked.quota as usize).meter.quota();
            let (whole, share) = (whole.burst(), bucket.metered.meter.quota().burst());
            // Of the whole quota, as great a part is kept for higher priorities as of the share.
            let kept = u128::from(whole) * u128::from(asked.reserved) / u128::from(share.max(1));
            u128::from(planned.plan.cost) + kept <= u128::from(whole)
        })
    })
}

/// What a share said to a request.
enum Said {
    Decided(Box<Decision>),
    /// A bucket was written under newer rules, or the share is one of newer rules.
    Stale,
    /// There is no share to be had.
    Nothing,
}

impl<S: BucketStore, C: Clock> Engine<S, C> {
    /// How many live nodes share the quotas, this one with them: while the store does not answer, rules with the policy
    /// `local` are decided by limit/N. Takes effect with the next such decision; what buckets hold is carried over.
    /// Take the largest number seen in the last minute: one node too few admits too much.
    pub fn set_live_nodes(&self, nodes: u32) {
        self.shared.failure.local.set_nodes(nodes);
    }

    /// The store's circuit breaker, as it is now. A store without one always answers.
    #[must_use]
    pub fn breaker_status(&self) -> BreakerStatus {
        let breaker = self.shared.failure.breaker.as_ref();
        breaker.map_or_else(|| BreakerStatus::always_closed("memory"), |breaker| breaker.status(self.now()))
    }

    /// What was decided without the store so far.
    #[must_use]
    pub fn degraded_counts(&self) -> DegradedCounts {
        let failure = &self.shared.failure;
        let Tally { paid, lost } = failure.debts.tally();
        DegradedCounts {
            allow: failure.allowed.load(Ordering::Relaxed),
            deny: failure.denied.load(Ordering::Relaxed),
            local: failure.local_decisions(),
            debts: failure.debts.len() as u64,
            units_debited: paid,
            units_lost: lost,
        }
    }

    /// Decides a request that the store gave no answer to. Not in this function: waiting, and anything that can fail.
    #[cold]
    #[inline(never)]
    pub(crate) fn without_store(
        &self,
        mut rules: Snapshot,
        call: Call<'_>,
        operation: Operation,
        error: StoreError,
    ) -> Result<Decision, EngineError> {
        let (entries, ad_hoc_request);
        let request = match (call, operation) {
            (Call::Request(request), Operation::Apply | Operation::Peek) => request,
            (Call::AdHoc(ad_hoc, key, cost), Operation::Apply | Operation::Peek) => {
                entries = [(KEY_ENTRY, key)];
                ad_hoc_request = Request::new(&ad_hoc.domain, &entries).with_cost(cost);
                &ad_hoc_request
            }
            _ => return Err(EngineError::Store(error)),
        };
        let failure = &self.shared.failure;
        let cause = FailureCause::of(&error);
        let mut unknown_revisions = UnknownRevisions::Refuse;
        for _ in 0..MAX_PLANS {
            let now = self.now();
            let found = find_domain(&rules, request.domain);
            let policy = failure.policy_for(found.map(|(_, domain)| domain), request);
            let without = WithoutStore {
                degraded: Degraded { policy, cause },
                retry_after: failure.retry_after(now),
                passes_later: false,
                rules_version: rules.version(),
                share: None,
            };
            let decision = if policy == FailurePolicy::Local {
                match self.by_share(&rules, call, request, (operation, unknown_revisions), &without) {
                    Said::Decided(decision) => *decision,
                    Said::Nothing => return Err(EngineError::Store(error)),
                    Said::Stale => {
                        let newest = self.rules_of(call);
                        if Arc::ptr_eq(&rules, &newest) {
                            unknown_revisions = UnknownRevisions::Adopt;
                        }
                        rules = newest;
                        continue;
                    }
                }
            } else {
                let domain = found.map(|(index, _)| index);
                Decision::by_policy(rules, domain, request.cost, now, without)
            };
            if operation == Operation::Apply {
                failure.count(policy);
                if let Some(observer) = &self.shared.observer {
                    observer.decided(&decision);
                }
            }
            return Ok(decision);
        }
        Err(EngineError::RulesUnsettled)
    }

    /// Asks this node's share of the rules whose policy is `local`, and remembers what it let through.
    fn by_share(
        &self,
        rules: &Snapshot,
        call: Call<'_>,
        request: &Request<'_>,
        (operation, unknown_revisions): (Operation, UnknownRevisions),
        without: &WithoutStore,
    ) -> Said {
        let shared = &*self.shared;
        let now = self.now();
        let local = &shared.failure.local;
        let (share, ad_hoc) = match call {
            Call::AdHoc(ad_hoc, ..) => (local.ad_hoc_share(&ad_hoc.rules, now), Some(ad_hoc)),
            Call::Request(_) | Call::Selected(_) => (local.share(rules, now), None),
        };
        let Some(share) = share else { return Said::Nothing };
        if share.rules_version != rules.version() {
            return Said::Stale;
        }
        let mut planned = self.planned_locally(&share.rules, request, operation);
        planned.plan.unknown_revisions = unknown_revisions;
        let applied = match operation {
            Operation::Apply => at_once(share.store.apply(&planned.plan, now)),
            Operation::Peek | Operation::Refund => at_once(share.store.peek(&planned.plan, now)),
        };
        let outcome = match applied {
            Some(Ok(Applied::Decided(outcome))) => outcome,
            Some(Ok(Applied::Stale)) => return Said::Stale,
            Some(Err(_)) | None => return Said::Nothing,
        };
        if operation == Operation::Apply {
            // A timed-out charge may have happened, and counts as if it had: it is not made a second time.
            if without.degraded.cause != FailureCause::Timeout {
                self.owe(request, ad_hoc, &share.rules, (&planned, &outcome));
            }
            shared.failure.used.notify_one();
        }
        let permit = (operation == Operation::Apply)
            .then(|| PermitToken::granted(Keeper::Node, &*share.store, &planned.plan, &outcome))
            .flatten();
        let passes_later = fits_whole_quotas(rules, &planned);
        let decision = Decision::new(
            Guard::from_inner(Arc::clone(&share.rules)),
            planned.domain,
            planned.asked,
            outcome,
            request.cost,
            permit,
        );
        let share = Some(Arc::clone(&share));
        Said::Decided(Box::new(decision.made_without(WithoutStore { passes_later, share, ..*without })))
    }

    fn planned_locally<'r>(
        &self,
        rules: &'r RuleSet,
        request: &Request<'_>,
        operation: Operation,
    ) -> Planned<'r> {
        let failure = &self.shared.failure;
        let mut planned = Planned::new();
        let is_local = |rule: &CompiledRule| failure.policy_of(rule) == FailurePolicy::Local;
        planned.request(rules, request, operation, &self.shared.permits, is_local);
        planned
    }

    fn owe(
        &self,
        request: &Request<'_>,
        ad_hoc: Option<&AdHoc>,
        rules: &RuleSet,
        (planned, outcome): (&Planned<'_>, &Outcome),
    ) {
        let Some((_, domain)) = find_domain(rules, request.domain) else { return };
        if !outcome.charged || outcome.repeated {
            return;
        }
        for (bucket, result) in planned.plan.buckets().iter().zip(&outcome.results) {
            // A permit is not a unit: it ends by itself.
            if result.verdict.is_allow() && bucket.rule.model().algorithm != Algorithm::Concurrency {
                let key = planned.plan.key_of(bucket);
                let describe = || Debt::of(request, ad_hoc, domain, bucket.rule);
                self.shared.failure.debts.add(key, request.cost, describe);
            }
        }
    }

    /// Takes back what this node's share let through to a request that gave up waiting.
    pub(crate) fn withdraw_locally(&self, request: &Request<'_>, share: &Share, decision: &Decision) {
        let mut planned = self.planned_locally(&share.rules, request, Operation::Apply);
        planned.plan.permit = decision.permit().map_or(0, |permit| permit.id);
        // The embedded store always answers.
        let _ = at_once(share.store.withdraw(&planned.plan, &decision.outcome, self.now()));
        let results: &SmallVec<_> = &decision.outcome.results;
        for (bucket, result) in planned.plan.buckets().iter().zip(results) {
            if decision.outcome.charged && result.verdict.is_allow() {
                self.shared.failure.debts.forgive(planned.plan.key_of(bucket), request.cost);
            }
        }
    }
}
