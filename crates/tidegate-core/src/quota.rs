//! A quota: how many units may pass in what time, checked once when it is made.
//!
//! Everything that could overflow or round wrongly later is refused here, so that deciding cannot fail.

use core::fmt;

use crate::time::Micros;

/// How a rule meters its quota. The bounds are those of docs/reference/algorithms.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// Refills evenly, holds up to `burst` (GCRA: ITU-T I.371, ATM Forum TM 4.0). In any τ at most B + r·τ.
    TokenBucket,
    /// The same meter with a burst of 1 by default: a smooth flow, and with a queue a valve.
    LeakyBucket,
    /// Counts in windows aligned to the Unix epoch. Up to 2·L across one boundary.
    FixedWindow,
    /// Weighted count over two aligned windows. Up to 2·L − 1 in a true window, no double burst at one instant.
    SlidingWindow,
    /// Remembers every admission. Never more than L in any window.
    SlidingWindowLog,
    /// Permits held at one time, each given back or expired.
    Concurrency,
}

impl Algorithm {
    /// Every algorithm, in the order of the documentation.
    pub const ALL: [Algorithm; 6] = [
        Algorithm::TokenBucket,
        Algorithm::LeakyBucket,
        Algorithm::FixedWindow,
        Algorithm::SlidingWindow,
        Algorithm::SlidingWindowLog,
        Algorithm::Concurrency,
    ];

    /// The name in rule files, answers and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::TokenBucket => "token_bucket",
            Algorithm::LeakyBucket => "leaky_bucket",
            Algorithm::FixedWindow => "fixed_window",
            Algorithm::SlidingWindow => "sliding_window",
            Algorithm::SlidingWindowLog => "sliding_window_log",
            Algorithm::Concurrency => "concurrency",
        }
    }

    /// The largest `limit` (and burst) this algorithm can keep.
    #[must_use]
    pub const fn max_limit(self) -> u64 {
        match self {
            Algorithm::TokenBucket | Algorithm::LeakyBucket | Algorithm::FixedWindow => MAX_LIMIT,
            Algorithm::SlidingWindow => MAX_SLIDING_WINDOW_LIMIT,
            Algorithm::SlidingWindowLog => MAX_LOG_LIMIT,
            Algorithm::Concurrency => MAX_PERMITS,
        }
    }

    /// Whether the quota may name a burst of its own.
    #[must_use]
    pub const fn has_burst(self) -> bool {
        matches!(self, Algorithm::TokenBucket | Algorithm::LeakyBucket)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The largest limit, burst and cost: 10^12 units.
pub const MAX_LIMIT: u64 = 1_000_000_000_000;
/// The largest limit of `sliding_window`: two counts share one 64-bit word of state.
pub const MAX_SLIDING_WINDOW_LIMIT: u64 = u32::MAX as u64;
/// The largest limit of `sliding_window_log`, which keeps 16 bytes per admission.
pub const MAX_LOG_LIMIT: u64 = 100_000;
/// The largest number of permits of one `concurrency` bucket.
pub const MAX_PERMITS: u64 = 10_000;
/// The shortest window, and the shortest life of a permit.
pub const MIN_WINDOW: Micros = Micros::from_millis(1);
/// The longest window: ten years of 365 days.
pub const MAX_WINDOW: Micros = Micros::from_secs(3_650 * 86_400);
/// The longest time from empty to full of a bucket with a burst of its own: a hundred years of 365 days.
pub const MAX_FILL: Micros = Micros::from_secs(36_500 * 86_400);
/// (limit + burst) × window in lowest terms must stay below this, so that no later product leaves 128 bits.
const MAX_PRODUCT: u128 = 1 << 78;

/// `limit` units per `window`, with `burst` passing at one instant from rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    limit: u64,
    window: Micros,
    burst: u64,
}

/// Why a quota cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaError {
    /// The limit is larger than the algorithm can keep.
    LimitTooLarge {
        /// What it may be at the most.
        max: u64,
    },
    /// The window is shorter than [`MIN_WINDOW`] (zero, usually).
    WindowTooShort,
    /// The window is longer than [`MAX_WINDOW`].
    WindowTooLong,
    /// The algorithm has no burst of its own.
    BurstNotSupported,
    /// A burst of 0 with a limit above 0 could never let anything pass.
    BurstZero,
    /// The burst is larger than [`MAX_LIMIT`].
    BurstTooLarge,
    /// (limit + burst) × window does not fit the arithmetic.
    ProductTooLarge,
    /// An empty bucket would take longer than [`MAX_FILL`] to be full again.
    FillTooLong,
}

impl fmt::Display for QuotaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QuotaError::LimitTooLarge { max } => {
                write!(f, "the limit is above {max}, the most this algorithm keeps")
            }
            QuotaError::WindowTooShort => write!(f, "the window is shorter than {MIN_WINDOW}"),
            QuotaError::WindowTooLong => write!(f, "the window is longer than {MAX_WINDOW} (ten years)"),
            QuotaError::BurstNotSupported => f.write_str("only token_bucket and leaky_bucket have a burst"),
            QuotaError::BurstZero => f.write_str("a burst of 0 lets nothing pass"),
            QuotaError::BurstTooLarge => write!(f, "the burst is above {MAX_LIMIT}"),
            QuotaError::ProductTooLarge => f.write_str(
                "limit × window is too large to be kept exactly; a rounder limit or a shorter window fits",
            ),
            QuotaError::FillTooLong => f.write_str("the burst would take more than 100 years to refill"),
        }
    }
}

