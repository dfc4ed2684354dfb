//! join, poll, heartbeat, claim, renew, leave.
//!
//! A call is read, asked of the room, and answered with the seat; what the browser is to keep goes into cookies. A form of
//! a page without scripts gets the same and is sent to a page.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    CACHE_CONTROL, LOCATION, SET_COOKIE, VARY,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use tidegate_core::room::{Answer, Command, QueueNumber, Refusal, Ticket, Visitor, poll};
use tidegate_core::time::{Micros, Timestamp};
use tidegate_store::rooms::{RoomError, Told};
use tidegate_wire::problem::{Problem, ProblemType};
use tidegate_wire::room::call::{Call, CallFormat};
use tidegate_wire::room::cookies::CookieName;
use tidegate_wire::room::return_to::ReturnTo;
use tidegate_wire::room::seat::Seat;
use tidegate_wire::room::token::TICKET_LIFE;
use tidegate_wire::room::visitor::VisitorId;

use super::answer::{Facts, Shown};
use super::definition::Room;
use super::tokens::core_ticket;
use super::visit::{Known, Visit, identity_of};
use super::{Rooms, Shared};
use crate::door::{DoorResponse, JSON, problem, respond};

/// What the browser keeps a ticket for, in seconds.
const TICKET_MAX_AGE_S: u32 = 30 * 24 * 3_600;
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// Leases are kept in whole seconds; a poll may be due that much sooner than it looks.
const LEASE_STEP: Micros = Micros::from_secs(1);

/// What a visitor asks of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoomCall {
    /// For a place.
    Join,
    /// How it stands.
    Poll,
    /// The same, from inside: somebody is there.
    Heartbeat,
    /// To come in, or for more time to.
    Claim,
    /// For the session anew, where sessions are renewable.
    Renew,
    /// For nothing any more.
    Leave,
}

/// A call that was read.
pub(super) struct Asked<'a> {
    pub(super) visit: Visit<'a>,
    pub(super) room: &'a Room,
    pub(super) fields: Call<'a>,
    pub(super) known: Known,
    /// The visitor as the room counts them, if that is known.
    pub(super) visitor: Result<VisitorId, Problem>,
    pub(super) now: Timestamp,
}

/// What is answered.
#[derive(Default)]
pub(super) struct Answered {
    /// `None` where nothing is to be said.
    pub(super) seat: Option<Seat>,
    pub(super) cookies: Vec<HeaderValue>,
}

impl Rooms {
    /// Answers a call whose body was read. `content_type` says how it is written.
    pub(crate) async fn call(
        &self,
        call: RoomCall,
        room: &str,
        visit: Visit<'_>,
        format: CallFormat,
        body: &Bytes,
    ) -> DoorResponse {
        let shared = &*self.0;
        let Some(room) = shared.room(room) else { return problem(&shared.lacks()) };
        let origin = match visit.origin(&room) {
            Ok(origin) => origin,
            Err(refused) => return problem(&refused),
        };
        let answered = match Call::parse(body, format) {
            Ok(fields) => shared.answer(call, visit, &room, fields).await,
            Err(error) => Err(plain(error.into())),
        };
        let mut response = match (format, answered) {
            (CallFormat::Form, answered) => shared.to_page(&room, call, answered),
            (CallFormat::Json, Ok(answered)) => of_answered(answered),
            (CallFormat::Json, Err((refused, cookies))) => with_cookies(problem(&refused), cookies),
        };
        share(response.headers_mut(), origin);
        response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
        response
    }
}

/// A problem, and what the browser is to forget.
pub(super) type Refused = (Box<Problem>, Vec<HeaderValue>);

/// A problem, and nothing to forget.
pub(super) fn plain(problem: Problem) -> Refused {
    (Box::new(problem), Vec::new())
}

impl Shared {
    async fn answer(
        &self,
        call: RoomCall,
        visit: Visit<'_>,
        room: &Room,
        fields: Call<'_>,
    ) -> Result<Answered, Refused> {
        let now = self.clock.now();
        let known = visit.device(&self.keys, now).map_err(plain)?;
        let visitor = visit.visitor(room, &self.keys, &known);
        let asked = Asked { visit, room, fields, known, visitor, now };
        match call {
            RoomCall::Join => self.join(&asked).await,
            RoomCall::Poll => self.poll(&asked).await,
            RoomCall::Heartbeat => self.heartbeat(&asked).await,
            RoomCall::Claim => self.claim(&asked).await,
            RoomCall::Renew => self.renew(&asked).await,
            RoomCall::Leave => self.leave(&asked).await,
        }
    }

