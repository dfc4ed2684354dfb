//! The table of endpoints: what each takes, who may use it, what it is for.
//!
//! The router, the index at `/admin/v1`, the reference page and the tests of access all read this one table, so that no
//! endpoint can be reached that they do not know.

use std::future::Future;
use std::pin::Pin;

use http::Method;
use matchit::Router;

use super::answer::Answered;
use super::call::Call;
use super::{
    Admin, audit, bans, domains, history, keys, open_api, overrides, rooms, rules, status, subjects, tenants,
    transfer, trial, usage,
};

/// The longest body of most endpoints: 1 MiB.
pub const MAX_BODY_BYTES: usize = 1 << 20;
/// The longest body of an import: as long as a rule file may be.
pub const MAX_IMPORT_BYTES: usize = tidegate_config::MAX_FILE_BYTES;

/// Who may use an endpoint. A key of a tenant reaches that tenant only; an operator's key reaches all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Any key with a scope of the admin API.
    Read,
    /// A key with the scope `admin-write`.
    Write,
    /// An operator's key with a scope of the admin API.
    OperatorRead,
    /// An operator's key with the scope `admin-write`.
    OperatorWrite,
}

impl Needs {
    /// How the reference page says it.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Needs::Read => "admin-read",
            Needs::Write => "admin-write",
            Needs::OperatorRead => "operator, admin-read",
            Needs::OperatorWrite => "operator, admin-write",
        }
    }
}

pub(super) type Handling<'a> = Pin<Box<dyn Future<Output = Answered> + Send + 'a>>;
pub(super) type Handler = for<'a> fn(&'a Admin, &'a Call) -> Handling<'a>;

/// One endpoint.
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, with names in braces.
    pub path: &'static str,
    /// Who may use it.
    pub needs: Needs,
    /// The longest body, in bytes; 0 where it takes none.
    pub max_body_bytes: usize,
    /// The parameters of the query that it takes, beside `tenant` and `dry_run`.
    pub parameters: &'static [&'static str],
    /// Whether it can be asked what it would do.
    pub takes_dry_run: bool,
    /// What it is for.
    pub summary: &'static str,
    handler: Handler,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

impl Route {
    fn with_dry_run(self) -> Self {
        Self { takes_dry_run: true, ..self }
    }

    fn with(self, parameters: &'static [&'static str]) -> Self {
        Self { parameters, ..self }
    }

    pub(super) const fn handler(&self) -> Handler {
        self.handler
    }
}

/// A row of the table.
macro_rules! route {
    ($method:ident $path:literal, $needs:ident, $body:expr, $handler:path, $summary:literal) => {
        Route {
            method: Method::$method,
            path: concat!("/admin/v1", $path),
            needs: Needs::$needs,
            max_body_bytes: $body,
            parameters: &[],
            takes_dry_run: false,
            summary: $summary,
            handler: |admin, call| Box::pin($handler(admin, call)),
        }
    };
}

const NONE: usize = 0;
const BODY: usize = MAX_BODY_BYTES;
/// The parameters of a list that comes in the order of names.
const PAGE: &[&str] = &["after", "limit"];

/// Every endpoint of the admin API, in the order of the reference page.
#[must_use]
pub fn routes() -> Vec<Route> {
    [status_routes(), tenant_routes(), rule_routes(), subject_routes(), room_routes(), key_routes()]
        .into_iter()
        .flatten()
        .collect()
}

fn status_routes() -> Vec<Route> {
    vec![
        route!(GET "", Read, NONE, status::index, "the endpoints"),
        route!(GET "/openapi.json", Read, NONE, open_api::get, "this API as an OpenAPI document"),
        route!(GET "/whoami", Read, NONE, status::whoami, "what the key is and may do"),
        route!(GET "/status", Read, NONE, status::status, "this node: database, rules in force, caches, usage buffer"),
    ]
}

