//! What was taken for one request, until it is known whether the request passes.

use smallvec::SmallVec;
use tidegate_core::decision::Verdict;
use tidegate_core::time::Timestamp;
use tidegate_store::{BucketResult, Outcome, Plan, PlannedBucket};

use super::grant::Take;
use super::table::Table;

/// Where one bucket's units come from.
pub(super) enum Part {
    /// Taken from what this node holds.
    Held(Take),
    /// The bucket may be leased, but too little is held.
    Missing,
    /// Of the store alone.
    Exact,
}

/// Units taken for a plan. Put back when this is dropped, unless they were spent.
pub(super) struct Taken<'p, 'r> {
    table: &'p Table,
    plan: &'p Plan<'r>,
    parts: SmallVec<[Part; 2]>,
    is_spent: bool,
}

impl<'p, 'r> Taken<'p, 'r> {
    pub(super) const fn new(table: &'p Table, plan: &'p Plan<'r>, parts: SmallVec<[Part; 2]>) -> Self {
        Self { table, plan, parts, is_spent: false }
    }

    pub(super) fn is_missing(&self, index: usize) -> bool {
        matches!(self.parts.get(index), Some(Part::Missing))
    }

    pub(super) fn is_held(&self, index: usize) -> bool {
        matches!(self.parts.get(index), Some(Part::Held(_)))
    }

    /// Whether no bucket is of the store alone.
    pub(super) fn is_all_leased(&self) -> bool {
        !self.parts.iter().any(|part| matches!(part, Part::Exact))
    }

    /// Takes more: the bucket at `index` is covered now.
    pub(super) fn add(&mut self, index: usize, take: Take) {
        if let Some(part) = self.parts.get_mut(index) {
            *part = Part::Held(take);
        }
    }

    /// The outcome, if every bucket is covered.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        let mut results = SmallVec::new();
        let mut decided_at = Timestamp::MAX;
        for (bucket, part) in self.plan.buckets().iter().zip(&self.parts) {
            let Part::Held(take) = part else { return None };
            decided_at = decided_at.min(take.at);
            results.push(result_of(bucket, take));
        }
        Some(Outcome::new(decided_at, results, true))
    }

    /// The request passes.
    pub(super) const fn spend(&mut self) {
        self.is_spent = true;
    }

    /// The request passes, and asked nobody.
    pub(super) fn spend_at_once(mut self) {
        self.spend();
        if let Some(bucket) = self.plan.buckets().first() {
            self.table.count_answer(self.plan.key_of(bucket));
        }
    }

    /// The plan of what is not covered; `None` where nothing is.
    pub(super) fn rest(&self) -> Option<Plan<'r>> {
        if !self.parts.iter().any(|part| matches!(part, Part::Held(_))) {
            return None;
        }
        let mut rest = Plan::new(self.plan.cost);
        rest.permit = self.plan.permit;
        rest.unknown_revisions = self.plan.unknown_revisions;
        for (bucket, part) in self.plan.buckets().iter().zip(&self.parts) {
            if !matches!(part, Part::Held(_)) {
                rest.add_key(bucket.rule, bucket.metered, bucket.reserved, self.plan.key_of(bucket));
            }
        }
        Some(rest)
    }

    /// The outcome of the whole plan, from that of the rest.
    pub(super) fn merge(&self, rest: Outcome) -> Outcome {
        let mut asked = rest.results.into_iter();
        let buckets = self.plan.buckets().iter().zip(&self.parts);
        let results = buckets.filter_map(|(bucket, part)| match part {
            Part::Held(take) => {
                let mut result = result_of(bucket, take);
                if !rest.charged {
                    super::count_as_left(&mut result, self.plan.cost);
                }
                Some(result)
            }
            Part::Missing | Part::Exact => asked.next(),
        });
        Outcome { results: results.collect(), states: None, ..rest }
    }
}

impl Drop for Taken<'_, '_> {
    fn drop(&mut self) {
        if self.is_spent {
            return;
        }
        for (bucket, part) in self.plan.buckets().iter().zip(&self.parts) {
            if let Part::Held(take) = part {
                self.table.put_back(self.plan.key_of(bucket), take, self.plan.cost);
            }
        }
    }
}

/// What a bucket says whose units were held: by the numbers of the charge, as if only this node had used it since.
fn result_of(bucket: &PlannedBucket<'_>, take: &Take) -> BucketResult {
    let meter = &bucket.metered.meter;
    let gauge = meter.gauge(&meter.with_used(take.used, take.charged_at), take.at, 0);
    BucketResult { verdict: Verdict::ALLOW, gauge, place: None }
}
