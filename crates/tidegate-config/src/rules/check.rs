//! What only shows when the rules of a domain are seen together: rules that never apply, twins, and entries that
//! are probably misspelled.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use tidegate_core::rule::model::{Condition, EntryCondition, MAX_REGEXES, Mode, Reserve, Rule};

use super::fields::Fields;
use crate::report::Report;
use crate::suggest::{nearest, quote};
use crate::yaml::Node;

/// Entries that Tidegate supplies itself at its doors.
const SUPPLIED: [&str; 7] = ["client_ip", "method", "path", "host", "user_agent", "api_key", "tenant"];

/// The most entries among which a misspelled one is sought.
const MAX_COMPARED: usize = 1_000;

/// A rule with its place.
pub(super) struct Placed<'n> {
    pub(super) rule: Rule,
    pub(super) node: &'n Node,
    /// Its index among the rules of the domain, from 0.
    pub(super) index: usize,
}

impl Placed<'_> {
    /// The node of one of the rule's fields, or the rule's own where it is absent.
    fn field(&self, name: &str) -> &Node {
        self.node.get(name).unwrap_or(self.node)
    }

    fn line(&self) -> u32 {
        self.node.at.line
    }
}

/// Checks the rules of one domain against one another. Warnings are given for right files only: in a wrong one they
/// would often be about the same mistake.
pub(super) fn domain(fields: &Fields<'_, '_>, rules: &[Placed<'_>], report: &mut Report<'_>) {
    unreachable_otherwise(fields, rules, report);
    shared_buckets(fields, rules, report);
    regexes(fields, rules, report);
    if report.has_errors() {
        return;
    }
    replaced(fields, rules, report);
    twins(fields, rules, report);
    tiers(fields, rules, report);
    lonely_entries(fields, rules, report);
}

/// `otherwise` beside an enforced rule that matches every request.
fn unreachable_otherwise(fields: &Fields<'_, '_>, rules: &[Placed<'_>], report: &mut Report<'_>) {
    let Some(always) = rules.iter().find(|placed| {
        let rule = &placed.rule;
        let is_for_all = !rule.otherwise && !rule.only && rule.key.is_empty() && asks_nothing(rule);
        rule.mode == Mode::Enforce && is_for_all
    }) else {
        return;
    };
    let path = fields.path.field("rules");
    for placed in rules.iter().filter(|placed| placed.rule.otherwise && placed.rule.mode != Mode::Off) {
        let message = format!(
            "the rule never applies: {} (line {}) matches every request",
            quote(&always.rule.name),
            always.line()
        );
        let remedy = "remove otherwise, or give the other rule a match";
        report.error(
            placed.field("otherwise").at,
            &path.index(placed.index).field("otherwise"),
            message,
            remedy,
        );
    }
}

/// Whether every request that has what the key needs matches, unless it has other entries.
fn asks_nothing(rule: &Rule) -> bool {
    rule.conditions.is_empty() && rule.any.is_empty() && rule.order.is_empty()
}

/// Rules of which one was formerly called what the other is called, or was called: both would continue the same buckets.
fn shared_buckets(fields: &Fields<'_, '_>, rules: &[Placed<'_>], report: &mut Report<'_>) {
    let path = fields.path.field("rules");
    let mut seen: HashMap<&str, &Placed<'_>> = HashMap::new();
    for placed in rules {
        let Some(other) = seen.insert(placed.rule.identity(), placed) else { continue };
        // Names that stand twice are reported anyway.
        if other.rule.name == placed.rule.name {
            continue;
        }
        let (field, renamed) =
            if placed.rule.formerly.is_some() { ("formerly", placed) } else { ("name", other) };
        let message = format!(
            "{} and {} (line {}) would share buckets: {} was formerly {}",
            quote(&placed.rule.name),
            quote(&other.rule.name),
            other.line(),
            quote(&renamed.rule.name),
            quote(renamed.rule.identity())
        );
        let remedy = "give the new rule another name, or remove formerly if the old buckets are not needed";
        report.error(placed.field(field).at, &path.index(placed.index).field(field), message, remedy);
    }
}

/// More regular expressions than a domain may have.
fn regexes(fields: &Fields<'_, '_>, rules: &[Placed<'_>], report: &mut Report<'_>) {
    let mut count = 0;
    for placed in rules {
        count += placed.rule.all_conditions().map(|wanted| wanted.condition.regex_count()).sum::<usize>();
        if count > MAX_REGEXES {
            let message = format!("from here on the domain has more than {MAX_REGEXES} regular expressions");
            let remedy = "write values, prefixes or globs where they do";
            report.error(placed.node.at, &fields.path.field("rules").index(placed.index), message, remedy);
            return;
        }
    }
}

/// Rules that replace themselves, or what is not there.
fn replaced(fields: &Fields<'_, '_>, rules: &[Placed<'_>], report: &mut Report<'_>) {
    let names: BTreeSet<&str> = rules.iter().map(|placed| placed.rule.name.as_str()).collect();
    let path = fields.path.field("rules");
    for placed in rules {
        let path = path.index(placed.index);
        let path = path.field("replaces");
        let (name, at) = (&placed.rule.name, placed.field("replaces").at);
        for other in &placed.rule.replaces {
            if other == name {
                report.error(
                    at,
                    &path,
                    "the rule replaces itself, so it never applies",
                    "remove its own name",
                );
            } else if !names.contains(other.as_str()) {
                let message = format!("the domain has no rule {}", quote(other));
                let remedy = nearest(other, names.iter().copied())
                    .map_or("remove it".to_owned(), |meant| format!("did you mean '{meant}'?"));
                report.warn(at, &path, message, remedy);
            }
        }
    }
}

/// Rules that differ in nothing but the name.
fn twins(fields: &Fields<'_, '_>, rules: &[Placed<'_>], report: &mut Report<'_>) {
    let path = fields.path.field("rules");
    let mut seen: HashMap<u64, Vec<&Placed<'_>>> = HashMap::new();
    for placed in rules.iter().filter(|placed| placed.rule.mode != Mode::Off) {
        let alike = seen.entry(fingerprint(&placed.rule)).or_default();
        match alike.iter().find(|earlier| same_but_name(&earlier.rule, &placed.rule)) {
            Some(earlier) => {
                let message = format!(
                    "the rule says the same as {} (line {}) under another name",
                    quote(&earlier.rule.name),
                    earlier.line()
                );
                let at = placed.field("name").at;
                report.warn(
                    at,
                    &path.index(placed.index),
                    message,
                    "remove one of the two, or change its quota",
                );
            }
            None => alike.push(placed),
        }
    }
}

fn fingerprint(rule: &Rule) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&rule.key, rule.algorithm, rule.quota, &rule.tiers, rule.only, rule.otherwise, rule.mode)
        .hash(&mut hasher);
    (rule.on_store_failure, rule.queue, &rule.on_limit, rule.consistency).hash(&mut hasher);
    (&rule.order, &rule.replaces, rule.denies, rule.any.len()).hash(&mut hasher);
    for Reserve { priority, percent } in &rule.reserve {
        (priority, percent).hash(&mut hasher);
    }
    for EntryCondition { entry, condition } in rule.all_conditions() {
        entry.hash(&mut hasher);
        for part in condition.parts() {
            match part {
                Condition::OneOf(patterns) => patterns.hash(&mut hasher),
                Condition::NoneOf(exceptions) => exceptions.hash(&mut hasher),
                Condition::Present => "present".hash(&mut hasher),
                Condition::Absent => "absent".hash(&mut hasher),
                // A part is none of several parts.
                Condition::AllOf(_) => {}
            }
        }
    }
    hasher.finish()
}

/// Whether two rules are equal in everything but the name. Names every field, so that a new one is not forgotten.
fn same_but_name(a: &Rule, b: &Rule) -> bool {
    let Rule {
        name: _,
        formerly: _,
        conditions,
        any,
        only,
        order,
        otherwise,
        key,
        algorithm,
        quota,
        tiers,
        reserve,
        mode,
        replaces,
        denies,
        on_store_failure,
        queue,
        on_limit,
        consistency,
    } = a;
    conditions == &b.conditions
        && any == &b.any
        && only == &b.only
        && order == &b.order
        && otherwise == &b.otherwise
        && key == &b.key
        && algorithm == &b.algorithm
        && quota == &b.quota
        && tiers == &b.tiers
        && reserve == &b.reserve
        && mode == &b.mode
        && replaces == &b.replaces
        && denies == &b.denies
        && on_store_failure == &b.on_store_failure
        && queue == &b.queue
        && on_limit == &b.on_limit
        && consistency == &b.consistency
}

/// Tiers that nothing chooses, and a default tier that is probably misspelled.
fn tiers(fields: &Fields<'_, '_>, rules: &[Placed<'_>], report: &mut Report<'_>) {
    let named: BTreeSet<&str> =
        rules.iter().flat_map(|placed| &placed.rule.tiers).map(|(name, _)| name.as_str()).collect();
    if fields.get("subject").is_none()
        && let Some(placed) = rules.iter().find(|placed| !placed.rule.tiers.is_empty())
    {
        let rules_path = fields.path.field("rules");
        let message =
            "only a request with an entry tier chooses one: the domain does not say whose tier it is";
        let remedy = "add for example 'subject: user_id' to the domain";
        report.warn(
            placed.field("tiers").at,
            &rules_path.index(placed.index).field("tiers"),
            message,
            remedy,
        );
    }
    let Some((node, default)) = fields.get("default_tier").and_then(|node| Some((node, node.text()?))) else {
        return;
    };
    let path = fields.path.field("default_tier");
    if named.is_empty() {
        let message = "the default tier changes nothing: no rule of the domain has tiers";
        report.warn(node.at, &path, message, "add tiers to a rule, or remove default_tier");
    } else if !named.contains(default)
        && let Some(meant) = nearest(default, named.iter().copied())
    {
        let message =
            format!("no rule names the tier {}, so its subjects get the rules' own quotas", quote(default));
        report.warn(node.at, &path, message, format!("did you mean '{meant}'?"));
    }
}

/// A rule for every request whose key needs an entry that nothing else in the domain speaks of: where another rule
/// does not catch requests without the entry, a misspelling would go unnoticed.
fn lonely_entries(fields: &Fields<'_, '_>, rules: &[Placed<'_>], report: &mut Report<'_>) {
    if rules.len() < 2
        || rules.iter().any(|placed| placed.rule.otherwise && placed.rule.mode == Mode::Enforce)
    {
        return;
    }
    let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
    for placed in rules {
        let rule = &placed.rule;
        let mut own: Vec<&str> = rule.key.iter().map(String::as_str).collect();
        own.extend(rule.all_conditions().map(|condition| condition.entry.as_str()));
        own.sort_unstable();
        own.dedup();
        for entry in own {
            *uses.entry(entry).or_default() += 1;
        }
    }
    let subject = fields.get("subject").and_then(Node::text);
    let path = fields.path.field("rules");
    for placed in rules {
        if report.warnings_are_full() {
            return;
        }
        let rule = &placed.rule;
        if rule.mode != Mode::Enforce || !asks_nothing(rule) {
            continue;
        }
        for entry in rule.key.iter().map(String::as_str) {
            let known = Some(entry) == subject || SUPPLIED.contains(&entry);
            if known || uses.get(entry).is_some_and(|count| *count > 1) {
                continue;
            }
            let others = uses.keys().copied().take(MAX_COMPARED);
            let others = SUPPLIED.into_iter().chain(subject).chain(others).filter(|other| *other != entry);
            let message = format!("the rule applies only to requests that have the entry {}", quote(entry));
            let remedy = match nearest(entry, others) {
                Some(meant) => format!("did you mean '{meant}'?"),
                None => format!("if that is meant, say so: match: {{ {entry}: \"*\" }}"),
            };
            report.warn(placed.field("key").at, &path.index(placed.index).field("key"), message, remedy);
        }
    }
}
