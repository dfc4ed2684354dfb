//! The admin API: rules, subjects, tenants and keys changed while the server serves; on a listener of its own.
//!
//! ```text
//! route     the table of endpoints
//! access    who may do what: keys, roles, origins, a limiter of its own
//! call      one request, read
//! answer    answers and problems
//! tenants domains rules history transfer trial subjects bans overrides rooms keys usage audit status
//!           the handlers, a file for each kind of thing
//! open_api  the OpenAPI document, from the table
//! buckets   what the handlers ask the engine for
//! turns     large bodies, exports and trials, a few at a time
//! ```
//!
//! Handlers validate, ask the catalog, and write. Nothing here is on the path of a decision.

mod access;
mod answer;
mod audit;
mod bans;
mod buckets;
mod call;
mod domains;
mod history;
mod keys;
mod open_api;
mod overrides;
pub mod reference;
mod rooms;
mod route;
mod rules;
mod status;
mod subjects;
mod tenants;
mod transfer;
mod trial;
mod turns;
mod usage;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::header::ALLOW;
use http::request::Parts;
use http::{HeaderValue, Method, Request};
use http_body_util::{Either, Full};
use hyper::body::{Body, Incoming};
use hyper::service::{Service, service_fn};
use serde_json::Value;
use tidegate_catalog::edit::Editor;
use tidegate_catalog::model::{SubjectKey, qualified};
use tidegate_catalog::repository::{Deed, Repository};
use tidegate_wire::correlation::CorrelationId;
use tidegate_wire::problem::{Problem, ProblemType};

pub use buckets::Buckets;
pub use open_api::document as open_api_document;
pub use route::{MAX_BODY_BYTES, MAX_IMPORT_BYTES, Needs, Route, routes};
pub use trial::effect_json;

use crate::door::{DoorResponse, correlation_value, problem, read_bounded};
use crate::gate::{Catalog, unix_us};
use crate::net::{BodyRoom, PeerInfo};
use crate::rooms::Rooms;
use access::Access;
pub use answer::{AdminResponse, RowBody};
use answer::{Answered, Refusal};
use call::{Call, TenantBy};
use route::{Handler, Paths};
use turns::{Turn, Turns};

/// How long a change may take until this node has it in force, before the answer says that it is not yet.
const IN_FORCE_DEADLINE: Duration = Duration::from_secs(2);

