//! A site behind nginx with the configuration that is shipped.

use std::path::Path;

use serde_json::json;
use tidegate_testkit::{Nginx, NginxOptions, Stopwatch, TempDir, Tidegate};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::site::{SECRET, Visitor};

const RULES: &str = "version: 1
domains: []
rooms:
  - { name: demo, capacity: 2, release_rate: 100/s, session: { limit: 1h, idle: 1h } }
  - { name: other, capacity: 2, release_rate: 100/s }
";

struct Site {
    nginx: Nginx,
    node: Tidegate,
    _rules: TempDir,
}

impl Site {
    async fn start() -> Self {
        Self::with(RULES).await
    }

    async fn with(rules: &str) -> Self {
        let dir = TempDir::new("rooms-nginx");
        let rules = dir.write("rules.yaml", rules).display().to_string();
        let node = Tidegate::start(
            env!("CARGO_BIN_EXE_tidegate"),
            &[
                "--rules",
                &rules,
                "--trusted-proxy",
                "127.0.0.1",
                "--proxy-header",
                "x-forwarded-for",
                "--room-secret",
                SECRET,
                "--room-pass-issuer",
                "https://queue.example",
            ],
        );
        let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let app_address = app.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = app.accept().await {
                tokio::spawn(echo(stream));
            }
        });
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/nginx/waiting-room.conf");
        let options = NginxOptions::template_file(shipped)
            .upstream("tidegate", &[node.address()])
            .upstream("app", &[app_address]);
        Self { nginx: Nginx::start(&options), node, _rules: dir }
    }

    fn visitor(&self) -> Visitor {
        Visitor::behind_proxy(self.nginx.address())
    }
}

/// The application: it answers with the first line that it was asked with, or agrees to a websocket; it has nothing at `/none`.
async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let text = String::from_utf8_lossy(&request).into_owned();
    let answer = if text.to_ascii_lowercase().contains("upgrade: websocket") {
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n".to_owned()
    } else {
        let line = text.lines().next().unwrap();
        let status = if line.contains(" /none ") { "404 Not Found" } else { "200 OK" };
        format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{line}", line.len())
    };
    stream.write_all(answer.as_bytes()).await
}

/// Who asks with which method and which fields, and the status and place that it gets.
type Row<'a> = (&'a str, &'a mut Visitor, &'a str, &'a [&'a str], u16, Option<&'a str>);

