//! The tree of descriptors: read, each node checked for itself and against its siblings.

use std::collections::HashMap;

use tidegate_core::rule::model::{Denies, MAX_REPLACED};
use tidegate_core::rule::pattern::{Glob, GlobError, Pattern};

use crate::path::Path;
use crate::report::{Report, Spot};
use crate::rules::condition::Reader;
use crate::rules::fields::{self, Fields, Shape};
use crate::rules::scalar::{self, Name};
use crate::suggest::{listed, quote};
use crate::yaml::{Node, Value};

/// The most wildcards of one list of descriptors.
const MAX_WILDCARDS: usize = 1_024;

const DESCRIPTOR: Shape = Shape {
    what: "a descriptor",
    fields: &[
        "key",
        "value",
        "rate_limit",
        "descriptors",
        "shadow_mode",
        "quota_mode",
        "detailed_metric",
        "value_to_metric",
        "share_threshold",
        "metadata",
    ],
    others: &[("limit", "rate_limit"), ("ratelimit", "rate_limit"), ("shadow", "shadow_mode")],
};

const RATE_LIMIT: Shape = Shape {
    what: "a rate_limit",
    fields: &["unit", "requests_per_unit", "unlimited", "name", "replaces"],
    others: &[("limit", "requests_per_unit"), ("window", "unit"), ("period", "unit")],
};

const REPLACED: Shape = Shape { what: "an item of replaces", fields: &["name"], others: &[] };

/// The words for a time and its seconds. A month has 30 days there, a year 365; all begin at the Unix epoch.
const UNITS: [(&str, u64); 7] = [
    ("second", 1),
    ("minute", 60),
    ("hour", 3_600),
    ("day", 86_400),
    ("week", 7 * 86_400),
    ("month", 30 * 86_400),
    ("year", 365 * 86_400),
];

/// A node of the tree.
pub(super) struct Descriptor {
    pub(super) key: String,
    pub(super) matcher: Matcher,
    /// Whether all values share one bucket.
    pub(super) is_shared: bool,
    pub(super) is_shadow: bool,
    pub(super) denies: Denies,
    pub(super) limit: Option<Limit>,
    pub(super) below: Vec<Descriptor>,
    pub(super) at: Spot,
    /// The path of its field in the file.
    pub(super) field: String,
}

/// Which values of its key a node is for.
pub(super) enum Matcher {
    /// This one.
    Exact(String),
    /// Those that fit a text with stars.
    Wildcard(Wildcard),
    /// Those that no sibling is for.
    Rest,
}

/// A value with stars.
pub(super) struct Wildcard {
    /// As it is written.
    pub(super) text: String,
    /// What fits it; nothing where every value does.
    pub(super) pattern: Option<Pattern>,
}

/// A limit.
pub(super) struct Limit {
    pub(super) name: Option<String>,
    /// The names of limits that do not hold where this one does.
    pub(super) replaces: Vec<Replaced>,
    /// Requests and seconds; nothing where there is no limit.
    pub(super) per_unit: Option<(u64, u64)>,
}

/// The name of limits that another one replaces, and where it stands.
pub(super) struct Replaced {
    pub(super) name: String,
    pub(super) at: Spot,
    /// The path of its field in the file.
    pub(super) field: String,
}

impl Descriptor {
    /// How statistics call the node: its key, and its value if it has one.
    pub(super) fn word(&self) -> String {
        match &self.matcher {
            Matcher::Exact(value) => format!("{}_{value}", self.key),
            Matcher::Wildcard(wildcard) => format!("{}_{}", self.key, wildcard.text.replace('*', "any")),
            Matcher::Rest => self.key.clone(),
        }
    }

    /// What the file calls the node among its siblings; there, two nodes may not be alike in this.
    fn composite_key(&self) -> String {
        match &self.matcher {
            Matcher::Exact(value) => format!("{}_{value}", self.key),
            Matcher::Wildcard(wildcard) => format!("{}_{}", self.key, wildcard.text),
            Matcher::Rest => self.key.clone(),
        }
    }
}

