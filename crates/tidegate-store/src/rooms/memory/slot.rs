//! Where one room is kept, and what of it is not on the disk yet.

use parking_lot::Mutex;
use tidegate_core::room::{Event, QueueNumber, Room, RoomName};
use tidegate_core::time::Timestamp;

use crate::rooms::outbox::Outbox;
use crate::rooms::port::RoomError;
use crate::rooms::unkept::Unkept;

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
    unkept: Unkept,
}

impl Slot {
    pub(super) fn new(id: u32, name: RoomName, room: Room, record: u64, recoveries: u64) -> Self {
        let kept = Kept { room: Some(room), due: None, record, recoveries, unkept: Unkept::default() };
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
        self.room.as_ref().map_or(0, Room::bytes) + self.unkept.bytes()
    }

    pub(super) fn take(&mut self) -> Option<Room> {
        self.room.take()
    }

    /// These events are in `record`, and up to record `kept` everything is kept.
    pub(super) fn note(&mut self, record: u64, events: &[Event], kept: u64) {
        self.record = record;
        self.unkept.note(record, events, kept);
    }

    /// Whether everything that has happened to the seat of this number is kept, if everything up to record `kept` is.
    pub(super) fn is_kept(&self, number: QueueNumber, kept: u64) -> bool {
        self.unkept.is_kept(number, kept)
    }

    /// Those who have left the line, where that is not kept, if everything up to record `kept` is.
    pub(super) fn gone_from_line(&self, kept: u64) -> impl Iterator<Item = QueueNumber> {
        self.unkept.gone_from_line(kept)
    }
}
