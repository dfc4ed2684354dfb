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
        let concerns = |about: About| about == About::Everybody || about == About::Seat(number);
        !self.0.iter().any(|(record, about)| *record > kept && concerns(*about))
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
    Everybody,
    Nobody,
}

fn about(event: &Event) -> About {
    match event {
        Event::Joined { number, .. }
        | Event::Recognised { number, .. }
        | Event::Left { number, .. }
        | Event::Expired { number }
        | Event::Skipped { number }
        | Event::Called { number, .. }
        | Event::ClaimExtended { number, .. }
        | Event::Abandoned { number }
        | Event::Admitted { number, .. }
        | Event::Renewed { number, .. }
        | Event::Ended { number, .. }
        | Event::Freed { number }
        | Event::Returned { number, .. } => About::Seat(*number),
        Event::Flushed(_) | Event::Resumed { .. } => About::Everybody,
        // Nobody loses or gains a seat by these, and the first two are not kept.
        Event::Touched { .. }
        | Event::Seen { .. }
        | Event::Opened { .. }
        | Event::BeaconSet(_)
        | Event::StateSet(_)
        | Event::Changed(_)
        | Event::Paced { .. } => About::Nobody,
    }
}
