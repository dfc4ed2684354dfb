//! What a connection's task, its requests and the sweep know of one another.
//!
//! Only atomics: the task and its requests write, the sweep reads, and the other way round for
//! commands. A stale value costs a tick, never a request: the task checks again before it closes.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use super::limits::ConnectionLimits;
use super::registry::{AddressKey, Registry};

/// How long a connection that has not sent a whole head is left alone by evictions, in ms.
const HEAD_GRACE_MS: u64 = 1_000;
/// How long a client may take to answer a GOAWAY after the idle timeout, in ms.
const GOODBYE_MS: u64 = 5_000;

/// What a connection without a request in flight waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// Opened, and not a byte came.
    First,
    /// Part of a request's head came.
    Head,
    /// Between requests.
    Next,
}

impl Waiting {
    fn from_bits(bits: u64) -> Self {
        match bits & 3 {
            0 => Self::First,
            1 => Self::Head,
            _ => Self::Next,
        }
    }
}

/// What the sweep asks of a connection's task. A later one overrules an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Command {
    None = 0,
    /// Make room, unless a request came meanwhile.
    Evict,
    /// The head took too long, unless it is whole by now.
    HeadTooSlow,
    /// No request for too long, unless one came meanwhile.
    IdleTooLong,
    /// Finish what is in flight, then close.
    Finish,
    /// The client does not read.
    WriteStalled,
    /// Close now.
    Abort,
}

impl Command {
    fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Self::None,
            1 => Self::Evict,
            2 => Self::HeadTooSlow,
            3 => Self::IdleTooLong,
            4 => Self::Finish,
            5 => Self::WriteStalled,
            _ => Self::Abort,
        }
    }
}

/// One connection, as seen from outside its task.
pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) address: AddressKey,
    pub(super) registry: Arc<Registry>,
    /// Requests whose response is not yet wholly produced.
    in_flight: AtomicU32,
    /// `since_ms << 2 | Waiting`; meaningless while requests are in flight.
    waiting: AtomicU64,
    /// When the kernel first refused bytes the client does not take; 0 if it takes them.
    write_stuck_since_ms: AtomicU64,
    /// Answers of which the next piece is there, or will be as soon as somebody asks for it, and nobody does.
    untaken: AtomicU32,
    /// When a piece was last taken; or, if that was before, when the first of those answers was made.
    untaken_since_ms: AtomicU64,
    http2: AtomicBool,
    /// Counted in the registry as about to leave.
    pub(super) evicting: AtomicBool,
    command: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

impl Connection {
    pub(super) fn new(id: u64, address: AddressKey, registry: Arc<Registry>) -> Self {
        let now_ms = registry.now_ms();
        Self {
            id,
            address,
            registry,
            in_flight: AtomicU32::new(0),
            waiting: AtomicU64::new(now_ms << 2 | Waiting::First as u64),
            write_stuck_since_ms: AtomicU64::new(0),
            untaken: AtomicU32::new(0),
            untaken_since_ms: AtomicU64::new(now_ms),
            http2: AtomicBool::new(false),
            evicting: AtomicBool::new(false),
            command: AtomicU8::new(Command::None as u8),
            waker: Mutex::new(None),
        }
    }

    // === what happens to it ===

    pub(super) fn request_begins(&self) {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn request_ends(&self) {
        if self.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.wait_for(Waiting::Next);
        }
    }

    /// Bytes came. Those of HTTP/2 say nothing about requests: pings come at any time.
    pub(super) fn bytes_read(&self) {
        if self.in_flight.load(Ordering::Relaxed) == 0
            && !self.is_http2()
            && self.waits_for().0 != Waiting::Head
        {
            self.wait_for(Waiting::Head);
        }
    }

    /// The whole HTTP/2 preface came. Such a client may connect ahead of its first request.
    pub(super) fn speaks_http2(&self) {
        self.http2.store(true, Ordering::Relaxed);
        self.wait_for(Waiting::Next);
    }

    pub(super) fn write_is_stuck(&self) {
        self.write_stuck_since_ms.store(self.registry.now_ms(), Ordering::Relaxed);
    }

    pub(super) fn write_moves(&self) {
        self.write_stuck_since_ms.store(0, Ordering::Relaxed);
    }

