//! Points and spans of time, as arguments: the core never reads a clock.
//!
//! Both are whole microseconds. A [`Timestamp`] counts from the Unix epoch and stays below 2^53, so that a
//! store which computes with doubles (Lua in Redis) holds it exactly, until the year 2255.

use core::fmt;

/// A span of time in whole microseconds, 0 to [`Micros::MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(u64);

impl Micros {
    /// No time.
    pub const ZERO: Micros = Micros(0);
    /// The longest span that can be written: 2^53 − 1 µs, about 285 years.
    pub const MAX: Micros = Micros((1 << 53) - 1);

    /// `micros` microseconds; more than [`Micros::MAX`] becomes [`Micros::MAX`].
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        if micros > Self::MAX.0 { Self::MAX } else { Self(micros) }
    }

    /// `millis` milliseconds, saturating.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self::from_micros(millis.saturating_mul(1_000))
    }

    /// `secs` seconds, saturating.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self::from_micros(secs.saturating_mul(1_000_000))
    }

    /// The span in microseconds.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The span in milliseconds, rounded up: a client that waits this long never comes early.
    #[must_use]
    pub const fn as_millis_ceil(self) -> u64 {
        self.0.div_ceil(1_000)
    }

    /// The span in seconds, rounded up: a client that waits this long never comes early.
    #[must_use]
    pub const fn as_secs_ceil(self) -> u64 {
        self.0.div_ceil(1_000_000)
    }

    /// The sum, at most [`Micros::MAX`].
    #[must_use]
    pub const fn saturating_add(self, other: Micros) -> Self {
        Self::from_micros(self.0.saturating_add(other.0))
    }

    /// The difference, at least zero.
    #[must_use]
    pub const fn saturating_sub(self, other: Micros) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl From<Micros> for core::time::Duration {
    fn from(span: Micros) -> Self {
        core::time::Duration::from_micros(span.0)
    }
}

impl fmt::Display for Micros {
    /// The shortest exact form in one unit: `90s`, `5m`, `1d`, `250ms`, `7us`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 6] = [
            (86_400_000_000, "d"),
            (3_600_000_000, "h"),
            (60_000_000, "m"),
            (1_000_000, "s"),
            (1_000, "ms"),
            (1, "us"),
        ];
        for (size, unit) in UNITS {
            if self.0 >= size && self.0.is_multiple_of(size) {
                return write!(f, "{}{unit}", self.0 / size);
            }
        }
        f.write_str("0s")
    }
}

/// A point in time: whole microseconds since the Unix epoch, 0 to [`Timestamp::MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Timestamp = Timestamp(0);
    /// The last point that can be written: 2^53 − 1 µs, in the year 2255.
    pub const MAX: Timestamp = Timestamp((1 << 53) - 1);

    /// `micros` microseconds after the epoch; more than [`Timestamp::MAX`] becomes [`Timestamp::MAX`].
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        if micros > Self::MAX.0 { Self::MAX } else { Self(micros) }
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The point `span` later, at most [`Timestamp::MAX`].
    #[must_use]
    pub const fn saturating_add(self, span: Micros) -> Self {
        Self::from_micros(self.0.saturating_add(span.0))
    }

    /// The point `span` earlier, at least the epoch.
    #[must_use]
    pub const fn saturating_sub(self, span: Micros) -> Self {
        Self(self.0.saturating_sub(span.0))
    }

    /// The time from `earlier` to this point, or zero where `earlier` is in fact later.
    #[must_use]
    pub const fn since(self, earlier: Timestamp) -> Micros {
        Micros(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_always_up_and_display_is_exact() {
        assert_eq!(Micros::from_micros(1).as_millis_ceil(), 1);
        assert_eq!(Micros::from_micros(1_000).as_millis_ceil(), 1);
        assert_eq!(Micros::from_micros(1_001).as_millis_ceil(), 2);
        assert_eq!(Micros::from_micros(1_000_001).as_secs_ceil(), 2);
        for (micros, text) in [
            (0, "0s"),
            (7, "7us"),
            (250_000, "250ms"),
            (90_000_000, "90s"),
            (300_000_000, "5m"),
            (86_400_000_000, "1d"),
        ] {
            assert_eq!(Micros::from_micros(micros).to_string(), text);
        }
    }

    #[test]
    fn both_ends_saturate() {
        assert_eq!(Timestamp::from_micros(u64::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::MAX.saturating_add(Micros::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::EPOCH.saturating_sub(Micros::MAX), Timestamp::EPOCH);
        assert_eq!(Timestamp::EPOCH.since(Timestamp::MAX), Micros::ZERO);
    }
}