/// Reads the list `descriptors` of a map.
pub(super) fn descriptors(fields: &Fields<'_, '_>, report: &mut Report<'_>) -> Vec<Descriptor> {
    let Some(node) = fields.get("descriptors").filter(|node| !matches!(node.value, Value::Null)) else {
        return Vec::new();
    };
    let path = fields.path.field("descriptors");
    let remedy = "write a list of descriptors, each with '- key:'";
    let Some(items) = fields::list(node, &path, remedy, report) else { return Vec::new() };
    let mut level = Vec::with_capacity(items.len());
    let mut seen: HashMap<String, Spot> = HashMap::new();
    for (index, item) in items.iter().enumerate() {
        let path = path.index(index);
        let Some(descriptor) = descriptor(item, path, report) else { continue };
        let composite = descriptor.composite_key();
        match seen.get(&composite) {
            Some(first) => {
                let message = format!("the composite key {} stands twice", quote(&composite));
                let remedy = format!("remove one of the two; the first is in line {}", first.line);
                report.error(item.at, &path, message, remedy);
            }
            None => {
                seen.insert(composite, item.at);
            }
        }
        level.push(descriptor);
    }
    let wildcards = level.iter().filter(|one| matches!(one.matcher, Matcher::Wildcard(_))).count();
    fields::at_most(MAX_WILDCARDS, wildcards, "wildcards in one list", node, &path, report);
    level
}

fn descriptor(node: &Node, path: Path<'_>, report: &mut Report<'_>) -> Option<Descriptor> {
    let fields = Fields::read(node, path, &DESCRIPTOR, report)?;
    let key = fields.required("key", "write key: and a name", report, |node, path, report| {
        scalar::name(node, path, Name::Entry, report)
    });
    let matcher = match (&key, fields.get("value")) {
        (Some(key), Some(value)) => matcher(key, value, &path.field("value"), report),
        _ => Some(Matcher::Rest),
    };
    let mut flag = |name: &str| fields.optional(name, report, scalar::boolean).unwrap_or(false);
    let (is_shadow, is_quota, is_shared) = (flag("shadow_mode"), flag("quota_mode"), flag("share_threshold"));
    // Statistics have their own form here.
    let _ = (flag("detailed_metric"), flag("value_to_metric"));
    if is_shared && !matches!(matcher, Some(Matcher::Wildcard(_)) | None) {
        let message = "share_threshold is for values with '*'";
        let remedy = "remove it, or write a value with '*'";
        report.error(
            fields.get("share_threshold").map_or(node.at, |node| node.at),
            &path.field("share_threshold"),
            message,
            remedy,
        );
    }
    if let Some(metadata) = fields.get("metadata").filter(|node| !matches!(node.value, Value::Null)) {
        let path = path.field("metadata");
        fields::map(metadata, &path, "write a map of names and values", report);
        report.warn(metadata.at, &path, "metadata is not passed on", "remove it if nobody reads it");
    }
    let limit = fields.get("rate_limit").filter(|node| !matches!(node.value, Value::Null));
    let limit = limit.map(|node| rate_limit(node, path.field("rate_limit"), report));
    let below = descriptors(&fields, report);
    Some(Descriptor {
        key: key?,
        matcher: matcher?,
        is_shared,
        is_shadow,
        denies: if is_quota { Denies::Together } else { Denies::Alone },
        limit: match limit {
            Some(limit) => Some(limit?),
            None => None,
        },
        below,
        at: node.at,
        field: path.to_string(),
    })
}

