//! Somebody asks for places as fast as it can, and throws its cookies away.

use serde_json::json;
use tidegate::http::HttpOptions;
use tidegate_core::time::Micros;
use tidegate_wire::identity::{HeaderFamily, IdentityPolicy, TrustedProxies};

use crate::common::{Client, options};
use crate::site::{SECRET, Visitor, five_seats, serve_as};

async fn joined(address: std::net::SocketAddr, from: &str) -> crate::common::Answer {
    let fields = ["Content-Type: application/json", &format!("X-Forwarded-For: {from}")];
    Visitor::new(address).ask("POST", "/v1/rooms/demo/join", &fields, "{}").await
}

/// A rule that sends to the room gives no more of them, to browsers and to those a caller asks about.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_sends_to_a_room_gives_no_more_places_than_the_room() {
    let proxies = TrustedProxies::new(["127.0.0.1"]).unwrap();
    let identity = IdentityPolicy { proxies, family: HeaderFamily::XForwardedFor, ..Default::default() };
    let options = HttpOptions { identity, ..options() };
    let rules = "version: 1
domains:
  - name: shop
    subject: user_id
    rules:
      - { name: valve, key: [], limit: 0, window: 10s, on_limit: room, room: demo }
rooms:
  - { name: demo, capacity: 5, release_rate: 1/s }
";
    let limit = |rooms: tidegate::rooms::Rooms| rooms.with_joins_per_address(1);
    let (address, clock) = serve_as(&[five_seats("demo")], SECRET, rules, options, limit).await;
    let mut devices = Vec::new();
    for _ in 0..12 {
        let mut browser = Visitor::new(address);
        browser.get("/rooms/demo").await;
        devices.push(browser);
    }
    let fields = ["Accept: application/json", "X-Forwarded-For: 192.0.2.1"];
    let mut places = Vec::new();
    for browser in &mut devices {
        let answer = browser.ask("GET", "/v1/authz?domain=shop", &fields, "").await;
        places.push(answer.json().pointer("/room/queue_number").is_some_and(|number| !number.is_null()));
    }
    assert_eq!(places, [[true; 10].as_slice(), &[false; 2]].concat());
    // Who has a place is not refused it.
    let again = devices[7].ask("GET", "/v1/authz?domain=shop", &fields, "").await;
    assert_eq!(again.json()["room"]["queue_number"], 8);
    clock.advance(Micros::from_secs(20));
    let mut client = Client::connect(address).await;
    for (user, from, is_given) in (0..12)
        .map(|user| (user, "192.0.2.1", user < 10))
        .chain([(20, "192.0.2.9", true), (21, "192.0.2.9", true)])
    {
        let entries = json!({ "user_id": format!("u{user}"), "client_ip": from });
        let answer = client.check(json!({ "domain": "shop", "descriptors": entries })).await;
        let number = answer.json().pointer("/room/queue_number").cloned().unwrap_or_default();
        assert_eq!(!number.is_null(), is_given, "{user}: {}", answer.text());
    }
    // An address that is its own visitor has one place, and may ask for it as often as it likes.
    for _ in 0..30 {
        let entries = json!({ "client_ip": "192.0.2.1" });
        let answer = client.check(json!({ "domain": "shop", "descriptors": entries })).await;
        assert_eq!(answer.json()["room"]["queue_number"], 23, "{}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_is_given_so_many_places_a_second() {
    let proxies = TrustedProxies::new(["127.0.0.1"]).unwrap();
    let identity = IdentityPolicy { proxies, family: HeaderFamily::XForwardedFor, ..Default::default() };
    let options = HttpOptions { identity, ..options() };
    let rules = "version: 1\ndomains: []";
    let limit = |rooms: tidegate::rooms::Rooms| rooms.with_joins_per_address(2);
    let (address, clock) = serve_as(&[five_seats("demo")], SECRET, rules, options, limit).await;
    for _ in 0..20 {
        assert_eq!(joined(address, "192.0.2.1").await.status, 200);
    }
    let refused = joined(address, "192.0.2.1").await;
    let body = refused.json();
    assert_eq!((refused.status, refused.field("retry-after")), (429, Some("1")));
    assert_eq!((&body["violated-policies"], &body["retry_after_ms"]), (&json!(["joins"]), &json!(500)));
    // Nobody else is held up: another address, another network, this machine.
    for other in ["192.0.2.2", "2001:db8::1"] {
        assert_eq!(joined(address, other).await.status, 200, "{other}");
    }
    for _ in 0..30 {
        assert_eq!(joined(address, "127.0.0.1").await.status, 200);
    }
    // One IPv6 network is one, whatever address of it asks.
    for host in 2..=20 {
        assert_eq!(joined(address, &format!("2001:db8::{host:x}")).await.status, 200);
    }
    assert_eq!(joined(address, "2001:db8::ffff").await.status, 429);
    clock.advance(Micros::from_millis(500));
    assert_eq!(joined(address, "192.0.2.1").await.status, 200);
    assert_eq!(joined(address, "192.0.2.1").await.status, 429);
}
