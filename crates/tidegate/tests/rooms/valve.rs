//! Rules that send to a room: a place in line instead of a refusal, and no limit for those who were let in.

use serde_json::{Value, json};
use tidegate_core::time::Micros;
use tidegate_wire::room::site::AllowedHosts;

use crate::common::{Answer, Client};
use crate::site::{SECRET, Visitor, five_seats, serve_with};

/// One request in ten seconds passes by itself.
const RULES: &str = "version: 1
domains:
  - name: shop
    subject: user_id
    rules:
      - { name: valve, key: [], limit: 1, window: 10s, on_limit: room, room: demo }
  - name: strict
    subject: user_id
    rules:
      - { name: valve, key: [], limit: 1, window: 10s, on_limit: room, room: demo }
      - { name: per-user, key: [user_id], limit: 2, window: 1h }
  - name: always
    rules:
      - { name: valve, key: [], limit: 0, window: 1s, on_limit: room, room: demo }
  - name: lost
    rules:
      - { name: valve, key: [client_ip], limit: 0, window: 1s, on_limit: room, room: gone }
rooms:
  - { name: demo, capacity: 5, release_rate: 1/s }
  - { name: gone, capacity: 5, release_rate: 1/s }
";

struct Shop {
    client: Client,
    domain: &'static str,
}

impl Shop {
    async fn ask(&mut self, user: &str) -> Answer {
        self.ask_with(json!({ "user_id": user }), json!({})).await
    }

