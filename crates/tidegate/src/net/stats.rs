//! What happened to a door's connections, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one door. All but `open` only grow; read them with `Ordering::Relaxed`.
#[derive(Debug, Default)]
pub struct ConnectionStats {
    /// Connections open now (a gauge).
    pub open: AtomicU64,
    /// Connections taken from the listener, refused ones included.
    pub accepted: AtomicU64,
    /// Closed at once: the door was full and nobody was idle.
    pub refused_total_cap: AtomicU64,
    /// Closed at once: the client's address holds its share.
    pub refused_per_address: AtomicU64,
    /// Closed while waiting for their client, to make room for a new connection.
    pub idle_evicted: AtomicU64,
    /// Closed for waiting too long for the next request.
    pub idle_timeouts: AtomicU64,
    /// Closed for sending a request's head too slowly, or none at all.
    pub header_timeouts: AtomicU64,
    /// Closed for not reading what was written to them.
    pub write_stalls: AtomicU64,
    /// Failures to accept (out of file descriptors, out of memory).
    pub accept_errors: AtomicU64,
    /// Cut off because the drain timeout passed before their requests were done.
    pub aborted_at_drain: AtomicU64,
}

pub(super) fn add_one(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
