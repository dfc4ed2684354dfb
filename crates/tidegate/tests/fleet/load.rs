//! Clients, and the history of what they were answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use fastrand::Rng;
use tidegate_testkit::excess::{Admission, TokenBound, certain_token_excess};
use tidegate_testkit::wait_until;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::site::{PATIENCE, RUNTIME, now_micros};
use crate::wire::Connection;

/// A check to send.
pub struct Ask {
    pub body: String,
    pub cost: u64,
}

/// One request and its answer.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Microseconds since the epoch.
    pub sent: i64,
    pub received: i64,
    /// The node that was asked, by its place.
    pub node: usize,
    /// Zero where there was no answer.
    pub status: u16,
    pub degraded: bool,
    pub cost: u64,
}

impl Sample {
    /// Let pass by the store.
    pub fn is_admitted(&self) -> bool {
        self.status == 200 && !self.degraded
    }

    pub fn is_denied(&self) -> bool {
        self.status == 429 && !self.degraded
    }

    pub fn micros(&self) -> i64 {
        self.received - self.sent
    }
}

/// How hard, and at whom.
pub struct Aim {
    pub nodes: Vec<SocketAddr>,
    pub clients_per_node: usize,
    /// Requests a second of all clients together; zero is as fast as they are answered.
    pub rate: u64,
    /// How many requests there are in all.
    pub budget: i64,
}

impl Aim {
    pub fn new(nodes: Vec<SocketAddr>, clients_per_node: usize, rate: u64) -> Self {
        Self { nodes, clients_per_node, rate, budget: i64::MAX }
    }
}

/// What happened so far.
#[derive(Default)]
struct Counts {
    denied: AtomicU64,
    sent: AtomicU64,
}

/// A load that runs.
pub struct Load {
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    clients: Vec<JoinHandle<Vec<Sample>>>,
}

/// What one client needs.
struct Client<F> {
    node: usize,
    connection: Connection,
    random: Rng,
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    left: Arc<AtomicI64>,
    ask: Arc<F>,
}

impl Load {
    /// Starts the clients, spread evenly over the time between two requests of one.
    pub fn start(aim: &Aim, ask: impl Fn(&mut Rng) -> Ask + Send + Sync + 'static) -> Self {
        let (stop, counts, ask) =
            (Arc::new(AtomicBool::new(false)), Arc::new(Counts::default()), Arc::new(ask));
        let left = Arc::new(AtomicI64::new(aim.budget));
        let total = aim.nodes.len() * aim.clients_per_node;
        let seed = fastrand::u64(..);
        println!("{total} clients: seed {seed}");
        let mut clients = Vec::with_capacity(total);
        for index in 0..total {
            let node = index % aim.nodes.len();
            let client = Client {
                node,
                connection: Connection::new(aim.nodes[node]),
                random: Rng::with_seed(seed.wrapping_add(index as u64)),
                stop: Arc::clone(&stop),
                counts: Arc::clone(&counts),
                left: Arc::clone(&left),
                ask: Arc::clone(&ask),
            };
            let pace = Duration::from_micros((total as u64 * 1_000_000).checked_div(aim.rate).unwrap_or(0));
            let offset = pace.mul_f64(index as f64 / total as f64);
            clients.push(RUNTIME.spawn(client.run(pace, offset)));
        }
        Self { stop, counts, clients }
    }

    /// Waits until so many more requests were denied by the store.
    pub fn wait_until_denied(&self, more: u64) {
        self.wait_until_more("denials by the store", &self.counts.denied, more);
    }

    /// Waits until so many more requests were sent.
    pub fn wait_until_sent(&self, more: u64) {
        self.wait_until_more("requests", &self.counts.sent, more);
    }

    fn wait_until_more(&self, what: &str, count: &AtomicU64, more: u64) {
        let before = count.load(Relaxed);
        wait_until(&format!("{more} more {what}"), PATIENCE, || count.load(Relaxed) >= before + more);
    }

    /// Lets every client finish its request.
    pub fn stop(self) -> History {
        self.stop.store(true, Relaxed);
        self.finish()
    }

    /// Waits until the budget is used up.
    pub fn finish(self) -> History {
        let clients = self.clients;
        let join = async {
            let mut samples = Vec::new();
            for client in clients {
                samples.append(&mut client.await.unwrap());
            }
            samples
        };
        History(RUNTIME.block_on(join))
    }
}

impl<F: Fn(&mut Rng) -> Ask> Client<F> {
    async fn run(mut self, pace: Duration, offset: Duration) -> Vec<Sample> {
        let mut samples = Vec::new();
        let mut ticks = (!pace.is_zero()).then(|| {
            let mut ticks = interval_at(Instant::now() + offset, pace);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            ticks
        });
        while !self.stop.load(Relaxed) && self.left.fetch_sub(1, Relaxed) > 0 {
            if let Some(ticks) = &mut ticks {
                ticks.tick().await;
            }
            let Ask { body, cost } = (self.ask)(&mut self.random);
            let sent = now_micros();
            self.counts.sent.fetch_add(1, Relaxed);
            let answer = self.connection.post("/v1/check", &body).await;
            // Time may have been set back a little in between.
            let received = now_micros().max(sent);
            let (status, degraded) = answer.map_or((0, false), |answer| (answer.status, answer.degraded));
            let sample = Sample { sent, received, node: self.node, status, degraded, cost };
            self.counts.denied.fetch_add(u64::from(sample.is_denied()), Relaxed);
            samples.push(sample);
        }
        samples
    }
}

/// Everything that was asked and answered.
#[derive(Default)]
pub struct History(pub Vec<Sample>);

impl History {
    pub fn count(&self, of: impl Fn(&Sample) -> bool) -> usize {
        self.0.iter().filter(|sample| of(sample)).count()
    }

    /// Units that the store let pass.
    pub fn granted(&self) -> u64 {
        self.0.iter().filter(|sample| sample.is_admitted()).map(|sample| sample.cost).sum()
    }

    /// From the first request to the last answer.
    pub fn span_micros(&self) -> u64 {
        let first = self.0.iter().map(|sample| sample.sent).min().unwrap();
        let last = self.0.iter().map(|sample| sample.received).max().unwrap();
        u64::try_from(last - first).unwrap()
    }

    /// Units beyond a bucket's bound in the worst interval, whatever the times of the decisions were.
    pub fn excess(&self, bound: TokenBound) -> i128 {
        let admitted = self.0.iter().filter(|sample| sample.is_admitted());
        let admissions: Vec<_> =
            admitted.map(|sample| Admission::between(sample.sent, sample.received, sample.cost)).collect();
        certain_token_excess(&admissions, bound).map_or(0, |excess| excess.tokens())
    }

    /// The time below which this share of the answers came, of those that are meant.
    pub fn percentile(&self, share: f64, of: impl Fn(&Sample) -> bool) -> Duration {
        let mut times: Vec<i64> = self.0.iter().filter(|sample| of(sample)).map(Sample::micros).collect();
        times.sort_unstable();
        let index = ((times.len() as f64 * share).ceil() as usize).clamp(1, times.len().max(1)) - 1;
        Duration::from_micros(times.get(index).copied().unwrap_or(0).unsigned_abs())
    }

    /// Asserts that every answer is a decision of the store.
    #[track_caller]
    pub fn assert_decided(&self) {
        let other = self.0.iter().find(|sample| !sample.is_admitted() && !sample.is_denied());
        assert!(other.is_none(), "{other:?}, one of {}", self.count(|s| !s.is_admitted() && !s.is_denied()));
    }
}
