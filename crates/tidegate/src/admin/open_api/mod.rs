//! The OpenAPI document of the admin API, from the table of endpoints.

mod bodies;
mod room_bodies;

use schemars::JsonSchema;
use serde_json::{Map, Value, json};
use tidegate_catalog::model::MAX_PAGE;
use tidegate_core::room::QueueNumber;
use tidegate_wire::problem::{PROBLEM_CONTENT_TYPE, ProblemType};

use super::access::TENANT_FIELD;
use super::answer::{Answer, Answered};
use super::call::{Call, DRY_RUN, TENANT};
use super::route::{Needs, Route};
use super::{Admin, bans, history, keys, overrides, rooms, routes, rules, subjects, tenants, trial};
use crate::door::open_api::{
    self, Body, Document, Field, Head, Operation, Parameter, ProblemSchema, Reply, of_kinds,
};
pub(crate) use bodies::DomainDocument;

const DESCRIPTION: &str = "Rules, subjects, tenants and keys, changed while the server serves. On a listener of its own.\n\n\
    Every request carries a key. A tenant's key reaches that tenant's things only; an operator names the tenant with the field \
    `Tidegate-Tenant` or `?tenant=`. Lists come in pages: `limit` and, from `next`, `after` (`before` where the newest come first). \
    Changes of rules take `If-Match` with the ETag that was read, or `*`; `If-None-Match: *` makes what is not there yet. With \
    `?dry_run=15m` a change of rules is not made: the answer says what it would have done to recent requests. Heads that are too large \
    get a bare 431.";

const NO_STORE: Field = Field {
    name: "Cache-Control",
    description: "Nothing here is kept by caches.",
    is_always_there: false,
    pattern: "^no-store$",
    example: "no-store",
};

const ETAG: Field = Field {
    name: "ETag",
    description: "The version that `If-Match` takes, where there is one.",
    is_always_there: false,
    pattern: "^\"[0-9]+\"$",
    example: "\"7\"",
};

/// `GET /admin/v1/openapi.json`
pub(super) async fn get(_: &Admin, _: &Call) -> Answered {
    Ok(Answer::json(&whole()))
}

/// The document, indented: docs/reference/openapi-admin.json.
#[must_use]
pub fn document() -> String {
    open_api::text(&whole())
}

fn whole() -> Value {
    let mut document = Document::new(&Head {
        title: "Tidegate admin API",
        description: DESCRIPTION,
        tags: &[
            ("node", "What there is, who asks, and how this node is."),
            ("tenants", "Tenants and their ceilings."),
            ("rules", "Domains and their rules, their history, and trials of what might be."),
            ("subjects", "Tiers, bans and overrides of single subjects, and their buckets."),
            ("rooms", "Waiting rooms of this node."),
            ("keys", "API keys."),
            ("usage", "What was used, by whom most, and who changed what."),
        ],
        security_schemes: json!({
            "bearer": { "type": "http", "scheme": "bearer", "description": "`Authorization: Bearer tg_…`" },
            "apiKey": { "type": "apiKey", "in": "header", "name": "X-API-Key" },
        }),
    });
    for route in routes() {
        let operation = operation(&mut document, &route);
        document.add(route.path, &route.method.as_str().to_ascii_lowercase(), operation);
    }
    document.finish(rule_schemas())
}

/// What an endpoint takes and answers beyond what its row in the table says.
struct Shape {
    id: &'static str,
    tag: &'static str,
    body: Option<Value>,
    reply: Reply,
}

fn operation(document: &mut Document, route: &Route) -> Operation {
    let below = below_of(route);
    let Shape { id, tag, body, reply } = shape(document, route.method.as_str(), below);
    let is_conditional = is_conditional(route, below);
    let mut replies = vec![reply.with(&[NO_STORE, ETAG])];
    replies.extend(problems(document, route, is_conditional));
    Operation {
        id: id.to_owned(),
        tag,
        summary: route.summary.to_owned(),
        description: format!("Needs a key of: {}.", route.needs.words()),
        security: json!([{ "bearer": [] }, { "apiKey": [] }]),
        parameters: parameters(route, is_conditional),
        body: body.map(|schema| body_of(route, below, schema)),
        replies,
    }
}

