//! What a subject costs in Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, ensure};
use tidegate_bench::report::{Cell, Table};
use tidegate_redis::RedisOptions;
use tidegate_testkit::RedisServer;
use tokio::runtime::Runtime;

use crate::contender::{Accelerations, Contender, EvalshaPerCheck, WholeDecision, connect};
use crate::workload::Limit;

/// Checks in flight while subjects are made.
const IN_FLIGHT: u64 = 512;
/// Subjects are `user:1000000` and following.
const FIRST: u64 = 1_000_000;

/// How buckets are laid out, by the options of the store.
fn layouts() -> [(&'static str, RedisOptions); 1] {
    [("tidegate", RedisOptions::default())]
}

/// Bytes a subject for every layout, and for a plain limiter.
pub(crate) fn table(
    runtime: &Runtime,
    subjects: u64,
    url_of: impl Fn(&RedisServer) -> String,
) -> anyhow::Result<Table> {
    let columns = ["", "keys", "bytes a subject", "dataset.bytes", "dict overhead", "loaded in s"];
    let title =
        format!("memory of {subjects} subjects `user:1234567`, each a token bucket of 100 in 60 s, used up");
    let mut table = Table::new(title, &columns);
    for (name, options) in layouts() {
        let server = RedisServer::start();
        let url = url_of(&server);
        let contender = runtime.block_on(async {
            let store = connect(&url, options).await?;
            WholeDecision::over(store, Limit::MINUTE, Accelerations::NONE, Limit::MINUTE.burst)
        })?;
        table.row(row(name, runtime, &server, contender, subjects)?);
    }
    let server = RedisServer::start();
    let plain =
        runtime.block_on(EvalshaPerCheck::new(&server.url(), Limit::MINUTE, Limit::MINUTE.burst, 1))?;
    table.row(row("one key with SET PX", runtime, &server, plain, subjects)?);
    Ok(table)
}

fn row(
    name: &'static str,
    runtime: &Runtime,
    server: &RedisServer,
    contender: impl Contender,
    subjects: u64,
) -> anyhow::Result<[Cell; 6]> {
    // The script is known and connections are there before anything is counted.
    runtime.block_on(contender.check("somebody-else"))?;
    server.command(&["FLUSHALL", "SYNC"]).ok();
    let before = Stats::of(server)?;
    let start = std::time::Instant::now();
    let contender = Arc::new(contender);
    let next = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let (contender, next) = (Arc::clone(&contender), Arc::clone(&next));
            runtime.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= subjects {
                        return anyhow::Ok(());
                    }
                    ensure!(contender.check(&format!("user:{}", FIRST + number)).await?, "denied at rest");
                }
            })
        })
        .collect();
    for task in tasks {
        runtime.block_on(task)??;
    }
    let seconds = start.elapsed().as_secs_f64();
    let after = Stats::of(server)?;
    ensure!(after.keys > 0 && seconds < 55.0, "too slow ({seconds} s): the first subjects have expired");
    let each = |after: u64, before: u64| after.saturating_sub(before) as f64 / subjects as f64;
    Ok([
        Cell::text(name),
        Cell::Figure(after.keys as f64, 0),
        Cell::Figure(each(after.allocated, before.allocated), 1),
        Cell::Figure(each(after.dataset, before.dataset), 1),
        Cell::Figure(each(after.overhead, before.overhead), 1),
        Cell::Figure(seconds, 1),
    ])
}

/// What `MEMORY STATS` says.
struct Stats {
    allocated: u64,
    dataset: u64,
    overhead: u64,
    keys: u64,
}

impl Stats {
    fn of(server: &RedisServer) -> anyhow::Result<Self> {
        let stats = server.command(&["MEMORY", "STATS"]);
        let number = |name: &str| -> anyhow::Result<u64> {
            let field = stats.field(name).with_context(|| format!("MEMORY STATS without {name}"))?;
            Ok(u64::try_from(field.integer())?)
        };
        Ok(Self {
            allocated: number("total.allocated")?,
            dataset: number("dataset.bytes")?,
            overhead: number("overhead.total")?,
            keys: number("keys.count")?,
        })
    }
}
