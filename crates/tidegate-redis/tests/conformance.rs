//! The suite that every store runs, on real servers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidegate_redis::{RedisOptions, RedisSettings, RedisStore, StoreClock};
use tidegate_store::conformance::{Trace, run_all, run_trace};
use tidegate_testkit::{RedisCluster, RedisServer};

/// Operations per algorithm in a long trace; TIDEGATE_OPERATIONS overrides it.
const OPERATIONS: usize = 4_000;

fn from_environment(name: &str, otherwise: u64) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a test's seed and length are told by its environment")]
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// A store of its own on these servers: another prefix. Time is the test's, and nothing may be too slow for it.
async fn store(address: &str, options: RedisOptions) -> RedisStore {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let settings = RedisSettings::parse(address)
        .unwrap()
        .with_call_deadline(Duration::from_secs(10))
        .unwrap()
        .with_key_prefix(&format!("p{}:", NUMBER.fetch_add(1, Ordering::Relaxed)))
        .unwrap();
    let store = RedisStore::new(&settings, RedisOptions { clock: StoreClock::Caller, ..options }).unwrap();
    store.wait_until_tried().await;
    store
}

async fn long_traces(address: &str, options: RedisOptions) {
    let seed = from_environment("TIDEGATE_SEED", fastrand::u64(..));
    let operations = from_environment("TIDEGATE_OPERATIONS", OPERATIONS as u64) as usize;
    println!("TIDEGATE_SEED={seed} TIDEGATE_OPERATIONS={operations}");
    for algorithm in Trace::ALGORITHMS {
        run_trace(&store(address, options).await, Trace { algorithm, seed, operations }).await;
    }
}

#[tokio::test]
async fn one_server_keeps_every_promise() {
    let server = RedisServer::start();
    let address = server.url();
    run_all(|| store(&address, RedisOptions::default())).await;
    long_traces(&address, RedisOptions::default()).await;
}

#[tokio::test]
async fn without_acceleration_every_promise_is_kept_too() {
    let server = RedisServer::start();
    let address = server.url();
    let plain = RedisOptions { coalesce: false, batch: false, witness: false, ..RedisOptions::default() };
    run_all(|| store(&address, plain)).await;
}

#[tokio::test]
async fn a_cluster_keeps_every_promise() {
    let cluster = RedisCluster::start(3, 0);
    let address = cluster.urls().first().unwrap().replace("redis://", "redis+cluster://");
    run_all(|| store(&address, RedisOptions::default())).await;
    long_traces(&address, RedisOptions::default()).await;
}
