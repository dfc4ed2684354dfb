//! Which rules could match a request, found without asking each of them.
//!
//! Every rule hangs on one anchor, the most selective thing it demands: an exact value, a prefix, a path template,
//! the presence of an entry, or nothing. A request looks its values up in the anchors; only rules found there are
//! examined. Ten thousand rules that differ in an exact value therefore cost one lookup.

use crate::hash::FnvMap;
use crate::rule::compiled::CompiledRule;
use crate::rule::model::{Condition, EntryCondition, MAX_RULES_TOGETHER};
use crate::rule::pattern::{Pattern, Segment, Template};

/// Positions of rules in their domain, ascending, each once. Up to 16 need no allocation.
#[derive(Clone, Debug, Default)]
pub struct Matches {
    inline: [u32; Self::INLINE],
    len: usize,
    spill: Vec<u32>,
}

impl Matches {
    const INLINE: usize = 16;

    /// The positions.
    #[must_use]
    pub fn as_slice(&self) -> &[u32] {
        if self.spill.is_empty() { self.inline.get(..self.len).unwrap_or_default() } else { &self.spill }
    }

    fn push(&mut self, position: u32) {
        match self.inline.get_mut(self.len) {
            Some(slot) if self.spill.is_empty() => {
                *slot = position;
                self.len += 1;
            }
            _ => {
                if self.spill.is_empty() {
                    self.spill.extend_from_slice(&self.inline);
                }
                self.spill.push(position);
            }
        }
    }

    /// Sorts, drops repetitions, and keeps what `keep` says.
    pub(super) fn settle(&mut self, keep: impl Fn(u32) -> bool) {
        if self.spill.is_empty() {
            let used = self.inline.get_mut(..self.len).unwrap_or_default();
            if used.len() > 1 {
                used.sort_unstable();
            }
            let mut kept = 0;
            for read in 0..self.len {
                let (Some(&position), previous) = (self.inline.get(read), kept) else { break };
                let repeated = previous > 0 && self.inline.get(previous - 1) == Some(&position);
                if !repeated && keep(position) {
                    if let Some(slot) = self.inline.get_mut(kept) {
                        *slot = position;
                    }
                    kept += 1;
                }
            }
            self.len = kept;
        } else {
            self.spill.sort_unstable();
            self.spill.dedup();
            self.spill.retain(|position| keep(*position));
            self.len = 0;
        }
    }
}

/// The anchors of one domain.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    exact: Vec<(String, FnvMap<String, Vec<u32>>)>,
    prefix: Vec<(String, PrefixTable)>,
    template: Vec<(String, TemplateTree)>,
    present: Vec<(String, Vec<u32>)>,
    always: Vec<u32>,
}

impl Index {
    pub(super) fn new(rules: &[CompiledRule]) -> Self {
        let mut index = Self::default();
        let mut popularity: FnvMap<(&str, &Pattern), usize> = FnvMap::default();
        let mut needs: FnvMap<&str, usize> = FnvMap::default();
        for rule in rules {
            for (entry, pattern) in patterns(rule) {
                *popularity.entry((entry, pattern)).or_default() += 1;
            }
            for entry in needed(rule) {
                *needs.entry(entry).or_default() += 1;
            }
        }
        for (position, rule) in (0_u32..).zip(rules) {
            let own = anchor_of(&rule.model().conditions, &popularity);
            let rarest = needed(rule)
                .map(|entry| (needs.get(entry).copied().unwrap_or_default(), entry))
                .min_by_key(|(count, _)| *count);
            match (own, rarest) {
                // A value that too many rules name is not what tells them apart.
                (Some((commonest, ..)), Some((count, entry)))
                    if commonest > MAX_RULES_TOGETHER && count < commonest =>
                {
                    table(&mut index.present, entry).push(position);
                }
                (Some((_, entry, patterns)), _) => index.insert(entry, patterns, position),
                (None, rarest) => {
                    let of_each = rule.model().any.iter().map(|one| anchor_of(one, &popularity));
                    match (of_each.collect::<Option<Vec<_>>>().filter(|all| !all.is_empty()), rarest) {
                        // One of the alternatives has to hold, so one of their anchors finds the rule.
                        (Some(anchors), _) => {
                            for (_, entry, patterns) in anchors {
                                index.insert(entry, patterns, position);
                            }
                        }
                        (None, Some((_, entry))) => table(&mut index.present, entry).push(position),
                        (None, None) => index.always.push(position),
                    }
                }
            }
        }
        index
    }

    fn insert(&mut self, entry: &str, patterns: &[Pattern], position: u32) {
        for pattern in patterns {
            match pattern {
                Pattern::Exact(value) => {
                    table(&mut self.exact, entry).entry(value.clone()).or_default().push(position);
                }
                Pattern::Prefix(prefix) => table(&mut self.prefix, entry).insert(prefix, position),
                Pattern::Glob(glob) => table(&mut self.prefix, entry).insert(glob.beginning(), position),
                Pattern::Template(template) => table(&mut self.template, entry).insert(template, position),
                // Not an anchor.
                Pattern::Regex(_) => table(&mut self.present, entry).push(position),
            }
        }
    }

    /// The most rules that hang on one anchor.
    pub(super) fn most_together(&self) -> usize {
        let exact = self.exact.iter().flat_map(|(_, values)| values.values());
        let prefix = self.prefix.iter().flat_map(|(_, table)| table.prefixes.values());
        let present = self.present.iter().map(|(_, positions)| positions);
        let lists = exact.chain(prefix).chain(present).chain([&self.always]).map(Vec::len);
        lists.chain(self.template.iter().map(|(_, tree)| tree.most_together())).max().unwrap_or_default()
    }

