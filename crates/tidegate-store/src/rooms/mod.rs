//! Waiting rooms: the port, and the embedded store of rooms.

mod memory;
mod port;

pub use memory::{Clock, MemoryRooms};
pub use port::{LineDocument, MAX_ROOMS, RoomError, RoomStatus, RoomStore, RoomWatcher, Told};
