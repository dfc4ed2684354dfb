//! One waiting room: a line, seats, and the rules by which visitors go from one to the other.
//!
//! A [`Room`] is a state machine. [`Room::handle`] takes a [`Command`] and `now`, gives an [`Answer`] and appends the
//! [`Event`]s by which the state has changed; [`Room::replay`] applies an event to another room, which is then in the
//! same state. Everything else only reads. What a room promises:
//!
//! - tickets leave the line in the order of their places; a position never grows;
//! - nobody is admitted twice, and one identity has one seat;
//! - seats taken never exceed the capacity, and calls never the release rate ([`Method::Passthrough`] has neither); a
//!   capacity that is lowered throws nobody out;
//! - a place is lost only by leaving, by a lease that ended, by a call that was not claimed, or by a flush;
//! - asking again creates nothing, asking early changes nothing.
//!
//! Nothing here is timed: whoever keeps a room sends [`Command::Turn`] at [`Room::next_due`].

mod admission;
mod answer;
mod apply;
mod command;
pub mod draw;
pub mod estimate;
mod event;
mod index;
mod line;
mod list;
#[cfg(any(test, feature = "model"))]
pub mod model;
mod name;
mod notes;
mod number;
mod outlook;
mod parts;
pub mod poll;
mod seats;
mod settings;
mod standing;
mod step;

use std::collections::BTreeMap;

pub use answer::{Admitted, Answer, EstimatedWait, Gate, Halt, Ready, Refusal, Slower, Status, Waiting};
pub use apply::Unfit;
pub use command::{Command, Flush, Lost, Pass, Resume, RoomState, Ticket};
pub use estimate::{Pace, Releases};
pub use event::{CalledBy, EndedBy, Event};
pub use list::{Listed, ListedAs};
pub use name::{MAX_ROOM_NAME_BYTES, RoomName, RoomNameError};
pub use notes::{MAX_NOTES_BYTES, Notes};
pub use number::{Identity, Prefix, QueueNumber, Visitor};
pub use outlook::Outlook;
pub use parts::{BadParts, Parts, TicketRow};
pub use seats::{Seat, SeatState, Session};
pub use settings::{
    ClaimTerms, EarlyEnd, MAX_CAPACITY, MAX_CLAIM_EXTENSIONS, MAX_CLAIM_WINDOW, MAX_LEASE, MAX_RENEWALS,
    MAX_SEATS_PER_PREFIX, MAX_SESSION, MAX_SPAN, MAX_WAITING, MIN_CLAIM_WINDOW, MIN_LEASE, MIN_SESSION,
    Method, Opening, OpeningOrder, SessionTerms, Settings, SettingsError, Spec,
};

use crate::algorithm::State;
use crate::time::Timestamp;

use index::{Index, Seated, number_below};
use line::Line;
use seats::Seats;
use step::Step;

/// The most of a kind that one command does of what is due: seats that are over, leases that have ended, calls. What is left
/// is due at once.
pub const MAX_STEPS: usize = 1_024;

/// One waiting room.
#[derive(Clone, Debug)]
pub struct Room {
    settings: Settings,
    state: RoomState,
    epoch: u32,
    /// When the last event was.
    clock: Timestamp,
    line: Line,
    seats: Seats,
    index: Index,
    /// Seats of each address prefix, waiting ones included.
    prefixes: BTreeMap<Prefix, u32>,
    /// What the release rate has used.
    released: State,
    releases: Releases,
    pace: Option<Pace>,
    /// The last time something made waits longer, and what.
    slowed: Option<(Timestamp, Slower)>,
    is_open: bool,
    beacon: Option<[u8; 32]>,
    /// Tickets taken out of the line in its order: the next draw of a random order.
    draws: u64,
    /// The last number that was given in an earlier epoch.
    former_last: u64,
    /// Until when nobody is admitted, because state was lost.
    hold_until: Option<Timestamp>,
}

impl Room {
    /// A room in which nobody has been, in its first epoch, `epoch`.
    #[must_use]
    pub fn new(settings: Settings, epoch: u32, now: Timestamp) -> Self {
        Self {
            state: RoomState::Open,
            epoch,
            clock: now,
            line: Line::new(QueueNumber::FIRST),
            seats: Seats::default(),
            index: Index::default(),
            prefixes: BTreeMap::new(),
            released: settings.meter().fresh(),
            releases: Releases::default(),
            pace: None,
            slowed: None,
            is_open: settings.spec().opening.is_none(),
            beacon: None,
            draws: 0,
            former_last: 0,
            hold_until: None,
            settings,
        }
    }

    /// Does a command, and appends what has changed to `events`, all of the instant [`Room::clock`]. A `now` before that of
    /// the last event is taken for that.
    ///
    /// Does what is due first and afterwards, at most [`MAX_STEPS`] of each kind, except where the answer changes
    /// nothing: a poll that is not due, and everything that is told how it stands.
    pub fn handle(&mut self, now: Timestamp, command: &Command, events: &mut Vec<Event>) -> Answer {
        let now = now.max(self.clock);
        if let Some(answer) = self.unchanged(now, command) {
            return answer;
        }
        let mut step = Step::new(self, now, events);
        // What was restored must be brought up to the present before anything in it is found to be over.
        if !matches!(command, Command::Resume(_)) {
            step.turn();
        }
        let reply = step.obey(command);
        step.turn();
        reply.answer(self, now)
    }

