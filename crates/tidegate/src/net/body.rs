//! Reading a request's body whole, within a size and a time.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body;
use thiserror::Error;

use super::server::BoxError;

/// Why a body could not be read.
#[derive(Debug, Error)]
pub enum BodyError {
    /// The body is longer than allowed; answer 413.
    #[error("the request's body is longer than {max_bytes} bytes")]
    TooLarge {
        /// The most bytes allowed.
        max_bytes: usize,
    },
    /// The body did not arrive in time; answer 408 and close.
    #[error("the request's body did not arrive within {timeout_ms} ms")]
    TooSlow {
        /// The longest time allowed, in ms.
        timeout_ms: u64,
    },
    /// The client went away or broke the protocol; there is nobody to answer.
    #[error("the request's body broke off")]
    Broken(#[source] BoxError),
}

/// Collects `body`: at most `max_bytes` of it, for at most `timeout` from now. Trailers are dropped.
///
/// A body that arrived with its head, as nearly all do, is returned without a timer and, if it
/// came in one piece, without a copy.
///
/// # Errors
/// The body is too large (known at once if its length was declared), too slow, or broke off.
pub async fn read_body<B>(body: B, max_bytes: usize, timeout: Duration) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let mut reading = pin!(collect(body, max_bytes));
    if let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await {
        return done;
    }
    tokio::time::timeout(timeout, reading).await.unwrap_or_else(|_| {
        Err(BodyError::TooSlow { timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX) })
    })
}

async fn collect<B>(mut body: B, max_bytes: usize) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let hint = body.size_hint();
    if hint.lower() > max_bytes as u64 {
        return Err(BodyError::TooLarge { max_bytes });
    }
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    while !body.is_end_stream() {
        let Some(frame) = body.frame().await else { break };
        let Ok(data) = frame.map_err(|error| BodyError::Broken(error.into()))?.into_data() else { continue };
        if first.len() + joined.len() + data.len() > max_bytes {
            return Err(BodyError::TooLarge { max_bytes });
        }
        if first.is_empty() && joined.is_empty() {
            first = data;
            continue;
        }
        if joined.is_empty() {
            joined.extend_from_slice(&first);
            first = Bytes::new();
        }
        joined.extend_from_slice(&data);
    }
    Ok(if joined.is_empty() { first } else { joined.freeze() })
}
