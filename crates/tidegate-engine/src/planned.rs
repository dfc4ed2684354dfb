//! From a request to a plan: which rules apply, which quota of each holds, which buckets are asked.

use smallvec::SmallVec;
use tidegate_core::quota::Algorithm;
use tidegate_core::rule::model::{Condition, EntryCondition, Mode, Rule};
use tidegate_core::rule::{CompiledDomain, CompiledRule, RuleSet};
use tidegate_store::Plan;

use crate::decision::Asked;
use crate::random::PermitIds;
use crate::request::{PRIORITY_ENTRY, Request, Selection};

/// The most buckets that a [`Selection`] reaches.
const MAX_SELECTED: usize = 100;

/// What is done with a plan.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Apply,
    Peek,
    Refund,
}

/// A plan and which rules it asks.
pub(crate) struct Planned<'a> {
    pub(crate) plan: Plan<'a>,
    pub(crate) asked: SmallVec<[Asked; 2]>,
    pub(crate) domain: Option<usize>,
}

impl<'a> Planned<'a> {
    pub(crate) fn new() -> Self {
        Self { plan: Plan::new(1), asked: SmallVec::new(), domain: None }
    }

    /// Plans the buckets of the rules that match a request and are wanted. Filled in place: a plan is large, and moving it
    /// shows in what a decision costs.
    pub(crate) fn request(
        &mut self,
        rules: &'a RuleSet,
        request: &Request<'_>,
        operation: Operation,
        permits: &PermitIds,
        wanted: impl Fn(&CompiledRule) -> bool,
    ) {
        self.plan.cost = request.cost;
        let Some((index, domain)) = find_domain(rules, request.domain) else { return };
        self.domain = Some(index);
        let tier = request.tier(domain);
        let priority = request.entry(PRIORITY_ENTRY);
        let matches = domain.matches(request.entries);
        for position in matches.as_slice() {
            if let Some(rule) = domain.rule(*position).filter(|rule| request.is_under(rule) && wanted(rule)) {
                self.add(*position, rule, request.quotas.of_rule(tier, rule), priority, request.entries);
            }
        }
        self.plan.idempotency_key = request.idempotency_key.map(|key| name_of_call(request, key, operation));
        if operation == Operation::Apply && self.has_concurrency() {
            self.plan.permit = permits.draw(self.plan.idempotency_key.as_deref());
        }
    }

    /// Plans the bucket of a set of one rule that every request matches: what [`Planned::request`] would find, without
    /// looking for it.
    pub(crate) fn only(
        &mut self,
        rules: &'a RuleSet,
        (entries, cost): (&[(&str, &str)], u64),
        operation: Operation,
        permits: &PermitIds,
    ) {
        self.plan.cost = cost;
        let Some(rule) = rules.domains().first().and_then(|domain| domain.rule(0)) else { return };
        self.domain = Some(0);
        self.add(0, rule, None, None, entries);
        if operation == Operation::Apply && self.has_concurrency() {
            self.plan.permit = permits.draw(None);
        }
    }

    /// Plans the buckets that one value selects.
    pub(crate) fn selected(&mut self, rules: &'a RuleSet, selection: &Selection<'_>) {
        self.plan.cost = selection.cost;
        let Some((index, domain)) = find_domain(rules, selection.domain) else { return };
        self.domain = Some(index);
        let tier = selection.quotas.tier.or(domain.default_tier());
        let wanted = |rule: &CompiledRule| {
            selection.entry.is_none_or(|entry| rule.model().key.first().is_some_and(|key| key == entry))
        };
        let rules = rules_selected_by(domain, selection.value).into_iter();
        for (position, rule) in rules.filter(|(_, rule)| wanted(rule)).take(MAX_SELECTED) {
            let entry = rule.model().key.first().map_or("", String::as_str);
            let tier = selection.quotas.of_rule(tier, rule);
            self.add(position, rule, tier, None, &[(entry, selection.value)]);
        }
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
/// the key, the domain, the cost, the entries in the order of their names, and the rooms that its visitor is inside of.
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
    for room in request.inside {
        name.extend_from_slice(&(room.as_str().len() as u64).to_le_bytes());
        name.extend_from_slice(room.as_str().as_bytes());
    }
    name.into_boxed_slice()
}

/// A domain by name, with its place.
pub(crate) fn find_domain<'a>(rules: &'a RuleSet, name: &str) -> Option<(usize, &'a CompiledDomain)> {
    let index = rules.domain_index(name)?;
    rules.domains().get(index).map(|domain| (index, domain))
}

fn rules_selected_by<'a>(domain: &'a CompiledDomain, value: &str) -> Vec<(u32, &'a CompiledRule)> {
    let selected = |rule: &CompiledRule| match rule.model().key.as_slice() {
        [entry] => {
            let is_met = |conditions: &[EntryCondition]| {
                let on_entry = conditions.iter().filter(|wanted| wanted.entry == *entry);
                on_entry.map(|wanted| &wanted.condition).all(|condition| {
                    condition.matches(Some(value)) && !matches!(condition, Condition::Absent)
                })
            };
            let Rule { conditions, any, .. } = rule.model();
            is_met(conditions) && (any.is_empty() || any.iter().any(|one| is_met(one)))
        }
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
