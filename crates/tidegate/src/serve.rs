//! `tidegate serve`: wires store, engine and doors together and runs until told to stop.

mod admin_listener;
mod background;
mod catalog;
mod failure;
mod grpc_listener;
mod housekeeping;
mod open_files;
mod resp_listener;
mod rooms;
mod running;
mod settings;
mod signals;
mod state_file;
mod store;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tidegate_core::rule::RuleSet;
use tidegate_engine::{Engine, SystemClock};
use tidegate_store::BucketStore;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};

pub use background::background;
pub use open_files::MaxConnections;
pub use settings::{
    CatalogPlace, CatalogSettings, GrpcSettings, RespSettings, RoomSettings, ServeSettings, SettingsError,
};
pub use store::{Acceleration, RemoteStore, StoreSettings};

use crate::door::overload::Overload;
use crate::gate::Gate;
use crate::http::{HttpDoor, HttpOptions, Readiness};
use crate::net::{self, ConnectionStats, ListenOptions, Server};
use crate::rooms::Pages;
use crate::telemetry::metrics::{Metrics, StoreReport};
use crate::telemetry::trace::{TraceExport, Tracer};
use admin_listener::AdminListener;
use catalog::Opened;
use grpc_listener::GrpcListener;
use housekeeping::Housekeeping;
use resp_listener::RespListener;
use settings::Addresses;
use signals::{Reload, Signals, Stop};
use state_file::StateFile;
use store::FleetTasks;

/// Runs the server; `background` runs what no request waits for. Returns when it has been told to stop and has answered what it
/// had accepted.
///
/// # Errors
/// The rules cannot be read, the store or the catalog is set up in a way that cannot work, the state cannot be restored or
/// saved, or an address cannot be bound.
pub async fn serve(mut settings: ServeSettings, background: &Handle) -> anyhow::Result<()> {
    let doors = settings.doors();
    open_files::bound(&mut settings.limits, settings.max_connections, doors);
    let (mut signals, reload) = (Signals::new(), Reload::new());
    let pages = rooms::pages(&settings)?;
    let opened = catalog::open(&settings, background, &pages)?;
    let (first, opened) = tokio::select! {
        first = opened.first() => first?,
        stop = signals.stop() => {
            tracing::info!(signal = stop.name(), "stopping: there were no rules yet");
            return Ok(());
        }
    };
    let rules = first.rules.at_version(first.version);
    warn_of_queues(&rules, &settings);
    let metrics = Arc::new(Metrics::new(SystemClock::new()));
    let parts = Parts { signals, reload, opened, pages, metrics };
    match settings.store.clone() {
        StoreSettings::Memory => serve_alone(settings, rules, parts).await,
        StoreSettings::Redis(remote) => {
            let engine = store::fleet_engine(&settings, &remote, rules, &parts.metrics).await?;
            let tasks = FleetTasks::start(&engine);
            let place = format!("{} (shared)", remote.redis);
            let served = serve_engine(&settings, &engine, parts, &place, |_| ()).await;
            tasks.stop().await;
            served
        }
    }
}

/// What a server has before it has a store.
struct Parts {
    signals: Signals,
    reload: Reload,
    opened: Opened,
    pages: Pages,
    metrics: Arc<Metrics>,
}

/// Serves from the embedded store.
async fn serve_alone(settings: ServeSettings, rules: RuleSet, parts: Parts) -> anyhow::Result<()> {
    let state_file = settings.state_file.clone().map(StateFile::new);
    let store = state_file::open_store(state_file.as_ref(), settings.store_max_bytes)?;
    let engine =
        Engine::with_parts(rules, store, SystemClock::new(), Some(Box::new(parts.metrics.of_rules())));
    let watched = engine.clone();
    parts.metrics.watch_store(move || StoreReport::Memory(watched.store().stats()));
    if let Some(state_file) = &state_file {
        // Where it cannot be written, better to hear of it now than at the end.
        state_file.save(engine.store(), engine.now())?;
    }
    let beside = |connections| Housekeeping::start(engine.clone(), state_file.clone(), connections);
    let place = "in this process";
    let housekeeping = serve_engine(&settings, &engine, parts, place, beside).await?;
    housekeeping.stop().await;
    if let Some(state_file) = &state_file {
        state_file.save(engine.store(), engine.now())?;
    }
    Ok(())
}

