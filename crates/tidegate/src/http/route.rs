//! Which handler answers which path and method.

use std::net::IpAddr;

use http::header::CACHE_CONTROL;
use http::request::Parts;
use http::{HeaderValue, Method, Request};
use http_body_util::Either;
use hyper::body::Incoming;
use tidegate_engine::Clock;
use tidegate_store::BucketStore;
use tidegate_wire::problem::{Problem, ProblemType};

use super::from_wire::Fields;
use super::{HttpResponse, Shared, api_docs, authz, from_wire, handlers, rooms, to_wire};
use crate::door::{DoorResponse, answer, keep_head_only, key_of, key_of_proxy, problem};
use crate::gate::Caller;
use crate::net::PeerInfo;
use crate::rooms::RoomCall;
use crate::telemetry::trace::RequestTrace;

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Declares the endpoints, each with its path, so that none can be left out where all are gone through. Their order is that in
/// which the documents show them.
macro_rules! endpoints {
    ($($name:ident $({ $($field:ident),* })? => $path:literal,)*) => {
        /// What a path leads to.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Endpoint<'a> {
            $(#[doc = $path] $name $({ $($field: &'a str),* })?,)*
        }

        impl Endpoint<'static> {
            /// Every endpoint, its names as they stand in its path.
            pub(super) const ALL: &'static [Self] =
                &[$(Endpoint::$name $({ $($field: concat!("{", stringify!($field), "}")),* })?,)*];
        }

        impl Endpoint<'_> {
            /// The path, with names in braces.
            pub(super) const fn path(self) -> &'static str {
                match self {
                    $(Endpoint::$name $({ $($field: _),* })? => $path,)*
                }
            }
        }
    };
}

endpoints! {
    Index => "/",
    Check => "/v1/check",
    Checks => "/v1/checks",
    Refund => "/v1/refund",
    Permits => "/v1/permits",
    Permit { id } => "/v1/permits/{id}",
    Authz => "/v1/authz",
    Stats { domain, key } => "/v1/stats/{domain}/{key}",
    UserStats { user } => "/stats/{user}",
    DemoData => "/api/data",
    RoomJoin { room } => "/v1/rooms/{room}/join",
    RoomPoll { room } => "/v1/rooms/{room}/poll",
    RoomHeartbeat { room } => "/v1/rooms/{room}/heartbeat",
    RoomClaim { room } => "/v1/rooms/{room}/claim",
    RoomRenew { room } => "/v1/rooms/{room}/renew",
    RoomLeave { room } => "/v1/rooms/{room}/leave",
    RoomEvents { room } => "/v1/rooms/{room}/events",
    RoomStatus { room } => "/v1/rooms/{room}/status",
    RoomLine { room } => "/v1/rooms/{room}/line",
    RoomPage { room } => "/rooms/{room}",
    RoomFile { file } => "/rooms/assets/{file}",
    Snippet => "/tidegate.js",
    Jwks => "/.well-known/jwks.json",
    Demo => "/demo",
    Health => "/health",
    Ready => "/ready",
    Metrics => "/metrics",
    CircuitBreaker => "/circuit-breaker-status",
    OpenApi => "/openapi.json",
    SwaggerUi => "/docs",
    Redoc => "/redoc",
    DocsFile { file } => "/docs/{file}",
}

impl<'a> Endpoint<'a> {
    fn of(path: &'a str) -> Option<Self> {
        Some(match path {
            "/v1/authz" => Endpoint::Authz,
            "/v1/check" => Endpoint::Check,
            "/v1/checks" => Endpoint::Checks,
            "/v1/refund" => Endpoint::Refund,
            "/v1/permits" => Endpoint::Permits,
            "/tidegate.js" => Endpoint::Snippet,
            "/.well-known/jwks.json" => Endpoint::Jwks,
            "/demo" => Endpoint::Demo,
            "/health" => Endpoint::Health,
            "/ready" => Endpoint::Ready,
            "/metrics" => Endpoint::Metrics,
            "/circuit-breaker-status" => Endpoint::CircuitBreaker,
            "/api/data" => Endpoint::DemoData,
            "/openapi.json" => Endpoint::OpenApi,
            "/docs" => Endpoint::SwaggerUi,
            "/redoc" => Endpoint::Redoc,
            "/" => Endpoint::Index,
            _ => return Self::of_path_with_names(path),
        })
    }

