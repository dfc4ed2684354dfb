//! Who says how a room is: operators at any node, and the rule file where it changes. Real processes, with a Redis that they share or a
//! state file of one.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_testkit::{
    RedisOptions, RedisServer, Stopwatch, TempDir, Tidegate, TidegateOptions, wait_until,
};

use crate::common::Answer;
use crate::site::{SECRET, Visitor};

const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");
const TOKEN: &str = "operator-of-the-rooms-0123456789";
const PATIENCE: Duration = Duration::from_secs(30);
/// Within what time all nodes show a room as it was made at one of them, on a machine with other things to do: mostly less than 100 ms,
/// and long before a node looks by itself.
const HEARD: Duration = Duration::from_secs(5);

fn file(rooms: &str) -> String {
    format!("version: 1\ndomains: []\nrooms:\n{rooms}")
}

fn demo(capacity: u32) -> String {
    file(&format!("  - {{ name: demo, capacity: {capacity}, release_rate: 100/s, title: Of the file }}\n"))
}

/// Nodes that have the same rule file.
struct Site {
    nodes: Vec<Tidegate>,
    rules: PathBuf,
    runtime: tokio::runtime::Runtime,
    dir: TempDir,
}

impl Site {
    fn new() -> Self {
        let dir = TempDir::new("rooms-of-nodes");
        let rules = dir.write("rules.yaml", &demo(1));
        Self { nodes: Vec::new(), rules, runtime: tokio::runtime::Runtime::new().unwrap(), dir }
    }

    /// Nodes that share this Redis.
    fn of_three(redis: &RedisServer) -> Self {
        let mut site = Self::new();
        for _ in 0..3 {
            let options = site.options(&["--store", &redis.url()]).arguments(site.secret());
            site.nodes.push(Tidegate::with(&options));
        }
        site
    }

    fn secret(&self) -> [String; 2] {
        ["--room-secret-file".to_owned(), self.dir.write("secret", SECRET).display().to_string()]
    }

    fn options(&self, arguments: &[&str]) -> TidegateOptions {
        let number = self.nodes.len();
        let database = self.dir.join(&format!("node{number}.db")).display().to_string();
        let last_good = self.dir.join(&format!("last-good-{number}"));
        let rules = self.rules.display().to_string();
        let options = TidegateOptions::new(BINARY).catalog(database, TOKEN, last_good);
        options.arguments(["--rules", &rules]).arguments(arguments)
    }

    fn ask(&self, node: usize, method: &str, target: &str) -> Answer {
        let mut visitor = Visitor::behind_proxy(self.nodes[node].address());
        self.runtime.block_on(visitor.ask(method, target, &["Accept: text/html"], ""))
    }

    fn admin(&self, node: usize, method: &str, target: &str, body: &Value) -> Answer {
        let mut operator = Visitor::behind_proxy(self.nodes[node].admin_address());
        let key = format!("Authorization: Bearer {TOKEN}");
        let fields = [key.as_str(), "Content-Type: application/json"];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.runtime.block_on(operator.ask(method, &format!("/admin/v1/rooms/{target}"), &fields, &body))
    }

    /// Stops a node in order, as a rolling restart does, and starts it again.
    fn restart(&mut self, node: usize) {
        self.nodes[node].terminate();
        self.nodes[node].restart();
    }

    /// What an operator puts is in force at that node.
    fn put(&self, node: usize, room: &Value) {
        let name = room["name"].as_str().unwrap();
        let answer = self.admin(node, "PUT", name, room);
        assert_eq!(answer.status, 200, "{}\n{}", answer.text(), self.logs());
    }

    /// The room as everybody may know it.
    fn status(&self, node: usize, room: &str) -> Value {
        let answer = self.ask(node, "GET", &format!("/v1/rooms/{room}/status"));
        if answer.status == 200 { answer.json() } else { json!(answer.status) }
    }

