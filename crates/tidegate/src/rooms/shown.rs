//! What is shown of rooms: the page, status, line document, public keys.

use std::sync::atomic::Ordering;

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_MAX_AGE, CACHE_CONTROL,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;
use tidegate_core::time::Timestamp;
use tidegate_wire::problem::{Problem, ProblemType};
use tidegate_wire::room::call::Call;
use tidegate_wire::room::return_to::MAX_RETURN_TO_BYTES;
use tidegate_wire::room::seat::{Seat, Standing};
use tidegate_wire::room::site::AllowedHosts;

use super::answer::{status, version};
use super::authz::stranger;
use super::calls::{Answered, Asked, Refused, failed, plain, problem_of, see_other, share, with_cookies};
use super::definition::{OneSeatPer, Room};
use super::pages::{Look, Pages};
use super::seen::{MAX_MARK_BYTES, SEEN, is_fresh, mark, with_mark};
use super::visit::Visit;
use super::web::{self, Failure, Page, PageRequest};
use super::{Rooms, Shared};
use crate::door::{DoorResponse, JSON, problem, query_parameter_within, respond};

const SEC_PURPOSE: HeaderName = HeaderName::from_static("sec-purpose");
/// Where the visitor wants to go.
pub(super) const RETURN_TO: &str = "return_to";
/// What does not change for a second is asked for once a second by however many.
const ONE_SECOND: HeaderValue = HeaderValue::from_static("public, max-age=1");
const FIVE_MINUTES: HeaderValue = HeaderValue::from_static("public, max-age=300");

impl Rooms {
    /// The page of a visitor, who is given a place by it.
    pub(crate) async fn page(&self, room: &str, visit: Visit<'_>) -> DoorResponse {
        let shared = &*self.0;
        let Some(room) = shared.room(room) else {
            let failure = match shared.may_lack.load(Ordering::Acquire) {
                true => Failure::Unavailable,
                false => Failure::NotFound,
            };
            return shared.nowhere.of_failure(failure, shared.page_request(visit.headers()));
        };
        match shared.page(&room, visit).await {
            Ok(response) => response,
            Err((refused, cookies)) => {
                let failure = match refused.kind {
                    ProblemType::NotFound => Failure::NotFound,
                    ProblemType::Forbidden | ProblemType::Unauthorized | ProblemType::Malformed => {
                        Failure::NotValid
                    }
                    _ => Failure::Unavailable,
                };
                let page = room.page.of_failure(failure, shared.page_request(visit.headers()));
                with_cookies(page, cookies)
            }
        }
    }

    /// The room as everybody may know it.
    pub(crate) async fn status(&self, room: &str, visit: Visit<'_>) -> DoorResponse {
        self.public(room, visit, async |shared, room| {
            let now = shared.store.status(&room.name).await?;
            Ok(serde_json::to_vec(&status(room, &now)).unwrap_or_default())
        })
        .await
    }

    /// How many wait, by blocks.
    pub(crate) async fn line(&self, room: &str, visit: Visit<'_>) -> DoorResponse {
        self.public(room, visit, async |shared, room| {
            let (now, line) = (shared.store.status(&room.name).await?, shared.store.line(&room.name).await?);
            let document = json!({
                "room": room.name.as_str(),
                "epoch": line.epoch,
                "version": version(&now),
                "serving_number": line.serving_number,
                "next_number": line.next_number,
                "block_size": BLOCK_SIZE,
                "first_block": line.first_block,
                "counts": line.counts,
            });
            Ok(document.to_string().into_bytes())
        })
        .await
    }

    async fn public(
        &self,
        room: &str,
        visit: Visit<'_>,
        make: impl AsyncFnOnce(&Shared, &Room) -> Result<Vec<u8>, tidegate_store::rooms::RoomError>,
    ) -> DoorResponse {
        let shared = &*self.0;
        let Some(room) = shared.room(room) else { return problem(&shared.lacks()) };
        match make(shared, &room).await {
            Ok(body) => {
                let mut response = respond(StatusCode::OK, JSON, body);
                response.headers_mut().insert(CACHE_CONTROL, ONE_SECOND);
                share(response.headers_mut(), visit.origin(&room).ok().flatten());
                response
            }
            Err(error) => problem(&problem_of(&error)),
        }
    }

    /// The public keys of passes.
    pub(crate) fn jwks(&self) -> DoorResponse {
        let mut response = respond(StatusCode::OK, JSON, self.0.keys.tokens.jwks().into_bytes());
        response.headers_mut().insert(CACHE_CONTROL, FIVE_MINUTES);
        response
    }

    /// A browser asks whether a page of another origin may ask.
    pub(crate) fn preflight(&self, room: &str, visit: Visit<'_>) -> DoorResponse {
        let Some(room) = self.0.room(room) else { return problem(&self.0.lacks()) };
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        let origin = visit.origin(&room).ok().flatten();
        share(headers, origin);
        if origin.is_some() {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type"));
            headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        }
        response
    }
}

/// Places of one block of the line document.
const BLOCK_SIZE: u32 = 512;

