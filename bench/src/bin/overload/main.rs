//! Ten times more than a node can do: how much of what it can do it still does, how soon the others are told so, and how soon
//! it is itself again afterwards.

mod drive;
mod grpc;
mod wire;

use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::{Parser, ValueEnum};
use tidegate_bench::contest::Subject;
use tidegate_bench::machine::ProcessCpu;
use tidegate_bench::report::{Cell, Format, Report, Table};
use tidegate_bench::server::{self, Affinity, Server, Tidegate, words};
use tidegate_testkit::{FaultProxy, RedisServer};

use drive::{Demand, Load, Tally, millis};
use wire::Door;

/// Baseline and recovery are looked at in windows of so much time.
const WINDOW: Duration = Duration::from_millis(500);
/// So many windows in a row, up to the end of what is looked at, must be as before.
const LASTING: usize = 4;
/// As before: this much of the requests decided, and a p99 at most so many times that of the baseline's worst window.
const DECIDED_AS_BEFORE: f64 = 0.95;
const P99_AS_BEFORE: f64 = 1.2;
/// A quiet load, as a part of the capacity.
const QUIET: f64 = 0.5;
/// Time for each number of connections of which the capacity is the best.
const SEARCH: Duration = Duration::from_secs(3);
/// Decisions of one request where the processor is the bottleneck.
const BATCH: usize = 100;

/// Goodput, shed answers and recovery of a node that is offered many times its capacity.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    subject: Subject,
    /// The door that is asked
    #[arg(long, default_value = "http")]
    door: Door,
    /// What the node is slow by
    #[arg(long, default_value = "store")]
    slow_by: SlowBy,
    /// How late the slow store's replies are, ms
    #[arg(long, default_value_t = 50)]
    store_delay_ms: u64,
    /// --max-concurrent-requests of the node
    #[arg(long, default_value_t = 256)]
    concurrent: usize,
    /// How many times the capacity is offered
    #[arg(long, default_value_t = 10.0)]
    times: f64,
    /// Seconds of the overload
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// Seconds of the quiet load before and after it
    #[arg(long, default_value_t = 10.0)]
    quiet_seconds: f64,
    /// Connections of the open loop
    #[arg(long, default_value_t = 2_000)]
    connections: usize,
    /// Tell of each half second of the overload, too
    #[arg(long)]
    windows: bool,
}

/// The bottleneck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SlowBy {
    /// A Redis whose replies are late: requests pile up in the node
    Store,
    /// Its one core, with the store in memory: nothing piles up in the node, but in the kernel's sockets before it
    Core,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    arguments.subject.is_built()?;
    ensure!(server::can_pin(), "it takes taskset and two cores");
    // Before anything is started: what is started is where this process is.
    Affinity::Pinned.apply_to_this_process()?;
    let store = (arguments.slow_by == SlowBy::Store).then(|| {
        let redis = RedisServer::start();
        let proxy = FaultProxy::start(redis.address(), 1);
        proxy.change(|faults| faults.reply_delay = Duration::from_millis(arguments.store_delay_ms));
        (redis, proxy)
    });
    let mut report = Report::new("overload");
    report
        .note("node on core 0 with one worker; load generator (and the slow Redis with its proxy) on core 1");
    match &store {
        Some(_) => report.note(format!(
            "bottleneck: replies of Redis are {} ms late, and the node takes {} requests at one time, of which 80 % for \
             those that say nothing of their importance",
            arguments.store_delay_ms, arguments.concurrent
        )),
        None => report.note(format!(
            "bottleneck: the node's core, with the store in memory and {} decisions a request",
            batch(&arguments)
        )),
    }
    report.note(
        "latency counts from when a request was due; one that finds no free connection for 1 s has given up",
    );
    let place = store.as_ref().map(|(_, proxy)| format!("redis://{}", proxy.address()));
    let node = start(&arguments, place.as_deref())?;
    measure(&arguments, &node, &mut report)?;
    report.print(Format::from_switch(arguments.subject.json))
}

const fn batch(arguments: &Arguments) -> usize {
    match (arguments.slow_by, arguments.door) {
        (SlowBy::Core, Door::Http) => BATCH,
        _ => 1,
    }
}

