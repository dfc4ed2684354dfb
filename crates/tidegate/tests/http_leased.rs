//! Goal: an answer of a leased rule says what the lease adds to its bound, and no other answer changes by a byte.
//! Method: a real server on a loopback socket, on leases in front of the embedded store and on that store alone.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::net::SocketAddr;

use common::{Client, START, compile, limits, node_with, options};
use serde_json::{Value, json};
use tidegate::http::{HttpDoor, Readiness};
use tidegate::net::{ListenOptions, Server, bind};
use tidegate_engine::{Engine, LeaseOptions, Leases, ManualClock};
use tidegate_store::{MemoryOptions, MemoryStore};

const RULES: &str = "version: 1
domains:
  - name: d
    rules:
      - { name: hot, match: { route: hot }, key: [], limit: 100, window: 1h, consistency: leased, lease: { units: 10 } }
      - { name: day, match: { route: day }, key: [], algorithm: fixed_window, limit: 100, window: 1d, consistency: leased, lease: { units: 10 } }
      - { name: exact, match: { with: exact }, key: [], limit: 1_000, window: 1h }
";

async fn leasing_node(nodes: u32) -> SocketAddr {
    let clock = ManualClock::new(START);
    let memory = MemoryStore::new(&MemoryOptions::new([1, 2]));
    let leases = Leases::new(memory, &LeaseOptions::new([3, 4]), clock.clone());
    let engine = Engine::with_parts(compile(RULES), leases, clock, None);
    engine.set_live_nodes(nodes);
    let listener = bind(&ListenOptions::new("127.0.0.1:0".parse().unwrap(), "--listen")).unwrap();
    let address = listener.local_addr().unwrap();
    let door = HttpDoor::new(engine, options(), Readiness::default());
    let server = Server::new("test", limits()).unwrap();
    tokio::spawn(server.run(listener, move |peer| door.service(peer), std::future::pending()));
    address
}

fn ask(entries: &Value) -> Value {
    json!({ "domain": "d", "descriptors": entries })
}

#[tokio::test]
async fn a_leased_rule_says_so_and_by_how_much() {
    let mut client = Client::connect(leasing_node(3).await).await;
    for left in (80..100).rev() {
        let body = client.check(ask(&json!({ "route": "hot" }))).await.json();
        assert_eq!(
            (&body["consistency"], &body["overshoot_bound"]),
            (&json!("leased"), &json!(30)),
            "{body}"
        );
        assert_eq!(body["remaining"], left, "asked or held: {body}");
    }
    let day = client.check(ask(&json!({ "route": "day" }))).await.json();
    assert_eq!((&day["consistency"], &day["overshoot_bound"]), (&json!("leased"), &json!(0)));
    let both = client.check(ask(&json!({ "route": "hot", "with": "exact" }))).await.json();
    let [hot, exact] = both["verdicts"].as_array().unwrap().as_slice() else { unreachable!("{both}") };
    assert_eq!(hot["overshoot_bound"], 30);
    assert!(exact.get("consistency").is_none() && exact.get("overshoot_bound").is_none(), "{both}");
}

#[tokio::test]
async fn exact_rules_and_a_store_without_leases_answer_as_ever() {
    let mut leasing = Client::connect(leasing_node(3).await).await;
    let (node, _clock) = node_with(RULES).await;
    let mut alone = node.client().await;
    for left in (995..1_000).rev() {
        let exact = ask(&json!({ "with": "exact" }));
        let answer = leasing.check(exact.clone()).await;
        assert_eq!(answer.json()["remaining"], left);
        assert_eq!(answer.body, alone.check(exact).await.body);
    }
    let hot = alone.check(ask(&json!({ "route": "hot" }))).await.json();
    assert!(hot.get("consistency").is_none() && hot.get("overshoot_bound").is_none(), "{hot}");
}
