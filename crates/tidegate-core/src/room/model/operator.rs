//! What the operator asks, on plain lists.

use super::*;
use crate::room::MAX_STEPS;
use crate::room::command::{Flush, Resume};
use crate::room::settings::{MAX_LEASE, MAX_WAITING, Opening};

impl ModelRoom {
    pub(super) fn admit_one(&mut self, now: Timestamp, wanted: Option<u64>) -> Result<Answer, u64> {
        let is_inside =
            |number: &u64| self.seats.iter().any(|seat| seat.number == *number && now < seat.until);
        if let Some(number) = wanted.filter(is_inside) {
            return Err(number);
        }
        let refusal = if self.state == RoomState::Closed {
            Some(Refusal::Closed)
        } else if now < self.hold_until {
            Some(Refusal::Recovering)
        } else if !self.has_seat() {
            Some(Refusal::NoSeat)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            return Ok(Answer::Refused(refusal));
        }
        for _ in 0..MAX_STEPS {
            let Some(number) = wanted.or_else(|| self.next_in_line()) else { break };
            if !self.line.values().any(|ticket| ticket.number == number) {
                return Ok(Answer::Lapsed);
            }
            if !self.skip_if_ended(now, number) {
                self.charge(now, true);
                self.call(now, number);
                return Err(number);
            }
        }
        Ok(Answer::Refused(Refusal::NobodyWaiting))
    }

    pub(super) fn set_state(&mut self, now: Timestamp, state: RoomState) -> Answer {
        if state != self.state && matches!(self.state, RoomState::Paused | RoomState::Closed) {
            self.slowed = Some((now, Slower::Paused));
        }
        self.state = state;
        Answer::Done
    }

    pub(super) fn change(&mut self, now: Timestamp, settings: &Settings) -> Answer {
        let (old, new) = (self.spec().clone(), settings.spec());
        let is_committed = self.next > 1 || self.beacon.is_some();
        let order =
            |opening: Option<Opening>| opening.map_or(OpeningOrder::AsTheyCame, |opening| opening.order);
        let breaks_opening = match self.is_open {
            true => new.opening.is_some_and(|opening| now < opening.at),
            false => is_committed && order(old.opening) != order(new.opening),
        };
        if breaks_opening {
            return Answer::Refused(Refusal::OpeningFixed);
        }
        // a / b < c / d
        let is_slower = |(a, b): (u64, u64), (c, d): (u64, u64)| {
            u128::from(a) * u128::from(d) < u128::from(c) * u128::from(b)
        };
        if new.capacity < old.capacity || is_slower(new.release.rate(), old.release.rate()) {
            self.slowed = Some((now, Slower::Cut));
        }
        let meter = ModelMeter::new(Algorithm::TokenBucket, &new.release, None);
        self.released = meter.convert(&self.meter, &self.released, now);
        self.meter = meter;
        let keeps_seed = is_committed && old.seed.is_some();
        self.settings = if keeps_seed { settings.with_seed_of(&self.settings) } else { settings.clone() };
        Answer::Done
    }

    pub(super) fn set_beacon(&mut self, beacon: [u8; 32]) -> Answer {
        if self.beacon == Some(beacon) {
            return Answer::Done;
        }
        if self.beacon.is_some() || self.is_open {
            return Answer::Refused(Refusal::OpeningFixed);
        }
        self.beacon = Some(beacon);
        Answer::Done
    }

    pub(super) fn flush(&mut self, flush: Flush) -> Answer {
        self.line.clear();
        self.seats.retain(|seat| !matches!(seat.kind, Kind::Ready { .. }));
        let active: Vec<u64> = self
            .seats
            .iter()
            .filter(|seat| matches!(seat.kind, Kind::Active { .. }))
            .map(|seat| seat.number)
            .collect();
        if flush == Flush::Everybody {
            for number in active {
                self.end(number);
            }
        }
        self.former_last = self.next - 1;
        self.epoch += 1;
        Answer::Done
    }

    pub(super) fn resume(&mut self, now: Timestamp, resume: &Resume) -> Answer {
        if resume.epoch <= self.epoch {
            return Answer::Refused(Refusal::StaleEpoch);
        }
        let known = self.next - 1;
        let (serving, last) = match resume.lost {
            None => (0, known),
            Some(lost) => (lost.serving, lost.last.max(known)),
        };
        let presumed = (known.max(serving) + 1)..=last;
        let count = last.saturating_sub(known.max(serving)) + self.line.len() as u64;
        if resume.longest_lease > MAX_LEASE
            || last >= QueueNumber::MAX.get()
            || serving > last
            || count > u64::from(MAX_WAITING)
        {
            return Answer::Refused(Refusal::LossTooLarge);
        }
        let session = self.spec().session;
        let longest_pass = session.limit.into_iter().chain(session.idle).min().unwrap_or_default();
        let until = match resume.lost {
            None => resume.longest_lease,
            Some(_) => resume.longest_lease.max(longest_pass),
        };
        let lease = now.saturating_add(until).as_micros().div_ceil(SECOND);
        for number in presumed {
            self.line.insert(number, ModelTicket { number, visitor: Visitor::default(), lease });
        }
        for ticket in self.line.values_mut() {
            ticket.lease = ticket.lease.max(lease);
        }
        if resume.lost.is_some() {
            self.hold_until = self.hold_until.max(now.saturating_add(until));
        }
        if now < self.hold_until {
            self.slowed = Some((self.hold_until, Slower::Paused));
        }
        self.next = last + 1;
        self.former_last = last;
        self.epoch = resume.epoch;
        self.presume_seats(now);
        Answer::Done
    }

    /// Calls and sessions are given the time that they may have had.
    fn presume_seats(&mut self, now: Timestamp) {
        let window = self.spec().claim.window;
        let ends: Vec<Timestamp> = self
            .seats
            .iter()
            .map(|seat| match seat.kind {
                Kind::Ready { .. } => now.saturating_add(window),
                Kind::Active { limit_at, .. } => self.end_of_session(now, limit_at),
                Kind::Held => seat.until,
            })
            .collect();
        for (seat, end) in self.seats.iter_mut().zip(ends) {
            seat.until = seat.until.max(end);
            if let Kind::Active { seen, .. } = &mut seat.kind {
                *seen = now;
            }
        }
    }
}
