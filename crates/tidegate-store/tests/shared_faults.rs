//! Visitors at three nodes of shared rooms while everything fails that can: nodes stop for longer than their lease and go on, are cut off,
//! calls, replies and messages are lost, the place stops and has lost entries when it starts again.
//!
//! Time is Tokio's and passes when everything waits, so a run of minutes takes seconds, and the same seed does the same.

#![cfg(feature = "conformance")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "only tests use it")]

mod room_common;
mod shared_common;

use std::time::Duration;

use room_common::from_environment;
use shared_common::place::{Faults, Link};
use shared_common::runtime;
use shared_common::site::{Site, Terms};
use tidegate_store::rooms::shared::NodeId;
use tokio::time::sleep;

const NODES: u64 = 3;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Runs histories with seeds of their own; says how to repeat one.
fn histories(first: u64, count: u64, run: impl AsyncFn(&Site, &mut fastrand::Rng)) {
    let first = from_environment("TIDEGATE_SEED", first);
    let count = from_environment("TIDEGATE_HISTORIES", count);
    let mut asked = 0;
    for seed in first..first + count {
        println!("TIDEGATE_SEED={seed} TIDEGATE_HISTORIES=1");
        asked += runtime().block_on(async {
            let site = Site::open(seed, NODES, Terms::default()).await;
            let mut random = fastrand::Rng::with_seed(seed);
            site.let_in(30, 3);
            run(&site, &mut random).await;
            site.heal();
            site.finish(seconds(900)).await;
            site.check()
        });
    }
    println!("{asked} answers");
}

#[test]
fn all_goes_well_where_nothing_fails() {
    histories(1, 2, async |_, _| {});
}

#[test]
fn a_keeper_that_stops_longer_than_its_lease_changes_nothing() {
    histories(100, 4, async |site, random| {
        for _ in 0..8 {
            sleep(seconds(random.u64(2..8))).await;
            let Some(keeper) = site.keeper() else { continue };
            site.place.set_link(keeper, Link::Stopped);
            sleep(Duration::from_millis(random.u64(500..9_000))).await;
            site.place.set_link(keeper, Link::Up);
        }
    });
}

#[test]
fn nodes_that_are_cut_off_catch_up() {
    histories(200, 4, async |site, random| {
        for _ in 0..8 {
            sleep(seconds(random.u64(2..8))).await;
            let node = NodeId(random.u64(1..=NODES));
            site.place.set_link(node, Link::Cut);
            sleep(Duration::from_millis(random.u64(500..9_000))).await;
            site.place.set_link(node, Link::Up);
        }
    });
}

#[test]
fn calls_and_messages_that_are_lost_change_nothing() {
    histories(300, 4, async |site, random| {
        for _ in 0..6 {
            site.place.set_faults(Faults {
                delay: Duration::from_millis(random.u64(..20)),
                refused: random.u8(..10),
                asks_lost: random.u8(..10),
                replies_lost: random.u8(..10),
                messages_lost: random.u8(..30),
                is_down: false,
            });
            sleep(seconds(random.u64(2..8))).await;
            site.place.set_faults(Faults { delay: Duration::from_millis(2), ..Faults::default() });
            sleep(seconds(random.u64(2..8))).await;
        }
    });
}

#[test]
fn a_place_that_is_away_for_a_while_loses_nobody() {
    histories(400, 4, async |site, random| {
        for _ in 0..6 {
            sleep(seconds(random.u64(2..8))).await;
            site.place.stop();
            sleep(Duration::from_millis(random.u64(100..12_000))).await;
            site.place.start(0, random.bool());
        }
    });
}

#[test]
fn entries_that_the_place_has_lost_come_back_from_the_nodes() {
    histories(500, 6, async |site, random| {
        for _ in 0..8 {
            sleep(seconds(random.u64(2..8))).await;
            site.place.stop();
            sleep(Duration::from_millis(random.u64(10..6_000))).await;
            site.place.start(random.u64(..8), random.bool());
        }
    });
}

/// One of the nodes does not hear of the last entries before they are lost.
#[test]
fn entries_that_one_node_alone_knows_come_back_from_it() {
    histories(600, 6, async |site, random| {
        for _ in 0..8 {
            sleep(seconds(random.u64(4..8))).await;
            let node = NodeId(random.u64(1..=NODES));
            site.place.set_link(node, Link::Cut);
            sleep(Duration::from_millis(random.u64(100..2_000))).await;
            site.place.stop();
            sleep(Duration::from_millis(random.u64(10..1_000))).await;
            site.place.start(random.u64(..8), random.bool());
            site.place.set_link(node, Link::Up);
        }
    });
}

#[test]
fn a_place_that_has_lost_everything_gets_it_back_from_the_nodes() {
    histories(700, 4, async |site, random| {
        for _ in 0..4 {
            sleep(seconds(random.u64(4..8))).await;
            site.place.stop();
            sleep(Duration::from_millis(random.u64(10..6_000))).await;
            site.place.start_empty();
        }
    });
}
