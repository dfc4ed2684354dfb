//! A TCP proxy that breaks what passes through it, as told.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::port::PortLease;

/// Most bytes taken in one read; a reply longer than this is several.
const READ_BYTES: usize = 64 * 1024;
/// Most pieces on their way in one direction of one connection.
const MAX_PIECES: usize = 1_024;

/// What goes wrong. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// The share of replies, 0.0 to 1.0, that upstream sends and the client never sees: its connection is closed
    /// instead. A reply is what one read from upstream gives: with pipelining, several of the protocol's replies.
    pub drop_replies: f64,
    /// How long requests take to upstream.
    pub request_delay: Duration,
    /// How long replies take to the client.
    pub reply_delay: Duration,
    /// At most this much more, evenly spread, in each direction; pieces never overtake each other.
    pub jitter: Duration,
    /// Whether anything passes at all.
    pub link: Link,
}

/// Whether anything passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// Everything passes.
    #[default]
    Up,
    /// Nobody listens: new connections are refused, those there are are closed.
    Refuse,
    /// Connections stay open and silent, new ones too. What was sent meanwhile is delivered when the link is up, as
    /// TCP does after a partition.
    BlackHole,
}

/// A proxy in front of one address; its connections are closed when it is dropped.
///
/// It runs on a thread of its own: usable from any test, and not held up by one that blocks.
#[derive(Debug)]
pub struct FaultProxy {
    lease: PortLease,
    /// The thread ends when this is dropped.
    faults: Option<watch::Sender<Faults>>,
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    random: Mutex<fastrand::Rng>,
    connections: AtomicU64,
    replies_dropped: AtomicU64,
    /// Replies still to be dropped whatever the share is.
    drop_next: AtomicU64,
}

