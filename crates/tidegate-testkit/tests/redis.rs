//! Goal: Redis alone, as a cluster and under sentinels does here what it does elsewhere, and leaves nothing behind.
//! Method: real servers, looked into with their own commands.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tidegate_testkit::{
    ClusterOptions, RedisCluster, RedisOptions, RedisServer, Reply, SentinelOptions, Sentinels, Stopwatch,
    wait_until,
};

const SOON: Duration = Duration::from_secs(10);

fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn a_server_starts_and_ends_with_its_folder() {
    let server = RedisServer::start();
    let (pid, folder) = (server.pid(), server.dir().path().to_owned());
    assert_eq!(server.info("server")["process_id"], pid.to_string());
    assert!(folder.join("redis.conf").is_file());
    drop(server);
    assert!(!is_alive(pid));
    assert!(!folder.exists());
}

#[test]
fn a_restart_keeps_the_port_and_loses_the_data() {
    let mut server = RedisServer::start();
    let (port, pid) = (server.port(), server.pid());
    server.command(&["SET", "key", "value"]).ok();
    server.command(&["CONFIG", "SET", "maxmemory", "50mb"]).ok();
    server.command(&["CONFIG", "REWRITE"]).ok();
    server.kill();
    assert!(!server.is_running() && !is_alive(pid));
    assert!(server.try_client(SOON).is_err());
    server.restart();
    assert_eq!(server.port(), port);
    assert_ne!(server.pid(), pid);
    assert_eq!(server.command(&["GET", "key"]), Reply::Nil);
    let memory = server.command(&["CONFIG", "GET", "maxmemory"]);
    assert_eq!(memory.field("maxmemory").unwrap().text(), "52428800");
}

#[test]
fn persistence_can_be_asked_for() {
    let options = RedisOptions::new().setting("appendonly", "yes").setting("appendfsync", "always");
    let mut server = RedisServer::with(&options);
    server.command(&["SET", "key", "value"]).ok();
    server.restart();
    assert_eq!(server.command(&["GET", "key"]).text(), "value");
}

#[test]
fn a_replica_does_not_bring_its_copy_back() {
    let mut primary = RedisServer::start();
    primary.command(&["SET", "key", "value"]).ok();
    let replicaof = format!("127.0.0.1 {}", primary.port());
    let mut replica = RedisServer::with(&RedisOptions::new().setting("replicaof", replicaof));
    replica.wait_until_synced_replica(SOON);
    assert_eq!(replica.command(&["GET", "key"]).text(), "value");
    primary.kill();
    replica.restart();
    assert_eq!(replica.command(&["DBSIZE"]).integer(), 0);
}

#[test]
fn a_paused_server_is_silent_and_comes_back() {
    let server = RedisServer::start();
    let mut client = server.try_client(Duration::from_millis(200)).unwrap();
    server.pause();
    assert!(client.try_command(&["PING"]).is_err(), "no answer in time");
    server.resume();
    assert_eq!(server.command(&["PING"]).text(), "PONG");
}

#[test]
fn processor_time_is_seen() {
    let server = RedisServer::start();
    let before = server.cpu_micros();
    server.command(&["EVAL", "for i = 1, 20000000 do end return 1", "0"]).ok();
    assert!(server.cpu_micros() > before + 20_000, "{before} {}", server.cpu_micros());
}

#[test]
fn replies_of_every_kind_are_read() {
    let server = RedisServer::start();
    let mut client = server.client();
    assert_eq!(client.command(&["SET", "a", "1"]), Reply::Simple("OK".into()));
    assert_eq!(client.command(&["INCR", "a"]), Reply::Integer(2));
    assert_eq!(client.command(&["GET", "a"]).integer(), 2);
    let binary: [&[u8]; 3] = [b"SET", b"b", b"\r\n\0\xff"];
    client.command(&binary).ok();
    assert_eq!(client.command(&["GET", "b"]), Reply::Bulk(b"\r\n\0\xff".to_vec()));
    assert!(client.command(&["LPUSH", "a", "x"]).error().unwrap().starts_with("WRONGTYPE"));
    assert_eq!(client.command(&["MGET", "a", "none"]).items()[1], Reply::Nil);
    assert!(client.command(&["MEMORY", "STATS"]).field("peak.allocated").unwrap().integer() > 0);
    assert_eq!(client.command(&["SCRIPT", "FLUSH"]).ok().text(), "OK");
    assert!(client.command(&["CLIENT", "LIST"]).text().contains("addr="));
}

#[test]
fn passwords_users_and_the_unix_socket_work() {
    let server = RedisServer::with(&RedisOptions::new().password("secret").unix_socket());
    assert!(server.url().starts_with("redis://:secret@127.0.0.1:"));
    assert_eq!(server.command(&["PING"]).text(), "PONG");
    assert!(server.unix_socket().exists());

    let users = "user default off\nuser admin on >tide ~* &* +@all\n";
    let server = RedisServer::with(&RedisOptions::new().acl(users, "admin", "tide"));
    assert_eq!(server.command(&["ACL", "WHOAMI"]).text(), "admin");
}

#[test]
#[should_panic(expected = "ended at once")]
fn a_setting_that_is_none_is_reported() {
    RedisServer::with(&RedisOptions::new().setting("no-such-setting", "1"));
}

