//! Between any door and the engine: whose request it is, what is known of its subject, and what is remembered of it.
//!
//! ```text
//! key → tenant → the domain's name in the engine → the tenant's ceiling → the subject's tier, overrides and ban
//!     → the engine decides → usage, busiest keys, recent requests
//! ```
//!
//! Without a catalog all of it falls away, and a request goes straight to the engine. With one, a request whose subject is
//! in the cache waits for nothing but the engine.

mod ad_hoc;
mod ask;
mod catalog;
mod look;
mod metrics;
mod note;

use std::sync::Arc;

use tidegate_catalog::compose::{TENANT_ENTRY, TENANTS_DOMAIN};
use tidegate_catalog::keys::Refusal;
use tidegate_catalog::model::{DEFAULT_TENANT, Scope};
use tidegate_core::time::Timestamp;
use tidegate_engine::{Clock, Decision, Engine, EngineError, Request, SystemClock};
use tidegate_store::BucketStore;

pub use ask::{Answered, Ask};
pub use catalog::{Catalog, CatalogParts, state_json};
pub use look::{Look, Lookup};

use crate::telemetry::metrics::{DoorName, Metrics};
use crate::telemetry::trace::{RequestTrace, Tracer};

/// Whether a request must say whose it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApiKeys {
    /// A request without a key is the default tenant's.
    #[default]
    Optional,
    /// A request without a key is refused.
    Required,
}

/// Whose request it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// `None` is the default tenant.
    tenant: Option<Arc<str>>,
    trace: Option<RequestTrace>,
}

impl Caller {
    /// Whether it is the default tenant's, whose the waiting rooms are.
    #[must_use]
    pub fn has_rooms(&self) -> bool {
        self.tenant.as_deref().is_none_or(|tenant| tenant == DEFAULT_TENANT)
    }

    /// The same caller, of a request that is traced: what the gate and the engine do for it is written down there.
    #[must_use]
    pub fn traced(self, trace: Option<&RequestTrace>) -> Self {
        if let (Some(trace), Some(tenant)) = (trace, &self.tenant) {
            trace.of_tenant(tenant);
        }
        Self { trace: trace.cloned(), ..self }
    }
}

/// Why a request is not taken at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It carries no key, and one is needed.
    NoKey,
    /// Its key is not good.
    BadKey(Refusal),
    /// Its key may not ask for decisions.
    NotForChecks,
}

/// The engine, and what is known beside it. Clones share everything.
#[derive(Debug)]
pub struct Gate<S, C = SystemClock> {
    engine: Engine<S, C>,
    catalog: Option<Arc<Catalog>>,
    api_keys: ApiKeys,
    metrics: Arc<Metrics>,
    door: DoorName,
    tracer: Option<Tracer>,
}

impl<S, C> Clone for Gate<S, C> {
    fn clone(&self) -> Self {
        let (engine, catalog, metrics, tracer) =
            (self.engine.clone(), self.catalog.clone(), Arc::clone(&self.metrics), self.tracer.clone());
        Self { engine, catalog, metrics, tracer, ..*self }
    }
}

/// An engine alone: every request is the default tenant's, and nothing is known of subjects.
impl<S, C> From<Engine<S, C>> for Gate<S, C> {
    fn from(engine: Engine<S, C>) -> Self {
        let metrics = Arc::new(Metrics::new(SystemClock::new()));
        let (api_keys, door) = (ApiKeys::Optional, DoorName::default());
        Self { engine, catalog: None, api_keys, metrics, door, tracer: None }
    }
}

impl<S: BucketStore, C: Clock> Gate<S, C> {
    /// An engine with a catalog beside it.
    #[must_use]
    pub fn new(engine: Engine<S, C>, catalog: Arc<Catalog>, api_keys: ApiKeys) -> Self {
        Self { catalog: Some(catalog), api_keys, ..Self::from(engine) }
    }

    /// The same gate, counting here: for metrics that more is told to than a gate knows.
    #[must_use]
    pub fn with_metrics(self, metrics: Arc<Metrics>) -> Self {
        metrics.adopt(&self.engine.rules());
        Self { metrics, ..self }
    }

    /// The same gate, whose requests are traced where there is a tracer.
    #[must_use]
    pub fn with_tracer(self, tracer: Option<Tracer>) -> Self {
        Self { tracer, ..self }
    }

    /// The same gate for a door, by whose name it counts. Every door asks for its own when it opens.
    #[must_use]
    pub fn at_door(self, door: DoorName) -> Self {
        self.metrics.adopt(&self.engine.rules());
        self.metrics.open_door(door);
        Self { door, ..self }
    }

    /// What is counted here.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What traces requests, if they are.
    #[must_use]
    pub const fn tracer(&self) -> Option<&Tracer> {
        self.tracer.as_ref()
    }

    /// The engine.
    #[must_use]
    pub const fn engine(&self) -> &Engine<S, C> {
        &self.engine
    }

    /// What is known beside the engine.
    #[must_use]
    pub fn catalog(&self) -> Option<&Arc<Catalog>> {
        self.catalog.as_ref()
    }

    /// Whether a request's key says anything here. Where there are no keys, what a caller sends to others beside this
    /// server is none of its business.
    #[must_use]
    pub fn knows_keys(&self) -> bool {
        self.catalog.is_some() || self.api_keys == ApiKeys::Required
    }

    /// Whether nothing is decided without a key.
    #[must_use]
    pub fn needs_key(&self) -> bool {
        self.api_keys == ApiKeys::Required
    }

    /// Whose request it is, by the key that it carries.
    ///
    /// # Errors
    /// [`Refused`]. A key that is not good is never taken for none.
    pub fn caller(&self, key: Option<&str>) -> Result<Caller, Refused> {
        let (Some(catalog), Some(key)) = (&self.catalog, key) else {
            return match self.api_keys {
                ApiKeys::Required => Err(Refused::NoKey),
                ApiKeys::Optional => Ok(Caller::default()),
            };
        };
        let verified = catalog.keys().verify(key, self.now_us()).map_err(Refused::BadKey)?;
        if verified.may(Scope::Check) {
            Ok(Caller { tenant: verified.tenant, trace: None })
        } else {
            Err(Refused::NotForChecks)
        }
    }

    /// Counts requests against the ceiling of the caller's tenant, over all nodes. `Some` is the refusal; where the store
    /// does not answer there is none, since the rules' own policies say what happens then.
    ///
    /// # Errors
    /// As [`Engine::decide`].
    pub async fn over_ceiling(
        &self,
        caller: &Caller,
        requests: u64,
    ) -> Result<Option<Decision>, EngineError> {
        if self.catalog.is_none() {
            return Ok(None);
        }
        let tenant = caller.tenant.as_deref().unwrap_or(DEFAULT_TENANT);
        let entries = [(TENANT_ENTRY, tenant)];
        let stages = caller.trace.as_ref().map(RequestTrace::stages);
        let request = Request::new(TENANTS_DOMAIN, &entries).with_cost(requests.max(1)).with_stages(stages);
        let decision = self.engine.decide(&request).await?;
        let is_over = !decision.is_allowed() && decision.degraded().is_none();
        if is_over {
            self.metrics.over_ceiling(self.door, requests.max(1));
            if let Some(trace) = &caller.trace {
                trace.decided(&decision);
            }
        }
        Ok(is_over.then_some(decision))
    }

    fn now_us(&self) -> i64 {
        unix_us(self.engine.now())
    }
}

/// A time as the catalog has it, in microseconds since the Unix epoch.
pub(crate) fn unix_us(time: Timestamp) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
