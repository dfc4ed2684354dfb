//! Drives a contender: so many checks in flight at all times, or so many a second whatever comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use tidegate_bench::machine::process_cpu;
use tidegate_redis::RedisStats;
use tidegate_testkit::RedisServer;
use tokio::runtime::Handle;

use crate::contender::Contender;
use crate::workload::Workload;

/// How long a run goes on before it is measured, and how long it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// What came of one run. A figure that the run did not give is NaN.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// Checks a second.
    pub(crate) rate: f64,
    /// Share of the checks that were denied.
    pub(crate) denied: f64,
    /// CPU of Redis a check, µs.
    pub(crate) redis_us: f64,
    /// CPU of this process a check, µs.
    pub(crate) node_us: f64,
    /// CPU of Redis, as a share of one core.
    pub(crate) redis_share: f64,
    /// Calls of the script a check.
    pub(crate) calls: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    /// How late the load generator was for 99 of 100 checks, µs: a part of the latency that is not the contender's.
    pub(crate) late_us: f64,
}

/// Counters of both sides at one instant.
struct Sample {
    at: Instant,
    redis: Duration,
    node: Duration,
    stats: Option<RedisStats>,
}

impl Sample {
    fn take(server: &RedisServer, contender: &impl Contender) -> anyhow::Result<Self> {
        let redis = redis_cpu(server)?;
        Ok(Self { at: Instant::now(), redis, node: process_cpu(), stats: contender.stats() })
    }
}

/// The CPU time that a server has used, to the microsecond: `/proc` counts in steps of 10 ms.
pub(crate) fn redis_cpu(server: &RedisServer) -> anyhow::Result<Duration> {
    let info = server.info("cpu");
    let seconds = |name: &str| -> anyhow::Result<f64> {
        Ok(info.get(name).with_context(|| format!("INFO without {name}"))?.trim().parse()?)
    };
    Ok(Duration::from_secs_f64(seconds("used_cpu_user")? + seconds("used_cpu_sys")?))
}

const WARMING: u8 = 0;
const MEASURING: u8 = 1;
const OVER: u8 = 2;

/// What one task saw while it was measured.
#[derive(Debug, Default)]
struct Seen {
    /// How long each check took.
    nanos: Vec<u32>,
    denied: u64,
}

/// Keeps so many checks in flight.
pub(crate) fn closed_loop(
    runtime: &Handle,
    server: &RedisServer,
    contender: &Arc<impl Contender>,
    workload: &Workload,
    in_flight: usize,
    span: Span,
) -> anyhow::Result<Measured> {
    let phase = Arc::new(AtomicU8::new(WARMING));
    let tasks: Vec<_> = (0..in_flight)
        .map(|index| {
            let (contender, phase) = (Arc::clone(contender), Arc::clone(&phase));
            let mut walk = workload.walk(index);
            runtime.spawn(async move {
                let mut seen = Seen::default();
                loop {
                    let at = phase.load(Ordering::Relaxed);
                    if at == OVER {
                        return anyhow::Ok(seen);
                    }
                    let start = Instant::now();
                    let allowed = contender.check(walk.next_key()).await?;
                    if at == MEASURING {
                        seen.nanos.push(nanos_since(start));
                        seen.denied += u64::from(!allowed);
                    }
                    // An answer that is there at once must not keep the others from their turn.
                    tokio::task::consume_budget().await;
                }
            })
        })
        .collect();
    thread::sleep(span.warm_up);
    phase.store(MEASURING, Ordering::Relaxed);
    let before = Sample::take(server, &**contender)?;
    thread::sleep(span.measured);
    let after = Sample::take(server, &**contender)?;
    phase.store(OVER, Ordering::Relaxed);
    let mut all = Vec::with_capacity(in_flight);
    for task in tasks {
        all.push(runtime.block_on(task)??);
    }
    summary(&before, &after, &all)
}

/// Begins so many checks a second, at random instants, and counts each from the instant at which it should have begun.
pub(crate) fn open_loop(
    runtime: &Handle,
    server: &RedisServer,
    contender: &Arc<impl Contender>,
    workload: &Workload,
    rate: f64,
    span: Span,
) -> anyhow::Result<Measured> {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let failed = Arc::new(AtomicU64::new(0));
    let mut random = fastrand::Rng::with_seed(5);
    let mut walk = workload.walk(0);
    let mut lateness = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3)?;
    let start = Instant::now();
    let (measured_from, end) = (start + span.warm_up, start + span.warm_up + span.measured);
    let mut due = start;
    let mut before = None;
    while due < end {
        let now = Instant::now();
        if due > now {
            thread::sleep(due - now);
        }
        if before.is_none() && due >= measured_from {
            before = Some(Sample::take(server, &**contender)?);
        }
        let is_measured = before.is_some();
        if is_measured {
            lateness.saturating_record(u64::from(nanos_since(due)));
        }
        let key = walk.next_key().to_owned();
        let (contender, seen, failed) = (Arc::clone(contender), Arc::clone(&seen), Arc::clone(&failed));
        runtime.spawn(async move {
            match contender.check(&key).await {
                Ok(allowed) if is_measured => {
                    let mut seen = seen.lock();
                    seen.nanos.push(nanos_since(due));
                    seen.denied += u64::from(!allowed);
                }
                Ok(_) => {}
                Err(_) => drop(failed.fetch_add(1, Ordering::Relaxed)),
            }
        });
        due += Duration::from_secs_f64(-(1.0 - random.f64()).ln() / rate);
    }
    let after = Sample::take(server, &**contender)?;
    ensure!(failed.load(Ordering::Relaxed) == 0, "checks without an answer");
    let seen = std::mem::take(&mut *seen.lock());
    let measured = summary(&before.context("too short a run")?, &after, &[seen])?;
    Ok(Measured { late_us: lateness.value_at_quantile(0.99) as f64 / 1e3, ..measured })
}

fn nanos_since(start: Instant) -> u32 {
    u32::try_from(start.elapsed().as_nanos()).unwrap_or(u32::MAX)
}

fn summary(before: &Sample, after: &Sample, seen: &[Seen]) -> anyhow::Result<Measured> {
    let mut latency = Histogram::<u64>::new_with_bounds(1, u64::from(u32::MAX), 3)?;
    for nanos in seen.iter().flat_map(|seen| &seen.nanos) {
        latency.saturating_record(u64::from(*nanos));
    }
    let checks = latency.len() as f64;
    let wall = (after.at - before.at).as_secs_f64();
    let denied: u64 = seen.iter().map(|seen| seen.denied).sum();
    let redis = after.redis.saturating_sub(before.redis).as_secs_f64();
    let node = after.node.saturating_sub(before.node).as_secs_f64();
    let calls = match (before.stats, after.stats) {
        (Some(before), Some(after)) => (after.script_calls - before.script_calls) as f64 / checks,
        _ => f64::NAN,
    };
    let quantile = |share: f64| latency.value_at_quantile(share) as f64 / 1e3;
    Ok(Measured {
        rate: checks / wall,
        denied: denied as f64 / checks,
        redis_us: redis * 1e6 / checks,
        node_us: node * 1e6 / checks,
        redis_share: redis / wall,
        calls,
        p50_us: quantile(0.5),
        p99_us: quantile(0.99),
        p999_us: quantile(0.999),
        late_us: f64::NAN,
    })
}
