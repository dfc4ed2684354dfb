//! Which store the buckets are kept in, and what runs beside it.

use std::time::Duration;

use tidegate_core::time::Micros;
use tidegate_engine::{
    BreakerOptions, Engine, EngineOptions, FastAnswers, FastOptions, GuardOptions, Guarded, LeaseOptions,
    Leases, SystemClock, random_seed,
};
use tidegate_redis::{RedisOptions, RedisSettings, RedisStore};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::failure::{OutageLog, OutageTasks};
use super::settings::ServeSettings;
use crate::telemetry::metrics::{Metrics, StoreReport};

/// Where the buckets are.
#[derive(Clone, Debug)]
pub enum StoreSettings {
    /// In this process.
    Memory,
    /// In Redis or Valkey, shared with other nodes.
    Redis(Box<RemoteStore>),
}

impl StoreSettings {
    /// The kind, in traces.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            StoreSettings::Memory => "memory",
            StoreSettings::Redis(_) => "redis",
        }
    }
}

/// A store that other nodes share.
#[derive(Clone, Debug)]
pub struct RemoteStore {
    /// Where it is.
    pub redis: RedisSettings,
    /// What saves round trips.
    pub acceleration: Acceleration,
    /// Failures in a row after which it is not asked any more.
    pub breaker_failures: u32,
    /// How long it is not asked then, unless a probe is answered before.
    pub breaker_cool_down: Micros,
}

/// What saves round trips to a remote store. All of it is exact; each can be switched off to see what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "five switches that have nothing to do with one another")]
pub struct Acceleration {
    /// Equal checks of one bucket ride as one.
    pub coalesce: bool,
    /// Checks that wait go out together.
    pub batch: bool,
    /// A denial that is sure to come again is given here.
    pub deny_cache: bool,
    /// So is the first one of a hot bucket that this node's own grants have exhausted.
    pub shadow: bool,
    /// Nodes remember how full they saw buckets, for a store that forgets.
    pub witness: bool,
}

impl Acceleration {
    /// Everything.
    pub const ALL: Self = Self { coalesce: true, batch: true, deny_cache: true, shadow: true, witness: true };
    /// Nothing: one call of the script per check.
    pub const NONE: Self =
        Self { coalesce: false, batch: false, deny_cache: false, shadow: false, witness: false };
}

/// The store of a node in a fleet: Redis, behind a circuit breaker. In front of both, denials are given that are sure
/// whether the store answers or not; and in front of all, what this node has on lease is spent.
pub(super) type FleetStore = Leases<FastAnswers<Guarded<RedisStore>>>;

/// How long giving back leases may take at the end.
const RETURN_TIMEOUT: Duration = Duration::from_secs(1);

/// How often a node says that it is there.
const PRESENCE_INTERVAL: Duration = Duration::from_secs(1);
/// A node that has gone still counts in the shares of the others for so many intervals: a share must not be too large.
const REMEMBERED_COUNTS: usize = 60;

/// The store, and an engine on it.
pub(super) async fn fleet_engine(
    settings: &ServeSettings,
    remote: &RemoteStore,
    rules: tidegate_core::rule::RuleSet,
    metrics: &Metrics,
) -> anyhow::Result<Engine<FleetStore>> {
    let Acceleration { coalesce, batch, deny_cache, shadow, witness } = remote.acceleration;
    let redis =
        RedisStore::new(&remote.redis, RedisOptions { coalesce, batch, witness, ..RedisOptions::default() })?;
    // A server that is there is better known before the first request; one that is not must not keep the node down.
    redis.wait_until_tried().await;
    let fast = FastOptions { deny_cache, shadow, ..FastOptions::new(random_seed()) };
    let breaker = BreakerOptions {
        failure_threshold: remote.breaker_failures,
        cool_down: remote.breaker_cool_down,
        ..BreakerOptions::default()
    };
    let clock = SystemClock::new();
    let guard = GuardOptions { breaker, ..GuardOptions::default() };
    let observer = std::sync::Arc::new(OutageLog(metrics.of_store()));
    let guarded = Guarded::new("redis", redis, guard, clock.clone(), Some(observer));
    let options = EngineOptions {
        default_failure: settings.fail_mode,
        breaker: Some(guarded.breaker()),
        observer: Some(Box::new(metrics.of_rules())),
        ..EngineOptions::default()
    };
    let leases = LeaseOptions::new(random_seed());
    let store = Leases::new(FastAnswers::new(guarded, &fast), &leases, clock.clone());
    let engine = Engine::with_options(rules, store, clock, options);
    let watched = engine.clone();
    metrics.watch_store(move || {
        let (leases, fast) = (watched.store(), watched.store().inner());
        let redis = fast.store().inner().stats();
        StoreReport::Shared { redis, fast: fast.stats(), leases: leases.stats() }
    });
    Ok(engine)
}

/// What runs beside the requests of a node in a fleet; ends with this.
#[derive(Debug)]
pub(super) struct FleetTasks {
    engine: Engine<FleetStore>,
    _outage: OutageTasks,
    others: [JoinHandle<()>; 2],
}

impl FleetTasks {
    pub(super) fn start(engine: &Engine<FleetStore>) -> Self {
        let returning = engine.clone();
        Self {
            engine: engine.clone(),
            _outage: OutageTasks::start(engine, |store| store.inner().store()),
            others: [
                tokio::spawn(stay_present(engine.clone())),
                tokio::spawn(async move { returning.store().return_loop().await }),
            ],
        }
    }

    /// Ends the tasks, and gives back what is on lease here.
    pub(super) async fn stop(self) {
        self.others.iter().for_each(JoinHandle::abort);
        if tokio::time::timeout(RETURN_TIMEOUT, self.engine.store().return_all()).await.is_err() {
            tracing::warn!(
                "not every lease could be given back: too few may pass until those units are refilled"
            );
        }
    }
}

impl Drop for FleetTasks {
    fn drop(&mut self) {
        self.others.iter().for_each(JoinHandle::abort);
    }
}

/// Tells the store that this node is there, and the engine how many are: its share when it has to decide alone.
async fn stay_present(engine: Engine<FleetStore>) {
    let node = fastrand::u64(..);
    let mut ticks = tokio::time::interval(PRESENCE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut counts = std::collections::VecDeque::with_capacity(REMEMBERED_COUNTS);
    let mut losses = 0;
    loop {
        ticks.tick().await;
        let redis = engine.store().inner().store().inner();
        let stats = redis.stats();
        if stats.losses > losses {
            losses = stats.losses;
            engine.store().inner().store_lost_state();
        }
        let Ok(count) = redis.present(node).await else { continue };
        if counts.len() == REMEMBERED_COUNTS {
            counts.pop_front();
        }
        counts.push_back(u32::try_from(count).unwrap_or(u32::MAX));
        engine.set_live_nodes(counts.iter().copied().max().unwrap_or(1));
    }
}
