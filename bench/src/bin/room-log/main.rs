//! The log of shared rooms in Redis: appends in one room and in 64, messages from node to node and back, and a long line.

mod line;
mod measure;

use std::time::Duration;

use clap::Parser;
use tidegate_bench::machine;
use tidegate_bench::report::{Cell, Format, Report, Table};
use tokio::runtime::Builder;

use crate::measure::{Figures, Nodes};

/// Appends and messages of rooms that are shared in Redis.
#[derive(Debug, Parser)]
struct Arguments {
    /// Bytes of an entry, of what is told with it, and of a message
    #[arg(long, default_values_t = [200, 4_000])]
    bytes: Vec<usize>,
    /// Seconds of each measurement of appends
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Messages that go to and fro one at a time; ten times as many where 64 are under way
    #[arg(long, default_value_t = 5_000)]
    messages: u64,
    /// Visitors who wait in one room, in a table of its own; none if 0 is all that is given
    #[arg(long, default_values_t = [10_000, 100_000, 1_000_000])]
    visitors: Vec<u64>,
    /// Leave out appends and messages
    #[arg(long)]
    only_line: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let runtime = Builder::new_multi_thread().worker_threads(machine::cores()).enable_all().build()?;
    let mut table = Table::new(
        "two nodes at one Redis",
        &["", "bytes", "at once", "per second", "p50 µs", "p99 µs", "CPU of Redis, µs each"],
    );
    if !arguments.only_line {
        runtime.block_on(steps(&arguments, &mut table))?;
    }
    let lengths: Vec<u64> = arguments.visitors.iter().copied().filter(|length| *length > 0).collect();
    let line = runtime.block_on(line::measure(&lengths))?;
    let mut report = Report::new("room-log");
    report.note("each room has one append under way; nodes and Redis share the machine");
    report.add(table);
    report.note(line::NOTE);
    report.add(line);
    report.print(Format::from_switch(arguments.json))
}

async fn steps(arguments: &Arguments, table: &mut Table) -> anyhow::Result<()> {
    let mut nodes = Nodes::start().await?;
    for bytes in &arguments.bytes {
        for rooms in [1, 64] {
            let figures = nodes.appends(rooms, *bytes, Duration::from_secs(arguments.seconds)).await?;
            table.row(row("appends, told to both", *bytes, rooms, figures));
        }
        for (at_once, count) in [(1, arguments.messages), (64, arguments.messages * 10)] {
            let figures = nodes.round_trips(at_once, *bytes, count).await?;
            table.row(row("messages there and back", *bytes, at_once, figures));
        }
    }
    Ok(())
}

fn row(name: &str, bytes: usize, at_once: u64, figures: Figures) -> [Cell; 7] {
    [
        Cell::text(name),
        Cell::Figure(bytes as f64, 0),
        Cell::Figure(at_once as f64, 0),
        Cell::Figure(figures.rate, 0),
        Cell::Figure(figures.p50 as f64, 0),
        Cell::Figure(figures.p99 as f64, 0),
        Cell::Figure(figures.server_cpu, 1),
    ]
}
