//! RFC 9457 problem details: every error a door answers with, as one closed list.
//!
//! A `type` never changes its meaning and is what programs compare; `detail` is for people and may change. Nothing
//! internal (addresses of stores, source errors) belongs into a `detail`.

use std::borrow::Cow;

use http::StatusCode;
use serde::{Serialize, Serializer};

/// The media type of a problem.
pub const PROBLEM_CONTENT_TYPE: &str = "application/problem+json";

/// What kind of problem it is; fixes `type`, `title` and `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProblemType {
    /// 400: the request cannot be read.
    Malformed,
    /// 401: credentials are missing or wrong.
    Unauthorized,
    /// 403: the credentials do not allow this.
    Forbidden,
    /// 403: the subject is banned; no rule was asked.
    Banned,
    /// 404: there is no such thing.
    NotFound,
    /// 405: the resource has no such method.
    MethodNotAllowed,
    /// 408: the request did not arrive in time.
    RequestTimeout,
    /// 409: as much as is allowed is there already.
    CeilingReached,
    /// 409: what is asked for contradicts what is there.
    Conflicting,
    /// 410: it was there, and is over.
    Gone,
    /// 412: it has changed since the caller read it.
    PreconditionFailed,
    /// 413: the body exceeds its maximum.
    TooLarge,
    /// 415: the body's media type is not taken here.
    UnsupportedMediaType,
    /// 422: well-formed, but a field breaks a rule; `field` names it.
    InvalidField,
    /// 422: the cost exceeds what the quota can ever hold, so waiting does not help.
    CostNeverPasses,
    /// 428: the caller must say which version it changes.
    PreconditionRequired,
    /// 429: a quota is used up; `violated-policies` names the rules.
    QuotaExceeded,
    /// 431: the header fields exceed their maximum.
    HeadersTooLarge,
    /// 500: our fault.
    Internal,
    /// 503: we are overloaded and shed this request.
    Overloaded,
    /// 503: the store does not answer and the rule's failure policy is deny.
    StoreUnavailable,
}

/// One problem, ready to be serialized.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The kind.
    pub kind: ProblemType,
    /// What happened here and what to do, for people.
    pub detail: Cow<'static, str>,
    /// A reference to this occurrence (the correlation id).
    pub instance: Option<String>,
    /// The path of the offending field, like `checks[3].cost`.
    pub field: Option<String>,
    /// The names of the rules that refused, binding one first; empty leaves the member out.
    pub violated_policies: Vec<String>,
    /// Time until the same request can pass, in milliseconds.
    pub retry_after_ms: Option<u64>,
}

// === impl ProblemType ===

impl ProblemType {
    /// Every kind, for documents and tests.
    pub const ALL: [Self; 21] = [
        Self::Malformed,
        Self::Unauthorized,
        Self::Forbidden,
        Self::Banned,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::CeilingReached,
        Self::Conflicting,
        Self::Gone,
        Self::PreconditionFailed,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::InvalidField,
        Self::CostNeverPasses,
        Self::PreconditionRequired,
        Self::QuotaExceeded,
        Self::HeadersTooLarge,
        Self::Internal,
        Self::Overloaded,
        Self::StoreUnavailable,
    ];

    /// The stable `type` URI.
    #[must_use]
    pub const fn uri(self) -> &'static str {
        self.facts().0
    }

    /// The short `title`, the same for every occurrence.
    #[must_use]
    pub const fn title(self) -> &'static str {
        self.facts().1
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        self.facts().2
    }

    /// `type`, `title` and `status`. The registered types are those of the RateLimit draft.
    const fn facts(self) -> (&'static str, &'static str, StatusCode) {
        match self {
            Self::Malformed => {
                ("urn:tidegate:problem:malformed", "The request is malformed", StatusCode::BAD_REQUEST)
            }
            Self::Unauthorized => {
                ("urn:tidegate:problem:unauthorized", "Credentials are needed", StatusCode::UNAUTHORIZED)
            }
            Self::Forbidden => ("urn:tidegate:problem:forbidden", "Not allowed", StatusCode::FORBIDDEN),
            Self::Banned => ("urn:tidegate:problem:banned", "Banned", StatusCode::FORBIDDEN),
            Self::CeilingReached => {
                ("urn:tidegate:problem:ceiling-reached", "No more are allowed", StatusCode::CONFLICT)
            }
            Self::Conflicting => {
                ("urn:tidegate:problem:conflicting", "This contradicts what is there", StatusCode::CONFLICT)
            }
            Self::Gone => ("urn:tidegate:problem:gone", "It is over", StatusCode::GONE),
            Self::PreconditionFailed => (
                "urn:tidegate:problem:precondition-failed",
                "It has changed meanwhile",
                StatusCode::PRECONDITION_FAILED,
            ),
            Self::PreconditionRequired => (
                "urn:tidegate:problem:precondition-required",
                "The version must be named",
                StatusCode::PRECONDITION_REQUIRED,
            ),
            Self::NotFound => ("urn:tidegate:problem:not-found", "Not found", StatusCode::NOT_FOUND),
            Self::MethodNotAllowed => (
                "urn:tidegate:problem:method-not-allowed",
                "The method is not allowed here",
                StatusCode::METHOD_NOT_ALLOWED,
            ),
            Self::RequestTimeout => (
                "urn:tidegate:problem:request-timeout",
                "The request took too long to arrive",
                StatusCode::REQUEST_TIMEOUT,
            ),
            Self::TooLarge => {
                ("urn:tidegate:problem:too-large", "The body is too large", StatusCode::PAYLOAD_TOO_LARGE)
            }
            Self::UnsupportedMediaType => (
                "urn:tidegate:problem:unsupported-media-type",
                "The media type is not supported",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ),
            Self::InvalidField => {
                ("urn:tidegate:problem:invalid-field", "A field is invalid", StatusCode::UNPROCESSABLE_ENTITY)
            }
            Self::CostNeverPasses => (
                "urn:tidegate:problem:cost-never-passes",
                "The cost can never pass",
                StatusCode::UNPROCESSABLE_ENTITY,
            ),
            Self::QuotaExceeded => (
                "https://iana.org/assignments/http-problem-types#quota-exceeded",
                "Rate limit exceeded",
                StatusCode::TOO_MANY_REQUESTS,
            ),
            Self::HeadersTooLarge => (
                "urn:tidegate:problem:headers-too-large",
                "The header fields are too large",
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            ),
            Self::Internal => {
                ("urn:tidegate:problem:internal", "Internal error", StatusCode::INTERNAL_SERVER_ERROR)
            }
            Self::Overloaded => (
                "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
                "Temporarily overloaded",
                StatusCode::SERVICE_UNAVAILABLE,
            ),
            Self::StoreUnavailable => (
                "urn:tidegate:problem:store-unavailable",
                "The store is unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
            ),
        }
    }
}

