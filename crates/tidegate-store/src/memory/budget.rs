//! How many bytes all shards together may take.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes taken by tables and slabs, over all shards.
///
/// New keys may take up to `ordinary`. What is above it, up to `reserve`, is for buckets that are already there and
/// grow, and for the coarse ones.
pub(super) struct Budget {
    used: AtomicUsize,
    ordinary: usize,
    reserve: usize,
}

impl Budget {
    pub(super) const fn new(ordinary: usize, reserve: usize) -> Self {
        Self { used: AtomicUsize::new(0), ordinary, reserve }
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes `bytes` if new keys may have them.
    pub(super) fn try_take(&self, bytes: usize) -> bool {
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.ordinary);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    /// Whether new keys may have `bytes` more.
    pub(super) fn fits(&self, bytes: usize) -> bool {
        self.used().saturating_add(bytes) <= self.ordinary
    }

    /// Whether even the reserve is used up.
    pub(super) fn is_exceeded(&self) -> bool {
        self.used() > self.reserve
    }

    /// Notes that what took `before` bytes takes `after` now.
    pub(super) fn replace(&self, before: usize, after: usize) {
        if after > before {
            self.used.fetch_add(after - before, Ordering::Relaxed);
        } else if before > after {
            self.used.fetch_sub(before - after, Ordering::Relaxed);
        }
    }
}
