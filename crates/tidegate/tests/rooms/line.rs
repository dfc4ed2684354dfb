//! The line: who comes in, who waits, when sessions end.

use std::time::Duration;

use serde_json::json;
use tidegate_core::time::Micros;
use tidegate_testkit::Tidegate;

use crate::site::{SECRET, Visitor, five_seats, serve};

async fn six(address: std::net::SocketAddr) -> Vec<Visitor> {
    let mut visitors = Vec::new();
    for number in 1..=6 {
        let mut visitor = Visitor::new(address);
        let seat = visitor.seat("join").await;
        let state = if number <= 5 { "admitted" } else { "waiting" };
        assert_eq!((&seat["state"], &seat["queue_number"]), (&json!(state), &json!(number)));
        visitors.push(visitor);
    }
    visitors
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_are_in_and_the_sixth_comes_in_when_one_leaves() {
    let (address, _clock) = serve(&[five_seats("demo")], SECRET).await;
    let mut visitors = six(address).await;
    let seat = visitors[5].seat("poll").await;
    assert_eq!((&seat["position"], &seat["waiting"], &seat["pass"]), (&json!(0), &json!(1), &json!(null)));
    assert_eq!(visitors[5].call("claim", json!({})).await.status, 409, "it is not its turn");
    assert_eq!(visitors[2].call("leave", json!({})).await.status, 204);
    let seat = visitors[5].seat("poll").await;
    assert_eq!((&seat["state"], &seat["claim"]["extensions_left"]), (&json!("ready"), &json!(10)));
    let seat = visitors[5].call("claim", json!({"extend": true})).await.json();
    assert_eq!((&seat["state"], &seat["claim"]["extensions_left"]), (&json!("ready"), &json!(9)));
    let seat = visitors[5].seat("claim").await;
    assert_eq!((&seat["state"], &seat["session"]["left_ms"]), (&json!("admitted"), &json!(40_000)));
    assert_eq!(seat["session"]["heartbeat_ms"], 5_000);
    let seat = visitors[2].seat("poll").await;
    assert_eq!((&seat["state"], &seat["why"]), (&json!("ended"), &json!("left")));
    assert_eq!(visitors[2].call("claim", json!({})).await.status, 410);
    let status = visitors[0].ask("GET", "/v1/rooms/demo/status", &[], "").await;
    assert_eq!(status.field("cache-control"), Some("public, max-age=1"));
    assert_eq!((&status.json()["active"], &status.json()["waiting"]), (&json!(5), &json!(0)));
}

/// What has to happen by itself, in the real program: nobody asks while the pass of a closed tab runs out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seat_that_nobody_uses_is_offered_without_being_asked_for() {
    let dir = tidegate_testkit::TempDir::new("rooms");
    let rules = "version: 1\ndomains: []\nrooms:\n  - { name: demo, capacity: 5, release_rate: 100/s, session: { limit: 40s, idle: 2s } }\n";
    let rules = dir.write("rules.yaml", rules).display().to_string();
    let node = Tidegate::start(env!("CARGO_BIN_EXE_tidegate"), &["--rules", &rules]);
    let mut visitors = six(node.address()).await;
    // Events of a room reach whoever follows them; this one is told without asking.
    let mut stream = crate::common::Client::to_proxy(node.address()).await;
    let cookies: Vec<String> =
        visitors[5].cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let request =
        format!("GET /v1/rooms/demo/events HTTP/1.1\r\nHost: test\r\nCookie: {}\r\n\r\n", cookies.join("; "));
    stream.send(request.as_bytes()).await;
    let head = stream.answer(true).await.unwrap();
    assert_eq!((head.status, head.field("content-type")), (200, Some("text/event-stream")));
    let told = tokio::time::timeout(Duration::from_secs(20), stream.until(b"\"state\":\"ready\"")).await;
    let text = String::from_utf8(told.unwrap().unwrap()).unwrap();
    assert!(text.contains("event: line\ndata: {") && text.contains("event: seat\ndata: {"), "{text}");
    let seat = visitors[5].seat("poll").await;
    assert_eq!(seat["state"], "ready", "{}", node.logs());
    let seat = visitors[0].seat("poll").await;
    assert_eq!((&seat["state"], &seat["why"]), (&json!("ended"), &json!("idle")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_ends_at_its_limit_however_often_somebody_is_there() {
    let (address, clock) = serve(&[five_seats("demo")], SECRET).await;
    let mut visitor = Visitor::new(address);
    let tokens = visitor.seat("join").await;
    let started_at = tokens["session"]["started_at"].clone();
    for second in (5..40).step_by(5) {
        clock.advance(Micros::from_secs(5));
        let seat = visitor.seat("heartbeat").await;
        assert_eq!((&seat["state"], &seat["session"]["started_at"]), (&json!("admitted"), &started_at));
        assert_eq!(seat["session"]["left_ms"], (40 - second) * 1_000);
    }
    clock.advance(Micros::from_millis(4_999));
    assert_eq!(visitor.seat("heartbeat").await["session"]["left_ms"], 1);
    clock.advance(Micros::from_millis(1));
    let seat = visitor.seat("heartbeat").await;
    assert_eq!(
        (&seat["state"], &seat["why"], &seat["pass"]),
        (&json!("ended"), &json!("session_limit"), &json!(null))
    );
    // Where the browser keeps no cookies for the page's server, its pass has expired, and its ticket tells why.
    let mut elsewhere = Visitor::new(address);
    let answer = elsewhere.call("heartbeat", json!({ "pass": tokens["pass"] })).await;
    assert_eq!(answer.status, 410, "{answer:?}");
    let both = json!({ "pass": tokens["pass"], "ticket": tokens["ticket"] });
    let seat = elsewhere.call("heartbeat", both).await.json();
    assert_eq!((&seat["state"], &seat["why"]), (&json!("ended"), &json!("session_limit")));
    // Without a sign of life it ends sooner.
    assert_eq!(visitor.seat("join").await["queue_number"], 2);
    clock.advance(Micros::from_secs(15));
    let seat = visitor.seat("poll").await;
    assert_eq!((&seat["state"], &seat["why"]), (&json!("ended"), &json!("idle")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_tabs_of_one_visitor_have_one_ticket() {
    let (address, _clock) = serve(&[five_seats("demo")], SECRET).await;
    let mut first = Visitor::new(address);
    // The page gives the browser its cookie before it gives a place.
    let bounce = first.get("/rooms/demo").await;
    assert!(bounce.status == 303 && bounce.field("location").unwrap().starts_with("/rooms/demo?seen="));
    let mut tabs = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let mut tab = first.clone();
        tabs.spawn(async move { tab.seat("join").await });
    }
    let mut tickets = std::collections::BTreeSet::new();
    while let Some(seat) = tabs.join_next().await {
        let seat = seat.unwrap();
        assert_eq!((&seat["queue_number"], &seat["state"]), (&json!(1), &json!("admitted")));
        tickets.insert(seat["session"]["started_at"].to_string());
    }
    assert_eq!(tickets.len(), 1, "one session with one start");
    assert_eq!(Visitor::new(address).seat("join").await["queue_number"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_goes_loses_its_session_only_if_it_stays_away() {
    let (address, clock) = serve(&[five_seats("demo")], SECRET).await;
    let mut visitor = Visitor::new(address);
    visitor.seat("join").await;
    clock.advance(Micros::from_secs(2));
    let beacon = visitor
        .ask("POST", "/v1/rooms/demo/leave", &["Content-Type: text/plain;charset=UTF-8"], r#"{"hint":true}"#)
        .await;
    assert_eq!(beacon.status, 204);
    assert_eq!(visitor.seat("heartbeat").await["state"], "admitted", "a reload looks the same");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_right_after_a_sign_of_life_is_to_give_another_soon() {
    let (address, clock) = serve(&[five_seats("demo")], SECRET).await;
    let mut visitor = Visitor::new(address);
    visitor.seat("join").await;
    for call in ["join", "heartbeat", "poll"] {
        clock.advance(Micros::from_secs(3));
        assert_eq!(visitor.seat("heartbeat").await["session"]["heartbeat_ms"], 5_000);
        // The page may have said that it goes, and this sign of life is none: it comes too soon.
        clock.advance(Micros::from_millis(400));
        assert_eq!(visitor.seat(call).await["session"]["heartbeat_ms"], 1_000, "{call}");
        clock.advance(Micros::from_secs(1));
        assert_eq!(visitor.seat("heartbeat").await["session"]["heartbeat_ms"], 5_000);
    }
    // Looking at the page is a sign of life.
    clock.advance(Micros::from_secs(14));
    assert_eq!(visitor.get("/rooms/demo").await.status, 200);
    clock.advance(Micros::from_secs(2));
    assert_eq!(visitor.seat("poll").await["state"], "admitted");
}
