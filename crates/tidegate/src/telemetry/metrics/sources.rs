//! What others have counted, read when somebody asks.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_catalog::state::StateCell;
use tidegate_core::room::RoomName;
use tidegate_engine::{FastStats, LeaseStats};
use tidegate_redis::RedisStats;
use tidegate_store::MemoryStats;

use super::Metrics;
use super::catalogue::{
    ACCEPT_ERRORS, CONNECTIONS_ACCEPTED, CONNECTIONS_CLOSED, CONNECTIONS_OPEN, CONNECTIONS_REFUSED,
    DENY_CACHE_ASKED, DENY_CACHE_ENTRIES, DENY_CACHE_EVICTIONS, DENY_CACHE_HITS, DENY_CACHE_REMEMBERED,
    LEASE_ANSWERED, LEASE_BUCKETS, LEASE_UNITS, LEASE_UNITS_LOST, LEASE_UNITS_RETURNED, LEASES,
    REQUESTS_IN_PROGRESS, REQUESTS_SHED, RULES_CURRENT, RULES_RELOADS, STORE_BUCKETS, STORE_BYTES,
    STORE_CONNECTION_LOSSES, STORE_CONNECTS, STORE_EVICTIONS, STORE_MAX_BYTES, STORE_PLANS, STORE_PLANS_SENT,
    STORE_REPAIRS, STORE_ROUND_TRIPS, STORE_SCRIPT_CALLS, STORE_SPILLED, STORE_SWEPT, TRACE_SPANS,
};
use super::page::Page;
use super::rooms::{self, RoomReport};
use crate::door::overload::{Overload, Priority};
use crate::net::ConnectionStats;
use crate::telemetry::trace::{TraceStats, Tracer};

/// What a store has done.
#[derive(Clone, Copy, Debug)]
pub enum StoreReport {
    /// The embedded store.
    Memory(MemoryStats),
    /// A shared store, with what stands before it.
    Shared {
        /// The store itself.
        redis: RedisStats,
        /// Sure denials.
        fast: FastStats,
        /// Leases.
        leases: LeaseStats,
    },
}

/// Asks all rooms.
type RoomReports = Box<dyn Fn() -> Vec<(RoomName, RoomReport)> + Send>;

#[derive(Default)]
pub(super) struct Sources {
    store: Option<Box<dyn Fn() -> StoreReport + Send>>,
    rules: Option<StateCell>,
    listeners: Vec<(&'static str, Arc<ConnectionStats>)>,
    doors: Vec<Overload>,
    tracer: Option<Tracer>,
    rooms: Option<RoomReports>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("listeners", &self.listeners.len()).finish_non_exhaustive()
    }
}

impl Metrics {
    /// Shows what a store has done.
    pub fn watch_store(&self, report: impl Fn() -> StoreReport + Send + 'static) {
        self.sources.lock().store = Some(Box::new(report));
    }

    /// Shows how rules are followed.
    pub fn watch_rules(&self, state: StateCell) {
        self.sources.lock().rules = Some(state);
    }

    /// Shows a listener's connections.
    pub fn watch_listener(&self, name: &'static str, stats: Arc<ConnectionStats>) {
        self.sources.lock().listeners.push((name, stats));
    }

    /// Shows how many requests a door has in progress and how many it shed.
    pub fn watch_requests(&self, door: Overload) {
        self.sources.lock().doors.push(door);
    }

    /// Shows waiting rooms.
    pub(crate) fn watch_rooms(&self, report: impl Fn() -> Vec<(RoomName, RoomReport)> + Send + 'static) {
        self.sources.lock().rooms = Some(Box::new(report));
    }

    /// Shows what became of spans.
    pub fn watch_traces(&self, tracer: Tracer) {
        self.sources.lock().tracer = Some(tracer);
    }
}

