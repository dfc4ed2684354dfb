//! Which handler answers which path and method.

use std::net::IpAddr;

use http::request::Parts;
use http::{Method, Request};
use hyper::body::Incoming;
use tidegate_engine::Clock;
use tidegate_store::BucketStore;
use tidegate_wire::problem::{Problem, ProblemType};

use super::{Shared, from_wire, handlers, to_wire};
use crate::door::{DoorResponse, key_of, problem};
use crate::gate::{Caller, Refused};
use crate::net::PeerInfo;
use crate::telemetry::trace::RequestTrace;

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
    Metrics,
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
            "/metrics" => Endpoint::Metrics,
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
            | Endpoint::Metrics
            | Endpoint::CircuitBreaker => "GET, HEAD",
        }
    }

    /// Whether it says what a tenant has or may do: it answers for the tenant of the request's key.
    const fn is_of_tenants(self) -> bool {
        match self {
            Endpoint::Check
            | Endpoint::Checks
            | Endpoint::Refund
            | Endpoint::Permits
            | Endpoint::Permit { .. }
            | Endpoint::Stats { .. }
            | Endpoint::UserStats { .. } => true,
            Endpoint::Index
            | Endpoint::DemoData
            | Endpoint::Health
            | Endpoint::Ready
            | Endpoint::Metrics
            | Endpoint::CircuitBreaker => false,
        }
    }

    /// The endpoint as the index writes it: a name for every path that leads there.
    const fn template(self) -> &'static str {
        match self {
            Endpoint::Index => "/",
            Endpoint::Check => "/v1/check",
            Endpoint::Checks => "/v1/checks",
            Endpoint::Refund => "/v1/refund",
            Endpoint::Permits => "/v1/permits",
            Endpoint::Permit { .. } => "/v1/permits/{id}",
            Endpoint::Stats { .. } => "/v1/stats/{domain}/{key}",
            Endpoint::UserStats { .. } => "/stats/{user}",
            Endpoint::DemoData => "/api/data",
            Endpoint::Health => "/health",
            Endpoint::Ready => "/ready",
            Endpoint::Metrics => "/metrics",
            Endpoint::CircuitBreaker => "/circuit-breaker-status",
        }
    }

    /// Whether machines ask it again and again, and a trace of it says nothing.
    const fn is_of_probes(self) -> bool {
        matches!(self, Endpoint::Health | Endpoint::Ready | Endpoint::Metrics | Endpoint::CircuitBreaker)
    }

    fn takes(self, method: &Method) -> bool {
        self.methods().split(", ").any(|taken| taken == method.as_str())
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
    Leads { to: endpoint.map(Endpoint::template), is_of_probes: endpoint.is_some_and(Endpoint::is_of_probes) }
}

pub(super) async fn dispatch<S: BucketStore, C: Clock>(
    door: &Shared<S, C>,
    peer: PeerInfo,
    request: Request<Incoming>,
    trace: Option<&RequestTrace>,
) -> DoorResponse {
    let (head, body) = request.into_parts();
    if let Err(refused) = from_wire::check_head(&head) {
        return problem(&refused);
    }
    let Some(endpoint) = Endpoint::of(head.uri.path()) else {
        return problem(&Problem::new(
            ProblemType::NotFound,
            "there is nothing here; GET / lists what there is",
        ));
    };
    if !endpoint.takes(&head.method) {
        return to_wire::method_not_allowed(endpoint.methods());
    }
    let caller = if endpoint.is_of_tenants() {
        match caller(door, &head) {
            Ok(caller) => caller,
            Err(refused) => return problem(&refused),
        }
    } else {
        Caller::default()
    }
    .traced(trace);
    let peer: IpAddr = peer.address.ip();
    match endpoint {
        Endpoint::Check => handlers::check(door, &caller, body).await,
        Endpoint::Checks => handlers::checks(door, &caller, body).await,
        Endpoint::Refund => handlers::refund(door, &caller, body).await,
        Endpoint::Permits => handlers::acquire(door, &caller, body).await,
        Endpoint::Permit { id } => handlers::release(door, &caller, id).await,
        Endpoint::Stats { domain, key } => handlers::stats(door, &caller, domain, key).await,
        Endpoint::UserStats { user } => handlers::user_stats(door, &caller, user).await,
        Endpoint::DemoData => handlers::demo_data(door, &caller, peer, &head).await,
        Endpoint::Health => to_wire::health(),
        Endpoint::Ready => to_wire::ready(door.readiness.get(), &door.gate),
        Endpoint::Metrics => to_wire::metrics(&door.gate),
        Endpoint::CircuitBreaker => to_wire::breaker(&door.gate.engine().breaker_status()),
        Endpoint::Index => to_wire::index(),
    }
}

/// Whose request it is.
fn caller<S: BucketStore, C: Clock>(door: &Shared<S, C>, head: &Parts) -> Result<Caller, Problem> {
    let key = if door.gate.knows_keys() { key_of(head)? } else { None };
    door.gate.caller(key).map_err(|refused| match refused {
        Refused::NoKey => Problem::new(
            ProblemType::Unauthorized,
            "send an API key: Authorization: Bearer tg_…, or X-API-Key",
        ),
        Refused::BadKey(refusal) => Problem::new(ProblemType::Unauthorized, refusal.to_string()),
        Refused::NotForChecks => Problem::new(
            ProblemType::Forbidden,
            "this key may not ask for decisions: it needs the scope check",
        ),
    })
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
