//! Whether a proxy may let a request of a visitor pass: if it shows a pass whose [session](super::session) goes on.

use std::sync::atomic::Ordering;

use http::header::{ACCEPT, ACCESS_CONTROL_REQUEST_METHOD, LOCATION, RETRY_AFTER, VARY};
use http::{HeaderName, HeaderValue, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tidegate_core::time::Timestamp;
use tidegate_store::rooms::{RoomStatus, Told};
use tidegate_wire::identity::single_header;
use tidegate_wire::problem::{Problem, ProblemType};
use tidegate_wire::room::call::Call;
use tidegate_wire::room::cookies::CookieName;
use tidegate_wire::room::name::RoomName;
use tidegate_wire::room::seat::{RefusedWhy, RoomState, Seat, Standing};
use tidegate_wire::room::token::{Pass, TokenCheck};

use super::answer::{Facts, poll_after_of_stranger, room_state};
use super::calls::{Asked, failed, seat_json};
use super::definition::Room;
use super::session::Session;
use super::tokens::{claims_of, core_ticket};
use super::visit::Visit;
use super::{Rooms, Shared};
use crate::door::{DoorResponse, JSON, problem, respond};

/// A room that a proxy asks about, beside what else it asks.
const X_TIDEGATE_ROOM: HeaderName = HeaderName::from_static("x-tidegate-room");
/// A pass of a client that keeps no cookies.
pub(super) const X_TIDEGATE_PASS: HeaderName = HeaderName::from_static("x-tidegate-pass");
/// What of an address is escaped in a query.
const IN_QUERY: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// Whether a request may pass.
pub(crate) enum Admission {
    /// It may, and the browser is to keep this.
    Through(Vec<HeaderValue>),
    /// It may not.
    No(DoorResponse),
}

/// The room that a request names beside what else it asks. A field could be a client's, so it only ever adds a question; an empty
/// one is none.
pub(crate) fn room_in_field(head: &http::request::Parts) -> Option<&str> {
    let field = head.headers.get(&X_TIDEGATE_ROOM)?.to_str().ok()?;
    Some(field).filter(|field| !field.is_empty())
}

impl Rooms {
    /// Decides a request of this method for this address, path and query.
    pub(crate) async fn authorize(&self, room: &str, visit: Visit<'_>, method: &str, uri: &str) -> Admission {
        let shared = &*self.0;
        let Some(room) = shared.room(room) else {
            return Admission::No(problem(&match shared.may_lack.load(Ordering::Acquire) {
                true => shared.lacks(),
                false => no_room(),
            }));
        };
        // Browsers ask beforehand without cookies, and obey the answer of the site.
        if method == "OPTIONS" && visit.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
            return Admission::Through(Vec::new());
        }
        let now = shared.clock.now();
        let known = match visit.device(&shared.keys, now) {
            Ok(known) => known,
            Err(refused) => return Admission::No(problem(&refused)),
        };
        let visitor = visit.visitor(&room, &shared.keys, &known);
        let asked = Asked { visit, room: &room, fields: Call::default(), known, visitor, now };
        match shared.inside(&asked).await {
            Some(kept) => Admission::Through(kept),
            None => Admission::No(shared.turned_away(&asked, method, uri).await),
        }
    }
}

impl Shared {
    /// What the browser of somebody who is inside is to keep; `None` of anybody else.
    pub(super) async fn inside(&self, asked: &Asked<'_>) -> Option<Vec<HeaderValue>> {
        let pass = self.shown_pass(asked)?;
        match self.session(asked.room, &pass, asked.now, true).await {
            Session::Over => None,
            Session::Inside => Some(Vec::new()),
            Session::Renewed(admitted, told) => {
                let claims = claims_of(&pass);
                Some(self.pass_cookies(asked, &claims, &admitted, &told).1)
            }
        }
    }

    /// The pass that a request shows, if it is genuine and the visitor's own. It may have expired.
    fn shown_pass(&self, asked: &Asked<'_>) -> Option<Pass> {
        let (room, visit) = (asked.room, &asked.visit);
        let sent = single_header(visit.headers(), &X_TIDEGATE_PASS).ok()?.filter(|sent| !sent.is_empty());
        let host = visit.host()?;
        let verified = |token: &str, visitor| {
            let check = TokenCheck { room: &room.name, epochs: 0..=u64::MAX, visitor, now: Timestamp::EPOCH };
            self.keys.tokens.verify_pass(token, &host, &check).ok()
        };
        // Of a program, which has nothing else: whoever has it is let in.
        if let Some(sent) = sent {
            return verified(sent, None);
        }
        // A cookie is its visitor's: alone, or beside the signs of somebody else, it was copied. Another of the name may be planted.
        let owner = asked.visitor.as_ref().ok().copied()?;
        let cookies = visit.cookies(CookieName::Pass(&room.name)).ok()?;
        cookies.into_iter().find_map(|cookie| verified(cookie, Some(owner)))
    }

