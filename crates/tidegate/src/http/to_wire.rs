//! Decisions and problems as responses: status, header fields, body.

mod body;
mod fields;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Body;
use tidegate_core::decision::Verdict;
use tidegate_core::rule::model::FailurePolicy;
use tidegate_engine::{BreakerStatus, Decision};
use tidegate_wire::problem::{Problem, ProblemType};

use super::LegacyFields;
use crate::door::{DoorResponse, JSON, PROBLEM_JSON, problem, respond};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// What stands at `/`.
const INDEX: &str = include_str!("index.txt");

/// The status of a decision: 200, 429, 422 where the cost exceeds what the quota can ever hold, or 503 where it was refused
/// because the store does not answer.
fn status_of(decision: &Decision) -> StatusCode {
    if decision.is_refused_for_want_of_store() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    match decision.binding() {
        Some(binding) if !decision.is_allowed() => match binding.verdict {
            Verdict::Deny { retry_after: None } if binding.quota.limit() > 0 => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            _ => StatusCode::TOO_MANY_REQUESTS,
        },
        _ => StatusCode::OK,
    }
}

pub(super) fn decision(decision: &Decision, legacy: LegacyFields) -> DoorResponse {
    let status = status_of(decision);
    let content_type = if status == StatusCode::OK { JSON } else { PROBLEM_JSON };
    let mut response = respond(status, content_type, body::decision(decision, status));
    fields::write(response.headers_mut(), decision, legacy);
    response
}

pub(super) fn decision_body(decision: &Decision) -> Vec<u8> {
    body::decision(decision, status_of(decision))
}

pub(super) fn refund(decision: &Decision, legacy: LegacyFields) -> DoorResponse {
    let mut response = respond(StatusCode::OK, JSON, body::refund(decision));
    fields::write(response.headers_mut(), decision, legacy);
    // A refund is not refused, whatever the buckets still say.
    response.headers_mut().remove(RETRY_AFTER);
    response
}

pub(super) fn demo_data(user: &str, decision: &Decision, legacy: LegacyFields) -> DoorResponse {
    let mut response = respond(StatusCode::OK, JSON, body::demo_data(user, decision));
    fields::write(response.headers_mut(), decision, legacy);
    response
}

pub(super) fn stats(name: &'static str, key: &str, decision: &Decision) -> DoorResponse {
    let mut response = respond(StatusCode::OK, JSON, body::stats(name, key, decision));
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    response
}

pub(super) fn method_not_allowed(allowed: &'static str) -> DoorResponse {
    let detail = format!("this takes {allowed}");
    let mut response = problem(&Problem::new(ProblemType::MethodNotAllowed, detail));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

pub(super) fn no_content() -> DoorResponse {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Leaves the head as it is, with the length that the body would have: HTTP/2 does not drop a body by itself.
pub(super) fn keep_head_only(response: &mut DoorResponse) {
    if let Some(length) = response.body().size_hint().exact() {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    *response.body_mut() = Full::default();
}

pub(super) fn health() -> DoorResponse {
    respond(StatusCode::OK, JSON, body::health())
}

pub(super) fn ready(ready: bool, rules_version: u64) -> DoorResponse {
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    respond(status, JSON, body::ready(ready, rules_version))
}

pub(super) fn breaker(status: &BreakerStatus) -> DoorResponse {
    let mut response = respond(StatusCode::OK, JSON, body::breaker(status));
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    response
}

pub(super) fn index() -> DoorResponse {
    respond(StatusCode::OK, TEXT, INDEX.as_bytes().to_vec())
}

/// The answers of `/v1/checks`: for each item the body it would have had alone.
#[derive(Default)]
pub(super) struct Answers {
    body: Vec<u8>,
    /// The strictest policy by which one of them was decided without the store.
    degraded: Option<FailurePolicy>,
}

impl Answers {
    pub(super) fn push(&mut self, decision: &Decision) {
        self.separate();
        if let Some(degraded) = decision.degraded() {
            self.degraded = Some(match (self.degraded, degraded.policy) {
                (None | Some(FailurePolicy::Allow), policy) => policy,
                (Some(FailurePolicy::Local), FailurePolicy::Deny) => FailurePolicy::Deny,
                (Some(policy), _) => policy,
            });
        }
        body::write_decision(&mut self.body, decision, status_of(decision));
    }

    pub(super) fn push_problem(&mut self, problem: &Problem) {
        self.separate();
        self.body.extend_from_slice(&problem.to_json());
    }

    fn separate(&mut self) {
        self.body.extend_from_slice(if self.body.is_empty() { b"{\"results\":[" } else { b"," });
    }

    pub(super) fn into_response(mut self) -> DoorResponse {
        self.body.extend_from_slice(b"]}");
        let mut response = respond(StatusCode::OK, JSON, self.body);
        if let Some(policy) = self.degraded {
            fields::write_degraded(response.headers_mut(), policy);
        }
        response
    }
}
