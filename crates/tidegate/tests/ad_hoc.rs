//! Goal: quotas that requests bring are exact in Redis too, over several nodes, whatever the numbers were before.
//! Method: a real server; engines with everything in front of their stores that `serve` puts there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::rule::RuleSet;
use tidegate_core::time::Micros;
use tidegate_engine::{Decision, Engine, FastAnswers, FastOptions};
use tidegate_redis::{RedisOptions, RedisSettings, RedisStore};
use tidegate_testkit::RedisServer;

type Node = Engine<FastAnswers<RedisStore>>;

async fn node(server: &RedisServer, layout: &str) -> Node {
    let address = format!("{}?layout={layout}", server.url());
    let settings =
        RedisSettings::parse(&address).unwrap().with_call_deadline(Duration::from_secs(10)).unwrap();
    let store = RedisStore::new(&settings, RedisOptions::default()).unwrap();
    store.wait_until_tried().await;
    Engine::new(RuleSet::default(), FastAnswers::new(store, &FastOptions::new([1, 2])))
}

fn quota(count: u64, period_s: u64, burst: u64) -> Quota {
    Quota::new(Algorithm::TokenBucket, count, Micros::from_secs(period_s), Some(burst)).unwrap()
}

async fn throttle(node: &Node, key: &str, quota: Quota) -> Decision {
    let ad_hoc = node.ad_hoc("f", Algorithm::TokenBucket, quota).unwrap();
    node.throttle(&ad_hoc, key, 1).await.unwrap()
}

async fn exact(layout: &str) {
    let server = RedisServer::start();
    let nodes = [node(&server, layout).await, node(&server, layout).await];
    // Nothing comes back during the test.
    let burst = 100;
    let mut tasks = Vec::new();
    for task in 0..40_u64 {
        let node = nodes[task as usize % 2].clone();
        tasks.push(tokio::spawn(async move {
            let mut allowed = 0;
            for call in 0..10 {
                // The same rate, and other rates that mean nothing in so short a time; all continue one bucket.
                let count = 1 + (task + call) % 2;
                allowed +=
                    u64::from(throttle(&node, "k", quota(count, count * 36_000, burst)).await.is_allowed());
            }
            allowed
        }));
    }
    let mut allowed = 0;
    for task in tasks {
        allowed += task.await.unwrap();
    }
    assert_eq!(allowed, burst, "{layout}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_together_get_exactly_the_burst() {
    exact("plain").await;
    exact("packed").await;
}

#[tokio::test]
async fn other_numbers_continue_the_bucket_as_it_is() {
    for layout in ["plain", "packed"] {
        let server = RedisServer::start();
        let node = node(&server, layout).await;
        for _ in 0..5 {
            assert!(throttle(&node, "k", quota(1, 60, 10)).await.is_allowed());
        }
        // Five minutes from rest: at a unit in 100 seconds that is three of four; at seven in an hour it is kept otherwise.
        let slower = throttle(&node, "k", quota(1, 100, 4)).await;
        assert!(slower.is_allowed(), "{layout}");
        assert!(!throttle(&node, "k", quota(1, 100, 4)).await.is_allowed(), "{layout}");
        let other = throttle(&node, "k", quota(17, 3_600, 100)).await;
        let gauge = other.binding().unwrap().gauge;
        let rest = gauge.reset_after.as_secs_ceil();
        assert!((600..=612).contains(&rest) && other.is_allowed(), "{layout}: {gauge:?}");
        assert!(throttle(&node, "other", quota(1, 60, 10)).await.binding().unwrap().gauge.remaining == 9);
    }
}
