//! What can be asked of a room.

use super::number::{Identity, Prefix, QueueNumber, Visitor};
use super::settings::Settings;
use crate::time::{Micros, Timestamp};

/// A visitor's place as its signed ticket tells it. The signature was checked outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// The room's epoch when the ticket was given.
    pub epoch: u32,
    /// The number.
    pub number: QueueNumber,
    /// Who it was given to. Tells a room that has lost its state whose the place is.
    pub visitor: Visitor,
}

impl Ticket {
    /// The ticket without what names the visitor, which is enough for a room that has lost nothing.
    #[must_use]
    pub fn new(epoch: u32, number: QueueNumber) -> Self {
        Self { epoch, number, visitor: Visitor::default() }
    }

    /// The same ticket, naming the visitor.
    #[must_use]
    pub const fn of(mut self, identity: Option<Identity>, prefix: Option<Prefix>) -> Self {
        self.visitor = Visitor { identity, prefix };
        self
    }
}

/// A session as its signed pass tells it. The signature was checked outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pass {
    /// The ticket of the visitor who was admitted.
    pub ticket: Ticket,
    /// When the session began.
    pub start: Timestamp,
    /// Until when the pass is valid.
    pub deadline: Timestamp,
}

/// Whether visitors are let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RoomState {
    /// As the settings say.
    #[default]
    Open,
    /// Nobody is called. Who was called may come in, and sessions go on.
    Paused,
    /// Nobody new may join. The line is served to its end.
    Draining,
    /// Nobody is let in, not even who was called; the line is told. Sessions go on.
    Closed,
}

impl RoomState {
    /// The name in configuration and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            RoomState::Open => "open",
            RoomState::Paused => "paused",
            RoomState::Draining => "draining",
            RoomState::Closed => "closed",
        }
    }
}

/// Who is to go when a room is flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flush {
    /// Everybody who waits or was called. Sessions go on.
    Line,
    /// Sessions, too; what becomes of their seats is said by [`super::EarlyEnd`].
    Everybody,
}

/// A room that goes on after its store or its node was away. Renewed leases and heartbeats may not have been written, so
/// every ticket and session it knows is presumed to be live. It has to be the first command after a state was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Resume {
    /// The new epoch, above every earlier one.
    pub epoch: u32,
    /// The longest lease that can be out, at most [`super::MAX_LEASE`]: until then every ticket is presumed to be live.
    pub longest_lease: Micros,
    /// What may have been lost; `None` where every event was kept that [`super::Event::may_be_lost`] is not true of.
    pub lost: Option<Lost>,
}

/// What may be missing in a state that was restored. Nobody is admitted before the longest lease and the longest pass have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lost {
    /// Up to which number everybody is known to have left the line; 0 where nothing is known.
    pub serving: u64,
    /// A number that is not below any that was given. Tickets above it are not taken back, so it has to be at least what
    /// was known last, and what can have been given since. Those between what is known and this are presumed to be live.
    pub last: u64,
}

/// What can be asked of a room. Whatever changes it is one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A visitor comes. One that has a seat is told which; one that finds nobody waiting and the gates open is let in.
    Join(Visitor),
    /// A visitor asks how it stands, and by that keeps its place. Before it is due, nothing changes.
    Poll(Ticket),
    /// A called visitor comes in. Asked again, it is told the same session.
    Claim(Ticket),
    /// A called visitor needs more time.
    ExtendClaim(Ticket),
    /// A visitor who was let in is still there. One who waits polls by it.
    Heartbeat(Ticket),
    /// A visitor who was let in asks for the session limit anew.
    Renew(Ticket),
    /// A visitor shows its pass. A room that has lost the session takes it back.
    Return(Pass),
    /// A visitor gives up its place, its call or its session.
    Leave(Ticket),
    /// The origin ends a session, or takes a visitor out of the line.
    End(QueueNumber),
    /// The operator lets one visitor in before its turn, or the next in line, past the release rate and a pause. It is
    /// called, and has to claim. The capacity holds.
    AdmitOne(Option<QueueNumber>),
    /// The operator changes the state.
    SetState(RoomState),
    /// The operator changes the settings.
    Change(Box<Settings>),
    /// What the draw is mixed with, which the operator does not choose: once, before the opening.
    Beacon([u8; 32]),
    /// The operator empties the room. Tickets and passes given before are of an earlier epoch then.
    Flush(Flush),
    /// The room goes on after its state was restored.
    Resume(Resume),
    /// Do what is due.
    Turn,
}
