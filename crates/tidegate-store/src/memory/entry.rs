//! One bucket in 32 bytes, so that two share a cache line.
//!
//! | word | bits | |
//! | --- | --- | --- |
//! | 0 | 64 | the key's table hash |
//! | 1 | 40 + 24 | the rest of the fingerprint, and the revision the state was written under |
//! | 2 | 2 + 1 + 5 + 56 | which kind of state, whether it is coarse, the epoch, and when the bucket is at rest, in µs |
//! | 3 | 64 | the fraction of a TAT, the count, both counts of 32 bits, or the place in the slab |
//!
//! The time is the instant from which the bucket is at rest, exactly, for every kind: sweeping needs no rule. The
//! start of a window is worked out from it and the window.

use tidegate_core::algorithm::{Count, CountPair, Meter, State, Tat};
use tidegate_core::quota::Algorithm;
use tidegate_core::rule::Revision;
use tidegate_core::time::Timestamp;

use super::key::Key;

const REVISION_SHIFT: u32 = 40;
const TIME_SHIFT: u32 = 8;
const TIME_MAX: u64 = (1 << 56) - 1;
const KIND_MASK: u64 = 0b11;
const COARSE: u64 = 0b100;
const EPOCH_SHIFT: u32 = 3;
/// Epochs that an entry can tell apart.
pub(super) const EPOCHS: u64 = 1 << (TIME_SHIFT - EPOCH_SHIFT);
/// A fraction is below L in lowest terms, and that is at most 10¹².
const FRACTION_MASK: u64 = (1 << 40) - 1;

/// Which kind of state an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Tat,
    Count,
    CountPair,
    /// A log or permits: they lie in the slab.
    Slab,
}

/// Whose bucket an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// One key's own.
    Own,
    /// Shared by all keys of a rule in this shard that found no room.
    Coarse,
}

/// A state, packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packed {
    pub(super) kind: Kind,
    /// When it is at rest, µs.
    pub(super) rest: u64,
    pub(super) value: u64,
}

/// One bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(align(32))]
pub(super) struct Entry([u64; 4]);

impl Entry {
    pub(super) fn new(key: Key, home: Home, revision: Revision, epoch: u64, packed: Packed) -> Self {
        let mark = match home {
            Home::Own => 0,
            Home::Coarse => COARSE,
        };
        let mut entry = Self([key.table, key.rest, mark, 0]);
        entry.set(revision, epoch, packed);
        entry
    }

    /// Entries as they stand in a snapshot.
    pub(super) const fn from_words(words: [u64; 4]) -> Self {
        Self(words)
    }

    pub(super) const fn words(&self) -> [u64; 4] {
        self.0
    }

    pub(super) const fn key(&self) -> Key {
        Key::from_words(self.0[0], self.0[1])
    }

    pub(super) const fn table_hash(&self) -> u64 {
        self.0[0]
    }

    pub(super) const fn is(&self, key: Key) -> bool {
        self.0[0] == key.table && (self.0[1] ^ key.rest) << (64 - REVISION_SHIFT) == 0
    }

    pub(super) const fn revision(&self) -> Revision {
        Revision::from_number((self.0[1] >> REVISION_SHIFT) as u32)
    }

    pub(super) const fn home(&self) -> Home {
        if self.0[2] & COARSE == 0 { Home::Own } else { Home::Coarse }
    }

    pub(super) const fn kind(&self) -> Kind {
        match self.0[2] & KIND_MASK {
            0 => Kind::Tat,
            1 => Kind::Count,
            2 => Kind::CountPair,
            _ => Kind::Slab,
        }
    }

    /// When it is at rest, µs.
    pub(super) const fn rest(&self) -> u64 {
        self.0[2] >> TIME_SHIFT
    }

    /// The epoch of rules it was written in, below [`EPOCHS`].
    pub(super) const fn epoch(&self) -> u64 {
        (self.0[2] >> EPOCH_SHIFT) % EPOCHS
    }

    /// Whether it is at rest under the rule it was written under.
    pub(super) const fn is_at_rest(&self, now: Timestamp) -> bool {
        self.rest() <= now.as_micros()
    }

    /// Its place in the slab, where it has one.
    pub(super) const fn slab_index(&self) -> Option<usize> {
        match self.kind() {
            Kind::Slab => Some(self.0[3] as usize),
            Kind::Tat | Kind::Count | Kind::CountPair => None,
        }
    }

    /// The same entry, as if written in this epoch.
    pub(super) const fn in_epoch(mut self, epoch: u64) -> Self {
        let others = self.0[2] & !((EPOCHS - 1) << EPOCH_SHIFT);
        self.0[2] = others | (epoch % EPOCHS) << EPOCH_SHIFT;
        self
    }

    /// Replaces the state with one of this revision, written in this epoch.
    pub(super) fn set(&mut self, revision: Revision, epoch: u64, packed: Packed) {
        let rest_of_key = self.0[1] & ((1 << REVISION_SHIFT) - 1);
        self.0[1] = rest_of_key | u64::from(revision.number()) << REVISION_SHIFT;
        let marks = (epoch % EPOCHS) << EPOCH_SHIFT | self.0[2] & COARSE | packed.kind as u64;
        self.0[2] = packed.rest.min(TIME_MAX) << TIME_SHIFT | marks;
        self.0[3] = packed.value;
    }

