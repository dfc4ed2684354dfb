//! The configuration of envoyproxy/ratelimit: a domain, and descriptors that nest.
//!
//! There, a request's descriptor is a list of entries that is walked down the tree, entry by entry: at each level the node
//! of exactly this key and value, else the first wildcard of the key that fits, else the node of the bare key; never
//! back up. The limit of the last node holds, if the list ends there. So each node with a limit becomes a rule whose
//! conditions say the whole way: what each entry is, and which of its siblings it is not; and `only`, because the list
//! has to end. A key that a way names again is another entry, whose name has a number at its end: so the gRPC door names
//! them, too.

mod order;
mod siblings;
mod tree;

use std::collections::HashMap;

use tidegate_core::quota::{Algorithm, MAX_LIMIT, Quota};
use tidegate_core::rule::model::{
    Condition, Domain, EntryCondition, Exceptions, MAX_CONDITIONS, MAX_KEY_ENTRIES, MAX_REPLACED, MAX_RULES,
    Mode, Rule,
};
use tidegate_core::rule::pattern::Pattern;
use tidegate_core::time::Micros;

use super::naming::Names;
use crate::path::Path;
use crate::report::Report;
use crate::rules::fields::{Fields, Shape};
use crate::rules::scalar::{self, Name};
use crate::suggest::quote;
use crate::yaml::Node;
use siblings::Siblings;
use tree::{Descriptor, Limit, Matcher, Replaced};

/// The most exceptions of all rules of a file together: what siblings take away from wildcards and bare keys.
const MAX_EXCEPTIONS_TOGETHER: usize = 400_000;

const FILE: Shape = Shape {
    what: "an Envoy domain",
    fields: &["domain", "descriptors"],
    others: &[("rules", "descriptors")],
};

/// Reads a whole file.
pub(super) fn read(root: &Node, report: &mut Report<'_>) -> Option<Domain> {
    let fields = Fields::read(root, Path::ROOT, &FILE, report)?;
    let name = fields.required("domain", "write domain: and its name", report, |node, path, report| {
        scalar::name(node, path, Name::Domain, report)
    });
    let descriptors = tree::descriptors(&fields, report);
    if descriptors.is_empty() && !report.has_errors() {
        report.warn(root.at, &Path::ROOT, "there is no descriptor, so nothing is limited", "add descriptors");
    }
    let mut builder = Builder::new(&descriptors);
    builder.level(&descriptors, &mut Vec::new(), report);
    order::tell_apart(&mut builder.placed);
    replace(&mut builder.placed, report);
    let rules = builder.placed.into_iter().map(|placed| placed.rule).collect();
    Some(Domain::new(name?, rules))
}

/// A rule, the name that its limit has there, and what it replaces there.
struct Placed<'d> {
    rule: Rule,
    name: Option<&'d str>,
    replaces: &'d [Replaced],
}

/// Says of each rule which others it replaces: there, all limits of a name.
fn replace(placed: &mut [Placed<'_>], report: &mut Report<'_>) {
    let mut of_name: HashMap<&str, Vec<String>> = HashMap::new();
    for one in placed.iter() {
        if let Some(name) = one.name {
            of_name.entry(name).or_default().push(one.rule.name.clone());
        }
    }
    for one in placed.iter_mut() {
        for replaced in one.replaces {
            match of_name.get(replaced.name.as_str()) {
                Some(names) => one.rule.replaces.extend(names.iter().cloned()),
                None => {
                    let message = format!("no limit is called {}", quote(&replaced.name));
                    report.warn(replaced.at, &Path::written(&replaced.field), message, "remove it");
                }
            }
        }
        if one.rule.replaces.len() > MAX_REPLACED
            && let Some(first) = one.replaces.first()
        {
            let message = format!("{} limits are replaced", one.rule.replaces.len());
            let remedy = format!("use at most {MAX_REPLACED}");
            report.error(first.at, &Path::written(&first.field), message, remedy);
        }
        // What is unlimited is a rule that is off, which replaces nothing; one that is never obeyed does.
        if one.rule.mode == Mode::Off && !one.rule.replaces.is_empty() {
            one.rule.mode = Mode::Shadow;
        }
    }
}

/// One step of the way to a node.
#[derive(Clone)]
struct Step {
    condition: EntryCondition,
    /// Whether values of the entry have buckets of their own.
    is_key: bool,
    /// How statistics call it: `key` or `key_value`.
    word: String,
}

/// Makes rules of nodes.
struct Builder<'d> {
    placed: Vec<Placed<'d>>,
    names: Names,
    /// How many limits have a name.
    given: HashMap<String, usize>,
    exceptions: usize,
    /// Whether no more rules are made.
    is_full: bool,
}

impl<'d> Builder<'d> {
    fn new(descriptors: &'d [Descriptor]) -> Self {
        let mut given = HashMap::new();
        let mut rest: Vec<&Descriptor> = descriptors.iter().collect();
        while let Some(descriptor) = rest.pop() {
            if let Some(name) = descriptor.limit.as_ref().and_then(|limit| limit.name.clone()) {
                *given.entry(name).or_default() += 1;
            }
            rest.extend(&descriptor.below);
        }
        Self { placed: Vec::new(), names: Names::default(), given, exceptions: 0, is_full: false }
    }

    fn level(&mut self, level: &'d [Descriptor], way: &mut Vec<Step>, report: &mut Report<'_>) {
        let siblings = Siblings::of(level);
        for descriptor in level {
            let field = Path::written(&descriptor.field);
            if self.is_full {
                return;
            }
            let Some(condition) = self.condition(descriptor, &siblings, &field, report) else { continue };
            let is_key = !matches!(descriptor.matcher, Matcher::Exact(_)) && !descriptor.is_shared;
            let condition = EntryCondition { entry: distinct(&descriptor.key, way), condition };
            way.push(Step { condition, is_key, word: descriptor.word() });
            if let Some(limit) = &descriptor.limit {
                self.rule(descriptor, limit, way, report);
            }
            self.level(&descriptor.below, way, report);
            way.pop();
        }
    }

