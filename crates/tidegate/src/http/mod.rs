//! The HTTP door: requests in, decisions out.
//!
//! ```text
//! route     which handler answers which path and method
//! handlers  one function per endpoint
//! authz     the endpoint that proxies ask
//! rooms     what visitors of waiting rooms ask
//! valve     rules that send to a waiting room
//! observed  traces and log lines of requests
//! from_wire what a request says about itself, or a proxy about another one: address, path, host
//! to_wire   decisions and problems as responses: body, status, header fields
//! open_api  the OpenAPI document
//! api_docs  the document, and pages that show it
//! ```
//!
//! Nothing is decided here. A handler reads, asks the engine, and writes.

mod api_docs;
mod authz;
mod from_wire;
mod handlers;
mod observed;
mod open_api;
mod rooms;
mod route;
mod to_wire;
mod valve;

use std::convert::Infallible;
use std::sync::{Arc, Once};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use tidegate_engine::Clock;
use tidegate_store::BucketStore;
use tidegate_wire::correlation::CorrelationId;
use tidegate_wire::identity::IdentityPolicy;

use crate::door::overload::Overload;
use crate::door::{answer, correlation_value};
use crate::gate::Gate;
use crate::net::PeerInfo;
use crate::rooms::{EventBody, Rooms};
use crate::telemetry::metrics::DoorName;
use observed::Observed;

pub use crate::door::{LegacyFields, Readiness};

/// A response: complete, or a stream of events.
pub type HttpResponse = Response<Either<Full<Bytes>, EventBody>>;

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
    /// The waiting rooms; `None` where there are none.
    rooms: Option<Rooms>,
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
        let gate = gate.into().at_door(DoorName::Http);
        gate.metrics().watch_requests(options.overload.clone());
        Self { shared: Arc::new(Shared { gate, options, readiness, rooms: None, stranger: Once::new() }) }
    }

    /// The same door, which leads to waiting rooms, too. To be called before it is cloned.
    #[must_use]
    pub fn with_rooms(mut self, rooms: Rooms) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.rooms = Some(rooms);
        }
        self
    }

    /// The service of one connection.
    pub fn service(
        &self,
        peer: PeerInfo,
    ) -> impl Service<
        Request<Incoming>,
        Response = HttpResponse,
        Error = Infallible,
        Future: Future<Output = Result<HttpResponse, Infallible>> + Send + 'static,
    > + Send
    + use<S, C> {
        let door = self.clone();
        service_fn(move |request| {
            let door = door.clone();
            async move { Ok(door.answer(peer, request).await) }
        })
    }

    async fn answer(&self, peer: PeerInfo, request: Request<Incoming>) -> HttpResponse {
        let correlation =
            correlation_value(&CorrelationId::from_headers(request.headers(), || fastrand::u128(..)));
        let observed = Observed::begin(self.shared.gate.tracer(), &request, &correlation);
        let trace = observed.as_ref().and_then(Observed::trace);
        let mut response = route::dispatch(&self.shared, peer, request, trace).await;
        if let Some(observed) = observed {
            observed.answered(response.status(), &correlation);
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

/// The OpenAPI document of this door, that of `/openapi.json`, indented: docs/reference/openapi.json.
#[must_use]
pub fn open_api_document() -> String {
    open_api::document()
}
