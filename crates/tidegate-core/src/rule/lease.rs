//! How exactly a rule's quota is kept when several nodes share it, and what that costs in exactness.
//!
//! A lease is a part of a quota that is debited in the shared store first and then spent on one node without asking.
//! A unit is debited before it is spent, and spent at most once, so what is spent in any stretch of time was debited in
//! it or was held when it began. That gives the bound of every algorithm:
//!
//! - Token and leaky bucket: what is debited keeps to B + r·τ, so at most B + r·τ + N·lease is spent in any τ on N nodes
//!   that hold at most one lease each.
//! - Sliding window log: in the same way at most L + N·lease in any window.
//! - Fixed and sliding window: a lease ends with the aligned window it was debited in. So each such window has spent at
//!   most what it has debited, at every instant, and both bounds hold as they are: nothing is added.
//!
//! A permit is held, not spent, and cannot be leased. Who waits in a queue was told an instant that a lease would not
//! keep, and a reserve that is leased out is no reserve: rules with either are always asked exactly.

use core::fmt;

use super::model::Rule;
use crate::quota::{Algorithm, MAX_LIMIT, Quota};
use crate::time::Micros;

/// The shortest time that unspent units are held: what is due is given back about so often.
pub const MIN_HOLD: Micros = Micros::from_millis(100);
/// The longest time that unspent units are held, and so kept from other nodes.
pub const MAX_HOLD: Micros = Micros::from_secs(60);
/// How long unspent units are held where nothing else is said.
const USUAL_HOLD: Micros = Micros::from_secs(1);
/// One lease of so many makes the burst where nothing else is said: ten nodes then add a tenth.
const USUAL_PARTS: u64 = 100;

/// How exactly a quota is kept when several nodes share it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Consistency {
    /// Every request is decided by the shared store.
    #[default]
    Exact,
    /// Nodes take units in advance and spend them without asking.
    Leased(Lease),
}

/// What one node takes in advance of one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    units: Option<u64>,
    hold: Micros,
}

/// Why a lease cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseError {
    /// A lease of nothing.
    NoUnits,
    /// More than [`MAX_LIMIT`] units.
    TooManyUnits,
    /// Held for less than [`MIN_HOLD`].
    HoldTooShort,
    /// Held for more than [`MAX_HOLD`].
    HoldTooLong,
}

impl fmt::Display for LeaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LeaseError::NoUnits => f.write_str("a lease of 0 units leases nothing"),
            LeaseError::TooManyUnits => write!(f, "the lease is above {MAX_LIMIT} units"),
            LeaseError::HoldTooShort => write!(f, "unspent units are held for less than {MIN_HOLD}"),
            LeaseError::HoldTooLong => write!(f, "unspent units are held for more than {MAX_HOLD}"),
        }
    }
}

impl core::error::Error for LeaseError {}

impl Default for Lease {
    /// A hundredth of the burst, held for a second.
    fn default() -> Self {
        Self { units: None, hold: USUAL_HOLD }
    }
}

impl Lease {
    /// A lease of so many units, or of a hundredth of the burst, of which the unspent ones are given back after `hold`;
    /// without one, after a second.
    ///
    /// # Errors
    /// [`LeaseError`] says which number is out of range.
    pub fn new(units: Option<u64>, hold: Option<Micros>) -> Result<Self, LeaseError> {
        let hold = hold.unwrap_or(USUAL_HOLD);
        match units {
            Some(0) => Err(LeaseError::NoUnits),
            Some(units) if units > MAX_LIMIT => Err(LeaseError::TooManyUnits),
            _ if hold < MIN_HOLD => Err(LeaseError::HoldTooShort),
            _ if hold > MAX_HOLD => Err(LeaseError::HoldTooLong),
            _ => Ok(Self { units, hold }),
        }
    }

    /// The most units of a bucket with this quota that one node holds: at least 1, at most the burst.
    #[must_use]
    pub fn units(&self, quota: &Quota) -> u64 {
        self.units.unwrap_or(quota.burst() / USUAL_PARTS).min(quota.burst()).max(1)
    }

    /// The units that are named; `None` where it is a hundredth of the burst.
    #[must_use]
    pub const fn named_units(&self) -> Option<u64> {
        self.units
    }

