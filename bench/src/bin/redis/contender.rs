//! Who is measured: a limiter that calls its script once a check, and Tidegate with each acceleration and with all.
//!
//! The reference is generous: the multiplexed connection writes what waits in one go, and so pipelines, which spares
//! Redis most of its system calls. A limiter with a pool of connections, one for each check in flight, does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Script};
use tidegate_core::rule::RuleSet;
use tidegate_engine::{Clock, Engine, FastAnswers, FastOptions, Request, SystemClock};
use tidegate_redis::{RedisOptions, RedisSettings, RedisStats, RedisStore};
use tidegate_store::{Applied, BucketStore, Plan};

use crate::workload::{DOMAIN, Limit, SUBJECT};

/// Decides one request of one key.
pub(crate) trait Contender: Send + Sync + 'static {
    /// Whether the request may pass. An answer that the store did not give is an error.
    fn check(&self, key: &str) -> impl Future<Output = anyhow::Result<bool>> + Send;

    /// What its store counts, where it counts.
    fn stats(&self) -> Option<RedisStats> {
        None
    }
}

/// The cell rate algorithm as a limiter usually has it: one key, the server's clock, one call a check.
pub(crate) const GCRA: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local step, tolerance = tonumber(ARGV[1]), tonumber(ARGV[2])
local tat = tonumber(redis.call('GET', KEYS[1])) or now
if tat < now then tat = now end
local next = tat + step
if next - now > tolerance then return { 0, 0, next - now - tolerance } end
redis.call('SET', KEYS[1], string.format('%.0f', next), 'PX', math.ceil((next - now) / 1000))
return { 1, math.floor((tolerance - (next - now)) / step), 0 }
";

/// How long an answer may take: nothing is to be given up because the machine has other work.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// What stands in front of a key of [`GCRA`].
pub(crate) const PLAIN_PREFIX: &str = "rl:payments:";

/// [`GCRA`] through the `redis` crate's multiplexed connections with their defaults, but for how long they wait.
pub(crate) struct EvalshaPerCheck {
    connections: Vec<MultiplexedConnection>,
    /// Which connection is next.
    turn: AtomicUsize,
    script: Script,
    step: u64,
    tolerance: u64,
}

impl EvalshaPerCheck {
    /// Connects so often. Each check takes `cost` units of the limit.
    pub(crate) async fn new(url: &str, limit: Limit, cost: u64, count: usize) -> anyhow::Result<Self> {
        let client = redis::Client::open(url)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let mut connections = Vec::with_capacity(count);
        for _ in 0..count {
            connections.push(client.get_multiplexed_async_connection_with_config(&config).await?);
        }
        let (step, turn) = (limit.step_micros(), AtomicUsize::new(0));
        let tolerance = step * limit.burst;
        Ok(Self { connections, turn, script: Script::new(GCRA), step: step * cost, tolerance })
    }
}

impl Contender for EvalshaPerCheck {
    async fn check(&self, key: &str) -> anyhow::Result<bool> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        let mut connection = self.connections.get(turn).context("no connection")?.clone();
        let mut call = self.script.key([PLAIN_PREFIX, key].concat());
        call.arg(self.step).arg(self.tolerance);
        let (allowed, _remaining, _retry): (u8, u64, u64) = call.invoke_async(&mut connection).await?;
        Ok(allowed == 1)
    }
}

/// What Tidegate does beyond one call of its script a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accelerations {
    pub(crate) batch: bool,
    pub(crate) coalesce: bool,
    pub(crate) witness: bool,
    pub(crate) deny_cache: bool,
    pub(crate) shadow: bool,
}

impl Accelerations {
    pub(crate) const NONE: Self =
        Self { batch: false, coalesce: false, witness: false, deny_cache: false, shadow: false };
    pub(crate) const ALL: Self =
        Self { batch: true, coalesce: true, witness: true, deny_cache: true, shadow: true };

    fn fast(self) -> FastOptions {
        let seed = [fastrand::u64(..), fastrand::u64(..)];
        FastOptions { deny_cache: self.deny_cache, shadow: self.shadow, ..FastOptions::new(seed) }
    }

    async fn store(self, url: &str) -> anyhow::Result<RedisStore> {
        let Self { batch, coalesce, witness, .. } = self;
        connect(url, RedisOptions { batch, coalesce, witness, ..RedisOptions::default() }).await
    }
}

/// A store that is connected.
pub(crate) async fn connect(url: &str, options: RedisOptions) -> anyhow::Result<RedisStore> {
    let settings = RedisSettings::parse(url).map_err(|error| anyhow::anyhow!("{error}"))?;
    let store = RedisStore::new(&settings, options).map_err(|error| anyhow::anyhow!("{error}"))?;
    store.wait_until_tried().await;
    store.probe().await.map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(store)
}

/// Tidegate's whole decision: match, plan, fast answers, store, verdict.
pub(crate) struct WholeDecision {
    engine: Engine<FastAnswers<RedisStore>>,
    cost: u64,
}

impl WholeDecision {
    pub(crate) async fn new(url: &str, limit: Limit, with: Accelerations) -> anyhow::Result<Self> {
        Self::over(with.store(url).await?, limit, with, 1)
    }

    /// Over a store that is there already; each check takes `cost` units.
    pub(crate) fn over(
        store: RedisStore,
        limit: Limit,
        with: Accelerations,
        cost: u64,
    ) -> anyhow::Result<Self> {
        Ok(Self { engine: Engine::new(limit.rules()?, FastAnswers::new(store, &with.fast())), cost })
    }
}

impl Contender for WholeDecision {
    async fn check(&self, key: &str) -> anyhow::Result<bool> {
        let entries = [(SUBJECT, key)];
        let request = Request::new(DOMAIN, &entries).with_cost(self.cost);
        let decision = self.engine.decide(&request).await?;
        ensure!(decision.degraded().is_none(), "the store did not answer");
        Ok(decision.is_allowed())
    }

    fn stats(&self) -> Option<RedisStats> {
        Some(self.engine.store().store().stats())
    }
}

/// The same behind the store's port: the rule is known, nothing is matched, no decision is made of the outcome.
pub(crate) struct StoreAlone {
    rules: Arc<RuleSet>,
    store: FastAnswers<RedisStore>,
    clock: SystemClock,
}

impl StoreAlone {
    pub(crate) async fn new(url: &str, limit: Limit, with: Accelerations) -> anyhow::Result<Self> {
        let store = FastAnswers::new(with.store(url).await?, &with.fast());
        Ok(Self { rules: Arc::new(limit.rules()?), store, clock: SystemClock::new() })
    }
}

impl Contender for StoreAlone {
    async fn check(&self, key: &str) -> anyhow::Result<bool> {
        let rule = self.rules.domains().first().and_then(|domain| domain.rule(0)).context("no rule")?;
        let mut plan = Plan::new(1);
        plan.add(rule, rule.metered(None), 0, &[(SUBJECT, key)]);
        let applied = self.store.apply(&plan, self.clock.now()).await;
        match applied.map_err(|error| anyhow::anyhow!("{error}"))? {
            Applied::Decided(outcome) => Ok(outcome.charged),
            Applied::Stale => anyhow::bail!("rules from nowhere"),
        }
    }

    fn stats(&self) -> Option<RedisStats> {
        Some(self.store.store().stats())
    }
}
