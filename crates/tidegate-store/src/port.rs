//! The port: what the engine asks of any store.

use std::future::Future;

use smallvec::SmallVec;
use tidegate_core::rule::RuleSet;
use tidegate_core::time::Timestamp;

use crate::error::StoreError;
use crate::plan::{Outcome, Plan, PlannedBucket};

/// Where a store keeps a bucket, in the store's own bytes. Stays valid as long as the bucket does.
pub type BucketAddress = SmallVec<[u8; 32]>;

/// The answer to a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Decided; charged if [`Outcome::charged`].
    Decided(Outcome),
    /// A bucket was written under rules this plan does not know; nothing was done. Plan again with the present
    /// rules, and if they still do not know it, with [`UnknownRevisions::Adopt`](crate::UnknownRevisions::Adopt).
    Stale,
}

/// A place where buckets are kept.
///
/// Every call is one atomic step over all buckets of its plan. A call that ends in an error other than
/// [`StoreError::Timeout`] has changed nothing.
pub trait BucketStore: Send + Sync + 'static {
    /// Decides a plan and, when every enforced bucket allows it, charges every bucket that allows it. Shadow
    /// buckets do not hinder and are charged with the others; a denied plan charges nothing at all.
    fn apply(
        &self,
        plan: &Plan<'_>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Applied, StoreError>> + Send;

    /// Decides a plan without changing anything.
    fn peek(
        &self,
        plan: &Plan<'_>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Applied, StoreError>> + Send;

    /// Gives [`Plan::cost`] units back to every bucket, at most what each has used. Permits are not touched.
    /// The outcome holds what is left. Under an idempotency key it is done once, like a charge.
    fn refund(
        &self,
        plan: &Plan<'_>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Applied, StoreError>> + Send;

    /// Takes back the charge of a plan whose request gave up waiting. A place in a queue is given back only while
    /// nobody stands behind it: those who were told their instant keep it. All other units are refunded, and an
    /// idempotency key is forgotten. The outcome of a repeated call is not taken back: its charge is another call's.
    fn withdraw(
        &self,
        plan: &Plan<'_>,
        outcome: &Outcome,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Takes [`Plan::cost`] units from every bucket whether or not they are there, but never more than its rule could
    /// ever have admitted: for what was let through while the store could not be asked. Permits are not handed out.
    fn debit(
        &self,
        plan: &Plan<'_>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Applied, StoreError>> + Send;

    /// Whether the store answers. Changes nothing.
    fn probe(&self) -> impl Future<Output = Result<(), StoreError>> + Send {
        core::future::ready(Ok(()))
    }

    /// Puts every bucket of the plan to rest, as if nobody had used it.
    fn reset(&self, plan: &Plan<'_>, now: Timestamp) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Tells the store that these rules hold from `at` on: at the start, and whenever they change. Not needed for any
    /// answer; but a store that is saved can write down what its revisions mean, and a store that drops buckets at rest needs it, because the new rules can bring a bucket to
    /// rest later than the old ones: dropped by the old ones' time, it would start afresh.
    fn rules_changed(&self, rules: &RuleSet, at: Timestamp) {
        let _ = (rules, at);
    }

    /// Whether rules with a lease are answered from units that this node holds, so that their bound is wider.
    fn leases(&self) -> bool {
        false
    }

    /// Where a bucket of a plan is kept, for [`BucketStore::release`].
    fn address(&self, plan: &Plan<'_>, bucket: &PlannedBucket<'_>) -> BucketAddress;

    /// Gives a permit back. True when it was still held.
    fn release(
        &self,
        address: &BucketAddress,
        permit: u64,
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
}