impl FaultProxy {
    /// Starts in front of `upstream`, passing everything; prints the seed of its choices.
    ///
    /// # Panics
    ///
    /// Panics where no port can be had.
    #[allow(clippy::print_stdout, reason = "whoever looks at a failed test needs the seed")]
    pub fn start(upstream: SocketAddr, seed: u64) -> Self {
        println!("fault proxy in front of {upstream}: seed {seed}");
        let (lease, listener) = listen();
        let (faults, receiver) = watch::channel(Faults::default());
        let shared = Arc::new(Shared {
            upstream,
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
            connections: AtomicU64::new(0),
            replies_dropped: AtomicU64::new(0),
            drop_next: AtomicU64::new(0),
        });
        let state = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(accept(listener, receiver, state));
        });
        Self { lease, faults: Some(faults), shared, thread: Some(thread) }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.lease.address()
    }

    /// Changes what goes wrong from now on, for connections that are open too.
    ///
    /// ```no_run
    /// # let proxy = tidegate_testkit::FaultProxy::start("127.0.0.1:6379".parse().unwrap(), 1);
    /// proxy.change(|faults| faults.drop_replies = 0.05);
    /// ```
    pub fn change(&self, change: impl FnOnce(&mut Faults)) {
        self.faults.as_ref().expect("until dropped").send_modify(change);
    }

    /// Nothing goes wrong from now on.
    pub fn heal(&self) {
        self.shared.drop_next.store(0, Relaxed);
        self.change(|faults| *faults = Faults::default());
    }

    /// Drops exactly the next `count` replies, whatever the share is.
    pub fn drop_next_replies(&self, count: u64) {
        self.shared.drop_next.store(count, Relaxed);
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Relaxed)
    }

    /// Replies dropped so far.
    pub fn replies_dropped(&self) -> u64 {
        self.shared.replies_dropped.load(Relaxed)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.faults = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A leased port, listened on.
fn listen() -> (PortLease, StdListener) {
    loop {
        let lease = PortLease::new();
        if let Ok(listener) = bind(lease.port()) {
            return (lease, listener);
        }
    }
}

fn bind(port: u16) -> io::Result<StdListener> {
    let listener = StdListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Accepts until the proxy is dropped; without a listener while connections are refused.
async fn accept(listener: StdListener, mut faults: watch::Receiver<Faults>, shared: Arc<Shared>) {
    let port = listener.local_addr().expect("an address").port();
    let mut listener = Some(TcpListener::from_std(listener).expect("a listener"));
    loop {
        let refuse = faults.borrow_and_update().link == Link::Refuse;
        if refuse {
            listener = None;
        } else if listener.is_none() {
            listener = Some(TcpListener::from_std(bind(port).expect("the leased port")).expect("a listener"));
        }
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = faults.changed() => if changed.is_err() { return },
            accepted = accepted => if let Ok((client, _)) = accepted {
                shared.connections.fetch_add(1, Relaxed);
                // A connection that breaks is what this proxy is for.
                let connection = serve(client, faults.clone(), Arc::clone(&shared));
                tokio::spawn(async { let _ = connection.await; });
            },
        }
    }
}

/// Carries both directions until one breaks or upstream is done; whatever is open then is closed.
async fn serve(client: TcpStream, faults: watch::Receiver<Faults>, shared: Arc<Shared>) -> io::Result<()> {
    let mut refused = faults.clone();
    let carry = async {
        let mut link = faults.clone();
        pass(&mut link).await?;
        let upstream = TcpStream::connect(shared.upstream).await?;
        upstream.set_nodelay(true)?;
        client.set_nodelay(true)?;
        let (from_client, to_client) = client.into_split();
        let (from_upstream, to_upstream) = upstream.into_split();
        let requests =
            Pump { direction: Direction::Requests, faults: faults.clone(), shared: Arc::clone(&shared) };
        let replies =
            Pump { direction: Direction::Replies, faults: faults.clone(), shared: Arc::clone(&shared) };
        let requests = async {
            requests.run(from_client, to_upstream).await?;
            // The client has sent its last and may still wait for an answer.
            std::future::pending::<io::Result<()>>().await
        };
        tokio::select! {
            result = requests => result,
            result = replies.run(from_upstream, to_client) => result,
        }
    };
    tokio::select! {
        result = carry => result,
        _ = refused.wait_for(|faults| faults.link == Link::Refuse) => Ok(()),
    }
}

/// Waits while the link is a black hole.
async fn pass(faults: &mut watch::Receiver<Faults>) -> io::Result<()> {
    match faults.wait_for(|faults| faults.link != Link::BlackHole).await {
        Ok(_) => Ok(()),
        Err(_) => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Requests,
    Replies,
}

/// One direction of one connection.
struct Pump {
    direction: Direction,
    faults: watch::Receiver<Faults>,
    shared: Arc<Shared>,
}

/// Something on its way.
enum Piece {
    Bytes(Instant, Vec<u8>),
    /// In the place of a dropped reply: those before it arrive, then the connection is closed.
    Close,
}

impl Pump {
    /// Reads and writes at once, so that a delay takes time and not throughput.
    async fn run(mut self, from: OwnedReadHalf, to: OwnedWriteHalf) -> io::Result<()> {
        let (sender, receiver) = mpsc::channel(MAX_PIECES);
        let delivering = deliver(receiver, to, self.faults.clone());
        tokio::try_join!(self.read(from, sender), delivering)?;
        Ok(())
    }

    async fn read(&mut self, mut from: OwnedReadHalf, pieces: mpsc::Sender<Piece>) -> io::Result<()> {
        let mut buffer = vec![0; READ_BYTES];
        let mut last = Instant::now();
        loop {
            let length = from.read(&mut buffer).await?;
            if length == 0 {
                return Ok(());
            }
            pass(&mut self.faults).await?;
            let faults = *self.faults.borrow();
            if self.direction == Direction::Replies && self.shared.drops_reply(faults.drop_replies) {
                let _ = pieces.send(Piece::Close).await;
                return Ok(());
            }
            let delay = match self.direction {
                Direction::Requests => faults.request_delay,
                Direction::Replies => faults.reply_delay,
            };
            last = last.max(Instant::now() + delay + self.shared.share_of(faults.jitter));
            if pieces.send(Piece::Bytes(last, buffer[..length].to_vec())).await.is_err() {
                return Ok(());
            }
        }
    }
}

async fn deliver(
    mut pieces: mpsc::Receiver<Piece>,
    mut to: OwnedWriteHalf,
    mut faults: watch::Receiver<Faults>,
) -> io::Result<()> {
    while let Some(piece) = pieces.recv().await {
        let Piece::Bytes(time, bytes) = piece else { return Err(io::ErrorKind::ConnectionAborted.into()) };
        tokio::time::sleep_until(time).await;
        pass(&mut faults).await?;
        to.write_all(&bytes).await?;
    }
    // Dropping its half tells the other side that this was the last.
    Ok(())
}

impl Shared {
    /// Whether this reply is dropped; counts it then.
    fn drops_reply(&self, share: f64) -> bool {
        let told = self.drop_next.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
        let dropped = told || (share > 0.0 && self.random.lock().expect("never poisoned").f64() < share);
        if dropped {
            self.replies_dropped.fetch_add(1, Relaxed);
        }
        dropped
    }

    fn share_of(&self, jitter: Duration) -> Duration {
        if jitter.is_zero() {
            return Duration::ZERO;
        }
        jitter.mul_f64(self.random.lock().expect("never poisoned").f64())
    }
}