    /// A place for the visitor: the one it has, or a new one.
    pub(super) async fn join(&self, asked: &Asked<'_>) -> Result<Answered, Refused> {
        let room = asked.room;
        if let Some(refused) = self.joins.refuse(asked.visit.client()).await {
            return Err(plain(refused));
        }
        let wanted = asked.fields.return_to.as_deref();
        let wanted = wanted.map(|text| ReturnTo::parse(text, &room.hosts)).transpose().map_err(|error| {
            plain(Problem {
                field: Some("return_to".to_owned()),
                ..Problem::new(ProblemType::InvalidField, error.to_string())
            })
        })?;
        let visitor = asked.visitor.clone().map_err(plain)?;
        let prefix = asked.visit.prefix(room, &self.keys);
        let seat = Visitor { identity: Some(identity_of(visitor)), prefix: Some(prefix) };
        let mut told = self.store.ask(&room.name, &Command::Join(seat)).await.map_err(failed)?;
        let Some(number) = number_of(&told.answer) else {
            return self.seated(asked, told, None, wanted.as_ref()).await;
        };
        let ticket = self.ticket_for(asked, visitor, number, &told);
        if matches!(told.answer, Answer::Admitted(admitted) if admitted.start == told.at) {
            room.counts.waits.observe(Micros::ZERO);
        }
        if matches!(told.answer, Answer::Admitted(admitted) if admitted.start < told.at) {
            told = self.is_there(asked, &ticket).await?;
        }
        self.seated(asked, told, Some(ticket), wanted.as_ref()).await
    }

    /// How the visitor stands. Only a poll that is due is asked of the room, since it keeps the place; others are looked up.
    pub(super) async fn poll(&self, asked: &Asked<'_>) -> Result<Answered, Refused> {
        let ticket = self.ticket(asked)?;
        let core = core_ticket(&ticket.claims);
        let mut told = self.store.look(&asked.room.name, &core).await.map_err(failed)?;
        if is_due(&told, &core, asked.room) {
            told = self.store.ask(&asked.room.name, &Command::Poll(core)).await.map_err(failed)?;
        }
        self.seated(asked, told, Some(ticket), None).await
    }

    /// Whoever comes back to a session is there: a page that was reloaded said that it goes.
    pub(super) async fn is_there(&self, asked: &Asked<'_>, ticket: &Shown) -> Result<Told, Refused> {
        let beat = Command::Heartbeat(core_ticket(&ticket.claims));
        self.store.ask(&asked.room.name, &beat).await.map_err(failed)
    }

    async fn heartbeat(&self, asked: &Asked<'_>) -> Result<Answered, Refused> {
        let (ticket, pass) = self.ticket_or_pass(asked)?;
        let core = core_ticket(&ticket.claims);
        let room = &asked.room.name;
        let mut told = self.store.ask(room, &Command::Heartbeat(core)).await.map_err(failed)?;
        // A room that has lost its state takes sessions for lost, or for places in its line.
        let lost = matches!(told.answer, Answer::Lapsed | Answer::Waiting(_));
        if let Some(pass) = pass.filter(|pass| lost && pass.queue_number == core.number.get())
            && let Some((_, back)) = self.taken_back(asked.room, &pass, &told, asked.now).await
        {
            told = back;
        }
        self.seated(asked, told, Some(ticket), None).await
    }

    async fn claim(&self, asked: &Asked<'_>) -> Result<Answered, Refused> {
        let ticket = self.ticket(asked)?;
        let core = core_ticket(&ticket.claims);
        let command = if asked.fields.extend { Command::ExtendClaim(core) } else { Command::Claim(core) };
        let told = self.store.ask(&asked.room.name, &command).await.map_err(failed)?;
        let conflict = |detail: String| Err(plain(Problem::new(ProblemType::Conflicting, detail)));
        match told.answer {
            Answer::Waiting(_) => conflict("it is not your turn yet: poll as you are told".to_owned()),
            Answer::Refused(refusal) => conflict(refusal.to_string()),
            Answer::Lapsed | Answer::Left => Err(plain(gone("your place is over: join again"))),
            Answer::Admitted(admitted) if admitted.start == told.at => {
                asked.room.counts.waits.observe(told.at.since(ticket.claims.joined_at));
                self.seated(asked, told, Some(ticket), None).await
            }
            _ => self.seated(asked, told, Some(ticket), None).await,
        }
    }

