//! Giving back what was leased and not spent: when it has been held long enough, when its rule has changed, and when
//! this node stops.
//!
//! It is given back as the charge that it was, at its instant: a window that is over keeps its count, and an admission
//! log loses that very entry. So nothing is taken from what others have used since. Where the store does not know the
//! charge any more, or not under the rules of now, it keeps what it has.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use smallvec::smallvec;
use tidegate_core::decision::{Gauge, Verdict};
use tidegate_core::time::Micros;
use tidegate_store::{BucketResult, BucketStore, Outcome, Plan};

use super::Leases;
use super::grant::Grant;
use super::table::{Lead, metered_of};
use super::taken::Taken;

/// How often leases are looked through for those that are due.
const RETURN_INTERVAL: Duration = Duration::from_millis(100);
/// When a lease is due again that the store could not be told of. Meanwhile it may be spent.
const RETRY: Micros = Micros::from_secs(1);

impl<S: BucketStore> Leases<S> {
    /// Gives back what has been held long enough. Never ends; one task should run it.
    pub async fn return_loop(&self) {
        loop {
            tokio::time::sleep(RETURN_INTERVAL).await;
            self.return_due().await;
        }
    }

    /// Gives back what is due by now.
    pub async fn return_due(&self) {
        let now = self.clock.now();
        let shards = (0..self.table.shards()).map(|shard| -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
            Box::pin(async move {
                for key in self.table.due(shard, now) {
                    self.hand_back(&key).await;
                }
            })
        });
        all(shards.collect()).await;
    }

    /// Gives everything back and leases nothing more: for the end, when the last request has been answered. What the store
    /// does not take by then is lost: as much less passes until it has come back by time.
    pub async fn return_all(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.table.retire_all();
        self.return_due().await;
    }

    /// Gives back what is held of a bucket, unless somebody is asking the store about it.
    pub(super) async fn hand_back(&self, key: &[u8]) {
        let Some(mut lead) = self.table.take_out(key) else { return };
        let Some(mut held) = lead.held.take() else { return };
        let kept = match self.hand_back_one(&lead, &held).await {
            Returned::Refused => {
                held.return_at = self.clock.now().saturating_add(RETRY);
                Some(held)
            }
            Returned::Done => None,
        };
        lead.end(kept, Ok(()));
    }

    /// Gives back units that are too few for a request that the store is asked about next: it decides with all there is.
    pub(super) async fn hand_back_odd_units(&self, plan: &Plan<'_>, taken: &Taken<'_, '_>) {
        if plan.cost == 1 {
            return;
        }
        for (index, bucket) in plan.buckets().iter().enumerate() {
            if taken.is_missing(index) {
                self.hand_back(plan.key_of(bucket)).await;
            }
        }
    }

    /// Withdraws the charge of units that nobody can spend meanwhile.
    pub(super) async fn hand_back_one(&self, lead: &Lead<'_>, held: &Grant) -> Returned {
        let now = self.clock.now();
        if !metered_of(&lead.rule, lead.revision)
            .is_some_and(|metered| held.counts_still(&metered.meter, now))
        {
            self.table.lose(held.units);
            return Returned::Done;
        }
        // By the rules of now, which know the earlier ones: the bucket may have been carried to them already.
        let rules = self.rules.load_full();
        let rule = rules.get(&lead.rule.uid()).unwrap_or(&lead.rule);
        let metered = metered_of(rule, lead.revision).unwrap_or_else(|| rule.metered(tier_of(lead)));
        let mut plan = Plan::new(held.units);
        plan.add_key(rule, metered, 0, lead.key());
        match self.store.withdraw(&plan, &charge_of(held), now).await {
            Ok(()) => {
                self.table.counts.returned.fetch_add(held.units, Ordering::Relaxed);
                Returned::Done
            }
            Err(error) if error.retryable() => Returned::Refused,
            // It may have been done: a second time would give back what others have used.
            Err(_) => {
                self.table.lose(held.units);
                Returned::Done
            }
        }
    }
}

/// What became of units that were to be given back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Returned {
    /// They are gone: given back, or lost.
    Done,
    /// The store was not told.
    Refused,
}

/// The tier whose quota was leased; `None` for the rule's own.
fn tier_of<'a>(lead: &'a Lead<'_>) -> Option<&'a str> {
    let tiers = lead.rule.model().tiers.iter().map(|(name, _)| name.as_str());
    tiers
        .enumerate()
        .find_map(|(index, name)| (lead.rule.metered_at(index + 1).revision == lead.revision).then_some(name))
}

/// The charge that units come from.
fn charge_of(held: &Grant) -> Outcome {
    let result = BucketResult { verdict: Verdict::ALLOW, gauge: Gauge::default(), place: None };
    Outcome::new(held.charged_at, smallvec![result], true)
}

/// Waits until all of these are done.
async fn all(mut futures: Vec<Pin<Box<dyn Future<Output = ()> + Send + '_>>>) {
    poll_fn(|context| {
        futures.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if futures.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