/// The admin API of one node.
pub struct Admin {
    /// The database.
    repository: Repository,
    /// Changes of rules, validated.
    editor: Editor,
    /// What this node knows of the catalog.
    catalog: Arc<Catalog>,
    /// The engine, as far as the admin API needs it.
    buckets: Arc<dyn Buckets>,
    /// The waiting rooms; `None` where there are none.
    rooms: Option<Rooms>,
    /// Large bodies and exports: each takes memory for a while.
    bodies: Turns,
    /// Bodies that come in pieces.
    room: BodyRoom,
    /// One trial at a time: it takes a core for a while.
    trials: Turns,
    paths: Paths,
    access: Access,
    body_timeout: Duration,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl Admin {
    /// The admin API of a node.
    ///
    /// # Errors
    /// The table of endpoints or the rules of its limiter contradict themselves, which a test would have found.
    pub fn new(
        repository: Repository,
        editor: Editor,
        catalog: Arc<Catalog>,
        buckets: Arc<dyn Buckets>,
        body_timeout: Duration,
    ) -> anyhow::Result<Self> {
        let (paths, access) = (Paths::new()?, Access::new()?);
        let (bodies, trials, room) = (Turns::of_bodies(), Turns::one(), BodyRoom::default());
        Ok(Self {
            repository,
            editor,
            catalog,
            buckets,
            rooms: None,
            bodies,
            room,
            trials,
            paths,
            access,
            body_timeout,
        })
    }

    /// The same, for operators of waiting rooms, too.
    #[must_use]
    pub fn with_rooms(self, rooms: Rooms) -> Self {
        Self { rooms: Some(rooms), ..self }
    }

    /// The service of one connection.
    pub fn service(
        self: &Arc<Self>,
        peer: PeerInfo,
    ) -> impl Service<
        Request<Incoming>,
        Response = AdminResponse,
        Error = Infallible,
        Future: Future<Output = Result<AdminResponse, Infallible>> + Send + 'static,
    > + Send
    + use<> {
        let admin = Arc::clone(self);
        service_fn(move |request| {
            let admin = Arc::clone(&admin);
            async move { Ok(admin.answer(peer, request).await) }
        })
    }

    async fn answer(self: &Arc<Self>, peer: PeerInfo, request: Request<Incoming>) -> AdminResponse {
        let (head, body) = request.into_parts();
        let id = CorrelationId::from_headers(&head.headers, || fastrand::u128(..));
        let is_head = head.method == Method::HEAD;
        let (correlation, value) = (id.as_str().to_owned(), correlation_value(&id));
        let mut response = match self.dispatch(peer, head, body, correlation).await {
            Ok(response) => response,
            Err(refusal) => refusal.into_response().map(Either::Left),
        };
        if is_head {
            response = response.map(|_| Either::Left(Full::default()));
        }
        response.headers_mut().insert(tidegate_wire::correlation::X_CORRELATION_ID, value);
        response
    }

    /// Everything before the handler: nothing is read of a request that may not be made.
    async fn dispatch(
        self: &Arc<Self>,
        peer: PeerInfo,
        head: Parts,
        body: Incoming,
        correlation: String,
    ) -> Result<AdminResponse, Refusal> {
        access::check_origin(&head)?;
        let now_us = self.now_us();
        let caller = self.access.caller(&self.catalog, peer, &head, now_us).await?;
        let Some(found) = self.paths.find(head.uri.path()) else {
            return Err(Problem::new(
                ProblemType::NotFound,
                "there is nothing here; GET /admin/v1 lists what there is",
            )
            .into());
        };
        let Some(route) = found.routes.iter().find(|route| route.method == head.method) else {
            return Ok(method_not_allowed(&found.routes).map(Either::Left));
        };
        access::check_role(&caller, route.needs)?;
        call::check_parameters(route, head.uri.query())?;
        let (tenant, tenant_by) = access::tenant_of(&caller, &head)?;
        if tenant_by == TenantBy::Name && self.repository.tenant(&tenant).await?.is_none() {
            return Err(Refusal::not_found("tenant"));
        }
        let hint = body.size_hint();
        let max_bytes = route.max_body_bytes as u64;
        // What is too long is refused before any of it is read.
        let bytes =
            if hint.lower() > max_bytes { 0 } else { hint.upper().unwrap_or(max_bytes).min(max_bytes) };
        let turn = self.bodies.for_body(bytes).await?;
        let call = Call {
            names: found.names,
            query: head.uri.query().map(str::to_owned),
            body: read_bounded(body, route.max_body_bytes, self.body_timeout, &self.room).await?,
            tenant,
            tenant_by,
            headers: head.headers,
            caller,
            correlation,
            now_us,
        };
        Ok(Arc::clone(self).handle(route.handler(), call, turn).await?.into_response())
    }

    /// Runs a handler to its end, also where the caller hangs up: until then it has its turn.
    async fn handle(self: Arc<Self>, handler: Handler, call: Call, turn: Option<Turn>) -> Answered {
        let handling = tokio::spawn(async move {
            let _turn = turn;
            handler(&self, &call).await
        });
        handling.await.map_err(interrupted)?
    }

    /// The present, in microseconds since the Unix epoch.
    fn now_us(&self) -> i64 {
        unix_us(self.buckets.now())
    }

    /// Waits until this node has applied a version of the rules. `false` where that takes too long.
    async fn rules_in_force(&self, version: i64) -> bool {
        let applied = self.catalog.wait_for_rules(version);
        tokio::time::timeout(IN_FORCE_DEADLINE, applied).await.is_ok()
    }

    /// Waits until this node has heard of a version of the subjects. `false` where that takes too long.
    async fn subjects_in_force(&self, version: i64) -> bool {
        let applied = self.catalog.wait_for_subjects(version);
        tokio::time::timeout(IN_FORCE_DEADLINE, applied).await.is_ok()
    }

    /// Waits until this node has applied a version of the keys. `false` where that takes too long.
    async fn keys_in_force(&self, version: i64) -> bool {
        let applied = self.catalog.wait_for_keys(version);
        tokio::time::timeout(IN_FORCE_DEADLINE, applied).await.is_ok()
    }

    /// Writes into the audit log what is about to be done to a subject's buckets. First: done before and then not noted, it
    /// would be answered like a failure, and be done twice by whoever tries again.
    async fn note(
        &self,
        call: &Call,
        action: &'static str,
        key: &SubjectKey,
        wanted: &Value,
    ) -> Result<(), Refusal> {
        let deed = Deed {
            tenant: key.tenant.clone(),
            action,
            target: format!("{}/{}", key.domain, key.subject),
            after: Some(wanted.to_string()),
        };
        Ok(self.repository.note(&call.actor(), call.now_us, deed).await?)
    }

    /// Refuses what is about a domain that is not in force here.
    fn check_domain(&self, tenant: &str, domain: &str) -> Result<(), Refusal> {
        let is_there = self.buckets.rules().domain(&qualified(tenant, domain)).is_some();
        is_there.then_some(()).ok_or_else(|| Refusal::not_found("domain"))
    }
}

/// Does what takes a processor for a while on a thread of its own: those that answer requests answer requests.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(interrupted)?)
}

fn interrupted(_: tokio::task::JoinError) -> Problem {
    Problem::new(ProblemType::Internal, "the request was interrupted; try again")
}

fn method_not_allowed(routes: &[&Route]) -> DoorResponse {
    let methods: Vec<&str> = routes.iter().map(|route| route.method.as_str()).collect();
    let methods = methods.join(", ");
    let mut response = problem(&Problem::new(ProblemType::MethodNotAllowed, format!("this takes {methods}")));
    if let Ok(value) = HeaderValue::from_str(&methods) {
        response.headers_mut().insert(ALLOW, value);
    }
    response
}
