//! How a visitor stands, as the wire has it.

use tidegate_core::room::poll;
use tidegate_core::room::{
    Admitted, Answer, EstimatedWait, Gate, Halt, QueueNumber, Ready, Refusal, RoomState, Slower, Waiting,
};
use tidegate_core::time::{Micros, Timestamp};
use tidegate_store::rooms::{RoomStatus, Told};
use tidegate_wire::room::seat::{self as wire, EndedWhy, Progress, RefusedWhy, Seat, Standing, UnixTime};
use tidegate_wire::room::token;

use super::Shared;
use super::definition::Room;
use super::tokens::SignedPass;

/// The shortest and the longest time between heartbeats.
const MIN_HEARTBEAT: Micros = Micros::from_secs(1);
const MAX_HEARTBEAT: Micros = Micros::from_secs(30);
/// Heartbeats come so often in the time that a session may be idle: one that is lost ends nothing.
const HEARTBEATS: u64 = 3;
/// When somebody asks again who has nothing to wait for.
const NOTHING_TO_ASK_MS: u64 = 60_000;

/// A ticket, as it was signed and as it reads.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) claims: token::Ticket,
    pub(super) token: String,
}

/// What a seat is made from.
pub(super) struct Facts<'a> {
    pub(super) room: &'a Room,
    pub(super) told: &'a Told,
    pub(super) status: &'a RoomStatus,
    /// The ticket; `None` of those who were not let into the line.
    pub(super) ticket: Option<&'a Shown>,
    /// The pass of an admitted visitor, of those who are given one.
    pub(super) pass: Option<SignedPass>,
    pub(super) return_to: Option<String>,
}

impl Shared {
    pub(super) fn seat(&self, facts: Facts<'_>) -> Seat {
        let Facts { room, told, status, ticket, pass, return_to } = facts;
        let number = ticket.map(|ticket| QueueNumber::new(ticket.claims.queue_number));
        let why = ticket.and_then(|ticket| self.watch.why_lapsed(&room.name, &ticket.claims, told.at));
        let ended = || why.unwrap_or(EndedWhy::Lapsed);
        // While nothing can be kept, what is told is of an instant that is past, and time goes on for who looks at a clock.
        let now = self.clock.now().max(told.at);
        let (standing, poll_after_ms) = match &told.answer {
            Answer::Waiting(waiting) => (Standing::Waiting, millis(waiting.poll_after)),
            Answer::Ready(ready) => (Standing::Ready(claim(ready, now)), millis(ready.poll_after)),
            Answer::Admitted(admitted) => {
                let session = session(room, admitted, told.at, now);
                let (pass, pass_jwt) = pass.map_or((None, None), |signed| (Some(signed.token), signed.jwt));
                (Standing::Admitted { pass, pass_jwt, session }, session.heartbeat_ms)
            }
            Answer::Left => (Standing::Ended(EndedWhy::Left), NOTHING_TO_ASK_MS),
            Answer::Lapsed | Answer::Done => (Standing::Ended(ended()), NOTHING_TO_ASK_MS),
            Answer::Refused(refusal) => (Standing::Refused(refused(*refusal)), NOTHING_TO_ASK_MS),
        };
        let waiting = match &told.answer {
            Answer::Waiting(waiting) => Some(waiting),
            _ => None,
        };
        let room_state = room_state(status);
        Seat {
            room: room.name.clone(),
            standing,
            room_state,
            ticket: ticket.map(|ticket| ticket.token.clone()),
            queue_number: number.map(QueueNumber::get),
            position: waiting.and_then(|waiting| waiting.position),
            waiting: status.status.waiting,
            serving_number: status.status.serving_number,
            estimated_wait: waiting.and_then(|waiting| waiting.estimated_wait).map(wait),
            progress: progress(waiting, ticket, told),
            opens_at: opens_at(status).filter(|_| room_state == wire::RoomState::Scheduled).map(UnixTime),
            message: room.message.load().as_deref().cloned(),
            poll_after_ms,
            return_to,
        }
    }
}

/// What the room does, to those who are outside.
pub(super) fn room_state(status: &RoomStatus) -> wire::RoomState {
    match status.status.state {
        RoomState::Paused => wire::RoomState::Paused,
        RoomState::Draining => wire::RoomState::Draining,
        RoomState::Closed => wire::RoomState::Closed,
        RoomState::Open if matches!(status.status.gate, Gate::Halted(Halt::NotYetOpen { .. })) => {
            wire::RoomState::Scheduled
        }
        RoomState::Open => wire::RoomState::Open,
    }
}

fn opens_at(status: &RoomStatus) -> Option<Timestamp> {
    status.settings.spec().opening.map(|opening| opening.at)
}

