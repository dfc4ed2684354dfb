//! One function per endpoint: read, ask the engine, write.

use std::net::IpAddr;
use std::sync::LazyLock;

use bytes::Bytes;
use http::request::Parts;
use hyper::body::Incoming;
use smallvec::SmallVec;
use tidegate_core::quota::Algorithm;
use tidegate_engine::{Clock, Decision, EngineError, PermitToken, Selection};
use tidegate_store::BucketStore;
use tidegate_wire::check::{
    self, CheckRequest, DEFAULT_DOMAIN, Entries, MAX_CHECK_BODY_BYTES, MAX_CHECKS_BODY_BYTES,
};
use tidegate_wire::identity::canonical_ip_key;
use tidegate_wire::problem::{Problem, ProblemType};

use super::{Shared, from_wire, to_wire, valve};
use crate::door::overload::{Guard, Priority, SHED};
use crate::door::{DoorResponse, answer, key_of, problem, query_parameter, read_bounded, text_of};
use crate::gate::{Answered, Ask, Caller, Look};
use crate::rooms::{Comer, with_cookies};

/// The domain of the protected demo endpoint.
const DEMO_DOMAIN: &str = "demo";

pub(super) type BorrowedEntries<'a> = SmallVec<[(&'a str, &'a str); 8]>;

pub(super) async fn check<S: BucketStore, C: Clock>(
    door: &Shared<S, C>,
    caller: &Caller,
    body: Incoming,
) -> DoorResponse {
    let body = match read(door, body, MAX_CHECK_BODY_BYTES).await {
        Ok(body) => body,
        Err(refused) => return problem(&refused),
    };
    let request = match check::parse_check(&body, door.options.identity.ipv6_prefix) {
        Ok(request) => request,
        Err(error) => return problem(&error.into()),
    };
    let entries = borrowed(&request.entries);
    let _inside = match let_in(door, caller, 1, Priority::of_entries(entries.iter().copied())).await {
        Ok(inside) => inside,
        Err(refused) => return refused,
    };
    let look = door.gate.look(caller, &request.domain, &entries).await;
    answer(door, caller, &look, &request, &entries).await
}

/// Decides one request of which it is known whose it is.
async fn answer<S: BucketStore, C: Clock>(
    door: &Shared<S, C>,
    caller: &Caller,
    look: &Look<'_>,
    request: &CheckRequest<'_>,
    entries: &[(&str, &str)],
) -> DoorResponse {
    let comer = valve::named(door, look, request, entries);
    let outcome = valve::ask(door, caller, look, ask_of(request, entries), &comer).await;
    respond_in_line(door, look, outcome)
}

