//! How shared rooms go from one node to another.

#![cfg(feature = "conformance")]
#![allow(clippy::panic, clippy::unwrap_used, clippy::print_stdout, reason = "only tests use it")]

mod room_common;
mod shared_common;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use room_common::{from_environment, name, number_of, settings};
use shared_common::place::{Faults, Link, Place, PlaceLog};
use shared_common::{clock, nodes, runtime};
use tidegate_core::room::{Answer, Command, Event, Identity, RoomName, Ticket, Visitor};
use tidegate_core::time::{Micros, Timestamp};
use tidegate_store::rooms::shared::{NodeId, SharedOptions, SharedRooms};
use tidegate_store::rooms::{RoomError, RoomStore, RoomWatcher, Told};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const C: NodeId = NodeId(3);

/// Three nodes and a room, which the first of them keeps.
struct Site {
    place: Place,
    nodes: Vec<Arc<SharedRooms<PlaceLog>>>,
    room: RoomName,
}

impl Site {
    async fn open(capacity: u32) -> Self {
        let place = Place::new(1);
        let clock = clock(Micros::ZERO);
        let options = SharedOptions { may_lose: 50, ..SharedOptions::default() };
        let nodes = nodes(&place, 3, options, |_| Arc::clone(&clock));
        let room = name("sale");
        nodes[0].put(&room, &settings(capacity)).await.unwrap();
        sleep(Duration::from_millis(100)).await;
        assert_eq!(place.keeper(&room), Some(A));
        Self { place, nodes, room }
    }

    fn node(&self, node: NodeId) -> &SharedRooms<PlaceLog> {
        &self.nodes[node.0 as usize - 1]
    }

    async fn try_join(&self, node: NodeId, identity: u64) -> Result<Ticket, RoomError> {
        let visitor = Visitor { identity: Some(Identity::new(identity)), prefix: None };
        let told = self.node(node).ask(&self.room, &Command::Join(visitor)).await?;
        let number = number_of(&told.answer).unwrap();
        Ok(Ticket { epoch: told.epoch, number, visitor })
    }

    async fn join(&self, node: NodeId, identity: u64) -> Ticket {
        self.try_join(node, identity).await.unwrap()
    }

    async fn ask(&self, node: NodeId, command: Command) -> Told {
        self.node(node).ask(&self.room, &command).await.unwrap()
    }

