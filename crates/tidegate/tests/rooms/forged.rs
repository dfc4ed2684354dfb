//! Tokens, return addresses, pages of other sites, bodies: nothing that a client writes opens a door.

use serde_json::json;
use tidegate_core::time::Micros;
use tidegate_wire::room::site::AllowedHosts;

use crate::site::{SECRET, Visitor, five_seats, serve};

const OTHER_SECRET: &str = "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_taken_only_as_what_they_are() {
    let (address, clock) = serve(&[five_seats("demo"), five_seats("other")], SECRET).await;
    let (foreign, _) = serve(&[five_seats("demo")], OTHER_SECRET).await;
    let mut visitor = Visitor::new(address);
    let seat = visitor.seat("join").await;
    let (ticket, pass) = (seat["ticket"].as_str().unwrap(), seat["pass"].as_str().unwrap());
    let theirs = Visitor::new(foreign).seat("join").await;
    let mut stranger = Visitor::new(address);
    let mut flipped = ticket.to_owned();
    let last = flipped.pop().unwrap();
    flipped.push(if last == 'A' { 'E' } else { 'A' });
    for (name, body, status) in [
        ("its own ticket, without cookies", json!({"ticket": ticket}), 200),
        ("a flipped bit", json!({"ticket": flipped}), 403),
        ("a pass as a ticket", json!({"ticket": pass}), 403),
        ("a ticket of other keys", json!({"ticket": theirs["ticket"]}), 410),
        ("no ticket at all", json!({}), 410),
        ("nonsense", json!({"ticket": "v1.t"}), 403),
        ("a field that there is not", json!({"tickets": ticket}), 422),
    ] {
        let answer = stranger.call("poll", body).await;
        assert_eq!(answer.status, status, "{name}: {}", String::from_utf8_lossy(&answer.body));
    }
    let answer =
        stranger.ask("POST", "/v1/rooms/other/poll", &[], &json!({"ticket": ticket}).to_string()).await;
    assert_eq!(answer.status, 403, "a ticket of another room");
    // A cookie that was copied into a browser of somebody else.
    let mut thief = Visitor::new(address);
    thief.seat("join").await;
    let copied = visitor.cookies["tidegate_ticket_demo"].clone();
    thief.cookies.insert("tidegate_ticket_demo".to_owned(), copied);
    assert_eq!(thief.call("poll", json!({})).await.status, 403);
    assert!(
        !thief.cookies.contains_key("tidegate_ticket_demo"),
        "it is forgotten, so that the next call is good"
    );
    assert_eq!(thief.seat("join").await["queue_number"], 2);
    clock.advance(Micros::from_secs(31 * 24 * 3_600));
    assert_eq!(stranger.call("poll", json!({"ticket": ticket})).await.status, 410, "an old ticket");
}

