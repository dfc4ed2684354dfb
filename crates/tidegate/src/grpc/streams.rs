//! Streams that end when the door does. A watch of health lasts for as long as its client likes, and a drain that waited for
//! it would last as long.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tonic::Status;
use tonic::body::Body;

/// Tells streams to end. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Stop(Arc<watch::Sender<bool>>);

impl Default for Stop {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Stop {
    pub(super) fn stop(&self) {
        self.0.send_replace(true);
    }

    /// The same body, which ends as UNAVAILABLE when told to, and at the latest after `longest`. As long as it is there, so is its
    /// place.
    pub(super) fn ending(&self, inner: Body, longest: Duration, place: Place) -> Body {
        let mut told = self.0.subscribe();
        let end = async move {
            // An error says that the door is gone, which is as good.
            let stopped = async { drop(told.wait_for(|stopped| *stopped).await) };
            drop(tokio::time::timeout(longest, stopped).await);
        };
        Body::new(Ending { inner, end: Some(Box::pin(end)), _place: place })
    }
}

/// A place among the streams of which there are only so many. Both directions of a stream share it.
pub(super) type Place = Arc<[OwnedSemaphorePermit]>;

/// A place that takes one of each; `None` where one has no more.
pub(super) fn place_of<const N: usize>(each: [&Arc<Semaphore>; N]) -> Option<Place> {
    each.into_iter().map(|places| Arc::clone(places).try_acquire_owned().ok()).collect()
}

/// A body that ends early.
struct Ending {
    inner: Body,
    /// `None` once it has ended.
    end: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    _place: Place,
}

impl HttpBody for Ending {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        // What was ready before the end is still sent: the last word of a watch is that nobody is served any more.
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        let Some(end) = self.end.as_mut() else { return Poll::Ready(None) };
        if end.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.end = None;
        let (parts, ()) =
            Status::unavailable("this stream has ended; open another").into_http::<()>().into_parts();
        let mut trailers = parts.headers;
        trailers.remove(http::header::CONTENT_TYPE);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.end.is_none() || self.inner.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, StreamBody};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_after_its_time_and_gives_its_place_back() {
        let places = Arc::new(Semaphore::new(1));
        let place = place_of([&places]).unwrap();
        assert!(place_of([&places]).is_none());
        let endless = tokio_stream::pending::<Result<Frame<Bytes>, Status>>();
        let longest = Duration::from_secs(600);
        let stop = Stop::default();
        let body = stop.ending(Body::new(StreamBody::new(endless)), longest, place);
        let begin = Instant::now();
        let trailers = body.collect().await.unwrap().trailers().cloned().unwrap();
        assert_eq!(begin.elapsed().as_secs(), 600);
        let status = Status::from_header_map(&trailers).unwrap();
        assert_eq!(status.code(), tonic::Code::Unavailable);
        assert!(place_of([&places]).is_some());
    }
}