fn tenant_routes() -> Vec<Route> {
    vec![
        route!(GET "/tenants", OperatorRead, NONE, tenants::list, "all tenants").with(PAGE),
        route!(POST "/tenants", OperatorWrite, BODY, tenants::create, "make a tenant"),
        route!(GET "/tenants/{tenant}", Read, NONE, tenants::get, "one tenant and its ceilings"),
        route!(PUT "/tenants/{tenant}", OperatorWrite, BODY, tenants::put, "change a tenant's ceilings"),
        route!(DELETE "/tenants/{tenant}", OperatorWrite, NONE, tenants::delete, "remove a tenant and all it has"),
    ]
}

fn rule_routes() -> Vec<Route> {
    vec![
        route!(GET "/domains", Read, NONE, domains::list, "the tenant's domains").with(PAGE),
        route!(GET "/domains/{domain}", Read, NONE, domains::get, "a domain with its rules"),
        route!(PUT "/domains/{domain}", Write, BODY, domains::put, "make a domain, or replace it and its rules").with_dry_run(),
        route!(DELETE "/domains/{domain}", Write, NONE, domains::delete, "remove a domain and its rules").with_dry_run(),
        route!(GET "/domains/{domain}/rules", Read, NONE, rules::list, "the rules of a domain").with(PAGE),
        route!(GET "/domains/{domain}/rules/{rule}", Read, NONE, rules::get, "one rule"),
        route!(PUT "/domains/{domain}/rules/{rule}", Write, BODY, rules::put, "make or change a rule").with_dry_run(),
        route!(DELETE "/domains/{domain}/rules/{rule}", Write, NONE, rules::delete, "remove a rule").with_dry_run(),
        route!(POST "/domains/{domain}/rules/{rule}/rename", Write, BODY, rules::rename, "rename a rule; it keeps its buckets").with_dry_run(),
        route!(GET "/domains/{domain}/history", Read, NONE, history::list, "the changes of a domain's rules, newest first").with(&["before", "limit", "rule"]),
        route!(GET "/domains/{domain}/versions/{version}", Read, NONE, history::at, "a domain as it was in a version"),
        route!(POST "/domains/{domain}/rollback", Write, BODY, history::rollback, "put a domain back to a version").with_dry_run(),
        route!(POST "/domains/{domain}/dry-run", Read, BODY, trial::run, "what other rules would have done to recent requests, or to a log"),
        route!(GET "/export", Read, NONE, transfer::export, "all domains as a rule file"),
        route!(POST "/import", Write, MAX_IMPORT_BYTES, transfer::import, "put a rule file's domains in force, all or none").with(&["others"]).with_dry_run(),
    ]
}

fn subject_routes() -> Vec<Route> {
    vec![
        route!(GET "/domains/{domain}/subjects", Read, NONE, subjects::list, "subjects with a tier of their own").with(&["after", "limit", "tier"]),
        route!(POST "/domains/{domain}/subjects", Write, BODY, subjects::put_many, "set the tiers of many subjects"),
        route!(GET "/domains/{domain}/subjects/{subject}", Read, NONE, subjects::inspect, "tier, ban, overrides and buckets of a subject"),
        route!(PUT "/domains/{domain}/subjects/{subject}", Write, BODY, subjects::put, "set a subject's tier"),
        route!(DELETE "/domains/{domain}/subjects/{subject}", Write, NONE, subjects::delete, "give a subject the default tier again"),
        route!(POST "/domains/{domain}/subjects/{subject}/reset", Write, BODY, subjects::reset, "put a subject's buckets to rest"),
        route!(POST "/domains/{domain}/subjects/{subject}/refund", Write, BODY, subjects::refund, "give units back to a subject"),
        route!(PUT "/domains/{domain}/subjects/{subject}/ban", Write, BODY, bans::put, "ban a subject, with a reason and an end"),
        route!(DELETE "/domains/{domain}/subjects/{subject}/ban", Write, NONE, bans::delete, "lift a ban"),
        route!(GET "/domains/{domain}/bans", Read, NONE, bans::list, "the bans of a domain").with(PAGE),
        route!(PUT "/domains/{domain}/subjects/{subject}/overrides/{rule}", Write, BODY, overrides::put, "give one subject a quota of its own"),
        route!(DELETE "/domains/{domain}/subjects/{subject}/overrides/{rule}", Write, NONE, overrides::delete, "take it back"),
        route!(GET "/domains/{domain}/overrides", Read, NONE, overrides::list, "the overrides of a domain").with(&["after", "limit", "subject"]),
    ]
}

