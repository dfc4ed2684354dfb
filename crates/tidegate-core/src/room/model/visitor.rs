//! What visitors ask, on plain lists. `Err` is the number whose standing is the answer.

use super::*;
use crate::room::command::Pass;
use crate::room::settings::{EarlyEnd, MAX_WAITING};

impl ModelRoom {
    pub(super) fn join(&mut self, now: Timestamp, visitor: Visitor) -> Result<Answer, u64> {
        if let Some(number) = self.seat_of(visitor) {
            self.touch(now, number);
            return Err(number);
        }
        let waiting = self.line.len() as u64;
        let is_free = waiting == 0 && self.gate(now) == Gate::Open;
        let from_there = self.visitors().filter(|known| known.prefix == visitor.prefix).count() as u64;
        let is_prefix_full = visitor.prefix.is_some()
            && self.spec().seats_per_prefix.is_some_and(|most| from_there >= u64::from(most));
        let refusal = if self.state == RoomState::Closed {
            Refusal::Closed
        } else if self.state == RoomState::Draining {
            Refusal::Draining
        } else if is_prefix_full {
            Refusal::PrefixFull
        } else if is_free {
            let number = self.enter(now, visitor);
            self.charge(now, self.spec().method == Method::Passthrough);
            self.admit(now, number);
            return Err(number);
        } else if self.spec().method == Method::Reject {
            Refusal::NoSeat
        } else if waiting >= u64::from(self.spec().max_waiting.min(MAX_WAITING)) {
            Refusal::LineFull
        } else {
            return Err(self.enter(now, visitor));
        };
        Ok(Answer::Refused(refusal))
    }

    fn visitors(&self) -> impl Iterator<Item = Visitor> {
        let waiting = self.line.values().map(|ticket| ticket.visitor);
        waiting.chain(self.seats.iter().map(|seat| seat.visitor))
    }

    /// One more at the end of the line.
    fn enter(&mut self, now: Timestamp, visitor: Visitor) -> u64 {
        let number = self.next;
        self.next += 1;
        let (lease, _) = self.leases(now, number, self.line.len() as u64);
        self.line.insert(number, ModelTicket { number, visitor, lease });
        number
    }

    pub(super) fn poll(&mut self, now: Timestamp, ticket: &Ticket) -> Result<Answer, u64> {
        let number = ticket.number.get();
        if self.names(ticket) {
            if let Some(other) = self.seat_of(ticket.visitor) {
                return Err(other);
            }
            for known in self.line.values_mut().filter(|known| known.number == number) {
                known.visitor = ticket.visitor;
            }
        }
        self.touch(now, number);
        Err(number)
    }

    /// Whether a ticket names the visitor of one that is only presumed.
    pub(super) fn names(&self, ticket: &Ticket) -> bool {
        let number = ticket.number.get();
        let is_presumed = |known: &ModelTicket| known.number == number && known.visitor.identity.is_none();
        number <= self.former_last && ticket.visitor.identity.is_some() && self.line.values().any(is_presumed)
    }

    fn touch(&mut self, now: Timestamp, number: u64) {
        if !self.is_due(now, number) {
            return;
        }
        let found = self.line.iter().find(|(_, ticket)| ticket.number == number);
        let Some((place, _)) = found else { return };
        let place = *place;
        let ahead = self.line.range(..place).count() as u64;
        let (lease, _) = self.leases(now, number, ahead);
        if let Some(ticket) = self.line.get_mut(&place) {
            ticket.lease = lease;
        }
    }

    pub(super) fn heartbeat(&mut self, now: Timestamp, ticket: &Ticket) -> Result<Answer, u64> {
        let number = ticket.number.get();
        if !self.seats.iter().any(|seat| seat.number == number) {
            return self.poll(now, ticket);
        }
        if let Some(end) = self.next_end(now, number)
            && let Some(seat) = self.seat(number)
        {
            seat.until = end;
            if let Kind::Active { seen, .. } = &mut seat.kind {
                *seen = now;
            }
        }
        Err(number)
    }

    /// When a session ends that is seen now; `None` where a heartbeat is early or changes nothing.
    pub(super) fn next_end(&self, now: Timestamp, number: u64) -> Option<Timestamp> {
        let seat = self.seats.iter().find(|seat| seat.number == number && now < seat.until)?;
        let Kind::Active { seen, limit_at, .. } = seat.kind else { return None };
        let end = self.end_of_session(now, limit_at);
        (now.since(seen) >= Micros::from_secs(1) && end > seat.until).then_some(end)
    }

    /// min(limit, now + idle); without either, what was said before stays.
    pub(super) fn end_of_session(&self, now: Timestamp, limit_at: Option<Timestamp>) -> Timestamp {
        match (limit_at, self.spec().session.idle) {
            (Some(limit_at), Some(idle)) => limit_at.min(now.saturating_add(idle)),
            (Some(limit_at), None) => limit_at,
            (None, Some(idle)) => now.saturating_add(idle),
            (None, None) => Timestamp::EPOCH,
        }
    }

