//! What revisions meant, over a restart.
//!
//! A bucket names the revision of its quota, and a rule knows its revisions as long as the process lives. A snapshot
//! therefore says how each quota in force was metered; a later process, whose rules may have changed meanwhile, reads
//! an unknown revision by that, and carries what it says to the present rule.

use std::collections::HashMap;

use parking_lot::Mutex;
use tidegate_core::algorithm::Meter;
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::rule::{Revision, RuleSet};
use tidegate_core::time::Micros;

/// The most quotas of a book; further ones are not written down.
pub(super) const MAX_QUOTAS: usize = 1 << 20;

/// A quota in five words: revision, algorithm, limit, window in µs, burst.
pub(super) type QuotaWords = [u64; 5];

#[derive(Default)]
pub(super) struct Book {
    /// The quotas in force, to be written into a snapshot.
    present: Mutex<Vec<QuotaWords>>,
    /// What revisions meant before the last restart; nothing for one that meant different things in different rules.
    earlier: Mutex<HashMap<u32, Option<Meter>>>,
}

impl Book {
    /// Notes the quotas of the rules in force.
    pub(super) fn note(&self, rules: &RuleSet) {
        let mut present = Vec::new();
        for rule in rules.domains().iter().flat_map(|domain| domain.rules()) {
            for index in 0..=rule.model().tiers.len() {
                let metered = rule.metered_at(index);
                let (algorithm, quota) = (metered.meter.algorithm(), metered.meter.quota());
                let number = Algorithm::ALL.iter().position(|known| *known == algorithm).unwrap_or_default();
                let window = quota.window().as_micros();
                present.push([
                    u64::from(metered.revision.number()),
                    number as u64,
                    quota.limit(),
                    window,
                    quota.burst(),
                ]);
            }
        }
        present.sort_unstable();
        present.dedup();
        present.truncate(MAX_QUOTAS);
        *self.present.lock() = present;
    }

    /// The quotas in force.
    pub(super) fn quotas(&self) -> Vec<QuotaWords> {
        self.present.lock().clone()
    }

    /// Learns what a revision meant. False when no quota can be like that.
    pub(super) fn learn(&self, [revision, algorithm, limit, window, burst]: QuotaWords) -> bool {
        let algorithm = usize::try_from(algorithm).ok().and_then(|index| Algorithm::ALL.get(index).copied());
        let (Ok(revision), Some(algorithm)) = (u32::try_from(revision), algorithm) else { return false };
        let burst = algorithm.has_burst().then_some(burst);
        let Ok(quota) = Quota::new(algorithm, limit, Micros::from_micros(window), burst) else {
            return false;
        };
        let meter = Meter::new(algorithm, quota, None);
        let mut earlier = self.earlier.lock();
        if earlier.len() >= MAX_QUOTAS {
            return true;
        }
        let known = earlier.entry(revision).or_insert_with(|| Some(meter.clone()));
        if known.as_ref().is_some_and(|known| !known.shares_state_with(&meter)) {
            *known = None;
        }
        true
    }

    /// How a revision was metered before the last restart.
    pub(super) fn meter_of(&self, revision: Revision) -> Option<Meter> {
        self.earlier.lock().get(&revision.number()).cloned().flatten()
    }
}
