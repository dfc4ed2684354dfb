//! Decisions and problems as responses: status, header fields, body.

mod body;

use http::header::{ALLOW, CACHE_CONTROL, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use tidegate_catalog::model::Ban;
use tidegate_core::rule::model::FailurePolicy;
use tidegate_core::time::Timestamp;
use tidegate_engine::{BreakerStatus, Clock, Decision};
use tidegate_store::BucketStore;
use tidegate_wire::problem::{Problem, ProblemType};

use crate::door::answer::{Sent, body as decisions, fields, left_of, seen, status_of};
use crate::door::{DoorResponse, JSON, LegacyFields, problem, respond};
use crate::gate::{Gate, Look, state_json};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// What stands at `/`.
const INDEX: &str = include_str!("index.txt");

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

pub(super) fn health() -> DoorResponse {
    respond(StatusCode::OK, JSON, body::health())
}

pub(super) fn ready<S: BucketStore, C: Clock>(ready: bool, gate: &Gate<S, C>) -> DoorResponse {
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let catalog = gate.catalog().map(|catalog| state_json(&catalog.state().get()).to_string());
    respond(status, JSON, body::ready(ready, gate.engine().rules().version(), catalog.as_deref()))
}

pub(super) fn metrics(page: String) -> DoorResponse {
    respond(StatusCode::OK, OPENMETRICS, page.into_bytes())
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
    pub(super) fn push(&mut self, decision: &Decision, look: &Look<'_>, sent: &Sent) {
        self.separate();
        if let Some(degraded) = decision.degraded() {
            self.degraded = Some(match (self.degraded, degraded.policy) {
                (None | Some(FailurePolicy::Allow), policy) => policy,
                (Some(FailurePolicy::Local), FailurePolicy::Deny) => FailurePolicy::Deny,
                (Some(policy), _) => policy,
            });
        }
        decisions::write_decision(&mut self.body, decision, seen(look), status_of(decision), sent);
    }

    pub(super) fn push_ban(&mut self, ban: &Ban, now: Timestamp) {
        self.separate();
        decisions::write_ban(&mut self.body, ban, left_of(ban, now));
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
