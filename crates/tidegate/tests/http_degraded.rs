//! Goal: an answer that the store did not make says so, and a client is told the truth about when to come back.
//! Method: a real server on a loopback socket, whose store is switched off by the test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Answer, Client, START, compile, example_node, limits, options};
use serde_json::{Value, json};
use tidegate::http::{HttpDoor, Readiness};
use tidegate::net::{ListenOptions, Server, bind};
use tidegate_core::rule::RuleSet;
use tidegate_core::time::{Micros, Timestamp};
use tidegate_engine::{Engine, EngineOptions, GuardOptions, Guarded, ManualClock};
use tidegate_store::{
    Applied, BucketAddress, BucketStore, MemoryOptions, MemoryStore, Outcome, Plan, PlannedBucket, StoreError,
};

const RULES: &str = "version: 1
domains:
  - name: d
    rules:
      - { name: open, match: { route: open }, key: [u], limit: 2, window: 60s, on_store_failure: allow }
      - { name: shut, match: { route: shut }, key: [u], limit: 2, window: 60s, on_store_failure: deny }
      - { name: here, match: { route: here }, key: [u], limit: 4, window: 60s, on_store_failure: local }
      - { name: seats, match: { route: seats }, key: [u], algorithm: concurrency, limit: 2, permit_ttl: 30s, on_store_failure: local }
  - name: demo
    on_store_failure: allow
    rules:
      - { name: per-user, key: [user_id], limit: 10, window: 60s }
";

/// The embedded store behind a switch. Clones share everything.
#[derive(Clone)]
struct Switched {
    memory: Arc<MemoryStore>,
    on: Arc<AtomicBool>,
}

impl Switched {
    fn answer(&self) -> Result<(), StoreError> {
        let on = self.on.load(Ordering::SeqCst);
        if on { Ok(()) } else { Err(StoreError::Unavailable("redis://user:secret@host".to_owned())) }
    }
}