impl Shared {
    async fn page(&self, room: &Room, visit: Visit<'_>) -> Result<DoorResponse, Refused> {
        let now = self.clock.now();
        let mut known = visit.device(&self.keys, now).map_err(plain)?;
        let query = visit.head.uri.query();
        let is_asked = visit.head.method == Method::GET && !visit.headers().contains_key(SEC_PURPOSE);
        if !known.is_known && is_asked && !self.was_sent_here(room, &visit, now) {
            // First the cookie, then the place: tabs that are opened together are one visitor by then.
            let here = visit.head.uri.path();
            let query = with_mark(query, &mark(&self.keys.visitors, &room.name, visit.client(), now));
            return Ok(with_cookies(
                see_other(&format!("{here}?{query}")),
                known.cookie.into_iter().collect(),
            ));
        }
        let mut visitor = visit.visitor(room, &self.keys, &known);
        let is_of_address = !known.is_known && room.one_seat_per == OneSeatPer::Device;
        if is_of_address {
            // A browser that keeps no cookies is known by its address, or it would have a seat for each time it looks.
            visitor = Ok(self.keys.visitors.of_address(&room.name, visit.client()));
            known.cookie = None;
        }
        let wanted = query_parameter_within(query, RETURN_TO, MAX_RETURN_TO_BYTES);
        let fields = Call { return_to: wanted.filter(|text| room.takes_to(text)), ..Call::default() };
        let is_sent_here = fields.return_to.is_some();
        let asked = Asked { visit, room, fields, known, visitor, now };
        let answered = self.place(&asked, is_asked).await?;
        let Answered { seat, mut cookies } = answered;
        let seat = match seat {
            Some(seat) => seat,
            // Who only looks is shown the page, and given no place.
            None => stranger(room, &self.store.status(&room.name).await.map_err(failed)?),
        };
        let goal = seat.return_to.as_deref().filter(|_| is_sent_here && is_asked && asked.known.is_known);
        let response = match (&seat.standing, goal) {
            (Standing::Admitted { .. }, Some(goal)) => see_other(goal),
            _ => room.page.of_seat(&shown(&seat).ok_or_else(unreadable)?, self.page_request(visit.headers())),
        };
        if is_of_address {
            // The seat of an address is no browser's: one that keeps cookies after all would be refused with them.
            cookies.clear();
        }
        Ok(with_cookies(response, cookies))
    }

    /// Whether a browser was given its cookies a moment ago, and comes back without them.
    fn was_sent_here(&self, room: &Room, visit: &Visit<'_>, now: Timestamp) -> bool {
        let mark = query_parameter_within(visit.head.uri.query(), SEEN, MAX_MARK_BYTES);
        mark.is_some_and(|mark| is_fresh(&self.keys.visitors, &room.name, visit.client(), now, &mark))
    }

    /// The visitor's place; a new one only where it has none and `is_asked`.
    async fn place(&self, asked: &Asked<'_>, is_asked: bool) -> Result<Answered, Refused> {
        match self.ticket(asked) {
            Ok(ticket) => {
                let mut answered = self.poll(asked).await?;
                let is_in = answered
                    .seat
                    .as_ref()
                    .is_some_and(|seat| matches!(seat.standing, Standing::Admitted { .. }));
                if is_in && is_asked {
                    let told = self.is_there(asked, &ticket).await?;
                    answered = self.seated(asked, told, Some(ticket.clone()), None).await?;
                }
                let is_over =
                    answered.seat.as_ref().is_some_and(|seat| matches!(seat.standing, Standing::Ended(_)));
                let is_known = self.watch.why_lapsed(&asked.room.name, &ticket.claims, asked.now).is_some();
                // What is over for long, or was never heard of, is no news to anybody.
                if is_over && !is_known && is_asked { self.join(asked).await } else { Ok(answered) }
            }
            Err((refused, _)) if refused.kind == ProblemType::Gone && is_asked => self.join(asked).await,
            Err((refused, cookies)) if refused.kind != ProblemType::Gone => Err((refused, cookies)),
            Err(_) => Ok(Answered::default()),
        }
    }

    pub(super) fn page_request<'h>(&self, headers: &'h HeaderMap) -> PageRequest<'h> {
        let language = headers.get(http::header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        let mut nonce = [0; 16];
        // A nonce that can be guessed weakens the policy; without random numbers no visitor gets this far.
        let _ = getrandom::fill(&mut nonce);
        PageRequest { accept_language: language, now_ms: self.clock.now().as_micros() / 1_000, nonce }
    }
}

impl Room {
    /// Whether visitors may be sent there.
    fn takes_to(&self, text: &str) -> bool {
        tidegate_wire::room::return_to::ReturnTo::parse(text, &self.hosts).is_ok()
    }
}

/// The seat as the page knows it: the fields of the wire, without the tokens.
fn shown(seat: &Seat) -> Option<web::Seat> {
    serde_json::from_value(serde_json::to_value(seat).ok()?).ok()
}

fn unreadable() -> Refused {
    plain(Problem::new(ProblemType::Internal, "the seat cannot be shown"))
}

/// The page for rooms that are not there.
pub(super) fn nowhere(pages: &Pages) -> Result<Page, web::PageError> {
    pages.of_room(Look {
        room: "-",
        title: "Tidegate",
        accent: None,
        template: None,
        asset_origins: &[],
        hosts: &AllowedHosts::default(),
        settings: None,
    })
}
