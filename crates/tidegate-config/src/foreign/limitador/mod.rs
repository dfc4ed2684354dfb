//! The limits of Limitador: a list, each limit with its namespace, conditions and variables.
//!
//! All limits of a namespace that apply to a request apply together there, as rules do here; a namespace becomes a domain.
//! Conditions and variables are expressions of CEL; those that ask entries of one descriptor for texts have an equal here,
//! and the others are refused with their line. A limit is one rule, whatever `||` its conditions have: one counter. What differs is
//! where a window begins: there with the first request, here at a multiple of its length. In any window that begins anywhere
//! both let at most twice the limit pass.

mod expression;
mod lexer;
mod normal;

use std::collections::HashMap;

use tidegate_core::quota::{Algorithm, MAX_LIMIT, MAX_WINDOW, Quota};
use tidegate_core::rule::model::{
    Condition, Domain, EntryCondition, MAX_DOMAINS, MAX_KEY_ENTRIES, MAX_RULES, Rule,
};
use tidegate_core::rule::pattern::Pattern;
use tidegate_core::time::Micros;

use self::expression::{Asked, Asks, Expression, Refusal};
use self::normal::{Alternatives, Asking};
use super::naming::Names;
use crate::path::Path;
use crate::report::{Report, Spot};
use crate::rules::condition::Reader;
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
    asking: Asking,
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
    if items.is_empty() {
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
    let given = fields.get("conditions");
    let asking = given.map_or_else(
        || Alternatives::always().finish().ok().flatten().map(Some),
        |node| conditions(node, &path.field("conditions"), report),
    );
    let key = fields.optional("variables", report, variables).unwrap_or_default();
    let quota = Quota::new(Algorithm::FixedWindow, max_value?, Micros::from_secs(seconds?), None).ok()?;
    let (asking, namespace) = (asking?, namespace?);
    let needs_absent = |asking: &Asking| {
        let is_absent = |one: &EntryCondition| one.condition == Condition::Absent && key.contains(&one.entry);
        asking.conditions.iter().any(is_absent)
            || !asking.any.is_empty() && asking.any.iter().all(|one| one.iter().any(is_absent))
    };
    let Some(asking) = asking.filter(|asking| !needs_absent(asking)) else {
        let message = "no request fulfils the conditions, so the limit never applies";
        let at = given.map_or(node.at, |node| node.at);
        report.warn(at, &path.field("conditions"), message, "remove it, or correct them");
        return None;
    };
    Some(Read { namespace, own_name: id.or(name), quota, asking, key, at: node.at, index })
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

/// `Some(None)`: no request fulfils them.
fn conditions(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<Option<Asking>> {
    let remedy = "write a list of texts such as \"descriptors[0].method == 'GET'\"";
    let mut alternatives = Some(Alternatives::always());
    for (index, (item, text)) in texts(node, path, remedy, report)?.into_iter().enumerate() {
        let path = path.index(index);
        let read = expression::condition(text).map(|mut expression| {
            check(&mut expression, item, &path, report);
            expression
        });
        let known = alternatives.take();
        match read.and_then(|expression| known.map(|known| known.and(&expression)).transpose()) {
            Ok(more) => alternatives = more,
            Err(refusal) => refused(&refusal, text, item, &path, report),
        }
    }
    match alternatives?.finish() {
        Ok(asking) => Some(asking),
        Err(Refusal(reason)) => {
            report.error(node.at, path, format!("the conditions have no equal here: {reason}"), REMEDY);
            None
        }
    }
}

const REMEDY: &str =
    "ask entries of descriptors[0] with ==, !=, in, has(), startsWith() and the like, joined by && and ||";

fn refused(Refusal(reason): &Refusal, text: &str, node: &Node, path: &Path<'_>, report: &mut Report<'_>) {
    let message = format!("the expression {} has no equal here: {reason}", quote(text));
    report.error(node.at, path, message, REMEDY);
}

/// Reports entries that no request has, and values that they cannot have, and takes the latter out.
fn check(expression: &mut Expression, node: &Node, path: &Path<'_>, report: &mut Report<'_>) {
    match expression {
        Expression::Constant(_) => {}
        Expression::Not(inner) => check(inner, node, path, report),
        Expression::And(parts) | Expression::Or(parts) => {
            parts.iter_mut().for_each(|part| check(part, node, path, report));
        }
        Expression::Asks(Asks { entry, asked, .. }) => {
            scalar::check_name(entry, node.at, path, Name::Entry, report);
            let mut reader = Reader { entry, report };
            if let Asked::Is(patterns) = asked {
                let written = std::mem::take(patterns).into_iter();
                patterns.extend(written.filter_map(|pattern| possible(pattern, &mut reader, node, path)));
            }
        }
    }
}

/// A pattern as values are brought to it, or nothing where no value is like it.
fn possible(
    pattern: Pattern,
    reader: &mut Reader<'_, '_, '_>,
    node: &Node,
    path: &Path<'_>,
) -> Option<Pattern> {
    match &pattern {
        Pattern::Exact(text) if text.is_empty() => Some(pattern),
        Pattern::Exact(text) => {
            reader.is_value(text, node, path).then(|| reader.exact(text, node, path)).flatten()
        }
        Pattern::Prefix(text) => {
            reader.is_value(text, node, path).then(|| reader.prefix(text, node, path)).flatten()
        }
        Pattern::Glob(glob) => {
            let are_values = glob.pieces().iter().all(|piece| reader.is_value(piece, node, path));
            are_values.then(|| reader.glob(Ok(glob.clone()), node, path)).flatten()
        }
        Pattern::Regex(_) | Pattern::Template(_) => Some(pattern),
    }
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
            Err(Refusal(reason)) => {
                let message = format!("the expression {} has no equal here: {reason}", quote(text));
                let remedy = "write the name of one entry, such as descriptors[0].user_id";
                report.error(item.at, &path, message, remedy);
            }
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
        let Asking { conditions, any } = &limit.asking;
        let window = limit.quota.window();
        let identity = format!("{:?} {window:?} {conditions:?} {any:?} {:?}", limit.namespace, limit.key);
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
        (rule.conditions, rule.any) = (limit.asking.conditions, limit.asking.any);
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
    if !limit.asking.conditions.is_empty() || !limit.asking.any.is_empty() {
        name.push_str("-when");
    }
    let mut say = |condition: &EntryCondition| {
        name.push('-');
        name.push_str(&condition.entry);
        if let [Pattern::Exact(value)] = condition.condition.patterns() {
            name.push('-');
            name.push_str(value);
        }
    };
    limit.asking.conditions.iter().for_each(&mut say);
    limit.asking.any.iter().flatten().for_each(say);
    name
}
