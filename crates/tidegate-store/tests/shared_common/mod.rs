//! What the tests of shared rooms have in common: nodes, and time that does not pass while anybody works.

#![allow(dead_code, reason = "every test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "only tests use it")]

pub(crate) mod place;
pub(crate) mod site;

use std::sync::Arc;

use tidegate_core::time::{Micros, Timestamp};
use tidegate_store::rooms::Clock;
use tidegate_store::rooms::shared::{NodeId, SharedOptions, SharedRooms};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use place::{Place, PlaceLog};

/// A runtime whose time goes on when everything waits.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// Nodes with the same place; `clock` for each of them.
pub(crate) fn nodes(
    place: &Place,
    count: u64,
    options: SharedOptions,
    clock: impl Fn(u64) -> Clock,
) -> Vec<Arc<SharedRooms<PlaceLog>>> {
    let node = |number| {
        let id = NodeId(number);
        Arc::new(SharedRooms::new(place.log(id), id, clock(number), options))
    };
    (1..=count).map(node).collect()
}

/// A clock that goes with Tokio's time, ahead of others by `skew`.
pub(crate) fn clock(skew: Micros) -> Clock {
    let began = Instant::now();
    let start = Timestamp::from_micros(1_780_000_000_000_000).saturating_add(skew);
    Arc::new(move || {
        start.saturating_add(Micros::from_micros(Instant::now().duration_since(began).as_micros() as u64))
    })
}
