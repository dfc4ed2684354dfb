//! Server CPU, rate and latency of decisions over RESP, beside Redis running GET, and throttlecrab, in the same run.

mod load;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use tidegate_bench::contest::{self, CPU_PER, NO_THROTTLECRAB, Rival, Subject, extremes, middle, ratio};
use tidegate_bench::machine::ProcessCpu;
use tidegate_bench::report::{Cell, Format, Report, Table};
use tidegate_bench::server::{self, Affinity, Door, Server, Tidegate, words};

use load::{Driven, Pace, drive};

/// CPU microseconds, commands per second and latency of Tidegate, Redis and throttlecrab, in turn.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    subject: Subject,
    /// A second binary, for example of the commit before
    #[arg(long)]
    tidegate_before: Option<PathBuf>,
    #[command(flatten)]
    rival: Rival,
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
const PASSING: &str = "pass:__rand_int__";

/// Nothing in a benchmark reaches 100,000 at once.
const CL_PASSES: &[&str] = &["CL.THROTTLE", PASSING, "100000", "60", "60", "1"];
/// 16 at once and 30 a minute, so that after the first second nearly all are denied.
const CL_DENIED: &[&str] = &["CL.THROTTLE", KEY, "15", "30", "60", "1"];
/// As [`CL_PASSES`].
const CRAB_PASSES: &[&str] = &["THROTTLE", PASSING, "100000", "60", "60", "1"];
/// As [`CL_DENIED`].
const CRAB_DENIED: &[&str] = &["THROTTLE", KEY, "15", "30", "60", "1"];

const CONTENDERS: [Contender; 9] = [
    contender("redis GET", Program::Redis, &["GET", KEY]),
    contender("redis INCR", Program::Redis, &["INCR", "count:__rand_int__"]),
    contender("tidegate CL.THROTTLE, all pass", Program::Tidegate, CL_PASSES),
    contender("tidegate CL.THROTTLE, mostly denied", Program::Tidegate, CL_DENIED),
    contender("before: CL.THROTTLE, all pass", Program::TidegateBefore, CL_PASSES),
    contender("before: CL.THROTTLE, mostly denied", Program::TidegateBefore, CL_DENIED),
    contender(
        "tidegate TIDEGATE.CHECK, all pass",
        Program::Tidegate,
        &["TIDEGATE.CHECK", "default", "client_id", KEY],
    ),
    contender("throttlecrab THROTTLE, all pass", Program::Throttlecrab, CRAB_PASSES),
    contender("throttlecrab THROTTLE, mostly denied", Program::Throttlecrab, CRAB_DENIED),
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
    arguments.subject.is_built()?;
    let mut report = Report::new("resp");
    report.note(format!("redis-benchmark over loopback; {CPU_PER} command"));
    let (affinity, title) = contest::placed("redis-benchmark");
    let servers = Servers::start(&arguments, affinity)?;
    if servers.throttlecrab.is_none() {
        report.note(NO_THROTTLECRAB);
    }
    affinity.apply_to_this_process()?;
    let keys = arguments.subject.keys;
    fill(&servers.redis, keys)?;
    for pipeline in &arguments.pipelines {
        let pace = Pace {
            connections: arguments.connections,
            pipeline: *pipeline,
            keys,
            measured: Duration::from_secs_f64(arguments.seconds),
            least: arguments.least,
        };
        let runs = contest::in_turn(CONTENDERS.len(), arguments.rounds, |index| {
            let Contender { name, program, command } = &CONTENDERS[index];
            servers.of(*program).map(|server| drive(server, command, &pace)).transpose().context(*name)
        })?;
        report.add(table(&format!("{title}: -c {} -P {pipeline}", arguments.connections), &runs));
    }
    report.print(Format::from_switch(arguments.subject.json))
}

/// Gives every key a value, so that GET finds what it looks for.
fn fill(redis: &Server, keys: u64) -> anyhow::Result<()> {
    let pace = Pace { connections: 50, pipeline: 16, keys, measured: Duration::ZERO, least: 0 };
    load::run(redis, &["SET", KEY, "xxx"], &pace, keys * 10)?;
    Ok(())
}

impl Servers {
    fn start(arguments: &Arguments, affinity: Affinity) -> anyhow::Result<Self> {
        let redis = Server::start_rival(&arguments.redis, affinity, |address| {
            let port = address.port().to_string();
            words(&["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        });
        let Subject { tidegate, rules, .. } = &arguments.subject;
        let start = |program: &Path| {
            Tidegate { program, rules, door: Door::Resp, database: "none" }.start(affinity, &[])
        };
        Ok(Self {
            redis: redis.context("redis-server: install it, or name it with --redis")?,
            tidegate: start(tidegate)?,
            before: arguments.tidegate_before.as_deref().map(start).transpose()?,
            throttlecrab: server::throttlecrab(&arguments.rival.throttlecrab, affinity, Door::Resp)?,
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
}

fn table(title: &str, all: &[Vec<Driven>]) -> Table {
    let columns =
        ["", "CPU us", "least", "most", "user", "kernel", "/ GET", "commands/s", "/ GET", "p50 us", "p99"];
    let mut table = Table::new(title, &columns);
    let cpu = |run: &Driven| run.micros_each(ProcessCpu::total);
    let rate = |run: &Driven| run.rate;
    for (contender, runs) in CONTENDERS.iter().zip(all).filter(|(_, runs)| !runs.is_empty()) {
        let [least, most] = extremes(runs, cpu);
        table.row([
            Cell::text(contender.name),
            Cell::Figure(middle(runs, cpu), 3),
            Cell::Figure(least, 3),
            Cell::Figure(most, 3),
            Cell::Figure(middle(runs, |run| run.micros_each(|cpu| cpu.user)), 3),
            Cell::Figure(middle(runs, |run| run.micros_each(|cpu| cpu.kernel)), 3),
            Cell::Figure(ratio(runs, &all[0], cpu), 3),
            Cell::Figure(middle(runs, rate), 0),
            Cell::Figure(ratio(runs, &all[0], rate), 3),
            Cell::Figure(middle(runs, |run| run.p50_us), 0),
            Cell::Figure(middle(runs, |run| run.p99_us), 0),
        ]);
    }
    table
}
