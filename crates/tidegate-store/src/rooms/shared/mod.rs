//! Rooms that several nodes share.

mod log;

pub use log::{Append, Appended, Head, Heard, Loaded, LogError, MAX_PIECE_BYTES, NodeId, RoomLog, Taken};
