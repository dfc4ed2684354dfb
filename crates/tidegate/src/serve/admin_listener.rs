//! The listener of the admin API.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tidegate_engine::Engine;
use tidegate_store::BucketStore;
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use super::catalog::Opened;
use super::running::{DoorRunning, DoorStop};
use super::settings::ServeSettings;
use crate::admin::Admin;
use crate::net::{self, ConnectionLimits, ConnectionStats, ListenOptions, Server};
use crate::rooms::Rooms;

/// Connections to the admin API.
const MAX_CONNECTIONS: usize = 256;

/// The admin API, bound and not yet answering.
pub(super) struct AdminListener {
    admin: Arc<Admin>,
    listener: TcpListener,
    server: Server,
    pub(super) address: SocketAddr,
}

impl AdminListener {
    /// Binds it; `None` where there is no database or it is switched off.
    pub(super) fn open<S: BucketStore>(
        settings: &ServeSettings,
        engine: &Engine<S>,
        opened: &Opened,
        rooms: &Rooms,
    ) -> anyhow::Result<Option<Self>> {
        let (Some(wanted), Some((repository, editor, catalog))) = (settings.catalog.admin, opened.admin())
        else {
            return Ok(None);
        };
        if !wanted.ip().is_loopback() {
            tracing::warn!(%wanted, "the admin API can be reached from other machines: keys travel unencrypted, put TLS in front");
        }
        let listener = net::bind(&ListenOptions::new(wanted, "--admin-listen"))?;
        let address = listener.local_addr().context("the admin listener has no address")?;
        let limits = ConnectionLimits {
            max_connections: MAX_CONNECTIONS,
            max_connections_per_address: MAX_CONNECTIONS,
            max_connections_from_loopback: Some(MAX_CONNECTIONS),
            ..settings.limits.clone()
        };
        let server = Server::new("admin", limits)?;
        let body_timeout = settings.limits.body_timeout();
        let admin = Admin::new(repository, editor, catalog, Arc::new(engine.clone()), body_timeout)?
            .with_rooms(rooms.clone());
        Ok(Some(Self { admin: Arc::new(admin), listener, server, address }))
    }

    /// What happens to its connections.
    pub(super) fn stats(&self) -> Arc<ConnectionStats> {
        self.server.stats()
    }

    /// Answers until stopped, on the runtime that is given.
    pub(super) fn start(self, background: &Handle) -> (DoorStop, DoorRunning) {
        let Self { admin, listener, server, .. } = self;
        DoorRunning::start(background, |stopped| async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            server.run(listener, move |peer| admin.service(peer), shutdown).await;
        })
    }
}
