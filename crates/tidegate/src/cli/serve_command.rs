//! `tidegate serve`: arguments into settings.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};
use tidegate_config::parse_duration;
use tidegate_core::time::Micros;
use tidegate_wire::identity::{HeaderFamily, IdentityPolicy, Ipv6Prefix, TrustedProxies, WideNetworks};

use super::SUCCESS;
use super::catalog_arguments::CatalogArguments;
use super::grpc_arguments::GrpcArguments;
use super::logging::{self, LogFormat, LogLevel};
use super::resp_arguments::RespArguments;
use super::room_arguments::RoomArguments;
use super::rule_file::FormatArgument;
use super::store_arguments::StoreArguments;
use super::trace_arguments::TraceArguments;
use crate::door::overload::{DEFAULT_CONCURRENT_REQUESTS, MAX_CONCURRENT_REQUESTS, MIN_CONCURRENT_REQUESTS};
use crate::http::LegacyFields;
use crate::net::ConnectionLimits;
use crate::serve::{MaxConnections, ServeSettings, StoreSettings, background, serve};
use crate::settings::{Environment, Origin, Origins, listen_address};

/// The smallest store that can hold anything useful, in MiB.
const MIN_STORE_MIB: u64 = 1;
/// The largest store, in MiB: 1 TiB.
const MAX_STORE_MIB: u64 = 1 << 20;
/// The most worker threads.
const MAX_THREADS: u64 = 1_024;

/// How long work that cannot be broken off, such as a trial of rules, may hold up the end.
const LAST_WORK: Duration = Duration::from_secs(1);

/// Headings of the help, and of the reference page.
const STORE: &str = "Store";
const CLIENTS: &str = "Client addresses";
const CONNECTIONS: &str = "Connections";

#[derive(Debug, Args)]
pub(super) struct ServeArguments {
    /// Settings file (YAML): the names of these flags without --, and their values. Flags and variables win over it
    #[arg(long, env = "TIDEGATE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// Rule file; without one, the shipped example rules. SIGHUP reads it again
    #[arg(long, short, env = "TIDEGATE_RULES", value_name = "FILE")]
    rules: Option<PathBuf>,

    #[command(flatten)]
    rules_format: FormatArgument,

    /// Address and port of the HTTP door. PORT changes the port of what variable and file say
    #[arg(long, short, env = "TIDEGATE_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8080", value_parser = listen_address)]
    listen: SocketAddr,

    /// Send X-RateLimit-Limit, -Remaining and -Reset beside the current fields
    #[arg(long, env = "TIDEGATE_LEGACY_FIELDS", value_parser = BoolishValueParser::new())]
    legacy_fields: bool,

    /// Worker threads, 1 to 1,024; one per core if not given
    #[arg(long, env = "TIDEGATE_THREADS", value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_THREADS))]
    threads: Option<u64>,

    /// How log lines look
    #[arg(long, env = "TIDEGATE_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,

    /// What is logged
    #[arg(long, env = "TIDEGATE_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    log_level: LogLevel,

    #[command(flatten)]
    grpc: GrpcArguments,

    #[command(flatten)]
    pub(super) store: StoreArguments,

    /// Keep the embedded store's state in this file over a restart; it is saved every minute and at the end
    #[arg(long, help_heading = STORE, env = "TIDEGATE_STATE_FILE", value_name = "FILE")]
    state_file: Option<PathBuf>,

