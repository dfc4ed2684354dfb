//! The pure core of Tidegate: quotas, algorithms, rules and how they decide.
//!
//! Nothing here reads a clock, draws a random number or does I/O: `now` is an argument, and the same arguments
//! always give the same answer. All arithmetic is on integers and exact.

pub mod algorithm;
pub mod decision;
mod hash;
#[cfg(any(test, feature = "model"))]
pub mod model;
pub mod quota;
pub mod room;
pub mod rule;
pub mod time;
