//! The OpenAPI document of the HTTP door, from the list of its endpoints.

mod authz;
mod bodies;
mod fields;
mod rooms;
mod text;

use schemars::JsonSchema;
use serde_json::{Map, Value, json};
use tidegate_wire::check::{MAX_CHECK_BODY_BYTES, MAX_CHECKS_BODY_BYTES};
use tidegate_wire::problem::{PROBLEM_CONTENT_TYPE, ProblemType};

use super::route::Endpoint;
use crate::door::open_api::{
    self, Body, Document, Head, Operation, Parameter, ProblemSchema, RETRY_AFTER, Reply, of_kinds,
};

const DECISIONS: &str = "decisions";
const STATISTICS: &str = "statistics";
const ROOMS: &str = "waiting rooms";
const NODE: &str = "this node";
const DOCUMENTATION: &str = "documentation";

/// Seconds in an example: 2026-11-20T22:00:00Z and a bit.
const RESET_AT: f64 = 1_795_212_003.25;

/// The document as it is kept: for people and for comparison.
pub(super) fn document() -> String {
    open_api::text(&whole())
}

/// The document as it is sent.
pub(super) fn compact() -> String {
    whole().to_string()
}

fn whole() -> Value {
    let mut document = Document::new(&Head {
        title: "Tidegate",
        description: text::DESCRIPTION,
        tags: &[
            (DECISIONS, "Who gets through, and when."),
            (STATISTICS, "What has been used and is left."),
            (ROOMS, "For visitors, and pages that they look at."),
            (NODE, "For load balancers, monitoring and people."),
            (DOCUMENTATION, "This API, for programs and people. Nothing of it comes from elsewhere."),
        ],
        security_schemes: json!({
            "bearer": { "type": "http", "scheme": "bearer", "description": "`Authorization: Bearer tg_…`" },
            "apiKey": { "type": "apiKey", "in": "header", "name": "X-API-Key" },
        }),
    });
    for endpoint in Endpoint::ALL {
        for method in methods(*endpoint) {
            let mut operation = operation(&mut document, *endpoint, method);
            add_common(&mut document, *endpoint, &mut operation);
            document.add(endpoint.path(), method, operation);
        }
    }
    document.finish(Map::new())
}