    fn of_path_with_names(path: &'a str) -> Option<Self> {
        let mut segments = path.strip_prefix('/')?.split('/');
        let named = [segments.next(), segments.next(), segments.next(), segments.next(), segments.next()];
        match named {
            [Some("v1"), Some("rooms"), Some(room), Some(call), None] => Self::of_room(room, call),
            [Some("rooms"), Some("assets"), Some(file), None, None] => Some(Endpoint::RoomFile { file }),
            [Some("rooms"), Some(room), None, None, None] => Some(Endpoint::RoomPage { room }),
            [Some("v1"), Some("permits"), Some(id), None, None] => Some(Endpoint::Permit { id }),
            [Some("v1"), Some("stats"), Some(domain), Some(key), None] => {
                Some(Endpoint::Stats { domain, key })
            }
            [Some("stats"), Some(user), None, None, None] => Some(Endpoint::UserStats { user }),
            [Some("docs"), Some(file), None, None, None] => Some(Endpoint::DocsFile { file }),
            _ => None,
        }
    }

    fn of_room(room: &'a str, call: &str) -> Option<Self> {
        Some(match call {
            "join" => Endpoint::RoomJoin { room },
            "poll" => Endpoint::RoomPoll { room },
            "heartbeat" => Endpoint::RoomHeartbeat { room },
            "claim" => Endpoint::RoomClaim { room },
            "renew" => Endpoint::RoomRenew { room },
            "leave" => Endpoint::RoomLeave { room },
            "events" => Endpoint::RoomEvents { room },
            "status" => Endpoint::RoomStatus { room },
            "line" => Endpoint::RoomLine { room },
            _ => return None,
        })
    }

    /// What `Allow` says on 405.
    pub(super) const fn methods(self) -> &'static str {
        match self {
            Endpoint::Authz => "*",
            Endpoint::Check | Endpoint::Checks | Endpoint::Refund | Endpoint::Permits => "POST",
            Endpoint::Permit { .. } => "DELETE",
            Endpoint::RoomJoin { .. }
            | Endpoint::RoomPoll { .. }
            | Endpoint::RoomHeartbeat { .. }
            | Endpoint::RoomClaim { .. }
            | Endpoint::RoomRenew { .. }
            | Endpoint::RoomLeave { .. } => "POST, OPTIONS",
            Endpoint::RoomEvents { .. } => "GET, OPTIONS",
            Endpoint::RoomStatus { .. } | Endpoint::RoomLine { .. } => "GET, HEAD, OPTIONS",
            Endpoint::Index
            | Endpoint::Stats { .. }
            | Endpoint::UserStats { .. }
            | Endpoint::DemoData
            | Endpoint::RoomPage { .. }
            | Endpoint::RoomFile { .. }
            | Endpoint::Snippet
            | Endpoint::Jwks
            | Endpoint::Demo
            | Endpoint::Health
            | Endpoint::Ready
            | Endpoint::Metrics
            | Endpoint::CircuitBreaker
            | Endpoint::OpenApi
            | Endpoint::SwaggerUi
            | Endpoint::Redoc
            | Endpoint::DocsFile { .. } => "GET, HEAD",
        }
    }

    /// Whether it says what a tenant has or may do: it answers for the tenant of the request's key.
    pub(super) const fn is_of_tenants(self) -> bool {
        match self {
            Endpoint::Authz
            | Endpoint::Check
            | Endpoint::Checks
            | Endpoint::Refund
            | Endpoint::Permits
            | Endpoint::Permit { .. }
            | Endpoint::Stats { .. }
            | Endpoint::UserStats { .. } => true,
            // Visitors of rooms are nobody's clients and have no key.
            Endpoint::RoomJoin { .. }
            | Endpoint::RoomPoll { .. }
            | Endpoint::RoomHeartbeat { .. }
            | Endpoint::RoomClaim { .. }
            | Endpoint::RoomRenew { .. }
            | Endpoint::RoomLeave { .. }
            | Endpoint::RoomEvents { .. }
            | Endpoint::RoomStatus { .. }
            | Endpoint::RoomLine { .. }
            | Endpoint::RoomPage { .. }
            | Endpoint::RoomFile { .. }
            | Endpoint::Snippet
            | Endpoint::Jwks
            | Endpoint::Demo
            | Endpoint::Index
            | Endpoint::DemoData
            | Endpoint::Health
            | Endpoint::Ready
            | Endpoint::Metrics
            | Endpoint::CircuitBreaker
            | Endpoint::OpenApi
            | Endpoint::SwaggerUi
            | Endpoint::Redoc
            | Endpoint::DocsFile { .. } => false,
        }
    }

    /// Whether visitors of waiting rooms ask it.
    const fn is_of_rooms(self) -> bool {
        matches!(
            self,
            Endpoint::RoomJoin { .. }
                | Endpoint::RoomPoll { .. }
                | Endpoint::RoomHeartbeat { .. }
                | Endpoint::RoomClaim { .. }
                | Endpoint::RoomRenew { .. }
                | Endpoint::RoomLeave { .. }
                | Endpoint::RoomEvents { .. }
                | Endpoint::RoomStatus { .. }
                | Endpoint::RoomLine { .. }
                | Endpoint::RoomPage { .. }
                | Endpoint::RoomFile { .. }
                | Endpoint::Snippet
                | Endpoint::Jwks
                | Endpoint::Demo
        )
    }

    /// Whether machines ask it again and again, and a trace of it says nothing.
    const fn is_of_probes(self) -> bool {
        matches!(self, Endpoint::Health | Endpoint::Ready | Endpoint::Metrics | Endpoint::CircuitBreaker)
    }

    /// Proxies ask with the method that they have.
    fn takes(self, method: &Method) -> bool {
        matches!(self, Endpoint::Authz) || self.methods().split(", ").any(|taken| taken == method.as_str())
    }
}

