//! The bucket store in Redis or Valkey, and the logs of shared rooms: one server, behind Sentinel, or a Cluster.
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
mod rooms;
mod round;
mod router;
mod script;
mod settings;
mod stats;
mod store;
mod token_call;
mod value;
mod witness;

pub use rooms::{MAX_APPEND_BYTES, MAX_ENTRIES, RedisRoomLog};
pub use settings::{Address, Groups, Layout, MAX_CONNECTIONS, RedisSettings, Servers, SettingsError};
pub use stats::RedisStats;
pub use store::{PRESENCE, RedisOptions, RedisStore, StoreClock};
