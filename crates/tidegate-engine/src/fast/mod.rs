//! Denials that are sure, answered without asking a store that is far away.
//!
//! A remote store says with every reply what its buckets hold ([`Outcome::states`]). That is remembered for a moment,
//! and a request that it denies is denied here. What is answered is the store's own answer: it would deny now.
//!
//! # Why a denial is sure
//!
//! **The instant.** A call was sent at `sent` by this node's clock and decided at `decided_at` by the store's. It was
//! decided after it was sent, so when this node's clock shows `now`, the store's shows at most
//! `decided_at + (now − sent)`: later by what the call took to get there, never earlier. A margin of 1/1024 of the
//! age, and three microseconds for what whole microseconds leave out, covers clocks that run apart.
//!
//! **The state.** Let a state deny at that instant. Then the store denies at its present, which is not later, with the
//! state it holds by then, which others can only have added to:
//! - Token and leaky bucket deny while TAT − now exceeds what is free, with the queue counted as free. That only
//!   falls with time, and every charge and debit moves TAT forward.
//! - Fixed window: a denial means that the count's window is not over at that instant. So it is not over at any
//!   earlier one, until then nobody can begin another window, and in it the count only grows.
//! - Sliding window: `previous·(W − e) + used·W` falls steadily with time, and has no step at a boundary: there
//!   `used·W` becomes `previous·W`. Moving the pair on at some instant does not change the sum of any later one, and
//!   every charge adds to it.
//! - Sliding window log: an admission that counts at an instant counted ever since it was made, and none is removed.
//! - Concurrency: a permit may be given back at any moment, so nothing is remembered.
//!
//! **What takes something away.** Refund, reset and withdrawal: through this node they end what is remembered, and
//! replies that were on their way meanwhile are not remembered either. Made by another node, or lost on the way and
//! carried out later, they are seen after [`FastOptions::max_age`] at the latest, as is a subject that changed its
//! tier elsewhere. A debit only adds. A rule's change is seen at once: a denial is judged by the quota of the request
//! itself, and where the revision is another, the store is asked.
//!
//! **A clock that steps.** When the store's clock steps forward, its buckets refill at once, and a denial here is too
//! strict for `max_age` at the most. When it steps back, all its denials last longer. Beyond
//! [`CLOCK_TOLERANCE`](tidegate_core::algorithm::CLOCK_TOLERANCE) it pulls states back, to the fullest state or with
//! the same count: those deny as well, but for the sliding window, whose older count is then weighted anew; there too
//! the difference ends after `max_age`. In no case does anything pass that the store would have denied.
//!
//! # What is left to the store
//!
//! Every allowance; calls with an idempotency key; plans with a shadow or concurrency rule; plans of which one bucket
//! would allow, because its gauge is only known there; denials that no waiting lifts; and [`BucketStore::peek`], which
//! is asked for what the store holds.
//!
//! The verdict is sure, the numbers beside it are of the last reply. `retry_after` counts from an instant that may be
//! late by what a call takes to reach the store: who waits exactly so long comes that much early, and what the next
//! call takes on its way usually makes up for it.

mod memory;
pub(crate) mod stripe;

use core::fmt;

use smallvec::SmallVec;
use tidegate_core::rule::RuleSet;
use tidegate_core::time::{Micros, Timestamp};
use tidegate_store::{
    Applied, BucketAddress, BucketStore, Outcome, Plan, PlannedBucket, StoreError, UnknownRevisions,
};

use memory::{Asked, Memory, Recalled};

/// The longest that a reply is remembered where nothing else is said: one second.
pub const DEFAULT_MAX_AGE: Micros = Micros::from_secs(1);
/// The most buckets that are remembered where nothing else is said: about 8 MiB.
pub const DEFAULT_MAX_ENTRIES: usize = 65_536;

/// What a [`FastAnswers`] remembers.
#[derive(Clone)]
pub struct FastOptions {
    /// Remember replies that denied.
    pub deny_cache: bool,
    /// Remember replies that granted as well, where a bucket is asked often and the same cost would be denied next.
    pub shadow: bool,
    /// The longest that a reply is used, by this node's clock: so long may it take until a refund or reset by another
    /// node is seen here. Zero remembers nothing.
    pub max_age: Micros,
    /// The most buckets that are remembered. A long admission log counts as several: one for every four admissions.
    pub max_entries: usize,
    /// The secret that keys are hashed under. Draw it at random: who knows it can make keys meet.
    pub seed: [u64; 2],
}

impl FastOptions {
    /// Everything remembered for [`DEFAULT_MAX_AGE`], of at most [`DEFAULT_MAX_ENTRIES`] buckets.
    #[must_use]
    pub const fn new(seed: [u64; 2]) -> Self {
        Self {
            deny_cache: true,
            shadow: true,
            max_age: DEFAULT_MAX_AGE,
            max_entries: DEFAULT_MAX_ENTRIES,
            seed,
        }
    }
}

impl fmt::Debug for FastOptions {
    /// Everything but the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FastOptions")
            .field("deny_cache", &self.deny_cache)
            .field("shadow", &self.shadow)
            .field("max_age", &self.max_age)
            .field("max_entries", &self.max_entries)
            .finish_non_exhaustive()
    }
}

