//! Server CPU, rate and latency of a rate limit check over gRPC, beside bare tonic in the same run.

mod load;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use tidegate_bench::report::{Cell, Format, Report, Table};
use tidegate_bench::server::{self, Affinity, Server};
use tidegate_bench::{machine, median};

use load::{Driven, Pace, drive};

/// CPU microseconds, requests per second and latency of Tidegate and of bare tonic, in turn.
#[derive(Debug, Parser)]
struct Arguments {
    /// The release binary; this program builds nothing
    #[arg(long, default_value = "../target/release/tidegate")]
    tidegate: PathBuf,
    /// The rule file it is started with
    #[arg(long, default_value = "rules/large-limits.yaml")]
    rules: PathBuf,
    /// Rounds; each server is driven once in each, and medians are taken
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each measured stretch
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Connections
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Requests in flight on each connection
    #[arg(long, default_value_t = 8)]
    in_flight: usize,
    /// Distinct values of client_id
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A server and the domain it is asked in.
struct Contender {
    name: &'static str,
    domain: &'static str,
}

const CONTENDERS: [Contender; 4] = [
    Contender { name: "bare tonic, OK", domain: "bare" },
    Contender { name: "bare tonic, same answer", domain: "default" },
    Contender { name: "tidegate", domain: "default" },
    Contender { name: "tidegate, no rule", domain: "nowhere" },
];

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    ensure!(
        arguments.tidegate.is_file(),
        "{}: not there; build it with `cargo build --release` in the root",
        arguments.tidegate.display()
    );
    let mut report = Report::new("grpc");
    report.note("closed loop over loopback; CPU is utime + stime of the server from /proc/PID/stat, per request");
    let (affinity, title) = if server::can_pin() {
        (Affinity::Pinned, "server on core 0 with one worker, load on core 1")
    } else {
        (Affinity::Free, "not pinned: that takes taskset and two cores")
    };
    let echo = std::env::current_exe()?.with_file_name("tonic-echo");
    let echo = Server::start(&echo, affinity, |address| vec!["--listen".to_owned(), address.to_owned()]);
    let echo = echo.context("tonic-echo")?;
    let rules = arguments.rules.display().to_string();
    let tidegate = Server::start(&arguments.tidegate, affinity, |address| {
        let given = ["serve", "--listen", "127.0.0.1:0", "--grpc-listen", address, "--rules", &rules];
        let quiet = ["--log-level", "warn", "--admin-listen", "off", "--database-url", "none"];
        given.into_iter().chain(quiet).map(str::to_owned).collect()
    });
    let tidegate = tidegate.context("tidegate")?;
    affinity.apply_to_this_process()?;
    let pace = Pace {
        connections: arguments.connections,
        in_flight: arguments.in_flight,
        keys: arguments.keys,
        measured: Duration::from_secs_f64(arguments.seconds),
    };
    let mut driven: Vec<Vec<Driven>> = CONTENDERS.iter().map(|_| Vec::new()).collect();
    for round in 0..arguments.rounds {
        for turn in 0..CONTENDERS.len() {
            let index = (turn + round) % CONTENDERS.len();
            let server = if index < 2 { &echo } else { &tidegate };
            driven[index].push(drive(server, CONTENDERS[index].domain, &pace)?);
        }
    }
    report.add(table(title, &driven));
    report.print(Format::from_switch(arguments.json))
}

fn table(title: &str, driven: &[Vec<Driven>]) -> Table {
    let columns = ["", "CPU us", "user", "kernel", "/ bare", "/ same", "req/s", "p50 us", "p99", "load %"];
    let mut table = Table::new(title, &columns);
    let of =
        |runs: &[Driven], figure: fn(&Driven) -> f64| median(&runs.iter().map(figure).collect::<Vec<_>>());
    let cpu: fn(&Driven) -> f64 = |run| run.micros_each(machine::ProcessCpu::total);
    // Round by round: what slows a whole round does not show in the ratio.
    let to = |runs: &[Driven], other: &[Driven]| {
        median(&runs.iter().zip(other).map(|(run, other)| cpu(run) / cpu(other)).collect::<Vec<_>>())
    };
    for (contender, runs) in CONTENDERS.iter().zip(driven) {
        table.row([
            Cell::text(contender.name),
            Cell::Figure(of(runs, cpu), 2),
            Cell::Figure(of(runs, |run| run.micros_each(|cpu| cpu.user)), 2),
            Cell::Figure(of(runs, |run| run.micros_each(|cpu| cpu.kernel)), 2),
            Cell::Figure(to(runs, &driven[0]), 3),
            Cell::Figure(to(runs, &driven[1]), 3),
            Cell::Figure(of(runs, Driven::rate), 0),
            Cell::Figure(of(runs, |run| run.latency_us(0.5)), 0),
            Cell::Figure(of(runs, |run| run.latency_us(0.99)), 0),
            Cell::Figure(of(runs, |run| run.load_share * 100.0), 0),
        ]);
    }
    table
}
