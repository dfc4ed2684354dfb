//! Whose seats the last steps of a room were about, of which some may not be kept yet.

use std::collections::VecDeque;

use tidegate_core::room::{Event, QueueNumber};

/// Seats that something has happened to, with the record that it is in.
#[derive(Debug, Default)]
pub(in crate::rooms) struct Unkept(VecDeque<(u64, About)>);

impl Unkept {
    /// These events are in `record`, and up to record `kept` everything is kept.
    pub(in crate::rooms) fn note(&mut self, record: u64, events: &[Event], kept: u64) {
        while self.0.front().is_some_and(|(record, _)| *record <= kept) {
            self.0.pop_front();
        }
        let seats = events.iter().map(about).filter(|about| *about != About::Nobody);
        self.0.extend(seats.map(|about| (record, about)));
    }

    /// Whether everything that has happened to the seat of this number is kept, if everything up to record `kept` is.
    pub(in crate::rooms) fn is_kept(&self, number: QueueNumber, kept: u64) -> bool {
        !self.after(kept).any(|about| match about {
            About::Everybody => true,
            About::Seat(seat) | About::GoneFromLine(seat) => seat == number,
            About::Nobody => false,
        })
    }

    /// Those who have left the line, where that is not kept, if everything up to record `kept` is.
    pub(in crate::rooms) fn gone_from_line(&self, kept: u64) -> impl Iterator<Item = QueueNumber> {
        self.after(kept).filter_map(|about| match about {
            About::GoneFromLine(number) => Some(number),
            _ => None,
        })
    }

    fn after(&self, kept: u64) -> impl Iterator<Item = About> {
        self.0.iter().rev().take_while(move |(record, _)| *record > kept).map(|(_, about)| *about)
    }

    /// The memory it takes on the heap.
    pub(in crate::rooms) fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<(u64, About)>()
    }
}

/// What an event changes for those who have a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Seat(QueueNumber),
    /// Of those behind, too.
    GoneFromLine(QueueNumber),
    Everybody,
    Nobody,
}

fn about(event: &Event) -> About {
    match event {
        Event::Left { number, .. }
        | Event::Expired { number }
        | Event::Skipped { number }
        | Event::Called { number, .. } => About::GoneFromLine(*number),
        // One who is admitted from the line has just come and is behind everybody.
        Event::Joined { number, .. }
        | Event::Recognised { number, .. }
        | Event::Declined { number, .. }
        | Event::ClaimExtended { number, .. }
        | Event::Abandoned { number }
        | Event::Admitted { number, .. }
        | Event::Renewed { number, .. }
        | Event::Ended { number, .. }
        | Event::Freed { number }
        | Event::Returned { number, .. } => About::Seat(*number),
        Event::Flushed(_) | Event::Resumed { .. } | Event::Opened { drawn: Some(_) } => About::Everybody,
        // Nobody loses or gains a seat by these, and the first two are not kept.
        Event::Touched { .. }
        | Event::Seen { .. }
        | Event::Opened { drawn: None }
        | Event::BeaconSet(_)
        | Event::StateSet(_)
        | Event::Changed(_)
        | Event::Paced { .. } => About::Nobody,
    }
}
