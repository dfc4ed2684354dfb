//! What the nodes of shared rooms have between them: for each room a log of what has happened in it, which one node at a time
//! may append to, and a way to tell each other something.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use tidegate_core::room::RoomName;
use tokio::sync::mpsc;

/// The most bytes of one entry, one piece of a snapshot, and one message.
pub const MAX_PIECE_BYTES: usize = 512 << 10;

/// A node, for as long as its process lives: random, so that a node that was started again is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u64);

/// A place that several nodes share.
///
/// **Keeper and term.** A room has at most one keeper at a time: the node that holds its lease. Each new keeper has a higher
/// term. Whatever changes a log names its term and does nothing where that is not the present one, so a keeper that
/// was paused or cut off can change nothing any more.
///
/// **Entries** of a room are numbered 1, 2, 3 … without a gap, whoever keeps it. A snapshot stands for all entries up to one of
/// them, which are then forgotten.
///
/// A call that ends in [`LogError::Unknown`] may have been done. All of them may be made again: an append that was done
/// is found to be done.
pub trait RoomLog: Send + Sync + 'static {
    /// The names of the rooms there are, in any order.
    fn rooms(&self) -> impl Future<Output = Result<Vec<RoomName>, LogError>> + Send;

    /// Makes this node the keeper of a room that has none, for as long as `lease`. A room that is not there is made where `make`
    /// is true: its log is empty then. The keeper that asks again has a new term.
    fn take(
        &self,
        room: &RoomName,
        node: NodeId,
        lease: Duration,
        make: bool,
    ) -> impl Future<Output = Result<Taken, LogError>> + Send;

    /// Appends `entries` after entry `after`, holds the room for another `lease`, and tells all nodes `tell` (not at all where it is
    /// empty), in one step. Without entries it only holds the room and tells.
    fn append(
        &self,
        room: &RoomName,
        append: Append<'_>,
    ) -> impl Future<Output = Result<Appended, LogError>> + Send;

    /// The snapshot, if `after` is before it, and all entries after both.
    fn load(&self, room: &RoomName, after: u64) -> impl Future<Output = Result<Loaded, LogError>> + Send;

    /// Puts a snapshot in place that stands for all entries up to `last`, and forgets those. Where the log has fewer entries, because
    /// the place has lost some, it goes on from `last`.
    fn put_snapshot(
        &self,
        room: &RoomName,
        term: u64,
        last: u64,
        pieces: &[Bytes],
    ) -> impl Future<Output = Result<Appended, LogError>> + Send;

    /// Gives up the room, so that another node can take it at once.
    fn release(&self, room: &RoomName, term: u64) -> impl Future<Output = Result<(), LogError>> + Send;

    /// Removes the room and its log. Its terms go on where they were, should it be made again.
    fn remove(&self, room: &RoomName, term: u64) -> impl Future<Output = Result<Appended, LogError>> + Send;

    /// Sends a message to a node, or to all of them, this one included. It may be lost; it is not sent later than a second from now. False where
    /// too many wait to be sent; nothing was sent then.
    fn send(&self, to: Option<NodeId>, message: Bytes) -> bool;

    /// What this node is sent from here on. Called once.
    fn listen(&self, node: NodeId) -> mpsc::Receiver<Heard>;
}

/// What is to be appended.
#[derive(Clone, Copy, Debug)]
pub struct Append<'a> {
    /// The keeper's term.
    pub term: u64,
    /// The last entry that is there.
    pub after: u64,
    /// The entries.
    pub entries: &'a [Bytes],
    /// What all nodes are told once they are there.
    pub tell: &'a Bytes,
    /// For how long the room is held from now.
    pub lease: Duration,
}

/// Who keeps a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// This node, from now on.
    Yours(Head),
    /// Another one.
    Kept {
        /// Which.
        by: NodeId,
        /// Its term.
        term: u64,
    },
    /// There is no such room.
    NoRoom {
        /// Whether there was one that was removed, as far as the place remembers. Otherwise it was never made, or the place has lost it:
        /// a node that knows the room can make it again and put a snapshot.
        was_removed: bool,
    },
}

/// What a new keeper finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its term.
    pub term: u64,
    /// The term of the keeper before, 0 where there was none: of the last one that the place knows of, which may have lost later ones.
    pub former: u64,
    /// The last entry; 0 where there is none and no snapshot.
    pub last: u64,
    /// Whether entries that were kept may be missing at the end: the place was started again, or is another one, since the last
    /// append.
    pub may_have_lost: bool,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is kept.
    Kept,
    /// Nothing was changed: this is not the present term.
    Deposed,
    /// Nothing was changed: the log ends before, since the place has lost entries. A snapshot makes up for it.
    Behind {
        /// The last entry that is there.
        last: u64,
    },
}

/// A log, or the end of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The last entry that a snapshot stands for, and its pieces.
    pub snapshot: Option<(u64, Vec<Bytes>)>,
    /// Entries with their numbers, in order and without a gap.
    pub entries: Vec<(u64, Bytes)>,
}

/// What a node hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Messages are heard from here on; some before may have been missed.
    Up,
    /// Messages may be missed from here on.
    Down,
    /// A message, or what was told with an append.
    Message(Bytes),
}

/// Why there was no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// It was not done.
    #[error("{0}")]
    NotDone(String),
    /// It may have been done.
    #[error("no answer: {0}")]
    Unknown(String),
    /// What is there is not what was put there.
    #[error("{0}")]
    Corrupt(String),
}