fn start(arguments: &Arguments, store: Option<&str>) -> anyhow::Result<Server> {
    let Subject { tidegate: program, rules, .. } = &arguments.subject;
    let door = match arguments.door {
        Door::Http => server::Door::Http,
        Door::Grpc => server::Door::Grpc,
        Door::Resp => server::Door::Resp,
    };
    let (concurrent, connections) =
        (arguments.concurrent.to_string(), (arguments.connections * 2).to_string());
    // Connections of the open loop wait for their turn.
    let mut further = words(&["--header-timeout", "10m", "--idle-timeout", "10m"]);
    further.extend(words(&["--max-concurrent-requests", &concurrent, "--max-connections", &connections]));
    if let Some(store) = store {
        // No deadline and no breaker: what is measured is the bound.
        further.extend(words(&["--store", store, "--store-deadline", "10s", "--fail-mode", "deny"]));
    }
    Tidegate { program, rules, door, database: "none" }.start(Affinity::Pinned, &further)
}

fn measure(arguments: &Arguments, node: &Server, report: &mut Report) -> anyhow::Result<()> {
    let request = arguments.door.request(batch(arguments));
    let connections = arguments.connections;
    let mut load = Load::new(node.address, arguments.door, &request, connections, arguments.subject.keys)?;
    let capacity = capacity(arguments, &mut load, report)?;

    let (quiet, overload) =
        (Duration::from_secs_f64(arguments.quiet_seconds), Duration::from_secs_f64(arguments.seconds));
    let rates = [capacity * QUIET, capacity * arguments.times, capacity * QUIET];
    let times = [quiet, overload, quiet];
    let demands = [0, 1, 2].map(|phase| Demand::Open { rate: rates[phase], time: times[phase] });
    let mut counters: Vec<Counters> = Vec::new();
    let told = load.run(&demands, WINDOW, || {
        counters.push(Counters::now(node)?);
        Ok(())
    })?;

    let columns = [
        "",
        "offered/s",
        "decided/s",
        "of capacity",
        "p50 ms",
        "p99",
        "shed/s",
        "p50 ms",
        "p99",
        "max",
        "other",
        "gave up/s",
        "node %",
        "load %",
    ];
    let mut table = Table::new("open loop", &columns);
    let names = ["quiet, before", "overload", "quiet, after"];
    for (phase, windows) in told.iter().enumerate() {
        let (sum, seconds) = (Tally::sum(windows)?, times[phase].as_secs_f64());
        let (node_share, load_share) = counters[phase].shares_until(&counters[phase + 1]);
        let decided = sum.decided.len() as f64 / seconds;
        table.row([
            Cell::text(names[phase]),
            Cell::Figure(rates[phase], 0),
            Cell::Figure(decided, 0),
            Cell::Figure(decided / capacity, 3),
            Cell::Figure(millis(&sum.decided, 0.5), 1),
            Cell::Figure(millis(&sum.decided, 0.99), 1),
            Cell::Figure(sum.shed.len() as f64 / seconds, 0),
            Cell::Figure(millis(&sum.shed, 0.5), 2),
            Cell::Figure(millis(&sum.shed, 0.99), 2),
            Cell::Figure(millis(&sum.shed, 1.0), 1),
            Cell::Figure(sum.others as f64, 0),
            Cell::Figure(sum.given_up as f64 / seconds, 0),
            Cell::Figure(node_share * 100.0, 0),
            Cell::Figure(load_share * 100.0, 0),
        ]);
    }
    report.add(table);
    let [before, overload, after] = &told[..] else { return Ok(()) };
    if arguments.windows {
        report.add(by_window(overload));
    }
    report.add(targets(before, overload, after, rates, arguments.seconds)?);
    Ok(())
}

fn by_window(windows: &[Tally]) -> Table {
    let columns = ["due after s", "decided/s", "p50 ms", "p99", "shed/s", "p50 ms", "p99", "gave up/s"];
    let mut table = Table::new("the overload by half seconds", &columns);
    let each = |count: u64| Cell::Figure(count as f64 / WINDOW.as_secs_f64(), 0);
    for (index, window) in windows.iter().enumerate() {
        table.row([
            Cell::Figure(index as f64 * WINDOW.as_secs_f64(), 1),
            each(window.decided.len()),
            Cell::Figure(millis(&window.decided, 0.5), 1),
            Cell::Figure(millis(&window.decided, 0.99), 1),
            each(window.shed.len()),
            Cell::Figure(millis(&window.shed, 0.5), 2),
            Cell::Figure(millis(&window.shed, 0.99), 2),
            each(window.given_up),
        ]);
    }
    table
}

