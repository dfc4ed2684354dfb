//! Everything between "a batch of commands for one server" and its socket.
//!
//! ```text
//! Lane (paced reconnects) ── Connector (where to, who we are) ── Link (one connection) ── Stream (TCP, TLS, Unix)
//!                              ├ Sentinels: who is primary now
//!                              └ ClusterMap: which node serves a slot
//! ```
//!
//! Rules that hold everywhere here:
//!
//! - **At most once.** A batch is written to one connection, once. [`LinkError::NotSent`] is the proof that no byte of
//!   it left; every other error is ambiguous and nothing here sends a batch again.
//! - **A connection that failed is closed for good**, and at once: a late reply can never be taken for another's.
//! - **A call ends at its deadline**, connects and name resolution included.
//! - **Bounded**: a reply has a maximum size and depth, checked before memory is taken for it.
//!
//! Why not the connections of the `redis` crate: they replay commands after a drop (Cluster), keep a connection that
//! timed out (multiplexed), wait for reconnects beyond the deadline (manager), and need a task and a channel per
//! request. One task that owns a [`Link`] needs none of it: a call is one `send`, one `epoll_wait` and one `recv`. Its
//! parser knows no upper bound and takes 0.11 µs for each value; `reply` reads the same [`redis::Value`] within limits
//! and in a quarter of the time. So a script does well to answer in one string rather than in hundreds of numbers.
//!
//! The protocol is RESP2 without `HELLO`: scripts answer the same in both versions, nothing is ever pushed to us except where we
//! asked for it ([`Subscription`]), and servers before 6.0 and proxies speak it.
//!
//! Local time is `tokio::time::Instant` throughout, so that tests can pause it.

mod batch;
mod clock;
mod cluster;
mod connection;
mod connector;
mod facts;
mod lane;
mod reconnect;
mod refusal;
mod reply;
mod sentinel;
mod stream;
mod subscription;
mod tls;

use std::borrow::Cow;

pub use self::batch::Batch;
pub use self::clock::ClockEstimate;
pub use self::cluster::{ClusterMap, SLOTS, SlotTable};
pub(crate) use self::connection::server_time;
pub use self::connection::{Link, Replies};
pub use self::connector::{Connector, Topology};
pub use self::facts::{Product, Role, ServerFacts, Version};
pub use self::lane::Lane;
pub use self::reconnect::Reconnect;
pub use self::refusal::Refusal;
pub use self::sentinel::Sentinels;
pub use self::subscription::{Push, Subscription};

/// Why a batch has no replies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Nothing of the batch left this process: it was surely not executed and may be sent elsewhere.
    #[error("not sent: {0}")]
    NotSent(Cow<'static, str>),
    /// The connection broke after a part of the batch was written: it may or may not have been executed.
    #[error("the connection was lost: {0}")]
    Lost(Cow<'static, str>),
    /// The deadline passed after a part of the batch was written: it may or may not have been, or may still be, executed.
    #[error("no reply before the deadline")]
    TimedOut,
}

impl LinkError {
    /// Whether the batch was surely not executed.
    #[must_use]
    pub const fn proves_not_executed(&self) -> bool {
        match self {
            LinkError::NotSent(_) => true,
            LinkError::Lost(_) | LinkError::TimedOut => false,
        }
    }
}

/// Why there is no connection. Nothing was sent but the login.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// No connection, login and survey within the time for them.
    #[error("{0} did not answer in time")]
    TimedOut(String),
    /// Name resolution or the connection failed, or the server closed it.
    #[error("{0}")]
    Unreachable(String),
    /// The other side is not who it should be, or TLS is not set up rightly.
    #[error("TLS: {0}")]
    Tls(String),
    /// The server refused the login or what follows it.
    #[error("{address} refused {what}: {refusal}")]
    Refused {
        /// The server.
        address: String,
        /// The command that it refused.
        what: &'static str,
        /// Its answer.
        refusal: Refusal,
    },
    /// The server is a replica, or a Sentinel: buckets cannot be written there.
    #[error("{0} is not a primary")]
    NotPrimary(String),
    /// No Sentinel named a primary, or no node the slots.
    #[error("{0}")]
    NoPrimary(String),
}

impl ConnectError {
    /// Whether only a change of settings can help: retrying is of no use, though harmless.
    #[must_use]
    pub const fn is_misconfigured(&self) -> bool {
        match self {
            ConnectError::Tls(_) => true,
            ConnectError::Refused { refusal, .. } => refusal.is_misconfigured(),
            ConnectError::TimedOut(_)
            | ConnectError::Unreachable(_)
            | ConnectError::NotPrimary(_)
            | ConnectError::NoPrimary(_) => false,
        }
    }
}
