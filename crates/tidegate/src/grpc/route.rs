//! Which service answers which path, who may ask, and how much they may send.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method, Request, Response, Version};
use http_body_util::{BodyExt, Full};
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
use super::refusal::{self, Decides};
use super::streams::{Stop, place_of};
use super::utf8::PREFIX_BYTES;
use super::{Shared, TooManyFields, to_wire};
use crate::door::{Readiness, answer, key_of, problem};
use crate::net::{BodyError, read_body};
use crate::telemetry::trace::{Call, GrpcCall, Reply, RequestTrace, TraceParent};

/// The largest message of a request for a decision, in bytes. Envoy takes heads of 60 KiB, and says twice what is in them to
/// authorize, or once in each descriptor that asks for it.
const MAX_MESSAGE_BYTES: usize = 1024 * 1024;
/// The largest other message, in bytes.
const MAX_SMALL_BYTES: usize = 64 * 1024;
/// The longest life of a reflection stream: a client asks what it wants to know, and goes.
const MAX_REFLECTION: Duration = Duration::from_secs(60);
/// The most reflection streams at one time, over all connections: nobody needs a key for them, and each may hold a message and
/// an answer of some ten KiB.
const MAX_REFLECTIONS: usize = 64;
/// The longest life of a watch of health: nobody needs a key for it, and its connection is not idle while it lasts.
const MAX_WATCH: Duration = Duration::from_secs(600);
/// The most watches at one time, over all connections.
const MAX_WATCHES: usize = 1_024;
/// The most watches of one connection.
pub(super) const MAX_WATCHES_OF_ONE: usize = 16;

/// The methods that decide.
const SHOULD_RATE_LIMIT: &str = "ShouldRateLimit";
const CHECK: &str = "Check";
/// The method of health that goes on.
const WATCH: &str = "/grpc.health.v1.Health/Watch";

