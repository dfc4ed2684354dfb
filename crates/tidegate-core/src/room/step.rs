//! One command: what is due, what is asked, each change as an event that is applied at once.

use super::answer::{Answer, Gate, Refusal};
use super::command::{Command, Flush, Pass, Resume, RoomState, Ticket};
use super::draw::{self, Drawn};
use super::estimate::{LOOK_EVERY, Pace};
use super::event::{CalledBy, EndedBy, Event};
use super::line;
use super::number::{QueueNumber, Visitor};
use super::seats::{SeatState, deadline, limit_from};
use super::settings::{EarlyEnd, MAX_LEASE, MAX_WAITING, Method, OpeningOrder, Settings};
use super::{MAX_STEPS, Room};
use crate::time::{Micros, Timestamp};

pub(super) struct Step<'a> {
    room: &'a mut Room,
    now: Timestamp,
    events: &'a mut Vec<Event>,
}

/// What to answer once everything is done.
pub(super) enum Reply {
    /// How the visitor with this number stands then.
    Standing(QueueNumber),
    Is(Answer),
}

impl Reply {
    const DONE: Reply = Reply::Is(Answer::Done);
    const LAPSED: Reply = Reply::Is(Answer::Lapsed);

    const fn refused(refusal: Refusal) -> Self {
        Reply::Is(Answer::Refused(refusal))
    }

    pub(super) fn answer(self, room: &Room, now: Timestamp) -> Answer {
        match self {
            Reply::Standing(number) => room.standing(now, number),
            Reply::Is(answer) => answer,
        }
    }
}

impl<'a> Step<'a> {
    pub(super) fn new(room: &'a mut Room, now: Timestamp, events: &'a mut Vec<Event>) -> Self {
        Self { room, now, events }
    }

    fn emit(&mut self, event: Event) {
        self.room.apply(self.now, &event);
        self.events.push(event);
    }
}

// === impl what is due ===

impl Step<'_> {
    /// Does what is due.
    pub(super) fn turn(&mut self) {
        self.open();
        self.end_seats();
        self.sweep();
        self.call();
        self.look_at_pace();
    }

    fn open(&mut self) {
        let opening = self.room.settings.spec().opening;
        if self.room.is_open || opening.is_some_and(|opening| opening.at > self.now) {
            return;
        }
        let (after, last) = (self.room.line.serving(), self.room.line.next() - 1);
        let drawn = match (opening, &self.room.settings.spec().seed) {
            (Some(opening), Some(seed)) if opening.order == OpeningOrder::Shuffled => {
                let key = draw::key(seed, self.room.beacon.as_ref(), last - after);
                Some(Box::new(Drawn { after, last, key }))
            }
            _ => None,
        };
        self.emit(Event::Opened { drawn });
    }

    /// Ends what is over: calls, sessions, and passes of sessions that ended early.
    fn end_seats(&mut self) {
        for _ in 0..MAX_STEPS {
            let over = self.room.seats.first_over().filter(|(deadline, _)| *deadline <= self.now);
            let Some((deadline, number)) = over else { return };
            let event = match self.room.seats.get(number).map(|seat| seat.state) {
                Some(SeatState::Ready { .. }) => Event::Abandoned { number },
                Some(SeatState::Active(session)) => {
                    let is_limit = session.limit_at.is_some_and(|limit_at| limit_at <= deadline);
                    let by = if is_limit { EndedBy::Limit } else { EndedBy::Idle };
                    Event::Ended { number, by, held_until: None }
                }
                Some(SeatState::Held) | None => Event::Freed { number },
            };
            self.emit(event);
        }
    }

    fn sweep(&mut self) {
        let mut ended = Vec::new();
        self.room.line.ended(self.now, MAX_STEPS, &mut ended);
        for number in ended {
            self.emit(Event::Expired { number });
        }
    }

    /// Calls those whose turn it is, while the gates are open. A ticket whose lease has ended is skipped.
    fn call(&mut self) {
        for _ in 0..MAX_STEPS {
            if self.room.line.waiting() == 0 || self.room.gate(self.now) != Gate::Open {
                return;
            }
            let Some(number) = self.room.next_in_line() else { return };
            if self.room.has_ended(self.now, number) {
                self.emit(Event::Skipped { number });
            } else {
                self.emit_call(number, CalledBy::Line);
            }
        }
    }

    fn emit_call(&mut self, number: QueueNumber, by: CalledBy) {
        let claim_until = self.now.saturating_add(self.room.settings.spec().claim.window);
        self.emit(Event::Called { number, by, claim_until });
    }

    fn look_at_pace(&mut self) {
        let room = &*self.room;
        let is_fresh = room.pace.is_some_and(|pace| self.now < pace.at.saturating_add(LOOK_EVERY));
        if is_fresh || room.line.waiting() == 0 {
            return;
        }
        let Some(pace) = room.releases.pace(room.busy_since_clock(self.now)) else { return };
        if room.pace.is_none_or(|shown| shown.gives_way_to(pace)) {
            let is_slower = room.pace.is_some_and(|shown: Pace| pace > shown.each);
            let slower = is_slower.then(|| room.reason(self.now));
            self.emit(Event::Paced { pace, slower });
        }
    }
}

