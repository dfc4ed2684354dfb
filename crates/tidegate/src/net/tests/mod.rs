//! The accept loop against real sockets on loopback.
//!
//! Timeouts are set to a fraction of a second; bounds from above are generous, so that a busy
//! machine does not fail the tests. [`PATIENCE`] bounds every wait.

mod bodies;
mod caps;
mod drain;
mod gathered;
mod protocol;
mod timeouts;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::{
    BodyError, BodyRoom, ConnectionLimits, ConnectionStats, DrainReport, ListenOptions, Server, bind,
    read_body,
};

/// The longest any test waits for anything.
const PATIENCE: Duration = Duration::from_secs(20);
/// The largest body the test service takes.
const MAX_BODY_BYTES: usize = 1_000;
/// More than all socket buffers on the way can hold.
const HUGE_BYTES: usize = 64 << 20;

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: t\r\n\r\n";
const HOLD: &[u8] = b"GET /hold HTTP/1.1\r\nhost: t\r\n\r\n";

/// A door on a port of its own.
struct Running {
    address: SocketAddr,
    stats: Arc<ConnectionStats>,
    /// Each permit lets one request of `/hold` go.
    release: Arc<Semaphore>,
    /// Requests of `/hold` that wait.
    holding: Arc<AtomicU64>,
    /// Room for bodies that come in pieces: as much as the largest one needs.
    room: BodyRoom,
    stop: Option<oneshot::Sender<()>>,
    end: JoinHandle<DrainReport>,
}

impl Running {
    fn signal(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    async fn ended(self) -> DrainReport {
        timeout(PATIENCE, self.end).await.expect("the drain ends").unwrap()
    }

    async fn connect(&self) -> Client {
        Client::connect(self.address).await
    }
}

fn start(limits: ConnectionLimits) -> Running {
    start_until(limits, None)
}

/// `stop`: what shuts the door down; `None` makes it [`Running::signal`].
fn start_until(limits: ConnectionLimits, stop: Option<oneshot::Receiver<()>>) -> Running {
    let listener = bind(&ListenOptions::new("127.0.0.1:0".parse().unwrap(), "--listen")).unwrap();
    let address = listener.local_addr().unwrap();
    let body_timeout = limits.body_timeout();
    let server = Server::new("test", limits).unwrap();
    let stats = server.stats();
    let release = Arc::new(Semaphore::new(0));
    let holding = Arc::new(AtomicU64::new(0));
    let (sender, receiver) = oneshot::channel();
    let stop = stop.unwrap_or(receiver);
    let room = BodyRoom::new(MAX_BODY_BYTES);
    let (hold, count, bodies) = (Arc::clone(&release), Arc::clone(&holding), room.clone());
    let make_service = move |_peer| {
        let (hold, count, bodies) = (Arc::clone(&hold), Arc::clone(&count), bodies.clone());
        service_fn(move |request| {
            answer(request, body_timeout, Arc::clone(&hold), Arc::clone(&count), bodies.clone())
        })
    };
    let end = tokio::spawn(server.run(listener, make_service, async { drop(stop.await) }));
    Running { address, stats, release, holding, room, stop: Some(sender), end }
}

async fn answer(
    request: Request<Incoming>,
    body_timeout: Duration,
    hold: Arc<Semaphore>,
    holding: Arc<AtomicU64>,
    room: BodyRoom,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let (status, bytes) = match parts.uri.path() {
        "/hold" => {
            holding.fetch_add(1, Ordering::SeqCst);
            hold.acquire().await.unwrap().forget();
            (StatusCode::OK, Bytes::from_static(b"held"))
        }
        "/huge" => (StatusCode::OK, Bytes::from(vec![b'x'; HUGE_BYTES])),
        "/echo" => match read_body(body, MAX_BODY_BYTES, body_timeout, &room).await {
            Ok(bytes) => (StatusCode::OK, bytes),
            Err(BodyError::TooLarge { .. }) => (StatusCode::PAYLOAD_TOO_LARGE, Bytes::new()),
            Err(BodyError::TooSlow { .. }) => (StatusCode::REQUEST_TIMEOUT, Bytes::new()),
            Err(BodyError::NoRoom) => (StatusCode::SERVICE_UNAVAILABLE, Bytes::new()),
            Err(BodyError::Broken(_)) => (StatusCode::BAD_REQUEST, Bytes::new()),
        },
        _ => (StatusCode::OK, Bytes::from_static(b"hello")),
    };
    let mut response = Response::new(Full::new(bytes));
    *response.status_mut() = status;
    Ok(response)
}

/// A client that speaks in bytes.
struct Client {
    socket: TcpStream,
    read: Vec<u8>,
}

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).await.unwrap()
    }

    async fn try_connect(address: SocketAddr) -> std::io::Result<Self> {
        let socket = timeout(PATIENCE, TcpStream::connect(address)).await.expect("a connection")?;
        Ok(Self { socket, read: Vec::new() })
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    /// The next response, head and body; `None` if the connection ended instead.
    async fn receive(&mut self) -> Option<String> {
        loop {
            if let Some(end) = response_end(&self.read) {
                let response = self.read.drain(..end).collect();
                return Some(String::from_utf8(response).unwrap());
            }
            let reading = self.socket.read_buf(&mut self.read);
            match timeout(PATIENCE, reading).await.expect("a response or an end") {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    async fn ask(&mut self, request: &[u8]) -> Option<String> {
        self.socket.write_all(request).await.ok()?;
        self.receive().await
    }

    /// Waits for the other side to close; fails if it says something first.
    async fn closed(&mut self) {
        assert_eq!(self.receive().await, None, "expected the end of the connection");
        assert!(self.read.is_empty());
    }
}

fn response_end(bytes: &[u8]) -> Option<usize> {
    let head_end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..head_end]).unwrap().to_ascii_lowercase();
    let length = head
        .split("content-length: ")
        .nth(1)
        .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
    (bytes.len() >= head_end + length).then_some(head_end + length)
}

/// Waits until `condition` holds.
async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

fn value(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// No timeouts that a test could meet by chance.
fn patient() -> ConnectionLimits {
    ConnectionLimits { linger_ms: 50, ..ConnectionLimits::default() }
}
