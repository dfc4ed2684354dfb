//! Leases: units of a rule that allows it are debited in the shared store first, and then spent on this node without
//! asking.
//!
//! # What is kept
//!
//! The bounds are those of [`Rule::lease`]: a unit is debited before it is spent, and spent once. For that,
//! - a node never has more than one lease of a bucket outstanding, spendable or on its way back: while the store is
//!   asked about a bucket, nobody else asks, and what is due is given back before anything new is taken;
//! - a lease does not outlive the window it was debited in;
//! - what may have been given back is never given back again and never spent: after a timeout it is lost, and as many
//!   units fewer pass. The same goes for what a node holds when it dies.
//!
//! # Which requests
//!
//! Each bucket of a leased rule gives what is held of it. What is missing, and every bucket of an exact rule, is asked
//! of the store in one atomic step; if that denies, what was taken is put back. So a request passes everywhere or
//! nowhere. A request whose rules are all leased and covered asks nobody.
//!
//! More is leased when a bucket has been asked about a few times within a second and all rules of the request are
//! leased: one call takes what the request is short of, and a lease beside it. Who comes meanwhile waits for it as far as
//! it reaches. Where the store has too little for a lease, it is asked exactly, so that the last units go to whoever
//! comes first and a denial is the store's own.
//!
//! The store decides the whole plan where a key makes the call idempotent, where a priority has to leave a reserve, where
//! the rules of another node wrote the bucket, and where the cost is zero, or leaves nothing of the burst to lease.
//!
//! Of a request of several rules, each bucket's units count from the instant they are taken: what is held, when the request
//! comes, and what is asked for, when the store decides. The bounds are kept at those instants, which are at most a call
//! to the store apart.
//!
//! # What is said
//!
//! `remaining` and `used` of a leased rule are what the store last said, with what this node still holds counted as
//! left: other nodes may have used more since, or hold some.

mod grant;
mod hand_back;
mod table;
mod taken;

use core::fmt;
use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use smallvec::SmallVec;
use tidegate_core::decision::Verdict;
use tidegate_core::rule::{CompiledRule, RuleSet};
use tidegate_core::time::Timestamp;
use tidegate_store::{
    Applied, BucketAddress, BucketResult, BucketStore, Outcome, Plan, PlannedBucket, StoreError,
    UnknownRevisions,
};

use crate::clock::Clock;
use grant::{Charged, Grant, Take};
use hand_back::Returned;
use table::{Lead, Leasable, Step, Table, metered_of};
use taken::{Part, Taken};

/// The most buckets that are leased at one time where nothing else is said: at most about 60 MiB, with the longest keys.
pub const DEFAULT_MAX_LEASES: usize = 65_536;

/// How a [`Leases`] keeps its leases.
#[derive(Clone)]
pub struct LeaseOptions {
    /// The most buckets that are leased at one time; all others are asked exactly.
    pub max_leases: usize,
    /// The secret that keys are hashed under. Draw it at random: who knows it can make keys meet.
    pub seed: [u64; 2],
}

impl LeaseOptions {
    /// At most [`DEFAULT_MAX_LEASES`] buckets.
    #[must_use]
    pub const fn new(seed: [u64; 2]) -> Self {
        Self { max_leases: DEFAULT_MAX_LEASES, seed }
    }
}

impl fmt::Debug for LeaseOptions {
    /// Everything but the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseOptions").field("max_leases", &self.max_leases).finish_non_exhaustive()
    }
}

/// What a [`Leases`] holds and has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseStats {
    /// Buckets of which units are held.
    pub buckets: usize,
    /// Units that are held.
    pub units: u64,
    /// Requests that were answered without asking the store.
    pub answered: u64,
    /// Leases that were taken.
    pub leases: u64,
    /// Units that were given back.
    pub returned: u64,
    /// Units that were neither spent nor given back: their window was over, or the store took too long to answer.
    pub lost: u64,
}

