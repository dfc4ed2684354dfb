//! What the engine tells about itself, without knowing who listens.

use crate::decision::Decision;

/// Is told what happens. Called on the path of every request: it must be quick and must not block.
pub trait Observer: Send + Sync + 'static {
    /// A request was decided; not called for a peek.
    fn decided(&self, decision: &Decision);

    /// New rules are in force.
    fn rules_replaced(&self, version: u64) {
        let _ = version;
    }
}
