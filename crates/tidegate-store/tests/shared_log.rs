//! The place of these tests keeps the promises of the port, as those do that are meant for use.

#![cfg(feature = "conformance")]

mod shared_common;

use shared_common::place::Place;
use shared_common::runtime;
use tidegate_store::conformance::room_log::run_all;

#[test]
fn the_place_of_the_tests_keeps_every_promise() {
    let place = Place::new(1);
    runtime().block_on(run_all(|node| {
        let log = place.log(node);
        async move { log }
    }));
}
