//! Waiting rooms over HTTP: the rate of joins and polls beside a bare axum echo, how soon a seat that was freed is offered, and
//! five thousand who wait for a server that has a tenth of a core.

mod offers;
mod quota;
mod rates;
mod visitors;

use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};
use tidegate_bench::contest::{self, CPU_PER, LOAD, Subject};
use tidegate_bench::report::{Format, Report};
use tidegate_bench::server::Affinity;

/// Rates, offers and a quota of waiting rooms.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    subject: Subject,
    /// What is measured; all if not given
    #[arg(long)]
    part: Option<Part>,
    /// Rounds of rates
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each measured stretch of rates
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Keep-alive connections of rates, each with one request in flight
    #[arg(long, default_value_t = 128)]
    connections: usize,
    /// Visitors in the line who are polled for, and who wait for the slow server
    #[arg(long, default_value_t = 5_000)]
    visitors: u32,
    /// Seats that are freed
    #[arg(long, default_value_t = 2_000)]
    offers: usize,
    /// How long the slow server is asked, in seconds
    #[arg(long, default_value_t = 90)]
    slow_seconds: u64,
    /// Where journals are written; they are removed afterwards
    #[arg(long, default_value = "target")]
    folder: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Rates,
    Offers,
    Quota,
}

fn main() -> anyhow::Result<()> {
    let mut arguments = Arguments::parse();
    if arguments.subject.rules == Path::new("rules/large-limits.yaml") {
        arguments.subject.rules = PathBuf::from("rules/waiting.yaml");
    }
    arguments.subject.is_built()?;
    let folder = arguments.folder.join(format!("waiting-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let done = measure(&arguments, &folder);
    std::fs::remove_dir_all(&folder).ok();
    done?.print(Format::from_switch(arguments.subject.json))
}

fn measure(arguments: &Arguments, folder: &std::path::Path) -> anyhow::Result<Report> {
    let wants = |part| arguments.part.is_none_or(|wanted| wanted == part);
    let mut report = Report::new("waiting");
    if wants(Part::Offers) {
        report.add(offers::measure(arguments, folder)?);
    }
    if wants(Part::Quota) {
        report.add(quota::measure(arguments, folder)?);
    }
    if wants(Part::Rates) {
        report.note(format!("rates: closed loop over loopback; {CPU_PER} request"));
        report.note(LOAD);
        let (affinity, title) = contest::placed("load");
        if affinity == Affinity::Pinned {
            affinity.apply_to_this_process()?;
        }
        for table in rates::measure(arguments, folder, affinity, &title)? {
            report.add(table);
        }
    }
    Ok(report)
}
