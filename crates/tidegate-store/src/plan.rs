//! A plan: everything a store needs to decide one request, and the outcome it gives back.

use std::ops::Range;

use smallvec::SmallVec;
use tidegate_core::algorithm::{Ask, State, Tat};
use tidegate_core::decision::{Gauge, Verdict};
use tidegate_core::rule::model::Mode;
use tidegate_core::rule::{CompiledRule, Metered};
use tidegate_core::time::Timestamp;

/// One request's buckets and what it asks of them.
#[derive(Debug)]
pub struct Plan<'a> {
    keys: SmallVec<[u8; 64]>,
    buckets: SmallVec<[PlannedBucket<'a>; 2]>,
    /// Units to take from every bucket.
    pub cost: u64,
    /// Names the permits that concurrency buckets would hand out; drawn at random by the caller, never twice the same.
    pub permit: u64,
    /// A charge or refund made under the same bytes not long ago is not made again: its outcome is repeated. The
    /// bytes name the whole call, not only what the caller chose: another call is never taken for this one.
    pub idempotency_key: Option<Box<[u8]>>,
    /// What to do with a bucket whose revision the rule does not know.
    pub unknown_revisions: UnknownRevisions,
}

/// What to do with a bucket that was written under a revision its rule does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownRevisions {
    /// Answer [`Applied::Stale`](crate::Applied::Stale): there may be newer rules that know it.
    #[default]
    Refuse,
    /// Take the state as it is: there are no newer rules, so another process wrote it before a restart.
    Adopt,
}

/// One bucket of a plan.
#[derive(Clone, Debug)]
pub struct PlannedBucket<'a> {
    key: Range<u32>,
    /// The rule it belongs to.
    pub rule: &'a CompiledRule,
    /// The quota that holds for this request.
    pub metered: &'a Metered,
    /// Units that this request must leave to higher priorities.
    pub reserved: u64,
}

impl PlannedBucket<'_> {
    /// Whether a denial here is obeyed.
    #[must_use]
    pub fn is_enforced(&self) -> bool {
        self.rule.model().mode == Mode::Enforce
    }
}

/// What one bucket answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketResult {
    /// Allow or deny, by this bucket alone.
    pub verdict: Verdict,
    /// What it holds after the decision.
    pub gauge: Gauge,
    /// The place taken in a queue, by which it can be given back while nobody stands behind it.
    pub place: Option<Tat>,
}

/// What a plan led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The time by which it was decided: the caller's `now`, or the store's own.
    pub decided_at: Timestamp,
    /// One result per bucket, in the order of the plan.
    pub results: SmallVec<[BucketResult; 1]>,
    /// Whether the buckets were charged: every enforced one allowed, and it was not a peek.
    pub charged: bool,
    /// Whether this is the outcome of an earlier call with the same idempotency key.
    pub repeated: bool,
    /// What each bucket holds after the decision, from a store that is far away: by it a denial that is sure to come
    /// again can be answered without asking. `None` from a store that is near.
    pub states: Option<Box<[State]>>,
}

impl Outcome {
    /// An outcome of this call, from a store that does not tell its states.
    #[must_use]
    pub fn new(decided_at: Timestamp, results: SmallVec<[BucketResult; 1]>, charged: bool) -> Self {
        Self { decided_at, results, charged, repeated: false, states: None }
    }
}

impl<'a> Plan<'a> {
    /// A plan without buckets yet.
    #[must_use]
    pub fn new(cost: u64) -> Self {
        Self {
            keys: SmallVec::new(),
            buckets: SmallVec::new(),
            cost,
            permit: 0,
            idempotency_key: None,
            unknown_revisions: UnknownRevisions::default(),
        }
    }

    /// Adds the bucket that these entries select in a rule.
    pub fn add(
        &mut self,
        rule: &'a CompiledRule,
        metered: &'a Metered,
        reserved: u64,
        entries: &[(&str, &str)],
    ) {
        let start = self.keys.len();
        rule.encode_key(entries, |bytes| self.keys.extend_from_slice(bytes));
        let key = position(start)..position(self.keys.len());
        self.buckets.push(PlannedBucket { key, rule, metered, reserved });
    }

    /// Adds the bucket that these bytes name: [`Plan::key_of`] another plan, of the same rule.
    pub fn add_key(&mut self, rule: &'a CompiledRule, metered: &'a Metered, reserved: u64, key: &[u8]) {
        let start = self.keys.len();
        self.keys.extend_from_slice(key);
        let key = position(start)..position(self.keys.len());
        self.buckets.push(PlannedBucket { key, rule, metered, reserved });
    }

    /// The buckets, in the order they were added.
    #[must_use]
    pub fn buckets(&self) -> &[PlannedBucket<'a>] {
        &self.buckets
    }

    /// The bytes that name a bucket of this plan: rule and partition key, each part with its length in front.
    #[must_use]
    pub fn key_of(&self, bucket: &PlannedBucket<'_>) -> &[u8] {
        self.keys.get(bucket.key.start as usize..bucket.key.end as usize).unwrap_or_default()
    }

    /// What the plan asks of one of its buckets.
    #[must_use]
    pub fn ask(&self, bucket: &PlannedBucket<'_>) -> Ask {
        Ask { cost: self.cost, reserved: bucket.reserved, permit: self.permit }
    }
}

/// Keys of one plan together stay far below 4 GiB: doors bound the number and length of entries.
fn position(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
