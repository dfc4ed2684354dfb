//! What a node tells Prometheus: exact counts, a bound on series, and alert rules and dashboards that ask for what there is.
//!
//! Run with `cargo test -p tidegate --test metrics`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod counts;
mod deploy;
mod doors;
mod expression;
mod outage;
mod reference;
mod scrape;
mod server;
