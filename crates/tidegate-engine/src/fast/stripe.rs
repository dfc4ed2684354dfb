//! What can be told of a key without a lock, and in one access to memory: whether anything is remembered at all,
//! whether it was forgotten since, and whether the key is asked often.
//!
//! Keys that share a stripe share all three. That can cost a lock or a round trip, never an answer.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use tidegate_core::time::{Micros, Timestamp};

/// Stripes, a power of two: 256 KiB.
const STRIPES: usize = 16_384;
/// Asked so often within a span, a key is hot.
const HOT: u32 = 3;
/// Low bits of `asked` that count; the others number the span.
const COUNT_BITS: u32 = 8;
const COUNT_MASK: u32 = (1 << COUNT_BITS) - 1;
/// Low bits of `remembered` that count; the others are the epoch.
const ENTRY_BITS: u32 = 32;
const ENTRY_MASK: u64 = (1 << ENTRY_BITS) - 1;

/// The stripes that keys are spread over.
pub(crate) struct Stripes {
    stripes: Box<[Stripe]>,
    /// A span is 2^shift microseconds.
    shift: u32,
}

/// What the keys of one stripe have in common.
#[derive(Default)]
pub(crate) struct Stripe {
    /// How many entries are remembered, and how often something was forgotten on purpose.
    remembered: AtomicU64,
    /// How often it was asked in a span of time.
    asked: AtomicU32,
}

/// How often keys of a stripe were forgotten on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Epoch(u64);

impl Stripes {
    /// Stripes that count how often they are asked over spans of at most `span`.
    pub(crate) fn new(span: Micros) -> Self {
        let stripes = (0..STRIPES).map(|_| Stripe::default()).collect();
        Self { stripes, shift: span.as_micros().max(1).ilog2() }
    }

    /// The stripe of a key with this hash.
    pub(crate) fn of(&self, hash: u64) -> &Stripe {
        &self.stripes[hash as usize % STRIPES]
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Stripe> {
        self.stripes.iter()
    }

    /// Counts one more request and says whether the stripe is hot. Counts that meet may be lost: nothing hangs on
    /// them.
    pub(crate) fn count(&self, stripe: &Stripe, now: Timestamp) -> bool {
        let span = ((now.as_micros() >> self.shift) as u32) << COUNT_BITS;
        let before = stripe.asked.load(Ordering::Relaxed);
        let count = if before & !COUNT_MASK == span { before & COUNT_MASK } else { 0 };
        if count < COUNT_MASK {
            stripe.asked.store(span | (count + 1), Ordering::Relaxed);
        }
        count + 1 >= HOT
    }
}

impl Stripe {
    /// The epoch, and whether anything is remembered.
    pub(super) fn look(&self) -> (Epoch, bool) {
        let remembered = self.remembered.load(Ordering::Acquire);
        (Epoch(remembered >> ENTRY_BITS), remembered & ENTRY_MASK > 0)
    }

    /// Begins another epoch.
    pub(super) fn forget(&self) {
        self.remembered.fetch_add(1 << ENTRY_BITS, Ordering::AcqRel);
    }

    /// Counts an entry that came to be.
    pub(super) fn added(&self) {
        self.remembered.fetch_add(1, Ordering::AcqRel);
    }

    /// Uncounts an entry that is gone.
    pub(super) fn removed(&self) {
        self.remembered.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_hot_when_it_comes_back_within_the_span() {
        let stripes = Stripes::new(Micros::from_secs(1));
        let at = |span: u64| Timestamp::from_micros((1_767_225_600 << 20) + span * (1 << 19));
        let count = |hash, span| stripes.count(stripes.of(hash), at(span));
        assert_eq!([0; 4].map(|_| count(7, 0)), [false, false, true, true]);
        assert!(!count(8, 0), "another key");
        assert!(!count(7, 1), "the next span");
        assert_eq!([0; 300].map(|_| count(7, 1)).last(), Some(&true), "the count does not wrap");
    }

    #[test]
    fn epochs_and_entries_do_not_touch() {
        let stripe = Stripe::default();
        let (epoch, _) = stripe.look();
        stripe.added();
        assert_eq!(stripe.look(), (epoch, true));
        stripe.forget();
        assert!(stripe.look().0 != epoch && stripe.look().1);
        stripe.removed();
        assert!(stripe.look().0 != epoch && !stripe.look().1);
    }
}