pub(super) async fn checks<S: BucketStore, C: Clock>(
    door: &Shared<S, C>,
    caller: &Caller,
    body: Incoming,
) -> DoorResponse {
    let body = match read(door, body, MAX_CHECKS_BODY_BYTES).await {
        Ok(body) => body,
        Err(refused) => return problem(&refused),
    };
    let requests = match check::parse_checks(&body, door.options.identity.ipv6_prefix) {
        Ok(requests) => requests,
        Err(error) => return problem(&error.into()),
    };
    let entries: Vec<BorrowedEntries<'_>> =
        requests.iter().map(|request| borrowed(&request.entries)).collect();
    // A batch is one request in progress, since it is decided check by check, and as important as the most important one.
    let priority = entries.iter().map(|entries| Priority::of_entries(entries.iter().copied())).max();
    let inside = let_in(door, caller, requests.len() as u64, priority.unwrap_or_default()).await;
    let _inside = match inside {
        Ok(inside) => inside,
        Err(refused) => return refused,
    };
    let mut looks = Vec::with_capacity(requests.len());
    for (request, entries) in requests.iter().zip(&entries) {
        looks.push(door.gate.look(caller, &request.domain, entries).await);
    }
    let comers: Vec<Comer<'_>> = requests
        .iter()
        .zip(&entries)
        .zip(&looks)
        .map(|((request, entries), look)| valve::named(door, look, request, entries))
        .collect();
    let mut shows = Vec::with_capacity(requests.len());
    for (look, comer) in looks.iter().zip(&comers) {
        shows.push(valve::shown(door, caller, look, comer).await);
    }
    let asks: Vec<(&Look<'_>, Ask<'_>)> = requests
        .iter()
        .zip(&entries)
        .zip(looks.iter().zip(&shows))
        .map(|((request, entries), (look, shows))| {
            (look, Ask { inside: &shows.inside, ..ask_of(request, entries) })
        })
        .collect();
    let answered = door.gate.ask_each(&asks).await;
    let mut answers = to_wire::Answers::default();
    for ((answered, (look, ask)), (comer, shows)) in
        answered.into_iter().zip(asks).zip(comers.iter().zip(&shows))
    {
        let valve::Outcome { answered, sent } =
            valve::settle(door, caller, look, ask, comer, answered, shows).await;
        match &answered {
            Ok(Answered::Decided(decision)) => answers.push(decision, look, &sent),
            Ok(Answered::Banned(ban)) => answers.push_ban(ban, door.gate.engine().now()),
            Err(error) => answers.push_problem(&answer::problem_of(error)),
        }
    }
    answers.into_response()
}

fn ask_of<'a>(request: &'a CheckRequest<'_>, entries: &'a [(&'a str, &'a str)]) -> Ask<'a> {
    Ask {
        entries,
        cost: request.cost,
        peek: request.peek,
        idempotency_key: request.idempotency_key.as_deref(),
        inside: &[],
    }
}

pub(super) async fn refund<S: BucketStore, C: Clock>(
    door: &Shared<S, C>,
    caller: &Caller,
    body: Incoming,
) -> DoorResponse {
    let body = match read(door, body, MAX_CHECK_BODY_BYTES).await {
        Ok(body) => body,
        Err(refused) => return problem(&refused),
    };
    let refund = match check::parse_refund(&body, door.options.identity.ipv6_prefix) {
        Ok(refund) => refund,
        Err(error) => return problem(&error.into()),
    };
    let entries = borrowed(&refund.entries);
    let _inside = match let_in(door, caller, 1, Priority::of_entries(entries.iter().copied())).await {
        Ok(inside) => inside,
        Err(refused) => return refused,
    };
    let look = door.gate.look(caller, &refund.domain, &entries).await;
    let request = look.request(&entries, refund.cost, refund.idempotency_key.as_deref());
    match door.gate.engine().refund(&request).await {
        Ok(decision) => to_wire::refund(&decision, door.options.legacy_fields),
        Err(error) => problem(&answer::problem_of(&error)),
    }
}

pub(super) async fn acquire<S: BucketStore, C: Clock>(
    door: &Shared<S, C>,
    caller: &Caller,
    body: Incoming,
) -> DoorResponse {
    let body = match read(door, body, MAX_CHECK_BODY_BYTES).await {
        Ok(body) => body,
        Err(refused) => return problem(&refused),
    };
    let request = match check::parse_check(&body, door.options.identity.ipv6_prefix) {
        Ok(request) => request,
        Err(error) => return problem(&error.into()),
    };
    if request.peek {
        let detail = "a permit is taken or not; peek with /v1/check instead";
        return problem(&Problem::invalid_field("peek", detail));
    }
    let entries = borrowed(&request.entries);
    let _inside = match let_in(door, caller, 1, Priority::of_entries(entries.iter().copied())).await {
        Ok(inside) => inside,
        Err(refused) => return refused,
    };
    let look = door.gate.look(caller, &request.domain, &entries).await;
    let wanted = look.request(&entries, request.cost, None);
    // Looked at before anything is charged: a request without a concurrency rule is a mistake of the caller's.
    match door.gate.engine().peek(&wanted).await {
        // Without the store it is not known; there may be one.
        Ok(decision) if !gives_permits(&decision) && decision.degraded().is_none() => {
            problem(&Problem::invalid_field(
                "descriptors",
                "no concurrency rule matches, so there is no permit to hold; use /v1/check, or add a rule with algorithm: concurrency",
            ))
        }
        Ok(_) => answer(door, caller, &look, &request, &entries).await,
        Err(error) => problem(&answer::problem_of(&error)),
    }
}

