//! A closed loop on one thread: every connection has some requests in flight, and sends the next when one is answered.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use hdrhistogram::Histogram;
use tidegate_bench::contest::Driven;
use tidegate_bench::machine::ProcessCpu;
use tidegate_bench::server::Server;
use tokio::task::LocalSet;
use tonic::transport::Endpoint;

use crate::question::{Client, Question};

/// Before anything is measured: connections are made, tables grow to their size.
const WARM_UP: Duration = Duration::from_millis(700);

/// How a server is driven.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) connections: usize,
    pub(crate) in_flight: usize,
    pub(crate) keys: u64,
    pub(crate) measured: Duration,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) driven: Driven,
    /// Bytes of an answer's message.
    pub(crate) answer_bytes: usize,
}

/// What all tasks count together.
struct Tally {
    from: Instant,
    until: Instant,
    latency_ns: Histogram<u64>,
}

/// Drives a server for the length of the pace.
pub(crate) fn drive(server: &Server, question: Question, pace: &Pace) -> anyhow::Result<Run> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let endpoint = Endpoint::from_shared(format!("http://{}", server.address))?.tcp_nodelay(true);
        let answer_bytes = question.over(endpoint.connect().await?).ask(0).await?.bytes();
        let from = Instant::now() + WARM_UP;
        let latency_ns = Histogram::new_with_bounds(1_000, 60_000_000_000, 3)?;
        let tally = Rc::new(RefCell::new(Tally { from, until: from + pace.measured, latency_ns }));
        let mut tasks = Vec::new();
        for connection in 0..pace.connections {
            let client = question.over(endpoint.connect().await?);
            for task in 0..pace.in_flight {
                let random = fastrand::Rng::with_seed((connection * pace.in_flight + task) as u64);
                let asking = ask(client.clone(), random, pace.keys, Rc::clone(&tally));
                tasks.push(tokio::task::spawn_local(asking));
            }
        }
        let usage = || anyhow::Ok((ProcessCpu::of(server.pid())?, ProcessCpu::of(std::process::id())?));
        tokio::time::sleep_until(from.into()).await;
        let before = usage()?;
        tokio::time::sleep_until((from + pace.measured).into()).await;
        let after = usage()?;
        for task in tasks {
            task.await??;
        }
        let latency_ns = tally.borrow().latency_ns.clone();
        let requests = latency_ns.len();
        ensure!(requests > 0, "not one answer");
        let own = after.1.since(before.1).total();
        let driven = Driven {
            requests,
            wall: pace.measured,
            server: after.0.since(before.0),
            latency_ns,
            load_share: own.as_secs_f64() / pace.measured.as_secs_f64(),
        };
        Ok(Run { driven, answer_bytes })
    })
}

async fn ask(
    mut client: Client,
    mut random: fastrand::Rng,
    keys: u64,
    tally: Rc<RefCell<Tally>>,
) -> anyhow::Result<()> {
    let (from, until) = { (tally.borrow().from, tally.borrow().until) };
    loop {
        let number = random.u64(..keys);
        let sent = Instant::now();
        let answer = client.ask(number).await?;
        let now = Instant::now();
        ensure!(answer.passes(), "not let pass: {answer:?}");
        if now >= until {
            return Ok(());
        }
        if now >= from {
            tally.borrow_mut().latency_ns.saturating_record((now - sent).as_nanos() as u64);
        }
    }
}
