//! A process with rooms is killed again and again, while visitors join and leave on several threads and snapshots are taken: whoever was
//! told of a place has it afterwards, in the same order, and once.

#![cfg(feature = "conformance")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "only tests use it")]

mod room_common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use room_common::{Folder, ask, block_on, clock_of, join, look, name, settings};
use tidegate_core::room::{Answer, Command};
use tidegate_store::conformance::rooms::TestClock;
use tidegate_store::rooms::{JournalOptions, MIN_JOURNAL_BYTES, MemoryRooms, RoomStore};

/// Names the folder, in the process that is to be killed.
const FOLDER: &str = "TIDEGATE_TEST_KILL_FOLDER";
const CHILD: &str = "a_process_that_is_killed";
const THREADS: u64 = 4;
const KILLS: u64 = 6;
/// Lines that the process writes before it is killed: enough for a snapshot or two.
const LINES: usize = 4_000;

fn open(folder: &Path) -> MemoryRooms {
    let mut options = JournalOptions::new(folder);
    options.max_journal_bytes = MIN_JOURNAL_BYTES;
    MemoryRooms::open(&options, clock_of(&TestClock::default())).unwrap()
}

/// Nothing in itself: what the other test starts and kills.
#[test]
fn a_process_that_is_killed() {
    #[expect(clippy::disallowed_methods, reason = "that is how the process is told from the test")]
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let store = open(Path::new(&folder));
    let room = name("killed");
    block_on(store.put(&room, &settings(0))).unwrap();
    let first = block_on(store.status(&room)).unwrap().status.next_number;
    let identity = AtomicU64::new(first * 10);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, room, identity) = (&store, &room, &identity);
            scope.spawn(move || {
                loop {
                    let identity = identity.fetch_add(1, Ordering::Relaxed);
                    let ticket = join(store, room, identity);
                    say(&format!("joined {identity} {} {}", ticket.number, ticket.epoch));
                    if (identity + thread) % 3 == 0 {
                        say(&format!("leaving {identity}"));
                        ask(store, room, Command::Leave(ticket));
                        say(&format!("left {identity}"));
                    }
                }
            });
        }
    });
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // In one piece, so that no line is cut short by another thread.
    out.write_all(format!("say {line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// What the process said of a visitor.
#[derive(Debug)]
struct Said {
    number: u64,
    /// `None` while it may or may not have left.
    waits: Option<bool>,
}

#[test]
fn whoever_was_told_of_a_place_has_it_after_a_kill() {
    let folder = Folder::new("kill");
    let mut visitors = BTreeMap::new();
    for kill in 0..KILLS {
        let known = visitors.len();
        run_and_kill(folder.path(), &mut visitors);
        assert!(visitors.len() > known + LINES / 4, "the process has said what it did");
        let store = open(folder.path());
        check(&store, &visitors, kill);
    }
}

fn run_and_kill(folder: &Path, visitors: &mut BTreeMap<u64, Said>) {
    let mut process = Process::new(std::env::current_exe().unwrap())
        .args(["--exact", CHILD, "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(process.stdout.take().unwrap()).lines();
    for line in out.by_ref().take(LINES) {
        note(&line.unwrap(), visitors);
    }
    process.kill().unwrap();
    out.for_each(|line| note(&line.unwrap(), visitors));
    process.wait().unwrap();
}

fn note(line: &str, visitors: &mut BTreeMap<u64, Said>) {
    // The last one may be cut short, which then says nothing.
    let words: Vec<_> = line.split(' ').collect();
    let number = |index: usize| words.get(index).and_then(|word: &&str| word.parse::<u64>().ok());
    match (words.get(1), number(2), number(3), number(4)) {
        (Some(&"joined"), Some(identity), Some(number), Some(_)) => {
            let before = visitors.insert(identity, Said { number, waits: Some(true) });
            assert!(before.is_none(), "{line}");
        }
        (Some(&"leaving"), Some(identity), ..) => {
            visitors.entry(identity).and_modify(|said| said.waits = None);
        }
        (Some(&"left"), Some(identity), ..) => {
            visitors.entry(identity).and_modify(|said| said.waits = Some(false));
        }
        _ => {}
    }
}

fn check(store: &MemoryRooms, visitors: &BTreeMap<u64, Said>, kill: u64) {
    let room = name("killed");
    let status = block_on(store.status(&room)).unwrap().status;
    let mut numbers: Vec<_> = visitors.values().map(|said| said.number).collect();
    numbers.sort_unstable();
    assert!(numbers.windows(2).all(|pair| pair[0] != pair[1]), "nobody has another's number");
    assert!(numbers.last().is_some_and(|last| *last < status.next_number));
    let mut in_order: Vec<_> = visitors.iter().collect();
    in_order.sort_unstable_by_key(|(_, said)| said.number);
    let mut before = None;
    for (identity, said) in in_order {
        let ticket = tidegate_core::room::Ticket::new(
            status.epoch - 1,
            tidegate_core::room::QueueNumber::new(said.number),
        );
        match (look(store, &room, &ticket), said.waits) {
            (Answer::Waiting(waiting), Some(true) | None) => {
                assert!(waiting.position > before, "kill {kill}: {identity} was overtaken");
                before = waiting.position;
                if said.waits == Some(true) {
                    assert_eq!(join(store, &room, *identity).number, ticket.number, "one seat each");
                }
            }
            (Answer::Lapsed, Some(false) | None) => {}
            (answer, _) => panic!("kill {kill}: visitor {identity}, {said:?}, is told {answer:?}"),
        }
    }
}
