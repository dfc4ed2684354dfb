//! A store behind a circuit breaker: while it does not answer, nobody waits for it.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::rule::RuleSet;
use tidegate_core::time::{Micros, Timestamp};
use tidegate_store::{Applied, BucketAddress, BucketStore, Outcome, Plan, PlannedBucket, StoreError};
use tokio::sync::Notify;

use crate::breaker::{Admission, Breaker, BreakerOptions, BreakerState, BreakerStatus};
use crate::clock::Clock;
use crate::observe::Observer;
use crate::random::Jitter;

/// How a store is guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardOptions {
    /// When the circuit opens, and for how long.
    pub breaker: BreakerOptions,
    /// The longest time of one call, for a store that keeps no deadline of its own. A call that takes longer ends in
    /// [`StoreError::Timeout`].
    pub call_deadline: Option<Duration>,
    /// How often [`Guarded::probe_loop`] asks a store that does not answer, give or take a quarter.
    pub probe_interval: Duration,
    /// How long a probe may take.
    pub probe_deadline: Duration,
}

impl Default for GuardOptions {
    fn default() -> Self {
        Self {
            breaker: BreakerOptions::default(),
            call_deadline: None,
            probe_interval: Duration::from_millis(500),
            probe_deadline: Duration::from_millis(500),
        }
    }
}

/// A store behind a [`Breaker`]. While the circuit is open, every call ends in [`StoreError::Unavailable`] at once.
pub struct Guarded<S> {
    inner: S,
    options: GuardOptions,
    breaker: Arc<Breaker>,
    clock: Arc<dyn Clock>,
    observer: Option<Arc<dyn Observer>>,
    /// Told whenever the circuit opens.
    opened: Notify,
    jitter: Jitter,
}

impl<S: fmt::Debug> fmt::Debug for Guarded<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded")
            .field("inner", &self.inner)
            .field("breaker", &self.breaker)
            .finish_non_exhaustive()
    }
}

impl<S: BucketStore> Guarded<S> {
    /// Guards `inner`, a store of the kind `name`. The observer hears of every change of the breaker's state.
    #[must_use]
    pub fn new(
        name: &'static str,
        inner: S,
        options: GuardOptions,
        clock: impl Clock,
        observer: Option<Arc<dyn Observer>>,
    ) -> Self {
        let breaker = Arc::new(Breaker::new(name, options.breaker));
        let (clock, opened, jitter) = (Arc::new(clock), Notify::new(), Jitter::default());
        Self { inner, options, breaker, clock, observer, opened, jitter }
    }

    /// The breaker, for the engine's options.
    #[must_use]
    pub fn breaker(&self) -> Arc<Breaker> {
        Arc::clone(&self.breaker)
    }

    /// The guarded store.
    #[must_use]
    pub const fn inner(&self) -> &S {
        &self.inner
    }

    /// Probes the store while it does not answer, so that its return is noticed long before the cool-down is over. Asks
    /// nothing while it does. Never ends; one task should run it.
    pub async fn probe_loop(&self) {
        loop {
            self.opened.notified().await;
            while self.breaker.state() == BreakerState::Open {
                let pause = self.jitter.around(self.options.probe_interval);
                self.breaker.probe_due_at(self.clock.now().saturating_add(micros_of(pause)));
                tokio::time::sleep(pause).await;
                let probe = tokio::time::timeout(self.options.probe_deadline, self.inner.probe());
                if let Ok(Ok(())) = probe.await {
                    self.tell(self.breaker.probe_answered(self.clock.now()));
                }
            }
        }
    }

    async fn call<T, F: Future<Output = Result<T, StoreError>> + Send>(
        &self,
        now: Timestamp,
        call: impl FnOnce() -> F + Send,
    ) -> Result<T, StoreError> {
        if !self.breaker.is_closed() {
            self.tell(self.breaker.tick(now));
        }
        let Some(admission) = self.breaker.admit(now) else { return Err(not_asked()) };
        let pending = Pending { guarded: self, admission: Some(admission) };
        let result = match self.options.call_deadline {
            None => call().await,
            Some(deadline) => {
                tokio::time::timeout(deadline, call()).await.unwrap_or(Err(StoreError::Timeout))
            }
        };
        pending.end(result.as_ref().err(), now);
        result
    }

    fn tell(&self, change: Option<BreakerStatus>) {
        let Some(status) = change else { return };
        if status.state == BreakerState::Open {
            self.opened.notify_one();
        }
        if let Some(observer) = &self.observer {
            observer.breaker_changed(&status);
        }
    }
}

#[cold]
fn not_asked() -> StoreError {
    StoreError::Unavailable("it failed again and again, and is not asked until it answers a probe".to_owned())
}

fn micros_of(span: Duration) -> Micros {
    Micros::from_micros(u64::try_from(span.as_micros()).unwrap_or(u64::MAX))
}

/// A call under way. Dropped without an end, nobody waited for it.
struct Pending<'a, S: BucketStore> {
    guarded: &'a Guarded<S>,
    admission: Option<Admission>,
}

impl<S: BucketStore> Pending<'_, S> {
    fn end(mut self, error: Option<&StoreError>, began_at: Timestamp) {
        let Some(admission) = self.admission.take() else { return };
        let ended_at = self.guarded.clock.now();
        if let Some(observer) = &self.guarded.observer {
            observer.store_called(ended_at.since(began_at), error);
        }
        let change = match error {
            None => self.guarded.breaker.succeeded(admission, began_at),
            Some(error) => self.guarded.breaker.failed(admission, error, ended_at),
        };
        self.guarded.tell(change);
    }
}

impl<S: BucketStore> Drop for Pending<'_, S> {
    fn drop(&mut self) {
        if let Some(admission) = self.admission.take() {
            self.guarded.breaker.abandoned(admission);
        }
    }
}

impl<S: BucketStore> BucketStore for Guarded<S> {
    async fn apply(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Applied, StoreError> {
        self.call(now, || self.inner.apply(plan, now)).await
    }

    async fn peek(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Applied, StoreError> {
        self.call(now, || self.inner.peek(plan, now)).await
    }

    async fn refund(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Applied, StoreError> {
        self.call(now, || self.inner.refund(plan, now)).await
    }

    async fn withdraw(&self, plan: &Plan<'_>, outcome: &Outcome, now: Timestamp) -> Result<(), StoreError> {
        self.call(now, || self.inner.withdraw(plan, outcome, now)).await
    }

    async fn debit(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Applied, StoreError> {
        self.call(now, || self.inner.debit(plan, now)).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.call(self.clock.now(), || self.inner.probe()).await
    }

    async fn reset(&self, plan: &Plan<'_>, now: Timestamp) -> Result<(), StoreError> {
        self.call(now, || self.inner.reset(plan, now)).await
    }

    fn rules_changed(&self, rules: &RuleSet, at: Timestamp) {
        self.inner.rules_changed(rules, at);
    }

    fn address(&self, plan: &Plan<'_>, bucket: &PlannedBucket<'_>) -> BucketAddress {
        self.inner.address(plan, bucket)
    }

    async fn release(
        &self,
        address: &BucketAddress,
        permit: u64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.call(now, || self.inner.release(address, permit, now)).await
    }
}
