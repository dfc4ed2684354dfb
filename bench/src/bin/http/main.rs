//! Server CPU, rate and latency of a check over HTTP, beside a bare axum JSON echo and throttlecrab in the same run.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use tidegate_bench::contest::{self, CPU_PER, Driven, LOAD, NO_THROTTLECRAB, Rival, Subject, middle, ratio};
use tidegate_bench::http_load::{Pace, drive};
use tidegate_bench::report::{Cell, Format, Report, Table};
use tidegate_bench::server::{self, Affinity, Door, Server, Tidegate, words};
use tidegate_bench::shape;
use tidegate_bench::template::{Template, any_key};

/// CPU microseconds, requests per second and latency of Tidegate and of bare axum, in turn.
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
    /// Keep-alive connections, each with one request in flight
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Items of a batch
    #[arg(long, default_value_t = 100)]
    batch: usize,
    /// Only Tidegate and throttlecrab, one check a request
    #[arg(long)]
    rival_only: bool,
    /// Leave out the runs without pinning
    #[arg(long)]
    pinned_only: bool,
}

/// A server and what it is asked.
struct Contender {
    name: &'static str,
    path: &'static str,
    program: Program,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Tidegate,
    /// With a catalog: usage, busiest keys and recent requests are noted.
    TidegateWithCatalog,
    AxumEcho,
    Throttlecrab,
}

const CHECK: [Contender; 4] = [
    Contender { name: "axum JSON echo", path: "/v1/check", program: Program::AxumEcho },
    Contender { name: "axum, constant bytes", path: "/v1/check-constant", program: Program::AxumEcho },
    Contender { name: "tidegate", path: "/v1/check", program: Program::Tidegate },
    Contender { name: "tidegate, with a catalog", path: "/v1/check", program: Program::TidegateWithCatalog },
];
const CHECKS: [Contender; 3] = [
    Contender { name: "axum JSON echo", path: "/v1/checks", program: Program::AxumEcho },
    Contender { name: "tidegate", path: "/v1/checks", program: Program::Tidegate },
    Contender { name: "tidegate, with a catalog", path: "/v1/checks", program: Program::TidegateWithCatalog },
];
/// Servers that say different things of a decision: throttlecrab's answer has no header fields about it.
const RIVAL: [Contender; 2] = [
    Contender { name: "throttlecrab", path: "/throttle", program: Program::Throttlecrab },
    Contender { name: "tidegate", path: "/v1/check", program: Program::Tidegate },
];

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    arguments.subject.is_built()?;
    let mut report = Report::new("http");
    report.note(format!("closed loop over loopback; {CPU_PER} request"));
    report.note(LOAD);
    match contest::placed("load") {
        (Affinity::Pinned, title) => measure(&arguments, &title, Affinity::Pinned, &mut report)?,
        (Affinity::Free, why) => report.note(why),
    }
    if !arguments.pinned_only {
        measure(&arguments, "not pinned, one worker per core", Affinity::Free, &mut report)?;
    }
    report.print(Format::from_switch(arguments.subject.json))
}

/// The servers of a run.
struct Servers {
    echo: Server,
    tidegate: Server,
    with_catalog: Server,
    throttlecrab: Option<Server>,
}

impl Servers {
    /// Starts them; the catalog's file is in `folder`.
    fn start(arguments: &Arguments, affinity: Affinity, folder: &Path) -> anyhow::Result<Self> {
        let echo = std::env::current_exe()?.with_file_name("axum-echo");
        let echo = Server::start(&echo, affinity, |address| words(&["--listen", address]));
        let Subject { tidegate: program, rules, .. } = &arguments.subject;
        let tidegate =
            |database: &str| Tidegate { program, rules, door: Door::Http, database }.start(affinity, &[]);
        Ok(Self {
            echo: echo.context("axum-echo")?,
            tidegate: tidegate("none")?,
            with_catalog: tidegate(&folder.join("catalog.db").display().to_string())?,
            throttlecrab: server::throttlecrab(&arguments.rival.throttlecrab, affinity, Door::Http)?,
        })
    }

