//! Goal: a door that has as much as it can do sheds the rest at once, the least important first, and is itself again as soon
//! as there is room.
//! Method: in this process, a store that answers when the test lets it; and the real program with ten times as many clients
//! as it takes, on a Redis that has become slow.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod common;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use common::{Client, START, compile, limits, options};
use serde_json::{Value, json};
use tidegate::door::overload::{Overload, Priority};
use tidegate::gate::Gate;
use tidegate::http::{HttpDoor, HttpOptions, Readiness};
use tidegate::net::{ListenOptions, Listeners, Server, StreamServer, bind};
use tidegate::resp::{Pipelines, RespDoor, RespOptions};
use tidegate_core::rule::RuleSet;
use tidegate_core::time::Timestamp;
use tidegate_engine::{Engine, ManualClock};
use tidegate_store::{
    Applied, BucketAddress, BucketStore, MemoryOptions, MemoryStore, Outcome, Plan, PlannedBucket, StoreError,
};
use tidegate_testkit::{FaultProxy, RedisServer, Stopwatch, TempDir, Tidegate, TidegateOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{JoinSet, yield_now};

const RULES: &str = "version: 1
domains:
  - name: d
    rules:
      - { name: plenty, key: [u], limit: 1_000_000, window: 60s }
  - name: q
    rules:
      - { name: valve, key: [], algorithm: leaky_bucket, limit: 1, window: 1m, queue: { max_wait: 5m, max_depth: 5 } }
";

/// How long a request may take to be in progress, or over.
const PATIENCE: Duration = Duration::from_secs(20);

const SHED: &str = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";

/// The embedded store, which answers checks only while it is open.
#[derive(Clone)]
struct Held {
    memory: Arc<MemoryStore>,
    open: Arc<watch::Sender<bool>>,
}

impl BucketStore for Held {
    async fn apply(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Applied, StoreError> {
        let _ = self.open.subscribe().wait_for(|open| *open).await;
        self.memory.apply(plan, now).await
    }

    async fn peek(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Applied, StoreError> {
        self.memory.peek(plan, now).await
    }

    async fn refund(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Applied, StoreError> {
        self.memory.refund(plan, now).await
    }

    async fn withdraw(&self, plan: &Plan<'_>, outcome: &Outcome, now: Timestamp) -> Result<(), StoreError> {
        self.memory.withdraw(plan, outcome, now).await
    }

    async fn debit(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Applied, StoreError> {
        self.memory.debit(plan, now).await
    }

    async fn reset(&self, plan: &Plan<'_>, now: Timestamp) -> Result<(), StoreError> {
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
        self.memory.release(address, permit, now).await
    }
}

/// A server whose store the test opens and closes.
struct Site {
    address: SocketAddr,
    overload: Overload,
    /// The RESP door, which decides in order.
    resp: SocketAddr,
    resp_overload: Overload,
    open: Arc<watch::Sender<bool>>,
}

impl Site {
    async fn start(capacity: usize) -> Self {
        let memory = Arc::new(MemoryStore::new(&MemoryOptions::new([1, 2])));
        let open = Arc::new(watch::Sender::new(true));
        let store = Held { memory, open: Arc::clone(&open) };
        let engine = Engine::with_parts(compile(RULES), store, ManualClock::new(START), None);
        let (overload, resp_overload) = (Overload::new("http", capacity), Overload::new("resp", capacity));
        let options = HttpOptions { overload: overload.clone(), ..options() };
        let resp_options = RespOptions {
            pipelines: Pipelines::InOrder,
            ipv6_prefix: options.identity.ipv6_prefix,
            overload: resp_overload.clone(),
            tls: None,
        };
        let listen = || bind(&ListenOptions::new("127.0.0.1:0".parse().unwrap(), "--listen")).unwrap();
        let (listener, resp_listener) = (listen(), listen());
        let (address, resp) = (listener.local_addr().unwrap(), resp_listener.local_addr().unwrap());
        let door = RespDoor::new(Gate::from(engine.clone()), resp_options);
        let listeners = Listeners { tcp: Some(resp_listener), ..Listeners::default() };
        let server = StreamServer::new("resp", limits()).unwrap();
        tokio::spawn(server.run(listeners, door, std::future::pending()));
        let door = HttpDoor::new(engine, options, Readiness::default());
        let server = Server::new("test", limits()).unwrap();
        tokio::spawn(server.run(listener, move |peer| door.service(peer), std::future::pending()));
        Self { address, overload, resp, resp_overload, open }
    }

    async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    /// Sends a check on a connection of its own, and waits until it is in progress.
    async fn send(&self, check: &Value) -> Client {
        let (mut client, before) = (self.client().await, self.overload.in_progress());
        let body = check.to_string();
        let head = format!("POST /v1/check HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n", body.len());
        client.send((head + &body).as_bytes()).await;
        self.until(before + 1).await;
        client
    }

    async fn until(&self, in_progress: usize) {
        until(&self.overload, in_progress).await;
    }
}

async fn until(overload: &Overload, in_progress: usize) {
    let waiting = async {
        while overload.in_progress() != in_progress {
            yield_now().await;
        }
    };
    let reached = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(reached.is_ok(), "{} are in progress, not {in_progress}", overload.in_progress());
}

fn check(priority: &str) -> Value {
    json!({"domain": "d", "descriptors": {"u": "1", "priority": priority}})
}

#[tokio::test]
async fn the_last_parts_are_for_the_important_ones_and_what_is_shed_is_told_so() {
    let site = Site::start(10).await;
    site.open.send_replace(false);
    let mut inside = Vec::new();
    for (priority, most) in [("low", 5), ("normal", 8), ("high", 9), ("critical", 10)] {
        while inside.len() < most {
            inside.push(site.send(&check(priority)).await);
        }
        let shed = site.client().await.check(check(priority)).await;
        assert_eq!((shed.status, shed.field("retry-after")), (503, Some("1")), "{priority}");
        assert_eq!(shed.field("content-type"), Some("application/problem+json"));
        assert_eq!(shed.json()["type"], SHED);
    }
    let mut client = site.client().await;
    let batch = json!({"checks": [check("critical")]}).to_string();
    assert_eq!(client.post("/v1/checks", batch).await.status, 503);
    for path in ["/v1/authz", "/api/data?user_id=a", "/stats/a"] {
        let status = client.get(path).await.status;
        // Without such a domain, the demo is not there at all.
        assert_eq!(status, if path.starts_with("/api") { 404 } else { 503 }, "{path}");
    }
    for path in ["/health", "/circuit-breaker-status", "/"] {
        assert_eq!(client.get(path).await.status, 200, "{path}");
    }
    let page = String::from_utf8(client.get("/metrics").await.body).unwrap();
    for line in [
        "tidegate_requests_in_progress{door=\"http\"} 10",
        "tidegate_requests_shed_total{door=\"http\",priority=\"low\"} 2",
        "tidegate_requests_shed_total{door=\"http\",priority=\"normal\"} 2",
        "tidegate_requests_shed_total{door=\"http\",priority=\"high\"} 1",
        "tidegate_requests_shed_total{door=\"http\",priority=\"critical\"} 2",
    ] {
        assert!(page.contains(line), "{line} in {page}");
    }

    site.open.send_replace(true);
    for mut client in inside {
        assert_eq!(client.answer(false).await.unwrap().status, 200, "what was let in is answered");
    }
    site.until(0).await;
    assert_eq!(client.check(check("low")).await.status, 200, "and there is room again");
}

#[tokio::test]
async fn a_client_that_sends_slowly_holds_nothing() {
    let site = Site::start(1).await;
    let body = check("normal").to_string();
    let (first, rest) = body.split_at(body.len() / 2);
    let mut slow = site.client().await;
    let head = format!("POST /v1/check HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n{first}", body.len());
    slow.send(head.as_bytes()).await;
    let mut other = site.client().await;
    for _ in 0..3 {
        assert_eq!(other.check(check("low")).await.status, 200);
    }
    slow.send(rest.as_bytes()).await;
    assert_eq!(slow.answer(false).await.unwrap().status, 200);
    assert_eq!(Priority::ALL.map(|priority| site.overload.shed(priority)), [0; 4]);
}

#[tokio::test]
async fn whoever_waits_in_a_queue_is_in_progress_until_it_leaves() {
    let site = Site::start(1).await;
    let mut client = site.client().await;
    let queued = json!({"domain": "q", "descriptors": {"u": "1"}});
    assert_eq!(client.check(queued.clone()).await.status, 200);
    let waiting = site.send(&queued).await;
    assert_eq!(client.check(check("critical")).await.status, 503);
    drop(waiting);
    site.until(0).await;
    assert_eq!(client.check(check("low")).await.status, 200);
}

#[tokio::test]
async fn a_pipeline_that_is_decided_in_order_is_one_request_in_progress() {
    let site = Site::start(2).await;
    site.open.send_replace(false);
    let mut pipelines = Vec::new();
    for connection in 1..=2 {
        let mut pipeline = TcpStream::connect(site.resp).await.unwrap();
        pipeline.write_all(&b"CL.THROTTLE k 99 1 3600\r\n".repeat(50)).await.unwrap();
        until(&site.resp_overload, connection).await;
        pipelines.push(pipeline);
    }
    let mut other = TcpStream::connect(site.resp).await.unwrap();
    other.write_all(b"PING\r\nTIDEGATE.CHECK d u 1 priority critical\r\nQUIT\r\n").await.unwrap();
    let mut said = String::new();
    tokio::time::timeout(PATIENCE, other.read_to_string(&mut said)).await.unwrap().unwrap();
    assert!(said.starts_with("+PONG\r\n-BUSY ") && said.ends_with("\r\n+OK\r\n"), "{said}");
    assert_eq!(site.resp_overload.shed(Priority::Critical), 1);
    assert_eq!(site.overload.in_progress(), 0, "doors are counted apart");

    site.open.send_replace(true);
    for mut pipeline in pipelines {
        pipeline.write_all(b"QUIT\r\n").await.unwrap();
        let mut said = String::new();
        pipeline.read_to_string(&mut said).await.unwrap();
        assert_eq!(said.matches("*5\r\n:0\r\n").count(), 50, "one permit was enough for all of them");
    }
    until(&site.resp_overload, 0).await;
}

#[tokio::test]
async fn a_redis_client_that_leaves_its_place_in_a_queue_is_in_progress_no_more() {
    let site = Site::start(1).await;
    let connect = async || TcpStream::connect(site.resp).await.unwrap();
    let ask = b"TIDEGATE.CHECK q u 1\r\n";
    let mut first = connect().await;
    first.write_all(&[ask.as_slice(), b"QUIT\r\n"].concat()).await.unwrap();
    let mut said = String::new();
    first.read_to_string(&mut said).await.unwrap();
    assert!(said.starts_with("*6\r\n:1\r\n"), "{said}");
    for meanwhile in ["", "PING\r\n*1\r\n$4"] {
        let mut waiting = connect().await;
        waiting.write_all(ask).await.unwrap();
        until(&site.resp_overload, 1).await;
        // What it sends meanwhile, whole or torn, is no reason to wait for it.
        waiting.write_all(meanwhile.as_bytes()).await.unwrap();
        drop(waiting);
        until(&site.resp_overload, 0).await;
    }
}

#[tokio::test]
async fn a_redis_client_that_sends_ahead_or_ends_its_side_still_hears_the_answers() {
    let site = Site::start(1).await;
    site.open.send_replace(false);
    let mut client = TcpStream::connect(site.resp).await.unwrap();
    client.write_all(b"CL.THROTTLE k 99 1 3600\r\n").await.unwrap();
    until(&site.resp_overload, 1).await;
    // More than is read ahead, and torn.
    client.write_all(&b"CL.THROTTLE k 99 1 3600\r\n".repeat(400)[..9_000]).await.unwrap();
    site.open.send_replace(true);
    let one = b"*5\r\n:0\r\n:100\r\n:99\r\n:-1\r\n:3600\r\n";
    let mut said = vec![0; one.len()];
    client.read_exact(&mut said).await.unwrap();
    assert_eq!(said, one);
    let rest = &b"CL.THROTTLE k 99 1 3600\r\n".repeat(400)[9_000..];
    client.write_all(&[rest, b"QUIT\r\n"].concat()).await.unwrap();
    let mut said = String::new();
    client.read_to_string(&mut said).await.unwrap();
    assert_eq!(said.matches("*5\r\n").count(), 400);
    assert!(said.ends_with("+OK\r\n"), "{said}");

    site.open.send_replace(false);
    let mut client = TcpStream::connect(site.resp).await.unwrap();
    client.write_all(b"CL.THROTTLE other 99 1 3600\r\n").await.unwrap();
    until(&site.resp_overload, 1).await;
    client.shutdown().await.unwrap();
    site.open.send_replace(true);
    let mut said = String::new();
    client.read_to_string(&mut said).await.unwrap();
    assert_eq!(said.as_bytes(), one);
}

/// Requests that the server takes at one time.
const CAPACITY: usize = 16;
/// Clients that ask at one time: ten times as many.
const CLIENTS: usize = 10 * CAPACITY;
/// What each of them asks.
const REQUESTS: usize = 20;
/// How long an answer of the slow store takes.
const SLOW: Duration = Duration::from_millis(100);
/// How long an answer may take that is shed, on a machine that has much else to do: a hundred times what it takes there.
const AT_ONCE: Duration = Duration::from_secs(2);

#[test]
fn ten_times_too_many_clients_on_a_slow_store_are_shed_and_the_server_recovers() {
    let redis = RedisServer::start();
    let proxy = FaultProxy::start(redis.address(), 11);
    let dir = TempDir::new("overload");
    let rules = dir.write("rules.yaml", RULES).display().to_string();
    let server = Tidegate::with(&TidegateOptions::new(env!("CARGO_BIN_EXE_tidegate")).arguments([
        "--rules",
        &rules,
        "--store",
        &format!("redis://{}", proxy.address()),
        "--store-deadline",
        "10s",
        "--fail-mode",
        "deny",
        "--max-concurrent-requests",
        &CAPACITY.to_string(),
    ]));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    proxy.change(|faults| faults.reply_delay = SLOW);
    let (mut passed, mut shed, mut slowest) = (0, 0, Duration::ZERO);
    runtime.block_on(async {
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            clients.spawn(crowd(server.address(), number));
        }
        for (one_passed, one_shed, one_slowest) in clients.join_all().await {
            (passed, shed, slowest) = (passed + one_passed, shed + one_shed, slowest.max(one_slowest));
        }
    });
    println!("{passed} passed, {shed} were shed, the slowest of them after {slowest:?}");
    assert_eq!(passed + shed, CLIENTS * REQUESTS, "no other answer");
    // As long as clients have something to ask, those that the server takes are busy.
    assert!(passed >= CAPACITY && shed >= CLIENTS, "{passed} passed, {shed} were shed");
    assert!(slowest < AT_ONCE, "{slowest:?}");

    proxy.heal();
    runtime.block_on(async {
        let mut client = Client::connect(server.address()).await;
        for _ in 0..CLIENTS {
            assert_eq!(client.check(check("low")).await.status, 200, "with room again, nobody is shed");
        }
        let page = String::from_utf8(client.get("/metrics").await.body).unwrap();
        assert!(page.contains("tidegate_requests_in_progress{door=\"http\"} 0"), "{page}");
        let counted = format!("tidegate_requests_shed_total{{door=\"http\",priority=\"normal\"}} {shed}\n");
        assert!(page.contains(&counted), "{counted} in {page}");
    });
}

#[test]
fn a_queue_that_holds_more_than_the_door_is_warned_of() {
    let dir = TempDir::new("overload");
    let rules = dir.write("rules.yaml", RULES).display().to_string();
    for (capacity, is_warned) in [("4", true), ("5", false)] {
        let arguments = ["--rules", &*rules, "--max-concurrent-requests", capacity];
        let mut server = Tidegate::start(env!("CARGO_BIN_EXE_tidegate"), &arguments);
        server.terminate();
        assert_eq!(server.logs().contains("more requests may wait"), is_warned, "{}", server.logs());
    }
}

#[test]
fn the_default_of_connections_gives_way_to_the_limit_of_open_files() {
    let dir = TempDir::new("overload");
    for (open_files, arguments, said) in [
        ("4000", &[][..], "INFO "),
        ("1100", &[][..], "few connections of each door"),
        ("4000", &["--max-connections", "1200"], "fewer open files are allowed than connections"),
        ("4000", &["--max-connections", "1100"], "listening"),
    ] {
        let script =
            format!("#!/bin/sh\nulimit -n {open_files}\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_tidegate"));
        let script = dir.write("limited", &script);
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let all = TidegateOptions::new(&script).grpc().arguments(["--resp-listen", "127.0.0.1:0"]);
        let mut server = Tidegate::with(&all.arguments(arguments));
        server.terminate();
        let logs = server.logs();
        assert!(logs.contains(said), "{open_files} {arguments:?}: {logs}");
        let is_warned = logs.lines().any(|line| line.contains("WARN"));
        assert_eq!(is_warned, said.contains("connections"), "{open_files} {arguments:?}: {logs}");
        if arguments.is_empty() {
            let each = (open_files.parse::<usize>().unwrap() - 512) / 3;
            assert!(logs.contains(&format!("connections={each}")), "{logs}");
        }
    }
}

/// One of the crowd: how many of its requests passed, how many were shed, and the longest time that took.
async fn crowd(address: SocketAddr, number: usize) -> (usize, usize, Duration) {
    let mut client = Client::connect(address).await;
    let (mut passed, mut shed, mut slowest) = (0, 0, Duration::ZERO);
    for _ in 0..REQUESTS {
        let watch = Stopwatch::start();
        let answer = client.check(json!({"domain": "d", "descriptors": {"u": number}})).await;
        match answer.status {
            200 => passed += 1,
            503 if answer.json()["type"] == SHED => {
                assert_eq!(answer.field("retry-after"), Some("1"));
                (shed, slowest) = (shed + 1, slowest.max(watch.elapsed()));
            }
            _ => panic!("{answer:?}"),
        }
    }
    (passed, shed, slowest)
}