/// A page of a neighbour host can plant a cookie beside ours where there is no TLS.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_cookie_of_the_same_name_locks_nobody_out() {
    let (address, _clock) = serve(&[five_seats("demo")], SECRET).await;
    let mut visitor = Visitor::new(address);
    visitor.seat("join").await;
    let kept = visitor.cookies.clone();
    let foreign = Visitor::new(address).seat("join").await["ticket"].as_str().unwrap().to_owned();
    for planted in ["x.y", "<>", "", &foreign] {
        for name in ["tidegate_ticket_demo", "tidegate_device", "tidegate_pass_demo"] {
            for mut both in [vec![planted, &kept[name]], vec![&*kept[name], planted]] {
                let others = kept.iter().filter(|(other, _)| *other != name);
                let mut cookies: Vec<_> = others.map(|(name, value)| format!("{name}={value}")).collect();
                cookies.extend(both.drain(..).map(|value| format!("{name}={value}")));
                let cookies = format!("Cookie: {}", cookies.join("; "));
                let mut browser = Visitor::new(address);
                let page = browser.ask("GET", "/rooms/demo", &["Accept: text/html", &cookies], "").await;
                assert_eq!(page.status, 200, "{cookies}: {}", page.head);
                let fields = ["Content-Type: application/json", &*cookies];
                let seat = browser.ask("POST", "/v1/rooms/demo/heartbeat", &fields, "{}").await;
                assert_eq!((seat.status, &seat.json()["queue_number"]), (200, &json!(1)), "{cookies}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visitors_are_sent_to_the_site_and_nowhere_else() {
    let mut definition = five_seats("demo");
    definition.hosts = AllowedHosts::new(["shop.example"]).unwrap();
    let (address, _clock) = serve(&[definition], SECRET).await;
    for place in ["/shop?a=b", "https://shop.example/x"] {
        let seat = Visitor::new(address).call("join", json!({"return_to": place})).await.json();
        assert_eq!(seat["return_to"], place);
    }
    for place in [
        "//evil.example",
        "https://evil.example/",
        "https://shop.example@evil.example/",
        "javascript:alert(1)",
        "/\\evil.example",
        "https://shop.example.evil.example/",
    ] {
        let mut visitor = Visitor::new(address);
        let answer = visitor.call("join", json!({"return_to": place})).await;
        assert_eq!((answer.status, &answer.json()["field"]), (422, &json!("return_to")), "{place}");
        let mut browser = Visitor::new(address);
        browser.get("/rooms/demo").await;
        let escaped = place.replace('/', "%2F").replace('@', "%40").replace('\\', "%5C");
        let page = browser.get(&format!("/rooms/demo?return_to={escaped}")).await;
        assert_eq!(page.status, 200, "{place}");
        assert!(!String::from_utf8_lossy(&page.body).contains("evil.example"), "{place}");
    }
    // What a browser has kept is read as if anybody had written it.
    let mut browser = Visitor::new(address);
    browser.seat("join").await;
    browser.cookies.insert("tidegate_place_demo".to_owned(), "aHR0cHM6Ly9ldmlsLmV4YW1wbGUv".to_owned());
    assert_eq!(browser.seat("poll").await["return_to"], json!(null));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_other_sites_ask_nothing() {
    let mut definition = five_seats("demo");
    definition.hosts = AllowedHosts::new(["shop.example"]).unwrap();
    let (address, _clock) = serve(&[definition], SECRET).await;
    for (fields, status) in [
        (&["Origin: https://shop.example"][..], 200),
        (&["Origin: http://test"], 200),
        (&["Sec-Fetch-Site: same-origin"], 200),
        (&["Origin: https://evil.example"], 403),
        (&["Origin: null"], 403),
        (&["Origin: https://shop.example.evil.example"], 403),
        (&["Sec-Fetch-Site: cross-site"], 403),
        (&["Origin: https://shop.example", "Origin: https://evil.example"], 403),
    ] {
        for content_type in ["application/json", "text/plain", "application/x-www-form-urlencoded"] {
            let content_type = format!("Content-Type: {content_type}");
            let fields = [fields, &[&*content_type]].concat();
            let answer = Visitor::new(address).ask("POST", "/v1/rooms/demo/join", &fields, "").await;
            let expected = if status == 200 && content_type.ends_with("urlencoded") { 303 } else { status };
            assert_eq!(answer.status, expected, "{fields:?}");
            let is_shared = answer.field("access-control-allow-origin").is_some();
            assert_eq!(is_shared, status == 200 && fields[0].contains("shop.example"), "{fields:?}");
        }
    }
    let preflight = ["Origin: https://shop.example", "Access-Control-Request-Method: POST"];
    let answer = Visitor::new(address).ask("OPTIONS", "/v1/rooms/demo/join", &preflight, "").await;
    assert_eq!((answer.status, answer.field("access-control-allow-credentials")), (204, Some("true")));
    let preflight = ["Origin: https://evil.example", "Access-Control-Request-Method: POST"];
    let answer = Visitor::new(address).ask("OPTIONS", "/v1/rooms/demo/join", &preflight, "").await;
    assert_eq!((answer.status, answer.field("access-control-allow-origin")), (204, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_call_is_refused() {
    let (address, _clock) = serve(&[five_seats("demo")], SECRET).await;
    let long = "x".repeat(4_097);
    for (method, target, fields, body, status) in [
        ("GET", "/v1/rooms/demo/join", &[][..], "", 405),
        ("POST", "/v1/rooms/demo/status", &[], "", 405),
        ("POST", "/v1/rooms/demo/dance", &[], "", 404),
        ("POST", "/v1/rooms/none/join", &[], "", 404),
        ("POST", "/v1/rooms/De%6do/join", &[], "", 404),
        ("POST", "/v1/rooms/demo/join", &["Content-Type: application/xml"], "<a/>", 415),
        ("POST", "/v1/rooms/demo/join", &[], "{", 400),
        ("POST", "/v1/rooms/demo/join", &[], &long, 413),
        ("GET", "/v1/rooms/demo/events", &[], "", 410),
        ("HEAD", "/v1/rooms/demo/status", &[], "", 200),
        ("GET", "/rooms/assets/none.js", &[], "", 404),
        ("GET", "/.well-known/jwks.json", &[], "", 200),
        ("GET", "/tidegate.js", &[], "", 200),
        ("GET", "/demo", &[], "", 200),
    ] {
        let answer = Visitor::new(address).ask(method, target, fields, body).await;
        assert_eq!(answer.status, status, "{method} {target} {}", String::from_utf8_lossy(&answer.body));
    }
}
