//! The accept loop of doors that do not speak HTTP. Caps, evictions, timeouts and the order of draining are those of the
//! HTTP doors: a command is a request, the rest of a torn one is a head that comes too slowly.

use std::future::{Future, pending};
use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use tracing::{debug, info, warn};

use super::connection::{Command, Connection, InFlight, Waiting};
use super::drain::{ABORT_GRACE, DrainReport, HANDSHAKE_GRACE, until};
use super::limits::{ConnectionLimits, LimitError};
use super::listen::stop_handshakes;
use super::registry::{AddressKey, Registered, Registry, count};
use super::server::Acceptor;
use super::stats::{ConnectionStats, add_one};
use super::stream::WatchedStream;
use super::task::under_watch;
#[cfg(unix)]
use super::unix::UnixSocket;

/// What a socket is to a door.
pub trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Socket for T {}

/// A protocol on a stream of bytes.
pub trait StreamDoor: Send + Sync + 'static {
    /// Talks with one client over the network until it leaves. May be dropped wherever it waits.
    fn serve_network<T: Socket>(
        &self,
        socket: T,
        session: Session,
    ) -> impl Future<Output = ()> + Send + 'static;

    /// Talks with one client on this machine.
    fn serve_local<T: Socket>(
        &self,
        socket: T,
        session: Session,
    ) -> impl Future<Output = ()> + Send + 'static;
}

/// A connection as its protocol sees it.
pub struct Session(Arc<Connection>);

/// Something was asked and is not answered yet: the connection is neither idle nor to be closed.
pub struct Busy {
    _in_flight: InFlight,
}

impl Session {
    /// A number of its own among the connections of its door.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// Something was asked. To be dropped when the answer is written.
    #[must_use]
    pub fn begin(&self) -> Busy {
        Busy { _in_flight: InFlight::begin(&self.0) }
    }

    /// Nothing is asked, and nothing has come of the next.
    pub fn rests(&self) {
        self.0.wait_for(Waiting::Next);
    }

    /// Part of something came, whose rest is awaited.
    pub fn waits_for_rest(&self) {
        self.0.wait_for(Waiting::Head);
    }
}

/// Where a door listens.
#[derive(Debug, Default)]
pub struct Listeners {
    /// On the network.
    pub tcp: Option<TcpListener>,
    /// In the file system.
    #[cfg(unix)]
    pub unix: Option<UnixSocket>,
}

impl Listeners {
    /// Whether it listens nowhere.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        #[cfg(unix)]
        if self.unix.is_some() {
            return false;
        }
        self.tcp.is_none()
    }
}

/// The accept loop of such a door.
#[derive(Debug)]
pub struct StreamServer {
    name: &'static str,
    limits: ConnectionLimits,
    stats: Arc<ConnectionStats>,
}

impl StreamServer {
    /// A server called `name` in logs.
    ///
    /// # Errors
    /// A limit is outside its range.
    pub fn new(name: &'static str, limits: ConnectionLimits) -> Result<Self, LimitError> {
        limits.validate()?;
        Ok(Self { name, limits, stats: Arc::default() })
    }

    /// The counters, for as long as anybody wants to read them.
    #[must_use]
    pub fn stats(&self) -> Arc<ConnectionStats> {
        Arc::clone(&self.stats)
    }

    /// Serves connections until `shutdown` resolves; then drains them. Each connection is one task of the current runtime.
    pub async fn run<D: StreamDoor>(
        self,
        listeners: Listeners,
        door: D,
        shutdown: impl Future<Output = ()>,
    ) -> DrainReport {
        let tick = Duration::from_millis(self.limits.tick_ms());
        let registry = Arc::new(Registry::new(self.limits, self.stats));
        let mut open = Open {
            registry,
            door,
            tcp: listeners.tcp.map(|listener| Acceptor::new(listener, self.name)),
            #[cfg(unix)]
            unix: listeners.unix.map(|listener| Acceptor::new(listener, self.name)),
        };
        let mut ticks = interval(tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                _ = ticks.tick() => open.registry.tick(),
                () = open.accept() => {}
            }
        }
        drain(self.name, open, ticks).await
    }
}

