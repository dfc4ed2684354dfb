//! Which handler answers which path and method.

use std::net::IpAddr;

use http::{Method, Request};
use hyper::body::Incoming;
use tidegate_engine::Clock;
use tidegate_store::BucketStore;
use tidegate_wire::problem::{Problem, ProblemType};

use super::{DoorResponse, Shared, from_wire, handlers, to_wire};
use crate::net::PeerInfo;

/// The endpoints and the methods each takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint<'a> {
    Index,
    Check,
    Checks,
    Refund,
    Permits,
    Permit { id: &'a str },
    Stats { domain: &'a str, key: &'a str },
    UserStats { user: &'a str },
    DemoData,
    Health,
    Ready,
    CircuitBreaker,
}

impl<'a> Endpoint<'a> {
    fn of(path: &'a str) -> Option<Self> {
        Some(match path {
            "/v1/check" => Endpoint::Check,
            "/v1/checks" => Endpoint::Checks,
            "/v1/refund" => Endpoint::Refund,
            "/v1/permits" => Endpoint::Permits,
            "/health" => Endpoint::Health,
            "/ready" => Endpoint::Ready,
            "/circuit-breaker-status" => Endpoint::CircuitBreaker,
            "/api/data" => Endpoint::DemoData,
            "/" => Endpoint::Index,
            _ => return Self::of_path_with_names(path),
        })
    }

    fn of_path_with_names(path: &'a str) -> Option<Self> {
        let mut segments = path.strip_prefix('/')?.split('/');
        let named = [segments.next(), segments.next(), segments.next(), segments.next(), segments.next()];
        match named {
            [Some("v1"), Some("permits"), Some(id), None, None] => Some(Endpoint::Permit { id }),
            [Some("v1"), Some("stats"), Some(domain), Some(key), None] => {
                Some(Endpoint::Stats { domain, key })
            }
            [Some("stats"), Some(user), None, None, None] => Some(Endpoint::UserStats { user }),
            _ => None,
        }
    }

    /// What `Allow` says on 405.
    const fn methods(self) -> &'static str {
        match self {
            Endpoint::Check | Endpoint::Checks | Endpoint::Refund | Endpoint::Permits => "POST",
            Endpoint::Permit { .. } => "DELETE",
            Endpoint::Index
            | Endpoint::Stats { .. }
            | Endpoint::UserStats { .. }
            | Endpoint::DemoData
            | Endpoint::Health
            | Endpoint::Ready
            | Endpoint::CircuitBreaker => "GET, HEAD",
        }
    }

    fn takes(self, method: &Method) -> bool {
        self.methods().split(", ").any(|taken| taken == method.as_str())
    }
}

pub(super) async fn dispatch<S: BucketStore, C: Clock>(
    door: &Shared<S, C>,
    peer: PeerInfo,
    request: Request<Incoming>,
) -> DoorResponse {
    let (head, body) = request.into_parts();
    if let Err(refused) = from_wire::check_head(&head) {
        return to_wire::problem(&refused);
    }
    let Some(endpoint) = Endpoint::of(head.uri.path()) else {
        return to_wire::problem(&Problem::new(
            ProblemType::NotFound,
            "there is nothing here; GET / lists what there is",
        ));
    };
    if !endpoint.takes(&head.method) {
        return to_wire::method_not_allowed(endpoint.methods());
    }
    let peer: IpAddr = peer.address.ip();
    match endpoint {
        Endpoint::Check => handlers::check(door, body).await,
        Endpoint::Checks => handlers::checks(door, body).await,
        Endpoint::Refund => handlers::refund(door, body).await,
        Endpoint::Permits => handlers::acquire(door, body).await,
        Endpoint::Permit { id } => handlers::release(door, id).await,
        Endpoint::Stats { domain, key } => handlers::stats(door, domain, key).await,
        Endpoint::UserStats { user } => handlers::user_stats(door, user).await,
        Endpoint::DemoData => handlers::demo_data(door, peer, &head).await,
        Endpoint::Health => to_wire::health(),
        Endpoint::Ready => to_wire::ready(door.readiness.get(), door.engine.rules().version()),
        Endpoint::CircuitBreaker => to_wire::breaker(&door.engine.breaker_status()),
        Endpoint::Index => to_wire::index(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_endpoints() {
        assert_eq!(Endpoint::of("/v1/check"), Some(Endpoint::Check));
        assert_eq!(Endpoint::of("/v1/stats/pay/u1"), Some(Endpoint::Stats { domain: "pay", key: "u1" }));
        assert_eq!(Endpoint::of("/stats/u1"), Some(Endpoint::UserStats { user: "u1" }));
        assert_eq!(Endpoint::of("/v1/permits/abc"), Some(Endpoint::Permit { id: "abc" }));
        for path in
            ["", "/v1", "/v1/check/", "/v1/stats/a", "/v1/stats/a/b/c", "/stats/a/b", "/v1/permits/a/b"]
        {
            assert_eq!(Endpoint::of(path), None, "{path}");
        }
    }

    #[test]
    fn each_endpoint_takes_its_methods_only() {
        assert!(Endpoint::Check.takes(&Method::POST));
        assert!(!Endpoint::Check.takes(&Method::GET));
        assert!(Endpoint::Health.takes(&Method::HEAD));
    }
}
