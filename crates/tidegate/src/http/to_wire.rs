//! Decisions and problems as responses: status, header fields, body.

mod body;
mod fields;

use http::header::{ALLOW, CACHE_CONTROL, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use tidegate_catalog::model::Ban;
use tidegate_core::decision::Verdict;
use tidegate_core::rule::model::FailurePolicy;
use tidegate_core::time::Micros;
use tidegate_engine::{BreakerStatus, Clock, Decision};
use tidegate_store::BucketStore;
use tidegate_wire::problem::{Problem, ProblemType};

use super::LegacyFields;
use crate::door::{DoorResponse, JSON, PROBLEM_JSON, problem, respond};
use crate::gate::{Gate, Look, state_json};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
/// The field that says that a subject's tier could not be looked up.
const TIER_LOOKUP: HeaderName = HeaderName::from_static("tidegate-tier-lookup");
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

pub(super) fn decision(decision: &Decision, look: &Look<'_>, legacy: LegacyFields) -> DoorResponse {
    let status = status_of(decision);
    let content_type = if status == StatusCode::OK { JSON } else { PROBLEM_JSON };
    let mut response = respond(status, content_type, body::decision(decision, seen(look), status));
    fields::write(response.headers_mut(), decision, legacy);
    if let Some(trouble) = look.lookup().trouble() {
        response.headers_mut().insert(TIER_LOOKUP, HeaderValue::from_static(trouble));
    }
    response
}

fn seen<'a>(look: &'a Look<'_>) -> body::SubjectSeen<'a> {
    body::SubjectSeen { tier: look.tier(), trouble: look.lookup().trouble() }
}

pub(super) fn decision_body(decision: &Decision) -> Vec<u8> {
    body::decision(decision, body::SubjectSeen::default(), status_of(decision))
}

/// A request beyond what the caller's tenant may ask in a second.
pub(super) fn over_ceiling(decision: &Decision) -> DoorResponse {
    let retry_after_ms = decision.retry_after().map_or(1_000, Micros::as_millis_ceil);
    problem(&Problem {
        detail: "the tenant asks more often than its ceiling allows; try again shortly".into(),
        ..Problem::quota_exceeded(retry_after_ms, vec!["tenant-requests".to_owned()])
    })
}

/// A request of a banned subject.
pub(super) fn banned<S: BucketStore, C: Clock>(ban: &Ban, gate: &Gate<S, C>) -> DoorResponse {
    let retry_after_ms = left_of(ban, gate);
    let mut body = Vec::new();
    body::write_ban(&mut body, ban, retry_after_ms);
    let mut response = respond(StatusCode::FORBIDDEN, PROBLEM_JSON, body);
    if let Some(retry_after_ms) = retry_after_ms {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry_after_ms.div_ceil(1_000)));
    }
    response
}

/// Milliseconds until a ban ends.
fn left_of<S: BucketStore, C: Clock>(ban: &Ban, gate: &Gate<S, C>) -> Option<u64> {
    let until = u64::try_from(ban.until_us?).ok()?;
    Some(until.saturating_sub(gate.engine().now().as_micros()).div_ceil(1_000))
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
    pub(super) fn push(&mut self, decision: &Decision, look: &Look<'_>) {
        self.separate();
        if let Some(degraded) = decision.degraded() {
            self.degraded = Some(match (self.degraded, degraded.policy) {
                (None | Some(FailurePolicy::Allow), policy) => policy,
                (Some(FailurePolicy::Local), FailurePolicy::Deny) => FailurePolicy::Deny,
                (Some(policy), _) => policy,
            });
        }
        body::write_decision(&mut self.body, decision, seen(look), status_of(decision));
    }

    pub(super) fn push_ban<S: BucketStore, C: Clock>(&mut self, ban: Option<&Ban>, gate: &Gate<S, C>) {
        let Some(ban) = ban else { return };
        self.separate();
        body::write_ban(&mut self.body, ban, left_of(ban, gate));
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
