//! The seats that are taken: of called visitors, of sessions, and of sessions that ended before their pass did.
//!
//! Every seat has one instant at which it is over. A session has two clocks: it began at an instant that never
//! changes, which gives its limit, and each heartbeat puts off the end by the idle time, up to that limit.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::number::{QueueNumber, Visitor};
use super::settings::SessionTerms;
use crate::time::Timestamp;

/// A seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Whose it is; nobody's where it is [`SeatState::Held`].
    pub visitor: Visitor,
    /// When it is over if nothing happens: the end of the claim window, of the session, or of the pass.
    pub deadline: Timestamp,
    /// What it is.
    pub state: SeatState,
}

/// What a seat is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeatState {
    /// A called visitor.
    Ready {
        /// How often its claim was extended.
        extensions: u16,
    },
    /// A session.
    Active(Session),
    /// A pass that is still valid, of a session that is over.
    Held,
}

/// A session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// When it began.
    pub start: Timestamp,
    /// When the last heartbeat came.
    pub seen: Timestamp,
    /// When it ends whatever comes.
    pub limit_at: Option<Timestamp>,
    /// How often it was renewed.
    pub renewals: u16,
}

/// When a session ends that was seen at `seen`: min(start + limit, seen + idle), and never sooner than the pass that was
/// given says. One that began without a limit, in a room that has no idle time any more, ends with that pass.
pub(crate) fn deadline(
    terms: &SessionTerms,
    limit_at: Option<Timestamp>,
    seen: Timestamp,
    given: Timestamp,
) -> Timestamp {
    let idle_at = terms.idle.map(|idle| seen.saturating_add(idle));
    idle_at.into_iter().chain(limit_at).min().map_or(given, |end| end.max(given))
}

/// When a session that starts, or is renewed, at `from` has to end.
pub(crate) fn limit_from(terms: &SessionTerms, from: Timestamp) -> Option<Timestamp> {
    terms.limit.map(|limit| from.saturating_add(limit))
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Seats {
    seats: BTreeMap<QueueNumber, Seat>,
    deadlines: BTreeSet<(Timestamp, QueueNumber)>,
    ready: u64,
    held: u64,
}

impl Seats {
    /// How many are taken.
    pub(crate) fn taken(&self) -> u64 {
        self.seats.len() as u64
    }

    /// Of called visitors.
    pub(crate) const fn ready(&self) -> u64 {
        self.ready
    }

    /// Of sessions.
    pub(crate) fn active(&self) -> u64 {
        self.taken() - self.ready - self.held
    }

    /// Of sessions that ended before their pass.
    pub(crate) const fn held(&self) -> u64 {
        self.held
    }

    pub(crate) fn get(&self, number: QueueNumber) -> Option<&Seat> {
        self.seats.get(&number)
    }

    /// Puts a seat, in the place of the one under this number.
    pub(crate) fn put(&mut self, number: QueueNumber, seat: Seat) {
        self.remove(number);
        self.count(&seat.state, 1);
        self.deadlines.insert((seat.deadline, number));
        self.seats.insert(number, seat);
    }

    pub(crate) fn remove(&mut self, number: QueueNumber) -> Option<Seat> {
        let seat = self.seats.remove(&number)?;
        self.deadlines.remove(&(seat.deadline, number));
        self.count(&seat.state, u64::MAX);
        Some(seat)
    }

    /// The seat that is over first.
    pub(crate) fn first_over(&self) -> Option<(Timestamp, QueueNumber)> {
        self.deadlines.first().copied()
    }

    /// The seats after a number, by number.
    pub(crate) fn after(&self, number: u64) -> impl Iterator<Item = (QueueNumber, &Seat)> {
        let after = (Bound::Excluded(QueueNumber::new(number)), Bound::Unbounded);
        self.seats.range(after).map(|(number, seat)| (*number, seat))
    }

    /// Every seat, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (QueueNumber, &Seat)> {
        self.seats.iter().map(|(number, seat)| (*number, seat))
    }

    /// Bytes on the heap, about: nodes of the trees are two thirds full.
    pub(crate) fn bytes(&self) -> usize {
        let each = size_of::<(QueueNumber, Seat)>() + size_of::<(Timestamp, QueueNumber)>();
        self.seats.len() * each * 3 / 2
    }

    /// Adds to a count, modulo 2^64.
    fn count(&mut self, state: &SeatState, change: u64) {
        let count = match state {
            SeatState::Ready { .. } => &mut self.ready,
            SeatState::Held => &mut self.held,
            SeatState::Active(_) => return,
        };
        *count = count.wrapping_add(change);
    }
}
