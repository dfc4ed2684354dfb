//! The settings file: a flat YAML map of flag names to values.
//!
//! No error repeats a value: the file may hold secrets.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Error, NonFiniteFloatPolicy, Options, Spanned};

/// The largest settings file, in bytes: 1 MiB.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// The deepest nesting: a list in the map, and some that are refused with a place.
const MAX_DEPTH: usize = 8;
/// The most values of one file.
const MAX_NODES: usize = 10_000;

/// A settings file that was read; its keys are not checked yet.
#[derive(Debug)]
pub(super) struct SettingsFile {
    /// The path, as it was told.
    pub(super) name: String,
    /// What stands in it, in its order.
    pub(super) entries: Vec<Entry>,
}

/// A key and its value.
#[derive(Debug)]
pub(super) struct Entry {
    /// As it stands in the file.
    pub(super) key: String,
    /// From 1.
    pub(super) line: u64,
    pub(super) value: Value,
}

/// What stands at a key.
#[derive(Debug)]
pub(super) enum Value {
    /// Nothing, or an empty text: as if the key were not there.
    Nothing,
    /// A scalar in its own spelling.
    One(String),
    /// Scalars.
    List(Vec<String>),
    /// Something else.
    Other,
}

impl SettingsFile {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// It cannot be read, is too large, or is no flat map. The text says where and what to do.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let name = path.display().to_string();
        let text = read_bounded(path, MAX_FILE_BYTES).map_err(|error| format!("{name}: {error}"))?;
        Self::parse(name, &text)
    }

    /// Reads the text of a file.
    pub(super) fn parse(name: String, text: &str) -> Result<Self, String> {
        match serde_saphyr::from_str_with_options::<Entries>(text, options()) {
            Ok(Entries(entries)) => {
                let entries = entries.into_iter().map(|(key, node)| entry(key, node, text)).collect();
                Ok(Self { name, entries })
            }
            Err(error) => Err(describe(&name, &error)),
        }
    }
}

/// A text file of at most so many bytes.
pub(super) fn read_bounded(path: &Path, most: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(most + 1).read_to_string(&mut text)?;
    if text.len() as u64 > most {
        return Err(io::Error::other(format!("the file is larger than {most} bytes")));
    }
    Ok(text)
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 2 * MAX_NODES,
            max_documents: 2,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        strict_booleans: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    }
}

/// An error of the parser, without what it quotes.
fn describe(name: &str, error: &Error) -> String {
    let inner = error.without_snippet();
    let place = match inner.location().or_else(|| error.location()) {
        Some(at) => format!("{name}:{}:{}", at.line(), at.column()),
        None => name.to_owned(),
    };
    match inner {
        Error::DuplicateMappingKey { .. } => format!("{place}: this key stands twice: remove one of the two"),
        Error::MultipleDocuments { .. } => {
            format!("{place}: a second document begins: remove the line '---' and what follows")
        }
        Error::Budget { .. } => format!("{place}: the file is too large, or nested too deep, to be settings"),
        _ => format!(
            "{place}: this is not a YAML map of settings (listen: 127.0.0.1:8080): check the indentation, and put texts \
             with a meaning in YAML in quotes"
        ),
    }
}

fn entry(key: Spanned<String>, node: Spanned<Node>, source: &str) -> Entry {
    let line = key.defined.line();
    let value = match node.value {
        Node::Nothing => Value::Nothing,
        Node::List(items) => {
            let texts: Option<Vec<String>> = items.into_iter().map(|item| scalar(item, source)).collect();
            texts.map_or(Value::Other, Value::List)
        }
        Node::Map => Value::Other,
        Node::Text(_) | Node::Plain(_) => match scalar(node, source) {
            Some(text) if text.is_empty() => Value::Nothing,
            Some(text) => Value::One(text),
            None => Value::Other,
        },
    };
    Entry { key: key.value, line, value }
}

