//! Shared rooms keep the promises of the port, on one node and on three.

#![cfg(feature = "conformance")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "only tests use it")]

mod room_common;
mod shared_common;

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use parking_lot::Mutex;
use room_common::{clock_of, from_environment};
use shared_common::place::{Place, PlaceLog};
use shared_common::{nodes, runtime};
use tidegate_core::room::{Answer, Command, RoomName, Settings, Ticket};
use tidegate_core::time::Timestamp;
use tidegate_store::conformance::rooms::{History, TestClock, run_all, run_history};
use tidegate_store::rooms::shared::{NodeId, SharedOptions, SharedRooms};
use tidegate_store::rooms::{LineDocument, RoomError, RoomStatus, RoomStore, RoomWatcher, Told};
use tokio::time::sleep;

/// Longer than it takes until all nodes have heard of everything.
const SETTLED: Duration = Duration::from_millis(100);

/// Several nodes, of which each call goes to another one.
struct Nodes {
    place: Place,
    nodes: Vec<Arc<SharedRooms<PlaceLog>>>,
    random: Mutex<Rng>,
}

impl Nodes {
    fn new(count: u64, seed: u64, clock: &TestClock) -> Self {
        let place = Place::new(seed);
        let nodes = nodes(&place, count, SharedOptions::default(), |_| clock_of(clock));
        Self { place, nodes, random: Mutex::new(Rng::with_seed(seed)) }
    }

    async fn any(&self) -> &SharedRooms<PlaceLog> {
        sleep(SETTLED).await;
        let chosen = self.random.lock().usize(..self.nodes.len());
        &self.nodes[chosen]
    }
}

impl RoomStore for Nodes {
    async fn put(&self, room: &RoomName, settings: &Settings) -> Result<Answer, RoomError> {
        self.any().await.put(room, settings).await
    }

    async fn remove(&self, room: &RoomName) -> Result<bool, RoomError> {
        self.any().await.remove(room).await
    }

    async fn rooms(&self) -> Result<Vec<(RoomName, Settings)>, RoomError> {
        self.any().await.rooms().await
    }

    async fn ask(&self, room: &RoomName, command: &Command) -> Result<Told, RoomError> {
        self.any().await.ask(room, command).await
    }

    async fn look(&self, room: &RoomName, ticket: &Ticket) -> Result<Told, RoomError> {
        self.any().await.look(room, ticket).await
    }

    async fn status(&self, room: &RoomName) -> Result<RoomStatus, RoomError> {
        self.any().await.status(room).await
    }

    async fn line(&self, room: &RoomName) -> Result<LineDocument, RoomError> {
        self.any().await.line(room).await
    }

    /// Every node is turned by a driver of its own, and again when it hears of something. Who keeps a room knows when something is
    /// due in it; others may look again sooner.
    async fn turn(&self) -> Result<Option<Timestamp>, RoomError> {
        let mut next = Vec::new();
        for _ in 0..2 {
            next.clear();
            sleep(SETTLED).await;
            let keepers = self.place.keepers();
            for (id, node) in (1..).map(NodeId).zip(&self.nodes) {
                let again = node.turn().await?;
                next.extend(again.filter(|_| keepers.contains(&id)));
            }
        }
        Ok(next.into_iter().min())
    }

    fn watch(&self, watcher: Arc<dyn RoomWatcher>) {
        let chosen = self.random.lock().usize(..self.nodes.len());
        self.nodes[chosen].watch(watcher);
    }
}

#[test]
fn one_node_keeps_the_promises_of_the_port() {
    runtime().block_on(run_all(|clock| async move { Nodes::new(1, 1, &clock) }));
}

#[test]
fn three_nodes_keep_the_promises_of_the_port() {
    runtime().block_on(run_all(|clock| async move { Nodes::new(3, 2, &clock) }));
}

#[test]
fn long_histories_on_three_nodes_answer_as_the_core_does() {
    let first = from_environment("TIDEGATE_SEED", 100);
    let commands = from_environment("TIDEGATE_OPERATIONS", 1_000) as usize;
    println!("TIDEGATE_SEED={first} TIDEGATE_OPERATIONS={commands}");
    for seed in first..first + 2 {
        runtime().block_on(async {
            let clock = TestClock::default();
            let store = Nodes::new(3, seed, &clock);
            run_history(&store, &clock, History { seed, commands }).await;
        });
    }
}
