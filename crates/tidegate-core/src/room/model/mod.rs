//! The reference model of a room: the same commands once more, on plain lists, to be obviously right and not fast.
//!
//! A position is counted by walking the line, a seat is found by looking at all of them, the pace comes from a list of every
//! call. Shared with the real room are plain data (commands, answers, settings) and the formulas that have tests of their own:
//! intervals ([`super::poll`]), the range of an estimate, and draws ([`super::draw`]). The release rate is metered by the
//! model's own meter ([`crate::model`]).

mod due;
mod operator;
mod visitor;

use std::collections::BTreeMap;

use super::answer::{Admitted, Answer, Gate, Halt, Ready, Refusal, Slower, Status, Waiting};
use super::command::{Command, RoomState, Ticket};
use super::draw::{self, Permutation};
use super::estimate::{self, Pace};
use super::number::{QueueNumber, Visitor};
use super::poll;
use super::settings::{MAX_CAPACITY, Method, OpeningOrder, Settings, Spec};
use crate::decision::Verdict;
use crate::model::{ModelMeter, ModelState};
use crate::quota::Algorithm;
use crate::time::{Micros, Timestamp};

const SECOND: u64 = 1_000_000;

/// A room on plain lists. Its times never go back.
#[derive(Clone, Debug)]
pub struct ModelRoom {
    settings: Settings,
    state: RoomState,
    epoch: u32,
    next: u64,
    /// Who waits, by place.
    line: BTreeMap<u64, ModelTicket>,
    seats: Vec<ModelSeat>,
    /// The draw of the opening: (numbers after this, up to this, order).
    drawn: Option<(u64, u64, Permutation)>,
    is_open: bool,
    beacon: Option<[u8; 32]>,
    meter: ModelMeter,
    released: ModelState,
    /// Until when time was counted.
    counted: Timestamp,
    /// Time in which somebody waited, µs, and when in it each call was.
    busy: u64,
    calls: Vec<u64>,
    pace: Option<Pace>,
    slowed: Option<(Timestamp, Slower)>,
    draws: u64,
    former_last: u64,
    hold_until: Timestamp,
}

#[derive(Clone, Debug)]
struct ModelTicket {
    number: u64,
    visitor: Visitor,
    /// Whole seconds.
    lease: u64,
}

#[derive(Clone, Debug)]
struct ModelSeat {
    number: u64,
    visitor: Visitor,
    until: Timestamp,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Ready { extensions: u16 },
    Active { start: Timestamp, seen: Timestamp, limit_at: Option<Timestamp>, renewals: u16 },
    Held,
}

impl ModelRoom {
    /// A room in which nobody has been.
    #[must_use]
    pub fn new(settings: Settings, epoch: u32, now: Timestamp) -> Self {
        let meter = ModelMeter::new(Algorithm::TokenBucket, &settings.spec().release, None);
        Self {
            state: RoomState::Open,
            epoch,
            next: 1,
            line: BTreeMap::new(),
            seats: Vec::new(),
            drawn: None,
            is_open: settings.spec().opening.is_none(),
            beacon: None,
            released: meter.fresh(),
            meter,
            counted: now,
            busy: 0,
            calls: Vec::new(),
            pace: None,
            slowed: None,
            draws: 0,
            former_last: 0,
            hold_until: Timestamp::EPOCH,
            settings,
        }
    }

    /// Does a command.
    pub fn handle(&mut self, now: Timestamp, command: &Command) -> Answer {
        if let Some(answer) = self.is_foreign(command) {
            return answer;
        }
        if let Some(ticket) = self.asks_only(now, command) {
            return self.standing(now, ticket);
        }
        self.count_time(now);
        if !matches!(command, Command::Resume(_)) {
            self.turn(now);
        }
        let answer = self.obey(now, command);
        self.turn(now);
        answer.unwrap_or_else(|number| self.standing(now, number))
    }

    /// How a ticket stands.
    #[must_use]
    pub fn look(&self, now: Timestamp, ticket: &Ticket) -> Answer {
        self.is_foreign(&Command::Poll(*ticket)).unwrap_or_else(|| self.standing(now, ticket.number.get()))
    }

