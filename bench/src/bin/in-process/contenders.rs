//! Who is measured. Each decides one request of one unit for a key that is handed to it.

use std::num::NonZeroU32;
use std::pin::pin;

use anyhow::anyhow;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use hashbrown::HashTable;
use parking_lot::Mutex;
use siphasher::sip128::SipHasher13;
use tidegate_bench::keys::PREFIX;
use tidegate_bench::subject::{self, DOMAIN, HOURLY_LIMIT, LARGE_BURST, Load, at_once};
use tidegate_core::rule::{CompiledRule, Metered, RuleSet};
use tidegate_engine::{Clock, Engine, Request, SystemClock};
use tidegate_store::{Applied, BucketStore, DEFAULT_MEMORY_BYTES, MemoryStore, Plan};

/// Decides one request.
pub(crate) trait Contender: Send + Sync + 'static {
    /// Whether the request of this key may pass.
    #[expect(clippy::ptr_arg, reason = "governor takes the key as it stores it; nobody is handed less")]
    fn passes(&self, key: &String) -> bool;
}

/// What is neither decided nor stored: the cost of making the key.
pub(crate) struct KeyOnly;

impl Contender for KeyOnly {
    fn passes(&self, key: &String) -> bool {
        std::hint::black_box(key.as_bytes()).len() > PREFIX.len()
    }
}

/// Making the key and reading the clock, which every decision needs.
pub(crate) struct KeyAndClock(pub(crate) SystemClock);

impl Contender for KeyAndClock {
    fn passes(&self, key: &String) -> bool {
        std::hint::black_box(self.0.now());
        std::hint::black_box(key.as_bytes()).len() > PREFIX.len()
    }
}

/// governor with its default store (dashmap) and default clock (quanta, the time-stamp counter).
pub(crate) struct Governor(DefaultKeyedRateLimiter<String>);

impl Governor {
    pub(crate) fn new(load: Load) -> anyhow::Result<Self> {
        let number = |number| NonZeroU32::new(number).ok_or_else(|| anyhow!("a quota of nothing"));
        let quota = match load {
            Load::Passes => Quota::per_hour(number(HOURLY_LIMIT)?).allow_burst(number(LARGE_BURST)?),
            Load::Denied => Quota::per_hour(number(1)?),
        };
        Ok(Self(RateLimiter::keyed(quota)))
    }
}

impl Contender for Governor {
    fn passes(&self, key: &String) -> bool {
        self.0.check_key(key).is_ok()
    }
}

/// Tidegate's whole decision: match, plan, apply, verdict.
pub(crate) struct OneRule(pub(crate) Engine<MemoryStore>);

impl OneRule {
    pub(crate) fn new(load: Load) -> anyhow::Result<Self> {
        Ok(Self(subject::engine(vec![subject::rule_per("client_id", load)?])?))
    }
}

impl Contender for OneRule {
    fn passes(&self, key: &String) -> bool {
        let entries = [("client_id", key.as_str())];
        at_once(pin!(self.0.decide(&Request::new(DOMAIN, &entries))))
            .is_ok_and(|decision| decision.is_allowed())
    }
}

/// A hierarchy: user, address (shared by ten users) and tenant (by a hundred), decided in one step.
pub(crate) struct ThreeRules(Engine<MemoryStore>);

impl ThreeRules {
    pub(crate) fn new(load: Load) -> anyhow::Result<Self> {
        let entries = ["client_id", "client_ip", "tenant"];
        let rules: anyhow::Result<_> =
            entries.into_iter().map(|entry| subject::rule_per(entry, load)).collect();
        Ok(Self(subject::engine(rules?)?))
    }
}

impl Contender for ThreeRules {
    fn passes(&self, key: &String) -> bool {
        let shared_by_ten = key.get(..key.len() - 1).unwrap_or_default();
        let shared_by_hundred = key.get(..key.len() - 2).unwrap_or_default();
        let entries =
            [("client_id", key.as_str()), ("client_ip", shared_by_ten), ("tenant", shared_by_hundred)];
        at_once(pin!(self.0.decide(&Request::new(DOMAIN, &entries))))
            .is_ok_and(|decision| decision.is_allowed())
    }
}

/// Tidegate's store without the engine: the rule is known, nothing is matched.
pub(crate) struct StoreAlone {
    rules: RuleSet,
    store: MemoryStore,
    clock: SystemClock,
}

impl StoreAlone {
    pub(crate) fn new(load: Load) -> anyhow::Result<Self> {
        let rules = subject::compile(vec![subject::rule_per("client_id", load)?])?;
        Ok(Self { rules, store: subject::store(DEFAULT_MEMORY_BYTES), clock: SystemClock::new() })
    }

    fn rule(&self) -> Option<(&CompiledRule, &Metered)> {
        let rule = self.rules.domains().first()?.rule(0)?;
        Some((rule, rule.metered(None)))
    }
}

impl Contender for StoreAlone {
    fn passes(&self, key: &String) -> bool {
        let Some((rule, metered)) = self.rule() else { return false };
        let mut plan = Plan::new(1);
        plan.add(rule, metered, 0, &[("client_id", key.as_str())]);
        let applied = at_once(pin!(self.store.apply(&plan, self.clock.now())));
        matches!(applied, Ok(Applied::Decided(outcome)) if outcome.charged)
    }
}

/// Locks of [`BareMap`].
const SHARDS: usize = 64;

/// What a concurrent map costs at the least: 64 locks, a 128-bit keyed fingerprint, the cell rate algorithm inline.
/// No rules, no bound, no expiry, no header figures.
pub(crate) struct BareMap {
    shards: Vec<Mutex<HashTable<Cell>>>,
    hasher: SipHasher13,
    clock: SystemClock,
    interval: u64,
    tolerance: u64,
}

#[derive(Clone, Copy)]
struct Cell {
    fingerprint: [u64; 2],
    /// Theoretical arrival time, µs.
    arrival: u64,
}

impl BareMap {
    pub(crate) fn new(load: Load) -> Self {
        let (limit, burst) = match load {
            Load::Passes => (u64::from(HOURLY_LIMIT), u64::from(LARGE_BURST)),
            Load::Denied => (1, 1),
        };
        let interval = 3_600_000_000 / limit;
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(HashTable::new())).collect(),
            hasher: SipHasher13::new_with_keys(fastrand::u64(..), fastrand::u64(..)),
            clock: SystemClock::new(),
            interval,
            tolerance: interval * burst,
        }
    }
}

impl Contender for BareMap {
    fn passes(&self, key: &String) -> bool {
        let (high, low) = self.hasher.hash(key.as_bytes()).as_u64();
        let fingerprint = [high, low];
        let now = self.clock.now().as_micros();
        let mut shard = self.shards[low as usize % SHARDS].lock();
        let entry = shard.entry(high, |cell| cell.fingerprint == fingerprint, |cell| cell.fingerprint[0]);
        let cell = entry.or_insert(Cell { fingerprint, arrival: now }).into_mut();
        let next = cell.arrival.max(now) + self.interval;
        let passes = next - now <= self.tolerance;
        if passes {
            cell.arrival = next;
        }
        passes
    }
}
