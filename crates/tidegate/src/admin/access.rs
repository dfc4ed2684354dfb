//! Who may do what: keys, roles, tenants, origins, and a limiter of the admin API's own.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::request::Parts;
use tidegate_catalog::model::{DEFAULT_TENANT, Scope, is_tenant_name};
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::rule::RuleSet;
use tidegate_core::rule::model::{Domain, Rule, Rules};
use tidegate_core::time::Micros;
use tidegate_engine::{Engine, Request, random_seed};
use tidegate_store::{MemoryOptions, MemoryStore};
use tidegate_wire::identity::Ipv6Prefix;
use tidegate_wire::identity::canonical_ip_key;
use tidegate_wire::problem::{Problem, ProblemType};

use super::call::{Caller, TenantBy};
use super::route::Needs;
use crate::door::{is_in_query, key_of, query_parameter};
use crate::gate::Catalog;
use crate::net::PeerInfo;

/// The field by which an operator says which tenant a request is about; `?tenant=` says the same.
pub(super) const TENANT_FIELD: &str = "tidegate-tenant";

/// Failed credentials of one address a minute that are answered as such.
const FAILURES: u64 = 30;
/// Requests of one key a minute, and at one instant.
const REQUESTS: (u64, u64) = (12_000, 1_000);
/// Memory of the limiter.
const LIMITER_BYTES: usize = 4 << 20;

/// The limiter: the engine that it stands beside, on rules of its own.
pub(super) struct Access {
    limiter: Engine<MemoryStore>,
}

impl Access {
    pub(super) fn new() -> anyhow::Result<Self> {
        let minute = Micros::from_secs(60);
        let failures = Quota::new(Algorithm::SlidingWindow, FAILURES, minute, None)?;
        let requests = Quota::new(Algorithm::TokenBucket, REQUESTS.0, minute, Some(REQUESTS.1))?;
        let domain = |name: &str, rule| Domain::new(name, vec![rule]);
        let rules = Rules {
            domains: vec![
                domain(
                    "failures",
                    Rule::new("failures", Algorithm::SlidingWindow, failures).with_key(["client_ip"]),
                ),
                domain("requests", Rule::new("requests", Algorithm::TokenBucket, requests).with_key(["key"])),
            ],
        };
        let options = MemoryOptions { max_bytes: LIMITER_BYTES, ..MemoryOptions::new(random_seed()) };
        Ok(Self { limiter: Engine::new(RuleSet::compile(rules)?, MemoryStore::new(&options)) })
    }

    /// Who asks, by the key that the request carries. A good key is never refused for somebody else's bad ones.
    pub(super) async fn caller(
        &self,
        catalog: &Catalog,
        peer: PeerInfo,
        head: &Parts,
        now_us: i64,
    ) -> Result<Caller, Problem> {
        let verified = match key_of(head) {
            Ok(key) => key.and_then(|key| catalog.keys().verify(key, now_us).ok()),
            Err(problem) => return Err(self.failed(peer).await.unwrap_or(problem)),
        };
        let Some(verified) = verified else {
            let detail = "send a key of the admin API: Authorization: Bearer tg_…";
            let problem = || Problem::new(ProblemType::Unauthorized, detail);
            return Err(self.failed(peer).await.unwrap_or_else(problem));
        };
        let caller = Caller {
            name: format!("{} ({})", verified.name, verified.prefix),
            prefix: verified.prefix.to_string(),
            tenant: verified.tenant.clone(),
            scopes: verified.scopes.to_vec(),
        };
        let by_key = [("key", caller.prefix.as_str())];
        match self.limited(&Request::new("requests", &by_key)).await {
            Some(limited) => Err(limited),
            None => Ok(caller),
        }
    }

    /// Counts a credential that is not good; `Some` where an address has brought too many.
    async fn failed(&self, peer: PeerInfo) -> Option<Problem> {
        let address = address_key(peer.address.ip());
        self.limited(&Request::new("failures", &[("client_ip", address.as_str())])).await
    }