    /// The room at this instant.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> Status {
        let count =
            |wanted: fn(&Kind) -> bool| self.seats.iter().filter(|seat| wanted(&seat.kind)).count() as u64;
        Status {
            epoch: self.epoch,
            state: self.state,
            waiting: self.line.len() as u64,
            ready: count(|kind| matches!(kind, Kind::Ready { .. })),
            active: count(|kind| matches!(kind, Kind::Active { .. })),
            held: count(|kind| matches!(kind, Kind::Held)),
            serving_number: self.line.keys().next().map_or(self.next - 1, |place| place - 1),
            next_number: self.next,
            gate: self.gate(now),
            pace: self.pace.map(|pace| pace.each),
        }
    }

    /// The earliest instant at which something is due; leases count as ending exactly.
    #[must_use]
    pub fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        let seats = self.seats.iter().map(|seat| seat.until);
        let leases = self.line.values().map(|ticket| Timestamp::from_micros(ticket.lease * SECOND));
        let opening = self.spec().opening.filter(|_| !self.is_open).map(|opening| opening.at);
        let call = match self.gate(now) {
            _ if self.line.is_empty() => None,
            Gate::Open => Some(now),
            Gate::Rate { until } | Gate::Halted(Halt::Recovering { until }) => Some(until),
            Gate::Full | Gate::Halted(_) => None,
        };
        seats.chain(leases).chain(opening).chain(call).min()
    }

    fn obey(&mut self, now: Timestamp, command: &Command) -> Result<Answer, u64> {
        match command {
            Command::Join(visitor) => self.join(now, *visitor),
            Command::Poll(ticket) => self.poll(now, ticket),
            Command::Heartbeat(ticket) => self.heartbeat(now, ticket),
            Command::Claim(ticket) => self.claim(now, ticket.number.get()),
            Command::ExtendClaim(ticket) => self.extend_claim(now, ticket.number.get()),
            Command::Renew(ticket) => self.renew(now, ticket.number.get()),
            Command::Return(pass) => self.take_back(now, pass),
            Command::Leave(ticket) if self.end(ticket.number.get()) => Ok(Answer::Left),
            Command::End(number) if self.end(number.get()) => Ok(Answer::Done),
            Command::Leave(_) | Command::End(_) => Ok(Answer::Lapsed),
            Command::AdmitOne(number) => self.admit_one(now, number.map(QueueNumber::get)),
            Command::SetState(state) => Ok(self.set_state(now, *state)),
            Command::Change(settings) => Ok(self.change(now, settings)),
            Command::Beacon(beacon) => Ok(self.set_beacon(*beacon)),
            Command::Flush(flush) => Ok(self.flush(*flush)),
            Command::Resume(resume) => Ok(self.resume(now, resume)),
            Command::Turn => Ok(Answer::Done),
        }
    }

    fn spec(&self) -> &Spec {
        self.settings.spec()
    }
}

// === impl looking ===

impl ModelRoom {
    /// The answer to a ticket of another room than this one.
    fn is_foreign(&self, command: &Command) -> Option<Answer> {
        let ticket = match command {
            Command::Poll(ticket)
            | Command::Heartbeat(ticket)
            | Command::Claim(ticket)
            | Command::ExtendClaim(ticket)
            | Command::Renew(ticket)
            | Command::Leave(ticket) => ticket,
            Command::Return(pass) => &pass.ticket,
            _ => return None,
        };
        if ticket.epoch > self.epoch {
            return Some(Answer::Refused(Refusal::StaleRoom));
        }
        let is_unknown = ticket.epoch < self.epoch && ticket.number.get() > self.former_last;
        is_unknown.then_some(Answer::Lapsed)
    }

    /// Whose standing is asked for by a command that has nothing to do.
    fn asks_only(&self, now: Timestamp, command: &Command) -> Option<u64> {
        match command {
            Command::Join(visitor) => self.seat_of(*visitor).filter(|number| !self.is_due(now, *number)),
            Command::Poll(ticket) | Command::Heartbeat(ticket) => {
                let number = ticket.number.get();
                let is_heartbeat = matches!(command, Command::Heartbeat(_));
                let moves = is_heartbeat && self.next_end(now, number).is_some();
                (!moves && !self.names(ticket) && !self.is_due(now, number)).then_some(number)
            }
            _ => None,
        }
    }

    fn standing(&self, now: Timestamp, number: u64) -> Answer {
        if let Some(seat) = self.seats.iter().find(|seat| seat.number == number) {
            return self.seated(now, seat);
        }
        let Some((place, ticket)) = self.line.iter().find(|(_, ticket)| ticket.number == number) else {
            return Answer::Lapsed;
        };
        let ahead = self.line.range(..place).count() as u64;
        let range = |pace: &Pace| {
            if self.is_in_order() {
                estimate::in_order(now, ahead, pace)
            } else {
                estimate::drawn(now, self.line.len() as u64, pace)
            }
        };
        Answer::Waiting(Waiting {
            number: QueueNumber::new(number),
            position: self.is_in_order().then_some(ahead),
            estimated_wait: self.pace.as_ref().map(range),
            poll_after: self.interval(now, number, ahead),
            lease_until: Timestamp::from_micros(ticket.lease * SECOND),
            halt: self.halt(now),
        })
    }

    fn seated(&self, now: Timestamp, seat: &ModelSeat) -> Answer {
        let number = QueueNumber::new(seat.number);
        if seat.until <= now {
            return Answer::Lapsed;
        }
        match &seat.kind {
            Kind::Held => Answer::Lapsed,
            Kind::Ready { extensions } => Answer::Ready(Ready {
                number,
                claim_until: seat.until,
                extensions_left: self.spec().claim.extensions.saturating_sub(*extensions),
                poll_after: Micros::from_secs(1),
            }),
            Kind::Active { start, limit_at, renewals, .. } => Answer::Admitted(Admitted {
                number,
                start: *start,
                deadline: seat.until,
                limit_at: *limit_at,
                renewals_left: self.spec().session.renewals.saturating_sub(*renewals),
                heartbeat_after: Micros::from_secs(1),
            }),
        }
    }

