//! The tree of descriptors: read, each node checked for itself and against its siblings.

use std::collections::{BTreeSet, HashMap};

use tidegate_core::rule::pattern::Pattern;

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
    /// Those that begin with this text: all, where it is empty.
    Prefix(String),
    /// Those that no sibling is for.
    Rest,
}

/// A limit.
pub(super) struct Limit {
    pub(super) name: Option<String>,
    /// Requests and seconds; nothing where there is no limit.
    pub(super) per_unit: Option<(u64, u64)>,
}

impl Descriptor {
    /// How statistics call the node: its key, and its value if it has one.
    pub(super) fn word(&self) -> String {
        match &self.matcher {
            Matcher::Exact(value) => format!("{}_{value}", self.key),
            Matcher::Prefix(prefix) => format!("{}_{prefix}any", self.key),
            Matcher::Rest => self.key.clone(),
        }
    }

    /// What the file calls the node among its siblings; there, two nodes may not be alike in this.
    fn composite_key(&self) -> String {
        match &self.matcher {
            Matcher::Exact(value) => format!("{}_{value}", self.key),
            Matcher::Prefix(prefix) => format!("{}_{prefix}*", self.key),
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
    let wildcards = level.iter().filter(|one| matches!(one.matcher, Matcher::Prefix(_))).count();
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
    if is_quota {
        let message = "quota_mode weighs several descriptors of a call against one another";
        let remedy = "remove it, or set it to false: here each descriptor is decided by itself";
        let at = fields.get("quota_mode").map_or(node.at, |node| node.at);
        report.error(at, &path.field("quota_mode"), message, remedy);
    }
    if is_shared && !matches!(matcher, Some(Matcher::Prefix(_)) | None) {
        let message = "share_threshold is for values with '*'";
        let remedy = "remove it, or end the value with '*'";
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
    match text.strip_suffix('*') {
        Some("") => Some(Matcher::Prefix(String::new())),
        Some(prefix) if !prefix.contains('*') => {
            reader.prefix(prefix, node, path).map(|_| Matcher::Prefix(prefix.to_owned()))
        }
        None if !text.contains('*') => {
            reader.exact(text, node, path).map(|_| Matcher::Exact(text.to_owned()))
        }
        _ => {
            let message = format!("{} has a '*' that is not at its end", quote(text));
            let remedy = "write a value, or a beginning with one '*' at its end: here there is nothing else";
            report.error(node.at, path, message, remedy);
            None
        }
    }
}

fn rate_limit(node: &Node, path: Path<'_>, report: &mut Report<'_>) -> Option<Limit> {
    let fields = Fields::read(node, path, &RATE_LIMIT, report)?;
    let is_unlimited = fields.optional("unlimited", report, scalar::boolean).unwrap_or(false);
    let name = fields.optional("name", report, |node, path, report| match node.value {
        Value::Null => None,
        _ => scalar::name(node, path, Name::Domain, report),
    });
    replaces(&fields, report);
    if is_unlimited {
        for field in ["unit", "requests_per_unit"] {
            if let Some(node) = fields.get(field) {
                let message = format!("{field} contradicts unlimited");
                report.error(node.at, &path.field(field), message, "remove one of the two");
            }
        }
        return Some(Limit { name, per_unit: None });
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
    Some(Limit { name, per_unit: Some((requests?, seconds?)) })
}

/// `replaces` drops limits of other descriptors of the same call, which here are decided by themselves.
fn replaces(fields: &Fields<'_, '_>, report: &mut Report<'_>) {
    let Some(node) = fields.get("replaces").filter(|node| !matches!(node.value, Value::Null)) else { return };
    let path = fields.path.field("replaces");
    let remedy = "write a list of limits, each with '- name:'";
    let Some(items) = fields::list(node, &path, remedy, report) else { return };
    for (index, item) in items.iter().enumerate() {
        if let Some(fields) = Fields::read(item, path.index(index), &REPLACED, report) {
            fields.required("name", "write name: and the name of a limit", report, |node, path, report| {
                scalar::name(node, path, Name::Domain, report)
            });
        }
    }
    if !items.is_empty() {
        let message = "replaces drops limits of other descriptors of the same call";
        let remedy = "send only the descriptor that is to count: here each is decided by itself";
        report.error(node.at, &path, message, remedy);
    }
}

/// The nodes of one level by their key.
pub(super) struct Siblings<'d> {
    by_key: HashMap<&'d str, OfKey<'d>>,
}

/// The nodes of one key.
#[derive(Default)]
struct OfKey<'d> {
    exact: BTreeSet<&'d str>,
    /// In the order of the file, which decides among them.
    wildcards: Vec<(&'d str, &'d Descriptor)>,
}

impl<'d> Siblings<'d> {
    pub(super) fn of(level: &'d [Descriptor]) -> Self {
        let mut by_key: HashMap<&str, OfKey<'_>> = HashMap::new();
        for descriptor in level {
            let of_key = by_key.entry(&descriptor.key).or_default();
            match &descriptor.matcher {
                Matcher::Exact(value) => {
                    of_key.exact.insert(value);
                }
                Matcher::Prefix(prefix) => of_key.wildcards.push((prefix, descriptor)),
                Matcher::Rest => {}
            }
        }
        Self { by_key }
    }

    /// The values that a node would be for, were it not for siblings that come before it.
    ///
    /// # Errors
    /// The line of a wildcard that leaves it nothing.
    pub(super) fn taken_from(&self, descriptor: &Descriptor) -> Result<Vec<Pattern>, u32> {
        let Some(of_key) = self.by_key.get(descriptor.key.as_str()) else { return Ok(Vec::new()) };
        let own = match &descriptor.matcher {
            Matcher::Exact(_) => return Ok(Vec::new()),
            Matcher::Prefix(prefix) => prefix.as_str(),
            Matcher::Rest => "",
        };
        let exact = of_key.exact.range(own..).take_while(|value| value.starts_with(own));
        let mut taken: Vec<Pattern> = exact.map(|value| Pattern::Exact((*value).to_owned())).collect();
        let before = of_key.wildcards.iter().take_while(|(_, wildcard)| !std::ptr::eq(*wildcard, descriptor));
        for (prefix, wildcard) in before {
            if own.starts_with(prefix) {
                return Err(wildcard.at.line);
            }
            if prefix.starts_with(own) {
                taken.push(Pattern::Prefix((*prefix).to_owned()));
            }
        }
        Ok(taken)
    }
}
