//! Waiting rooms: the port, and the embedded store of rooms.

mod journal;
mod memory;
mod port;
pub mod shared;

pub use journal::{DEFAULT_JOURNAL_BYTES, Durability, JournalOptions, MIN_JOURNAL_BYTES, OpenError};
pub use memory::{Clock, MemoryRooms};
pub use port::{LineDocument, MAX_ROOMS, RoomError, RoomStatus, RoomStore, RoomWatcher, Told};