pub(super) async fn release<S: BucketStore, C: Clock>(
    door: &Shared<S, C>,
    caller: &Caller,
    id: &str,
) -> DoorResponse {
    let not_held = || {
        problem(&Problem::new(
            ProblemType::NotFound,
            "no such permit is held: it was given back or has expired",
        ))
    };
    // What is given back makes room for others: the last to be shed.
    let _inside = match let_in(door, caller, 1, Priority::Critical).await {
        Ok(inside) => inside,
        Err(refused) => return refused,
    };
    let Ok(permit) = id.parse::<PermitToken>() else { return not_held() };
    match door.gate.engine().release(&permit).await {
        Ok(true) => to_wire::no_content(),
        Ok(false) => not_held(),
        Err(error) => problem(&answer::problem_of(&error)),
    }
}

pub(super) async fn stats<S: BucketStore, C: Clock>(
    door: &Shared<S, C>,
    caller: &Caller,
    domain: &str,
    key: &str,
) -> DoorResponse {
    let Some(domain) = text_of(domain) else { return bad_text("domain") };
    let Some(key) = text_of(key) else { return bad_text("key") };
    stats_of(door, caller, &domain, "key", &key).await
}

pub(super) async fn user_stats<S: BucketStore, C: Clock>(
    door: &Shared<S, C>,
    caller: &Caller,
    user: &str,
) -> DoorResponse {
    let Some(user) = text_of(user) else { return bad_text("user") };
    stats_of(door, caller, DEFAULT_DOMAIN, "user", &user).await
}

async fn stats_of<S: BucketStore, C: Clock>(
    door: &Shared<S, C>,
    caller: &Caller,
    domain: &str,
    name: &'static str,
    key: &str,
) -> DoorResponse {
    // Somebody looks: no request waits for it.
    let _inside = match let_in(door, caller, 1, Priority::Low).await {
        Ok(inside) => inside,
        Err(refused) => return refused,
    };
    // An IPv6 address is kept by its network, however it is written here.
    let kept = canonical_ip_key(key, door.options.identity.ipv6_prefix);
    let value = kept.as_deref().unwrap_or(key);
    let look = door.gate.look_at(caller, domain, value).await;
    if door.gate.engine().rules().domain(look.domain()).is_none() {
        return no_such_domain();
    }
    let selection = Selection { quotas: look.quotas(), ..Selection::new(look.domain(), value) };
    match door.gate.engine().stats(&selection).await {
        Ok(decision) => to_wire::stats(name, key, &decision),
        Err(error) => problem(&answer::problem_of(&error)),
    }
}

/// Lets a request in that has been read: sheds it where the door has too many in progress, and refuses it beyond the
/// ceiling of the caller's tenant. It is in progress until the guard is dropped.
pub(super) async fn let_in<'d, S: BucketStore, C: Clock>(
    door: &'d Shared<S, C>,
    caller: &Caller,
    requests: u64,
    priority: Priority,
) -> Result<Guard<'d>, DoorResponse> {
    let Some(inside) = door.options.overload.enter(priority) else { return Err(shed()) };
    match door.gate.over_ceiling(caller, requests).await {
        Ok(None) => Ok(inside),
        Ok(Some(decision)) => Err(problem(&answer::over_ceiling(&decision))),
        Err(error) => Err(problem(&answer::problem_of(&error))),
    }
}

