//! `tidegate serve`: which store, and what happens when it does not answer.

use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tidegate_config::parse_duration;
use tidegate_core::rule::model::FailurePolicy;
use tidegate_core::time::Micros;
use tidegate_redis::{Layout, RedisSettings, Servers};

use crate::serve::{Acceleration, RemoteStore, StoreSettings};
use crate::settings::{Origins, Secret};

/// The store in this process.
pub(super) const MEMORY: &str = "memory";
/// The port of Redis where none is told.
const REDIS_PORT: u16 = 6_379;

#[derive(Debug, Args)]
#[command(next_help_heading = "Store")]
pub(super) struct StoreArguments {
    /// Where buckets are kept: memory, or the address of Redis or Valkey that all nodes share, for example
    /// redis://host:6379, rediss://user:password@host, redis+sentinel://a,b,c/primary, redis+cluster://a,b, unix:///path
    #[arg(long, env = "TIDEGATE_STORE", value_name = "STORE", default_value = MEMORY, hide_env_values = true)]
    store: Secret,

    /// The same as --store, which comes first
    #[arg(long, env = "REDIS_URL", value_name = "ADDRESS", hide_env_values = true, hide = true)]
    redis_url: Option<Secret>,

    /// The host of Redis, where neither --store nor REDIS_URL is told
    #[arg(long, env = "REDIS_HOST", value_name = "HOST", hide = true)]
    redis_host: Option<String>,

    /// The port at REDIS_HOST
    #[arg(long, env = "REDIS_PORT", value_name = "PORT", default_value_t = REDIS_PORT, hide = true)]
    redis_port: u16,

    /// The password at REDIS_HOST, as it is
    #[arg(long, env = "REDIS_PASSWORD", value_name = "PASSWORD", hide_env_values = true, hide = true)]
    redis_password: Option<Secret>,

    /// The number of the logical database at REDIS_HOST
    #[arg(long, env = "REDIS_DB", value_name = "NUMBER", default_value_t = 0, hide = true)]
    redis_db: u16,

    /// Connections to Redis from this node, 1 to 20 (2 if not given)
    #[arg(long, env = "TIDEGATE_STORE_CONNECTIONS", value_name = "N", value_parser = clap::value_parser!(u8).range(1..=20))]
    store_connections: Option<u8>,

    /// How long Redis may take for an answer (1ms to 10s; 100ms if not given)
    #[arg(long, env = "TIDEGATE_STORE_DEADLINE", value_name = "TIME", value_parser = parse_deadline)]
    store_deadline: Option<Micros>,

    /// What every key in Redis begins with; installations that share a server differ in it ("t" if not given)
    #[arg(long, env = "TIDEGATE_STORE_PREFIX", value_name = "TEXT")]
    store_prefix: Option<String>,

    /// How buckets lie in Redis: plain (a key each), or packed (many in a hash: a third of the memory, and dearer to
    /// decide). packed:N has 2^N hashes. All nodes must say the same
    #[arg(long, env = "TIDEGATE_STORE_LAYOUT", value_name = "LAYOUT")]
    store_layout: Option<Layout>,

    /// What saves round trips to Redis (comma-separated); all of it is exact
    #[arg(
        long,
        env = "TIDEGATE_ACCELERATE",
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "all"
    )]
    accelerate: Vec<Accelerator>,

    /// The answer when the store does not answer, for rules and domains that do not say (allow if not given). FAIL_MODE is
    /// taken, too
    #[arg(long, env = "TIDEGATE_FAIL_MODE", value_name = "MODE")]
    fail_mode: Option<FailMode>,

    /// Failures in a row after which the store is not asked any more, 1 to 1,000
    #[arg(long, env = "TIDEGATE_BREAKER_FAILURES", value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    breaker_failures: u32,

    /// How long it is not asked then, unless it answers a probe before (two probes a second);
    /// 100ms to 1h
    #[arg(long, env = "TIDEGATE_BREAKER_COOL_DOWN", value_name = "TIME", default_value = "60s", value_parser = parse_cool_down)]
    breaker_cool_down: Micros,
}

/// The setting that names the store, and what it says.
#[derive(Clone, Copy)]
pub(super) enum StoreSource<'a> {
    /// `--store`.
    Store(&'a str),
    /// `REDIS_URL`.
    Url(&'a str),
    /// `REDIS_HOST` and its companions.
    Host(&'a str),
}

impl StoreSource<'_> {
    /// The argument's id.
    pub(super) const fn id(&self) -> &'static str {
        match self {
            StoreSource::Store(_) => "store",
            StoreSource::Url(_) => "redis_url",
            StoreSource::Host(_) => "redis_host",
        }
    }
}

/// One of the things that save round trips.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Accelerator {
    /// All of them
    All,
    /// None: one call of the script per check
    None,
    /// Equal checks of one bucket ride as one
    Coalesce,
    /// Checks that wait go out together
    Batch,
    /// A denial that is sure to come again is given by the node
    DenyCache,
    /// So is the first denial of a hot bucket
    Shadow,
    /// Nodes remember how full they saw buckets, for a store that forgets
    Witness,
}