    /// An answer, or its next piece, waits to be taken. In HTTP/2 a client says how much it takes of each (RFC 9113, section
    /// 5.2): one that says nothing lets its socket be written, and its answers lie here.
    pub(super) fn answer_waits(&self) {
        // In this order, so that the sweep never sees the new number with an old time.
        if self.untaken.load(Ordering::Relaxed) == 0 {
            self.untaken_since_ms.store(self.registry.now_ms(), Ordering::Relaxed);
        }
        self.untaken.fetch_add(1, Ordering::Release);
    }

    /// It was taken.
    pub(super) fn answer_taken(&self) {
        self.untaken_since_ms.store(self.registry.now_ms(), Ordering::Relaxed);
        self.untaken.fetch_sub(1, Ordering::Release);
    }

    /// It waits for its client, for nothing or for the rest of something.
    pub(super) fn wait_for(&self, what: Waiting) {
        self.waiting.store(self.registry.now_ms() << 2 | what as u64, Ordering::Relaxed);
    }

    // === what it is doing ===

    pub(super) fn is_http2(&self) -> bool {
        self.http2.load(Ordering::Relaxed)
    }

    pub(super) fn has_requests(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) > 0
    }

    pub(super) fn has_several_requests(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 1
    }

    /// What it waits for, and since when (ms of the registry's clock).
    pub(super) fn waits_for(&self) -> (Waiting, u64) {
        let bits = self.waiting.load(Ordering::Relaxed);
        (Waiting::from_bits(bits), bits >> 2)
    }

    fn writes_move(&self) -> bool {
        self.write_stuck_since_ms.load(Ordering::Relaxed) == 0
    }

    /// Since when it could be closed to make room for another; `None` while it must not be.
    pub(super) fn evictable_since(&self) -> Option<u64> {
        if self.has_requests() || !self.writes_move() {
            return None;
        }
        match self.waits_for() {
            (Waiting::Next, since) => Some(since),
            (_, since) => (self.registry.now_ms() >= since + HEAD_GRACE_MS).then_some(since),
        }
    }

    /// What the limits ask for now.
    pub(super) fn overdue(&self, limits: &ConnectionLimits) -> Option<Command> {
        let now_ms = self.registry.now_ms();
        // A stamp may be a tick older than the event.
        let older_than = |since: u64, limit_ms: u64| now_ms >= since + limit_ms + limits.tick_ms();
        let stuck_since = self.write_stuck_since_ms.load(Ordering::Relaxed);
        if stuck_since != 0 && older_than(stuck_since, limits.write_stall_timeout_ms) {
            return Some(Command::WriteStalled);
        }
        if self.untaken.load(Ordering::Acquire) > 0
            && older_than(self.untaken_since_ms.load(Ordering::Relaxed), limits.write_stall_timeout_ms)
        {
            return Some(Command::WriteStalled);
        }
        if self.has_requests() {
            return None;
        }
        match self.waits_for() {
            (Waiting::Next, since) if older_than(since, limits.idle_timeout_ms + GOODBYE_MS) => {
                Some(Command::Abort)
            }
            (Waiting::Next, since) => {
                older_than(since, limits.idle_timeout_ms).then_some(Command::IdleTooLong)
            }
            (_, since) => older_than(since, limits.header_timeout_ms).then_some(Command::HeadTooSlow),
        }
    }

    // === commands ===

    /// Gives a command, unless a stronger one was given, and wakes the task.
    pub(super) fn give(&self, command: Command) {
        if self.command.fetch_max(command as u8, Ordering::AcqRel) < command as u8 {
            let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(waker) = waker.as_ref() {
                waker.wake_by_ref();
            }
        }
    }

    pub(super) fn command(&self) -> Command {
        Command::from_bits(self.command.load(Ordering::Acquire))
    }

    /// Takes a command back that came too late; a stronger one given meanwhile stays.
    pub(super) fn decline(&self, command: Command) {
        let _ = self.command.compare_exchange(
            command as u8,
            Command::None as u8,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        self.registry.stays(self);
    }

    pub(super) fn wake_with(&self, waker: &Waker) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
    }
}

/// A request in flight, from its call to its response's last byte or to its end by any other way.
pub(super) struct InFlight(Arc<Connection>);

impl InFlight {
    pub(super) fn begin(connection: &Arc<Connection>) -> Self {
        connection.request_begins();
        Self(Arc::clone(connection))
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.request_ends();
    }
}
