//! Decisions and refusals as they look over HTTP: status, header fields, body. Doors that speak other protocols carry
//! them, whole or in part.

pub(crate) mod body;
pub(crate) mod fields;

use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue, StatusCode};
use tidegate_catalog::model::Ban;
use tidegate_core::decision::Verdict;
use tidegate_core::room::RoomName;
use tidegate_core::time::{Micros, Timestamp};
use tidegate_engine::{Decision, EngineError};
use tidegate_wire::problem::{Problem, ProblemType};
use tidegate_wire::room::seat::{Seat, Standing};

use super::{DoorResponse, JSON, LegacyFields, PROBLEM_JSON, respond};
use crate::gate::{Answered, Look, Refused};
use fields::Fields;

/// The field that says that a subject's tier could not be looked up.
const TIER_LOOKUP: HeaderName = HeaderName::from_static("tidegate-tier-lookup");

/// The status of a decision: 200, 429, 422 where the cost exceeds what the quota can ever hold, or 503 where it was refused
/// because the store does not answer.
pub(crate) fn status_of(decision: &Decision) -> StatusCode {
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

/// Whether a request is refused because quotas are used up, and the same could pass at another time or without the rules.
pub(crate) fn is_over_limit(decision: &Decision) -> bool {
    !decision.is_allowed() && status_of(decision) == StatusCode::TOO_MANY_REQUESTS
}

/// What a waiting room has to say to a request.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// How the visitor stands, as JSON.
    pub(crate) seat: Option<String>,
    /// What its browser is to keep.
    pub(crate) cookies: Vec<HeaderValue>,
    /// Where it has to wait.
    pub(crate) waits: Option<Waits>,
}

/// A place in a line, or none.
#[derive(Debug)]
pub(crate) struct Waits {
    /// The room.
    pub(crate) room: RoomName,
    /// When to come again, in milliseconds.
    pub(crate) retry_after_ms: u64,
    /// What a person is told.
    pub(crate) message: String,
}

impl Waits {
    fn retry_after_s(&self) -> u64 {
        self.retry_after_ms.div_ceil(1_000).max(1)
    }
}

impl Sent {
    /// The request has to wait in this room, where its visitor stands so.
    pub(crate) fn to(&mut self, room: &RoomName, seat: &Seat) {
        let mut waits =
            Waits { room: room.clone(), retry_after_ms: seat.poll_after_ms, message: String::new() };
        let again = match waits.retry_after_s() {
            1 => "Ask again in 1 second.".to_owned(),
            seconds => format!("Ask again in {seconds} seconds."),
        };
        let ahead = match (&seat.standing, seat.position) {
            (Standing::Refused(_), _) => format!("The waiting room {room} takes nobody now."),
            (Standing::Waiting, Some(0)) => format!("You are next in the waiting room {room}."),
            (Standing::Waiting, Some(ahead)) => {
                format!("You are in the waiting room {room}, with {ahead} ahead of you.")
            }
            _ if seat.ticket.is_some() => format!("You are in the waiting room {room}."),
            _ => format!(
                "There is a waiting room, {room}: send a ticket, the subject or client_ip to have a place in it."
            ),
        };
        waits.message = format!("Too many at once. {ahead} {again}");
        self.waits = Some(waits);
    }
}

/// The name of a rule or domain for callers. That of a quota which a request brought begins with what keeps it apart.
pub(crate) fn shown(name: &str) -> &str {
    name.rsplit('\u{1f}').next().unwrap_or(name)
}

/// What came of a request, as a response.
pub(crate) fn answered(
    answered: &Answered<'_>,
    look: &Look<'_>,
    now: Timestamp,
    legacy: LegacyFields,
) -> DoorResponse {
    answered_in_line(answered, look, now, legacy, &Sent::default())
}

/// As [`answered`], of a request that may have been sent to a waiting room.
pub(crate) fn answered_in_line(
    answered: &Answered<'_>,
    look: &Look<'_>,
    now: Timestamp,
    legacy: LegacyFields,
    sent: &Sent,
) -> DoorResponse {
    match answered {
        Answered::Decided(decision) => self::decision(decision, look, legacy, sent),
        Answered::Banned(ban) => banned(ban, now),
    }
}

