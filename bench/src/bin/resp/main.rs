//! Server CPU, rate and latency of decisions over RESP, beside Redis running GET, and throttlecrab, in the same run.

mod load;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use tidegate_bench::report::{Cell, Format, Report, Table};
use tidegate_bench::server::{self, Affinity, Server};
use tidegate_bench::{machine, median};

use load::{Driven, Pace, drive};

/// CPU microseconds, commands per second and latency of Tidegate, Redis and throttlecrab, in turn.
#[derive(Debug, Parser)]
struct Arguments {
    /// The release binary; this program builds nothing
    #[arg(long, default_value = "../target/release/tidegate")]
    tidegate: PathBuf,
    /// A second one, for example of the commit before
    #[arg(long)]
    tidegate_before: Option<PathBuf>,
    /// The rule file they are started with
    #[arg(long, default_value = "rules/large-limits.yaml")]
    rules: PathBuf,
    /// throttlecrab-server; left out where it is not there
    #[arg(long, default_value = "target/rivals/bin/throttlecrab-server")]
    throttlecrab: PathBuf,
    /// redis-server
    #[arg(long, default_value = "redis-server")]
    redis: PathBuf,
    /// Rounds; each server is driven once in each, and medians are taken
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each measured stretch
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Fewest commands of each measured stretch: CPU time is counted in steps of 10 ms
    #[arg(long, default_value_t = 500_000)]
    least: u64,
    /// Connections
    #[arg(long, default_value_t = 50)]
    connections: usize,
    /// Commands that a connection sends at once
    #[arg(long, default_values_t = [1, 16], value_delimiter = ',')]
    pipelines: Vec<usize>,
    /// Distinct keys
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Redis,
    Tidegate,
    TidegateBefore,
    Throttlecrab,
}

/// A server and what it is asked.
struct Contender {
    name: &'static str,
    program: Program,
    command: &'static [&'static str],
}

const KEY: &str = "key:__rand_int__";

/// 15 30 60: 16 at once and 30 a minute, so that after the first second nearly all are denied. 100000 60 60:
/// nothing in a benchmark reaches it.
const CONTENDERS: [Contender; 9] = [
    contender("redis GET", Program::Redis, &["GET", KEY]),
    contender("redis INCR", Program::Redis, &["INCR", "count:__rand_int__"]),
    contender(
        "tidegate CL.THROTTLE, all pass",
        Program::Tidegate,
        &["CL.THROTTLE", "pass:__rand_int__", "100000", "60", "60", "1"],
    ),
    contender(
        "tidegate CL.THROTTLE, mostly denied",
        Program::Tidegate,
        &["CL.THROTTLE", KEY, "15", "30", "60", "1"],
    ),
    contender(
        "before: CL.THROTTLE, all pass",
        Program::TidegateBefore,
        &["CL.THROTTLE", "pass:__rand_int__", "100000", "60", "60", "1"],
    ),
    contender(
        "before: CL.THROTTLE, mostly denied",
        Program::TidegateBefore,
        &["CL.THROTTLE", KEY, "15", "30", "60", "1"],
    ),
    contender(
        "tidegate TIDEGATE.CHECK, all pass",
        Program::Tidegate,
        &["TIDEGATE.CHECK", "default", "client_id", KEY],
    ),
    contender(
        "throttlecrab THROTTLE, all pass",
        Program::Throttlecrab,
        &["THROTTLE", "pass:__rand_int__", "100000", "60", "60", "1"],
    ),
    contender(
        "throttlecrab THROTTLE, mostly denied",
        Program::Throttlecrab,
        &["THROTTLE", KEY, "15", "30", "60", "1"],
    ),
];

