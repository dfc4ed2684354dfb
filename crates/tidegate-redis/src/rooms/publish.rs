//! Messages to the other nodes: what gathers while some are under way goes out together in the next batch.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use redis::{Cmd, cmd};
use tidegate_store::rooms::shared::{MAX_PIECE_BYTES, NodeId};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::clock::ServerClock;
use super::keys::RoomKeys;
use crate::link::server_time;
use crate::order::Failure;
use crate::router::Router;

/// Messages that may wait to be sent.
const MAX_WAITING: usize = 8_192;
/// Their bytes.
const MAX_WAITING_BYTES: usize = 16 << 20;
/// The most messages of one batch.
const MAX_BATCH: usize = 512;
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
        let sending = Sending {
            router,
            to_all: keys.to_all().into(),
            keys,
            clock,
            echo,
            waiting,
            bytes: Arc::clone(&bytes),
            turn: fastrand::u64(..1_000),
        };
        tokio::spawn(sending.run());
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

struct Sending {
    router: Arc<Router>,
    keys: RoomKeys,
    to_all: Bytes,
    clock: Arc<ServerClock>,
    echo: Arc<Echo>,
    waiting: mpsc::Receiver<Outgoing>,
    bytes: Arc<AtomicUsize>,
    /// Which node of a Cluster is asked: another one after a failure.
    turn: u64,
}

impl Sending {
    async fn run(mut self) {
        let mut batch: Vec<Outgoing> = Vec::new();
        let mut beats = interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut is_beat = false;
            tokio::select! {
                count = self.waiting.recv_many(&mut batch, MAX_BATCH) => if count == 0 {
                    return;
                },
                _ = beats.tick() => is_beat = true,
            }
            self.send(&mut batch, is_beat).await;
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
                self.turn += 1;
            }
            let again = matches!(outcome, Err(Failure::NotDone(_))) && !batch.is_empty();
            if !again {
                self.forget(batch, |_| true);
                return;
            }
            sleep(PAUSE).await;
        }
    }

    async fn publish(&self, batch: &[Outgoing], is_beat: bool) -> Result<(), Failure> {
        let beat = self.echo.node.get().filter(|_| is_beat).map(|node| {
            let number = self.echo.sent.load(Ordering::Acquire) + 1;
            (number, publish(&self.keys.to_itself(*node), number.to_string().as_bytes()))
        });
        let mut commands: Vec<(Bytes, Bytes)> = Vec::with_capacity(batch.len());
        for message in batch {
            let channel =
                message.to.map_or_else(|| self.to_all.clone(), |node| self.keys.to_node(node).into());
            commands.push((channel, message.message.clone()));
        }
        let (number, beat) = beat.unzip();
        let (sent, route) = (Instant::now(), self.keys.anywhere(self.turn));
        let replies = self.router.command(&route, sent + CALL, move |_| {
            let time = is_beat.then(|| cmd("TIME"));
            let messages = commands.iter().map(|(channel, message)| publish(channel, message));
            time.into_iter().chain(beat.clone()).chain(messages).collect()
        });
        let replies = replies.await?;
        let received = Instant::now();
        if let Some(refusal) = replies.iter().find_map(|reply| reply.as_ref().err()) {
            tracing::warn!(%refusal, "the server does not pass on messages between nodes");
            return Ok(());
        }
        if let Some(time) =
            replies.first().filter(|_| is_beat).and_then(|reply| reply.as_ref().ok()).and_then(server_time)
        {
            self.clock.note(sent, received, time);
        }
        if let Some(number) = number {
            self.echo.sent.store(number, Ordering::Release);
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

fn publish(channel: &[u8], message: &[u8]) -> Cmd {
    let mut command = cmd("PUBLISH");
    command.arg(channel).arg(message);
    command
}
