//! What events do to a room. Nothing else changes it, so a room that is replayed is the same.

use core::fmt;

use super::Room;
use super::answer::Slower;
use super::command::{Flush, RoomState};
use super::estimate::Pace;
use super::event::{CalledBy, Event};
use super::number::{QueueNumber, Visitor};
use super::seats::{Seat, SeatState, Seats, Session, deadline, limit_from};
use super::settings::{EarlyEnd, MAX_WAITING, Method};
use crate::algorithm::Ask;
use crate::time::{Micros, Timestamp};

/// An event that cannot have happened in this room: the journal is of another room, or has a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// The event.
    pub event: Event,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} cannot have happened in this room; the journal is of another one, or something is missing in it",
            self.event
        )
    }
}

impl core::error::Error for Unfit {}

impl Room {
    /// Applies an event that another room in the same state has told of, which happened at `at`. Afterwards both are in the same
    /// state again, leases and heartbeats that the journal left out aside.
    ///
    /// # Errors
    /// [`Unfit`] for an event that cannot have happened; nothing is changed then.
    pub fn replay(&mut self, at: Timestamp, event: &Event) -> Result<(), Unfit> {
        if at < self.clock || !self.fits(event) {
            return Err(Unfit { event: event.clone() });
        }
        self.apply(at, event);
        Ok(())
    }

    fn fits(&self, event: &Event) -> bool {
        let is_ready =
            |number| self.seats.get(number).is_some_and(|seat| matches!(seat.state, SeatState::Ready { .. }));
        let is_active =
            |number| self.seats.get(number).is_some_and(|seat| matches!(seat.state, SeatState::Active(_)));
        match event {
            Event::Joined { number, visitor, .. } => {
                number.get() == self.line.next() && self.seat_of(visitor.identity).is_none()
            }
            Event::Recognised { number, visitor } => {
                self.line.visitor(*number).is_some_and(|known| known.identity.is_none())
                    && self.seat_of(visitor.identity).is_none()
            }
            Event::Touched { number, .. }
            | Event::Left { number, .. }
            | Event::Expired { number }
            | Event::Skipped { number }
            | Event::Called { number, .. } => self.line.contains(*number),
            Event::Declined { number, .. }
            | Event::ClaimExtended { number, .. }
            | Event::Abandoned { number } => is_ready(*number),
            Event::Admitted { number, .. } => self.line.contains(*number) || is_ready(*number),
            Event::Seen { number, .. } | Event::Renewed { number, .. } | Event::Ended { number, .. } => {
                is_active(*number)
            }
            Event::Freed { number } => {
                self.seats.get(*number).is_some_and(|seat| seat.state == SeatState::Held)
            }
            Event::Returned { number, visitor, .. } => {
                let other = self.seat_of(visitor.identity).filter(|other| other != number);
                number.get() <= self.former_last && self.seats.get(*number).is_none() && other.is_none()
            }
            Event::Opened { drawn } => {
                let is_this_line = |drawn: &super::draw::Drawn| {
                    drawn.after <= self.line.serving() && drawn.last < self.line.next()
                };
                !self.is_open && drawn.as_deref().is_none_or(is_this_line)
            }
            Event::BeaconSet(_) => self.beacon.is_none(),
            Event::StateSet(_) | Event::Changed(_) | Event::Paced { .. } | Event::Flushed(_) => true,
            Event::Resumed { epoch, serving, last, .. } => {
                let presumed = last.saturating_sub(self.line.next().max(*serving));
                *epoch > self.epoch
                    && *last >= self.line.next() - 1
                    && serving <= last
                    && presumed <= u64::from(MAX_WAITING)
            }
        }
    }

    /// Changes the state by an event that fits.
    pub(super) fn apply(&mut self, at: Timestamp, event: &Event) {
        let passed = self.busy_since_clock(at);
        self.releases.pass(passed);
        self.clock = self.clock.max(at);
        match event {
            Event::Joined { number, visitor, lease } => {
                self.line.join(*number, *visitor, *lease);
                self.remember(*number, *visitor);
            }
            Event::Touched { number, lease } => self.line.renew(*number, *lease),
            Event::Recognised { number, visitor } => {
                self.forget(*number);
                self.line.name(*number, *visitor);
                self.remember(*number, self.visitor(*number).unwrap_or_default());
            }
            Event::Left { number, .. }
            | Event::Declined { number, .. }
            | Event::Expired { number }
            | Event::Abandoned { number } => self.remove(*number),
            Event::Skipped { number } => {
                self.draws += 1;
                self.remove(*number);
            }
            Event::Called { number, by, claim_until } => self.call(*number, *by, *claim_until, at),
            Event::ClaimExtended { number, claim_until } => self.extend_claim(*number, *claim_until),
            Event::Admitted { number, deadline, limit_at } => self.admit(*number, *deadline, *limit_at, at),
            Event::Seen { number, deadline } => {
                self.change_session(*number, *deadline, |session| session.seen = at);
            }
            Event::Renewed { number, deadline, limit_at } => {
                self.change_session(*number, *deadline, |session| {
                    session.seen = at;
                    session.limit_at = Some(*limit_at);
                    session.renewals = session.renewals.saturating_add(1);
                });
            }
            Event::Ended { number, held_until, .. } => {
                self.remove(*number);
                if let Some(deadline) = held_until {
                    self.hold(*number, *deadline);
                }
            }
            Event::Freed { number } => {
                self.seats.remove(*number);
            }
            Event::Returned { number, visitor, start, deadline } => {
                self.take_back(*number, *visitor, *start, *deadline);
            }
            _ => self.apply_to_room(at, event),
        }
    }

