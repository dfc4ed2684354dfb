//! Messages to the other nodes: what gathers while some are under way goes out together in the next batch.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use redis::{Value, cmd};
use tidegate_store::rooms::shared::{MAX_PIECE_BYTES, NodeId};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::clock::ServerClock;
use super::keys::RoomKeys;
use crate::link::{Refusal, server_time};
use crate::order::Failure;
use crate::router::Router;

/// Messages that may wait to be sent.
const MAX_WAITING: usize = 8_192;
/// Their bytes.
const MAX_WAITING_BYTES: usize = 16 << 20;
/// The most messages of one batch.
const MAX_BATCH: usize = 512;
/// No message is added to a batch that has so many bytes: it has to be done within [`CALL`] on a slow network too.
const MAX_BATCH_BYTES: usize = 512 << 10;
/// A message that has waited for longer is not sent; it is sent within [`CALL`] from then, or not at all.
const MAX_AGE: Duration = Duration::from_millis(500);
/// How long a batch may take.
const CALL: Duration = Duration::from_millis(500);
/// How soon messages are tried again that could not be sent.
const PAUSE: Duration = Duration::from_millis(20);
/// How often a node sends itself a message, and asks for the time.
pub(super) const BEAT: Duration = Duration::from_millis(500);

/// What a node knows of its messages to itself.
#[derive(Debug, Default)]
pub(super) struct Echo {
    /// The node, once it listens.
    pub(super) node: OnceLock<NodeId>,
    /// How many have been sent for sure.
    pub(super) sent: AtomicU64,
    /// Which node of a Cluster messages go over: another one where this grows, as it does after a failure.
    pub(super) turn: AtomicU64,
}

/// Sends messages.
#[derive(Debug)]
pub(super) struct Publisher {
    queue: mpsc::Sender<Outgoing>,
    bytes: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Outgoing {
    since: Instant,
    to: Option<NodeId>,
    message: Bytes,
}

impl Publisher {
    /// Starts to send. It ends when the publisher is dropped.
    pub(super) fn start(
        router: Arc<Router>,
        keys: RoomKeys,
        clock: Arc<ServerClock>,
        echo: Arc<Echo>,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(MAX_WAITING);
        let bytes = Arc::new(AtomicUsize::new(0));
        let courier = Courier {
            router,
            to_all: keys.to_all().into(),
            keys,
            clock,
            echo,
            waiting,
            bytes: Arc::clone(&bytes),
            refused: None,
        };
        tokio::spawn(courier.run());
        Self { queue, bytes }
    }

    /// Sends a message; false where that is not possible.
    pub(super) fn send(&self, to: Option<NodeId>, message: Bytes) -> bool {
        let length = message.len();
        if length > MAX_PIECE_BYTES {
            return false;
        }
        if self.bytes.fetch_add(length, Ordering::AcqRel).saturating_add(length) > MAX_WAITING_BYTES {
            self.bytes.fetch_sub(length, Ordering::AcqRel);
            return false;
        }
        let is_queued = self.queue.try_send(Outgoing { since: Instant::now(), to, message }).is_ok();
        if !is_queued {
            self.bytes.fetch_sub(length, Ordering::AcqRel);
        }
        is_queued
    }
}

/// Takes messages to the server.
struct Courier {
    router: Arc<Router>,
    keys: RoomKeys,
    to_all: Bytes,
    clock: Arc<ServerClock>,
    echo: Arc<Echo>,
    waiting: mpsc::Receiver<Outgoing>,
    bytes: Arc<AtomicUsize>,
    /// Why messages were not passed on, as was said last.
    refused: Option<Refusal>,
}

impl Courier {
    async fn run(mut self) {
        let mut batch: Vec<Outgoing> = Vec::new();
        let mut beats = interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut is_beat = false;
            tokio::select! {
                first = self.waiting.recv() => match first {
                    Some(first) => self.gather(first, &mut batch),
                    None => return,
                },
                _ = beats.tick() => is_beat = true,
            }
            self.send(&mut batch, is_beat).await;
        }
    }

