//! What a store of rooms has told is there after it was killed, wherever its journal was cut off, and damage is told from that.

#![cfg(feature = "conformance")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "only tests use it")]

mod room_common;

use std::fs;
use std::path::Path;

use fastrand::Rng;
use room_common::{Folder, ask, block_on, clock_of, join, look, name, open, settings, unsynced, visitor};
use tidegate_core::room::{
    Answer, Command, Flush, Gate, Halt, QueueNumber, RoomName, RoomState, Status, Ticket,
};
use tidegate_core::time::Micros;
use tidegate_store::conformance::rooms::TestClock;
use tidegate_store::rooms::{Durability, JournalOptions, MemoryRooms, OpenError, RoomStore};

/// A file's head, before its first frame.
const HEAD: u64 = 40;

/// What has to be the same after a restart. Leases, deadlines and the epoch are not: everybody is presumed to be there.
#[derive(Debug, PartialEq, Eq)]
struct Picture {
    counts: [u64; 6],
    state: RoomState,
    seats: Vec<(QueueNumber, Standing)>,
}

#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Waiting(Option<u64>),
    Ready,
    Admitted(tidegate_core::time::Timestamp),
    Lapsed,
}

fn picture(store: &MemoryRooms, room: &RoomName, tickets: &[Ticket]) -> Picture {
    let status = block_on(store.status(room)).unwrap().status;
    let Status { waiting, ready, active, held, serving_number, next_number, state, .. } = status;
    let standing = |ticket: &Ticket| match look(store, room, ticket) {
        Answer::Waiting(waiting) => Standing::Waiting(waiting.position),
        Answer::Ready(_) => Standing::Ready,
        Answer::Admitted(admitted) => Standing::Admitted(admitted.start),
        Answer::Lapsed => Standing::Lapsed,
        other => panic!("{other:?}"),
    };
    Picture {
        counts: [waiting, ready, active, held, serving_number, next_number],
        state,
        seats: tickets.iter().map(|ticket| (ticket.number, standing(ticket))).collect(),
    }
}

/// Does something random.
fn any_step(random: &mut Rng, store: &MemoryRooms, room: &RoomName, tickets: &mut Vec<Ticket>) {
    let ticket = random.choice(tickets.iter()).copied();
    match (random.u8(..20), ticket) {
        (0..8, _) | (_, None) => {
            let told = ask(store, room, Command::Join(visitor(random.u64(1..60))));
            if let Some(number) = room_common::number_of(&told.answer)
                && tickets.iter().all(|ticket| ticket.number != number)
            {
                tickets.push(Ticket::new(told.epoch, number));
            }
        }
        (8..11, Some(ticket)) => drop(ask(store, room, Command::Poll(ticket))),
        (11..14, Some(ticket)) => drop(ask(store, room, Command::Claim(ticket))),
        (14..17, Some(ticket)) => drop(ask(store, room, Command::Leave(ticket))),
        (17, Some(_)) => drop(ask(store, room, Command::AdmitOne(None))),
        (18, Some(_)) => {
            let state = [RoomState::Open, RoomState::Paused, RoomState::Open][random.usize(..3)];
            ask(store, room, Command::SetState(state));
        }
        (_, Some(_)) if random.u8(..20) == 0 => drop(ask(store, room, Command::Flush(Flush::Line))),
        (_, Some(_)) => drop(block_on(store.put(room, &settings(random.u32(1..9)))).unwrap()),
    }
}

#[test]
fn a_killed_store_comes_back_as_it_was() {
    let (folder, clock) = (Folder::new("kills"), TestClock::default());
    let mut store = MemoryRooms::open(&unsynced(folder.path()), clock_of(&clock)).unwrap();
    let room = name("killed");
    block_on(store.put(&room, &settings(4))).unwrap();
    let seed = room_common::from_environment("TIDEGATE_SEED", 7);
    let (mut random, mut tickets) = (Rng::with_seed(seed), Vec::new());
    let mut image = folder;
    for kill in 0..40 {
        for _ in 0..random.usize(..40) {
            clock.advance(Micros::from_millis(random.u64(..3_000)));
            any_step(&mut random, &store, &room, &mut tickets);
        }
        // Whatever is due is done, so that a restart finds nothing more to do.
        block_on(store.turn()).unwrap();
        ask(&store, &room, Command::Turn);
        let (before, epoch) =
            (picture(&store, &room, &tickets), block_on(store.status(&room)).unwrap().status.epoch);
        let next = Folder::copy_of("killed", image.path());
        store = MemoryRooms::open(&unsynced(next.path()), clock_of(&clock)).unwrap();
        image = next;
        assert_eq!(picture(&store, &room, &tickets), before, "kill {kill}, seed {seed}");
        let after = block_on(store.status(&room)).unwrap().status;
        assert_eq!(after.epoch, epoch + 1, "tickets from before can be told");
    }
}

