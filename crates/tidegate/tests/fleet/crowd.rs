//! Many clients and few connections to Redis.

use tidegate_testkit::{RedisOptions, RedisServer};

use crate::load::{Aim, Ask, Load};
use crate::site::{Fleet, alone, check_of, domain};

const NODES: usize = 3;
const CLIENTS_PER_NODE: usize = 667;
/// Requests a second of all of them.
const RATE: u64 = 500;
const MAX_CLIENTS_OF_REDIS: &str = "50";
/// Two for buckets, two for the logs of rooms, and one that listens to what other nodes say of rooms.
const CONNECTIONS_PER_NODE: usize = 5;

#[test]
fn two_thousand_clients_need_five_connections_a_node() {
    let _alone = alone();
    let redis = RedisServer::with(&RedisOptions::new().setting("maxclients", MAX_CLIENTS_OF_REDIS));
    let rules = domain(&["name: wide, key: [u], algorithm: fixed_window, limit: 1_000_000, window: 3650d"]);
    let fleet = Fleet::start(NODES, &redis.url(), &rules, &["--fail-mode", "deny"]);
    // Buckets enough to reach every connection to Redis.
    let load = Load::start(&Aim::new(fleet.addresses(), CLIENTS_PER_NODE, RATE), |random| Ask {
        body: check_of(&format!("u{}", random.u8(..)), 1),
        cost: 1,
    });
    // Each client has sent something by then, and keeps its connection.
    let clients = (NODES * CLIENTS_PER_NODE) as u64;
    load.wait_until_sent(clients + RATE / 2);
    let listed = redis.command(&["CLIENT", "LIST"]).ok().text();
    let history = load.stop();
    let own = listed.lines().filter(|line| line.contains(" name=tidegate ")).count();
    println!(
        "{clients} clients of {NODES} nodes, {} requests: {own} connections to a Redis that takes {MAX_CLIENTS_OF_REDIS}, \
         p99 {:?}",
        history.0.len(),
        history.percentile(0.99, |_| true),
    );
    history.assert_decided();
    assert!((1..=NODES * CONNECTIONS_PER_NODE).contains(&own), "{listed}");
    fleet.assert_alive();
}
