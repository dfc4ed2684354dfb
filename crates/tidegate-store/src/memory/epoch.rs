//! Which buckets may be dropped because they are at rest, also after rules have changed.
//!
//! An entry says when it is at rest under the rule it was written under. A rule that changed before that instant
//! carries the state on, perhaps at a slower pace: the bucket must be kept, or it would start afresh. Entries
//! therefore bear the number of the epoch they were written in, and every change of rules begins a new one.

use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_core::rule::{CompiledRule, RuleSet};
use tidegate_core::time::Timestamp;

use super::entry::{EPOCHS, Entry};

#[derive(Default)]
pub(super) struct Epochs {
    current: AtomicU64,
    /// When every bucket that was written in an earlier epoch is at rest, µs.
    earlier_rest: AtomicU64,
    /// When each epoch ended, µs. A number is used again after `EPOCHS` changes; should a bucket have waited through
    /// all of them, it counts as written lately, and at most one burst too many passes.
    ended: [AtomicU64; EPOCHS as usize],
}

impl Epochs {
    /// The mark of entries that are written now.
    pub(super) fn mark(&self) -> u64 {
        self.current.load(Ordering::Relaxed) % EPOCHS
    }

    /// Begins a new epoch, in which these rules hold from `at` on.
    pub(super) fn begin(&self, rules: &RuleSet, at: Timestamp) {
        let all = rules.domains().iter().flat_map(|domain| domain.rules());
        let rest = all.map(|rule| rests_after(rule, at).as_micros()).max().unwrap_or_default();
        self.earlier_rest.fetch_max(rest, Ordering::Relaxed);
        if let Some(ended) = self.ended.get(self.mark() as usize) {
            ended.store(at.as_micros(), Ordering::Relaxed);
        }
        self.current.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether nothing is lost when an entry is dropped at `now`.
    pub(super) fn may_drop(&self, entry: &Entry, now: Timestamp) -> bool {
        entry.is_at_rest(now) && (entry.epoch() == self.mark() || self.rested_before(entry, now))
    }

    fn rested_before(&self, entry: &Entry, now: Timestamp) -> bool {
        let ended = self.ended.get(entry.epoch() as usize).map_or(0, |ended| ended.load(Ordering::Relaxed));
        entry.rest() <= ended || self.earlier_rest.load(Ordering::Relaxed) <= now.as_micros()
    }
}

/// When any bucket of a rule is at rest, were it full at `at`.
fn rests_after(rule: &CompiledRule, at: Timestamp) -> Timestamp {
    let tiers = rule.model().tiers.iter().map(|(name, _)| rule.metered(Some(name)));
    let all = core::iter::once(rule.metered(None)).chain(tiers);
    let rest = all.map(|metered| metered.meter.rest_at(&metered.meter.fullest(at)));
    rest.max().unwrap_or(at)
}
