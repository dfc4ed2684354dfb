//! The listeners of the RESP door.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tidegate_engine::SystemClock;
use tidegate_store::BucketStore;
use tokio::runtime::Handle;

use super::running::{DoorRunning, DoorStop};
use super::settings::ServeSettings;
use super::store::StoreSettings;
use crate::door::overload::Overload;
use crate::gate::Gate;
use crate::net::{self, ConnectionStats, ListenOptions, Listeners, StreamServer, Tls};
use crate::resp::{Pipelines, RespDoor, RespOptions};

/// The RESP door, bound and not yet answering.
pub(super) struct RespListener<S> {
    door: RespDoor<S, SystemClock>,
    listeners: Listeners,
    server: StreamServer,
    /// Where it listens on the network.
    pub(super) address: Option<SocketAddr>,
}

impl<S: BucketStore> RespListener<S> {
    /// Binds it; `None` where it is switched off.
    pub(super) fn open(settings: &ServeSettings, gate: &Gate<S>) -> anyhow::Result<Option<Self>> {
        let resp = &settings.resp;
        let mut listeners = Listeners::default();
        let mut address = None;
        if let Some(wanted) = resp.listen {
            let listener = net::bind(&ListenOptions::new(wanted, "--resp-listen"))?;
            address = Some(listener.local_addr().context("the RESP listener has no address")?);
            if !wanted.ip().is_loopback() && resp.tls.is_none() {
                tracing::warn!(%wanted, "the RESP door can be reached from other machines, unencrypted: see --resp-tls-cert");
            }
            listeners.tcp = Some(listener);
        }
        if let Some(path) = &resp.unix {
            #[cfg(unix)]
            {
                listeners.unix = Some(net::bind_unix(path, "--resp-unix")?);
            }
            #[cfg(not(unix))]
            anyhow::bail!("--resp-unix {}: this system has no such sockets", path.display());
        }
        if listeners.is_empty() {
            return Ok(None);
        }
        let tls = match &resp.tls {
            Some((certificate, key)) => Some(Tls::read(certificate, key)?),
            None => None,
        };
        let pipelines = match settings.store {
            StoreSettings::Memory => Pipelines::InOrder,
            StoreSettings::Redis(_) => Pipelines::Together,
        };
        let options = RespOptions {
            pipelines,
            ipv6_prefix: settings.identity.ipv6_prefix,
            overload: Overload::new("resp", settings.max_concurrent_requests),
            tls,
        };
        let server = StreamServer::new("resp", settings.limits.clone())?;
        let door = RespDoor::new(gate.clone(), options);
        Ok(Some(Self { door, listeners, server, address }))
    }

    /// What happens to its connections.
    pub(super) fn stats(&self) -> Arc<ConnectionStats> {
        self.server.stats()
    }

    /// Answers until stopped.
    pub(super) fn start(self) -> (DoorStop, DoorRunning) {
        let Self { door, listeners, server, .. } = self;
        DoorRunning::start(&Handle::current(), |stopped| async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            server.run(listeners, door, shutdown).await;
        })
    }
}