fn matcher(key: &str, node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<Matcher> {
    if matches!(node.value, Value::Null) {
        return Some(Matcher::Rest);
    }
    let mut reader = Reader { entry: key, report };
    let text = reader.value(node, path)?;
    if text.is_empty() {
        return Some(Matcher::Rest);
    }
    if !text.contains('*') {
        return match reader.exact(text, node, path)? {
            Pattern::Exact(value) => Some(Matcher::Exact(value)),
            _ => None,
        };
    }
    let wildcard = |pattern| Matcher::Wildcard(Wildcard { text: text.to_owned(), pattern });
    match (Glob::new(text.split('*').map(str::to_owned)), text.strip_suffix('*')) {
        (Err(GlobError::OnlyStars), _) => Some(wildcard(None)),
        (_, Some(prefix)) if !prefix.contains('*') => {
            reader.prefix(prefix, node, path).map(|pattern| wildcard(Some(pattern)))
        }
        (glob, _) => reader.glob(glob, node, path).map(|pattern| wildcard(Some(pattern))),
    }
}

fn rate_limit(node: &Node, path: Path<'_>, report: &mut Report<'_>) -> Option<Limit> {
    let fields = Fields::read(node, path, &RATE_LIMIT, report)?;
    let is_unlimited = fields.optional("unlimited", report, scalar::boolean).unwrap_or(false);
    let name = fields.optional("name", report, |node, path, report| match node.value {
        Value::Null => None,
        _ => scalar::name(node, path, Name::Domain, report),
    });
    let replaces = replaces(&fields, name.as_deref(), report);
    if is_unlimited {
        // The service there refuses the unit alone.
        if let Some(node) = fields.get("unit") {
            let message = "unit contradicts unlimited";
            report.error(node.at, &path.field("unit"), message, "remove one of the two");
        }
        if let Some(node) = fields.get("requests_per_unit") {
            let message = "requests_per_unit says nothing beside unlimited";
            report.warn(node.at, &path.field("requests_per_unit"), message, "remove one of the two");
        }
        return Some(Limit { name, replaces, per_unit: None });
    }
    let words = || listed(UNITS.iter().map(|(word, _)| *word));
    let remedy = format!("write unit: and one of {}", words());
    let seconds = fields.required("unit", &remedy, report, |node, path, report| {
        let text = node.text().unwrap_or_default();
        let unit = UNITS.iter().find(|(word, _)| word.eq_ignore_ascii_case(text));
        if unit.is_none() {
            let message = format!("{} is not a unit", node.describe());
            report.error(node.at, path, message, format!("write one of {}", words()));
        }
        unit.map(|(_, seconds)| *seconds)
    });
    if fields.get("requests_per_unit").is_none() {
        let message = "requests_per_unit is missing, which is 0: nothing passes";
        report.warn(node.at, &path, message, "write requests_per_unit: and a number");
    }
    let requests = match fields.get("requests_per_unit") {
        None => Some(0),
        Some(_) => fields.optional("requests_per_unit", report, |node, path, report| {
            let requests = scalar::unsigned(node, path, report)?;
            if requests > u64::from(u32::MAX) {
                let message = format!("there are {requests} requests per unit");
                report.error(node.at, path, message, format!("write at most {}", u32::MAX));
            }
            Some(requests)
        }),
    };
    Some(Limit { name, replaces, per_unit: Some((requests?, seconds?)) })
}

/// The limits that do not hold where this one does: of the same descriptor, or of another one of the same call.
fn replaces(fields: &Fields<'_, '_>, own: Option<&str>, report: &mut Report<'_>) -> Vec<Replaced> {
    let Some(node) = fields.get("replaces").filter(|node| !matches!(node.value, Value::Null)) else {
        return Vec::new();
    };
    let path = fields.path.field("replaces");
    let remedy = "write a list of limits, each with '- name:'";
    let Some(items) = fields::list(node, &path, remedy, report) else { return Vec::new() };
    fields::at_most(MAX_REPLACED, items.len(), "limits to replace", node, &path, report);
    let mut replaced: Vec<Replaced> = Vec::new();
    for (index, item) in items.iter().take(MAX_REPLACED).enumerate() {
        let Some(fields) = Fields::read(item, path.index(index), &REPLACED, report) else { continue };
        let name =
            fields.required("name", "write name: and the name of a limit", report, |node, path, report| {
                scalar::name(node, path, Name::Domain, report)
            });
        let Some(name) = name else { continue };
        if own == Some(name.as_str()) {
            let message = "the limit replaces itself";
            report.error(item.at, &fields.path, message, "remove its own name");
        }
        if replaced.iter().all(|other| other.name != name) {
            replaced.push(Replaced { name, at: item.at, field: fields.path.to_string() });
        }
    }
    replaced
}
