//! Goal: rules, tiers and keys that change while nodes serve are in force everywhere a moment later, and never in part;
//! while their database is away, what was known last holds.
//! Method: the real program on free ports, three nodes on one PostgreSQL (or one SQLite file) and one Redis, real signals.
//!
//! Each test prints its figures (`cargo test --test living -- --nocapture`). It is short for CI; `TIDEGATE_STRICT=1` makes
//! it as long as it should be once in a while, with bounds for an idle machine and a release build (`TIDEGATE_BINARY`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

mod bad_state;
mod cut_off;
mod file;
mod half;
#[path = "../fleet/machine.rs"]
mod machine;
mod migrations;
mod outage;
mod site;
mod storm;
mod tiers;
mod usage;
#[path = "../fleet/wire.rs"]
#[allow(dead_code, reason = "the other fleet uses the rest")]
mod wire;
