//! The gRPC door: Envoy's rate limit and external authorization services, health and reflection.
//!
//! ```text
//! route      which service answers which path; keys; sizes
//! rate_limit envoy.service.ratelimit.v3: what is asked, and the answer
//! authorize  envoy.service.auth.v3: what is asked, and the answer
//! from_wire  messages into domain, entries and costs
//! utf8       messages that can be read: texts that are no UTF-8, and what nobody reads
//! refusal    refusals where the engine is not asked
//! to_wire    decisions as statuses, quotas and header fields
//! health     grpc.health.v1
//! streams    streams that end when the door does
//! ```
//!
//! Nothing is decided here. The sockets are the project's own ([`net`](crate::net)), so that connections are bounded and
//! drained as at every other door; of tonic, only the services and codecs are used.

mod authorize;
mod from_wire;
mod health;
mod rate_limit;
mod refusal;
mod route;
mod streams;
mod to_wire;
mod utf8;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use tidegate_engine::Clock;
use tidegate_store::BucketStore;
use tidegate_wire::correlation::{CorrelationId, X_CORRELATION_ID};
use tidegate_wire::identity::IdentityPolicy;
use tokio::sync::Semaphore;
use tonic::Status;
use tonic::body::Body;

use crate::door::overload::{Guard, Overload, Priority};
use crate::door::{LegacyFields, Readiness, correlation_value};
use crate::gate::Gate;
use crate::telemetry::metrics::DoorName;
use route::{MAX_WATCHES_OF_ONE, Services};
use streams::Stop;

/// The most header fields of a call. What Envoy's client sent may be among them (`tracestate`).
const MAX_FIELDS: usize = 256;

/// A call had more header fields than it may have, and has none any more.
#[derive(Clone, Copy, Debug)]
struct TooManyFields;

/// How the door behaves.
#[derive(Clone, Debug)]
pub struct GrpcOptions {
    /// How the address of the client is found whom an authorization request is about.
    pub identity: IdentityPolicy,
    /// Whether `X-RateLimit-Limit`, `-Remaining` and `-Reset` are sent beside the current fields.
    pub legacy_fields: LegacyFields,
    /// Whether answers of the rate limit service bring a body for the refused client.
    pub denied_body: DeniedBody,
    /// The longest time a request's message may take.
    pub body_timeout: Duration,
    /// How many calls are decided at one time; the others are shed.
    pub overload: Overload,
}

/// Whether `raw_body` of a refusal holds problem details (RFC 9457).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeniedBody {
    /// Envoy answers its client without a body.
    #[default]
    Omit,
    /// Envoy answers with the body that the HTTP door would send.
    Send,
}

/// The gRPC door of one engine. Clones share everything.
pub struct GrpcDoor<S, C> {
    services: Services<S, C>,
    stop: Stop,
}

impl<S, C> Clone for GrpcDoor<S, C> {
    fn clone(&self) -> Self {
        Self { services: self.services.clone(), stop: self.stop.clone() }
    }
}

impl<S, C> std::fmt::Debug for GrpcDoor<S, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrpcDoor").finish_non_exhaustive()
    }
}

/// What every service of the door needs.
#[derive(Debug)]
struct Shared<S, C> {
    gate: Gate<S, C>,
    options: GrpcOptions,
}

impl<S, C> Shared<S, C> {
    /// Lets a call in that has been read. It is in progress until the guard is dropped.
    ///
    /// # Errors
    /// UNAVAILABLE: there is no room for it. Both services say so by the status of the call, so that Envoy's own setting
    /// says what becomes of a request about which nobody could be asked.
    fn let_in(&self, priority: Priority) -> Result<Guard<'_>, Status> {
        self.options.overload.enter(priority).ok_or_else(to_wire::shed)
    }
}

impl<S: BucketStore, C: Clock> GrpcDoor<S, C> {
    /// A door to an engine, or to a gate before it.
    ///
    /// # Errors
    /// The descriptors for reflection, which are part of the program, cannot be read.
    pub fn new(
        gate: impl Into<Gate<S, C>>,
        options: GrpcOptions,
        readiness: &Readiness,
    ) -> Result<Self, tonic_reflection::server::Error> {
        let gate = gate.into().at_door(DoorName::Grpc);
        gate.metrics().watch_requests(options.overload.clone());
        let shared = Arc::new(Shared { gate, options });
        Ok(Self { services: Services::new(shared, readiness)?, stop: Stop::default() })
    }

    /// The service of one connection.
    pub fn service(
        &self,
    ) -> impl Service<
        Request<Incoming>,
        Response = Response<Body>,
        Error = Infallible,
        Future: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
    > + Send
    + use<S, C> {
        let door = self.clone();
        let watches = Arc::new(Semaphore::new(MAX_WATCHES_OF_ONE));
        service_fn(move |mut request: Request<Incoming>| {
            let (door, watches) = (door.clone(), Arc::clone(&watches));
            // Here and not when the call has its turn: many may wait for theirs, and fields may come compressed.
            if request.headers().len() > MAX_FIELDS {
                *request.headers_mut() = HeaderMap::new();
                request.extensions_mut().insert(TooManyFields);
            }
            async move { Ok(door.answer(request, &watches).await) }
        })
    }

    /// Ends streams that would not end by themselves, which otherwise hold up the drain of their connections.
    pub fn end_streams(&self) {
        self.stop.stop();
    }

    /// Answers a call of a connection, which has so many places for watches left.
    async fn answer(&self, request: Request<Incoming>, watches: &Arc<Semaphore>) -> Response<Body> {
        let correlation =
            correlation_value(&CorrelationId::from_headers(request.headers(), || fastrand::u128(..)));
        let mut response = self.services.answer(request, &correlation, &self.stop, watches).await;
        response.headers_mut().insert(X_CORRELATION_ID, correlation);
        response
    }
}
