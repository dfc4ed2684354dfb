//! Which service answers which path, who may ask, and how much they may send.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use tidegate_engine::Clock;
use tidegate_proto::DESCRIPTORS;
use tidegate_proto::envoy::service::auth::v3::authorization_server::{
    self as authorization, AuthorizationServer,
};
use tidegate_proto::envoy::service::ratelimit::v3::rate_limit_service_server::{
    self as rate_limit_service, RateLimitServiceServer,
};
use tidegate_store::BucketStore;
use tidegate_wire::problem::{Problem, ProblemType};
use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::{Code, Status};
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_reflection::server::{Builder, Error};

use super::authorize::Authorize;
use super::health::NodeHealth;
use super::rate_limit::RateLimit;
use super::streams::Stop;
use super::utf8::{mend_check, mend_rate_limit};
use super::{Shared, to_wire};
use crate::door::{Readiness, answer, key_of, problem};
use crate::net::{BodyError, read_body};
use crate::telemetry::trace::{Call, GrpcCall, Reply, RequestTrace, TraceParent};

/// The largest message of a request, in bytes.
pub(super) const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// What stands before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// The longest life of a reflection stream: a client asks what it wants to know, and goes.
const MAX_REFLECTION: Duration = Duration::from_secs(60);
/// The most reflection streams at one time, over all connections: nobody needs a key for them, and each may hold a message and
/// an answer of some ten KiB.
const MAX_REFLECTIONS: usize = 64;

/// The methods that decide.
const SHOULD_RATE_LIMIT: &str = "ShouldRateLimit";
const CHECK: &str = "Check";

const REFLECTION_V1: &str = "grpc.reflection.v1.ServerReflection";
const REFLECTION_V1ALPHA: &str = "grpc.reflection.v1alpha.ServerReflection";

/// A service of tonic's whose type has no name.
type Reflection = Arc<dyn Fn(Request<Body>) -> Answering + Send + Sync>;
type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// The services of the door. Clones share everything.
pub(super) struct Services<S, C> {
    shared: Arc<Shared<S, C>>,
    rate_limit: RateLimitServiceServer<RateLimit<S, C>>,
    authorize: AuthorizationServer<Authorize<S, C>>,
    health: HealthServer<NodeHealth>,
    reflection: Reflection,
    reflection_alpha: Reflection,
    reflecting: Arc<Semaphore>,
}

impl<S, C> Clone for Services<S, C> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            rate_limit: self.rate_limit.clone(),
            authorize: self.authorize.clone(),
            health: self.health.clone(),
            reflection: Arc::clone(&self.reflection),
            reflection_alpha: Arc::clone(&self.reflection_alpha),
            reflecting: Arc::clone(&self.reflecting),
        }
    }
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Called {
    RateLimit,
    Authorize,
    Health,
    Reflection,
    ReflectionAlpha,
}

impl Called {
    /// `/package.Service/Method`; the methods are the service's own affair.
    fn of(path: &str) -> Option<Self> {
        let (service, _) = path.strip_prefix('/')?.split_once('/')?;
        match service {
            rate_limit_service::SERVICE_NAME => Some(Self::RateLimit),
            authorization::SERVICE_NAME => Some(Self::Authorize),
            health_server::SERVICE_NAME => Some(Self::Health),
            REFLECTION_V1 => Some(Self::Reflection),
            REFLECTION_V1ALPHA => Some(Self::ReflectionAlpha),
            _ => None,
        }
    }
}

impl<S: BucketStore, C: Clock> Services<S, C> {
    pub(super) fn new(shared: Arc<Shared<S, C>>, readiness: &Readiness) -> Result<Self, Error> {
        let described = || {
            Builder::configure()
                .register_encoded_file_descriptor_set(DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let reflection = described().build_v1()?.max_decoding_message_size(MAX_MESSAGE_BYTES);
        let alpha = described().build_v1alpha()?.max_decoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Self {
            rate_limit: RateLimitServiceServer::new(RateLimit(Arc::clone(&shared))),
            authorize: AuthorizationServer::new(Authorize(Arc::clone(&shared))),
            health: HealthServer::new(NodeHealth(readiness.clone())),
            reflection: Arc::new(move |request| Box::pin(call(reflection.clone(), request))),
            reflection_alpha: Arc::new(move |request| Box::pin(call(alpha.clone(), request))),
            reflecting: Arc::new(Semaphore::new(MAX_REFLECTIONS)),
            shared,
        })
    }

    /// Answers a call.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        correlation: &HeaderValue,
        stop: &Stop,
    ) -> Response<Body> {
        if let Some(refused) = refuse_what_is_no_grpc(&request) {
            return refused;
        }
        let Some(called) = Called::of(request.uri().path()) else {
            return Status::unimplemented("there is no such service; reflection lists them").into_http();
        };
        match called {
            Called::RateLimit => {
                let trace =
                    self.begin(&request, rate_limit_service::SERVICE_NAME, SHOULD_RATE_LIMIT, correlation);
                self.decide(self.rate_limit.clone(), request, mend_rate_limit, trace).await
            }
            Called::Authorize => {
                let trace = self.begin(&request, authorization::SERVICE_NAME, CHECK, correlation);
                self.decide(self.authorize.clone(), request, mend_check, trace).await
            }
            Called::Health => match self.whole(request).await {
                Ok(request) => {
                    let answer = call(self.health.clone(), request.map(Full::new)).await;
                    answer.map(|body| stop.ending(body, None, None))
                }
                Err(refused) => refused.into_http(),
            },
            Called::Reflection => self.reflect(&self.reflection, request, stop).await,
            Called::ReflectionAlpha => self.reflect(&self.reflection_alpha, request, stop).await,
        }
    }

