//! What a store did, and what its operator should know.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::link::Link;
use crate::settings::Address;

/// What happened, since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) orders: AtomicU64,
    pub(crate) script_calls: AtomicU64,
    pub(crate) plans_sent: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) connects: AtomicU64,
    pub(crate) lost: AtomicU64,
}

/// What a store did since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RedisStats {
    /// Checks and looks that were sent.
    pub plans: u64,
    /// What was sent for them: equal checks of one bucket count once.
    pub plans_sent: u64,
    /// Calls of the deciding script.
    pub script_calls: u64,
    /// Round trips.
    pub round_trips: u64,
    /// Connections that were made.
    pub connects: u64,
    /// Connections that were lost.
    pub losses: u64,
}

impl Counters {
    pub(crate) fn snapshot(&self) -> RedisStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RedisStats {
            plans: read(&self.orders),
            plans_sent: read(&self.plans_sent),
            script_calls: read(&self.script_calls),
            round_trips: read(&self.batches),
            connects: read(&self.connects),
            losses: read(&self.lost),
        }
    }

    pub(crate) fn add(counter: &AtomicU64, number: usize) {
        counter.fetch_add(number as u64, Ordering::Relaxed);
    }
}

/// What an operator was told of servers already.
#[derive(Debug, Default)]
pub(crate) struct Warnings(Mutex<Vec<Address>>);

impl Warnings {
    /// Says once what an operator should know of a server, however many connections there are to it.
    pub(crate) fn give(&self, link: &Link) {
        let (server, facts) = (link.address(), link.facts());
        let mut told = self.0.lock();
        if told.contains(server) {
            return;
        }
        told.push(server.clone());
        if facts.evicts() == Some(true) {
            tracing::warn!(
                %server,
                "the store may evict buckets, and each eviction forgets up to a burst: set maxmemory-policy noeviction"
            );
        }
        if let Some(advisory) = facts.lua_advisory() {
            tracing::warn!(%server, "{advisory}");
        }
    }
}
