//! A door on a free port, and a client that sees raw responses.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

pub mod conformance;
pub mod echo;
pub mod kept;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::Value;
use tidegate::door::overload::{DEFAULT_CONCURRENT_REQUESTS, Overload};
use tidegate::http::{HttpDoor, HttpOptions, LegacyFields, Readiness};
use tidegate::net::{ConnectionLimits, DrainReport, ListenOptions, Server, bind};
use tidegate_config::{EXAMPLE_RULES, parse_rules};
use tidegate_core::rule::RuleSet;
use tidegate_core::time::Timestamp;
use tidegate_engine::{Clock, Engine, ManualClock};
use tidegate_store::{MemoryOptions, MemoryStore};
use tidegate_wire::identity::IdentityPolicy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use conformance::{Seen, admin, http_door};

/// 2026-01-01T00:00:00Z, on every window's edge.
pub const START: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

/// A server in this process.
pub struct Node<C: Clock> {
    pub address: SocketAddr,
    pub engine: Engine<MemoryStore, C>,
    pub readiness: Readiness,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<DrainReport>,
}

/// Rules from a file's text.
pub fn compile(yaml: &str) -> RuleSet {
    let parsed = parse_rules(yaml, "test.yaml").unwrap_or_else(|errors| panic!("{errors}"));
    RuleSet::compile(parsed.rules).unwrap()
}

pub fn options() -> HttpOptions {
    HttpOptions {
        identity: IdentityPolicy::default(),
        legacy_fields: LegacyFields::Omit,
        body_timeout: Duration::from_secs(10),
        overload: Overload::new("http", DEFAULT_CONCURRENT_REQUESTS),
    }
}

/// As `tidegate serve` sets them.
pub fn limits() -> ConnectionLimits {
    ConnectionLimits { max_headers: 100, ..ConnectionLimits::default() }
}

/// The example rules on a clock that the test moves.
pub async fn example_node() -> (Node<ManualClock>, ManualClock) {
    node_with(EXAMPLE_RULES).await
}

pub async fn node_with(yaml: &str) -> (Node<ManualClock>, ManualClock) {
    let clock = ManualClock::new(START);
    let node = Node::start(yaml, clock.clone(), options(), limits()).await;
    (node, clock)
}

impl<C: Clock> Node<C> {
    pub async fn start(yaml: &str, clock: C, options: HttpOptions, limits: ConnectionLimits) -> Self {
        let store = MemoryStore::new(&MemoryOptions::new([1, 2]));
        let engine = Engine::with_parts(compile(yaml), store, clock, None);
        let listener = bind(&ListenOptions::new("127.0.0.1:0".parse().unwrap(), "--listen")).unwrap();
        let address = listener.local_addr().unwrap();
        let readiness = Readiness::default();
        readiness.set(true);
        let door = HttpDoor::new(engine.clone(), options, readiness.clone());
        let server = Server::new("test", limits).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            let _ = stopped.await;
        };
        let running = tokio::spawn(server.run(listener, move |peer| door.service(peer), shutdown));
        Self { address, engine, readiness, stop: Some(stop), running }
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    pub async fn stop(mut self) -> DrainReport {
        drop(self.stop.take());
        self.running.await.unwrap()
    }
}

/// A response as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// A header field's value.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find_map(|(field, value)| field.eq_ignore_ascii_case(name).then_some(value))
    }

    /// The body.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }
}

/// A keep-alive connection.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Whether it talks to Tidegate itself, whose document knows every answer.
    is_documented: bool,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        Self { stream, buffer: Vec::new(), is_documented: true }
    }

    /// To a proxy, whose answers are its own.
    pub async fn to_proxy(address: SocketAddr) -> Self {
        Self { is_documented: false, ..Self::connect(address).await }
    }

    /// To a proxy, from another address of this machine.
    pub async fn to_proxy_from(source: IpAddr, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(source, 0)).unwrap();
        let stream = socket.connect(address).await.unwrap();
        Self { stream, buffer: Vec::new(), is_documented: false }
    }

    pub async fn get(&mut self, target: &str) -> Answer {
        self.request("GET", target, "", b"").await
    }

    pub async fn post(&mut self, target: &str, body: impl AsRef<[u8]>) -> Answer {
        self.request("POST", target, "", body.as_ref()).await
    }

    pub async fn check(&mut self, body: Value) -> Answer {
        self.post("/v1/check", body.to_string()).await
    }

    pub async fn request(&mut self, method: &str, target: &str, fields: &str, body: &[u8]) -> Answer {
        self.try_request(method, target, fields, body).await.expect("the connection ended")
    }

    /// `None` when the connection ended before an answer.
    pub async fn try_request(
        &mut self,
        method: &str,
        target: &str,
        fields: &str,
        body: &[u8],
    ) -> Option<Answer> {
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: test\r\n{fields}Content-Length: {}\r\n\r\n",
            body.len()
        );
        let mut message = head.into_bytes();
        message.extend_from_slice(body);
        // A server that refuses a body may close before it has read it all; its answer still counts.
        let _ = self.stream.write_all(&message).await;
        let answer = self.answer(method == "HEAD").await?;
        if self.is_documented {
            // Whatever else a test looks at: the answer is one that the API's document knows.
            let api = if target.starts_with("/admin/") { admin() } else { http_door() };
            api.hold(&Seen::new(method, target, &answer.head, &answer.body));
        }
        Some(answer)
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next answer; `None` when the connection ended.
    pub async fn answer(&mut self, without_body: bool) -> Option<Answer> {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            self.fill().await?;
        };
        let head = String::from_utf8(self.buffer[..end].to_vec()).unwrap();
        self.buffer.drain(..end + 4);
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let answer = Answer { status, head, body: Vec::new() };
        let length = answer.field("content-length").map_or(0, |length| length.parse().unwrap());
        let length = if without_body { 0 } else { length };
        while self.buffer.len() < length {
            self.fill().await?;
        }
        let body = self.buffer.drain(..length).collect();
        Some(Answer { body, ..answer })
    }

    /// What still comes until the other side closes.
    pub async fn rest(mut self) -> Vec<u8> {
        while self.fill().await.is_some() {}
        self.buffer
    }

    /// Everything from here on, until `pattern` has come; `None` when the connection ended before.
    pub async fn until(&mut self, pattern: &[u8]) -> Option<Vec<u8>> {
        while !self.buffer.windows(pattern.len()).any(|window| window == pattern) {
            self.fill().await?;
        }
        Some(std::mem::take(&mut self.buffer))
    }

    async fn fill(&mut self) -> Option<()> {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk).await {
            Ok(0) | Err(_) => None,
            Ok(read) => {
                self.buffer.extend_from_slice(&chunk[..read]);
                Some(())
            }
        }
    }
}

/// Sixty-four connections that each ask twenty times for premium_client; how many were let through.
pub async fn hammer(address: SocketAddr) -> u64 {
    let mut connections = Vec::new();
    for _ in 0..64 {
        connections.push(tokio::spawn(async move {
            let mut client = Client::connect(address).await;
            let mut allowed = 0;
            for _ in 0..20 {
                let answer = client.check(serde_json::json!({"client_id": "premium_client"})).await;
                allowed += u64::from(answer.status == 200);
            }
            allowed
        }));
    }
    let mut allowed = 0;
    for connection in connections {
        allowed += connection.await.unwrap();
    }
    allowed
}
