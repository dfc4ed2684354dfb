//! What the admin API answers, as schemas. What it takes is described by the types that read it.
//!
//! The types here describe, they do not write. Tests hold them together with what is written: every answer that the tests of
//! the admin API get must conform to the document.

#![expect(dead_code, reason = "the types exist for their schemas and are never made")]

use schemars::{JsonSchema, json_schema};
use serde_json::Value;

use crate::door::open_api::{CatalogSchema, Nullable, ProblemSchema, schema_only};

schema_only! {
    /// A domain as the rule file has it.
    DomainDocument => json_schema!({ "$ref": "#/components/schemas/rules.Domain" });
    /// A rule as the rule file has it.
    RuleDocument => json_schema!({ "$ref": "#/components/schemas/rules.Rule" });
    /// A whole rule file.
    FileDocument => json_schema!({ "$ref": "#/components/schemas/rules.File" });
    /// A time of RFC 3339, to the second.
    Time => json_schema!({ "type": "string", "format": "date-time" });
    /// A rule or the settings of a domain, before or after; null where there is none.
    Any => json_schema!({ "anyOf": [{ "type": "null" }, { "type": "object" }] });
    /// Where the next page begins.
    Place => json_schema!({ "type": ["string", "integer", "null"], "description": "What `after` (or `before`) must be for the next page; null where this is the last." });
    /// An object of counters.
    Counters => json_schema!({ "type": "object", "additionalProperties": { "type": "integer", "minimum": 0 } });
}

/// One page of a list.
#[derive(JsonSchema)]
#[schemars(rename = "PageOf{T}")]
pub(super) struct Page<T> {
    items: Vec<T>,
    next: Place,
}

/// An endpoint.
#[derive(JsonSchema)]
pub(super) struct Endpoint {
    method: String,
    path: String,
    /// Which keys may use it.
    needs: String,
    summary: String,
}

/// What the key is and may do.
#[derive(JsonSchema)]
pub(super) struct WhoAmI {
    name: String,
    prefix: String,
    /// Whose key it is; null for an operator's.
    tenant: Nullable<String>,
    operator: bool,
    scopes: Vec<String>,
}

/// This node. What is left out is for operators.
#[derive(JsonSchema)]
pub(super) struct Status {
    #[serde(flatten)]
    catalog: CatalogSchema,
    /// What the database said.
    database_error: Option<String>,
    /// The algorithm of rules that name none.
    default_algorithm: String,
    /// Domains of the rule file: only the file changes them.
    file_domains: Vec<String>,
    /// The version of the rules in force on this node.
    rules_version: u64,
    subjects: Option<Counters>,
    usage: Option<Counters>,
    recent: Option<Counters>,
}

/// A tenant and its ceilings.
#[derive(JsonSchema)]
pub(super) struct Tenant {
    name: String,
    max_rules: u32,
    max_keys: u32,
    /// Null where it may ask as often as it likes.
    max_requests_per_second: Nullable<u32>,
    created_at: Time,
    /// The ETag without its quotes.
    version: u64,
    in_force: Option<InForce>,
}

/// After a change: whether this node has it in force already. It will have.
#[derive(JsonSchema)]
#[schemars(transparent)]
struct InForce(bool);

/// A tenant that was removed.
#[derive(JsonSchema)]
pub(super) struct TenantDeleted {
    deleted: String,
    version: u64,
    in_force: InForce,
}

/// A domain in a list.
#[derive(JsonSchema)]
pub(super) struct DomainItem {
    name: String,
    /// `database`, or `file` for the rule file's.
    #[schemars(regex(pattern = "^(database|file)$"))]
    source: String,
    /// How many rules it has.
    rules: Option<u64>,
    version: Option<u64>,
}

/// What a change of rules has done.
#[derive(JsonSchema)]
#[schemars(title = "done")]
pub(super) struct Changed {
    /// What `If-Match` must be for the next change, without quotes.
    version: u64,
    in_force: InForce,
    changed: Vec<Difference>,
    warnings: Vec<String>,
}

/// What differs.
#[derive(JsonSchema)]
struct Difference {
    domain: String,
    /// Null for the domain's own settings.
    rule: Nullable<String>,
    before: Any,
    after: Any,
}

/// What a change of rules would have done.
#[derive(JsonSchema)]
#[schemars(title = "tried")]
pub(super) struct Tried {
    #[schemars(extend("const" = true))]
    dry_run: bool,
    changed: Vec<Difference>,
    warnings: Vec<String>,
    /// `recent requests of this node`, or `the log`.
    tried_on: String,
    results: Vec<TriedDomain>,
}

#[derive(JsonSchema)]
struct TriedDomain {
    domain: String,
    effect: Effect,
}

/// The same requests under the rules before and after.
#[derive(JsonSchema)]
struct Effect {
    requests: u64,
    /// Of the first request; null where there is none.
    from: Nullable<Time>,
    to: Nullable<Time>,
    before: Counts,
    after: Counts,
    newly_denied: u64,
    newly_allowed: u64,
    /// Requests that no rule of either matched.
    unmatched: u64,
    by_rule: Vec<RuleEffect>,
    newly_denied_keys: Vec<DeniedKey>,
}

#[derive(JsonSchema)]
struct Counts {
    allowed: u64,
    denied: u64,
}

#[derive(JsonSchema)]
struct RuleEffect {
    rule: String,
    denied_before: u64,
    denied_after: u64,
}

#[derive(JsonSchema)]
struct DeniedKey {
    key: String,
    requests: u64,
}

/// A rule in a list.
#[derive(JsonSchema)]
pub(super) struct RuleItem {
    name: String,
    version: u64,
    rule: RuleDocument,
}

