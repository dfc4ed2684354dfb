//! Contenders by name, each started for its run and driven in turn with the others.

use std::sync::Arc;
use std::time::Duration;

use tidegate_testkit::RedisServer;
use tokio::runtime::Runtime;

use crate::contender::{Accelerations, Contender, EvalshaPerCheck, StoreAlone, WholeDecision};
use crate::drive::{Measured, Span, closed_loop, open_loop};
use crate::redis_benchmark::{Benchmark, Operation};
use crate::workload::Workload;

/// Everything that is switched on, behind the whole decision.
pub(crate) const EVERYTHING: &str = "tidegate";
/// What everything is measured against: one connection, on which the client pipelines by itself.
pub(crate) const REFERENCE: &str = "one EVALSHA a check";
/// The same with a connection for each check in flight.
pub(crate) const POOLED: &str = "one EVALSHA a check, pooled";

/// One of those that are measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) name: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    EvalshaPerCheck {
        /// Connections; where nothing is said, one for each check in flight.
        connections: Option<usize>,
    },
    WholeDecision(Accelerations),
    StoreAlone(Accelerations),
    RedisBenchmark(Benchmark),
}

/// How checks come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// So many in flight.
    InFlight(usize),
    /// Half of what it does with so many in flight.
    HalfOf(usize),
}

impl Pace {
    const fn in_flight(self) -> usize {
        match self {
            Pace::InFlight(count) | Pace::HalfOf(count) => count,
        }
    }
}

/// Where contenders run.
pub(crate) struct Bench<'b> {
    pub(crate) runtime: &'b Runtime,
    pub(crate) server: &'b RedisServer,
    /// Where Tidegate's store is told to connect.
    pub(crate) url: String,
    pub(crate) keys: u32,
    pub(crate) span: Span,
    pub(crate) rounds: usize,
}

/// A contender's runs, one a round.
pub(crate) struct Runs {
    pub(crate) name: String,
    pub(crate) runs: Vec<Measured>,
}

/// The limiter with one call a check.
pub(crate) fn reference() -> Named {
    Named { name: REFERENCE.to_owned(), kind: Kind::EvalshaPerCheck { connections: Some(1) } }
}

/// The limiter that does not share a connection.
pub(crate) fn pooled() -> Named {
    Named { name: POOLED.to_owned(), kind: Kind::EvalshaPerCheck { connections: None } }
}

/// Tidegate as it is by default.
pub(crate) fn everything() -> Named {
    Named { name: EVERYTHING.to_owned(), kind: Kind::WholeDecision(Accelerations::ALL) }
}

/// Tidegate with nothing.
pub(crate) fn nothing() -> Named {
    Named { name: "nothing".to_owned(), kind: Kind::WholeDecision(Accelerations::NONE) }
}

/// The limiter, and Tidegate with nothing, with each acceleration, with one more after the other, and with all.
pub(crate) fn limiters() -> Vec<Named> {
    let none = Accelerations::NONE;
    let ours = |name: &str, with| Named { name: name.to_owned(), kind: Kind::WholeDecision(with) };
    let together = Accelerations { batch: true, coalesce: true, ..none };
    vec![
        reference(),
        pooled(),
        nothing(),
        ours("only batch", Accelerations { batch: true, ..none }),
        ours("only deny cache", Accelerations { deny_cache: true, ..none }),
        ours("only shadow", Accelerations { shadow: true, ..none }),
        ours("only witness", Accelerations { witness: true, ..none }),
        ours("batch + coalesce", together),
        ours("… + deny cache", Accelerations { deny_cache: true, ..together }),
        ours("… + deny cache + shadow", Accelerations { deny_cache: true, shadow: true, ..together }),
        everything(),
        Named { name: "tidegate, store alone".to_owned(), kind: Kind::StoreAlone(Accelerations::ALL) },
    ]
}

/// `redis-benchmark` with each operation and depth of its pipeline, with each number of clients.
pub(crate) fn redis_benchmarks(clients: &[usize]) -> Vec<Named> {
    let mut all = Vec::new();
    for operation in [Operation::Get, Operation::Incr, Operation::Gcra] {
        for &clients in clients {
            all.extend([1, 16].map(|pipeline| redis_benchmark(operation, clients, pipeline)));
        }
    }
    all
}

/// `redis-benchmark` with the script of the reference, one command at a time.
pub(crate) fn redis_benchmark(operation: Operation, clients: usize, pipeline: usize) -> Named {
    let benchmark = Benchmark { operation, clients, pipeline };
    Named { name: benchmark.name(), kind: Kind::RedisBenchmark(benchmark) }
}

impl Bench<'_> {
    /// Runs all of them in each round, each round beginning with another.
    pub(crate) fn rounds(
        &self,
        named: &[Named],
        workload: &Workload,
        pace: Pace,
    ) -> anyhow::Result<Vec<Runs>> {
        // A key's state under another mix's limit would decide here; and who runs first must not be the one that fills
        // the key space.
        self.server.command(&["FLUSHALL", "SYNC"]).ok();
        for filler in [reference(), everything()] {
            self.once(&filler, workload, pace)?;
        }
        let mut all: Vec<Runs> =
            named.iter().map(|named| Runs { name: named.name.clone(), runs: Vec::new() }).collect();
        for round in 0..self.rounds {
            for turn in 0..named.len() {
                let index = (turn + round) % named.len();
                if let (Some(named), Some(runs)) = (named.get(index), all.get_mut(index)) {
                    runs.runs.push(self.once(named, workload, pace)?);
                }
            }
        }
        Ok(all)
    }

    /// Runs one of them once.
    pub(crate) fn once(&self, named: &Named, workload: &Workload, pace: Pace) -> anyhow::Result<Measured> {
        self.run(named.kind, workload, pace)
    }

    fn run(&self, kind: Kind, workload: &Workload, pace: Pace) -> anyhow::Result<Measured> {
        let limit = workload.limit;
        match kind {
            Kind::EvalshaPerCheck { connections } => {
                let count = connections.unwrap_or(pace.in_flight());
                let url = self.server.url();
                let made = EvalshaPerCheck::new(&url, limit, 1, count);
                let made = self.runtime.block_on(made)?;
                self.drive(made, workload, pace)
            }
            Kind::WholeDecision(with) => {
                let made = self.runtime.block_on(WholeDecision::new(&self.url, limit, with))?;
                self.drive(made, workload, pace)
            }
            Kind::StoreAlone(with) => {
                let made = self.runtime.block_on(StoreAlone::new(&self.url, limit, with))?;
                self.drive(made, workload, pace)
            }
            Kind::RedisBenchmark(benchmark) => benchmark.run(self.server, self.keys, self.span.measured),
        }
    }

    fn drive(&self, contender: impl Contender, workload: &Workload, pace: Pace) -> anyhow::Result<Measured> {
        let (contender, runtime) = (Arc::new(contender), self.runtime.handle());
        match pace {
            Pace::InFlight(count) => {
                closed_loop(runtime, self.server, &contender, workload, count, self.span)
            }
            Pace::HalfOf(count) => {
                let trial = Span { warm_up: self.span.warm_up, measured: Duration::from_secs(1) };
                let most = closed_loop(runtime, self.server, &contender, workload, count, trial)?.rate;
                open_loop(runtime, self.server, &contender, workload, most / 2.0, self.span)
            }
        }
    }
}