// === impl what is asked ===

impl Step<'_> {
    pub(super) fn obey(&mut self, command: &Command) -> Reply {
        match command {
            Command::Join(visitor) => self.join(*visitor),
            Command::Poll(ticket) => self.poll(ticket),
            Command::Claim(ticket) => self.claim(ticket.number),
            Command::ExtendClaim(ticket) => self.extend_claim(ticket.number),
            Command::Heartbeat(ticket) => self.heartbeat(ticket),
            Command::Renew(ticket) => self.renew(ticket.number),
            Command::Return(pass) => self.take_back(pass),
            Command::Leave(ticket) => match self.end(ticket.number, EndedBy::Visitor) {
                true => Reply::Is(Answer::Left),
                false => Reply::LAPSED,
            },
            Command::End(number) => match self.end(*number, EndedBy::Origin) {
                true => Reply::DONE,
                false => Reply::LAPSED,
            },
            Command::AdmitOne(number) => self.admit_one(*number),
            Command::SetState(state) => self.set_state(*state),
            Command::Change(settings) => self.change(settings),
            Command::Beacon(beacon) => self.set_beacon(*beacon),
            Command::Flush(flush) => self.flush(*flush),
            Command::Resume(resume) => self.resume(resume),
            Command::Turn => Reply::DONE,
        }
    }

    fn join(&mut self, visitor: Visitor) -> Reply {
        if let Some(number) = self.room.seat_of(visitor.identity) {
            self.touch(number);
            return Reply::Standing(number);
        }
        let spec = self.room.settings.spec();
        let seats_of_prefix =
            visitor.prefix.and_then(|prefix| self.room.prefixes.get(&prefix)).copied().unwrap_or(0);
        let is_free = self.room.line.waiting() == 0 && self.room.gate(self.now) == Gate::Open;
        let refusal = match self.room.state {
            RoomState::Closed => Some(Refusal::Closed),
            RoomState::Draining => Some(Refusal::Draining),
            _ if spec.seats_per_prefix.is_some_and(|most| seats_of_prefix >= most) => {
                Some(Refusal::PrefixFull)
            }
            _ if !self.room.line.has_room(MAX_WAITING) => Some(Refusal::LineFull),
            _ if is_free => None,
            _ if spec.method == Method::Reject => Some(Refusal::NoSeat),
            _ if !self.room.line.has_room(spec.max_waiting) => Some(Refusal::LineFull),
            _ => None,
        };
        if let Some(refusal) = refusal {
            return Reply::refused(refusal);
        }
        let number = QueueNumber::new(self.room.line.next());
        let lease = self.room.outlook().lease(self.now, number, self.room.line.waiting());
        self.emit(Event::Joined { number, visitor, lease });
        if is_free {
            self.admit(number);
        }
        Reply::Standing(number)
    }

    fn poll(&mut self, ticket: &Ticket) -> Reply {
        let number = ticket.number;
        if self.room.is_unrecognised(ticket) {
            if let Some(other) = self.room.seat_of(ticket.visitor.identity) {
                return Reply::Standing(other);
            }
            self.emit(Event::Recognised { number, visitor: ticket.visitor });
        }
        self.touch(number);
        Reply::Standing(number)
    }

    /// Renews a lease if that is due.
    fn touch(&mut self, number: QueueNumber) {
        if !self.room.is_due(self.now, number) {
            return;
        }
        if let Some(ahead) = self.room.line.position(number) {
            let lease = self.room.outlook().lease(self.now, number, ahead);
            self.emit(Event::Touched { number, lease });
        }
    }

    fn claim(&mut self, number: QueueNumber) -> Reply {
        let Some(SeatState::Ready { .. }) = self.seat_state(number) else { return Reply::Standing(number) };
        if self.room.state == RoomState::Closed {
            return Reply::refused(Refusal::Closed);
        }
        self.admit(number);
        Reply::Standing(number)
    }

    fn admit(&mut self, number: QueueNumber) {
        let terms = &self.room.settings.spec().session;
        let limit_at = limit_from(terms, self.now);
        let deadline = deadline(terms, limit_at, self.now, self.now);
        self.emit(Event::Admitted { number, deadline, limit_at });
    }

    fn extend_claim(&mut self, number: QueueNumber) -> Reply {
        let Some(SeatState::Ready { extensions }) = self.seat_state(number) else {
            return Reply::Standing(number);
        };
        let claim = self.room.settings.spec().claim;
        if extensions >= claim.extensions {
            return Reply::refused(Refusal::NoExtensionLeft);
        }
        self.emit(Event::ClaimExtended { number, claim_until: self.now.saturating_add(claim.window) });
        Reply::Standing(number)
    }

    fn heartbeat(&mut self, ticket: &Ticket) -> Reply {
        let number = ticket.number;
        if self.room.seats.get(number).is_none() {
            return self.poll(ticket);
        }
        if let Some(deadline) = self.room.next_deadline(self.now, number) {
            self.emit(Event::Seen { number, deadline });
        }
        Reply::Standing(number)
    }

    fn renew(&mut self, number: QueueNumber) -> Reply {
        let Some(SeatState::Active(session)) = self.seat_state(number) else {
            return Reply::Standing(number);
        };
        let terms = &self.room.settings.spec().session;
        let Some(anew) = limit_from(terms, self.now).filter(|_| session.renewals < terms.renewals) else {
            return Reply::refused(Refusal::NoRenewalLeft);
        };
        let given = self.room.seats.get(number).map_or(self.now, |seat| seat.deadline);
        // A session that began without a limit has a pass that may outlast the first one.
        let limit_at = session.limit_at.unwrap_or(given).max(anew);
        let deadline = deadline(terms, Some(limit_at), self.now, given);
        self.emit(Event::Renewed { number, deadline, limit_at });
        Reply::Standing(number)
    }

    /// A session that was lost comes back with its pass. It takes the seat that it had, as nobody else was let in since.
    fn take_back(&mut self, pass: &Pass) -> Reply {
        let number = pass.ticket.number;
        if self.room.seats.get(number).is_some() {
            return self.heartbeat(&pass.ticket);
        }
        let is_lost = self.room.held(self.now).is_some() && number.get() <= self.room.former_last;
        if !is_lost || pass.deadline <= self.now || !self.room.has_seat() {
            return Reply::LAPSED;
        }
        if let Some(other) = self.room.seat_of(pass.ticket.visitor.identity).filter(|other| *other != number)
        {
            // Who came anew without its pass waits behind; the session counts.
            if !self.room.line.contains(other) {
                return Reply::Standing(other);
            }
            self.emit(Event::Left { number: other, by: EndedBy::Visitor });
        }
        let (start, deadline) = (pass.start.min(self.now), pass.deadline);
        self.emit(Event::Returned { number, visitor: pass.ticket.visitor, start, deadline });
        Reply::Standing(number)
    }

    /// Ends whatever has this number; false where nothing has.
    fn end(&mut self, number: QueueNumber, by: EndedBy) -> bool {
        match self.room.seats.get(number).map(|seat| (seat.state, seat.deadline)) {
            Some((SeatState::Active(_), deadline)) => {
                let holds = self.room.settings.spec().session.early_end == EarlyEnd::HoldsSeat;
                self.emit(Event::Ended { number, by, held_until: holds.then_some(deadline) });
                true
            }
            Some((SeatState::Held, _)) => false,
            Some((SeatState::Ready { .. }, _)) => {
                self.emit(Event::Declined { number, by });
                true
            }
            None if self.room.line.contains(number) => {
                self.emit(Event::Left { number, by });
                true
            }
            None => false,
        }
    }

    /// What the seat of this number is taken for, where it is not over.
    fn seat_state(&self, number: QueueNumber) -> Option<SeatState> {
        self.room.seats.get(number).filter(|seat| seat.deadline > self.now).map(|seat| seat.state)
    }
}

