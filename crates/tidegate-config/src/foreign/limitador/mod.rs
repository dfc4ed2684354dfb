//! The limits of Limitador: a list, each limit with its namespace, conditions and variables.
//!
//! All limits of a namespace that apply to a request apply together there, as rules do here; a namespace becomes a domain.
//! Conditions and variables are expressions of CEL; those of them that ask one thing of one entry have an equal here, and
//! the others are refused with their line. What differs is where a window begins: there with the first request, here at
//! a multiple of its length. In any window that begins anywhere both let at most twice the limit pass.

mod expression;
mod lexer;

use std::collections::HashMap;

use tidegate_core::quota::{Algorithm, MAX_LIMIT, MAX_WINDOW, Quota};
use tidegate_core::rule::model::{
    Condition, Domain, EntryCondition, MAX_DOMAINS, MAX_KEY_ENTRIES, MAX_RULES, Rule,
};
use tidegate_core::rule::pattern::Pattern;
use tidegate_core::time::Micros;

use super::naming::Names;
use crate::path::Path;
use crate::report::{Report, Spot};
use crate::rules::fields::{self, Fields, Shape};
use crate::rules::is_not;
use crate::rules::scalar::{self, Name};
use crate::suggest::{grouped, quote};
use crate::yaml::{Node, Value};

const LIMIT: Shape = Shape {
    what: "a limit",
    fields: &["id", "name", "namespace", "max_value", "seconds", "conditions", "variables"],
    others: &[
        ("limit", "max_value"),
        ("max", "max_value"),
        ("window", "seconds"),
        ("match", "conditions"),
        ("key", "variables"),
        ("domain", "namespace"),
    ],
};

/// A limit as it stands, and where.
struct Read {
    namespace: String,
    /// `id`, else `name`.
    own_name: Option<String>,
    quota: Quota,
    conditions: Vec<EntryCondition>,
    key: Vec<String>,
    at: Spot,
    index: usize,
}

/// Reads a whole file.
pub(super) fn read(root: &Node, report: &mut Report<'_>) -> Option<Vec<Domain>> {
    let path = Path::ROOT;
    let items = fields::list(root, &path, "write a list of limits, each with '- namespace:'", report)?;
    if items.len() > MAX_RULES {
        let message = format!("there are {} limits", items.len());
        report.error(root.at, &path, message, format!("use at most {MAX_RULES}"));
        return None;
    }
    let limits: Vec<Read> = items
        .iter()
        .enumerate()
        .filter_map(|(index, item)| limit(item, path.index(index), index, report))
        .collect();
    twice(&limits, report);
    if limits.is_empty() {
        report.warn(root.at, &path, "there is no limit, so nothing is limited", "add a limit");
    } else {
        let message = "windows begin at multiples of their length, not with the first request";
        report.warn(root.at, &path, message, "nothing is to be done; the bound is the same");
    }
    let domains = domains(limits);
    if domains.len() > MAX_DOMAINS {
        let message = format!("there are {} namespaces", domains.len());
        report.error(root.at, &path, message, format!("use at most {MAX_DOMAINS}"));
    }
    Some(domains)
}

fn limit(node: &Node, path: Path<'_>, index: usize, report: &mut Report<'_>) -> Option<Read> {
    let fields = Fields::read(node, path, &LIMIT, report)?;
    let namespace =
        fields.required("namespace", "write namespace: and a name", report, |node, path, report| {
            scalar::name(node, path, Name::Domain, report)
        });
    let mut name = |field| {
        fields.optional(field, report, |node, path, report| match node.value {
            Value::Null => None,
            _ => scalar::name(node, path, Name::Domain, report),
        })
    };
    let (id, name) = (name("id"), name("name"));
    let max_value = fields.required("max_value", "write max_value: 100", report, |node, path, report| {
        at_most(MAX_LIMIT, node, path, report)
    });
    let seconds = fields.required("seconds", "write seconds: 60", report, |node, path, report| {
        let seconds = at_most(MAX_WINDOW.as_micros() / 1_000_000, node, path, report)?;
        if seconds == 0 {
            report.error(node.at, path, "the window is 0 seconds", "write at least 1");
        }
        Some(seconds)
    });
    let conditions = fields.optional("conditions", report, conditions);
    let key = fields.optional("variables", report, variables);
    if let (Some(conditions), Some(key)) = (&conditions, &key) {
        let absent = |entry: &&String| {
            conditions.iter().any(|one| one.entry == **entry && one.condition == Condition::Absent)
        };
        if let Some(entry) = key.iter().find(absent) {
            let message = format!("the variable {} is needed, and must not be there", quote(entry));
            report.error(node.at, &path, message, "remove the variable or the condition");
        }
    }
    let quota = Quota::new(Algorithm::FixedWindow, max_value?, Micros::from_secs(seconds?), None).ok()?;
    Some(Read {
        namespace: namespace?,
        own_name: id.or(name),
        quota,
        conditions: conditions.unwrap_or_default(),
        key: key.unwrap_or_default(),
        at: node.at,
        index,
    })
}

