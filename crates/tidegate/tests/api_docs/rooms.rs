//! What visitors of waiting rooms are answered, from a real server.

use serde_json::json;

use super::conformance::{Seen, http_door};
use super::site::{Answer, Ask, Site};
use super::statuses::ROOM_CALLS;

const RULES: &str = "version: 1
domains: []
rooms:
  - { name: demo, capacity: 1, release_rate: 100/s, session: { limit: 1h, idle: 1h, renewals: 1 } }
  - { name: named, capacity: 1, release_rate: 100/s, one_seat_per: 'header:X-User' }
  - { name: shut, capacity: 0, release_rate: 100/s }
";

const FORM: &str = "application/x-www-form-urlencoded";

pub(super) fn answered() {
    let directory = tidegate_testkit::TempDir::new("api-docs-rooms");
    let rules = directory.write("rules.yaml", RULES).display().to_string();
    // An address that a proxy tells of is limited; this machine's own is not.
    let proxy = ["--trusted-proxy", "127.0.0.1", "--proxy-header", "x-forwarded-for"];
    let limit = ["--room-joins-per-address", "1"];
    let site = Site::with(&[&["--rules", &rules], &proxy[..], &limit[..]].concat());
    let inside = joined(&site, "admitted");
    let waiting = joined(&site, "waiting");
    let call = |room: &str, call: &str| site.door("POST", &format!("/v1/rooms/{room}/{call}"));
    for name in ROOM_CALLS {
        let ask = || call("demo", name);
        site.door("OPTIONS", &format!("/v1/rooms/demo/{name}"))
            .field("Origin", "http://a")
            .send()
            .expect(204);
        ask().body("{").send().expect(400);
        ask().field("Origin", "https://evil.example").send().expect(403);
        call("none", name).send().expect(404);
        ask().body(vec![b' '; 5_000]).send().expect(413);
        ask().field("Content-Type", "text/xml").body("<a/>").send().expect(415);
        ask().json(&json!({ "surprise": true })).send().expect(422);
        ask().field("Content-Type", FORM).send().expect(303);
        if name != "join" {
            ask().send().expect(410);
            ask().field("Cookie", &inside).json(&json!({ "ticket": "v1.t" })).send().expect(403);
        }
    }
    call("named", "join").send().expect(401);
    let flood = || call("shut", "join").field("X-Forwarded-For", "203.0.113.9").send();
    (0..10).for_each(|_| drop(flood().expect(200)));
    let refused = flood().expect(429);
    assert_eq!(refused.json()["violated-policies"], json!(["joins"]));
    call("demo", "claim").field("Cookie", &waiting).send().expect(409);
    shown(&site, &inside);
    asked_by_proxies(&site, &inside, &waiting);
    call("demo", "renew").field("Cookie", &waiting).send().expect(409);
    for name in ["poll", "heartbeat", "claim", "renew"] {
        call("demo", name).field("Cookie", &inside).send().expect(200);
    }
    call("demo", "renew").field("Cookie", &inside).send().expect(409);
    call("demo", "leave").field("Cookie", &inside).send().expect(204);
    let events = site.door("GET", "/v1/rooms/demo/events").field("Cookie", &inside);
    events.field("Last-Event-ID", "over").send().expect(204);
}

/// The cookies of a new visitor, who is in this state then.
fn joined(site: &Site, state: &str) -> String {
    let answer = site.door("POST", "/v1/rooms/demo/join").send().expect(200);
    assert_eq!(answer.json()["state"], state);
    cookies(&answer)
}

fn cookies(answer: &Answer) -> String {
    let fields = answer.head.lines().filter_map(|line| line.split_once(": "));
    let set = fields.filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
    let kept: Vec<&str> = set.map(|(_, cookie)| cookie.split(';').next().unwrap()).collect();
    kept.join("; ")
}

fn shown(site: &Site, inside: &str) {
    for name in ["status", "line", "events"] {
        let target = format!("/v1/rooms/demo/{name}");
        site.door("OPTIONS", &target).field("Origin", "http://a").send().expect(204);
        site.door("GET", &format!("/v1/rooms/none/{name}")).send().expect(404);
    }
    for name in ["status", "line"] {
        site.door("GET", &format!("/v1/rooms/demo/{name}")).send().expect(200);
    }
    site.door("GET", "/v1/rooms/demo/events").send().expect(410);
    site.door("GET", "/v1/rooms/demo/events").field("Origin", "https://evil.example").send().expect(403);
    let stream = site.door("GET", "/v1/rooms/demo/events").field("Cookie", inside);
    let head = head_of(&stream);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    http_door().hold(&Seen::new("GET", "/v1/rooms/demo/events", &head, b""));
    let bounce = site.door("GET", "/rooms/demo").send().expect(303);
    site.door("GET", "/rooms/demo").field("Cookie", &cookies(&bounce)).send().expect(200);
    let forged = format!("{inside}x");
    site.door("GET", "/rooms/demo")
        .field("Cookie", &forged.replace("ticket_demo=v1", "ticket_demo=v2"))
        .send()
        .expect(403);
    site.door("GET", "/rooms/none").send().expect(404);
    for path in ["/rooms/assets/room.css", "/rooms/assets/room.js", "/tidegate.js"] {
        let tag = site.door("GET", path).send().expect(200).etag();
        site.door("GET", path).field("If-None-Match", &tag).send().expect(304);
    }
    site.door("GET", "/rooms/assets/none.css").send().expect(404);
    site.door("GET", "/.well-known/jwks.json").send().expect(200);
    site.door("GET", "/demo").send().expect(200);
}

fn asked_by_proxies(site: &Site, inside: &str, waiting: &str) {
    for method in ["GET", "POST"] {
        let ask = |query: &str| site.door(method, &format!("/v1/authz?room={query}"));
        ask("demo").field("Cookie", inside).send().expect(204);
        ask("demo").field("Cookie", waiting).send().expect(429);
        ask("none").send().expect(422);
        for status in [401, 403] {
            ask(&format!("demo&status={status}")).send().expect(status);
        }
        // The rules are asked as well.
        ask("demo&domain=default&entry.client_id=a").field("Cookie", inside).send().expect(200);
    }
    site.operator("POST", "/rooms/shut/state").json(&json!({ "state": "closed" })).send().expect(200);
    let closed = site.door("GET", "/v1/authz?room=shut").send().expect(503);
    assert_eq!(closed.json()["why"], "room_closed");
    let page = site.door("GET", "/v1/authz?room=demo").field("Accept", "text/html").send().expect(302);
    assert_eq!(page.field("location"), Some("/rooms/demo?return_to=/v1/authz"));
}

/// The head of an answer that goes on.
fn head_of(ask: &Ask) -> String {
    use std::io::{Read as _, Write as _};
    let (address, request) = ask.as_sent();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(&request).unwrap();
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap().trim_end().to_owned()
}