/// The fields that tonic reads in the head of a call.
const READ_BY_TONIC: [&str; 2] = ["grpc-encoding", "grpc-accept-encoding"];

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
    watching: Arc<Semaphore>,
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
            watching: Arc::clone(&self.watching),
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
        let reflection = described().build_v1()?.max_decoding_message_size(MAX_SMALL_BYTES);
        let alpha = described().build_v1alpha()?.max_decoding_message_size(MAX_SMALL_BYTES);
        Ok(Self {
            rate_limit: RateLimitServiceServer::new(RateLimit(Arc::clone(&shared))),
            authorize: AuthorizationServer::new(Authorize(Arc::clone(&shared))),
            health: HealthServer::new(NodeHealth(readiness.clone())),
            reflection: Arc::new(move |request| Box::pin(call(reflection.clone(), request))),
            reflection_alpha: Arc::new(move |request| Box::pin(call(alpha.clone(), request))),
            reflecting: Arc::new(Semaphore::new(MAX_REFLECTIONS)),
            watching: Arc::new(Semaphore::new(MAX_WATCHES)),
            shared,
        })
    }

    /// Answers a call of a connection, which has so many places for watches left.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        correlation: &HeaderValue,
        stop: &Stop,
        watches: &Arc<Semaphore>,
    ) -> Response<Body> {
        if request.extensions().get::<TooManyFields>().is_some() {
            return self.refuse_fields(request.uri().path()).await;
        }
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
                self.decide(self.rate_limit.clone(), request, Decides::RateLimit, trace).await
            }
            Called::Authorize => {
                let trace = self.begin(&request, authorization::SERVICE_NAME, CHECK, correlation);
                self.decide(self.authorize.clone(), request, Decides::Authorize, trace).await
            }
            Called::Health => self.ask_health(request, stop, watches).await,
            Called::Reflection => self.reflect(&self.reflection, request, stop).await,
            Called::ReflectionAlpha => self.reflect(&self.reflection_alpha, request, stop).await,
        }
    }

    /// The answer to a call of too many header fields, which were not kept.
    async fn refuse_fields(&self, path: &str) -> Response<Body> {
        let decides = match Called::of(path) {
            Some(Called::RateLimit) => Decides::RateLimit,
            Some(Called::Authorize) => Decides::Authorize,
            _ => {
                let detail = refusal::too_many_fields().detail;
                return Status::resource_exhausted(detail).into_http();
            }
        };
        decides.refuse(&refusal::too_many_fields(), &self.shared.options).await
    }

    /// Answers a question for health; a watch as long as it may last.
    async fn ask_health(
        &self,
        request: Request<Incoming>,
        stop: &Stop,
        watches: &Arc<Semaphore>,
    ) -> Response<Body> {
        let request = match self.whole(request, MAX_SMALL_BYTES).await {
            Ok(request) => request.map(Full::new),
            Err(refused) => return refused.status().into_http(),
        };
        if request.uri().path() != WATCH {
            return call(self.health.clone(), request).await;
        }
        let Some(place) = place_of([watches, &self.watching]) else {
            let full =
                format!("{MAX_WATCHES_OF_ONE} watches of a connection, {MAX_WATCHES} in all: use Check");
            return Status::resource_exhausted(full).into_http();
        };
        call(self.health.clone(), request).await.map(|body| stop.ending(body, MAX_WATCH, place))
    }

    /// Answers a reflection stream, as long as it may last.
    async fn reflect(&self, service: &Reflection, request: Request<Incoming>, stop: &Stop) -> Response<Body> {
        let Some(place) = place_of([&self.reflecting]) else {
            let full = format!("{MAX_REFLECTIONS} streams of reflection are open; try again shortly");
            return Status::unavailable(full).into_http();
        };
        let ending = |body| stop.ending(body, MAX_REFLECTION, Arc::clone(&place));
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

    /// A call of a service that decides: it is somebody's.
    async fn decide<T>(
        &self,
        service: T,
        request: Request<Incoming>,
        decides: Decides,
        trace: Option<RequestTrace>,
    ) -> Response<Body>
    where
        T: Service<Request<Full<Bytes>>, Response = Response<Body>, Error = Infallible>,
    {
        let response = self.decided(service, request, decides, trace.as_ref()).await;
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
        decides: Decides,
        trace: Option<&RequestTrace>,
    ) -> Response<Body>
    where
        T: Service<Request<Full<Bytes>>, Response = Response<Body>, Error = Infallible>,
    {
        // Whoever may not ask is told so before anything of the message is kept.
        let (mut head, body) = request.into_parts();
        let caller = key_of(&head).and_then(|key| self.shared.gate.caller(key).map_err(answer::refused));
        let caller = match caller {
            Ok(caller) => caller.traced(trace),
            Err(refused) => return to_wire::status_of(&refused).into_http(),
        };
        // Nothing else is kept while the message is awaited: fields may be many, and may have come compressed.
        let mut fields = std::mem::take(&mut head.headers);
        head.headers.extend(
            READ_BY_TONIC
                .into_iter()
                .filter_map(|name| Some((Some(HeaderName::from_static(name)), fields.remove(name)?))),
        );
        drop(fields);
        let options = &self.shared.options;
        let request = match self.whole(Request::from_parts(head, body), MAX_MESSAGE_BYTES).await {
            Ok(request) => request,
            Err(Unread::TooLarge(problem)) => return decides.refuse(&problem, options).await,
            Err(Unread::Error(status)) => return status.into_http(),
        };
        let (head, body) = request.into_parts();
        let Ok(body) = decides.mend(body) else {
            return decides.refuse(&refusal::too_many_parts(), options).await;
        };
        let mut request = Request::from_parts(head, Full::new(body));
        request.extensions_mut().insert(caller);
        let response = call(service, request).await;
        // These are tonic's words for what is no message; the services never say them.
        let code = Status::from_header_map(response.headers()).map(|status| status.code());
        if matches!(code, Some(Code::Internal | Code::OutOfRange)) {
            return decides.refuse(&refusal::unreadable(), options).await;
        }
        response
    }

    /// The request with its whole body, which holds one message: within its size and its time.
    async fn whole(&self, request: Request<Incoming>, max_bytes: usize) -> Result<Request<Bytes>, Unread> {
        let (head, mut body) = request.into_parts();
        let options = &self.shared.options;
        let max_body = max_bytes + PREFIX_BYTES;
        match read_body(&mut body, max_body, options.body_timeout, options.overload.bodies()).await {
            Ok(body) => Ok(Request::from_parts(head, body)),
            Err(BodyError::TooLarge { .. }) => {
                pass_over(body, options.body_timeout).await;
                Err(Unread::TooLarge(refusal::too_large(max_bytes)))
            }
            Err(error @ BodyError::TooSlow { .. }) => {
                Err(Unread::Error(Status::deadline_exceeded(error.to_string())))
            }
            Err(error @ BodyError::NoRoom) => {
                options.overload.shed_unread();
                Err(Unread::Error(Status::unavailable(error.to_string())))
            }
            Err(BodyError::Broken(_)) => Err(Unread::Error(Status::cancelled("the request broke off"))),
        }
    }
}

/// Why there is no message.
enum Unread {
    TooLarge(Problem),
    Error(Status),
}

impl Unread {
    fn status(self) -> Status {
        match self {
            Self::TooLarge(problem) => Status::resource_exhausted(problem.detail),
            Self::Error(status) => status,
        }
    }
}

/// Takes the rest of a body and keeps nothing: proxies may take an answer that comes before the end of its call for an error.
async fn pass_over(mut body: Incoming, longest: Duration) {
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    // Whoever does not come to an end is answered all the same.
    let _ = tokio::time::timeout(longest, rest).await;
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
