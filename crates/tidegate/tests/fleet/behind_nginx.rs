//! A fleet behind nginx with the configuration that is shipped: one quota, and no error when a node dies.

use std::path::Path;

use tidegate_testkit::{Nginx, NginxOptions, RedisServer};
use tokio::task::JoinSet;

use crate::load::{Aim, Ask, Load};
use crate::site::{Fleet, RUNTIME, alone, check_of, domain, rounds};
use crate::wire::Connection;

const NODES: usize = 3;
const QUOTA: usize = 100;
const REQUESTS: usize = 1_000;
/// Requests a second while nodes are killed.
const RATE: u64 = 800;

fn nginx_in_front_of(fleet: &Fleet) -> Nginx {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/nginx/nginx.conf");
    Nginx::start(&NginxOptions::template_file(shipped).upstream("tidegate", &fleet.addresses()))
}

#[test]
fn of_a_thousand_requests_at_once_exactly_the_quota_passes() {
    let _alone = alone();
    let redis = RedisServer::start();
    // In the seconds of a try no unit comes back.
    let rules = domain(&[&format!("name: shared, key: [u], limit: {QUOTA}, window: 1d")]);
    let fleet = Fleet::start(NODES, &redis.url(), &rules, &[]);
    let nginx = nginx_in_front_of(&fleet);
    let tries = rounds(5);
    RUNTIME.block_on(async {
        let mut connections: Vec<_> = (0..REQUESTS).map(|_| Connection::new(nginx.address())).collect();
        for number in 0..tries {
            for connection in &mut connections {
                connection.open().await.unwrap();
            }
            let mut requests = JoinSet::new();
            for mut connection in connections.drain(..) {
                requests.spawn(async move {
                    let answer = connection.post("/v1/check", &check_of(&format!("try-{number}"), 1)).await;
                    (connection, answer.unwrap())
                });
            }
            let (mut passed, mut denied) = (0, 0);
            for (connection, answer) in requests.join_all().await {
                connections.push(connection);
                match answer.status {
                    200 if !answer.degraded => passed += 1,
                    429 if !answer.degraded => denied += 1,
                    _ => panic!("{answer:?}"),
                }
            }
            assert_eq!((passed, denied), (QUOTA, REQUESTS - QUOTA), "try {number}");
        }
    });
    println!(
        "{tries} tries of {REQUESTS} requests at once through nginx to {NODES} nodes: {QUOTA} passed each time"
    );
    fleet.assert_alive();
}

#[test]
fn a_node_that_is_killed_costs_no_client_an_error() {
    let _alone = alone();
    let redis = RedisServer::start();
    let rules =
        domain(&["name: wide, key: [u], algorithm: fixed_window, limit: 1_000_000_000, window: 3650d"]);
    let mut fleet = Fleet::start(NODES, &redis.url(), &rules, &["--fail-mode", "deny"]);
    let nginx = nginx_in_front_of(&fleet);
    let load = Load::start(&Aim::new(vec![nginx.address()], 32, RATE), |_| Ask {
        body: check_of("wide", 1),
        cost: 1,
    });
    let kills = rounds(2);
    for kill in 0..kills as usize {
        load.wait_until_sent(RATE / 2);
        fleet.nodes[kill % NODES].kill();
        load.wait_until_sent(RATE / 2);
        fleet.nodes[kill % NODES].restart();
        // nginx passes it over for a second.
        load.wait_until_sent(2 * RATE);
    }
    let history = load.stop();
    let (granted, used) = (history.granted(), fleet.used("wide"));
    println!(
        "{kills} nodes killed under {} requests: {} errors, p99 {:?}, worst {:?}; {granted} granted, {used} charged",
        history.0.len(),
        history.count(|sample| !sample.is_admitted()),
        history.percentile(0.99, |_| true),
        history.percentile(1.0, |_| true),
    );
    history.assert_decided();
    // What a node had charged when it died is charged again by the next: at most what was open at that moment.
    assert!(used >= granted && used <= granted + 32 * u64::from(kills));
}
