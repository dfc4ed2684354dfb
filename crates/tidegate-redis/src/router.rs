//! Which connection a plan goes to, and where it goes from there when the server says that it belongs elsewhere.
//!
//! One server, or the primary that Sentinels name, has a few connections; a bucket always takes the same one, so that
//! checks of it meet there and ride together. In a Cluster every primary has one, and a slot's plans go to the one
//! that serves it.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::driver::{self, Commands, Common, DriverHandle, Raw, Sending, Task};
use crate::key::slot_of;
use crate::link::{ConnectError, Connector, Refusal, Topology};
use crate::order::{Failure, Order, Report, Waiting};
use crate::round::{belongs_elsewhere, failure_of};
use crate::settings::RedisSettings;

/// How soon a plan is sent again whose keys are on both sides of a slot that is being moved.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(2);
/// How often a plan is sent elsewhere, at most.
const MAX_REDIRECTS: usize = 64;

/// Routes plans to connections.
#[derive(Debug)]
pub(crate) struct Router {
    common: Arc<Common>,
    shape: Shape,
}

#[derive(Debug)]
enum Shape {
    /// One server at a time.
    One(Connector, Box<[DriverHandle]>),
    Cluster(Cluster),
}

impl Router {
    /// Starts to connect, in the background.
    pub(crate) fn new(settings: &RedisSettings, common: Arc<Common>) -> Result<Self, ConnectError> {
        Self::with_connections(settings, settings.connections(), common)
    }

    /// The same with so many connections to one server, whatever the settings say; in a Cluster there is one to each primary.
    pub(crate) fn with_connections(
        settings: &RedisSettings,
        connections: usize,
        common: Arc<Common>,
    ) -> Result<Self, ConnectError> {
        let shape = match Topology::new(settings)? {
            Topology::Cluster(map) => Shape::Cluster(Cluster::new(map, &common)),
            Topology::Primary(connector) => {
                let start = |_| driver::start(connector.clone(), Arc::clone(&common));
                let drivers = (0..connections).map(start).collect();
                Shape::One(connector, drivers)
            }
        };
        Ok(Self { common, shape })
    }

    pub(crate) fn common(&self) -> &Common {
        &self.common
    }

    /// Makes connections to the server, or to one of the nodes of a Cluster.
    pub(crate) fn some_node(&self, rng: &mut fastrand::Rng) -> Option<Connector> {
        match &self.shape {
            Shape::One(connector, _) => Some(connector.clone()),
            Shape::Cluster(cluster) => cluster.some_node(rng),
        }
    }

    /// Waits until the first connections stand or could not be made.
    pub(crate) async fn wait_until_tried(&self) {
        match &self.shape {
            Shape::One(_, drivers) => {
                for driver in drivers {
                    driver.tried().await;
                }
            }
            Shape::Cluster(cluster) => cluster.tried().await,
        }
    }

    /// Has a plan decided.
    pub(crate) async fn order(&self, mut order: Order) -> Result<Report, Failure> {
        order.slot = self.slot_of(order.first_key());
        let mut asked: Option<DriverHandle> = None;
        for _ in 0..MAX_REDIRECTS {
            let handle = match asked.take() {
                Some(handle) => handle,
                None => self.handle(order.first_key(), order.slot)?,
            };
            let (reply, report) = oneshot::channel();
            handle.submit(Task::Order(Box::new(Waiting { order, reply })))?;
            match report.await.unwrap_or(Err(Failure::Unknown)) {
                Err(Failure::Elsewhere(back)) => {
                    let refusal;
                    (order, refusal) = *back;
                    asked = self.redirect(&refusal, order.deadline).await?;
                    order.asking = asked.is_some();
                    order.alone |= matches!(refusal, Refusal::TryAgain | Refusal::Ask { .. });
                }
                Err(failure) => {
                    self.doubt(&failure);
                    return Err(failure);
                }
                Ok(report) => return Ok(report),
            }
        }
        Err(lost_its_way())
    }

