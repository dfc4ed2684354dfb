//! Where to connect to: behind Sentinels, in a Cluster, and away from replicas.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod link_common;

use std::sync::Arc;
use std::time::Duration;

use link_common::{ask, batch, connect, connected, connector, lane, ping, pong, settings, soon};
use redis::Value;
use tidegate_redis::link::{ClusterMap, ConnectError, Lane, LinkError, Refusal, Role, SLOTS, Topology};
use tidegate_redis::{Address, RedisSettings};
use tidegate_testkit::{ClusterOptions, RedisCluster, RedisOptions, RedisServer, SentinelOptions, Sentinels};

fn sentinel_url(group: &Sentinels, login: &str) -> String {
    let hosts: Vec<String> = group.sentinel_addresses().iter().map(ToString::to_string).collect();
    format!("redis+sentinel://{login}{}/{}", hosts.join(","), group.master_name())
}

fn port_of(lane: &mut Lane) -> u16 {
    match lane.link().unwrap().address() {
        Address::Tcp { port, .. } => *port,
        Address::Unix(_) => panic!(),
    }
}

/// A failover by Sentinels: the lane loses the old primary and finds the new one, with a Sentinel gone as well.
#[tokio::test]
async fn sentinels_name_the_primary_before_and_after_a_failover() {
    let redis = RedisOptions::new().password("pw");
    let mut group = Sentinels::with(&SentinelOptions { redis, ..SentinelOptions::default() });
    let mut lane = lane(&settings(&sentinel_url(&group, ":pw@")));
    connected(&mut lane).await;
    let former = group.primary();
    assert_eq!(port_of(&mut lane), group.servers()[former].port());
    assert_eq!(lane.link().unwrap().facts().role, Some(Role::Primary));

    let killed = group.kill_primary();
    lane.changed().await;
    assert!(lane.link().is_none(), "the loss is noticed without a call");
    let current = group.wait_for_failover(killed, Duration::from_secs(20));
    group.kill_sentinel(0);
    connected(&mut lane).await;
    assert_eq!(port_of(&mut lane), group.servers()[current].port());
    assert_eq!(ping(&mut lane).await, Ok(pong()));
}

#[tokio::test]
async fn sentinels_that_do_not_know_or_are_not_there() {
    let group = Sentinels::start();
    let hosts: Vec<String> = group.sentinel_addresses().iter().map(ToString::to_string).collect();
    let unknown = connect(&format!("redis+sentinel://{}/other", hosts.join(","))).await.unwrap_err();
    assert!(
        matches!(&unknown, ConnectError::NoPrimary(text) if text.contains("knows no primary")),
        "{unknown:?}"
    );

    // One that is silent has its share of the time, and no more.
    group.sentinels()[0].pause();
    let silent = RedisSettings::parse(&sentinel_url(&group, "")).unwrap();
    let patient = silent.with_call_deadline(Duration::from_secs(1)).unwrap();
    let connector = connector(&patient);
    assert!(connector.connect().await.is_ok());
    // The next connection begins with the one that answered.
    let begun = tokio::time::Instant::now();
    assert!(connector.connect().await.is_ok());
    assert!(begun.elapsed() < Duration::from_millis(300), "{:?}", begun.elapsed());
    group.sentinels()[0].resume();

    let nobody = connect("redis+sentinel://127.0.0.1:1,127.0.0.1:2/mymaster").await.unwrap_err();
    assert!(matches!(nobody, ConnectError::NoPrimary(_)), "{nobody:?}");
    let wrong = connect(&format!(
        "redis+sentinel://{hosts}/mymaster?sentinel_password=hunter2",
        hosts = hosts.join(",")
    ))
    .await
    .unwrap_err();
    assert!(matches!(&wrong, ConnectError::Refused { what: "AUTH", .. }), "{wrong:?}");
    assert!(!format!("{wrong} {wrong:?}").contains("hunter2"));
    let not_a_server = connect(&format!("redis://{}", hosts[0])).await.unwrap_err();
    assert!(matches!(not_a_server, ConnectError::NotPrimary(_)), "{not_a_server:?}");
}

#[tokio::test]
async fn a_server_that_becomes_a_replica_is_left() {
    let server = RedisServer::start();
    let mut lane = lane(&settings(&server.url()));
    connected(&mut lane).await;
    server.command(&["REPLICAOF", "127.0.0.1", "1"]).ok();
    let replies = lane.call(&batch(&[&["INCR", "n"], &["PING"]]), soon()).await.unwrap();
    assert_eq!(replies, [Err(Refusal::ReadOnly), Ok(pong())]);
    assert!(lane.link().is_none());
    lane.changed().await;
    assert!(matches!(lane.reason(), Some(ConnectError::NotPrimary(_))), "{:?}", lane.reason());
    assert!(matches!(ping(&mut lane).await, Err(LinkError::NotSent(_))));
    server.command(&["REPLICAOF", "NO", "ONE"]).ok();
    connected(&mut lane).await;
    assert_eq!(ping(&mut lane).await, Ok(pong()));
}

fn cluster_map(url: &str) -> Arc<ClusterMap> {
    match Topology::new(&settings(url)).unwrap() {
        Topology::Cluster(map) => map,
        Topology::Primary(_) => panic!("not a Cluster"),
    }
}