// === impl Problem ===

impl Problem {
    /// A problem of this kind, with text that says what happened and what to do.
    #[must_use]
    pub fn new(kind: ProblemType, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            instance: None,
            field: None,
            violated_policies: Vec::new(),
            retry_after_ms: None,
        }
    }

    /// A 422 that names the offending field.
    #[must_use]
    pub fn invalid_field(field: impl Into<String>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { field: Some(field.into()), ..Self::new(ProblemType::InvalidField, detail) }
    }

    /// A 422 for a cost above the most that the rule can ever let pass at once.
    #[must_use]
    pub fn cost_never_passes(field: impl Into<String>, cost: u64, most: u64) -> Self {
        let detail =
            format!("A cost of {cost} can never pass: at most {most} units pass at once. Split the request.");
        Self { field: Some(field.into()), ..Self::new(ProblemType::CostNeverPasses, detail) }
    }

    /// A 429 that says when to try again and which rules refused.
    #[must_use]
    pub fn quota_exceeded(retry_after_ms: u64, violated_policies: Vec<String>) -> Self {
        let seconds = retry_after_ms.div_ceil(1000).max(1);
        let unit = if seconds == 1 { "second" } else { "seconds" };
        let detail = format!("Rate limit exceeded. Try again in {seconds} {unit}.");
        Self {
            violated_policies,
            retry_after_ms: Some(retry_after_ms),
            ..Self::new(ProblemType::QuotaExceeded, detail)
        }
    }

    /// With a reference to this occurrence.
    #[must_use]
    pub fn with_instance(self, instance: impl Into<String>) -> Self {
        Self { instance: Some(instance.into()), ..self }
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.kind.status()
    }

    /// The JSON body, to be sent as [`PROBLEM_CONTENT_TYPE`].
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Strings and integers always serialize; an empty object keeps the signature honest without a panic.
        serde_json::to_vec(self).unwrap_or_else(|_| b"{}".to_vec())
    }
}

#[derive(Serialize)]
struct Members<'p> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'p str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'p str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'p str>,
    #[serde(rename = "violated-policies", skip_serializing_if = "<[String]>::is_empty")]
    violated_policies: &'p [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Members {
            r#type: self.kind.uri(),
            title: self.kind.title(),
            status: self.status().as_u16(),
            detail: &self.detail,
            instance: self.instance.as_deref(),
            field: self.field.as_deref(),
            violated_policies: &self.violated_policies,
            retry_after_ms: self.retry_after_ms,
        }
        .serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    fn members(problem: &Problem) -> serde_json::Value {
        serde_json::from_slice(&problem.to_json()).unwrap()
    }

    #[test]
    fn a_denial() {
        let problem = Problem::quota_exceeded(2_001, vec!["per-user".into(), "all".into()]);
        assert_eq!(
            members(&problem),
            json!({
                "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
                "title": "Rate limit exceeded",
                "status": 429,
                "detail": "Rate limit exceeded. Try again in 3 seconds.",
                "violated-policies": ["per-user", "all"],
                "retry_after_ms": 2001,
            })
        );
        assert!(Problem::quota_exceeded(0, vec![]).detail.ends_with("in 1 second."));
    }

    #[test]
    fn an_invalid_field_with_text_that_needs_escapes() {
        let problem = Problem::invalid_field("checks[3].cost", "say \"1\"\n").with_instance("abc");
        assert_eq!(
            members(&problem),
            json!({
                "type": "urn:tidegate:problem:invalid-field",
                "title": "A field is invalid",
                "status": 422,
                "detail": "say \"1\"\n",
                "instance": "abc",
                "field": "checks[3].cost",
            })
        );
    }

    #[test]
    fn a_cost_that_never_passes_names_the_most_that_does() {
        let problem = Problem::cost_never_passes("cost", 50, 20);
        assert_eq!((problem.status().as_u16(), problem.field.as_deref()), (422, Some("cost")));
        assert!(problem.detail.contains("50") && problem.detail.contains("20"));
    }

    #[test]
    fn types_are_distinct_and_statuses_as_documented() {
        let uris: BTreeSet<_> = ProblemType::ALL.iter().map(|kind| kind.uri()).collect();
        assert_eq!(uris.len(), ProblemType::ALL.len());
        let statuses: Vec<u16> = ProblemType::ALL.iter().map(|kind| kind.status().as_u16()).collect();
        assert_eq!(
            statuses,
            [
                400, 401, 403, 403, 404, 405, 408, 409, 409, 410, 412, 413, 415, 422, 422, 428, 429, 431,
                500, 503, 503
            ]
        );
    }
}
