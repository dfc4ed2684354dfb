//! What is remembered of a request after it was decided: usage, the busiest keys, the requests of the last minutes.

use std::sync::atomic::Ordering;

use tidegate_catalog::model::{UsageCounts, split_qualified};
use tidegate_catalog::usage::{Counted, Names, Told, UsageMeter};
use tidegate_core::rule::CompiledDomain;
use tidegate_engine::{Clock, Decision, Request, TIER_ENTRY};
use tidegate_store::BucketStore;

use super::{Gate, Look, unix_us};

impl<S: BucketStore, C: Clock> Gate<S, C> {
    /// Remembers a decided request. Waits for nothing, and allocates only for what it has not met lately.
    ///
    /// A repeated decision was remembered when it was made. A domain that is not there is not remembered either: such names
    /// come from outside, and there is no end of them.
    pub fn note(&self, look: &Look<'_>, request: &Request<'_>, decision: &Decision) {
        let Some(catalog) = self.catalog.as_ref().filter(|_| !decision.is_repeated()) else { return };
        let Some(domain) = decision.compiled_domain() else { return };
        let now_us = unix_us(decision.decided_at());
        let tier = tier(look, request, decision, domain);
        count(catalog.usage(), now_us, tier, domain, decision);
        if let Some(key) = key(request, decision, domain) {
            let told = if decision.is_allowed() { Told::Allowed } else { Told::Denied };
            catalog.top_keys().record(now_us, domain.name(), key, told, decision.cost());
        }
        catalog.recent().record(now_us, domain.name(), request.entries, look.tier(), decision.cost());
    }

    /// Counts a request that was refused for a ban.
    pub fn note_ban(&self) {
        if let Some(catalog) = &self.catalog {
            catalog.banned.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Counts every rule's own verdict, enforced or not; where no rule was asked, the answer under no rule.
fn count(meter: &UsageMeter, now_us: i64, tier: &str, domain: &CompiledDomain, decision: &Decision) {
    let record = |counted: Counted<'_>, rule: &str, told: Told| {
        meter.record(now_us, (counted, tier), counts(told, decision), || {
            let (tenant, domain) = split_qualified(domain.name());
            let text = str::to_owned;
            Names { tenant: text(tenant), domain: text(domain), rule: text(rule), tier: text(tier) }
        });
    };
    let mut was_asked = false;
    for verdict in decision.verdicts() {
        was_asked = true;
        let told = if verdict.verdict.is_allow() { Told::Allowed } else { Told::Denied };
        record(Counted::Rule(verdict.rule.uid()), verdict.rule.name(), told);
    }
    if !was_asked {
        let told = if decision.is_allowed() { Told::Allowed } else { Told::Denied };
        record(Counted::NoRule(domain.name()), "", told);
    }
}

/// One verdict's counts. Units are taken only where the request may pass.
fn counts(told: Told, decision: &Decision) -> UsageCounts {
    match told {
        Told::Allowed => {
            let cost = if decision.is_allowed() { decision.cost() } else { 0 };
            UsageCounts { allowed: 1, denied: 0, cost }
        }
        Told::Denied => UsageCounts { allowed: 0, denied: 1, cost: 0 },
    }
}

/// The tier that the quotas were chosen by: the request's own, else the catalog's, else the domain's. One that the request
/// says and no rule names chose nothing, and its name is anybody's, so it counts as the domain's.
fn tier<'a>(
    look: &'a Look<'_>,
    request: &Request<'a>,
    decision: &Decision,
    domain: &'a CompiledDomain,
) -> &'a str {
    let is_named = |tier: &&str| {
        decision.verdicts().any(|verdict| verdict.rule.model().tiers.iter().any(|(name, _)| name == tier))
    };
    let tier = match value_of(request, TIER_ENTRY) {
        Some(said) => Some(said).filter(is_named),
        None => look.tier(),
    };
    tier.or(domain.default_tier()).unwrap_or_default()
}

/// What a request is known by among the busiest: its subject, else the first entry of the key of the rule that binds.
fn key<'a>(request: &Request<'a>, decision: &Decision, domain: &CompiledDomain) -> Option<&'a str> {
    let subject = domain.subject().and_then(|subject| value_of(request, subject));
    subject.or_else(|| {
        let rule = decision.binding().or_else(|| decision.verdicts().next())?.rule;
        value_of(request, rule.model().key.first()?)
    })
}

fn value_of<'a>(request: &Request<'a>, name: &str) -> Option<&'a str> {
    request.entries.iter().find(|(entry, _)| *entry == name).map(|(_, value)| *value)
}

#[cfg(test)]
#[path = "note_tests.rs"]
mod tests;
