//! The gates between the line and the seats.

use super::answer::{Gate, Halt, Slower};
use super::command::RoomState;
use super::draw;
use super::estimate::REASON_HOLDS;
use super::number::QueueNumber;
use super::settings::{MAX_CAPACITY, Method};
use super::{Room, line};
use crate::algorithm::Ask;
use crate::decision::Verdict;
use crate::time::Timestamp;

impl Room {
    /// Whether somebody would be called at `now`.
    pub(super) fn gate(&self, now: Timestamp) -> Gate {
        if let Some(halt) = self.halt(now) {
            return Gate::Halted(halt);
        }
        if !self.has_seat() {
            return Gate::Full;
        }
        if self.settings.spec().method == Method::Passthrough {
            return Gate::Open;
        }
        match self.settings.meter().judge(&self.released, now, &Ask::cost(1)) {
            Verdict::Allow { .. } => Gate::Open,
            // A rate of nothing is no setting, so there always is an instant.
            Verdict::Deny { retry_after } => {
                Gate::Rate { until: now.saturating_add(retry_after.unwrap_or_default()) }
            }
        }
    }

    /// Whether a seat is free.
    pub(super) fn has_seat(&self) -> bool {
        let spec = self.settings.spec();
        let capacity = if spec.method == Method::Passthrough { MAX_CAPACITY } else { spec.capacity };
        self.seats.taken() < u64::from(capacity)
    }

    /// Why nobody is called, seats and rate aside.
    pub(super) fn halt(&self, now: Timestamp) -> Option<Halt> {
        if self.state == RoomState::Closed {
            return Some(Halt::Closed);
        }
        if !self.is_open {
            return Some(Halt::NotYetOpen { opens_at: self.opens_at().unwrap_or(now) });
        }
        if let Some(until) = self.held(now) {
            return Some(Halt::Recovering { until });
        }
        (self.state == RoomState::Paused).then_some(Halt::Paused)
    }

    /// Until when nobody is admitted because state was lost; `None` where that is over.
    pub(super) fn held(&self, now: Timestamp) -> Option<Timestamp> {
        self.hold_until.filter(|until| *until > now)
    }

    pub(super) fn opens_at(&self) -> Option<Timestamp> {
        self.settings.spec().opening.map(|opening| opening.at)
    }

    /// Whose turn it is.
    pub(super) fn next_in_line(&self) -> Option<QueueNumber> {
        let waiting = self.line.waiting();
        let spec = self.settings.spec();
        let ahead = match (spec.method, &spec.seed) {
            (Method::Random, Some(seed)) if waiting > 0 => {
                let key = draw::key(seed, self.beacon.as_ref(), 0);
                draw::pick(&key, self.draws, waiting)
            }
            _ => 0,
        };
        self.line.nth(ahead)
    }

    /// Whether a waiting ticket's lease has ended.
    pub(super) fn has_ended(&self, now: Timestamp, number: QueueNumber) -> bool {
        self.line.lease(number).is_some_and(|lease| lease <= line::ended_lease(now))
    }

    /// What makes waits longer at `now`, if something does.
    pub(super) fn reason(&self, now: Timestamp) -> Slower {
        let is_halted = matches!(self.state, RoomState::Paused | RoomState::Closed);
        if is_halted || self.held(now).is_some() {
            return Slower::Paused;
        }
        match self.slowed {
            Some((at, why)) if now.since(at) <= REASON_HOLDS => why,
            _ => Slower::Release,
        }
    }
}
