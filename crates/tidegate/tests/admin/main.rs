//! Goal: the admin API lets in who may, keeps tenants apart, and answers whatever comes with a reason.
//! Method: the program itself with a database in a directory of its own, asked over sockets. Endpoints come from the table
//! that the router reads, so that a new one is tested the day it is made.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod access;
mod audit;
#[path = "../common/conformance.rs"]
mod conformance;
mod decisions;
mod environment;
mod hostile;
#[path = "../common/kept.rs"]
mod kept;
mod reference;
mod rules;
mod site;
mod tenants;
mod transfer;
mod usage;
