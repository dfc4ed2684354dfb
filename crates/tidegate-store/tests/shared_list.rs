//! Which rooms there are, and how they are, is known at all nodes soon: whoever watches is told to look.

#![cfg(feature = "conformance")]
#![allow(clippy::panic, clippy::unwrap_used, clippy::print_stdout, reason = "only tests use it")]

mod room_common;
mod shared_common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use room_common::{name, settings};
use shared_common::place::{Faults, Link, Place, PlaceLog};
use shared_common::{clock, nodes, runtime};
use tidegate_core::room::{Answer, Event, Notes, RoomName, Settings};
use tidegate_core::time::{Micros, Timestamp};
use tidegate_store::rooms::shared::{NodeId, RoomLog, SharedOptions, SharedRooms, Taken};
use tidegate_store::rooms::{RoomError, RoomStore, RoomWatcher};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Messages take some milliseconds here.
const SOON: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Look(Notify);

impl RoomWatcher for Look {
    fn happened(&self, _: &RoomName, _: Timestamp, events: &[Event]) {
        if events.iter().any(|event| matches!(event, Event::Changed(_))) {
            self.0.notify_one();
        }
    }

    fn rooms_changed(&self) {
        self.0.notify_one();
    }
}

type List = Arc<Mutex<BTreeMap<RoomName, Settings>>>;

/// Three nodes, and the rooms of each as they were when somebody was told to look.
struct Site {
    place: Place,
    nodes: Vec<Arc<SharedRooms<PlaceLog>>>,
    seen: Vec<List>,
    _looking: JoinSet<()>,
}

impl Site {
    fn open(place: Place) -> Self {
        let clock = clock(Micros::ZERO);
        let nodes = nodes(&place, 3, SharedOptions::default(), |_| Arc::clone(&clock));
        let mut looking = JoinSet::new();
        let mut seen = Vec::new();
        for node in &nodes {
            let (look, list, node) = (Arc::new(Look::default()), List::default(), Arc::clone(node));
            node.watch(Arc::clone(&look) as Arc<dyn RoomWatcher>);
            seen.push(Arc::clone(&list));
            looking.spawn(async move {
                loop {
                    look.0.notified().await;
                    let rooms = node.rooms().await.unwrap();
                    *list.lock() = rooms.into_iter().collect();
                }
            });
        }
        Self { place, nodes, seen, _looking: looking }
    }

    async fn put(&self, node: usize, room: &str, settings: &Settings) {
        assert_eq!(self.nodes[node].put(&name(room), settings).await, Ok(Answer::Done));
    }

    #[track_caller]
    fn all_have(&self, rooms: &[(&str, &Settings)]) {
        let rooms: BTreeMap<_, _> =
            rooms.iter().map(|(room, settings)| (name(room), (*settings).clone())).collect();
        for (node, seen) in self.seen.iter().enumerate() {
            assert_eq!(*seen.lock(), rooms, "node {node}");
        }
    }
}

#[test]
fn every_node_is_told_of_rooms_that_are_made_changed_and_removed() {
    runtime().block_on(async {
        let site = Site::open(Place::new(1));
        let noted = |capacity, text| settings(capacity).with_notes(Notes::new(text));
        site.put(0, "sale", &noted(5, "one")).await;
        sleep(SOON).await;
        site.all_have(&[("sale", &noted(5, "one"))]);
        // What decides stays the same.
        site.put(1, "sale", &noted(5, "two")).await;
        site.put(2, "other", &settings(1)).await;
        sleep(SOON).await;
        site.all_have(&[("sale", &noted(5, "two")), ("other", &settings(1))]);
        assert_eq!(site.nodes[2].remove(&name("sale")).await, Ok(true));
        sleep(SOON).await;
        site.all_have(&[("other", &settings(1))]);
    });
}

#[test]
fn a_node_that_was_cut_off_is_told_to_look_when_it_is_back() {
    runtime().block_on(async {
        let site = Site::open(Place::new(1));
        let (was, changed, new) = (settings(5), settings(6), settings(7));
        // Longer than the leases that the node knows of.
        let long = SharedOptions::default().lease * 2;
        let cut = |link| site.place.set_link(NodeId(3), link);
        site.put(0, "sale", &was).await;
        sleep(SOON).await;
        cut(Link::Cut);
        site.put(1, "new", &new).await;
        sleep(long).await;
        cut(Link::Up);
        sleep(long).await;
        site.all_have(&[("sale", &was), ("new", &new)]);
        cut(Link::Cut);
        site.put(1, "sale", &changed).await;
        sleep(long).await;
        cut(Link::Up);
        sleep(long).await;
        site.all_have(&[("sale", &changed), ("new", &new)]);
        cut(Link::Cut);
        assert_eq!(site.nodes[0].remove(&name("sale")).await, Ok(true));
        sleep(long).await;
        assert_eq!(site.seen[2].lock().len(), 2);
        cut(Link::Up);
        sleep(long).await;
        site.all_have(&[("new", &new)]);
    });
}

#[test]
fn a_room_that_nobody_got_to_make_is_none_and_can_be_made() {
    runtime().block_on(async {
        let (place, lease, gone) = (Place::new(1), SharedOptions::default().lease, NodeId(9));
        let taken = place.log(gone).take(&name("sale"), gone, lease, true).await;
        assert!(matches!(taken, Ok(Taken::Yours(_))));
        sleep(lease * 2).await;
        let site = Site::open(place);
        assert_eq!(site.nodes[0].rooms().await, Ok(vec![]));
        assert_eq!(site.nodes[0].status(&name("sale")).await, Err(RoomError::UnknownRoom));
        site.put(1, "sale", &settings(5)).await;
        sleep(SOON).await;
        site.all_have(&[("sale", &settings(5))]);
    });
}

#[test]
fn a_node_that_takes_long_to_read_the_rooms_does_not_take_them_for_new_ones() {
    runtime().block_on(async {
        let site = Site::open(Place::new(1));
        site.put(0, "sale", &settings(5)).await;
        // The directory and the room together take longer than an ask may.
        let delay = SharedOptions::default().ask_timeout * 3 / 4;
        site.place.set_faults(Faults { delay, ..Faults::default() });
        let node = NodeId(7);
        let starts =
            SharedRooms::new(site.place.log(node), node, clock(Micros::ZERO), SharedOptions::default());
        assert_eq!(starts.rooms().await, Ok(vec![(name("sale"), settings(5))]));
    });
}
