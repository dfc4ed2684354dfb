//! This node's share of every quota, and the buckets that are metered by it while the store does not answer.
//!
//! With N nodes alive, each decides by limit/N and burst/N, rounded down but at least 1, so that all nodes together admit
//! about what the store would have. The share is compiled when it is first needed, and again when the rules or N change;
//! buckets are carried over as at any change of rules, so that neither brings a fresh burst.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::rule::RuleSet;
use tidegate_core::rule::model::{Domain, Queue, Rule, Rules};
use tidegate_core::time::Timestamp;
use tidegate_store::{BucketAddress, BucketStore, MemoryOptions, MemoryStore};

use crate::random::random_seed;

/// Decimal digits of the largest limit: as many can be rounded away.
const LIMIT_DIGITS: u32 = 12;

/// The share of this node and its buckets, made when they are first needed.
pub(crate) struct Local {
    max_bytes: usize,
    nodes: AtomicU32,
    share: ArcSwapOption<Share>,
    /// The buckets under quotas that requests bring themselves.
    ad_hoc: Mutex<Option<Arc<MemoryStore>>>,
    /// Held while a share is made or dropped, so that each succeeds the one before it.
    making: Mutex<()>,
}

/// The rules with this node's part of every quota, and the buckets under them.
pub(crate) struct Share {
    /// The version of the rules this is a share of.
    pub(crate) rules_version: u64,
    nodes: u32,
    pub(crate) rules: Arc<RuleSet>,
    pub(crate) store: Arc<MemoryStore>,
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share")
            .field("rules_version", &self.rules_version)
            .field("nodes", &self.nodes)
            .finish_non_exhaustive()
    }
}

impl Local {
    pub(crate) fn new(max_bytes: usize) -> Self {
        let (nodes, share, making) = (AtomicU32::new(1), ArcSwapOption::empty(), Mutex::new(()));
        Self { max_bytes, nodes, share, ad_hoc: Mutex::default(), making }
    }

    /// How many nodes share the quotas.
    pub(crate) fn set_nodes(&self, nodes: u32) {
        self.nodes.store(nodes.max(1), Ordering::Relaxed);
    }

    /// How many nodes share the quotas, as far as is known.
    pub(crate) fn nodes(&self) -> u32 {
        self.nodes.load(Ordering::Relaxed)
    }

    /// The share of these rules, or of newer ones if somebody has met them already. `None` where it cannot be compiled.
    pub(crate) fn share(&self, rules: &RuleSet, now: Timestamp) -> Option<Arc<Share>> {
        let nodes = self.nodes.load(Ordering::Relaxed);
        let is_usable = |share: &Arc<Share>| {
            share.rules_version > rules.version()
                || (share.rules_version == rules.version() && share.nodes == nodes)
        };
        let known = self.share.load_full();
        if let Some(share) = known.filter(is_usable) {
            return Some(share);
        }
        let _making = self.making.lock();
        let before = self.share.load_full();
        if let Some(share) = before.as_ref().filter(|share| is_usable(share)) {
            return Some(Arc::clone(share));
        }
        let compiled = RuleSet::compile(share_of(rules, nodes)).ok()?;
        let (rules_here, store) = match before {
            Some(before) => (compiled.succeeding(&before.rules, now), Arc::clone(&before.store)),
            None => (compiled, Arc::new(self.new_store())),
        };
        store.rules_changed(&rules_here, now);
        let share =
            Arc::new(Share { rules_version: rules.version(), nodes, rules: Arc::new(rules_here), store });
        self.share.store(Some(Arc::clone(&share)));
        Some(share)
    }

    /// The share of a quota that a request brings itself. Made for every such request: it is asked for only while the store
    /// does not answer.
    pub(crate) fn ad_hoc_share(&self, rules: &RuleSet, now: Timestamp) -> Option<Arc<Share>> {
        let nodes = self.nodes();
        let compiled = Arc::new(RuleSet::compile(share_of(rules, nodes)).ok()?);
        let store = Arc::clone(self.ad_hoc.lock().get_or_insert_with(|| {
            let store = self.new_store();
            store.rules_changed(&compiled, now);
            Arc::new(store)
        }));
        Some(Arc::new(Share { rules_version: rules.version(), nodes, rules: compiled, store }))
    }

    fn new_store(&self) -> MemoryStore {
        MemoryStore::new(&MemoryOptions { max_bytes: self.max_bytes, ..MemoryOptions::new(random_seed()) })
    }

    /// Gives back a permit that this node handed out. True when it was still held.
    pub(crate) fn release(&self, address: &BucketAddress, permit: u64, now: Timestamp) -> bool {
        let share = self.share.load_full().map(|share| Arc::clone(&share.store));
        let mut stores = share.into_iter().chain(self.ad_hoc.lock().clone());
        stores.any(|store| matches!(at_once(store.release(address, permit, now)), Some(Ok(true))))
    }