    /// The session's limit anew. A renewal that was asked for twice counts twice: the answer says how long the session lasts.
    async fn renew(&self, asked: &Asked<'_>) -> Result<Answered, Refused> {
        let (ticket, _) = self.ticket_or_pass(asked)?;
        let core = core_ticket(&ticket.claims);
        let told = self.store.ask(&asked.room.name, &Command::Renew(core)).await.map_err(failed)?;
        let conflict = |detail: String| Err(plain(Problem::new(ProblemType::Conflicting, detail)));
        match told.answer {
            Answer::Waiting(_) | Answer::Ready(_) => {
                conflict("there is no session yet that could be renewed".to_owned())
            }
            Answer::Refused(refusal @ Refusal::NoRenewalLeft) => conflict(refusal.to_string()),
            Answer::Lapsed | Answer::Left => Err(plain(gone("the session is over: join again"))),
            _ => self.seated(asked, told, Some(ticket), None).await,
        }
    }

    async fn leave(&self, asked: &Asked<'_>) -> Result<Answered, Refused> {
        let (ticket, _) = self.ticket_or_pass(asked)?;
        let core = core_ticket(&ticket.claims);
        if asked.fields.hint {
            self.hints.gone(self, &asked.room.name, core).await;
            return Ok(Answered::default());
        }
        self.store.ask(&asked.room.name, &Command::Leave(core)).await.map_err(failed)?;
        // The ticket stays, so that the page can say what became of it.
        Ok(Answered { seat: None, cookies: self.forget_pass(asked) })
    }

    /// The seat of a visitor, and the cookies that go with it.
    pub(super) async fn seated(
        &self,
        asked: &Asked<'_>,
        told: Told,
        ticket: Option<Shown>,
        wanted: Option<&ReturnTo>,
    ) -> Result<Answered, Refused> {
        let (room, visit) = (asked.room, &asked.visit);
        if let Answer::Refused(refusal @ (Refusal::Recovering | Refusal::StaleRoom)) = told.answer {
            return Err(plain(Problem::new(ProblemType::Overloaded, refusal.to_string())));
        }
        if let (Answer::Lapsed, Some(ticket)) = (&told.answer, &ticket) {
            self.learn_why(room, ticket, told.at).await;
        }
        let status = self.store.status(&room.name).await.map_err(failed)?;
        let mut cookies: Vec<HeaderValue> = asked.known.cookie.clone().into_iter().collect();
        let mut pass = None;
        if let Some(ticket) = &ticket {
            // A place that was shown by somebody else's word is not this browser's.
            let is_own = asked.visitor.as_ref().ok() == Some(&ticket.claims.visitor);
            if is_own && visit.cookie(CookieName::Ticket(&room.name)).ok().flatten() != Some(&ticket.token) {
                cookies.extend(visit.keep(CookieName::Ticket(&room.name), &ticket.token, TICKET_MAX_AGE_S));
            }
            if let Answer::Admitted(admitted) = &told.answer {
                let (signed, kept) = self.pass_cookies(asked, &ticket.claims, admitted, &told);
                cookies.extend(kept.into_iter().filter(|_| is_own));
                pass = Some(signed);
            }
        }
        if let Some(wanted) = wanted {
            cookies.extend(visit.keep_place(&room.name, wanted));
        }
        let return_to = wanted.cloned().or_else(|| visit.place(room)).or_else(|| room.return_to.clone());
        let return_to = return_to.map(|place| place.as_str().to_owned());
        let facts = Facts { room, told: &told, status: &status, ticket: ticket.as_ref(), pass, return_to };
        Ok(Answered { seat: Some(self.seat(facts)), cookies })
    }

    /// A session can be over before it has been ended, and then nobody knows why it is.
    async fn learn_why(&self, room: &Room, ticket: &Shown, now: Timestamp) {
        let number = QueueNumber::new(ticket.claims.queue_number);
        if self.watch.why_ended(&room.name, number, now).is_none() {
            // Where it cannot be asked, the place is over all the same.
            let _ = self.store.ask(&room.name, &Command::Turn).await;
        }
    }

    /// The answer to a form: a page.
    fn to_page(&self, room: &Room, call: RoomCall, answered: Result<Answered, Refused>) -> DoorResponse {
        let page = format!("/rooms/{}", room.name);
        let (goal, cookies) = match answered {
            Ok(Answered { seat: Some(seat), cookies }) => {
                let is_in = matches!(seat.standing, tidegate_wire::room::seat::Standing::Admitted { .. });
                let goal = seat.return_to.filter(|_| is_in && call == RoomCall::Claim);
                (goal.unwrap_or(page), cookies)
            }
            Ok(Answered { seat: None, cookies }) => (page, cookies),
            // The page says what is to be said about it.
            Err((refused, cookies)) if is_for_page(&refused) => (page, cookies),
            Err((refused, cookies)) => return with_cookies(problem(&refused), cookies),
        };
        with_cookies(see_other(&goal), cookies)
    }
}

