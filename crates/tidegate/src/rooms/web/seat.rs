//! What the page knows of a visitor: the seat of the wire contract, without its tokens, which no page needs.

use serde::{Deserialize, Serialize};

/// A visitor's place, as the page shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seat {
    /// What became of the visitor.
    pub state: State,
    /// Why it ended or was refused; `None` in the other states.
    #[serde(default)]
    pub why: Option<Why>,
    /// What the room does.
    pub room_state: RoomState,
    /// The visitor's number, from 1; `None` before it has one.
    #[serde(default)]
    pub queue_number: Option<u64>,
    /// Live tickets ahead: 0 is the next. `None` where nobody can say yet.
    #[serde(default)]
    pub position: Option<u64>,
    /// How long it may take; `None` where nobody can say.
    #[serde(default)]
    pub estimated_wait: Option<EstimatedWait>,
    /// The way since joining that is behind the visitor, 0 to 1.
    #[serde(default)]
    pub progress: f64,
    /// When a scheduled room opens, in seconds since the Unix epoch.
    #[serde(default)]
    pub opens_at: Option<f64>,
    /// What the operator says to the line: text, never markup.
    #[serde(default)]
    pub message: Option<String>,
    /// When to ask again, in milliseconds.
    pub poll_after_ms: u64,
    /// The time to go in; only in [`State::Ready`].
    #[serde(default)]
    pub claim: Option<Claim>,
    /// The session; only in [`State::Admitted`].
    #[serde(default)]
    pub session: Option<Session>,
    /// Where the visitor wanted to go. It is checked when a visitor joins; here, what is not a path or a web address of
    /// plain form is not made a link.
    #[serde(default)]
    pub return_to: Option<String>,
}

/// What became of a visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// In line, also before the opening.
    Waiting,
    /// Called: may go in.
    Ready,
    /// Has a session.
    Admitted,
    /// Its session or place is over.
    Ended,
    /// Was not taken.
    Refused,
}

/// Why a place ended, or was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words of the contract")]
pub enum Why {
    SessionLimit,
    Idle,
    Left,
    NotClaimed,
    Lapsed,
    ByOperator,
    Revoked,
    RoomClosed,
    RoomFull,
    Draining,
    TooManySeats,
    Rejected,
}

/// What a room does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoomState {
    /// Takes and lets in.
    Open,
    /// Takes, and lets nobody in.
    Paused,
    /// Takes nobody new.
    Draining,
    /// Neither.
    Closed,
    /// Opens later.
    Scheduled,
}

/// How long it may take, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EstimatedWait {
    /// At least.
    pub from_s: u64,
    /// At most.
    pub to_s: u64,
    /// Why it takes longer than was said before.
    #[serde(default)]
    pub reason: Option<Reason>,
}

/// Why it takes longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words of the contract")]
pub enum Reason {
    Paused,
    Slower,
    Capacity,
}

/// The time to go in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// What is left of it, in milliseconds.
    pub left_ms: u64,
    /// How often it can be made longer.
    pub extensions_left: u32,
}

/// A session.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Its start, in seconds since the Unix epoch.
    pub started_at: f64,
    /// Its end.
    pub ends_at: f64,
    /// What is left of it, in milliseconds.
    pub left_ms: u64,
    /// How often to say that somebody is there, in milliseconds.
    pub heartbeat_ms: u64,
}

/// What a page is about: one headline, one thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    Opening,
    Waiting,
    Paused,
    Ready,
    Admitted,
    Ended,
    Refused,
    Error,
}

impl Stage {
    /// Its name in templates and texts.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Waiting => "waiting",
            Self::Paused => "paused",
            Self::Ready => "ready",
            Self::Admitted => "admitted",
            Self::Ended => "ended",
            Self::Refused => "refused",
            Self::Error => "error",
        }
    }
}

// === impl Seat ===

impl Seat {
    /// What the page of this visitor is about. The page's script has the same.
    pub(super) fn stage(&self) -> Stage {
        match (self.state, self.room_state) {
            (State::Waiting, RoomState::Scheduled) => Stage::Opening,
            (State::Waiting, RoomState::Paused) => Stage::Paused,
            (State::Waiting, _) => Stage::Waiting,
            (State::Ready, _) => Stage::Ready,
            (State::Admitted, _) => Stage::Admitted,
            (State::Ended, _) => Stage::Ended,
            (State::Refused, _) => Stage::Refused,
        }
    }
}

// === impl Why ===

impl Why {
    /// Its word in the contract, and in the names of texts.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::SessionLimit => "session_limit",
            Self::Idle => "idle",
            Self::Left => "left",
            Self::NotClaimed => "not_claimed",
            Self::Lapsed => "lapsed",
            Self::ByOperator => "by_operator",
            Self::Revoked => "revoked",
            Self::RoomClosed => "room_closed",
            Self::RoomFull => "room_full",
            Self::Draining => "draining",
            Self::TooManySeats => "too_many_seats",
            Self::Rejected => "rejected",
        }
    }
}
