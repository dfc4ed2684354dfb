//! Who is let through to the site, as a proxy asks: whose session goes on, and nobody else with a pass.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tidegate::http::HttpOptions;
use tidegate::rooms::{Definition, OneSeatPer};
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::room::{EarlyEnd, RoomName, SessionTerms, Settings, Spec};
use tidegate_core::time::Micros;
use tidegate_engine::{Clock, ManualClock};
use tidegate_store::rooms::{Durability, JournalOptions, MemoryRooms};
use tidegate_testkit::{RedisOptions, RedisServer, Stopwatch, TempDir, Tidegate, TidegateOptions};
use tidegate_wire::identity::{HeaderFamily, IdentityPolicy, TrustedProxies};

use crate::common::{START, options};
use crate::site::{SECRET, Visitor, five_seats, serve, serve_as, serve_kept, serve_with};

const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");
const AUTHZ: &str = "/v1/authz?room=demo";
const TOKEN: &str = "an-operator-of-these-tests";
const PATIENCE: Duration = Duration::from_secs(30);
/// How long Redis is away: more than twice as long as a session may be idle.
const OUTAGE: Duration = Duration::from_secs(11);

/// What a proxy is told of a request with what this browser has now, which goes on having it.
async fn told(visitor: &Visitor, address: std::net::SocketAddr) -> u16 {
    let mut copy = Visitor { address, ..visitor.clone() };
    copy.ask("GET", AUTHZ, &[], "").await.status
}

/// The same, once it is this.
async fn is_told(visitor: &Visitor, address: std::net::SocketAddr, status: u16) {
    let began = Stopwatch::start();
    loop {
        match told(visitor, address).await {
            found if found == status => return,
            found => assert!(began.elapsed() < PATIENCE, "{found} instead of {status}"),
        }
    }
}

