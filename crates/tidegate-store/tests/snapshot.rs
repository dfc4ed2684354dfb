//! Snapshots: everything comes back, nothing is half loaded, and no damage makes reading panic.

#![allow(clippy::unwrap_used, reason = "only tests use it")]

mod common;

use std::path::{Path, PathBuf};

use common::{SEED, START, apply, peek, plan, rules, store};
use tidegate_core::quota::Algorithm;
use tidegate_core::rule::RuleSet;
use tidegate_core::time::Micros;
use tidegate_store::{MIN_MEMORY_BYTES, MemoryOptions, MemoryStore, SnapshotError};

const EVERY_RULE: [usize; 6] = [0, 1, 2, 3, 4, 5];

fn every_algorithm() -> RuleSet {
    rules(&Algorithm::ALL.map(|algorithm| (algorithm, 50, Micros::from_secs(60))))
}

fn filled(rules: &RuleSet, users: u64) -> MemoryStore {
    let store = store(MIN_MEMORY_BYTES * 16);
    for number in 0..users {
        for place in EVERY_RULE {
            for charge in 0..=number % 5 {
                let mut plan = plan(rules, &[place], &format!("user-{number}"));
                plan.permit = number * 10 + charge;
                apply(&store, &plan, START.saturating_add(Micros::from_micros(charge)));
            }
        }
    }
    store
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn written(store: &MemoryStore) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.write_snapshot(&mut bytes, START).unwrap();
    bytes
}

fn restored(bytes: &[u8]) -> Result<MemoryStore, SnapshotError> {
    MemoryStore::restore(bytes, &MemoryOptions { shards: Some(7), ..MemoryOptions::new([9, 9]) }, START)
}

#[test]
fn every_bucket_comes_back_from_a_file() {
    let rules = every_algorithm();
    let store = filled(&rules, 500);
    let path = file("every_bucket.snapshot");
    store.save_to(&path, START).unwrap();
    store.save_to(&path, START).unwrap();
    let options = MemoryOptions { shards: Some(3), ..MemoryOptions::new([1, 1]) };
    let loaded = MemoryStore::load_from(&path, &options, START).unwrap();
    assert_eq!(loaded.stats().keys, store.stats().keys);
    for number in 0..500 {
        let plan = plan(&rules, &EVERY_RULE, &format!("user-{number}"));
        let now = START.saturating_add(Micros::from_millis(number));
        assert_eq!(peek(&loaded, &plan, now), peek(&store, &plan, now));
        assert_eq!(apply(&loaded, &plan, now), apply(&store, &plan, now));
    }
    assert!(!file("every_bucket.snapshot.tmp").exists());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "the seed is nobody else's business");
    }
}

#[test]
fn what_is_at_rest_is_left_out() {
    let rules = every_algorithm();
    let store = filled(&rules, 100);
    let later = START.saturating_add(Micros::from_secs(3_600));
    let mut bytes = Vec::new();
    store.write_snapshot(&mut bytes, later).unwrap();
    assert!(bytes.len() < 100, "{} bytes", bytes.len());
    let bytes = written(&store);
    // Written before it was at rest, it is loaded: by the rules of the next start it may not be. A sweep drops it.
    let loaded = MemoryStore::restore(&bytes[..], &MemoryOptions::new(SEED), later).unwrap();
    assert!(loaded.stats().keys > 0);
    while loaded.sweep(later, 1 << 20).dropped > 0 {}
    assert_eq!(loaded.stats().keys, 0);
}

#[test]
fn a_snapshot_too_large_for_the_store_is_loaded_as_far_as_it_fits() {
    let rules = rules(&[(Algorithm::TokenBucket, 5, Micros::from_secs(3_600))]);
    let large = store(MIN_MEMORY_BYTES * 16);
    for number in 0..60_000 {
        apply(&large, &plan(&rules, &[0], &format!("user-{number}")), START);
    }
    let bytes = written(&large);
    let options = MemoryOptions { max_bytes: MIN_MEMORY_BYTES, ..MemoryOptions::new(SEED) };
    let small = MemoryStore::restore(&bytes[..], &options, START).unwrap();
    let stats = small.stats();
    assert!(stats.bytes <= MIN_MEMORY_BYTES && stats.keys > 5_000, "{stats:?}");
    assert_eq!(stats.keys as u64 + stats.evicted_live, 60_000);
}

/// Every cut, and a flip of every bit, of a snapshot with every kind of record.
#[test]
fn damage_is_found_wherever_it_is() {
    let bytes = written(&filled(&every_algorithm(), 6));
    assert!(restored(&bytes).is_ok());
    for length in 0..bytes.len() {
        assert!(restored(&bytes[..length]).is_err(), "cut to {length} bytes");
    }
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let error = restored(&damaged).expect_err("damage");
        match (bit / 8, error) {
            (0..8, SnapshotError::NotASnapshot)
            | (8..12, SnapshotError::UnknownVersion { .. })
            | (12.., SnapshotError::Damaged(_)) => {}
            (byte, error) => panic!("byte {byte}: {error}"),
        }
    }
}

#[test]
fn what_is_no_snapshot_is_named_as_such() {
    assert!(matches!(restored(b""), Err(SnapshotError::NotASnapshot)));
    assert!(matches!(restored(&[0; 4_096]), Err(SnapshotError::NotASnapshot)));
    let options = MemoryOptions::new(SEED);
    let missing = MemoryStore::load_from(&file("there is none"), &options, START);
    assert!(matches!(missing, Err(SnapshotError::Io(_))));
    assert!(matches!(store(0).save_to(Path::new("/dev/null/x"), START), Err(SnapshotError::Io(_))));
}
