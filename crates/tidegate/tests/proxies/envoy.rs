//! Envoy's filters `ratelimit` and `ext_authz`, over gRPC.

use tidegate_testkit::ProxyOptions;

use crate::cases::{LONG, Manner};
use crate::common::Answer;
use crate::site::{Asked, Places, Site, machine, shipped};

/// Envoy says whose request it is in the message itself, so that no proxy has to be trusted.
const EXT_AUTHZ: Manner =
    Manner { options: ext_authz, arguments: &[], tells_client: true, away: 200, body_bytes: LONG };

/// For the domains of `envoy.yaml`, with quotas that do not come back while a test runs.
const RULES: &str = "version: 1
domains:
  - name: edge
    rules:
      - { name: per-address, match: { remote_address: \"*\" }, key: [remote_address], limit: 3, window: 1d, on_store_failure: deny }
      - { name: per-user-writes, match: { method: POST }, key: [user_id], limit: 2, window: 1d }
  - name: authz
    rules:
      - { name: logins, match: { path: /login, method: POST }, key: [client_ip], limit: 1, window: 1d }
";

const POST: Asked<'static> =
    Asked { source: machine(1), method: "POST", target: "/", host: "shop.example", fields: &[], body: "{}" };

fn ext_authz(places: &Places) -> ProxyOptions {
    ProxyOptions::envoy()
        .file(shipped("envoy/ext-authz.yaml"))
        .replace("address: 0.0.0.0, port_value: 80 ", "address: 127.0.0.1, port_value: {port} ")
        .replace("address: tidegate, port_value: 8081", at(places.grpc))
        .replace("address: app, port_value: 8000", at(places.app))
}

fn both_filters(places: &Places) -> ProxyOptions {
    ProxyOptions::envoy()
        .file(shipped("envoy/envoy.yaml"))
        .replace("address: 0.0.0.0, port_value: 10000", "address: 127.0.0.1, port_value: {port}")
        .replace("address: 127.0.0.1, port_value: 8081", at(places.grpc))
        .replace("address: 127.0.0.1, port_value: 9000", at(places.app))
}

fn at(address: std::net::SocketAddr) -> String {
    format!("address: {}, port_value: {}", address.ip(), address.port())
}

#[track_caller]
fn is_denied(answer: &Answer, rule: &str) {
    assert_eq!(answer.status, 429, "{answer:?}");
    let limit = answer.field("ratelimit").unwrap_or_default();
    assert!(limit.starts_with(&format!("\"{rule}\";r=0;t=")), "{}", answer.head);
    assert!(
        answer.field("ratelimit-policy").unwrap().starts_with(&format!("\"{rule}\";q=")),
        "{}",
        answer.head
    );
    let retry_after: u64 = answer.field("retry-after").unwrap().parse().unwrap();
    assert!((20_000..=86_400).contains(&retry_after), "{retry_after}");
    assert_eq!(answer.field("content-type"), Some("application/problem+json"));
    assert_eq!(answer.json()["status"], 429);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_obeys_external_authorization() {
    EXT_AUTHZ.hold().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_asks_with_descriptors_and_then_for_authorization() {
    let site = Site::start(RULES, &["--grpc-denied-body"], both_filters).await;
    for left in [2, 1, 0] {
        let allowed = site.get("/a", &["X-Forwarded-For: 203.0.113.1"]).await;
        assert_eq!(allowed.status, 200, "{allowed:?} {}", site.said());
        let limit = allowed.field("ratelimit").unwrap();
        assert!(limit.starts_with(&format!("\"per-address\";r={left};t=")), "{limit}");
    }
    let denied = site.get("/a", &["X-Forwarded-For: 203.0.113.2"]).await;
    is_denied(&denied, "per-address");
    assert_eq!(denied.field("x-envoy-ratelimited"), Some("true"), "it was the filter");

    // A second descriptor, for writes of users.
    let fields = ["X-User-Id: ann", "RateLimit: \"mine\";r=9"];
    let write = |number| Asked { fields: &fields, ..POST }.from(machine(number));
    for number in [2, 3] {
        let allowed = site.ask(&write(number)).await;
        assert!(allowed.status == 200 && allowed.text().ends_with("{}"), "{allowed:?}");
        assert!(!allowed.text().contains("mine"), "{}", allowed.text());
    }
    is_denied(&site.ask(&write(4)).await, "per-user-writes");

    // What the first filter lets pass, the second may refuse.
    let login = || Asked { target: "/login?next=/", ..POST }.from(machine(5));
    let allowed = site.ask(&login()).await;
    assert_eq!(allowed.status, 200, "{allowed:?}");
    assert!(
        allowed.text().contains("ratelimit: \"logins\";r=0;"),
        "the application sees it: {}",
        allowed.text()
    );
    let denied = site.ask(&login()).await;
    is_denied(&denied, "logins");
    assert_eq!(denied.field("x-envoy-ratelimited"), None, "it was the other filter");
    let clear = site.get("/a%2fb", &[]).await;
    assert_eq!(clear.status, 400, "Envoy refuses what has no clear meaning");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_refuses_where_nobody_answers_for_the_limit_if_it_is_told_to() {
    let mut site = Site::start(RULES, &[], both_filters).await;
    assert_eq!(site.get("/a", &[]).await.status, 200, "{}", site.said());
    site.node.kill();
    assert_eq!(site.get("/a", &[]).await.status, 500, "failure_mode_deny");
    let store_away = Site::without_store(RULES, &[], both_filters).await;
    assert_eq!(store_away.get("/a", &[]).await.status, 500, "UNAVAILABLE is no answer to Envoy");

    let strict =
        |places: &Places| ext_authz(places).replace("failure_mode_allow: true", "failure_mode_allow: false");
    let mut site = Site::start(RULES, &[], strict).await;
    site.node.kill();
    assert_eq!(site.get("/a", &[]).await.status, 403, "the other filter says so");
}