fn body_of(route: &Route, below: &str, schema: Value) -> Body {
    // An empty one means an empty object there.
    let may_be_left_out = below.ends_with("/reset") || below.ends_with("/rotate");
    let takes_yaml = route.method == http::Method::PUT && below.starts_with("/domains") || below == "/import";
    let words = if takes_yaml { "JSON, or YAML as in a rule file" } else { "JSON" };
    Body {
        description: format!("{words}; at most {} MiB.", route.max_body_bytes >> 20),
        content_type: "application/json",
        schema,
        is_required: !may_be_left_out,
        examples: Vec::new(),
    }
}

/// Whether it must say which version it changes.
fn is_conditional(route: &Route, below: &str) -> bool {
    let of_rules = route.takes_dry_run && below != "/import";
    let of_tenants = below == "/tenants/{tenant}" && matches!(route.needs, Needs::OperatorWrite);
    of_rules || of_tenants
}

fn parameters(route: &Route, is_conditional: bool) -> Vec<Parameter> {
    let names = route.path.split(['{', '}']).skip(1).step_by(2);
    let mut parameters: Vec<Parameter> = names.map(in_path).collect();
    let is_export = below_of(route) == "/rooms/{room}/export";
    let in_query = |name: &&'static str| if is_export { of_export(name) } else { in_query(name) };
    parameters.extend(route.parameters.iter().map(in_query));
    if route.takes_dry_run {
        let description = "Say what it would do to so much of this node's recent requests, and do nothing.";
        parameters.push(Parameter::text(DRY_RUN, description).with_example("15m"));
    }
    parameters
        .push(Parameter::text(TENANT, "Whose things it is about. For operators; `default` if left out."));
    let text = json!({ "type": "string" });
    parameters.push(Parameter::in_header(TENANT_FIELD, "The same as `tenant`.", text.clone()));
    if is_conditional {
        let of_match = "The ETag that was read, or `*` for what is there whatever it is.";
        parameters.push(Parameter::in_header("if-match", of_match, text.clone()));
        parameters.push(Parameter::in_header("if-none-match", "`*`: make what is not there yet.", text));
    }
    parameters
}

fn in_path(name: &str) -> Parameter {
    match name {
        "tenant" => Parameter::in_path("tenant", "The tenant.", "acme"),
        "domain" => Parameter::in_path("domain", "The domain.", "payments"),
        "rule" => Parameter::in_path("rule", "The rule.", "calls"),
        "subject" => {
            Parameter::in_path("subject", "The subject: a value of the domain's subject entry.", "u1")
        }
        "room" => Parameter::in_path("room", "The room.", "demo"),
        "version" => Parameter::in_path("version", "The number of a version.", "3"),
        _ => Parameter::in_path("prefix", "The prefix of a key.", "AAAAAAAAAA"),
    }
}

/// A path without what all have.
fn below_of(route: &Route) -> &'static str {
    route.path.strip_prefix("/admin/v1").unwrap_or(route.path)
}

fn of_export(name: &'static str) -> Parameter {
    match name {
        "after" => Parameter::in_query(
            name,
            "Only visitors whose number is above this one.",
            json!({ "type": "integer", "minimum": 0, "maximum": QueueNumber::MAX.get() }),
        ),
        "limit" => Parameter::in_query(
            name,
            "How many rows, at most; all if left out.",
            json!({ "type": "integer", "minimum": 1, "maximum": rooms::MAX_ROWS }),
        ),
        _ => Parameter::in_query(
            name,
            "How rows are written.",
            json!({ "enum": ["ndjson", "csv"], "default": "ndjson" }),
        ),
    }
}

fn in_query(name: &'static str) -> Parameter {
    let page = json!({ "type": "integer", "minimum": 1, "maximum": MAX_PAGE });
    match name {
        "limit" => Parameter::in_query(name, "How many, at most.", page),
        "before" => Parameter::in_query(
            name,
            "`next` of the page before this one.",
            json!({ "type": "integer", "minimum": 0 }),
        ),
        "after" => Parameter::text(name, "`next` of the page before this one."),
        "others" => Parameter::in_query(
            name,
            "What becomes of domains that the file does not have.",
            json!({ "enum": ["keep", "remove"], "default": "keep" }),
        ),
        "resolution" => {
            Parameter::in_query(name, "How fine.", json!({ "enum": ["minute", "hour"], "default": "minute" }))
        }
        "by" => Parameter::text(
            name,
            "What is kept apart: some of `tenant`, `domain`, `rule`, `tier`, `time`, with commas between.",
        ),
        "from" | "to" => Parameter::text(name, "A time of RFC 3339."),
        "last" => Parameter::text(name, "A duration: instead of `from` and `to`."),
        _ => Parameter::text(name, "Only of this one."),
    }
}