    async fn ask_with(&mut self, descriptors: Value, more: Value) -> Answer {
        let mut body = json!({ "domain": self.domain, "descriptors": descriptors });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.client.check(body).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_over_the_limit_has_a_place_in_line() {
    let (address, clock) = serve_with(&[five_seats("demo")], SECRET, RULES).await;
    let mut shop = Shop { client: Client::connect(address).await, domain: "shop" };
    let first = shop.ask("u0").await;
    assert_eq!((first.status, first.json().get("room")), (200, None), "under the limit nobody waits");
    let mut passes = Vec::new();
    for number in 1..=5 {
        let answer = shop.ask(&format!("u{number}")).await;
        assert_eq!(answer.status, 200, "there are seats: {}", answer.text());
        let room = &answer.json()["room"];
        assert_eq!((&room["state"], &room["queue_number"]), (&json!("admitted"), &json!(number)));
        passes.push(room["pass"].clone());
    }
    let waits = shop.ask("u6").await;
    let body = waits.json();
    assert_eq!((waits.status, &body["allowed"]), (429, &json!(false)));
    assert_eq!(waits.field("content-type"), Some("application/problem+json"));
    let room = &body["room"];
    assert_eq!(
        (&room["state"], &room["position"], &room["queue_number"]),
        (&json!("waiting"), &json!(0), &json!(6))
    );
    assert_eq!((&room["pass"], &room["room"]), (&json!(null), &json!("demo")));
    // When to come again is said by the room, not by the bucket.
    assert_eq!(body["retry_after_ms"], room["poll_after_ms"]);
    let seconds = room["poll_after_ms"].as_u64().unwrap().div_ceil(1_000);
    assert_eq!(waits.field("retry-after"), Some(seconds.to_string().as_str()));
    assert!(body["message"].as_str().unwrap().contains("next in the waiting room demo"), "{body}");
    // Asking again, by name or by ticket, is the same place.
    for answer in [
        shop.ask("u6").await,
        shop.ask_with(json!({ "path": "/" }), json!({ "ticket": room["ticket"] })).await,
        shop.ask_with(json!({ "user_id": "else" }), json!({ "ticket": room["ticket"] })).await,
    ] {
        assert_eq!((answer.status, &answer.json()["room"]["queue_number"]), (429, &json!(6)));
    }
    let behind = shop.ask("u7").await.json();
    assert_eq!((&behind["room"]["queue_number"], &behind["room"]["position"]), (&json!(7), &json!(1)));
    assert!(behind["message"].as_str().unwrap().contains("1 ahead of you"), "{behind}");
    // Who is inside is not limited: by name, or by the pass, whoever asks.
    for _ in 0..3 {
        assert_eq!(shop.ask("u1").await.status, 200);
        let by_pass = shop.ask_with(json!({ "path": "/" }), json!({ "pass": passes[1] })).await;
        assert_eq!(by_pass.status, 200, "{}", by_pass.text());
    }
    // Its turn: the next request that comes as told goes through.
    let mut inside = Visitor::new(address);
    assert_eq!(inside.call("leave", json!({ "pass": passes[4] })).await.status, 204);
    let admitted = shop.ask("u6").await;
    assert_eq!((admitted.status, &admitted.json()["room"]["state"]), (200, &json!("admitted")));
    assert_eq!(shop.ask("u7").await.status, 429);
    // The pass of somebody who left is no pass.
    let left = shop.ask_with(json!({ "path": "/" }), json!({ "pass": passes[4] })).await;
    assert_eq!((left.status, &left.json()["room"]["ticket"]), (429, &json!(null)));
    clock.advance(Micros::from_secs(41));
    let over = shop.ask_with(json!({ "path": "/" }), json!({ "pass": passes[1] })).await;
    assert_eq!(over.status, 200, "the bucket has filled");
    let over = shop.ask_with(json!({ "path": "/" }), json!({ "pass": passes[1] })).await;
    assert_eq!(over.status, 429, "a session that is over passes nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_given_a_place_that_could_be_anybodys() {
    let (address, _clock) = serve_with(&[five_seats("demo")], SECRET, RULES).await;
    let mut shop = Shop { client: Client::connect(address).await, domain: "always" };
    let nobody = shop.ask_with(json!({ "path": "/" }), json!({})).await;
    let body = nobody.json();
    assert_eq!(
        (nobody.status, &body["room"]["state"], &body["room"]["ticket"]),
        (429, &json!("waiting"), &json!(null))
    );
    assert!(body["message"].as_str().unwrap().contains("client_ip"), "{body}");
    // By address there is somebody.
    let one = shop.ask_with(json!({ "client_ip": "192.0.2.1" }), json!({})).await;
    assert_eq!((one.status, &one.json()["room"]["queue_number"]), (200, &json!(1)));
    // A question changes nothing.
    let peek = json!({ "peek": true });
    let asked = shop.ask_with(json!({ "client_ip": "192.0.2.2" }), peek.clone()).await;
    assert_eq!((asked.status, &asked.json()["room"]["queue_number"]), (429, &json!(null)));
    let next = shop.ask_with(json!({ "client_ip": "192.0.2.3" }), json!({})).await.json();
    assert_eq!(next["room"]["queue_number"], 2);
    let ticket = json!({ "peek": true, "ticket": next["room"]["ticket"] });
    assert_eq!(shop.ask_with(json!({ "path": "/" }), ticket).await.status, 200);
    // Forged ones are none; a room that is not there leaves a refusal.
    for token in [json!({ "ticket": "v1.t" }), json!({ "pass": "v1.p" })] {
        assert_eq!(shop.ask_with(json!({ "path": "/" }), token).await.status, 429);
    }
    let mut lost = Shop { client: Client::connect(address).await, domain: "lost" };
    let refused = lost.ask_with(json!({ "client_ip": "192.0.2.1" }), json!({})).await;
    assert_eq!((refused.status, refused.json().get("room")), (429, None));
    let too_long = json!({ "ticket": "a".repeat(2_049) });
    assert_eq!(shop.ask_with(json!({ "path": "/" }), too_long).await.status, 422);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_rules_hold_for_those_who_were_let_in() {
    let (address, _clock) = serve_with(&[five_seats("demo")], SECRET, RULES).await;
    let mut shop = Shop { client: Client::connect(address).await, domain: "strict" };
    assert_eq!(shop.ask("u0").await.status, 200);
    for _ in 0..2 {
        let let_in = shop.ask("u1").await.json();
        assert_eq!((&let_in["room"]["state"], &let_in["rule"]), (&json!("admitted"), &json!("per-user")));
    }
    let refused = shop.ask("u1").await;
    let body = refused.json();
    assert_eq!((refused.status, body.get("room")), (429, None), "a place in line would not help: {body}");
    // The list has what each had alone.
    let check = |user: &str| json!({ "domain": "strict", "descriptors": { "user_id": user } });
    let checks = json!({ "checks": [check("u2"), check("u1"), check("u3")] });
    let answer = shop.client.post("/v1/checks", checks.to_string()).await;
    let results = answer.json()["results"].clone();
    let states: Vec<_> = (0..3).map(|index| results[index]["room"]["state"].clone()).collect();
    assert_eq!(states, [json!("admitted"), json!(null), json!("admitted")], "{results}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_proxy_people_go_to_the_page_and_programs_get_a_place() {
    let mut room = five_seats("demo");
    room.hosts = AllowedHosts::new(["http://test"]).unwrap();
    let (address, _clock) = serve_with(&[room], SECRET, RULES).await;
    let authz = "/v1/authz?domain=always";
    // A person, with a browser that knows nothing yet.
    let mut browser = Visitor::new(address);
    let sent = browser.get(authz).await;
    assert_eq!(sent.status, 302, "{}", sent.text());
    assert_eq!(sent.field("location"), Some("/rooms/demo?return_to=/v1/authz"));
    for _ in 0..2 {
        browser.get("/rooms/demo").await;
    }
    assert!(browser.cookies.contains_key("tidegate_pass_demo"), "{:?}", browser.cookies);
    let passes = browser.get(authz).await;
    assert_eq!(passes.status, 200, "who has a pass is not limited: {}", passes.text());
    // A pass that was copied without its device is nobody's.
    let mut thief = Visitor::new(address);
    thief.cookies.insert("tidegate_pass_demo".to_owned(), browser.cookies["tidegate_pass_demo"].clone());
    assert_eq!(thief.get(authz).await.status, 302);
    // Programs that keep no cookies are one by their address; its seat is no browser's.
    let mut program = Visitor::new(address);
    let let_in = program.ask("GET", authz, &["Accept: application/json"], "").await;
    assert_eq!((let_in.status, &let_in.json()["room"]["queue_number"]), (200, &json!(2)));
    assert!(program.cookies.is_empty(), "{:?}", program.cookies);
    let again = Visitor::new(address).ask("POST", authz, &[], "").await;
    assert_eq!((again.status, &again.json()["room"]["queue_number"]), (200, &json!(2)));
    // Programs with a seat of their own show its ticket.
    let mut others = Vec::new();
    for number in 3..=6 {
        let seat = Visitor::new(address).seat("join").await;
        assert_eq!(seat["queue_number"], number);
        others.push(seat);
    }
    let ticket = format!("X-Tidegate-Ticket: {}", others[3]["ticket"].as_str().unwrap());
    let waits = program.ask("GET", authz, &[&ticket], "").await;
    let body = waits.json();
    assert_eq!((waits.status, &body["room"]["queue_number"]), (429, &json!(6)));
    assert_eq!(
        (waits.field("vary"), waits.field("x-tidegate-status")),
        (Some("accept, cookie"), Some("429"))
    );
    let seconds = body["room"]["poll_after_ms"].as_u64().unwrap().div_ceil(1_000).to_string();
    assert_eq!(waits.field("retry-after"), Some(seconds.as_str()));
    let pass = format!("X-Tidegate-Pass: {}", others[0]["pass"].as_str().unwrap());
    let passes = program.ask("DELETE", authz, &[&pass], "").await;
    assert_eq!(passes.status, 200, "{}", passes.text());
    // A browser that is in line keeps its place by what it asks.
    let mut seventh = Visitor::new(address);
    assert_eq!(seventh.seat("join").await["queue_number"], 7);
    let waits = seventh.ask("POST", authz, &[], "").await;
    assert_eq!((waits.status, &waits.json()["room"]["position"]), (429, &json!(1)));
}