impl BucketStore for Switched {
    async fn apply(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Applied, StoreError> {
        self.answer()?;
        self.memory.apply(plan, now).await
    }

    async fn peek(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Applied, StoreError> {
        self.answer()?;
        self.memory.peek(plan, now).await
    }

    async fn refund(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Applied, StoreError> {
        self.answer()?;
        self.memory.refund(plan, now).await
    }

    async fn withdraw(&self, plan: &Plan<'_>, outcome: &Outcome, now: Timestamp) -> Result<(), StoreError> {
        self.answer()?;
        self.memory.withdraw(plan, outcome, now).await
    }

    async fn debit(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Applied, StoreError> {
        self.answer()?;
        self.memory.debit(plan, now).await
    }

    async fn reset(&self, plan: &Plan<'_>, now: Timestamp) -> Result<(), StoreError> {
        self.answer()?;
        self.memory.reset(plan, now).await
    }

    fn rules_changed(&self, rules: &RuleSet, at: Timestamp) {
        self.memory.rules_changed(rules, at);
    }

    fn address(&self, plan: &Plan<'_>, bucket: &PlannedBucket<'_>) -> BucketAddress {
        self.memory.address(plan, bucket)
    }

    async fn release(
        &self,
        address: &BucketAddress,
        permit: u64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.answer()?;
        self.memory.release(address, permit, now).await
    }
}

/// A server whose store can be switched off, with two nodes alive.
struct Site {
    address: SocketAddr,
    store: Switched,
    clock: ManualClock,
}

impl Site {
    async fn start() -> Self {
        let clock = ManualClock::new(START);
        let memory = Arc::new(MemoryStore::new(&MemoryOptions::new([1, 2])));
        let store = Switched { memory, on: Arc::new(AtomicBool::new(true)) };
        let guarded = Guarded::new("redis", store.clone(), GuardOptions::default(), clock.clone(), None);
        let breaker = Some(guarded.breaker());
        let engine_options = EngineOptions { breaker, ..EngineOptions::default() };
        let engine = Engine::with_options(compile(RULES), guarded, clock.clone(), engine_options);
        engine.set_live_nodes(2);
        let listener = bind(&ListenOptions::new("127.0.0.1:0".parse().unwrap(), "--listen")).unwrap();
        let address = listener.local_addr().unwrap();
        let door = HttpDoor::new(engine, options(), Readiness::default());
        let server = Server::new("test", limits()).unwrap();
        tokio::spawn(server.run(listener, move |peer| door.service(peer), std::future::pending()));
        Self { address, store, clock }
    }

    fn switch(&self, on: bool) {
        self.store.on.store(on, Ordering::SeqCst);
    }

    /// A server whose store is switched off, and a client.
    async fn without_store() -> (Self, Client) {
        let site = Self::start().await;
        site.switch(false);
        let client = Client::connect(site.address).await;
        (site, client)
    }
}

fn request(route: &str) -> Value {
    json!({"domain": "d", "descriptors": {"u": "1", "route": route}})
}

fn text(answer: Answer) -> String {
    String::from_utf8(answer.body).unwrap()
}

#[tokio::test]
async fn allow_says_that_nothing_is_known() {
    let (_site, mut client) = Site::without_store().await;
    for _ in 0..5 {
        let answer = client.check(request("open")).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.field("x-tidegate-degraded"), Some("allow"));
        assert_eq!(answer.field("content-type"), Some("application/json"));
        for absent in ["ratelimit", "ratelimit-policy", "retry-after"] {
            assert_eq!(answer.field(absent), None, "{absent}");
        }
        assert_eq!(
            text(answer),
            r#"{"allowed":true,"remaining":null,"limit":null,"window":null,"reset_at":null,"degraded":true,"domain":"d","rule":null,"rules_version":1}"#
        );
    }
}

#[tokio::test]
async fn deny_is_a_503_that_says_when_to_come_back() {
    let (_site, mut client) = Site::without_store().await;
    let answer = client.check(request("shut")).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.field("x-tidegate-degraded"), Some("deny"));
    assert_eq!(answer.field("content-type"), Some("application/problem+json"));
    assert_eq!((answer.field("retry-after"), answer.field("ratelimit")), (Some("1"), None));
    assert_eq!(
        text(answer),
        concat!(
            r#"{"type":"urn:tidegate:problem:store-unavailable","title":"The store is unavailable","status":503,"#,
            r#""detail":"The store does not answer, and nothing may pass without it. Try again in 1 second.","#,
            r#""message":"The store does not answer, and nothing may pass without it. Try again in 1 second.","#,
            r#""allowed":false,"remaining":null,"limit":null,"window":null,"reset_at":null,"retry_after_ms":1000,"#,
            r#""degraded":true,"domain":"d","rule":null,"rules_version":1}"#
        )
    );
    for _ in 0..5 {
        client.check(request("shut")).await;
    }
    let answer = client.check(request("shut")).await;
    assert_eq!(answer.field("retry-after"), Some("60"), "nobody probes here: after the cool-down");
}

#[tokio::test]
async fn local_answers_by_this_nodes_share() {
    let (site, mut client) = Site::without_store().await;
    let answer = client.check(request("here")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.field("x-tidegate-degraded"), Some("local"));
    assert_eq!(answer.field("ratelimit-policy"), Some(r#""here";q=2;w=60"#));
    assert_eq!(answer.field("ratelimit"), Some(r#""here";r=1;t=30"#));
    assert_eq!(
        text(answer),
        r#"{"allowed":true,"remaining":1,"limit":2,"window":60,"reset_at":1767225630.000,"degraded":true,"domain":"d","rule":"here","rules_version":1}"#
    );
    client.check(request("here")).await;
    let denied = client.check(request("here")).await;
    assert_eq!((denied.status, denied.field("retry-after")), (429, Some("30")));
    assert_eq!(denied.field("x-tidegate-degraded"), Some("local"));
    let body = denied.json();
    assert_eq!((&body["allowed"], &body["degraded"]), (&json!(false), &json!(true)));
    assert_eq!(body["violated-policies"], json!(["here"]));
    assert_eq!(body["detail"], "Rate limit exceeded. Try again in 30 seconds.");
    site.clock.advance(Micros::from_secs(30));
    assert_eq!(client.check(request("here")).await.status, 200);
}

#[tokio::test]
async fn a_cost_that_is_only_too_much_for_the_share_may_come_back() {
    let (_site, mut client) = Site::without_store().await;
    let mut large = request("here");
    large["cost"] = json!(3);
    let answer = client.check(large.clone()).await;
    assert_eq!((answer.status, answer.field("retry-after")), (503, Some("1")));
    assert_eq!(
        answer.json()["detail"],
        "The store does not answer, and alone this node lets at most 2 units pass at once. Try again in 1 second."
    );
    large["cost"] = json!(5);
    let answer = client.check(large).await;
    assert_eq!((answer.status, answer.field("retry-after")), (422, None), "too much for the whole quota");
}

#[tokio::test]
async fn items_of_a_batch_say_so_one_by_one_and_the_strictest_policy_is_in_the_head() {
    let (site, mut client) = Site::without_store().await;
    let items = |routes: &[&str]| {
        json!({"checks": routes.iter().map(|route| request(route)).collect::<Vec<_>>()}).to_string()
    };
    for (routes, strictest) in [
        (&["open", "none"][..], Some("allow")),
        (&["open", "here", "open"], Some("local")),
        (&["open", "shut", "here"], Some("deny")),
        (&["none", "none"], None),
    ] {
        let answer = client.post("/v1/checks", items(routes)).await;
        assert_eq!((answer.status, answer.field("x-tidegate-degraded")), (200, strictest), "{routes:?}");
        let results = answer.json()["results"].clone();
        for (index, route) in routes.iter().enumerate() {
            let degraded = if *route == "none" { Value::Null } else { json!(true) };
            assert_eq!(results[index]["degraded"], degraded, "{route}");
            assert_eq!(results[index]["allowed"], *route != "shut", "{route}");
        }
    }
    site.switch(true);
    site.clock.advance(Micros::from_secs(60));
    let answer = client.post("/v1/checks", items(&["open", "shut", "here"])).await;
    assert_eq!(answer.field("x-tidegate-degraded"), None);
    assert!(!String::from_utf8(answer.body).unwrap().contains("degraded"));
}

#[tokio::test]
async fn the_demo_endpoint_says_so_too() {
    let (_site, mut client) = Site::without_store().await;
    let answer = client.get("/api/data?user_id=alice").await;
    assert_eq!((answer.status, answer.field("x-tidegate-degraded")), (200, Some("allow")));
    assert_eq!(answer.json()["degraded"], true);
}

#[tokio::test]
async fn permits_of_this_node_are_given_back_to_it() {
    let (_site, mut client) = Site::without_store().await;
    let take = request("seats").to_string();
    let first = client.post("/v1/permits", &take).await;
    assert_eq!((first.status, first.field("x-tidegate-degraded")), (200, Some("local")));
    let permit = first.json()["permit_id"].as_str().unwrap().to_owned();
    assert_eq!(client.post("/v1/permits", &take).await.status, 429, "half of two is one");
    let target = format!("/v1/permits/{permit}");
    assert_eq!(client.request("DELETE", &target, "", b"").await.status, 204);
    assert_eq!(client.request("DELETE", &target, "", b"").await.status, 404);

    let open = client.post("/v1/permits", request("open").to_string()).await;
    assert_eq!((open.status, open.field("x-tidegate-degraded")), (200, Some("allow")));
    assert_eq!(open.json().get("permit_id"), None, "there is nothing to give back");
    assert_eq!(client.post("/v1/permits", request("shut").to_string()).await.status, 503);
}

#[tokio::test]
async fn what_has_no_policy_is_a_503_without_the_stores_words() {
    let (_site, mut client) = Site::without_store().await;
    let refund = client.post("/v1/refund", request("open").to_string()).await;
    assert_eq!((refund.status, refund.field("retry-after")), (503, Some("1")));
    assert_eq!(refund.json()["type"], "urn:tidegate:problem:store-unavailable");
    assert!(!String::from_utf8(refund.body).unwrap().contains("secret"));
    assert_eq!(client.get("/v1/stats/d/1").await.status, 503);
    let mut peek = request("shut");
    peek["peek"] = json!(true);
    assert_eq!(client.check(peek).await.field("x-tidegate-degraded"), Some("deny"), "a look has one");
}

#[tokio::test]
async fn the_breaker_tells_its_state() {
    let site = Site::start().await;
    let mut client = Client::connect(site.address).await;
    let closed = client.get("/circuit-breaker-status").await;
    assert_eq!((closed.status, closed.field("cache-control")), (200, Some("no-store")));
    assert_eq!(
        text(closed),
        r#"{"state":"closed","consecutive_failures":0,"failure_threshold":5,"cool_down_ms":60000,"opened_at":null,"next_attempt_in_ms":null,"last_error":null,"transitions":0,"rejected":0,"store":"redis"}"#
    );
    site.switch(false);
    for _ in 0..8 {
        client.check(request("open")).await;
    }
    site.clock.advance(Micros::from_micros(1_500_000));
    assert_eq!(
        text(client.get("/circuit-breaker-status").await),
        r#"{"state":"open","consecutive_failures":5,"failure_threshold":5,"cool_down_ms":60000,"opened_at":1767225600.000,"next_attempt_in_ms":58500,"last_error":"unavailable","transitions":1,"rejected":3,"store":"redis"}"#
    );
    site.switch(true);
    site.clock.advance(Micros::from_secs(60));
    assert_eq!(client.check(request("open")).await.field("x-tidegate-degraded"), None);
    let body = client.get("/circuit-breaker-status").await.json();
    assert_eq!((&body["state"], &body["transitions"]), (&json!("closed"), &json!(3)));
    assert_eq!((&body["opened_at"], &body["last_error"]), (&Value::Null, &json!("unavailable")));
    assert_eq!(client.post("/circuit-breaker-status", "").await.status, 405);
    assert!(text(client.get("/").await).contains("/circuit-breaker-status"));
}

#[tokio::test]
async fn the_embedded_store_has_a_breaker_that_never_opens() {
    let (node, _) = example_node().await;
    let body = node.client().await.get("/circuit-breaker-status").await.json();
    assert_eq!((&body["state"], &body["store"]), (&json!("closed"), &json!("memory")));
    assert_eq!((&body["failure_threshold"], &body["cool_down_ms"]), (&json!(5), &json!(60_000)));
}