    /// Puts together what waits.
    fn gather(&mut self, first: Outgoing, batch: &mut Vec<Outgoing>) {
        let mut bytes = first.message.len();
        batch.push(first);
        while batch.len() < MAX_BATCH
            && bytes < MAX_BATCH_BYTES
            && let Ok(next) = self.waiting.try_recv()
        {
            bytes += next.message.len();
            batch.push(next);
        }
    }

    /// Sends a batch, as long as it is young and surely not sent.
    async fn send(&mut self, batch: &mut Vec<Outgoing>, is_beat: bool) {
        loop {
            self.forget(batch, |message| message.since.elapsed() > MAX_AGE);
            if batch.is_empty() && !is_beat {
                return;
            }
            let outcome = self.publish(batch, is_beat).await;
            if outcome.is_err() {
                self.echo.turn.fetch_add(1, Ordering::AcqRel);
            }
            let again = matches!(outcome, Err(Failure::NotDone(_))) && !batch.is_empty();
            if !again {
                self.forget(batch, |_| true);
                return;
            }
            sleep(PAUSE).await;
        }
    }

    async fn publish(&mut self, batch: &[Outgoing], is_beat: bool) -> Result<(), Failure> {
        let beat = self.beat().filter(|_| is_beat);
        let commands = self.commands(batch, beat);
        let (sent, route) = (Instant::now(), self.keys.anywhere(self.echo.turn.load(Ordering::Acquire)));
        let replies = self.router.command(&route, sent + CALL, move |_| {
            let time = is_beat.then(|| cmd("TIME"));
            let messages = commands.iter().map(|(channel, message)| {
                let mut command = cmd("PUBLISH");
                command.arg(&**channel).arg(&**message);
                command
            });
            time.into_iter().chain(messages).collect()
        });
        let replies = replies.await?;
        let received = Instant::now();
        self.passed_on(&replies)?;
        if is_beat && let Some(time) = replies.first().and_then(|reply| server_time(reply.as_ref().ok()?)) {
            self.clock.note(sent, received, time);
        }
        if let (Some((_, number)), Some(Ok(_))) = (beat, replies.get(1)) {
            self.echo.sent.store(number, Ordering::Release);
        }
        Ok(())
    }

    /// The node that sends itself a message, and the message's number.
    fn beat(&self) -> Option<(NodeId, u64)> {
        self.echo.node.get().map(|node| (*node, self.echo.sent.load(Ordering::Acquire) + 1))
    }

    /// What is told on which channels, that of the node to itself first.
    fn commands(&self, batch: &[Outgoing], beat: Option<(NodeId, u64)>) -> Vec<(Bytes, Bytes)> {
        let beat = beat.map(|(node, number)| (self.keys.to_itself(node).into(), number.to_string().into()));
        let messages = batch.iter().map(|Outgoing { to, message, .. }| {
            let channel = to.map_or_else(|| self.to_all.clone(), |node| self.keys.to_node(node).into());
            (channel, message.clone())
        });
        beat.into_iter().chain(messages).collect()
    }

    /// Says what the server refused; an error where it was everything, and may be otherwise soon.
    fn passed_on(&mut self, replies: &[Result<Value, Refusal>]) -> Result<(), Failure> {
        let refusals = || replies.iter().filter_map(|reply| reply.as_ref().err());
        let Some(refusal) = refusals().next() else {
            self.refused = None;
            return Ok(());
        };
        // Once for each new reason, not for each message.
        if self.refused.replace(refusal.clone()).as_ref() != Some(refusal) {
            tracing::warn!(%refusal, "the server does not pass on messages between nodes");
        }
        if refusals().filter(|refusal| refusal.is_transient()).count() == replies.len() {
            return Err(Failure::NotDone(refusal.to_string()));
        }
        Ok(())
    }

    /// Takes messages out of a batch.
    fn forget(&self, batch: &mut Vec<Outgoing>, which: impl Fn(&Outgoing) -> bool) {
        let gone: usize =
            batch.extract_if(.., |message| which(message)).map(|message| message.message.len()).sum();
        self.bytes.fetch_sub(gone, Ordering::AcqRel);
    }
}
