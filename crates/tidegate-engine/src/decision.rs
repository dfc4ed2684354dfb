//! The engine's answer: the decision, every rule's verdict, and the rule that binds.

use std::cmp::Reverse;
use std::sync::Arc;

use smallvec::SmallVec;
use tidegate_core::decision::{Gauge, Verdict};
use tidegate_core::quota::Quota;
use tidegate_core::rule::model::{FailurePolicy, Mode};
use tidegate_core::rule::{CompiledDomain, CompiledRule, RuleSet};
use tidegate_core::time::{Micros, Timestamp};
use tidegate_store::{BucketResult, Outcome};

use crate::failure::{Degraded, WithoutStore};
use crate::local::Share;
use crate::permit::PermitToken;

/// What a request is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It may pass.
    Allow,
    /// It may not pass; nothing was charged.
    Deny,
    /// It may pass after this wait.
    Wait(Micros),
}

/// The rules as they were when a request was decided.
pub(crate) type Snapshot = arc_swap::Guard<Arc<RuleSet>>;

/// A rule that was asked, and the quota that held.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) position: u32,
    /// Which of the rule's quotas, by its index.
    pub(crate) quota: u32,
    pub(crate) reserved: u64,
}

/// The answer to one request.
#[derive(Debug)]
pub struct Decision {
    pub(crate) rules: Snapshot,
    pub(crate) domain: Option<usize>,
    pub(crate) asked: SmallVec<[Asked; 2]>,
    pub(crate) outcome: Outcome,
    pub(crate) cost: u64,
    pub(crate) permit: Option<Box<PermitToken>>,
    answer: Answer,
    binding: Option<usize>,
    without_store: Option<Box<WithoutStore>>,
    /// How many nodes may hold leases; 0 where nothing is leased.
    pub(crate) leasing_nodes: u32,
}

/// One rule's part in a decision.
#[derive(Clone, Copy, Debug)]
pub struct RuleVerdict<'a> {
    /// The rule.
    pub rule: &'a CompiledRule,
    /// The quota that held for this request: the tier's, or the rule's own.
    pub quota: Quota,
    /// The tier whose quota that is; `None` for the rule's own.
    pub tier: Option<&'a str>,
    /// Allow or deny, by this rule alone.
    pub verdict: Verdict,
    /// What the bucket holds after the decision.
    pub gauge: Gauge,
    /// The largest cost that could ever pass for this request: the burst, less what is kept for higher priorities.
    pub most: u64,
    /// Where the rule is leased: how much all nodes together may exceed its bound by, at the most. `None` where it is
    /// decided exactly.
    pub overshoot_bound: Option<u64>,
}

impl RuleVerdict<'_> {
    /// Whether the verdict is obeyed.
    #[must_use]
    pub fn is_enforced(&self) -> bool {
        self.rule.model().mode == Mode::Enforce
    }
}

impl Decision {
    pub(crate) fn new(
        rules: Snapshot,
        domain: Option<usize>,
        asked: SmallVec<[Asked; 2]>,
        outcome: Outcome,
        cost: u64,
        permit: Option<Box<PermitToken>>,
    ) -> Self {
        let mut decision = Self {
            rules,
            domain,
            asked,
            outcome,
            cost,
            permit,
            answer: Answer::Allow,
            binding: None,
            without_store: None,
            leasing_nodes: 0,
        };
        decision.binding = decision.most_restrictive();
        decision.answer = decision.answer_of_binding();
        decision
    }

    /// A decision that a failure policy alone made: no bucket was asked, so there are no verdicts.
    pub(crate) fn by_policy(
        rules: Snapshot,
        domain: Option<usize>,
        cost: u64,
        now: Timestamp,
        without: WithoutStore,
    ) -> Self {
        let nothing_charged = Outcome::new(now, SmallVec::new(), false);
        let decision = Self::new(rules, domain, SmallVec::new(), nothing_charged, cost, None);
        let refused = without.degraded.policy == FailurePolicy::Deny;
        let answer = if refused { Answer::Deny } else { Answer::Allow };
        Self { answer, ..decision.made_without(without) }
    }

    /// The same decision, saying how it was made without the store.
    pub(crate) fn made_without(self, without: WithoutStore) -> Self {
        Self { without_store: Some(Box::new(without)), ..self }
    }

    /// What the request is told.
    #[must_use]
    pub const fn answer(&self) -> Answer {
        self.answer
    }

