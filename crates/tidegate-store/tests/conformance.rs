//! The memory store keeps every promise of the port: the suite, and longer traces than other stores can afford.
//! Also with hardly any shards, and short of memory it still agrees with itself.

#![cfg(feature = "conformance")]

mod common;

use common::{SEED, ready, store};
use tidegate_store::conformance::{Trace, run_all, run_trace};
use tidegate_store::{DEFAULT_MEMORY_BYTES, MemoryOptions, MemoryStore};

#[test]
fn the_memory_store_keeps_every_promise() {
    ready(run_all(|| async { store(DEFAULT_MEMORY_BYTES) }));
}

#[test]
fn a_single_shard_makes_no_difference() {
    let options = MemoryOptions { shards: Some(1), ..MemoryOptions::new(SEED) };
    ready(run_all(|| async { MemoryStore::new(&options) }));
}

#[test]
fn long_random_traces_agree_with_the_model() {
    for algorithm in Trace::ALGORITHMS {
        for seed in 100..110 {
            println!("{algorithm:?}, seed {seed}");
            ready(run_trace(&store(DEFAULT_MEMORY_BYTES), Trace { algorithm, seed, operations: 3_000 }));
        }
    }
}
