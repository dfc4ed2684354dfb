//! One pass over a body with serde seeds that know where they are, so that an error can name its field.
//!
//! A rule that is broken is noted in the [`Reader`] and ends the reading with an error of serde, which itself only
//! knows lines and columns; what serde finds on its own is bad syntax or a value of the wrong shape.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;

use super::rules::{self, Reason};
use super::{
    BodyError, CLIENT_ID, CheckRequest, DEFAULT_DOMAIN, Entries, MAX_CHECK_BODY_BYTES, MAX_CHECKS,
    MAX_CHECKS_BODY_BYTES, MAX_ENTRIES,
};
use crate::identity::Ipv6Prefix;

/// Most of a caller's own field name that an error repeats, in characters.
const MAX_SHOWN_CHARS: usize = 64;

/// What the body asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Check,
    Refund,
}

pub(super) fn one(
    body: &[u8],
    operation: Operation,
    ipv6_prefix: Ipv6Prefix,
) -> Result<CheckRequest<'_>, BodyError> {
    read(body, MAX_CHECK_BODY_BYTES, Reader::new(operation, ipv6_prefix), |reader, json| {
        ItemSeed(reader).deserialize(json)
    })
}

pub(super) fn list(body: &[u8], ipv6_prefix: Ipv6Prefix) -> Result<Vec<CheckRequest<'_>>, BodyError> {
    read(body, MAX_CHECKS_BODY_BYTES, Reader::new(Operation::Check, ipv6_prefix), |reader, json| {
        BatchSeed(reader).deserialize(json)
    })
}

type Json<'de> = serde_json::Deserializer<serde_json::de::StrRead<'de>>;

fn read<'de, T>(
    body: &'de [u8],
    max_bytes: usize,
    mut reader: Reader,
    parse: impl FnOnce(&mut Reader, &mut Json<'de>) -> serde_json::Result<T>,
) -> Result<T, BodyError> {
    if body.len() > max_bytes {
        return Err(BodyError::TooLarge { max_bytes });
    }
    let text = str::from_utf8(body).map_err(|error| BodyError::Malformed {
        reason: format!("it is not UTF-8 at byte {}", error.valid_up_to()),
    })?;
    let mut json = serde_json::Deserializer::from_str(text);
    let parsed = parse(&mut reader, &mut json).and_then(|parsed| json.end().map(|()| parsed));
    parsed.map_err(|error| reader.explain(&error))
}

/// Where the reading is, and what was found wrong.
struct Reader {
    operation: Operation,
    ipv6_prefix: Ipv6Prefix,
    /// The item of a batch.
    item: Option<usize>,
    /// The place whose shape is read next.
    awaited: Place,
    fault: Option<BodyError>,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Item,
    Checks,
    Descriptors,
}

impl Reader {
    fn new(operation: Operation, ipv6_prefix: Ipv6Prefix) -> Self {
        Self { operation, ipv6_prefix, item: None, awaited: Place::Item, fault: None }
    }

    /// The path of `field` within the item that is read.
    fn path(&self, field: &str) -> String {
        match self.item {
            Some(index) => format!("checks[{index}].{field}"),
            None => field.to_owned(),
        }
    }

    /// Notes a fault; the error only carries it out through serde.
    fn fail<E: de::Error>(&mut self, field: String, reason: Reason) -> E {
        self.fault = Some(BodyError::Invalid { field, reason });
        E::custom("invalid field")
    }

    /// Fills a field that may come once.
    fn set<T, E: de::Error>(
        &mut self,
        slot: &mut Option<T>,
        field: &str,
        value: Result<T, Reason>,
    ) -> Result<(), E> {
        match value {
            Ok(value) if slot.is_none() => {
                *slot = Some(value);
                Ok(())
            }
            Ok(_) => Err(self.fail(self.path(field), "is given twice: send it once".into())),
            Err(reason) => Err(self.fail(self.path(field), reason)),
        }
    }