/// What a path leads to, for traces and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leads {
    /// The endpoint as the index writes it; `None` where there is none.
    pub(super) to: Option<&'static str>,
    /// Whether machines ask it again and again.
    pub(super) is_of_probes: bool,
}

pub(super) fn leads(path: &str) -> Leads {
    let endpoint = Endpoint::of(path);
    Leads { to: endpoint.map(Endpoint::path), is_of_probes: endpoint.is_some_and(Endpoint::is_of_probes) }
}

pub(super) async fn dispatch<S: BucketStore, C: Clock>(
    door: &Shared<S, C>,
    peer: PeerInfo,
    request: Request<Incoming>,
    trace: Option<&RequestTrace>,
) -> HttpResponse {
    let (head, body) = request.into_parts();
    let endpoint = Endpoint::of(head.uri.path());
    if let Some(Endpoint::RoomEvents { room }) = endpoint
        && head.method == Method::GET
        && from_wire::check_head(&head, Fields::Own).is_ok()
    {
        let mut answered = rooms::events(door, peer.address.ip(), &head, room).await;
        answered.headers_mut().entry(CACHE_CONTROL).or_insert(NO_STORE);
        return answered;
    }
    let mut answered = answer(door, peer, endpoint, &head, body, trace).await;
    if endpoint == Some(Endpoint::Authz) {
        answered = authz::as_wanted(answered, head.uri.query());
    }
    if endpoint.is_some_and(Endpoint::is_of_rooms) {
        // A place in a line is nobody else's.
        answered.headers_mut().entry(CACHE_CONTROL).or_insert(NO_STORE);
    }
    if head.method == Method::HEAD {
        keep_head_only(&mut answered);
    }
    answered.map(Either::Left)
}

