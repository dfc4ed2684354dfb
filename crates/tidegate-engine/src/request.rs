//! What is asked of the engine.

use tidegate_core::room::RoomName;
use tidegate_core::rule::{CompiledDomain, CompiledRule, RuleTier};

use crate::stages::Stages;

/// The entry that names the subject's tier.
pub const TIER_ENTRY: &str = "tier";
/// The entry that names the request's priority.
pub const PRIORITY_ENTRY: &str = "priority";

/// One request to decide. Entries are the descriptor: names and values, each name once.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The domain whose rules apply.
    pub domain: &'a str,
    /// What is known about the request.
    pub entries: &'a [(&'a str, &'a str)],
    /// Units to take.
    pub cost: u64,
    /// A call repeated under the same key within ten minutes is charged once.
    pub idempotency_key: Option<&'a str>,
    /// Which quotas hold for the request's subject.
    pub quotas: SubjectQuotas<'a>,
    /// Rules that do not apply, because those of another request of the same call [replace](tidegate_core::rule::model::Rule::replaces)
    /// them. Those that replace one another within this request need not be named.
    pub replaced: &'a [String],
    /// Waiting rooms that the request's visitor has been let into: rules that [send to them](tidegate_core::rule::model::OnLimit)
    /// do not apply.
    pub inside: &'a [RoomName],
    /// Where it is written down what the request waited for; nobody asks if absent, and it costs nothing.
    pub stages: Option<&'a Stages>,
}

/// Which quotas hold for a subject, where the request does not say so itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubjectQuotas<'a> {
    /// The subject's tier; the domain's default tier where absent. The request's entry [`TIER_ENTRY`] comes before it.
    pub tier: Option<&'a str>,
    /// For single rules another tier; comes before every other word on it.
    pub by_rule: &'a [RuleTier],
}

impl<'a> SubjectQuotas<'a> {
    /// The tier whose quota of a rule holds, where `tier` is that of rules of which nothing else is said.
    pub(crate) fn of_rule<'t>(&self, tier: Option<&'t str>, rule: &CompiledRule) -> Option<&'t str>
    where
        'a: 't,
    {
        // One that the rule does not have, as after a change of its algorithm, says nothing.
        let is_known = |own: &&RuleTier| rule.quota_index(Some(&own.tier)) > 0;
        let own = self.by_rule.iter().find(|own| *own.rule == *rule.name()).filter(is_known);
        own.map_or(tier, |own| Some(&*own.tier))
    }
}

/// The buckets that one value selects by itself: those of the domain's rules whose partition key is one entry, and whose
/// condition on that entry, if any, the value meets.
#[derive(Clone, Copy, Debug)]
pub struct Selection<'a> {
    /// The domain whose rules are looked at.
    pub domain: &'a str,
    /// The one entry of the partition key; any where absent.
    pub entry: Option<&'a str>,
    /// The value of that entry.
    pub value: &'a str,
    /// Units, for [`Engine::refund_selected`](crate::Engine::refund_selected).
    pub cost: u64,
    /// Which quotas hold for the one of that value.
    pub quotas: SubjectQuotas<'a>,
}

impl<'a> Selection<'a> {
    /// What a value selects in a domain, whatever the entry.
    #[must_use]
    pub const fn new(domain: &'a str, value: &'a str) -> Self {
        Self { domain, entry: None, value, cost: 1, quotas: SubjectQuotas { tier: None, by_rule: &[] } }
    }
}

impl<'a> Request<'a> {
    /// A request of one unit.
    #[must_use]
    pub const fn new(domain: &'a str, entries: &'a [(&'a str, &'a str)]) -> Self {
        let quotas = SubjectQuotas { tier: None, by_rule: &[] };
        Self {
            domain,
            entries,
            cost: 1,
            idempotency_key: None,
            quotas,
            replaced: &[],
            inside: &[],
            stages: None,
        }
    }

    /// The same request at another cost.
    #[must_use]
    pub const fn with_cost(mut self, cost: u64) -> Self {
        self.cost = cost;
        self
    }

    /// The same request, of a subject of whom something is known.
    #[must_use]
    pub const fn with_quotas(mut self, quotas: SubjectQuotas<'a>) -> Self {
        self.quotas = quotas;
        self
    }

    /// The same request, with a place where it is written down what it waited for.
    #[must_use]
    pub const fn with_stages(mut self, stages: Option<&'a Stages>) -> Self {
        self.stages = stages;
        self
    }

    /// Whether a rule applies that matches.
    pub(crate) fn is_under(&self, rule: &CompiledRule) -> bool {
        let is_replaced = !self.replaced.is_empty() && self.replaced.iter().any(|name| name == rule.name());
        let is_excused = !self.inside.is_empty()
            && rule.model().room().is_some_and(|room| self.inside.iter().any(|inside| inside == room));
        !is_replaced && !is_excused
    }

    /// The tier of the request's subject, for rules of which nothing else is said.
    pub(crate) fn tier(&self, domain: &'a CompiledDomain) -> Option<&'a str> {
        self.entry(TIER_ENTRY).or(self.quotas.tier).or(domain.default_tier())
    }

    pub(crate) fn entry(&self, name: &str) -> Option<&'a str> {
        self.entries.iter().find(|(entry, _)| *entry == name).map(|(_, value)| *value)
    }
}