    /// Events that are about the room and not about one visitor.
    fn apply_to_room(&mut self, at: Timestamp, event: &Event) {
        match event {
            Event::Opened { drawn } => {
                self.is_open = true;
                if let Some(drawn) = drawn {
                    self.line.shuffle(drawn.as_ref().clone());
                }
            }
            Event::BeaconSet(beacon) => self.beacon = Some(*beacon),
            Event::StateSet(state) => {
                if matches!(self.state, RoomState::Paused | RoomState::Closed) {
                    self.slowed = Some((at, Slower::Paused));
                }
                self.state = *state;
            }
            Event::Changed(settings) => {
                if self.settings.is_cut_by(settings) {
                    self.slowed = Some((at, Slower::Cut));
                }
                self.released = settings.meter().carry(self.settings.meter(), &self.released, at);
                self.settings = settings.as_ref().clone();
            }
            Event::Paced { pace, slower } => self.pace = Some(Pace::after(self.pace, *pace, *slower, at)),
            Event::Flushed(flush) => self.flush(*flush),
            Event::Resumed { epoch, serving, last, lease, hold_until } => {
                self.epoch = *epoch;
                self.presume(*serving, *last, *lease, at);
                self.hold_until = *hold_until;
                if let Some(until) = hold_until {
                    self.slowed = Some((*until, Slower::Paused));
                }
            }
            _ => {}
        }
    }

    /// For how long somebody has waited at `now` since the last event.
    pub(super) fn busy_since_clock(&self, now: Timestamp) -> Micros {
        if self.is_open && self.line.waiting() > 0 { now.since(self.clock) } else { Micros::ZERO }
    }
}

// === impl visitors ===

impl Room {
    fn visitor(&self, number: QueueNumber) -> Option<Visitor> {
        self.taken().visitor(number)
    }

    /// Enters a visitor, who has a seat under this number, where seats are found and counted.
    fn remember(&mut self, number: QueueNumber, visitor: Visitor) {
        if let Some(identity) = visitor.identity {
            let taken = super::Taken { line: &self.line, seats: &self.seats };
            self.index.insert(identity, number, &taken);
        }
        if let Some(prefix) = visitor.prefix {
            *self.prefixes.entry(prefix).or_insert(0) += 1;
        }
    }

    /// The opposite of [`Room::remember`]; the seat is still there.
    fn forget(&mut self, number: QueueNumber) {
        let visitor = self.visitor(number).unwrap_or_default();
        if let Some(identity) = visitor.identity {
            let taken = super::Taken { line: &self.line, seats: &self.seats };
            self.index.remove(identity, &taken);
        }
        if let Some(prefix) = visitor.prefix
            && let Some(seats) = self.prefixes.get_mut(&prefix)
        {
            *seats -= 1;
            if *seats == 0 {
                self.prefixes.remove(&prefix);
            }
        }
    }

    /// Takes away whatever has this number.
    fn remove(&mut self, number: QueueNumber) {
        self.forget(number);
        if self.line.remove(number).is_none() {
            self.seats.remove(number);
        }
    }

    fn call(&mut self, number: QueueNumber, by: CalledBy, claim_until: Timestamp, at: Timestamp) {
        let Some(visitor) = self.line.remove(number) else { return };
        self.draws += 1;
        self.charge(by, at);
        if by == CalledBy::Line {
            self.releases.note();
        }
        self.seats
            .put(number, Seat { visitor, deadline: claim_until, state: SeatState::Ready { extensions: 0 } });
    }

    /// One more is let in. Past the gates, the release rate is charged all the same, so that those in line do not add to it.
    fn charge(&mut self, by: CalledBy, at: Timestamp) {
        let meter = self.settings.meter();
        if by == CalledBy::Operator || self.settings.spec().method == Method::Passthrough {
            meter.debit(&mut self.released, at, 1);
        } else {
            meter.charge(&mut self.released, at, &Ask::cost(1));
        }
    }

