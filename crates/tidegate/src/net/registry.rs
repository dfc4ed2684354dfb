//! Who is connected: caps, the coarse clock, the sweep, evictions.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::connection::{Command, Connection};
use super::limits::ConnectionLimits;
use super::stats::{ConnectionStats, add_one};

/// Candidates for eviction one scan of all connections may find: what a scan costs is shared by
/// so many admissions.
const MAX_CANDIDATES: usize = 1_024;
/// Shortest time between two scans for candidates, so that a flood at the cap buys no CPU time.
const SCAN_PAUSE: Duration = Duration::from_millis(10);

/// What is counted as one address: an IPv4 address, or the /64 an IPv6 subscriber gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum AddressKey {
    V4(u32),
    V6Network(u64),
}

impl AddressKey {
    /// The key of a canonical address (no IPv4 within IPv6).
    pub(super) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments().map(u64::from);
                Self::V6Network(a << 48 | b << 32 | c << 16 | d)
            }
        }
    }
}

impl AddressKey {
    /// Whether it is of this machine. Of IPv6 only the network is known, and ::1 has its network to itself.
    pub(super) const fn is_loopback(self) -> bool {
        match self {
            Self::V4(bits) => bits >> 24 == 127,
            Self::V6Network(network) => network == 0,
        }
    }
}

/// Why a connection is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Full,
    AddressFull,
}

/// All connections of one door.
pub(super) struct Registry {
    limits: ConnectionLimits,
    stats: Arc<ConnectionStats>,
    /// Milliseconds since the door opened, plus one, as of the last tick: 0 can mean "not".
    now_ms: AtomicU64,
    opened_at: Instant,
    draining: AtomicBool,
    inner: Mutex<Inner>,
    emptied: Notify,
}

#[derive(Default)]
struct Inner {
    connections: HashMap<u64, Arc<Connection>>,
    per_address: HashMap<AddressKey, usize>,
    next_id: u64,
    /// Connections told to make room that are not gone yet.
    evicting: usize,
    /// The longest-waiting connections of the last scan, longest last, and since when they wait.
    candidates: Vec<(u64, Arc<Connection>)>,
    scanned_at: Option<Instant>,
}

impl Registry {
    pub(super) fn new(limits: ConnectionLimits, stats: Arc<ConnectionStats>) -> Self {
        Self {
            limits,
            stats,
            now_ms: AtomicU64::new(1),
            opened_at: Instant::now(),
            draining: AtomicBool::new(false),
            inner: Mutex::default(),
            emptied: Notify::new(),
        }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    pub(super) fn limits(&self) -> &ConnectionLimits {
        &self.limits
    }

    pub(super) fn stats(&self) -> &ConnectionStats {
        &self.stats
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a connection in, if need be in the place of one that waits for its client.
    pub(super) fn admit(self: &Arc<Self>, address: AddressKey) -> Result<Registered, Refusal> {
        let mut inner = self.lock();
        let held = inner.per_address.get(&address).copied().unwrap_or(0);
        if held >= self.limits.connections_of(address) {
            return Err(Refusal::AddressFull);
        }
        if inner.connections.len() - inner.evicting >= self.limits.max_connections && !inner.evict_one() {
            return Err(Refusal::Full);
        }
        inner.per_address.insert(address, held + 1);
        inner.next_id += 1;
        let connection = Arc::new(Connection::new(inner.next_id, address, Arc::clone(self)));
        inner.connections.insert(connection.id, Arc::clone(&connection));
        self.stats.open.store(inner.connections.len() as u64, Ordering::Relaxed);
        Ok(Registered(connection))
    }

    /// Makes room by one file descriptor, if anybody can be spared.
    pub(super) fn evict_one(&self) -> bool {
        self.lock().evict_one()
    }

    /// A connection told to make room has a request after all.
    pub(super) fn stays(&self, connection: &Connection) {
        if connection.evicting.swap(false, Ordering::Relaxed) {
            self.lock().evicting -= 1;
        }
    }

    fn remove(&self, connection: &Connection) {
        let mut inner = self.lock();
        inner.connections.remove(&connection.id);
        if connection.evicting.swap(false, Ordering::Relaxed) {
            inner.evicting -= 1;
        }
        if let Some(held) = inner.per_address.get_mut(&connection.address) {
            *held -= 1;
            if *held == 0 {
                inner.per_address.remove(&connection.address);
            }
        }
        self.stats.open.store(inner.connections.len() as u64, Ordering::Relaxed);
        if inner.connections.is_empty() {
            self.emptied.notify_one();
        }
    }

    /// Moves the clock and tells the connections that overstayed.
    pub(super) fn tick(&self) {
        let elapsed = u64::try_from(self.opened_at.elapsed().as_millis()).unwrap_or(u64::MAX >> 3);
        self.now_ms.store(elapsed + 1, Ordering::Relaxed);
        let mut inner = self.lock();
        // They may be gone by now, and must not be kept in memory until the next flood.
        inner.candidates.clear();
        for connection in inner.connections.values() {
            if let Some(command) = connection.overdue(&self.limits) {
                connection.give(command);
            }
        }
    }

    /// From now on, responses say that their connection will close.
    pub(super) fn begin_drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Gives `command` to the connections `which` chooses.
    pub(super) fn give_all(&self, command: Command, which: impl Fn(&Connection) -> bool) -> usize {
        let inner = self.lock();
        let chosen = inner.connections.values().filter(|connection| which(connection));
        chosen.map(|connection| connection.give(command)).count()
    }

    /// Waits until nobody is connected.
    pub(super) async fn emptied(&self) {
        while !self.lock().connections.is_empty() {
            self.emptied.notified().await;
        }
    }
}

impl Inner {
    fn evict_one(&mut self) -> bool {
        loop {
            while let Some((since, candidate)) = self.candidates.pop() {
                let present = self.connections.contains_key(&candidate.id);
                if present
                    && candidate.evictable_since() == Some(since)
                    && !candidate.evicting.load(Ordering::Relaxed)
                {
                    candidate.evicting.store(true, Ordering::Relaxed);
                    self.evicting += 1;
                    candidate.give(Command::Evict);
                    return true;
                }
            }
            let now = Instant::now();
            if self.scanned_at.is_some_and(|at| now.duration_since(at) < SCAN_PAUSE) {
                return false;
            }
            self.scanned_at = Some(now);
            self.scan();
            if self.candidates.is_empty() {
                return false;
            }
        }
    }

    fn scan(&mut self) {
        let evictable = self.connections.values().filter(|connection| connection.command() == Command::None);
        self.candidates = evictable
            .filter_map(|connection| Some((connection.evictable_since()?, Arc::clone(connection))))
            .collect();
        if self.candidates.len() > MAX_CANDIDATES {
            self.candidates.select_nth_unstable_by_key(MAX_CANDIDATES, |(since, _)| *since);
            self.candidates.truncate(MAX_CANDIDATES);
        }
        self.candidates
            .sort_unstable_by_key(|(since, connection)| std::cmp::Reverse((*since, connection.id)));
    }
}

/// A connection's place in the registry; dropping it gives the place back.
pub(super) struct Registered(Arc<Connection>);

impl Registered {
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.0
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.0.registry.remove(&self.0);
    }
}

/// Counts a refusal.
pub(super) fn count(stats: &ConnectionStats, refusal: Refusal) {
    add_one(match refusal {
        Refusal::Full => &stats.refused_total_cap,
        Refusal::AddressFull => &stats.refused_per_address,
    });
}
