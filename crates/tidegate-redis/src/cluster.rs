//! The nodes of a Cluster: a connection to each primary, and where the slots are.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::driver::{self, Common, DriverHandle};
use crate::link::{ClusterMap, Connector};
use crate::order::Failure;
use crate::settings::{Address, MAX_CONNECTIONS};

/// How long reading the table may take.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(1);
/// The table is read anew this often although nothing went wrong.
const REFRESH_INTERVAL: Duration = Duration::from_secs(15);

/// The primaries of a Cluster. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    shared: Arc<Shared>,
    tried: watch::Receiver<bool>,
}

#[derive(Debug)]
struct Shared {
    map: Arc<ClusterMap>,
    common: Arc<Common>,
    drivers: RwLock<HashMap<Address, DriverHandle>>,
    /// Somebody did not get where it wanted to.
    doubt: Notify,
}

impl Cluster {
    pub(crate) fn new(map: Arc<ClusterMap>, common: &Arc<Common>) -> Self {
        let shared = Arc::new(Shared {
            map,
            common: Arc::clone(common),
            drivers: RwLock::default(),
            doubt: Notify::new(),
        });
        let (told, tried) = watch::channel(false);
        tokio::spawn(keep(Arc::downgrade(&shared), told));
        Self { shared, tried }
    }

    /// Waits until the table was read, or could not be, and the nodes in it were tried.
    pub(crate) async fn tried(&self) {
        let _ = self.tried.clone().wait_for(|tried| *tried).await;
        for driver in self.drivers() {
            driver.tried().await;
        }
    }

    /// All connections.
    pub(crate) fn drivers(&self) -> Vec<DriverHandle> {
        self.shared.drivers.read().values().cloned().collect()
    }

    /// The connection to the node that serves a slot.
    pub(crate) fn driver_of(&self, slot: u16) -> Result<DriverHandle, Failure> {
        match self.shared.map.address_of(slot) {
            Some(address) => self.driver_at(&address),
            None => {
                self.doubt();
                Err(Failure::NotDone("no node of the Cluster serves the slot".to_owned()))
            }
        }
    }

    /// The connection to a node, made if need be.
    pub(crate) fn driver_at(&self, address: &Address) -> Result<DriverHandle, Failure> {
        if let Some(driver) = self.shared.drivers.read().get(address) {
            return Ok(driver.clone());
        }
        self.shared.start(address)
    }

    /// A node said that another one serves the slot.
    pub(crate) fn moved(&self, slot: u16, address: &Address) {
        self.shared.map.note_moved(slot, address);
        self.doubt();
    }

    /// Makes connections to one of the nodes.
    pub(crate) fn some_node(&self, rng: &mut fastrand::Rng) -> Option<Connector> {
        self.shared.map.some_node(rng)
    }

    /// The table may be out of date.
    pub(crate) fn doubt(&self) {
        self.shared.doubt.notify_one();
    }
}

impl Shared {
    fn start(&self, address: &Address) -> Result<DriverHandle, Failure> {
        let mut drivers = self.drivers.write();
        if let Some(driver) = drivers.get(address) {
            return Ok(driver.clone());
        }
        if drivers.len() >= MAX_CONNECTIONS {
            return Err(Failure::Misconfigured(format!(
                "the Cluster has more than {MAX_CONNECTIONS} primaries, and this process no more connections"
            )));
        }
        let connector = self.map.connector(address.clone());
        let connector = connector.ok_or_else(|| Failure::NotDone("the Cluster has no seeds".to_owned()))?;
        let driver = driver::start(connector, Arc::clone(&self.common));
        drivers.insert(address.clone(), driver.clone());
        Ok(driver)
    }

    /// Starts connections to the nodes of the table, and drops those to others.
    fn follow(&self) {
        let nodes = self.map.nodes();
        self.drivers.write().retain(|address, _| nodes.contains(address));
        for address in &nodes {
            if let Err(failure) = self.start(address) {
                tracing::error!(?failure, "a node of the Cluster gets no connection");
                return;
            }
        }
    }
}

/// Keeps the table up to date as long as anybody uses the Cluster.
async fn keep(shared: std::sync::Weak<Shared>, told: watch::Sender<bool>) {
    let mut random = fastrand::Rng::new();
    loop {
        let Some(cluster) = shared.upgrade() else { return };
        match cluster.map.refresh(Instant::now() + REFRESH_TIMEOUT, &mut random).await {
            Ok(true) => cluster.follow(),
            Ok(false) => {
                // It was read a moment ago: once more when it may be.
                tokio::time::sleep(REFRESH_TIMEOUT / 4).await;
                cluster.doubt.notify_one();
            }
            Err(error) => {
                tracing::warn!(%error, "the slots of the Cluster could not be read");
                tokio::time::sleep(REFRESH_TIMEOUT / 4).await;
                cluster.doubt.notify_one();
            }
        }
        let _ = told.send(true);
        tokio::select! {
            () = cluster.doubt.notified() => {}
            () = tokio::time::sleep(REFRESH_INTERVAL) => {}
        }
    }
}
