//! Rules made ready: an immutable set that a request is matched against, and the step from one set to the next.

use core::fmt;
use std::sync::Arc;

use super::compiled::CompiledRule;
use super::index::{Index, Matches};
use super::model::{
    Condition, Domain, FailurePolicy, MAX_ALTERNATIVES, MAX_CONDITIONS, MAX_DOMAINS, MAX_EXCEPTED_PATTERNS,
    MAX_EXCEPTIONS, MAX_KEY_ENTRIES, MAX_PARTS, MAX_QUOTAS, MAX_REGEXES, MAX_REPLACED, MAX_RULES,
    MAX_RULES_TOGETHER, Mode, Rule, Rules,
};
use crate::hash::FnvMap;
use crate::room::RoomName;
use crate::time::Timestamp;

/// The most rules that were removed and whose buckets are still remembered, should they come back.
const MAX_REMOVED_RULES: usize = 10_000;

/// Why declared rules do not make a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleSetError {
    /// More than [`MAX_DOMAINS`] domains or [`MAX_RULES`] rules.
    TooMany,
    /// Two domains of one name.
    DuplicateDomain(String),
    /// Two rules of one name in a domain.
    DuplicateRule(String, String),
    /// Two rules of a domain that would continue the same buckets: the first is called, or was called, like the second was.
    SharedBuckets(String, String, String),
    /// More than [`MAX_RULES_TOGETHER`] rules of a domain that the same thing selects.
    TooManyTogether(String),
    /// More than [`MAX_REGEXES`] regular expressions in a domain.
    TooManyRegexes(String),
    /// A rule with more key entries, conditions, alternatives, exceptions or tiers than it may have, or an empty list of patterns.
    Malformed(String, String),
}

impl fmt::Display for RuleSetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RuleSetError::TooMany => write!(f, "more than {MAX_DOMAINS} domains or {MAX_RULES} rules"),
            RuleSetError::TooManyTogether(domain) => write!(
                f,
                "more than {MAX_RULES_TOGETHER} rules of '{domain}' apply to the same requests: give them different matches"
            ),
            RuleSetError::TooManyRegexes(domain) => write!(
                f,
                "'{domain}' has more than {MAX_REGEXES} regular expressions: write values, prefixes or globs where they do"
            ),
            RuleSetError::DuplicateDomain(domain) => write!(f, "the domain '{domain}' stands twice"),
            RuleSetError::DuplicateRule(domain, rule) => {
                write!(f, "the rule '{rule}' of '{domain}' stands twice")
            }
            RuleSetError::SharedBuckets(domain, rule, other) => write!(
                f,
                "the rules '{rule}' and '{other}' of '{domain}' would share buckets: one was formerly called like the other; give the new one another name"
            ),
            RuleSetError::Malformed(domain, rule) => {
                write!(
                    f,
                    "the rule '{rule}' of '{domain}' has too many key entries, conditions, alternatives, exceptions or tiers, or an empty list"
                )
            }
        }
    }
}

impl core::error::Error for RuleSetError {}

/// A compiled set of rules. Immutable: a change is a new set.
#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    version: u64,
    domains: Vec<CompiledDomain>,
    by_name: FnvMap<String, usize>,
    /// Rules that are gone, by uid, as long as a bucket of theirs may not be at rest.
    removed: FnvMap<u128, Arc<RemovedRule>>,
}

/// A rule that is gone, and when every bucket of it is at rest.
#[derive(Debug)]
struct RemovedRule {
    rule: CompiledRule,
    forget_at: Timestamp,
}

/// A rule of an earlier set.
#[derive(Clone, Copy)]
enum Earlier<'a> {
    Present(&'a CompiledRule),
    Removed(&'a Arc<RemovedRule>),
}

impl Earlier<'_> {
    fn rule(&self) -> &CompiledRule {
        match self {
            Earlier::Present(rule) => rule,
            Earlier::Removed(removed) => &removed.rule,
        }
    }

    /// As a rule that is gone since `at`.
    fn removed(self, at: Timestamp) -> Arc<RemovedRule> {
        match self {
            Earlier::Present(rule) => {
                let forget_at = rule.at_rest_after(at).max(rule.lineage_rests_at());
                Arc::new(RemovedRule { rule: rule.clone(), forget_at })
            }
            Earlier::Removed(removed) => Arc::clone(removed),
        }
    }
}

/// A domain of a compiled set.
#[derive(Clone, Debug)]
pub struct CompiledDomain {
    name: String,
    subject: Option<String>,
    default_tier: Option<String>,
    on_store_failure: Option<FailurePolicy>,
    rules: Vec<CompiledRule>,
    index: Index,
    /// Whether any rule replaces others.
    replaces: bool,
    /// The waiting rooms to which rules send, each once.
    rooms: Vec<RoomName>,
}

