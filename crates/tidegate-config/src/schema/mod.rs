//! The format of rule files as a JSON Schema (draft 2020-12), for editors and other tools.
//!
//! The types here describe, they do not read: [`crate::rules`] does, because it reports every error of a file with
//! its place. Tests hold the two together: same fields, same words, and the examples conform to both.

#![expect(dead_code, reason = "the types exist for their schema and are never made")]

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use tidegate_core::quota::{MAX_LIMIT, MAX_LOG_LIMIT, MAX_PERMITS, MAX_SLIDING_WINDOW_LIMIT};
use tidegate_core::room::MAX_ROOM_NAME_BYTES;
use tidegate_core::rule::model::{
    MAX_ALTERNATIVES, MAX_CONDITIONS, MAX_DOMAINS, MAX_EXCEPTIONS, MAX_KEY_ENTRIES, MAX_NAME_BYTES,
    MAX_PARTS, MAX_REPLACED, MAX_RULES, MAX_TIERS,
};

use crate::rules::{
    MAX_PATTERNS, MAX_QUEUE_DEPTH, MAX_RESERVES, MAX_ROOM_ASSET_ORIGINS, MAX_ROOM_HOSTS,
    MAX_ROOM_MESSAGE_CHARS, MAX_ROOM_TEMPLATE_BYTES, MAX_ROOM_TITLE_CHARS, MAX_ROOMS, MAX_VALUE_BYTES,
};

/// The JSON Schema of rule files, as text with a line break at its end: docs/reference/rules.schema.json.
#[must_use]
pub fn json_schema() -> String {
    let settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(tidy));
    let schema = settings.into_generator().into_root_schema_for::<RuleFile>();
    format!("{:#}\n", schema.as_value())
}

/// An optional field is left out, never null; a description is one line.
fn tidy(schema: &mut Schema) {
    if let Some(description) = schema.get("description").and_then(serde_json::Value::as_str) {
        let line = description.replace('\n', " ");
        schema.insert("description".to_owned(), line.into());
    }
    let null = serde_json::json!({ "type": "null" });
    match schema.get("anyOf").and_then(serde_json::Value::as_array).map(Vec::as_slice) {
        Some([kept, other]) if *other == null => {
            let kept = kept.clone();
            schema.remove("anyOf");
            for (key, value) in kept.as_object().into_iter().flatten() {
                schema.insert(key.clone(), value.clone());
            }
        }
        _ => {}
    }
    let plain = match schema.get("type").and_then(serde_json::Value::as_array).map(Vec::as_slice) {
        Some([kept, other]) if other == "null" => Some(kept.clone()),
        _ => None,
    };
    if let Some(plain) = plain {
        schema.insert("type".to_owned(), plain);
    }
}

/// The rules of Tidegate: domains, and in each the rules that limit its requests.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "Tidegate rule file")]
struct RuleFile {
    /// The version of this format: 1.
    #[schemars(extend("const" = 1))]
    version: u64,
    /// The domains, each name once.
    #[schemars(length(max = MAX_DOMAINS))]
    domains: Vec<Domain>,
    /// The waiting rooms, each name once. What changes in them is taken up while visitors wait; a room that is not here any more stays
    /// until an operator removes it.
    #[schemars(length(max = MAX_ROOMS))]
    rooms: Option<Vec<Room>>,
}

/// A container of rules: a request names one domain, and only its rules apply.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Domain {
    /// Unique name. Requests that name no domain use `default`.
    name: Name,
    /// The entry whose value is looked up for its tier, for example `user_id`.
    subject: Option<Name>,
    /// The tier of a subject of which nothing is known.
    default_tier: Option<Name>,
    /// The answer when the store does not answer, for rules that say nothing else. Default: the server's `FAIL_MODE`, `allow` where
    /// that is not set.
    on_store_failure: Option<FailurePolicy>,
    /// The rules, each name once. All rules that match a request apply together, all or nothing.
    #[schemars(length(max = MAX_RULES))]
    rules: Vec<Rule>,
}

