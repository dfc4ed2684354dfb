//! What a node is told: one connection that listens, made again whenever it is lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tidegate_store::rooms::shared::{Heard, MAX_PIECE_BYTES, NodeId};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::keys::RoomKeys;
use super::publish::{BEAT, Echo};
use crate::link::{ConnectError, Push, Reconnect, Subscription};
use crate::router::Router;

/// Messages that may wait for whoever listens: the connection is not read while there are as many.
const MAX_WAITING: usize = 128;
/// A connection on which nothing has come for so long is dead.
const SILENCE: Duration = Duration::from_secs(2);
/// So many messages of a node to itself are surely sent and have not come: they come out elsewhere.
const MISSED: u64 = 4;

/// Starts to listen; ends when the receiver is dropped. Only once: a second time nothing is heard.
pub(super) fn start(
    router: Arc<Router>,
    keys: &RoomKeys,
    node: NodeId,
    echo: Arc<Echo>,
) -> mpsc::Receiver<Heard> {
    let (heard, receiver) = mpsc::channel(MAX_WAITING);
    if echo.node.set(node).is_err() {
        tracing::error!("a node listens twice; the second one hears nothing");
        return receiver;
    }
    let channels = [keys.to_all(), keys.to_node(node), keys.to_itself(node)];
    tokio::spawn(Listener { router, channels, echo, heard }.run());
    receiver
}

struct Listener {
    router: Arc<Router>,
    /// That of all nodes, that of this one, and that of its messages to itself.
    channels: [Vec<u8>; 3],
    echo: Arc<Echo>,
    heard: mpsc::Sender<Heard>,
}

/// Why listening ended.
enum End {
    /// Nobody wants to hear any more.
    Unwanted,
    Lost(String),
}

impl Listener {
    async fn run(self) {
        let mut pace = Reconnect::new(Instant::now(), fastrand::Rng::new());
        let mut random = fastrand::Rng::new();
        let mut reason: Option<ConnectError> = None;
        loop {
            tokio::select! {
                () = sleep_until(pace.next_at()) => {}
                () = self.heard.closed() => return,
            }
            if !pace.begin(Instant::now()) {
                continue;
            }
            let connector = self.router.some_node(&mut random);
            let subscription = match connector {
                Some(connector) => connector.subscribe(&self.channels).await,
                None => Err(ConnectError::NoPrimary("no node of the Cluster is known".to_owned())),
            };
            match subscription {
                Ok(subscription) => {
                    pace.succeeded(Instant::now());
                    reason = None;
                    match self.hear(subscription).await {
                        End::Unwanted => return,
                        End::Lost(why) => {
                            tracing::warn!(why, "messages of other nodes are not heard any more");
                        }
                    }
                    if self.heard.send(Heard::Down).await.is_err() {
                        return;
                    }
                    pace.lost(Instant::now());
                }
                Err(error) => {
                    pace.failed(Instant::now());
                    // Once for each new reason, not for each attempt.
                    if reason.as_ref() != Some(&error) {
                        tracing::warn!(reason = %error, "no connection to hear messages of other nodes");
                    }
                    reason = Some(error);
                }
            }
        }
    }

    async fn hear(&self, mut subscription: Subscription) -> End {
        if self.heard.send(Heard::Up).await.is_err() {
            return End::Unwanted;
        }
        let mut own = self.echo.sent.load(Ordering::Acquire);
        let mut last = Instant::now();
        let mut look = last + BEAT;
        loop {
            tokio::select! {
                // What has come is heard before anybody judges the silence.
                biased;
                push = subscription.next() => {
                    match push {
                        Ok(Push::Message { channel, payload }) => {
                            if self.channels.last() == Some(&channel) {
                                own = own.max(number(&payload));
                            } else if payload.len() > MAX_PIECE_BYTES {
                                tracing::warn!(bytes = payload.len(), "a message of another node is too long");
                            } else if self.heard.send(Heard::Message(Bytes::from(payload))).await.is_err() {
                                return End::Unwanted;
                            }
                        }
                        Ok(Push::Pong) => {}
                        Err(error) => return End::Lost(error.to_string()),
                    }
                    last = Instant::now();
                }
                () = self.heard.closed() => return End::Unwanted,
                () = sleep_until(look) => {
                    let now = Instant::now();
                    if now.saturating_duration_since(last) >= SILENCE {
                        return End::Lost("the server is silent".to_owned());
                    }
                    if self.echo.sent.load(Ordering::Acquire) >= own.saturating_add(MISSED) {
                        // Which of the two is at the wrong node nobody knows.
                        self.echo.turn.fetch_add(1, Ordering::AcqRel);
                        return End::Lost("this is not the server over which messages go".to_owned());
                    }
                    if now.saturating_duration_since(last) >= BEAT
                        && let Err(error) = subscription.ping(now + BEAT).await
                    {
                        return End::Lost(error.to_string());
                    }
                    look = now + BEAT;
                }
            }
        }
    }
}

fn number(payload: &[u8]) -> u64 {
    std::str::from_utf8(payload).ok().and_then(|text| text.parse().ok()).unwrap_or_default()
}
