//! How visitors stand, and whether asking changes anything.

use super::Room;
use super::answer::{Admitted, Answer, Ready, Refusal, Waiting};
use super::command::{Command, Ticket};
use super::line::end_of;
use super::number::QueueNumber;
use super::outlook::Outlook;
use super::poll;
use super::seats::{Seat, SeatState, Session, deadline};
use crate::time::Timestamp;

impl Room {
    /// The answer to a command that changes nothing; `None` where it may change something.
    pub(super) fn unchanged(&self, now: Timestamp, command: &Command) -> Option<Answer> {
        let number = match command {
            Command::Join(visitor) => {
                self.seat_of(visitor.identity).filter(|number| !self.is_due(now, *number))?
            }
            Command::Poll(ticket) | Command::Heartbeat(ticket) => {
                if let Err(answer) = self.check(ticket) {
                    return Some(answer);
                }
                let is_seen = matches!(command, Command::Heartbeat(_))
                    && self.next_deadline(now, ticket.number).is_some();
                if is_seen || self.is_unrecognised(ticket) || self.is_due(now, ticket.number) {
                    return None;
                }
                ticket.number
            }
            Command::Claim(ticket)
            | Command::ExtendClaim(ticket)
            | Command::Renew(ticket)
            | Command::Leave(ticket) => return self.check(ticket).err(),
            Command::Return(pass) => return self.check(&pass.ticket).err(),
            _ => return None,
        };
        Some(self.standing(now, number))
    }

    /// Whether a ticket can be of this room.
    pub(super) fn check(&self, ticket: &Ticket) -> Result<(), Answer> {
        if ticket.epoch > self.epoch {
            return Err(Answer::Refused(Refusal::StaleRoom));
        }
        // Given in an earlier epoch, but lost with it: the number is, or will be, somebody else's.
        if ticket.epoch < self.epoch && ticket.number.get() > self.former_last {
            return Err(Answer::Lapsed);
        }
        Ok(())
    }

    /// How the seat with this number stands.
    pub(super) fn standing(&self, now: Timestamp, number: QueueNumber) -> Answer {
        match self.seats.get(number) {
            Some(seat) if seat.deadline <= now => Answer::Lapsed,
            Some(seat) => self.seated(number, seat),
            None => self.waiting(now, number).map_or(Answer::Lapsed, Answer::Waiting),
        }
    }

    fn seated(&self, number: QueueNumber, seat: &Seat) -> Answer {
        match seat.state {
            SeatState::Ready { extensions } => Answer::Ready(Ready {
                number,
                claim_until: seat.deadline,
                extensions_left: self.settings.spec().claim.extensions.saturating_sub(extensions),
                poll_after: poll::HEAD_INTERVAL,
            }),
            SeatState::Active(session) => Answer::Admitted(Admitted {
                number,
                start: session.start,
                deadline: seat.deadline,
                limit_at: session.limit_at,
                renewals_left: self.settings.spec().session.renewals.saturating_sub(session.renewals),
                heartbeat_after: poll::HEAD_INTERVAL,
            }),
            SeatState::Held => Answer::Lapsed,
        }
    }

    fn waiting(&self, now: Timestamp, number: QueueNumber) -> Option<Waiting> {
        let lease = self.line.lease(number)?;
        let ahead = self.line.position(number)?;
        let outlook = self.outlook();
        Some(Waiting {
            number,
            position: outlook.is_in_order().then_some(ahead),
            estimated_wait: outlook.estimated_wait(now, ahead),
            poll_after: outlook.interval(now, number, ahead),
            lease_until: end_of(lease),
            halt: self.halt(now),
        })
    }

    /// What there is to tell to who waits.
    #[must_use]
    pub fn outlook(&self) -> Outlook<'_> {
        let waiting = self.line.waiting();
        Outlook { settings: &self.settings, is_open: self.is_open, pace: self.pace, waiting }
    }

    /// Whether a poll of this ticket renews its lease.
    pub(super) fn is_due(&self, now: Timestamp, number: QueueNumber) -> bool {
        match (self.line.lease(number), self.line.position(number)) {
            (Some(lease), Some(ahead)) => self.outlook().is_due(now, number, ahead, lease),
            _ => false,
        }
    }

    /// Whether a ticket of an earlier epoch names a visitor that the room does not know to have it.
    pub(super) fn is_unrecognised(&self, ticket: &Ticket) -> bool {
        ticket.number.get() <= self.former_last
            && ticket.visitor.identity.is_some()
            && self.line.visitor(ticket.number).is_some_and(|known| known.identity.is_none())
    }

    /// Until when a heartbeat at `now` puts off the end of a session; `None` where it changes nothing: it is early,
    /// the session is at its limit, or there is none.
    pub(super) fn next_deadline(&self, now: Timestamp, number: QueueNumber) -> Option<Timestamp> {
        let seat = self.seats.get(number).filter(|seat| seat.deadline > now)?;
        let SeatState::Active(Session { seen, limit_at, .. }) = seat.state else { return None };
        let next = deadline(&self.settings.spec().session, limit_at, now, seat.deadline);
        (now >= seen.saturating_add(poll::HEAD_INTERVAL) && next > seat.deadline).then_some(next)
    }
}
