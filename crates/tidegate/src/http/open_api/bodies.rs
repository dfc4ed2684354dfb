//! The bodies of the HTTP door as schemas.
//!
//! The types here describe, they do not read or write: `tidegate_wire::check` reads, `to_wire` writes, by hand and fast.
//! Tests hold them together: every answer that the door's tests get must conform to the document.

#![expect(dead_code, reason = "the types exist for their schemas and are never made")]

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use tidegate_core::quota::Algorithm;
use tidegate_wire::check::{
    MAX_CHECKS, MAX_COST, MAX_DOMAIN_BYTES, MAX_ENTRIES, MAX_IDEMPOTENCY_KEY_BYTES, MAX_NAME_BYTES,
    MAX_VALUE_BYTES,
};
use tidegate_wire::problem::ProblemType;
use tidegate_wire::room::token::MAX_TOKEN_BYTES;

use super::rooms::RoomSeat;
use crate::door::open_api::{CatalogSchema, Nullable, ProblemSchema, Seconds, of_kinds, schema_only};

/// Text without control characters.
pub(super) const PLAIN: &str = r"^[^\x00-\x1f\x7f-\x9f]+$";

/// A request to be decided. At least one entry is needed: `client_id`, or one of `descriptors`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("anyOf" = one_entry()))]
pub(super) struct Check {
    /// Whose rules apply; `default` where it is left out.
    #[schemars(length(min = 1, max = MAX_DOMAIN_BYTES), regex(pattern = PLAIN))]
    domain: Option<String>,
    /// Short for the entry `client_id`.
    #[schemars(length(min = 1, max = MAX_VALUE_BYTES), regex(pattern = PLAIN))]
    client_id: Option<String>,
    descriptors: Option<Descriptors>,
    cost: Option<Cost>,
    /// Answer without charging.
    #[schemars(extend("default" = false))]
    peek: Option<bool>,
    idempotency_key: Option<IdempotencyKey>,
    /// The visitor's ticket of a waiting room, where a rule sends to one: the `ticket` of an earlier answer.
    #[schemars(length(min = 1, max = MAX_TOKEN_BYTES), regex(pattern = PLAIN))]
    ticket: Option<String>,
    /// The visitor's pass of such a room: rules that send to it do not apply.
    #[schemars(length(min = 1, max = MAX_TOKEN_BYTES), regex(pattern = PLAIN))]
    pass: Option<String>,
}

/// Units to give back: a check without `peek`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("anyOf" = one_entry()))]
pub(super) struct Refund {
    /// Whose rules apply; `default` where it is left out.
    #[schemars(length(min = 1, max = MAX_DOMAIN_BYTES), regex(pattern = PLAIN))]
    domain: Option<String>,
    /// Short for the entry `client_id`.
    #[schemars(length(min = 1, max = MAX_VALUE_BYTES), regex(pattern = PLAIN))]
    client_id: Option<String>,
    descriptors: Option<Descriptors>,
    cost: Option<Cost>,
    idempotency_key: Option<IdempotencyKey>,
}

/// Several requests, decided one after the other.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Checks {
    /// What is to be decided.
    #[schemars(length(min = 1, max = MAX_CHECKS))]
    checks: Vec<Check>,
}

fn one_entry() -> serde_json::Value {
    serde_json::json!([
        { "title": "with client_id", "required": ["client_id"] },
        { "title": "with descriptors", "required": ["descriptors"], "properties": { "descriptors": { "minProperties": 1 } } },
    ])
}

/// The entries of the request: names and values. At most 32, with the one that `client_id` makes. Values of `path` and
/// `client_ip` must be a path and an address.
struct Descriptors(BTreeMap<String, EntryValue>);

impl JsonSchema for Descriptors {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Descriptors".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<EntryValue>();
        json_schema!({
            "type": "object",
            "description": "The entries of the request: names and values. At most 32, with the one that `client_id` makes, which must not be here as well. A `path` is brought into one spelling, a `client_ip` must be one address.",
            "maxProperties": MAX_ENTRIES,
            "propertyNames": {
                "minLength": 1,
                "maxLength": MAX_NAME_BYTES,
                "pattern": "^[A-Za-z0-9_.:-]+$",
            },
            "additionalProperties": value,
        })
    }
}

/// A value of an entry; numbers and booleans count as their text.
struct EntryValue;

impl JsonSchema for EntryValue {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "EntryValue".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Text, or a whole number or a boolean, which count as their text.",
            "anyOf": [
                { "type": "string", "minLength": 1, "maxLength": MAX_VALUE_BYTES, "pattern": PLAIN },
                { "type": "integer", "minimum": i64::MIN, "maximum": u64::MAX },
                { "type": "boolean" },
            ],
        })
    }
}

