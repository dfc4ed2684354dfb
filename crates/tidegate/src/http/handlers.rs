//! One function per endpoint: read, ask the engine, write.

use std::net::IpAddr;

use bytes::Bytes;
use http::request::Parts;
use hyper::body::Incoming;
use smallvec::SmallVec;
use tidegate_core::quota::Algorithm;
use tidegate_engine::{Clock, Decision, EngineError, PermitToken, Request};
use tidegate_store::BucketStore;
use tidegate_wire::check::{
    self, CheckRequest, DEFAULT_DOMAIN, Entries, MAX_CHECK_BODY_BYTES, MAX_CHECKS_BODY_BYTES,
};
use tidegate_wire::identity::canonical_ip_key;
use tidegate_wire::problem::{Problem, ProblemType};

use super::{DoorResponse, Shared, from_wire, to_wire};
use crate::net::{BodyError, read_body};

/// The domain of the protected demo endpoint.
const DEMO_DOMAIN: &str = "demo";

type BorrowedEntries<'a> = SmallVec<[(&'a str, &'a str); 8]>;

pub(super) async fn check<S: BucketStore, C: Clock>(door: &Shared<S, C>, body: Incoming) -> DoorResponse {
    let body = match read(door, body, MAX_CHECK_BODY_BYTES).await {
        Ok(body) => body,
        Err(refused) => return to_wire::problem(&refused),
    };
    match check::parse_check(&body, door.options.identity.ipv6_prefix) {
        Ok(request) => respond(door, decide(door, &request).await),
        Err(error) => to_wire::problem(&error.into()),
    }
}

pub(super) async fn checks<S: BucketStore, C: Clock>(door: &Shared<S, C>, body: Incoming) -> DoorResponse {
    let body = match read(door, body, MAX_CHECKS_BODY_BYTES).await {
        Ok(body) => body,
        Err(refused) => return to_wire::problem(&refused),
    };
    let requests = match check::parse_checks(&body, door.options.identity.ipv6_prefix) {
        Ok(requests) => requests,
        Err(error) => return to_wire::problem(&error.into()),
    };
    let entries: Vec<BorrowedEntries<'_>> =
        requests.iter().map(|request| borrowed(&request.entries)).collect();
    let asked: Vec<Request<'_>> =
        requests.iter().zip(&entries).map(|(request, entries)| asked(request, entries)).collect();
    let mut decisions = Vec::with_capacity(requests.len());
    for (request, asked) in requests.iter().zip(&asked) {
        let decision =
            if request.peek { door.engine.peek(asked).await } else { door.engine.decide(asked).await };
        decisions.push(decision);
    }
    let charged = requests.iter().zip(&asked).zip(&decisions).filter(|((request, _), _)| !request.peek);
    let charged: Vec<(Request<'_>, &Decision)> =
        charged.filter_map(|((_, asked), decision)| Some((*asked, decision.as_ref().ok()?))).collect();
    door.engine.wait_for_all(&charged).await;
    let mut answers = to_wire::Answers::default();
    for decision in &decisions {
        match decision {
            Ok(decision) => answers.push(decision),
            Err(error) => answers.push_problem(&problem_of(error)),
        }
    }
    answers.into_response()
}

pub(super) async fn refund<S: BucketStore, C: Clock>(door: &Shared<S, C>, body: Incoming) -> DoorResponse {
    let body = match read(door, body, MAX_CHECK_BODY_BYTES).await {
        Ok(body) => body,
        Err(refused) => return to_wire::problem(&refused),
    };
    let refund = match check::parse_refund(&body, door.options.identity.ipv6_prefix) {
        Ok(refund) => refund,
        Err(error) => return to_wire::problem(&error.into()),
    };
    let entries = borrowed(&refund.entries);
    let request = Request {
        domain: &refund.domain,
        entries: &entries,
        cost: refund.cost,
        idempotency_key: refund.idempotency_key.as_deref(),
    };
    match door.engine.refund(&request).await {
        Ok(decision) => to_wire::refund(&decision, door.options.legacy_fields),
        Err(error) => to_wire::problem(&problem_of(&error)),
    }
}

pub(super) async fn acquire<S: BucketStore, C: Clock>(door: &Shared<S, C>, body: Incoming) -> DoorResponse {
    let body = match read(door, body, MAX_CHECK_BODY_BYTES).await {
        Ok(body) => body,
        Err(refused) => return to_wire::problem(&refused),
    };
    let request = match check::parse_check(&body, door.options.identity.ipv6_prefix) {
        Ok(request) => request,
        Err(error) => return to_wire::problem(&error.into()),
    };
    if request.peek {
        let detail = "a permit is taken or not; peek with /v1/check instead";
        return to_wire::problem(&Problem::invalid_field("peek", detail));
    }
    let entries = borrowed(&request.entries);
    let wanted =
        Request { domain: &request.domain, entries: &entries, cost: request.cost, idempotency_key: None };
    // Looked at before anything is charged: a request without a concurrency rule is a mistake of the caller's.
    match door.engine.peek(&wanted).await {
        // Without the store it is not known; there may be one.
        Ok(decision) if !gives_permits(&decision) && decision.degraded().is_none() => {
            to_wire::problem(&Problem::invalid_field(
                "descriptors",
                "no concurrency rule matches, so there is no permit to hold; use /v1/check, or add a rule with algorithm: concurrency",
            ))
        }
        Ok(_) => respond(door, decide(door, &request).await),
        Err(error) => to_wire::problem(&problem_of(&error)),
    }
}

pub(super) async fn release<S: BucketStore, C: Clock>(door: &Shared<S, C>, id: &str) -> DoorResponse {
    let not_held = || {
        to_wire::problem(&Problem::new(
            ProblemType::NotFound,
            "no such permit is held: it was given back or has expired",
        ))
    };
    let Ok(permit) = id.parse::<PermitToken>() else { return not_held() };
    match door.engine.release(&permit).await {
        Ok(true) => to_wire::no_content(),
        Ok(false) => not_held(),
        Err(error) => to_wire::problem(&problem_of(&error)),
    }
}

pub(super) async fn stats<S: BucketStore, C: Clock>(
    door: &Shared<S, C>,
    domain: &str,
    key: &str,
) -> DoorResponse {
    let Some(domain) = from_wire::text_of(domain) else { return bad_text("domain") };
    let Some(key) = from_wire::text_of(key) else { return bad_text("key") };
    stats_of(door, &domain, "key", &key).await
}

pub(super) async fn user_stats<S: BucketStore, C: Clock>(door: &Shared<S, C>, user: &str) -> DoorResponse {
    let Some(user) = from_wire::text_of(user) else { return bad_text("user") };
    stats_of(door, DEFAULT_DOMAIN, "user", &user).await
}

async fn stats_of<S: BucketStore, C: Clock>(
    door: &Shared<S, C>,
    domain: &str,
    name: &'static str,
    key: &str,
) -> DoorResponse {
    if door.engine.rules().domain(domain).is_none() {
        return no_such_domain();
    }
    // An IPv6 address is kept by its network, however it is written here.
    let kept = canonical_ip_key(key, door.options.identity.ipv6_prefix);
    match door.engine.stats(domain, kept.as_deref().unwrap_or(key)).await {
        Ok(decision) => to_wire::stats(name, key, &decision),
        Err(error) => to_wire::problem(&problem_of(&error)),
    }
}

fn no_such_domain() -> DoorResponse {
    to_wire::problem(&Problem::new(ProblemType::NotFound, "there is no such domain in the rules"))
}

pub(super) async fn demo_data<S: BucketStore, C: Clock>(
    door: &Shared<S, C>,
    peer: IpAddr,
    head: &Parts,
) -> DoorResponse {
    if door.engine.rules().domain(DEMO_DOMAIN).is_none() {
        return no_such_domain();
    }
    let Some(user) = from_wire::query_parameter(head.uri.query(), "user_id") else {
        return bad_text("user_id");
    };
    let entries = match from_wire::entries_of(&door.options.identity, peer, head) {
        Ok(entries) => entries,
        Err(error) => return to_wire::problem(&Problem::invalid_field("path", error.to_string())),
    };
    let mut entries: BorrowedEntries<'_> =
        entries.iter().map(|(name, value)| (*name, value.as_ref())).collect();
    entries.push(("user_id", &user));
    match door.engine.check(&Request::new(DEMO_DOMAIN, &entries)).await {
        Ok(decision) if decision.is_allowed() => {
            to_wire::demo_data(&user, &decision, door.options.legacy_fields)
        }
        Ok(decision) => to_wire::decision(&decision, door.options.legacy_fields),
        Err(error) => to_wire::problem(&problem_of(&error)),
    }
}

async fn decide<S: BucketStore, C: Clock>(
    door: &Shared<S, C>,
    request: &CheckRequest<'_>,
) -> Result<Decision, EngineError> {
    let entries = borrowed(&request.entries);
    let asked = asked(request, &entries);
    if request.peek { door.engine.peek(&asked).await } else { door.engine.check(&asked).await }
}

fn asked<'a>(request: &'a CheckRequest<'_>, entries: &'a [(&'a str, &'a str)]) -> Request<'a> {
    Request {
        domain: &request.domain,
        entries,
        cost: request.cost,
        idempotency_key: request.idempotency_key.as_deref(),
    }
}

