//! A server with a room on a clock that the test moves, and visitors with cookies.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate::http::{HttpDoor, HttpOptions, Readiness};
use tidegate::net::{ListenOptions, Server, bind};
use tidegate::rooms::{Definition, RoomKeys, Rooms};
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::room::{EarlyEnd, RoomName, SessionTerms, Settings, Spec};
use tidegate_core::time::Micros;
use tidegate_engine::{Clock, Engine, ManualClock};
use tidegate_store::rooms::MemoryRooms;
use tidegate_store::{MemoryOptions, MemoryStore};

use crate::common::{Answer, Client, START, compile, limits, options};

pub const SECRET: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// A room of five seats, for 40 s each; nothing happens in it by itself.
pub fn five_seats(name: &str) -> Definition {
    let release = Quota::new(Algorithm::TokenBucket, 1_000, Micros::from_secs(1), None).unwrap();
    let session = SessionTerms {
        limit: Some(Micros::from_secs(40)),
        idle: Some(Micros::from_secs(15)),
        early_end: EarlyEnd::FreesSeat,
        ..SessionTerms::default()
    };
    let settings = Settings::new(Spec { session, ..Spec::new(5, release) }).unwrap();
    Definition::new(RoomName::new(name).unwrap(), settings)
}

/// Serves these rooms until the test is over.
pub async fn serve(definitions: &[Definition], secret: &str) -> (SocketAddr, ManualClock) {
    serve_with(definitions, secret, "version: 1\ndomains: []").await
}

/// The same, with rules.
pub async fn serve_with(definitions: &[Definition], secret: &str, rules: &str) -> (SocketAddr, ManualClock) {
    serve_as(definitions, secret, rules, options(), |rooms| rooms).await
}

/// The same, with options of the door, and rooms that are made otherwise.
pub async fn serve_as(
    definitions: &[Definition],
    secret: &str,
    rules: &str,
    options: HttpOptions,
    otherwise: impl FnOnce(Rooms) -> Rooms,
) -> (SocketAddr, ManualClock) {
    let clock = ManualClock::new(START);
    let of_store = clock.clone();
    let store = MemoryRooms::new(Arc::new(move || of_store.now()));
    let address = serve_kept(store, &clock, definitions, secret, rules, options, otherwise).await;
    (address, clock)
}

/// The same, of rooms that are kept here.
pub async fn serve_kept(
    store: MemoryRooms,
    clock: &ManualClock,
    definitions: &[Definition],
    secret: &str,
    rules: &str,
    options: HttpOptions,
    otherwise: impl FnOnce(Rooms) -> Rooms,
) -> SocketAddr {
    let rooms = Rooms::new(store, Arc::new(clock.clone()), RoomKeys::parse(secret, "test").unwrap()).unwrap();
    let rooms = otherwise(rooms);
    for definition in definitions {
        rooms.define(definition).await.unwrap();
    }
    let buckets = MemoryStore::new(&MemoryOptions::new([1, 2]));
    let engine = Engine::with_parts(compile(rules), buckets, clock.clone(), None);
    let listener = bind(&ListenOptions::new("127.0.0.1:0".parse().unwrap(), "--listen")).unwrap();
    let address = listener.local_addr().unwrap();
    let readiness = Readiness::default();
    readiness.set(true);
    let door = HttpDoor::new(engine, options, readiness).with_rooms(rooms);
    let server = Server::new("test", limits()).unwrap();
    tokio::spawn(server.run(listener, move |peer| door.service(peer), std::future::pending()));
    address
}

/// A browser.
#[derive(Clone)]
pub struct Visitor {
    pub address: SocketAddr,
    pub cookies: BTreeMap<String, String>,
    /// Whether it talks to a proxy, whose answers are its own.
    pub is_behind_proxy: bool,
}

impl Visitor {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, cookies: BTreeMap::new(), is_behind_proxy: false }
    }

    pub fn behind_proxy(address: SocketAddr) -> Self {
        Self { is_behind_proxy: true, ..Self::new(address) }
    }

    /// A request with the cookies that there are; those that come back are kept. Each field without its line end.
    pub async fn ask(&mut self, method: &str, target: &str, fields: &[&str], body: &str) -> Answer {
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut lines: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        if !cookies.is_empty() {
            lines.push_str(&format!("Cookie: {}\r\n", cookies.join("; ")));
        }
        let mut client = match self.is_behind_proxy {
            true => Client::to_proxy(self.address).await,
            false => Client::connect(self.address).await,
        };
        let answer = client.request(method, target, &lines, body.as_bytes()).await;
        for line in answer.head.lines() {
            let Some((name, value)) = line.split_once(": ") else { continue };
            if name.eq_ignore_ascii_case("set-cookie") {
                self.keep(value);
            }
        }
        answer
    }

    fn keep(&mut self, cookie: &str) {
        assert!(cookie.contains("; Path=/; ") && cookie.contains("; HttpOnly; SameSite=Lax"), "{cookie}");
        let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
        match value {
            "" => self.cookies.remove(name),
            value => self.cookies.insert(name.to_owned(), value.to_owned()),
        };
    }

    pub async fn get(&mut self, target: &str) -> Answer {
        self.ask("GET", target, &["Accept: text/html"], "").await
    }

    /// A call of the room `demo`, as a page makes it.
    pub async fn call(&mut self, call: &str, body: Value) -> Answer {
        let target = format!("/v1/rooms/demo/{call}");
        self.ask("POST", &target, &["Content-Type: application/json"], &body.to_string()).await
    }

    pub async fn seat(&mut self, call: &str) -> Value {
        let answer = self.call(call, json!({})).await;
        assert_eq!(answer.status, 200, "{call}: {}", String::from_utf8_lossy(&answer.body));
        answer.json()
    }

    /// As a form of a page without scripts.
    pub async fn submit(&mut self, call: &str, body: &str) -> Answer {
        let fields = ["Content-Type: application/x-www-form-urlencoded", "Sec-Fetch-Site: same-origin"];
        self.ask("POST", &format!("/v1/rooms/demo/{call}"), &fields, body).await
    }
}