impl RuleSet {
    /// Compiles declared rules.
    ///
    /// # Errors
    /// [`RuleSetError`] for names that stand twice and for numbers above their maximum.
    pub fn compile(rules: Rules) -> Result<Self, RuleSetError> {
        let count: usize = rules.domains.iter().map(|domain| domain.rules.len()).sum();
        if rules.domains.len() > MAX_DOMAINS || count > MAX_RULES {
            return Err(RuleSetError::TooMany);
        }
        let mut set = Self { version: 1, ..Self::default() };
        for domain in rules.domains {
            let compiled = CompiledDomain::new(domain)?;
            if set.by_name.insert(compiled.name.clone(), set.domains.len()).is_some() {
                return Err(RuleSetError::DuplicateDomain(compiled.name));
            }
            set.domains.push(compiled);
        }
        Ok(set)
    }

    /// Names the revisions of rules by versions that all nodes know, so that nodes which have missed changes agree on them
    /// with those which have not. `version_of` is given a domain and a rule; what has no version is counted from here.
    #[must_use]
    pub fn stamped(mut self, version_of: impl Fn(&str, &str) -> Option<u64>) -> Self {
        for domain in &mut self.domains {
            for rule in &mut domain.rules {
                if let Some(version) = version_of(&domain.name, rule.name()) {
                    rule.stamp(version);
                }
            }
        }
        self
    }

    /// This set as the successor of `old` at `at`: its version is one higher, or its own where that is higher still, and
    /// buckets written under `old` are carried over instead of starting afresh.
    #[must_use]
    pub fn succeeding(mut self, old: &RuleSet, at: Timestamp) -> Self {
        self.version = self.version.max(old.version.saturating_add(1));
        let removed = old.removed.iter().map(|(uid, removed)| (*uid, Earlier::Removed(removed)));
        let mut earlier: FnvMap<u128, Earlier<'_>> = removed.collect();
        let present = old.domains.iter().flat_map(|domain| &domain.rules);
        earlier.extend(present.map(|rule| (rule.uid(), Earlier::Present(rule))));
        for rule in self.domains.iter_mut().flat_map(|domain| &mut domain.rules) {
            if let Some(before) = earlier.remove(&rule.uid()) {
                rule.succeed(before.rule(), at);
            }
        }
        // Those that stay are not copied: there may be thousands, and a change is of a few.
        let gone = earlier.into_iter().map(|(uid, rule)| (uid, rule.removed(at)));
        self.removed = gone.filter(|(_, removed)| removed.forget_at > at).take(MAX_REMOVED_RULES).collect();
        self
    }

    /// The same set as a given version: how a set that is the first of a process continues the count of others.
    #[must_use]
    pub const fn at_version(mut self, version: u64) -> Self {
        self.version = version;
        self
    }

    /// Counts up with every change.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// A domain by name.
    #[must_use]
    pub fn domain(&self, name: &str) -> Option<&CompiledDomain> {
        self.domain_index(name).and_then(|index| self.domains.get(index))
    }