async fn answer<S: BucketStore, C: Clock>(
    door: &Shared<S, C>,
    peer: PeerInfo,
    endpoint: Option<Endpoint<'_>>,
    head: &Parts,
    body: Incoming,
    trace: Option<&RequestTrace>,
) -> DoorResponse {
    let fields = if endpoint == Some(Endpoint::Authz) { Fields::PassedOn } else { Fields::Own };
    if let Err(refused) = from_wire::check_head(head, fields) {
        return problem(&refused);
    }
    let Some(endpoint) = endpoint else {
        return problem(&Problem::new(
            ProblemType::NotFound,
            "there is nothing here; GET / lists what there is",
        ));
    };
    if !endpoint.takes(&head.method) {
        return to_wire::method_not_allowed(endpoint.methods());
    }
    let caller = if endpoint.is_of_tenants() {
        match caller(door, endpoint, head) {
            Ok(caller) => caller,
            Err(refused) => return problem(&refused),
        }
    } else {
        Caller::default()
    }
    .traced(trace);
    let peer: IpAddr = peer.address.ip();
    match endpoint {
        Endpoint::Authz => authz::authz(door, &caller, peer, head).await,
        Endpoint::Check => handlers::check(door, &caller, body).await,
        Endpoint::Checks => handlers::checks(door, &caller, body).await,
        Endpoint::Refund => handlers::refund(door, &caller, body).await,
        Endpoint::Permits => handlers::acquire(door, &caller, body).await,
        Endpoint::Permit { id } => handlers::release(door, &caller, id).await,
        Endpoint::Stats { domain, key } => handlers::stats(door, &caller, domain, key).await,
        Endpoint::UserStats { user } => handlers::user_stats(door, &caller, user).await,
        Endpoint::DemoData => handlers::demo_data(door, &caller, peer, head).await,
        Endpoint::RoomJoin { room } => rooms::call(door, peer, head, body, room, RoomCall::Join).await,
        Endpoint::RoomPoll { room } => rooms::call(door, peer, head, body, room, RoomCall::Poll).await,
        Endpoint::RoomHeartbeat { room } => {
            rooms::call(door, peer, head, body, room, RoomCall::Heartbeat).await
        }
        Endpoint::RoomClaim { room } => rooms::call(door, peer, head, body, room, RoomCall::Claim).await,
        Endpoint::RoomRenew { room } => rooms::call(door, peer, head, body, room, RoomCall::Renew).await,
        Endpoint::RoomLeave { room } => rooms::call(door, peer, head, body, room, RoomCall::Leave).await,
        Endpoint::RoomEvents { room } => rooms::preflight(door, peer, head, room),
        Endpoint::RoomStatus { room } => rooms::status(door, peer, head, room).await,
        Endpoint::RoomLine { room } => rooms::line(door, peer, head, room).await,
        Endpoint::RoomPage { room } => rooms::page(door, peer, head, room).await,
        Endpoint::RoomFile { file } => rooms::file(door, head, file),
        Endpoint::Snippet => rooms::snippet(door, head),
        Endpoint::Jwks => rooms::jwks(door),
        Endpoint::Demo => rooms::demo(door),
        Endpoint::Health => to_wire::health(),
        Endpoint::Ready => to_wire::ready(door.readiness.get(), &door.gate),
        Endpoint::Metrics => handlers::metrics(door, head),
        Endpoint::CircuitBreaker => to_wire::breaker(&door.gate.engine().breaker_status()),
        Endpoint::Index => to_wire::index(),
        Endpoint::OpenApi => api_docs::document(&head.headers),
        Endpoint::SwaggerUi => api_docs::swagger_ui(&head.headers),
        Endpoint::Redoc => api_docs::redoc(&head.headers),
        Endpoint::DocsFile { file } => api_docs::file(file, &head.headers),
    }
}

/// Whose request it is.
fn caller<S: BucketStore, C: Clock>(
    door: &Shared<S, C>,
    endpoint: Endpoint<'_>,
    head: &Parts,
) -> Result<Caller, Problem> {
    let key = match endpoint {
        _ if !door.gate.knows_keys() => None,
        Endpoint::Authz => key_of_proxy(head, door.gate.needs_key())?,
        _ => key_of(head)?,
    };
    door.gate.caller(key).map_err(answer::refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_endpoints() {
        assert_eq!(Endpoint::of("/v1/check"), Some(Endpoint::Check));
        assert_eq!(Endpoint::of("/v1/authz"), Some(Endpoint::Authz));
        assert_eq!(Endpoint::of("/v1/stats/pay/u1"), Some(Endpoint::Stats { domain: "pay", key: "u1" }));
        assert_eq!(Endpoint::of("/stats/u1"), Some(Endpoint::UserStats { user: "u1" }));
        assert_eq!(Endpoint::of("/v1/permits/abc"), Some(Endpoint::Permit { id: "abc" }));
        for path in [
            "",
            "/v1",
            "/v1/check/",
            "/v1/authz/",
            "/v1/stats/a",
            "/v1/stats/a/b/c",
            "/stats/a/b",
            "/v1/permits/a/b",
        ] {
            assert_eq!(Endpoint::of(path), None, "{path}");
        }
    }

    #[test]
    fn every_endpoint_is_found_by_its_path() {
        for endpoint in Endpoint::ALL {
            assert_eq!(Endpoint::of(endpoint.path()), Some(*endpoint), "{endpoint:?}");
        }
    }

    #[test]
    fn each_endpoint_takes_its_methods_only() {
        assert!(Endpoint::Check.takes(&Method::POST));
        assert!(!Endpoint::Check.takes(&Method::GET));
        assert!(Endpoint::Health.takes(&Method::HEAD));
        assert!(Endpoint::Authz.takes(&Method::from_bytes(b"PROPFIND").unwrap()));
    }
}
