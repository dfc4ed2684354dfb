//! Goal: visitors who ask over HTTP stand in one line, one visitor has one seat, and nobody comes in by what they write.
//! Method: real servers on loopback sockets: in this process on a clock that the test moves, the real program where what is due
//! has to be done in time, and nginx with the configuration that is shipped. Every answer is held against the API's document.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

mod behind_nginx;
#[path = "../common/mod.rs"]
mod common;
mod floods;
mod forged;
mod inside;
mod jwt;
mod line;
mod nodes;
mod pages;
mod reloaded;
mod secrets;
mod shared;
mod site;
mod streams;
mod valve;
