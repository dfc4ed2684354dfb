//! A closed loop on one thread: every connection has some requests in flight, and sends the next when one is answered.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use hdrhistogram::Histogram;
use tidegate_bench::machine::ProcessCpu;
use tidegate_bench::server::Server;
use tidegate_proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use tidegate_proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use tidegate_proto::envoy::service::ratelimit::v3::RateLimitRequest;
use tidegate_proto::envoy::service::ratelimit::v3::rate_limit_response::Code;
use tidegate_proto::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use tokio::task::LocalSet;
use tonic::transport::{Channel, Endpoint};

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
pub(crate) struct Driven {
    requests: u64,
    wall: Duration,
    server: ProcessCpu,
    latency_ns: Histogram<u64>,
    /// How busy this program was, of one core.
    pub(crate) load_share: f64,
}

impl Driven {
    /// Requests per second.
    pub(crate) fn rate(&self) -> f64 {
        self.requests as f64 / self.wall.as_secs_f64()
    }

    /// A part of the server's CPU time per request, µs.
    pub(crate) fn micros_each(&self, part: fn(ProcessCpu) -> Duration) -> f64 {
        part(self.server).as_secs_f64() * 1e6 / self.requests as f64
    }

    /// The latency that this share of the requests did not exceed, µs.
    pub(crate) fn latency_us(&self, share: f64) -> f64 {
        self.latency_ns.value_at_quantile(share) as f64 / 1e3
    }
}

/// What all tasks count together.
struct Tally {
    from: Instant,
    until: Instant,
    latency_ns: Histogram<u64>,
}

/// Drives a server for the length of the pace.
pub(crate) fn drive(server: &Server, domain: &'static str, pace: &Pace) -> anyhow::Result<Driven> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let from = Instant::now() + WARM_UP;
        let latency_ns = Histogram::new_with_bounds(1_000, 60_000_000_000, 3)?;
        let tally = Rc::new(RefCell::new(Tally { from, until: from + pace.measured, latency_ns }));
        let mut tasks = Vec::new();
        for connection in 0..pace.connections {
            let endpoint = Endpoint::from_shared(format!("http://{}", server.address))?.tcp_nodelay(true);
            let client = RateLimitServiceClient::new(endpoint.connect().await?);
            for task in 0..pace.in_flight {
                let random = fastrand::Rng::with_seed((connection * pace.in_flight + task) as u64);
                let asking = ask(client.clone(), domain, random, pace.keys, Rc::clone(&tally));
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
        Ok(Driven {
            requests,
            wall: pace.measured,
            server: after.0.since(before.0),
            latency_ns,
            load_share: own.as_secs_f64() / pace.measured.as_secs_f64(),
        })
    })
}

async fn ask(
    mut client: RateLimitServiceClient<Channel>,
    domain: &'static str,
    mut random: fastrand::Rng,
    keys: u64,
    tally: Rc<RefCell<Tally>>,
) -> anyhow::Result<()> {
    let (from, until) = { (tally.borrow().from, tally.borrow().until) };
    loop {
        let value = format!("client-{:09}", random.u64(..keys));
        let entries = vec![Entry { key: "client_id".to_owned(), value }];
        let descriptors = vec![RateLimitDescriptor { entries, ..Default::default() }];
        let request = RateLimitRequest { domain: domain.to_owned(), descriptors, hits_addend: 1 };
        let sent = Instant::now();
        let answer = client.should_rate_limit(request).await?.into_inner();
        let now = Instant::now();
        ensure!(answer.overall_code() == Code::Ok, "not OK: {answer:?}");
        if now >= until {
            return Ok(());
        }
        if now >= from {
            tally.borrow_mut().latency_ns.saturating_record((now - sent).as_nanos() as u64);
        }
    }
}