/// A rule: which requests it is about, which of them share a bucket, and how many may pass in what time.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("allOf" = [
    {
        "if": { "properties": { "algorithm": { "const": "concurrency" } }, "required": ["algorithm"] },
        "then": { "required": ["permit_ttl"], "properties": { "window": false } },
        "else": { "required": ["window"], "properties": { "permit_ttl": false } }
    },
    {
        "if": {
            "properties": { "algorithm": {
                "enum": ["fixed_window", "sliding_window", "sliding_window_log", "concurrency"]
            } },
            "required": ["algorithm"]
        },
        "then": { "properties": { "burst": false, "queue": false } }
    },
    {
        "if": { "properties": { "consistency": { "const": "leased" } }, "required": ["consistency"] },
        "then": { "properties": { "algorithm": { "not": { "const": "concurrency" } }, "queue": false, "reserve": false } },
        "else": { "properties": { "lease": false } }
    },
    {
        "if": { "properties": { "on_limit": { "const": "room" } }, "required": ["on_limit"] },
        "then": { "required": ["room"] },
        "else": { "properties": { "room": false } }
    }
]))]
struct Rule {
    /// Unique in its domain; the policy name in response headers.
    #[schemars(with = "RuleName")]
    name: String,
    /// What the rule was called when its buckets were first written. A rule that is renamed and says so keeps what was used.
    #[schemars(with = "Option<RuleName>")]
    formerly: Option<String>,
    /// What a request must look like: entries and what is asked of their values. Without it, every request matches.
    #[schemars(rename = "match", extend("maxProperties" = MAX_CONDITIONS, "propertyNames" = { "$ref": "#/$defs/Name" }))]
    conditions: Option<std::collections::BTreeMap<String, Condition>>,
    /// Further conditions, in the form of `match`: all of at least one of these have to hold, too.
    #[schemars(length(min = 1, max = MAX_ALTERNATIVES))]
    any: Option<Vec<Alternative>>,
    /// `true`: applies only to requests that have no entries but those that `match`, `any` and `key` name. Default: `false`.
    only: Option<bool>,
    /// Entries that a request must have, in this order. Default: the order says nothing.
    #[schemars(length(max = MAX_CONDITIONS + MAX_KEY_ENTRIES), extend("uniqueItems" = true))]
    order: Option<Vec<Name>>,
    /// `true`: applies only where no other enforced rule of the domain matched. Default: `false`.
    otherwise: Option<bool>,
    /// The entries whose values select the bucket, for example `[client_ip]`; `[]` is one bucket for all. A request
    /// that lacks one of them does not match the rule.
    #[schemars(length(max = MAX_KEY_ENTRIES), extend("uniqueItems" = true))]
    key: Vec<Name>,
    /// How the quota is metered. Default: `token_bucket`.
    algorithm: Option<Algorithm>,
    /// Units per window; with `concurrency`, permits held at one time. 0 refuses everything. `_` may group digits.
    limit: Count,
    /// The time of the quota, for example `60s`. Not with `concurrency`.
    window: Option<Duration>,
    /// Units that may pass at one instant from rest. Default: the limit with `token_bucket`, 1 with `leaky_bucket`;
    /// the others have none.
    burst: Option<Count>,
    /// Only with `concurrency`: the time after which a permit that nobody gave back expires.
    permit_ttl: Option<Duration>,
    /// Other numbers by tier of the domain's subject. What a tier does not say is the rule's.
    #[schemars(extend(
        "maxProperties" = MAX_TIERS,
        "propertyNames" = { "$ref": "#/$defs/Name", "not": { "pattern": "^=" } }
    ))]
    tiers: Option<std::collections::BTreeMap<String, Tier>>,
    /// Shares of the quota for requests whose entry `priority` has this value or one above it in the list: the highest
    /// first. Together at most 100%.
    #[schemars(extend("maxProperties" = MAX_RESERVES, "propertyNames" = { "$ref": "#/$defs/Name" }))]
    reserve: Option<std::collections::BTreeMap<String, Percent>>,
    /// Whether the verdict is obeyed. Default: `enforce`.
    mode: Option<Mode>,
    /// Rules of this domain that do not apply where this one does, whatever its mode but `off`.
    #[schemars(length(max = MAX_REPLACED), extend("uniqueItems" = true), with = "Option<Vec<RuleName>>")]
    replaces: Option<Vec<String>>,
    /// What a denial means for a gRPC call with several descriptors. Default: `alone`.
    denies: Option<Denies>,
    /// The answer when the store does not answer. Default: the domain's.
    on_store_failure: Option<FailurePolicy>,
    /// Lets requests over the limit wait their turn. Only with `token_bucket` and `leaky_bucket`.
    queue: Option<Queue>,
    /// What becomes of a request over the limit. Default: `refuse`.
    on_limit: Option<OnLimit>,
    /// With `on_limit: room`: the waiting room, one of `rooms`.
    #[schemars(length(max = MAX_ROOM_NAME_BYTES), regex(pattern = ROOM_NAME))]
    room: Option<String>,
    /// How exactly the quota is kept when several nodes share it. Default: `exact`. Not with `concurrency`, `queue` or
    /// `reserve`.
    consistency: Option<Consistency>,
    /// What a node takes in advance. Only with `consistency: leased`.
    lease: Option<Lease>,
}

