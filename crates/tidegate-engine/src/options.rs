//! What an engine is told when it is made.

use std::fmt;
use std::sync::Arc;

use tidegate_core::rule::model::FailurePolicy;

use crate::breaker::Breaker;
use crate::observe::Observer;

/// The memory that decisions on this node alone may take where nothing else is said: 64 MiB.
pub const DEFAULT_LOCAL_BYTES: usize = 64 << 20;

/// Everything about an engine besides its rules, its store and its clock.
pub struct EngineOptions {
    /// Is told what happens.
    pub observer: Option<Box<dyn Observer>>,
    /// The answer when the store does not answer, for rules that say nothing and whose domain says nothing;
    /// [`FailurePolicy::Allow`] where absent.
    pub default_failure: Option<FailurePolicy>,
    /// The breaker in front of the store, if there is one: by it the engine knows when the store is worth asking again.
    pub breaker: Option<Arc<Breaker>>,
    /// The most bytes of the buckets by which this node decides alone. They are taken only while the store does not
    /// answer and a rule's policy is [`FailurePolicy::Local`].
    pub local_max_bytes: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { observer: None, default_failure: None, breaker: None, local_max_bytes: DEFAULT_LOCAL_BYTES }
    }
}

impl fmt::Debug for EngineOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineOptions")
            .field("default_failure", &self.default_failure)
            .field("breaker", &self.breaker)
            .field("local_max_bytes", &self.local_max_bytes)
            .finish_non_exhaustive()
    }
}
