//! What was promised, and what was measured.

use tidegate_bench::report::{Cell, Table};

use crate::marketing::Marketing;
use crate::redis_benchmark::Operation;
use crate::suite::{EVERYTHING, POOLED, REFERENCE, Runs, redis_benchmark};
use crate::tables::{P99_US, RATE, REDIS_US, cell, of_name};

/// The figures that have a target, as far as they were measured.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    rows: Vec<Target>,
}

#[derive(Debug)]
struct Target {
    what: String,
    promise: &'static str,
    measured: f64,
    is_met: bool,
}

impl Targets {
    fn note(&mut self, what: impl Into<String>, promise: &'static str, measured: f64, is_met: bool) {
        self.rows.push(Target { what: what.into(), promise, measured, is_met });
    }

    /// Notes what the runs of one mix of keys say.
    pub(crate) fn note_mix(&mut self, workload: &str, in_flight: usize, runs: &[Runs]) {
        let Some(ours) = of_name(runs, EVERYTHING) else { return };
        for reference in [REFERENCE, POOLED].into_iter().filter_map(|name| of_name(runs, name)) {
            let name = &reference.name;
            if workload.starts_with("hot") {
                let ratio = ours.ratio(reference, RATE);
                self.note(format!("{workload}: checks/s / {name}"), ">= 10", ratio, ratio >= 10.0);
            }
            if workload == "uniform" {
                let ratio = ours.ratio(reference, REDIS_US);
                let what = format!("uniform, {in_flight} in flight: Redis CPU / {name}");
                self.note(what, "<= 0.4, wished 0.25", ratio, ratio <= 0.4);
            }
        }
        let rival = redis_benchmark(Operation::Gcra, in_flight, 1);
        if let Some(rival) = of_name(runs, &rival.name) {
            let ratio = ours.ratio(rival, RATE);
            self.note(format!("{workload}: checks/s / {}", rival.name), "> 1", ratio, ratio > 1.0);
        }
    }

    /// Notes the latency at half load.
    pub(crate) fn note_half_load(&mut self, runs: &[Runs]) {
        if let Some(ours) = of_name(runs, EVERYTHING) {
            let millis = ours.of(P99_US) / 1e3;
            self.note("uniform, half load: p99, ms", "< 2", millis, millis < 2.0);
        }
    }

    /// Notes what a campaign costs Redis.
    pub(crate) fn note_marketing(&mut self, marketing: &Marketing) {
        let share = marketing.redis_share() * 100.0;
        self.note("5,000 in flight beyond the limit: Redis, % of a core", "< 20", share, share < 20.0);
    }

    /// All of them.
    pub(crate) fn table(self) -> Table {
        let mut table = Table::new("targets", &["", "target", "measured", ""]);
        for Target { what, promise, measured, is_met } in self.rows {
            let verdict = if is_met { "met" } else { "missed" };
            table.row([Cell::text(what), Cell::text(promise), cell(measured, 2), Cell::text(verdict)]);
        }
        table
    }
}
