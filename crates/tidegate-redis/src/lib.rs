//! The bucket store in Redis or Valkey: one server, behind Sentinel, or a Cluster.
//!
//! `settings` says where the servers are and how long they may take; [`link`] carries batches of commands to one
//! server, each batch at most once.

mod amend;
mod ask;
mod call;
mod change;
mod cluster;
mod driver;
mod key;
mod keys;
pub mod link;
mod order;
mod outcome;
mod riders;
mod round;
mod router;
mod script;
mod settings;
mod stats;
mod store;
mod token_call;
mod value;
mod witness;

pub use settings::{Address, Groups, Layout, MAX_CONNECTIONS, RedisSettings, Servers, SettingsError};
pub use stats::RedisStats;
pub use store::{PRESENCE, RedisOptions, RedisStore, StoreClock};