/// What a [`FastAnswers`] remembers and has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FastStats {
    /// Buckets that are remembered.
    pub entries: usize,
    /// Requests that were to be decided.
    pub asked: u64,
    /// Requests of these that were denied without asking the store.
    pub answered: u64,
    /// Times that a bucket's state was remembered, anew or again.
    pub remembered: u64,
    /// Buckets that were forgotten early, to make room for others.
    pub evicted: u64,
}

/// A remote store, with its sure denials answered in front of it.
///
/// The states of replies stay here: an [`Outcome`] that is passed on has no states left.
pub struct FastAnswers<S> {
    store: S,
    memory: Option<Memory>,
}

impl<S: BucketStore> FastAnswers<S> {
    /// Nothing is remembered yet.
    #[must_use]
    pub fn new(store: S, options: &FastOptions) -> Self {
        let remembers = (options.deny_cache || options.shadow) && options.max_age > Micros::ZERO;
        Self { store, memory: remembers.then(|| Memory::new(options)) }
    }

    /// The store behind.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.store
    }

    /// What it remembers and has done. All zero where nothing is to be remembered.
    #[must_use]
    pub fn stats(&self) -> FastStats {
        self.memory.as_ref().map(Memory::stats).unwrap_or_default()
    }

    /// Forgets everything, and replies that are on their way too.
    pub fn forget_all(&self) {
        if let Some(memory) = &self.memory {
            memory.forget_all();
        }
    }

    /// To be called when the store may have lost state: a failover, a restart, a flush. Everything is forgotten. What
    /// was remembered did happen, but its instants are another server's clock's, and each node would restore only
    /// what it happened to see: to bring state back is the store's task, once and for all nodes.
    pub fn store_lost_state(&self) {
        self.forget_all();
    }

    /// Keeps what a reply says.
    fn learn(&self, plan: &Plan<'_>, sent: Timestamp, asked: &[Asked], applied: &mut Applied) {
        let Some(memory) = &self.memory else { return };
        match applied {
            // The outcome of an earlier call was decided before this one was sent.
            Applied::Decided(outcome) if outcome.repeated => {}
            Applied::Decided(outcome) => {
                if let Some(states) = outcome.states.take() {
                    memory.learn(plan, sent, asked, outcome, states);
                }
            }
            Applied::Stale => memory.forget(asked.iter().map(|asked| asked.fingerprint)),
        }
    }

    /// To be held while a call takes something away from the plan's buckets.
    fn loosen(&self, plan: &Plan<'_>) -> Option<Loosening<'_>> {
        let memory = self.memory.as_ref()?;
        let fingerprints =
            plan.buckets().iter().map(|bucket| memory.fingerprint(plan.key_of(bucket))).collect();
        Some(Loosening { memory, fingerprints })
    }
}

impl<S> fmt::Debug for FastAnswers<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FastAnswers").field("remembers", &self.memory.is_some()).finish_non_exhaustive()
    }
}

/// Forgets the buckets when it is dropped: when the call has ended, was given up or never answered.
struct Loosening<'m> {
    memory: &'m Memory,
    fingerprints: SmallVec<[memory::Fingerprint; 2]>,
}

impl Drop for Loosening<'_> {
    fn drop(&mut self) {
        self.memory.forget(self.fingerprints.iter().copied());
    }
}

/// Whether a denial of this plan may be answered here, if all its buckets deny.
fn is_answerable(plan: &Plan<'_>) -> bool {
    plan.idempotency_key.is_none()
        && plan.unknown_revisions == UnknownRevisions::Refuse
        && plan.buckets().iter().all(PlannedBucket::is_enforced)
}

impl<S: BucketStore> BucketStore for FastAnswers<S> {
    /// One place that awaits, and the answer handed on as it came: every other way copies it once more.
    async fn apply(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Applied, StoreError> {
        let asked = match self.memory.as_ref().map(|memory| memory.recall(plan, now, is_answerable(plan))) {
            Some(Recalled::Denied(outcome)) => return Ok(Applied::Decided(outcome)),
            Some(Recalled::Unsure(asked)) => asked,
            None => SmallVec::new(),
        };
        let mut answer = self.store.apply(plan, now).await;
        if let Ok(applied) = &mut answer {
            self.learn(plan, now, &asked, applied);
        }
        answer
    }

    async fn peek(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Applied, StoreError> {
        self.store.peek(plan, now).await
    }

    async fn refund(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Applied, StoreError> {
        let _loosening = self.loosen(plan);
        self.store.refund(plan, now).await
    }

    async fn withdraw(&self, plan: &Plan<'_>, outcome: &Outcome, now: Timestamp) -> Result<(), StoreError> {
        let _loosening = self.loosen(plan);
        self.store.withdraw(plan, outcome, now).await
    }

    async fn debit(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Applied, StoreError> {
        self.store.debit(plan, now).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.store.probe().await
    }

    async fn reset(&self, plan: &Plan<'_>, now: Timestamp) -> Result<(), StoreError> {
        let _loosening = self.loosen(plan);
        self.store.reset(plan, now).await
    }

    fn rules_changed(&self, rules: &RuleSet, at: Timestamp) {
        self.store.rules_changed(rules, at);
        self.forget_all();
    }

    fn address(&self, plan: &Plan<'_>, bucket: &PlannedBucket<'_>) -> BucketAddress {
        self.store.address(plan, bucket)
    }

    async fn release(
        &self,
        address: &BucketAddress,
        permit: u64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.store.release(address, permit, now).await
    }
}
