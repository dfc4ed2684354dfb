//! The embedded store behind a switch, counting the calls that reach it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use std::sync::Mutex;
use tidegate_core::rule::RuleSet;
use tidegate_core::time::Timestamp;
use tidegate_store::{
    Applied, BucketAddress, BucketStore, MemoryOptions, MemoryStore, Outcome, Plan, PlannedBucket, StoreError,
};
use tokio::sync::Notify;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    /// Every call fails at once.
    Failing,
    /// Calls fail with this, at once.
    Timing,
    /// No call ends until the mood changes; then it is answered by the new one.
    Hanging,
    /// Probes are answered, nothing else.
    OnlyProbes,
}

/// Clones share everything.
#[derive(Clone)]
pub(crate) struct Flaky(Arc<Inner>);

struct Inner {
    memory: MemoryStore,
    mood: Mutex<Mood>,
    changed: Notify,
    calls: AtomicU64,
    probes: AtomicU64,
    debits: Mutex<Vec<u64>>,
}

impl Default for Flaky {
    fn default() -> Self {
        Self(Arc::new(Inner {
            memory: MemoryStore::new(&MemoryOptions::new([1, 2])),
            mood: Mutex::new(Mood::Well),
            changed: Notify::new(),
            calls: AtomicU64::new(0),
            probes: AtomicU64::new(0),
            debits: Mutex::default(),
        }))
    }
}

impl Flaky {
    pub(crate) fn set(&self, mood: Mood) {
        *self.0.mood.lock().unwrap() = mood;
        self.0.changed.notify_waiters();
    }

    /// Calls that reached the store, without probes.
    pub(crate) fn calls(&self) -> u64 {
        self.0.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn probes(&self) -> u64 {
        self.0.probes.load(Ordering::SeqCst)
    }

    /// The units of every debit that was done.
    pub(crate) fn debits(&self) -> Vec<u64> {
        self.0.debits.lock().unwrap().clone()
    }

    async fn answer(&self) -> Result<(), StoreError> {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        self.mood().await
    }

    async fn mood(&self) -> Result<(), StoreError> {
        loop {
            let changed = self.0.changed.notified();
            let mood = *self.0.mood.lock().unwrap();
            match mood {
                Mood::Well => return Ok(()),
                Mood::Failing | Mood::OnlyProbes => return Err(StoreError::Unavailable("secret".into())),
                Mood::Timing => return Err(StoreError::Timeout),
                Mood::Hanging => changed.await,
            }
        }
    }
}

impl BucketStore for Flaky {
    async fn apply(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Applied, StoreError> {
        self.answer().await?;
        self.0.memory.apply(plan, now).await
    }

    async fn peek(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Applied, StoreError> {
        self.answer().await?;
        self.0.memory.peek(plan, now).await
    }

    async fn refund(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Applied, StoreError> {
        self.answer().await?;
        self.0.memory.refund(plan, now).await
    }

    async fn withdraw(&self, plan: &Plan<'_>, outcome: &Outcome, now: Timestamp) -> Result<(), StoreError> {
        self.answer().await?;
        self.0.memory.withdraw(plan, outcome, now).await
    }

    async fn debit(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Applied, StoreError> {
        self.answer().await?;
        let applied = self.0.memory.debit(plan, now).await?;
        if matches!(applied, Applied::Decided(_)) {
            self.0.debits.lock().unwrap().push(plan.cost);
        }
        Ok(applied)
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.0.probes.fetch_add(1, Ordering::SeqCst);
        let only_probes = *self.0.mood.lock().unwrap() == Mood::OnlyProbes;
        if only_probes { Ok(()) } else { self.mood().await }
    }

    async fn reset(&self, plan: &Plan<'_>, now: Timestamp) -> Result<(), StoreError> {
        self.answer().await?;
        self.0.memory.reset(plan, now).await
    }

    fn rules_changed(&self, rules: &RuleSet, at: Timestamp) {
        self.0.memory.rules_changed(rules, at);
    }

    fn address(&self, plan: &Plan<'_>, bucket: &PlannedBucket<'_>) -> BucketAddress {
        self.0.memory.address(plan, bucket)
    }

    async fn release(
        &self,
        address: &BucketAddress,
        permit: u64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.answer().await?;
        self.0.memory.release(address, permit, now).await
    }
}
