//! Server CPU, rate and latency of a check over HTTP, beside a bare axum JSON echo and throttlecrab in the same run.

mod load;
mod request;
mod shape;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use tidegate_bench::report::{Cell, Format, Report, Table};
use tidegate_bench::server::{self, Affinity, Server};
use tidegate_bench::{machine, median};

use load::{Driven, Pace, drive};
use request::Template;

/// CPU microseconds, requests per second and latency of Tidegate and of bare axum, in turn.
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
    /// Keep-alive connections, each with one request in flight
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Distinct values of client_id
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// Items of a batch
    #[arg(long, default_value_t = 100)]
    batch: usize,
    /// Only Tidegate and throttlecrab, one check a request
    #[arg(long)]
    rival_only: bool,
    /// Leave out the runs without pinning
    #[arg(long)]
    pinned_only: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
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
    ensure!(
        arguments.tidegate.is_file(),
        "{}: not there; build it with `cargo build --release` in the root",
        arguments.tidegate.display()
    );
    let mut report = Report::new("http");
    report.note(
        "closed loop over loopback; CPU is utime + stime of the server from /proc/PID/stat, per request",
    );
    report.note(
        "'load' is the share of its core that the load generator was busy; near 100 % it bounds the rate",
    );
    if server::can_pin() {
        let title = "server on core 0 with one worker, load on core 1";
        measure(&arguments, title, Affinity::Pinned, &mut report)?;
    } else {
        report.note("not pinned: that takes taskset and two cores");
    }
    if !arguments.pinned_only {
        measure(&arguments, "not pinned, one worker per core", Affinity::Free, &mut report)?;
    }
    report.print(Format::from_switch(arguments.json))
}

fn measure(
    arguments: &Arguments,
    title: &str,
    affinity: Affinity,
    report: &mut Report,
) -> anyhow::Result<()> {
    let echo = std::env::current_exe()?.with_file_name("axum-echo");
    let listen = |address: &str| vec!["--listen".to_owned(), address.to_owned()];
    let echo = Server::start(&echo, affinity, listen).context("axum-echo")?;
    let rules = arguments.rules.display().to_string();
    let tidegate = |database: &str| {
        Server::start(&arguments.tidegate, affinity, |address| {
            let mut all = vec!["serve".to_owned()];
            all.extend(listen(address));
            let given = ["--rules", &rules, "--log-level", "warn", "--database-url", database];
            all.extend(given.map(str::to_owned));
            all.extend(
                ["--admin-listen", "off", "--grpc-listen", "none", "--resp-listen", "none"]
                    .map(str::to_owned),
            );
            all
        })
        .context("tidegate")
    };
    let folder = std::env::temp_dir().join(format!("tidegate-bench-http-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let (alone, with_catalog) =
        (tidegate("none")?, tidegate(&folder.join("catalog.db").display().to_string())?);
    let throttlecrab = arguments.throttlecrab.is_file().then(|| start_throttlecrab(arguments, affinity));
    let throttlecrab = throttlecrab.transpose().context("throttlecrab-server")?;
    affinity.apply_to_this_process()?;
    let servers = |program| match program {
        Program::Tidegate => &alone,
        Program::TidegateWithCatalog => &with_catalog,
        Program::AxumEcho => &echo,
        // It has no part in the run where it is not there.
        Program::Throttlecrab => throttlecrab.as_ref().unwrap_or(&echo),
    };
    let mut parts = Vec::new();
    if !arguments.rival_only {
        parts.extend([(CHECK.as_slice(), 1), (CHECKS.as_slice(), arguments.batch)]);
    }
    if throttlecrab.is_some() {
        parts.push((RIVAL.as_slice(), 1));
    }

    for (contenders, batch) in parts {
        let bodies: Vec<Template> =
            contenders.iter().map(|contender| Template::new(contender.path, batch)).collect();
        let answers: Vec<shape::Shape> = contenders
            .iter()
            .zip(&bodies)
            .map(|(contender, body)| shape::of_answer(servers(contender.program).address, body))
            .collect::<Result<_, _>>()?;
        if contenders[0].program != Program::Throttlecrab {
            shape::compare(contenders.iter().map(|contender| contender.name).zip(&answers))?;
        }

        let mut driven: Vec<Vec<Driven>> = contenders.iter().map(|_| Vec::new()).collect();
        for round in 0..arguments.rounds {
            for turn in 0..contenders.len() {
                let index = (turn + round) % contenders.len();
                let pace = Pace {
                    connections: arguments.connections,
                    keys: arguments.keys,
                    measured: Duration::from_secs_f64(arguments.seconds),
                };
                driven[index].push(drive(servers(contenders[index].program), &bodies[index], &pace)?);
            }
        }
        report.add(table(&format!("{title}: {} check(s) a request", batch), contenders, &answers, &driven));
    }
    drop(with_catalog);
    Ok(std::fs::remove_dir_all(folder)?)
}

fn start_throttlecrab(arguments: &Arguments, affinity: Affinity) -> anyhow::Result<Server> {
    Server::start_rival(&arguments.throttlecrab, affinity, |address| {
        let port = address.port().to_string();
        let given = ["--http", "--http-host", "127.0.0.1", "--http-port", &port, "--log-level", "error"];
        given.map(str::to_owned).to_vec()
    })
}

fn table(title: &str, contenders: &[Contender], answers: &[shape::Shape], driven: &[Vec<Driven>]) -> Table {
    let columns = [
        "", "CPU us", "user", "kernel", "/ first", "req/s", "/ first", "p50 us", "p90", "p99", "p99.9",
        "load %", "answer B",
    ];
    let mut table = Table::new(title, &columns);
    let of =
        |runs: &[Driven], figure: fn(&Driven) -> f64| median(&runs.iter().map(figure).collect::<Vec<_>>());
    // Round by round: what slows a whole round does not show in the ratio.
    let to_echo = |runs: &[Driven], figure: fn(&Driven) -> f64| {
        let rounds = runs.iter().zip(&driven[0]).map(|(run, echo)| figure(run) / figure(echo));
        median(&rounds.collect::<Vec<_>>())
    };
    let cpu: fn(&Driven) -> f64 = |run| run.micros_each(machine::ProcessCpu::total);
    let rate: fn(&Driven) -> f64 = Driven::rate;
    for ((contender, answer), runs) in contenders.iter().zip(answers).zip(driven) {
        table.row([
            Cell::text(contender.name),
            Cell::Figure(of(runs, cpu), 2),
            Cell::Figure(of(runs, |run| run.micros_each(|cpu| cpu.user)), 2),
            Cell::Figure(of(runs, |run| run.micros_each(|cpu| cpu.kernel)), 2),
            Cell::Figure(to_echo(runs, cpu), 3),
            Cell::Figure(of(runs, rate), 0),
            Cell::Figure(to_echo(runs, rate), 3),
            Cell::Figure(of(runs, |run| run.latency_us(0.5)), 0),
            Cell::Figure(of(runs, |run| run.latency_us(0.9)), 0),
            Cell::Figure(of(runs, |run| run.latency_us(0.99)), 0),
            Cell::Figure(of(runs, |run| run.latency_us(0.999)), 0),
            Cell::Figure(of(runs, |run| run.load_share * 100.0), 0),
            Cell::Figure(answer.bytes as f64, 0),
        ]);
    }
    table
}
