//! Waiting rooms: the port, and the embedded store of rooms.

mod codec;
mod journal;
mod memory;
mod outbox;
mod port;
pub mod shared;
mod unkept;

pub use journal::{DEFAULT_JOURNAL_BYTES, Durability, JournalOptions, MIN_JOURNAL_BYTES, OpenError};
pub use memory::{Clock, MemoryRooms};
pub use port::{LineDocument, MAX_ROOMS, RoomError, RoomStatus, RoomStore, RoomWatcher, Told};
