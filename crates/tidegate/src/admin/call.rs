//! One request to the admin API: what it names, what it brings, who asks.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderName, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue};
use serde::de::DeserializeOwned;
use tidegate_catalog::model::{Actor, Expect, MAX_PAGE, Scope};
use tidegate_config::parse_duration;
use tidegate_wire::check::MAX_VALUE_BYTES;
use tidegate_wire::problem::{Problem, ProblemType};

use super::route::Route;
use crate::door::{is_in_query, query_parameter_within, text_of};

/// Asks what a change would do.
pub(super) const DRY_RUN: &str = "dry_run";
/// The parameter that every endpoint takes: whose things it is about.
pub(super) const TENANT: &str = "tenant";

/// Refuses a query with a parameter that the endpoint does not take: who sends one expects something of it.
pub(super) fn check_parameters(route: &Route, query: Option<&str>) -> Result<(), Problem> {
    let names = query.unwrap_or_default().split('&').filter_map(|pair| pair.split('=').next());
    for name in names.filter(|name| !name.is_empty()) {
        if name == DRY_RUN && !route.takes_dry_run {
            // The change would be made.
            return Err(Problem::invalid_field(
                DRY_RUN,
                "only changes of rules have a dry_run: leave it out",
            ));
        }
        if name != DRY_RUN && name != TENANT && !route.parameters.contains(&name) {
            let shown: String = name.chars().take(64).collect();
            let dry_run = route.takes_dry_run.then_some(DRY_RUN);
            let taken = route.parameters.iter().copied().chain(dry_run).chain([TENANT]);
            let taken = taken.collect::<Vec<_>>().join(", ");
            let detail = format!("this takes no parameter '{shown}': it takes {taken}");
            return Err(Problem::invalid_field("query", detail));
        }
    }
    Ok(())
}

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// The key's name and prefix, for the audit log.
    pub(super) name: String,
    /// The key's prefix; empty for the operator's token from the settings.
    pub(super) prefix: String,
    /// Whose key it is; `None` is an operator's.
    pub(super) tenant: Option<Arc<str>>,
    pub(super) scopes: Vec<Scope>,
}

/// How it is known which tenant a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TenantBy {
    /// It is the key's own.
    Key,
    /// An operator has named it.
    Name,
    /// An operator has not: the default one.
    Default,
}

/// One request, authenticated, with its body read.
pub(super) struct Call {
    pub(super) names: Vec<(String, String)>,
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) caller: Caller,
    /// The tenant it is about.
    pub(super) tenant: String,
    /// How that is known.
    pub(super) tenant_by: TenantBy,
    pub(super) correlation: String,
    pub(super) now_us: i64,
}

