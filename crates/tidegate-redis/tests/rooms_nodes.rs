//! Rooms that three nodes share in Redis, from the visitors' side, while the server forgets everything and nodes go.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod rooms_common;

use std::sync::Arc;
use std::time::Duration;

use rooms_common::{PATIENCE, cluster_url, name, rooms, sentinel_url};
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::room::{Answer, Command, Identity, RoomName, Settings, Spec, Visitor};
use tidegate_core::time::Micros;
use tidegate_redis::RedisRoomLog;
use tidegate_store::rooms::RoomStore;
use tidegate_store::rooms::shared::{NodeId, SharedOptions, SharedRooms};
use tidegate_testkit::{RedisCluster, RedisServer, Sentinels};
use tokio::time::{Instant, sleep};

type Shared = Arc<SharedRooms<RedisRoomLog>>;

async fn nodes(address: &str) -> Vec<Shared> {
    let mut nodes = Vec::new();
    for id in 1..=3 {
        let log = rooms(address).await;
        let clock = log.clock();
        let node = Arc::new(SharedRooms::new(log, NodeId(id), clock, SharedOptions::default()));
        nodes.push(Arc::clone(&node));
        let node = Arc::downgrade(&node);
        tokio::spawn(async move {
            while let Some(node) = node.upgrade() {
                let _ = node.turn().await;
                drop(node);
                sleep(Duration::from_millis(50)).await;
            }
        });
    }
    nodes
}

/// One seat, so that almost everybody waits.
fn settings() -> Settings {
    let release = Quota::new(Algorithm::TokenBucket, 1_000, Micros::from_secs(1), Some(1_000)).unwrap();
    Settings::new(Spec::new(1, release)).unwrap()
}

/// Makes a room, and waits until every node has heard of it.
async fn make(nodes: &[Shared], room: &RoomName) {
    assert_eq!(nodes[0].put(room, &settings()).await, Ok(Answer::Done));
    let begun = Instant::now();
    for node in nodes {
        while node.status(room).await.is_err() {
            assert!(begun.elapsed() < PATIENCE, "a node does not hear of {room}");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Joins until it is told a number.
async fn join(node: &Shared, room: &RoomName, identity: u64) -> u64 {
    let visitor = Visitor { identity: Some(Identity::new(identity)), prefix: None };
    let begun = Instant::now();
    loop {
        match node.ask(room, &Command::Join(visitor)).await {
            Ok(told) => match told.answer {
                Answer::Waiting(waiting) => return waiting.number.get(),
                Answer::Ready(ready) => return ready.number.get(),
                Answer::Admitted(admitted) => return admitted.number.get(),
                other => panic!("{other:?}"),
            },
            Err(error) => assert!(begun.elapsed() < PATIENCE && error.retryable(), "{error}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Visitors join at all nodes by turns; everybody has the number that comes next.
async fn join_all(nodes: &[Shared], room: &RoomName, visitors: std::ops::RangeInclusive<u64>) {
    for identity in visitors {
        let node = &nodes[(identity % nodes.len() as u64) as usize];
        assert_eq!(join(node, room, identity).await, identity);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_forgets_everything_costs_nobody_the_place() {
    let mut server = RedisServer::start();
    let nodes = nodes(&server.url()).await;
    let room = name("sale");
    make(&nodes, &room).await;
    join_all(&nodes, &room, 1..=30).await;
    // Everybody has heard of them.
    sleep(Duration::from_millis(300)).await;
    server.restart();
    join_all(&nodes, &room, 31..=60).await;
    // Those of before have their places still.
    for identity in 1..=60 {
        assert_eq!(join(&nodes[(identity % 3) as usize], &room, identity).await, identity);
    }
}

/// It is away for longer than a lease lasts, and comes back empty.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_empty_after_a_while_costs_nobody_the_place() {
    let mut server = RedisServer::start();
    let nodes = nodes(&server.url()).await;
    let room = name("sale");
    make(&nodes, &room).await;
    join_all(&nodes, &room, 1..=30).await;
    sleep(Duration::from_millis(300)).await;
    server.kill();
    sleep(Duration::from_secs(5)).await;
    server.restart();
    sleep(Duration::from_secs(2)).await;
    join_all(&nodes, &room, 31..=60).await;
    for identity in 1..=60 {
        assert_eq!(join(&nodes[(identity % 3) as usize], &room, identity).await, identity);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_and_a_keeper_that_goes_cost_nobody_the_place() {
    let mut group = Sentinels::start();
    let mut nodes = nodes(&sentinel_url(&group)).await;
    let room = name("sale");
    make(&nodes, &room).await;
    join_all(&nodes, &room, 1..=20).await;
    let killed = group.kill_primary();
    group.wait_for_failover(killed, PATIENCE);
    join_all(&nodes, &room, 21..=40).await;
    // It kept the room.
    drop(nodes.remove(0));
    join_all(&nodes, &room, 41..=60).await;
    for identity in 1..=60 {
        assert_eq!(join(&nodes[(identity % 2) as usize], &room, identity).await, identity);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_a_cluster_share_rooms() {
    let cluster = RedisCluster::start(3, 0);
    let nodes = nodes(&cluster_url(&cluster)).await;
    for room in ["one", "two", "three", "four"].map(name) {
        make(&nodes, &room).await;
        join_all(&nodes, &room, 1..=20).await;
    }
}