/// Entries and what is asked of their values.
#[derive(JsonSchema)]
#[schemars(transparent, extend("minProperties" = 1, "maxProperties" = MAX_CONDITIONS, "propertyNames" = { "$ref": "#/$defs/Name" }))]
struct Alternative(std::collections::BTreeMap<String, Condition>);

/// Other numbers for one tier.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("minProperties" = 1))]
struct Tier {
    /// Units per window.
    limit: Option<Count>,
    /// The time of the quota.
    window: Option<Duration>,
    /// Units that may pass at one instant from rest.
    burst: Option<Count>,
    /// Only with `concurrency`: the time after which a permit expires.
    permit_ttl: Option<Duration>,
}

/// What becomes of a request over the limit.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum OnLimit {
    /// It is refused.
    Refuse,
    /// Its visitor is given a place in a waiting room, at the HTTP door and its forward-auth. Who has been let into the room is not
    /// limited by the rule.
    Room,
}

/// Bounded waiting: a request that conforms a little later waits instead of being refused.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Queue {
    /// The longest wait, at most five minutes.
    max_wait: Duration,
    /// The most units that wait at one time.
    #[schemars(extend("maximum" = MAX_QUEUE_DEPTH, "minimum" = 1))]
    max_depth: Count,
}

/// How exactly a quota is kept when several nodes share it.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum Consistency {
    /// Every request is decided by the shared store.
    Exact,
    /// Nodes take units in advance and spend them without asking: less work, and with buckets and logs each node adds
    /// one lease to what may pass.
    Leased,
}

/// What one node takes in advance of one bucket.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Lease {
    /// The most units that one node holds, at most the burst. Default: a hundredth of the burst.
    #[schemars(extend("minimum" = 1))]
    units: Option<Count>,
    /// How long unspent units are held before they are given back, from 100ms to 1m. Default: `1s`.
    hold: Option<Duration>,
}

/// What is asked of one entry: a value, one with stars such as `prefix*`, `*` for any value, a path template such as
/// `/users/{id}`, one of a list, or one of the long forms.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Condition {
    Value(Value),
    OneOf(#[schemars(length(min = 1, max = MAX_PATTERNS))] Vec<OneValue>),
    Text(LongValue),
    Except(Except),
    All(All),
    Presence(Presence),
}

/// Several conditions on one value.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct All {
    /// All of these have to hold.
    #[schemars(length(min = 2, max = MAX_PARTS))]
    all: Vec<Part>,
}

/// One of several conditions on a value.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Part {
    Value(Value),
    OneOf(#[schemars(length(min = 1, max = MAX_PATTERNS))] Vec<OneValue>),
    Text(LongValue),
    Except(Except),
}

/// Values that are meant, but for some.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("minProperties" = 1))]
struct Except {
    /// A value, one with stars, `*` for any value, a path template, or a list of these. Default: any value.
    is: Option<Values>,
    /// What is not meant.
    not: Option<Excepted>,
}

/// Values in the short form.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Values {
    Value(Value),
    OneOf(#[schemars(length(min = 1, max = MAX_PATTERNS))] Vec<OneValue>),
}

/// What is not meant: a value, one with stars, a path template, or a list of these.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Excepted {
    Value(Value),
    NoneOf(#[schemars(length(min = 1, max = MAX_EXCEPTIONS))] Vec<OneValue>),
    Text(LongValue),
}

/// One value of a list.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum OneValue {
    Value(Value),
    Text(LongValue),
}

const ROOM_NAME: &str = "^[a-z0-9][a-z0-9-]*$";

