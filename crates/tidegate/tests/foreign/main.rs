//! Goal: files of envoyproxy/ratelimit and Limitador decide here as they do there, and so do the rule files that `convert` makes
//! of them.
//! Method: files as people have them, each with calls and what comes of them, and random files of Envoy beside an independent
//! model of its service; every call goes through the gRPC door, in memory, on a clock that only moves when it is told to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod corpus;
mod envoy_calls;
#[path = "../../../tidegate-config/tests/foreign/reference.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod reference;
mod site;
