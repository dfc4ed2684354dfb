//! Whether the session of a pass goes on.
//!
//! A pass says itself until when it is good. With `early_end: frees_seat` the seat of a session that is over is somebody else's at once,
//! so the room is asked at every request: a look, which a node answers from its memory while the session goes on. With `holds_seat`
//! nobody else has the seat before the pass has expired, so the pass is taken at its word; an end that this node has heard of counts
//! for as long as it is remembered.
//!
//! A room that stands still, because nothing can be kept, ends no session. Its passes are then judged by the instant at which it
//! stands, and only a session's limit goes on.

use std::time::Duration;

use tidegate_core::room::{self as core, Admitted, Answer, Command, EarlyEnd, QueueNumber};
use tidegate_core::time::{Micros, Timestamp};
use tidegate_store::rooms::{RoomError, Told};
use tidegate_wire::room::token::Pass;
use tokio::time::timeout;

use super::Shared;
use super::definition::Room;
use super::tokens::ticket_of;

/// A session is told that somebody is there when so much of the time that it may be idle is over: a third.
const BEATS: u64 = 3;
/// An answer that is so old is of a room that stands still.
const OLD: Micros = Micros::from_secs(1);
/// How long a request with a pass that has not expired waits for the room. After that it is taken for away.
const PATIENCE: Duration = Duration::from_secs(1);

/// The session of a pass.
pub(super) enum Session {
    /// It goes on.
    Inside,
    /// It does, and its browser is to keep a new pass.
    Renewed(Admitted, Told),
    /// It is over, or the pass is.
    Over,
}

impl Shared {
    /// How the session of a genuine pass stands. `is_there` says that its visitor asks, which is a sign of life; the room is told of one
    /// where it has not heard any for a while.
    pub(super) async fn session(&self, room: &Room, pass: &Pass, now: Timestamp, is_there: bool) -> Session {
        let terms = &room.settings.spec().session;
        let frees = terms.early_end == EarlyEnd::FreesSeat;
        let has_expired = pass.expires_at <= now;
        if !frees && self.is_over(room, pass, now) {
            return Session::Over;
        }
        let is_quiet = terms.idle.is_some_and(|idle| is_to_go_on(pass, idle, now));
        let ticket = ticket_of(pass);
        let told = if has_expired {
            // No sign of life: where the session has been put off, its visitor has a newer pass.
            self.store.look(&room.name, &ticket).await
        } else if is_there && is_quiet {
            let beat = Command::Heartbeat(ticket);
            timeout(PATIENCE, self.store.ask(&room.name, &beat)).await.unwrap_or(Err(RoomError::Timeout))
        } else if frees {
            timeout(PATIENCE, self.store.look(&room.name, &ticket)).await.unwrap_or(Err(RoomError::Timeout))
        } else {
            return Session::Inside;
        };
        let told = match told {
            Ok(told) => told,
            // Where the room cannot be asked, the pass is good until it ends.
            Err(error) if error.retryable() && !has_expired && !self.is_over(room, pass, now) => {
                return Session::Inside;
            }
            Err(_) => return Session::Over,
        };
        let (admitted, told) = match told.answer {
            Answer::Admitted(admitted) => (admitted, told),
            _ if has_expired => return Session::Over,
            _ => match self.taken_back(room, pass, &told, now).await {
                Some(back) => back,
                None if frees => return Session::Over,
                None => return Session::Inside,
            },
        };
        if !goes_on(pass, &admitted, &told, now) {
            return Session::Over;
        }
        // Of a room that stands still the pass is the same, and is to be kept for as long again.
        let is_news = admitted.deadline > pass.expires_at || now.since(told.at) >= OLD;
        let is_due = is_there && (is_quiet || has_expired);
        if is_news && is_due { Session::Renewed(admitted, told) } else { Session::Inside }
    }

    /// A room that has lost its state takes sessions back whose pass is still good; it may take them for places in its line until then.
    pub(super) async fn taken_back(
        &self,
        room: &Room,
        pass: &Pass,
        told: &Told,
        now: Timestamp,
    ) -> Option<(Admitted, Told)> {
        let ticket = ticket_of(pass);
        if ticket.epoch >= told.epoch || self.is_over(room, pass, now) {
            return None;
        }
        let pass = core::Pass { ticket, start: pass.started_at, deadline: pass.expires_at };
        let told = self.store.ask(&room.name, &Command::Return(pass)).await.ok()?;
        match told.answer {
            Answer::Admitted(admitted) => Some((admitted, told)),
            _ => None,
        }
    }

    /// Whether this node has heard not long ago that the session of a pass is over.
    fn is_over(&self, room: &Room, pass: &Pass, now: Timestamp) -> bool {
        let number = QueueNumber::new(pass.queue_number);
        self.watch.is_revoked(&room.name, pass.started_at)
            || self.watch.why_ended(&room.name, number, now).is_some()
    }
}

/// Whether a pass is good for a session that the room knows of.
fn goes_on(pass: &Pass, admitted: &Admitted, told: &Told, now: Timestamp) -> bool {
    // It had not expired when the room stood still, or expired while it did.
    let was_good = pass.expires_at > now || pass.expires_at > told.at || pass.epoch < u64::from(told.epoch);
    was_good && admitted.limit_at.is_none_or(|limit_at| limit_at > now)
}

fn is_to_go_on(pass: &Pass, idle: Micros, now: Timestamp) -> bool {
    let since_seen = idle.saturating_sub(pass.expires_at.since(now));
    since_seen >= Micros::from_micros(idle.as_micros() / BEATS)
}