    /// Asks until there is an answer, and says how long that took.
    async fn join_at_last(&self, node: NodeId, identity: u64) -> (Ticket, Duration) {
        let began = Instant::now();
        loop {
            match self.try_join(node, identity).await {
                Ok(ticket) => return (ticket, began.elapsed()),
                Err(error) => assert!(error.retryable(), "{error}"),
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

fn run<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    runtime().block_on(async { test().await });
}

fn position(told: &Told) -> Option<u64> {
    match told.answer {
        Answer::Waiting(waiting) => waiting.position,
        _ => panic!("{told:?}"),
    }
}

const LEASE: Duration = Duration::from_secs(3);

#[test]
fn a_hundred_joins_of_one_visitor_at_three_nodes_give_one_ticket() {
    run(|| async {
        let site = Arc::new(Site::open(3).await);
        for identity in 1..=from_environment("TIDEGATE_ROUNDS", 100) {
            let mut joins = JoinSet::new();
            for join in 0..100 {
                let site = Arc::clone(&site);
                joins.spawn(async move { site.join(NodeId(1 + join % 3), identity).await.number.get() });
            }
            let numbers: BTreeSet<_> = joins.join_all().await.into_iter().collect();
            assert_eq!(numbers, BTreeSet::from([identity]), "one ticket, and no gaps");
        }
    });
}

#[test]
fn a_node_that_dies_is_followed_within_five_seconds_and_nobody_loses_a_place() {
    run(|| async {
        let mut site = Site::open(0).await;
        let tickets = [site.join(A, 1).await, site.join(B, 2).await, site.join(C, 3).await];
        site.place.set_link(A, Link::Cut);
        drop(site.nodes.remove(0));
        site.nodes.insert(0, Arc::clone(&site.nodes[0]));
        let (fourth, took) = site.join_at_last(B, 4).await;
        assert!(took < LEASE + Duration::from_millis(300), "{took:?}");
        assert_eq!(fourth.number.get(), 4);
        sleep(Duration::from_millis(100)).await;
        for (place, ticket) in (0..).zip(&tickets) {
            for node in [B, C] {
                let told = site.ask(node, Command::Poll(*ticket)).await;
                assert_eq!((position(&told), told.epoch), (Some(place), ticket.epoch + 1));
            }
        }
    });
}

#[test]
fn a_node_that_is_shut_down_is_followed_at_once() {
    run(|| async {
        let site = Site::open(0).await;
        site.join(A, 1).await;
        site.node(A).close().await;
        let began = Instant::now();
        assert_eq!(site.join(B, 2).await.number.get(), 2);
        assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
        assert_eq!(site.place.keeper(&site.room), Some(B));
        assert!(site.try_join(A, 3).await.is_err_and(|error| error.retryable()));
    });
}

#[test]
fn a_keeper_that_stood_still_says_nothing_old() {
    run(|| async {
        let site = Site::open(0).await;
        let (first, second) = (site.join(A, 1).await, site.join(A, 2).await);
        site.place.set_link(A, Link::Stopped);
        sleep(LEASE).await;
        let (third, _) = site.join_at_last(B, 3).await;
        assert_eq!(site.ask(B, Command::Leave(first)).await.answer, Answer::Left);
        // It does not know yet that it is not the keeper.
        let told = site.node(A).look(&site.room, &second).await.unwrap();
        let left_at = site.node(B).status(&site.room).await.unwrap().at;
        assert!(position(&told) == Some(0) || told.at < left_at, "{told:?}");
        assert!(site.try_join(A, 4).await.is_err_and(|error| error.retryable()));
        site.place.set_link(A, Link::Up);
        let (fourth, _) = site.join_at_last(A, 4).await;
        assert_eq!(fourth.number.get(), third.number.get() + 1);
        assert_eq!(position(&site.ask(A, Command::Poll(second)).await), Some(0));
    });
}

#[test]
fn positions_in_an_outage_are_those_before_it_at_every_node() {
    run(|| async {
        let site = Site::open(0).await;
        let mut line = Vec::new();
        for identity in 1..=6 {
            line.push(site.join(A, identity).await);
        }
        assert_eq!(site.ask(A, Command::Leave(line[0])).await.answer, Answer::Left);
        sleep(Duration::from_millis(100)).await;
        site.place.set_link(A, Link::Stopped);
        // The keeper knows that these want to go, and can tell nobody.
        let (second, fifth) = (Command::Leave(line[1]), Command::Leave(line[4]));
        let node = site.node(A);
        let left = tokio::join!(node.ask(&site.room, &second), node.ask(&site.room, &fifth));
        assert_eq!(left, (Err(RoomError::Timeout), Err(RoomError::Timeout)));
        for (ticket, ahead) in [(line[2], 1), (line[3], 2), (line[5], 4)] {
            let told = site.node(A).look(&site.room, &ticket).await.unwrap();
            assert_eq!(position(&told), Some(ahead), "at the keeper, {told:?}");
        }
        for (ticket, ahead) in [(line[2], 1), (line[3], 2), (line[5], 4)] {
            let told = site.node(B).look(&site.room, &ticket).await.unwrap();
            assert_eq!(position(&told), Some(ahead), "elsewhere, {told:?}");
        }
    });
}

#[test]
fn a_look_at_a_session_waits_for_nothing_that_happened_to_others() {
    run(|| async {
        let site = Site::open(1).await;
        let inside = site.join(A, 1).await;
        site.place.set_link(A, Link::Stopped);
        let (node, began) = (site.node(A), Instant::now());
        let join = Command::Join(Visitor { identity: Some(Identity::new(2)), prefix: None });
        let looks = async {
            let told = node.look(&site.room, &inside).await.unwrap();
            (told.answer, began.elapsed())
        };
        let (joined, (answer, took)) = tokio::join!(node.ask(&site.room, &join), looks);
        assert_eq!(joined, Err(RoomError::Timeout));
        assert!(matches!(answer, Answer::Admitted(_)) && took.is_zero(), "{answer:?} after {took:?}");
    });
}

#[test]
fn what_a_stopped_keeper_gathered_is_not_kept_when_another_goes_on() {
    run(|| async {
        let site = Site::open(0).await;
        site.join(A, 1).await;
        site.place.set_link(A, Link::Stopped);
        let lost = site.try_join(A, 2).await;
        assert_eq!(lost, Err(RoomError::Timeout), "nobody is told what is not kept");
        sleep(LEASE).await;
        let (third, _) = site.join_at_last(B, 3).await;
        assert_eq!(third.number.get(), 2, "the number is given to somebody else");
        site.place.set_link(A, Link::Up);
        let (second, _) = site.join_at_last(A, 2).await;
        assert_eq!(second.number.get(), 3);
    });
}

/// The place has lost what two nodes know, a third goes on without, and then one of the two comes back.
#[test]
fn a_node_with_a_branch_that_was_lost_takes_the_log_for_right() {
    run(|| async {
        let site = Site::open(0).await;
        for identity in 1..=10 {
            site.join(A, identity).await;
        }
        sleep(Duration::from_millis(100)).await;
        site.place.set_link(B, Link::Cut);
        let mut lost = Vec::new();
        for identity in 11..=40 {
            lost.push(site.join(A, identity).await);
        }
        sleep(Duration::from_millis(100)).await;
        site.place.set_link(A, Link::Cut);
        site.place.set_link(C, Link::Cut);
        site.place.stop();
        sleep(LEASE).await;
        site.place.start(30, false);
        site.place.set_link(B, Link::Up);
        let (later, _) = site.join_at_last(B, 99).await;
        assert!(later.number.get() > 50, "numbers that may have been given are not given again: {later:?}");
        let told = site.ask(B, Command::Poll(lost[0])).await;
        assert!(matches!(told.answer, Answer::Waiting(_)), "nobody loses a place: {told:?}");
        site.place.set_link(B, Link::Cut);
        sleep(2 * LEASE).await;
        site.place.set_link(C, Link::Up);
        let (latest, _) = site.join_at_last(C, 100).await;
        assert!(latest.number > later.number, "{latest:?} {later:?}");
        for ticket in lost.iter().chain([&later]) {
            let told = site.ask(C, Command::Poll(*ticket)).await;
            assert!(matches!(told.answer, Answer::Waiting(_)), "nobody loses a place: {told:?}");
        }
    });
}

/// What is told of a session after its heartbeat is never older than that, although heartbeats are told to others a little later.
#[test]
fn a_look_after_a_heartbeat_knows_of_it() {
    run(|| async {
        let site = Site::open(1).await;
        let ticket = site.join(B, 1).await;
        for beat in 0..20 {
            sleep(Duration::from_secs(2)).await;
            if beat % 5 == 4 {
                // What was told of it is lost on the way.
                site.place.set_faults(Faults { messages_lost: 60, ..Faults::default() });
            }
            let told = site.ask_at_last(B, Command::Heartbeat(ticket)).await;
            site.place.set_faults(Faults::default());
            let looked = site.node(B).look(&site.room, &ticket).await.unwrap();
            let (Answer::Admitted(told), Answer::Admitted(looked)) = (told.answer, looked.answer) else {
                panic!("{told:?} {looked:?}")
            };
            assert_eq!(told.deadline, looked.deadline);
        }
    });
}

impl Site {
    async fn ask_at_last(&self, node: NodeId, command: Command) -> Told {
        loop {
            match self.node(node).ask(&self.room, &command).await {
                Ok(told) => return told,
                Err(error) => assert!(error.retryable(), "{error}"),
            }
        }
    }
}

#[derive(Default)]
struct Listener(Mutex<Vec<(Timestamp, Event)>>);

impl RoomWatcher for Listener {
    fn happened(&self, _: &RoomName, at: Timestamp, events: &[Event]) {
        self.0.lock().extend(events.iter().map(|event| (at, event.clone())));
    }
}

#[test]
fn watchers_of_every_node_are_told_the_same() {
    run(|| async {
        let site = Site::open(1).await;
        let watchers: Vec<Arc<Listener>> = site.nodes.iter().map(|_| Arc::default()).collect();
        for (node, watcher) in site.nodes.iter().zip(&watchers) {
            node.watch(Arc::clone(watcher) as Arc<dyn RoomWatcher>);
        }
        for identity in 1..=20 {
            let node = NodeId(1 + identity % 3);
            let ticket = site.join(node, identity).await;
            sleep(Duration::from_secs(1)).await;
            site.ask(node, Command::Heartbeat(ticket)).await;
        }
        sleep(Duration::from_millis(100)).await;
        let told: Vec<_> = watchers.iter().map(|watcher| watcher.0.lock().clone()).collect();
        assert!(told[0].len() > 30);
        assert!(told.windows(2).all(|pair| pair[0] == pair[1]));
    });
}

#[test]
fn settings_that_are_there_change_nothing() {
    run(|| async {
        let site = Site::open(1).await;
        let watcher = Arc::new(Listener::default());
        site.node(A).watch(Arc::clone(&watcher) as Arc<dyn RoomWatcher>);
        for node in [A, B, C] {
            assert_eq!(site.node(node).put(&site.room, &settings(1)).await, Ok(Answer::Done));
        }
        assert!(watcher.0.lock().is_empty());
        assert_eq!(site.node(C).put(&site.room, &settings(2)).await, Ok(Answer::Done));
        assert!(matches!(watcher.0.lock()[..], [(_, Event::Changed(_))]));
        assert_eq!(site.place.keeper(&site.room), Some(A));
    });
}

#[test]
fn a_node_that_comes_later_knows_every_room() {
    run(|| async {
        let site = Site::open(0).await;
        let ticket = site.join(A, 1).await;
        let clock = clock(Micros::ZERO);
        let late = SharedRooms::new(site.place.log(NodeId(9)), NodeId(9), clock, SharedOptions::default());
        assert_eq!(late.rooms().await.unwrap().len(), 1);
        assert_eq!(late.put(&site.room, &settings(0)).await, Ok(Answer::Done));
        assert_eq!(position(&late.ask(&site.room, &Command::Poll(ticket)).await.unwrap()), Some(0));
        assert_eq!(site.place.keeper(&site.room), Some(A), "it has not taken the room");
        assert_eq!(late.remove(&site.room).await, Ok(true));
        sleep(Duration::from_millis(100)).await;
        for node in [A, B, C] {
            assert_eq!(site.node(node).rooms().await, Ok(Vec::new()));
        }
    });
}
