//! The embedded store of rooms keeps the promises of the port, in memory and with a journal, and under real threads.

#![cfg(feature = "conformance")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "only tests use it")]

mod room_common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use room_common::{Folder, block_on, clock_of, from_environment, name, open, settings};
use tidegate_core::room::{Answer, Command, Event, Identity, RoomName, Ticket, Visitor};
use tidegate_core::time::{Micros, Timestamp};
use tidegate_store::conformance::rooms::{History, TestClock, run_all, run_history};
use tidegate_store::rooms::{Durability, JournalOptions, MemoryRooms, RoomStore, RoomWatcher};

#[test]
fn rooms_in_memory_keep_the_promises_of_the_port() {
    block_on(run_all(|clock| async move { MemoryRooms::new(clock_of(&clock)) }));
}

#[test]
fn rooms_with_a_journal_keep_the_promises_of_the_port() {
    let folder = Folder::new("promises");
    let count = AtomicU64::new(0);
    block_on(run_all(|clock| {
        let place = folder.path().join(count.fetch_add(1, Ordering::Relaxed).to_string());
        let mut options = JournalOptions::new(place);
        // What is synced is told apart elsewhere; here it would only take time.
        options.durability = Durability::Unsynced { may_lose: 0 };
        async move { MemoryRooms::open(&options, clock_of(&clock)).unwrap() }
    }));
}

#[test]
fn long_histories_answer_as_the_core_does() {
    let first = from_environment("TIDEGATE_SEED", 100);
    let commands = from_environment("TIDEGATE_OPERATIONS", 10_000) as usize;
    println!("TIDEGATE_SEED={first} TIDEGATE_OPERATIONS={commands}");
    for seed in first..first + 4 {
        let clock = TestClock::default();
        let store = MemoryRooms::new(clock_of(&clock));
        block_on(run_history(&store, &clock, History { seed, commands }));
    }
}

/// Counts who is inside, by what watchers are told.
#[derive(Default)]
struct Inside {
    now: AtomicU64,
    most: AtomicU64,
    admitted: parking_lot::Mutex<BTreeSet<u64>>,
}

impl RoomWatcher for Inside {
    fn happened(&self, _: &RoomName, _: Timestamp, events: &[Event]) {
        for event in events {
            match event {
                Event::Admitted { number, .. } => {
                    let inside = self.now.fetch_add(1, Ordering::SeqCst) + 1;
                    self.most.fetch_max(inside, Ordering::SeqCst);
                    assert!(self.admitted.lock().insert(number.get()), "nobody is admitted twice");
                }
                Event::Ended { .. } => {
                    self.now.fetch_sub(1, Ordering::SeqCst);
                }
                _ => {}
            }
        }
    }
}

/// Visitors on real threads join, poll, claim and leave, all at once, with a journal that is synced. Never are more inside
/// than there are seats, and 100 threads that join as one visitor have one ticket.
#[test]
fn the_capacity_holds_under_real_threads() {
    const THREADS: u64 = 8;
    const VISITORS: u64 = 40;
    const CAPACITY: u32 = 5;
    let folder = Folder::new("threads");
    let clock = TestClock::default();
    let store = open(folder.path(), &clock);
    let room = name("busy");
    block_on(store.put(&room, &settings(CAPACITY))).unwrap();
    let inside = Arc::new(Inside::default());
    store.watch(Arc::clone(&inside) as Arc<dyn RoomWatcher>);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, clock, room) = (&store, &clock, &room);
            scope.spawn(move || {
                for visitor in 0..VISITORS {
                    visit(store, clock, room, 1 + thread * VISITORS + visitor);
                }
            });
        }
    });
    assert_eq!(inside.admitted.lock().len() as u64, THREADS * VISITORS, "everybody was let in");
    assert!(inside.most.load(Ordering::SeqCst) <= u64::from(CAPACITY));
    for round in 0..100 {
        let visitor = Visitor { identity: Some(Identity::new(1_000_000 + round)), prefix: None };
        let tell = || block_on(store.ask(&room, &Command::Join(visitor))).unwrap().answer;
        let answers: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(tell)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let numbers: BTreeSet<_> = answers.iter().filter_map(room_common::number_of).collect();
        assert_eq!(numbers.len(), 1, "{answers:?}");
    }
}

/// Joins, waits until called, comes in and leaves.
fn visit(store: &MemoryRooms, clock: &TestClock, room: &RoomName, identity: u64) {
    let visitor = Visitor { identity: Some(Identity::new(identity)), prefix: None };
    let told = block_on(store.ask(room, &Command::Join(visitor))).unwrap();
    let number = room_common::number_of(&told.answer).unwrap();
    let ticket = Ticket { epoch: told.epoch, number, visitor };
    loop {
        clock.advance(Micros::from_millis(1));
        match block_on(store.ask(room, &Command::Poll(ticket))).unwrap().answer {
            Answer::Waiting(_) => thread::yield_now(),
            Answer::Ready(_) => {
                let told = block_on(store.ask(room, &Command::Claim(ticket))).unwrap();
                assert!(matches!(told.answer, Answer::Admitted(_)), "{told:?}");
            }
            Answer::Admitted(_) => break,
            other => panic!("{identity}: {other:?}"),
        }
    }
    assert_eq!(block_on(store.ask(room, &Command::Leave(ticket))).unwrap().answer, Answer::Left);
}
