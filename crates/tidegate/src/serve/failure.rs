//! What the server does about a store that may not answer: it says when the store is lost and found, probes it while it is
//! lost, and pays back what was let through.

use std::sync::Arc;

use tidegate_core::time::Micros;
use tidegate_engine::{BreakerState, BreakerStatus, Clock, Decision, Engine, Guarded, Observer};
use tidegate_store::{BucketStore, StoreError};
use tokio::task::JoinHandle;

use crate::telemetry::metrics::StoreCalls;

/// Writes changes of the breaker's state to the log: one line when the store is lost, one when it is found. A trial that fails
/// on the way back is no news. Passes on what is counted of the store's calls.
#[derive(Clone, Debug)]
pub(super) struct OutageLog(pub(super) Arc<StoreCalls>);

impl Observer for OutageLog {
    fn decided(&self, _: &Decision) {}

    fn store_called(&self, took: Micros, error: Option<&StoreError>) {
        self.0.store_called(took, error);
    }

    fn breaker_changed(&self, status: &BreakerStatus) {
        let BreakerStatus { store, consecutive_failures, options, .. } = status;
        let error = status.last_error.as_ref().map(tracing::field::display);
        match status.state {
            BreakerState::Open if *consecutive_failures <= options.failure_threshold => tracing::error!(
                store,
                error,
                "the store does not answer: requests are decided by the rules' failure policies"
            ),
            BreakerState::Open => tracing::debug!(store, error, "the store still does not answer"),
            BreakerState::HalfOpen => {
                tracing::debug!(store, "the store answers probes: one request tries it");
            }
            BreakerState::Closed => tracing::info!(store, "the store answers again"),
        }
    }
}

/// The tasks that probe the store and pay it back; they end with this.
#[derive(Debug)]
pub(super) struct OutageTasks([JoinHandle<()>; 2]);

impl OutageTasks {
    /// Starts them. `guard_of` finds the guard in the engine's store, which may have more around it.
    pub(super) fn start<S: BucketStore, G: BucketStore, C: Clock>(
        engine: &Engine<S, C>,
        guard_of: fn(&S) -> &Guarded<G>,
    ) -> Self {
        let (probing, settling) = (engine.clone(), engine.clone());
        Self([
            tokio::spawn(async move { guard_of(probing.store()).probe_loop().await }),
            tokio::spawn(async move { settling.settle_loop().await }),
        ])
    }
}

impl Drop for OutageTasks {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}