    fn extend_claim(&mut self, number: QueueNumber, claim_until: Timestamp) {
        let Some(seat) = self.seats.get(number).copied() else { return };
        if let SeatState::Ready { extensions } = seat.state {
            let state = SeatState::Ready { extensions: extensions.saturating_add(1) };
            self.seats.put(number, Seat { deadline: claim_until, state, ..seat });
        }
    }

    fn admit(&mut self, number: QueueNumber, end: Timestamp, limit_at: Option<Timestamp>, at: Timestamp) {
        let visitor = match self.line.remove(number) {
            Some(visitor) => {
                self.charge(CalledBy::Line, at);
                visitor
            }
            // Charged when it was called.
            None => self.seats.get(number).map(|seat| seat.visitor).unwrap_or_default(),
        };
        let session = Session { start: at, seen: at, limit_at, renewals: 0 };
        self.seats.put(number, Seat { visitor, deadline: end, state: SeatState::Active(session) });
    }

    fn change_session(&mut self, number: QueueNumber, end: Timestamp, change: impl FnOnce(&mut Session)) {
        let Some(seat) = self.seats.get(number).copied() else { return };
        if let SeatState::Active(mut session) = seat.state {
            change(&mut session);
            self.seats.put(number, Seat { deadline: end, state: SeatState::Active(session), ..seat });
        }
    }

    fn hold(&mut self, number: QueueNumber, until: Timestamp) {
        self.seats.put(number, Seat { visitor: Visitor::default(), deadline: until, state: SeatState::Held });
    }

    fn take_back(&mut self, number: QueueNumber, visitor: Visitor, start: Timestamp, end: Timestamp) {
        self.remove(number);
        let limit_at = limit_from(&self.settings.spec().session, start).map(|limit_at| limit_at.max(end));
        let session = Session { start, seen: self.clock, limit_at, renewals: 0 };
        self.seats.put(number, Seat { visitor, deadline: end, state: SeatState::Active(session) });
        self.remember(number, visitor);
    }
}

// === impl the whole room ===

impl Room {
    fn flush(&mut self, flush: Flush) {
        self.line.clear();
        let holds = self.settings.spec().session.early_end == EarlyEnd::HoldsSeat;
        let mut seats = Seats::default();
        for (number, seat) in self.seats.iter() {
            let kept = match (seat.state, flush) {
                (SeatState::Active(_), Flush::Everybody) if holds => {
                    Some(Seat { visitor: Visitor::default(), state: SeatState::Held, ..*seat })
                }
                (SeatState::Active(_), Flush::Everybody) | (SeatState::Ready { .. }, _) => None,
                (SeatState::Active(_) | SeatState::Held, _) => Some(*seat),
            };
            if let Some(kept) = kept {
                seats.put(number, kept);
            }
        }
        self.seats = seats;
        self.former_last = self.line.next() - 1;
        self.epoch = self.epoch.saturating_add(1);
        self.enter_all();
    }

    /// Enters everybody anew where seats are found and counted.
    pub(super) fn enter_all(&mut self) {
        self.index = Default::default();
        self.prefixes.clear();
        let waiting = self.line.iter().map(|(number, visitor, _)| (number, visitor));
        let inside = self.seats.iter().map(|(number, seat)| (number, seat.visitor));
        let taken = super::Taken { line: &self.line, seats: &self.seats };
        for (number, visitor) in waiting.chain(inside) {
            if let Some(identity) = visitor.identity {
                self.index.insert(identity, number, &taken);
            }
            if let Some(prefix) = visitor.prefix {
                *self.prefixes.entry(prefix).or_insert(0) += 1;
            }
        }
    }

    /// Presumes that everybody is there who can be: known tickets and sessions, and numbers up to `last` that are not known.
    fn presume(&mut self, serving: u64, last: u64, lease: u32, at: Timestamp) {
        self.line.skip_numbers(serving);
        for number in self.line.next()..=last {
            self.line.join(QueueNumber::new(number), Visitor::default(), lease);
        }
        self.line.renew_all(lease);
        self.former_last = last;
        let spec = self.settings.spec();
        let mut seats = Seats::default();
        for (number, seat) in self.seats.iter() {
            let mut seat = *seat;
            match &mut seat.state {
                SeatState::Ready { .. } => {
                    seat.deadline = seat.deadline.max(at.saturating_add(spec.claim.window));
                }
                SeatState::Active(session) => {
                    session.seen = at;
                    seat.deadline = deadline(&spec.session, session.limit_at, at, seat.deadline);
                }
                SeatState::Held => {}
            }
            seats.put(number, seat);
        }
        self.seats = seats;
    }
}
