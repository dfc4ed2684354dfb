//! The stream of events: what all who wait are told once a second, and what only one visitor is.
//!
//! A room's frame is made once for all of its streams, and only while there are any. A stream is told of its own visitor when
//! something has happened to it, and looks then.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Body, Frame};
use parking_lot::Mutex;
use tidegate_core::room::{Answer, QueueNumber, Ticket};
use tidegate_core::time::Timestamp;
use tidegate_store::rooms::Told;
use tidegate_wire::problem::{Problem, ProblemType};
use tidegate_wire::room::call::Call;
use tidegate_wire::room::seat::{LineFrame, Seat};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use super::answer::{Facts, Shown, room_state};
use super::calls::{Asked, problem_of, share};
use super::definition::Room;
use super::streams::{DEFAULT_STREAMS_PER_ADDRESS, MAX_STREAMS, Open, Place};
use super::tokens::core_ticket;
use super::visit::Visit;
use super::{Rooms, Shared};
use crate::door::{DoorResponse, problem};

/// The most streams of one visitor.
const MAX_STREAMS_OF_VISITOR: usize = 4;
/// How often the room's frame is made.
const FRAME_EVERY: Duration = Duration::from_secs(1);
/// How often something is sent at least, so that nobody in between thinks the stream dead.
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(15);
/// Frames that a client may be behind. One that is slower misses frames, and none that matters: each tells everything.
const FRAMES_BEHIND: usize = 4;
/// How long a client may be behind all the time, unless something else is said: it does not read, and others want its stream.
const STALL: Duration = Duration::from_secs(30);
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
/// What a client that comes back was told last.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// The id of the last event of a visitor.
const OVER: &str = "over";
/// Tells nginx to pass on what there is.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// A body that goes on.
#[derive(Debug)]
pub struct EventBody(mpsc::Receiver<Bytes>);

/// The streams of a node.
#[derive(Debug)]
pub(super) struct Streams {
    open: Arc<Open>,
    /// Set when streams are to end.
    closing: watch::Sender<bool>,
    /// How long a client may be behind all the time before its stream ends.
    stall: Duration,
}

/// The streams of one room.
#[derive(Debug)]
pub(super) struct News {
    /// The frame for all; empty before the first.
    frame: watch::Sender<Bytes>,
    followers: AtomicUsize,
    /// Whether somebody makes frames.
    is_made: AtomicBool,
    /// Who wants to hear of which visitor.
    own: Mutex<HashMap<QueueNumber, Own>>,
}

#[derive(Debug)]
struct Own {
    news: Arc<Notify>,
    streams: usize,
}

/// One stream of a visitor; it follows until it is dropped.
struct Following {
    news: Arc<News>,
    _place: Place,
    number: QueueNumber,
    own: Arc<Notify>,
}

impl Default for Streams {
    fn default() -> Self {
        let open = Arc::new(Open::new(DEFAULT_STREAMS_PER_ADDRESS));
        Self { open, closing: watch::Sender::new(false), stall: STALL }
    }
}

impl Default for News {
    fn default() -> Self {
        Self {
            frame: watch::Sender::new(Bytes::new()),
            followers: AtomicUsize::new(0),
            is_made: AtomicBool::new(false),
            own: Mutex::default(),
        }
    }
}

impl News {
    /// Something has happened to a visitor.
    pub(super) fn tell(&self, number: QueueNumber) {
        if let Some(own) = self.own.lock().get(&number) {
            own.news.notify_waiters();
            own.news.notify_one();
        }
    }

    /// Something has happened to all of them.
    pub(super) fn tell_all(&self) {
        self.own.lock().values().for_each(|own| own.news.notify_waiters());
    }

    /// Whether the caller is to make frames from here on.
    fn begins_to_make(&self) -> bool {
        self.followers.load(Ordering::SeqCst) > 0 && !self.is_made.swap(true, Ordering::SeqCst)
    }

    /// Whether frames need not be made any more.
    fn ends_to_make(&self) -> bool {
        if self.followers.load(Ordering::SeqCst) > 0 {
            return false;
        }
        self.is_made.store(false, Ordering::SeqCst);
        // Somebody who came in between believed that they were made.
        !self.begins_to_make()
    }