// === impl what the operator asks ===

impl Step<'_> {
    fn admit_one(&mut self, wanted: Option<QueueNumber>) -> Reply {
        if let Some(number) = wanted.filter(|number| self.seat_state(*number).is_some()) {
            return Reply::Standing(number);
        }
        if self.room.state == RoomState::Closed {
            return Reply::refused(Refusal::Closed);
        }
        if self.room.held(self.now).is_some() {
            return Reply::refused(Refusal::Recovering);
        }
        if !self.room.has_seat() {
            return Reply::refused(Refusal::NoSeat);
        }
        for _ in 0..MAX_STEPS {
            let Some(number) = wanted.or_else(|| self.room.next_in_line()) else { break };
            if !self.room.line.contains(number) {
                return Reply::LAPSED;
            }
            if !self.room.has_ended(self.now, number) {
                self.emit_call(number, CalledBy::Operator);
                return Reply::Standing(number);
            }
            self.emit(Event::Skipped { number });
        }
        Reply::refused(Refusal::NobodyWaiting)
    }

    fn set_state(&mut self, state: RoomState) -> Reply {
        if state != self.room.state {
            self.emit(Event::StateSet(state));
        }
        Reply::DONE
    }

    fn change(&mut self, settings: &Settings) -> Reply {
        let (old, new) = (self.room.settings.spec(), settings.spec());
        // Who has come has come under this commitment: the seed stays, although another is what the secret of today makes.
        let is_committed = self.room.line.next() > 1 || self.room.beacon.is_some();
        let keeps_seed = is_committed && old.seed.is_some();
        let order =
            |opening: Option<super::Opening>| opening.map(|opening| opening.order).unwrap_or_default();
        // An opening that is over is none any more, whether the settings still name it or not.
        let changes_order = !self.room.is_open && is_committed && order(old.opening) != order(new.opening);
        let reopens = self.room.is_open && new.opening.is_some_and(|opening| opening.at > self.now);
        if changes_order || reopens {
            return Reply::refused(Refusal::OpeningFixed);
        }
        let settings = if keeps_seed { settings.with_seed_of(&self.room.settings) } else { settings.clone() };
        if settings != self.room.settings {
            self.emit(Event::Changed(Box::new(settings)));
        }
        Reply::DONE
    }

    fn set_beacon(&mut self, beacon: [u8; 32]) -> Reply {
        match self.room.beacon {
            Some(known) if known == beacon => Reply::DONE,
            None if !self.room.is_open => {
                self.emit(Event::BeaconSet(beacon));
                Reply::DONE
            }
            _ => Reply::refused(Refusal::OpeningFixed),
        }
    }

    fn flush(&mut self, flush: Flush) -> Reply {
        self.emit(Event::Flushed(flush));
        Reply::DONE
    }

    fn resume(&mut self, resume: &Resume) -> Reply {
        if resume.epoch <= self.room.epoch {
            return Reply::refused(Refusal::StaleEpoch);
        }
        let known = self.room.line.next() - 1;
        let (serving, last) = resume.lost.map_or((0, known), |lost| (lost.serving, lost.last.max(known)));
        let presumed = last.saturating_sub(known.max(serving));
        let is_too_large = resume.longest_lease > MAX_LEASE
            || last >= QueueNumber::MAX.get()
            || serving > last
            || presumed + self.room.line.waiting() > u64::from(MAX_WAITING);
        if is_too_large {
            return Reply::refused(Refusal::LossTooLarge);
        }
        let hold = match resume.lost {
            Some(_) => resume.longest_lease.max(self.room.settings.longest_pass()),
            None => Micros::ZERO,
        };
        let lease = line::lease_ending(self.now.saturating_add(resume.longest_lease.max(hold)));
        // A hold that is not over goes on.
        let anew = resume.lost.map(|_| self.now.saturating_add(hold));
        let hold_until = anew.into_iter().chain(self.room.held(self.now)).max();
        self.emit(Event::Resumed { epoch: resume.epoch, serving, last, lease, hold_until });
        Reply::DONE
    }
}