/// The answer when the store does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailMode {
    /// Let requests pass
    #[value(alias = "open")]
    Allow,
    /// Deny them
    #[value(alias = "closed")]
    Deny,
    /// Decide on this node alone, by its share of the quota
    Local,
}

fn parse_deadline(text: &str) -> Result<Micros, String> {
    between(text, Micros::from_millis(1), Micros::from_secs(10))
}

fn parse_cool_down(text: &str) -> Result<Micros, String> {
    between(text, Micros::from_millis(100), Micros::from_secs(3_600))
}

fn between(text: &str, least: Micros, most: Micros) -> Result<Micros, String> {
    match parse_duration(text).map_err(|error| error.to_string())? {
        span if span < least || span > most => Err(format!("write {least} to {most}")),
        span => Ok(span),
    }
}

impl StoreArguments {
    /// The answer when the store does not answer.
    pub(super) fn fail_mode(&self) -> Option<FailurePolicy> {
        self.fail_mode.map(|mode| match mode {
            FailMode::Allow => FailurePolicy::Allow,
            FailMode::Deny => FailurePolicy::Deny,
            FailMode::Local => FailurePolicy::Local,
        })
    }

    /// Where buckets are kept.
    pub(super) fn settings(&self, origins: &Origins) -> anyhow::Result<StoreSettings> {
        let Some(redis) = self.redis(origins)? else { return Ok(StoreSettings::Memory) };
        Ok(StoreSettings::Redis(Box::new(RemoteStore {
            redis: self.refined(redis)?,
            acceleration: self.acceleration(),
            breaker_failures: self.breaker_failures,
            breaker_cool_down: self.breaker_cool_down,
        })))
    }

    /// Which of the settings that name a store counts: the one that was told in the strongest way, of equals the first.
    pub(super) fn telling(&self, origins: &Origins) -> StoreSource<'_> {
        let told = [
            Some(StoreSource::Store(self.store.expose())),
            self.redis_url.as_ref().map(|address| StoreSource::Url(address.expose())),
            self.redis_host.as_deref().map(StoreSource::Host),
        ];
        let strongest = told.into_iter().flatten().min_by_key(|source| origins.of(source.id()).rank());
        strongest.unwrap_or(StoreSource::Store(MEMORY))
    }

    fn redis(&self, origins: &Origins) -> anyhow::Result<Option<RedisSettings>> {
        let source = self.telling(origins);
        let redis = match source {
            StoreSource::Store(MEMORY) => return Ok(None),
            StoreSource::Store(address) | StoreSource::Url(address) => RedisSettings::parse(address),
            StoreSource::Host(host) => self.at_host(host),
        };
        redis.map(Some).with_context(|| origins.name(source.id()))
    }

    /// The Redis that a host, a port, a password and a database name.
    fn at_host(&self, host: &str) -> Result<RedisSettings, tidegate_redis::SettingsError> {
        // Also sees to it that the host is only a host.
        let plain = RedisSettings::from_host_port(host, self.redis_port)?;
        if self.redis_password.is_none() && self.redis_db == 0 {
            return Ok(plain);
        }
        let Servers::Single(address) = plain.servers() else { return Ok(plain) };
        let login = match &self.redis_password {
            Some(password) => format!(":{}@", utf8_percent_encode(password.expose(), NON_ALPHANUMERIC)),
            None => String::new(),
        };
        RedisSettings::parse(&format!("redis://{login}{address}/{}", self.redis_db))
    }

    fn refined(&self, mut redis: RedisSettings) -> anyhow::Result<RedisSettings> {
        if let Some(connections) = self.store_connections {
            redis = redis.with_connections(usize::from(connections)).context("--store-connections")?;
        }
        if let Some(deadline) = self.store_deadline {
            redis = redis.with_call_deadline(Duration::from(deadline)).context("--store-deadline")?;
        }
        if let Some(layout) = self.store_layout {
            redis = redis.with_layout(layout);
        }
        if let Some(prefix) = &self.store_prefix {
            redis = redis.with_key_prefix(prefix).context("--store-prefix")?;
        }
        Ok(redis)
    }

    fn acceleration(&self) -> Acceleration {
        let mut acceleration = Acceleration::NONE;
        for accelerator in &self.accelerate {
            match accelerator {
                Accelerator::All => acceleration = Acceleration::ALL,
                Accelerator::None => acceleration = Acceleration::NONE,
                Accelerator::Coalesce => acceleration.coalesce = true,
                Accelerator::Batch => acceleration.batch = true,
                Accelerator::DenyCache => acceleration.deny_cache = true,
                Accelerator::Shadow => acceleration.shadow = true,
                Accelerator::Witness => acceleration.witness = true,
            }
        }
        acceleration
    }
}
