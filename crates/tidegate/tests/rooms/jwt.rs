//! Passes as JWT: given wherever passes are, and gone with them. What a site that checks them takes and refuses is in `own_checks`.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tidegate::http::HttpOptions;
use tidegate_core::room::{EarlyEnd, SessionTerms, Settings, Spec};
use tidegate_core::time::Micros;
use tidegate_engine::ManualClock;
use tidegate_wire::identity::{HeaderFamily, IdentityPolicy, TrustedProxies};
use tidegate_wire::room::token::Issuer;

use crate::common::{Answer, Client, options};
use crate::site::{SECRET, Visitor, five_seats, serve_as, serve_with};

const COOKIE: &str = "tidegate_jwt_demo";
const PASS: &str = "tidegate_pass_demo";
/// A rule that sends everybody to the room.
const RULES: &str = "version: 1
domains:
  - name: shop
    subject: user_id
    rules:
      - { name: valve, key: [], limit: 0, window: 1s, on_limit: room, room: demo }
rooms:
  - { name: demo, capacity: 5, release_rate: 1/s }
";

/// Five seats whose sessions can be renewed, behind a proxy, with passes as JWT.
async fn start() -> (SocketAddr, ManualClock) {
    let mut room = five_seats("demo");
    let session = SessionTerms {
        limit: Some(Micros::from_secs(40)),
        idle: Some(Micros::from_secs(15)),
        early_end: EarlyEnd::FreesSeat,
        renewals: 1,
    };
    room.settings = Settings::new(Spec { session, ..room.settings.spec().clone() }).unwrap();
    let proxies = TrustedProxies::new(["127.0.0.1"]).unwrap();
    let identity = IdentityPolicy { proxies, family: HeaderFamily::XForwardedFor, ..Default::default() };
    let issuer = Issuer::new("https://queue.example").unwrap();
    let options = HttpOptions { identity, ..options() };
    serve_as(&[room], SECRET, RULES, options, |rooms| rooms.with_pass_issuer(Some(issuer))).await
}

/// What a JWT says.
fn claims(jwt: &Value) -> Value {
    let jwt = jwt.as_str().unwrap_or_else(|| panic!("no JWT: {jwt}"));
    let body = jwt.split('.').nth(1).unwrap();
    let (mut bits, mut count, mut text) = (0u32, 0, Vec::new());
    for byte in body.bytes() {
        let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let digit = digits.iter().position(|digit| *digit == byte).unwrap();
        (bits, count) = ((bits << 6 | digit as u32) & 0xffff, count + 6);
        if count >= 8 {
            count -= 8;
            text.push((bits >> count) as u8);
        }
    }
    serde_json::from_slice(&text).unwrap()
}

fn exp(jwt: &Value) -> f64 {
    claims(jwt)["exp"].as_f64().unwrap()
}

