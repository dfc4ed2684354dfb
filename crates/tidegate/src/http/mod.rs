//! The HTTP door: requests in, decisions out.
//!
//! ```text
//! route     which handler answers which path and method
//! handlers  one function per endpoint
//! authz     the endpoint that proxies ask
//! from_wire what a request says about itself, or a proxy about another one: address, path, host
//! to_wire   decisions and problems as responses: body, status, header fields
//! ```
//!
//! Nothing is decided here. A handler reads, asks the engine, and writes.

mod authz;
mod from_wire;
mod handlers;
mod route;
mod to_wire;

use std::convert::Infallible;
use std::sync::{Arc, Once};
use std::time::Duration;

use http::{Method, Request};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use tidegate_engine::Clock;
use tidegate_store::BucketStore;
use tidegate_wire::correlation::CorrelationId;
use tidegate_wire::identity::IdentityPolicy;

use crate::door::overload::Overload;
use crate::door::{DoorResponse, answer, correlation_value, keep_head_only};
use crate::gate::Gate;
use crate::net::PeerInfo;

pub use crate::door::{LegacyFields, Readiness};

/// How the door behaves.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// How a client's address is found.
    pub identity: IdentityPolicy,
    /// Whether `X-RateLimit-Limit`, `-Remaining` and `-Reset` are sent beside the current fields.
    pub legacy_fields: LegacyFields,
    /// The longest time a request's body may take.
    pub body_timeout: Duration,
    /// How many requests are decided at one time; the others are shed.
    pub overload: Overload,
    /// Those of the other doors, of which `/metrics` tells as well.
    pub other_doors: Vec<Overload>,
}

/// The HTTP door of one engine. Clones share everything.
#[derive(Debug)]
pub struct HttpDoor<S, C> {
    shared: Arc<Shared<S, C>>,
}

#[derive(Debug)]
struct Shared<S, C> {
    gate: Gate<S, C>,
    options: HttpOptions,
    readiness: Readiness,
    /// Done when somebody who is no trusted proxy has described another request; said once.
    stranger: Once,
}

impl<S, C> Clone for HttpDoor<S, C> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<S: BucketStore, C: Clock> HttpDoor<S, C> {
    /// A door to an engine, or to a gate before it.
    #[must_use]
    pub fn new(gate: impl Into<Gate<S, C>>, options: HttpOptions, readiness: Readiness) -> Self {
        Self { shared: Arc::new(Shared { gate: gate.into(), options, readiness, stranger: Once::new() }) }
    }

    /// The service of one connection.
    pub fn service(
        &self,
        peer: PeerInfo,
    ) -> impl Service<
        Request<Incoming>,
        Response = DoorResponse,
        Error = Infallible,
        Future: Future<Output = Result<DoorResponse, Infallible>> + Send + 'static,
    > + Send
    + use<S, C> {
        let door = self.clone();
        service_fn(move |request| {
            let door = door.clone();
            async move { Ok(door.answer(peer, request).await) }
        })
    }

    async fn answer(&self, peer: PeerInfo, request: Request<Incoming>) -> DoorResponse {
        let correlation =
            correlation_value(&CorrelationId::from_headers(request.headers(), || fastrand::u128(..)));
        let is_head = request.method() == Method::HEAD;
        let mut response = route::dispatch(&self.shared, peer, request).await;
        if is_head {
            keep_head_only(&mut response);
        }
        response.headers_mut().insert(tidegate_wire::correlation::X_CORRELATION_ID, correlation);
        response
    }
}

/// The body that `/v1/check` answers with, for a decision made elsewhere.
#[must_use]
pub fn decision_json(decision: &tidegate_engine::Decision) -> Vec<u8> {
    answer::decision_body(decision)
}
