//! A Redis that forgets its scripts, and a network that loses replies of what was done.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate_testkit::{FaultProxy, RedisServer, Stopwatch};
use tokio::task::JoinSet;

use crate::load::{Aim, Ask, Load};
use crate::site::{Fleet, RUNTIME, alone, check_of, domain, hold, seconds};
use crate::wire::Connection;

const NODES: usize = 4;
const CLIENTS_PER_NODE: usize = 16;
/// Requests a second.
const RATE: u64 = 1_000;
/// A bucket that is never exhausted, and whose count is exact for ten years at a time.
const RULE: &str = "name: wide, key: [u], algorithm: fixed_window, limit: 1_000_000_000, window: 3650d";
/// How often the scripts are flushed.
const FLUSH_INTERVAL: Duration = Duration::from_millis(100);
/// The share of replies that are lost.
const LOST_REPLIES: f64 = 0.05;

#[test]
fn scripts_that_are_flushed_again_and_again_are_loaded_again_and_charge_once() {
    let _alone = alone();
    let redis = RedisServer::start();
    let fleet = Fleet::start(NODES, &redis.url(), &domain(&[RULE]), &["--fail-mode", "deny"]);
    let load = Load::start(&Aim::new(fleet.addresses(), CLIENTS_PER_NODE, RATE), |random| {
        let cost = random.u64(1..=5);
        Ask { body: check_of("wide", cost), cost }
    });
    let (watch, mut flushes) = (Stopwatch::start(), 0);
    let mut client = redis.client();
    while watch.elapsed() < seconds(3) {
        client.command(&["SCRIPT", "FLUSH"]).ok();
        flushes += 1;
        hold(FLUSH_INTERVAL);
    }
    let history = load.stop();
    let used = fleet.used("wide");
    println!(
        "{flushes} flushes under {} requests: {} errors, {} granted, {used} charged, p99 {:?}",
        history.0.len(),
        history.count(|sample| sample.status != 200 || sample.degraded),
        history.granted(),
        history.percentile(0.99, |_| true),
    );
    history.assert_decided();
    assert_eq!(used, history.granted());
    fleet.assert_alive();
}

/// A fleet whose replies get lost on the way back.
fn lossy_fleet(redis: &RedisServer) -> (Fleet, FaultProxy) {
    let proxy = FaultProxy::start(redis.address(), fastrand::u64(..));
    let url = format!("redis://{}", proxy.address());
    // The circuit stays closed: what is meant here is what becomes of single calls.
    let arguments = ["--fail-mode", "deny", "--breaker-failures", "1000"];
    let fleet = Fleet::start(NODES, &url, &domain(&[RULE]), &arguments);
    (fleet, proxy)
}

#[test]
fn a_reply_that_is_lost_is_never_charged_twice() {
    let _alone = alone();
    let redis = RedisServer::start();
    let (fleet, proxy) = lossy_fleet(&redis);
    proxy.change(|faults| faults.drop_replies = LOST_REPLIES);
    let load = Load::start(&Aim::new(fleet.addresses(), CLIENTS_PER_NODE, RATE), |_| Ask {
        body: check_of("wide", 1),
        cost: 1,
    });
    hold(seconds(3));
    let history = load.stop();
    proxy.heal();
    fleet.wait_until_on_store(&check_of("other", 1));
    let (sent, granted, used) = (history.0.len() as u64, history.granted(), fleet.used("wide"));
    println!(
        "{} replies lost under {sent} checks: {granted} granted, {used} charged, {} answered by policy",
        proxy.replies_dropped(),
        history.count(|sample| sample.degraded),
    );
    assert!(proxy.replies_dropped() > 0, "nothing was tested");
    assert!(used >= granted && used <= sent, "each check at most once");
    assert_eq!(history.count(|sample| sample.status == 0), 0, "clients never see a broken connection");
    fleet.assert_alive();
}

/// Clients that repeat a call under the same key until it is answered, on whatever node.
#[test]
fn calls_repeated_under_their_keys_are_charged_exactly_once() {
    let _alone = alone();
    let redis = RedisServer::start();
    let (fleet, proxy) = lossy_fleet(&redis);
    proxy.change(|faults| faults.drop_replies = LOST_REPLIES);
    let addresses = Arc::new(fleet.addresses());
    let (keys, calls) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let watch = Stopwatch::start();
    let end = seconds(3);
    let refused = Arc::new(Mutex::new(Vec::new()));
    RUNTIME.block_on(async {
        let mut clients = JoinSet::new();
        for _ in 0..NODES * CLIENTS_PER_NODE {
            let (addresses, refused) = (Arc::clone(&addresses), Arc::clone(&refused));
            let (keys, calls) = (Arc::clone(&keys), Arc::clone(&calls));
            clients.spawn(async move {
                let mut connections: Vec<_> = addresses.iter().map(|node| Connection::new(*node)).collect();
                while watch.elapsed() < end {
                    let key = keys.fetch_add(1, Relaxed);
                    let body = format!(
                        r#"{{"domain":"d","descriptors":{{"u":"wide"}},"idempotency_key":"call-{key}"}}"#
                    );
                    loop {
                        calls.fetch_add(1, Relaxed);
                        let node = fastrand::usize(..connections.len());
                        let answer = connections[node].post("/v1/check", &body).await.unwrap();
                        if answer.is_admitted() {
                            break;
                        }
                        if answer.status != 503 {
                            refused.lock().unwrap().push(answer.status);
                            break;
                        }
                    }
                }
            });
        }
        clients.join_all().await;
    });
    proxy.heal();
    fleet.wait_until_on_store(&check_of("other", 1));
    let (keys, calls, used) = (keys.load(Relaxed), calls.load(Relaxed), fleet.used("wide"));
    println!("{} replies lost: {keys} keys in {calls} calls, {used} charged", proxy.replies_dropped());
    assert!(calls > keys, "nothing was repeated");
    assert_eq!(refused.lock().unwrap().len(), 0, "{refused:?}");
    assert_eq!(used, keys);
}
