//! From a seat that is left to its offer: the time from sending `leave` on one connection to hearing `ready` on the stream of
//! events of whoever is first in line.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;
use tidegate_bench::report::{Cell, Table};
use tidegate_bench::server::{Affinity, Door, Tidegate, words};

use super::Arguments;
use super::visitors::{self, ask, connect, request};

const ROOM: &str = "offers";
/// Its seats, as the rules have it.
const SEATS: u32 = 50;
/// Those who wait and follow the events.
const FOLLOWERS: u32 = 100;
/// Between two that leave.
const BETWEEN: Duration = Duration::from_millis(5);
/// An offer that takes longer is none.
const TOO_LONG: Duration = Duration::from_secs(5);

pub(crate) fn measure(arguments: &Arguments, folder: &Path) -> anyhow::Result<Table> {
    let columns = ["", "offers", "p50 ms", "p90", "p99", "p99.9", "longest"];
    let title = format!("from leaving to ready, {FOLLOWERS} who wait follow the events");
    let mut table = Table::new(title, &columns);
    for (name, further) in [("in memory", None), ("synced journal", Some(folder.join("offers")))] {
        let further = further.map(|file| words(&["--state-file", &file.display().to_string()]));
        let (program, rules) = (&arguments.subject.tidegate, &arguments.subject.rules);
        let server = Tidegate { program, rules, door: Door::Http, database: "none" }
            .start(Affinity::Free, &further.unwrap_or_default())?;
        let took = offers(server.address, arguments.offers).context(name)?;
        let at = |share| Cell::Figure(took.value_at_quantile(share) as f64 / 1e3, 2);
        table.row([
            Cell::text(name),
            Cell::Figure(took.len() as f64, 0),
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999),
            Cell::Figure(took.max() as f64 / 1e3, 2),
        ]);
    }
    Ok(table)
}

/// One seat after the other is left and offered.
fn offers(address: SocketAddr, count: usize) -> anyhow::Result<Histogram<u64>> {
    let mut took = Histogram::new_with_bounds(1, 60_000_000, 3)?;
    let mut caller = connect(address)?;
    let mut inside: std::collections::VecDeque<String> = visitors::join(address, ROOM, SEATS)?.into();
    let (sender, ready) = channel();
    for _ in 0..FOLLOWERS {
        follow(address, sender.clone())?;
    }
    for _ in 0..count {
        let leaves = inside.pop_front().context("nobody is inside")?;
        let left_at = Instant::now();
        leave(&mut caller, &leaves)?;
        let (cookies, at) = heard(&ready)?;
        took.record(u64::try_from((at - left_at).as_micros())?)?;
        let claimed = ask(&mut caller, &request(ROOM, "claim", &cookies))?;
        ensure!(claimed.contains(r#""state":"admitted""#), "a claim that is none: {claimed}");
        inside.push_back(format!("{cookies}; {}", visitors::cookies(&claimed)));
        follow(address, sender.clone())?;
        std::thread::sleep(BETWEEN);
    }
    Ok(took)
}

fn heard(ready: &Receiver<(String, Instant)>) -> anyhow::Result<(String, Instant)> {
    ready.recv_timeout(TOO_LONG).context("nobody was told that a seat is free")
}

/// Leaves, and does not wait for the answer's end: 204 has none.
fn leave(caller: &mut TcpStream, cookies: &str) -> anyhow::Result<()> {
    caller.write_all(&request(ROOM, "leave", cookies))?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0; 512];
        let count = caller.read(&mut byte)?;
        ensure!(count > 0, "the server hung up");
        answer.extend_from_slice(&byte[..count]);
    }
    ensure!(answer.starts_with(b"HTTP/1.1 204"), "{}", String::from_utf8_lossy(&answer));
    Ok(())
}

/// Joins the line and follows the events, until it is told that it is called.
fn follow(address: SocketAddr, told: Sender<(String, Instant)>) -> anyhow::Result<()> {
    let mut stream = connect(address)?;
    let joined = ask(&mut stream, &request(ROOM, "join", ""))?;
    let cookies = visitors::cookies(&joined);
    ensure!(joined.contains(r#""state":"waiting""#), "somebody who does not wait: {joined}");
    stream.write_all(&request(ROOM, "events", &cookies))?;
    // The answer's head, so that it follows before the next one joins.
    let mut events = vec![0; 4_096];
    let mut filled = stream.read(&mut events)?;
    stream.set_read_timeout(None)?;
    std::thread::Builder::new().stack_size(64 << 10).spawn(move || {
        loop {
            let seen = String::from_utf8_lossy(&events[..filled]);
            if seen.contains(r#""state":"ready""#) {
                // Whoever measured may be gone.
                let _ = told.send((cookies, Instant::now()));
                return;
            }
            // An event is whole in a frame; what was seen before is not needed any more.
            match stream.read(&mut events) {
                Ok(0) | Err(_) => return,
                Ok(count) => filled = count,
            }
        }
    })?;
    Ok(())
}
