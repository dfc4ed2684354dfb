//! From the numbers of a reply to an outcome: verdicts and gauges are computed here, by the same meters as anywhere.

use smallvec::SmallVec;
use tidegate_core::algorithm::{Ask, State};
use tidegate_core::decision::Verdict;
use tidegate_core::quota::Algorithm;
use tidegate_core::time::Timestamp;
use tidegate_store::{BucketResult, Outcome, Plan, PlannedBucket, StoreError};

use crate::ask::AskRow;
use crate::order::Deed;
use crate::value;

/// The states of a plan's buckets, from the numbers of a reply.
pub(crate) fn states_of(plan: &Plan<'_>, numbers: &[u64]) -> Result<SmallVec<[State; 2]>, StoreError> {
    let mut rest = numbers;
    let mut states = SmallVec::new();
    for bucket in plan.buckets() {
        let ask = AskRow::new(plan, bucket);
        let state = rest.split_at_checked(ask.width()).and_then(|(own, others)| {
            rest = others;
            value::from_reply(ask.algorithm(), own)
        });
        states.push(
            state.ok_or_else(|| StoreError::Corrupt("a reply without the state of a bucket".to_owned()))?,
        );
    }
    Ok(states)
}

/// The outcome of a plan whose buckets were in these states before it, and before `place` equal plans that were granted.
/// `granted` is what the script said; that it and the meters disagree can only be a defect, and is an error.
pub(crate) fn decided(
    plan: &Plan<'_>,
    deed: Deed,
    now: Timestamp,
    (granted, place): (bool, u64),
    mut states: SmallVec<[State; 2]>,
) -> Result<Outcome, StoreError> {
    let buckets = plan.buckets();
    for (bucket, state) in buckets.iter().zip(&mut states) {
        if place > 0 {
            let ahead = Ask { cost: plan.cost.saturating_mul(place), ..plan.ask(bucket) };
            bucket.metered.meter.charge(state, now, &ahead);
        }
    }
    let verdicts: SmallVec<[Verdict; 2]> = buckets
        .iter()
        .zip(&states)
        .map(|(bucket, state)| bucket.metered.meter.judge(state, now, &plan.ask(bucket)))
        .collect();
    let charged = deed == Deed::Apply
        && buckets.iter().zip(&verdicts).all(|(bucket, verdict)| verdict.is_allow() || !bucket.is_enforced());
    if charged != granted {
        return Err(StoreError::Corrupt("the script decided otherwise than the meter".to_owned()));
    }
    let mut results = SmallVec::new();
    for ((bucket, state), verdict) in buckets.iter().zip(&mut states).zip(verdicts) {
        let charges = charged && verdict.is_allow();
        if charges {
            bucket.metered.meter.charge(state, now, &plan.ask(bucket));
        }
        results.push(result_of(bucket, state, now, verdict, charges));
    }
    let mut outcome = Outcome::new(now, results, charged);
    outcome.states = tellable(plan).then(|| states.into_iter().collect());
    Ok(outcome)
}

/// What the buckets hold, where nothing is decided.
pub(crate) fn held(plan: &Plan<'_>, now: Timestamp, states: &[State], charged: bool) -> Outcome {
    let results = plan.buckets().iter().zip(states);
    let results =
        results.map(|(bucket, state)| result_of(bucket, state, now, Verdict::ALLOW, false)).collect();
    Outcome::new(now, results, charged)
}

fn result_of(
    bucket: &PlannedBucket<'_>,
    state: &State,
    now: Timestamp,
    verdict: Verdict,
    charges: bool,
) -> BucketResult {
    let place = match (verdict, state) {
        (Verdict::Allow { wait }, State::Tat(tat)) if charges && wait.as_micros() > 0 => Some(*tat),
        _ => None,
    };
    BucketResult { verdict, gauge: bucket.metered.meter.gauge(state, now, bucket.reserved), place }
}

/// Whether the states are the whole states: of a log and of permits a reply has only what its own answer needs.
fn tellable(plan: &Plan<'_>) -> bool {
    let whole = |algorithm| !matches!(algorithm, Algorithm::SlidingWindowLog | Algorithm::Concurrency);
    plan.buckets().iter().all(|bucket| whole(bucket.metered.meter.algorithm()))
}

/// What is remembered of a call: when it was decided, and the states before it (of a refund: after it).
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) decided_at: Timestamp,
    pub(crate) states: SmallVec<[u64; 8]>,
}

impl Record {
    /// Reads a record. `None` where the rules have changed since, so that it can no longer be told in their terms.
    pub(crate) fn read(plan: &Plan<'_>, mut packed: &[u8]) -> Option<Self> {
        let length = rmp::decode::read_array_len(&mut packed).ok()? as usize;
        let buckets = plan.buckets();
        let width: usize = buckets.iter().map(|bucket| AskRow::new(plan, bucket).width()).sum();
        if length != 1 + buckets.len() + width {
            return None;
        }
        let mut number = || rmp::decode::read_int::<u64, _>(&mut packed).ok();
        let decided_at = Timestamp::from_micros(number()?);
        for bucket in buckets {
            if number()? != u64::from(bucket.metered.revision.number()) {
                return None;
            }
        }
        let states = (0..width).map(|_| number()).collect::<Option<_>>()?;
        Some(Self { decided_at, states })
    }
}
