//! Other rules tried on requests that were made: what would have been different.
//!
//! Both sets of rules decide the same requests, each at its own time and in its own store, beginning from rest. Nothing
//! else is touched.

use std::collections::{BTreeSet, HashMap};

use tidegate_core::rule::{CompiledDomain, CompiledRule, RuleSet};
use tidegate_core::time::Timestamp;
use tidegate_engine::{Decision, Engine, EngineError, ManualClock, Request, random_seed};
use tidegate_store::{MemoryOptions, MemoryStore};

use crate::replay::entries_used_by;

/// How much the store of either side may hold.
const STORE_BYTES: usize = 64 << 20;
/// The most different keys that are counted; of others only the number is known.
const MAX_KEYS: usize = 10_000;
/// The most keys that are named.
const MAX_NAMED_KEYS: usize = 10;

/// Where requests come from, and so what their entries are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Callers: each set of rules sees every entry that was sent.
    Callers,
    /// A log, which has more fields than a caller would send: each set of rules sees the entries of which its rules speak, as
    /// in a replay.
    Log,
}

/// A request that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialRequest {
    /// When, in microseconds since the Unix epoch.
    pub at_us: u64,
    /// What was known of it.
    pub entries: Vec<(String, String)>,
    /// Units.
    pub cost: u64,
}

/// Requests by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those that passed, at once or after a wait.
    pub allowed: u64,
    /// Those that were refused.
    pub denied: u64,
}

/// What one rule refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleCounts {
    /// The rule.
    pub rule: String,
    /// Requests that it was the reason to refuse before.
    pub denied_before: u64,
    /// And after.
    pub denied_after: u64,
}

/// What would have been different.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Requests tried.
    pub requests: u64,
    /// The first and the last, in microseconds since the Unix epoch; `None` where there were none.
    pub span_us: Option<(u64, u64)>,
    /// By the rules before.
    pub before: Counts,
    /// By the rules after.
    pub after: Counts,
    /// Requests that passed before and would be refused.
    pub newly_denied: u64,
    /// Requests that were refused before and would pass.
    pub newly_allowed: u64,
    /// Requests that no rule applies to, of neither set: they may lack the entries that keys need.
    pub unmatched: u64,
    /// By rule, those that refused anything.
    pub by_rule: Vec<RuleCounts>,
    /// The keys with the most requests that would be refused now, and how many.
    pub newly_denied_keys: Vec<(String, u64)>,
}

/// Tries two sets of rules on the same requests, which come in the order of their times.
///
/// # Errors
/// [`EngineError`], which the embedded store never gives.
pub async fn compare(
    before: RuleSet,
    after: RuleSet,
    domain: &str,
    source: Source,
    requests: impl IntoIterator<Item = TrialRequest>,
) -> Result<Comparison, EngineError> {
    let (before, after) = (Side::new(before, domain, source), Side::new(after, domain, source));
    let mut tally = Tally::default();
    for request in requests {
        let entries: Vec<(&str, &str)> =
            request.entries.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let asked = Request::new(domain, &entries).with_cost(request.cost);
        let at = Timestamp::from_micros(request.at_us);
        let (was, is) = (before.decide(asked, at).await?, after.decide(asked, at).await?);
        tally.add(request.at_us, &entries, &was, &is);
    }
    Ok(tally.finish())
}

struct Side {
    engine: Engine<MemoryStore, ManualClock>,
    clock: ManualClock,
    /// The entries that the rules see; nothing where they see all.
    seen: Option<BTreeSet<String>>,
}

impl Side {
    fn new(rules: RuleSet, domain: &str, source: Source) -> Self {
        let of_domain = rules.domain(domain).into_iter().flat_map(CompiledDomain::rules);
        let used = entries_used_by(of_domain.map(CompiledRule::model)).map(str::to_owned);
        let seen = (source == Source::Log).then(|| used.collect());
        let clock = ManualClock::default();
        let options = MemoryOptions { max_bytes: STORE_BYTES, ..MemoryOptions::new(random_seed()) };
        let engine = Engine::with_parts(rules, MemoryStore::new(&options), clock.clone(), None);
        Self { engine, clock, seen }
    }

    async fn decide(&self, request: Request<'_>, at: Timestamp) -> Result<Decision, EngineError> {
        self.clock.set(at);
        let Some(seen) = &self.seen else { return self.engine.decide(&request).await };
        let entries: Vec<(&str, &str)> =
            request.entries.iter().copied().filter(|(name, _)| seen.contains(*name)).collect();
        self.engine.decide(&Request { entries: &entries, ..request }).await
    }
}

#[derive(Default)]
struct Tally {
    comparison: Comparison,
    by_rule: HashMap<String, (u64, u64)>,
    by_key: HashMap<String, u64>,
}

impl Tally {
    fn add(&mut self, at_us: u64, entries: &[(&str, &str)], was: &Decision, is: &Decision) {
        let comparison = &mut self.comparison;
        comparison.requests += 1;
        comparison.unmatched += u64::from(was.verdicts().next().is_none() && is.verdicts().next().is_none());
        comparison.span_us = Some((comparison.span_us.map_or(at_us, |(first, _)| first), at_us));
        comparison.before.add(was);
        comparison.after.add(is);
        for (decision, is_after) in [(was, false), (is, true)] {
            let Some(binding) = decision.binding().filter(|_| !decision.is_allowed()) else { continue };
            let counts = self.by_rule.entry(binding.rule.name().to_owned()).or_default();
            if is_after {
                counts.1 += 1;
            } else {
                counts.0 += 1;
            }
        }
        match (was.is_allowed(), is.is_allowed()) {
            (true, false) => {
                comparison.newly_denied += 1;
                self.add_key(entries, is);
            }
            (false, true) => comparison.newly_allowed += 1,
            (true, true) | (false, false) => {}
        }
    }