const fn contender(name: &'static str, program: Program, command: &'static [&'static str]) -> Contender {
    Contender { name, program, command }
}

/// The servers of a run, each on the same core.
struct Servers {
    redis: Server,
    tidegate: Server,
    before: Option<Server>,
    throttlecrab: Option<Server>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    ensure!(
        arguments.tidegate.is_file(),
        "{}: not there; build it with `cargo build --release` in the root",
        arguments.tidegate.display()
    );
    let mut report = Report::new("resp");
    report.note(
        "redis-benchmark over loopback; CPU is utime + stime of the server from /proc/PID/stat, per command",
    );
    let (affinity, title) = if server::can_pin() {
        (Affinity::Pinned, "server on core 0 with one worker, redis-benchmark on core 1")
    } else {
        (Affinity::Free, "not pinned: that takes taskset and two cores")
    };
    let servers = Servers::start(&arguments, affinity)?;
    if servers.throttlecrab.is_none() {
        report
            .note("throttlecrab-server is not there: cargo install throttlecrab-server --root target/rivals");
    }
    affinity.apply_to_this_process()?;
    fill(&servers.redis, &arguments)?;
    for pipeline in &arguments.pipelines {
        let pace = Pace {
            connections: arguments.connections,
            pipeline: *pipeline,
            keys: arguments.keys,
            measured: Duration::from_secs_f64(arguments.seconds),
            least: arguments.least,
        };
        let driven = servers.rounds(&pace, arguments.rounds)?;
        let title = format!("{title}: -c {} -P {pipeline}", arguments.connections);
        report.add(table(&title, &driven));
    }
    report.print(Format::from_switch(arguments.json))
}

/// Gives every key a value, so that GET finds what it looks for.
fn fill(redis: &Server, arguments: &Arguments) -> anyhow::Result<()> {
    let pace =
        Pace { connections: 50, pipeline: 16, keys: arguments.keys, measured: Duration::ZERO, least: 0 };
    load::run(redis, &["SET", KEY, "xxx"], &pace, arguments.keys * 10)?;
    Ok(())
}

impl Servers {
    fn start(arguments: &Arguments, affinity: Affinity) -> anyhow::Result<Self> {
        let redis = Server::start_rival(&arguments.redis, affinity, |address| {
            let port = address.port().to_string();
            words(&["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        });
        let throttlecrab = arguments.throttlecrab.is_file().then(|| {
            Server::start_rival(&arguments.throttlecrab, affinity, |address| {
                let port = address.port().to_string();
                words(&[
                    "--redis",
                    "--redis-host",
                    "127.0.0.1",
                    "--redis-port",
                    &port,
                    "--log-level",
                    "error",
                ])
            })
            .context("throttlecrab-server")
        });
        let tidegate = |program: &Path| {
            let rules = arguments.rules.display().to_string();
            Server::start(program, affinity, |address| {
                let doors = ["serve", "--resp-listen", address, "--listen", "127.0.0.1:0"];
                let quiet = ["--grpc-listen", "none", "--admin-listen", "off", "--log-level", "warn"];
                let rest = ["--rules", &rules, "--database-url", "none"];
                words(&[doors.as_slice(), &quiet, &rest].concat())
            })
        };
        Ok(Self {
            redis: redis.context("redis-server: install it, or name it with --redis")?,
            tidegate: tidegate(&arguments.tidegate)?,
            before: arguments.tidegate_before.as_deref().map(tidegate).transpose()?,
            throttlecrab: throttlecrab.transpose()?,
        })
    }

    fn of(&self, program: Program) -> Option<&Server> {
        match program {
            Program::Redis => Some(&self.redis),
            Program::Tidegate => Some(&self.tidegate),
            Program::TidegateBefore => self.before.as_ref(),
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
                    driven[index].push(drive(server, contender.command, pace).context(contender.name)?);
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
    let columns =
        ["", "CPU us", "least", "most", "user", "kernel", "/ GET", "commands/s", "/ GET", "p50 us", "p99"];
    let mut table = Table::new(title, &columns);
    let all = |runs: &[Driven], figure: fn(&Driven) -> f64| runs.iter().map(figure).collect::<Vec<_>>();
    // Round by round: what slows a whole round does not show in the ratio.
    let to_get = |runs: &[Driven], figure: fn(&Driven) -> f64| {
        let rounds = runs.iter().zip(&driven[0]).map(|(run, get)| figure(run) / figure(get));
        median(&rounds.collect::<Vec<_>>())
    };
    let cpu: fn(&Driven) -> f64 = |run| run.micros_each(machine::ProcessCpu::total);
    for (contender, runs) in CONTENDERS.iter().zip(driven).filter(|(_, runs)| !runs.is_empty()) {
        let cpus = all(runs, cpu);
        table.row([
            Cell::text(contender.name),
            Cell::Figure(median(&cpus), 3),
            Cell::Figure(cpus.iter().copied().fold(f64::NAN, f64::min), 3),
            Cell::Figure(cpus.iter().copied().fold(f64::NAN, f64::max), 3),
            Cell::Figure(median(&all(runs, |run| run.micros_each(|cpu| cpu.user))), 3),
            Cell::Figure(median(&all(runs, |run| run.micros_each(|cpu| cpu.kernel))), 3),
            Cell::Figure(to_get(runs, cpu), 3),
            Cell::Figure(median(&all(runs, |run| run.rate)), 0),
            Cell::Figure(to_get(runs, |run| run.rate), 3),
            Cell::Figure(median(&all(runs, |run| run.p50_us)), 0),
            Cell::Figure(median(&all(runs, |run| run.p99_us)), 0),
        ]);
    }
    table
}
