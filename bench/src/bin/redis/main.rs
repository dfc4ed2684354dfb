//! Checks over Redis: Tidegate beside a limiter that calls its script once a check, and `redis-benchmark`.

mod contender;
mod drive;
mod marketing;
mod memory;
mod redis_benchmark;
mod suite;
mod tables;
mod targets;
mod workload;

use std::time::Duration;

use clap::{Parser, ValueEnum};
use tidegate_bench::report::{Format, Report};
use tidegate_testkit::RedisServer;
use tokio::runtime::{Builder, Runtime};

use drive::Span;
use suite::{Bench, Named, Pace};
use targets::Targets;

/// Rate, latency, and CPU of Redis and node a check; bytes a subject.
#[derive(Debug, Parser)]
struct Arguments {
    /// Rounds; each contender is driven once in each, and medians are taken
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each measured stretch
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// One round, one second
    #[arg(long)]
    quick: bool,
    /// Checks in flight
    #[arg(long, default_value_t = 256)]
    in_flight: usize,
    /// Distinct keys
    #[arg(long, default_value_t = 100_000)]
    keys: u32,
    /// Tidegate's connections
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Threads of this process that check; one leaves the other core of two to Redis
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Units a second of the hot key that is denied
    #[arg(long, default_value_t = 5_000)]
    denied_limit: u64,
    /// Units a second of the rule with 5,000 checks in flight
    #[arg(long, default_value_t = 1_000)]
    marketing_limit: u64,
    /// What is measured; all of it where nothing is said
    #[arg(long, value_enum)]
    part: Vec<Part>,
    /// Only these mixes of keys: uniform, zipf, hot, hot-denied
    #[arg(long)]
    workload: Vec<String>,
    /// Only contenders whose name holds this
    #[arg(long)]
    only: Option<String>,
    /// Only what a subject costs
    #[arg(long)]
    memory: bool,
    /// Subjects of the memory figures
    #[arg(long, default_value_t = 1_000_000)]
    subjects: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Every contender on every mix of keys
    Mixes,
    /// Latency and rate by the number of checks in flight
    Curve,
    /// Latency at half of the highest rate
    HalfLoad,
    /// Thousands of checks in flight for one rule far beyond its limit
    Marketing,
}

impl Arguments {
    fn wants(&self, part: Part) -> bool {
        self.part.is_empty() || self.part.contains(&part)
    }

    fn span(&self) -> Span {
        let measured = Duration::from_secs_f64(if self.quick { 1.0 } else { self.seconds });
        Span { warm_up: Duration::from_millis(if self.quick { 300 } else { 700 }), measured }
    }

    fn url_of(&self, server: &RedisServer) -> String {
        let deadline = contender::PATIENCE.as_millis();
        format!("{}?connections={}&deadline_ms={deadline}", server.url(), self.connections)
    }

    fn chosen(&self, all: Vec<Named>) -> Vec<Named> {
        let wanted = |named: &Named| self.only.as_ref().is_none_or(|part| named.name.contains(part.as_str()));
        all.into_iter().filter(wanted).collect()
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let runtime = Builder::new_multi_thread().worker_threads(arguments.threads).enable_all().build()?;
    let mut report = Report::new("redis");
    if arguments.memory {
        let url_of = |server: &RedisServer| arguments.url_of(server);
        report.add(memory::table(&runtime, arguments.subjects, url_of)?);
    } else {
        let outcome = measure(&arguments, &runtime, &mut report);
        // What was measured before something failed is worth its time.
        report.print(Format::from_switch(arguments.json))?;
        return outcome;
    }
    report.print(Format::from_switch(arguments.json))
}

fn measure(arguments: &Arguments, runtime: &Runtime, report: &mut Report) -> anyhow::Result<()> {
    report.note("closed loop over loopback, keys drawn in advance; Redis CPU is of INFO cpu, node CPU of this process");
    report.note("ratios are medians of ratios taken round by round");
    let server = RedisServer::start();
    let workloads = workload::all(arguments.keys, arguments.denied_limit);
    let bench = Bench {
        runtime,
        server: &server,
        url: arguments.url_of(&server),
        keys: arguments.keys,
        span: arguments.span(),
        rounds: if arguments.quick { 1 } else { arguments.rounds },
    };
    let mut targets = Targets::default();
    let in_flight = arguments.in_flight;
    if arguments.wants(Part::Mixes) {
        for workload in &workloads {
            if !arguments.workload.is_empty() && !arguments.workload.iter().any(|name| name == workload.name)
            {
                continue;
            }
            let mut named = suite::limiters();
            if workload.name == "uniform" {
                named.extend(suite::redis_benchmarks(&[50, in_flight]));
            }
            let runs = bench.rounds(&arguments.chosen(named), workload, Pace::InFlight(in_flight))?;
            targets.note_mix(workload.name, in_flight, &runs);
            report.add(tables::of_runs(format!("{} keys, {in_flight} in flight", workload.name), &runs));
        }
    }
    let uniform = workload::named(&workloads, "uniform")?;
    let few = vec![suite::reference(), suite::pooled(), suite::nothing(), suite::everything()];
    let few = arguments.chosen(few);
    if arguments.wants(Part::Curve) {
        for count in [1, 16, 64].into_iter().filter(|count| *count < in_flight) {
            let runs = bench.rounds(&few, uniform, Pace::InFlight(count))?;
            report.add(tables::of_runs(format!("uniform keys, {count} in flight"), &runs));
        }
    }
    if arguments.wants(Part::HalfLoad) {
        let runs = bench.rounds(&few, uniform, Pace::HalfOf(in_flight))?;
        targets.note_half_load(&runs);
        let title =
            format!("uniform keys, open loop at half of its own highest rate with {in_flight} in flight");
        report.add(tables::of_paced(title, &runs));
    }
    if arguments.wants(Part::Marketing) {
        let marketing = marketing::run(&bench, arguments.marketing_limit)?;
        targets.note_marketing(&marketing);
        report.add(marketing::table(arguments.marketing_limit, &marketing));
    }
    report.add(targets.table());
    Ok(())
}