impl Sources {
    pub(super) fn write(&self, page: &mut Page) {
        match self.store.as_ref().map(|report| report()) {
            Some(StoreReport::Memory(stats)) => write_memory(page, &stats),
            Some(StoreReport::Shared { redis, fast, leases }) => {
                write_redis(page, &redis);
                write_fast(page, &fast);
                write_leases(page, &leases);
            }
            None => {}
        }
        if let Some(state) = &self.rules {
            let state = state.get();
            let is_current = state.rules_error.is_none() && state.file_error.is_none();
            page.number(&RULES_CURRENT, u64::from(is_current));
            page.labelled(&RULES_RELOADS, ["ok"], state.reloads);
            page.labelled(&RULES_RELOADS, ["failed"], state.failed_reloads);
        }
        for (name, stats) in &self.listeners {
            write_listener(page, name, stats);
        }
        for door in &self.doors {
            page.labelled(&REQUESTS_IN_PROGRESS, [door.door()], door.in_progress() as u64);
            for priority in Priority::ALL {
                page.labelled(&REQUESTS_SHED, [door.door(), priority.name()], door.shed(priority));
            }
        }
        for (room, report) in self.rooms.iter().flat_map(|report| report()) {
            rooms::write(page, room.as_str(), &report);
        }
        if let Some(tracer) = &self.tracer {
            let TraceStats { exported, failed, dropped } = tracer.stats();
            for (fate, spans) in [("exported", exported), ("failed", failed), ("dropped", dropped)] {
                page.labelled(&TRACE_SPANS, [fate], spans);
            }
        }
    }
}

fn write_memory(page: &mut Page, stats: &MemoryStats) {
    page.number(&STORE_BUCKETS, stats.keys as u64);
    page.number(&STORE_BYTES, stats.bytes as u64);
    page.number(&STORE_MAX_BYTES, stats.max_bytes as u64);
    page.labelled(&STORE_EVICTIONS, ["at_rest"], stats.evicted_at_rest);
    page.labelled(&STORE_EVICTIONS, ["live"], stats.evicted_live);
    page.number(&STORE_SPILLED, stats.spilled);
    page.number(&STORE_SWEPT, stats.swept);
    page.number(&STORE_REPAIRS, stats.repairs);
}

fn write_redis(page: &mut Page, stats: &RedisStats) {
    page.number(&STORE_PLANS, stats.plans);
    page.number(&STORE_PLANS_SENT, stats.plans_sent);
    page.number(&STORE_SCRIPT_CALLS, stats.script_calls);
    page.number(&STORE_ROUND_TRIPS, stats.round_trips);
    page.number(&STORE_CONNECTS, stats.connects);
    page.number(&STORE_CONNECTION_LOSSES, stats.losses);
}

fn write_fast(page: &mut Page, stats: &FastStats) {
    page.number(&DENY_CACHE_ENTRIES, stats.entries as u64);
    page.number(&DENY_CACHE_ASKED, stats.asked);
    page.number(&DENY_CACHE_HITS, stats.answered);
    page.number(&DENY_CACHE_REMEMBERED, stats.remembered);
    page.number(&DENY_CACHE_EVICTIONS, stats.evicted);
}

fn write_leases(page: &mut Page, stats: &LeaseStats) {
    page.number(&LEASE_BUCKETS, stats.buckets as u64);
    page.number(&LEASE_UNITS, stats.units);
    page.number(&LEASES, stats.leases);
    page.number(&LEASE_ANSWERED, stats.answered);
    page.number(&LEASE_UNITS_RETURNED, stats.returned);
    page.number(&LEASE_UNITS_LOST, stats.lost);
}

fn write_listener(page: &mut Page, name: &str, stats: &ConnectionStats) {
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    page.labelled(&CONNECTIONS_OPEN, [name], read(&stats.open));
    page.labelled(&CONNECTIONS_ACCEPTED, [name], read(&stats.accepted));
    page.labelled(&CONNECTIONS_REFUSED, [name, "full"], read(&stats.refused_total_cap));
    page.labelled(&CONNECTIONS_REFUSED, [name, "address"], read(&stats.refused_per_address));
    for (reason, counter) in [
        ("evicted", &stats.idle_evicted),
        ("idle", &stats.idle_timeouts),
        ("head", &stats.header_timeouts),
        ("stalled", &stats.write_stalls),
        ("drain", &stats.aborted_at_drain),
    ] {
        page.labelled(&CONNECTIONS_CLOSED, [name, reason], read(counter));
    }
    page.labelled(&ACCEPT_ERRORS, [name], read(&stats.accept_errors));
}
