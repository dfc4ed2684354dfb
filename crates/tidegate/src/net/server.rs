//! The accept loop.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};
use tracing::{info, warn};

use super::drain::{DrainReport, drain};
use super::limits::ConnectionLimits;
use super::registry::{AddressKey, Registry, count};
use super::service::DoorService;
use super::stats::{ConnectionStats, add_one};
use super::task;
use super::tls::Tls;

/// What hyper takes as an error of a service or a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How long accepting pauses when the system has no resources for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long accepting must not have failed to be said to work again. At the limit of open files
/// failures and successes alternate, which is one state, not many.
const ACCEPT_RECOVERY: Duration = Duration::from_secs(5);

/// Who is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// The other end of the socket, IPv4 within IPv6 unwrapped. Not to be taken for the client
    /// where a proxy stands before the door.
    pub address: SocketAddr,
}

/// A door's accept loop.
#[derive(Debug)]
pub struct Server {
    name: &'static str,
    limits: ConnectionLimits,
    stats: Arc<ConnectionStats>,
    tls: Option<Tls>,
}

impl Server {
    /// A server called `name` in logs.
    ///
    /// # Errors
    /// A limit is outside its range.
    pub fn new(name: &'static str, limits: ConnectionLimits) -> Result<Self, super::LimitError> {
        limits.validate()?;
        Ok(Self { name, limits, stats: Arc::default(), tls: None })
    }

    /// With a certificate connections are encrypted and speak HTTP/2, and others are closed; without one they are as
    /// they were.
    #[must_use]
    pub fn with_tls(self, tls: Option<Tls>) -> Self {
        Self { tls, ..self }
    }

    /// The counters, for as long as anybody wants to read them.
    #[must_use]
    pub fn stats(&self) -> Arc<ConnectionStats> {
        Arc::clone(&self.stats)
    }

    /// Serves the connections of `listener`, each by a service `make_service` makes, until
    /// `shutdown` resolves; then drains them. Each connection is one task of the current runtime.
    ///
    /// A caller behind a load balancer lets `shutdown` resolve a while after its readiness went
    /// off, so that no new connections come.
    pub async fn run<M, S>(
        self,
        listener: TcpListener,
        make_service: M,
        shutdown: impl Future<Output = ()>,
    ) -> DrainReport
    where
        M: Fn(PeerInfo) -> S,
        S: DoorService,
    {
        let door = Door::new(self, make_service);
        let mut acceptor = Acceptor::new(listener, door.name);
        let mut ticks = door.ticks();
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                _ = ticks.tick() => door.registry.tick(),
                (socket, peer) = acceptor.accept(&door.registry) => door.open(socket, peer),
            }
        }
        drain(door, acceptor, ticks).await
    }
}

/// What is needed to open connections.
pub(super) struct Door<M> {
    pub(super) name: &'static str,
    pub(super) registry: Arc<Registry>,
    protocols: Arc<auto::Builder<TokioExecutor>>,
    tls: Option<Tls>,
    make_service: M,
}

impl<M> Door<M> {
    fn new(server: Server, make_service: M) -> Self {
        Self {
            name: server.name,
            protocols: Arc::new(task::protocols(&server.limits)),
            registry: Arc::new(Registry::new(server.limits, server.stats)),
            tls: server.tls,
            make_service,
        }
    }

    fn ticks(&self) -> Interval {
        let mut ticks = interval(Duration::from_millis(self.registry.limits().tick_ms()));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        ticks
    }

    /// Starts a connection's task, or closes the socket if there is no room for it.
    pub(super) fn open<S: DoorService>(&self, socket: TcpStream, peer: SocketAddr)
    where
        M: Fn(PeerInfo) -> S,
    {
        add_one(&self.registry.stats().accepted);
        let address = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        match self.registry.admit(AddressKey::of(address.ip())) {
            Err(refusal) => count(self.registry.stats(), refusal),
            Ok(registered) => {
                // It fails only for a socket whose client is gone already; its task will find out.
                let _ = socket.set_nodelay(true);
                let service = (self.make_service)(PeerInfo { address });
                let max_headers = self.registry.limits().max_headers;
                tokio::spawn(task::serve(
                    Arc::clone(&self.protocols),
                    socket,
                    self.tls.clone(),
                    registered,
                    service,
                    max_headers,
                ));
            }
        }
    }
}

/// Where connections come from.
pub(super) trait Listen {
    /// A connection, and what is known of its other end.
    type Accepted;

    /// The next one. Cancel safe.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Accepted>> + Send;
}

impl Listen for TcpListener {
    type Accepted = (TcpStream, SocketAddr);

    fn accept(&self) -> impl Future<Output = io::Result<Self::Accepted>> + Send {
        Self::accept(self)
    }
}

/// A listener that survives its errors.
pub(super) struct Acceptor<L = TcpListener> {
    listener: L,
    name: &'static str,
    paused_until: Option<Instant>,
    failed_at: Option<Instant>,
}

impl<L: Listen> Acceptor<L> {
    pub(super) fn new(listener: L, name: &'static str) -> Self {
        Self { listener, name, paused_until: None, failed_at: None }
    }

    pub(super) fn listener(&self) -> &L {
        &self.listener
    }

    pub(super) fn into_listener(self) -> L {
        self.listener
    }

    /// The next connection. Cancel safe.
    pub(super) async fn accept(&mut self, registry: &Registry) -> L::Accepted {
        loop {
            if let Some(until) = self.paused_until {
                sleep_until(until).await;
                self.paused_until = None;
            }
            match self.listener.accept().await {
                Ok(accepted) => {
                    if self.failed_at.is_some_and(|at| at.elapsed() > ACCEPT_RECOVERY) {
                        self.failed_at = None;
                        info!(door = self.name, "accepting connections again");
                    }
                    return accepted;
                }
                Err(error) if is_the_clients(&error) => {}
                Err(error) => self.pause(registry, &error),
            }
        }
    }

    fn pause(&mut self, registry: &Registry, error: &io::Error) {
        add_one(&registry.stats().accept_errors);
        if self.failed_at.replace(Instant::now()).is_none() {
            warn!(
                door = self.name,
                %error,
                "cannot accept connections: raise the limit of open files (ulimit -n) or lower max_connections"
            );
        }
        registry.evict_one();
        self.paused_until = Some(Instant::now() + ACCEPT_PAUSE);
    }
}

/// Whether accepting failed for one connection only.
pub(super) fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