/// Opens the doors of an engine until told to stop. `beside` starts what runs beside the requests.
async fn serve_engine<S: BucketStore, T>(
    settings: &ServeSettings,
    engine: &Engine<S>,
    parts: Parts,
    place: &str,
    beside: impl FnOnce(Arc<ConnectionStats>) -> T,
) -> anyhow::Result<T> {
    let Parts { signals, reload, opened, pages, metrics } = parts;
    let listener = net::bind(&ListenOptions::new(settings.listen, "--listen"))?;
    let address = listener.local_addr().context("the listener has no address")?;
    let server = Server::new("http", settings.limits.clone())?;
    let readiness = Readiness::default();
    let gate = match opened.catalog() {
        Some(catalog) => Gate::new(engine.clone(), catalog, settings.catalog.api_keys),
        None => Gate::from(engine.clone()),
    };
    let (tracer, tracing) = trace(settings, address, engine.clock())?.unzip();
    if let Some(tracer) = &tracer {
        metrics.watch_traces(tracer.clone());
    }
    let gate = gate.with_metrics(Arc::clone(&metrics)).with_tracer(tracer);
    metrics.watch_rules(opened.state());
    metrics.watch_listener("http", server.stats());
    let grpc = GrpcListener::open(settings, &gate, &readiness)?;
    if let Some(grpc) = &grpc {
        metrics.watch_listener("grpc", grpc.stats());
    }
    let resp = RespListener::open(settings, &gate)?;
    if let Some(resp) = &resp {
        metrics.watch_listener("resp", resp.stats());
    }
    let options = HttpOptions {
        identity: settings.identity.clone(),
        legacy_fields: settings.legacy_fields,
        body_timeout: settings.limits.body_timeout(),
        overload: Overload::new("http", settings.max_concurrent_requests),
    };
    let rooms = rooms::open(settings, pages, opened.rooms()).await?;
    let rooms_measured = rooms.rooms.clone();
    metrics.watch_rooms(move || rooms_measured.reports());
    let door = HttpDoor::new(gate, options, readiness.clone()).with_rooms(rooms.rooms.clone());
    let admin = AdminListener::open(settings, engine, &opened, &rooms.rooms)?;
    if let Some(admin) = &admin {
        metrics.watch_listener("admin", admin.stats());
    }
    let first_key = opened.first_key(&SystemClock::new()).await?;
    let running = beside(server.stats());
    let reread = Arc::new(Notify::new());
    let reloading = tokio::spawn(pass_on(reload, Arc::clone(&reread)));
    let background = opened.background().clone();
    let catalog = opened.start(engine, &rooms.rooms, reread);
    readiness.set(true);
    let addresses = Addresses {
        http: address,
        grpc: grpc.as_ref().map(|grpc| grpc.address),
        resp: resp.as_ref().and_then(|resp| resp.address),
        admin: admin.as_ref().map(|admin| admin.address),
    };
    settings.announce(&addresses, &engine.rules(), place, first_key.as_ref(), &rooms.rooms);
    let others = [
        grpc.map(GrpcListener::start),
        resp.map(RespListener::start),
        admin.map(|admin| admin.start(&background)),
    ];
    let (stops, others): (Vec<_>, Vec<_>) = others.into_iter().flatten().unzip();

    let (told, at_once) = oneshot::channel();
    let shutdown = async {
        shutdown(signals, readiness, settings.drain_delay, told).await;
        rooms.rooms.close();
        // All doors drain at the same time.
        drop(stops);
    };
    let doors = async {
        server.run(listener, move |peer| door.service(peer), shutdown).await;
        for other in others {
            other.ended().await;
        }
    };
    tokio::select! {
        () = doors => {}
        Ok(()) = at_once => tracing::warn!("told to stop a second time: open requests are cut off"),
    }
    reloading.abort();
    rooms.stop().await;
    catalog.stop().await;
    if let Some(tracing) = tracing {
        tracing.stop().await;
    }
    Ok(running)
}

/// Starts tracing, where it is told where traces go.
fn trace(
    settings: &ServeSettings,
    address: SocketAddr,
    clock: &SystemClock,
) -> anyhow::Result<Option<(Tracer, TraceExport)>> {
    let Some(trace) = &settings.trace else { return Ok(None) };
    let endpoint = &trace.endpoint;
    tracing::info!(endpoint = %endpoint.uri, protocol = endpoint.protocol.name(), "requests are traced");
    Tracer::start(trace, address, clock.clone()).map(Some)
}

/// Resolves when the server is to stop accepting. Readiness goes off first. A second signal is passed on to `at_once`.
async fn shutdown(
    mut signals: Signals,
    readiness: Readiness,
    drain_delay: std::time::Duration,
    at_once: oneshot::Sender<()>,
) {
    let stop = signals.stop().await;
    readiness.set(false);
    tracing::info!(signal = stop.name(), "stopping: readiness is off");
    if stop == Stop::Terminate {
        tokio::select! {
            () = tokio::time::sleep(drain_delay) => {}
            second = signals.stop() => tracing::info!(signal = second.name(), "not waiting any longer"),
        }
    }
    tokio::spawn(async move {
        signals.stop().await;
        let _ = at_once.send(());
    });
}

/// Asks for the rule file to be read again at every SIGHUP.
async fn pass_on(mut reload: Reload, reread: Arc<Notify>) {
    loop {
        reload.wanted().await;
        reread.notify_one();
    }
}

/// Runs what takes long beside the requests; `None` when the runtime ended before it did.
fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> impl Future<Output = Option<T>> {
    let running = tokio::task::spawn_blocking(work);
    async { running.await.ok() }
}

/// A request that waits longer than the drain lasts would be cut off by a restart, and those that wait are in progress:
/// where a queue holds more than the door takes, the door sheds before the queue is full.
fn warn_of_queues(rules: &RuleSet, settings: &ServeSettings) {
    let drain = u128::from(settings.limits.drain_timeout_ms) * 1_000;
    for rule in rules.domains().iter().flat_map(|domain| domain.rules()) {
        let Some(queue) = rule.model().queue else { continue };
        if queue.max_depth > settings.max_concurrent_requests as u64 {
            tracing::warn!(
                domain = rule.domain(),
                rule = rule.name(),
                max_depth = queue.max_depth,
                "more requests may wait than --max-concurrent-requests, and those beyond it are shed"
            );
        }
        if u128::from(queue.max_wait.as_micros()) > drain {
            tracing::warn!(
                domain = rule.domain(),
                rule = rule.name(),
                max_wait = %queue.max_wait,
                "requests may wait longer than --drain-timeout, and a restart would cut them off"
            );
        }
    }
}
