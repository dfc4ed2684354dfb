//! The end of a door: nobody who was let in is dropped.
//!
//! 1. The kernel takes no new connections; those whose handshake is under way still come in for
//!    [`HANDSHAKE_GRACE`], then the accept queue is emptied and the listener closed.
//! 2. From the signal on, HTTP/1.1 responses say `Connection: close` and HTTP/2 clients are sent
//!    GOAWAY. Idle HTTP/1.1 connections stay open for `linger_ms`: a request already on its way
//!    is answered rather than cut off, and its client learns to go elsewhere.
//! 3. Then idle connections are closed and the others finish what they have in flight.
//! 4. What is left after `drain_timeout_ms` is aborted.
//!
//! What remains to chance: an HTTP/1.1 client that was idle for the whole of step 2 and sends its
//! next request within the time of flight of our close. The protocol has no word for that
//! (RFC 9112, 9.5); clients repeat such a request on a new connection.

use std::future::Future;
use std::io;
use std::net::TcpListener as StdListener;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, Interval, sleep_until};
use tracing::{debug, info, warn};

use super::connection::{Command, Connection};
use super::listen::stop_handshakes;
use super::registry::Registry;
use super::server::{Acceptor, Door, PeerInfo, is_the_clients};
use super::service::DoorService;

/// Time for handshakes that were under way at the signal to be completed by their clients.
pub(super) const HANDSHAKE_GRACE: Duration = Duration::from_millis(100);
/// Time for aborted tasks to be dropped by the runtime.
pub(super) const ABORT_GRACE: Duration = Duration::from_secs(1);

/// How a drain went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainReport {
    /// Connections open at the shutdown signal.
    pub open_at_signal: u64,
    /// Connections cut off with requests in flight at the drain timeout.
    pub aborted: u64,
}

pub(super) async fn drain<M, S>(door: Door<M>, mut acceptor: Acceptor, mut ticks: Interval) -> DrainReport
where
    M: Fn(PeerInfo) -> S,
    S: DoorService,
{
    let registry = &door.registry;
    let signalled_at = Instant::now();
    let linger_until = signalled_at + Duration::from_millis(registry.limits().linger_ms);
    let give_up_at = signalled_at + Duration::from_millis(registry.limits().drain_timeout_ms);
    let open_at_signal = registry.stats().open.load(Ordering::Relaxed);
    info!(door = door.name, open = open_at_signal, "draining connections");

    registry.begin_drain();
    // GOAWAY is free of races: the client learns which of its requests were taken.
    registry.give_all(Command::Finish, Connection::is_http2);

    if let Err(error) = stop_handshakes(acceptor.listener()) {
        debug!(door = door.name, %error, "connections may be refused while the listener closes");
    }
    let accept = async {
        loop {
            let (socket, peer) = acceptor.accept(registry).await;
            door.open(socket, peer);
        }
    };
    until(signalled_at + HANDSHAKE_GRACE, accept, registry, &mut ticks).await;
    match acceptor.into_listener().into_std() {
        Ok(listener) => empty_queue(&listener, &door),
        Err(error) => debug!(door = door.name, %error, "the accept queue was not emptied"),
    }

    until(linger_until.min(give_up_at), registry.emptied(), registry, &mut ticks).await;
    registry.give_all(Command::Finish, |_| true);
    until(give_up_at, registry.emptied(), registry, &mut ticks).await;

    let aborted = registry.give_all(Command::Abort, |_| true) as u64;
    if aborted > 0 {
        registry.stats().aborted_at_drain.fetch_add(aborted, Ordering::Relaxed);
        warn!(
            door = door.name,
            aborted, "requests were cut off: raise the drain timeout if they need longer"
        );
        until(Instant::now() + ABORT_GRACE, registry.emptied(), registry, &mut ticks).await;
    }
    info!(door = door.name, aborted, "drained");
    DrainReport { open_at_signal, aborted }
}

/// Runs `work` to its end or to `deadline`, while the registry's clock goes on.
pub(super) async fn until(
    deadline: Instant,
    work: impl Future<Output = ()>,
    registry: &Registry,
    ticks: &mut Interval,
) {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            () = sleep_until(deadline) => return,
            _ = ticks.tick() => registry.tick(),
            () = &mut work => return,
        }
    }
}

/// Opens what the kernel accepted and nobody fetched. Asks the kernel itself, because the
/// runtime knows only of what it was told at its last look.
fn empty_queue<M, S>(listener: &StdListener, door: &Door<M>)
where
    M: Fn(PeerInfo) -> S,
    S: DoorService,
{
    loop {
        match listener.accept() {
            Ok((socket, peer)) => {
                let socket = socket.set_nonblocking(true).and_then(|()| TcpStream::from_std(socket));
                match socket {
                    Ok(socket) => door.open(socket, peer),
                    Err(error) => debug!(door = door.name, %error, "a last connection could not be opened"),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                warn!(door = door.name, %error, "connections in the accept queue were lost");
                return;
            }
        }
    }
}