fn rng() -> fastrand::Rng {
    fastrand::Rng::with_seed(0xc1)
}

#[tokio::test]
async fn every_slot_of_a_cluster_has_its_node() {
    let cluster = RedisCluster::start(3, 0);
    let nodes = cluster.nodes();
    // The first seed is not there.
    let map = cluster_map(&format!("redis+cluster://127.0.0.1:1,{}", nodes[1].address()));
    assert_eq!(map.address_of(0), None);
    assert_eq!(map.refresh(soon(), &mut rng()).await, Ok(true));
    assert_eq!(map.refresh(soon(), &mut rng()).await, Ok(false), "not twice in a row");
    assert_eq!(map.nodes().len(), 3);
    assert!((0..SLOTS).all(|slot| map.address_of(slot).is_some()));
    for slot in [0, 5_460, 5_461, 10_923, 16_383] {
        let master = nodes[cluster.master_of(slot)].address();
        assert_eq!(map.address_of(slot), Some(Address::tcp("127.0.0.1", master.port())));
    }

    let mut link = map.connector(map.address_of(0).unwrap()).unwrap().connect().await.unwrap();
    assert_eq!(link.facts().clustered, Some(true));
    let slot = cluster.slot_of("k");
    let owner = map.address_of(slot).unwrap();
    let mut other = match map.nodes().into_iter().find(|node| *node != owner) {
        Some(node) => map.connector(node).unwrap().connect().await.unwrap(),
        None => panic!("three nodes"),
    };
    let moved = ask(&mut other, &["GET", "k"]).await;
    assert_eq!(moved, Err(Refusal::Moved { slot, address: owner.clone() }));
    assert_eq!(ask(&mut link, &["MGET", "a", "b"]).await, Err(Refusal::CrossSlot));
}

/// A slot moves while we look: ASK, MOVED, and the table after a hint and after a refresh.
#[tokio::test]
async fn a_slot_that_moves_is_followed() {
    let cluster = RedisCluster::start(3, 0);
    let map = cluster_map(&format!("redis+cluster://{}", cluster.nodes()[0].address()));
    assert_eq!(map.refresh(soon(), &mut rng()).await, Ok(true));
    let slot = cluster.slot_of("k");
    let (from, to) = (cluster.master_of(slot), (cluster.master_of(slot) + 1) % 3);
    let address = |index: usize| Address::tcp("127.0.0.1", cluster.nodes()[index].port());
    let mut source = map.connector(address(from)).unwrap().connect().await.unwrap();

    cluster.open_slot(slot, from, to);
    assert_eq!(ask(&mut source, &["GET", "k"]).await, Err(Refusal::Ask { slot, address: address(to) }));
    let mut target = map.connector(address(to)).unwrap().connect().await.unwrap();
    let replies = target.call(&batch(&[&["ASKING"], &["INCR", "k"]]), soon()).await.unwrap();
    assert_eq!(replies, [Ok(Value::Okay), Ok(Value::Int(1))]);

    cluster.migrate_slots(slot..=slot, from, to);
    let moved = ask(&mut source, &["GET", "k"]).await.unwrap_err();
    let Refusal::Moved { slot: moved_slot, address: now_at } = moved else { panic!("{moved:?}") };
    assert_eq!((moved_slot, &now_at), (slot, &address(to)));
    map.note_moved(moved_slot, &now_at);
    assert_eq!(map.address_of(slot), Some(now_at));
    while map.refresh(soon(), &mut rng()).await != Ok(true) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(map.address_of(slot), Some(address(to)));
}

#[tokio::test]
async fn a_failover_in_a_cluster_is_seen_by_the_next_refresh() {
    let options = ClusterOptions { masters: 3, replicas_per_master: 1, ..ClusterOptions::default() };
    let mut cluster = RedisCluster::with(&options);
    let hosts: Vec<String> = cluster.addresses().iter().map(ToString::to_string).collect();
    let map = cluster_map(&format!("redis+cluster://{}", hosts.join(",")));
    assert_eq!(map.refresh(soon(), &mut rng()).await, Ok(true));
    let former = cluster.master_of(0);
    let lost = map.address_of(0).unwrap();

    // A replica is no place for buckets, even if it is asked.
    let replica = Address::tcp("127.0.0.1", cluster.nodes()[3].port());
    let refused = map.connector(replica).unwrap().connect().await;
    assert!(matches!(refused, Err(ConnectError::NotPrimary(_))));

    cluster.kill(former);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let mut rng = rng();
    while map.address_of(0) == Some(lost.clone()) {
        assert!(tokio::time::Instant::now() < deadline, "no failover");
        let _ = map.refresh(soon(), &mut rng).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut lane = Lane::new(map.connector(map.address_of(0).unwrap()).unwrap(), rng);
    connected(&mut lane).await;
    assert_eq!(ping(&mut lane).await, Ok(pong()));
}

#[tokio::test]
async fn a_server_that_is_no_cluster_has_no_slots() {
    let server = RedisServer::start();
    let map = cluster_map(&format!("redis+cluster://{}", server.address()));
    let error = map.refresh(soon(), &mut rng()).await.unwrap_err();
    assert!(matches!(&error, ConnectError::Refused { what: "CLUSTER SLOTS", .. }), "{error:?}");
}
