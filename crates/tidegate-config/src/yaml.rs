//! YAML text to a tree in which every node knows its place.
//!
//! A tree and not derived types: a derived reader stops at the first thing that is wrong, and a person who repairs
//! a file wants to see everything at once. The parser's budgets bound depth, nodes, aliases and bytes.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{
    DefaultMessageFormatter, DuplicateKeyPolicy, Error, MessageFormatter, NonFiniteFloatPolicy,
};
use serde_saphyr::{Options, Spanned};

use crate::path::Path;
use crate::report::{Report, Spot};
use crate::suggest::quote;

/// The deepest nesting of lists and maps.
const MAX_DEPTH: usize = 32;
/// The most lists, maps and scalars of one file.
const MAX_NODES: usize = 4_000_000;
/// The most parser events that aliases may repeat.
const MAX_REPLAYED_EVENTS: usize = 1_000_000;
/// The most anchors, and the most aliases, of one file.
const MAX_ANCHORS: usize = 50_000;

/// A node of the tree.
pub(crate) struct Node {
    pub(crate) value: Value,
    /// Where the node begins; for an alias, where its anchor is defined.
    pub(crate) at: Spot,
    /// The bytes of the source that a plain scalar takes.
    span: Option<(u32, u32)>,
}

/// What a node is.
pub(crate) enum Value {
    Null,
    /// A scalar in its own spelling.
    Scalar(Kind, String),
    List(Vec<Node>),
    /// Keys in the order of the file; a key is a scalar.
    Map(Vec<(Node, Node)>),
}

/// What YAML takes a scalar for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Number,
    Bool,
}

impl Node {
    /// The text of a scalar in its own spelling.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(_, text) => Some(text),
            _ => None,
        }
    }

    /// The value of `key` in a map.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => {
                entries.iter().find(|(name, _)| name.text() == Some(key)).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// What stands here, for a message.
    pub(crate) fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Scalar(_, text) => quote(text),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }

    /// Gives scalars that YAML read as numbers or booleans their own spelling back.
    fn restore_spelling(&mut self, source: &str) {
        match &mut self.value {
            Value::Null | Value::Scalar(Kind::Text, _) => {}
            Value::Scalar(_, text) => {
                let slice = self.span.and_then(|(start, len)| {
                    let start = usize::try_from(start).ok()?;
                    source.get(start..start.checked_add(usize::try_from(len).ok()?)?)
                });
                if let Some(slice) = slice {
                    slice.trim().clone_into(text);
                }
            }
            Value::List(items) => items.iter_mut().for_each(|item| item.restore_spelling(source)),
            Value::Map(entries) => {
                for (key, value) in entries {
                    key.restore_spelling(source);
                    value.restore_spelling(source);
                }
            }
        }
    }
}

/// Reads one YAML document. What is wrong goes to `report`; the tree is there unless the text cannot be read at
/// all. Of duplicate keys, the first value stays.
pub(crate) fn read(source: &str, report: &mut Report<'_>) -> Option<Node> {
    let mut result = attempt(source, DuplicateKeyPolicy::Error, report);
    if matches!(&result, Err(Error::DuplicateMappingKey { .. })) {
        // Read on as if the duplicate were not there, to report what else is wrong.
        result = attempt(source, DuplicateKeyPolicy::FirstWins, report);
    }
    let mut node = result.ok()?;
    node.restore_spelling(source);
    Some(node)
}

fn attempt(source: &str, duplicates: DuplicateKeyPolicy, report: &mut Report<'_>) -> Result<Node, Error> {
    serde_saphyr::from_str_with_options(source, options(duplicates)).inspect_err(|error| note(error, report))
}

fn options(duplicates: DuplicateKeyPolicy) -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 2 * MAX_NODES,
            max_aliases: MAX_ANCHORS,
            max_anchors: MAX_ANCHORS,
            max_recorded_anchor_events: MAX_REPLAYED_EVENTS,
            max_merge_keys: MAX_ANCHORS,
            max_documents: 2,
            // One anchor for thousands of rules is fine: what aliases repeat is bounded instead.
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_REPLAYED_EVENTS,
        },
        duplicate_keys: duplicates,
        strict_booleans: true,
        reject_unsupported_tags: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    }
}

/// Reports an error of the parser in our words.
fn note(error: &Error, report: &mut Report<'_>) {
    let inner = match error.without_snippet() {
        Error::AliasError { error, .. } => error.without_snippet(),
        other => other,
    };
    let at = inner.location().or_else(|| error.location()).map_or(Spot::default(), spot);
    let (message, remedy) = match inner {
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            (format!("the key {} stands twice in one map", quote(key)), "remove one of the two".to_owned())
        }
        Error::DuplicateMappingKey { .. } => {
            ("a key stands twice in one map".to_owned(), "remove one of the two".to_owned())
        }
        Error::MultipleDocuments { .. } => (
            "a second document begins".to_owned(),
            "keep one document per file: remove the line '---' and what follows".to_owned(),
        ),
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => (
            format!("lists and maps are nested more than {MAX_DEPTH} deep"),
            "a rule file needs 8; look for an indentation that grew".to_owned(),
        ),
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::Budget {
            breach: BudgetBreach::RecordedAnchorEvents { .. } | BudgetBreach::RecordedAnchorBytes { .. },
            ..
        } => (
            format!("aliases repeat more than {MAX_REPLAYED_EVENTS} values"),
            "write the values out, or use fewer aliases".to_owned(),
        ),
        Error::Budget { .. } => (
            format!("the file is too large to be read safely ({MAX_NODES} values, {MAX_ANCHORS} aliases)"),
            "split it, or use fewer aliases".to_owned(),
        ),
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            ("an alias contains itself".to_owned(), "remove the alias".to_owned())
        }
        Error::UnknownAnchor { .. } => (
            "the alias names no anchor".to_owned(),
            "define it above with '&name', or put a text that begins with '*' in quotes".to_owned(),
        ),
        Error::UnsupportedTag { tag, .. } => {
            (format!("the tag {} means nothing here", quote(tag)), "remove it".to_owned())
        }
        other => {
            let text = DefaultMessageFormatter.format_message(other);
            let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
            (
                format!("this is not YAML: {text}"),
                "check the indentation (blanks, no tabs), the quotes and the brackets here and on the line above"
                    .to_owned(),
            )
        }
    };
    report.error(at, &Path::ROOT, message, remedy);
}

fn spot(location: serde_saphyr::Location) -> Spot {
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Spot { line: small(location.line()), column: small(location.column()) }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, defined, .. } = Spanned::<Value>::deserialize(deserializer)?;
        let span = defined.span();
        let span = span
            .byte_offset()
            .zip(span.byte_len())
            .and_then(|(start, len)| Some((u32::try_from(start).ok()?, u32::try_from(len).ok()?)));
        Ok(Node { value, at: spot(defined), span })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a scalar, a list or a map")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Scalar(Kind::Bool, value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Scalar(Kind::Number, value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Scalar(Kind::Number, value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Scalar(Kind::Number, value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Scalar(Kind::Text, value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Scalar(Kind::Text, value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Value::Map(entries))
    }
}
