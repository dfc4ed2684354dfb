//! `/v1/authz`: a proxy asks whether it may let a request pass, and obeys the status (nginx `auth_request`, Traefik
//! `ForwardAuth`, Caddy `forward_auth`): by the rules, and whether its visitor has been let into a room.

use std::net::IpAddr;

use http::header::{VARY, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode};
use tidegate_engine::Clock;
use tidegate_store::BucketStore;

use super::from_wire::{AuthzRequest, AuthzSettings, DenialStatus, described, read_authz};
use super::handlers::{BorrowedEntries, let_in, respond_in_line, shed};
use super::{Shared, rooms, to_wire, valve};
use crate::door::overload::Priority;
use crate::door::{CHALLENGE, DoorResponse, problem};
use crate::gate::{Ask, Caller};
use crate::rooms::{Admission, Comer, Rooms, room_in_field, with_cookies};

/// The status that the answer would have had without the parameter `status`.
const TIDEGATE_STATUS: HeaderName = HeaderName::from_static("x-tidegate-status");

/// Decides the request that a head describes. Its body is not read.
pub(super) async fn authz<S: BucketStore, C: Clock>(
    door: &Shared<S, C>,
    caller: &Caller,
    peer: IpAddr,
    head: &Parts,
) -> DoorResponse {
    let settings = match AuthzSettings::of(head.uri.query()) {
        Ok(settings) => settings,
        Err(refused) => return problem(&refused),
    };
    let mut cookies = Vec::new();
    if let Some(room) = settings.room.as_deref().or_else(|| room_in_field(head)) {
        match admission(door, peer, head, room).await {
            Admission::Through(kept) if settings.is_of_room_alone() => {
                return with_cookies(to_wire::no_content(), kept);
            }
            Admission::Through(kept) => cookies = kept,
            Admission::No(response) => return response,
        }
    }
    let AuthzRequest { domain, cost, entries, by_stranger } =
        match read_authz(&door.options.identity, peer, head, settings) {
            Ok(request) => request,
            Err(refused) => return problem(&refused),
        };
    if by_stranger {
        door.stranger.call_once(|| {
            tracing::warn!(
                "/v1/authz was asked about another request by an address that is no --trusted-proxy: what it says is ignored, \
                 and its own request is decided"
            );
        });
    }
    let entries: BorrowedEntries<'_> =
        entries.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
    let _inside = match let_in(door, caller, 1, Priority::of_entries(entries.iter().copied())).await {
        Ok(inside) => inside,
        Err(refused) => return refused,
    };
    let look = door.gate.look(caller, &domain, &entries).await;
    let ask = Ask { entries: &entries, cost, peek: false, idempotency_key: None, inside: &[] };
    let visit = rooms::visit(door, peer, head);
    // It was read above, and is all right.
    let (method, uri) = described(&door.options.identity, peer, head).unwrap_or_default();
    let outcome = valve::ask(door, caller, &look, ask, &Comer::Visitor(visit, method)).await;
    let room = outcome.sent.waits.as_ref().map(|waits| waits.room.clone());
    let mut response = respond_in_line(door, &look, outcome);
    if let Some(room) = room {
        Rooms::send_people(&mut response, &room, visit, (method, uri));
        response.headers_mut().insert(VARY, HeaderValue::from_static("accept, cookie"));
    }
    with_cookies(response, cookies)
}

/// Whether the visitor of a request has been let into a room.
async fn admission<S, C>(door: &Shared<S, C>, peer: IpAddr, head: &Parts, room: &str) -> Admission {
    let Some(_inside) = door.options.overload.enter(Priority::Normal) else { return Admission::No(shed()) };
    let Some(rooms) = &door.rooms else { return Admission::No(rooms::no_rooms()) };
    match described(&door.options.identity, peer, head) {
        Ok((method, uri)) => rooms.authorize(room, rooms::visit(door, peer, head), method, uri).await,
        Err(refused) => Admission::No(problem(&refused)),
    }
}

/// Gives an answer the status that the proxy understands, and says the real one beside it.
pub(super) fn as_wanted(mut answer: DoorResponse, query: Option<&str>) -> DoorResponse {
    let real = answer.status();
    if let (false, DenialStatus::Always(status)) = (real.is_success(), DenialStatus::of(query)) {
        *answer.status_mut() = status;
    }
    let is_challenge = answer.status() == StatusCode::UNAUTHORIZED;
    let headers = answer.headers_mut();
    headers.insert(TIDEGATE_STATUS, HeaderValue::from(real.as_u16()));
    if is_challenge {
        // RFC 9110 section 15.5.2: there must be one.
        headers.entry(WWW_AUTHENTICATE).or_insert(CHALLENGE);
    } else {
        headers.remove(WWW_AUTHENTICATE);
    }
    answer
}