impl Call {
    /// A name from the path.
    pub(super) fn name(&self, name: &str) -> Result<String, Problem> {
        let encoded = self.names.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value);
        text_of(encoded).map(std::borrow::Cow::into_owned).ok_or_else(|| {
            Problem::invalid_field(name.to_owned(), "write 1 to 1024 bytes of UTF-8 text, percent-encoded")
        })
    }

    /// The tenant whose things a list is of; `None` for an operator who has named none and sees all.
    pub(super) fn listed_tenant(&self) -> Option<&str> {
        (self.tenant_by != TenantBy::Default).then_some(&self.tenant)
    }

    /// A parameter of the query; `None` where it is not there.
    pub(super) fn parameter(&self, name: &str) -> Result<Option<String>, Problem> {
        self.parameter_within(name, MAX_VALUE_BYTES)
    }

    /// As [`parameter`](Self::parameter), of at most so many bytes.
    pub(super) fn parameter_within(&self, name: &str, max_bytes: usize) -> Result<Option<String>, Problem> {
        match query_parameter_within(self.query.as_deref(), name, max_bytes) {
            Some(value) => Ok(Some(value.into_owned())),
            None if is_in_query(self.query.as_deref(), name) => Err(Problem::invalid_field(
                name.to_owned(),
                format!(
                    "write it once, with a value of 1 to {max_bytes} bytes of UTF-8 text, percent-encoded"
                ),
            )),
            None => Ok(None),
        }
    }

    /// A number of the query.
    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, Problem> {
        let Some(text) = self.parameter(name)? else { return Ok(None) };
        match text.parse::<i64>() {
            Ok(number) if number >= 0 => Ok(Some(number)),
            _ => Err(Problem::invalid_field(name.to_owned(), "write a whole number of 0 or more")),
        }
    }

    /// How many rows the caller wants: `limit`, 1 to [`MAX_PAGE`].
    pub(super) fn limit(&self) -> Result<u32, Problem> {
        match self.number("limit")? {
            None => Ok(MAX_PAGE),
            Some(number) => u32::try_from(number)
                .ok()
                .filter(|number| (1..=MAX_PAGE).contains(number))
                .ok_or_else(|| Problem::invalid_field("limit", format!("write 1 to {MAX_PAGE}"))),
        }
    }

    /// What the caller expects of what it changes, from `If-Match` and `If-None-Match`. `If-Match: *` is for what is there
    /// (RFC 9110, 13.1.1).
    ///
    /// # Errors
    /// 428 where it does not say: whoever changes what it has not seen should say so.
    pub(super) fn expectation(&self) -> Result<Expect, Problem> {
        match (self.only(&IF_MATCH)?, self.only(&IF_NONE_MATCH)?) {
            (Some("*"), None) => Ok(Expect::Present),
            (Some(tag), None) => version_of(tag).map(Expect::Version).ok_or_else(|| {
                Problem::new(ProblemType::Malformed, "If-Match takes one ETag of this API, or *")
            }),
            (None, Some("*")) => Ok(Expect::Absent),
            (None, None) => Err(Problem::new(
                ProblemType::PreconditionRequired,
                "send If-Match with the ETag of what you have read, If-Match: * to change what is there whatever it is, or If-None-Match: * to make it",
            )),
            _ => Err(Problem::new(
                ProblemType::Malformed,
                "send If-Match with one ETag or *, or If-None-Match: *, not both",
            )),
        }
    }

    /// The value of a field that a condition is read from.
    ///
    /// # Errors
    /// 400 where it is there twice or is not text: taken for none, or for half of it, the change could be another one.
    fn only(&self, name: &HeaderName) -> Result<Option<&str>, Problem> {
        let mut values = self.headers.get_all(name).iter();
        match (values.next().map(HeaderValue::to_str), values.next()) {
            (None, _) => Ok(None),
            (Some(Ok(text)), None) => Ok(Some(text.trim())),
            _ => Err(Problem::new(ProblemType::Malformed, format!("send {name} once, with one ETag or *"))),
        }
    }

    /// The body as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        if self.body.is_empty() {
            return Err(Problem::new(ProblemType::Malformed, "a body of JSON is needed"));
        }
        self.json_or_nothing()
    }

    /// The body as JSON, or what an empty object means.
    pub(super) fn json_or_nothing<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let body: &[u8] = if self.body.is_empty() { b"{}" } else { &self.body };
        serde_json::from_slice(body).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => Problem::invalid_field("body", error.to_string()),
            _ => Problem::new(ProblemType::Malformed, format!("the body is not JSON: {error}")),
        })
    }

    /// The body as text: JSON or YAML.
    pub(super) fn text(&self) -> Result<Text, Problem> {
        match std::str::from_utf8(&self.body) {
            Ok(_) => Ok(Text(self.body.clone())),
            Err(_) => Err(Problem::new(ProblemType::Malformed, "the body is not UTF-8")),
        }
    }

    /// Who changes something, for the audit log.
    pub(super) fn actor(&self) -> Actor {
        Actor { name: self.caller.name.clone(), correlation: Some(self.correlation.clone()) }
    }
}

/// The text of a body, which is not copied.
pub(super) struct Text(Bytes);

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        // It is UTF-8: that was looked at when it was made.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// The version that an ETag of this API names.
fn version_of(tag: &str) -> Option<i64> {
    tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok()
}

/// An end in the future: from `until`, a time of RFC 3339, or `for`, a duration from now. `None` where neither is there.
pub(super) fn end_of(
    until: Option<&str>,
    lasting: Option<&str>,
    now_us: i64,
) -> Result<Option<i64>, Problem> {
    let end = match (until, lasting) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(Problem::invalid_field("until", "write either until or for, not both"));
        }
        (Some(until), None) => until
            .parse::<jiff::Timestamp>()
            .map(jiff::Timestamp::as_microsecond)
            .map_err(|_| Problem::invalid_field("until", "write a time like 2026-12-24T18:00:00Z"))?,
        (None, Some(lasting)) => {
            let span =
                parse_duration(lasting).map_err(|error| Problem::invalid_field("for", error.to_string()))?;
            now_us.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX))
        }
    };
    if end <= now_us {
        return Err(Problem::invalid_field("until", "it ends in the past: write a later time"));
    }
    Ok(Some(end))
}