/// The lines that set a cookie, by its name.
fn set<'a>(answer: &'a Answer, name: &str) -> Vec<&'a str> {
    let lines = answer.head.lines().filter_map(|line| line.split_once(": "));
    let cookies = lines.filter(|(field, _)| field.eq_ignore_ascii_case("set-cookie"));
    cookies.map(|(_, cookie)| cookie).filter(|cookie| cookie.starts_with(&format!("{name}="))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_give_it_beside_the_pass() {
    let (address, clock) = start().await;
    let mut visitor = Visitor::new(address);
    let first = visitor.seat("join").await;
    let said = claims(&first["pass_jwt"]);
    assert_eq!(
        (&said["iss"], &said["aud"], &said["room"], &said["queue_number"]),
        (&json!("https://queue.example"), &json!(["test"]), &json!("demo"), &json!(1))
    );
    assert_eq!(exp(&first["pass_jwt"]), first["session"]["started_at"].as_f64().unwrap() + 15.0);
    let mut ends = exp(&first["pass_jwt"]);
    for call in ["poll", "heartbeat", "renew", "claim"] {
        clock.advance(Micros::from_secs(5));
        let answer = visitor.call(call, json!({})).await;
        let seat = answer.json();
        assert_eq!(visitor.cookies[COOKIE], seat["pass_jwt"].as_str().unwrap(), "{call}: {seat}");
        assert_eq!(visitor.cookies[PASS], seat["pass"].as_str().unwrap(), "{call}");
        let [jwt, pass] = [COOKIE, PASS].map(|name| set(&answer, name)[0].split_once(';').unwrap().1);
        assert_eq!(jwt, pass, "{call}: both are kept for the same time and in the same way");
        let longer = exp(&seat["pass_jwt"]);
        assert!(longer >= ends, "{call}: {longer}");
        ends = longer;
    }
    assert!(ends > exp(&first["pass_jwt"]) + 5.0, "a session that goes on has one that lasts longer");
    let left = visitor.call("leave", json!({})).await;
    assert_eq!(set(&left, COOKIE), ["tidegate_jwt_demo=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"]);
    assert!(!visitor.cookies.contains_key(COOKIE) && !visitor.cookies.contains_key(PASS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_or_is_over_has_none_and_a_form_brings_it() {
    let (address, clock) = start().await;
    let mut others: Vec<Visitor> = (0..5).map(|_| Visitor::new(address)).collect();
    for other in &mut others {
        other.seat("join").await;
    }
    let mut visitor = Visitor::new(address);
    for call in ["join", "poll"] {
        let seat = visitor.seat(call).await;
        assert_eq!((&seat["state"], seat.get("pass_jwt")), (&json!("waiting"), None), "{call}");
    }
    assert_eq!(others[0].call("leave", json!({})).await.status, 204);
    assert_eq!(visitor.submit("claim", "").await.status, 303);
    let jwt = json!(visitor.cookies[COOKIE]);
    assert_eq!(claims(&jwt)["queue_number"], 6);
    clock.advance(Micros::from_secs(15));
    let seat = visitor.seat("poll").await;
    assert_eq!((&seat["state"], seat.get("pass_jwt")), (&json!("ended"), None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxies_bring_the_one_that_lasts_longer() {
    let (address, clock) = start().await;
    let mut visitor = Visitor::new(address);
    let tls = ["X-Forwarded-Proto: https", "Accept: text/html"];
    let joined = visitor.ask("POST", "/v1/rooms/demo/join", &tls, "").await.json();
    let name = format!("__Host-{COOKIE}");
    assert_eq!(visitor.cookies[&name], joined["pass_jwt"].as_str().unwrap());
    let early = visitor.ask("GET", "/v1/authz?room=demo", &tls, "").await;
    assert_eq!((early.status, set(&early, &name).len()), (204, 0), "nothing is signed for each request");
    clock.advance(Micros::from_secs(10));
    let later = visitor.ask("GET", "/v1/authz?room=demo", &tls, "").await;
    let (cookie, pass) = (set(&later, &name), set(&later, &format!("__Host-{PASS}")));
    assert!(cookie[0].ends_with("; Path=/; Max-Age=15; HttpOnly; SameSite=Lax; Secure"), "{cookie:?}");
    assert_eq!((later.status, cookie.len(), pass.len()), (204, 1, 1), "{}", later.head);
    assert_eq!(exp(&json!(visitor.cookies[&name])), exp(&joined["pass_jwt"]) + 10.0);
    // Tidegate itself does not take it.
    visitor.cookies.remove(&format!("__Host-{PASS}"));
    assert_eq!(
        visitor.ask("GET", "/v1/authz?room=demo", &["X-Forwarded-Proto: https"], "").await.status,
        429
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_lets_somebody_in_gives_it_too() {
    let (address, _clock) = start().await;
    let ask = json!({ "domain": "shop", "descriptors": { "user_id": "u1" } });
    let answer = Client::connect(address).await.check(ask.clone()).await;
    let room = answer.json()["room"].clone();
    assert_eq!((answer.status, &room["state"]), (200, &json!("admitted")));
    assert_eq!(claims(&room["pass_jwt"])["queue_number"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_issuer_nothing_speaks_of_it() {
    let (address, _clock) = serve_with(&[five_seats("demo")], SECRET, RULES).await;
    let mut visitor = Visitor::new(address);
    let seat = visitor.seat("join").await;
    assert!(seat["pass"].is_string() && seat.get("pass_jwt").is_none(), "{seat}");
    let left = visitor.call("leave", json!({})).await;
    assert_eq!((set(&left, PASS).len(), set(&left, COOKIE).len()), (1, 0), "{}", left.head);
    assert!(!visitor.cookies.contains_key(COOKIE));
}
