//! Rooms that several nodes share, in Redis: the log of each room, its lease, and messages between the nodes.
//!
//! Commands go over one connection to each server, and those that carry much (snapshots, messages) over a second one; where there is a
//! Cluster both are one. A third connection of the process, to any node, listens.

mod clock;
mod durable;
mod keys;
mod listen;
mod load;
mod publish;
mod scripts;
mod snapshot;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::Value;
use tidegate_core::room::RoomName;
use tidegate_store::rooms::Clock;
use tidegate_store::rooms::shared::{
    Append, Appended, Head, Heard, Loaded, LogError, MAX_PIECE_BYTES, NodeId, RoomLog, Taken,
};
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::clock::ServerClock;
use self::keys::{KeysOfRoom, RoomKeys};
use self::publish::{Echo, Publisher};
use self::scripts::{Call, RoomScripts, Words, garbled, log_error, one};
use crate::driver::{Common, DriverOptions};
use crate::link::ConnectError;
use crate::router::Router;
use crate::settings::RedisSettings;

/// The most entries of one append.
pub const MAX_ENTRIES: usize = 4_096;
/// The most bytes of all entries of one append.
pub const MAX_APPEND_BYTES: usize = 8 << 20;

/// Connections to one server that is not part of a Cluster, besides the one that listens.
const CONNECTIONS: usize = 2;
/// How long a call may take at least, whatever the settings say for buckets: a keeper does not fail for a slow disk.
const MIN_DEADLINE: Duration = Duration::from_secs(1);
/// How long a call may take that carries much.
const LONG_DEADLINE: Duration = Duration::from_secs(5);
/// How long the term of a room that was removed is kept.
const TERM_KEPT: Duration = Duration::from_secs(30 * 24 * 3_600);

/// The logs of rooms in Redis or Valkey. Clones share connections.
///
/// Where the server may have lost terms, or everything, a room's next term is at least the milliseconds of the server's clock, so that no
/// two keepers have the same.
#[derive(Clone, Debug)]
pub struct RedisRoomLog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    router: Arc<Router>,
    keys: RoomKeys,
    scripts: Arc<RoomScripts>,
    publisher: Publisher,
    echo: Arc<Echo>,
    clock: Arc<ServerClock>,
    deadline: Duration,
}

impl RedisRoomLog {
    /// Rooms at these servers. Connects in the background, and again whenever a connection is lost. Must be called within a Tokio
    /// runtime. `local` tells the time while the server's is not known.
    ///
    /// # Errors
    /// The certificates to trust cannot be read.
    pub fn new(settings: &RedisSettings, local: Clock) -> Result<Self, ConnectError> {
        let deadline = settings.call_deadline().max(MIN_DEADLINE);
        let common = Arc::new(Common::new(DriverOptions::for_commands()));
        let router = Arc::new(Router::with_connections(settings, CONNECTIONS, common)?);
        let keys = RoomKeys::new(settings);
        let clock = Arc::new(ServerClock::new(local));
        let echo = Arc::new(Echo::default());
        let publisher =
            Publisher::start(Arc::clone(&router), keys.clone(), Arc::clone(&clock), Arc::clone(&echo));
        let scripts = Arc::new(RoomScripts::new());
        Ok(Self { shared: Arc::new(Shared { router, keys, scripts, publisher, echo, clock, deadline }) })
    }

    /// Waits until the first connections stand or could not be made.
    pub async fn wait_until_tried(&self) {
        self.shared.router.wait_until_tried().await;
    }

    /// A clock that shows what the server's shows, as far as its replies tell, and never goes back. It shows the local time
    /// until the first reply. In a Cluster it is the clock of any node. Cheap to ask.
    #[must_use]
    pub fn clock(&self) -> Clock {
        let clock = Arc::clone(&self.shared.clock);
        Arc::new(move || clock.now(Instant::now()))
    }
}

impl RoomLog for RedisRoomLog {
    async fn rooms(&self) -> Result<Vec<RoomName>, LogError> {
        let directory = self.shared.keys.directory();
        let Value::Array(names) = self.shared.command(directory, "SMEMBERS", &[]).await? else {
            return Err(garbled());
        };
        names.iter().map(room_name).collect()
    }

    async fn take(
        &self,
        room: &RoomName,
        node: NodeId,
        lease: Duration,
        make: bool,
    ) -> Result<Taken, LogError> {
        let keys = self.shared.keys.of(room);
        let arguments = [node.0.to_string(), millis(lease), u8::from(make).to_string()];
        let call = Call {
            script: |scripts| &scripts.take,
            route: keys.short(),
            keys: vec![keys.head(), keys.lease(), keys.entries()],
            arguments: arguments.map(Bytes::from).into(),
            within: self.shared.deadline,
        };
        let answer = self.shared.words(call).await?;
        match answer.read()? {
            ("y", [term, last, same, former]) => {
                if make {
                    self.shared.list(room).await?;
                }
                let may_have_lost = same == 0 && self.shared.forgets(&keys).await;
                Ok(Taken::Yours(Head { term, former, last, may_have_lost }))
            }
            ("k", [term, by, ..]) => Ok(Taken::Kept { by: NodeId(by), term }),
            ("n", [was_removed, ..]) => {
                self.shared.unlist(room, &keys).await?;
                Ok(Taken::NoRoom { was_removed: was_removed == 1 })
            }
            _ => Err(garbled()),
        }
    }