impl core::error::Error for QuotaError {}

impl Quota {
    /// A quota for `algorithm`. Without a `burst`, a token bucket holds `limit` units and a leaky bucket one.
    /// For `concurrency` the window is the life of a permit.
    ///
    /// # Errors
    /// [`QuotaError`] says which part is out of range.
    pub fn new(
        algorithm: Algorithm,
        limit: u64,
        window: Micros,
        burst: Option<u64>,
    ) -> Result<Self, QuotaError> {
        if limit > algorithm.max_limit() {
            return Err(QuotaError::LimitTooLarge { max: algorithm.max_limit() });
        }
        if window < MIN_WINDOW {
            return Err(QuotaError::WindowTooShort);
        }
        if window > MAX_WINDOW {
            return Err(QuotaError::WindowTooLong);
        }
        let burst = match (burst, algorithm) {
            (Some(_), _) if !algorithm.has_burst() => return Err(QuotaError::BurstNotSupported),
            (Some(0), _) if limit > 0 => return Err(QuotaError::BurstZero),
            (Some(burst), _) if burst > MAX_LIMIT => return Err(QuotaError::BurstTooLarge),
            (Some(burst), _) => burst,
            (None, Algorithm::LeakyBucket) => limit.min(1),
            (None, _) => limit,
        };
        let quota = Self { limit, window, burst };
        let (limit_reduced, window_reduced) = quota.rate();
        if (u128::from(limit) + u128::from(burst)) * u128::from(window_reduced) > MAX_PRODUCT {
            return Err(QuotaError::ProductTooLarge);
        }
        if u128::from(burst) * u128::from(window_reduced)
            > u128::from(limit_reduced) * u128::from(MAX_FILL.as_micros())
        {
            return Err(QuotaError::FillTooLong);
        }
        Ok(quota)
    }

    /// Units per window.
    #[must_use]
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// The time of the quota.
    #[must_use]
    pub const fn window(&self) -> Micros {
        self.window
    }

    /// Units that may pass at one instant from rest.
    #[must_use]
    pub const fn burst(&self) -> u64 {
        self.burst
    }

    /// The rate in lowest terms: (units, microseconds). A limit of 0 lets nothing pass, so its rate only says how
    /// fast old state fades: one unit per window.
    #[must_use]
    pub const fn rate(&self) -> (u64, u64) {
        if self.limit == 0 {
            return (1, self.window.as_micros());
        }
        let divisor = gcd(self.limit, self.window.as_micros());
        (self.limit / divisor, self.window.as_micros() / divisor)
    }
}

/// Greatest common divisor; `b` is never 0 here because a window is at least [`MIN_WINDOW`].
const fn gcd(a: u64, b: u64) -> u64 {
    let (mut a, mut b) = (a, b);
    while a != 0 {
        (a, b) = (b % a, a);
    }
    b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_of_burst_follow_the_algorithm() {
        let minute = Micros::from_secs(60);
        assert_eq!(Quota::new(Algorithm::TokenBucket, 20, minute, None).unwrap().burst(), 20);
        assert_eq!(Quota::new(Algorithm::LeakyBucket, 20, minute, None).unwrap().burst(), 1);
        assert_eq!(Quota::new(Algorithm::TokenBucket, 20, minute, Some(5)).unwrap().burst(), 5);
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        use Algorithm::*;
        let minute = Micros::from_secs(60);
        let max = |max| Err(QuotaError::LimitTooLarge { max });
        assert_eq!(Quota::new(TokenBucket, MAX_LIMIT + 1, minute, None), max(MAX_LIMIT));
        assert_eq!(Quota::new(SlidingWindowLog, MAX_LOG_LIMIT + 1, minute, None), max(MAX_LOG_LIMIT));
        assert_eq!(Quota::new(TokenBucket, 1, Micros::ZERO, None), Err(QuotaError::WindowTooShort));
        assert_eq!(Quota::new(TokenBucket, 1, Micros::MAX, None), Err(QuotaError::WindowTooLong));
        assert_eq!(Quota::new(FixedWindow, 1, minute, Some(1)), Err(QuotaError::BurstNotSupported));
        assert_eq!(Quota::new(TokenBucket, 1, minute, Some(0)), Err(QuotaError::BurstZero));
        assert_eq!(
            Quota::new(TokenBucket, 999_999_999_989, MAX_WINDOW, None),
            Err(QuotaError::ProductTooLarge)
        );
        assert_eq!(Quota::new(TokenBucket, 1, MAX_WINDOW, Some(11)), Err(QuotaError::FillTooLong));
        assert!(Quota::new(TokenBucket, MAX_LIMIT, MAX_WINDOW, None).is_ok());
    }

    #[test]
    fn the_rate_is_in_lowest_terms() {
        let quota = Quota::new(Algorithm::TokenBucket, 1_000_000, Micros::from_secs(86_400), None).unwrap();
        assert_eq!(quota.rate(), (1, 86_400));
        let none = Quota::new(Algorithm::TokenBucket, 0, Micros::from_secs(60), None).unwrap();
        assert_eq!(none.rate(), (1, 60_000_000));
    }
}
