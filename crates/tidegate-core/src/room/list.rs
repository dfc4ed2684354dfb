//! Everybody in a room, for operators: numbers, states and times, and nothing that names anybody.

use super::Room;
use super::line::end_of;
use super::number::QueueNumber;
use super::seats::{Seat, SeatState, Session};
use crate::time::Timestamp;

/// One visitor, as far as an operator is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The number.
    pub number: QueueNumber,
    /// Where it stands.
    pub standing: ListedAs,
    /// Until when that is so if nothing happens: the end of the lease, of the call, of the session, or of the pass.
    pub until: Timestamp,
}

/// Where somebody who is listed stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListedAs {
    /// In the line.
    Waiting,
    /// Called.
    Ready,
    /// Inside.
    Active(Session),
    /// Gone, and the pass is still valid.
    Held,
}

impl ListedAs {
    /// The name in lists.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            ListedAs::Waiting => "waiting",
            ListedAs::Ready => "ready",
            ListedAs::Active(_) => "active",
            ListedAs::Held => "held",
        }
    }
}

impl Room {
    /// The first `most` visitors whose number is above `after`, by number: all who wait, were called, are inside, or have a pass that
    /// is still valid. What has ended by now and was not swept yet is among them.
    #[must_use]
    pub fn listed(&self, after: u64, most: usize) -> Vec<Listed> {
        let waiting = self.line.after(after).map(|(number, lease)| Listed {
            number,
            standing: ListedAs::Waiting,
            until: end_of(lease),
        });
        let seated = self.seats.after(after).map(|(number, seat)| seated(number, seat));
        let (mut waiting, mut seated) = (waiting.peekable(), seated.peekable());
        let next = std::iter::from_fn(|| match (waiting.peek(), seated.peek()) {
            (Some(one), Some(other)) if one.number > other.number => seated.next(),
            (Some(_), _) => waiting.next(),
            (None, _) => seated.next(),
        });
        next.take(most).collect()
    }
}

fn seated(number: QueueNumber, seat: &Seat) -> Listed {
    let standing = match seat.state {
        SeatState::Ready { .. } => ListedAs::Ready,
        SeatState::Active(session) => ListedAs::Active(session),
        SeatState::Held => ListedAs::Held,
    };
    Listed { number, standing, until: seat.deadline }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::{Algorithm, Quota};
    use crate::room::{Command, Settings, Spec, Ticket, Visitor};
    use crate::time::Micros;

    #[test]
    fn everybody_is_listed_once_by_number_whatever_the_pages() {
        let release = Quota::new(Algorithm::TokenBucket, 1_000, Micros::from_secs(1), None).unwrap();
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        let mut room = Room::new(Settings::new(Spec::new(3, release)).unwrap(), 1, now);
        let mut events = Vec::new();
        for _ in 0..2_000 {
            room.handle(now, &Command::Join(Visitor::default()), &mut events);
        }
        // One of those inside goes, and holds its seat; two of those who wait go.
        for number in [2, 700, 1_999] {
            room.handle(now, &Command::Leave(Ticket::new(1, QueueNumber::new(number))), &mut events);
        }
        let all = room.listed(0, usize::MAX);
        let states: Vec<_> = all.iter().take(4).map(|one| (one.number.get(), one.standing.name())).collect();
        assert_eq!(states, [(1, "active"), (2, "held"), (3, "active"), (4, "waiting")]);
        assert_eq!(all.len(), 1_998);
        assert!(all.windows(2).all(|pair| pair[0].number < pair[1].number));
        for page in [1, 7, 512, 513] {
            let (mut after, mut seen) = (0, Vec::new());
            loop {
                let rows = room.listed(after, page);
                let Some(last) = rows.last() else { break };
                after = last.number.get();
                seen.extend(rows);
            }
            assert_eq!(seen, all, "pages of {page}");
        }
    }
}