/// The answer to a request for which there is no room. It is made once: what is not decided has to cost next to nothing.
pub(super) fn shed() -> DoorResponse {
    static ANSWER: LazyLock<DoorResponse> =
        LazyLock::new(|| problem(&Problem::new(ProblemType::Overloaded, SHED)));
    ANSWER.clone()
}

/// The page for Prometheus. A key is wanted only for the names of tenants; one that is not good is refused all the same.
pub(super) fn metrics<S: BucketStore, C: Clock>(door: &Shared<S, C>, head: &Parts) -> DoorResponse {
    let key = if door.gate.knows_keys() { key_of(head) } else { Ok(None) };
    let page = key.and_then(|key| {
        door.gate
            .metrics_page(key)
            .map_err(|refusal| Problem::new(ProblemType::Unauthorized, refusal.to_string()))
    });
    page.map_or_else(|refused| problem(&refused), to_wire::metrics)
}

fn no_such_domain() -> DoorResponse {
    problem(&Problem::new(ProblemType::NotFound, "there is no such domain in the rules"))
}

pub(super) async fn demo_data<S: BucketStore, C: Clock>(
    door: &Shared<S, C>,
    caller: &Caller,
    peer: IpAddr,
    head: &Parts,
) -> DoorResponse {
    if door.gate.engine().rules().domain(DEMO_DOMAIN).is_none() {
        return no_such_domain();
    }
    let Some(user) = query_parameter(head.uri.query(), "user_id") else {
        return bad_text("user_id");
    };
    let entries = match from_wire::entries_of(&door.options.identity, peer, head) {
        Ok(entries) => entries,
        Err(error) => return problem(&Problem::invalid_field("path", error.to_string())),
    };
    let mut entries: BorrowedEntries<'_> =
        entries.iter().map(|(name, value)| (*name, value.as_ref())).collect();
    entries.push(("user_id", &user));
    let Some(_inside) = door.options.overload.enter(Priority::Normal) else { return shed() };
    let look = door.gate.look(caller, DEMO_DOMAIN, &entries).await;
    let ask = Ask { entries: &entries, cost: 1, peek: false, idempotency_key: None, inside: &[] };
    match door.gate.ask(&look, &ask).await {
        Ok(Answered::Decided(decision)) if decision.is_allowed() => {
            to_wire::demo_data(&user, &decision, door.options.legacy_fields)
        }
        answered => respond(door, &look, answered),
    }
}

pub(super) fn respond<S: BucketStore, C: Clock>(
    door: &Shared<S, C>,
    look: &Look<'_>,
    answered: Result<Answered<'_>, EngineError>,
) -> DoorResponse {
    match answered {
        Ok(answered) => {
            answer::answered(&answered, look, door.gate.engine().now(), door.options.legacy_fields)
        }
        Err(error) => problem(&answer::problem_of(&error)),
    }
}

/// As [`respond`], of a request that may have been sent to a waiting room.
pub(super) fn respond_in_line<S: BucketStore, C: Clock>(
    door: &Shared<S, C>,
    look: &Look<'_>,
    outcome: valve::Outcome<'_>,
) -> DoorResponse {
    let valve::Outcome { answered, sent } = outcome;
    let (now, legacy) = (door.gate.engine().now(), door.options.legacy_fields);
    match answered {
        Ok(answered) => {
            with_cookies(answer::answered_in_line(&answered, look, now, legacy, &sent), sent.cookies)
        }
        Err(error) => problem(&answer::problem_of(&error)),
    }
}

async fn read<S, C>(door: &Shared<S, C>, body: Incoming, max_bytes: usize) -> Result<Bytes, Problem> {
    let options = &door.options;
    let body = read_bounded(body, max_bytes, options.body_timeout, options.overload.bodies()).await;
    body.inspect_err(|problem| {
        if problem.kind == ProblemType::Overloaded {
            options.overload.shed_unread();
        }
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
    problem(&Problem::invalid_field(
        field,
        format!("{field} must be 1 to 1024 bytes of UTF-8 text without control characters, percent-encoded"),
    ))
}
