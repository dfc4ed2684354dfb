//! Every status of every operation of the HTTP door's document, from a real server.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::door::overload::{Overload, Priority};
use tidegate::http::HttpOptions;
use tidegate_engine::SystemClock;
use tidegate_testkit::PortLease;
use tidegate_wire::problem::ProblemType;

use super::common::{self, Node, limits, options};
use super::conformance::{Place, Seen, http_door};
use super::site::{Answer, Ask, Site, payments};

const RULES: &str = "version: 1
domains:
  - name: default
    rules:
      - { name: clients, key: [client_id], limit: 5, window: 1h }
      - { name: shadow, key: [client_id], limit: 2, window: 1h, mode: shadow }
  - name: demo
    subject: user_id
    rules: [{ name: per-user, key: [user_id], limit: 2, window: 1h }]
  - name: uploads
    rules: [{ name: in-flight, key: [client_id], algorithm: concurrency, limit: 1, permit_ttl: 30s }]
";

/// Operations with a body, and bodies that are good.
fn bodies() -> [(&'static str, Value); 4] {
    let one = json!({ "client_id": "a" });
    [
        ("/v1/check", one.clone()),
        ("/v1/checks", json!({ "checks": [one] })),
        ("/v1/refund", one),
        ("/v1/permits", json!({ "domain": "uploads", "client_id": "a" })),
    ]
}

/// Everything that is about a tenant's rules.
fn of_tenants(site: &Site) -> Vec<Ask> {
    let bodies = bodies().map(|(path, body)| site.door("POST", path).json(&body));
    let others = [
        ("DELETE", "/v1/permits/x"),
        ("GET", "/v1/stats/default/a"),
        ("GET", "/stats/a"),
        ("GET", "/v1/authz?entry.client_id=a"),
        ("POST", "/v1/authz?entry.client_id=a"),
    ];
    bodies.into_iter().chain(others.map(|(method, path)| site.door(method, path))).collect()
}

/// What visitors of rooms ask.
pub(super) const ROOM_CALLS: [&str; 6] = ["join", "poll", "heartbeat", "claim", "renew", "leave"];

/// A path of the document with its names filled in.
fn filled(path: &str) -> String {
    path.split('/')
        .map(|segment| match segment {
            "{domain}" => "default",
            "{file}" => "page.css",
            name if name.starts_with('{') => "a",
            segment => segment,
        })
        .collect::<Vec<_>>()
        .join("/")
}

/// What can be made to happen anywhere: no Host or two, a method that there is not, too many fields.
fn refused_anywhere(site: &Site) {
    for (path, method, _) in http_door().places() {
        let ask = |method: &str| site.door(&method.to_ascii_uppercase(), &filled(&path));
        ask(&method).field("Host", "other").send().expect(400);
        let takes_any = path == "/v1/authz";
        ask("patch").send().expect(if takes_any { 200 } else { 405 });
        let crowded = (0..95).fold(ask(&method), |ask, n| ask.field(&format!("x-{n}"), "1"));
        crowded.send().expect(431);
    }
}

fn good(site: &Site) {
    for path in
        ["/", "/health", "/ready", "/metrics", "/circuit-breaker-status", "/stats/a", "/v1/stats/default/a"]
    {
        site.door("GET", path).send().expect(200);
        site.door("HEAD", path).send().expect(200);
    }
    for path in ["/openapi.json", "/docs", "/redoc", "/docs/page.css", "/docs/start-redoc.js"] {
        let tag = site.door("GET", path).send().expect(200).etag();
        site.door("GET", path).field("If-None-Match", &tag).send().expect(304);
    }
    for (path, body) in bodies() {
        let answer = site.door("POST", path).json(&body).send().expect(200).json();
        if let Some(permit) = answer["permit_id"].as_str() {
            site.door("DELETE", &format!("/v1/permits/{permit}")).send().expect(204);
            site.door("DELETE", &format!("/v1/permits/{permit}")).send().expect(404);
        }
    }
    site.door("GET", "/api/data?user_id=alice").send().expect(200);
    for method in ["GET", "HEAD", "POST"] {
        let answer = site.door(method, "/v1/authz?entry.client_id=proxy").send().expect(200);
        assert_eq!(answer.field("x-tidegate-status"), Some("200"));
    }
}

/// Requests that are wrong, and denials.
fn refused(site: &Site) {
    for (path, _) in bodies() {
        site.door("POST", path).body("{").send().expect(400);
        site.door("POST", path).json(&json!({ "surprise": true })).send().expect(422);
        site.door("POST", path).body(vec![b' '; 600 * 1024]).send().expect(413);
    }
    for path in ["/stats/%ff", "/v1/stats/default/%ff", "/api/data"] {
        site.door("GET", path).send().expect(422);
    }
    site.door("GET", "/v1/stats/nothing/a").send().expect(404);
    site.door("GET", "/docs/nothing.js").send().expect(404);
    let check = |body: Value| site.door("POST", "/v1/check").json(&body).send();
    check(json!({ "client_id": "much", "cost": 6 })).expect(422);
    check(json!({ "client_id": "all", "cost": 5 })).expect(200);
    check(json!({ "client_id": "all" })).expect(429);
    check(json!({ "domain": "nothing", "client_id": "a" })).expect(200);
    let mixed = json!([{ "client_id": "all" }, { "client_id": "much", "cost": 6 }, { "client_id": "new" }]);
    site.door("POST", "/v1/checks").json(&json!({ "checks": mixed })).send().expect(200);
    let mut upload = json!({ "domain": "uploads", "client_id": "busy", "idempotency_key": "1" });
    for _ in 0..2 {
        site.door("POST", "/v1/permits").json(&upload).send().expect(200);
    }
    upload["idempotency_key"] = json!("2");
    site.door("POST", "/v1/permits").json(&upload).send().expect(429);
    let alice = || site.door("GET", "/api/data?user_id=bob").send();
    while alice().status == 200 {}
    alice().expect(429);
}

/// What a proxy is told, and as what: the status that it wants, and beside it the one that is meant.
fn refused_to_proxies(site: &Site) {
    for method in ["GET", "HEAD", "POST", "PROPFIND"] {
        let client = format!("entry.client_id=of-{method}");
        let ask = |query: &str| site.door(method, &format!("/v1/authz?{client}{query}")).send();
        ask("&cost=5").expect(200);
        for (query, status, meant) in [
            ("", 429, "429"),
            ("&status=429", 429, "429"),
            ("&status=403", 403, "429"),
            ("&status=401", 401, "429"),
            ("&cost=6", 422, "422"),
            ("&cost=6&status=403", 403, "422"),
            ("&surprise=1", 422, "422"),
            ("&surprise=1&status=401", 401, "422"),
        ] {
            let answer = ask(query).expect(status);
            assert_eq!(answer.field("x-tidegate-status"), Some(meant), "{method} {query}");
        }
    }
}

fn banned(site: &Site) {
    let ban = |domain: &str, subject: &str, body: Value| {
        let target = format!("/domains/{domain}/subjects/{subject}/ban");
        site.operator("PUT", &target).json(&body).send().expect(200);
    };
    site.domain("default", &payments(10));
    ban("payments", "eve", json!({ "reason": "stolen card" }));
    ban("payments", "eva", json!({ "reason": "too many", "for": "1h" }));
    ban("demo", "eve", json!({ "reason": "stolen card" }));
    for eve in ["eve", "eva"] {
        let body = json!({ "domain": "payments", "descriptors": { "user_id": eve } });
        site.door("POST", "/v1/check").json(&body).send().expect(403);
        site.door("POST", "/v1/checks").json(&json!({ "checks": [body] })).send().expect(200);
        for status in ["", "&status=401"] {
            let target = format!("/v1/authz?domain=payments&entry.user_id={eve}{status}");
            let answer = site.door("GET", &target).send();
            assert_eq!(answer.field("x-tidegate-status"), Some("403"), "{target}");
        }
    }
    site.door("GET", "/api/data?user_id=eve").send().expect(403);
}

/// Keys that are not good enough, and tenants that ask too often.
fn with_keys() {
    let site = Site::with(&["--require-api-key"]);
    let reader = site.key(None, "reader", &["admin-read"]);
    site.operator("POST", "/tenants")
        .json(&json!({ "name": "slow", "max_requests_per_second": 1 }))
        .send()
        .expect(201);
    let slow = site.key(Some("slow"), "checks", &["check"]);
    for ask in of_tenants(&site) {
        ask.send().expect(401);
        ask.clone().key(&reader).send().expect(403);
        let until_refused = |ask: &Ask| -> Answer {
            (0..100).map(|_| ask.clone().key(&slow).send()).find(|answer| answer.status == 429).unwrap()
        };
        until_refused(&ask);
    }
    site.door("GET", "/metrics").key("tg_no_key").send().expect(401);
}

/// A server whose store is away, and whose rules refuse then.
fn without_store() {
    let nobody = PortLease::new();
    let store = format!("redis://{}", nobody.address());
    let directory = tidegate_testkit::TempDir::new("api-docs");
    let rules = directory.write("rules.yaml", RULES);
    let rules = rules.display().to_string();
    let site = Site::with_path(&["--store", &store, "--rules", &rules, "--fail-mode", "deny"], "/health");
    for ask in of_tenants(&site) {
        ask.send();
    }
    site.door("GET", "/api/data?user_id=alice").send().expect(503);
    site.door("GET", "/circuit-breaker-status").send().expect(200);
    // A permit that the store keeps.
    site.door("DELETE", &format!("/v1/permits/{:016x}-{:032x}", 1, 2)).send().expect(503);
}

/// A body that does not come, and a node that wants no traffic.
async fn slow_and_stopping() {
    let options = HttpOptions { body_timeout: Duration::from_millis(50), ..options() };
    let node = Node::start("version: 1\ndomains: []\n", SystemClock::new(), options, limits()).await;
    let of_rooms = ROOM_CALLS.map(|call| format!("/v1/rooms/demo/{call}"));
    for path in bodies().map(|(path, _)| path.to_owned()).into_iter().chain(of_rooms) {
        let mut client = node.client().await;
        client
            .send(format!("POST {path} HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\n{{").as_bytes())
            .await;
        let answer = client.answer(false).await.unwrap();
        assert_eq!(answer.status, 408);
        http_door().hold(&Seen::new("POST", &path, &answer.head, &answer.body));
    }
    let mut client = node.client().await;
    assert_eq!(client.get("/stats/a").await.status, 404);
    assert_eq!(client.get("/api/data?user_id=a").await.status, 404);
    for path in ["/demo", "/tidegate.js", "/.well-known/jwks.json", "/rooms/demo"] {
        assert_eq!(client.get(path).await.status, 404, "{path}");
    }
    node.readiness.set(false);
    assert_eq!(client.get("/ready").await.status, 503);
}

/// A node that decides as many requests as it takes at one time.
async fn full() {
    let overload = Overload::new("http", 1);
    let options = HttpOptions { overload: overload.clone(), ..options() };
    let node = Node::start(RULES, SystemClock::new(), options, limits()).await;
    let _inside = overload.enter(Priority::Critical).unwrap();
    let mut client = node.client().await;
    for (path, body) in bodies() {
        assert_shed(&client.post(path, body.to_string()).await);
    }
    let others = ["/v1/stats/default/a", "/stats/a", "/api/data?user_id=a", "/v1/authz"];
    for target in others {
        assert_shed(&client.get(target).await);
    }
    for call in ROOM_CALLS {
        assert_shed(&client.post(&format!("/v1/rooms/demo/{call}"), "").await);
    }
    for call in ["events", "status", "line"] {
        assert_shed(&client.get(&format!("/v1/rooms/demo/{call}")).await);
    }
    assert_shed(&client.get("/rooms/demo").await);
    assert_shed(&client.get("/v1/authz?room=demo").await);
    assert_shed(&client.post("/v1/authz", "").await);
    let permit = format!("/v1/permits/{:016x}-{:032x}", 1, 2);
    assert_shed(&client.request("DELETE", &permit, "", b"").await);
    let answer = client.get("/v1/authz?status=403").await;
    assert_eq!((answer.status, answer.field("x-tidegate-status")), (403, Some("503")));
}

#[track_caller]
fn assert_shed(answer: &common::Answer) {
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["type"], ProblemType::Overloaded.uri());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_status_of_every_operation_is_as_documented() {
    let by_sockets = tokio::task::spawn_blocking(|| {
        let directory = tidegate_testkit::TempDir::new("api-docs");
        let rules = directory.write("rules.yaml", RULES).display().to_string();
        let site = Site::with(&["--rules", &rules]);
        good(&site);
        refused(&site);
        refused_to_proxies(&site);
        banned(&site);
        refused_anywhere(&site);
        with_keys();
        without_store();
        super::rooms::answered();
    });
    by_sockets.await.unwrap();
    slow_and_stopping().await;
    full().await;
    let reached = http_door().reached();
    let missed: BTreeSet<Place> = http_door().places().difference(&reached).cloned().collect();
    assert_eq!(missed, BTreeSet::new(), "documented, and not what any request here was answered with");
}

/// What the router knows is what the document has: the paths of the index, and those that the tests of the router go through.
#[test]
fn the_index_and_the_document_have_the_same_paths() {
    let index = include_str!("../../src/http/index.txt");
    let words = index.split_whitespace().filter(|word| word.starts_with('/'));
    let in_index: BTreeSet<&str> = words.map(|word| word.split('?').next().unwrap()).collect();
    let paths = http_door().paths();
    let in_document: BTreeSet<&str> =
        paths.keys().map(String::as_str).filter(|path| !["/", "/docs/{file}"].contains(path)).collect();
    assert_eq!(in_index, in_document);
}
