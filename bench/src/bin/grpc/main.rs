//! Server CPU, rate and latency of a rate limit check over gRPC, beside bare tonic and throttlecrab in the same run.

mod load;
mod question;
mod throttlecrab;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use tidegate_bench::report::{Cell, Format, Report, Table};
use tidegate_bench::server::{self, Affinity, Server};
use tidegate_bench::{machine, median};

use load::{Driven, Pace, drive};
use question::Question;

/// CPU microseconds, requests per second and latency of Tidegate, bare tonic and throttlecrab, in turn.
#[derive(Debug, Parser)]
struct Arguments {
    /// The release binary; this program builds nothing
    #[arg(long, default_value = "../target/release/tidegate")]
    tidegate: PathBuf,
    /// The rule file it is started with
    #[arg(long, default_value = "rules/large-limits.yaml")]
    rules: PathBuf,
    /// throttlecrab-server; left out where it is not there
    #[arg(long, default_value = "target/rivals/bin/throttlecrab-server")]
    throttlecrab: PathBuf,
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

/// A server and what it is asked.
struct Contender {
    name: &'static str,
    program: Program,
    question: Question,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    TonicEcho,
    Tidegate,
    Throttlecrab,
}

const CONTENDERS: [Contender; 5] = [
    envoy("bare tonic, OK", Program::TonicEcho, "bare"),
    envoy("bare tonic, same answer", Program::TonicEcho, "default"),
    envoy("tidegate", Program::Tidegate, "default"),
    envoy("tidegate, no rule", Program::Tidegate, "nowhere"),
    Contender { name: "throttlecrab", program: Program::Throttlecrab, question: Question::Throttle },
];

const fn envoy(name: &'static str, program: Program, domain: &'static str) -> Contender {
    Contender { name, program, question: Question::ShouldRateLimit { domain } }
}

/// The servers of a run, each on the same core.
struct Servers {
    echo: Server,
    tidegate: Server,
    throttlecrab: Option<Server>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    ensure!(
        arguments.tidegate.is_file(),
        "{}: not there; build it with `cargo build --release` in the root",
        arguments.tidegate.display()
    );
    let mut report = Report::new("grpc");
    report.note(
        "closed loop over loopback; CPU is utime + stime of the server from /proc/PID/stat, per request",
    );
    let (affinity, title) = if server::can_pin() {
        (Affinity::Pinned, "server on core 0 with one worker, load on core 1")
    } else {
        (Affinity::Free, "not pinned: that takes taskset and two cores")
    };
    let servers = Servers::start(&arguments, affinity)?;
    if servers.throttlecrab.is_none() {
        report
            .note("throttlecrab-server is not there: cargo install throttlecrab-server --root target/rivals");
    }
    affinity.apply_to_this_process()?;
    let pace = Pace {
        connections: arguments.connections,
        in_flight: arguments.in_flight,
        keys: arguments.keys,
        measured: Duration::from_secs_f64(arguments.seconds),
    };
    report.add(table(title, &servers.rounds(&pace, arguments.rounds)?));
    report.print(Format::from_switch(arguments.json))
}

impl Servers {
    fn start(arguments: &Arguments, affinity: Affinity) -> anyhow::Result<Self> {
        let echo = std::env::current_exe()?.with_file_name("tonic-echo");
        let echo = Server::start(&echo, affinity, |address| words(&["--listen", address]));
        let rules = arguments.rules.display().to_string();
        let tidegate = Server::start(&arguments.tidegate, affinity, |address| {
            let doors = ["serve", "--listen", "127.0.0.1:0", "--grpc-listen", address, "--rules", &rules];
            let quiet = ["--log-level", "warn", "--admin-listen", "off", "--database-url", "none"];
            words(&[doors.as_slice(), &quiet].concat())
        });
        let throttlecrab = arguments.throttlecrab.is_file().then(|| {
            Server::start_rival(&arguments.throttlecrab, affinity, |address| {
                let port = address.port().to_string();
                let door = ["--grpc", "--grpc-host", "127.0.0.1", "--grpc-port", &port];
                words(&[door.as_slice(), &["--log-level", "error"]].concat())
            })
        });
        Ok(Self {
            echo: echo.context("tonic-echo")?,
            tidegate: tidegate.context("tidegate")?,
            throttlecrab: throttlecrab.transpose().context("throttlecrab-server")?,
        })
    }

    fn of(&self, program: Program) -> Option<&Server> {
        match program {
            Program::TonicEcho => Some(&self.echo),
            Program::Tidegate => Some(&self.tidegate),
            Program::Throttlecrab => self.throttlecrab.as_ref(),
        }
    }

    /// Drives every contender once in every round, each round beginning with another.
    fn rounds(&self, pace: &Pace, rounds: usize) -> anyhow::Result<Vec<Vec<Driven>>> {
        let mut driven: Vec<Vec<Driven>> = CONTENDERS.iter().map(|_| Vec::new()).collect();
        for round in 0..rounds {
            for turn in 0..CONTENDERS.len() {
                let index = (turn + round) % CONTENDERS.len();
                let contender = &CONTENDERS[index];
                if let Some(server) = self.of(contender.program) {
                    driven[index].push(drive(server, contender.question, pace).context(contender.name)?);
                }
            }
        }
        Ok(driven)
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn table(title: &str, driven: &[Vec<Driven>]) -> Table {
    let columns = [
        "", "CPU us", "least", "most", "user", "kernel", "/ bare", "/ same", "req/s", "/ bare", "p50 us",
        "p99", "load %", "answer B",
    ];
    let mut table = Table::new(title, &columns);
    let of =
        |runs: &[Driven], figure: fn(&Driven) -> f64| median(&runs.iter().map(figure).collect::<Vec<_>>());
    // Round by round: what slows a whole round does not show in the ratio.
    let to = |runs: &[Driven], other: &[Driven], figure: fn(&Driven) -> f64| {
        let rounds = runs.iter().zip(other).map(|(run, other)| figure(run) / figure(other));
        median(&rounds.collect::<Vec<_>>())
    };
    let cpu: fn(&Driven) -> f64 = |run| run.micros_each(machine::ProcessCpu::total);
    for (contender, runs) in CONTENDERS.iter().zip(driven).filter(|(_, runs)| !runs.is_empty()) {
        let cpus: Vec<f64> = runs.iter().map(cpu).collect();
        table.row([
            Cell::text(contender.name),
            Cell::Figure(median(&cpus), 2),
            Cell::Figure(cpus.iter().copied().fold(f64::NAN, f64::min), 2),
            Cell::Figure(cpus.iter().copied().fold(f64::NAN, f64::max), 2),
            Cell::Figure(of(runs, |run| run.micros_each(|cpu| cpu.user)), 2),
            Cell::Figure(of(runs, |run| run.micros_each(|cpu| cpu.kernel)), 2),
            Cell::Figure(to(runs, &driven[0], cpu), 3),
            Cell::Figure(to(runs, &driven[1], cpu), 3),
            Cell::Figure(of(runs, Driven::rate), 0),
            Cell::Figure(to(runs, &driven[0], Driven::rate), 3),
            Cell::Figure(of(runs, |run| run.latency_us(0.5)), 0),
            Cell::Figure(of(runs, |run| run.latency_us(0.99)), 0),
            Cell::Figure(of(runs, |run| run.load_share * 100.0), 0),
            Cell::Figure(of(runs, |run| run.answer_bytes as f64), 0),
        ]);
    }
    table
}
