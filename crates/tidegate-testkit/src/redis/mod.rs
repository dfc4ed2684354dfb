//! Redis, or what speaks its protocol: alone, sharded, and with failover.

mod cluster;
mod options;
mod resp;
mod sentinels;
mod server;

pub use cluster::{ClusterOptions, RedisCluster};
pub use options::{RedisOptions, TlsFiles};
pub use resp::{Reply, RespClient};
pub use sentinels::{SentinelOptions, Sentinels};
pub use server::RedisServer;