    /// What a node asks of its entry; nothing, with a warning, where no value is left for it.
    fn condition(
        &mut self,
        descriptor: &Descriptor,
        siblings: &Siblings<'_>,
        field: &Path<'_>,
        report: &mut Report<'_>,
    ) -> Option<Condition> {
        if let Matcher::Exact(value) = &descriptor.matcher {
            return Some(Condition::OneOf(vec![Pattern::Exact(value.clone())]));
        }
        let but = match siblings.taken_from(descriptor) {
            Ok(but) => but,
            Err(line) => {
                let message = format!("the wildcard in line {line} takes every request before this");
                report.warn(descriptor.at, field, message, "move it up, or remove it");
                return None;
            }
        };
        if !self.has_room(but.len(), descriptor, report) {
            return None;
        }
        let within: Vec<Pattern> = match &descriptor.matcher {
            Matcher::Wildcard(wildcard) => wildcard.pattern.iter().cloned().collect(),
            _ => Vec::new(),
        };
        Some(match (within.is_empty(), but.is_empty()) {
            (true, true) => Condition::Present,
            (false, true) => Condition::OneOf(within),
            (_, false) => Condition::NoneOf(Exceptions::new(within, but)),
        })
    }

    /// Takes so many exceptions into account; reports once that there are too many, or too many rules.
    fn has_room(&mut self, exceptions: usize, descriptor: &Descriptor, report: &mut Report<'_>) -> bool {
        self.exceptions += exceptions;
        if !self.is_full && (self.exceptions > MAX_EXCEPTIONS_TOGETHER || self.placed.len() == MAX_RULES) {
            self.is_full = true;
            let message = format!(
                "from here on there are more than {MAX_RULES} limits, or {MAX_EXCEPTIONS_TOGETHER} values that bare keys and wildcards leave to others"
            );
            let remedy = "use fewer values beside a bare key or a wildcard, or split the file";
            report.error(descriptor.at, &Path::written(&descriptor.field), message, remedy);
        }
        !self.is_full
    }

    fn rule(&mut self, descriptor: &Descriptor, limit: &'d Limit, way: &[Step], report: &mut Report<'_>) {
        let path = Path::written(&descriptor.field);
        let key: Vec<String> =
            way.iter().filter(|step| step.is_key).map(|step| step.condition.entry.clone()).collect();
        for (count, most, what) in
            [(way.len(), MAX_CONDITIONS, "entries"), (key.len(), MAX_KEY_ENTRIES, "entries without a value")]
        {
            if count > most {
                let message = format!("the descriptor has {count} {what}");
                report.error(descriptor.at, &path, message, format!("use at most {most}"));
                return;
            }
        }
        let exceptions = way.iter().map(|step| excepted(&step.condition.condition)).sum();
        if !self.has_room(exceptions, descriptor, report) {
            return;
        }
        let Some(quota) = limit.quota(descriptor, &path, report) else { return };
        let words: Vec<&str> = way.iter().map(|step| step.word.as_str()).collect();
        let own = limit.name.as_ref().filter(|name| self.given.get(*name) == Some(&1));
        let mut wanted = own.cloned().unwrap_or_else(|| words.join("."));
        let mode = match (limit.is_unlimited(), descriptor.is_shadow) {
            (true, _) => Mode::Off,
            (false, true) => Mode::Shadow,
            (false, false) => Mode::Enforce,
        };
        if limit.is_unlimited() {
            wanted.push_str(":unlimited");
        }
        let mut rule = Rule::new(self.names.give(&wanted), Algorithm::FixedWindow, quota).with_key(key);
        rule.conditions = way.iter().map(|step| step.condition.clone()).collect();
        (rule.only, rule.mode) = (true, mode);
        if !limit.is_unlimited() {
            rule.denies = descriptor.denies;
        }
        self.placed.push(Placed { rule, name: limit.name.as_deref(), replaces: &limit.replaces });
    }
}

/// The name of an entry whose key may stand on the way already: the second one gets `.2`, the third `.3`, as at the gRPC door.
fn distinct(key: &str, way: &[Step]) -> String {
    let is_taken = |name: &str| way.iter().any(|step| step.condition.entry == name);
    let numbered = (2_u32..).map(|number| format!("{key}.{number}"));
    std::iter::once(key.to_owned()).chain(numbered).find(|name| !is_taken(name)).unwrap_or_default()
}

fn excepted(condition: &Condition) -> usize {
    match condition {
        Condition::NoneOf(exceptions) => exceptions.len(),
        Condition::OneOf(_) | Condition::Present | Condition::Absent | Condition::AllOf(_) => 0,
    }
}

impl Limit {
    fn is_unlimited(&self) -> bool {
        self.per_unit.is_none()
    }

    /// The quota; of what is unlimited, the largest there is, for a rule that is off.
    fn quota(&self, descriptor: &Descriptor, path: &Path<'_>, report: &mut Report<'_>) -> Option<Quota> {
        let (limit, seconds) = self.per_unit.unwrap_or((MAX_LIMIT, 1));
        let quota = Quota::new(Algorithm::FixedWindow, limit, Micros::from_secs(seconds), None);
        if let Err(error) = &quota {
            report.error(descriptor.at, path, error.to_string(), "write a smaller limit");
        }
        quota.ok()
    }
}