    /// Forgets all buckets, and gives their memory back.
    pub(crate) fn reset(&self) {
        let _making = self.making.lock();
        self.share.store(None);
        *self.ad_hoc.lock() = None;
    }
}

/// The result of a call to the embedded store, which is done when it is polled first.
pub(crate) fn at_once<T>(call: impl Future<Output = T>) -> Option<T> {
    match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}

fn share_of(rules: &RuleSet, nodes: u32) -> Rules {
    let domains = rules.domains().iter().map(|domain| Domain {
        name: domain.name().to_owned(),
        subject: domain.subject().map(str::to_owned),
        default_tier: domain.default_tier().map(str::to_owned),
        on_store_failure: None,
        rules: domain
            .rules()
            .iter()
            .map(|rule| Rule {
                on_store_failure: rule.on_store_failure(),
                ..rule_share(rule.model(), u64::from(nodes))
            })
            .collect(),
    });
    Rules { domains: domains.collect() }
}

fn rule_share(rule: &Rule, nodes: u64) -> Rule {
    let mut share = rule.clone();
    share.quota = quota_share(rule.algorithm, &rule.quota, nodes);
    for (_, quota) in &mut share.tiers {
        *quota = quota_share(rule.algorithm, quota, nodes);
    }
    share.queue = rule.queue.map(|queue| Queue { max_depth: part(queue.max_depth, nodes), ..queue });
    share
}

/// One of so many equal parts, rounded down; but something of something.
const fn part(whole: u64, parts: u64) -> u64 {
    let part = whole / parts;
    if part == 0 && whole > 0 { 1 } else { part }
}

/// A part of a quota. Where the part cannot be kept exactly it is rounded down to fewer digits: this node then admits a
/// little less than its part.
fn quota_share(algorithm: Algorithm, quota: &Quota, nodes: u64) -> Quota {
    if nodes == 1 {
        return *quota;
    }
    let (limit, burst) = (part(quota.limit(), nodes), part(quota.burst(), nodes));
    let round = |units: u64, digits: u32| {
        let step = 10_u64.pow(digits);
        if units < step { units.min(1) } else { units - units % step }
    };
    let made = |limit: u64, burst: u64| {
        Quota::new(algorithm, limit, quota.window(), algorithm.has_burst().then_some(burst)).ok()
    };
    (0..=LIMIT_DIGITS)
        .find_map(|digits| {
            let (limit, burst) = (round(limit, digits), round(burst, digits));
            // A bucket that would take too long to fill is made no larger than its limit.
            made(limit, burst).or_else(|| made(limit, burst.min(limit)))
        })
        .unwrap_or(*quota)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_core::quota::MAX_WINDOW;
    use tidegate_core::time::Micros;

    const MINUTE: Micros = Micros::from_secs(60);

    fn share(algorithm: Algorithm, limit: u64, burst: Option<u64>, nodes: u64) -> (u64, u64) {
        let quota = Quota::new(algorithm, limit, MINUTE, burst).unwrap();
        let share = quota_share(algorithm, &quota, nodes);
        assert_eq!(share.window(), MINUTE);
        (share.limit(), share.burst())
    }

    #[test]
    fn a_share_is_a_part_rounded_down_but_something_of_something() {
        assert_eq!(share(Algorithm::TokenBucket, 100, None, 3), (33, 33));
        assert_eq!(share(Algorithm::TokenBucket, 100, Some(7), 3), (33, 2));
        assert_eq!(share(Algorithm::TokenBucket, 2, Some(1), 3), (1, 1));
        assert_eq!(share(Algorithm::LeakyBucket, 100, None, 4), (25, 1));
        assert_eq!(share(Algorithm::FixedWindow, 10, None, 3), (3, 3));
        assert_eq!(share(Algorithm::Concurrency, 10, None, 4), (2, 2));
        assert_eq!(share(Algorithm::Concurrency, 3, None, 1_000), (1, 1));
        for algorithm in Algorithm::ALL {
            assert_eq!(share(algorithm, 0, None, 5), (0, 0), "{algorithm}: nothing of nothing");
        }
    }

    #[test]
    fn a_share_that_cannot_be_kept_exactly_is_rounded_down() {
        let most = 1_000_000_000_000;
        let quota = Quota::new(Algorithm::TokenBucket, most, MAX_WINDOW, None).unwrap();
        for nodes in [2, 3, 7, 11, 13, 999, 65_537] {
            let share = quota_share(Algorithm::TokenBucket, &quota, nodes);
            assert!(share.limit() <= most / nodes, "{nodes}: {share:?}");
            assert!(share.limit() > most / nodes / 10, "{nodes}: {share:?}");
        }
        let slow = Quota::new(Algorithm::TokenBucket, 199, MAX_WINDOW, Some(1_900)).unwrap();
        let share = quota_share(Algorithm::TokenBucket, &slow, 100);
        assert_eq!((share.limit(), share.burst()), (1, 1), "19 units would take 190 years to come");
    }
}
