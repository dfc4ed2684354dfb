//! The page without scripts: forms and answers that send back to it.

use serde_json::json;
use tidegate::http::HttpOptions;
use tidegate_core::time::Micros;
use tidegate_wire::identity::{HeaderFamily, IdentityPolicy, TrustedProxies};

use crate::common::{Answer, options};
use crate::site::{SECRET, Visitor, five_seats, serve, serve_as};

/// The stage that a page shows.
fn stage(page: &Answer) -> String {
    assert_eq!((page.status, page.field("cache-control")), (200, Some("no-store")), "{}", page.head);
    let text = String::from_utf8_lossy(&page.body);
    let at = text.split_once("data-tg-stage=\"").expect("a page names its stage").1;
    at.split('"').next().unwrap().to_owned()
}

async fn open(visitor: &mut Visitor, target: &str) -> Answer {
    let mut page = visitor.get(target).await;
    if page.status == 303 && page.field("location").unwrap().contains("seen=") {
        page = visitor.get(page.field("location").unwrap()).await;
    }
    page
}

/// Where the page sends a browser that it does not know, to see whether it keeps cookies.
async fn sent(visitor: &mut Visitor, target: &str) -> String {
    let page = visitor.get(target).await;
    assert_eq!(page.status, 303, "{}", page.head);
    page.field("location").unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_needs_not_wait_goes_straight_through() {
    let (address, _clock) = serve(&[five_seats("demo")], SECRET).await;
    let mut visitor = Visitor::new(address);
    let page = open(&mut visitor, "/rooms/demo?return_to=/shop%3Fa=b").await;
    assert_eq!((page.status, page.field("location")), (303, Some("/shop?a=b")));
    assert!(visitor.cookies.contains_key("tidegate_pass_demo"));
    // Somebody who keeps no cookies is shown the page, and has one seat however often.
    for _ in 0..3 {
        let mut forgetful = Visitor::new(address);
        let target = sent(&mut forgetful, "/rooms/demo?return_to=/shop").await;
        forgetful.cookies.clear();
        assert_eq!(stage(&forgetful.get(&target).await), "admitted");
        assert!(
            forgetful.cookies.is_empty(),
            "the seat of an address is no browser's: {:?}",
            forgetful.cookies
        );
    }
    let status = visitor.ask("GET", "/v1/rooms/demo/status", &[], "").await.json();
    assert_eq!(status["active"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_passed_on_is_anybodys() {
    let proxies = TrustedProxies::new(["127.0.0.1"]).unwrap();
    let identity = IdentityPolicy { proxies, family: HeaderFamily::XForwardedFor, ..Default::default() };
    let options = HttpOptions { identity, ..options() };
    let rules = "version: 1\ndomains: []";
    let (address, clock) = serve_as(&[five_seats("demo")], SECRET, rules, options, |rooms| rooms).await;
    let mut first = Visitor::new(address);
    let shared = sent(&mut first, "/rooms/demo?return_to=/shop").await;
    first.get(&shared).await;
    assert_eq!(first.seat("poll").await["queue_number"], 1);
    clock.advance(Micros::from_secs(31));
    // Somebody opens it later, at the same address, and has a place of its own that stays.
    let mut second = Visitor::new(address);
    let anew = sent(&mut second, &shared).await;
    assert_ne!(anew, shared);
    assert_eq!(anew.matches("seen=").count(), 1, "{anew}");
    second.get(&anew).await;
    for _ in 0..2 {
        assert_eq!(second.seat("poll").await["queue_number"], 2);
        second.get(&shared).await;
    }
    // And so has somebody at another address, at once; what nobody was given is no mark.
    let elsewhere = ["Accept: text/html", "X-Forwarded-For: 192.0.2.7"];
    for target in [&*anew, "/rooms/demo?seen=1", "/rooms/demo?seen=0-0", "/rooms/demo?seen"] {
        let answer = Visitor::new(address).ask("GET", target, &elsewhere, "").await;
        assert_eq!(answer.status, 303, "{target}: {}", answer.head);
    }
    // Within the moment a browser without cookies cannot be told from another of its address: that one keeps nothing of it.
    let mut third = Visitor::new(address);
    assert_eq!(stage(&third.get(&anew).await), "admitted");
    assert!(third.cookies.is_empty(), "{:?}", third.cookies);
    assert_eq!(stage(&open(&mut third, "/rooms/demo").await), "admitted");
    assert_eq!(third.seat("poll").await["queue_number"], 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_goes_through_all_its_states_without_scripts() {
    let (address, clock) = serve(&[five_seats("demo")], SECRET).await;
    let mut others = Vec::new();
    for _ in 0..5 {
        let mut other = Visitor::new(address);
        other.seat("join").await;
        others.push(other);
    }
    let mut visitor = Visitor::new(address);
    let page = open(&mut visitor, "/rooms/demo?return_to=/shop").await;
    assert_eq!(stage(&page), "waiting");
    assert!(String::from_utf8_lossy(&page.body).contains("http-equiv=\"refresh\""));
    // Looking does not take a place, and a browser that loads ahead neither.
    let mut ahead = Visitor::new(address);
    for target in ["/rooms/demo", "/rooms/demo?seen=1"] {
        assert_eq!(stage(&ahead.ask("GET", target, &["Sec-Purpose: prefetch"], "").await), "waiting");
        let looked = ahead.ask("HEAD", target, &[], "").await;
        assert_eq!((looked.status, looked.body.len()), (200, 0));
    }
    let status = visitor.ask("GET", "/v1/rooms/demo/status", &[], "").await.json();
    assert_eq!(status["waiting"], 1);
    // Asked too early, the room says no and the page goes on.
    let answer = visitor.submit("claim", "").await;
    assert_eq!((answer.status, answer.field("location")), (303, Some("/rooms/demo")));
    others[0].call("leave", json!({})).await;
    assert_eq!(stage(&visitor.get("/rooms/demo").await), "ready");
    assert_eq!(visitor.submit("claim", "extend=true").await.field("location"), Some("/rooms/demo"));
    let answer = visitor.submit("claim", "").await;
    assert_eq!((answer.status, answer.field("location")), (303, Some("/shop")));
    assert_eq!(stage(&visitor.get("/rooms/demo").await), "admitted");
    assert_eq!(visitor.submit("leave", "").await.field("location"), Some("/rooms/demo"));
    assert_eq!(stage(&visitor.get("/rooms/demo").await), "ended");
    assert_eq!(visitor.submit("join", "return_to=%2Fshop").await.status, 303);
    assert_eq!(stage(&visitor.get("/rooms/demo").await), "admitted");
    clock.advance(Micros::from_secs(40));
    assert_eq!(stage(&visitor.get("/rooms/demo").await), "ended");
    clock.advance(Micros::from_secs(24 * 3_600));
    assert_eq!(stage(&visitor.get("/rooms/demo").await), "admitted", "what was yesterday is no news");
    let missing = visitor.get("/rooms/none").await;
    assert_eq!((missing.status, missing.field("content-type")), (404, Some("text/html; charset=utf-8")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_message_is_text() {
    let mut definition = five_seats("demo");
    definition.message = Some("<script>alert(1)</script>".to_owned());
    let (address, _clock) = serve(&[definition], SECRET).await;
    let mut visitor = Visitor::new(address);
    let page = open(&mut visitor, "/rooms/demo").await;
    let text = String::from_utf8_lossy(&page.body).into_owned();
    assert!(!text.contains("<script>alert"), "{text}");
    assert!(page.field("content-security-policy").unwrap().contains("frame-ancestors 'none'"));
    assert_eq!(visitor.seat("poll").await["message"], "<script>alert(1)</script>");
}
