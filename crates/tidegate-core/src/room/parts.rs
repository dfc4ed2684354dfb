//! A room as plain data, for a store to write and read.

use core::fmt;

use super::answer::Slower;
use super::command::RoomState;
use super::draw::Drawn;
use super::estimate::{Pace, Releases};
use super::line::Line;
use super::number::{QueueNumber, Visitor};
use super::seats::{Seat, SeatState, Seats};
use super::settings::{MAX_CAPACITY, MAX_SPAN, MAX_WAITING, Settings};
use super::{Index, Room};
use crate::algorithm::{State, Tat};
use crate::time::Timestamp;

/// Everything of a room but its tickets and seats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// The settings.
    pub settings: Settings,
    /// The state.
    pub state: RoomState,
    /// The epoch.
    pub epoch: u32,
    /// When the last event was.
    pub clock: Timestamp,
    /// The number that the next one to join gets.
    pub next: QueueNumber,
    /// The draw that was made at the opening.
    pub drawn: Option<Drawn>,
    /// What the release rate has used: a theoretical arrival time.
    pub released: Tat,
    /// How fast the line has moved.
    pub releases: Releases,
    /// The pace that estimates are made from.
    pub pace: Option<Pace>,
    /// The last time something made waits longer, and what.
    pub slowed: Option<(Timestamp, Slower)>,
    /// Whether the opening is over.
    pub is_open: bool,
    /// What the draw is mixed with.
    pub beacon: Option<[u8; 32]>,
    /// Tickets taken out of the line in its order.
    pub draws: u64,
    /// The last number that was given in an earlier epoch.
    pub former_last: u64,
    /// Until when nobody is admitted, because state was lost.
    pub hold_until: Option<Timestamp>,
}

/// A live ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TicketRow {
    /// Its number.
    pub number: QueueNumber,
    /// What is known of the visitor.
    pub visitor: Visitor,
    /// When its lease ends: whole seconds since the Unix epoch.
    pub lease: u32,
}

/// Why parts do not make a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadParts {
    /// Tickets are not in the order of their numbers, or not below the next number.
    TicketOutOfOrder(QueueNumber),
    /// There are more tickets than can wait, over more numbers than they can be spread, or more seats than a room has.
    TooMany,
    /// A seat has a number that is not below the next, or that of a ticket.
    SeatOutOfOrder(QueueNumber),
    /// One visitor has two seats.
    SeatedTwice(QueueNumber),
    /// The draw is of numbers that were not given, or no number was.
    NumberOutOfRange,
    /// A call was later than any time that was counted, or the release rate is another one.
    ReleasesOutOfRange,
}

impl fmt::Display for BadParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadParts::TicketOutOfOrder(number) => write!(f, "ticket {number} is out of order"),
            BadParts::TooMany => f.write_str("there are more tickets or seats than a room has"),
            BadParts::SeatOutOfOrder(number) => write!(f, "seat {number} was not given or still waits"),
            BadParts::SeatedTwice(number) => write!(f, "the visitor of seat {number} has another one"),
            BadParts::NumberOutOfRange => f.write_str("the next number or the draw cannot be"),
            BadParts::ReleasesOutOfRange => f.write_str("what was released cannot be at this rate"),
        }?;
        f.write_str("; the snapshot is damaged, use an earlier one")
    }
}

impl core::error::Error for BadParts {}

impl Room {
    /// Everything but tickets and seats.
    #[must_use]
    pub fn parts(&self) -> Parts {
        let released = match &self.released {
            State::Tat(tat) => *tat,
            _ => Tat::default(),
        };
        Parts {
            settings: self.settings.clone(),
            state: self.state,
            epoch: self.epoch,
            clock: self.clock,
            next: QueueNumber::new(self.line.next()),
            drawn: self.line.drawn().cloned(),
            released,
            releases: self.releases,
            pace: self.pace,
            slowed: self.slowed,
            is_open: self.is_open,
            beacon: self.beacon,
            draws: self.draws,
            former_last: self.former_last,
            hold_until: self.hold_until,
        }
    }

