//! What one visitor was told, and when.

use tidegate_core::time::{Micros, Timestamp};
use tidegate_wire::room::seat::Session;

use crate::crowd::visitor::End;

/// Times are of the crowd's clock where nothing else is said.
#[derive(Clone, Debug, Default)]
pub(in crate::crowd) struct Record {
    /// Its number; of several, the last.
    pub(in crate::crowd) number: Option<u64>,
    /// When it was told its first number.
    pub(in crate::crowd) joined_at: Option<Timestamp>,
    /// When it asked and was told that it waits, the last time: it was not called before.
    pub(in crate::crowd) waited_at: Option<Timestamp>,
    /// When it was told that it is called, or that it is in: it was called before.
    pub(in crate::crowd) offered_at: Option<Timestamp>,
    /// When it was told that it is in.
    pub(in crate::crowd) admitted_at: Option<Timestamp>,
    /// Its session.
    pub(in crate::crowd) stay: Option<Stay>,
    /// The last position it was told.
    pub(in crate::crowd) position: Option<u64>,
    /// How it ended; `None` while it has not.
    pub(in crate::crowd) end: Option<End>,
}

/// A session, by the room's clock.
#[derive(Clone, Copy, Debug)]
pub(in crate::crowd) struct Stay {
    pub(in crate::crowd) start: Timestamp,
    /// The last instant at which it was surely going on.
    pub(in crate::crowd) seen: Timestamp,
    /// Until when it goes on without a heartbeat, and when that was told, by the crowd's clock.
    until: Timestamp,
    told_at: Timestamp,
}

impl Record {
    /// Whether it has another number already.
    pub(in crate::crowd) fn is_another(&self, number: u64) -> bool {
        self.number.is_some_and(|known| known != number)
    }

    /// It begins anew with another number: what was told of the first says nothing of it.
    pub(in crate::crowd) fn begin_anew(&mut self) {
        (self.position, self.waited_at, self.offered_at) = (None, None, None);
    }

    pub(in crate::crowd) fn numbered(&mut self, number: u64, now: Timestamp) {
        self.number = Some(number);
        self.joined_at.get_or_insert(now);
    }

    /// It was told that it waits. True if it was put back.
    pub(in crate::crowd) fn waits(&mut self, position: Option<u64>, sent_at: Timestamp) -> bool {
        // Where the order is not known, nobody is overtaken.
        if position.is_some() {
            self.waited_at = self.waited_at.max(Some(sent_at));
        }
        let has_grown = matches!((self.position, position), (Some(before), Some(now)) if now > before);
        self.position = position;
        has_grown
    }

    /// It was told that it is called, or in.
    pub(in crate::crowd) fn offered(&mut self, now: Timestamp) {
        self.offered_at.get_or_insert(now);
    }

    /// It was told of its session. True if that is another one than before.
    pub(in crate::crowd) fn inside(&mut self, session: &Session, now: Timestamp) -> bool {
        self.offered(now);
        self.admitted_at.get_or_insert(now);
        let (start, end) = (session.started_at.0, session.ends_at.0);
        // What is left is told, so the room's clock is known, to a millisecond.
        let seen = end.saturating_sub(Micros::from_millis(session.left_ms)).max(start);
        let is_another = self.stay.is_some_and(|known| known.start != start);
        let seen = self.stay.filter(|_| !is_another).map_or(seen, |known| known.seen.max(seen));
        let until = seen.saturating_add(Micros::from_millis(session.idle_ms)).min(end);
        self.stay = Some(Stay { start, seen, until, told_at: now });
        is_another
    }

    /// It was still inside at `now`, and goes.
    pub(in crate::crowd) fn stayed(&mut self, now: Timestamp) {
        if let Some(stay) = &mut self.stay {
            // As much later by the room's clock, at the least: what was told had been so before it was heard.
            stay.seen = stay.seen.saturating_add(now.since(stay.told_at)).min(stay.until);
        }
    }
}
