//! `tidegate serve`: wires store, engine and doors together and runs until told to stop.

mod settings;
mod signals;
mod state_file;

use std::time::Duration;

use anyhow::Context;
use tidegate_engine::{Engine, SystemClock};
use tidegate_store::MemoryStore;
use tokio::time::MissedTickBehavior;

pub use settings::{ServeSettings, SettingsError};

use crate::http::{HttpDoor, HttpOptions, Readiness};
use crate::net::{self, ListenOptions, Server};
use signals::Stop;
use state_file::StateFile;

/// How often the store is swept, and how many entries a sweep may look at: a million a second.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);
const SWEEP_ENTRIES: usize = 100_000;

/// Runs the server. Returns when it has been told to stop and has answered what it had accepted.
///
/// # Errors
/// The rules cannot be read, the state cannot be restored, or the address cannot be bound.
pub async fn serve(settings: ServeSettings) -> anyhow::Result<()> {
    let rules = settings.load_rules()?;
    let state_file = settings.state_file.clone().map(StateFile::new);
    let store = state_file::open_store(state_file.as_ref(), settings.store_max_bytes)?;
    let engine = Engine::with_parts(rules, store, SystemClock::new(), None);

    let listener = net::bind(&ListenOptions::new(settings.listen, "--listen"))?;
    let address = listener.local_addr().context("the listener has no address")?;
    let server = Server::new("http", settings.limits.clone())?;
    let readiness = Readiness::default();
    let options = HttpOptions {
        identity: settings.identity.clone(),
        legacy_fields: settings.legacy_fields,
        body_timeout: settings.limits.body_timeout(),
    };
    let door = HttpDoor::new(engine.clone(), options, readiness.clone());

    let housekeeping = tokio::spawn(keep_house(engine.clone(), state_file.clone()));
    let reloading = tokio::spawn(signals::on_reload(reload(engine.clone(), settings.clone())));
    readiness.set(true);
    settings.announce(address, &engine.rules());

    let drain_delay = settings.drain_delay;
    let shutdown = async move {
        let stop = signals::stop().await;
        readiness.set(false);
        tracing::info!(signal = stop.name(), "stopping: readiness is off");
        if stop == Stop::Terminate {
            tokio::time::sleep(drain_delay).await;
        }
    };
    let report = server.run(listener, move |peer| door.service(peer), shutdown).await;
    tracing::info!(?report, "drained");
    housekeeping.abort();
    reloading.abort();
    if let Some(state_file) = &state_file {
        state_file.save(engine.store(), engine.now())?;
    }
    Ok(())
}

/// Sweeps buckets at rest, and saves the state every now and then.
async fn keep_house(engine: Engine<MemoryStore>, state_file: Option<StateFile>) {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut saved_at = engine.now();
    loop {
        ticks.tick().await;
        engine.store().sweep(engine.now(), SWEEP_ENTRIES);
        let Some(state_file) = state_file.as_ref().filter(|file| file.is_due(saved_at, engine.now())) else {
            continue;
        };
        saved_at = engine.now();
        let (state_file, engine) = (state_file.clone(), engine.clone());
        let saving = tokio::task::spawn_blocking(move || state_file.save(engine.store(), engine.now()));
        if let Ok(Err(error)) = saving.await {
            tracing::error!(error = format!("{error:#}"), "the state could not be saved; it is tried again");
        }
    }
}

/// Reads the rule file again; bad rules leave the last good ones in force.
fn reload(engine: Engine<MemoryStore>, settings: ServeSettings) -> impl Fn() {
    move || match settings.load_rules() {
        Ok(rules) => {
            let version = engine.replace_rules(rules);
            tracing::info!(version, "new rules are in force");
        }
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the rules were not changed: the file has errors");
        }
    }
}