    async fn limited(&self, request: &Request<'_>) -> Option<Problem> {
        let retry_after = self.limiter.decide(request).await.ok()?.retry_after()?;
        Some(Problem::quota_exceeded(retry_after.as_millis_ceil(), vec![request.domain.to_owned()]))
    }
}

fn address_key(address: IpAddr) -> String {
    let text = address.to_string();
    canonical_ip_key(&text, Ipv6Prefix::default()).unwrap_or(text)
}

/// Refuses what a page of another site has sent: browsers say so, and nobody else needs to.
pub(super) fn check_origin(head: &Parts) -> Result<(), Problem> {
    let foreign =
        || Problem::new(ProblemType::Forbidden, "requests of other sites' pages are not taken here");
    let site = head.headers.get("sec-fetch-site").map(http::HeaderValue::as_bytes);
    if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
        return Err(foreign());
    }
    if head.headers.get_all(HOST).iter().count() > 1 {
        return Err(Problem::new(ProblemType::Malformed, "send the field Host once"));
    }
    let Some(origin) = head.headers.get(ORIGIN) else { return Ok(()) };
    let authority =
        origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    let host = match head.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => head.headers.get(HOST).and_then(|host| host.to_str().ok()),
    };
    match (authority, host) {
        (Some(authority), Some(host)) if authority.eq_ignore_ascii_case(host) => Ok(()),
        _ => Err(foreign()),
    }
}

/// Refuses a caller whose key may not do this.
pub(super) fn check_role(caller: &Caller, needs: Needs) -> Result<(), Problem> {
    let has = |scope| caller.scopes.contains(&scope);
    let (scope_is_enough, operators_only) = match needs {
        Needs::Read => (has(Scope::AdminRead) || has(Scope::AdminWrite), false),
        Needs::Write => (has(Scope::AdminWrite), false),
        Needs::OperatorRead => (has(Scope::AdminRead) || has(Scope::AdminWrite), true),
        Needs::OperatorWrite => (has(Scope::AdminWrite), true),
    };
    if operators_only && caller.tenant.is_some() {
        return Err(Problem::new(
            ProblemType::Forbidden,
            "this is for operators: a tenant's key reaches its own things only",
        ));
    }
    if !scope_is_enough {
        let detail = format!("the key's scopes are not enough: this needs {}", needs.words());
        return Err(Problem::new(ProblemType::Forbidden, detail));
    }
    Ok(())
}

/// The tenant that a request is about: the key's own, or the one that an operator names.
pub(super) fn tenant_of(caller: &Caller, head: &Parts) -> Result<(String, TenantBy), Problem> {
    let mut fields = head.headers.get_all(TENANT_FIELD).iter();
    let field = fields.next().map(|value| value.to_str().unwrap_or_default().to_owned());
    let query = query_parameter(head.uri.query(), "tenant").map(std::borrow::Cow::into_owned);
    if query.is_none() && is_in_query(head.uri.query(), "tenant") {
        // Taken for none, it would be about the default tenant.
        return Err(Problem::invalid_field("tenant", "name one tenant, once"));
    }
    let named = match (field, query, fields.next()) {
        (Some(field), Some(query), None) if field == query => Some(field),
        (Some(name), None, None) | (None, Some(name), None) => Some(name),
        (None, None, None) => None,
        _ => return Err(Problem::invalid_field("tenant", "name one tenant, once")),
    };
    if let Some(name) = named.as_deref().filter(|name| !is_tenant_name(name)) {
        let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
        return Err(Problem::invalid_field("tenant", format!("'{shown}' is not the name of a tenant")));
    }
    match (&caller.tenant, named) {
        (Some(own), Some(named)) if **own != *named => {
            Err(Problem::new(ProblemType::Forbidden, "a tenant's key reaches its own things only"))
        }
        (Some(own), _) => Ok((own.to_string(), TenantBy::Key)),
        (None, Some(named)) => Ok((named, TenantBy::Name)),
        (None, None) => Ok((DEFAULT_TENANT.to_owned(), TenantBy::Default)),
    }
}
