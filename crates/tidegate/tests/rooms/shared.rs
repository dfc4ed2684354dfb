//! Three nodes and one Redis, all of them real processes: a room is one room, whichever node a visitor asks, and nobody loses a place when
//! a node or Redis is killed.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_testkit::{RedisOptions, RedisServer, Stopwatch, TempDir, Tidegate, TidegateOptions};
use tokio::task::JoinSet;

use crate::site::{SECRET, Visitor};

const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");
/// How long others may take to go on with the rooms of a node that was killed.
const TAKEN_OVER: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(30);

struct Site {
    redis: RedisServer,
    /// The first has made the room, and keeps it.
    nodes: Vec<Tidegate>,
    _dir: TempDir,
}

impl Site {
    /// A room with so many seats.
    fn start(capacity: u32) -> Self {
        let options = RedisOptions::new().setting("appendonly", "yes").setting("appendfsync", "always");
        let redis = RedisServer::with(&options);
        let dir = TempDir::new("shared-rooms");
        let rules = format!(
            "version: 1\ndomains: []\nrooms:\n  - {{ name: demo, capacity: {capacity}, release_rate: 100/s, session: {{ limit: 600s, \
             idle: 60s, early_end: frees_seat }} }}\n"
        );
        let rules = dir.write("rules.yaml", &rules).display().to_string();
        let secret = dir.write("secret", SECRET).display().to_string();
        let store = redis.url();
        let arguments = ["--rules", &rules, "--room-secret-file", &secret, "--store", &store];
        let options = TidegateOptions::new(BINARY).arguments(arguments);
        let nodes = (0..3).map(|_| Tidegate::with(&options)).collect();
        Self { redis, nodes, _dir: dir }
    }

    fn visitor(&self, node: usize) -> Visitor {
        Visitor::new(self.nodes[node].address())
    }

    /// The same visitor at another node.
    fn goes(&self, visitor: &mut Visitor, node: usize) {
        visitor.address = self.nodes[node].address();
    }

    fn logs(&self) -> String {
        self.nodes.iter().map(|node| format!("--- node\n{}", node.logs())).collect()
    }
}

/// Calls until it is answered; how long that took.
async fn at_last(visitor: &mut Visitor, call: &str) -> (Value, Duration) {
    let began = Stopwatch::start();
    loop {
        let answer = visitor.call(call, json!({})).await;
        match answer.status {
            200 => return (answer.json(), began.elapsed()),
            503 if began.elapsed() < PATIENCE => tokio::time::sleep(Duration::from_millis(50)).await,
            status => panic!("{call}: {status} after {:?}: {}", began.elapsed(), answer.text()),
        }
    }
}

/// So many visitors wait, of which each has joined at another node.
async fn line(site: &Site, count: usize) -> Vec<Visitor> {
    let mut visitors = Vec::new();
    for number in 1..=count {
        let mut visitor = site.visitor(number % 3);
        let (seat, _) = at_last(&mut visitor, "join").await;
        assert_eq!(
            (&seat["state"], &seat["queue_number"]),
            (&json!("waiting"), &json!(number)),
            "{}",
            site.logs()
        );
        visitors.push(visitor);
    }
    visitors
}

