//! What each field may hold. Every reason says what is wrong and what to do, and never repeats a value.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{
    CLIENT_IP, HOST, MAX_COST, MAX_DOMAIN_BYTES, MAX_IDEMPOTENCY_KEY_BYTES, MAX_NAME_BYTES, MAX_VALUE_BYTES,
    PATH, REMOTE_ADDRESS, unnumbered,
};
use crate::identity::{Ipv6Prefix, canonical_ip_key};
use crate::path::normalize_path;
use crate::room::token::MAX_TOKEN_BYTES;

/// What is wrong with a field and what to do.
pub(crate) type Reason = Cow<'static, str>;

/// A JSON value that is looked at once; what arrays and objects hold is read past.
#[derive(Debug)]
pub(crate) enum Value<'de> {
    Text(Cow<'de, str>),
    Unsigned(u64),
    Negative(i64),
    Fraction,
    Bool(bool),
    Null,
    Array,
    Object,
}

pub(super) fn domain(value: Value<'_>) -> Result<Cow<'_, str>, Reason> {
    bounded(text(value)?, MAX_DOMAIN_BYTES)
}

pub(super) fn idempotency_key(value: Value<'_>) -> Result<Cow<'_, str>, Reason> {
    bounded(text(value)?, MAX_IDEMPOTENCY_KEY_BYTES)
}

pub(super) fn token(value: Value<'_>) -> Result<Cow<'_, str>, Reason> {
    bounded(text(value)?, MAX_TOKEN_BYTES)
}

pub(super) fn client_id(value: Value<'_>) -> Result<Cow<'_, str>, Reason> {
    bounded(text(value)?, MAX_VALUE_BYTES)
}

pub(super) fn cost(value: &Value<'_>) -> Result<u64, Reason> {
    match *value {
        Value::Unsigned(0) => Err("must be at least 1; to look without charging send \"peek\": true".into()),
        Value::Unsigned(cost) if cost > MAX_COST => Err(format!("must be at most {MAX_COST}").into()),
        Value::Unsigned(cost) => Ok(cost),
        Value::Negative(_) => Err("must not be negative; to give units back use /v1/refund".into()),
        Value::Fraction => {
            Err(format!("must be a whole number from 1 to {MAX_COST}, without point or exponent").into())
        }
        ref other => Err(expected("a whole number", other)),
    }
}

pub(super) fn peek(value: &Value<'_>) -> Result<bool, Reason> {
    match value {
        Value::Bool(peek) => Ok(*peek),
        other => Err(expected("true or false", other)),
    }
}

pub(super) fn entry_name(name: &str) -> Result<(), Reason> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(format!("an entry's name must be 1 to {MAX_NAME_BYTES} bytes long").into());
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-');
    if name.bytes().all(fits) {
        Ok(())
    } else {
        Err("an entry's name may hold only letters, digits and _ . : -".into())
    }
}

/// The value of an entry as text; paths, addresses and hosts in their normal form.
pub(super) fn entry_value<'de>(
    name: &str,
    value: Value<'de>,
    ipv6_prefix: Ipv6Prefix,
) -> Result<Cow<'de, str>, Reason> {
    let value = match value {
        Value::Text(text) => bounded(text, MAX_VALUE_BYTES)?,
        Value::Unsigned(number) => Cow::Owned(itoa::Buffer::new().format(number).to_owned()),
        Value::Negative(number) => Cow::Owned(itoa::Buffer::new().format(number).to_owned()),
        Value::Bool(true) => Cow::Borrowed("true"),
        Value::Bool(false) => Cow::Borrowed("false"),
        Value::Fraction => {
            return Err(
                "must be a string, a whole number or a boolean; write other numbers as strings".into()
            );
        }
        other => return Err(expected("a string, a whole number or a boolean", &other)),
    };
    match unnumbered(name) {
        PATH => match value {
            Cow::Borrowed(path) => normalize_path(path),
            Cow::Owned(path) => normalize_path(&path).map(|path| Cow::Owned(path.into_owned())),
        }
        .map_err(|error| error.to_string().into()),
        CLIENT_IP => match canonical_ip_key(&value, ipv6_prefix) {
            Some(key) if key == value => Ok(value),
            Some(key) => Ok(Cow::Owned(key)),
            None => Err("must be one IPv4 or IPv6 address, without port, brackets or zone".into()),
        },
        REMOTE_ADDRESS => match canonical_ip_key(&value, ipv6_prefix) {
            Some(key) if key != value => Ok(Cow::Owned(key)),
            _ => Ok(value),
        },
        HOST if value.bytes().any(|byte| byte.is_ascii_uppercase()) => {
            Ok(Cow::Owned(value.to_ascii_lowercase()))
        }
        _ => Ok(value),
    }
}

fn text(value: Value<'_>) -> Result<Cow<'_, str>, Reason> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(expected("a string", &other)),
    }
}

pub(crate) fn bounded(text: Cow<'_, str>, max_bytes: usize) -> Result<Cow<'_, str>, Reason> {
    if text.is_empty() {
        return Err("must not be empty".into());
    }
    if text.len() > max_bytes {
        return Err(format!("must be at most {max_bytes} bytes long").into());
    }
    if has_control(&text) { Err("must not contain control characters".into()) } else { Ok(text) }
}

fn has_control(text: &str) -> bool {
    if text.is_ascii() {
        text.bytes().any(|byte| byte.is_ascii_control())
    } else {
        text.chars().any(char::is_control)
    }
}

pub(crate) fn expected(what: &str, got: &Value<'_>) -> Reason {
    let got = match got {
        Value::Text(_) => "a string",
        Value::Unsigned(_) | Value::Negative(_) | Value::Fraction => "a number",
        Value::Bool(_) => "a boolean",
        Value::Null => return format!("must be {what}, not null; leave the field out instead").into(),
        Value::Array => "an array",
        Value::Object => "an object",
    };
    format!("must be {what}, not {got}").into()
}

// === impl Value ===

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Value::Unsigned(number))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(u64::try_from(number).map_or(Value::Negative(number), Value::Unsigned))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Value::Fraction)
    }

    fn visit_bool<E: de::Error>(self, bool: bool) -> Result<Self::Value, E> {
        Ok(Value::Bool(bool))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Array)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Object)
    }
}
