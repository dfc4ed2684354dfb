//! Somebody asks for places as fast as it can, and throws its cookies away.

use serde_json::json;
use tidegate::http::HttpOptions;
use tidegate_core::time::Micros;
use tidegate_wire::identity::{HeaderFamily, IdentityPolicy, TrustedProxies};

use crate::common::options;
use crate::site::{SECRET, Visitor, five_seats, serve_as};

async fn joined(address: std::net::SocketAddr, from: &str) -> crate::common::Answer {
    let fields = ["Content-Type: application/json", &format!("X-Forwarded-For: {from}")];
    Visitor::new(address).ask("POST", "/v1/rooms/demo/join", &fields, "{}").await
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