    fn capacity(&self, node: usize, room: &str) -> Value {
        self.status(node, room)["capacity"].clone()
    }

    /// Waits until it is so at every node, and says how long that took.
    fn everywhere(&self, what: &str, is_so: impl Fn(usize) -> bool) -> Duration {
        let began = Stopwatch::start();
        while !(0..self.nodes.len()).all(&is_so) {
            assert!(began.elapsed() < PATIENCE, "{what}\n{}", self.logs());
            self.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(10)).await });
        }
        began.elapsed()
    }

    /// Writes the rule file and waits until every node has it in force.
    fn write(&self, text: &str) {
        let count = |node: &Tidegate| node.logs().matches("new rules of the rule file are in force").count();
        let before: Vec<_> = self.nodes.iter().map(count).collect();
        fs::write(&self.rules, text).unwrap();
        for (node, before) in self.nodes.iter().zip(before) {
            node.process().hang_up();
            wait_until("the file", PATIENCE, || count(node) > before);
        }
    }

    fn logs(&self) -> String {
        self.nodes.iter().map(|node| format!("--- node\n{}", node.logs())).collect()
    }
}

fn sale(more: &Value) -> Value {
    let mut room = json!({
        "name": "sale", "capacity": 1, "release_rate": "100/s", "title": "Winter sale", "hosts": ["shop.example"],
        "message": "Soon.", "accent": "#0b6e7f", "session": { "limit": "1h", "idle": "1h" },
    });
    room.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    room
}

#[test]
fn what_an_operator_does_at_one_node_holds_at_all() {
    let redis = RedisServer::start();
    let mut site = Site::of_three(&redis);
    assert_eq!(site.status(1, "sale"), 404);
    site.put(0, &sale(&json!({})));
    let took = site.everywhere("a new room", |node| site.status(node, "sale")["message"] == "Soon.");
    assert!(took < HEARD, "{took:?}");
    for node in 0..3 {
        assert_eq!(
            site.admin(node, "GET", "sale", &Value::Null).json()["definition"]["hosts"][0],
            "shop.example"
        );
        let mut visitor = Visitor::new(site.nodes[node].address());
        let page = site.runtime.block_on(async {
            assert_eq!(visitor.get("/rooms/sale").await.status, 303);
            visitor.get("/rooms/sale?seen=1").await
        });
        assert!(page.text().contains("Winter sale") && page.text().contains("#0b6e7f"), "{}", page.text());
    }
    // The place that a visitor has at one node is one at another.
    let mut visitor = Visitor::new(site.nodes[1].address());
    let join = site.runtime.block_on(visitor.ask("POST", "/v1/rooms/sale/join", &[], ""));
    visitor.address = site.nodes[2].address();
    let poll = site.runtime.block_on(visitor.ask("POST", "/v1/rooms/sale/poll", &[], ""));
    assert_eq!(join.json()["queue_number"], poll.json()["queue_number"], "{}", poll.text());
    // What is only shown, and what decides; at another node than before.
    site.put(1, &sale(&json!({ "message": "Now.", "title": "Spring sale", "hosts": ["spring.example"] })));
    let took = site.everywhere("another message", |node| site.status(node, "sale")["message"] == "Now.");
    assert!(took < HEARD, "{took:?}");
    site.put(2, &sale(&json!({ "message": "Now.", "capacity": 7 })));
    let took = site.everywhere("another capacity", |node| site.capacity(node, "sale") == 7);
    assert!(took < HEARD, "{took:?}");
    // A room of the file is as the operator has it, too, and a node that starts learns of all.
    let of_operator = json!({ "name": "demo", "capacity": 5, "release_rate": "100/s", "message": "Of me" });
    site.put(2, &of_operator);
    site.everywhere("a room of the file", |node| site.status(node, "demo")["message"] == "Of me");
    site.restart(0);
    assert_eq!(site.status(0, "sale")["message"], "Now.", "{}", site.logs());
    assert_eq!(site.status(0, "demo")["message"], "Of me", "{}", site.logs());
    let removed = site.admin(0, "DELETE", "sale", &Value::Null);
    assert_eq!(removed.status, 200, "{}", removed.text());
    let took = site.everywhere("a room that is gone", |node| site.status(node, "sale") == 404);
    assert!(took < HEARD, "{took:?}");
    // One of the same name is a new one.
    site.put(1, &sale(&json!({ "message": "Again." })));
    site.everywhere("the room made again", |node| site.status(node, "sale")["message"] == "Again.");
}

