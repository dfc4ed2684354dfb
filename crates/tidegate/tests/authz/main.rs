//! Goal: a proxy that asks gets a status that it understands, about the request that it describes, and no client can
//! describe another one.
//! Method: a real server on a loopback socket, on a clock that the test moves; and nginx with the configuration that is
//! shipped, before the real program.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

mod behind_nginx;
#[path = "../common/mod.rs"]
mod common;
mod contract;