#[test]
fn a_cluster_moves_slots_under_load() {
    let cluster = RedisCluster::start(3, 0);
    assert_eq!(cluster.urls().len(), 3);
    assert_eq!([cluster.master_of(0), cluster.master_of(8_000), cluster.master_of(16_383)], [0, 1, 2]);
    let slots = 0..=99;
    let keys: Vec<String> = (0..200_000)
        .map(|number| format!("key-{number}"))
        .filter(|key| slots.contains(&cluster_slot(key)))
        .take(1_000)
        .collect();
    assert_eq!(cluster.slot_of(&keys[0]), cluster_slot(&keys[0]), "this test counts slots as Redis does");
    let mut client = cluster.nodes()[0].client();
    for key in &keys {
        client.command(&["SET", key, "0"]).ok();
    }
    // A writer that follows ASK and MOVED while the slots move.
    let done = AtomicBool::new(false);
    let written = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut written = 0;
            while !done.load(Ordering::Relaxed) {
                increment(&cluster, &keys[written % keys.len()]);
                written += 1;
            }
            written
        });
        let stop = SetOnDrop(&done);
        cluster.migrate_slots(slots.clone(), 0, 2);
        drop(stop);
        writer.join().unwrap()
    });
    println!("{written} increments meanwhile");
    assert_eq!(slots.map(|slot| cluster.master_of(slot)).filter(|&owner| owner == 2).count(), 100);
    let mut client = cluster.nodes()[2].client();
    let values: i64 = keys.iter().map(|key| client.command(&["GET", key]).integer()).sum();
    assert_eq!(values, i64::try_from(written).unwrap(), "every increment arrived once");
    assert!(client.command(&["DBSIZE"]).integer() >= 1_000);
    cluster.wait_until_whole(SOON);
}

/// Ends the writer also where the migration fails.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// INCR wherever the cluster sends it.
fn increment(cluster: &RedisCluster, key: &str) {
    let by_port = |text: &str| {
        let port: u16 = text.rsplit(':').next().unwrap().parse().unwrap();
        cluster.nodes().iter().find(|node| node.port() == port).unwrap()
    };
    let mut reply = cluster.nodes()[0].command(&["INCR", key]);
    while let Some(error) = reply.error().map(str::to_owned) {
        let mut client = by_port(&error).client();
        if error.starts_with("ASK ") {
            client.command(&["ASKING"]).ok();
        } else {
            assert!(error.starts_with("MOVED "), "{error}");
        }
        reply = client.command(&["INCR", key]);
    }
}

/// CRC-16/XMODEM modulo 16384.
fn cluster_slot(key: &str) -> u16 {
    let crc = key.bytes().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    });
    crc % 16_384
}

#[test]
fn a_cluster_fails_over_and_takes_the_old_master_back() {
    let mut cluster = RedisCluster::start(3, 1);
    cluster.kill(1);
    let watch = Stopwatch::start();
    wait_until("the replica owns the slot", SOON, || cluster.master_of(8_000) == 4);
    cluster.wait_until_whole(SOON);
    println!("cluster failover: {:?}", watch.elapsed());
    cluster.restart(1);
    cluster.nodes()[1].wait_until_synced_replica(SOON);
    cluster.wait_until_whole(SOON);
    assert_eq!(cluster.master_of(8_000), 4);
}

#[test]
fn a_cluster_with_a_password_moves_keys() {
    let redis = RedisOptions::new().password("secret");
    let options = ClusterOptions { redis, replicas_per_master: 1, ..ClusterOptions::default() };
    let cluster = RedisCluster::with(&options);
    let slot = cluster.slot_of("key");
    let (from, to) = (cluster.master_of(slot), (cluster.master_of(slot) + 1) % 3);
    cluster.nodes()[from].command(&["SET", "key", "value"]).ok();
    cluster.open_slot(slot, from, to);
    let mut client = cluster.nodes()[from].client();
    assert_eq!(client.command(&["GET", "key"]).text(), "value", "still there");
    cluster.migrate_slots(slot..=slot, from, to);
    assert!(client.command(&["GET", "key"]).error().unwrap().starts_with("MOVED"));
    assert_eq!(cluster.nodes()[to].command(&["GET", "key"]).text(), "value");
    assert_eq!(cluster.master_of(slot), to);
}

#[test]
fn sentinels_fail_over_and_take_the_old_primary_back() {
    let redis = RedisOptions::new().password("secret");
    let mut group = Sentinels::with(&SentinelOptions { redis, ..SentinelOptions::default() });
    assert_eq!((group.primary(), group.sentinel_addresses().len()), (0, 3));
    let watch = Stopwatch::start();
    let former = group.kill_primary();
    let primary = group.wait_for_failover(former, SOON);
    println!("sentinel failover: {:?}", watch.elapsed());
    assert_eq!((former, primary), (0, 1));
    group.servers()[1].command(&["SET", "key", "value"]).ok();
    group.restart(0);
    group.servers()[0].wait_until_synced_replica(3 * SOON);
    println!("old primary is a replica: {:?}", watch.elapsed());
    assert_eq!(group.primary(), 1);
    assert_eq!(group.servers()[0].command(&["GET", "key"]).text(), "value");
}

#[test]
fn nothing_is_left_behind() {
    let server = RedisServer::start();
    let (pid, folder) = (server.pid(), server.dir().path().to_owned());
    let outcome = thread::spawn(move || {
        let _server = server;
        panic!("a test that fails");
    })
    .join();
    assert!(outcome.is_err());
    assert!(!is_alive(pid) && fs::metadata(folder).is_err());
}
