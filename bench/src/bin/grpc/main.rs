//! Server CPU, rate and latency of a rate limit check over gRPC, beside bare tonic and throttlecrab in the same run.

mod load;
mod question;
mod throttlecrab;

use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use tidegate_bench::contest::{
    self, CPU_PER, Driven, NO_THROTTLECRAB, Rival, Subject, extremes, middle, ratio,
};
use tidegate_bench::report::{Cell, Format, Report, Table};
use tidegate_bench::server::{self, Affinity, Door, Server, Tidegate, words};

use load::{Pace, Run, drive};
use question::Question;

/// CPU microseconds, requests per second and latency of Tidegate, bare tonic and throttlecrab, in turn.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    subject: Subject,
    #[command(flatten)]
    rival: Rival,
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
    arguments.subject.is_built()?;
    let mut report = Report::new("grpc");
    report.note(format!("closed loop over loopback; {CPU_PER} request"));
    let (affinity, title) = contest::placed("load");
    let servers = Servers::start(&arguments, affinity)?;
    if servers.throttlecrab.is_none() {
        report.note(NO_THROTTLECRAB);
    }
    affinity.apply_to_this_process()?;
    let pace = Pace {
        connections: arguments.connections,
        in_flight: arguments.in_flight,
        keys: arguments.subject.keys,
        measured: Duration::from_secs_f64(arguments.seconds),
    };
    let runs = contest::in_turn(CONTENDERS.len(), arguments.rounds, |index| {
        let Contender { name, program, question } = &CONTENDERS[index];
        let server = servers.of(*program);
        server.map(|server| drive(server, *question, &pace)).transpose().context(*name)
    })?;
    report.add(table(&title, &runs));
    report.print(Format::from_switch(arguments.subject.json))
}

impl Servers {
    fn start(arguments: &Arguments, affinity: Affinity) -> anyhow::Result<Self> {
        let echo = std::env::current_exe()?.with_file_name("tonic-echo");
        let echo = Server::start(&echo, affinity, |address| words(&["--listen", address]));
        let Subject { tidegate, rules, .. } = &arguments.subject;
        let tidegate = Tidegate { program: tidegate, rules, door: Door::Grpc, database: "none" };
        Ok(Self {
            echo: echo.context("tonic-echo")?,
            tidegate: tidegate.start(affinity, &[])?,
            throttlecrab: server::throttlecrab(&arguments.rival.throttlecrab, affinity, Door::Grpc)?,
        })
    }

    fn of(&self, program: Program) -> Option<&Server> {
        match program {
            Program::TonicEcho => Some(&self.echo),
            Program::Tidegate => Some(&self.tidegate),
            Program::Throttlecrab => self.throttlecrab.as_ref(),
        }
    }
}

fn table(title: &str, all: &[Vec<Run>]) -> Table {
    let columns = [
        "", "CPU us", "least", "most", "user", "kernel", "/ bare", "/ same", "req/s", "/ bare", "p50 us",
        "p99", "load %", "answer B",
    ];
    let mut table = Table::new(title, &columns);
    let cpu = |run: &Run| run.driven.cpu_us();
    let rate = |run: &Run| run.driven.rate();
    for (contender, runs) in CONTENDERS.iter().zip(all).filter(|(_, runs)| !runs.is_empty()) {
        let of = |figure: fn(&Driven) -> f64| middle(runs, |run| figure(&run.driven));
        let [least, most] = extremes(runs, cpu);
        table.row([
            Cell::text(contender.name),
            Cell::Figure(middle(runs, cpu), 2),
            Cell::Figure(least, 2),
            Cell::Figure(most, 2),
            Cell::Figure(of(|run| run.micros_each(|cpu| cpu.user)), 2),
            Cell::Figure(of(|run| run.micros_each(|cpu| cpu.kernel)), 2),
            Cell::Figure(ratio(runs, &all[0], cpu), 3),
            Cell::Figure(ratio(runs, &all[1], cpu), 3),
            Cell::Figure(middle(runs, rate), 0),
            Cell::Figure(ratio(runs, &all[0], rate), 3),
            Cell::Figure(of(|run| run.latency_us(0.5)), 0),
            Cell::Figure(of(|run| run.latency_us(0.99)), 0),
            Cell::Figure(of(|run| run.load_share * 100.0), 0),
            Cell::Figure(middle(runs, |run| run.answer_bytes as f64), 0),
        ]);
    }
    table
}