/// What is answered where it is not done.
fn problems(document: &mut Document, route: &Route, is_conditional: bool) -> Vec<Reply> {
    let mut of = |name, description: &str, kinds: &[ProblemType]| {
        document.problem(description, kinds).with(&[NO_STORE]).named(name)
    };
    let away = "The database or the store does not answer, or others are making large changes.";
    let much = "The key asks too often, or the address has brought too many bad keys.";
    let contradicted = "What is there contradicts it, or as much as is allowed is there already.";
    let mut replies = vec![
        of("Malformed", "The request cannot be read.", &[ProblemType::Malformed]),
        of("Unauthorized", "A key is needed, or this one is not good.", &[ProblemType::Unauthorized]),
        of(
            "Forbidden",
            "The key may not do this, or a page of another site asks.",
            &[ProblemType::Forbidden],
        ),
        of("NotFound", "There is no such thing.", &[ProblemType::NotFound]),
        of("MethodNotAllowed", "The path has no such method.", &[ProblemType::MethodNotAllowed]),
        of("RequestTimeout", "The body did not arrive in time.", &[ProblemType::RequestTimeout]),
        of("TooLarge", "The body is longer than it may be.", &[ProblemType::TooLarge]),
        of("TooOften", much, &[ProblemType::QuotaExceeded]),
        of("Internal", "The request was interrupted.", &[ProblemType::Internal]),
        of("NoAnswer", away, &[ProblemType::StoreUnavailable, ProblemType::Overloaded]),
        of("Contradicted", contradicted, &[ProblemType::Conflicting, ProblemType::CeilingReached]),
    ];
    let not_valid = document.schema::<bodies::NotValid>();
    let schema = of_kinds(&not_valid, &[ProblemType::InvalidField]);
    let wrong = "A field is wrong; for rules, `findings` has all that is.";
    replies.push(Reply::of(422, wrong, PROBLEM_CONTENT_TYPE, schema).with(&[NO_STORE]).named("NotValid"));
    if route.method != http::Method::GET {
        let meanwhile = document.schema::<bodies::ChangedMeanwhile>();
        let schema = of_kinds(&meanwhile, &[ProblemType::PreconditionFailed]);
        let reply = Reply::of(412, "It is not what the caller has read.", PROBLEM_CONTENT_TYPE, schema);
        replies.push(reply.with(&[NO_STORE, ETAG]).named("ChangedMeanwhile"));
    }
    if is_conditional {
        let description = "It does not say which version it changes.";
        let reply = document.problem(description, &[ProblemType::PreconditionRequired]);
        replies.push(reply.with(&[NO_STORE]).named("VersionNeeded"));
    }
    replies
}

