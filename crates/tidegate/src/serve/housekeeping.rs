//! What is done beside the requests: sweeping, saving, and saying when something is full.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidegate_core::time::{Micros, Timestamp};
use tidegate_engine::Engine;
use tidegate_store::MemoryStore;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::blocking;
use super::state_file::StateFile;
use crate::net::ConnectionStats;

/// How often the store is swept, and how many entries a sweep may look at: a million a second.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);
const SWEEP_ENTRIES: usize = 100_000;
/// How often a shortage is spoken of, while it lasts.
const REPORT_INTERVAL: Micros = Micros::from_secs(10);

/// The task, and how to end it.
pub(super) struct Housekeeping {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Housekeeping {
    pub(super) fn start(
        engine: Engine<MemoryStore>,
        state_file: Option<StateFile>,
        connections: Arc<ConnectionStats>,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let shortage =
            Shortage { engine: engine.clone(), connections, spoken_at: engine.now(), seen: [0; 4] };
        Self { stop, task: tokio::spawn(keep(engine, state_file, shortage, stopped)) }
    }

    /// Ends the task, but not in the middle of saving.
    pub(super) async fn stop(self) {
        let _ = self.stop.send(true);
        let _ = self.task.await;
    }
}

async fn keep(
    engine: Engine<MemoryStore>,
    state_file: Option<StateFile>,
    mut shortage: Shortage,
    mut stopped: watch::Receiver<bool>,
) {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut saved_at = engine.now();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.changed() => return,
        }
        engine.store().sweep(engine.now(), SWEEP_ENTRIES);
        shortage.speak(engine.now());
        let Some(state_file) = state_file.as_ref().filter(|file| file.is_due(saved_at, engine.now())) else {
            continue;
        };
        saved_at = engine.now();
        let (state_file, saving) = (state_file.clone(), engine.clone());
        if let Some(Err(error)) = blocking(move || state_file.save(saving.store(), saving.now())).await {
            tracing::error!(error = format!("{error:#}"), "the state could not be saved; it is tried again");
        }
    }
}

/// Says that the store or the connections are at their maximum: nobody should have to guess it from denials.
struct Shortage {
    engine: Engine<MemoryStore>,
    connections: Arc<ConnectionStats>,
    spoken_at: Timestamp,
    /// Spilled, evicted live, refused in all, refused per address, when last looked at.
    seen: [u64; 4],
}

impl Shortage {
    fn speak(&mut self, now: Timestamp) {
        if now.since(self.spoken_at) < REPORT_INTERVAL {
            return;
        }
        self.spoken_at = now;
        let stats = self.engine.store().stats();
        let refused = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let present = [
            stats.spilled,
            stats.evicted_live,
            refused(&self.connections.refused_total_cap),
            refused(&self.connections.refused_per_address),
        ];
        let [spilled, evicted, full, per_address] =
            std::array::from_fn(|index| present[index].saturating_sub(self.seen[index]));
        self.seen = present;
        if spilled + evicted > 0 {
            tracing::warn!(
                keys = stats.keys,
                bytes = stats.bytes,
                spilled,
                evicted,
                "the store is full: new keys share buckets; raise --store-max-mib"
            );
        }
        if full + per_address > 0 {
            tracing::warn!(
                full,
                per_address,
                "connections were refused: --max-connections, --max-connections-per-address"
            );
        }
    }
}