/// A waiting room: who comes when it is full waits in a line.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Room {
    /// The name in addresses: `/rooms/<name>`.
    #[schemars(length(max = MAX_ROOM_NAME_BYTES), regex(pattern = ROOM_NAME))]
    name: String,
    /// What visitors read as its name. Default: the name.
    #[schemars(length(min = 1, max = MAX_ROOM_TITLE_CHARS))]
    title: Option<String>,
    /// The most visitors that are inside or called at one time. 0 lets nobody in.
    capacity: Count,
    /// How fast visitors are let in at most, such as `10/s`, `600/m` or `1/5s`.
    #[schemars(regex(pattern = "^[0-9_]+ */ *[0-9a-z]+$"))]
    release_rate: String,
    /// How long visitors may stay.
    session: Option<Session>,
    /// How long a visitor whose turn it is has to come.
    claim: Option<Claim>,
    /// Whose seat one is: `device` (a browser), `ip` (a client address), or `header:NAME`, a field that a trusted proxy writes.
    /// Default: `device`.
    #[schemars(regex(pattern = "^(device|ip|header: ?[A-Za-z0-9-]{1,64})$"))]
    one_seat_per: Option<String>,
    /// The most seats, waiting or inside, of one IPv4 address or IPv6 network. Default: no cap.
    seats_per_prefix: Option<Count>,
    /// The most visitors that wait; others are turned away. Default: ten million.
    max_waiting: Option<Count>,
    /// Who leaves the line next. Default: `fifo`.
    method: Option<RoomMethod>,
    /// When the room opens, with its offset, such as `2026-11-27T09:00:00Z`. Default: it is open.
    #[schemars(extend("format" = "date-time"))]
    opens_at: Option<String>,
    /// The order of those who came before the opening. Default: `shuffled`.
    order: Option<RoomOrder>,
    /// The hosts of the site: visitors may be sent there, their pages may ask, and passes hold there. Those of plain HTTP with their
    /// scheme, such as `http://localhost:3000`.
    #[schemars(length(max = MAX_ROOM_HOSTS))]
    hosts: Option<Vec<String>>,
    /// Where visitors go who did not say it: a path, or an address of one of the hosts.
    #[schemars(length(min = 1, max = 2048))]
    return_to: Option<String>,
    /// What those who wait are told: text, never markup.
    #[schemars(length(min = 1, max = MAX_ROOM_MESSAGE_CHARS))]
    message: Option<String>,
    /// The colour of buttons and bars, such as `#0b6e7f` or `#07a`. Text in it is made darker or lighter until it can be read.
    #[schemars(regex(pattern = "^#([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$"))]
    accent: Option<String>,
    /// A template of one's own: the name of a file in the server's folder of templates (`--room-templates`).
    #[schemars(length(max = MAX_ROOM_TEMPLATE_BYTES), regex(pattern = "^[A-Za-z0-9_-][A-Za-z0-9._-]*$"))]
    template: Option<String>,
    /// Where a template may have pictures, style sheets and fonts from beside this server, such as `https://cdn.example.com`.
    #[schemars(length(max = MAX_ROOM_ASSET_ORIGINS))]
    asset_origins: Option<Vec<String>>,
    /// The shortest time that a place is kept without a poll, 5s to 15m. Browsers let a hidden page ask once a minute. Default: 75s.
    min_lease: Option<Duration>,
}

/// How long visitors may stay: one of `limit` and `idle` is needed.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Session {
    /// The longest time from its start, 1s to 1d, or `none`. Default: 10m.
    limit: Option<DurationOrNone>,
    /// The longest time without a sign of life, 1s to 1d, or `none`. Default: 15s.
    idle: Option<DurationOrNone>,
    /// How often a visitor may have the limit anew. Default: 0.
    renewals: Option<Count>,
    /// What becomes of the seat of a visitor who leaves before the pass has ended. Default: `holds_seat`.
    early_end: Option<EarlyEnd>,
}

/// How long a visitor whose turn it is has to come.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Claim {
    /// From the call, or from the last extension: 5s to 10m. Default: 20s.
    window: Option<Duration>,
    /// How often more time can be had. Default: 10.
    extensions: Option<Count>,
}

/// Who leaves the line next.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum RoomMethod {
    /// Who came first.
    Fifo,
    /// One of those who wait, drawn each time.
    Random,
    /// Everybody at once: neither capacity nor release rate are applied.
    Passthrough,
    /// Nobody waits: who cannot come in at once is turned away.
    Reject,
}

/// The order of those who came before the opening.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum RoomOrder {
    /// By lot.
    Shuffled,
    /// As they came.
    Arrival,
}

/// What becomes of a seat whose pass has not ended.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum EarlyEnd {
    /// It stays taken until then: for sites that check passes by themselves.
    HoldsSeat,
    /// It is free at once: for sites that ask Tidegate about every request.
    FreesSeat,
}