    fn unknown_field<E: de::Error>(&mut self, name: &str) -> E {
        let known = match self.operation {
            Operation::Check => "client_id, domain, descriptors, cost, peek, idempotency_key, ticket, pass",
            Operation::Refund => "client_id, domain, descriptors, cost, idempotency_key",
        };
        self.fail(self.path(&shown(name)), format!("is not a known field; the fields are {known}").into())
    }

    fn explain(&mut self, error: &serde_json::Error) -> BodyError {
        if let Some(fault) = self.fault.take() {
            return fault;
        }
        if error.classify() != Category::Data {
            return BodyError::Malformed { reason: error.to_string() };
        }
        let (field, reason) = match (self.awaited, self.item) {
            (Place::Item, None) => ("body".to_owned(), "must be a JSON object"),
            (Place::Item, Some(index)) => (format!("checks[{index}]"), "must be a JSON object"),
            (Place::Checks, _) => ("checks".to_owned(), "must be an array of checks"),
            (Place::Descriptors, _) => {
                (self.path("descriptors"), "must be a JSON object of names and values")
            }
        };
        BodyError::Invalid { field, reason: reason.into() }
    }
}

/// A caller's own name, fit to be repeated in an error.
pub(crate) fn shown(name: &str) -> String {
    if name.is_empty() {
        return "\"\"".to_owned();
    }
    let printable = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    name.chars().take(MAX_SHOWN_CHARS).map(printable).collect()
}

/// A string, borrowed where it holds no escapes.
struct TextSeed;

impl<'de> DeserializeSeed<'de> for TextSeed {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for TextSeed {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// The fields of one item as they come.
#[derive(Default)]
struct Draft<'de> {
    client_id: Option<Cow<'de, str>>,
    domain: Option<Cow<'de, str>>,
    descriptors: Option<Entries<'de>>,
    cost: Option<u64>,
    peek: Option<bool>,
    idempotency_key: Option<Cow<'de, str>>,
    ticket: Option<Cow<'de, str>>,
    pass: Option<Cow<'de, str>>,
}

impl<'de> Draft<'de> {
    fn finish<E: de::Error>(self, reader: &mut Reader) -> Result<CheckRequest<'de>, E> {
        let had_descriptors = self.descriptors.is_some();
        let mut entries = self.descriptors.unwrap_or_default();
        if let Some(client_id) = self.client_id {
            if entries.iter().any(|(name, _)| name == CLIENT_ID) {
                let reason = "client_id is also a field: send one of the two".into();
                return Err(reader.fail(reader.path("descriptors.client_id"), reason));
            }
            if entries.len() >= MAX_ENTRIES {
                return Err(too_many_entries(reader));
            }
            entries.push((Cow::Borrowed(CLIENT_ID), client_id));
        }
        if entries.is_empty() {
            let (field, reason) = if had_descriptors {
                ("descriptors", "must hold at least one entry, unless client_id is sent")
            } else {
                ("client_id", "is missing: say who is asking with client_id or descriptors")
            };
            return Err(reader.fail(reader.path(field), reason.into()));
        }
        Ok(CheckRequest {
            domain: self.domain.unwrap_or(Cow::Borrowed(DEFAULT_DOMAIN)),
            entries,
            cost: self.cost.unwrap_or(1),
            peek: self.peek.unwrap_or(false),
            idempotency_key: self.idempotency_key,
            ticket: self.ticket,
            pass: self.pass,
        })
    }
}

fn too_many_entries<E: de::Error>(reader: &mut Reader) -> E {
    let reason = format!("at most {MAX_ENTRIES} entries, with client_id").into();
    reader.fail(reader.path("descriptors"), reason)
}

/// One check or refund.
struct ItemSeed<'r>(&'r mut Reader);