fn respond<S, C>(door: &Shared<S, C>, decision: Result<Decision, EngineError>) -> DoorResponse {
    match decision {
        Ok(decision) => to_wire::decision(&decision, door.options.legacy_fields),
        Err(error) => to_wire::problem(&problem_of(&error)),
    }
}

async fn read<S, C>(door: &Shared<S, C>, body: Incoming, max_bytes: usize) -> Result<Bytes, Problem> {
    read_body(body, max_bytes, door.options.body_timeout).await.map_err(|error| match error {
        BodyError::TooLarge { .. } => Problem::new(ProblemType::TooLarge, error.to_string()),
        BodyError::TooSlow { .. } => Problem::new(ProblemType::RequestTimeout, error.to_string()),
        BodyError::Broken(_) => Problem::new(ProblemType::Malformed, error.to_string()),
    })
}

fn borrowed<'a>(entries: &'a Entries<'_>) -> BorrowedEntries<'a> {
    entries.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect()
}

fn gives_permits(decision: &Decision) -> bool {
    decision
        .verdicts()
        .any(|verdict| verdict.rule.model().algorithm == Algorithm::Concurrency && verdict.is_enforced())
}

fn bad_text(field: &'static str) -> DoorResponse {
    to_wire::problem(&Problem::invalid_field(
        field,
        format!("{field} must be 1 to 1024 bytes of UTF-8 text without control characters, percent-encoded"),
    ))
}

/// The text for the client; the engine's own words go to the log only.
fn problem_of(error: &EngineError) -> Problem {
    match error {
        EngineError::Store(source) => {
            tracing::warn!(error = %source, "no decision");
            Problem::new(ProblemType::StoreUnavailable, "the store does not answer; try again shortly")
        }
        EngineError::RulesUnsettled => {
            tracing::warn!("rules changed faster than a request could be decided");
            Problem::new(ProblemType::Overloaded, "the rules are changing; try again at once")
        }
    }
}
