//! A door's service, telling its connection's state when requests begin and end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::{Service, service_fn};

use super::connection::{Connection, InFlight};
use super::server::BoxError;

/// What a door can serve. Every hyper service that can be sent to another thread and answers with
/// an `Unpin` body is one.
pub trait DoorService:
    Service<
        Request<Incoming>,
        Response = Response<Self::Body>,
        Error: Into<BoxError> + 'static,
        Future: Send + 'static,
    > + Send
    + 'static
{
    /// The body of its responses.
    type Body: Body<Data: Send, Error: Into<BoxError>> + Unpin + Send + 'static;
}

impl<S, B> DoorService for S
where
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Error: Into<BoxError> + 'static,
    S::Future: Send + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Unpin + Send + 'static,
{
    type Body = B;
}

/// A response's body; its request counts as in flight until it is dropped. While nobody asks for its next piece, it waits for
/// the client; while it has none to give, the client waits for it.
pub struct TrackedBody<B> {
    /// `None` is the empty body of a response the service was not asked for.
    inner: Option<B>,
    in_flight: InFlight,
    is_untaken: bool,
}

impl<B> TrackedBody<B> {
    fn new(inner: Option<B>, in_flight: InFlight) -> Self {
        in_flight.connection().answer_waits();
        Self { inner, in_flight, is_untaken: true }
    }

    fn taken(&mut self) {
        if std::mem::take(&mut self.is_untaken) {
            self.in_flight.connection().answer_taken();
        }
    }
}

impl<B> Drop for TrackedBody<B> {
    fn drop(&mut self) {
        self.taken();
    }
}

impl<B: Body + Unpin> Body for TrackedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.taken();
        let Some(body) = &mut self.inner else { return Poll::Ready(None) };
        let next = Pin::new(body).poll_frame(cx);
        if matches!(next, Poll::Ready(Some(_))) {
            self.in_flight.connection().answer_waits();
            self.is_untaken = true;
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// Wraps `service`: counts its requests, refuses those with more than `max_headers` fields, and
/// says `Connection: close` while the door drains.
pub(super) fn track<S: DoorService>(
    service: S,
    connection: Arc<Connection>,
    max_headers: usize,
) -> impl DoorService<Body = TrackedBody<S::Body>> {
    service_fn(move |request: Request<Incoming>| {
        let in_flight = InFlight::begin(&connection);
        // Some KiB, which hyper and the runtime would move several times before it runs first.
        let answer = (request.headers().len() <= max_headers).then(|| Box::pin(service.call(request)));
        async move {
            let (mut parts, inner) = match answer {
                Some(answer) => {
                    let (parts, body) = answer.await?.into_parts();
                    (parts, Some(body))
                }
                None => (too_many_headers(), None),
            };
            let connection = in_flight.connection();
            if connection.registry.is_draining() && !connection.is_http2() {
                parts.headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, S::Error>(Response::from_parts(parts, TrackedBody::new(inner, in_flight)))
        }
    })
}

fn too_many_headers() -> http::response::Parts {
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    parts
}