fn decision(decision: &Decision, look: &Look<'_>, legacy: LegacyFields, sent: &Sent) -> DoorResponse {
    let status = status_of(decision);
    let content_type = if status == StatusCode::OK { JSON } else { PROBLEM_JSON };
    let mut response = respond(status, content_type, body::decision(decision, seen(look), status, sent));
    write_fields(response.headers_mut(), decision, look, legacy);
    if let Some(waits) = &sent.waits {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(waits.retry_after_s()));
    }
    response
}

/// The header fields of a decision.
pub(crate) fn write_fields(
    headers: &mut impl Fields,
    decision: &Decision,
    look: &Look<'_>,
    legacy: LegacyFields,
) {
    fields::write(headers, decision, legacy);
    if let Some(trouble) = look.lookup().trouble() {
        headers.put(TIER_LOOKUP, trouble.as_bytes());
    }
}

pub(crate) fn seen<'a>(look: &'a Look<'_>) -> body::SubjectSeen<'a> {
    body::SubjectSeen { tier: look.tier(), trouble: look.lookup().trouble() }
}

pub(crate) fn decision_body(decision: &Decision) -> Vec<u8> {
    body::decision(decision, body::SubjectSeen::default(), status_of(decision), &Sent::default())
}

/// A request beyond what the caller's tenant may ask in a second.
pub(crate) fn over_ceiling(decision: &Decision) -> Problem {
    let retry_after_ms = decision.retry_after().map_or(1_000, Micros::as_millis_ceil);
    Problem {
        detail: "the tenant asks more often than its ceiling allows; try again shortly".into(),
        ..Problem::quota_exceeded(retry_after_ms, vec!["tenant-requests".to_owned()])
    }
}

/// A request of a banned subject.
fn banned(ban: &Ban, now: Timestamp) -> DoorResponse {
    let retry_after_ms = left_of(ban, now);
    let mut body = Vec::new();
    body::write_ban(&mut body, ban, retry_after_ms);
    let mut response = respond(StatusCode::FORBIDDEN, PROBLEM_JSON, body);
    if let Some(retry_after_ms) = retry_after_ms {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry_after_ms.div_ceil(1_000)));
    }
    response
}

/// Milliseconds until a ban ends; `None` where it does not.
pub(crate) fn left_of(ban: &Ban, now: Timestamp) -> Option<u64> {
    let until = u64::try_from(ban.until_us?).ok()?;
    Some(until.saturating_sub(now.as_micros()).div_ceil(1_000))
}

/// Why a caller is not served at all.
pub(crate) fn refused(refused: Refused) -> Problem {
    match refused {
        Refused::NoKey => Problem::new(
            ProblemType::Unauthorized,
            "send an API key: Authorization: Bearer tg_…, or X-API-Key",
        ),
        Refused::BadKey(refusal) => Problem::new(ProblemType::Unauthorized, refusal.to_string()),
        Refused::NotForChecks => Problem::new(
            ProblemType::Forbidden,
            "this key may not ask for decisions: it needs the scope check",
        ),
    }
}

/// The text for the client; the engine's own words go to the log only.
pub(crate) fn problem_of(error: &EngineError) -> Problem {
    match error {
        EngineError::Store(source) => {
            tracing::warn!(error = %source, "no decision");
            Problem::new(ProblemType::StoreUnavailable, "the store does not answer; try again shortly")
        }
        EngineError::RulesUnsettled => {
            tracing::warn!("rules changed faster than a request could be decided");
            Problem::new(ProblemType::Overloaded, "the rules are changing; try again at once")
        }
        EngineError::AdHoc(source) => {
            tracing::warn!(error = %source, "a quota that a request brought makes no rule");
            Problem::new(ProblemType::Malformed, "the quota of the request cannot be kept")
        }
    }
}
