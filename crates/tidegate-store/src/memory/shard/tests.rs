//! Room is made without growing, and what is at rest is told from what only seems to be.

use super::super::budget::Budget;
use super::super::entry::Kind;
use super::*;

fn around(ordinary: usize) -> Around {
    Around { budget: Budget::new(ordinary, usize::MAX), epochs: Default::default(), book: Default::default() }
}

fn entry(number: u64, rest: u64) -> Entry {
    let key = Key::from_words(number.wrapping_mul(0x9e37_79b9_7f4a_7c15), number);
    Entry::new(key, Home::Own, Revision::default(), 0, Packed { kind: Kind::Tat, rest, value: 0 })
}

#[test]
fn the_size_of_a_table_is_foreseen() {
    let around = around(usize::MAX);
    let mut shard = Shard::default();
    for _ in 0..8 {
        let slots = shard.next_slots();
        assert!(shard.grow(&around));
        assert_eq!((shard.slots(), set_aside(shard.table.allocation_size())), (slots, table_bytes(slots)));
        assert_eq!(around.budget.used(), table_bytes(slots));
    }
}

/// A full table whose keys come and go neither grows nor loses track, and is not rebuilt for every insertion.
#[test]
fn a_full_table_lives_on_by_what_comes_to_rest() {
    let around = around(table_bytes(1_024));
    let mut shard = Shard::default();
    for number in 1..50_000 {
        let now = Timestamp::from_micros(number);
        assert!(shard.make_room(Size::Inline, 0, now, &around), "{number}");
        let entry = entry(number, number + 600);
        shard.insert(entry, now, &around);
        assert!(shard.find(entry.key()).is_some());
    }
    assert_eq!((shard.slots(), shard.counts.evicted_live), (1_024, 0));
    assert!(shard.len() <= own_slots(1_024));
}

/// The bucket nearest to rest goes when nothing is at rest, and the table stays as it is.
#[test]
fn a_full_table_of_live_buckets_loses_one_for_each_that_comes() {
    let around = around(table_bytes(64));
    let mut shard = Shard::default();
    for number in 1..=1_000 {
        shard.make_room(Size::Inline, 0, Timestamp::EPOCH, &around);
        shard.insert(entry(number, u64::MAX >> 8), Timestamp::EPOCH, &around);
    }
    assert_eq!((shard.slots(), shard.len()), (64, own_slots(64)));
    assert_eq!(shard.counts.evicted_live, 1_000 - own_slots(64) as u64);
}

#[test]
fn sweeping_drops_what_is_at_rest_and_shrinks_what_is_sparse() {
    let around = around(usize::MAX);
    let mut shard = Shard::default();
    for number in 1..=1_000 {
        shard.make_room(Size::Inline, 0, Timestamp::EPOCH, &around);
        let rest = if number % 50 == 0 { 10_000_000 } else { 1_000 };
        shard.insert(entry(number, rest), Timestamp::EPOCH, &around);
    }
    let slots = shard.slots();
    assert_eq!(shard.sweep(slots, Timestamp::from_micros(1_000), &around), 0, "there is some grace");
    assert_eq!(shard.sweep(slots, Timestamp::from_micros(1_001_000), &around), 980);
    shard.shrink(&around);
    assert_eq!((shard.len(), shard.slots()), (20, 64));
    assert_eq!(around.budget.used(), table_bytes(64));
}
