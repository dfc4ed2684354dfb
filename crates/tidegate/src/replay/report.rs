//! Collects what the engine decided, as plain data, in bounded memory.

use std::collections::HashMap;

use super::keys::{KeyBudget, KeyCounts, KeyTable, MAX_KEYS, MAX_KEYS_TEXT_BYTES, top_by, worse_first};
use super::stream::ReadStats;
use super::summary::{
    KeyRow, MAX_SHOWN_BUCKETS, Period, RequestTotals, RuleRow, RuleSummary, Summary, TimelineBucket,
    TimelineSummary,
};
use super::timeline::Timeline;

#[cfg(test)]
mod tests;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Let through at once.
    Allowed,
    /// Let through after waiting its turn.
    Waited,
    /// Refused.
    Denied,
}

/// One request as the engine decided it.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    /// The time of the virtual clock, in microseconds since the Unix epoch; does not go back.
    pub at_us: u64,
    /// What became of the request.
    pub outcome: Outcome,
    /// The verdict of each rule that matched; empty where none did.
    pub verdicts: &'a [RuleSample<'a>],
}

/// One rule's verdict on a request.
#[derive(Debug, Clone, Copy)]
pub struct RuleSample<'a> {
    /// The rule's domain.
    pub domain: &'a str,
    /// The rule's name.
    pub rule: &'a str,
    /// The partition key as text for people; empty for a rule without one.
    pub key: &'a str,
    /// Whether the verdict is Allow.
    pub allowed: bool,
    /// Whether the rule is in shadow mode: its denial was not obeyed.
    pub shadow: bool,
    /// Whether this rule is the one that bound the decision.
    pub binding: bool,
    /// Units left in the bucket after this decision.
    pub remaining: u64,
}

/// The accumulator. Memory is bounded by [`MAX_KEYS`], [`MAX_KEYS_TEXT_BYTES`] and the number of rules.
#[derive(Debug)]
pub struct Report {
    totals: RequestTotals,
    period: Option<Period>,
    rules: Vec<Rule>,
    /// domain → rule → index into `rules`.
    by_name: HashMap<Box<str>, HashMap<Box<str>, usize>>,
    budget: KeyBudget,
    timeline: Timeline,
}

#[derive(Debug)]
struct Rule {
    row: RuleRow,
    keys: KeyTable,
}

impl Default for Report {
    fn default() -> Self {
        Self::new()
    }
}

impl Report {
    /// An empty report.
    #[must_use]
    pub fn new() -> Self {
        Self::with_budget(KeyBudget::new(MAX_KEYS, MAX_KEYS_TEXT_BYTES))
    }

    fn with_budget(budget: KeyBudget) -> Self {
        Self {
            totals: RequestTotals::default(),
            period: None,
            rules: Vec::new(),
            by_name: HashMap::new(),
            budget,
            timeline: Timeline::new(),
        }
    }

    /// Makes a rule appear in the report, in this order, even if no request matches it: a rule that never
    /// matches is something to know.
    pub fn declare_rule(&mut self, domain: &str, rule: &str) {
        self.rule_index(domain, rule);
    }

    /// Counts a request.
    pub fn record(&mut self, sample: &Sample<'_>) {
        let at_us = sample.at_us;
        match &mut self.period {
            Some(period) => period.end_us = period.end_us.max(at_us),
            None => self.period = Some(Period { start_us: at_us, end_us: at_us }),
        }
        self.totals.total += 1;
        match sample.outcome {
            Outcome::Allowed => self.totals.allowed += 1,
            Outcome::Waited => self.totals.waited += 1,
            Outcome::Denied => self.totals.denied += 1,
        }
        self.totals.unmatched += u64::from(sample.verdicts.is_empty());
        self.timeline.record(at_us, sample.outcome);
        for verdict in sample.verdicts {
            self.record_verdict(at_us, verdict);
        }
    }

    fn record_verdict(&mut self, at_us: u64, verdict: &RuleSample<'_>) {
        let index = self.rule_index(verdict.domain, verdict.rule);
        let Rule { row, keys } = &mut self.rules[index];
        row.evaluated += 1;
        let lowest = row.lowest_remaining.unwrap_or(verdict.remaining);
        row.lowest_remaining = Some(lowest.min(verdict.remaining));
        if verdict.allowed {
            row.allowed += 1;
        } else if verdict.shadow {
            row.shadow_denied += 1;
        } else {
            row.denied += 1;
            row.binding_denials += u64::from(verdict.binding);
        }
        if !verdict.allowed {
            row.first_denial_us.get_or_insert(at_us);
        }
        match keys.entry(verdict.key, &mut self.budget) {
            Some(counts) => {
                counts.evaluated += 1;
                counts.denied += u64::from(!verdict.allowed && !verdict.shadow);
                counts.shadow_denied += u64::from(!verdict.allowed && verdict.shadow);
            }
            None => row.keys_complete = false,
        }
    }

    fn rule_index(&mut self, domain: &str, rule: &str) -> usize {
        if let Some(index) = self.by_name.get(domain).and_then(|rules| rules.get(rule)) {
            return *index;
        }
        let index = self.rules.len();
        self.by_name.entry(domain.into()).or_default().insert(rule.into(), index);
        self.rules.push(Rule { row: RuleRow::new(domain, rule), keys: KeyTable::default() });
        index
    }

    /// What was collected, with the `top` keys denied most of each rule and of all.
    #[must_use]
    pub fn summary(&self, lines: &ReadStats, top: usize) -> Summary {
        let rules = self.rules.iter().map(|Rule { row, keys }| RuleSummary {
            row: RuleRow { distinct_keys: keys.len() as u64, ..row.clone() },
            top_keys: keys.top(top).into_iter().map(|(key, counts)| key_row(row, key, counts)).collect(),
        });
        Summary {
            period: self.period,
            lines: lines.clone(),
            requests: self.totals,
            rules: rules.collect(),
            top_keys: self.top_keys(top),
            keys_complete: !self.budget.exhausted(),
            timeline: self.timeline_summary(),
        }
    }

    fn top_keys(&self, top: usize) -> Vec<KeyRow> {
        // The worst of all are among the worst of each rule.
        let candidates = self.rules.iter().flat_map(|rule| {
            rule.keys.top(top).into_iter().map(move |(key, counts)| (&rule.row, key, counts))
        });
        let worst = top_by(candidates, top, |a, b| {
            worse_first(&a.2, &b.2)
                .then_with(|| (&a.0.domain, &a.0.rule, a.1).cmp(&(&b.0.domain, &b.0.rule, b.1)))
        });
        worst.into_iter().map(|(row, key, counts)| key_row(row, key, counts)).collect()
    }

    fn timeline_summary(&self) -> TimelineSummary {
        let mut timeline = self.timeline.clone();
        timeline.shrink_to(MAX_SHOWN_BUCKETS);
        let buckets = timeline.buckets().map(|(start_us, counts)| TimelineBucket {
            start_us,
            allowed: counts.allowed,
            waited: counts.waited,
            denied: counts.denied,
        });
        TimelineSummary { bucket_seconds: timeline.width_s(), buckets: buckets.collect() }
    }
}

fn key_row(rule: &RuleRow, key: &str, counts: KeyCounts) -> KeyRow {
    KeyRow {
        domain: rule.domain.clone(),
        rule: rule.rule.clone(),
        key: key.to_owned(),
        evaluated: counts.evaluated,
        denied: counts.denied,
        shadow_denied: counts.shadow_denied,
    }
}
