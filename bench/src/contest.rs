//! What programs have in common that drive servers in turn: what they are told, whose turn it is, and the figures of several
//! rounds.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use hdrhistogram::Histogram;

use crate::machine::ProcessCpu;
use crate::median;
use crate::server::{Affinity, can_pin};

/// What CPU time is in every report; what it is taken of follows.
pub const CPU_PER: &str = "CPU is utime + stime of the server from /proc/PID/stat, per";
/// What a report says where throttlecrab is not there.
pub const NO_THROTTLECRAB: &str =
    "throttlecrab-server is not there: cargo install throttlecrab-server --root target/rivals";
/// What the column `load` of a report is.
pub const LOAD: &str =
    "'load' is the share of its core that the load generator was busy; near 100 % it bounds the rate";

/// What every such program is told.
#[derive(Debug, Args)]
pub struct Subject {
    /// The release binary; this program builds nothing
    #[arg(long, default_value = "../target/release/tidegate")]
    pub tidegate: PathBuf,
    /// The rule file it is started with
    #[arg(long, default_value = "rules/large-limits.yaml")]
    pub rules: PathBuf,
    /// Distinct keys
    #[arg(long, default_value_t = 100_000)]
    pub keys: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The rival that is asked beside, where it is there.
#[derive(Debug, Args)]
pub struct Rival {
    /// throttlecrab-server; left out where it is not there
    #[arg(long, default_value = "target/rivals/bin/throttlecrab-server")]
    pub throttlecrab: PathBuf,
}

impl Subject {
    /// Makes sure that there is something to measure.
    ///
    /// # Errors
    /// Nobody has built it.
    pub fn is_built(&self) -> anyhow::Result<()> {
        let program = self.tidegate.display();
        ensure!(
            self.tidegate.is_file(),
            "{program}: not there; build it with `cargo build --release` in the root"
        );
        Ok(())
    }
}

/// Where servers and load run on this machine, and how a table says so; `load` is what makes the load.
#[must_use]
pub fn placed(load: &str) -> (Affinity, String) {
    if can_pin() {
        (Affinity::Pinned, format!("server on core 0 with one worker, {load} on core 1"))
    } else {
        (Affinity::Free, "not pinned: that takes taskset and two cores".to_owned())
    }
}

/// Drives every contender once in every round, each round beginning with another: what slows the machine for a while slows
/// all of them alike. Those that are not there have no runs.
///
/// # Errors
/// A drive has failed.
pub fn in_turn<T>(
    contenders: usize,
    rounds: usize,
    mut drive: impl FnMut(usize) -> anyhow::Result<Option<T>>,
) -> anyhow::Result<Vec<Vec<T>>> {
    let mut driven: Vec<Vec<T>> = (0..contenders).map(|_| Vec::with_capacity(rounds)).collect();
    for round in 0..rounds {
        for turn in 0..contenders {
            let index = (turn + round) % contenders;
            driven[index].extend(drive(index)?);
        }
    }
    Ok(driven)
}

/// The median of a figure over all runs.
pub fn middle<T>(runs: &[T], figure: impl Fn(&T) -> f64) -> f64 {
    median(&runs.iter().map(figure).collect::<Vec<_>>())
}

/// The least and the most of a figure over all runs.
pub fn extremes<T>(runs: &[T], figure: impl Fn(&T) -> f64) -> [f64; 2] {
    [f64::min, f64::max].map(|choose| runs.iter().map(&figure).fold(f64::NAN, choose))
}

/// The median of a figure's ratios to that of other runs, round by round: what slows a whole round does not show in it.
pub fn ratio<T>(runs: &[T], others: &[T], figure: impl Fn(&T) -> f64) -> f64 {
    median(&runs.iter().zip(others).map(|(run, other)| figure(run) / figure(other)).collect::<Vec<_>>())
}

/// What came of one stretch of load.
#[derive(Clone, Debug)]
pub struct Driven {
    /// Requests that were answered.
    pub requests: u64,
    /// How long it took.
    pub wall: Duration,
    /// The server's CPU time.
    pub server: ProcessCpu,
    /// Latency of each, ns.
    pub latency_ns: Histogram<u64>,
    /// How busy the load generator was, of one core.
    pub load_share: f64,
}

impl Driven {
    /// Requests per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.wall.as_secs_f64()
    }

    /// A part of the server's CPU time per request, µs.
    #[must_use]
    pub fn micros_each(&self, part: fn(ProcessCpu) -> Duration) -> f64 {
        part(self.server).as_secs_f64() * 1e6 / self.requests as f64
    }

    /// All of the server's CPU time per request, µs.
    #[must_use]
    pub fn cpu_us(&self) -> f64 {
        self.micros_each(ProcessCpu::total)
    }

    /// The latency that this share of the requests did not exceed, µs.
    #[must_use]
    pub fn latency_us(&self, share: f64) -> f64 {
        self.latency_ns.value_at_quantile(share) as f64 / 1e3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_a_turn_in_every_round_and_each_round_begins_with_another() {
        let mut order = Vec::new();
        let driven = in_turn(3, 2, |index| {
            order.push(index);
            Ok((index != 1).then_some(order.len()))
        });
        assert_eq!(order, [0, 1, 2, 1, 2, 0]);
        assert_eq!(driven.unwrap(), [vec![1, 6], vec![], vec![3, 5]]);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let (runs, others) = ([2.0, 30.0, 400.0], [1.0, 10.0, 100.0]);
        assert_eq!(ratio(&runs, &others, |figure| *figure), 3.0);
        assert_eq!(middle(&runs, |figure| *figure), 30.0);
        assert_eq!(extremes(&runs, |figure| *figure), [2.0, 400.0]);
    }
}
