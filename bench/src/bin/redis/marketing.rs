//! A campaign: thousands of checks in flight for one rule, far beyond its limit. Redis must not notice.

use std::thread;
use std::time::{Duration, Instant};

use tidegate_bench::report::Table;

use crate::drive::{Measured, Span, redis_cpu};
use crate::suite::{Bench, Pace, everything};
use crate::tables::cell;
use crate::workload::{Limit, Spread, Workload};

/// Checks in flight.
pub(crate) const IN_FLIGHT: usize = 5_000;
/// How long nothing is asked, to see what Redis uses by itself.
const IDLE: Duration = Duration::from_secs(2);
/// How long it is measured where nobody is in a hurry.
const MEASURED: Duration = Duration::from_secs(10);

/// What came of it.
pub(crate) struct Marketing {
    run: Measured,
    /// CPU of Redis while nothing is asked, as a share of one core.
    idle: f64,
    /// Checks that were asked for each that the limit lets pass.
    times_limit: f64,
}

impl Marketing {
    /// CPU of Redis beyond what it uses by itself, as a share of one core.
    pub(crate) fn redis_share(&self) -> f64 {
        self.run.redis_share - self.idle
    }
}

/// Asks for one key of a rule with this limit a second, with everything on.
pub(crate) fn run(bench: &Bench<'_>, limit: u64) -> anyhow::Result<Marketing> {
    let (before, start) = (redis_cpu(bench.server)?, Instant::now());
    thread::sleep(IDLE);
    let idle = redis_cpu(bench.server)?.saturating_sub(before).as_secs_f64() / start.elapsed().as_secs_f64();
    let measured = if bench.span.measured < Duration::from_secs(2) { bench.span.measured } else { MEASURED };
    let bench = Bench { span: Span { measured, ..bench.span }, rounds: 1, url: bench.url.clone(), ..*bench };
    let workload = Workload::new("marketing", Spread::Hot, 1, Limit::per_second(limit));
    let run = bench.once(&everything(), &workload, Pace::InFlight(IN_FLIGHT))?;
    Ok(Marketing { run, idle, times_limit: run.rate / limit as f64 })
}

/// As a table of one row.
pub(crate) fn table(limit: u64, marketing: &Marketing) -> Table {
    let Marketing { run, idle, times_limit } = marketing;
    let columns = [
        "checks/s",
        "x its limit",
        "denied %",
        "calls/s",
        "Redis core %",
        "idle %",
        "node us",
        "p50 us",
        "p99",
        "p99.9",
    ];
    let mut table = Table::new(format!("{IN_FLIGHT} checks in flight for one rule of {limit}/s"), &columns);
    table.row([
        cell(run.rate, 0),
        cell(*times_limit, 0),
        cell(run.denied * 100.0, 3),
        cell(run.calls * run.rate, 0),
        cell(run.redis_share * 100.0, 1),
        cell(*idle * 100.0, 2),
        cell(run.node_us, 3),
        cell(run.p50_us, 0),
        cell(run.p99_us, 0),
        cell(run.p999_us, 0),
    ]);
    table
}
