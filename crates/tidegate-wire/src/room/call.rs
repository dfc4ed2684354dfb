//! What a visitor sends: the bodies of join, poll, heartbeat, claim and leave.
//!
//! A page sends JSON (also as `text/plain`, which is what beacons can send) or an HTML form; an empty body says
//! nothing. `null` is as good as absent, as in the [seat](super::seat) that clients send parts of back.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use url::form_urlencoded;

use super::return_to::MAX_RETURN_TO_BYTES;
use super::token::MAX_TOKEN_BYTES;
use crate::check::rules::{Reason, Value, bounded, expected};
use crate::check::{BodyError, shown};

#[cfg(test)]
mod tests;

/// Largest body, in bytes.
pub const MAX_CALL_BODY_BYTES: usize = 4096;
/// Most fields of a form; those that are not known count.
const MAX_FORM_FIELDS: usize = 16;

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallFormat {
    /// `application/json`, `text/plain`, or no content type at all.
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
}

/// The fields of a call, none of which must be there. Nothing is verified yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Call<'b> {
    /// The ticket, where it does not come as a cookie.
    pub ticket: Option<Cow<'b, str>>,
    /// The pass, where it does not come as a cookie.
    pub pass: Option<Cow<'b, str>>,
    /// Where to go when admitted: to be [parsed](super::return_to::ReturnTo::parse).
    pub return_to: Option<Cow<'b, str>>,
    /// Whether claiming means a longer window to claim in.
    pub extend: bool,
    /// Whether leaving is a guess of a page that is gone, and may be there again in a moment.
    pub hint: bool,
}

impl CallFormat {
    /// The format of a `Content-Type`; `None` if it is another one.
    #[must_use]
    pub fn of_content_type(value: Option<&str>) -> Option<Self> {
        let Some(value) = value else { return Some(Self::Json) };
        let essence = value.split(';').next().unwrap_or_default().trim();
        let is = |name: &str| essence.eq_ignore_ascii_case(name);
        if is("application/json") || is("text/plain") {
            Some(Self::Json)
        } else if is("application/x-www-form-urlencoded") {
            Some(Self::Form)
        } else {
            None
        }
    }
}

impl<'b> Call<'b> {
    /// Reads a body. Blanks alone are an empty one.
    ///
    /// # Errors
    /// [`BodyError`], for the first thing that is wrong.
    pub fn parse(body: &'b [u8], format: CallFormat) -> Result<Self, BodyError> {
        if body.len() > MAX_CALL_BODY_BYTES {
            return Err(BodyError::TooLarge { max_bytes: MAX_CALL_BODY_BYTES });
        }
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        let mut draft = Draft::default();
        match format {
            CallFormat::Json => draft.read_json(body)?,
            CallFormat::Form => draft.read_form(body)?,
        }
        Ok(Self {
            ticket: draft.ticket.flatten(),
            pass: draft.pass.flatten(),
            return_to: draft.return_to.flatten(),
            extend: draft.extend.unwrap_or(false),
            hint: draft.hint.unwrap_or(false),
        })
    }
}

/// Fields as they come: `Some` once they came, so that none comes twice.
#[derive(Default)]
struct Draft<'b> {
    ticket: Option<Option<Cow<'b, str>>>,
    pass: Option<Option<Cow<'b, str>>>,
    return_to: Option<Option<Cow<'b, str>>>,
    extend: Option<bool>,
    hint: Option<bool>,
    fault: Option<BodyError>,
}

impl<'b> Draft<'b> {
    fn read_json(&mut self, body: &'b [u8]) -> Result<(), BodyError> {
        let text = str::from_utf8(body).map_err(|error| BodyError::Malformed {
            reason: format!("it is not UTF-8 at byte {}", error.valid_up_to()),
        })?;
        let mut json = serde_json::Deserializer::from_str(text);
        let read = json.deserialize_map(Fields(self)).and_then(|()| json.end());
        read.map_err(|error| match self.fault.take() {
            Some(fault) => fault,
            None if error.classify() == serde_json::error::Category::Data => {
                invalid("body", "must be a JSON object".into())
            }
            None => BodyError::Malformed { reason: error.to_string() },
        })
    }

    fn read_form(&mut self, body: &'b [u8]) -> Result<(), BodyError> {
        for (index, (name, value)) in form_urlencoded::parse(body).enumerate() {
            if index >= MAX_FORM_FIELDS {
                return Err(invalid("body", format!("at most {MAX_FORM_FIELDS} fields").into()));
            }
            let value = match (&*name, &*value) {
                // A field that was left empty is one that says nothing.
                (_, "") => Value::Null,
                ("extend" | "hint", "true") => Value::Bool(true),
                ("extend" | "hint", "false") => Value::Bool(false),
                _ => Value::Text(value),
            };
            self.take(&name, value).map_err(|reason| invalid(&shown(&name), reason))?;
        }
        Ok(())
    }

    fn take(&mut self, name: &str, value: Value<'b>) -> Result<(), Reason> {
        match name {
            "ticket" => once(&mut self.ticket, optional_text(value, MAX_TOKEN_BYTES)?),
            "pass" => once(&mut self.pass, optional_text(value, MAX_TOKEN_BYTES)?),
            "return_to" => once(&mut self.return_to, optional_text(value, MAX_RETURN_TO_BYTES)?),
            "extend" => once(&mut self.extend, flag(&value)?),
            "hint" => once(&mut self.hint, flag(&value)?),
            _ => Err("is not a known field; the fields are ticket, pass, return_to, extend, hint".into()),
        }
    }
}

fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), Reason> {
    if slot.replace(value).is_some() { Err("is given twice: send it once".into()) } else { Ok(()) }
}

fn flag(value: &Value<'_>) -> Result<bool, Reason> {
    match value {
        Value::Bool(flag) => Ok(*flag),
        Value::Null => Ok(false),
        other => Err(expected("true or false", other)),
    }
}

fn optional_text(value: Value<'_>, max_bytes: usize) -> Result<Option<Cow<'_, str>>, Reason> {
    match value {
        Value::Null => Ok(None),
        Value::Text(text) => bounded(text, max_bytes).map(Some),
        other => Err(expected("a string", &other)),
    }
}

fn invalid(field: &str, reason: Reason) -> BodyError {
    BodyError::Invalid { field: field.to_owned(), reason }
}

/// The fields of a JSON object.
struct Fields<'d, 'b>(&'d mut Draft<'b>);

impl<'b> Visitor<'b> for Fields<'_, 'b> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'b>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            let taken = map.next_value().map(|value| self.0.take(&name, value))?;
            if let Err(reason) = taken {
                self.0.fault = Some(invalid(&shown(&name), reason));
                return Err(de::Error::custom("invalid field"));
            }
        }
        Ok(())
    }
}