    /// Answers a reflection stream, as long as it may last.
    async fn reflect(&self, service: &Reflection, request: Request<Incoming>, stop: &Stop) -> Response<Body> {
        let Ok(place) = Arc::clone(&self.reflecting).try_acquire_owned() else {
            let full = format!("{MAX_REFLECTIONS} streams of reflection are open; try again shortly");
            return Status::unavailable(full).into_http();
        };
        let place = Arc::new(place);
        let ending = |body| stop.ending(body, Some(MAX_REFLECTION), Some(Arc::clone(&place)));
        // What is asked has to end as well: the service reads it for as long as it comes.
        service(request.map(|body| ending(Body::new(body)))).await.map(ending)
    }

    /// Begins the trace of a call, if it is to be traced.
    fn begin(
        &self,
        request: &Request<Incoming>,
        service: &'static str,
        method: &'static str,
        correlation: &HeaderValue,
    ) -> Option<RequestTrace> {
        let tracer = self.shared.gate.tracer()?;
        let parent = TraceParent::from_headers(request.headers());
        let is_known = request.uri().path().rsplit('/').next() == Some(method);
        let call = || Some(Call::Grpc(GrpcCall { service, method: is_known.then_some(method) }));
        tracer.begin(parent.as_ref(), request.headers(), call, correlation)
    }

    /// A call of a service that decides: it is somebody's. `mended` makes a body of one that could not be read.
    async fn decide<T>(
        &self,
        service: T,
        request: Request<Incoming>,
        mended: fn(Bytes) -> Bytes,
        trace: Option<RequestTrace>,
    ) -> Response<Body>
    where
        T: Service<Request<Full<Bytes>>, Response = Response<Body>, Error = Infallible>,
    {
        let response = self.decided(service, request, mended, trace.as_ref()).await;
        if let Some(trace) = trace {
            // An answer with a message has its status behind that, and a message is there only when all went well.
            let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
            trace.answered(Reply::Grpc(code));
        }
        response
    }

    async fn decided<T>(
        &self,
        service: T,
        request: Request<Incoming>,
        mended: fn(Bytes) -> Bytes,
        trace: Option<&RequestTrace>,
    ) -> Response<Body>
    where
        T: Service<Request<Full<Bytes>>, Response = Response<Body>, Error = Infallible>,
    {
        // Whoever may not ask is told so before anything of the message is kept.
        let (head, body) = request.into_parts();
        let caller = key_of(&head).and_then(|key| self.shared.gate.caller(key).map_err(answer::refused));
        let caller = match caller {
            Ok(caller) => caller.traced(trace),
            Err(refused) => return to_wire::status_of(&refused).into_http(),
        };
        match self.whole(Request::from_parts(head, body)).await {
            Ok(request) => {
                let mut request = request.map(|body| Full::new(mended(body)));
                request.extensions_mut().insert(caller);
                call(service, request).await
            }
            Err(refused) => refused.into_http(),
        }
    }

    /// The request with its whole body, which holds one message: within its size and its time.
    async fn whole(&self, request: Request<Incoming>) -> Result<Request<Bytes>, Status> {
        let (head, body) = request.into_parts();
        let options = &self.shared.options;
        let max_bytes = MAX_MESSAGE_BYTES + PREFIX_BYTES;
        match read_body(body, max_bytes, options.body_timeout, options.overload.bodies()).await {
            Ok(body) => Ok(Request::from_parts(head, body)),
            Err(BodyError::TooLarge { .. }) => Err(Status::resource_exhausted(format!(
                "a message may have {MAX_MESSAGE_BYTES} bytes at most: send fewer descriptors, or shorter values"
            ))),
            Err(error @ BodyError::TooSlow { .. }) => Err(Status::deadline_exceeded(error.to_string())),
            Err(error @ BodyError::NoRoom) => {
                options.overload.shed_unread();
                Err(Status::unavailable(error.to_string()))
            }
            Err(BodyError::Broken(_)) => Err(Status::cancelled("the request broke off")),
        }
    }
}

/// Calls a service, which is always ready.
async fn call<T, B>(mut service: T, request: Request<B>) -> Response<Body>
where
    T: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
{
    match service.call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// Clients that do not speak gRPC are told so in HTTP (PROTOCOL-HTTP2: 415 for another content type).
fn refuse_what_is_no_grpc(request: &Request<Incoming>) -> Option<Response<Body>> {
    let is_grpc = || {
        let content_type = request.headers().get(CONTENT_TYPE)?.as_bytes();
        let rest = content_type.strip_prefix(b"application/grpc")?;
        Some(matches!(rest.first(), None | Some(b'+' | b';')))
    };
    if request.version() == Version::HTTP_2 && request.method() == Method::POST && is_grpc() == Some(true) {
        return None;
    }
    let detail =
        "this port speaks gRPC: HTTP/2, POST, content-type application/grpc; the HTTP API has another port";
    Some(problem(&Problem::new(ProblemType::UnsupportedMediaType, detail)).map(Body::new))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_services() {
        let rate_limit = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
        assert_eq!(Called::of(rate_limit), Some(Called::RateLimit));
        assert_eq!(Called::of("/envoy.service.auth.v3.Authorization/Check"), Some(Called::Authorize));
        assert_eq!(Called::of("/grpc.health.v1.Health/Watch"), Some(Called::Health));
        for path in ["", "/", "/grpc.health.v1.Health", "grpc.health.v1.Health/Check", "/x.Y/Z"] {
            assert_eq!(Called::of(path), None, "{path}");
        }
    }
}