    fn add_key(&mut self, entries: &[(&str, &str)], decision: &Decision) {
        let Some(binding) = decision.binding() else { return };
        let value =
            |name: &String| entries.iter().find(|(entry, _)| entry == name).map_or("", |(_, value)| *value);
        let key: Vec<&str> = binding.rule.model().key.iter().map(value).collect();
        let key = key.join(" ");
        if self.by_key.len() < MAX_KEYS || self.by_key.contains_key(&key) {
            *self.by_key.entry(key).or_default() += 1;
        }
    }

    fn finish(self) -> Comparison {
        let mut by_rule: Vec<RuleCounts> = self
            .by_rule
            .into_iter()
            .map(|(rule, (denied_before, denied_after))| RuleCounts { rule, denied_before, denied_after })
            .collect();
        by_rule.sort_by(|a, b| a.rule.cmp(&b.rule));
        let mut keys: Vec<(String, u64)> = self.by_key.into_iter().collect();
        keys.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        keys.truncate(MAX_NAMED_KEYS);
        Comparison { by_rule, newly_denied_keys: keys, ..self.comparison }
    }
}

impl Counts {
    fn add(&mut self, decision: &Decision) {
        if decision.is_allowed() {
            self.allowed += 1;
        } else {
            self.denied += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_config::parse_rules;

    use super::*;

    fn rules(limit: u64) -> RuleSet {
        let yaml = format!(
            "version: 1\ndomains:\n  - name: d\n    rules:\n      - {{ name: r, key: [user_id], limit: {limit}, window: 60s, algorithm: fixed_window }}\n"
        );
        RuleSet::compile(parse_rules(&yaml, "t").unwrap().rules).unwrap()
    }

    fn requests(users: &[&str], each: u64) -> Vec<TrialRequest> {
        let entries = |user: &&str| vec![("user_id".to_owned(), (*user).to_owned())];
        let at = |n| 1_767_225_600_000_000 + n * 1_000;
        (0..each)
            .flat_map(|n| {
                users.iter().map(move |user| TrialRequest { at_us: at(n), entries: entries(user), cost: 1 })
            })
            .collect()
    }

    #[tokio::test]
    async fn a_lower_limit_refuses_what_is_beyond_it_and_names_whose_it_was() {
        let made =
            compare(rules(10), rules(4), "d", Source::Callers, requests(&["ann", "bob"], 6)).await.unwrap();
        assert_eq!(
            (made.before, made.after),
            (Counts { allowed: 12, denied: 0 }, Counts { allowed: 8, denied: 4 })
        );
        assert_eq!((made.newly_denied, made.newly_allowed), (4, 0));
        assert_eq!(made.newly_denied_keys, [("ann".to_owned(), 2), ("bob".to_owned(), 2)]);
        assert_eq!(made.by_rule, [RuleCounts { rule: "r".into(), denied_before: 0, denied_after: 4 }]);
        assert_eq!(made.span_us, Some((1_767_225_600_000_000, 1_767_225_600_005_000)));
    }

    #[tokio::test]
    async fn a_higher_limit_lets_pass_what_was_refused() {
        let made = compare(rules(2), rules(100), "d", Source::Callers, requests(&["ann"], 6)).await.unwrap();
        assert_eq!((made.newly_denied, made.newly_allowed), (0, 4));
    }

    #[tokio::test]
    async fn requests_that_no_rule_applies_to_are_counted_apart() {
        let request = TrialRequest { at_us: 1, entries: vec![("client_ip".into(), "x".into())], cost: 1 };
        let made = compare(rules(2), rules(1), "d", Source::Callers, [request]).await.unwrap();
        assert_eq!((made.requests, made.unmatched), (1, 1));
    }

    #[tokio::test]
    async fn rules_see_of_a_log_what_they_speak_of_and_of_callers_everything() {
        let only = |limit: u64| {
            let yaml = format!(
                "version: 1\ndomains:\n  - name: d\n    rules:\n      - {{ name: r, key: [user_id], only: true, limit: {limit}, window: 60s, algorithm: fixed_window }}\n"
            );
            RuleSet::compile(parse_rules(&yaml, "t").unwrap().rules).unwrap()
        };
        let more = || {
            requests(&["ann"], 6).into_iter().map(|mut request| {
                request.entries.push(("user_agent".to_owned(), "curl".to_owned()));
                request
            })
        };
        let made = compare(only(10), only(4), "d", Source::Log, more()).await.unwrap();
        assert_eq!((made.newly_denied, made.unmatched), (2, 0));
        let made = compare(only(10), only(4), "d", Source::Callers, more()).await.unwrap();
        assert_eq!((made.newly_denied, made.unmatched), (0, 6), "a caller sent what no rule speaks of");
        // Each set of rules sees what its own rules speak of.
        let made = compare(only(10), rules(4), "d", Source::Log, more()).await.unwrap();
        assert_eq!((made.newly_denied, made.unmatched), (2, 0));
    }

    #[tokio::test]
    async fn nothing_was_asked() {
        let made = compare(rules(2), rules(1), "d", Source::Callers, Vec::new()).await.unwrap();
        assert_eq!(made, Comparison::default());
    }
}
