//! What is known of a request before it is decided.

use std::borrow::Cow;

use tidegate_catalog::model::{Ban, DEFAULT_TENANT, SubjectKey, qualified};
use tidegate_catalog::subjects::{Cached, Known, Looked};
use tidegate_engine::{Clock, Decision, Request, SubjectQuotas};
use tidegate_store::BucketStore;

use super::{Caller, Gate};
use crate::telemetry::trace::RequestTrace;

/// How a subject's tier was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lookup {
    /// The domain knows no subjects, the request names none, or there is no catalog.
    #[default]
    NotNeeded,
    /// The catalog has answered, also where it knows nothing of the subject.
    Found,
    /// It has not: what was known before is used.
    Stale,
    /// It has not, and nothing was known: the domain's default tier is used.
    Failed,
}

impl Lookup {
    /// The name in answers, of a lookup that did not go as it should.
    #[must_use]
    pub const fn trouble(self) -> Option<&'static str> {
        match self {
            Lookup::NotNeeded | Lookup::Found => None,
            Lookup::Stale => Some("stale"),
            Lookup::Failed => Some("failed"),
        }
    }
}

/// What is known of a request before it is decided.
#[derive(Clone, Debug)]
pub struct Look<'a> {
    domain: Cow<'a, str>,
    known: Option<Known<'a>>,
    lookup: Lookup,
    /// Rules that do not apply, because those of another request of the call replace them.
    replaced: Vec<String>,
    trace: Option<RequestTrace>,
}

impl<'a> Look<'a> {
    /// Nothing is known of the request's subject.
    const fn nothing(domain: Cow<'a, str>) -> Self {
        Self { domain, known: None, lookup: Lookup::NotNeeded, replaced: Vec::new(), trace: None }
    }

    /// What is known, and how it was found.
    const fn at(domain: Cow<'a, str>, known: Option<Known<'a>>, lookup: Lookup) -> Self {
        Self { domain, known, lookup, replaced: Vec::new(), trace: None }
    }

    /// The trace of the request, if it is traced.
    #[must_use]
    pub const fn trace(&self) -> Option<&RequestTrace> {
        self.trace.as_ref()
    }

    /// The name under which the engine knows the domain.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The quotas that hold for the subject.
    #[must_use]
    pub fn quotas(&self) -> SubjectQuotas<'_> {
        match &self.known {
            Some(known) => SubjectQuotas { tier: known.tier(), by_rule: known.overrides() },
            None => SubjectQuotas::default(),
        }
    }

    /// The subject's ban.
    #[must_use]
    pub fn ban(&self) -> Option<&Ban> {
        self.known.as_ref()?.ban()
    }

    /// How the tier was found.
    #[must_use]
    pub const fn lookup(&self) -> Lookup {
        self.lookup
    }

    /// The tier that the catalog has for the subject.
    #[must_use]
    pub fn tier(&self) -> Option<&str> {
        self.known.as_ref()?.tier()
    }

    /// Notes rules that do not apply, because those of another request of the call replace them.
    pub fn replace(&mut self, rules: &[String]) {
        self.replaced.extend_from_slice(rules);
    }

    /// Tells the request's trace, if there is one, what was decided.
    pub fn tell(&self, decision: &Decision) {
        if let Some(trace) = &self.trace {
            trace.decided(decision);
        }
    }

    /// Tells the request's trace, if there is one, that its subject is banned.
    pub fn tell_banned(&self) {
        if let Some(trace) = &self.trace {
            trace.banned();
        }
    }

    /// The request to the engine.
    #[must_use]
    pub fn request<'r>(
        &'r self,
        entries: &'r [(&'r str, &'r str)],
        cost: u64,
        idempotency_key: Option<&'r str>,
    ) -> Request<'r> {
        let stages = self.trace().map(RequestTrace::stages);
        let (domain, quotas, replaced) = (&*self.domain, self.quotas(), &*self.replaced);
        Request { domain, entries, cost, idempotency_key, quotas, replaced, inside: &[], stages }
    }
}

impl<S: BucketStore, C: Clock> Gate<S, C> {
    /// What is known of a request. Waits only for a subject that is not in the cache.
    pub async fn look<'a>(&'a self, caller: &Caller, domain: &'a str, entries: &[(&str, &str)]) -> Look<'a> {
        let tenant = caller.tenant.as_deref().unwrap_or(DEFAULT_TENANT);
        let name = qualified(tenant, domain);
        let subject = self.catalog.as_ref().and_then(|_| self.engine.subject_of(&name, entries));
        let look = match subject {
            Some(subject) => self.look_up(tenant, domain, name, subject).await,
            None => Look::nothing(name),
        };
        Look { trace: caller.trace.clone(), ..look }
    }

    /// What is known of a subject that was named without a request.
    pub async fn look_at<'a>(&'a self, caller: &Caller, domain: &'a str, subject: &str) -> Look<'a> {
        let tenant = caller.tenant.as_deref().unwrap_or(DEFAULT_TENANT);
        let name = qualified(tenant, domain);
        let knows_subjects =
            self.engine.rules().domain(&name).is_some_and(|domain| domain.subject().is_some());
        if knows_subjects { self.look_up(tenant, domain, name, subject).await } else { Look::nothing(name) }
    }

    async fn look_up<'a>(
        &'a self,
        tenant: &str,
        domain: &'a str,
        name: Cow<'a, str>,
        subject: &str,
    ) -> Look<'a> {
        let Some(catalog) = &self.catalog else {
            return Look::nothing(name);
        };
        let now_us = self.now_us();
        if let Cached::Hit(known) = catalog.subjects().cached(tenant, domain, subject, now_us) {
            return Look::at(name, Some(known), Lookup::Found);
        }
        let key =
            SubjectKey { tenant: tenant.to_owned(), domain: domain.to_owned(), subject: subject.to_owned() };
        match catalog.subjects().lookup(&key, now_us).await {
            Looked::Found(known) => Look::at(name, Some(known), Lookup::Found),
            Looked::Failed { stale: Some(known) } => {
                catalog.count_lookup_trouble(Lookup::Stale);
                Look::at(name, Some(known), Lookup::Stale)
            }
            Looked::Failed { stale: None } => {
                catalog.count_lookup_trouble(Lookup::Failed);
                Look::at(name, None, Lookup::Failed)
            }
        }
    }
}