/// A shared store, with units of leased rules spent in front of it.
pub struct Leases<S> {
    store: S,
    table: Table,
    /// The rules that are leased, by their uid.
    rules: ArcSwap<HashMap<u128, Arc<CompiledRule>>>,
    clock: Arc<dyn Clock>,
    /// Nothing is leased any more: this node stops.
    is_closed: AtomicBool,
}

/// What came of asking for a lease.
enum Obtained {
    Units(Take),
    /// The store is to be asked exactly.
    Nothing,
}

impl<S: BucketStore> Leases<S> {
    /// Nothing is held yet. [`Leases::return_loop`] has to run beside the requests, and [`Leases::return_all`] after the
    /// last.
    #[must_use]
    pub fn new(store: S, options: &LeaseOptions, clock: impl Clock) -> Self {
        Self {
            store,
            table: Table::new(options),
            rules: ArcSwap::from_pointee(HashMap::new()),
            clock: Arc::new(clock),
            is_closed: AtomicBool::new(false),
        }
    }

    /// The store behind.
    #[must_use]
    pub const fn inner(&self) -> &S {
        &self.store
    }

    /// What it holds and has done.
    #[must_use]
    pub fn stats(&self) -> LeaseStats {
        let (buckets, units) = self.table.holdings();
        let counts = &self.table.counts;
        LeaseStats {
            buckets,
            units,
            answered: self.table.answered(),
            leases: counts.leases.load(Ordering::Relaxed),
            returned: counts.returned.load(Ordering::Relaxed),
            lost: counts.lost.load(Ordering::Relaxed),
        }
    }

    /// Takes what is held for the buckets of a plan.
    fn take_held<'p, 'r>(&'p self, plan: &'p Plan<'r>, now: Timestamp) -> Taken<'p, 'r> {
        let mut parts = SmallVec::new();
        for bucket in plan.buckets() {
            let part = match leasable(plan, bucket) {
                None => Part::Exact,
                Some(of) => self.table.take(&of, plan.cost, now).map_or(Part::Missing, Part::Held),
            };
            parts.push(part);
        }
        Taken::new(&self.table, plan, parts)
    }

    /// Decides a plan that is not covered by what is held.
    async fn apply_in_part(
        &self,
        plan: &Plan<'_>,
        mut taken: Taken<'_, '_>,
        now: Timestamp,
    ) -> Result<Applied, StoreError> {
        if taken.is_all_leased() {
            for (index, bucket) in plan.buckets().iter().enumerate() {
                if taken.is_missing(index) {
                    match self.obtain(plan, bucket, now).await? {
                        Obtained::Units(take) => taken.add(index, take),
                        Obtained::Nothing => break,
                    }
                }
            }
        }
        if let Some(outcome) = taken.outcome() {
            taken.spend();
            return Ok(Applied::Decided(outcome));
        }
        self.hand_back_odd_units(plan, &taken).await;
        let answer = match taken.rest() {
            Some(rest) => self.store.apply(&rest, now).await?,
            None => self.store.apply(plan, now).await?,
        };
        let Applied::Decided(outcome) = answer else { return Ok(answer) };
        let mut outcome = taken.merge(outcome);
        if outcome.charged {
            taken.spend();
        }
        self.count_held_as_left(plan, &taken, &mut outcome, now);
        Ok(Applied::Decided(outcome))
    }

    /// Units for a bucket of which too few are held: from a lease that is taken now.
    async fn obtain(
        &self,
        plan: &Plan<'_>,
        bucket: &PlannedBucket<'_>,
        now: Timestamp,
    ) -> Result<Obtained, StoreError> {
        let Some(of) = leasable(plan, bucket) else { return Ok(Obtained::Nothing) };
        match self.table.step(&of, plan.cost, now, || self.rule_of(bucket)) {
            Step::Taken(take) => Ok(Obtained::Units(take)),
            Step::Exact => Ok(Obtained::Nothing),
            Step::Lead(lead) => self.lease(plan, bucket, &of, lead, now).await,
            Step::Wait(flight) => {
                let mut landed = pin!(flight.landed.notified());
                landed.as_mut().enable();
                if flight.end().is_none() {
                    landed.await;
                }
                // Who waited shares the error too, and does not wait for the store a second time.
                if let Some(Err(error)) = flight.end() {
                    return Err(error.clone());
                }
                let take = self.table.take(&of, plan.cost, self.clock.now());
                Ok(take.map_or(Obtained::Nothing, Obtained::Units))
            }
        }
    }