    /// How long unspent units are held before they are given back.
    #[must_use]
    pub const fn hold(&self) -> Micros {
        self.hold
    }
}

impl Consistency {
    /// The name in rule files and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Consistency::Exact => "exact",
            Consistency::Leased(_) => "leased",
        }
    }
}

impl Rule {
    /// The lease, where there is one and the rule is of a kind that can be leased.
    #[must_use]
    pub fn lease(&self) -> Option<Lease> {
        match self.consistency {
            Consistency::Leased(lease)
                if self.algorithm != Algorithm::Concurrency
                    && self.queue.is_none()
                    && self.reserve.is_empty() =>
            {
                Some(lease)
            }
            _ => None,
        }
    }

    /// How much each node that holds a lease adds to the bound of a bucket with this quota; `None` where nothing is
    /// leased.
    #[must_use]
    pub fn overshoot_per_node(&self, quota: &Quota) -> Option<u64> {
        self.lease().map(|lease| match self.algorithm {
            Algorithm::FixedWindow | Algorithm::SlidingWindow => 0,
            _ if quota.limit() == 0 => 0,
            _ => lease.units(quota),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::model::{Queue, Reserve};

    fn rule(algorithm: Algorithm) -> Rule {
        let quota = Quota::new(algorithm, 5_000, Micros::from_secs(60), None).unwrap();
        Rule { consistency: Consistency::Leased(Lease::default()), ..Rule::new("r", algorithm, quota) }
    }

    #[test]
    fn a_lease_is_at_least_one_unit_and_at_most_the_burst() {
        let quota =
            |burst| Quota::new(Algorithm::TokenBucket, 1_000, Micros::from_secs(60), Some(burst)).unwrap();
        let usual = |burst| Lease::default().units(&quota(burst));
        assert_eq!([usual(1), usual(99), usual(100), usual(2_599)], [1, 1, 1, 25]);
        let named = Lease::new(Some(50), None).unwrap();
        assert_eq!([named.units(&quota(10)), named.units(&quota(1_000))], [10, 50]);
        assert_eq!(named.hold(), Micros::from_secs(1));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let with = |units, hold| Lease::new(Some(units), Some(hold)).map(|lease| lease.hold());
        let second = Micros::from_secs(1);
        assert_eq!(with(0, second), Err(LeaseError::NoUnits));
        assert_eq!(with(MAX_LIMIT + 1, second), Err(LeaseError::TooManyUnits));
        assert_eq!(with(1, Micros::from_millis(99)), Err(LeaseError::HoldTooShort));
        assert_eq!(with(1, Micros::from_micros(60_000_001)), Err(LeaseError::HoldTooLong));
        assert_eq!(with(MAX_LIMIT, MIN_HOLD), Ok(MIN_HOLD));
        assert_eq!(with(1, MAX_HOLD), Ok(MAX_HOLD));
    }

    #[test]
    fn what_cannot_be_leased_is_not() {
        for algorithm in Algorithm::ALL {
            let rule = rule(algorithm);
            let leasable = algorithm != Algorithm::Concurrency;
            assert_eq!(rule.lease().is_some(), leasable, "{algorithm}");
            let queue = Some(Queue { max_wait: Micros::from_secs(1), max_depth: 1 });
            assert_eq!(Rule { queue, ..rule.clone() }.lease(), None);
            let reserve = vec![Reserve { priority: "high".to_owned(), percent: 1 }];
            assert_eq!(Rule { reserve, ..rule.clone() }.lease(), None);
            let exact = Rule { consistency: Consistency::Exact, ..rule };
            assert_eq!((exact.lease(), exact.overshoot_per_node(&exact.quota)), (None, None));
        }
    }

    #[test]
    fn windows_keep_their_bound() {
        use Algorithm::*;
        let adds = |algorithm| rule(algorithm).overshoot_per_node(&rule(algorithm).quota);
        assert_eq!([TokenBucket, SlidingWindowLog].map(adds), [Some(50); 2]);
        assert_eq!([FixedWindow, SlidingWindow].map(adds), [Some(0); 2]);
        assert_eq!([LeakyBucket, Concurrency].map(adds), [Some(1), None]);
    }
}