    pub(super) fn seat(&mut self, number: u64) -> Option<&mut ModelSeat> {
        self.seats.iter_mut().find(|seat| seat.number == number)
    }

    /// The visitor of a live call.
    fn is_called(&self, now: Timestamp, number: u64) -> bool {
        let is_it = |seat: &ModelSeat| seat.number == number && matches!(seat.kind, Kind::Ready { .. });
        self.seats.iter().any(|seat| is_it(seat) && now < seat.until)
    }

    pub(super) fn claim(&mut self, now: Timestamp, number: u64) -> Result<Answer, u64> {
        if !self.is_called(now, number) {
            return Err(number);
        }
        if self.state == RoomState::Closed {
            return Ok(Answer::Refused(Refusal::Closed));
        }
        self.admit(now, number);
        Err(number)
    }

    /// A session begins, of who waited or was called.
    fn admit(&mut self, now: Timestamp, number: u64) {
        let waiting = self.take_out(number).map(|ticket| ticket.visitor);
        let called = self.seat(number).map(|seat| seat.visitor);
        self.seats.retain(|seat| seat.number != number);
        let limit_at = self.spec().session.limit.map(|limit| now.saturating_add(limit));
        self.seats.push(ModelSeat {
            number,
            visitor: waiting.or(called).unwrap_or_default(),
            until: self.end_of_session(now, limit_at),
            kind: Kind::Active { start: now, seen: now, limit_at, renewals: 0 },
        });
    }

    pub(super) fn extend_claim(&mut self, now: Timestamp, number: u64) -> Result<Answer, u64> {
        if !self.is_called(now, number) {
            return Err(number);
        }
        let claim = self.spec().claim;
        if let Some(seat) = self.seat(number)
            && let Kind::Ready { extensions } = &mut seat.kind
        {
            if *extensions >= claim.extensions {
                return Ok(Answer::Refused(Refusal::NoExtensionLeft));
            }
            *extensions += 1;
            seat.until = now.saturating_add(claim.window);
        }
        Err(number)
    }

    pub(super) fn renew(&mut self, now: Timestamp, number: u64) -> Result<Answer, u64> {
        let session = self.spec().session;
        let found = self.seats.iter().find(|seat| seat.number == number && now < seat.until);
        let Some(ModelSeat { until, kind: Kind::Active { limit_at, renewals, .. }, .. }) = found else {
            return Err(number);
        };
        let (given, limit_at) = (*until, *limit_at);
        let Some(limit) = session.limit.filter(|_| *renewals < session.renewals) else {
            return Ok(Answer::Refused(Refusal::NoRenewalLeft));
        };
        let limit_at = [limit_at.unwrap_or(given), now.saturating_add(limit)].into_iter().max();
        let until = self.end_of_session(now, limit_at).max(given);
        if let Some(seat) = self.seat(number) {
            seat.until = until;
            if let Kind::Active { seen, limit_at: held, renewals, .. } = &mut seat.kind {
                (*seen, *held) = (now, limit_at);
                *renewals += 1;
            }
        }
        Err(number)
    }

    pub(super) fn take_back(&mut self, now: Timestamp, pass: &Pass) -> Result<Answer, u64> {
        let number = pass.ticket.number.get();
        if self.seats.iter().any(|seat| seat.number == number) {
            return self.heartbeat(now, &pass.ticket);
        }
        let is_lost = now < self.hold_until && number <= self.former_last;
        if !is_lost || pass.deadline <= now || !self.has_seat() {
            return Ok(Answer::Lapsed);
        }
        if let Some(other) = self.seat_of(pass.ticket.visitor).filter(|other| *other != number)
            && self.take_out(other).is_none()
        {
            return Err(other);
        }
        self.take_out(number);
        let start = pass.start.min(now);
        let limit_at = self.spec().session.limit.map(|limit| start.saturating_add(limit).max(pass.deadline));
        self.seats.push(ModelSeat {
            number,
            visitor: pass.ticket.visitor,
            until: pass.deadline,
            kind: Kind::Active { start, seen: now, limit_at, renewals: 0 },
        });
        Err(number)
    }

    /// Ends whatever has this number.
    pub(super) fn end(&mut self, number: u64) -> bool {
        if self.take_out(number).is_some() {
            return true;
        }
        let holds = self.spec().session.early_end == EarlyEnd::HoldsSeat;
        let Some(index) = self.seats.iter().position(|seat| seat.number == number) else { return false };
        match &self.seats[index].kind {
            Kind::Held => return false,
            Kind::Active { .. } if holds => {
                self.seats[index].kind = Kind::Held;
                self.seats[index].visitor = Visitor::default();
            }
            Kind::Ready { .. } | Kind::Active { .. } => {
                self.seats.remove(index);
            }
        }
        true
    }
}