    async fn append(&self, room: &RoomName, append: Append<'_>) -> Result<Appended, LogError> {
        let Append { term, after, entries, tell, lease } = append;
        within_bounds(entries.iter().chain([tell]))?;
        let bytes: usize = entries.iter().map(Bytes::len).sum();
        if entries.len() > MAX_ENTRIES || bytes > MAX_APPEND_BYTES {
            let why =
                format!("an append has at most {MAX_ENTRIES} entries of {MAX_APPEND_BYTES} bytes in all");
            return Err(LogError::NotDone(why));
        }
        let keys = self.shared.keys.of(room);
        let numbers = [term.to_string(), after.to_string(), millis(lease)].map(Bytes::from);
        let told = [self.shared.keys.to_all().into(), tell.clone()];
        let call = Call {
            script: |scripts| &scripts.append,
            route: keys.short(),
            keys: vec![keys.head(), keys.lease(), keys.entries()],
            arguments: numbers.into_iter().chain(told).chain(entries.iter().cloned()).collect(),
            within: self.shared.deadline,
        };
        appended(&self.shared.words(call).await?)
    }

    async fn load(&self, room: &RoomName, after: u64) -> Result<Loaded, LogError> {
        self.shared.load(&self.shared.keys.of(room), after).await
    }

    async fn put_snapshot(
        &self,
        room: &RoomName,
        term: u64,
        last: u64,
        pieces: &[Bytes],
    ) -> Result<Appended, LogError> {
        within_bounds(pieces)?;
        self.shared.put_snapshot(&self.shared.keys.of(room), term, last, pieces).await
    }

    async fn release(&self, room: &RoomName, term: u64) -> Result<(), LogError> {
        let keys = self.shared.keys.of(room);
        let call = Call {
            script: |scripts| &scripts.release,
            route: keys.short(),
            keys: vec![keys.head(), keys.lease()],
            arguments: vec![term.to_string().into()],
            within: self.shared.deadline,
        };
        self.shared.words(call).await.map(|_| ())
    }

    async fn remove(&self, room: &RoomName, term: u64) -> Result<Appended, LogError> {
        let keys = self.shared.keys.of(room);
        let call = Call {
            script: |scripts| &scripts.remove,
            route: keys.short(),
            keys: vec![keys.head(), keys.lease(), keys.entries(), keys.pieces_stem()],
            arguments: vec![term.to_string().into(), millis(TERM_KEPT).into()],
            within: self.shared.deadline,
        };
        let outcome = appended(&self.shared.words(call).await?)?;
        if outcome == Appended::Kept {
            self.shared.unlist(room, &keys).await?;
        }
        Ok(outcome)
    }

    fn send(&self, to: Option<NodeId>, message: Bytes) -> bool {
        self.shared.publisher.send(to, message)
    }

    fn listen(&self, node: NodeId) -> mpsc::Receiver<Heard> {
        listen::start(Arc::clone(&self.shared.router), &self.shared.keys, node, Arc::clone(&self.shared.echo))
    }
}

impl Shared {
    /// One command on one key.
    async fn command(&self, key: Vec<u8>, name: &str, arguments: &[&[u8]]) -> Result<Value, LogError> {
        let mut command = redis::cmd(name);
        command.arg(&key).arg(arguments);
        let replies =
            self.router.command(&key, Instant::now() + self.deadline, move |_| vec![command.clone()]);
        one(replies.await.map_err(|failure| log_error(&failure))?)
    }

    /// Puts a room that is there on the list of all.
    async fn list(&self, room: &RoomName) -> Result<(), LogError> {
        let directory = self.keys.directory();
        self.command(directory, "SADD", &[room.as_str().as_bytes()]).await.map(|_| ())
    }

    /// Takes a room that is not there off the list of all. The list is on another server than the room may be, so the two cannot be
    /// changed in one step: a room is listed after it was made, and whoever takes one off looks whether it has been made meanwhile.
    async fn unlist(&self, room: &RoomName, keys: &KeysOfRoom) -> Result<(), LogError> {
        let directory = self.keys.directory();
        self.command(directory, "SREM", &[room.as_str().as_bytes()]).await?;
        match self.command(keys.head(), "HEXISTS", &[b"s"]).await? {
            Value::Int(0) => Ok(()),
            _ => self.list(room).await,
        }
    }
}

/// What a script said of a change.
fn appended(answer: &Words) -> Result<Appended, LogError> {
    match answer.read()? {
        ("k", _) => Ok(Appended::Kept),
        ("d", _) => Ok(Appended::Deposed),
        ("b", [last]) => Ok(Appended::Behind { last }),
        _ => Err(garbled()),
    }
}

fn within_bounds<'a>(pieces: impl IntoIterator<Item = &'a Bytes>) -> Result<(), LogError> {
    if pieces.into_iter().all(|piece| piece.len() <= MAX_PIECE_BYTES) {
        return Ok(());
    }
    Err(LogError::NotDone(format!("an entry, a piece or a message has at most {MAX_PIECE_BYTES} bytes")))
}

/// Whole milliseconds, at least one.
fn millis(span: Duration) -> String {
    span.as_millis().max(1).to_string()
}

fn room_name(value: &Value) -> Result<RoomName, LogError> {
    let name = match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok().and_then(|text| RoomName::new(text).ok()),
        _ => None,
    };
    name.ok_or_else(|| LogError::Corrupt("the list of rooms has something in it that is no name".to_owned()))
}
