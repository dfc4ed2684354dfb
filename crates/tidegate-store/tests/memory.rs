//! The store's memory: what a key takes, and that no flood makes it grow or spoils the verdicts of keys in use.
//!
//! The bytes are the store's own account; the memory of the process is printed beside it (and checked in release,
//! where the numbers are large enough): `cargo test --release -p tidegate-store --test memory -- --nocapture`.

#![allow(clippy::print_stdout, reason = "measurements are for reading")]

mod common;

use common::{START, apply, peek, plan, resident, rules, store};
use tidegate_core::quota::Algorithm;
use tidegate_core::rule::RuleSet;
use tidegate_core::time::{Micros, Timestamp};
use tidegate_store::MemoryStore;

const HOUR: Micros = Micros::from_secs(3_600);
const MIB: usize = 1 << 20;

/// Debug builds are slow and only need to pass the point where memory is full.
const fn count(release: usize, debug: usize) -> usize {
    if cfg!(debug_assertions) { debug } else { release }
}

fn charge(store: &MemoryStore, rules: &RuleSet, user: &str, now: Timestamp) -> bool {
    apply(store, &plan(rules, &[0], user), now).charged
}

/// One test, so that no other one's memory is counted.
#[test]
fn memory_is_small_and_bounded() {
    bytes_of_a_key();
    flood_of_live_keys();
}

/// At any count a key takes on average at most 64 bytes; a million of them are measured.
fn bytes_of_a_key() {
    let rules = rules(&[(Algorithm::TokenBucket, 100, HOUR)]);
    let before = resident();
    let store = store(1_024 * MIB);
    let keys = count(1_000_000, 100_000);
    let empty = store.stats().bytes;
    for number in 1..=keys {
        assert!(charge(&store, &rules, &format!("user-{number}"), START));
        if number % (keys / 20) == 0 {
            let bytes = (store.stats().bytes - empty) as f64 / number as f64;
            println!("{number} keys: {bytes:.1} bytes a key");
            assert!(bytes <= 64.0 || cfg!(debug_assertions));
        }
    }
    let stats = store.stats();
    assert_eq!((stats.keys, stats.spilled, stats.evicted_live), (keys, 0, 0));
    println!("{keys} keys: {} bytes, process {} bytes", stats.bytes, resident() - before);
}

/// Keys that never come to rest, many more than fit: memory stays within its bound, and keys in use keep theirs.
fn flood_of_live_keys() {
    let rules = rules(&[(Algorithm::TokenBucket, 5, HOUR)]);
    let max_bytes = count(64, 2) * MIB;
    let before = resident();
    let store = store(max_bytes);
    let hot: Vec<String> = (0..100).map(|number| format!("hot-{number}")).collect();
    for user in &hot {
        let passed = (0..7).filter(|_| charge(&store, &rules, user, START)).count();
        assert_eq!(passed, 5);
    }
    let keys = count(5_000_000, 150_000);
    let mut passed = 0_u64;
    for number in 0..keys {
        passed += u64::from(charge(&store, &rules, &format!("flood-{number}"), START));
        if number % (keys / 20) == 0 {
            assert!(store.stats().bytes <= max_bytes, "{:?}", store.stats());
        }
    }
    let (stats, grown) = (store.stats(), resident() - before);
    println!("{keys} distinct keys, {passed} passed: {stats:?}, process {grown} bytes");
    assert!(stats.bytes <= max_bytes && stats.spilled > 0);
    assert_eq!(stats.evicted_live, 0, "coarse buckets were enough");
    assert!(cfg!(debug_assertions) || grown <= max_bytes as u64 * 11 / 10, "{grown} bytes");
    for user in &hot {
        let outcome = peek(&store, &plan(&rules, &[0], user), START);
        assert_eq!(outcome.results[0].gauge.used, 5, "{user} still has its own bucket");
    }
    let later = START.saturating_add(HOUR);
    assert!(hot.iter().all(|user| charge(&store, &rules, user, later)), "and is let in when it is time");
}
