//! The only place that draws random numbers. Everything below takes them as arguments.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A seed for a store's keyed hash, from the system's source of randomness: not to be guessed by clients.
#[must_use]
pub fn random_seed() -> [u64; 2] {
    let key = RandomState::new();
    [key.hash_one(0_u8), key.hash_one(1_u8)]
}

/// Draws names for permits: a counter under a keyed hash whose key the system chose at random, so that knowing some
/// does not help to guess others.
#[derive(Debug, Default)]
pub(crate) struct PermitIds {
    key: RandomState,
    drawn: AtomicU64,
}

impl PermitIds {
    /// A new name; for a call with an idempotency key always the same one, so that a repeated call names the permit
    /// that the first one was given.
    pub(crate) fn draw(&self, idempotency_key: Option<&[u8]>) -> u64 {
        let name = match idempotency_key {
            Some(key) => self.key.hash_one(key),
            None => self.key.hash_one(self.drawn.fetch_add(1, Ordering::Relaxed)),
        };
        name.max(1)
    }
}

/// Spreads what many nodes would otherwise do at the same instant.
#[derive(Debug, Default)]
pub(crate) struct Jitter {
    key: RandomState,
    drawn: AtomicU64,
}

impl Jitter {
    /// Three to five quarters of `span`.
    pub(crate) fn around(&self, span: Duration) -> Duration {
        let drawn = self.key.hash_one(self.drawn.fetch_add(1, Ordering::Relaxed)) as u32;
        span.mul_f64(0.75 + 0.5 * f64::from(drawn) / f64::from(u32::MAX))
    }
}
