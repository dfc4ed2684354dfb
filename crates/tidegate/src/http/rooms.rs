//! What visitors of waiting rooms ask: read here, answered by [`crate::rooms`].

use std::net::IpAddr;

use http::Method;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http_body_util::Either;
use hyper::body::Incoming;
use tidegate_wire::problem::{Problem, ProblemType};
use tidegate_wire::room::call::{CallFormat, MAX_CALL_BODY_BYTES};

use super::handlers::shed;
use super::{HttpResponse, Shared};
use crate::door::overload::Priority;
use crate::door::{DoorResponse, problem, read_bounded};
use crate::rooms::{RoomCall, Rooms, Visit, web};

pub(super) async fn call<S, C>(
    door: &Shared<S, C>,
    peer: IpAddr,
    head: &Parts,
    body: Incoming,
    room: &str,
    call: RoomCall,
) -> DoorResponse {
    if head.method == Method::OPTIONS {
        return preflight(door, peer, head, room);
    }
    let content_type = head.headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    let Some(format) = CallFormat::of_content_type(content_type) else {
        let detail = "send application/json, text/plain with JSON, or application/x-www-form-urlencoded";
        return problem(&Problem::new(ProblemType::UnsupportedMediaType, detail));
    };
    let bodies = door.options.overload.bodies();
    let body = match read_bounded(body, MAX_CALL_BODY_BYTES, door.options.body_timeout, bodies).await {
        Ok(body) => body,
        Err(refused) => return problem(&refused),
    };
    // Whoever leaves or comes in makes room for others.
    let priority = match call {
        RoomCall::Leave | RoomCall::Claim => Priority::High,
        RoomCall::Heartbeat | RoomCall::Renew => Priority::High,
        RoomCall::Join | RoomCall::Poll => Priority::Normal,
    };
    let Some(_inside) = door.options.overload.enter(priority) else { return shed() };
    match &door.rooms {
        Some(rooms) => rooms.call(call, room, visit(door, peer, head), format, &body).await,
        None => no_rooms(),
    }
}

pub(super) fn preflight<S, C>(door: &Shared<S, C>, peer: IpAddr, head: &Parts, room: &str) -> DoorResponse {
    match &door.rooms {
        Some(rooms) => rooms.preflight(room, visit(door, peer, head)),
        None => no_rooms(),
    }
}

pub(super) async fn events<S, C>(
    door: &Shared<S, C>,
    peer: IpAddr,
    head: &Parts,
    room: &str,
) -> HttpResponse {
    let Some(_inside) = door.options.overload.enter(Priority::Low) else { return shed().map(Either::Left) };
    match &door.rooms {
        Some(rooms) => match rooms.events(room, visit(door, peer, head)).await {
            Ok(stream) => stream.map(Either::Right),
            Err(refused) => refused.map(Either::Left),
        },
        None => no_rooms().map(Either::Left),
    }
}

pub(super) async fn status<S, C>(
    door: &Shared<S, C>,
    peer: IpAddr,
    head: &Parts,
    room: &str,
) -> DoorResponse {
    if head.method == Method::OPTIONS {
        return preflight(door, peer, head, room);
    }
    let Some(_inside) = door.options.overload.enter(Priority::Low) else { return shed() };
    match &door.rooms {
        Some(rooms) => rooms.status(room, visit(door, peer, head)).await,
        None => no_rooms(),
    }
}

pub(super) async fn line<S, C>(door: &Shared<S, C>, peer: IpAddr, head: &Parts, room: &str) -> DoorResponse {
    if head.method == Method::OPTIONS {
        return preflight(door, peer, head, room);
    }
    let Some(_inside) = door.options.overload.enter(Priority::Low) else { return shed() };
    match &door.rooms {
        Some(rooms) => rooms.line(room, visit(door, peer, head)).await,
        None => no_rooms(),
    }
}

pub(super) async fn page<S, C>(door: &Shared<S, C>, peer: IpAddr, head: &Parts, room: &str) -> DoorResponse {
    let Some(_inside) = door.options.overload.enter(Priority::Normal) else { return shed() };
    match &door.rooms {
        Some(rooms) => rooms.page(room, visit(door, peer, head)).await,
        None => no_rooms(),
    }
}

pub(super) fn file<S, C>(door: &Shared<S, C>, head: &Parts, file: &str) -> DoorResponse {
    let none = || problem(&Problem::new(ProblemType::NotFound, "there is no such file"));
    door.rooms.as_ref().and_then(|_| web::asset(file, &head.headers)).unwrap_or_else(none)
}

pub(super) fn snippet<S, C>(door: &Shared<S, C>, head: &Parts) -> DoorResponse {
    door.rooms.as_ref().map_or_else(no_rooms, |_| web::snippet(&head.headers))
}

pub(super) fn jwks<S, C>(door: &Shared<S, C>) -> DoorResponse {
    door.rooms.as_ref().map_or_else(no_rooms, Rooms::jwks)
}

pub(super) fn demo<S, C>(door: &Shared<S, C>) -> DoorResponse {
    let none = || problem(&Problem::new(ProblemType::NotFound, "there is no room demo, so there is no demo"));
    door.rooms.as_ref().and_then(Rooms::demo).unwrap_or_else(none)
}

pub(super) fn visit<'a, S, C>(door: &'a Shared<S, C>, peer: IpAddr, head: &'a Parts) -> Visit<'a> {
    Visit { head, peer, identity: &door.options.identity }
}

/// What is answered where there are no rooms.
pub(super) fn no_rooms() -> DoorResponse {
    problem(&Problem::new(ProblemType::NotFound, "this node has no waiting rooms"))
}
