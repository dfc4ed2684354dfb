//! HAProxy, which asks by its Lua script.

use tidegate_testkit::{PortLease, ProxyOptions};

use crate::cases::{LONG, Manner, RULES, users_have_a_quota_each};
use crate::site::{Places, Site, TRUSTED, shipped};

const HAPROXY: Manner =
    Manner { options, arguments: &TRUSTED, tells_client: true, away: 200, body_bytes: LONG };

fn options(places: &Places) -> ProxyOptions {
    let file = file(places).replace("    server node2 10.0.0.12:8080\n", "");
    with_script(file.replace("10.0.0.11:8080", places.http.to_string()))
}

fn file(places: &Places) -> ProxyOptions {
    ProxyOptions::haproxy()
        .file(shipped("haproxy/haproxy.cfg"))
        .replace("/etc/haproxy/tidegate.lua", "{dir}/tidegate.lua")
        .replace("bind :80", "bind {address}")
        .replace("bind abns@tidegate", "bind abns@tidegate-{port}")
        .replace("10.0.0.21:8000", places.app.to_string())
}

fn with_script(options: ProxyOptions) -> ProxyOptions {
    options.file(shipped("haproxy/tidegate.lua")).replace("\"abns@tidegate\"", "\"abns@tidegate-{port}\"")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_obeys() {
    HAPROXY.hold().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_says_who_the_user_is() {
    users_have_a_quota_each(&HAPROXY).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_asks_another_node_where_one_is_gone() {
    let gone = PortLease::new();
    let two_nodes = |places: &Places| {
        let file = file(places).replace("10.0.0.11:8080", gone.address().to_string());
        with_script(file.replace("10.0.0.12:8080", places.http.to_string()))
    };
    let site = Site::start(RULES, &TRUSTED, two_nodes).await;
    for left in [2, 1, 0] {
        let allowed = site.get("/by-address", &[]).await;
        let limit = allowed.field("ratelimit").unwrap_or_default();
        assert!(limit.starts_with(&format!("\"per-address\";r={left};")), "{allowed:?} {}", site.said());
    }
}

/// What is too much for a question is refused, and HAProxy lives on: else a client that was refused would only have to ask for more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_past_haproxy_with_too_much() {
    let site = Site::start(RULES, &TRUSTED, options).await;
    for _ in 0..3 {
        assert_eq!(site.get("/by-address", &[]).await.status, 200, "{}", site.said());
    }
    let many =
        |name: &str, count: usize| (0..count).map(|line| format!("{name}: a{line}")).collect::<Vec<_>>();
    let long = |name: &str, bytes: usize| vec![format!("{name}: {}", "a".repeat(bytes))];
    let mut cases: Vec<(String, Vec<String>)> = Vec::new();
    for count in [2, 50, 90, 93, 95, 97, 99] {
        cases.push(("/by-address".to_owned(), many("X-User-Id", count)));
        cases.push(("/by-address".to_owned(), many("User-Agent", count)));
    }
    for bytes in [3_000, 7_000, 11_000, 13_000, 14_500, 15_000] {
        cases.push(("/by-address".to_owned(), long("User-Agent", bytes)));
        cases.push(("/by-address".to_owned(), long("X-User-Id", bytes)));
        cases.push((format!("/by-address?{}", "a".repeat(bytes)), vec![]));
        cases.push((format!("/by-address?{}", "a".repeat(bytes / 2)), long("User-Agent", bytes / 2)));
    }
    for (target, fields) in cases {
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        let answer = site.get(&target, &fields).await;
        let asked = (target.len(), fields.len(), fields.first().map_or(0, |field| field.len()));
        assert!((400..=499).contains(&answer.status), "{asked:?}: {} {}", answer.head, site.said());
        assert_eq!(site.get("/by-address", &[]).await.status, 429, "after {asked:?}: {}", site.said());
    }
}