    /// Runs commands on keys that share the slot of `key`. Where the server sends them elsewhere they are all sent again:
    /// of commands with one key each, only reads may be among several.
    pub(crate) async fn command(
        &self,
        key: &[u8],
        deadline: Instant,
        commands: impl Fn(&Sending<'_>) -> Vec<Cmd> + Send + Sync + 'static,
    ) -> Result<Vec<Result<Value, Refusal>>, Failure> {
        let commands: Commands = Arc::new(commands);
        let slot = self.slot_of(key);
        let mut asked: Option<DriverHandle> = None;
        for _ in 0..MAX_REDIRECTS {
            let asking = asked.is_some();
            let handle = match asked.take() {
                Some(handle) => handle,
                None => self.handle(key, slot)?,
            };
            let (reply, replies) = oneshot::channel();
            let raw = Raw { commands: Arc::clone(&commands), asking, deadline, reply };
            handle.submit(Task::Raw(raw))?;
            let replies =
                replies.await.unwrap_or(Err(Failure::Unknown)).inspect_err(|failure| self.doubt(failure))?;
            let elsewhere = replies
                .iter()
                .filter_map(|reply| reply.as_ref().err())
                .find(|refusal| belongs_elsewhere(refusal));
            match elsewhere {
                Some(refusal) => asked = self.redirect(refusal, deadline).await?,
                None => return Ok(replies),
            }
        }
        Err(lost_its_way())
    }

    /// Whether every server that has connections answers.
    pub(crate) async fn probe(&self, deadline: Instant) -> Result<(), Failure> {
        // While nobody calls, only probes see that a node is gone.
        self.ask_all(deadline).await.inspect_err(|failure| self.doubt(failure))
    }

    async fn ask_all(&self, deadline: Instant) -> Result<(), Failure> {
        let drivers = match &self.shape {
            Shape::One(_, drivers) => drivers.iter().take(1).cloned().collect(),
            Shape::Cluster(cluster) => cluster.drivers(),
        };
        if drivers.is_empty() {
            return Err(Failure::NotDone("no node of the Cluster is known".to_owned()));
        }
        for driver in drivers {
            let (reply, replies) = oneshot::channel();
            let commands = Arc::new(|_: &Sending<'_>| vec![redis::cmd("PING")]);
            driver.submit(Task::Raw(Raw { commands, asking: false, deadline, reply }))?;
            let replies = replies.await.unwrap_or(Err(Failure::Unknown))?;
            if let Some(Err(refusal)) = replies.first() {
                return Err(failure_of(refusal));
            }
        }
        Ok(())
    }

    /// A node of a Cluster that does not answer may have been replaced.
    fn doubt(&self, failure: &Failure) {
        if let (Shape::Cluster(cluster), Failure::NotDone(_) | Failure::Unknown) = (&self.shape, failure) {
            cluster.doubt();
        }
    }

    fn slot_of(&self, key: &[u8]) -> u16 {
        match self.shape {
            Shape::One(..) => 0,
            Shape::Cluster(_) => slot_of(key),
        }
    }

    fn handle(&self, key: &[u8], slot: u16) -> Result<DriverHandle, Failure> {
        match &self.shape {
            Shape::One(_, drivers) => {
                // Keys end in their fingerprint.
                let spread = key.last().copied().map_or(0, usize::from);
                let driver = drivers.get(spread % drivers.len().max(1));
                driver.cloned().ok_or_else(|| Failure::NotDone("there is no connection".to_owned()))
            }
            Shape::Cluster(cluster) => cluster.driver_of(slot),
        }
    }

    /// Learns from a refusal where things are. A node that is to be asked once, where it is only that.
    async fn redirect(&self, refusal: &Refusal, deadline: Instant) -> Result<Option<DriverHandle>, Failure> {
        let Shape::Cluster(cluster) = &self.shape else { return Err(failure_of(refusal)) };
        match refusal {
            Refusal::Moved { slot, address } => {
                cluster.moved(*slot, address);
                Ok(None)
            }
            Refusal::Ask { address, .. } => cluster.driver_at(address).map(Some),
            _ => {
                let again = Instant::now() + TRY_AGAIN_AFTER;
                if again >= deadline {
                    return Err(Failure::NotDone("the slot is being moved".to_owned()));
                }
                tokio::time::sleep_until(again).await;
                Ok(None)
            }
        }
    }
}

fn lost_its_way() -> Failure {
    Failure::NotDone("the nodes of the Cluster sent the call around".to_owned())
}