/// The room, as everybody may know it. `line_version` is of the line document.
pub(super) fn status(room: &Room, status: &RoomStatus) -> wire::RoomStatus {
    let spec = status.settings.spec();
    let room_state = room_state(status);
    let (units, micros) = spec.release.rate();
    wire::RoomStatus {
        room: room.name.clone(),
        room_state,
        opens_at: opens_at(status).filter(|_| room_state == wire::RoomState::Scheduled).map(UnixTime),
        waiting: status.status.waiting,
        active: status.status.active,
        capacity: u64::from(spec.capacity),
        release_rate: Some(units as f64 * 1e6 / micros as f64),
        estimated_wait: status.status.pace.map(|pace| wait_of_newcomer(status.status.waiting, pace)),
        message: room.message.load().as_deref().cloned(),
        line_version: version(status),
    }
}

/// Grows with everything that the line document says.
pub(super) fn version(status: &RoomStatus) -> u64 {
    // Both only grow, and one of them does when somebody comes or is called.
    status.status.serving_number.saturating_add(status.status.next_number)
}

/// Four in five wait for a time in this range, as [`EstimatedWait`] has it.
fn wait_of_newcomer(ahead: u64, pace: Micros) -> wire::EstimatedWait {
    let mean = ahead.saturating_mul(pace.as_micros()) as f64 / 1e6;
    let spread = 1.28 * mean / (ahead as f64 + 1.0).sqrt();
    wire::EstimatedWait {
        from_s: (mean - spread).max(0.0).floor() as u64,
        to_s: (mean + spread).ceil() as u64,
        reason: None,
    }
}

fn wait(wait: EstimatedWait) -> wire::EstimatedWait {
    wire::EstimatedWait {
        from_s: wait.low.as_micros() / 1_000_000,
        to_s: wait.high.as_secs_ceil(),
        reason: wait.slower.map(|slower| match slower {
            Slower::Paused => wire::WaitReason::Paused,
            Slower::Cut => wire::WaitReason::Capacity,
            Slower::Release => wire::WaitReason::Slower,
        }),
    }
}

fn claim(ready: &Ready, now: Timestamp) -> wire::Claim {
    wire::Claim {
        ends_at: UnixTime(ready.claim_until),
        left_ms: left_ms(ready.claim_until, now),
        extensions_left: u32::from(ready.extensions_left),
    }
}

/// `at` is when the session stood so. Where that is past, nobody is idle meanwhile, but a limit comes nearer.
fn session(room: &Room, admitted: &Admitted, at: Timestamp, now: Timestamp) -> wire::Session {
    let ends_at = admitted.limit_at.unwrap_or(admitted.deadline);
    let from = if admitted.limit_at.is_some() { now } else { at };
    let left = admitted.deadline.since(at);
    let idle = room.settings.spec().session.idle.unwrap_or(left);
    let usual = Micros::from_micros(idle.as_micros() / HEARTBEATS).clamp(MIN_HEARTBEAT, MAX_HEARTBEAT);
    // A sign of life that came right after another did not count, and is to come again when it does: a page that said it goes
    // may have come back with it.
    let can_count = admitted.limit_at != Some(admitted.deadline);
    let is_early = can_count && left < idle && idle.saturating_sub(left) < poll::HEAD_INTERVAL;
    let heartbeat = if is_early { MIN_HEARTBEAT } else { usual };
    wire::Session {
        started_at: UnixTime(admitted.start),
        ends_at: UnixTime(ends_at),
        left_ms: left_ms(ends_at, from),
        idle_ms: millis(idle),
        heartbeat_ms: millis(heartbeat),
        renewable: admitted.renewals_left > 0,
    }
}

/// The part of the wait that is over, if the rest takes as long as is estimated.
fn progress(waiting: Option<&Waiting>, ticket: Option<&Shown>, told: &Told) -> Progress {
    let (Some(waiting), Some(ticket)) = (waiting, ticket) else {
        let is_through = matches!(told.answer, Answer::Ready(_) | Answer::Admitted(_));
        return if is_through { Progress::DONE } else { Progress::default() };
    };
    let Some(rest) = waiting.estimated_wait else { return Progress::default() };
    let rest = rest.low.as_micros() / 2 + rest.high.as_micros() / 2;
    let waited = told.at.since(ticket.claims.joined_at).as_micros();
    Progress::of_line(rest.max(1), rest.saturating_add(waited))
}

fn refused(refusal: Refusal) -> RefusedWhy {
    match refusal {
        Refusal::LineFull => RefusedWhy::RoomFull,
        Refusal::PrefixFull => RefusedWhy::TooManySeats,
        Refusal::Draining => RefusedWhy::Draining,
        Refusal::Closed => RefusedWhy::RoomClosed,
        _ => RefusedWhy::Rejected,
    }
}

/// When a visitor that has no seat is to ask again: as one at the end of the line would.
pub(super) fn poll_after_of_stranger(status: &RoomStatus) -> Micros {
    let pace = status.status.pace.unwrap_or(Micros::ZERO);
    let wait = Micros::from_micros(pace.as_micros().saturating_mul(status.status.waiting));
    poll::interval(wait, Micros::MAX, status.settings.spec().claim.window, fastrand::u8(..))
}

fn left_ms(until: Timestamp, from: Timestamp) -> u64 {
    millis(until.since(from))
}

/// Whole milliseconds, rounded up: nobody comes back a moment too early.
fn millis(span: Micros) -> u64 {
    span.as_millis_ceil()
}