fn room_routes() -> Vec<Route> {
    vec![
        route!(GET "/rooms", OperatorRead, NONE, rooms::list, "the waiting rooms of this node").with(PAGE),
        route!(GET "/rooms/{room}", OperatorRead, NONE, rooms::get, "a room: who waits, who is inside, what was counted"),
        route!(PUT "/rooms/{room}", OperatorWrite, BODY, rooms::put, "make a room, or change one while visitors wait; where it is in the rule file, the file has the word when its entry changes"),
        route!(DELETE "/rooms/{room}", OperatorWrite, NONE, rooms::delete, "remove a room and everybody in it; one of the rule file comes back at the next start"),
        route!(GET "/rooms/{room}/export", OperatorRead, NONE, rooms::export, "everybody in a room, by number: state and times, nothing that names anybody").with(&["after", "format", "limit"]),
        route!(POST "/rooms/{room}/state", OperatorWrite, BODY, rooms::set_state, "open, pause, drain or close a room"),
        route!(POST "/rooms/{room}/flush", OperatorWrite, BODY, rooms::flush, "send those away who wait, or everybody"),
        route!(POST "/rooms/{room}/admit", OperatorWrite, BODY, rooms::admit, "call one visitor before its turn"),
        route!(POST "/rooms/{room}/beacon", OperatorWrite, BODY, rooms::beacon, "tell a room what its draw is mixed with: once, before it opens"),
        route!(POST "/rooms/{room}/end", OperatorWrite, BODY, rooms::end, "end one visitor's session, or take it out of the line"),
    ]
}

fn key_routes() -> Vec<Route> {
    vec![
        route!(GET "/keys", Read, NONE, keys::list, "API keys, without their secrets").with(PAGE),
        route!(POST "/keys", Write, BODY, keys::create, "make a key; its secret is shown once"),
        route!(GET "/keys/{prefix}", Read, NONE, keys::get, "one key"),
        route!(POST "/keys/{prefix}/rotate", Write, BODY, keys::rotate, "give a key a new secret; the old one stays good for a while"),
        route!(DELETE "/keys/{prefix}", Write, NONE, keys::revoke, "revoke a key"),
        route!(GET "/usage", Read, NONE, usage::usage, "what was allowed and denied, by minute or hour")
            .with(&["by", "domain", "from", "last", "limit", "resolution", "rule", "tier", "to"]),
        route!(GET "/top", Read, NONE, usage::top, "the busiest keys of a domain on this node")
            .with(&["domain", "limit"]),
        route!(GET "/audit", Read, NONE, audit::list, "who changed what, newest first")
            .with(&["before", "limit"]),
    ]
}

/// What a path leads to.
pub(super) struct Found<'r> {
    pub(super) routes: Vec<&'r Route>,
    pub(super) names: Vec<(String, String)>,
}

/// Finds endpoints by path.
pub(super) struct Paths {
    routes: Vec<Route>,
    by_path: Router<Vec<usize>>,
}

impl Paths {
    /// # Errors
    /// Two paths of the table contradict each other.
    pub(super) fn new() -> Result<Self, matchit::InsertError> {
        let routes = routes();
        let mut paths: Vec<(&str, Vec<usize>)> = Vec::new();
        for (index, route) in routes.iter().enumerate() {
            match paths.iter_mut().find(|(path, _)| *path == route.path) {
                Some((_, indices)) => indices.push(index),
                None => paths.push((route.path, vec![index])),
            }
        }
        let mut by_path = Router::new();
        for (path, indices) in paths {
            by_path.insert(path, indices)?;
        }
        Ok(Self { routes, by_path })
    }

    pub(super) fn find(&self, path: &str) -> Option<Found<'_>> {
        let matched = self.by_path.at(path).ok()?;
        let routes = matched.value.iter().filter_map(|index| self.routes.get(*index)).collect();
        let names = matched.params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Some(Found { routes, names })
    }

    pub(super) fn routes(&self) -> &[Route] {
        &self.routes
    }
}
