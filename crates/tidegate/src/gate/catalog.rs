//! What a node knows of the catalog, for the requests that it decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use tidegate_catalog::keys::KeyRing;
use tidegate_catalog::model::{Versions, qualified};
use tidegate_catalog::recent::Recorder;
use tidegate_catalog::repository::Repository;
use tidegate_catalog::state::{Database, State, StateCell};
use tidegate_catalog::subjects::SubjectCache;
use tidegate_catalog::usage::{TopKey, TopKeys, UsageMeter, WriterStats, Written};
use tokio::sync::Notify;

use super::Lookup;
use crate::trial::TrialRequest;

/// What a catalog is made of.
#[derive(Debug)]
pub struct CatalogParts {
    /// API keys.
    pub keys: Arc<KeyRing>,
    /// Subjects.
    pub subjects: SubjectCache<Repository>,
    /// How far this node has followed.
    pub state: StateCell,
    /// Wakes whoever follows.
    pub nudge: Arc<Notify>,
    /// Usage, counted.
    pub usage: Arc<UsageMeter>,
    /// Usage, written.
    pub written: Arc<WriterStats>,
    /// The busiest keys.
    pub top: TopKeys,
    /// Requests of the last minutes.
    pub recent: Recorder,
}

/// What a node knows of the catalog.
#[derive(Debug)]
pub struct Catalog {
    parts: CatalogParts,
    stale_lookups: AtomicU64,
    failed_lookups: AtomicU64,
    pub(super) banned: AtomicU64,
}

impl Catalog {
    /// What a node knows.
    #[must_use]
    pub const fn new(parts: CatalogParts) -> Self {
        let (stale_lookups, failed_lookups, banned) =
            (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Self { parts, stale_lookups, failed_lookups, banned }
    }

    /// API keys.
    #[must_use]
    pub fn keys(&self) -> &KeyRing {
        &self.parts.keys
    }

    /// Subjects.
    #[must_use]
    pub const fn subjects(&self) -> &SubjectCache<Repository> {
        &self.parts.subjects
    }

    /// How far this node has followed.
    #[must_use]
    pub const fn state(&self) -> &StateCell {
        &self.parts.state
    }

    /// Usage, counted.
    #[must_use]
    pub fn usage_meter(&self) -> Arc<UsageMeter> {
        Arc::clone(&self.parts.usage)
    }

    /// Usage, written.
    #[must_use]
    pub fn writer_stats(&self) -> Arc<WriterStats> {
        Arc::clone(&self.parts.written)
    }

    /// How writing usage goes.
    #[must_use]
    pub fn written(&self) -> Written {
        self.parts.written.get()
    }

    pub(super) fn usage(&self) -> &UsageMeter {
        &self.parts.usage
    }

    pub(super) const fn top_keys(&self) -> &TopKeys {
        &self.parts.top
    }

    pub(super) const fn recent(&self) -> &Recorder {
        &self.parts.recent
    }

    /// Waits until a version of the rules is in force here.
    pub async fn wait_for_rules(&self, version: i64) {
        self.wait_for(|applied| applied.rules >= version).await;
    }

    /// Waits until this node has heard of a version of the subjects.
    pub async fn wait_for_subjects(&self, version: i64) {
        self.wait_for(|applied| applied.subjects >= version).await;
    }

    /// Waits until this node has a version of the keys.
    pub async fn wait_for_keys(&self, version: i64) {
        self.wait_for(|applied| applied.keys >= version).await;
    }

    /// Makes this node look for changes now: once, since each look is work beside the requests.
    async fn wait_for(&self, is_there: impl Fn(&Versions) -> bool) {
        self.parts.nudge.notify_one();
        self.parts.state.wait_until(|state| is_there(&state.applied)).await;
    }

    pub(super) fn count_lookup_trouble(&self, lookup: Lookup) {
        let counter = match lookup {
            Lookup::Stale => &self.stale_lookups,
            Lookup::Failed | Lookup::Found | Lookup::NotNeeded => &self.failed_lookups,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Lookups that were answered with what was known before, and with nothing.
    #[must_use]
    pub fn lookup_troubles(&self) -> (u64, u64) {
        (self.stale_lookups.load(Ordering::Relaxed), self.failed_lookups.load(Ordering::Relaxed))
    }

    /// Requests of banned subjects.
    #[must_use]
    pub fn banned(&self) -> u64 {
        self.banned.load(Ordering::Relaxed)
    }

    /// The busiest keys of a domain, by its name in the engine.
    #[must_use]
    pub fn top(&self, domain: &str, most: usize, now_us: i64) -> Vec<TopKey> {
        self.parts.top.top(domain, most, now_us)
    }

    /// Requests to a tenant's domain since a time, to try a change on: the newest, at most so many.
    #[must_use]
    pub fn recent_requests(
        &self,
        tenant: &str,
        domain: &str,
        from_us: i64,
        most: usize,
    ) -> Vec<TrialRequest> {
        let recent = self.parts.recent.since(from_us, &qualified(tenant, domain), most).into_iter();
        recent
            .map(|request| TrialRequest {
                at_us: u64::try_from(request.at_us).unwrap_or(0),
                entries: request.entries,
                cost: request.cost,
            })
            .collect()
    }

    /// The subject cache, for operators.
    #[must_use]
    pub fn subjects_json(&self) -> Value {
        let stats = self.parts.subjects.stats();
        let (stale, failed) = self.lookup_troubles();
        json!({
            "entries": stats.entries,
            "hits": stats.hits,
            "misses": stats.misses,
            "lookups": stats.flights,
            "lookups_answered_stale": stale,
            "lookups_failed": failed,
            "banned_requests": self.banned(),
        })
    }

    /// The usage buffer, for operators.
    #[must_use]
    pub fn usage_json(&self) -> Value {
        let written = self.written();
        json!({
            "rows_waiting": written.waiting,
            "dropped": written.dropped,
            "batches_written": written.batches,
            "failures": written.failures,
            "busiest_keys_skipped": self.parts.top.skipped(),
        })
    }

    /// The record of recent requests, for operators.
    #[must_use]
    pub fn recent_json(&self) -> Value {
        json!({ "capacity_bytes": self.parts.recent.capacity_bytes(), "skipped": self.parts.recent.skipped() })
    }
}

/// A state for answers: what callers may know.
#[must_use]
pub fn state_json(state: &State) -> Value {
    let database = match &state.database {
        Database::Unknown => json!({ "state": "unknown" }),
        Database::Up => json!({ "state": "up" }),
        Database::Down { since_us, .. } => json!({ "state": "down", "since": *since_us as f64 / 1e6 }),
    };
    json!({
        "current": state.is_current(),
        "database": database,
        "rules_from": state.origin.name(),
        "version": state.applied.rules,
        "newest_version_seen": state.seen.rules,
        "rules_error": state.rules_error.is_some(),
        "rule_file_error": state.file_error.is_some(),
        "reloads": state.reloads,
        "failed_reloads": state.failed_reloads,
    })
}
