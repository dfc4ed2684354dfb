//! Runs as rows: medians over rounds, and ratios to the reference taken round by round.

use tidegate_bench::median;
use tidegate_bench::report::{Cell, Table};

use crate::drive::Measured;
use crate::suite::{REFERENCE, Runs};

/// A figure of a run.
pub(crate) type Figure = fn(&Measured) -> f64;

pub(crate) const RATE: Figure = |run| run.rate;
pub(crate) const REDIS_US: Figure = |run| run.redis_us;
pub(crate) const NODE_US: Figure = |run| run.node_us;
pub(crate) const P99_US: Figure = |run| run.p99_us;

impl Runs {
    /// The median over the rounds.
    pub(crate) fn of(&self, figure: Figure) -> f64 {
        median(&self.runs.iter().map(figure).collect::<Vec<_>>())
    }

    /// The median of the ratios to another's runs, round by round: what slows a whole round does not show.
    pub(crate) fn ratio(&self, other: &Self, figure: Figure) -> f64 {
        let ratios = self.runs.iter().zip(&other.runs).map(|(run, other)| figure(run) / figure(other));
        median(&ratios.collect::<Vec<_>>())
    }
}

/// The runs of one name.
pub(crate) fn of_name<'r>(all: &'r [Runs], name: &str) -> Option<&'r Runs> {
    all.iter().find(|runs| runs.name == name)
}

/// All runs of one workload and pace.
pub(crate) fn of_runs(title: impl Into<String>, all: &[Runs]) -> Table {
    let columns = [
        "",
        "checks/s",
        "/ EVALSHA",
        "Redis us",
        "/ EVALSHA",
        "node us",
        "p50 us",
        "p99",
        "p99.9",
        "denied %",
        "calls/check",
        "Redis core %",
    ];
    let mut table = Table::new(title, &columns);
    let reference = of_name(all, REFERENCE);
    for runs in all {
        let ratio = |figure| reference.map_or(f64::NAN, |reference| runs.ratio(reference, figure));
        table.row([
            Cell::text(&*runs.name),
            cell(runs.of(RATE), 0),
            cell(ratio(RATE), 2),
            cell(runs.of(REDIS_US), 2),
            cell(ratio(REDIS_US), 3),
            cell(runs.of(NODE_US), 2),
            cell(runs.of(|run| run.p50_us), 0),
            cell(runs.of(P99_US), 0),
            cell(runs.of(|run| run.p999_us), 0),
            cell(runs.of(|run| run.denied * 100.0), 1),
            cell(runs.of(|run| run.calls), 4),
            cell(runs.of(|run| run.redis_share * 100.0), 0),
        ]);
    }
    table
}

/// Runs at a pace of their own: rates are no result, latencies are.
pub(crate) fn of_paced(title: impl Into<String>, all: &[Runs]) -> Table {
    let columns =
        ["", "checks/s", "p50 us", "p99", "p99.9", "of it the generator's p99", "Redis us", "node us"];
    let mut table = Table::new(title, &columns);
    for runs in all {
        table.row([
            Cell::text(&*runs.name),
            cell(runs.of(RATE), 0),
            cell(runs.of(|run| run.p50_us), 0),
            cell(runs.of(P99_US), 0),
            cell(runs.of(|run| run.p999_us), 0),
            cell(runs.of(|run| run.late_us), 0),
            cell(runs.of(REDIS_US), 2),
            cell(runs.of(NODE_US), 2),
        ]);
    }
    table
}

/// A figure, or nothing where there is none.
pub(crate) fn cell(value: f64, decimals: usize) -> Cell {
    if value.is_nan() { Cell::Empty } else { Cell::Figure(value, decimals) }
}
