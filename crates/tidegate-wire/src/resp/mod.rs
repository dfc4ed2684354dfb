//! RESP, the protocol of Redis clients (<https://redis.io/docs/latest/develop/reference/protocol-spec/>): commands read from
//! bytes, replies written to bytes, in version 2 and 3.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`frame`] | where a command ends in a stream, and what its arguments are |
//! | [`command`] | what a command asks |
//! | [`throttle`] | the numbers of `CL.THROTTLE` and `THROTTLE` |
//! | [`reply`] | replies |
//!
//! A command that makes no sense gets an error and the stream goes on. A frame that makes no sense ends it: nobody knows
//! where the next one begins.

pub mod command;
pub mod frame;
pub mod reply;
#[cfg(test)]
mod tests;
pub mod throttle;

/// Longest command, in bytes, with everything around its arguments.
pub const MAX_FRAME_BYTES: usize = 64 * 1024;
/// Longest inline command, in bytes, with its line end.
pub const MAX_INLINE_BYTES: usize = 4 * 1024;
/// Most arguments of a command, with its name. Arguments are strings: nothing is nested in them.
pub const MAX_ARGUMENTS: usize = 1_024;