    /// Where a domain stands in [`RuleSet::domains`].
    #[must_use]
    pub fn domain_index(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// All domains, as declared.
    #[must_use]
    pub fn domains(&self) -> &[CompiledDomain] {
        &self.domains
    }

    /// How many rules there are.
    #[must_use]
    pub fn rule_count(&self) -> usize {
        self.domains.iter().map(|domain| domain.rules.len()).sum()
    }
}

impl CompiledDomain {
    fn new(domain: Domain) -> Result<Self, RuleSetError> {
        let mut names: FnvMap<&str, ()> = FnvMap::default();
        let mut identities: FnvMap<&str, &str> = FnvMap::default();
        for rule in &domain.rules {
            if let Some(other) =
                identities.insert(rule.identity(), &rule.name).filter(|name| *name != rule.name)
            {
                let (rule, other) = (rule.name.clone(), other.to_owned());
                return Err(RuleSetError::SharedBuckets(domain.name.clone(), rule, other));
            }
            if names.insert(&rule.name, ()).is_some() {
                return Err(RuleSetError::DuplicateRule(domain.name.clone(), rule.name.clone()));
            }
            if !is_well_formed(rule) {
                return Err(RuleSetError::Malformed(domain.name.clone(), rule.name.clone()));
            }
        }
        let conditions = domain.rules.iter().flat_map(Rule::all_conditions);
        if conditions.map(|wanted| wanted.condition.regex_count()).sum::<usize>() > MAX_REGEXES {
            return Err(RuleSetError::TooManyRegexes(domain.name));
        }
        let replaces = domain.rules.iter().any(|rule| !rule.replaces.is_empty());
        let mut rooms: Vec<RoomName> = domain.rules.iter().filter_map(Rule::room).cloned().collect();
        rooms.sort_unstable();
        rooms.dedup();
        let rules: Vec<_> = domain
            .rules
            .into_iter()
            .map(|rule| CompiledRule::new(&domain.name, rule, domain.on_store_failure))
            .collect();
        let index = Index::new(&rules);
        if index.most_together() > MAX_RULES_TOGETHER {
            return Err(RuleSetError::TooManyTogether(domain.name));
        }
        Ok(Self {
            name: domain.name,
            subject: domain.subject,
            default_tier: domain.default_tier,
            on_store_failure: domain.on_store_failure,
            rules,
            index,
            replaces,
            rooms,
        })
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The entry whose value is looked up for its tier.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// The tier of a subject of which nothing is known.
    #[must_use]
    pub fn default_tier(&self) -> Option<&str> {
        self.default_tier.as_deref()
    }

    /// What happens where the store does not answer, to rules that do not say it themselves.
    #[must_use]
    pub const fn on_store_failure(&self) -> Option<FailurePolicy> {
        self.on_store_failure
    }

    /// All rules, as declared.
    #[must_use]
    pub fn rules(&self) -> &[CompiledRule] {
        &self.rules
    }

    /// The rule at a position from [`CompiledDomain::matches`].
    #[must_use]
    pub fn rule(&self, position: u32) -> Option<&CompiledRule> {
        self.rules.get(position as usize)
    }

    /// The waiting rooms to which rules send who is over the limit, each once, by name.
    #[must_use]
    pub fn rooms(&self) -> &[RoomName] {
        &self.rooms
    }

    /// Whether any rule replaces others: where none does, nobody has to ask what is [replaced](Self::replaced).
    #[must_use]
    pub const fn has_replacing_rules(&self) -> bool {
        self.replaces
    }

    /// The rules that apply to a request: every rule that matches, except rules that are off, `otherwise` rules where an
    /// enforced rule that is not one matched, and rules that another of these replaces. A shadow rule never keeps an
    /// `otherwise` rule from applying.
    #[must_use]
    pub fn matches(&self, entries: &[(&str, &str)]) -> Matches {
        let mut matches = self.matching(entries);
        if self.replaces {
            let replaced = self.replaced_by(&matches);
            if !replaced.is_empty() {
                matches.settle(|position| {
                    self.rule(position).is_some_and(|rule| !replaced.contains(&rule.name()))
                });
            }
        }
        matches
    }

    /// The names of the rules that are replaced where a request is made.
    #[must_use]
    pub fn replaced(&self, entries: &[(&str, &str)]) -> Vec<&str> {
        if self.replaces { self.replaced_by(&self.matching(entries)) } else { Vec::new() }
    }

    fn replaced_by(&self, matches: &Matches) -> Vec<&str> {
        let rules = matches.as_slice().iter().filter_map(|position| self.rule(*position));
        rules.flat_map(|rule| &rule.model().replaces).map(String::as_str).collect()
    }

    /// The rules that apply to a request, were it not for those that others replace.
    fn matching(&self, entries: &[(&str, &str)]) -> Matches {
        let mut matches = Matches::default();
        self.index.candidates(entries, &mut matches);
        matches.settle(|position| {
            self.rule(position).is_some_and(|rule| rule.model().mode != Mode::Off && rule.applies_to(entries))
        });
        let rules = || matches.as_slice().iter().filter_map(|position| self.rule(*position));
        let otherwise = rules().any(|rule| rule.model().otherwise);
        if otherwise && rules().any(|rule| !rule.model().otherwise && rule.model().mode == Mode::Enforce) {
            matches.settle(|position| self.rule(position).is_some_and(|rule| !rule.model().otherwise));
        }
        matches
    }
}

/// Whether a rule keeps to the maxima, and no list of it is empty that may not be.
fn is_well_formed(rule: &Rule) -> bool {
    let is_one = |condition: &Condition| match condition {
        Condition::OneOf(list) => !list.is_empty(),
        Condition::NoneOf(exceptions) => {
            !exceptions.is_empty()
                && exceptions.len() <= MAX_EXCEPTIONS
                && exceptions.pattern_count() <= MAX_EXCEPTED_PATTERNS
        }
        Condition::Present | Condition::Absent | Condition::AllOf(_) => false,
    };
    let is_condition = |condition: &Condition| match condition {
        Condition::AllOf(parts) => (2..=MAX_PARTS).contains(&parts.len()) && parts.iter().all(is_one),
        Condition::Present | Condition::Absent => true,
        one => is_one(one),
    };
    rule.key.len() <= MAX_KEY_ENTRIES
        && rule.conditions.len() <= MAX_CONDITIONS
        && rule.any.len() <= MAX_ALTERNATIVES
        && rule.any.iter().all(|one| (1..=MAX_CONDITIONS).contains(&one.len()))
        && rule.order.len() <= MAX_CONDITIONS + MAX_KEY_ENTRIES
        && rule.replaces.len() <= MAX_REPLACED
        && rule.tiers.len() <= MAX_QUOTAS
        && rule.all_conditions().all(|condition| is_condition(&condition.condition))
}
