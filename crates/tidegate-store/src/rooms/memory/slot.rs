//! Where one room is kept, and what of it is not on the disk yet.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tidegate_core::room::{Event, QueueNumber, Room, RoomName};
use tidegate_core::time::Timestamp;

use super::outbox::Outbox;
use crate::rooms::port::RoomError;

pub(super) struct Slot {
    pub(super) id: u32,
    pub(super) name: RoomName,
    pub(super) kept: Mutex<Kept>,
    pub(super) outbox: Outbox,
}

/// A room, and how far it is kept.
pub(super) struct Kept {
    /// `None` once it was removed.
    room: Option<Room>,
    /// When something is due in it, as the queue of all rooms knows it.
    pub(super) due: Option<Timestamp>,
    /// The last record of it.
    pub(super) record: u64,
    /// The recoveries of the journal that it knows of.
    pub(super) recoveries: u64,
    /// Whose seats the last records were about, of which some may not be kept yet.
    unkept: VecDeque<(u64, About)>,
}

impl Slot {
    pub(super) fn new(id: u32, name: RoomName, room: Room, record: u64, recoveries: u64) -> Self {
        let kept = Kept { room: Some(room), due: None, record, recoveries, unkept: VecDeque::new() };
        Self { id, name, kept: Mutex::new(kept), outbox: Outbox::default() }
    }
}

impl Kept {
    pub(super) fn room(&self) -> Result<&Room, RoomError> {
        self.room.as_ref().ok_or(RoomError::UnknownRoom)
    }

    pub(super) fn room_mut(&mut self) -> Result<&mut Room, RoomError> {
        self.room.as_mut().ok_or(RoomError::UnknownRoom)
    }

    /// The memory it takes.
    pub(super) fn bytes(&self) -> usize {
        let unkept = self.unkept.capacity() * size_of::<(u64, About)>();
        self.room.as_ref().map_or(0, Room::bytes) + unkept
    }

    pub(super) fn take(&mut self) -> Option<Room> {
        self.room.take()
    }

    /// These events are in `record`, and up to record `kept` everything is kept.
    pub(super) fn note(&mut self, record: u64, events: &[Event], kept: u64) {
        self.record = record;
        while self.unkept.front().is_some_and(|(record, _)| *record <= kept) {
            self.unkept.pop_front();
        }
        let seats = events.iter().map(about).filter(|about| *about != About::Nobody);
        self.unkept.extend(seats.map(|about| (record, about)));
    }

    /// Whether everything that has happened to the seat of this number is kept, if everything up to record `kept` is.
    pub(super) fn is_kept(&self, number: QueueNumber, kept: u64) -> bool {
        let concerns = |about: About| about == About::Everybody || about == About::Seat(number);
        !self.unkept.iter().any(|(record, about)| *record > kept && concerns(*about))
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
