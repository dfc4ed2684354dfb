//! The RESP door: what Redis clients send, decided.
//!
//! ```text
//! connection  one client: read, answer a whole pipeline, write once
//! turn        the commands of one read, in order or together
//! client      what is known of a client: version, key, name
//! decide      commands that ask for a decision
//! seat        room for what is asked
//! to_wire     decisions and refusals as replies
//! table       COMMAND and INFO
//! ```
//!
//! Nothing is decided here. A command is read, put to the gate, and its decision written.

mod client;
mod connection;
mod decide;
mod seat;
mod table;
mod to_wire;
mod turn;

use std::sync::Arc;

use tidegate_engine::Clock;
use tidegate_store::BucketStore;
use tidegate_wire::identity::Ipv6Prefix;

use crate::door::overload::Overload;
use crate::gate::Gate;
use crate::net::{Session, Socket, StreamDoor, Tls};
use crate::telemetry::metrics::DoorName;

/// How the commands of one read are decided. Replies are in the order of the commands either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pipelines {
    /// One after the other: for a store that answers at once.
    InOrder,
    /// All at the same time, so that they ride to a store together.
    Together,
}

/// How the door behaves.
#[derive(Clone, Debug)]
pub struct RespOptions {
    /// How pipelines are decided.
    pub pipelines: Pipelines,
    /// How much of an IPv6 address is one client.
    pub ipv6_prefix: Ipv6Prefix,
    /// How many commands are decided at one time; the others are shed.
    pub overload: Overload,
    /// The certificate for connections from the network; without one they are not encrypted.
    pub tls: Option<Tls>,
}

/// The RESP door of one gate. Clones share everything.
#[derive(Debug)]
pub struct RespDoor<S, C> {
    shared: Arc<Shared<S, C>>,
}

#[derive(Debug)]
struct Shared<S, C> {
    gate: Gate<S, C>,
    options: RespOptions,
}

impl<S: BucketStore, C: Clock> RespDoor<S, C> {
    /// A door to a gate.
    #[must_use]
    pub fn new(gate: Gate<S, C>, options: RespOptions) -> Self {
        let gate = gate.at_door(DoorName::Resp);
        gate.metrics().watch_requests(options.overload.clone());
        Self { shared: Arc::new(Shared { gate, options }) }
    }
}

impl<S: BucketStore, C: Clock> StreamDoor for RespDoor<S, C> {
    fn serve_network<T: Socket>(
        &self,
        socket: T,
        session: Session,
    ) -> impl Future<Output = ()> + Send + 'static {
        let shared = Arc::clone(&self.shared);
        async move {
            match &shared.options.tls {
                None => connection::talk(&shared, socket, &session).await,
                Some(tls) => {
                    // Whoever fails here learns why from TLS itself.
                    let Ok(socket) = tls.accept(socket).await else { return };
                    session.rests();
                    connection::talk(&shared, socket, &session).await;
                }
            }
        }
    }

    fn serve_local<T: Socket>(
        &self,
        socket: T,
        session: Session,
    ) -> impl Future<Output = ()> + Send + 'static {
        let shared = Arc::clone(&self.shared);
        async move { connection::talk(&shared, socket, &session).await }
    }
}
