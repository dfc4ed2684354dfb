//! Problems (RFC 9457) in documents.

use http::StatusCode;
use schemars::JsonSchema;
use serde_json::{Value, json};
use tidegate_wire::problem::{PROBLEM_CONTENT_TYPE, Problem, ProblemType};

use super::Document;
use super::parts::{Field, Reply};

/// `Retry-After` in seconds.
pub(crate) const RETRY_AFTER: Field = Field {
    name: "Retry-After",
    description: "Whole seconds until it is worth trying again; at least as long as `retry_after_ms`.",
    is_always_there: false,
    pattern: "^[0-9]+$",
    example: "3",
};

const ALLOW: Field = Field {
    name: "Allow",
    description: "The methods that there are.",
    is_always_there: true,
    pattern: "^[A-Z]+(, [A-Z]+)*$",
    example: "GET, HEAD",
};

const WWW_AUTHENTICATE: Field = Field {
    name: "WWW-Authenticate",
    description: "How to show a key.",
    is_always_there: true,
    pattern: "^Bearer realm=\"tidegate\"$",
    example: "Bearer realm=\"tidegate\"",
};

/// What went wrong, and what to do (RFC 9457).
#[derive(JsonSchema)]
#[schemars(rename = "Problem")]
#[expect(dead_code, reason = "it exists for its schema and is never made")]
pub(crate) struct ProblemSchema {
    /// What programs compare: it never changes its meaning.
    #[schemars(extend("enum" = uris()))]
    r#type: String,
    /// A short text, the same for every problem of the type.
    title: String,
    /// The status of the response.
    #[schemars(range(min = 400, max = 599))]
    status: u16,
    /// What happened here and what to do, for people. It may change.
    detail: String,
    /// The path of the field that is wrong, for example `checks[3].cost`.
    field: Option<String>,
    /// The rules that refused, the binding one first.
    #[serde(rename = "violated-policies")]
    violated_policies: Option<Vec<String>>,
    /// Milliseconds until the same request can pass.
    retry_after_ms: Option<u64>,
}

fn uris() -> Vec<&'static str> {
    ProblemType::ALL.into_iter().map(ProblemType::uri).collect()
}

impl Document {
    /// The response of problems; all of one status.
    pub(crate) fn problem(&mut self, description: &str, kinds: &[ProblemType]) -> Reply {
        let schema = self.schema::<ProblemSchema>();
        let status = kinds.first().map_or(StatusCode::INTERNAL_SERVER_ERROR, |kind| kind.status());
        let mut reply =
            Reply::of(status.as_u16(), description, PROBLEM_CONTENT_TYPE, of_kinds(&schema, kinds));
        if let Some(kind) = kinds.first() {
            let example = serde_json::from_slice(&Problem::new(*kind, kind.title()).to_json());
            reply.example = example.ok();
        }
        match status {
            StatusCode::UNAUTHORIZED => reply.with(&[WWW_AUTHENTICATE]),
            StatusCode::METHOD_NOT_ALLOWED => reply.with(&[ALLOW]),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => reply.with(&[RETRY_AFTER]),
            _ => reply,
        }
    }
}

/// A schema of a problem, of these types only.
pub(crate) fn of_kinds(schema: &Value, kinds: &[ProblemType]) -> Value {
    let uris: Vec<&str> = kinds.iter().map(|kind| kind.uri()).collect();
    let statuses: Vec<u16> = kinds.first().map(|kind| kind.status().as_u16()).into_iter().collect();
    json!({ "allOf": [schema, { "properties": { "type": { "enum": uris }, "status": { "enum": statuses } } }] })
}