    /// Asks the store for what the request is short of and a lease beside it, in one charge.
    async fn lease(
        &self,
        plan: &Plan<'_>,
        bucket: &PlannedBucket<'_>,
        of: &Leasable<'_>,
        mut lead: Lead<'_>,
        now: Timestamp,
    ) -> Result<Obtained, StoreError> {
        if self.is_closed.load(Ordering::Acquire) {
            return Ok(Obtained::Nothing);
        }
        if let Some(over) = lead.held.take_if(|held| !held.is_usable(now))
            && self.hand_back_one(&lead, &over).await == Returned::Refused
        {
            self.table.lose(over.units);
        }
        let meter = &of.metered.meter;
        let held = lead.held.as_ref().map_or(0, |held| held.units);
        // A charge above the burst would never pass. The cost is below it, so something is leased in any case.
        let wanted = plan.cost.saturating_sub(held).saturating_add(of.units).min(meter.quota().burst());
        let mut charge = Plan::new(wanted);
        charge.add_key(bucket.rule, bucket.metered, 0, of.key);
        let outcome = match self.store.apply(&charge, now).await {
            Ok(Applied::Decided(outcome)) => outcome,
            Ok(Applied::Stale) => return Ok(Obtained::Nothing),
            Err(error) => {
                let held = lead.held.take();
                lead.end(held, Err(error.clone()));
                return Err(error);
            }
        };
        let Some(result) = outcome.results.first().filter(|_| outcome.charged) else {
            let retry_after = match outcome.results.first().map(|result| result.verdict) {
                Some(Verdict::Deny { retry_after: Some(retry_after) }) => retry_after.min(of.hold),
                _ => of.hold,
            };
            lead.end_scarce(now.saturating_add(retry_after));
            return Ok(Obtained::Nothing);
        };
        let held = match lead.held.take() {
            Some(held) if held.lasts_until(outcome.decided_at) => held.units,
            Some(held) => {
                self.table.lose(held.units);
                0
            }
            None => 0,
        };
        let charged = Charged { at: outcome.decided_at, used: result.gauge.used, sent: now };
        // Older units are spent first: what is left is of this charge.
        let mut grant = Grant::new(self.table.next_id(), wanted + held, &charged, meter, of.hold);
        let take = grant.take(plan.cost, now);
        self.table.counts.leases.fetch_add(1, Ordering::Relaxed);
        let key: Box<[u8]> = lead.key().into();
        lead.end(Some(grant), Ok(()));
        if self.is_closed.load(Ordering::Acquire) {
            self.hand_back(&key).await;
        }
        Ok(take.map_or(Obtained::Nothing, Obtained::Units))
    }

    /// The leased rule of a bucket, as it is in force, if the bucket's quota still is.
    fn rule_of(&self, bucket: &PlannedBucket<'_>) -> Option<Arc<CompiledRule>> {
        let rule = self.rules.load().get(&bucket.rule.uid()).map(Arc::clone)?;
        metered_of(&rule, bucket.metered.revision).is_some().then_some(rule)
    }

    /// Counts what this node still holds as left, in what the store said of leased buckets.
    fn count_held_as_left(
        &self,
        plan: &Plan<'_>,
        taken: &Taken<'_, '_>,
        outcome: &mut Outcome,
        now: Timestamp,
    ) {
        for (index, (bucket, result)) in plan.buckets().iter().zip(&mut outcome.results).enumerate() {
            // A denial is the store's own, and its numbers with it.
            if !taken.is_held(index)
                && result.verdict.is_allow()
                && let Some(of) = leasable(plan, bucket)
            {
                count_as_left(result, self.table.held(&of, now));
            }
        }
    }
}

