//! Goal: the API's documents say what the doors do, and the pages that show them work without the internet.
//! Method: the documents are generated, compared with those in docs/reference, and held against real answers of a real
//! server, for every endpoint and every status; the pages are opened in a browser that reaches nothing but the server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod admin;
mod browser;
#[path = "../common/mod.rs"]
mod common;
mod document;
mod pages;
mod rooms;
mod schemathesis;
#[allow(dead_code, reason = "of the admin API's tests, which use all of it")]
#[path = "../admin/site.rs"]
mod site;
mod statuses;

use common::conformance;
