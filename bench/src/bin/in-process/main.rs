//! Decisions in process: nanoseconds each, and resident bytes a key, for Tidegate, governor and a bare map.

mod contenders;
mod memory;
mod rounds;

use clap::Parser;
use tidegate_bench::report::{Format, Report};
use tidegate_bench::subject::Load;

use memory::Holder;
use rounds::Setting;

/// Nanoseconds per decision and bytes per key, each beside governor's in the same run.
#[derive(Debug, Parser)]
struct Arguments {
    /// Numbers of keys to measure with
    #[arg(long, value_delimiter = ',', default_value = "100,100000,1000000")]
    keys: Vec<u64>,
    /// Numbers of threads to measure with
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    threads: Vec<usize>,
    /// Rounds; every contender runs once in each, and the median is taken
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Decisions of each thread in a round
    #[arg(long, default_value_t = 1_000_000)]
    decisions: u64,
    /// Keys to hold while memory is measured
    #[arg(long, default_value_t = 1_000_000)]
    memory_keys: u64,
    /// Measure memory only
    #[arg(long)]
    memory_only: bool,
    /// Measure only contenders whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Fill one holder and print what it takes: how the program asks itself in a fresh process
    #[arg(long, hide = true)]
    hold: Option<Holder>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(holder) = arguments.hold {
        return memory::hold(holder, arguments.memory_keys);
    }
    let mut report = Report::new("in-process");
    report.note("ns are CPU time of the deciding thread; 'net' is without making the random key");
    report.note("with two threads, waiting for a lock shows in wall time only");
    if !arguments.memory_only {
        for &threads in &arguments.threads {
            for &keys in &arguments.keys {
                report.add(rounds::measure(&setting(&arguments, keys, threads, Load::Passes))?);
            }
            let keys = arguments.keys.iter().copied().min_by_key(|keys| keys.abs_diff(100_000));
            report.add(rounds::measure(&setting(
                &arguments,
                keys.unwrap_or(100_000),
                threads,
                Load::Denied,
            ))?);
        }
    }
    if arguments.only.is_none() {
        report.add(memory::measure(arguments.memory_keys, arguments.rounds)?);
    }
    report.print(Format::from_switch(arguments.json))
}

fn setting(arguments: &Arguments, keys: u64, threads: usize, load: Load) -> Setting {
    Setting {
        keys,
        threads,
        load,
        rounds: arguments.rounds,
        decisions: arguments.decisions,
        only: arguments.only.clone(),
    }
}
