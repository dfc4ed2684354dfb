//! Maps with known fields, and lists: unknown and missing fields are reported here.

use std::collections::HashMap;

use crate::path::Path;
use crate::report::{Report, Spot};
use crate::suggest::{listed, nearest, quote, simplify};
use crate::yaml::{Node, Value};

/// The fields that a map may have.
pub(crate) struct Shape {
    /// What the map is, for messages.
    pub(crate) what: &'static str,
    /// The fields, in the order of the documentation.
    pub(crate) fields: &'static [&'static str],
    /// Words of other products, and the field of ours that they mean.
    pub(crate) others: &'static [(&'static str, &'static str)],
}

/// A map whose unknown fields have been reported.
pub(crate) struct Fields<'n, 'p> {
    pub(crate) node: &'n Node,
    pub(crate) path: Path<'p>,
    /// Fields that a misspelled one probably means: these are not reported as missing too.
    meant: Vec<&'static str>,
}

impl<'n, 'p> Fields<'n, 'p> {
    /// Reads a map of this shape; anything else than a map is an error.
    pub(crate) fn read(
        node: &'n Node,
        path: Path<'p>,
        shape: &Shape,
        report: &mut Report<'_>,
    ) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            let message = format!("expected {}, found {}", shape.what, node.describe());
            let remedy = format!("write a map with the fields {}", listed(shape.fields.iter().copied()));
            report.error(node.at, &path, message, remedy);
            return None;
        };
        let mut meant = Vec::new();
        for (key, _) in entries {
            let Some(name) = key_text(key, &path, report) else { continue };
            if !shape.fields.contains(&name) {
                meant.extend(unknown_field(key, name, &path, shape, report));
            }
        }
        Some(Self { node, path, meant })
    }

    /// The node of a field.
    pub(crate) fn get(&self, name: &str) -> Option<&'n Node> {
        self.node.get(name)
    }

    /// Reads a field that may be absent.
    pub(crate) fn optional<T>(
        &self,
        name: &str,
        report: &mut Report<'_>,
        read: impl FnOnce(&'n Node, &Path<'_>, &mut Report<'_>) -> Option<T>,
    ) -> Option<T> {
        read(self.get(name)?, &self.path.field(name), report)
    }

    /// Reads a field that must be there.
    pub(crate) fn required<T>(
        &self,
        name: &str,
        remedy: &str,
        report: &mut Report<'_>,
        read: impl FnOnce(&'n Node, &Path<'_>, &mut Report<'_>) -> Option<T>,
    ) -> Option<T> {
        if self.get(name).is_none() {
            self.missing(name, remedy, report);
        }
        self.optional(name, report, read)
    }

    /// Reports that a field is missing, unless a misspelled one was probably meant to be it.
    pub(crate) fn missing(&self, name: &str, remedy: &str, report: &mut Report<'_>) {
        if !self.meant.contains(&name) {
            report.error(self.node.at, &self.path.field(name), format!("{name} is missing"), remedy);
        }
    }
}

fn unknown_field(
    key: &Node,
    name: &str,
    path: &Path<'_>,
    shape: &Shape,
    report: &mut Report<'_>,
) -> Option<&'static str> {
    if report.is_full() {
        report.error(key.at, path, "", "");
        return None;
    }
    let plain = simplify(name);
    let meant = shape
        .others
        .iter()
        .find(|(other, _)| *other == plain)
        .map(|(_, ours)| *ours)
        .or_else(|| nearest(name, shape.fields.iter().copied()));
    let remedy = match meant {
        Some(field) => format!("did you mean '{field}'?"),
        None => format!("the fields of {} are {}", shape.what, listed(shape.fields.iter().copied())),
    };
    let message = format!("{} has no field {}", shape.what, quote(name));
    report.error(key.at, &path.field(name), message, remedy);
    meant
}

/// The text of a map's key; anything else is reported.
pub(crate) fn key_text<'n>(key: &'n Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<&'n str> {
    if key.text().is_none() {
        let message = format!("{} cannot be a name", key.describe());
        report.error(key.at, path, message, "write a text before the colon, in quotes if need be");
    }
    key.text()
}

/// The entries of a map with free keys; `remedy` says how it is written.
pub(crate) fn map<'n>(
    node: &'n Node,
    path: &Path<'_>,
    remedy: &str,
    report: &mut Report<'_>,
) -> Option<&'n [(Node, Node)]> {
    match &node.value {
        Value::Map(entries) => Some(entries),
        _ => {
            report.error(node.at, path, format!("expected a map, found {}", node.describe()), remedy);
            None
        }
    }
}

/// The items of a list; `remedy` says how it is written.
pub(crate) fn list<'n>(
    node: &'n Node,
    path: &Path<'_>,
    remedy: &str,
    report: &mut Report<'_>,
) -> Option<&'n [Node]> {
    match &node.value {
        Value::List(items) => Some(items),
        _ => {
            report.error(node.at, path, format!("expected a list, found {}", node.describe()), remedy);
            None
        }
    }
}

/// Reports a list or map that is too long.
pub(crate) fn at_most(
    max: usize,
    len: usize,
    what: &str,
    at: &Node,
    path: &Path<'_>,
    report: &mut Report<'_>,
) {
    if len > max {
        report.error(at.at, path, format!("there are {len} {what}"), format!("write at most {max}"));
    }
}

/// Reports a `name` that an earlier item of the same list has.
pub(crate) fn unique_name(
    item: &Node,
    path: &Path<'_>,
    what: &str,
    seen: &mut HashMap<String, Spot>,
    report: &mut Report<'_>,
) {
    let Some((node, name)) = item.get("name").and_then(|node| Some((node, node.text()?))) else { return };
    if let Some(first) = seen.get(name) {
        let message = format!("the {what} {} stands twice", quote(name));
        let remedy = if *first == node.at {
            "where an alias repeats it, add another name: { <<: *alias, name: another }".to_owned()
        } else {
            format!("rename this one; the first is in line {}", first.line)
        };
        report.error(node.at, &path.field("name"), message, remedy);
    } else {
        seen.insert(name.to_owned(), node.at);
    }
}
