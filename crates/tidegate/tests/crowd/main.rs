//! Goal: `tidegate crowd` sees what visitors of a waiting room meet with, finds out a room that is not fair, and finds the real
//! one to be, also while it is killed and paused.
//! Method: the real program against the real server, each a process of its own; and the books against a server that cheats.
//!
//! The faults are met by 5,000 visitors here. With `TIDEGATE_VISITORS=100000 TIDEGATE_BINARY=$PWD/target/release/tidegate cargo test -p
//! tidegate --test crowd faults -- --nocapture` there are as many as one wants to believe it, met by a release build, and the figures are
//! printed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

mod cheats;
mod faults;
mod program;
