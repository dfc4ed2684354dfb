//! `envoy.service.ratelimit.v3`: every descriptor is one request of its domain, decided and charged on its own.
//!
//! Envoy's own rate limit service charges each descriptor by itself, too: where one is refused, the others stay charged.

use std::sync::Arc;

use smallvec::SmallVec;
use tidegate_engine::{Clock, EngineError};
use tidegate_proto::envoy::service::ratelimit::v3::rate_limit_service_server::RateLimitService;
use tidegate_proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use tidegate_store::BucketStore;
use tonic::{Request, Response, Status};

use super::from_wire::{self, Asked, Hits};
use super::{Shared, to_wire};
use crate::gate::{Answered, Ask, Caller, Look};

/// Entries as the engine wants them.
pub(super) type Borrowed<'a> = SmallVec<[(&'a str, &'a str); 8]>;

pub(super) struct RateLimit<S, C>(pub(super) Arc<Shared<S, C>>);

#[tonic::async_trait]
impl<S: BucketStore, C: Clock> RateLimitService for RateLimit<S, C> {
    async fn should_rate_limit(
        &self,
        request: Request<RateLimitRequest>,
    ) -> Result<Response<RateLimitResponse>, Status> {
        let Shared { gate, options } = &*self.0;
        let caller = request.extensions().get::<Caller>().cloned().unwrap_or_default();
        let request = request.get_ref();
        let asked = from_wire::descriptors(request, options.identity.ipv6_prefix)?;
        let over_ceiling = gate.over_ceiling(&caller, asked.len() as u64).await;
        if let Some(decision) = over_ceiling.map_err(|error| to_wire::no_decision(&error))? {
            return Ok(Response::new(to_wire::over_ceiling(asked.len(), &decision, options).await));
        }
        let entries: SmallVec<[Borrowed<'_>; 1]> = asked.iter().map(borrowed).collect();
        let mut looks: SmallVec<[Look<'_>; 1]> = SmallVec::with_capacity(asked.len());
        for entries in &entries {
            looks.push(gate.look(&caller, &request.domain, entries).await);
        }
        let answers = self.answers(&asked, &entries, &looks).await;
        let answers = answers.map_err(|error| to_wire::no_decision(&error))?;
        to_wire::response(&answers, &asked, &looks, gate.engine().now(), options).await.map(Response::new)
    }
}

impl<S: BucketStore, C: Clock> RateLimit<S, C> {
    /// What comes of each descriptor, in their order.
    async fn answers<'l>(
        &self,
        asked: &[Asked<'_>],
        entries: &[Borrowed<'_>],
        looks: &'l [Look<'_>],
    ) -> Result<SmallVec<[Answered<'l>; 1]>, EngineError> {
        let gate = &self.0.gate;
        let parts = || asked.iter().zip(entries).zip(looks);
        if let ([asked], [entries], [look]) = (asked, entries, looks)
            && !matches!(asked.hits, Hits::GiveBack(_))
        {
            return Ok(SmallVec::from_iter([gate.ask(look, &ask(asked, entries)).await?]));
        }
        let taken = parts().filter(|((asked, _), _)| !matches!(asked.hits, Hits::GiveBack(_)));
        let taken: Vec<_> = taken.map(|((asked, entries), look)| (look, ask(asked, entries))).collect();
        let mut taken = gate.ask_each(&taken).await.into_iter();
        let mut answers = SmallVec::with_capacity(asked.len());
        for ((asked, entries), look) in parts() {
            let answer = match asked.hits {
                Hits::GiveBack(cost) => {
                    let given_back = look.request(entries, cost, None);
                    Some(gate.engine().refund(&given_back).await.map(Answered::Decided))
                }
                Hits::Take(_) | Hits::Peek => taken.next(),
            };
            answers.extend(answer.transpose()?);
        }
        Ok(answers)
    }
}

fn ask<'a>(asked: &Asked<'_>, entries: &'a [(&'a str, &'a str)]) -> Ask<'a> {
    let (cost, peek) = match asked.hits {
        Hits::Take(cost) | Hits::GiveBack(cost) => (cost, false),
        Hits::Peek => (1, true),
    };
    Ask { entries, cost, peek, idempotency_key: None }
}

fn borrowed<'a>(asked: &'a Asked<'_>) -> Borrowed<'a> {
    asked.entries.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect()
}