/// Every step is a frame of its own here, so a journal that ends anywhere within one is as it was before that step.
#[test]
fn a_journal_that_ends_anywhere_is_read_up_to_the_last_whole_step() {
    let (folder, clock) = (Folder::new("cuts"), TestClock::default());
    let store = MemoryRooms::open(&unsynced(folder.path()), clock_of(&clock)).unwrap();
    let room = name("cut");
    block_on(store.put(&room, &settings(2))).unwrap();
    let journal = folder.file("journal");
    let (mut random, mut tickets, mut steps) = (Rng::with_seed(3), Vec::new(), Vec::new());
    let length = |path: &Path| fs::metadata(path).unwrap().len();
    for _ in 0..30 {
        any_step(&mut random, &store, &room, &mut tickets);
        steps.push((length(&journal), tickets.len(), picture(&store, &room, &tickets)));
    }
    let whole = length(&journal);
    for end in steps[0].0..=whole {
        let copy = Folder::copy_of("cut", folder.path());
        fs::OpenOptions::new().write(true).open(copy.file("journal")).unwrap().set_len(end).unwrap();
        let restored = MemoryRooms::open(&unsynced(copy.path()), clock_of(&clock)).unwrap();
        let (_, known, expected) = steps.iter().rfind(|(length, ..)| *length <= end).unwrap();
        assert_eq!(picture(&restored, &room, &tickets[..*known]), *expected, "cut at {end} of {whole}");
        // And it goes on from there.
        join(&restored, &room, 1_000);
    }
}

#[test]
fn damage_is_told_with_its_file_and_place() {
    let (folder, clock) = (Folder::new("damage"), TestClock::default());
    let store = MemoryRooms::open(&unsynced(folder.path()), clock_of(&clock)).unwrap();
    let room = name("damaged");
    block_on(store.put(&room, &settings(2))).unwrap();
    let journal = folder.file("journal");
    let mut ends = vec![HEAD, fs::metadata(&journal).unwrap().len()];
    for identity in 1..4 {
        join(&store, &room, identity);
        ends.push(fs::metadata(&journal).unwrap().len());
    }
    let (last_begins, whole) = (ends[ends.len() - 2], ends[ends.len() - 1]);
    for place in 0..whole {
        let copy = Folder::copy_of("damaged", folder.path());
        flip(&copy.file("journal"), place);
        let opened = MemoryRooms::open(&unsynced(copy.path()), clock_of(&clock));
        if place >= last_begins {
            // What ends a file and is not whole was being written.
            let waiting = block_on(opened.unwrap().status(&room)).unwrap().status;
            assert_eq!(waiting.next_number, 3);
            continue;
        }
        let begins = ends.iter().rfind(|end| **end <= place).copied().unwrap_or(0);
        match opened.unwrap_err() {
            OpenError::Damaged { file, offset, .. } => {
                assert_eq!((file, offset), (copy.file("journal"), begins), "byte {place}");
            }
            OpenError::UnknownVersion { .. } if (8..12).contains(&place) => {}
            other => panic!("byte {place}: {other}"),
        }
        assert_eq!(copy.files("snapshot").len(), 1, "nothing is written over");
    }
}

#[test]
fn a_damaged_snapshot_is_not_used() {
    let (folder, clock) = (Folder::new("snapshot"), TestClock::default());
    let room = name("snapshot");
    {
        let store = open(folder.path(), &clock);
        block_on(store.put(&room, &settings(2))).unwrap();
        for identity in 1..40 {
            join(&store, &room, identity);
        }
    }
    drop(open(folder.path(), &clock));
    let whole = fs::metadata(folder.file("snapshot")).unwrap().len();
    for place in 0..whole {
        let copy = Folder::copy_of("snapshot", folder.path());
        flip(&copy.file("snapshot"), place);
        let opened = MemoryRooms::open(&unsynced(copy.path()), clock_of(&clock));
        assert!(
            matches!(opened, Err(OpenError::Damaged { .. } | OpenError::UnknownVersion { .. })),
            "{place}"
        );
    }
    for end in 0..whole {
        let copy = Folder::copy_of("snapshot", folder.path());
        let file = fs::OpenOptions::new().write(true).open(copy.file("snapshot")).unwrap();
        file.set_len(end).unwrap();
        let opened = MemoryRooms::open(&unsynced(copy.path()), clock_of(&clock));
        assert!(matches!(opened, Err(OpenError::Damaged { .. })), "{end}");
    }
}

fn flip(path: &Path, place: u64) {
    let mut bytes = fs::read(path).unwrap();
    bytes[place as usize] ^= 0x20;
    fs::write(path, bytes).unwrap();
}