/// Quota units, without point or exponent.
#[derive(JsonSchema)]
#[schemars(transparent, extend("default" = 1))]
struct Cost(#[schemars(range(min = 1, max = MAX_COST))] u64);

/// Your name for this attempt: the same call with the same key is charged once.
#[derive(JsonSchema)]
#[schemars(transparent)]
struct IdempotencyKey(
    #[schemars(length(min = 1, max = MAX_IDEMPOTENCY_KEY_BYTES), regex(pattern = PLAIN))] String,
);

/// How full the bucket of the binding rule is: the tightest of the enforced rules that applied. Null where none did.
#[derive(JsonSchema)]
struct Level {
    /// Units left, after this decision.
    remaining: Nullable<u64>,
    /// Units of the rule.
    limit: Nullable<u64>,
    /// Its window in seconds; for `concurrency` the life of a permit.
    window: Nullable<Seconds>,
    /// When the bucket is at rest: Unix seconds, to the millisecond.
    reset_at: Nullable<Seconds>,
}

/// Which rule it was, and what the others said.
#[derive(JsonSchema)]
struct Ruled {
    /// The domain; null where the rules have none of that name.
    domain: Nullable<String>,
    /// The binding rule; null where no enforced rule applied.
    rule: Nullable<String>,
    /// Where nodes take units of the rule in advance.
    consistency: Option<Consistency>,
    /// With `consistency`: the most that all nodes together may let pass beyond the rule's bound.
    overshoot_bound: Option<u64>,
    /// What every rule said, where more than one was asked.
    verdicts: Option<Vec<Verdict>>,
}

/// What a decision says beside its level and its rules.
#[derive(JsonSchema)]
struct Told {
    /// Milliseconds that the request was made to wait in a rule's queue, or for a peek would be.
    wait_ms: Option<u64>,
    /// The store did not answer, and its failure policy decided.
    degraded: Option<bool>,
    /// The permit to give back, where a `concurrency` rule applied.
    permit_id: Option<String>,
    /// This is the remembered answer of an earlier call with the same key.
    repeated: Option<bool>,
    /// The subject's tier, where the catalog has one.
    tier: Option<String>,
    /// The catalog did not answer in time: an older answer was used, or the domain's default tier.
    tier_lookup: Option<TierLookup>,
    /// The version of the rules that decided.
    rules_version: u64,
    /// How the visitor stands in the waiting room that a rule has sent it to. Who is `admitted` is not limited by the rule.
    room: Option<RoomSeat>,
}

/// The request may pass.
#[derive(JsonSchema)]
pub(super) struct Allowed {
    #[schemars(extend("const" = true))]
    allowed: bool,
    /// Where the domain does not exist: that nothing limits the request.
    message: Option<String>,
    #[serde(flatten)]
    level: Level,
    #[serde(flatten)]
    told: Told,
    #[serde(flatten)]
    ruled: Ruled,
}

/// The request may not pass, and nothing was charged: a problem with the members of a decision.
#[derive(JsonSchema)]
pub(super) struct Denied {
    #[schemars(extend("const" = false))]
    allowed: bool,
    /// What programs compare.
    r#type: DenialType,
    /// A short text, the same for every problem of the type.
    title: String,
    /// The status of the response, or the one that it would have had alone.
    status: DenialStatus,
    /// What happened here and what to do, for people.
    detail: String,
    /// The same text as `detail`.
    message: String,
    /// The rules that refused.
    #[serde(rename = "violated-policies")]
    violated_policies: Option<Vec<String>>,
    /// Milliseconds until this cost can pass, or until to ask again in a waiting room; missing where waiting does not help.
    retry_after_ms: Option<u64>,
    #[serde(flatten)]
    level: Level,
    #[serde(flatten)]
    told: Told,
    #[serde(flatten)]
    ruled: Ruled,
}

schema_only! {
    /// A denial: over a limit, a cost that never passes, or no store and a policy that refuses.
    DenialType => json_schema!({ "type": "string", "enum": DENIALS.map(ProblemType::uri) });
    /// The status of a denial.
    DenialStatus => json_schema!({ "type": "integer", "enum": DENIALS.map(|kind| kind.status().as_u16()) });
    /// A kind of failure of the store.
    LastError => json_schema!({ "type": "string", "description": "`unavailable`, `timeout`, `corrupt` or `misconfigured`." });
}

/// The types of denials.
const DENIALS: [ProblemType; 3] =
    [ProblemType::QuotaExceeded, ProblemType::CostNeverPasses, ProblemType::StoreUnavailable];

/// The subject is banned; no rule was asked.
#[derive(JsonSchema)]
pub(super) struct Banned {
    #[schemars(extend("const" = ProblemType::Banned.uri()))]
    r#type: String,
    /// A short text, always the same.
    title: String,
    #[schemars(extend("const" = 403))]
    status: u16,
    /// Why, as whoever banned it has said.
    detail: String,
    #[schemars(extend("const" = false))]
    allowed: bool,
    #[schemars(extend("const" = true))]
    banned: bool,
    /// Until when: Unix seconds; null where it has no end.
    banned_until: Nullable<Seconds>,
    /// Milliseconds until then.
    retry_after_ms: Option<u64>,
}

/// The answers of many checks, in the order of the request.
#[derive(JsonSchema)]
pub(super) struct Results {
    #[schemars(length(min = 1, max = MAX_CHECKS))]
    results: Vec<AnyResult>,
}

/// The body that a check would have had alone.
struct AnyResult;

impl JsonSchema for AnyResult {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Result".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let problem = generator.subschema_for::<ProblemSchema>().to_value();
        // Those that no rule has given; what has `allowed` is a denial.
        let of_none = |kind: ProblemType| serde_json::json!({ "allOf": [of_kinds(&problem, &[kind]), { "not": { "required": ["allowed"] } }] });
        json_schema!({
            "description": "The body that the check would have had alone.",
            "oneOf": [
                generator.subschema_for::<Allowed>(),
                generator.subschema_for::<Denied>(),
                generator.subschema_for::<Banned>(),
                of_none(ProblemType::StoreUnavailable),
                of_none(ProblemType::Overloaded),
            ],
        })
    }
}