    /// Every live ticket, by number.
    pub fn tickets(&self) -> impl Iterator<Item = TicketRow> {
        self.line.iter().map(|(number, visitor, lease)| TicketRow { number, visitor, lease })
    }

    /// Every seat that is taken, by number.
    pub fn seats(&self) -> impl Iterator<Item = (QueueNumber, &Seat)> {
        self.seats.iter()
    }

    /// The room of these parts, of tickets by number, and of seats. One that was away has to go on with
    /// [`super::Command::Resume`].
    ///
    /// # Errors
    /// [`BadParts`] says what does not fit.
    pub fn from_parts(
        parts: Parts,
        tickets: impl IntoIterator<Item = TicketRow>,
        seats: impl IntoIterator<Item = (QueueNumber, Seat)>,
    ) -> Result<Self, BadParts> {
        let next = parts.next.get();
        if next == 0
            || parts.drawn.as_ref().is_some_and(|drawn| drawn.after > drawn.last || drawn.last >= next)
        {
            return Err(BadParts::NumberOutOfRange);
        }
        let (parts_of_a_microsecond, _) = parts.settings.spec().release.rate();
        if !parts.releases.is_sound() || parts.released.fraction >= parts_of_a_microsecond {
            return Err(BadParts::ReleasesOutOfRange);
        }
        let line = restore_line(&parts, tickets)?;
        let seats = restore_seats(&line, seats)?;
        let mut room = Self {
            settings: parts.settings,
            state: parts.state,
            epoch: parts.epoch,
            clock: parts.clock,
            line,
            seats,
            index: Index::default(),
            prefixes: Default::default(),
            released: State::Tat(parts.released),
            releases: parts.releases,
            pace: parts.pace,
            slowed: parts.slowed,
            is_open: parts.is_open,
            beacon: parts.beacon,
            draws: parts.draws,
            former_last: parts.former_last,
            hold_until: parts.hold_until,
        };
        room.enter_all();
        room.check_identities()?;
        Ok(room)
    }

    /// Whoever is found has the seat that was found.
    fn check_identities(&self) -> Result<(), BadParts> {
        let waiting = self.line.iter().map(|(number, visitor, _)| (number, visitor));
        let inside = self.seats.iter().map(|(number, seat)| (number, seat.visitor));
        for (number, visitor) in waiting.chain(inside) {
            if visitor.identity.is_some() && self.seat_of(visitor.identity) != Some(number) {
                return Err(BadParts::SeatedTwice(number));
            }
        }
        Ok(())
    }
}

fn restore_line(parts: &Parts, tickets: impl IntoIterator<Item = TicketRow>) -> Result<Line, BadParts> {
    let mut line = Line::new(parts.next);
    let (mut first, mut before, mut count) = (None, 0, 0_u64);
    for row in tickets {
        if row.number.get() <= before || row.number >= parts.next || row.lease == 0 {
            return Err(BadParts::TicketOutOfOrder(row.number));
        }
        before = row.number.get();
        count += 1;
        if count > u64::from(MAX_WAITING) || parts.next.get() - *first.get_or_insert(before) > 2 * MAX_SPAN {
            return Err(BadParts::TooMany);
        }
        line.restore(row.number, row.visitor, row.lease);
    }
    line.restore_order(parts.drawn.clone());
    Ok(line)
}

fn restore_seats(
    line: &Line,
    rows: impl IntoIterator<Item = (QueueNumber, Seat)>,
) -> Result<Seats, BadParts> {
    let mut seats = Seats::default();
    for (number, seat) in rows {
        if number.get() == 0 || number.get() >= line.next() || line.contains(number) {
            return Err(BadParts::SeatOutOfOrder(number));
        }
        let visitor = if seat.state == SeatState::Held { Visitor::default() } else { seat.visitor };
        seats.put(number, Seat { visitor, ..seat });
        if seats.taken() > u64::from(MAX_CAPACITY) {
            return Err(BadParts::TooMany);
        }
    }
    Ok(seats)
}
