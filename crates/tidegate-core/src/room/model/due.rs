//! What a room does by itself, on plain lists.

use super::*;
use crate::room::MAX_STEPS;
use crate::room::draw::key;
use crate::room::estimate::{LOOK_EVERY, REASON_HOLDS};

/// Ten seconds, in which calls are counted together.
const STEP: u64 = 10 * SECOND;

impl ModelRoom {
    /// Time passes; it counts while somebody waits.
    pub(super) fn count_time(&mut self, now: Timestamp) {
        if self.is_open && !self.line.is_empty() {
            self.busy += now.since(self.counted).as_micros();
        }
        self.counted = now;
    }

    pub(super) fn turn(&mut self, now: Timestamp) {
        self.open(now);
        self.end_seats(now);
        self.sweep(now);
        self.call_those_whose_turn_it_is(now);
        self.look_at_pace(now);
    }

    fn open(&mut self, now: Timestamp) {
        let opening = self.spec().opening;
        if self.is_open || opening.is_some_and(|opening| now < opening.at) {
            return;
        }
        self.is_open = true;
        let Some(seed) = self.spec().seed else { return };
        if opening.is_none_or(|opening| opening.order != OpeningOrder::Shuffled) {
            return;
        }
        let after = self.line.keys().next().map_or(self.next - 1, |place| place - 1);
        let last = self.next - 1;
        let count = last - after;
        self.drawn = Some((after, last, Permutation::new(&key(&seed, self.beacon.as_ref(), count), count)));
        let tickets: Vec<ModelTicket> = self.line.values().cloned().collect();
        self.line = tickets.into_iter().map(|ticket| (self.place_of(ticket.number), ticket)).collect();
    }

    /// Seats that are over go, the first to be over first.
    fn end_seats(&mut self, now: Timestamp) {
        self.seats.sort_by_key(|seat| (seat.until, seat.number));
        let over = self.seats.iter().take(MAX_STEPS).filter(|seat| seat.until <= now).count();
        self.seats.drain(..over);
    }

    /// Leases that have ended go, the lowest numbers first.
    fn sweep(&mut self, now: Timestamp) {
        let mut ended: Vec<u64> = self
            .line
            .values()
            .filter(|ticket| ticket.lease * SECOND <= now.as_micros())
            .map(|ticket| ticket.number)
            .collect();
        ended.sort_unstable();
        for number in ended.into_iter().take(MAX_STEPS) {
            self.take_out(number);
        }
    }

    fn call_those_whose_turn_it_is(&mut self, now: Timestamp) {
        for _ in 0..MAX_STEPS {
            if self.gate(now) != Gate::Open {
                return;
            }
            let Some(number) = self.next_in_line() else { return };
            if !self.skip_if_ended(now, number) {
                self.calls.push(self.busy);
                self.charge(now, self.spec().method == Method::Passthrough);
                self.call(now, number);
            }
        }
    }

    /// Takes out a ticket whose lease has ended.
    pub(super) fn skip_if_ended(&mut self, now: Timestamp, number: u64) -> bool {
        let ended =
            |ticket: &ModelTicket| ticket.number == number && ticket.lease * SECOND <= now.as_micros();
        let is_over = self.line.values().any(ended);
        if is_over {
            self.draws += 1;
            self.take_out(number);
        }
        is_over
    }

    pub(super) fn call(&mut self, now: Timestamp, number: u64) {
        let Some(ticket) = self.take_out(number) else { return };
        self.draws += 1;
        let until = now.saturating_add(self.spec().claim.window);
        self.seats.push(ModelSeat {
            number,
            visitor: ticket.visitor,
            until,
            kind: Kind::Ready { extensions: 0 },
        });
    }

    pub(super) fn charge(&mut self, now: Timestamp, is_past_the_gates: bool) {
        if is_past_the_gates {
            self.meter.debit(&mut self.released, now, 1);
        } else {
            self.meter.charge(&mut self.released, now, 1, 0);
        }
    }

    pub(super) fn take_out(&mut self, number: u64) -> Option<ModelTicket> {
        let place = self.line.iter().find(|(_, ticket)| ticket.number == number).map(|(place, _)| *place)?;
        self.line.remove(&place)
    }

    fn look_at_pace(&mut self, now: Timestamp) {
        let is_fresh = self.pace.is_some_and(|pace| now < pace.at.saturating_add(LOOK_EVERY));
        let Some(last) = self.calls.last() else { return };
        if is_fresh || self.line.is_empty() {
            return;
        }
        let over = |steps: u64| {
            let begin = (self.busy / STEP + 1).saturating_sub(steps) * STEP;
            let calls = self.calls.iter().filter(|call| **call >= begin).count() as u64;
            let span = (self.busy - begin).max(STEP);
            if calls == 0 { span.max(self.busy - last) } else { span.div_ceil(calls) }
        };
        let each = Micros::from_micros(over(3).max(over(30)));
        let slower = match self.pace {
            None => None,
            Some(shown) if each < shown.each => None,
            Some(shown) if each.as_micros() * 100 > shown.each.as_micros() * 115 => Some(self.reason(now)),
            Some(_) => return,
        };
        let before = self.pace.and_then(|pace| pace.grew);
        self.pace = Some(Pace { each, at: now, grew: slower.map(|why| (why, now)).or(before) });
    }

    fn reason(&self, now: Timestamp) -> Slower {
        if matches!(self.state, RoomState::Paused | RoomState::Closed) || now < self.hold_until {
            return Slower::Paused;
        }
        match self.slowed {
            Some((at, why)) if now.since(at) <= REASON_HOLDS => why,
            _ => Slower::Release,
        }
    }
}
