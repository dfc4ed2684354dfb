//! A million visitors in one line, each with an identity and an address prefix: the memory of the process grows by at most 64 bytes
//! for each of them.

#![cfg(feature = "conformance")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod room_common;

use room_common::{block_on, clock_of, name, resident, settings};
use tidegate_core::room::{Command, Identity, Prefix, Visitor};
use tidegate_store::conformance::rooms::TestClock;
use tidegate_store::rooms::{MemoryRooms, RoomStore};

const WAITING: u64 = 1_000_000;
/// As many share an address prefix.
const HOUSEHOLD: u64 = 2;

#[test]
fn a_million_waiting_take_at_most_64_bytes_each() {
    let store = MemoryRooms::new(clock_of(&TestClock::default()));
    let room = name("million");
    block_on(store.put(&room, &settings(0))).unwrap();
    let before = resident();
    for number in 0..WAITING {
        // Spread as hashes are.
        let spread = |number: u64| (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let visitor = Visitor {
            identity: Some(Identity::new(spread(number))),
            prefix: Some(Prefix::new((spread(number / HOUSEHOLD) >> 32) as u32)),
        };
        block_on(store.ask(&room, &Command::Join(visitor))).unwrap();
    }
    assert_eq!(block_on(store.status(&room)).unwrap().status.waiting, WAITING);
    let grown = resident().saturating_sub(before);
    println!(
        "{WAITING} waiting: {} bytes each resident, {} by the store's own count",
        grown as f64 / WAITING as f64,
        store.bytes() as f64 / WAITING as f64
    );
    assert!(grown <= 64 * WAITING, "{grown} bytes");
}