fn is_for_page(refused: &Problem) -> bool {
    matches!(refused.kind, ProblemType::Conflicting | ProblemType::Gone)
}

/// Sends a browser to a place that was checked.
pub(super) fn see_other(goal: &str) -> DoorResponse {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SEE_OTHER;
    // A path of ours, or a parsed URL: visible ASCII.
    let goal = HeaderValue::from_str(goal).unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert(LOCATION, goal);
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    response
}

fn of_answered(answered: Answered) -> DoorResponse {
    let response = match answered.seat {
        Some(seat) => respond(StatusCode::OK, JSON, seat_json(&seat)),
        None => {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
    };
    with_cookies(response, answered.cookies)
}

pub(super) fn seat_json(seat: &Seat) -> Vec<u8> {
    // Strings, numbers and nothing else: it can be written.
    serde_json::to_vec(seat).unwrap_or_default()
}

/// The response, with what the browser is to keep.
pub(crate) fn with_cookies(mut response: DoorResponse, cookies: Vec<HeaderValue>) -> DoorResponse {
    for cookie in cookies {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

/// Lets the page of another origin read the answer.
pub(super) fn share(headers: &mut HeaderMap, origin: Option<&HeaderValue>) {
    headers.append(VARY, HeaderValue::from_static("origin"));
    let Some(origin) = origin else { return };
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after, date"));
}

pub(super) fn number_of(answer: &Answer) -> Option<QueueNumber> {
    match answer {
        Answer::Waiting(waiting) => Some(waiting.number),
        Answer::Ready(ready) => Some(ready.number),
        Answer::Admitted(admitted) => Some(admitted.number),
        Answer::Lapsed | Answer::Left | Answer::Done | Answer::Refused(_) => None,
    }
}

/// Whether a poll may change something, so that it has to be asked of the room.
pub(super) fn is_due(told: &Told, ticket: &Ticket, room: &Room) -> bool {
    match &told.answer {
        Answer::Waiting(waiting) => {
            let lease = poll::lease(waiting.poll_after, room.settings.spec().min_lease);
            let left = waiting.lease_until.since(told.at);
            left <= lease.saturating_sub(waiting.poll_after).saturating_add(LEASE_STEP)
        }
        // A room that has lost its state learns from tickets whose places those are.
        _ => ticket.epoch < told.epoch,
    }
}

pub(super) fn gone(detail: &str) -> Problem {
    Problem::new(ProblemType::Gone, detail.to_owned())
}

pub(super) fn no_such_room() -> Problem {
    Problem::new(ProblemType::NotFound, "there is no such room")
}

/// A store that cannot be asked.
#[expect(clippy::needless_pass_by_value, reason = "as map_err hands it on")]
pub(super) fn failed(error: RoomError) -> Refused {
    plain(problem_of(&error))
}

pub(super) fn problem_of(error: &RoomError) -> Problem {
    match error {
        RoomError::UnknownRoom => no_such_room(),
        RoomError::Overloaded => Problem::new(ProblemType::Overloaded, error.to_string()),
        error => {
            // What the store says is for the log, not for visitors.
            tracing::debug!(%error, "a waiting room could not be asked");
            Problem::new(ProblemType::StoreUnavailable, "the room cannot be asked now; try again shortly")
        }
    }
}

impl Shared {
    pub(super) fn room(&self, name: &str) -> Option<std::sync::Arc<Room>> {
        let name = tidegate_wire::room::name::RoomName::new(name).ok()?;
        self.rooms.load().get(&name).cloned()
    }

    /// Why a room is not shown: there is none of the name, or it is not known yet which rooms there are.
    pub(super) fn lacks(&self) -> Problem {
        if !self.may_lack.load(Ordering::Acquire) {
            return no_such_room();
        }
        let detail = "it is not known yet which rooms there are; try again shortly";
        Problem::new(ProblemType::StoreUnavailable, detail)
    }
}

/// A ticket can be kept for all the time that it counts.
const _: () = assert!(TICKET_LIFE.as_micros() == TICKET_MAX_AGE_S as u64 * 1_000_000);