/// A value that the short form would read otherwise.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum LongValue {
    /// This value, to the byte, whatever stars and braces it has.
    Exact(Value),
    /// A value that begins with this text.
    Prefix(Value),
    /// A value that fits this text, in which each `*` stands for any text, `\\*` for a star and `\\\\` for a backslash.
    Glob(Value),
    /// A value in which this regular expression is found; `^` and `$` are its beginning and end. At most 512 bytes.
    Regex(Value),
}

/// Whether the entry is there.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum Presence {
    /// The entry is there, whatever its value.
    Present(#[schemars(extend("const" = true))] bool),
    /// The entry is not there.
    Absent(#[schemars(extend("const" = true))] bool),
}

/// How a quota is metered.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum Algorithm {
    /// Refills evenly and holds up to `burst`: bursts pass, the average holds.
    TokenBucket,
    /// An even flow, one unit at a time; with `queue`, a valve.
    LeakyBucket,
    /// Counts from each full window on: simple, and up to twice the limit around a boundary.
    FixedWindow,
    /// A weighted count over two windows: no double burst at a boundary, little memory.
    SlidingWindow,
    /// Remembers every admission: exact in every window. Limit at most 100000.
    SlidingWindowLog,
    /// Permits held at one time, each given back or expired. Limit at most 10000.
    Concurrency,
}

/// Whether a rule's verdict is obeyed.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum Mode {
    /// Evaluated and obeyed.
    Enforce,
    /// Evaluated, counted and reported, never obeyed.
    Shadow,
    /// As if the rule were not there.
    Off,
}

/// What a denial means for a call that asks for several requests at once, which only gRPC has.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum Denies {
    /// The call is refused.
    Alone,
    /// The call is refused where every request of it that such a rule applies to is denied.
    Together,
}

/// The answer when the store does not answer.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum FailurePolicy {
    /// Let requests pass, marked as degraded.
    Allow,
    /// Refuse requests, marked as degraded.
    Deny,
    /// Decide with this node's share of the quota, marked as degraded.
    Local,
}

/// Declares a type that is a schema and nothing else.
macro_rules! schema_only {
    ($(#[doc = $doc:literal] $name:ident => $schema:expr;)*) => {$(
        #[doc = $doc]
        struct $name;

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let mut schema = $schema;
                schema.insert("description".to_owned(), $doc.trim().into());
                schema
            }
        }
    )*};
}

schema_only! {
    /// A name: no control characters, no blank at either end.
    Name => json_schema!({
        "type": ["string", "number", "boolean"],
        "pattern": "^[^\\s\\x00-\\x1f\\x7f-\\x9f]([^\\x00-\\x1f\\x7f-\\x9f]*[^\\s\\x00-\\x1f\\x7f-\\x9f])?$",
        "minLength": 1,
        "maxLength": MAX_NAME_BYTES
    });
    /// The name of a rule: letters, digits and `. _ : / -`.
    RuleName => json_schema!({
        "type": ["string", "number", "boolean"], "pattern": "^[A-Za-z0-9._:/-]+$", "maxLength": MAX_NAME_BYTES
    });
    /// A span of time: whole numbers with units, the largest first, such as 250ms, 60s, 5m, 1h30m, 1d or 1w.
    Duration => json_schema!({
        "type": "string",
        "pattern": "^(?=.)([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?([0-9]+us)?$",
        "examples": ["250ms", "60s", "5m", "1h30m", "1d"]
    });
    /// A span of time, or `none`.
    DurationOrNone => json_schema!({
        "type": "string",
        "pattern": "^(none|(?=.)([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?([0-9]+us)?)$",
        "examples": ["40s", "none"]
    });
    /// A share of the quota from 1% to 100%.
    Percent => json_schema!({
        "type": "string", "pattern": "^([1-9][0-9]?|100)%$", "examples": ["20%"]
    });
    /// A whole number; `_` may group its digits, as in 1_000_000.
    Count => json_schema!({
        "type": ["integer", "string"],
        "minimum": 0,
        "maximum": MAX_LIMIT,
        "pattern": "^(0|[1-9][0-9]*(_[0-9]+)*)$"
    });
    /// A value of an entry; numbers and booleans count as their text.
    Value => json_schema!({ "type": ["string", "number", "boolean"], "maxLength": MAX_VALUE_BYTES });
}

const _: () = assert!(
    MAX_LOG_LIMIT == 100_000 && MAX_PERMITS == 10_000 && MAX_SLIDING_WINDOW_LIMIT <= MAX_LIMIT,
    "the descriptions of the algorithms name these limits"
);

#[cfg(test)]
mod tests;
