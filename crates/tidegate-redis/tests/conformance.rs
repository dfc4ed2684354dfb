//! The suite that every store runs, on real servers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says its seed"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidegate_redis::{RedisOptions, RedisSettings, RedisStore, StoreClock};
use tidegate_store::BucketStore;
use tidegate_store::conformance::{Trace, run_all, run_trace};
use tidegate_testkit::{RedisCluster, RedisOptions as ServerOptions, RedisServer};

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
        .with_key_prefix(&format!("t{}:", NUMBER.fetch_add(1, Ordering::Relaxed)))
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
async fn the_packed_layout_keeps_every_promise() {
    let server = RedisServer::start();
    // Hashes with many buckets each, and hashes whose keys end in a part of a byte.
    for layout in ["packed:8", "packed:13"] {
        let address = format!("{}?layout={layout}", server.url());
        run_all(|| store(&address, RedisOptions::default())).await;
        long_traces(&address, RedisOptions::default()).await;
    }
}

#[tokio::test]
async fn a_cluster_with_the_packed_layout_keeps_every_promise() {
    let cluster = RedisCluster::start(3, 0);
    let address = cluster.urls().first().unwrap().replace("redis://", "redis+cluster://");
    let address = format!("{address}?layout=packed");
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

#[tokio::test]
async fn the_user_that_the_documents_recommend_may_do_what_is_needed() {
    let page = include_str!("../../../docs/operations/shared-store.md");
    let block =
        page.split("user tidegate on >secret").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let rights = block.split_whitespace().collect::<Vec<_>>().join(" ");
    let users = format!("user admin on >admin ~* &* +@all\nuser tidegate on >secret {rights}\n");
    let server = RedisServer::with(&ServerOptions::new().acl(&users, "admin", "admin"));
    let address = format!("redis://tidegate:secret@{}", server.address());
    run_all(|| store(&address, RedisOptions::default())).await;
    let store = store(&address, RedisOptions::default()).await;
    assert_eq!(store.present(1).await, Ok(1));
    assert_eq!(store.probe().await, Ok(()));
    let log = server.command(&["ACL", "LOG"]);
    assert_eq!(log.items().len(), 0, "nothing was refused: {log:?}");
}
