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
    let body = match read_bounded(body, MAX_CALL_BODY_BYTES, door.options.body_timeout).await {
        Ok(body) => body,
        Err(refused) => return problem(&refused),
    };
    // Whoever leaves or comes in makes room for others.
    let priority = match call {
        RoomCall::Leave | RoomCall::Claim => Priority::High,
        RoomCall::Heartbeat => Priority::High,
        RoomCall::Join | RoomCall::Poll => Priority::Normal,
    };
    let Some(_inside) = door.options.overload.enter(priority) else { return shed() };
    match rooms(door) {
        Ok(rooms) => rooms.call(call, room, visit(door, peer, head), format, &body).await,
        Err(none) => none,
    }
}

pub(super) fn preflight<S, C>(door: &Shared<S, C>, peer: IpAddr, head: &Parts, room: &str) -> DoorResponse {
    match rooms(door) {
        Ok(rooms) => rooms.preflight(room, visit(door, peer, head)),
        Err(none) => none,
    }
}

pub(super) async fn events<S, C>(
    door: &Shared<S, C>,
    peer: IpAddr,
    head: &Parts,
    room: &str,
) -> HttpResponse {
    let Some(_inside) = door.options.overload.enter(Priority::Low) else { return shed().map(Either::Left) };
    match rooms(door) {
        Ok(rooms) => match rooms.events(room, visit(door, peer, head)).await {
            Ok(stream) => stream.map(Either::Right),
            Err(refused) => refused.map(Either::Left),
        },
        Err(none) => none.map(Either::Left),
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
    match rooms(door) {
        Ok(rooms) => rooms.status(room, visit(door, peer, head)).await,
        Err(none) => none,
    }
}

pub(super) async fn line<S, C>(door: &Shared<S, C>, peer: IpAddr, head: &Parts, room: &str) -> DoorResponse {
    if head.method == Method::OPTIONS {
        return preflight(door, peer, head, room);
    }
    let Some(_inside) = door.options.overload.enter(Priority::Low) else { return shed() };
    match rooms(door) {
        Ok(rooms) => rooms.line(room, visit(door, peer, head)).await,
        Err(none) => none,
    }
}

pub(super) async fn page<S, C>(door: &Shared<S, C>, peer: IpAddr, head: &Parts, room: &str) -> DoorResponse {
    let Some(_inside) = door.options.overload.enter(Priority::Normal) else { return shed() };
    match rooms(door) {
        Ok(rooms) => rooms.page(room, visit(door, peer, head)).await,
        Err(none) => none,
    }
}

pub(super) fn file<S, C>(door: &Shared<S, C>, head: &Parts, file: &str) -> DoorResponse {
    let none = || problem(&Problem::new(ProblemType::NotFound, "there is no such file"));
    rooms(door).map_or_else(|none| none, |_| web::asset(file, &head.headers).unwrap_or_else(none))
}

pub(super) fn snippet<S, C>(door: &Shared<S, C>, head: &Parts) -> DoorResponse {
    rooms(door).map_or_else(|none| none, |_| web::snippet(&head.headers))
}

pub(super) fn jwks<S, C>(door: &Shared<S, C>) -> DoorResponse {
    rooms(door).map_or_else(|none| none, Rooms::jwks)
}

pub(super) fn demo<S, C>(door: &Shared<S, C>) -> DoorResponse {
    let none = || problem(&Problem::new(ProblemType::NotFound, "there is no room demo, so there is no demo"));
    rooms(door).map_or_else(|none| none, |rooms| rooms.demo().unwrap_or_else(none))
}

pub(super) fn visit<'a, S, C>(door: &'a Shared<S, C>, peer: IpAddr, head: &'a Parts) -> Visit<'a> {
    Visit { head, peer, identity: &door.options.identity }
}

/// The rooms of this node.
pub(super) fn rooms<S, C>(door: &Shared<S, C>) -> Result<&Rooms, DoorResponse> {
    let none = || {
        let detail = "this node has no waiting rooms: its rule file may define some under rooms";
        problem(&Problem::new(ProblemType::NotFound, detail))
    };
    door.rooms.as_ref().ok_or_else(none)
}