    fn is_in_order(&self) -> bool {
        let is_drawn_later = !self.is_open
            && self.spec().opening.is_some_and(|opening| opening.order == OpeningOrder::Shuffled);
        self.spec().method != Method::Random && !is_drawn_later
    }

    fn halt(&self, now: Timestamp) -> Option<Halt> {
        let opening = self.spec().opening.filter(|_| !self.is_open);
        if self.state == RoomState::Closed {
            Some(Halt::Closed)
        } else if !self.is_open {
            Some(Halt::NotYetOpen { opens_at: opening.map_or(now, |opening| opening.at) })
        } else if now < self.hold_until {
            Some(Halt::Recovering { until: self.hold_until })
        } else if self.state == RoomState::Paused {
            Some(Halt::Paused)
        } else {
            None
        }
    }

    fn has_seat(&self) -> bool {
        let all = if self.spec().method == Method::Passthrough { MAX_CAPACITY } else { self.spec().capacity };
        (self.seats.len() as u64) < u64::from(all)
    }

    fn gate(&self, now: Timestamp) -> Gate {
        if let Some(halt) = self.halt(now) {
            Gate::Halted(halt)
        } else if !self.has_seat() {
            Gate::Full
        } else if self.spec().method == Method::Passthrough {
            Gate::Open
        } else {
            match self.meter.judge(&self.released, now, 1, 0) {
                Verdict::Deny { retry_after: Some(after) } => Gate::Rate { until: now.saturating_add(after) },
                _ => Gate::Open,
            }
        }
    }

    fn interval(&self, now: Timestamp, number: u64, ahead: u64) -> Micros {
        let (limit, window) = self.spec().release.rate();
        let quickest = Micros::from_micros(window / limit);
        let pace = self.pace.map_or(quickest, |pace| pace.each);
        let method = self.spec().method;
        let opening = match self.spec().opening {
            Some(opening) if !self.is_open => opening.at.since(now),
            _ => Micros::ZERO,
        };
        let (wait, soonest) = if method == Method::Passthrough {
            (Micros::ZERO, Micros::ZERO)
        } else if !self.is_in_order() {
            (estimate::wait(self.line.len() as u64, pace), Micros::ZERO)
        } else if self.is_open && ahead < 16 {
            return Micros::from_secs(1);
        } else {
            let soonest = (ahead + 1).saturating_sub(self.spec().release.burst());
            (estimate::wait(ahead, pace), estimate::wait(soonest, quickest))
        };
        let (wait, soonest) = (wait.saturating_add(opening), soonest.saturating_add(opening));
        poll::interval(wait, soonest, self.spec().claim.window, poll::jitter(QueueNumber::new(number)))
    }

    /// The lease of who polls at `now`, in whole seconds, and the least lease that is still as if it had just polled.
    fn leases(&self, now: Timestamp, number: u64, ahead: u64) -> (u64, u64) {
        let interval = self.interval(now, number, ahead);
        let lease = poll::lease(interval, self.spec().min_lease);
        let ending = |span: Micros| (now.as_micros() + span.as_micros()).div_ceil(SECOND);
        (ending(lease), ending(lease.saturating_sub(interval)))
    }

    fn is_due(&self, now: Timestamp, number: u64) -> bool {
        self.line.iter().find(|(_, ticket)| ticket.number == number).is_some_and(|(place, ticket)| {
            let ahead = self.line.range(..place).count() as u64;
            self.leases(now, number, ahead).1 >= ticket.lease
        })
    }

    /// The seat of a visitor, waiting or not.
    fn seat_of(&self, visitor: Visitor) -> Option<u64> {
        let waiting = self.line.values().map(|ticket| (ticket.number, ticket.visitor));
        let inside = self.seats.iter().map(|seat| (seat.number, seat.visitor));
        waiting
            .chain(inside)
            .find(|(_, known)| visitor.identity.is_some() && known.identity == visitor.identity)
            .map(|(number, _)| number)
    }

    fn place_of(&self, number: u64) -> u64 {
        match &self.drawn {
            Some((after, last, order)) if number > *after && number <= *last => {
                after + 1 + order.forward(number - after - 1)
            }
            _ => number,
        }
    }

    fn next_in_line(&self) -> Option<u64> {
        let ahead = match (self.spec().method, &self.spec().seed) {
            (Method::Random, Some(seed)) if !self.line.is_empty() => {
                draw::pick(&draw::key(seed, self.beacon.as_ref(), 0), self.draws, self.line.len() as u64)
            }
            _ => 0,
        };
        self.line.values().nth(usize::try_from(ahead).unwrap_or(0)).map(|ticket| ticket.number)
    }
}