async fn nobody_lost_a_place(site: &Site, visitors: &mut [Visitor], nodes: &[usize]) {
    for (place, visitor) in visitors.iter_mut().enumerate() {
        site.goes(visitor, nodes[place % nodes.len()]);
        let (seat, _) = at_last(visitor, "poll").await;
        let found = (&seat["state"], &seat["queue_number"], &seat["position"]);
        assert_eq!(found, (&json!("waiting"), &json!(place + 1), &json!(place)), "{}", site.logs());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_visitor_joins_at_one_node_polls_at_another_and_claims_at_the_third() {
    let site = Site::start(1);
    let mut inside = site.visitor(0);
    assert_eq!(at_last(&mut inside, "join").await.0["state"], "admitted", "{}", site.logs());
    let mut visitor = site.visitor(1);
    let (seat, _) = at_last(&mut visitor, "join").await;
    assert_eq!((&seat["state"], &seat["queue_number"]), (&json!("waiting"), &json!(2)), "{}", site.logs());
    site.goes(&mut visitor, 2);
    let (seat, _) = at_last(&mut visitor, "poll").await;
    assert_eq!((&seat["state"], &seat["position"]), (&json!("waiting"), &json!(0)));
    site.goes(&mut inside, 1);
    assert_eq!(inside.call("leave", json!({})).await.status, 204);
    let began = Stopwatch::start();
    while at_last(&mut visitor, "poll").await.0["state"] != "ready" {
        assert!(began.elapsed() < PATIENCE, "{}", site.logs());
    }
    println!("a freed seat was offered at another node after {:?}", began.elapsed());
    site.goes(&mut visitor, 0);
    let (seat, _) = at_last(&mut visitor, "claim").await;
    assert_eq!(seat["state"], "admitted");
    // A page that says it goes, and comes back at another node.
    let hint = r#"{"hint":true}"#;
    let fields = ["Content-Type: text/plain;charset=UTF-8"];
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(visitor.ask("POST", "/v1/rooms/demo/leave", &fields, hint).await.status, 204);
    site.goes(&mut visitor, 2);
    assert_eq!(at_last(&mut visitor, "heartbeat").await.0["state"], "admitted");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(at_last(&mut visitor, "heartbeat").await.0["state"], "admitted", "it was heard of again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_tabs_at_three_nodes_have_one_ticket() {
    let site = Site::start(0);
    for round in 1..=100 {
        let mut first = site.visitor(round % 3);
        // The page gives the browser its cookie before it gives a place.
        assert_eq!(first.get("/rooms/demo").await.status, 303);
        let mut tabs = JoinSet::new();
        for tab in 0..100 {
            let mut visitor = first.clone();
            site.goes(&mut visitor, tab % 3);
            tabs.spawn(async move { at_last(&mut visitor, "join").await.0["queue_number"].clone() });
        }
        let numbers: BTreeSet<_> = tabs.join_all().await.iter().map(ToString::to_string).collect();
        assert_eq!(numbers, BTreeSet::from([round.to_string()]), "{}", site.logs());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_killed_costs_nobody_a_place() {
    let mut site = Site::start(0);
    let mut visitors = line(&site, 9).await;
    site.nodes[0].kill();
    // Who waits is told so meanwhile, by replicas.
    site.goes(&mut visitors[4], 1);
    assert_eq!(visitors[4].seat("poll").await["position"], 4);
    let (seat, took) = at_last(&mut site.visitor(1), "join").await;
    println!("others went on after {took:?}");
    assert!(took < TAKEN_OVER, "{took:?}\n{}", site.logs());
    assert_eq!(seat["queue_number"], 10);
    nobody_lost_a_place(&site, &mut visitors, &[1, 2]).await;
    // The next one is told to stop, and the last is alone at once.
    site.nodes[1].terminate();
    let (seat, took) = at_last(&mut site.visitor(2), "join").await;
    println!("after an orderly stop others went on after {took:?}");
    assert_eq!(seat["queue_number"], 11);
    assert!(took < Duration::from_secs(2), "{took:?}\n{}", site.logs());
    nobody_lost_a_place(&site, &mut visitors, &[2]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_killed_costs_nobody_a_place() {
    let mut site = Site::start(0);
    let mut visitors = line(&site, 9).await;
    site.redis.kill();
    let answer = site.visitor(1).call("join", json!({})).await;
    assert_eq!(answer.status, 503, "what cannot be kept is refused: {}", answer.text());
    for node in 0..3 {
        site.goes(&mut visitors[4], node);
        assert_eq!(visitors[4].seat("poll").await["position"], 4, "{}", site.logs());
    }
    site.redis.restart();
    let (seat, took) = at_last(&mut site.visitor(2), "join").await;
    println!("rooms went on {took:?} after Redis did");
    assert_eq!(seat["queue_number"], 10, "{}", site.logs());
    assert!(took < TAKEN_OVER, "{took:?}\n{}", site.logs());
    nobody_lost_a_place(&site, &mut visitors, &[0, 1, 2]).await;
}

#[test]
fn nodes_that_share_rooms_without_a_secret_say_what_is_missing() {
    let dir = TempDir::new("shared-secret");
    let rules = "version: 1\ndomains: []\nrooms:\n  - { name: demo, capacity: 1, release_rate: 1/s }\n";
    let rules = dir.write("rules.yaml", rules).display().to_string();
    let redis = RedisServer::start();
    let arguments = ["--rules", &rules, "--listen", "127.0.0.1:0", "--store", &redis.url()];
    let output = std::process::Command::new(BINARY).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("--room-secret-file"), "{said}");
}
