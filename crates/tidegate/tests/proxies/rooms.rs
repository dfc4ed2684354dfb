//! A site with a waiting room behind Traefik and Caddy, with the files that are shipped. nginx is in `rooms`.

use std::collections::BTreeMap;

use tidegate_testkit::ProxyOptions;

use crate::common::Answer;
use crate::site::{Asked, Places, Site, TRUSTED, shipped};

/// One seat. A request after a third of the idle time is a sign of life that the browser gets a new pass for.
const RULES: &str = "version: 1
domains: []
rooms:
  - { name: demo, capacity: 1, release_rate: 100/s, session: { limit: 1h, idle: 3s, early_end: frees_seat } }
  - { name: other, capacity: 1, release_rate: 100/s }
";
const PERSON: &str = "Accept: text/html,application/xhtml+xml";
const PROGRAM: &str = "Accept: application/json";

fn traefik(places: &Places) -> ProxyOptions {
    ProxyOptions::traefik()
        .file(shipped("traefik/traefik.yaml"))
        .replace("\":80\"", "\"{address}\"")
        .replace("/etc/traefik/dynamic.yaml", "{dir}/waiting-room.yaml")
        .file(shipped("traefik/waiting-room.yaml"))
        .replace("tidegate:8080", places.http.to_string())
        .replace("app:8000", places.app.to_string())
        .await_host("shop.example")
}

fn caddy(places: &Places) -> ProxyOptions {
    ProxyOptions::caddy()
        .file(shipped("caddy/waiting-room.Caddyfile"))
        .replace(
            "\nshop.example {",
            "\n{\n\tadmin off\n\tdefault_bind 127.0.0.1\n}\nhttp://shop.example:{port} {",
        )
        .replace("tidegate:8080", places.http.to_string())
        .replace("app:8000", places.app.to_string())
}

/// A browser.
#[derive(Clone, Default)]
struct Visitor(BTreeMap<String, String>);

impl Visitor {
    async fn ask(&mut self, site: &Site, method: &str, target: &str, fields: &[&str]) -> Answer {
        let cookies: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies = format!("Cookie: {}", cookies.join("; "));
        let fields = [fields, &[&*cookies]].concat();
        let answer = site.ask(&Asked { method, fields: &fields, ..Asked::of(target) }).await;
        for line in answer.head.lines() {
            let Some((name, value)) = line.split_once(": ") else { continue };
            if name.eq_ignore_ascii_case("set-cookie") {
                let (name, value) = value.split(';').next().unwrap().split_once('=').unwrap();
                self.0.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }

    async fn get(&mut self, site: &Site, target: &str) -> Answer {
        self.ask(site, "GET", target, &[PERSON]).await
    }

    async fn call(&mut self, site: &Site, call: &str) -> Answer {
        let target = format!("/v1/rooms/demo/{call}");
        self.ask(site, "POST", &target, &["Content-Type: application/json", "Origin: http://shop.example"])
            .await
    }

    /// Goes wherever it is sent, and says where it ends and what it gets.
    async fn follow(&mut self, site: &Site, target: &str) -> (String, Answer) {
        let mut place = target.to_owned();
        for _ in 0..5 {
            let answer = self.get(site, &place).await;
            let Some(next) = answer.field("location") else { return (place, answer) };
            assert!(next.starts_with('/'), "a path of this site: {}", answer.head);
            place = next.to_owned();
        }
        panic!("{target} leads in circles");
    }
}

async fn a_site_is_protected(proxy: fn(&Places) -> ProxyOptions, away: u16) {
    let arguments = [&TRUSTED[..], &["--room-pass-issuer", "https://queue.example"]].concat();
    let mut site = Site::start(RULES, &arguments, proxy).await;
    let mut first = Visitor::default();
    let turned_away = first.get(&site, "/buy?a=b").await;
    let page = Some("/rooms/demo?return_to=/buy%3Fa%3Db");
    assert_eq!((turned_away.status, turned_away.field("location")), (302, page), "{}", site.said());
    let (place, inside) = first.follow(&site, "/buy?a=b").await;
    assert_eq!((&*place, inside.status), ("/buy?a=b", 200), "{}", inside.head);
    assert!(inside.text().starts_with("GET /buy?a=b HTTP/1.1\r\n"), "{}", inside.text());

    let mut second = Visitor::default();
    let (place, waits) = second.follow(&site, "/buy").await;
    assert!(place.starts_with("/rooms/demo?") && waits.text().contains("You are in line"), "{place}");
    let refused = second.ask(&site, "GET", "/buy", &[PROGRAM]).await;
    assert_eq!((refused.status, &refused.json()["state"]), (429, &"waiting".into()), "{}", refused.text());
    assert!(refused.field("retry-after").is_some(), "{}", refused.head);

    let (pass, jwt) = (first.0["tidegate_pass_demo"].clone(), first.0["tidegate_jwt_demo"].clone());
    let sent_pass = format!("X-Tidegate-Pass: {pass}");
    let spoofed = [
        PROGRAM,
        "X-Forwarded-For: 203.0.113.9",
        "X-Forwarded-Method: OPTIONS",
        "X-Original-Method: OPTIONS",
        "X-Forwarded-Host: evil.example",
        "X-Tidegate-Room: other",
        "X-Original-URI: /rooms/demo",
        &sent_pass,
    ];
    let refused = Visitor::default().ask(&site, "GET", "/buy", &spoofed).await;
    assert_eq!(refused.status, 429, "nobody comes in by a field: {}", refused.text());
    for (what, changed) in [("another browser's pass", pass.clone()), ("a forged pass", pass[1..].to_owned())]
    {
        let mut thief = second.clone();
        thief.0.insert("tidegate_pass_demo".to_owned(), changed);
        assert_eq!(thief.ask(&site, "GET", "/buy", &[PROGRAM]).await.status, 429, "{what}");
    }
    let form = Visitor::default().ask(&site, "POST", "/buy", &[PERSON]).await;
    assert_eq!(form.status, 429, "a form is not sent to a page");
    let fields = ["Access-Control-Request-Method: POST", "Origin: http://shop.example"];
    assert_eq!(Visitor::default().ask(&site, "OPTIONS", "/buy", &fields).await.status, 200, "a preflight");

    // Requests are signs of life, and bring the pass that lasts longer.
    for _ in 0..8 {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        let inside = first.get(&site, "/buy").await;
        assert_eq!(inside.status, 200, "longer than it may be idle: {}", inside.text());
    }
    assert!(first.0["tidegate_pass_demo"] != pass && first.0["tidegate_jwt_demo"] != jwt);
    assert!(first.0.values().all(|cookie| !cookie.contains(',')), "each by itself: {:?}", first.0);
    assert_eq!(first.call(&site, "leave").await.status, 204);
    assert_eq!(first.ask(&site, "GET", "/buy", &[PROGRAM]).await.status, 429, "it has left");
    assert_eq!(second.call(&site, "claim").await.json()["state"], "admitted", "{}", site.said());
    assert_eq!(second.get(&site, "/buy").await.status, 200);

    site.node.kill();
    assert_eq!(second.get(&site, "/buy").await.status, away, "the site is not left to the crowd");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traefik_keeps_a_line_before_a_site() {
    a_site_is_protected(traefik, 500).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caddy_keeps_a_line_before_a_site() {
    a_site_is_protected(caddy, 502).await;
}
