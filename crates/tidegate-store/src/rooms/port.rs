//! The room port: what doors and operators ask of any place where rooms are kept.

use std::future::Future;
use std::sync::Arc;

use tidegate_core::room::draw::Drawn;
use tidegate_core::room::{Answer, Command, Event, Listed, Room, RoomName, Settings, Status, Ticket};
use tidegate_core::time::Timestamp;

/// The most rooms that one store keeps.
pub const MAX_ROOMS: usize = 1_000;

/// A place where rooms are kept.
///
/// Every call is one atomic step on one room. The store knows the time; what is told says at which instant it was so.
/// A call that ends in [`RoomError::Timeout`] or [`RoomError::Unavailable`] may have been done nevertheless: asked
/// again, a visitor with an identity is told the same ticket.
pub trait RoomStore: Send + Sync + 'static {
    /// Makes a room, or gives one that is there these settings: [`Answer::Done`], or a refusal that says which of them cannot
    /// be changed any more.
    fn put(
        &self,
        room: &RoomName,
        settings: &Settings,
    ) -> impl Future<Output = Result<Answer, RoomError>> + Send;

    /// Forgets a room and everybody in it. True when it was there.
    fn remove(&self, room: &RoomName) -> impl Future<Output = Result<bool, RoomError>> + Send;

    /// The rooms there are, by name, and their settings.
    fn rooms(&self) -> impl Future<Output = Result<Vec<(RoomName, Settings)>, RoomError>> + Send;

    /// Does a command. What it has changed is kept when the call returns, as far as the store promises.
    fn ask(&self, room: &RoomName, command: &Command)
    -> impl Future<Output = Result<Told, RoomError>> + Send;

    /// How a ticket stands. Changes nothing. May be as old as the store says, but never goes back for one ticket.
    fn look(&self, room: &RoomName, ticket: &Ticket) -> impl Future<Output = Result<Told, RoomError>> + Send;

    /// The room as it stands.
    fn status(&self, room: &RoomName) -> impl Future<Output = Result<RoomStatus, RoomError>> + Send;

    /// How many wait, by blocks of places.
    fn line(&self, room: &RoomName) -> impl Future<Output = Result<LineDocument, RoomError>> + Send;

    /// The first `most` visitors of a room whose number is above `after`, by number. For operators: a store that cannot tell says
    /// so with [`RoomError::Unsupported`], and so does one that says nothing else.
    fn listed(
        &self,
        room: &RoomName,
        after: u64,
        most: usize,
    ) -> impl Future<Output = Result<Vec<Listed>, RoomError>> + Send {
        let _ = (room, after, most);
        std::future::ready(Err(RoomError::Unsupported))
    }

    /// Does what is due in every room, and says when to come again at the latest; `None` where nothing will happen by
    /// itself. What is asked meanwhile can make something due sooner, and watchers are told of it.
    fn turn(&self) -> impl Future<Output = Result<Option<Timestamp>, RoomError>> + Send;

    /// Tells `watcher` of everything that happens in the rooms of this node from here on.
    fn watch(&self, watcher: Arc<dyn RoomWatcher>);
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// It.
    pub answer: Answer,
    /// When it was so.
    pub at: Timestamp,
    /// The room's epoch then, which tickets and passes that are made from the answer carry.
    pub epoch: u32,
}

/// A room at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomStatus {
    /// When.
    pub at: Timestamp,
    /// What is counted.
    pub status: Status,
    /// The settings in force.
    pub settings: Settings,
    /// The draw of the opening, once it was made.
    pub drawn: Option<Drawn>,
}

/// How many wait, by blocks of 512 places: with the draw, all it takes to tell any ticket about where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineDocument {
    /// When.
    pub at: Timestamp,
    /// The room's epoch.
    pub epoch: u32,
    /// Up to which place everybody has left the line.
    pub serving_number: u64,
    /// The number that the next one to join gets.
    pub next_number: u64,
    /// The number of the first block of [`LineDocument::counts`].
    pub first_block: u64,
    /// Live tickets in each block from there on.
    pub counts: Vec<u32>,
    /// The draw of the opening, once it was made.
    pub drawn: Option<Drawn>,
}

impl LineDocument {
    /// That of a room at this instant.
    pub(super) fn of(room: &Room, at: Timestamp) -> Self {
        let status = room.status(at);
        let (first_block, counts) = room.blocks();
        Self {
            at,
            epoch: status.epoch,
            serving_number: status.serving_number,
            next_number: status.next_number,
            first_block,
            counts: counts.collect(),
            drawn: room.drawn().cloned(),
        }
    }
}

/// Somebody who wants to know what happens in rooms: to wake whoever calls [`RoomStore::turn`], to tell visitors, to count.
///
/// Where several nodes share rooms, the watchers of each are told what happens in them, wherever it was asked for. One that was cut
/// off is told afterwards what it has missed, in order; where that is not known any more, it is told only what comes next.
///
/// It is called without any lock held, for one room in the order of what has happened, and must neither wait for anything nor panic.
pub trait RoomWatcher: Send + Sync {
    /// This has happened, all of it at one instant.
    fn happened(&self, room: &RoomName, at: Timestamp, events: &[Event]);

    /// Rooms may have been made or removed, or have other settings without an event that says so: [`RoomStore::rooms`] tells which there
    /// are.
    fn rooms_changed(&self) {}
}

/// Why there was no answer. A refusal is not an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoomError {
    /// The store keeps no such room.
    #[error("there is no such room")]
    UnknownRoom,
    /// [`MAX_ROOMS`] are there.
    #[error("a store keeps at most {MAX_ROOMS} rooms; remove one that is over")]
    TooManyRooms,
    /// No answer in time; it may have been done.
    #[error("the room did not answer in time")]
    Timeout,
    /// The store cannot be reached, or cannot keep what was asked; it may have been done.
    #[error("the room cannot keep this now: {0}")]
    Unavailable(String),
    /// The store does not do this.
    #[error("rooms that are kept here cannot be asked this")]
    Unsupported,
    /// More is asked than can be kept at this speed. Nothing was done.
    #[error("the room is asked more than it can keep up with; try again")]
    Overloaded,
    /// What the store holds cannot be read.
    #[error("what was kept of the room cannot be read: {0}")]
    Corrupt(String),
}

impl RoomError {
    /// Whether the same call may succeed a little later. Asked again, only a join without an identity is done twice.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        match self {
            RoomError::Timeout | RoomError::Unavailable(_) | RoomError::Overloaded => true,
            RoomError::UnknownRoom
            | RoomError::TooManyRooms
            | RoomError::Unsupported
            | RoomError::Corrupt(_) => false,
        }
    }
}