impl<'de> DeserializeSeed<'de> for ItemSeed<'_> {
    type Value = CheckRequest<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        self.0.awaited = Place::Item;
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ItemSeed<'_> {
    type Value = CheckRequest<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let reader = self.0;
        let mut draft = Draft::default();
        while let Some(name) = map.next_key_seed(TextSeed)? {
            match &*name {
                CLIENT_ID => {
                    reader.set(&mut draft.client_id, CLIENT_ID, rules::client_id(map.next_value()?))?;
                }
                "domain" => reader.set(&mut draft.domain, "domain", rules::domain(map.next_value()?))?,
                "descriptors" => {
                    let entries = map.next_value_seed(EntriesSeed(reader))?;
                    reader.set(&mut draft.descriptors, "descriptors", Ok(entries))?;
                }
                "cost" => reader.set(&mut draft.cost, "cost", rules::cost(&map.next_value()?))?,
                "peek" if reader.operation == Operation::Check => {
                    reader.set(&mut draft.peek, "peek", rules::peek(&map.next_value()?))?;
                }
                "idempotency_key" => {
                    let key = rules::idempotency_key(map.next_value()?);
                    reader.set(&mut draft.idempotency_key, "idempotency_key", key)?;
                }
                "ticket" if reader.operation == Operation::Check => {
                    reader.set(&mut draft.ticket, "ticket", rules::token(map.next_value()?))?;
                }
                "pass" if reader.operation == Operation::Check => {
                    reader.set(&mut draft.pass, "pass", rules::token(map.next_value()?))?;
                }
                unknown => return Err(reader.unknown_field(unknown)),
            }
        }
        draft.finish(reader)
    }
}

/// The names and values of `descriptors`.
struct EntriesSeed<'r>(&'r mut Reader);

impl<'de> DeserializeSeed<'de> for EntriesSeed<'_> {
    type Value = Entries<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        self.0.awaited = Place::Descriptors;
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EntriesSeed<'_> {
    type Value = Entries<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let reader = self.0;
        let mut entries = Entries::new();
        while let Some(name) = map.next_key_seed(TextSeed)? {
            if entries.len() >= MAX_ENTRIES {
                return Err(too_many_entries(reader));
            }
            let is_repeated = entries.iter().any(|(seen, _)| *seen == name);
            let value = if is_repeated {
                Err(Cow::Borrowed("is given twice: send it once"))
            } else {
                rules::entry_name(&name)
            };
            let value = match value {
                Ok(()) => rules::entry_value(&name, map.next_value()?, reader.ipv6_prefix),
                Err(reason) => Err(reason),
            };
            match value {
                Ok(value) => entries.push((name, value)),
                Err(reason) => {
                    return Err(reader.fail(reader.path(&format!("descriptors.{}", shown(&name))), reason));
                }
            }
        }
        Ok(entries)
    }
}

/// The object around a list of checks.
struct BatchSeed<'r>(&'r mut Reader);

impl<'de> DeserializeSeed<'de> for BatchSeed<'_> {
    type Value = Vec<CheckRequest<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for BatchSeed<'_> {
    type Value = Vec<CheckRequest<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let reader = self.0;
        let mut checks = None;
        while let Some(name) = map.next_key_seed(TextSeed)? {
            if name != "checks" {
                return Err(reader.fail(shown(&name), "is not a known field; the field is checks".into()));
            }
            let list = map.next_value_seed(ChecksSeed(reader))?;
            reader.set(&mut checks, "checks", Ok(list))?;
        }
        match checks {
            Some(checks) if !checks.is_empty() => Ok(checks),
            _ => Err(reader.fail("checks".to_owned(), "must hold at least one check".into())),
        }
    }
}

/// The checks of a batch.
struct ChecksSeed<'r>(&'r mut Reader);

impl<'de> DeserializeSeed<'de> for ChecksSeed<'_> {
    type Value = Vec<CheckRequest<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        self.0.awaited = Place::Checks;
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ChecksSeed<'_> {
    type Value = Vec<CheckRequest<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let reader = self.0;
        let mut checks = Vec::new();
        while checks.len() < MAX_CHECKS {
            reader.item = Some(checks.len());
            match seq.next_element_seed(ItemSeed(reader))? {
                Some(check) => checks.push(check),
                None => break,
            }
        }
        reader.item = None;
        if checks.len() == MAX_CHECKS && seq.next_element::<IgnoredAny>()?.is_some() {
            return Err(reader.fail("checks".to_owned(), format!("at most {MAX_CHECKS} checks").into()));
        }
        Ok(checks)
    }
}
