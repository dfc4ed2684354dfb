//! The gRPC door as its clients see it: the real binary in a process of its own, and tonic's client.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../admin/site.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod admin;
mod authorize;
#[path = "../common/conformance.rs"]
mod conformance;
mod health;
mod hostile;
mod keys;
mod outage;
mod overload;
mod rate_limit;
mod reflection;
mod site;
mod tls;
