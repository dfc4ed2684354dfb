//! A rule file whose rooms change while visitors wait: the real program, with and without a signal.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_testkit::{TempDir, Tidegate, wait_until};

use crate::site::Visitor;

const PATIENCE: Duration = Duration::from_secs(60);

fn file(rooms: &str) -> String {
    format!(
        "version: 1\ndomains: [{{ name: d, rules: [{{ name: r, key: [], limit: 5, window: 1m }}] }}]\nrooms:\n{rooms}"
    )
}

fn room(name: &str, capacity: u32, more: &str) -> String {
    format!(
        "  - {{ name: {name}, capacity: {capacity}, release_rate: 1000/s, session: {{ limit: 1h, idle: 1h }}{more} }}\n"
    )
}

struct Node {
    server: Tidegate,
    runtime: tokio::runtime::Runtime,
}

impl Node {
    fn ask(&self, method: &str, target: &str) -> (u16, Value) {
        let mut visitor = Visitor::behind_proxy(self.server.address());
        let answer = self.runtime.block_on(visitor.ask(method, target, &[], ""));
        (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
    }

    fn capacity(&self, room: &str) -> Value {
        self.ask("GET", &format!("/v1/rooms/{room}/status")).1["capacity"].clone()
    }

    fn says(&self, what: &str) -> bool {
        self.server.logs().contains(what)
    }
}

#[test]
fn rooms_follow_the_rule_file_and_what_is_wrong_changes_nothing() {
    let dir = TempDir::new("rooms-reloaded");
    let path = dir.write("rules.yaml", &file(&room("demo", 1, "")));
    let arguments = ["--rules", &path.display().to_string()];
    let node = Node {
        server: Tidegate::start(env!("CARGO_BIN_EXE_tidegate"), &arguments),
        runtime: tokio::runtime::Runtime::new().unwrap(),
    };
    let mut visitors = vec![];
    for state in ["admitted", "waiting"] {
        let mut visitor = Visitor::new(node.server.address());
        assert_eq!(node.runtime.block_on(visitor.seat("join"))["state"], state);
        visitors.push(visitor);
    }
    // A new room, and more seats in the one that is there: who waits is called, and keeps its number.
    fs::write(&path, file(&(room("demo", 2, ", message: Welcome") + &room("sale", 3, "")))).unwrap();
    node.server.process().hang_up();
    wait_until("the new room", PATIENCE, || node.capacity("sale") == 3);
    let seat = node.runtime.block_on(visitors[1].seat("poll"));
    assert_eq!((&seat["state"], &seat["queue_number"]), (&json!("ready"), &json!(2)));
    assert_eq!(seat["message"], "Welcome");
    // Wrong in what only the server sees: its line is said, and nothing of the file holds, not even what is right.
    let wrong = room("demo", 9, "") + &room("sale", 9, ", hosts: ['*.example']") + &room("third", 1, "");
    fs::write(&path, file(&wrong)).unwrap();
    wait_until("what is wrong", PATIENCE, || node.says("rooms[1].hosts[0]") && node.says(":5:"));
    assert_eq!((node.capacity("demo"), node.capacity("sale")), (json!(2), json!(3)));
    assert_eq!(node.ask("POST", "/v1/rooms/third/join").0, 404);
    // A room that is in the file no more stays, and a warning says so.
    fs::write(&path, file(&room("demo", 4, ""))).unwrap();
    wait_until("the room that stays", PATIENCE, || node.says("not in the rule file any more"));
    wait_until("the room that changes", PATIENCE, || node.capacity("demo") == 4);
    assert_eq!(node.ask("POST", "/v1/rooms/sale/join").0, 200);
    assert_eq!(node.runtime.block_on(visitors[0].seat("poll"))["state"], "admitted");
}

#[test]
fn a_room_that_is_kept_goes_on_without_the_file() {
    let dir = TempDir::new("rooms-kept");
    let path = dir.write("rules.yaml", &file(&room("demo", 1, "")));
    let state = dir.join("state").display().to_string();
    let arguments = ["--rules", &path.display().to_string(), "--state-file", &state];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let start = || Tidegate::start(env!("CARGO_BIN_EXE_tidegate"), &arguments);
    let server = start();
    let mut visitors: Vec<_> = (0..2).map(|_| Visitor::new(server.address())).collect();
    for (visitor, number) in visitors.iter_mut().zip(1..) {
        assert_eq!(runtime.block_on(visitor.seat("join"))["queue_number"], number);
    }
    drop(server);
    fs::write(&path, file("  []\n")).unwrap();
    let server = start();
    let seat = {
        let waits = &mut visitors[1];
        waits.address = server.address();
        runtime.block_on(waits.seat("poll"))
    };
    assert_eq!((&seat["state"], &seat["queue_number"]), (&json!("waiting"), &json!(2)), "{}", server.logs());
    assert!(server.logs().contains("not in the rule file: it goes on"), "{}", server.logs());
}