#[test]
fn files_that_are_missing_are_named() {
    let (folder, clock) = (Folder::new("missing"), TestClock::default());
    let room = name("missing");
    let store = open(folder.path(), &clock);
    block_on(store.put(&room, &settings(2))).unwrap();
    for kind in ["snapshot", "journal"] {
        let copy = Folder::copy_of("missing", folder.path());
        let missing = copy.file(kind);
        fs::remove_file(&missing).unwrap();
        let error = MemoryRooms::open(&JournalOptions::new(copy.path()), clock_of(&clock)).unwrap_err();
        assert!(matches!(&error, OpenError::Missing { file } if *file == missing), "{error}");
    }
    let foreign = Folder::copy_of("foreign", folder.path());
    fs::write(foreign.file("journal"), [b'x'; 100]).unwrap();
    let error = MemoryRooms::open(&JournalOptions::new(foreign.path()), clock_of(&clock)).unwrap_err();
    assert!(error.to_string().contains("is no file of rooms"), "{error}");
}

#[test]
fn a_folder_has_one_user() {
    let (folder, clock) = (Folder::new("users"), TestClock::default());
    let store = open(folder.path(), &clock);
    let error = MemoryRooms::open(&JournalOptions::new(folder.path()), clock_of(&clock)).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    drop(store);
    open(folder.path(), &clock);
}

#[test]
fn a_long_journal_gives_way_to_a_snapshot() {
    let (folder, clock) = (Folder::new("rotation"), TestClock::default());
    let mut options = unsynced(folder.path());
    options.max_journal_bytes = 0;
    let store = MemoryRooms::open(&options, clock_of(&clock)).unwrap();
    let rooms = ["a", "b", "c"].map(name);
    for room in &rooms {
        block_on(store.put(room, &settings(2))).unwrap();
    }
    let mut tickets = Vec::new();
    let mut identity = 0;
    // Until the third generation of files is there.
    while folder.files("snapshot").last().is_none_or(|last| !last.to_string_lossy().contains("00000003.")) {
        identity += 1;
        for room in &rooms {
            tickets.push((room.clone(), join(&store, room, identity)));
        }
        assert!(identity < 100_000, "snapshots are taken");
    }
    let gone = name("gone");
    block_on(store.put(&gone, &settings(1))).unwrap();
    block_on(store.remove(&gone)).unwrap();
    drop(store);
    let store = MemoryRooms::open(&options, clock_of(&clock)).unwrap();
    assert_eq!((folder.files("snapshot").len(), folder.files("journal").len()), (1, 1));
    assert_eq!(block_on(store.rooms()).unwrap().len(), 3);
    for (number, (room, ticket)) in tickets.iter().enumerate() {
        let answer = look(&store, room, ticket);
        assert!(matches!(answer, Answer::Admitted(_) | Answer::Waiting(_)), "{number}: {answer:?}");
        assert_eq!(join(&store, room, ticket.visitor.identity.unwrap().get()).number, ticket.number);
    }
}

#[test]
fn without_syncs_a_machine_that_went_down_admits_nobody_for_a_while() {
    let (folder, clock) = (Folder::new("power"), TestClock::default());
    let room = name("power");
    let options = JournalOptions {
        durability: Durability::Unsynced { may_lose: 10 },
        ..JournalOptions::new(folder.path())
    };
    let store = MemoryRooms::open(&options, clock_of(&clock)).unwrap();
    block_on(store.put(&room, &settings(2))).unwrap();
    let inside = join(&store, &room, 1);
    // Killed, and the machine was started anew.
    let copy = Folder::copy_of("power", folder.path());
    fs::write(copy.path().join("rooms.lock"), "another start\n").unwrap();
    let copied = JournalOptions { folder: copy.path().to_owned(), ..options };
    let restored = MemoryRooms::open(&copied, clock_of(&clock)).unwrap();
    let status = block_on(restored.status(&room)).unwrap().status;
    assert!(matches!(status.gate, Gate::Halted(Halt::Recovering { .. })), "{status:?}");
    assert_eq!(
        (status.waiting, status.next_number),
        (10, 12),
        "those who may have come are presumed to be there"
    );
    assert!(matches!(look(&restored, &room, &inside), Answer::Admitted(_)));
    drop(restored);
    // What was shut down has lost nothing, whatever the machine did.
    drop(store);
    fs::write(folder.path().join("rooms.lock"), "another start\n").unwrap();
    let restored =
        MemoryRooms::open(&JournalOptions { folder: folder.path().to_owned(), ..copied }, clock_of(&clock));
    let status = block_on(restored.unwrap().status(&room)).unwrap().status;
    assert_eq!((status.gate, status.waiting), (Gate::Open, 0));
}
