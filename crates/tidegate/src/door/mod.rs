//! What doors have in common: how many requests they decide at one time, bodies read within bounds, text from paths, keys,
//! what a request says about itself, answers, problems.

pub(crate) mod answer;
pub(crate) mod entries;
pub(crate) mod json;
pub(crate) mod open_api;
pub mod overload;
mod readiness;
mod text;

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use tidegate_catalog::keys::KEY_PREFIX;
use tidegate_wire::correlation::CorrelationId;
use tidegate_wire::problem::{PROBLEM_CONTENT_TYPE, Problem, ProblemType};

use crate::net::{BodyError, BodyRoom, read_body};
pub use readiness::Readiness;
pub(crate) use text::{form_text, is_in_query, query_parameter, query_parameter_within, text_of};

/// Whether the `X-RateLimit-*` fields are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LegacyFields {
    /// Only the current fields.
    #[default]
    Omit,
    /// Both.
    Send,
}

/// A response: always complete, never streamed.
pub type DoorResponse = Response<Full<Bytes>>;

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const PROBLEM_JSON: HeaderValue = HeaderValue::from_static(PROBLEM_CONTENT_TYPE);
/// What `WWW-Authenticate` says on 401.
pub(crate) const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"tidegate\"");

/// The field that carries an API key where `Authorization` is taken.
const API_KEY_FIELD: &str = "x-api-key";

/// Reads a body of at most `max_bytes`, within its time and the room that there is for bodies.
pub(crate) async fn read_bounded(
    body: Incoming,
    max_bytes: usize,
    timeout: Duration,
    room: &BodyRoom,
) -> Result<Bytes, Problem> {
    read_body(body, max_bytes, timeout, room).await.map_err(|error| match error {
        BodyError::TooLarge { .. } => Problem::new(ProblemType::TooLarge, error.to_string()),
        BodyError::TooSlow { .. } => Problem::new(ProblemType::RequestTimeout, error.to_string()),
        BodyError::NoRoom => Problem::new(ProblemType::Overloaded, error.to_string()),
        BodyError::Broken(_) => Problem::new(ProblemType::Malformed, error.to_string()),
    })
}

/// The key of a request: `Authorization: Bearer …` or `X-API-Key`.
///
/// # Errors
/// It carries several, or one that is not text: nobody should have to guess which counts.
pub(crate) fn key_of(head: &Parts) -> Result<Option<&str>, Problem> {
    let ambiguous =
        || Problem::new(ProblemType::Unauthorized, "send one key: Authorization: Bearer tg_…, or X-API-Key");
    let mut fields = head.headers.get_all(AUTHORIZATION).iter().chain(head.headers.get_all(API_KEY_FIELD));
    let Some(first) = fields.next() else { return Ok(None) };
    if fields.next().is_some() {
        return Err(ambiguous());
    }
    let text = first.to_str().map_err(|_| ambiguous())?;
    if head.headers.contains_key(API_KEY_FIELD) {
        return Ok(Some(text.trim()));
    }
    let (scheme, key) = text.split_once(' ').ok_or_else(ambiguous)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(Some(key.trim())) } else { Err(ambiguous()) }
}

/// The key of a proxy that asks about a client's request, whose fields are mostly the client's own: `X-API-Key`, which the
/// proxy sets, counts before `Authorization`. Where no key is needed, `Authorization` is the client's, and so is what does not
/// look like a key of ours: it is for the application, and nothing to refuse the client for.
///
/// # Errors
/// As [`key_of`], where a key is needed.
pub(crate) fn key_of_proxy(head: &Parts, is_needed: bool) -> Result<Option<&str>, Problem> {
    let is_ours =
        |field: &HeaderValue| field.as_bytes().trim_ascii_start().starts_with(KEY_PREFIX.as_bytes());
    let all = head.headers.get_all(API_KEY_FIELD);
    let counts = is_needed || all.iter().any(is_ours);
    let mut fields = all.iter();
    match (fields.next(), fields.next()) {
        _ if !counts => Ok(None),
        (Some(only), None) => Ok(only.to_str().ok().map(str::trim)),
        _ => key_of(head),
    }
}

/// A complete response.
pub(crate) fn respond(status: StatusCode, content_type: HeaderValue, body: Vec<u8>) -> DoorResponse {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// Leaves the head as it is, with the length that the body would have: HTTP/2 does not drop a body by itself.
pub(crate) fn keep_head_only(response: &mut DoorResponse) {
    if let Some(length) = response.body().size_hint().exact() {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    *response.body_mut() = Full::default();
}

/// A problem as a response.
pub(crate) fn problem(problem: &Problem) -> DoorResponse {
    let mut response = respond(problem.status(), PROBLEM_JSON, problem.to_json());
    if let Some(retry_after_ms) = problem.retry_after_ms {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry_after_ms.div_ceil(1_000).max(1)));
    } else if problem.status() == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if problem.kind == ProblemType::Unauthorized {
        response.headers_mut().insert(http::header::WWW_AUTHENTICATE, CHALLENGE);
    }
    response
}

/// The value of `X-Correlation-ID`.
pub(crate) fn correlation_value(id: &CorrelationId<'_>) -> HeaderValue {
    HeaderValue::from_str(id.as_str()).unwrap_or(HeaderValue::from_static("-"))
}
