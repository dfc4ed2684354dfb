//! What has happened in a room: enough to bring another room to the same state, and to tell an auditor why.

use super::answer::Slower;
use super::command::{Flush, RoomState};
use super::draw::Drawn;
use super::number::{QueueNumber, Visitor};
use super::settings::Settings;
use crate::time::{Micros, Timestamp};

/// One thing that has happened. All events of one command are of one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A visitor stands in the line.
    Joined {
        /// Its number, the next one.
        number: QueueNumber,
        /// What is known of it.
        visitor: Visitor,
        /// Its lease: whole seconds since the Unix epoch.
        lease: u32,
    },
    /// A poll renewed a lease. A journal may leave it out.
    Touched {
        /// Whose.
        number: QueueNumber,
        /// The lease: whole seconds since the Unix epoch.
        lease: u32,
    },
    /// A ticket that was presumed to be live came back, and with it who it belongs to.
    Recognised {
        /// Its number.
        number: QueueNumber,
        /// What is known of the visitor.
        visitor: Visitor,
    },
    /// A visitor who waited has left.
    Left {
        /// Its number.
        number: QueueNumber,
        /// At whose wish.
        by: EndedBy,
    },
    /// A visitor who was called has left.
    Declined {
        /// Its number.
        number: QueueNumber,
        /// At whose wish.
        by: EndedBy,
    },
    /// A lease has ended before the ticket's turn.
    Expired {
        /// Whose.
        number: QueueNumber,
    },
    /// It was the ticket's turn, and its lease had ended.
    Skipped {
        /// Whose.
        number: QueueNumber,
    },
    /// It is the visitor's turn; a seat is kept for it.
    Called {
        /// Whose.
        number: QueueNumber,
        /// At whose wish.
        by: CalledBy,
        /// Until when it has to claim.
        claim_until: Timestamp,
    },
    /// A called visitor has more time.
    ClaimExtended {
        /// Its number.
        number: QueueNumber,
        /// Until when it has to claim.
        claim_until: Timestamp,
    },
    /// A called visitor did not come in time.
    Abandoned {
        /// Its number.
        number: QueueNumber,
    },
    /// A session has begun: of a called visitor, or of one that has just joined and did not have to wait.
    Admitted {
        /// The visitor's number.
        number: QueueNumber,
        /// When the session ends if no heartbeat comes.
        deadline: Timestamp,
        /// When it ends whatever comes.
        limit_at: Option<Timestamp>,
    },
    /// A heartbeat. A journal may leave it out.
    Seen {
        /// Whose.
        number: QueueNumber,
        /// When the session ends if no other comes.
        deadline: Timestamp,
    },
    /// A session has its limit anew.
    Renewed {
        /// Whose.
        number: QueueNumber,
        /// When it ends if no heartbeat comes.
        deadline: Timestamp,
        /// When it ends whatever comes.
        limit_at: Timestamp,
    },
    /// A session is over.
    Ended {
        /// Whose.
        number: QueueNumber,
        /// Why.
        by: EndedBy,
        /// Until when its seat stays taken, because its pass is valid so long; `None` where the seat is free.
        held_until: Option<Timestamp>,
    },
    /// The pass of a session that ended early has expired; the seat is free.
    Freed {
        /// Whose it was.
        number: QueueNumber,
    },
    /// A session that was lost has come back with its pass.
    Returned {
        /// Whose.
        number: QueueNumber,
        /// What is known of the visitor.
        visitor: Visitor,
        /// When it began.
        start: Timestamp,
        /// Until when its pass is valid.
        deadline: Timestamp,
    },
    /// The room has opened.
    Opened {
        /// The draw among those who were there; `None` where they are called as they came.
        drawn: Option<Box<Drawn>>,
    },
    /// What the draw will be mixed with is known.
    BeaconSet([u8; 32]),
    /// The operator changed the state.
    StateSet(RoomState),
    /// The operator changed the settings.
    Changed(Box<Settings>),
    /// The time between calls that estimates are made from has changed.
    Paced {
        /// What it is.
        pace: Micros,
        /// Why it has grown; `None` where it became shorter.
        slower: Option<Slower>,
    },
    /// The operator emptied the room.
    Flushed(Flush),
    /// The room goes on in a new epoch.
    Resumed {
        /// The epoch.
        epoch: u32,
        /// Up to which number everybody is known to have left the line.
        serving: u64,
        /// The last number of earlier epochs. Those that were not known are presumed to be live.
        last: u64,
        /// Until when known leases run at least, and those of presumed tickets: whole seconds since the Unix epoch.
        lease: u32,
        /// Until when nobody is admitted; `None` where nothing was lost.
        hold_until: Option<Timestamp>,
    },
}

/// At whose wish a visitor was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CalledBy {
    /// Nobody's: it was its turn.
    Line,
    /// The operator's, past the order, the release rate or a pause.
    Operator,
}

/// Why a session is over, or a visitor has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndedBy {
    /// The session had its full time.
    Limit,
    /// No heartbeat came.
    Idle,
    /// The visitor left.
    Visitor,
    /// The origin ended it.
    Origin,
}

impl Event {
    /// Whether a journal may leave the event out, because a room that goes on ([`super::Resume`]) makes up for it.
    #[must_use]
    pub const fn may_be_lost(&self) -> bool {
        matches!(self, Event::Touched { .. } | Event::Seen { .. })
    }
}
