//! Paying back: telling the store what was let through while it did not answer.

use std::time::Duration;

use tidegate_core::rule::CompiledRule;
use tidegate_store::{Applied, BucketStore, Plan, StoreError, UnknownRevisions};

use crate::clock::Clock;
use crate::debts::Debt;
use crate::engine::{Engine, MAX_PLANS};
use crate::failure::Failure;

/// How often debts are paid, and how many each time: at most 2,000 a second, so that a store that has just come back is not
/// run over.
const SETTLE_INTERVAL: Duration = Duration::from_millis(100);
const DEBTS_PER_INTERVAL: usize = 200;
/// How long to leave the store alone after it did not take a debt.
const SETTLE_PAUSE: Duration = Duration::from_secs(1);
/// The intervals without a decision by this node's share, and without debts, after which its buckets are forgotten: ten
/// seconds. Until then a store that comes and goes brings no fresh bursts.
const QUIET_INTERVALS: u32 = 100;

/// What became of a debt.
enum Payment {
    Made,
    /// The store cannot be told of it, now or ever.
    Impossible,
    /// The store did not answer; nothing was debited.
    Refused,
    /// The store took too long: it may have been debited, and must not be a second time.
    Unknown,
}

impl<S: BucketStore, C: Clock> Engine<S, C> {
    /// Tells the store, once it answers again, what this node let through by its share, at a bounded rate; and forgets
    /// the share's buckets when all is paid and the store has gone on answering. Never ends; one task should run it.
    pub async fn settle_loop(&self) {
        loop {
            self.shared.failure.used.notified().await;
            self.settle().await;
        }
    }

    /// Pays until there is nothing to pay and nothing happens any more.
    async fn settle(&self) {
        let failure = &self.shared.failure;
        let (mut quiet, mut seen) = (0, failure.local_decisions());
        while quiet < QUIET_INTERVALS {
            tokio::time::sleep(SETTLE_INTERVAL).await;
            let answered = self.settle_some().await;
            let decisions = failure.local_decisions();
            let at_rest = answered && decisions == seen && failure.debts.len() == 0 && is_closed(failure);
            (quiet, seen) = (if at_rest { quiet + 1 } else { 0 }, decisions);
            if !answered {
                tokio::time::sleep(SETTLE_PAUSE).await;
            }
        }
        failure.local.reset();
    }

    /// Pays some debts, until the store does not answer. True unless it did not.
    async fn settle_some(&self) -> bool {
        let failure = &self.shared.failure;
        if failure.breaker.as_ref().is_some_and(|breaker| !breaker.may_admit(self.now())) {
            return true;
        }
        let mut answers = true;
        for (key, debt) in failure.debts.take(DEBTS_PER_INTERVAL) {
            let payment = if answers { self.pay(&debt).await } else { Payment::Refused };
            match payment {
                Payment::Made => failure.debts.paid(&debt),
                Payment::Impossible => failure.debts.lost(&debt),
                Payment::Unknown => {
                    answers = false;
                    failure.debts.lost(&debt);
                }
                Payment::Refused => {
                    answers = false;
                    failure.debts.put_back(key, debt);
                }
            }
        }
        answers
    }

    /// Debits the bucket that the debt is of, by the rules of now.
    async fn pay(&self, debt: &Debt) -> Payment {
        let mut unknown_revisions = UnknownRevisions::Refuse;
        for _ in 0..MAX_PLANS {
            let rules = debt.ad_hoc.clone().unwrap_or_else(|| self.shared.rules.load_full());
            let rule = rules.domain(&debt.domain).and_then(|domain| {
                domain.rules().iter().find(|rule| rule.name() == &*debt.rule && has_key_of(rule, debt))
            });
            let Some(rule) = rule else { return Payment::Impossible };
            let entries: Vec<(&str, &str)> =
                debt.entries.iter().map(|(name, value)| (&**name, &**value)).collect();
            let mut plan = Plan::new(debt.units);
            plan.unknown_revisions = unknown_revisions;
            plan.add(rule, rule.metered(debt.tier.as_deref()), 0, &entries);
            match self.shared.store.debit(&plan, self.now()).await {
                Ok(Applied::Decided(_)) => return Payment::Made,
                Ok(Applied::Stale) => {
                    if debt.ad_hoc.is_some() || rules.version() == self.shared.rules.load().version() {
                        unknown_revisions = UnknownRevisions::Adopt;
                    }
                }
                Err(StoreError::Timeout) => return Payment::Unknown,
                Err(StoreError::Corrupt(_)) => return Payment::Impossible,
                Err(StoreError::Unavailable(_) | StoreError::Misconfigured(_)) => return Payment::Refused,
            }
        }
        Payment::Refused
    }
}

/// Whether the rule still selects its buckets as it did when the debt was made.
fn has_key_of(rule: &CompiledRule, debt: &Debt) -> bool {
    rule.model().key.iter().eq(debt.entries.iter().map(|(name, _)| &**name))
}

fn is_closed(failure: &Failure) -> bool {
    failure.breaker.as_ref().is_none_or(|breaker| breaker.is_closed())
}
