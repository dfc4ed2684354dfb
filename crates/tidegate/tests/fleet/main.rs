//! Goal: several Tidegate processes on one Redis are one limiter, and stay one while Redis, the network, the proxy in
//! front of them or they themselves fail.
//! Method: the real programs on free ports, real signals, a load of real sockets; every process is ended by its id.
//!
//! Each test prints its figures (`cargo test --test fleet -- --nocapture`). It is short for CI; with
//! `TIDEGATE_SECONDS=60 TIDEGATE_ROUNDS=20` it is as long as one wants to believe it, and `TIDEGATE_BINARY` names
//! another program than the one just built. Times have slack, because a machine that runs tests has other things to do; on
//! an idle one, with a release build, `TIDEGATE_STRICT=1` takes it away.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

mod behind_nginx;
mod crowd;
mod exact;
mod faults;
mod load;
mod loss;
mod machine;
mod refusals;
mod resharding;
mod silence;
mod site;
mod start;
mod wire;
