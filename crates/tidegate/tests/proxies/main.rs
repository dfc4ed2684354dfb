//! Goal: HAProxy, Caddy, Traefik and Envoy obey Tidegate with the configurations in `deploy/`, and no client gets around it.
//! Method: the real programs between clients and an application that says what reached it, with the shipped files; only
//! addresses are other ones. `scripts/test` installs the programs; without them the tests fail. nginx is in `authz`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

mod caddy;
mod cases;
#[path = "../common/mod.rs"]
mod common;
mod envoy;
mod haproxy;
mod rooms;
mod site;
mod traefik;