#[test]
fn what_changed_while_a_node_was_cut_off_holds_there_afterwards() {
    let redis = RedisServer::start();
    let site = Site::of_three(&redis);
    site.put(0, &sale(&json!({})));
    site.put(0, &json!({ "name": "short", "capacity": 1, "release_rate": "1/s" }));
    site.everywhere("new rooms", |node| {
        site.capacity(node, "sale") == 1 && site.capacity(node, "short") == 1
    });
    site.nodes[2].pause();
    site.put(1, &sale(&json!({ "message": "Missed." })));
    site.put(1, &json!({ "name": "made", "capacity": 3, "release_rate": "1/s" }));
    assert_eq!(site.admin(0, "DELETE", "short", &Value::Null).status, 200);
    // Its connections end, as those of a machine that was cut off do.
    redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    site.nodes[2].resume();
    site.everywhere("what was missed", |node| {
        site.status(node, "sale")["message"] == "Missed."
            && site.capacity(node, "made") == 3
            && site.status(node, "short") == 404
    });
}

#[test]
fn a_template_that_one_node_has_not_costs_that_node_its_look_only() {
    let redis = RedisServer::start();
    let mut site = Site::new();
    site.dir.write("brand.html", r#"{% extends "page.html" %}{% block footer %}branded{% endblock %}"#);
    let templates = site.dir.path().display().to_string();
    let secret = site.secret();
    for more in [&["--room-templates", templates.as_str()][..], &[]] {
        let options = site.options(&["--store", &redis.url()]).arguments(&secret).arguments(more);
        site.nodes.push(Tidegate::with(&options));
    }
    site.put(0, &sale(&json!({ "template": "brand.html" })));
    site.everywhere("the room", |node| site.status(node, "sale")["message"] == "Soon.");
    let page = |node: usize| {
        let mut visitor = Visitor::behind_proxy(site.nodes[node].address());
        let first = site.runtime.block_on(visitor.get("/rooms/sale"));
        let target = first.field("location").unwrap_or_else(|| panic!("{}", first.head));
        site.runtime.block_on(visitor.get(target)).text()
    };
    assert!(page(0).contains("branded"), "{}", page(0));
    assert!(page(1).contains("Winter sale") && !page(1).contains("branded"), "{}", page(1));
    assert!(site.nodes[1].logs().contains("usual page"), "{}", site.logs());
}

#[test]
fn an_operators_change_outlives_a_rolling_restart_until_the_file_says_something_else() {
    let redis = RedisServer::start();
    let mut site = Site::of_three(&redis);
    let capacity = |capacity: u32| json!({ "name": "demo", "capacity": capacity, "release_rate": "100/s" });
    site.put(1, &capacity(9));
    for node in 0..3 {
        site.restart(node);
        site.everywhere("the operator's change", |node| site.capacity(node, "demo") == 9);
    }
    // The same file in other words is no news.
    site.write(&demo(1).replace("100/s", "\"100/s\""));
    assert_eq!((0..3).map(|node| site.capacity(node, "demo")).collect::<Vec<_>>(), [9, 9, 9]);
    // What the file says anew counts, also where the first node has taken it up and the others read it later.
    site.write(&demo(4));
    site.everywhere("the file's change", |node| site.capacity(node, "demo") == 4);
    site.put(2, &capacity(8));
    site.everywhere("the operator's next change", |node| site.capacity(node, "demo") == 8);
    for node in 0..3 {
        site.restart(node);
    }
    site.everywhere("it is still there", |node| site.capacity(node, "demo") == 8);
    // Also one that changed while a node was down.
    site.nodes[0].kill();
    fs::write(&site.rules, demo(5)).unwrap();
    site.nodes[0].restart();
    site.everywhere("the file's next change", |node| site.capacity(node, "demo") == 5);
}

#[test]
fn an_operators_change_is_in_the_state_file_until_the_rule_file_says_something_else() {
    let mut site = Site::new();
    let state = site.dir.join("state").display().to_string();
    let options = site.options(&["--state-file", &state]);
    site.nodes.push(Tidegate::with(&options));
    site.put(0, &json!({ "name": "demo", "capacity": 9, "release_rate": "100/s", "message": "Of me" }));
    site.put(0, &sale(&json!({})));
    site.nodes[0].restart();
    assert_eq!((site.capacity(0, "demo"), &site.status(0, "demo")["message"]), (json!(9), &json!("Of me")));
    assert_eq!(site.status(0, "sale")["message"], "Soon.", "how it looks is kept, too: {}", site.logs());
    site.write(&demo(1).replace("Of the file", "\"Of the file\""));
    assert_eq!(site.capacity(0, "demo"), 9);
    site.nodes[0].kill();
    fs::write(&site.rules, demo(5)).unwrap();
    site.nodes[0].restart();
    assert_eq!((site.capacity(0, "demo"), &site.status(0, "demo")["message"]), (json!(5), &Value::Null));
}

#[test]
fn a_node_that_waits_for_its_store_takes_up_the_rules_in_force_then() {
    let mut redis = RedisServer::with(&RedisOptions::new().setting("appendonly", "yes"));
    let mut site = Site::new();
    redis.kill();
    let options = site.options(&["--store", &redis.url()]).arguments(site.secret()).await_path("/health");
    site.nodes.push(Tidegate::with(&options));
    // Nobody is told that a room is not there which may be.
    for target in ["/v1/rooms/demo/status", "/v1/rooms/demo/line", "/rooms/demo", "/v1/authz?room=demo"] {
        let answer = site.ask(0, "GET", target);
        assert_eq!(answer.status, 503, "{target}: {}", answer.text());
        assert!(answer.field("retry-after").is_some(), "{target}: {answer:?}");
    }
    site.write(&demo(2));
    redis.restart();
    site.everywhere("the rooms", |node| site.nodes[node].logs().contains("the rooms are there"));
    assert_eq!(site.capacity(0, "demo"), 2, "{}", site.logs());
    assert_eq!(site.status(0, "other"), 404);
    // The file of the start comes back for no reason but that it is written again.
    redis.kill();
    site.write(&demo(3));
    redis.restart();
    site.everywhere("a file that came while the store was away", |node| site.capacity(node, "demo") == 3);
}

#[test]
fn nodes_without_a_secret_of_all_make_no_rooms_that_all_would_show() {
    let redis = RedisServer::start();
    let mut site = Site::new();
    fs::write(&site.rules, file("  []\n")).unwrap();
    let with = site.options(&["--store", &redis.url()]);
    site.nodes.push(Tidegate::with(&with));
    let answer = site.admin(0, "PUT", "sale", &sale(&json!({})));
    assert!(answer.status == 409 && answer.text().contains("--room-secret-file"), "{}", answer.text());
    // One that has a secret makes it, and the other one says why it does not show it.
    let with_secret = site.options(&["--store", &redis.url()]).arguments(site.secret());
    site.nodes.push(Tidegate::with(&with_secret));
    site.put(1, &sale(&json!({})));
    wait_until("what is wrong", PATIENCE, || site.nodes[0].logs().contains("cannot be shown here"));
    assert_eq!(site.status(0, "sale"), 404);
}