/// The endpoints, each with what only it has. A test finds those that are missing.
fn shape(document: &mut Document, method: &str, below: &str) -> Shape {
    if let Some(found) = rules_shape(document, method, below) {
        return found;
    }
    let of = &mut *document;
    match (method, below) {
        ("GET", "") => page::<bodies::Endpoint>(of, "index", "node"),
        ("GET", "/openapi.json") => {
            let reply = Reply::json(200, "This document.", json!({ "type": "object" }));
            Shape { id: "openApi", tag: "node", body: None, reply }
        }
        ("GET", "/whoami") => answer::<bodies::WhoAmI>(of, "whoAmI", "node"),
        ("GET", "/status") => answer::<bodies::Status>(of, "status", "node"),
        ("GET", "/tenants") => page::<bodies::Tenant>(of, "listTenants", "tenants"),
        ("POST", "/tenants") => {
            made(taking::<tenants::NewTenant, bodies::Tenant>(of, "createTenant", "tenants"))
        }
        ("GET", "/tenants/{tenant}") => answer::<bodies::Tenant>(of, "getTenant", "tenants"),
        ("PUT", "/tenants/{tenant}") => {
            taking::<tenants::ChangedTenant, bodies::Tenant>(of, "putTenant", "tenants")
        }
        ("DELETE", "/tenants/{tenant}") => answer::<bodies::TenantDeleted>(of, "deleteTenant", "tenants"),
        ("GET", "/rooms") => page::<room_bodies::Room>(of, "listRooms", "rooms"),
        ("GET", "/rooms/{room}") => answer::<room_bodies::Room>(of, "getRoom", "rooms"),
        ("PUT", "/rooms/{room}") => {
            taking::<room_bodies::RoomDocument, room_bodies::Room>(of, "putRoom", "rooms")
        }
        ("DELETE", "/rooms/{room}") => answer::<room_bodies::RoomRemoved>(of, "deleteRoom", "rooms"),
        ("GET", "/rooms/{room}/export") => {
            let rows = of.schema::<room_bodies::RoomRow>();
            let words = "A row for each visitor, by number; comma-separated values have the names of the fields in the first line.";
            let mut reply = Reply::of(200, words, "application/x-ndjson", json!({ "type": "string" }));
            reply.content.push(("text/csv; charset=utf-8", json!({ "type": "string", "x-row": rows })));
            Shape { id: "exportRoom", tag: "rooms", body: None, reply }
        }
        ("POST", "/rooms/{room}/beacon") => {
            taking::<rooms::WantedBeacon, room_bodies::Room>(of, "setRoomBeacon", "rooms")
        }
        ("POST", "/rooms/{room}/state") => {
            taking::<rooms::WantedState, room_bodies::Room>(of, "setRoomState", "rooms")
        }
        ("POST", "/rooms/{room}/flush") => {
            taking::<rooms::WantedFlush, room_bodies::Room>(of, "flushRoom", "rooms")
        }
        ("POST", "/rooms/{room}/admit") => {
            taking::<rooms::WantedAdmission, room_bodies::Room>(of, "admitVisitor", "rooms")
        }
        ("POST", "/rooms/{room}/end") => {
            taking::<rooms::WantedVisitor, room_bodies::Room>(of, "endVisitor", "rooms")
        }
        ("GET", "/keys") => page::<bodies::ApiKey>(of, "listKeys", "keys"),
        ("POST", "/keys") => made(taking::<keys::WantedKey, bodies::ApiKey>(of, "createKey", "keys")),
        ("GET", "/keys/{prefix}") => answer::<bodies::ApiKey>(of, "getKey", "keys"),
        ("POST", "/keys/{prefix}/rotate") => {
            taking::<keys::Rotation, bodies::ApiKey>(of, "rotateKey", "keys")
        }
        ("DELETE", "/keys/{prefix}") => answer::<bodies::Revoked>(of, "revokeKey", "keys"),
        ("GET", "/usage") => answer::<bodies::Usage>(of, "usage", "usage"),
        ("GET", "/top") => page::<bodies::BusyKey>(of, "top", "usage"),
        ("GET", "/audit") => page::<bodies::AuditEntry>(of, "audit", "usage"),
        _ => subjects_shape(document, method, below),
    }
}

fn rules_shape(of: &mut Document, method: &str, below: &str) -> Option<Shape> {
    let tag = "rules";
    Some(match (method, below) {
        ("GET", "/domains") => page::<bodies::DomainItem>(of, "listDomains", tag),
        ("GET", "/domains/{domain}") => answer::<DomainDocument>(of, "getDomain", tag),
        ("PUT", "/domains/{domain}") => change::<DomainDocument>(of, "putDomain"),
        ("DELETE", "/domains/{domain}") => Shape { body: None, ..change::<()>(of, "deleteDomain") },
        ("GET", "/domains/{domain}/rules") => page::<bodies::RuleItem>(of, "listRules", tag),
        ("GET", "/domains/{domain}/rules/{rule}") => answer::<bodies::RuleDocument>(of, "getRule", tag),
        ("PUT", "/domains/{domain}/rules/{rule}") => change::<bodies::RuleDocument>(of, "putRule"),
        ("DELETE", "/domains/{domain}/rules/{rule}") => {
            Shape { body: None, ..change::<()>(of, "deleteRule") }
        }
        ("POST", "/domains/{domain}/rules/{rule}/rename") => change::<rules::NewName>(of, "renameRule"),
        ("GET", "/domains/{domain}/history") => page::<bodies::HistoryEntry>(of, "history", tag),
        ("GET", "/domains/{domain}/versions/{version}") => answer::<DomainDocument>(of, "domainAt", tag),
        ("POST", "/domains/{domain}/rollback") => change::<history::Target>(of, "rollback"),
        ("POST", "/domains/{domain}/dry-run") => taking::<trial::Wanted, bodies::Tried>(of, "dryRun", tag),
        ("GET", "/export") => {
            let reply = Reply::of(200, "A rule file.", "application/yaml", json!({ "type": "string" }));
            Shape { id: "export", tag, body: None, reply }
        }
        ("POST", "/import") => change::<bodies::FileDocument>(of, "import"),
        _ => return None,
    })
}