fn at_most(most: u64, node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<u64> {
    let number = scalar::unsigned(node, path, report)?;
    if number > most {
        let message = format!("{} is too large", grouped(number));
        report.error(node.at, path, message, format!("write at most {}", grouped(most)));
        return None;
    }
    Some(number)
}

fn texts<'n>(
    node: &'n Node,
    path: &Path<'_>,
    remedy: &str,
    report: &mut Report<'_>,
) -> Option<Vec<(&'n Node, &'n str)>> {
    if matches!(node.value, Value::Null) {
        return Some(Vec::new());
    }
    let items = fields::list(node, path, remedy, report)?;
    let mut texts = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        match item.text() {
            Some(text) => texts.push((item, text)),
            None => report.error(item.at, &path.index(index), is_not(item, "an expression"), remedy),
        }
    }
    Some(texts)
}

fn conditions(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<Vec<EntryCondition>> {
    let remedy = "write a list of texts such as \"descriptors[0].method == 'GET'\"";
    let mut all = expression::Conditions::default();
    for (index, (item, text)) in texts(node, path, remedy, report)?.into_iter().enumerate() {
        all.add(text, item, &path.index(index), report);
    }
    all.finish(node, path, report)
}

fn variables(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<Vec<String>> {
    let remedy = "write a list of texts such as descriptors[0].user_id";
    let mut key: Vec<String> = Vec::new();
    for (index, (item, text)) in texts(node, path, remedy, report)?.into_iter().enumerate() {
        let path = path.index(index);
        match expression::variable(text) {
            Ok(entry) if key.contains(&entry) => {
                let message = format!("the variable {} stands twice", quote(&entry));
                report.error(item.at, &path, message, "remove one of the two");
            }
            Ok(entry) => {
                if scalar::check_name(&entry, item.at, &path, Name::Entry, report) {
                    key.push(entry);
                }
            }
            Err(refusal) => refusal.of_variable(text, item, &path, report),
        }
    }
    fields::at_most(MAX_KEY_ENTRIES, key.len(), "variables", node, path, report);
    // What makes a bucket there does not depend on the order, nor should it here.
    key.sort_unstable();
    Some(key)
}

/// Limits that are one there: alike in all but name and number.
fn twice(limits: &[Read], report: &mut Report<'_>) {
    let mut seen: HashMap<String, &Read> = HashMap::new();
    for limit in limits {
        let identity = format!(
            "{:?} {:?} {:?} {:?}",
            limit.namespace,
            limit.quota.window(),
            limit.conditions,
            limit.key
        );
        if let Some(first) = seen.get(&identity) {
            let message = format!("the limit counts the same as the one in line {}", first.at.line);
            let remedy = "remove one of the two: there, only one of them is kept";
            report.error(limit.at, &Path::ROOT.index(limit.index), message, remedy);
        } else {
            seen.insert(identity, limit);
        }
    }
}

/// The limits by their namespaces, in the order in which these first appear.
fn domains(limits: Vec<Read>) -> Vec<Domain> {
    let mut named: HashMap<(String, String), usize> = HashMap::new();
    for limit in &limits {
        if let Some(name) = &limit.own_name {
            *named.entry((limit.namespace.clone(), name.clone())).or_default() += 1;
        }
    }
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut domains: Vec<(Domain, Names)> = Vec::new();
    for limit in limits {
        let place = *places.entry(limit.namespace.clone()).or_insert_with(|| {
            domains.push((Domain::new(limit.namespace.clone(), Vec::new()), Names::default()));
            domains.len() - 1
        });
        let own = limit.own_name.as_ref();
        let own = own.filter(|name| named.get(&(limit.namespace.clone(), (*name).clone())) == Some(&1));
        let wanted = own.cloned().unwrap_or_else(|| described(&limit));
        let Some((domain, names)) = domains.get_mut(place) else { continue };
        let mut rule =
            Rule::new(names.give(&wanted), Algorithm::FixedWindow, limit.quota).with_key(limit.key);
        rule.conditions = limit.conditions;
        domain.rules.push(rule);
    }
    domains.into_iter().map(|(domain, _)| domain).collect()
}

/// A name by what makes the limit itself there: its time, variables and conditions, not its number.
fn described(limit: &Read) -> String {
    let mut name = format!("per-{}", limit.quota.window());
    for entry in &limit.key {
        name.push_str(if name.contains("-by-") { "-" } else { "-by-" });
        name.push_str(entry);
    }
    if !limit.conditions.is_empty() {
        name.push_str("-when");
    }
    for condition in &limit.conditions {
        name.push('-');
        name.push_str(&condition.entry);
        if let [Pattern::Exact(value)] = condition.condition.patterns() {
            name.push('-');
            name.push_str(value);
        }
    }
    name
}