/// The most that is decided with any number of connections at which nobody is shed.
fn capacity(arguments: &Arguments, load: &mut Load, report: &mut Report) -> anyhow::Result<f64> {
    // What the priority of these requests may fill: one more would be shed, and ask again at once.
    let bound = (arguments.concurrent * 80).div_ceil(100).min(arguments.connections);
    let sizes: Vec<usize> = match arguments.slow_by {
        SlowBy::Store => vec![bound / 4, bound / 2, bound],
        SlowBy::Core => vec![16, 64, 256],
    };
    let mut table = Table::new("closed loop", &["connections", "decided/s", "p50 ms", "p99", "shed"]);
    let mut best = 0.0_f64;
    for connections in sizes.into_iter().filter(|size| *size > 0) {
        let demands = [SEARCH / 6, SEARCH].map(|time| Demand::Closed { connections, time });
        let told = load.run(&demands, SEARCH, || Ok(()))?;
        let sum = Tally::sum(told.last().map_or(&[], Vec::as_slice))?;
        let rate = sum.decided.len() as f64 / SEARCH.as_secs_f64();
        best = best.max(rate);
        table.row([
            Cell::Figure(connections as f64, 0),
            Cell::Figure(rate, 0),
            Cell::Figure(millis(&sum.decided, 0.5), 1),
            Cell::Figure(millis(&sum.decided, 0.99), 1),
            Cell::Figure(sum.shed.len() as f64, 0),
        ]);
    }
    ensure!(best > 0.0, "nothing was decided");
    report.add(table);
    Ok(best)
}

/// What was promised, and what came of it.
fn targets(
    before: &[Tally],
    overload: &[Tally],
    after: &[Tally],
    rates: [f64; 3],
    seconds: f64,
) -> anyhow::Result<Table> {
    let sum = Tally::sum(overload)?;
    // The capacity is what the rates are multiples of.
    let goodput = sum.decided.len() as f64 / seconds / (rates[0] / QUIET);
    let p99 = millis(&sum.shed, 0.99);
    let worst = before.iter().map(|window| millis(&window.decided, 0.99)).fold(0.0, f64::max);
    let wanted = rates[2] * WINDOW.as_secs_f64() * DECIDED_AS_BEFORE;
    let as_before = |window: &Tally| {
        window.decided.len() as f64 >= wanted && millis(&window.decided, 0.99) <= worst * P99_AS_BEFORE
    };
    let first = after.windows(LASTING).position(|windows| windows.iter().all(as_before));
    let back = first.map_or(f64::NAN, |windows| windows as f64 * WINDOW.as_secs_f64());
    let mut table = Table::new("targets", &["", "target", "measured", "met"]);
    let met = |met: bool| Cell::text(if met { "yes" } else { "no" });
    table.row([
        Cell::text("goodput / capacity"),
        Cell::text(">= 0.9"),
        Cell::Figure(goodput, 3),
        met(goodput >= 0.9),
    ]);
    let shed = if sum.shed.is_empty() { Cell::text("nobody was shed") } else { met(p99 < 10.0) };
    table.row([Cell::text("shed answers, p99 ms"), Cell::text("< 10"), Cell::Figure(p99, 2), shed]);
    table.row([
        Cell::text("seconds until as before"),
        Cell::text("<= 5"),
        Cell::Figure(back, 1),
        met(back <= 5.0),
    ]);
    Ok(table)
}

/// Processor time at one instant.
struct Counters {
    at: Instant,
    node: ProcessCpu,
    load: ProcessCpu,
}

impl Counters {
    fn now(node: &Server) -> anyhow::Result<Self> {
        let (node, load) = (ProcessCpu::of(node.pid())?, ProcessCpu::of(std::process::id())?);
        Ok(Self { at: Instant::now(), node, load })
    }

    /// How busy the node and this program were, of one core each.
    fn shares_until(&self, later: &Self) -> (f64, f64) {
        let wall = (later.at - self.at).as_secs_f64();
        let share = |before: ProcessCpu, after: ProcessCpu| after.since(before).total().as_secs_f64() / wall;
        (share(self.node, later.node), share(self.load, later.load))
    }
}
