//! The listener of the gRPC door.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tidegate_engine::SystemClock;
use tidegate_store::BucketStore;
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use super::running::{DoorRunning, DoorStop};
use super::settings::ServeSettings;
use crate::door::Readiness;
use crate::door::overload::Overload;
use crate::gate::Gate;
use crate::grpc::{GrpcDoor, GrpcOptions};
use crate::net::{self, ConnectionLimits, ConnectionStats, Http2Limits, ListenOptions, Server, Tls};

/// Requests in flight on one connection. Envoy has one connection per worker, for all its clients.
const MAX_STREAMS: u32 = 1_000;
/// Streams that a client may reset before they were looked at. Envoy gives up after 20 ms if not told otherwise, and then
/// resets all that it has in flight, which is no attack.
const MAX_PENDING_RESETS: usize = MAX_STREAMS as usize;
/// The largest head of a call, in bytes: with what Envoy adds to a trace may go what its client sent, of whom it takes 60 KiB.
const MAX_HEADER_BYTES: usize = 96 * 1024;
/// More header fields than a head can have: the door itself refuses too many, in words that a client of gRPC understands.
const MAX_HEADERS: usize = 4_096;

/// The door, bound and not yet answering.
pub(super) struct GrpcListener<S> {
    door: GrpcDoor<S, SystemClock>,
    listener: TcpListener,
    server: Server,
    pub(super) address: SocketAddr,
}

impl<S: BucketStore> GrpcListener<S> {
    /// Binds it; `None` where it is switched off.
    pub(super) fn open(
        settings: &ServeSettings,
        gate: &Gate<S>,
        readiness: &Readiness,
    ) -> anyhow::Result<Option<Self>> {
        let Some(wanted) = settings.grpc.listen else { return Ok(None) };
        let listener = net::bind(&ListenOptions::new(wanted, "--grpc-listen"))?;
        let address = listener.local_addr().context("the gRPC listener has no address")?;
        let limits = ConnectionLimits {
            max_header_bytes: MAX_HEADER_BYTES,
            max_headers: MAX_HEADERS,
            http2: Http2Limits {
                max_concurrent_streams: MAX_STREAMS,
                max_pending_reset_streams: MAX_PENDING_RESETS,
                ..settings.limits.http2.clone()
            },
            ..settings.limits.clone()
        };
        let tls = match &settings.grpc.tls {
            Some((certificate, key)) => Some(Tls::read_for_http2(certificate, key)?),
            None => None,
        };
        if !wanted.ip().is_loopback() && tls.is_none() {
            tracing::warn!(%wanted, "the gRPC door can be reached from other machines, unencrypted: see --grpc-tls-cert");
        }
        let server = Server::new("grpc", limits)?.with_tls(tls);
        let options = GrpcOptions {
            identity: settings.identity.clone(),
            legacy_fields: settings.legacy_fields,
            denied_body: settings.grpc.denied_body,
            body_timeout: settings.limits.body_timeout(),
            overload: Overload::new("grpc", settings.max_concurrent_requests),
        };
        let tracer = gate.tracer().map(|tracer| tracer.serving(address));
        let gate = gate.clone().with_tracer(tracer);
        let door = GrpcDoor::new(gate, options, readiness).context("gRPC reflection")?;
        Ok(Some(Self { door, listener, server, address }))
    }

    /// What happens to its connections.
    pub(super) fn stats(&self) -> Arc<ConnectionStats> {
        self.server.stats()
    }

    /// Answers until stopped.
    pub(super) fn start(self) -> (DoorStop, DoorRunning) {
        let Self { door, listener, server, .. } = self;
        DoorRunning::start(&Handle::current(), |stopped| async move {
            let shutdown = async {
                let _ = stopped.await;
                door.end_streams();
            };
            server.run(listener, |_| door.service(), shutdown).await;
        })
    }
}
