//! Requests that bring their own quota.

use tidegate_catalog::model::DEFAULT_TENANT;
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_engine::{AdHoc, Clock, Decision, EngineError};
use tidegate_store::BucketStore;

use super::{Caller, Gate};

impl<S: BucketStore, C: Clock> Gate<S, C> {
    /// Makes a quota ready that a caller brings itself. Tenants share no buckets, whatever the family.
    ///
    /// # Errors
    /// As [`tidegate_engine::Engine::ad_hoc`].
    pub fn ad_hoc(
        &self,
        caller: &Caller,
        family: &str,
        algorithm: Algorithm,
        quota: Quota,
    ) -> Result<AdHoc, EngineError> {
        // No tenant's name has this separator in it, so no family can pretend to be another tenant's.
        let tenant = caller.tenant.as_deref().unwrap_or(DEFAULT_TENANT);
        self.engine.ad_hoc(&format!("{tenant}\u{1f}{family}"), algorithm, quota)
    }

    /// Decides a request by the quota that it brings; a peek takes nothing. The ceiling of the caller's tenant is not looked
    /// at: [`Gate::over_ceiling`] does that.
    ///
    /// # Errors
    /// As [`tidegate_engine::Engine::check`].
    pub async fn throttle(
        &self,
        ad_hoc: &AdHoc,
        key: &str,
        cost: u64,
        peek: bool,
    ) -> Result<Decision, EngineError> {
        let mut timed = self.metrics.begin(self.door);
        let decided = self.engine.throttle_or_peek(ad_hoc, key, cost, peek).await;
        if peek { decided } else { timed.count_ad_hoc(decided) }
    }
}
