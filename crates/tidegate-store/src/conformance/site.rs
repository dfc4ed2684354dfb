//! A domain whose rules all apply to every request, and requests to it.

use core::future::Future;
use core::pin::Pin;
use core::task::Poll;

use tidegate_core::decision::{Gauge, Verdict};
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::rule::RuleSet;
use tidegate_core::rule::model::{Domain, Rule, Rules};
use tidegate_core::time::{Micros, Timestamp};

use crate::plan::{Outcome, Plan};
use crate::port::{Applied, BucketStore};

/// A day in 2026 on which most scenarios begin: the start of a minute.
pub(super) const START: Timestamp = Timestamp::from_micros(1_780_000_020_000_000);
pub(super) const SECOND: Micros = Micros::from_secs(1);
pub(super) const MINUTE: Micros = Micros::from_secs(60);

/// Domain, its rules, and how they came to be.
pub(super) struct Site {
    name: String,
    pub(super) rules: RuleSet,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'r> {
    pub(super) user: &'r str,
    pub(super) tier: Option<&'r str>,
    pub(super) priority: Option<&'r str>,
    pub(super) cost: u64,
    pub(super) permit: u64,
    pub(super) idempotency_key: Option<&'r str>,
}

impl<'r> Request<'r> {
    pub(super) fn of(user: &'r str) -> Self {
        Self { user, tier: None, priority: None, cost: 1, permit: 0, idempotency_key: None }
    }

    pub(super) fn costing(self, cost: u64) -> Self {
        Self { cost, ..self }
    }
}

impl Site {
    pub(super) fn new(name: &str, rules: Vec<Rule>) -> Self {
        Self { name: name.to_owned(), rules: compile(name, rules) }
    }

    /// The same site with other rules from `at` on.
    pub(super) fn changed(&self, rules: Vec<Rule>, at: Timestamp) -> Self {
        Self { name: self.name.clone(), rules: compile(&self.name, rules).succeeding(&self.rules, at) }
    }

    pub(super) fn plan(&self, request: Request<'_>) -> Plan<'_> {
        let mut plan = Plan::new(request.cost);
        plan.permit = request.permit;
        plan.idempotency_key = request.idempotency_key.map(|key| Box::from(key.as_bytes()));
        for rule in self.rules.domains().iter().flat_map(|domain| domain.rules()) {
            let metered = rule.metered(request.tier);
            let reserved = rule.reserved(metered, request.priority);
            plan.add(rule, metered, reserved, &[("user", request.user)]);
        }
        plan
    }

    pub(super) async fn apply<S: BucketStore>(
        &self,
        store: &S,
        request: Request<'_>,
        now: Timestamp,
    ) -> Outcome {
        decided(store.apply(&self.plan(request), now).await.expect("the store answers"))
    }

    pub(super) async fn peek<S: BucketStore>(
        &self,
        store: &S,
        request: Request<'_>,
        now: Timestamp,
    ) -> Outcome {
        decided(store.peek(&self.plan(request), now).await.expect("the store answers"))
    }

    pub(super) async fn refund<S: BucketStore>(
        &self,
        store: &S,
        request: Request<'_>,
        now: Timestamp,
    ) -> Outcome {
        decided(store.refund(&self.plan(request), now).await.expect("the store answers"))
    }

    /// How many of `calls` equal requests pass at one instant.
    pub(super) async fn count<S: BucketStore>(
        &self,
        store: &S,
        request: Request<'_>,
        now: Timestamp,
        calls: usize,
    ) -> u64 {
        let mut charged = 0;
        for _ in 0..calls {
            charged += u64::from(self.apply(store, request, now).await.charged);
        }
        charged
    }
}

fn compile(name: &str, rules: Vec<Rule>) -> RuleSet {
    RuleSet::compile(Rules { domains: vec![Domain::new(name, rules)] }).expect("the rules make a set")
}

pub(super) fn decided(applied: Applied) -> Outcome {
    match applied {
        Applied::Decided(outcome) => outcome,
        Applied::Stale => panic!("the store found the plan stale, which knows every revision"),
    }
}

/// A rule with one bucket per user.
pub(super) fn rule(name: &str, algorithm: Algorithm, limit: u64, window: Micros) -> Rule {
    Rule::new(name, algorithm, quota(algorithm, limit, window)).with_key(["user"])
}

pub(super) fn quota(algorithm: Algorithm, limit: u64, window: Micros) -> Quota {
    Quota::new(algorithm, limit, window, None).expect("the quota is in range")
}

pub(super) fn gauges(outcome: &Outcome) -> Vec<Gauge> {
    outcome.results.iter().map(|result| result.gauge).collect()
}

pub(super) fn verdicts(outcome: &Outcome) -> Vec<Verdict> {
    outcome.results.iter().map(|result| result.verdict).collect()
}

pub(super) fn remaining(outcome: &Outcome) -> Vec<u64> {
    outcome.results.iter().map(|result| result.gauge.remaining).collect()
}

/// Drives futures to their ends side by side, in one task, so that their calls are all under way at once.
pub(super) async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<Pin<Box<F>>> = futures.into_iter().map(Box::pin).collect();
    let mut outputs: Vec<Option<F::Output>> = running.iter().map(|_| None).collect();
    core::future::poll_fn(|context| {
        for (future, output) in running.iter_mut().zip(&mut outputs) {
            if output.is_none()
                && let Poll::Ready(ready) = future.as_mut().poll(context)
            {
                *output = Some(ready);
            }
        }
        if outputs.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outputs.into_iter().flatten().collect()
}
