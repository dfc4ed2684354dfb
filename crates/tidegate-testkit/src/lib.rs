//! Real servers for tests: each on a free port of this machine, each ended by its process id.
//!
//! - [`RedisServer`], [`RedisCluster`], [`Sentinels`]: Redis alone, sharded, and with failover.
//! - [`Postgres`]: a database server that can be killed and paused.
//! - [`Nginx`] and other proxies ([`Proxy`]) in front of servers, [`Tidegate`] as a process.
//! - [`FaultProxy`]: loses replies, delays, refuses and swallows, as told while the test runs.
//! - [`excess`]: how far a history of admissions went beyond its bound.
//!
//! Everything blocks its thread and panics where a server does not do as asked: a test that cannot run must fail,
//! not pass. In a `#[tokio::test]` that shares one thread with the code under test, call it between awaits; servers
//! and proxies run outside that thread. Whatever was started ends when its value is dropped.
//!
//! `TEST_REDIS_BIN`, `TEST_NGINX_BIN`, `TEST_HAPROXY_BIN`, `TEST_CADDY_BIN`, `TEST_TRAEFIK_BIN` and `TEST_ENVOY_BIN` name other
//! binaries, for example `valkey-server`; `TEST_POSTGRES_BIN` names the folder of PostgreSQL's.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests: a test fails by panicking"
)]

pub mod excess;
mod fault_proxy;
mod http;
mod nginx;
mod port;
mod postgres;
mod process;
mod proxy;
mod redis;
mod temp_dir;
mod tidegate;
mod wait;

pub use fault_proxy::{FaultProxy, Faults, Link};
pub use nginx::{Nginx, NginxOptions};
pub use port::PortLease;
pub use postgres::Postgres;
pub use process::ServerProcess;
pub use proxy::{Proxy, ProxyOptions, installed};
pub use redis::{
    ClusterOptions, RedisCluster, RedisOptions, RedisServer, Reply, RespClient, SentinelOptions, Sentinels,
    TlsFiles,
};
pub use temp_dir::TempDir;
pub use tidegate::{Tidegate, TidegateOptions};
pub use wait::{Stopwatch, wait_for, wait_until};
