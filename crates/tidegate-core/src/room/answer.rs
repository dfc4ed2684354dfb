//! What a room answers. A refusal is a value: nothing here is a fault.

use core::fmt;

use super::command::RoomState;
use super::number::QueueNumber;
use crate::time::{Micros, Timestamp};

/// The answer to one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The visitor waits.
    Waiting(Waiting),
    /// The visitor was called, and has to claim.
    Ready(Ready),
    /// The visitor is inside.
    Admitted(Admitted),
    /// The ticket or the session is over: left, not renewed in time, not claimed, ended or flushed. Its place is lost, and the
    /// visitor has to join again.
    Lapsed,
    /// The visitor has left.
    Left,
    /// The operator's or the origin's command is done.
    Done,
    /// Nothing was changed.
    Refused(Refusal),
}

/// How a visitor in the line stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its number.
    pub number: QueueNumber,
    /// How many live tickets are ahead of it, of which it is sure that they never become more. `None` before a shuffled opening and
    /// where the order is random.
    pub position: Option<u64>,
    /// How long it is likely to wait; `None` while nobody was ever called.
    pub estimated_wait: Option<EstimatedWait>,
    /// When to poll next, from now.
    pub poll_after: Micros,
    /// Until when its place is kept without a poll.
    pub lease_until: Timestamp,
    /// Why nobody is called; `None` while visitors are.
    pub halt: Option<Halt>,
}

/// A hint, never a promise: four in five wait for a time in this range if everything goes on as it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EstimatedWait {
    /// One in ten is sooner.
    pub low: Micros,
    /// One in ten is later.
    pub high: Micros,
    /// Why waits have become longer, where they have in the last five minutes.
    pub slower: Option<Slower>,
}

/// Why the estimated wait has grown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slower {
    /// Nobody is, or was, called for a while, because the operator paused or closed the room, or it was being restored.
    Paused,
    /// The operator lowered the capacity or the release rate.
    Cut,
    /// Fewer seats become free than did.
    Release,
}

/// Why nobody is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// The operator closed the room.
    Closed,
    /// The room opens later.
    NotYetOpen {
        /// When.
        opens_at: Timestamp,
    },
    /// State was lost; the room counts as full until nothing that is unknown can still be valid.
    Recovering {
        /// Until when.
        until: Timestamp,
    },
    /// The operator paused the room.
    Paused,
}

/// How a called visitor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Its number.
    pub number: QueueNumber,
    /// When the call is over and the place lost.
    pub claim_until: Timestamp,
    /// How often it can still ask for more time.
    pub extensions_left: u16,
    /// When to poll next, from now.
    pub poll_after: Micros,
}

/// How a visitor who was let in stands. A pass with this deadline is to be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// Its number.
    pub number: QueueNumber,
    /// When the session began; it never changes.
    pub start: Timestamp,
    /// When the session ends if no heartbeat comes: the expiry of the pass.
    pub deadline: Timestamp,
    /// When the session ends whatever comes; `None` without a limit.
    pub limit_at: Option<Timestamp>,
    /// How often it can still ask for the limit anew.
    pub renewals_left: u16,
    /// When to send the next heartbeat, from now.
    pub heartbeat_after: Micros,
}

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// As many wait as may, or the room has no more numbers.
    LineFull,
    /// There is no seat now, and nobody waits in this room.
    NoSeat,
    /// The address prefix has all the seats it may have.
    PrefixFull,
    /// Nobody new may join: the line is served to its end.
    Draining,
    /// The room is closed.
    Closed,
    /// There is nobody to let in.
    NobodyWaiting,
    /// State was lost, and who is inside is not known yet.
    Recovering,
    /// The claim was extended as often as it may be.
    NoExtensionLeft,
    /// The session was renewed as often as it may be.
    NoRenewalLeft,
    /// The opening is over, or its draw is committed to: neither can be changed.
    OpeningFixed,
    /// The ticket is of a later epoch than this room: somebody else leads it, and this state is old.
    StaleRoom,
    /// A room can only go on in a later epoch.
    StaleEpoch,
    /// More tickets would have to be presumed live than may wait, or the longest lease is longer than any.
    LossTooLarge,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::LineFull => "the line is full; try again later",
            Refusal::NoSeat => "the room is full and has no line; try again later",
            Refusal::PrefixFull => "this network has all the seats that one network may have",
            Refusal::Draining => "the room takes nobody new",
            Refusal::Closed => "the room is closed",
            Refusal::NobodyWaiting => "nobody waits in this room",
            Refusal::Recovering => "the room is finding out who is inside; try again later",
            Refusal::NoExtensionLeft => "the time to claim was extended as often as it may be",
            Refusal::NoRenewalLeft => "the session was renewed as often as it may be",
            Refusal::OpeningFixed => {
                "the opening is over or its draw is committed to; use a new room for another one"
            }
            Refusal::StaleRoom => {
                "the ticket is of a later epoch: this state is old and must not be used; load the present one"
            }
            Refusal::StaleEpoch => "a room goes on in a later epoch only",
            Refusal::LossTooLarge => {
                "more may be lost than can wait, or for longer than any lease; start a new room"
            }
        })
    }
}

/// Whether a visitor would be called now, and if not, why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It would.
    Open,
    /// Nobody is called.
    Halted(Halt),
    /// All seats are taken.
    Full,
    /// The release rate was used.
    Rate {
        /// From when the next one can be called.
        until: Timestamp,
    },
}

/// A room at one instant, for operators and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The epoch.
    pub epoch: u32,
    /// The state.
    pub state: RoomState,
    /// Live tickets in the line.
    pub waiting: u64,
    /// Visitors who were called and have not claimed yet.
    pub ready: u64,
    /// Sessions.
    pub active: u64,
    /// Seats of sessions that ended before their pass.
    pub held: u64,
    /// Up to which place everybody has left the line. Never falls.
    pub serving_number: u64,
    /// The number that the next one to join gets.
    pub next_number: u64,
    /// Whether the next in line would be called now.
    pub gate: Gate,
    /// The time from one call to the next that estimates are made from; `None` while nobody was ever called.
    pub pace: Option<Micros>,
}
