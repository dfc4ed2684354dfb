//! After known traffic, a page says exactly what it was. Method: a door in this process, on a real socket.

use std::time::Duration;

use serde_json::json;
use tidegate::gate::{Ask, Caller, Gate};
use tidegate::telemetry::metrics::DoorName;
use tidegate_core::time::Micros;
use tidegate_engine::SystemClock;
use tidegate_testkit::Stopwatch;

use crate::common::{Client, Node, limits, node_with, options};
use crate::scrape::Scrape;

const RULES: &str = r#"version: 1
domains:
  - name: shop
    rules:
      - { name: per-user, key: [user], limit: 3, window: 1h }
      - { name: trial, match: { route: cart }, key: [user], limit: 1, window: 1h, mode: shadow }
      - { name: seats, match: { route: seats }, key: [route], algorithm: leaky_bucket, limit: 1, window: 60s, queue: { max_wait: 2m, max_depth: 5 } }
  - name: "quo\"te\\d"
    rules:
      - { name: r, key: [user], limit: 100, window: 1h }
"#;

async fn scrape(client: &mut Client) -> Scrape {
    Scrape::of(&String::from_utf8(client.get("/metrics").await.body).unwrap())
}

fn counted(what: &str, domain: &str, rule: &str) -> String {
    format!("ratelimiter_{what}_total{{domain=\"{domain}\",rule=\"{rule}\",door=\"http\"}}")
}