    fn of(&self, program: Program) -> anyhow::Result<&Server> {
        match program {
            Program::Tidegate => Ok(&self.tidegate),
            Program::TidegateWithCatalog => Ok(&self.with_catalog),
            Program::AxumEcho => Ok(&self.echo),
            Program::Throttlecrab => self.throttlecrab.as_ref().context(NO_THROTTLECRAB),
        }
    }
}

fn measure(
    arguments: &Arguments,
    title: &str,
    affinity: Affinity,
    report: &mut Report,
) -> anyhow::Result<()> {
    let folder = std::env::temp_dir().join(format!("tidegate-bench-http-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let servers = Servers::start(arguments, affinity, &folder)?;
    affinity.apply_to_this_process()?;
    let mut parts = Vec::new();
    if !arguments.rival_only {
        parts.extend([(CHECK.as_slice(), 1), (CHECKS.as_slice(), arguments.batch)]);
    }
    if servers.throttlecrab.is_some() {
        parts.push((RIVAL.as_slice(), 1));
    }
    for (contenders, batch) in parts {
        report.add(part(arguments, title, &servers, contenders, batch)?);
    }
    drop(servers);
    Ok(std::fs::remove_dir_all(folder)?)
}

/// One table: contenders that are asked the same.
fn part(
    arguments: &Arguments,
    title: &str,
    servers: &Servers,
    contenders: &[Contender],
    batch: usize,
) -> anyhow::Result<Table> {
    let bodies: Vec<Template> = contenders.iter().map(|contender| contender.template(batch)).collect();
    let answers: Vec<shape::Shape> = contenders
        .iter()
        .zip(&bodies)
        .map(|(contender, body)| shape::of_answer(servers.of(contender.program)?.address, body))
        .collect::<Result<_, _>>()?;
    if contenders[0].program != Program::Throttlecrab {
        shape::compare(contenders.iter().map(|contender| contender.name).zip(&answers))?;
    }
    let pace = Pace {
        connections: arguments.connections,
        keys: arguments.subject.keys,
        measured: Duration::from_secs_f64(arguments.seconds),
    };
    let runs = contest::in_turn(contenders.len(), arguments.rounds, |index| {
        drive(servers.of(contenders[index].program)?, &bodies[index], &pace).map(Some)
    })?;
    Ok(table(&format!("{title}: {batch} check(s) a request"), contenders, &answers, &runs))
}

impl Contender {
    fn template(&self, batch: usize) -> Template {
        match self.program {
            Program::Throttlecrab => {
                let key = any_key();
                let quota = r#""max_burst":100000,"count_per_period":60,"period":60,"quantity":1"#;
                Template::post(self.path, &format!(r#"{{"key":"{key}",{quota}}}"#), batch)
            }
            Program::Tidegate | Program::TidegateWithCatalog | Program::AxumEcho => {
                Template::checks(self.path, batch)
            }
        }
    }
}

fn table(title: &str, contenders: &[Contender], answers: &[shape::Shape], all: &[Vec<Driven>]) -> Table {
    let columns = [
        "", "CPU us", "user", "kernel", "/ first", "req/s", "/ first", "p50 us", "p90", "p99", "p99.9",
        "load %", "answer B",
    ];
    let mut table = Table::new(title, &columns);
    for ((contender, answer), runs) in contenders.iter().zip(answers).zip(all) {
        let latency = |share| Cell::Figure(middle(runs, |run| run.latency_us(share)), 0);
        table.row([
            Cell::text(contender.name),
            Cell::Figure(middle(runs, Driven::cpu_us), 2),
            Cell::Figure(middle(runs, |run| run.micros_each(|cpu| cpu.user)), 2),
            Cell::Figure(middle(runs, |run| run.micros_each(|cpu| cpu.kernel)), 2),
            Cell::Figure(ratio(runs, &all[0], Driven::cpu_us), 3),
            Cell::Figure(middle(runs, Driven::rate), 0),
            Cell::Figure(ratio(runs, &all[0], Driven::rate), 3),
            latency(0.5),
            latency(0.9),
            latency(0.99),
            latency(0.999),
            Cell::Figure(middle(runs, |run| run.load_share * 100.0), 0),
            Cell::Figure(answer.bytes as f64, 0),
        ]);
    }
    table
}