fn count_as_left(result: &mut BucketResult, held: u64) {
    let gauge = &mut result.gauge;
    gauge.remaining = gauge.remaining.saturating_add(held);
    gauge.used = gauge.used.saturating_sub(held);
}

/// What is leased of a bucket, where this plan may be answered from a lease.
fn leasable<'a>(plan: &'a Plan<'_>, bucket: &'a PlannedBucket<'_>) -> Option<Leasable<'a>> {
    let lease = bucket.rule.model().lease()?;
    let quota = bucket.metered.meter.quota();
    let is_plain = plan.idempotency_key.is_none()
        && plan.unknown_revisions == UnknownRevisions::Refuse
        && bucket.is_enforced()
        && bucket.reserved == 0
        && (1..quota.burst()).contains(&plan.cost)
        && quota.limit() > 0;
    let (key, metered) = (plan.key_of(bucket), bucket.metered);
    is_plain.then(|| Leasable { key, metered, units: lease.units(quota), hold: lease.hold() })
}

impl<S> fmt::Debug for Leases<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leases").field("is_closed", &self.is_closed).finish_non_exhaustive()
    }
}

impl<S: BucketStore> BucketStore for Leases<S> {
    /// Plans without a lease take nothing from this but a look at their rules.
    async fn apply(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Applied, StoreError> {
        if plan.buckets().iter().any(|bucket| leasable(plan, bucket).is_some()) {
            let taken = self.take_held(plan, now);
            if let Some(outcome) = taken.outcome() {
                taken.spend_at_once();
                return Ok(Applied::Decided(outcome));
            }
            // Apart, so that what most requests wait for stays small.
            return Box::pin(self.apply_in_part(plan, taken, now)).await;
        }
        self.store.apply(plan, now).await
    }

    /// What the store holds, with what this node holds counted as left.
    async fn peek(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Applied, StoreError> {
        let mut answer = self.store.peek(plan, now).await;
        if let Ok(Applied::Decided(outcome)) = &mut answer {
            for (bucket, result) in plan.buckets().iter().zip(&mut outcome.results) {
                let Some(of) = leasable(plan, bucket) else { continue };
                let held = self.table.held(&of, now);
                if held >= plan.cost {
                    result.verdict = Verdict::ALLOW;
                }
                if result.verdict.is_allow() {
                    count_as_left(result, held);
                }
            }
        }
        answer
    }

    /// What is held goes back first, so that the outcome says what is left.
    async fn refund(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Applied, StoreError> {
        for bucket in plan.buckets() {
            self.hand_back(plan.key_of(bucket)).await;
        }
        self.store.refund(plan, now).await
    }

    async fn withdraw(&self, plan: &Plan<'_>, outcome: &Outcome, now: Timestamp) -> Result<(), StoreError> {
        self.store.withdraw(plan, outcome, now).await
    }

    async fn debit(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Applied, StoreError> {
        self.store.debit(plan, now).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.store.probe().await
    }

    /// What is held is forgotten first: a bucket at rest has nothing debited.
    async fn reset(&self, plan: &Plan<'_>, now: Timestamp) -> Result<(), StoreError> {
        plan.buckets().iter().for_each(|bucket| self.table.discard(plan.key_of(bucket)));
        self.store.reset(plan, now).await
    }

    fn rules_changed(&self, rules: &RuleSet, at: Timestamp) {
        self.store.rules_changed(rules, at);
        let all = rules.domains().iter().flat_map(|domain| domain.rules());
        let leased = all.filter(|rule| rule.model().lease().is_some());
        self.rules.store(Arc::new(leased.map(|rule| (rule.uid(), Arc::new(rule.clone()))).collect()));
        self.table.retire_all();
    }

    fn leases(&self) -> bool {
        true
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
