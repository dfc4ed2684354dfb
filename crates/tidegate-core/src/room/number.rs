//! Who stands in a line: queue numbers, and the hashes by which the room knows visitors.

use core::fmt;
use core::num::{NonZeroU32, NonZeroU64};

/// A visitor's number, given once at the join: 1, 2, 3 … without gaps, up to [`QueueNumber::MAX`]. Numbers of one room
/// never start again, so one names a seat for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueNumber(u64);

impl QueueNumber {
    /// The first number of a room.
    pub const FIRST: QueueNumber = QueueNumber(1);
    /// The last number that can be given: 2^53 − 1, which a store that computes with doubles holds exactly.
    pub const MAX: QueueNumber = QueueNumber((1 << 53) - 1);

    /// The number `number`; more than [`QueueNumber::MAX`] becomes [`QueueNumber::MAX`]. 0 is nobody's.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        if number > Self::MAX.0 { Self::MAX } else { Self(number) }
    }

    /// The number as an integer.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for QueueNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A place in the order of leaving the line. The same as the queue number, except among those who were shuffled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place(pub(crate) u64);

/// Who a visitor is: a keyed 64-bit hash of a device cookie, an address or a header, made outside. One identity has one
/// seat. The key keeps visitors from choosing hashes that meet; among a million waiting, a newcomer's meets another's
/// once in 10^13 joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(NonZeroU64);

impl Identity {
    /// The identity with this hash. A hash of 0 is taken for 1.
    #[must_use]
    pub const fn new(hash: u64) -> Self {
        match NonZeroU64::new(hash) {
            Some(hash) => Self(hash),
            None => Self(NonZeroU64::MIN),
        }
    }

    /// The hash.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

/// The address prefix that a visitor comes from: a keyed 32-bit hash, made outside. Prefixes whose hashes meet share
/// one cap, among a million of them about one in 4,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(NonZeroU32);

impl Prefix {
    /// The prefix with this hash. A hash of 0 is taken for 1.
    #[must_use]
    pub const fn new(hash: u32) -> Self {
        match NonZeroU32::new(hash) {
            Some(hash) => Self(hash),
            None => Self(NonZeroU32::MIN),
        }
    }

    /// The hash.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

/// What the room remembers of a visitor, as far as it is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Visitor {
    /// Who it is; without one, every join is a new seat.
    pub identity: Option<Identity>,
    /// Where it comes from; without one, no cap by prefix applies.
    pub prefix: Option<Prefix>,
}