    /// Rules that could match these entries; some may be named twice.
    pub(super) fn candidates(&self, entries: &[(&str, &str)], matches: &mut Matches) {
        let mut found = |positions: &[u32]| positions.iter().for_each(|position| matches.push(*position));
        for (entry, values) in &self.exact {
            if let Some(positions) = value_of(entries, entry).and_then(|value| values.get(value)) {
                found(positions);
            }
        }
        for (entry, prefixes) in &self.prefix {
            if let Some(value) = value_of(entries, entry) {
                prefixes.lookup(value, &mut found);
            }
        }
        for (entry, tree) in &self.template {
            if let Some(path) = value_of(entries, entry).and_then(|value| value.strip_prefix('/')) {
                tree.lookup(path, &mut found);
            }
        }
        for (entry, positions) in &self.present {
            if value_of(entries, entry).is_some() {
                found(positions);
            }
        }
        found(&self.always);
    }
}

/// The value of an entry, by a short walk: a request has few entries.
pub(super) fn value_of<'a>(entries: &[(&str, &'a str)], name: &str) -> Option<&'a str> {
    entries.iter().find(|(entry, _)| *entry == name).map(|(_, value)| *value)
}

/// The condition whose commonest pattern is named by the fewest rules, of those by whose patterns rules are found: how many name
/// it, its entry, its patterns.
fn anchor_of<'r>(
    conditions: &'r [EntryCondition],
    popularity: &FnvMap<(&str, &Pattern), usize>,
) -> Option<(usize, &'r str, &'r [Pattern])> {
    conditions
        .iter()
        .map(|condition| (condition.entry.as_str(), condition.condition.patterns()))
        .filter(|(_, patterns)| !patterns.is_empty() && patterns.iter().all(Pattern::is_anchor))
        .map(|(entry, patterns)| {
            let commonest = patterns.iter().filter_map(|pattern| popularity.get(&(entry, pattern))).max();
            (commonest.copied().unwrap_or_default(), entry, patterns)
        })
        .min_by_key(|(commonest, _, patterns)| (*commonest, patterns.len()))
}

/// The entries that a request must have, whatever their values.
fn needed(rule: &CompiledRule) -> impl Iterator<Item = &str> {
    let conditions = rule.model().conditions.iter().filter(|condition| match &condition.condition {
        Condition::Present | Condition::NoneOf(_) | Condition::AllOf(_) => true,
        Condition::OneOf(patterns) => !patterns.iter().all(Pattern::is_anchor),
        Condition::Absent => false,
    });
    conditions.map(|condition| condition.entry.as_str()).chain(rule.model().key.iter().map(String::as_str))
}

fn patterns(rule: &CompiledRule) -> impl Iterator<Item = (&str, &Pattern)> {
    rule.model().all_conditions().flat_map(|condition| {
        condition.condition.patterns().iter().map(|pattern| (condition.entry.as_str(), pattern))
    })
}

fn table<'a, T: Default>(tables: &'a mut Vec<(String, T)>, entry: &str) -> &'a mut T {
    let index = tables.iter().position(|(name, _)| name == entry).unwrap_or_else(|| {
        tables.push((entry.to_owned(), T::default()));
        tables.len() - 1
    });
    &mut tables[index].1
}

/// Prefixes by length: a value is looked up once per length that any prefix has.
#[derive(Clone, Debug, Default)]
struct PrefixTable {
    lengths: Vec<usize>,
    prefixes: FnvMap<String, Vec<u32>>,
}

impl PrefixTable {
    fn insert(&mut self, prefix: &str, position: u32) {
        if let Err(index) = self.lengths.binary_search(&prefix.len()) {
            self.lengths.insert(index, prefix.len());
        }
        self.prefixes.entry(prefix.to_owned()).or_default().push(position);
    }

    fn lookup(&self, value: &str, found: &mut impl FnMut(&[u32])) {
        for prefix in
            self.lengths.iter().map_while(|length| (*length <= value.len()).then(|| value.get(..*length)))
        {
            if let Some(positions) = prefix.and_then(|prefix| self.prefixes.get(prefix)) {
                found(positions);
            }
        }
    }
}

/// Path templates by segment.
#[derive(Clone, Debug, Default)]
struct TemplateTree {
    literals: FnvMap<String, TemplateTree>,
    parameter: Option<Box<TemplateTree>>,
    ends_here: Vec<u32>,
}

impl TemplateTree {
    fn insert(&mut self, template: &Template, position: u32) {
        let mut node = self;
        for segment in template.segments() {
            node = match segment {
                Segment::Literal(text) => node.literals.entry(text.clone()).or_default(),
                Segment::Parameter(_) => node.parameter.get_or_insert_default(),
            };
        }
        node.ends_here.push(position);
    }

    /// The most rules of one template.
    fn most_together(&self) -> usize {
        let below = self.literals.values().chain(self.parameter.as_deref()).map(TemplateTree::most_together);
        below.max().unwrap_or_default().max(self.ends_here.len())
    }

    /// Walks the branches that fit; no deeper than the longest template.
    fn lookup(&self, path: &str, found: &mut impl FnMut(&[u32])) {
        let (segment, rest) = match path.split_once('/') {
            Some((segment, rest)) => (segment, Some(rest)),
            None => (path, None),
        };
        let literal = self.literals.get(segment);
        let parameter = self.parameter.as_deref().filter(|_| !segment.is_empty());
        for node in literal.into_iter().chain(parameter) {
            match rest {
                Some(rest) => node.lookup(rest, found),
                None => found(&node.ends_here),
            }
        }
    }
}

#[cfg(test)]
mod tests;