    /// How the seat of this ticket stands. Changes nothing.
    #[must_use]
    pub fn look(&self, now: Timestamp, ticket: &Ticket) -> Answer {
        match self.check(ticket) {
            Ok(()) => self.standing(now.max(self.clock), ticket.number),
            Err(answer) => answer,
        }
    }

    /// How the seat of this ticket stood when these, who have left the line since, still stood there: for whoever must not tell yet
    /// that they have. What else happened to the seat itself since is told.
    #[must_use]
    pub fn look_before(
        &self,
        now: Timestamp,
        ticket: &Ticket,
        gone: impl Iterator<Item = QueueNumber>,
    ) -> Answer {
        let mut answer = self.look(now, ticket);
        if let Answer::Waiting(waiting) = &mut answer
            && let Some(position) = &mut waiting.position
        {
            *position += gone.filter(|gone| self.line.is_ahead(*gone, ticket.number)).count() as u64;
        }
        answer
    }

    /// What [`Room::handle`] would answer to a command that changes nothing now, because it comes early or again; `None` to any
    /// other. So whoever has a copy of a room can answer most polls.
    #[must_use]
    pub fn answer_to_early(&self, now: Timestamp, command: &Command) -> Option<Answer> {
        self.unchanged(now.max(self.clock), command)
    }

    /// The room at this instant. Changes nothing.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> Status {
        Status {
            epoch: self.epoch,
            state: self.state,
            waiting: self.line.waiting(),
            ready: self.seats.ready(),
            active: self.seats.active(),
            held: self.seats.held(),
            serving_number: self.line.serving(),
            next_number: self.line.next(),
            gate: self.gate(now.max(self.clock)),
            pace: self.pace.map(|pace| pace.each),
        }
    }

    /// When something is due, as of `now`: a seat is over, a lease may end, one can be called, the room opens. `now` or
    /// earlier where it is overdue; `None` where nothing will happen by itself.
    #[must_use]
    pub fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        let now = now.max(self.clock);
        let opens_at = self.opens_at().filter(|_| !self.is_open);
        let seat = self.seats.first_over().map(|(deadline, _)| deadline);
        let call = if self.line.waiting() == 0 {
            None
        } else {
            match self.gate(now) {
                Gate::Open => Some(now),
                Gate::Rate { until } | Gate::Halted(Halt::Recovering { until }) => Some(until),
                Gate::Full | Gate::Halted(_) => None,
            }
        };
        [opens_at, seat, self.line.earliest_end(), call].into_iter().flatten().min()
    }

    /// As [`Room::next_due`], for a copy that is told events and never turned itself: it does not know otherwise that leases were renewed
    /// since it looked for the first to end.
    pub fn find_next_due(&mut self, now: Timestamp) -> Option<Timestamp> {
        let now = now.max(self.clock);
        if self.line.earliest_end().is_some_and(|end| end <= now) {
            self.line.ended(now, MAX_STEPS, &mut Vec::new());
        }
        self.next_due(now)
    }

    /// The settings in force.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The epoch, which tickets and passes carry.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// When the last event was.
    #[must_use]
    pub const fn clock(&self) -> Timestamp {
        self.clock
    }

    /// The draw of the opening, once it was made.
    #[must_use]
    pub fn drawn(&self) -> Option<&draw::Drawn> {
        self.line.drawn()
    }

    /// The number of the first block of 512 places that somebody waits in, and how many do in each from it on: with the draw,
    /// all it takes to tell any ticket about where it stands.
    pub fn blocks(&self) -> (u64, impl Iterator<Item = u32>) {
        self.line.blocks()
    }

    /// The memory it takes, in bytes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        // Nodes of the tree are two thirds full.
        let prefixes = self.prefixes.len() * size_of::<(Prefix, u32)>() * 3 / 2;
        size_of::<Self>() + self.line.bytes() + self.seats.bytes() + self.index.bytes() + prefixes
    }

    /// The seat of this identity.
    fn seat_of(&self, identity: Option<Identity>) -> Option<QueueNumber> {
        let low = self.index.find(identity?, &self.taken())?;
        Some(number_below(self.line.next(), low))
    }

    fn taken(&self) -> Taken<'_> {
        Taken { line: &self.line, seats: &self.seats }
    }
}

/// Where the index finds identities.
struct Taken<'a> {
    line: &'a Line,
    seats: &'a Seats,
}

impl Taken<'_> {
    fn visitor(&self, number: QueueNumber) -> Option<Visitor> {
        self.line.visitor(number).or_else(|| self.seats.get(number).map(|seat| seat.visitor))
    }
}

impl Seated for Taken<'_> {
    fn identity_at(&self, low: u32) -> Option<Identity> {
        self.visitor(number_below(self.line.next(), low))?.identity
    }
}
