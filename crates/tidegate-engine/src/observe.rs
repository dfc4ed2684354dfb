//! What the engine tells about itself, without knowing who listens.

use std::sync::Arc;

use crate::breaker::BreakerStatus;
use crate::decision::Decision;

/// Is told what happens. Called on the path of every request: it must be quick and must not block.
pub trait Observer: Send + Sync + 'static {
    /// A request was decided; not called for a peek.
    fn decided(&self, decision: &Decision);

    /// New rules are in force.
    fn rules_replaced(&self, version: u64) {
        let _ = version;
    }

    /// The store's circuit breaker changed its state: once for every change. Of two changes at the same instant the later one
    /// has the larger [`BreakerStatus::transitions`].
    fn breaker_changed(&self, status: &BreakerStatus) {
        let _ = status;
    }
}

/// One observer for several: the engine, and the guard of its store.
impl<T: Observer + ?Sized> Observer for Arc<T> {
    fn decided(&self, decision: &Decision) {
        (**self).decided(decision);
    }

    fn rules_replaced(&self, version: u64) {
        (**self).rules_replaced(version);
    }

    fn breaker_changed(&self, status: &BreakerStatus) {
        (**self).breaker_changed(status);
    }
}