/// A door that is open.
struct Open<D> {
    registry: Arc<Registry>,
    door: D,
    tcp: Option<Acceptor>,
    #[cfg(unix)]
    unix: Option<Acceptor<UnixSocket>>,
}

impl<D: StreamDoor> Open<D> {
    /// Lets the next connection in. Cancel safe.
    async fn accept(&mut self) {
        let network = async {
            match &mut self.tcp {
                Some(acceptor) => acceptor.accept(&self.registry).await,
                None => pending().await,
            }
        };
        #[cfg(unix)]
        let local = async {
            match &mut self.unix {
                Some(acceptor) => acceptor.accept(&self.registry).await,
                None => pending().await,
            }
        };
        #[cfg(not(unix))]
        let local = pending::<tokio::net::TcpStream>();
        tokio::select! {
            (socket, peer) = network => {
                // It fails only for a socket whose client is gone already; its task will find out.
                let _ = socket.set_nodelay(true);
                if let Some(registered) = self.admit(peer.ip().to_canonical()) {
                    let (socket, session) = watched(socket, &registered);
                    tokio::spawn(drive(self.door.serve_network(socket, session), registered));
                }
            }
            socket = local => if let Some(registered) = self.admit(IpAddr::V4(Ipv4Addr::LOCALHOST)) {
                let (socket, session) = watched(socket, &registered);
                tokio::spawn(drive(self.door.serve_local(socket, session), registered));
            }
        }
    }

    fn admit(&self, address: IpAddr) -> Option<Registered> {
        add_one(&self.registry.stats().accepted);
        let admitted = self.registry.admit(AddressKey::of(address));
        admitted.map_err(|refusal| count(self.registry.stats(), refusal)).ok()
    }
}

fn watched<T: Socket>(socket: T, registered: &Registered) -> (WatchedStream<T>, Session) {
    let connection = registered.connection();
    // Clients open connections ahead of their first command.
    connection.wait_for(Waiting::Next);
    (WatchedStream::plain(socket, Arc::clone(connection)), Session(Arc::clone(connection)))
}

/// Runs one connection to its end, or until the sweep says that it is over.
async fn drive(talk: impl Future<Output = ()>, registered: Registered) {
    under_watch(talk, registered.connection()).await;
}

/// As [`drain`](super::drain) says, but that nobody can be told: these protocols have no word for it.
async fn drain<D: StreamDoor>(name: &'static str, mut open: Open<D>, mut ticks: Interval) -> DrainReport {
    let registry = Arc::clone(&open.registry);
    let signalled_at = Instant::now();
    let linger_until = signalled_at + Duration::from_millis(registry.limits().linger_ms);
    let give_up_at = signalled_at + Duration::from_millis(registry.limits().drain_timeout_ms);
    let open_at_signal = registry.stats().open.load(Ordering::Relaxed);
    info!(door = name, open = open_at_signal, "draining connections");
    registry.begin_drain();
    if let Some(Err(error)) = open.tcp.as_ref().map(|acceptor| stop_handshakes(acceptor.listener())) {
        debug!(door = name, %error, "connections may be refused while the listener closes");
    }
    let accept = async {
        loop {
            open.accept().await;
        }
    };
    until(signalled_at + HANDSHAKE_GRACE, accept, &registry, &mut ticks).await;
    drop(open);
    until(linger_until.min(give_up_at), registry.emptied(), &registry, &mut ticks).await;
    registry.give_all(Command::Finish, |_| true);
    until(give_up_at, registry.emptied(), &registry, &mut ticks).await;
    let aborted = registry.give_all(Command::Abort, |_| true) as u64;
    if aborted > 0 {
        registry.stats().aborted_at_drain.fetch_add(aborted, Ordering::Relaxed);
        warn!(door = name, aborted, "commands were cut off: raise the drain timeout if they need longer");
        until(Instant::now() + ABORT_GRACE, registry.emptied(), &registry, &mut ticks).await;
    }
    info!(door = name, aborted, "drained");
    DrainReport { open_at_signal, aborted }
}