    /// Most memory of the embedded store, in MiB, 1 to 1,048,576
    #[arg(long, help_heading = STORE, env = "TIDEGATE_STORE_MAX_MIB", value_name = "MIB", default_value_t = 256,
          value_parser = clap::value_parser!(u64).range(MIN_STORE_MIB..=MAX_STORE_MIB))]
    store_max_mib: u64,

    /// Proxy or network whose word about the client's address is taken (repeatable, CIDR)
    #[arg(
        long = "trusted-proxy", help_heading = CLIENTS,
        env = "TIDEGATE_TRUSTED_PROXIES",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    trusted_proxies: Vec<String>,

    /// Trust networks as wide as 0.0.0.0/0: anyone can then claim any address
    #[arg(long, help_heading = CLIENTS, env = "TIDEGATE_FORCE_WIDE_PROXIES", value_parser = BoolishValueParser::new())]
    force_wide_proxies: bool,

    /// Which header trusted proxies write the client's address into
    #[arg(long, help_heading = CLIENTS, env = "TIDEGATE_PROXY_HEADER", value_name = "HEADER", default_value = "none")]
    proxy_header: ProxyHeader,

    /// How many bits of an IPv6 address are one client (48 to 64)
    #[arg(long, help_heading = CLIENTS, env = "TIDEGATE_IPV6_PREFIX", value_name = "BITS", default_value_t = 64,
          value_parser = clap::value_parser!(u8).range(48..=64))]
    ipv6_prefix: u8,

    /// Most connections of each door, 1 to 1,000,000; if not given, fewer where the limit of open files (ulimit -Hn) has no
    /// room for so many
    #[arg(long, help_heading = CONNECTIONS, env = "TIDEGATE_MAX_CONNECTIONS", value_name = "N", default_value_t = 10_000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_connections: u32,

    /// Most connections of one address (IPv4, or IPv6 /64), 1 to 1,000,000; of this machine, as many as there are in all
    #[arg(long, help_heading = CONNECTIONS, env = "TIDEGATE_MAX_CONNECTIONS_PER_ADDRESS", value_name = "N", default_value_t = 1_000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_connections_per_address: u32,

    /// Most requests that each door decides at one time, 1 to 1,000,000, those that wait in queues too; more are shed (503,
    /// UNAVAILABLE, -BUSY), lower priorities first
    #[arg(long, help_heading = CONNECTIONS, env = "TIDEGATE_MAX_CONCURRENT_REQUESTS", value_name = "N",
          default_value_t = DEFAULT_CONCURRENT_REQUESTS as u64,
          value_parser = clap::value_parser!(u64).range(MIN_CONCURRENT_REQUESTS as u64..=MAX_CONCURRENT_REQUESTS as u64))]
    max_concurrent_requests: u64,

    /// Longest time a request's head may take, 1ms to 10m
    #[arg(long, help_heading = CONNECTIONS, env = "TIDEGATE_HEADER_TIMEOUT", value_name = "TIME", default_value = "10s", value_parser = timeout)]
    header_timeout: Micros,

    /// Longest time a request's body may take, 1ms to 10m
    #[arg(long, help_heading = CONNECTIONS, env = "TIDEGATE_BODY_TIMEOUT", value_name = "TIME", default_value = "10s", value_parser = timeout)]
    body_timeout: Micros,

    /// Longest wait for the next request of a connection, 1ms to 10m
    #[arg(long, help_heading = CONNECTIONS, env = "TIDEGATE_IDLE_TIMEOUT", value_name = "TIME", default_value = "60s", value_parser = timeout)]
    idle_timeout: Micros,

    /// Longest time a client may take nothing of its answer, 1ms to 10m
    #[arg(long, help_heading = CONNECTIONS, env = "TIDEGATE_WRITE_TIMEOUT", value_name = "TIME", default_value = "30s", value_parser = timeout)]
    write_timeout: Micros,

    /// How long /ready says no after SIGTERM before connections are refused, 0s to 10m
    #[arg(long, help_heading = CONNECTIONS, env = "TIDEGATE_DRAIN_DELAY", value_name = "TIME", default_value = "1s", value_parser = delay)]
    drain_delay: Micros,

    /// Longest time accepted requests get to finish when stopping, 1ms to 10m
    #[arg(long, help_heading = CONNECTIONS, env = "TIDEGATE_DRAIN_TIMEOUT", value_name = "TIME", default_value = "30s", value_parser = timeout)]
    drain_timeout: Micros,

    #[command(flatten)]
    resp: RespArguments,

    #[command(flatten)]
    rooms: RoomArguments,

    #[command(flatten)]
    pub(super) catalog: CatalogArguments,

    #[command(flatten)]
    trace: TraceArguments,
}

/// The longest timeout and delay that can be set: ten minutes.
const MAX_TIMEOUT: Micros = Micros::from_secs(600);

/// A span that something may take: at least a millisecond.
fn timeout(text: &str) -> Result<Micros, String> {
    match parse_duration(text).map_err(|error| error.to_string())? {
        span if span < Micros::from_millis(1) || span > MAX_TIMEOUT => Err("write 1ms to 10m".to_owned()),
        span => Ok(span),
    }
}

/// A span before something happens: may be nothing.
fn delay(text: &str) -> Result<Micros, String> {
    if text == "0" || text == "0s" { Ok(Micros::ZERO) } else { timeout(text) }
}

/// Which header names the client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ProxyHeader {
    /// None: the address is the peer's
    None,
    /// Forwarded (RFC 7239)
    Forwarded,
    /// X-Forwarded-For
    XForwardedFor,
}