    async fn turned_away(&self, asked: &Asked<'_>, method: &str, uri: &str) -> DoorResponse {
        let (told, status) = match self.stands(asked).await {
            Ok(stands) => stands,
            // It was removed at another node.
            Err(refused) if refused.kind == ProblemType::NotFound => return problem(&no_room()),
            Err(refused) => return problem(&refused),
        };
        let mut response = self.told_off(asked, told.as_ref(), &status);
        if wants_page(asked.visit, method) {
            send_to_page(&mut response, &asked.room.name, uri);
        }
        response.headers_mut().insert(VARY, HeaderValue::from_static("accept, cookie"));
        response
    }

    /// How the visitor stands, if it has a ticket.
    async fn stands(&self, asked: &Asked<'_>) -> Result<(Option<Told>, RoomStatus), Box<Problem>> {
        let room = &asked.room.name;
        let told = match self.ticket(asked) {
            Ok(ticket) => {
                let told = self.store.look(room, &core_ticket(&ticket.claims)).await;
                Some(told.map_err(|error| failed(error).0)?)
            }
            Err(_) => None,
        };
        Ok((told, self.store.status(room).await.map_err(|error| failed(error).0)?))
    }

    /// The answer to a program: its seat, and when to come again.
    fn told_off(&self, asked: &Asked<'_>, told: Option<&Told>, status: &RoomStatus) -> DoorResponse {
        let ticket = self.ticket(asked).ok();
        let seat = match told {
            Some(told) => self.seat(Facts {
                room: asked.room,
                told,
                status,
                ticket: ticket.as_ref(),
                pass: None,
                return_to: None,
            }),
            None => stranger(asked.room, status),
        };
        let is_closed = matches!(seat.room_state, RoomState::Closed)
            || matches!(seat.standing, Standing::Refused(RefusedWhy::RoomClosed));
        let code = if is_closed { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::TOO_MANY_REQUESTS };
        let mut response = respond(code, JSON, seat_json(&seat));
        let seconds = seat.poll_after_ms.div_ceil(1_000).max(1);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        response
    }
}

/// Makes an answer lead to the waiting page, and from there to `uri`.
pub(super) fn send_to_page(response: &mut DoorResponse, room: &RoomName, uri: &str) {
    let place = utf8_percent_encode(uri, IN_QUERY);
    let page = format!("/rooms/{room}?{}={place}", super::shown::RETURN_TO);
    *response.status_mut() = StatusCode::FOUND;
    let page = HeaderValue::from_str(&page).unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert(LOCATION, page);
}

fn no_room() -> Problem {
    let detail = "there is no room of this name: make one, or correct the proxy's configuration";
    Problem::invalid_field("room", detail)
}

/// The seat of somebody who has none.
pub(super) fn stranger(room: &Room, status: &RoomStatus) -> Seat {
    let room_state = room_state(status);
    let standing = match room_state {
        RoomState::Closed => Standing::Refused(RefusedWhy::RoomClosed),
        RoomState::Draining => Standing::Refused(RefusedWhy::Draining),
        _ => Standing::Waiting,
    };
    Seat {
        room: room.name.clone(),
        standing,
        room_state,
        ticket: None,
        queue_number: None,
        position: None,
        waiting: status.status.waiting,
        serving_number: status.status.serving_number,
        estimated_wait: None,
        progress: Default::default(),
        opens_at: None,
        message: room.message.load().as_deref().cloned(),
        poll_after_ms: poll_after_of_stranger(status).as_millis_ceil(),
        return_to: None,
    }
}

/// Whether a person looks at the answer.
pub(super) fn wants_page(visit: Visit<'_>, method: &str) -> bool {
    let accepts = |value: &HeaderValue| {
        value.to_str().is_ok_and(|text| text.to_ascii_lowercase().contains("text/html"))
    };
    matches!(method, "GET" | "HEAD") && visit.headers().get_all(ACCEPT).iter().any(accepts)
}