#[tokio::test]
async fn known_traffic_is_counted_exactly() {
    let watch = Stopwatch::start();
    let node = Node::start(RULES, SystemClock::new(), options(), limits()).await;
    let mut client = node.client().await;
    let before = scrape(&mut client).await;
    assert_eq!(before.get(&counted("allowed", "shop", "per-user")), 0.0, "it is shown before it is used");

    // Alone: 3 of 5 pass for one user, and a rule in shadow would have let 1 pass.
    for _ in 0..5 {
        client.check(json!({"domain": "shop", "descriptors": {"user": "a", "route": "cart"}})).await;
    }
    // In a batch: 2 more users with 4 each, of which 3 pass; one that no rule is about, one of no
    // domain, and one of a domain whose name has to be escaped.
    let of = |user: &str| json!({"domain": "shop", "descriptors": {"user": user}});
    let mut checks: Vec<_> = (0..8).map(|n| of(if n % 2 == 0 { "b" } else { "c" })).collect();
    checks.push(json!({"domain": "shop", "descriptors": {"else": "x"}}));
    checks.push(json!({"domain": "nowhere", "descriptors": {"user": "x"}}));
    checks.push(json!({"domain": "quo\"te\\d", "descriptors": {"user": "x"}}));
    let answer = client.post("/v1/checks", json!({ "checks": checks }).to_string()).await;
    assert_eq!(answer.status, 200);
    // A look charges nothing and is no decision; what cannot be read is none either.
    client.check(json!({"domain": "shop", "descriptors": {"user": "a"}, "peek": true})).await;
    client.check(json!({"domain": "shop", "descriptors": 7})).await;

    let after = scrape(&mut client).await;
    for (series, number) in [
        (counted("allowed", "shop", "per-user"), 9.0),
        (counted("blocked", "shop", "per-user"), 4.0),
        (counted("allowed", "shop", "(none)"), 1.0),
        (counted("allowed", "(unknown)", "(none)"), 1.0),
        (counted("allowed", r#"quo\"te\\d"#, "r"), 1.0),
        (r#"tidegate_shadow_blocked_total{domain="shop",rule="trial"}"#.to_owned(), 4.0),
        (r#"ratelimiter_check_duration_seconds_count{door="http"}"#.to_owned(), 16.0),
        (r#"tidegate_check_failures_total{door="http"}"#.to_owned(), 0.0),
        ("tidegate_rules_version".to_owned(), 1.0),
        ("tidegate_rules".to_owned(), 4.0),
        (r#"ratelimiter_circuit_breaker_state{store="memory"}"#.to_owned(), 0.0),
    ] {
        assert_eq!(after.get(&series), number, "{series}");
    }
    assert_eq!((after.sum("ratelimiter_allowed_total"), after.sum("ratelimiter_blocked_total")), (12.0, 4.0));
    let took = after.get(r#"ratelimiter_check_duration_seconds_sum{door="http"}"#);
    assert!(took > 0.0 && took <= watch.elapsed().as_secs_f64(), "{took}");
    node.stop().await;
}

#[tokio::test]
async fn those_who_wait_are_counted_while_they_do_and_when_they_go() {
    let node = Node::start(RULES, SystemClock::new(), options(), limits()).await;
    let body = json!({"domain": "shop", "descriptors": {"route": "seats"}}).to_string();
    let mut client = node.client().await;
    client.post("/v1/check", &body).await;
    let mut patient = node.client().await;
    let head = format!("POST /v1/check HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    patient.send(head.as_bytes()).await;
    let waiting = |scrape: &Scrape| scrape.get("tidegate_queue_waiting");
    let waits = until(&mut client, |scrape| waiting(scrape) == 1.0).await;
    assert_eq!(waits.get("tidegate_queue_wait_seconds_count"), 1.0);
    let wait = waits.get("tidegate_queue_wait_seconds_sum");
    assert!(wait > 0.0 && wait <= 60.0, "{wait}");
    assert_eq!(waits.get("tidegate_queue_abandoned_total"), 0.0);
    drop(patient);
    let gone = until(&mut client, |scrape| waiting(scrape) == 0.0).await;
    assert_eq!(gone.get("tidegate_queue_abandoned_total"), 1.0);
}

/// The first page that is as wanted.
async fn until(client: &mut Client, wanted: impl Fn(&Scrape) -> bool) -> Scrape {
    let watch = Stopwatch::start();
    loop {
        let page = scrape(client).await;
        if wanted(&page) {
            return page;
        }
        assert!(watch.elapsed() < Duration::from_secs(20), "{page:#?}");
        tokio::task::yield_now().await;
    }
}

/// A hundred thousand keys through the door, and nine hundred thousand through its gate: as many would take minutes by HTTP
/// in a debug build.
#[tokio::test]
async fn a_million_keys_make_no_series() {
    const BATCH: usize = 100;
    const BY_DOOR: usize = 100_000;
    const BY_GATE: usize = 900_000;
    let (node, clock) = node_with(RULES).await;
    let gate = Gate::from(node.engine.clone()).at_door(DoorName::InProcess);
    let mut client = node.client().await;
    let before = scrape(&mut client).await;
    let at_gate_before = Scrape::of(&gate.metrics_page(None).unwrap());
    for first in (0..BY_DOOR).step_by(BATCH) {
        let users = first..first + BATCH;
        let checks: Vec<_> = users
            .map(|user| json!({"domain": "shop", "descriptors": {"user": format!("user-{user}")}}))
            .collect();
        let answer = client.post("/v1/checks", json!({ "checks": checks }).to_string()).await;
        assert_eq!(answer.status, 200);
    }
    for user in BY_DOOR..BY_DOOR + BY_GATE {
        let user = format!("user-{user}");
        let entries = [("user", user.as_str())];
        let look = gate.look(&Caller::default(), "shop", &entries).await;
        let ask = Ask { entries: &entries, cost: 1, peek: false, idempotency_key: None, inside: &[] };
        gate.ask(&look, &ask).await.unwrap();
    }
    clock.advance(Micros::from_secs(1));
    let after = scrape(&mut client).await;
    let at_gate = Scrape::of(&gate.metrics_page(None).unwrap());
    assert_eq!(after.series(), before.series());
    assert_eq!(after.get(&counted("allowed", "shop", "per-user")), BY_DOOR as f64);
    assert_eq!(at_gate.series(), at_gate_before.series());
    let series = r#"ratelimiter_allowed_total{domain="shop",rule="per-user",door="in_process"}"#;
    assert_eq!(at_gate.get(series), BY_GATE as f64);
    node.stop().await;
}