fn one_seat(early_end: EarlyEnd) -> Definition {
    let release = Quota::new(Algorithm::TokenBucket, 1_000, Micros::from_secs(1), None).unwrap();
    let session = SessionTerms {
        limit: Some(Micros::from_secs(3_600)),
        idle: Some(Micros::from_secs(900)),
        early_end,
        ..SessionTerms::default()
    };
    let settings = Settings::new(Spec { session, ..Spec::new(1, release) }).unwrap();
    Definition::new(RoomName::new("demo").unwrap(), settings)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_left_is_not_let_in_again_however_long_ago() {
    for (early_end, later) in [(EarlyEnd::FreesSeat, 429), (EarlyEnd::HoldsSeat, 204)] {
        let (address, clock) = serve(&[one_seat(early_end)], SECRET).await;
        let mut visitor = Visitor::new(address);
        visitor.seat("join").await;
        let before = visitor.clone();
        assert_eq!(told(&before, address).await, 204);
        assert_eq!(visitor.call("leave", json!({})).await.status, 204);
        assert_eq!(told(&before, address).await, 429, "{early_end:?}");
        // Nobody remembers why its place is over; where its seat is held, that harms nobody.
        clock.advance(Micros::from_secs(660));
        assert_eq!(told(&before, address).await, later, "{early_end:?}");
        clock.advance(Micros::from_secs(240));
        assert_eq!(told(&before, address).await, 429, "the pass has expired");
    }
}

/// Rooms whose passes outlast what a node remembers, and an operator.
fn node(dir: &TempDir, name: &str, more: &[&str]) -> Tidegate {
    let rules = "version: 1\ndomains: []\nrooms:\n  - { name: demo, capacity: 1, release_rate: 100/s, session: { limit: 1h, idle: 15m, \
                 early_end: frees_seat } }\n";
    let rules = dir.write("rules.yaml", rules).display().to_string();
    let secret = dir.write("secret", SECRET).display().to_string();
    let options = TidegateOptions::new(BINARY)
        .catalog(dir.join(&format!("{name}.db")).display().to_string(), TOKEN, dir.join(name))
        .arguments(["--rules", &rules, "--room-secret-file", &secret])
        .arguments(more);
    Tidegate::with(&options)
}

fn operator(node: &Tidegate, arguments: &[&str]) {
    let output = std::process::Command::new(BINARY)
        .args(arguments)
        .env("TIDEGATE_ADMIN", format!("http://{}", node.admin_address()))
        .env("TIDEGATE_ADMIN_KEY", TOKEN)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_left_or_was_sent_away_is_not_let_in_after_a_restart() {
    let dir = TempDir::new("rooms-ends");
    let state = dir.join("state").display().to_string();
    let mut node = node(&dir, "node", &["--state-file", &state]);
    let address = node.address();
    let mut visitor = Visitor::new(address);
    assert_eq!(visitor.seat("join").await["state"], "admitted");
    let before = visitor.clone();
    assert_eq!(visitor.call("leave", json!({})).await.status, 204);
    let mut next = Visitor::new(address);
    assert_eq!(next.seat("join").await["state"], "admitted", "{}", node.logs());
    assert_eq!((told(&before, address).await, told(&next, address).await), (429, 204));
    node.terminate();
    node.restart();
    let address = node.address();
    assert_eq!((told(&before, address).await, told(&next, address).await), (429, 204), "{}", node.logs());
    operator(&node, &["rooms", "flush", "demo", "--sessions"]);
    assert_eq!(told(&next, address).await, 429);
    node.terminate();
    node.restart();
    assert_eq!(told(&next, node.address()).await, 429, "{}", node.logs());
}

/// Rooms in a folder that the operating system writes when it likes.
fn unsynced(folder: &Path, clock: &ManualClock) -> MemoryRooms {
    let of_store = clock.clone();
    let durability = Durability::Unsynced { may_lose: 10 };
    let options = JournalOptions { durability, ..JournalOptions::new(folder) };
    MemoryRooms::open(&options, Arc::new(move || of_store.now())).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_a_room_has_lost_goes_on_with_its_pass() {
    let (dir, clock) = (TempDir::new("rooms-lost"), ManualClock::new(START));
    let (before, after) = (dir.join("before"), dir.join("after"));
    let serve_from = async |folder: &Path| {
        let store = unsynced(folder, &clock);
        let rules = "version: 1\ndomains: []";
        serve_kept(store, &clock, &[five_seats("demo")], SECRET, rules, options(), |rooms| rooms).await
    };
    let address = serve_from(&before).await;
    // What the machine had on its disk when its power failed.
    fs::create_dir_all(&after).unwrap();
    for file in fs::read_dir(&before).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), after.join(file.file_name())).unwrap();
    }
    fs::remove_file(after.join("rooms.lock")).unwrap();
    let [mut site, mut page] = [(); 2].map(|()| Visitor::new(address));
    for visitor in [&mut site, &mut page] {
        assert_eq!(visitor.seat("join").await["state"], "admitted");
    }
    let address = serve_from(&after).await;
    assert_eq!(told(&site, address).await, 204, "the pass is good, and the room is told of the session");
    page.address = address;
    assert_eq!(page.seat("heartbeat").await["state"], "admitted");
    assert_eq!(told(&page, address).await, 204);
    assert_eq!(Visitor::new(address).seat("join").await["state"], "waiting", "nobody new comes in");
    // Whoever leaves then is not taken back.
    let copy = site.clone();
    site.address = address;
    assert_eq!(site.call("leave", json!({})).await.status, 204);
    assert_eq!(told(&copy, address).await, 429);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_and_a_removal_at_one_node_hold_at_the_other() {
    let redis = RedisServer::start();
    let dir = TempDir::new("rooms-removed");
    let store = redis.url();
    let first = node(&dir, "first", &["--store", &store]);
    let mut second = node(&dir, "second", &["--store", &store]);
    let mut visitor = Visitor::new(first.address());
    assert_eq!(visitor.seat("join").await["state"], "admitted", "{}", first.logs());
    is_told(&visitor, first.address(), 204).await;
    is_told(&visitor, second.address(), 204).await;
    operator(&first, &["rooms", "flush", "demo", "--sessions"]);
    is_told(&visitor, first.address(), 429).await;
    is_told(&visitor, second.address(), 429).await;
    second.terminate();
    second.restart();
    assert_eq!(told(&visitor, second.address()).await, 429, "{}", second.logs());
    assert_eq!(visitor.seat("join").await["state"], "admitted", "{}", first.logs());
    is_told(&visitor, second.address(), 204).await;
    operator(&first, &["rooms", "remove", "demo", "--yes"]);
    is_told(&visitor, second.address(), 422).await;
    assert_eq!(told(&Visitor::new(second.address()), second.address()).await, 422, "{}", second.logs());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_go_on_while_redis_is_away_up_to_their_limit() {
    let options = RedisOptions::new().setting("appendonly", "yes").setting("appendfsync", "always");
    let mut redis = RedisServer::with(&options);
    let dir = TempDir::new("rooms-outage");
    let rules = "version: 1\ndomains: []\nrooms:\n\
                 \x20 - { name: demo, capacity: 9, release_rate: 100/s, session: { limit: 600s, idle: 5s, early_end: frees_seat } }\n\
                 \x20 - { name: short, capacity: 9, release_rate: 100/s, session: { limit: 8s, idle: 5s, early_end: frees_seat } }\n";
    let rules = dir.write("rules.yaml", rules).display().to_string();
    let secret = dir.write("secret", SECRET).display().to_string();
    let store = redis.url();
    let arguments = ["--rules", &rules, "--room-secret-file", &secret, "--store", &store];
    let options = TidegateOptions::new(BINARY).arguments(arguments);
    let nodes = [Tidegate::with(&options), Tidegate::with(&options)];
    let at = |visitor: &mut Visitor, node: usize| visitor.address = nodes[node].address();
    // One with a page, which gives signs of life, and one without, whose requests are all there is.
    let (mut page, mut plain) = (Visitor::new(nodes[0].address()), Visitor::new(nodes[1].address()));
    let mut short = Visitor::new(nodes[0].address());
    for visitor in [&mut page, &mut plain] {
        assert_eq!(visitor.seat("join").await["state"], "admitted");
    }
    assert_eq!(short.ask("POST", "/v1/rooms/short/join", &[], "").await.json()["state"], "admitted");
    let left = page.seat("heartbeat").await["session"]["left_ms"].as_u64().unwrap();
    redis.kill();
    let began = Stopwatch::start();
    let (mut renewed, mut node) = (0, 0);
    while began.elapsed() < OUTAGE {
        node = 1 - node;
        for visitor in [&mut page, &mut plain] {
            at(visitor, node);
            let answer = visitor.ask("GET", AUTHZ, &[], "").await;
            assert_eq!(
                answer.status,
                204,
                "after {:?}: {} {}",
                began.elapsed(),
                answer.text(),
                nodes[node].logs()
            );
            renewed += u32::from(answer.field("set-cookie").is_some());
        }
        let beat = page.call("heartbeat", json!({})).await;
        // A node that has the room from another one since a moment ago waits until that one is surely gone.
        if beat.status != 503 || began.elapsed() > Duration::from_secs(5) {
            assert_eq!(beat.json()["state"], "admitted", "{}", nodes[node].logs());
        }
        at(&mut short, node);
        let status = short.ask("GET", "/v1/authz?room=short", &[], "").await.status;
        if began.elapsed() < Duration::from_secs(7) {
            assert_eq!(status, 204, "its limit is not over");
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert!(renewed > 0, "browsers are to keep passes that are about to expire");
    assert_eq!(short.ask("GET", "/v1/authz?room=short", &[], "").await.status, 429, "its limit is over");
    let now = page.seat("heartbeat").await["session"]["left_ms"].as_u64().unwrap();
    assert!(now + 11_000 <= left, "a limit comes nearer: {left} ms before, {now} ms now");
    // A pass of before the outage is good right after it, too.
    let before = plain.clone();
    redis.restart();
    let mut newcomer = Visitor::new(nodes[0].address());
    while newcomer.call("join", json!({})).await.status != 200 {
        assert!(began.elapsed() < PATIENCE, "{}", nodes[0].logs());
    }
    assert_eq!(told(&before, nodes[0].address()).await, 204, "{}", nodes[0].logs());
}

/// Options of a node that takes the word of a proxy at this test's address.
fn behind_proxy() -> HttpOptions {
    let proxies = TrustedProxies::new(&["127.0.0.1"]).unwrap();
    let identity =
        IdentityPolicy { proxies, family: HeaderFamily::XForwardedFor, ..IdentityPolicy::default() };
    HttpOptions { identity, ..options() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cookie_counts_only_for_its_visitor() {
    let named = |name: &str, one_seat_per| Definition { one_seat_per, ..five_seats(name) };
    let rooms = [
        named("demo", OneSeatPer::Header("x-user".parse().unwrap())),
        named("ip", OneSeatPer::Address),
        named("device", OneSeatPer::Device),
    ];
    let rules = "version: 1\ndomains: []";
    let (address, _clock) = serve_as(&rooms, SECRET, rules, behind_proxy(), |rooms| rooms).await;
    let (ann, here) = (["X-User: ann", "X-Forwarded-For: 192.0.2.1"], "X-Forwarded-For: 192.0.2.1");
    let elsewhere = "X-Forwarded-For: 192.0.2.2";
    let mut visitor = Visitor::new(address);
    for room in ["demo", "ip", "device"] {
        let answer = visitor.ask("POST", &format!("/v1/rooms/{room}/join"), &ann, "").await;
        assert_eq!(answer.json()["state"], "admitted", "{room}");
    }
    let mut alone = visitor.clone();
    alone.cookies.remove("tidegate_device").unwrap();
    let table: [(&str, &Visitor, &[&str], u16); 11] = [
        ("demo", &visitor, &ann, 204),
        ("demo", &alone, &ann, 204),
        ("demo", &visitor, &["X-User: bob", here], 429),
        ("demo", &visitor, &["X-User:", here], 429),
        ("demo", &visitor, &[here], 429),
        ("ip", &visitor, &[here], 204),
        ("ip", &visitor, &[elsewhere], 429),
        ("ip", &alone, &[elsewhere], 429),
        ("device", &visitor, &[elsewhere], 204),
        ("device", &alone, &[here], 429),
        // An empty field is none.
        ("device", &visitor, &["X-Tidegate-Pass:", "X-Tidegate-Room:"], 204),
    ];
    for (room, visitor, fields, status) in table {
        let answer = visitor.clone().ask("GET", &format!("/v1/authz?room={room}"), fields, "").await;
        assert_eq!(answer.status, status, "{room} {fields:?} {:?}", visitor.cookies.keys());
    }
    // What a program shows is good wherever it is shown.
    let pass = format!("X-Tidegate-Pass: {}", visitor.cookies["tidegate_pass_ip"]);
    let program = Visitor::new(address).ask("GET", "/v1/authz?room=ip", &[&pass, elsewhere], "").await;
    assert_eq!(program.status, 204);
    // Nor does a ticket, or a pass, end what is somebody else's.
    let thefts: [(&str, &[&str], u16); 4] = [
        ("demo", &["X-User: bob", here], 403),
        ("demo", &[here], 403),
        ("ip", &[elsewhere], 403),
        ("device", &[here], 403),
    ];
    for (room, fields, status) in thefts {
        let left = alone.clone().ask("POST", &format!("/v1/rooms/{room}/leave"), fields, "").await;
        assert_eq!(left.status, status, "{room} {fields:?}");
        let mut by_pass = alone.clone();
        by_pass.cookies.remove(&format!("tidegate_ticket_{room}")).unwrap();
        let left = by_pass.ask("POST", &format!("/v1/rooms/{room}/leave"), fields, "").await;
        assert_eq!(left.status, 410, "{room} {fields:?}");
        let still = visitor.clone().ask("GET", &format!("/v1/authz?room={room}"), &ann, "").await;
        assert_eq!(still.status, 204, "{room} {fields:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_proxy_asks_is_read_once_and_as_a_whole() {
    let rules =
        "version: 1\ndomains: [{ name: shop, rules: [{ name: all, key: [], limit: 5, window: 1h }] }]";
    let (address, _clock) = serve_with(&[five_seats("demo")], SECRET, rules).await;
    let mut inside = Visitor::new(address);
    inside.seat("join").await;
    let fresh = Visitor::new(address);
    for (query, of_inside, of_fresh) in [
        ("room=demo", 204, 429),
        ("ro%6fm=demo", 204, 429),
        ("room=demo&st%61tus=403", 204, 403),
        ("room=demo&domain=shop&cost=2", 200, 429),
        ("room=demo&domain=shop&cost=999", 422, 429),
        ("room=demo&domian=shop&cost=999", 422, 422),
        ("room=demo&bogus=1", 422, 422),
        ("room=demo&cost=2", 422, 422),
        ("room=demo&entry.user_id=ann", 422, 422),
        ("room=demo&ro%6fm=demo", 422, 422),
        ("room=demo&status=500", 422, 422),
        ("room=", 422, 422),
    ] {
        for (visitor, status) in [(&inside, of_inside), (&fresh, of_fresh)] {
            let answer = visitor.clone().ask("GET", &format!("/v1/authz?{query}"), &[], "").await;
            assert_eq!(answer.status, status, "{query}: {}", answer.text());
        }
    }
}