fn subjects_shape(of: &mut Document, method: &str, below: &str) -> Shape {
    let tag = "subjects";
    let Some(rest) = below.strip_prefix("/domains/{domain}") else {
        return answer::<ProblemSchema>(of, "undocumented", tag);
    };
    match (method, rest) {
        ("GET", "/subjects") => page::<bodies::SubjectItem>(of, "listSubjects", tag),
        ("POST", "/subjects") => taking::<subjects::Tiers, bodies::TiersSet>(of, "putTiers", tag),
        ("GET", "/subjects/{subject}") => answer::<bodies::Subject>(of, "getSubject", tag),
        ("PUT", "/subjects/{subject}") => taking::<subjects::Tier, bodies::TiersSet>(of, "putTier", tag),
        ("DELETE", "/subjects/{subject}") => answer::<bodies::TiersSet>(of, "deleteTier", tag),
        ("POST", "/subjects/{subject}/reset") => {
            taking::<subjects::Which, bodies::Reset>(of, "resetSubject", tag)
        }
        ("POST", "/subjects/{subject}/refund") => {
            taking::<subjects::Which, bodies::Refunded>(of, "refundSubject", tag)
        }
        ("PUT", "/subjects/{subject}/ban") => taking::<bans::WantedBan, bodies::Ban>(of, "ban", tag),
        ("DELETE", "/subjects/{subject}/ban") => answer::<bodies::Unbanned>(of, "unban", tag),
        ("GET", "/bans") => page::<bodies::Ban>(of, "listBans", tag),
        ("PUT", "/subjects/{subject}/overrides/{rule}") => {
            taking::<overrides::WantedOverride, bodies::Override>(of, "putOverride", tag)
        }
        ("DELETE", "/subjects/{subject}/overrides/{rule}") => {
            answer::<bodies::OverrideDeleted>(of, "deleteOverride", tag)
        }
        ("GET", "/overrides") => page::<bodies::Override>(of, "listOverrides", tag),
        _ => answer::<ProblemSchema>(of, "undocumented", tag),
    }
}

fn answer<T: JsonSchema>(document: &mut Document, id: &'static str, tag: &'static str) -> Shape {
    Shape { id, tag, body: None, reply: Reply::json(200, "Done.", document.schema::<T>()) }
}

fn page<T: JsonSchema>(document: &mut Document, id: &'static str, tag: &'static str) -> Shape {
    let reply = Reply::json(200, "A page.", document.schema::<bodies::Page<T>>());
    Shape { id, tag, body: None, reply }
}

fn taking<B: JsonSchema, T: JsonSchema>(
    document: &mut Document,
    id: &'static str,
    tag: &'static str,
) -> Shape {
    Shape { body: Some(document.schema::<B>()), ..answer::<T>(document, id, tag) }
}

fn made(shape: Shape) -> Shape {
    Shape { reply: Reply { status: 201, description: "Made.".to_owned(), ..shape.reply }, ..shape }
}

/// A change of rules: made, or tried.
fn change<B: JsonSchema>(document: &mut Document, id: &'static str) -> Shape {
    let (changed, tried) = (document.schema::<bodies::Changed>(), document.schema::<bodies::Tried>());
    let reply = Reply::json(200, "Done, or tried.", json!({ "oneOf": [changed, tried] }));
    Shape { id, tag: "rules", body: Some(document.schema::<B>()), reply }
}

/// The schemas of rule files, under names of their own.
fn rule_schemas() -> Map<String, Value> {
    const OLD: &str = "#/$defs/";
    const NEW: &str = "#/components/schemas/rules.";
    let text = tidegate_config::json_schema().replace(OLD, NEW);
    let Ok(Value::Object(mut file)) = serde_json::from_str::<Value>(&text) else { return Map::new() };
    file.shift_remove("$schema");
    let definitions = file.shift_remove("$defs");
    let mut schemas: Map<String, Value> = definitions
        .as_ref()
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, schema)| (format!("rules.{name}"), schema.clone()))
        .collect();
    schemas.insert("rules.File".to_owned(), Value::Object(file));
    schemas
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_of_the_table_is_described() {
        assert!(!document().contains("undocumented"));
        let document = whole();
        for route in routes() {
            let operation = &document["paths"][route.path][route.method.as_str().to_ascii_lowercase()];
            assert!(operation.is_object(), "{route:?}");
            assert_eq!(operation.get("requestBody").is_some(), route.max_body_bytes > 0, "{route:?}");
        }
    }
}