const PERSON: &str = "Accept: text/html,application/xhtml+xml";
const PROGRAM: &str = "Accept: application/json";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_request_gets_its_answer() {
    let site = Site::start().await;
    let mut fresh = site.visitor();
    let mut admitted = site.visitor();
    assert_eq!(admitted.seat("join").await["state"], "admitted");
    let mut second = site.visitor();
    assert_eq!(second.seat("join").await["state"], "admitted");
    let mut waiting = site.visitor();
    assert_eq!(waiting.seat("join").await["state"], "waiting");
    let with = |visitor: &Visitor, name: &str, value: &str| {
        let mut changed = visitor.clone();
        changed.cookies.insert(name.to_owned(), value.to_owned());
        changed
    };
    let pass = admitted.cookies["tidegate_pass_demo"].clone();
    let mut forged = pass.clone();
    let last = forged.pop().unwrap();
    forged.push(if last == 'A' { 'Q' } else { 'A' });
    let mut forged = with(&admitted, "tidegate_pass_demo", &forged);
    // A pass of another room under this one's name; a pass in a browser that it was not given to; one without its device.
    let mut other = site.visitor();
    let answer = other.ask("POST", "/v1/rooms/other/join", &[], "").await;
    assert_eq!(answer.json()["state"], "admitted");
    let other_pass = other.cookies["tidegate_pass_other"].clone();
    let mut wrong_room = with(&other, "tidegate_pass_demo", &other_pass);
    let mut replayed = with(&waiting, "tidegate_pass_demo", &pass);
    let mut alone = with(&site.visitor(), "tidegate_pass_demo", &pass);
    let mut left = second.clone();
    assert_eq!(second.call("leave", json!({})).await.status, 204);
    let page = "/rooms/demo?return_to=/buy%3Fa%3Db";
    let spoofed = [
        PROGRAM,
        "X-Forwarded-For: 203.0.113.9",
        "X-Original-Method: OPTIONS",
        "X-Forwarded-Host: evil.example",
        "X-Tidegate-Room: other",
    ];
    let upgrade = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    ];
    let preflight = ["Origin: https://a.example", "Access-Control-Request-Method: POST"];
    let sent_pass = format!("X-Tidegate-Pass: {pass}");
    let sent = [PROGRAM, &*sent_pass];
    let table: [Row<'_>; 20] = [
        ("fresh, a person", &mut fresh.clone(), "GET", &[PERSON], 302, Some(page)),
        ("fresh, a person who looks", &mut fresh.clone(), "HEAD", &[PERSON], 302, Some(page)),
        ("fresh, a program", &mut fresh.clone(), "GET", &[PROGRAM], 429, None),
        ("fresh, a form", &mut fresh.clone(), "POST", &[PERSON], 429, None),
        ("fresh, a websocket", &mut fresh.clone(), "GET", &upgrade, 429, None),
        ("fresh, a preflight", &mut fresh.clone(), "OPTIONS", &preflight, 200, None),
        ("fresh, claims to be others", &mut fresh.clone(), "GET", &spoofed, 429, None),
        ("fresh, with somebody's pass in a field", &mut fresh, "GET", &sent, 429, None),
        ("waiting, a person", &mut waiting.clone(), "GET", &[PERSON], 302, Some(page)),
        ("waiting, a program", &mut waiting, "GET", &[PROGRAM], 429, None),
        ("forged", &mut forged, "GET", &[PROGRAM], 429, None),
        ("wrong room", &mut wrong_room, "GET", &[PROGRAM], 429, None),
        ("replayed by another visitor", &mut replayed, "GET", &[PROGRAM], 429, None),
        ("replayed without its device", &mut alone, "GET", &[PROGRAM], 429, None),
        ("left", &mut left, "GET", &[PROGRAM], 429, None),
        ("admitted, a person", &mut admitted.clone(), "GET", &[PERSON], 200, None),
        ("admitted, a program", &mut admitted.clone(), "GET", &[PROGRAM], 200, None),
        ("admitted, a form", &mut admitted.clone(), "POST", &[PERSON], 200, None),
        ("admitted, looks", &mut admitted.clone(), "HEAD", &[PERSON], 200, None),
        ("admitted, a websocket", &mut admitted, "GET", &upgrade, 101, None),
    ];
    for (name, visitor, method, fields, status, location) in table {
        let answer = visitor.ask(method, "/buy?a=b", fields, "").await;
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, status, "{name}: {} {said} {}", answer.head, site.node.logs());
        let place = answer.field("location").map(|place| place.split_once("/rooms").unwrap().1);
        assert_eq!(place, location.map(|place| place.split_once("/rooms").unwrap().1), "{name}");
        if status == 429 {
            assert!(
                answer.field("retry-after").is_some_and(|after| after.parse::<u64>().unwrap() >= 1),
                "{name}"
            );
            assert_eq!(answer.json()["room"], "demo", "{name}: {said}");
        }
        if status == 200 && method != "HEAD" {
            assert_eq!(said, format!("{method} /buy?a=b HTTP/1.1"), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_comes_in_through_the_page_and_is_let_out_where_it_wanted_to_go() {
    let site = Site::start().await;
    let mut visitor = site.visitor();
    let turned_away = visitor.get("/buy?a=b").await;
    assert_eq!(turned_away.status, 302, "{}", site.node.logs());
    let mut goal = turned_away.field("location").unwrap().to_owned();
    for _ in 0..2 {
        // Absolute or not: nginx may write its own name before a path.
        let path = goal.find("/rooms").map(|at| goal[at..].to_owned()).unwrap();
        let page = visitor.get(&path).await;
        assert_eq!(page.status, 303, "{}", page.head);
        goal = page.field("location").unwrap().to_owned();
    }
    assert!(goal.ends_with("/buy?a=b"), "{goal}");
    assert_eq!(visitor.get("/buy?a=b").await.status, 200, "{}", site.node.logs());
}

/// Requests are signs of life, and nginx brings the pass that lasts longer: as a cookie by itself, though there are two.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_goes_on_gets_the_pass_that_lasts_longer() {
    let site = Site::with(&RULES.replace("idle: 1h", "idle: 3s")).await;
    let mut visitor = site.visitor();
    assert_eq!(visitor.seat("join").await["state"], "admitted");
    let [pass, jwt] = ["tidegate_pass_demo", "tidegate_jwt_demo"].map(|name| visitor.cookies[name].clone());
    assert!(pass.starts_with("v1.") && jwt.starts_with("ey"), "{pass} {jwt}");
    let watch = Stopwatch::start();
    while visitor.cookies["tidegate_pass_demo"] == pass {
        assert!(watch.elapsed().as_secs() < 10, "no pass that lasts longer: {}", site.node.logs());
        let answer = visitor.ask("GET", "/buy", &[PROGRAM], "").await;
        assert_eq!(answer.status, 200, "{}", answer.head);
        for line in answer.head.lines().filter(|line| line.starts_with("Set-Cookie: ")) {
            assert!(line.ends_with("; HttpOnly; SameSite=Lax") && !line.contains(','), "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pass_that_lasts_longer_comes_with_whatever_the_application_answers() {
    let site = Site::with(
        "version: 1\ndomains: []\nrooms: [{ name: demo, capacity: 2, release_rate: 9/s, session: { limit: 1h, idle: 6s } }]",
    )
    .await;
    let mut visitor = site.visitor();
    assert_eq!(visitor.seat("join").await["state"], "admitted", "{}", site.node.logs());
    let first = visitor.cookies["tidegate_pass_demo"].clone();
    let began = Stopwatch::start();
    while visitor.cookies["tidegate_pass_demo"] == first {
        let answer = visitor.get("/none").await;
        assert_eq!(answer.status, 404, "after {:?}: {}", began.elapsed(), site.node.logs());
    }
}