impl From<ProxyHeader> for HeaderFamily {
    fn from(header: ProxyHeader) -> Self {
        match header {
            ProxyHeader::None => HeaderFamily::None,
            ProxyHeader::Forwarded => HeaderFamily::Forwarded,
            ProxyHeader::XForwardedFor => HeaderFamily::XForwardedFor,
        }
    }
}

pub(super) fn run(
    arguments: ServeArguments,
    origins: &Origins,
    environment: &Environment,
) -> anyhow::Result<u8> {
    logging::init(arguments.log_format, arguments.log_level);
    if let Some(file) = &arguments.config {
        tracing::info!(file = %file.display(), "settings were read; 'tidegate settings' shows what counts");
    }
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = arguments.threads.and_then(|threads| usize::try_from(threads).ok()) {
        runtime.worker_threads(threads);
    }
    let settings = settings(arguments, origins, environment)?;
    let runtime = runtime.enable_all().build().context("the runtime cannot be started")?;
    let background = background().context("the runtime cannot be started")?;
    let served = runtime.block_on(serve(settings, background.handle()));
    runtime.shutdown_timeout(LAST_WORK);
    background.shutdown_timeout(LAST_WORK);
    served?;
    Ok(SUCCESS)
}

/// The settings that the arguments mean.
///
/// # Errors
/// They contradict one another, or an address of a store cannot be one.
pub(super) fn settings(
    arguments: ServeArguments,
    origins: &Origins,
    environment: &Environment,
) -> anyhow::Result<ServeSettings> {
    let identity = identity(&arguments)?;
    let store = arguments.store.settings(origins)?;
    let quotas = environment.quota_variables().map_err(anyhow::Error::msg)?;
    let catalog = arguments.catalog.settings(origins, quotas)?;
    let (grpc, resp) = (arguments.grpc.settings()?, arguments.resp.settings()?);
    let trace = arguments.trace.settings(origins, store.kind())?;
    if arguments.state_file.is_some() && !matches!(store, StoreSettings::Memory) {
        anyhow::bail!("--state-file is for the embedded store; a shared store keeps its state itself");
    }
    let millis = |span: Micros| span.as_millis_ceil();
    let limits = ConnectionLimits {
        header_timeout_ms: millis(arguments.header_timeout),
        body_timeout_ms: millis(arguments.body_timeout),
        idle_timeout_ms: millis(arguments.idle_timeout),
        write_stall_timeout_ms: millis(arguments.write_timeout),
        drain_timeout_ms: millis(arguments.drain_timeout),
        // The door refuses too many fields itself, with a problem that says so.
        max_headers: 100,
        max_connections_per_address: arguments.max_connections_per_address as usize,
        ..ConnectionLimits::default()
    };
    let max_connections = match origins.of("max_connections") {
        Origin::Default => MaxConnections::Default(arguments.max_connections as usize),
        _ => MaxConnections::Told(arguments.max_connections as usize),
    };
    Ok(ServeSettings {
        rules: arguments.rules,
        rules_format: arguments.rules_format.rules_format,
        store,
        fail_mode: arguments.store.fail_mode(),
        listen: arguments.listen,
        grpc,
        state_file: arguments.state_file,
        store_max_bytes: usize::try_from(arguments.store_max_mib << 20).unwrap_or(usize::MAX),
        identity,
        legacy_fields: if arguments.legacy_fields { LegacyFields::Send } else { LegacyFields::Omit },
        max_connections,
        limits,
        // Within its range by now.
        max_concurrent_requests: usize::try_from(arguments.max_concurrent_requests).unwrap_or(usize::MAX),
        drain_delay: Duration::from(arguments.drain_delay),
        catalog,
        resp,
        rooms: arguments.rooms.settings()?,
        trace,
    })
}

fn identity(arguments: &ServeArguments) -> anyhow::Result<IdentityPolicy> {
    let family = HeaderFamily::from(arguments.proxy_header);
    let proxies = &arguments.trusted_proxies;
    if !proxies.is_empty() && family == HeaderFamily::None {
        anyhow::bail!(
            "--trusted-proxy has no effect without --proxy-header: say which header your proxy writes"
        );
    }
    if proxies.is_empty() && family != HeaderFamily::None {
        anyhow::bail!("--proxy-header has no effect without --trusted-proxy: say whose word is taken");
    }
    let wide = if arguments.force_wide_proxies { WideNetworks::Force } else { WideNetworks::Reject };
    let proxies = TrustedProxies::with_policy(proxies, wide).context("--trusted-proxy")?;
    let ipv6_prefix = Ipv6Prefix::new(arguments.ipv6_prefix).context("--ipv6-prefix")?;
    Ok(IdentityPolicy { proxies, family, ipv6_prefix })
}
