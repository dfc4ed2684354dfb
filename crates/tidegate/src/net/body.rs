//! Reading a request's body whole, within a size, a time and a room that all bodies of a door share.
//!
//! A client of HTTP/2 may send many bodies at the same time and end none of them. Each is within its own bounds; together they
//! would be as large as its connections allow. What has come of bodies that are not whole therefore has a maximum of its own.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body;
use thiserror::Error;

use super::server::BoxError;

/// The most bytes that a door keeps of bodies that are not whole, if nothing else is said.
const DEFAULT_ROOM_BYTES: usize = 64 * 1024 * 1024;

/// Room for what has come of bodies that are not whole. Bodies that come in one piece need none. Clones share it.
#[derive(Clone, Debug)]
pub struct BodyRoom(Arc<Room>);

#[derive(Debug)]
struct Room {
    max_bytes: usize,
    taken_bytes: AtomicUsize,
}

/// The part of one body; given back when it is whole, or given up.
struct Share<'a> {
    room: &'a Room,
    bytes: usize,
}

impl BodyRoom {
    /// Room for so many bytes.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self(Arc::new(Room { max_bytes, taken_bytes: AtomicUsize::new(0) }))
    }

    /// Bytes that are taken now.
    #[must_use]
    pub fn taken_bytes(&self) -> usize {
        self.0.taken_bytes.load(Ordering::Relaxed)
    }
}

/// 64 MiB.
impl Default for BodyRoom {
    fn default() -> Self {
        Self::new(DEFAULT_ROOM_BYTES)
    }
}

impl Share<'_> {
    /// Takes more, unless there is no room for it.
    fn grow(&mut self, bytes: usize) -> Result<(), BodyError> {
        let Room { max_bytes, taken_bytes } = self.room;
        // The number guards no other memory, so its order to other accesses does not matter.
        let taken = taken_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
            taken.checked_add(bytes).filter(|taken| taken <= max_bytes)
        });
        self.bytes += taken.map(|_| bytes).map_err(|_| BodyError::NoRoom)?;
        Ok(())
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.room.taken_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

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
    /// Too many other bodies come slowly; answer 503.
    #[error("too many requests are coming in slowly; send it again shortly")]
    NoRoom,
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
/// The body is too large (known at once if its length was declared), too slow, or broke off, or `room` has none for it.
pub async fn read_body<B>(
    body: B,
    max_bytes: usize,
    timeout: Duration,
    room: &BodyRoom,
) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let mut reading = pin!(collect(body, max_bytes, room));
    if let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await {
        return done;
    }
    tokio::time::timeout(timeout, reading).await.unwrap_or_else(|_| {
        Err(BodyError::TooSlow { timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX) })
    })
}

async fn collect<B>(mut body: B, max_bytes: usize, room: &BodyRoom) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let hint = body.size_hint();
    if hint.lower() > max_bytes as u64 {
        return Err(BodyError::TooLarge { max_bytes });
    }
    let mut share = Share { room: &room.0, bytes: 0 };
    let mut joined = BytesMut::new();
    while !body.is_end_stream() {
        let Some(frame) = body.frame().await else { break };
        let Ok(data) = frame.map_err(|error| BodyError::Broken(error.into()))?.into_data() else { continue };
        if joined.len() + data.len() > max_bytes {
            return Err(BodyError::TooLarge { max_bytes });
        }
        match (body.is_end_stream(), joined.is_empty()) {
            (true, true) => return Ok(data),
            (true, false) => {}
            (false, _) => share.grow(data.len())?,
        }
        // A copy, not the piece itself, which would keep the buffer that it was read into.
        joined.extend_from_slice(&data);
    }
    Ok(joined.freeze())
}
