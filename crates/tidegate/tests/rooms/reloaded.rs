//! A rule file whose rooms change while visitors wait: the real program, with and without a signal.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::rooms::{Definition, RoomKeys};
use tidegate_config::{RoomDefinition, parse_room};
use tidegate_core::room::{Opening, OpeningOrder};
use tidegate_core::time::Micros;
use tidegate_testkit::{TempDir, Tidegate, wait_until};

use crate::common::{START, options};
use crate::site::{SECRET, Visitor, serve_as};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_taken_up_as_a_whole_and_only_where_it_has_changed() {
    let mut kept = None;
    let keep = |rooms: tidegate::rooms::Rooms| {
        kept = Some(rooms.clone());
        rooms
    };
    let (address, _clock) = serve_as(&[], SECRET, "version: 1\ndomains: []", options(), keep).await;
    let rooms = kept.unwrap();
    let of = |name: &str, capacity: u32, more: &str| -> RoomDefinition {
        parse_room(&format!("{{ name: {name}, capacity: {capacity}, release_rate: 9/s{more} }}"), "t")
            .unwrap()
    };
    let capacity = async |room: &str| {
        let answer = Visitor::new(address).ask("GET", &format!("/v1/rooms/{room}/status"), &[], "").await;
        (answer.status == 200).then(|| answer.json()["capacity"].as_u64().unwrap())
    };
    let first = [of("demo", 1, "")];
    rooms.take_up(&first).await.unwrap();
    assert_eq!(capacity("demo").await, Some(1));
    // An operator's change stays while the file says the same.
    let keys = RoomKeys::parse(SECRET, "test").unwrap();
    rooms.define(&Definition::of_file(&of("demo", 9, ""), &keys).unwrap()).await.unwrap();
    rooms.take_up(&first).await.unwrap();
    assert_eq!(capacity("demo").await, Some(9));
    // One room that cannot be: nothing of the file holds.
    let wrong = [of("demo", 2, ""), of("new", 2, ""), of("bad", 2, ", template: x.html")];
    let error = rooms.take_up(&wrong).await.unwrap_err().to_string();
    assert!(error.contains("room bad") && error.contains("--room-templates"), "{error}");
    assert_eq!((capacity("demo").await, capacity("new").await), (Some(9), None));
    // Rules of the same file that cannot be in force take its rooms back.
    rooms.take_up(&[of("demo", 3, ""), of("new", 3, "")]).await.unwrap();
    assert_eq!((capacity("demo").await, capacity("new").await), (Some(3), Some(3)));
    rooms.put_back().await;
    assert_eq!((capacity("demo").await, capacity("new").await), (Some(9), None));
    rooms.take_up(&[of("new", 4, "")]).await.unwrap();
    assert_eq!((capacity("demo").await, capacity("new").await), (Some(9), Some(4)), "what is gone stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_opening_that_is_over_may_go_and_a_room_that_cannot_be_keeps_nothing_else_down() {
    let mut kept = None;
    let keep = |rooms: tidegate::rooms::Rooms| {
        kept = Some(rooms.clone());
        rooms
    };
    let (address, clock) = serve_as(&[], SECRET, "version: 1\ndomains: []", options(), keep).await;
    let rooms = kept.unwrap();
    let at = START.saturating_add(Micros::from_secs(60));
    let of = |name: &str, capacity: u32, opens: bool| -> RoomDefinition {
        let text = format!("{{ name: {name}, capacity: {capacity}, release_rate: 9/s }}");
        let mut room = parse_room(&text, "t").unwrap();
        room.spec.opening = opens.then_some(Opening { at, order: OpeningOrder::Shuffled });
        room
    };
    let status = async |room: &str| {
        let status =
            Visitor::new(address).ask("GET", &format!("/v1/rooms/{room}/status"), &[], "").await.json();
        (status["room_state"].clone(), status["capacity"].clone())
    };
    rooms.take_up(&[of("demo", 1, true)]).await.unwrap();
    let mut visitor = Visitor::new(address);
    assert_eq!(visitor.seat("join").await["state"], "waiting");
    // Its draw is committed to: it opens when it was said, and the file is in force but for that.
    rooms.take_up(&[of("demo", 2, false), of("other", 3, false)]).await.unwrap();
    assert_eq!(status("demo").await, (json!("scheduled"), json!(1)));
    assert_eq!(status("other").await, (json!("open"), json!(3)));
    clock.advance(Micros::from_secs(61));
    rooms.take_up(&[of("demo", 2, true), of("other", 3, false)]).await.unwrap();
    assert_eq!(status("demo").await, (json!("open"), json!(2)));
    rooms.take_up(&[of("demo", 4, false), of("other", 3, false)]).await.unwrap();
    assert_eq!(status("demo").await, (json!("open"), json!(4)));
    assert_eq!(visitor.seat("poll").await["queue_number"], 1);
}