    /// Whether the request may pass, now or after its wait.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        !matches!(self.answer, Answer::Deny)
    }

    /// The time until the same cost can pass; only on a denial, and `None` where it can never pass. Refused for want of the
    /// store: the time until the store is asked again, in whole seconds, which is a hint.
    #[must_use]
    pub fn retry_after(&self) -> Option<Micros> {
        match self.binding().map(|binding| binding.verdict) {
            Some(Verdict::Deny { retry_after: Some(retry_after) }) => Some(retry_after),
            Some(Verdict::Deny { retry_after: None }) => self
                .without_store
                .as_ref()
                .filter(|without| without.passes_later)
                .map(|without| without.retry_after),
            Some(Verdict::Allow { .. }) => None,
            None => {
                let without = self.without_store.as_ref()?;
                (self.answer == Answer::Deny).then_some(without.retry_after)
            }
        }
    }

    /// Whether it was refused because the store does not answer, and not because a quota is used up: by the policy
    /// [`FailurePolicy::Deny`], or because the cost is more than this node's share can ever hold.
    #[must_use]
    pub fn is_refused_for_want_of_store(&self) -> bool {
        let Some(without) = self.without_store.as_ref().filter(|_| self.answer == Answer::Deny) else {
            return false;
        };
        match self.binding().map(|binding| binding.verdict) {
            Some(Verdict::Deny { retry_after: None }) => without.passes_later,
            Some(_) => false,
            None => true,
        }
    }

    /// How the decision was made, if the store did not make it.
    ///
    /// Under [`FailurePolicy::Local`], the verdicts are those of this node's share of the rules with that policy: quotas and
    /// gauges are the share's. Under [`FailurePolicy::Allow`] and [`FailurePolicy::Deny`] nothing is known of any bucket,
    /// and there are no verdicts.
    #[must_use]
    pub fn degraded(&self) -> Option<Degraded> {
        self.without_store.as_ref().map(|without| without.degraded)
    }

    /// The share of this node that decided, if one did.
    pub(crate) fn share(&self) -> Option<&Share> {
        self.without_store.as_ref()?.share.as_deref()
    }

    /// The most restrictive enforced rule: of those that deny, the one that denies longest; else the one with the
    /// least remaining. `None` where no enforced rule applies.
    #[must_use]
    pub fn binding(&self) -> Option<RuleVerdict<'_>> {
        self.binding.and_then(|index| self.verdict(index))
    }

    /// Every rule that was asked, shadow rules too, in the order of the rule file.
    pub fn verdicts(&self) -> impl Iterator<Item = RuleVerdict<'_>> {
        (0..self.asked.len()).filter_map(|index| self.verdict(index))
    }

    /// How many rules were asked.
    #[must_use]
    pub fn rules_asked(&self) -> usize {
        self.asked.len()
    }

    /// The domain whose rules were asked; `None` where there is no such domain.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        self.compiled_domain().map(CompiledDomain::name)
    }

    /// The same domain, as its rules were when it was decided.
    #[must_use]
    pub fn compiled_domain(&self) -> Option<&CompiledDomain> {
        self.rules.domains().get(self.domain?)
    }

    /// When it was decided, by the store's clock.
    #[must_use]
    pub const fn decided_at(&self) -> Timestamp {
        self.outcome.decided_at
    }

    /// The version of the rules it was decided by.
    #[must_use]
    pub fn rules_version(&self) -> u64 {
        self.without_store.as_ref().map_or(self.rules.version(), |without| without.rules_version)
    }

    /// Units the request asked for.
    #[must_use]
    pub const fn cost(&self) -> u64 {
        self.cost
    }

    /// Whether this repeats the decision of an earlier call with the same idempotency key.
    #[must_use]
    pub const fn is_repeated(&self) -> bool {
        self.outcome.repeated
    }

    /// The permit that was handed out, if a concurrency rule applied and the request may pass.
    #[must_use]
    pub fn permit(&self) -> Option<&PermitToken> {
        self.permit.as_deref()
    }

    fn verdict(&self, index: usize) -> Option<RuleVerdict<'_>> {
        let asked = self.asked.get(index)?;
        let result: &BucketResult = self.outcome.results.get(index)?;
        let rule = self.compiled_domain()?.rule(asked.position)?;
        let quota = *rule.metered_at(asked.quota as usize).meter.quota();
        let most = quota.burst().saturating_sub(asked.reserved);
        let nodes = Some(u64::from(self.leasing_nodes)).filter(|nodes| *nodes > 0);
        let overshoot_bound =
            nodes.and_then(|nodes| Some(rule.model().overshoot_per_node(&quota)?.saturating_mul(nodes)));
        let tier = (asked.quota as usize).checked_sub(1).and_then(|index| rule.model().tiers.get(index));
        let tier = tier.map(|(name, _)| name.as_str());
        Some(RuleVerdict {
            rule,
            quota,
            tier,
            verdict: result.verdict,
            gauge: result.gauge,
            most,
            overshoot_bound,
        })
    }

    fn most_restrictive(&self) -> Option<usize> {
        let restriction = |verdict: &RuleVerdict<'_>| match verdict.verdict {
            Verdict::Deny { retry_after: None } => (3, Micros::ZERO, Reverse(0)),
            Verdict::Deny { retry_after: Some(retry_after) } => (2, retry_after, Reverse(0)),
            Verdict::Allow { wait } => {
                (u8::from(wait > Micros::ZERO), wait, Reverse(verdict.gauge.remaining))
            }
        };
        if self.asked.len() == 1 {
            return self.verdict(0).filter(RuleVerdict::is_enforced).map(|_| 0);
        }
        let enforced = (0..self.asked.len()).filter_map(|index| Some((index, self.verdict(index)?)));
        enforced
            .filter(|(_, verdict)| verdict.is_enforced())
            .max_by_key(|(index, verdict)| (restriction(verdict), Reverse(*index)))
            .map(|(index, _)| index)
    }

    fn answer_of_binding(&self) -> Answer {
        match self.binding().map(|binding| binding.verdict) {
            Some(Verdict::Deny { .. }) => Answer::Deny,
            Some(Verdict::Allow { wait }) if wait > Micros::ZERO => Answer::Wait(wait),
            Some(Verdict::Allow { .. }) | None => Answer::Allow,
        }
    }
}
