//! The page for Prometheus: what is counted at the gate, and what engine and catalog have counted anyway.

use tidegate_catalog::keys::Refusal;
use tidegate_catalog::model::Scope;
use tidegate_catalog::state::Database;
use tidegate_engine::{BreakerState, Clock, DegradedCounts};
use tidegate_store::BucketStore;

use super::{Catalog, Gate};
use crate::telemetry::metrics::catalogue::{
    BANNED_REQUESTS, BREAKER_REJECTED, BREAKER_STATE, BREAKER_TRANSITIONS, CATALOG_CURRENT, CATALOG_OUTAGES,
    CATALOG_RELOAD_FAILURES, CATALOG_RELOADS, CATALOG_RULES_VERSION, CATALOG_RULES_VERSION_SEEN, CATALOG_UP,
    DEBT_UNITS_LOST, DEBT_UNITS_PAID, DEBTS, RULES, RULES_VERSION, SUBJECT_CACHE_HITS, SUBJECT_CACHE_MISSES,
    SUBJECT_LOOKUP_FAILURES, SUBJECT_LOOKUPS, SUBJECT_LOOKUPS_STALE, SUBJECTS_CACHED, USAGE_BATCHES,
    USAGE_DROPPED, USAGE_FAILURES, USAGE_ROWS_WAITING,
};
use crate::telemetry::metrics::{Page, Sees};

impl<S: BucketStore, C: Clock> Gate<S, C> {
    /// Everything that is counted, in the OpenMetrics text format. Tenants' domains and rules are named to operators only; to
    /// others, all tenants but the default one are one.
    ///
    /// # Errors
    /// The key is not good. It is never taken for none; where there are no keys, nobody looks at it.
    pub fn metrics_page(&self, key: Option<&str>) -> Result<String, Refusal> {
        let mut page = Page::default();
        self.metrics.write(&mut page, self.sees(key)?);
        self.write_engine(&mut page);
        if let Some(catalog) = &self.catalog {
            write_catalog(&mut page, catalog);
        }
        Ok(page.into_text())
    }

    fn sees(&self, key: Option<&str>) -> Result<Sees, Refusal> {
        let (Some(catalog), Some(key)) = (&self.catalog, key) else { return Ok(Sees::DefaultTenant) };
        let verified = catalog.keys().verify(key, self.now_us())?;
        let is_operator = verified.tenant.is_none() && verified.may(Scope::AdminRead);
        Ok(if is_operator { Sees::AllTenants } else { Sees::DefaultTenant })
    }

    fn write_engine(&self, page: &mut Page) {
        let rules = self.engine.rules();
        page.number(&RULES_VERSION, rules.version());
        page.number(&RULES, rules.rule_count() as u64);
        let breaker = self.engine.breaker_status();
        let state = match breaker.state {
            BreakerState::Closed => 0,
            BreakerState::HalfOpen => 1,
            BreakerState::Open => 2,
        };
        page.labelled(&BREAKER_STATE, [breaker.store], state);
        page.labelled(&BREAKER_TRANSITIONS, [breaker.store], breaker.transitions);
        page.labelled(&BREAKER_REJECTED, [breaker.store], breaker.rejected);
        let DegradedCounts { debts, units_debited, units_lost, .. } = self.engine.degraded_counts();
        page.number(&DEBTS, debts);
        page.number(&DEBT_UNITS_PAID, units_debited);
        page.number(&DEBT_UNITS_LOST, units_lost);
    }
}

fn write_catalog(page: &mut Page, catalog: &Catalog) {
    let (state, subjects, usage) = (catalog.state().get(), catalog.subjects().stats(), catalog.written());
    let (stale, failed) = catalog.lookup_troubles();
    let version = |version: i64| u64::try_from(version).unwrap_or(0);
    page.number(&CATALOG_UP, u64::from(state.database == Database::Up));
    page.number(&CATALOG_CURRENT, u64::from(state.is_current()));
    page.number(&CATALOG_RULES_VERSION, version(state.applied.rules));
    page.number(&CATALOG_RULES_VERSION_SEEN, version(state.seen.rules));
    page.number(&CATALOG_RELOADS, state.reloads);
    page.number(&CATALOG_RELOAD_FAILURES, state.failed_reloads);
    page.number(&CATALOG_OUTAGES, state.outages);
    page.number(&SUBJECTS_CACHED, subjects.entries);
    page.number(&SUBJECT_CACHE_HITS, subjects.hits);
    page.number(&SUBJECT_CACHE_MISSES, subjects.misses);
    page.number(&SUBJECT_LOOKUPS, subjects.flights);
    page.number(&SUBJECT_LOOKUPS_STALE, stale);
    page.number(&SUBJECT_LOOKUP_FAILURES, failed);
    page.number(&BANNED_REQUESTS, catalog.banned());
    page.number(&USAGE_ROWS_WAITING, usage.waiting);
    page.number(&USAGE_DROPPED, usage.dropped);
    page.number(&USAGE_BATCHES, usage.batches);
    page.number(&USAGE_FAILURES, usage.failures);
}
