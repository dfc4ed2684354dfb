//! The doors' sockets: listening, accepting, bounding and draining connections.
//!
//! A ready-made server gives no way to bound what a connection may cost: how long a head may
//! take, how long a socket may idle, how many sockets an address may hold. This accept loop does,
//! around hyper's HTTP/1.1 and HTTP/2 (prior knowledge), for any [`hyper::service::Service`].
//!
//! How time is kept: no connection owns a timer. The accept loop ticks a coarse clock
//! ([`ConnectionLimits`] sets how coarse) and sweeps the registry of connections, each of which
//! keeps a few atomics up to date: how many requests it has in flight, since when it waits for
//! its client, since when a write is stuck. A request costs a handful of relaxed stores; a
//! connection that overstays is told by an atomic command and a wake-up. Timeouts therefore fire
//! late by up to two ticks, never early.
//!
//! hyper's own `header_read_timeout` is off on purpose: it starts when the previous response is
//! done, so it cannot tell an idle keep-alive connection from a head sent too slowly, and it
//! allocates a timer for each request.
//!
//! ```text
//! listen   bind an address, stop new handshakes
//! server   the accept loop, the sweep's clock
//! drain    the end: what is asked of whom, and when
//! registry who is connected; caps; who is evicted
//! connection  state shared by one connection's task, its requests and the sweep
//! task     the future that drives one connection and obeys the sweep's commands
//! stream   reads and writes as the state sees them
//! service  requests as the state sees them
//! body     a request's body, with a size cap and a deadline
//! tls      certificates
//! streams  the accept loop of doors that speak something else, over the same registry
//! unix     sockets in the file system
//! ```

mod body;
mod connection;
mod drain;
mod limits;
mod listen;
mod registry;
mod server;
mod service;
mod stats;
mod stream;
mod streams;
mod task;
#[cfg(test)]
mod tests;
mod tls;
#[cfg(unix)]
mod unix;

pub use body::{BodyError, BodyRoom, read_body};
pub use drain::DrainReport;
pub use limits::{ConnectionLimits, Http2Limits, LimitError};
pub use listen::{ListenError, ListenOptions, bind};
pub use server::{BoxError, PeerInfo, Server};
pub use service::{DoorService, TrackedBody};
pub use stats::ConnectionStats;
pub use stream::WatchedStream;
pub use streams::{Busy, Listeners, Session, Socket, StreamDoor, StreamServer};
pub use tls::{Tls, TlsError};
#[cfg(unix)]
pub use unix::{UnixSocket, bind_unix};
