//! Answers of the admin API.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tidegate_catalog::repository::CatalogError;
use tidegate_wire::problem::{Problem, ProblemType};

use crate::door::{DoorResponse, problem as problem_response, respond};
use crate::rooms::Rows;

/// What a handler gives: an answer, or what is wrong.
pub(super) type Answered = Result<Answer, Refusal>;

/// An answer that is not a problem.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    content_type: HeaderValue,
    body: Content,
    etag: Option<i64>,
}

/// What an answer says.
#[derive(Debug)]
enum Content {
    Whole(Vec<u8>),
    /// As it comes.
    Rows(Rows),
}

/// A body that comes in pieces. An error cuts it off, so that nobody takes a part for all of it.
#[derive(Debug)]
pub struct RowBody(Rows);

/// A response of the admin API.
pub type AdminResponse = Response<Either<Full<Bytes>, RowBody>>;

/// Why a request was not done.
#[derive(Debug)]
pub(super) enum Refusal {
    /// A problem of the request.
    Problem(Box<Problem>),
    /// A problem with more members than every problem has.
    Detailed(Box<(Problem, Value)>),
    /// The database's.
    Catalog(CatalogError),
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

impl Answer {
    pub(super) fn json(body: &impl Serialize) -> Self {
        Self::with_status(StatusCode::OK, body)
    }

    pub(super) fn created(body: &impl Serialize) -> Self {
        Self::with_status(StatusCode::CREATED, body)
    }

    pub(super) fn with_status(status: StatusCode, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).unwrap_or_else(|_| b"{}".to_vec());
        Self { status, content_type: JSON, body: Content::Whole(body), etag: None }
    }

    /// Rows as they are read.
    pub(super) fn rows(content_type: HeaderValue, rows: Rows) -> Self {
        Self { status: StatusCode::OK, content_type, body: Content::Rows(rows), etag: None }
    }

    pub(super) fn yaml(body: String) -> Self {
        let content_type = HeaderValue::from_static("application/yaml");
        Self { status: StatusCode::OK, content_type, body: Content::Whole(body.into_bytes()), etag: None }
    }

    /// One page of a list; `next` is what `after` (or `before`) must be for the next one.
    pub(super) fn page(items: Vec<Value>, next: Option<Value>) -> Self {
        let mut page = Map::new();
        page.insert("items".to_owned(), Value::Array(items));
        page.insert("next".to_owned(), next.unwrap_or_default());
        Self::json(&page)
    }

    /// With the version that the caller must know to change it.
    pub(super) fn with_version(self, version: i64) -> Self {
        Self { etag: Some(version), ..self }
    }

    pub(super) fn into_response(self) -> AdminResponse {
        let mut response = match self.body {
            Content::Whole(body) => respond(self.status, self.content_type, body).map(Either::Left),
            Content::Rows(rows) => {
                let mut response = Response::new(Either::Right(RowBody(rows)));
                *response.status_mut() = self.status;
                response.headers_mut().insert(CONTENT_TYPE, self.content_type);
                response
            }
        };
        if let Some(version) = self.etag {
            response.headers_mut().insert(ETAG, etag(version));
        }
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

impl Body for RowBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(cx).map(|rows| rows.map(|rows| rows.map(Frame::data)))
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Refusal::Problem(Box::new(problem))
    }
}

impl From<CatalogError> for Refusal {
    fn from(error: CatalogError) -> Self {
        Refusal::Catalog(error)
    }
}

impl Refusal {
    pub(super) fn not_found(what: &str) -> Self {
        Problem::new(ProblemType::NotFound, format!("there is no such {what}")).into()
    }

    pub(super) fn into_response(self) -> DoorResponse {
        let mut response = match self {
            Refusal::Problem(problem) => problem_response(&problem),
            Refusal::Detailed(detailed) => with_members(&detailed.0, &detailed.1),
            Refusal::Catalog(error) => of_catalog(error),
        };
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

fn with_members(problem: &Problem, members: &Value) -> DoorResponse {
    let mut response = problem_response(problem);
    let body = serde_json::from_slice::<Value>(&problem.to_json()).ok().and_then(|mut body| {
        let all = body.as_object_mut()?;
        all.extend(members.as_object()?.clone());
        serde_json::to_vec(&body).ok()
    });
    if let Some(body) = body {
        *response.body_mut() = http_body_util::Full::new(Bytes::from(body));
    }
    response
}

fn of_catalog(error: CatalogError) -> DoorResponse {
    match error {
        CatalogError::Conflict { current } => {
            let detail = match current {
                Some(_) => "somebody has changed it since you read it: read it again, and try with its ETag",
                None => "it is not there (any more); If-None-Match: * makes it",
            };
            let mut response = with_members(
                &Problem::new(ProblemType::PreconditionFailed, detail),
                &json!({ "current_version": current }),
            );
            if let Some(version) = current {
                response.headers_mut().insert(ETAG, etag(version));
            }
            response
        }
        CatalogError::NotFound => {
            problem_response(&Problem::new(ProblemType::NotFound, "there is no such thing"))
        }
        CatalogError::Ceiling { what, most } => {
            let detail =
                format!("there may be at most {most} {what}: remove some, or ask for a higher ceiling");
            problem_response(&Problem::new(ProblemType::CeilingReached, detail))
        }
        CatalogError::Refused(detail) => problem_response(&Problem::new(ProblemType::Conflicting, detail)),
        CatalogError::Stale => {
            let detail = "others change the same all the time, and nothing was changed: try again";
            problem_response(&Problem::new(ProblemType::Conflicting, detail))
        }
        error => {
            tracing::warn!(%error, "the admin API could not do as asked");
            let detail = "the database does not answer; nothing was changed that this answer could tell of: read, and try again";
            problem_response(&Problem::new(ProblemType::StoreUnavailable, detail))
        }
    }
}

/// Where the page after this one begins; `None` where these rows do not fill a page.
pub(super) fn next_page<T>(rows: &[T], limit: u32, place: impl FnOnce(&T) -> Value) -> Option<Value> {
    let is_full = rows.len() == limit as usize;
    rows.last().filter(|_| is_full).map(place)
}

/// A version as an ETag.
fn etag(version: i64) -> HeaderValue {
    // Digits between quotes are always a value.
    HeaderValue::from_str(&format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// A time for people and programs: RFC 3339, to the second.
pub(super) fn time(us: i64) -> Value {
    let time = jiff::Timestamp::from_microsecond(us).ok();
    time.map_or(Value::Null, |time| Value::from(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()))
}

/// As [`time`], null where there is none.
pub(super) fn time_or_null(us: Option<i64>) -> Value {
    us.map_or(Value::Null, time)
}
