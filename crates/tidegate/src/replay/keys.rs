//! Counts by partition key, in bounded memory.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap};

#[cfg(test)]
mod tests;

/// The most partition keys counted over all rules.
pub const MAX_KEYS: usize = 1_000_000;

/// The most bytes that the texts of those keys may have together.
pub const MAX_KEYS_TEXT_BYTES: usize = 128 * 1024 * 1024;

/// What happened to one partition key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct KeyCounts {
    /// Requests that the rule was asked about.
    pub(super) evaluated: u64,
    /// Those that it denied.
    pub(super) denied: u64,
    /// Those that it would have denied, were it not in shadow mode.
    pub(super) shadow_denied: u64,
}

/// How much room is left for new keys; shared by the tables of all rules.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyBudget {
    keys: usize,
    text_bytes: usize,
    exhausted: bool,
}

impl KeyBudget {
    /// A budget of that many keys and bytes.
    pub(super) const fn new(keys: usize, text_bytes: usize) -> Self {
        Self { keys, text_bytes, exhausted: false }
    }

    /// Whether a key has been turned away.
    pub(super) const fn exhausted(&self) -> bool {
        self.exhausted
    }

    /// Once a key has been turned away all later ones are, so that what is counted is the keys seen first
    /// and not a mixture that depends on their lengths.
    fn take(&mut self, key: &str) -> bool {
        self.exhausted |= self.keys == 0 || self.text_bytes < key.len();
        if !self.exhausted {
            self.keys -= 1;
            self.text_bytes -= key.len();
        }
        !self.exhausted
    }
}

/// The keys of one rule.
#[derive(Debug, Default)]
pub(super) struct KeyTable {
    counts: HashMap<Box<str>, KeyCounts>,
}

impl KeyTable {
    /// The counts of a key; `None` if it is new and there is no room for it.
    pub(super) fn entry(&mut self, key: &str, budget: &mut KeyBudget) -> Option<&mut KeyCounts> {
        if !self.counts.contains_key(key) {
            if !budget.take(key) {
                return None;
            }
            self.counts.insert(key.into(), KeyCounts::default());
        }
        self.counts.get_mut(key)
    }

    /// How many keys are counted.
    pub(super) fn len(&self) -> usize {
        self.counts.len()
    }

    /// The keys denied most, worst first; equal ones by their text. Keys never denied are left out.
    pub(super) fn top(&self, count: usize) -> Vec<(&str, KeyCounts)> {
        let denied = self.counts.iter().filter(|(_, counts)| counts.denied + counts.shadow_denied > 0);
        top_by(denied.map(|(key, counts)| (&**key, *counts)), count, |a, b| {
            worse_first(&a.1, &b.1).then_with(|| a.0.cmp(b.0))
        })
    }
}

/// Orders by enforced denials, then shadow denials, most first.
pub(super) fn worse_first(a: &KeyCounts, b: &KeyCounts) -> Ordering {
    Reverse((a.denied, a.shadow_denied)).cmp(&Reverse((b.denied, b.shadow_denied)))
}

/// The first `count` items in an order, sorted, without sorting the rest.
pub(super) fn top_by<T>(
    items: impl Iterator<Item = T>,
    count: usize,
    compare: impl Fn(&T, &T) -> Ordering,
) -> Vec<T> {
    struct Ranked<'c, T, C>(T, &'c C);
    impl<T, C: Fn(&T, &T) -> Ordering> PartialEq for Ranked<'_, T, C> {
        fn eq(&self, other: &Self) -> bool {
            self.cmp(other) == Ordering::Equal
        }
    }
    impl<T, C: Fn(&T, &T) -> Ordering> Eq for Ranked<'_, T, C> {}
    impl<T, C: Fn(&T, &T) -> Ordering> PartialOrd for Ranked<'_, T, C> {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }
    impl<T, C: Fn(&T, &T) -> Ordering> Ord for Ranked<'_, T, C> {
        fn cmp(&self, other: &Self) -> Ordering {
            (self.1)(&self.0, &other.0)
        }
    }
    // A max-heap: its top is the last of those kept so far.
    let mut kept = BinaryHeap::new();
    for item in items {
        kept.push(Ranked(item, &compare));
        if kept.len() > count {
            kept.pop();
        }
    }
    kept.into_sorted_vec().into_iter().map(|ranked| ranked.0).collect()
}
