//! `envoy.service.ratelimit.v3`: every descriptor is one request of its domain, decided and charged on its own.
//!
//! Envoy's own rate limit service charges each descriptor by itself, too: where one is refused, the others stay charged. Rules
//! that replace others do so for all descriptors of a call, and rules that deny together look at one another's.
//! Together they are one request in progress, as important as the most important of them, since one is decided after the
//! other.

use std::fmt::Write;
use std::sync::Arc;

use smallvec::SmallVec;
use tidegate_core::quota::Quota;
use tidegate_core::rule::RuleSet;
use tidegate_engine::{Clock, EngineError};
use tidegate_proto::envoy::service::ratelimit::v3::rate_limit_service_server::RateLimitService;
use tidegate_proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use tidegate_store::BucketStore;
use tonic::{Request, Response, Status};

use super::from_wire::{self, Asked, Hits, OVERRIDE_ALGORITHM};
use super::{Shared, to_wire};
use crate::door::overload::Priority;
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
        let shared = &*self.0;
        let Shared { gate, options } = shared;
        let caller = request.extensions().get::<Caller>().cloned().unwrap_or_default();
        let request = request.get_ref();
        let asked = from_wire::descriptors(request, options.identity.ipv6_prefix)?;
        let entries: SmallVec<[Borrowed<'_>; 1]> = asked.iter().map(borrowed).collect();
        let priority = entries.iter().map(|entries| Priority::of_entries(entries.iter().copied())).max();
        let _inside = shared.let_in(priority.unwrap_or_default())?;
        let over_ceiling = gate.over_ceiling(&caller, asked.len() as u64).await;
        if let Some(decision) = over_ceiling.map_err(|error| to_wire::no_decision(&error))? {
            return Ok(Response::new(to_wire::over_ceiling(asked.len(), &decision, options).await));
        }
        let mut looks: SmallVec<[Look<'_>; 1]> = SmallVec::with_capacity(asked.len());
        for entries in &entries {
            looks.push(gate.look(&caller, &request.domain, entries).await);
        }
        if looks.len() > 1 {
            replace(&gate.engine().rules(), &asked, &entries, &mut looks);
        }
        let answers = self.answers(&caller, &request.domain, &asked, &entries, &looks).await;
        let answers = answers.map_err(|error| to_wire::no_decision(&error))?;
        to_wire::response(&answers, &asked, &looks, gate.engine().now(), options).await.map(Response::new)
    }
}

impl<S: BucketStore, C: Clock> RateLimit<S, C> {
    /// What comes of each descriptor, in their order.
    async fn answers<'l>(
        &self,
        caller: &Caller,
        domain: &str,
        asked: &[Asked<'_>],
        entries: &[Borrowed<'_>],
        looks: &'l [Look<'_>],
    ) -> Result<SmallVec<[Answered<'l>; 1]>, EngineError> {
        let gate = &self.0.gate;
        if let ([asked], [entries], [look]) = (asked, entries, looks)
            && asked.is_of_rules()
        {
            return Ok(SmallVec::from_iter([gate.ask(look, &ask(asked, entries)).await?]));
        }
        let parts = || asked.iter().zip(entries).zip(looks);
        let of_rules = parts().filter(|((asked, _), _)| asked.is_of_rules());
        let of_rules: Vec<_> = of_rules.map(|((asked, entries), look)| (look, ask(asked, entries))).collect();
        let mut of_rules = gate.ask_each(&of_rules).await.into_iter();
        let mut answers = SmallVec::with_capacity(asked.len());
        for ((asked, entries), look) in parts() {
            let answer = match (asked.hits, &asked.quota) {
                (_, Some(quota)) => Some(self.overridden(caller, domain, asked, quota, look).await),
                (Hits::GiveBack(cost), None) => {
                    let given_back = look.request(entries, cost, None);
                    Some(gate.engine().refund(&given_back).await.map(Answered::Decided))
                }
                (Hits::Take(_) | Hits::Peek, None) => of_rules.next(),
            };
            answers.extend(answer.transpose()?);
        }
        Ok(answers)
    }

    /// What comes of a descriptor that brings its own limit: the rules are not asked, but a ban holds.
    async fn overridden<'l>(
        &self,
        caller: &Caller,
        domain: &str,
        asked: &Asked<'_>,
        quota: &Quota,
        look: &'l Look<'_>,
    ) -> Result<Answered<'l>, EngineError> {
        let gate = &self.0.gate;
        if let Some(ban) = look.ban() {
            gate.note_ban();
            look.tell_banned();
            return Ok(Answered::Banned(ban));
        }
        // What a domain cannot have in its name keeps its overrides apart from other doors'.
        let family = format!("grpc\u{1f}{domain}");
        let ad_hoc = gate.ad_hoc(caller, &family, OVERRIDE_ALGORITHM, *quota)?;
        let Ask { cost, peek, .. } = ask(asked, &[]);
        let decision = gate.throttle(&ad_hoc, &key_of(asked), cost, peek).await?;
        look.tell(&decision);
        Ok(Answered::Decided(decision))
    }
}

/// What the rules of one descriptor replace does not apply to the others of the call either.
fn replace(rules: &RuleSet, asked: &[Asked<'_>], entries: &[Borrowed<'_>], looks: &mut [Look<'_>]) {
    let Some(domain) = looks.first().and_then(|look| rules.domain(look.domain())) else { return };
    if !domain.has_replacing_rules() {
        return;
    }
    let of_rules = asked.iter().zip(entries).filter(|(asked, _)| asked.quota.is_none());
    let replaced = of_rules.flat_map(|(_, entries)| domain.replaced(entries));
    let replaced: Vec<String> = replaced.map(str::to_owned).collect();
    looks.iter_mut().for_each(|look| look.replace(&replaced));
}

/// The entries as one key, from which they could be told again.
fn key_of(asked: &Asked<'_>) -> String {
    let mut key = String::new();
    for (name, value) in &asked.entries {
        // Writing into memory does not fail.
        let _ = write!(key, "{name}={}:{value};", value.len());
    }
    key
}

fn ask<'a>(asked: &Asked<'_>, entries: &'a [(&'a str, &'a str)]) -> Ask<'a> {
    let (cost, peek) = match asked.hits {
        Hits::Take(cost) | Hits::GiveBack(cost) => (cost, false),
        Hits::Peek => (1, true),
    };
    Ask { entries, cost, peek, idempotency_key: None, inside: &[] }
}

fn borrowed<'a>(asked: &'a Asked<'_>) -> Borrowed<'a> {
    asked.entries.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect()
}