    /// Begins a stream; `None` if the visitor has as many as one may.
    fn follow(self: &Arc<Self>, number: QueueNumber, place: Place) -> Option<Following> {
        let mut all = self.own.lock();
        let own = all.entry(number).or_insert_with(|| Own { news: Arc::default(), streams: 0 });
        if own.streams >= MAX_STREAMS_OF_VISITOR {
            return None;
        }
        own.streams += 1;
        let own = Arc::clone(&own.news);
        self.followers.fetch_add(1, Ordering::SeqCst);
        Some(Following { news: Arc::clone(self), _place: place, number, own })
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut all = self.news.own.lock();
        if let Some(own) = all.get_mut(&self.number) {
            own.streams -= 1;
            if own.streams == 0 {
                all.remove(&self.number);
            }
        }
        self.news.followers.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Streams {
    /// Ends the streams of clients that are behind all the time for so long.
    pub(super) fn set_stall(&mut self, stall: Duration) {
        self.stall = stall;
    }

    /// Of one address there are at most so many; 0 is no limit.
    pub(super) fn set_per_address(&mut self, most: u32) {
        self.open = Arc::new(Open::new(most));
    }
}

impl Rooms {
    /// Ends all streams: their clients ask another node.
    pub fn close(&self) {
        self.0.streams.closing.send_replace(true);
    }

    /// The events of a room, for the visitor of a ticket.
    pub(crate) async fn events(
        &self,
        room: &str,
        visit: Visit<'_>,
    ) -> Result<Response<EventBody>, DoorResponse> {
        let shared = &self.0;
        let room = shared.room(room).ok_or_else(|| problem(&shared.lacks()))?;
        let origin = visit.origin(&room).map_err(|refused| problem(&refused))?;
        let now = shared.clock.now();
        let known = visit.device(&shared.keys, now).map_err(|refused| problem(&refused))?;
        let visitor = visit.visitor(&room, &shared.keys, &known);
        let asked = Asked { visit, room: &room, fields: Call::default(), known, visitor, now };
        let ticket = shared.ticket(&asked).map_err(|(refused, _)| problem(&refused))?;
        let number = QueueNumber::new(ticket.claims.queue_number);
        if visit.headers().get(LAST_EVENT_ID).is_some_and(|id| id == OVER) {
            // A browser comes back by itself where a stream ends, unless it is told that there is nothing more.
            let told = shared.store.look(&room.name, &core_ticket(&ticket.claims)).await;
            if told.is_ok_and(|told| Stage::of(&told) == Some(Stage::Over)) {
                return Err(nothing_more(origin));
            }
        }
        let streams = &shared.streams.open;
        let place = streams.take(visit.client()).ok_or_else(|| too_many(streams))?;
        let following = room.news.follow(number, place).ok_or_else(|| too_many(streams))?;
        let (sender, receiver) = mpsc::channel(FRAMES_BEHIND);
        if room.news.begins_to_make() {
            tokio::spawn(make_frames(Arc::clone(shared), Arc::clone(&room)));
        }
        tokio::spawn(stream(Arc::clone(shared), Arc::clone(&room), following, ticket, sender));
        let mut response = Response::new(EventBody(receiver));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, EVENT_STREAM);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
        share(headers, origin);
        Ok(response)
    }
}

fn nothing_more(origin: Option<&HeaderValue>) -> DoorResponse {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    share(response.headers_mut(), origin);
    response
}

fn too_many(streams: &Open) -> DoorResponse {
    let of_address = match streams.per_address() {
        0 => String::new(),
        most => format!(", this address {most}"),
    };
    let detail = format!(
        "this node has {MAX_STREAMS} streams of events{of_address}, or this visitor {MAX_STREAMS_OF_VISITOR}: poll instead"
    );
    problem(&Problem::new(ProblemType::Overloaded, detail))
}

/// Makes the frame of a room as long as somebody follows it.
async fn make_frames(shared: Arc<Shared>, room: Arc<Room>) {
    let mut every = tokio::time::interval(FRAME_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !room.news.ends_to_make() {
        every.tick().await;
        let Ok(status) = shared.store.status(&room.name).await else { continue };
        let pace = status.status.pace.map_or(0.0, |pace| pace.as_micros() as f64 / 1e6);
        // The room may have been defined anew since.
        let present = shared.room(room.name.as_str());
        let message = present.as_ref().unwrap_or(&room).message.load();
        let frame = LineFrame {
            serving_number: status.status.serving_number,
            waiting: status.status.waiting,
            rate: if pace > 0.0 { (1e3 / pace).round() / 1e3 } else { 0.0 },
            room_state: room_state(&status),
            message: message.as_deref().cloned(),
        };
        let frame = event("line", &serde_json::to_vec(&frame).unwrap_or_default());
        room.news.frame.send_if_modified(|former| {
            let is_new = *former != frame;
            *former = frame;
            is_new
        });
    }
}

/// Tells one client until it goes, or the node does.
async fn stream(
    shared: Arc<Shared>,
    room: Arc<Room>,
    following: Following,
    ticket: Shown,
    sender: mpsc::Sender<Bytes>,
) {
    let core = core_ticket(&ticket.claims);
    let mut closing = shared.streams.closing.subscribe();
    let mut frames = room.news.frame.subscribe();
    frames.mark_changed();
    let mut told = None;
    let mut behind_since = None;
    loop {
        if shared.room(room.name.as_str()).is_none() {
            // It was removed, and nothing will happen in it any more.
            return;
        }
        if let Some(own) = shared.own_event(&room, &core, &ticket, &mut told).await {
            let sent = tokio::time::timeout(shared.streams.stall, sender.send(own)).await;
            if told == Some(Stage::Over) || !matches!(sent, Ok(Ok(()))) {
                // Nothing will happen to this visitor any more.
                return;
            }
        }
        let is_behind = sender.capacity() < sender.max_capacity();
        behind_since = is_behind.then(|| behind_since.unwrap_or_else(Instant::now));
        let patience = behind_since.map_or(SIGN_OF_LIFE_EVERY, |since: Instant| {
            (since + shared.streams.stall).saturating_duration_since(Instant::now())
        });
        if is_behind && patience.is_zero() {
            return;
        }
        let frame = tokio::select! {
            _ = closing.wait_for(|closing| *closing) => return,
            () = sender.closed() => return,
            () = following.own.notified() => continue,
            changed = frames.changed() => {
                if changed.is_err() { return }
                frames.borrow_and_update().clone()
            }
            () = tokio::time::sleep(patience.min(SIGN_OF_LIFE_EVERY)) => {
                if is_behind { continue }
                Bytes::from_static(b":\n\n")
            }
        };
        // Whoever does not take it gets the next one.
        if let Err(mpsc::error::TrySendError::Closed(_)) = sender.try_send(frame) {
            return;
        }
    }
}

impl Shared {
    /// What a visitor is to be told: that it was called, let in, or that it is over. `told` is what it was told last.
    async fn own_event(
        &self,
        room: &Room,
        core: &Ticket,
        ticket: &Shown,
        told: &mut Option<Stage>,
    ) -> Option<Bytes> {
        let answer = self.store.look(&room.name, core).await.ok()?;
        let stage = Stage::of(&answer)?;
        if told.replace(stage) == Some(stage) {
            return None;
        }
        let seat = self.seat_without_pass(room, &answer, ticket).await?;
        let own = event("seat", &super::calls::seat_json(&seat));
        Some(if stage == Stage::Over { [b"id: ", OVER.as_bytes(), b"\n", &own].concat().into() } else { own })
    }

    async fn seat_without_pass(&self, room: &Room, told: &Told, ticket: &Shown) -> Option<Seat> {
        let status = self.store.status(&room.name).await;
        let status = status.inspect_err(|error| drop(problem_of(error))).ok()?;
        let facts = Facts { room, told, status: &status, ticket: Some(ticket), pass: None, return_to: None };
        Some(self.seat(facts))
    }
}

/// What a visitor is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Ready { until: Timestamp },
    Admitted,
    Over,
}

impl Stage {
    fn of(told: &Told) -> Option<Self> {
        match &told.answer {
            Answer::Waiting(_) | Answer::Done | Answer::Refused(_) => None,
            Answer::Ready(ready) => Some(Self::Ready { until: ready.claim_until }),
            Answer::Admitted(_) => Some(Self::Admitted),
            Answer::Lapsed | Answer::Left => Some(Self::Over),
        }
    }
}

/// One event: its data is JSON, which has no line ends.
fn event(name: &str, data: &[u8]) -> Bytes {
    let mut text = Vec::with_capacity(data.len() + name.len() + 16);
    text.extend_from_slice(b"event: ");
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(b"\ndata: ");
    text.extend_from_slice(data);
    text.extend_from_slice(b"\n\n");
    Bytes::from(text)
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