/// One change of a domain's rules.
#[derive(JsonSchema)]
pub(super) struct HistoryEntry {
    version: u64,
    /// Null for the domain's own settings.
    rule: Nullable<String>,
    action: String,
    document: Any,
    actor: String,
    at: Time,
}

/// A subject with a tier of its own.
#[derive(JsonSchema)]
pub(super) struct SubjectItem {
    subject: String,
    tier: String,
}

/// Subjects whose tiers were set.
#[derive(JsonSchema)]
pub(super) struct TiersSet {
    /// How many.
    subjects: u64,
    in_force: InForce,
    warnings: Vec<String>,
}

/// What is known of a subject.
#[derive(JsonSchema)]
pub(super) struct Subject {
    subject: String,
    tier: Nullable<String>,
    ban: Nullable<BanOfSubject>,
    overrides: Vec<Override>,
    buckets: Vec<Bucket>,
}

/// Why and until when.
#[derive(JsonSchema)]
struct BanOfSubject {
    reason: String,
    /// Null where it has no end.
    until: Nullable<Time>,
    by: String,
    since: Time,
}

/// A ban.
#[derive(JsonSchema)]
pub(super) struct Ban {
    subject: String,
    reason: String,
    /// Null where it has no end.
    until: Nullable<Time>,
    by: String,
    since: Time,
    in_force: Option<InForce>,
}

/// A ban that was lifted.
#[derive(JsonSchema)]
pub(super) struct Unbanned {
    unbanned: String,
    in_force: InForce,
}

/// A quota of one subject.
#[derive(JsonSchema)]
pub(super) struct Override {
    rule: String,
    limit: u64,
    /// Null where it is the rule's.
    window_ms: Nullable<u64>,
    /// Null where it follows from the limit.
    burst: Nullable<u64>,
    reason: String,
    /// Null where it has no end.
    until: Nullable<Time>,
    /// In lists: whose it is.
    subject: Option<String>,
    in_force: Option<InForce>,
}

/// An override that was taken back.
#[derive(JsonSchema)]
pub(super) struct OverrideDeleted {
    /// The rule.
    deleted: String,
    subject: String,
    in_force: InForce,
}

/// A bucket of a subject.
#[derive(JsonSchema)]
struct Bucket {
    rule: String,
    /// The tier by which it has its quota.
    tier: Nullable<String>,
    limit: u64,
    window_ms: u64,
    burst: u64,
    used: u64,
    remaining: u64,
    mode: String,
}

/// Buckets that were put to rest.
#[derive(JsonSchema)]
pub(super) struct Reset {
    /// How many; null where descriptors named them.
    reset: Nullable<u64>,
}

/// Buckets after a refund.
#[derive(JsonSchema)]
pub(super) struct Refunded {
    buckets: Vec<Bucket>,
}

/// An API key without its secret, except in the answer that makes it.
#[derive(JsonSchema)]
pub(super) struct ApiKey {
    prefix: String,
    /// Null for an operator's.
    tenant: Nullable<String>,
    operator: bool,
    name: String,
    scopes: Vec<String>,
    created_at: Time,
    expires_at: Nullable<Time>,
    last_used_at: Nullable<Time>,
    revoked_at: Nullable<Time>,
    /// The whole key. It is shown this once.
    key: Option<String>,
    in_force: Option<InForce>,
    /// After a rotation: until when the old secret is good.
    previous_until: Option<Time>,
}

/// A key that was revoked.
#[derive(JsonSchema)]
pub(super) struct Revoked {
    /// Its prefix.
    revoked: String,
    in_force: InForce,
}

/// What was allowed and denied.
#[derive(JsonSchema)]
pub(super) struct Usage {
    from: Time,
    to: Time,
    /// `minute` or `hour`.
    resolution: String,
    items: Vec<UsageRow>,
    /// Whether this is all: where not, ask for less at a time.
    complete: bool,
}

/// Counts of one kind of request; it names what `by` keeps apart.
#[derive(JsonSchema)]
struct UsageRow {
    allowed: u64,
    denied: u64,
    cost: u64,
    tenant: Option<String>,
    domain: Option<String>,
    rule: Option<String>,
    tier: Option<String>,
    time: Option<Time>,
}

/// A busy key.
#[derive(JsonSchema)]
pub(super) struct BusyKey {
    key: String,
    requests_at_most: u64,
    requests_at_least: u64,
    allowed: u64,
    denied: u64,
    cost: u64,
}

/// One entry of the audit log.
#[derive(JsonSchema)]
pub(super) struct AuditEntry {
    id: u64,
    at: Time,
    /// The key's name and prefix.
    actor: String,
    tenant: Nullable<String>,
    action: String,
    target: String,
    before: Value,
    after: Value,
    correlation_id: Nullable<String>,
}

/// A problem of rules, with what was found where.
#[derive(JsonSchema)]
pub(super) struct NotValid {
    #[serde(flatten)]
    problem: ProblemSchema,
    /// What is wrong with the rules, in the order of the document.
    findings: Option<Vec<Finding>>,
    /// How many findings more there were.
    omitted: Option<u64>,
}

/// Something that is wrong with a document.
#[derive(JsonSchema)]
struct Finding {
    line: Nullable<u64>,
    column: Nullable<u64>,
    field: Nullable<String>,
    message: String,
    remedy: Nullable<String>,
}

/// It is not what the caller has read.
#[derive(JsonSchema)]
pub(super) struct ChangedMeanwhile {
    #[serde(flatten)]
    problem: ProblemSchema,
    /// Its version now; null where it is not there.
    current_version: Nullable<u64>,
}
