//! Picks the wanted values out of a JSON object in one pass, without building a tree of the rest.
//!
//! The wanted paths form a small tree of their own. serde walks the object along it: a name that leads
//! nowhere is skipped by the parser, a wanted value is borrowed from the line where it has no escapes.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A value found at a wanted path.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar<'a> {
    /// Text.
    Text(Cow<'a, str>),
    /// A whole number that is not negative.
    Unsigned(u64),
    /// A negative whole number.
    Negative(i64),
    /// Any other number.
    Float(f64),
    /// True or false.
    Bool(bool),
}

impl Scalar<'_> {
    /// The value as an entry's text.
    pub(super) fn as_text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Unsigned(number) => Cow::Owned(number.to_string()),
            Self::Negative(number) => Cow::Owned(number.to_string()),
            Self::Float(number) => Cow::Owned(number.to_string()),
            Self::Bool(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
        }
    }
}

/// One wanted value: the best ranked path that is there fills it.
#[derive(Debug, Clone, Default)]
pub(super) struct Slot<'a> {
    rank: usize,
    /// What was found.
    pub(super) value: Option<Scalar<'a>>,
}

/// The wanted paths.
#[derive(Debug, Clone)]
pub(super) struct PathTree {
    nodes: Vec<Node>,
    slots: usize,
}

#[derive(Debug, Clone, Default)]
struct Node {
    /// Sorted by [`by_length`].
    children: Vec<(Box<str>, usize)>,
    /// The slots that a value here may fill, each with this path's rank (0 is the best).
    targets: Vec<(usize, usize)>,
}

impl PathTree {
    /// A tree for that many slots, without paths.
    pub(super) fn new(slots: usize) -> Self {
        Self { nodes: vec![Node::default()], slots }
    }

    /// Lets `path` (names joined by dots) fill `slot`, unless a path of lower rank does. Loggers also write
    /// dotted names flat (`{"client.ip": …}`), so the whole path is a name at the top, too.
    pub(super) fn add(&mut self, slot: usize, rank: usize, path: &str) {
        let mut node = 0;
        for name in path.split('.') {
            node = self.child(node, name);
        }
        self.nodes[node].targets.push((slot, rank));
        if path.contains('.') {
            let flat = self.child(0, path);
            self.nodes[flat].targets.push((slot, rank));
        }
    }

    fn child(&mut self, node: usize, name: &str) -> usize {
        match self.nodes[node].children.binary_search_by(|(child, _)| by_length(child, name)) {
            Ok(at) => self.nodes[node].children[at].1,
            Err(at) => {
                let new = self.nodes.len();
                self.nodes.push(Node::default());
                self.nodes[node].children.insert(at, (name.into(), new));
                new
            }
        }
    }

    /// Reads one object and nothing behind it. Invalid UTF-8 in a string is an error.
    pub(super) fn read<'de>(&self, json: &'de [u8]) -> Result<Vec<Slot<'de>>, serde_json::Error> {
        let mut slots = vec![Slot::default(); self.slots];
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        deserializer.deserialize_map(Walk { tree: self, node: 0, slots: &mut slots })?;
        deserializer.end()?;
        Ok(slots)
    }
}

/// By length first: most names differ in it, and lengths compare faster than text.
fn by_length(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// Reads the value at a node.
struct Walk<'t, 's, 'de> {
    tree: &'t PathTree,
    node: usize,
    slots: &'s mut [Slot<'de>],
}

impl<'de> Walk<'_, '_, 'de> {
    fn fill(self, value: Scalar<'de>) {
        let targets = &self.tree.nodes[self.node].targets;
        let Some(((last, rank), others)) = targets.split_last() else { return };
        for (slot, rank) in others {
            self.slots[*slot].offer(*rank, || value.clone());
        }
        self.slots[*last].offer(*rank, || value);
    }
}

impl<'a> Slot<'a> {
    fn offer(&mut self, rank: usize, value: impl FnOnce() -> Scalar<'a>) {
        if self.value.is_none() || rank <= self.rank {
            *self = Self { rank, value: Some(value()) };
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<(), E> {
        self.fill(Scalar::Text(Cow::Borrowed(text)));
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.fill(Scalar::Text(Cow::Owned(text.to_owned())));
        Ok(())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.fill(Scalar::Unsigned(number));
        Ok(())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.fill(u64::try_from(number).map_or(Scalar::Negative(number), Scalar::Unsigned));
        Ok(())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.fill(Scalar::Float(number));
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.fill(Scalar::Bool(value));
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { tree, node, slots } = self;
        while let Some(child) = map.next_key_seed(Name(&tree.nodes[node]))? {
            match child {
                Some(node) => map.next_value_seed(Walk { tree, node, slots: &mut *slots })?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    /// Of a list the first value counts: header values are logged as lists.
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        list.next_element_seed(self)?;
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// Reads a name: the child node it leads to, if any.
struct Name<'t>(&'t Node);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        let children = &self.0.children;
        Ok(children.binary_search_by(|(child, _)| by_length(child, name)).ok().map(|at| children[at].1))
    }
}