/// The methods that are shown, in lower case: `HEAD` goes without saying, and of all methods these two are enough.
const fn methods(endpoint: Endpoint<'_>) -> &'static [&'static str] {
    match endpoint.methods().as_bytes() {
        b"*" => &["get", "post"],
        b"POST" | b"POST, OPTIONS" => &["post"],
        b"DELETE" => &["delete"],
        _ => &["get"],
    }
}

/// What an endpoint takes and answers, without what all of them answer.
fn operation(document: &mut Document, endpoint: Endpoint<'_>, method: &str) -> Operation {
    match endpoint {
        Endpoint::Authz => authz::authz(document, method),
        Endpoint::Check => check(document),
        Endpoint::Checks => checks(document),
        Endpoint::Refund => refund(document),
        Endpoint::Permits => permits(document),
        Endpoint::Permit { .. } => permit(document),
        Endpoint::Stats { .. } => stats(document),
        Endpoint::UserStats { .. } => user_stats(document),
        Endpoint::DemoData => demo_data(document),
        Endpoint::Index => {
            let content = ("text/plain; charset=utf-8", json!({ "type": "string" }));
            let reply = Reply { content: vec![content], ..Reply::bare(200, "The list of endpoints.") };
            plain("index", NODE, "the endpoints, as text", vec![reply])
        }
        Endpoint::Health => {
            let example = json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") });
            let reply = answer::<bodies::Health>(document, 200, "The process lives.").with_example(example);
            plain("health", NODE, "whether the process lives", vec![reply])
        }
        Endpoint::Ready => {
            let ready = answer::<bodies::Ready>(document, 200, "Send traffic.")
                .with_example(json!({ "ready": true, "rules_version": 1 }));
            let stopping = answer::<bodies::Ready>(document, 503, "Stopping: send no new traffic.")
                .with_example(json!({ "ready": false, "rules_version": 1 }));
            plain("ready", NODE, "whether this node wants traffic", vec![ready, stopping])
        }
        Endpoint::Metrics => {
            let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            let reply = Reply::of(200, "Metrics, for Prometheus.", media_type, json!({ "type": "string" }));
            let refused = document.problem("This key is not good.", &[ProblemType::Unauthorized]);
            Operation {
                description: text::METRICS.to_owned(),
                security: json!([{}, { "bearer": [] }, { "apiKey": [] }]),
                ..plain("metrics", NODE, "metrics", vec![reply, refused])
            }
        }
        Endpoint::CircuitBreaker => {
            let reply = answer::<bodies::Breaker>(document, 200, "The circuit breaker before the store.");
            let reply = reply.with(&[fields::CACHE_CONTROL]).with_example(text::breaker());
            plain("circuitBreaker", NODE, "whether the store answers", vec![reply])
        }
        Endpoint::OpenApi => {
            let content = vec![("application/json", json!({ "type": "object" }))];
            plain("openApi", DOCUMENTATION, "this document", kept("This document.", content))
        }
        Endpoint::SwaggerUi => {
            let replies = kept("A page with Swagger UI.", vec![html()]);
            plain("swaggerUi", DOCUMENTATION, "this API, to read and to try", replies)
        }
        Endpoint::Redoc => {
            let replies = kept("A page with Redoc.", vec![html()]);
            plain("redoc", DOCUMENTATION, "this API, to read", replies)
        }
        Endpoint::DocsFile { .. } => docs_file(document),
        Endpoint::RoomJoin { .. }
        | Endpoint::RoomPoll { .. }
        | Endpoint::RoomHeartbeat { .. }
        | Endpoint::RoomClaim { .. }
        | Endpoint::RoomRenew { .. }
        | Endpoint::RoomLeave { .. }
        | Endpoint::RoomEvents { .. }
        | Endpoint::RoomStatus { .. }
        | Endpoint::RoomLine { .. }
        | Endpoint::RoomPage { .. }
        | Endpoint::RoomFile { .. }
        | Endpoint::Snippet
        | Endpoint::Jwks
        | Endpoint::Demo => rooms::operation(document, endpoint),
    }
}

fn html() -> (&'static str, Value) {
    ("text/html; charset=utf-8", json!({ "type": "string" }))
}

/// What every endpoint answers, and every endpoint for tenants, and every one with a body.
fn add_common(document: &mut Document, endpoint: Endpoint<'_>, operation: &mut Operation) {
    let mut replies = vec![
        document.problem(text::MALFORMED, &[ProblemType::Malformed]).named("Malformed"),
        document.problem(text::HEADERS_TOO_LARGE, &[ProblemType::HeadersTooLarge]).named("HeadersTooLarge"),
    ];
    if endpoint != Endpoint::Authz {
        let other = "The path has no such method.";
        replies.push(document.problem(other, &[ProblemType::MethodNotAllowed]).named("MethodNotAllowed"));
    }
    if operation.body.is_some() {
        let slow = "The body did not arrive within `--body-timeout`.";
        replies.push(document.problem(slow, &[ProblemType::RequestTimeout]).named("RequestTimeout"));
        let long = "The body is longer than it may be.";
        replies.push(document.problem(long, &[ProblemType::TooLarge]).named("TooLarge"));
    }
    if endpoint.is_of_tenants() {
        replies
            .push(document.problem(text::UNAUTHORIZED, &[ProblemType::Unauthorized]).named("Unauthorized"));
        let scope = "The key lacks the scope `check`.";
        replies.push(document.problem(scope, &[ProblemType::Forbidden]).named("Forbidden"));
        replies.push(document.problem(text::CEILING, &[ProblemType::QuotaExceeded]).named("OverCeiling"));
        // A key is needed where `--require-api-key` says so; without it, it may be left out.
        operation.security = json!([{}, { "bearer": [] }, { "apiKey": [] }]);
    }
    for reply in replies {
        // What an endpoint says itself about a status holds these as well.
        if operation.replies.iter().all(|own| own.status != reply.status) {
            operation.replies.push(reply);
        }
    }
}

fn check(document: &mut Document) -> Operation {
    let body = body::<bodies::Check>(document, MAX_CHECK_BODY_BYTES, text::check_examples());
    Operation {
        description: text::CHECK.to_owned(),
        body: Some(body),
        ..plain("check", DECISIONS, "decide one request and charge it", decision_replies(document))
    }
}

fn checks(document: &mut Document) -> Operation {
    let body = body::<bodies::Checks>(document, MAX_CHECKS_BODY_BYTES, text::checks_examples());
    let replies = vec![
        answer::<bodies::Results>(
            document,
            200,
            "Look at `allowed` of each: the status is 200 whatever they say.",
        )
        .with(&[fields::DEGRADED])
        .with_example(json!({ "results": [text::allowed(RESET_AT)] })),
        invalid_field(document),
        store_away(document),
    ];
    Operation {
        description: text::CHECKS.to_owned(),
        body: Some(body),
        ..plain("checks", DECISIONS, "decide up to 100 requests", replies)
    }
}

fn refund(document: &mut Document) -> Operation {
    let body = body::<bodies::Refund>(document, MAX_CHECK_BODY_BYTES, text::refund_examples());
    let replies = vec![
        answer::<bodies::Refunded>(document, 200, "What is left now.")
            .with(&fields::OF_DECISIONS)
            .with_example(text::refunded(RESET_AT)),
        invalid_field(document),
        store_away(document),
    ];
    Operation {
        description: text::REFUND.to_owned(),
        body: Some(body),
        ..plain("refund", DECISIONS, "give units back", replies)
    }
}

fn permits(document: &mut Document) -> Operation {
    let body = body::<bodies::Check>(document, MAX_CHECK_BODY_BYTES, text::permit_examples());
    Operation {
        description: text::PERMITS.to_owned(),
        body: Some(body),
        ..plain("takePermit", DECISIONS, "take a permit of a concurrency rule", decision_replies(document))
    }
}

fn permit(document: &mut Document) -> Operation {
    let id = Parameter::in_path("id", "`permit_id` of the answer that gave it.", text::PERMIT_ID);
    let replies = vec![
        Reply::bare(204, "It was held, and is free again."),
        document.problem(
            "It is not held: given back before, expired, or no permit at all.",
            &[ProblemType::NotFound],
        ),
        store_away(document),
    ];
    Operation { parameters: vec![id], ..plain("releasePermit", DECISIONS, "give a permit back", replies) }
}

fn stats(document: &mut Document) -> Operation {
    let parameters = vec![
        Parameter::in_path("domain", "The domain.", "default"),
        Parameter::in_path("key", "The value of a key entry, for example a user's id.", "api_client"),
    ];
    let replies = stats_replies::<bodies::Stats>(document, json!({ "key": "api_client" }));
    Operation {
        parameters,
        description: text::STATS.to_owned(),
        ..plain("stats", STATISTICS, "what a key has used and has left", replies)
    }
}

fn user_stats(document: &mut Document) -> Operation {
    let user = Parameter::in_path("user", "The value of a key entry.", "api_client");
    let replies = stats_replies::<bodies::UserStats>(document, json!({ "user": "api_client" }));
    Operation {
        parameters: vec![user],
        description: "The same as `/v1/stats/default/{user}`.".to_owned(),
        ..plain("userStats", STATISTICS, "what a client has used and has left", replies)
    }
}

fn stats_replies<T: JsonSchema>(document: &mut Document, named: Value) -> Vec<Reply> {
    vec![
        answer::<T>(document, 200, "A key that was never seen looks like one at rest.")
            .with(&[fields::CACHE_CONTROL])
            .with_example(text::stats(named, RESET_AT)),
        document.problem("The rules have no such domain.", &[ProblemType::NotFound]),
        invalid_field(document),
        store_away(document),
    ]
}

fn demo_data(document: &mut Document) -> Operation {
    let user = Parameter::text("user_id", "Who asks.").required().with_example("alice");
    let denied = document.schema::<bodies::Denied>();
    let mut replies = decision_replies(document);
    for reply in &mut replies {
        match reply.status {
            200 => {
                let data = document.schema::<bodies::DemoData>();
                reply.content = vec![("application/json", data)];
                reply.description = "The data.".to_owned();
                reply.example = Some(text::demo_data(RESET_AT));
                reply.name = None;
            }
            // Without a key there is no tenant, hence no ceiling.
            429 => {
                reply.content = vec![(PROBLEM_CONTENT_TYPE, denied.clone())];
                reply.name = None;
            }
            403 => {
                reply.description = "The subject is banned.".to_owned();
                reply.name = None;
                reply.content = vec![(PROBLEM_CONTENT_TYPE, document.schema::<bodies::Banned>())];
            }
            _ => {}
        }
    }
    replies.push(document.problem("The rules have no domain `demo`.", &[ProblemType::NotFound]));
    Operation {
        description: text::DEMO.to_owned(),
        parameters: vec![user],
        ..plain("demoData", DECISIONS, "an endpoint that is protected, to try", replies)
    }
}

fn docs_file(document: &mut Document) -> Operation {
    let content = ["text/javascript; charset=utf-8", "text/css; charset=utf-8"];
    let content = content.map(|media_type| (media_type, json!({ "type": "string" }))).to_vec();
    let mut replies = kept("The file.", content);
    replies.push(document.problem("There is no such file.", &[ProblemType::NotFound]));
    let file = Parameter::in_path("file", "Its name.", "start-swagger-ui.js");
    Operation {
        parameters: vec![file],
        ..plain("docsFile", DOCUMENTATION, "a script or a style sheet of the pages", replies)
    }
}

/// The replies of a decision.
fn decision_replies(document: &mut Document) -> Vec<Reply> {
    let denied = document.schema::<bodies::Denied>();
    let problem = document.schema::<ProblemSchema>();
    let banned = document.schema::<bodies::Banned>();
    let either = |own: &Value, kinds: &[ProblemType]| {
        let other = of_kinds(&problem, kinds);
        json!({ "anyOf": [own, { "allOf": [other, { "not": { "required": ["allowed"] } }] }] })
    };
    let denial = |status, description, schema| {
        Reply::of(status, description, PROBLEM_CONTENT_TYPE, schema)
            .with(&fields::OF_DECISIONS)
            .with(&[RETRY_AFTER])
    };
    vec![
        answer::<bodies::Allowed>(document, 200, "It may pass.")
            .with(&fields::OF_DECISIONS)
            .with_example(text::allowed(RESET_AT))
            .named("Allowed"),
        Reply::of(403, text::BANNED, PROBLEM_CONTENT_TYPE, either(&banned, &[ProblemType::Forbidden]))
            .with(&[RETRY_AFTER])
            .with_example(text::banned())
            .named("BannedOrForbidden"),
        denial(422, text::NEVER_PASSES, either(&denied, &[ProblemType::InvalidField]))
            .with_example(text::invalid_field())
            .named("NeverPasses"),
        denial(429, text::DENIED, either(&denied, &[ProblemType::QuotaExceeded]))
            .with_example(text::denied(RESET_AT))
            .named("Denied"),
        denial(
            503,
            text::NO_DECISION,
            either(&denied, &[ProblemType::StoreUnavailable, ProblemType::Overloaded]),
        )
        .with_example(text::store_away())
        .named("NoDecision"),
    ]
}

fn invalid_field(document: &mut Document) -> Reply {
    document
        .problem("A field is wrong; `field` names it.", &[ProblemType::InvalidField])
        .with_example(text::invalid_field())
        .named("InvalidField")
}

fn store_away(document: &mut Document) -> Reply {
    let kinds = [ProblemType::StoreUnavailable, ProblemType::Overloaded];
    let description = "The store does not answer, more requests are in progress than the node takes, or the rules are changing: try again.";
    document.problem(description, &kinds).named("NoAnswer")
}

/// The replies of what does not change while the program runs.
fn kept(description: &str, content: Vec<(&'static str, Value)>) -> Vec<Reply> {
    let fields = [fields::CACHE_CONTROL, fields::ETAG];
    let whole = Reply { content, ..Reply::bare(200, description) };
    vec![whole.with(&fields), Reply::bare(304, "It is what `If-None-Match` names.").with(&fields)]
}

fn answer<T: JsonSchema>(document: &mut Document, status: u16, description: &str) -> Reply {
    Reply::json(status, description, document.schema::<T>())
}

fn body<T: JsonSchema>(
    document: &mut Document,
    max_bytes: usize,
    examples: Vec<(&'static str, &'static str, Value)>,
) -> Body {
    Body {
        description: format!("At most {} KiB; JSON whatever `Content-Type` says.", max_bytes / 1024),
        content_type: "application/json",
        schema: document.schema::<T>(),
        is_required: true,
        examples,
    }
}

fn plain(id: &str, tag: &'static str, summary: &str, replies: Vec<Reply>) -> Operation {
    Operation {
        id: id.to_owned(),
        tag,
        summary: summary.to_owned(),
        description: String::new(),
        security: json!([]),
        parameters: Vec::new(),
        body: None,
        replies,
    }
}
