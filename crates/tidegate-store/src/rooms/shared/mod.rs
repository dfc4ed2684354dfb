//! Rooms that several nodes share.

mod log;

pub use log::*;
