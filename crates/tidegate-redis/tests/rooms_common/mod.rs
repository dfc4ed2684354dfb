//! What the tests of rooms share.

#![allow(dead_code, reason = "every test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "only tests use it")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_core::room::RoomName;
use tidegate_core::time::Timestamp;
use tidegate_redis::{RedisRoomLog, RedisSettings};
use tidegate_store::conformance::room_log::Node;
use tidegate_store::rooms::shared::{Append, Appended, Heard, LogError, NodeId, RoomLog};
use tidegate_testkit::{RedisCluster, Sentinels};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep, timeout};

/// Longer than anything should take that is not meant to fail; these machines are busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// A lease that does not end in a test.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// What a clock of a node shows that knows no server.
pub(crate) const LOCAL: Timestamp = Timestamp::from_micros(1_000_000);

/// Rooms at an address, as one node sees them.
pub(crate) async fn rooms(address: &str) -> RedisRoomLog {
    let settings = RedisSettings::parse(address).unwrap().with_call_deadline(Duration::from_secs(2)).unwrap();
    let log = RedisRoomLog::new(&settings, Arc::new(|| LOCAL)).unwrap();
    log.wait_until_tried().await;
    log
}

pub(crate) async fn node(address: &str, id: u64) -> Node<RedisRoomLog> {
    Node { log: rooms(address).await, id: NodeId(id) }
}

pub(crate) fn name(text: &str) -> RoomName {
    RoomName::new(text).unwrap()
}

pub(crate) fn sentinel_url(group: &Sentinels) -> String {
    let hosts: Vec<String> = group.sentinel_addresses().iter().map(ToString::to_string).collect();
    format!("redis+sentinel://{}/{}", hosts.join(","), group.master_name())
}

pub(crate) fn cluster_url(cluster: &RedisCluster) -> String {
    let hosts: Vec<String> = cluster.addresses().iter().map(ToString::to_string).collect();
    format!("redis+cluster://{}", hosts.join(","))
}

/// Does something until it is done: for the time in which a server is not there.
pub(crate) async fn insist<T, F: Future<Output = Result<T, LogError>>>(mut call: impl FnMut() -> F) -> T {
    let begun = Instant::now();
    loop {
        match call().await {
            Ok(done) => return done,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {error}"),
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Appends one entry until the answer is there.
pub(crate) async fn put(
    node: &Node<RedisRoomLog>,
    room: &RoomName,
    (term, after): (u64, u64),
    text: &str,
) -> Appended {
    let entries = [Bytes::copy_from_slice(text.as_bytes())];
    let tell = Bytes::new();
    let append = Append { term, after, entries: &entries, tell: &tell, lease: LONG };
    insist(|| node.log.append(room, append)).await
}

/// The next thing that is heard.
pub(crate) async fn next(heard: &mut Receiver<Heard>) -> Heard {
    match timeout(PATIENCE, heard.recv()).await {
        Ok(Some(heard)) => heard,
        other => panic!("nothing is heard: {other:?}"),
    }
}