/// The text of a scalar. Numbers and booleans get their own spelling back.
fn scalar(node: Spanned<Node>, source: &str) -> Option<String> {
    match node.value {
        Node::Text(text) => Some(text),
        Node::Plain(text) => {
            let span = node.defined.span();
            let written = span.byte_offset().zip(span.byte_len()).and_then(|(start, len)| {
                let start = usize::try_from(start).ok()?;
                source.get(start..start.checked_add(usize::try_from(len).ok()?)?)
            });
            Some(written.map_or(text, |written| written.trim().to_owned()))
        }
        Node::Nothing | Node::List(_) | Node::Map => None,
    }
}

/// The map of a settings file; an empty file is an empty map.
struct Entries(Vec<(Spanned<String>, Spanned<Node>)>);

/// What a value is.
enum Node {
    Nothing,
    Text(String),
    /// A number or boolean, as the parser spells it.
    Plain(String),
    List(Vec<Spanned<Node>>),
    Map,
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of settings")
    }

    fn visit_unit<E>(self) -> Result<Entries, E> {
        Ok(Entries(Vec::new()))
    }

    fn visit_none<E>(self) -> Result<Entries, E> {
        Ok(Entries(Vec::new()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or a list")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Nothing)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Nothing)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Node::Map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<(String, u64, Value)>, String> {
        let file = SettingsFile::parse("t.yaml".to_owned(), text)?;
        Ok(file.entries.into_iter().map(|entry| (entry.key, entry.line, entry.value)).collect())
    }

    fn one(text: &str) -> String {
        match parse(text).unwrap().swap_remove(0).2 {
            Value::One(text) => text,
            other => panic!("{text:?} is {other:?}"),
        }
    }

    #[test]
    fn scalars_keep_their_spelling() {
        assert_eq!(one("a: 1_000"), "1_000");
        assert_eq!(one("a: 0123 # a token"), "0123");
        assert_eq!(one("a: 1.50"), "1.50");
        assert_eq!(one("a: True"), "True");
        assert_eq!(one("a: 60s"), "60s");
        assert_eq!(one("a: \"0123\""), "0123");
        assert_eq!(one("a: 0.0.0.0:8080"), "0.0.0.0:8080");
        assert_eq!(one("a: |-\n  x\n"), "x");
    }

    #[test]
    fn keys_know_their_lines_and_nothing_is_nothing() {
        let entries = parse("# first\n\na: 1\nb:\nc: ''\nd: [1, x]\ne: {f: g}\nh: [[1]]\n").unwrap();
        let kinds: Vec<_> = entries
            .iter()
            .map(|(key, line, value)| {
                let kind = match value {
                    Value::Nothing => "nothing",
                    Value::One(_) => "one",
                    Value::List(_) => "list",
                    Value::Other => "other",
                };
                (key.as_str(), *line, kind)
            })
            .collect();
        assert_eq!(
            kinds,
            [
                ("a", 3, "one"),
                ("b", 4, "nothing"),
                ("c", 5, "nothing"),
                ("d", 6, "list"),
                ("e", 7, "other"),
                ("h", 8, "other")
            ]
        );
        for empty in ["", "# nothing yet\n", "---\n", "{}"] {
            assert!(parse(empty).unwrap().is_empty(), "{empty:?}");
        }
    }

    #[test]
    fn what_is_no_settings_file_is_refused_with_its_place_and_without_its_values() {
        for (text, place) in [
            ("store: hunter2\nstore: hunter2\n", "t.yaml:2:"),
            ("a: 1\n---\nhunter2: 2\n", "t.yaml:"),
            ("a: 1\n b: hunter2\n", "t.yaml:2:"),
            ("a: *hunter2\n", "t.yaml:1:"),
            ("a: !hunter2 b\n- hunter2", "t.yaml:"),
            ("- hunter2\n", "t.yaml"),
            ("hunter2", "t.yaml"),
            ("a: [[[[[[[[[[[[hunter2]]]]]]]]]]]]", "t.yaml:1:"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(place) && !error.contains("hunter2"), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_file_is_read_up_to_its_largest_size() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let size = std::fs::metadata(&path).unwrap().len();
        assert!(read_bounded(&path, size).is_ok());
        let error = read_bounded(&path, size - 1).unwrap_err().to_string();
        assert!(error.contains(&format!("larger than {}", size - 1)), "{error}");
    }
}
