//! Any bytes are restored or refused, and a store that was restored keeps its bounds and goes on deciding, whatever
//! its states say: a checksum tells that a snapshot is whole, not that a sane program wrote it.
//!
//! The input is taken twice: as a snapshot, and as changes of a good one (two bytes for the place, one for the new
//! value), which then gets the checksum that belongs to it.

use std::future::Future;
use std::hash::Hasher;
use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};

use siphasher::sip128::{Hasher128, SipHasher13};
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::rule::model::{Domain, Rule, Rules};
use tidegate_core::rule::{CompiledRule, RuleSet};
use tidegate_core::time::{Micros, Timestamp};
use tidegate_store::{
    Applied, BucketStore, MIN_MEMORY_BYTES, MemoryOptions, MemoryStore, Plan, UnknownRevisions,
};

const TAKEN_AT: Timestamp = Timestamp::from_micros(1_780_000_000_000_000);
/// Bytes of the checksum, at the end of a snapshot.
const CHECKSUM_BYTES: usize = 16;
/// Where the seed stands in a snapshot, behind magic and version.
const SEED_AT: usize = 12;
/// Bytes of a place and a new value.
const CHANGE_BYTES: usize = 3;
/// What a store may take above its maximum while a table is resized, in bytes.
const RESIZE_BYTES: usize = 1 << 20;
const USERS: [&str; 3] = ["ann", "bob", "eve"];

static RULES: LazyLock<RuleSet> = LazyLock::new(|| {
    let rule = |algorithm| {
        let quota = Quota::new(algorithm, 7, Micros::from_secs(60), None).ok()?;
        Some(Rule::new(format!("{algorithm:?}"), algorithm, quota).with_key(["user"]))
    };
    let rules = Algorithm::ALL.into_iter().filter_map(rule).collect();
    RuleSet::compile(Rules { domains: vec![Domain::new("d", rules)] }).unwrap_or_default()
});

/// What a store of three users writes after some requests.
static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let store = MemoryStore::new(&options());
    for user in USERS.into_iter().chain(["ann"]) {
        for rule in rules() {
            serve(&store, rule, user, TAKEN_AT);
        }
    }
    written(&store, TAKEN_AT)
});

pub(crate) fn holds(data: &[u8]) {
    restored(data, TAKEN_AT);

    let mut changed = GOOD.clone();
    changed.truncate(changed.len() - CHECKSUM_BYTES);
    for change in data.chunks_exact(CHANGE_BYTES) {
        let [low, high, value] = *change else { continue };
        let place = usize::from(u16::from_le_bytes([low, high])) % changed.len();
        changed[place] = value;
    }
    let checksum = checksum(&changed);
    changed.extend(checksum);
    if changed == *GOOD {
        let store = MemoryStore::restore(&*changed, &options(), TAKEN_AT);
        let everything = USERS.len() * rules().len();
        assert!(store.is_ok_and(|store| store.stats().keys == everything), "a good snapshot is restored");
    }
    for later in [0, 30, 61, 1_000_000_000] {
        restored(&changed, TAKEN_AT.saturating_add(Micros::from_secs(later)));
    }
}

/// If the snapshot can be restored at `now`, the store serves.
fn restored(snapshot: &[u8], now: Timestamp) {
    let Ok(store) = MemoryStore::restore(snapshot, &options(), now) else { return };
    within_bounds(&store);
    let again = MemoryStore::restore(&*written(&store, now), &options(), now);
    assert!(again.is_ok_and(|again| again.stats().keys <= store.stats().keys), "its own snapshot is refused");
    for user in USERS {
        for rule in rules() {
            serve(&store, rule, user, now);
        }
    }
    within_bounds(&store);
    store.sweep(now.saturating_add(Micros::from_secs(3_600)), usize::MAX);
    within_bounds(&store);
}

fn within_bounds(store: &MemoryStore) {
    let stats = store.stats();
    assert!(stats.bytes <= stats.max_bytes + RESIZE_BYTES, "{stats:?}");
}

/// Everything that can be asked of a bucket.
fn serve(store: &MemoryStore, rule: &CompiledRule, user: &str, now: Timestamp) {
    let mut plan = Plan::new(1);
    plan.permit = 7;
    plan.add(rule, rule.metered(None), 0, &[("user", user)]);
    let address = plan.buckets().first().map(|bucket| store.address(&plan, bucket));
    for unknown in [UnknownRevisions::Refuse, UnknownRevisions::Adopt] {
        plan.unknown_revisions = unknown;
        let _ = ready(store.peek(&plan, now));
        let _ = ready(store.refund(&plan, now));
        if let Ok(Applied::Decided(outcome)) = ready(store.apply(&plan, now)) {
            let _ = ready(store.withdraw(&plan, &outcome, now));
        }
        let _ = ready(store.apply(&plan, now));
    }
    if let Some(address) = address {
        let _ = ready(store.release(&address, 8, now));
    }
}

fn rules() -> &'static [CompiledRule] {
    RULES.domain("d").map_or(&[], |domain| domain.rules())
}

fn options() -> MemoryOptions {
    MemoryOptions { max_bytes: MIN_MEMORY_BYTES, shards: Some(1), ..MemoryOptions::new([1, 2]) }
}

fn written(store: &MemoryStore, now: Timestamp) -> Vec<u8> {
    let mut snapshot = Vec::new();
    let result = store.write_snapshot(&mut snapshot, now);
    assert!(result.is_ok(), "{result:?}");
    snapshot
}

/// The checksum of a snapshot's other bytes, under the seed that it holds.
fn checksum(snapshot: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let word = |at| {
        snapshot.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u64::from_le_bytes(*word))
    };
    let mut hasher = SipHasher13::new_with_keys(word(SEED_AT), word(SEED_AT + size_of::<u64>()));
    hasher.write(snapshot);
    hasher.finish128().as_bytes()
}

/// The output of a future of the memory store, which never waits.
fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("the memory store never waits"),
    }
}
