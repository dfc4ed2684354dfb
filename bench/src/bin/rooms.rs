//! Joining and looking in one waiting room: the embedded store of rooms beside a bare room of the core, in memory, with a journal, and
//! with one that is synced.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use clap::Parser;
use tidegate_bench::machine;
use tidegate_bench::report::{Cell, Format, Report, Table};
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::room::{Command, Identity, QueueNumber, Room, RoomName, Settings, Spec, Ticket, Visitor};
use tidegate_core::time::{Micros, Timestamp};
use tidegate_store::rooms::{Clock, Durability, JournalOptions, MemoryRooms, RoomStore};
use tokio::runtime::{Builder, Runtime};

const START: Timestamp = Timestamp::from_micros(1_780_000_000_000_000);

/// Joins, looks and bytes in one waiting room.
#[derive(Debug, Parser)]
struct Arguments {
    /// Visitors that come to the line
    #[arg(long, default_value_t = 1_000_000)]
    visitors: u64,
    /// Visitors that join where every join is synced
    #[arg(long, default_value_t = 200_000)]
    synced_visitors: u64,
    /// Joins that are under way at one time where there is a journal
    #[arg(long, default_value_t = 1_024)]
    at_once: u64,
    /// Where journals are written; they are removed afterwards
    #[arg(long, default_value = "target")]
    folder: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What a contender was measured to do.
struct Measured {
    name: &'static str,
    visitors: u64,
    joins: Took,
    looks: Took,
    polls: Took,
    bytes: Option<f64>,
}

/// Time and CPU of the whole process.
#[derive(Clone, Copy)]
struct Took {
    wall: Duration,
    cpu: Duration,
}

fn measure(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Took> {
    let (wall, cpu) = (machine::monotonic(), machine::process_cpu());
    work()?;
    Ok(Took { wall: machine::monotonic() - wall, cpu: machine::process_cpu() - cpu })
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let runtime = Builder::new_multi_thread().worker_threads(machine::cores()).build()?;
    let folder = arguments.folder.join(format!("rooms-bench-{}", std::process::id()));
    let mut measured = vec![bare_room(arguments.visitors)?, in_memory(arguments.visitors)?];
    let kinds = [
        ("journal", Durability::Unsynced { may_lose: 0 }, arguments.visitors),
        ("journal, synced", Durability::Synced, arguments.synced_visitors),
    ];
    for (name, durability, visitors) in kinds {
        let done = with_journal(&runtime, name, &folder, durability, visitors, arguments.at_once);
        std::fs::remove_dir_all(&folder).ok();
        measured.push(done?);
    }
    let mut table = Table::new(
        "one room, everybody waits",
        &["", "visitors", "joins/s", "CPU ns", "looks/s", "CPU ns", "polls/s", "CPU ns", "bytes each"],
    );
    for one in &measured {
        let mut row = vec![Cell::text(one.name), Cell::Figure(one.visitors as f64, 0)];
        for took in [one.joins, one.looks, one.polls] {
            row.push(Cell::Figure(one.visitors as f64 / took.wall.as_secs_f64(), 0));
            row.push(Cell::Figure(took.cpu.as_nanos() as f64 / one.visitors as f64, 0));
        }
        row.push(one.bytes.map_or(Cell::Empty, |bytes| Cell::Figure(bytes, 1)));
        table.row(row);
    }
    let mut report = Report::new("rooms");
    report.note(
        "without a journal, and for looks and polls, one thread; polls are early ones, which change nothing",
    );
    report.add(table);
    report.print(Format::from_switch(arguments.json))
}

fn bare_room(visitors: u64) -> anyhow::Result<Measured> {
    let mut room = Room::new(settings()?, 1, START);
    let mut events = Vec::new();
    let joins = measure(|| {
        for number in 1..=visitors {
            events.clear();
            room.handle(START, &Command::Join(visitor(number)), &mut events);
        }
        Ok(())
    })?;
    ensure!(room.status(START).waiting == visitors, "somebody is missing");
    let looks = measure(|| {
        for number in 1..=visitors {
            std::hint::black_box(room.look(START, &ticket(1, number, visitors)));
        }
        Ok(())
    })?;
    let polls = measure(|| {
        for number in 1..=visitors {
            events.clear();
            let command = Command::Poll(ticket(1, number, visitors));
            std::hint::black_box(room.handle(START, &command, &mut events));
        }
        Ok(())
    })?;
    let bytes = Some(room.bytes() as f64 / visitors as f64);
    Ok(Measured { name: "the core's room", visitors, joins, looks, polls, bytes })
}

fn in_memory(visitors: u64) -> anyhow::Result<Measured> {
    let store = MemoryRooms::new(clock());
    let room = room_name()?;
    at_once(store.put(&room, &settings()?))?;
    let joins = measure(|| {
        for number in 1..=visitors {
            at_once(store.ask(&room, &Command::Join(visitor(number))))?;
        }
        Ok(())
    })?;
    let bytes = store.bytes() as f64 / visitors as f64;
    let (looks, polls) = ask_all(&store, &room, visitors)?;
    Ok(Measured { name: "in memory", visitors, joins, looks, polls, bytes: Some(bytes) })
}

fn with_journal(
    runtime: &Runtime,
    name: &'static str,
    folder: &Path,
    durability: Durability,
    visitors: u64,
    tasks: u64,
) -> anyhow::Result<Measured> {
    let options = JournalOptions { durability, ..JournalOptions::new(folder) };
    let store = Arc::new(MemoryRooms::open(&options, clock())?);
    let room = room_name()?;
    runtime.block_on(store.put(&room, &settings()?))?;
    let joins = measure(|| {
        let handles: Vec<_> = (0..tasks)
            .map(|task| {
                let (store, room) = (Arc::clone(&store), room.clone());
                runtime.spawn(async move {
                    for number in (1 + task..=visitors).step_by(usize::try_from(tasks).unwrap_or(1)) {
                        store.ask(&room, &Command::Join(visitor(number))).await?;
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        handles.into_iter().try_for_each(|handle| runtime.block_on(handle)?)
    })?;
    let (looks, polls) = ask_all(&store, &room, visitors)?;
    Ok(Measured { name, visitors, joins, looks, polls, bytes: None })
}

/// Looks and early polls of everybody, when nothing waits to be kept.
fn ask_all(store: &MemoryRooms, room: &RoomName, visitors: u64) -> anyhow::Result<(Took, Took)> {
    let status = at_once(store.status(room))?.status;
    ensure!(status.waiting == visitors, "somebody is missing");
    let looks = measure(|| {
        for number in 1..=visitors {
            at_once(store.look(room, &ticket(status.epoch, number, visitors)))?;
        }
        Ok(())
    })?;
    let polls = measure(|| {
        for number in 1..=visitors {
            at_once(store.ask(room, &Command::Poll(ticket(status.epoch, number, visitors))))?;
        }
        Ok(())
    })?;
    Ok((looks, polls))
}

/// What is there at once.
fn at_once<T, E: std::error::Error + Send + Sync + 'static>(
    future: impl Future<Output = Result<T, E>>,
) -> anyhow::Result<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Ok(output?),
        Poll::Pending => Err(anyhow!("the store waits for something")),
    }
}

fn clock() -> Clock {
    Arc::new(|| START)
}

fn room_name() -> anyhow::Result<RoomName> {
    Ok(RoomName::new("bench")?)
}

/// Nobody is let in.
fn settings() -> anyhow::Result<Settings> {
    let release = Quota::new(Algorithm::TokenBucket, 100, Micros::from_secs(1), None)
        .map_err(|error| anyhow!("{error}"))?;
    Settings::new(Spec::new(0, release)).context("the settings are in range")
}

/// Who comes with this number; identities are spread as hashes are.
fn visitor(number: u64) -> Visitor {
    Visitor { identity: Some(Identity::new(number.wrapping_mul(0x9e37_79b9_7f4a_7c15))), prefix: None }
}

/// The ticket that is asked about as the `number`th: all of them, in no order that memory likes.
fn ticket(epoch: u32, number: u64, visitors: u64) -> Ticket {
    let spread = (u128::from(number) * 0x9e37_79b9_7f4a_7c15 % u128::from(visitors)) as u64;
    Ticket::new(epoch, QueueNumber::new(1 + spread))
}
