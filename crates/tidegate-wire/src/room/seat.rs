//! What a room answers: the visitor's seat, the room's status, the frame that all who wait share.
//!
//! A [`Standing`] has what belongs to it and nothing else; on the wire it is spread over `state`, `why`, `claim`,
//! `session` and `pass`, and every field is always there, but for `pass_jwt`. Times are Unix seconds; clients go by the `…_ms` and not by
//! their own clock.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tidegate_core::time::Timestamp;

use super::name::RoomName;
use flat::FlatSeat;

mod flat;
#[cfg(test)]
mod tests;

/// A visitor's seat, as join, poll, heartbeat and claim answer it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seat {
    /// The room.
    pub room: RoomName,
    /// Where the visitor stands, with what belongs to it.
    pub standing: Standing,
    /// What the room does.
    pub room_state: RoomState,
    /// The signed ticket, of those who have one.
    pub ticket: Option<String>,
    /// The place that was given once.
    pub queue_number: Option<u64>,
    /// Live tickets ahead: 0 is next. Only of those who wait.
    pub position: Option<u64>,
    /// Live tickets in the line.
    pub waiting: u64,
    /// The last number that was called.
    pub serving_number: u64,
    /// How long the wait may be; `None` if nobody can say.
    pub estimated_wait: Option<EstimatedWait>,
    /// How much of the way since joining is done.
    pub progress: Progress,
    /// When the room opens, while it is scheduled.
    pub opens_at: Option<UnixTime>,
    /// What the operator tells all who wait: text, never markup.
    pub message: Option<String>,
    /// When to poll next, in milliseconds from now.
    pub poll_after_ms: u64,
    /// Where to go when admitted: a [`ReturnTo`](super::return_to::ReturnTo).
    pub return_to: Option<String>,
}

/// Where a visitor stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// In the line, or present before the opening.
    Waiting,
    /// Called: may claim.
    Ready(Claim),
    /// Has a session.
    Admitted {
        /// The signed pass; `None` where it is carried by the cookie alone.
        pass: Option<String>,
        /// The same as a JWT, where the server makes them.
        pass_jwt: Option<String>,
        /// The session.
        session: Session,
    },
    /// The place or the session is over.
    Ended(EndedWhy),
    /// Was not let into the line.
    Refused(RefusedWhy),
}

/// The window in which a called visitor claims.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// When it ends.
    pub ends_at: UnixTime,
    /// Time until then, in milliseconds.
    pub left_ms: u64,
    /// How often it can still be made longer.
    pub extensions_left: u32,
}

/// A session on the site.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// When it began.
    pub started_at: UnixTime,
    /// When it ends at the latest.
    pub ends_at: UnixTime,
    /// Time until then, in milliseconds.
    pub left_ms: u64,
    /// How long it lasts without a heartbeat, in milliseconds.
    pub idle_ms: u64,
    /// How often to send heartbeats, in milliseconds.
    pub heartbeat_ms: u64,
    /// Whether it can be had anew when it ends.
    pub renewable: bool,
}

/// A hint with a range, never a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EstimatedWait {
    /// Hardly less, in seconds.
    pub from_s: u64,
    /// Hardly more, in seconds.
    pub to_s: u64,
    /// Why it grew, if it did.
    pub reason: Option<WaitReason>,
}

/// Why a wait grew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitReason {
    /// The room is paused.
    Paused,
    /// Visitors are let in more slowly.
    Slower,
    /// There are fewer sessions to be had.
    Capacity,
}

/// Why a place or a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedWhy {
    /// The session was as long as sessions are.
    SessionLimit,
    /// No heartbeat came.
    Idle,
    /// The visitor left.
    Left,
    /// The visitor was called and did not claim.
    NotClaimed,
    /// The visitor did not poll any more.
    Lapsed,
    /// The operator ended it.
    ByOperator,
    /// The passes of the room were revoked.
    Revoked,
}

/// Why a visitor was not let into the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusedWhy {
    /// The room is closed.
    RoomClosed,
    /// The line is as long as it may be.
    RoomFull,
    /// The room lets nobody new in.
    Draining,
    /// There are too many seats behind this address.
    TooManySeats,
    /// The room turns away whom it cannot admit at once.
    Rejected,
}

/// What a room does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoomState {
    /// Lets visitors join and admits them.
    Open,
    /// Lets visitors join and admits nobody.
    Paused,
    /// Admits those who wait, and lets nobody join.
    Draining,
    /// Neither.
    Closed,
    /// Lets visitors be present before it opens.
    Scheduled,
}

/// What everybody may know of a room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoomStatus {
    /// The room.
    #[serde(with = "super::name")]
    pub room: RoomName,
    /// What it does.
    pub room_state: RoomState,
    /// When it opens, while it is scheduled.
    pub opens_at: Option<UnixTime>,
    /// Live tickets in the line.
    pub waiting: u64,
    /// Sessions.
    pub active: u64,
    /// Most sessions at one time.
    pub capacity: u64,
    /// Admissions a second at most; `None` if only the capacity bounds them.
    pub release_rate: Option<f64>,
    /// The wait of whoever joined now; `None` if nobody can say.
    pub estimated_wait: Option<EstimatedWait>,
    /// What the operator tells all who wait.
    pub message: Option<String>,
    /// The version of the line document.
    pub line_version: u64,
}

/// `event: line`: what all who wait in a room are told, once a second at most.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LineFrame {
    /// The last number that was called.
    pub serving_number: u64,
    /// Live tickets in the line.
    pub waiting: u64,
    /// Admissions a second of late.
    pub rate: f64,
    /// What the room does.
    pub room_state: RoomState,
    /// What the operator tells all who wait.
    pub message: Option<String>,
}

/// A point in time, on the wire as Unix seconds with a fraction of whole milliseconds, rounded down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixTime(pub Timestamp);

/// A part of a way, from 0 to 1 in steps of a ten-thousandth.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize)]
pub struct Progress(f64);

// === impl Progress ===

impl Progress {
    /// All of the way.
    pub const DONE: Self = Self(1.0);

    /// The way from `joined_behind` tickets ahead to `position` tickets ahead: nobody ahead is all of it.
    #[must_use]
    pub fn of_line(position: u64, joined_behind: u64) -> Self {
        if position == 0 {
            return if joined_behind == 0 { Self(0.0) } else { Self::DONE };
        }
        let done = joined_behind.saturating_sub(position);
        Self((done as f64 / joined_behind.max(1) as f64 * 1e4).floor() / 1e4)
    }

    /// The number.
    #[must_use]
    pub const fn as_f64(self) -> f64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Progress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let part = f64::deserialize(deserializer)?;
        if (0.0..=1.0).contains(&part) { Ok(Self(part)) } else { Err(de::Error::custom("must be 0 to 1")) }
    }
}

// === impl UnixTime ===

impl Serialize for UnixTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64((self.0.as_micros() / 1000) as f64 / 1e3)
    }
}

impl<'de> Deserialize<'de> for UnixTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let millis = f64::deserialize(deserializer)? * 1e3;
        if !(0.0..=(Timestamp::MAX.as_micros() / 1000) as f64).contains(&millis) {
            return Err(de::Error::custom("must be Unix seconds, 0 or later"));
        }
        Ok(Self(Timestamp::from_micros(millis.round() as u64 * 1000)))
    }
}

// === impl Seat ===

impl Serialize for Seat {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        FlatSeat::from(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Seat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        FlatSeat::deserialize(deserializer)?.try_into().map_err(de::Error::custom)
    }
}