    /// The state as the meter of its revision reads it; `None` where it lies in the slab or is of another kind.
    pub(super) fn unpack(&self, meter: &Meter) -> Option<State> {
        let (rest, value) = (self.rest(), self.0[3]);
        let window = meter.quota().window().as_micros();
        match (self.kind(), meter.algorithm()) {
            (Kind::Tat, Algorithm::TokenBucket | Algorithm::LeakyBucket) => {
                let fraction = value & FRACTION_MASK;
                Some(State::Tat(Tat { micros: rest.saturating_sub(u64::from(fraction > 0)), fraction }))
            }
            (Kind::Count, Algorithm::FixedWindow) => {
                Some(State::Count(Count { start: rest.saturating_sub(window), used: value }))
            }
            (Kind::CountPair, Algorithm::SlidingWindow) => {
                let (used, previous) = (value >> 32, value & u64::from(u32::MAX));
                let start = rest.saturating_sub(windows_until_rest(used, previous) * window);
                Some(State::CountPair(CountPair { start, used, previous }))
            }
            _ => None,
        }
    }
}

impl Packed {
    /// A state in the slab.
    pub(super) const fn in_slab(index: usize, rest: u64) -> Self {
        Self { kind: Kind::Slab, rest, value: index as u64 }
    }

    /// A state that fits an entry; `None` for logs and permits.
    pub(super) fn new(meter: &Meter, state: &State) -> Option<Self> {
        let window = meter.quota().window().as_micros();
        match state {
            State::Tat(tat) => {
                let rest = tat.micros + u64::from(tat.fraction > 0);
                Some(Self { kind: Kind::Tat, rest, value: tat.fraction & FRACTION_MASK })
            }
            State::Count(count) => {
                let rest = if count.used == 0 { 0 } else { count.start + window };
                Some(Self { kind: Kind::Count, rest, value: count.used })
            }
            State::CountPair(pair) => {
                let (used, previous) = (saturate(pair.used), saturate(pair.previous));
                let rest = match windows_until_rest(used, previous) {
                    0 => 0,
                    windows => pair.start + windows * window,
                };
                Some(Self { kind: Kind::CountPair, rest, value: used << 32 | previous })
            }
            State::Log(_) | State::Permits(_) => None,
        }
    }
}

/// Whether a state is of the kind that a meter works on.
pub(super) const fn fits(meter: &Meter, state: &State) -> bool {
    matches!(
        (meter.algorithm(), state),
        (Algorithm::TokenBucket | Algorithm::LeakyBucket, State::Tat(_))
            | (Algorithm::FixedWindow, State::Count(_))
            | (Algorithm::SlidingWindow, State::CountPair(_))
            | (Algorithm::SlidingWindowLog, State::Log(_))
            | (Algorithm::Concurrency, State::Permits(_))
    )
}

/// How many windows after the start of the current one a pair of counts is at rest.
const fn windows_until_rest(used: u64, previous: u64) -> u64 {
    match (used, previous) {
        (0, 0) => 0,
        (0, _) => 1,
        _ => 2,
    }
}

/// A count in 32 bits: the largest limit of `sliding_window` fits.
fn saturate(count: u64) -> u64 {
    count.min(u64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use tidegate_core::quota::Quota;
    use tidegate_core::time::Micros;

    use super::*;

    fn meter(algorithm: Algorithm) -> Meter {
        Meter::new(algorithm, Quota::new(algorithm, 7, Micros::from_secs(60), None).unwrap(), None)
    }

    /// Every state that is not at rest comes back as it was, and the time in the entry is exactly the meter's own.
    #[test]
    fn states_come_back_and_rest_is_exact() {
        let minute = 60_000_000;
        let states = [
            (Algorithm::TokenBucket, State::Tat(Tat { micros: 1_000, fraction: 0 })),
            (Algorithm::TokenBucket, State::Tat(Tat { micros: 1_000, fraction: 6 })),
            (Algorithm::LeakyBucket, State::Tat(Tat { micros: 1 << 55, fraction: 1 })),
            (Algorithm::FixedWindow, State::Count(Count { start: minute * 9, used: 1 })),
            (Algorithm::FixedWindow, State::Count(Count { start: minute, used: u64::MAX })),
            (Algorithm::SlidingWindow, State::CountPair(CountPair { start: minute, used: 0, previous: 4 })),
            (Algorithm::SlidingWindow, State::CountPair(CountPair { start: minute, used: 3, previous: 0 })),
            (
                Algorithm::SlidingWindow,
                State::CountPair(CountPair { start: minute, used: 1 << 31, previous: u64::from(u32::MAX) }),
            ),
        ];
        let key = Key::from_words(u64::MAX, u64::MAX);
        for (algorithm, state) in states {
            let meter = meter(algorithm);
            let revision = Revision::from_number(0xab_cdef);
            let packed = Packed::new(&meter, &state).unwrap();
            let entry = Entry::new(key, Home::Coarse, revision, 21, packed);
            assert_eq!(entry.unpack(&meter), Some(state.clone()));
            assert_eq!(Timestamp::from_micros(entry.rest()), meter.rest_at(&state));
            assert_eq!((entry.key(), entry.revision(), entry.home()), (key, revision, Home::Coarse));
            assert_eq!((entry.epoch(), entry.rest()), (21, packed.rest));
            assert!(entry.is(key) && !entry.is(Key::from_words(u64::MAX, 0)));
        }
    }

    #[test]
    fn a_state_of_another_kind_is_not_read() {
        let state = State::Count(Count { start: 0, used: 1 });
        let packed = Packed::new(&meter(Algorithm::FixedWindow), &state).unwrap();
        let entry = Entry::new(Key::from_words(1, 1), Home::Own, Revision::default(), 0, packed);
        for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| *algorithm != Algorithm::FixedWindow) {
            assert_eq!(entry.unpack(&meter(algorithm)), None);
        }
    }
}