/// What is left after a refund.
#[derive(JsonSchema)]
pub(super) struct Refunded {
    /// The units that were to be given back; of those, at most what is used.
    cost: u64,
    #[serde(flatten)]
    level: Level,
    #[serde(flatten)]
    ruled: Ruled,
}

/// What the protected endpoint gives.
#[derive(JsonSchema)]
pub(super) struct DemoData {
    message: String,
    user_id: String,
    #[serde(flatten)]
    level: Level,
    /// The store did not answer, and its failure policy decided.
    degraded: Option<bool>,
}

/// What a key has used and has left.
#[derive(JsonSchema)]
pub(super) struct Stats {
    key: String,
    #[serde(flatten)]
    use_: Use,
}

/// What a user has used and has left.
#[derive(JsonSchema)]
pub(super) struct UserStats {
    user: String,
    #[serde(flatten)]
    use_: Use,
}

#[derive(JsonSchema)]
struct Use {
    domain: Option<String>,
    /// Units used of the tightest enforced bucket.
    used: Option<u64>,
    #[serde(flatten)]
    level: Level,
    /// Every bucket of the domain that the key selects alone; `allowed` says whether one unit would pass now.
    #[schemars(length(max = 100))]
    buckets: Vec<Verdict>,
}

/// What one rule said.
#[derive(JsonSchema)]
struct Verdict {
    rule: String,
    #[schemars(extend("enum" = Algorithm::ALL.map(Algorithm::name)))]
    algorithm: String,
    mode: Mode,
    allowed: bool,
    used: u64,
    remaining: u64,
    limit: u64,
    /// Seconds.
    window: Seconds,
    /// Of bucket algorithms.
    burst: Option<u64>,
    consistency: Option<Consistency>,
    overshoot_bound: Option<u64>,
    /// Unix seconds.
    reset_at: Seconds,
    /// Where this rule refuses.
    retry_after_ms: Option<u64>,
}

#[derive(JsonSchema)]
#[schemars(inline, rename_all = "snake_case")]
enum Mode {
    Enforce,
    Shadow,
}

#[derive(JsonSchema)]
#[schemars(inline, rename_all = "snake_case")]
enum Consistency {
    Leased,
}

#[derive(JsonSchema)]
#[schemars(inline, rename_all = "snake_case")]
enum TierLookup {
    Stale,
    Failed,
}

/// The process lives.
#[derive(JsonSchema)]
pub(super) struct Health {
    #[schemars(extend("const" = "ok"))]
    status: String,
    /// Of the program.
    version: String,
}

/// Whether this node wants traffic.
#[derive(JsonSchema)]
pub(super) struct Ready {
    ready: bool,
    rules_version: u64,
    catalog: Option<CatalogSchema>,
}

/// The circuit breaker before the store.
#[derive(JsonSchema)]
pub(super) struct Breaker {
    state: BreakerState,
    consecutive_failures: u64,
    /// So many open it.
    failure_threshold: u64,
    cool_down_ms: u64,
    /// Unix seconds.
    opened_at: Nullable<Seconds>,
    next_attempt_in_ms: Nullable<u64>,
    /// Of what kind it was.
    last_error: Nullable<LastError>,
    /// How often the state has changed.
    transitions: u64,
    /// Requests that were not sent to the store.
    rejected: u64,
    /// The kind of store.
    store: String,
}

#[derive(JsonSchema)]
#[schemars(inline, rename_all = "snake_case")]
enum BreakerState {
    Closed,
    Open,
    HalfOpen,
}
