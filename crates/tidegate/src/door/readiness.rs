//! Whether this node wants traffic.

use std::sync::Arc;

use tokio::sync::watch;

/// Whether this node wants traffic; what `/ready` and the gRPC health service say. Clones share it.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<watch::Sender<bool>>);

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Readiness {
    /// Says whether this node wants traffic.
    pub fn set(&self, ready: bool) {
        self.0.send_replace(ready);
    }

    /// Whether this node wants traffic.
    #[must_use]
    pub fn get(&self) -> bool {
        *self.0.borrow()
    }

    /// Hears of changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<bool> {
        self.0.subscribe()
    }
}
