//! What the engine tells about itself, without knowing who listens.

use std::sync::Arc;

use tidegate_core::rule::RuleSet;
use tidegate_core::time::Micros;
use tidegate_store::StoreError;

use crate::breaker::BreakerStatus;
use crate::decision::Decision;

/// Is told what happens. Called on the path of every request: it must be quick and must not block.
pub trait Observer: Send + Sync + 'static {
    /// A request was decided; not called for a peek.
    fn decided(&self, decision: &Decision);

    /// These rules will be in force as soon as this returns: no request has been decided by them yet.
    fn rules_replaced(&self, rules: &RuleSet) {
        let _ = rules;
    }

    /// A call to the guarded store has ended: how long it took, and why it failed if it did. Calls that the breaker kept
    /// from the store and calls that nobody waited for are not told.
    fn store_called(&self, took: Micros, error: Option<&StoreError>) {
        let _ = (took, error);
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

    fn rules_replaced(&self, rules: &RuleSet) {
        (**self).rules_replaced(rules);
    }

    fn store_called(&self, took: Micros, error: Option<&StoreError>) {
        (**self).store_called(took, error);
    }

    fn breaker_changed(&self, status: &BreakerStatus) {
        (**self).breaker_changed(status);
    }
}
