//! Giving up a place in a queue when the one who waits goes away.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use tidegate_core::rule::RuleTier;
use tidegate_store::BucketStore;

use crate::clock::Clock;
use crate::decision::Decision;
use crate::engine::Engine;
use crate::request::{Request, SubjectQuotas};

/// Takes a charge back when dropped, unless disarmed: a request that waits is charged when it takes its place, so
/// one that goes away before its turn must hand the place back.
pub(crate) struct Withdrawal<'a, S: BucketStore, C: Clock> {
    armed: Option<(&'a Engine<S, C>, &'a Request<'a>, &'a Decision)>,
}

impl<'a, S: BucketStore, C: Clock> Withdrawal<'a, S, C> {
    pub(crate) fn new(engine: &'a Engine<S, C>, request: &'a Request<'a>, decision: &'a Decision) -> Self {
        // A repeated decision was charged by another call, which looks after it.
        Self { armed: (!decision.is_repeated()).then_some((engine, request, decision)) }
    }

    /// The turn has come: the charge stands.
    pub(crate) fn disarm(&mut self) {
        self.armed = None;
    }
}

impl<S: BucketStore, C: Clock> Drop for Withdrawal<'_, S, C> {
    fn drop(&mut self) {
        let Some((engine, request, decision)) = self.armed.take() else { return };
        if let Some(share) = decision.share() {
            engine.withdraw_locally(request, share, decision);
            return;
        }
        let engine = engine.clone();
        let rules = Engine::<S, C>::snapshot_of(decision);
        let outcome = decision.outcome.clone();
        let domain = request.domain.to_owned();
        let entries: Vec<(String, String)> =
            request.entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let cost = request.cost;
        let idempotency_key = request.idempotency_key.map(str::to_owned);
        let tier = request.quotas.tier.map(str::to_owned);
        let by_rule: Vec<RuleTier> = request.quotas.by_rule.to_vec();
        let (replaced, inside) = (request.replaced.to_vec(), request.inside.to_vec());
        let permit = decision.permit().map_or(0, |permit| permit.id);
        let give_back = async move {
            let entries: Vec<(&str, &str)> =
                entries.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let idempotency_key = idempotency_key.as_deref();
            let quotas = SubjectQuotas { tier: tier.as_deref(), by_rule: &by_rule };
            let (domain, entries, replaced, inside) = (&*domain, &*entries, &*replaced, &*inside);
            let request =
                Request { domain, entries, cost, idempotency_key, quotas, replaced, inside, stages: None };
            engine.withdraw(&rules, &request, &outcome, permit).await;
        };
        let mut give_back = Box::pin(give_back);
        // A store in memory is done at once; any other goes on in the background.
        let done = pin!(&mut give_back).poll(&mut Context::from_waker(Waker::noop()));
        if let (Poll::Pending, Ok(runtime)) = (done, tokio::runtime::Handle::try_current()) {
            runtime.spawn(give_back);
        }
    }
}
