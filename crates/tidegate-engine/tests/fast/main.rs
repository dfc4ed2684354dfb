//! Goal: what is denied without asking the store is what the store would have answered, and it is not asked often.
//! Method: a remote store made of meters and a map, with a clock of its own and calls that take time and overtake one
//! another, in a world whose time the test moves; several nodes in front of it; each fast denial is compared with what
//! the store would say at that very moment.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod history;
mod promises;
mod world;
