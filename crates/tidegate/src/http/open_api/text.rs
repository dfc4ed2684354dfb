//! What the document says, and its examples. Requests are of the example rules, so that they work on a server without any.

use serde_json::{Value, json};
use tidegate_wire::problem::{Problem, ProblemType};

pub(super) const DESCRIPTION: &str = "Tidegate decides who gets through, and when.\n\n\
    Every `GET` also answers `HEAD`. Errors and denials are problems (RFC 9457): compare `type`, which never changes its meaning. \
    More members may come in every answer: ignore those you do not know. Requests that are not HTTP get a bare 400, and heads that \
    are too large a bare 431.\n\n\
    Rules, tiers and keys are changed through the admin API, on a listener of its own; its document is at `/admin/v1/openapi.json` there.";

pub(super) const CHECK: &str = "Where no rule applies the answer is 200 with null numbers. That includes a domain that does not exist; \
    then `domain` is null. A client's mistake is never charged, and neither is a denial. With `peek` nothing is charged. The same \
    `idempotency_key` is charged once.";

pub(super) const CHECKS: &str = "Each is decided and charged on its own, one after the other. One wrong field refuses the whole batch \
    with 422, and nothing is charged.";

pub(super) const REFUND: &str = "For work that was not done after all: send the domain and the entries of the check. Every rule that \
    matches gets the units back, at most what is used. It does nothing for `concurrency`: give the permit back.";

pub(super) const PERMITS: &str = "As `/v1/check`, and refused with 422 where no enforced `concurrency` rule matches. Give the permit \
    back when the work is done. The example is of a server with the rules of examples/rules/payments.yaml.";

pub(super) const AUTHZ: &str = "For proxies that obey a status: nginx `auth_request`, Traefik ForwardAuth, Caddy `forward_auth`. \
    Every method asks, not only those shown here; a body is not read. A trusted proxy describes the request that is meant in header \
    fields: `X-Forwarded-Method`, `X-Forwarded-Uri` and `X-Forwarded-Host`, or `X-Original-Method`, `X-Original-URI` and `Host`. Of \
    everybody else the request itself is decided. The query is the proxy's configuration, never a client's. See docs/guide/proxies.md.";
pub(super) const AUTHZ_STATUS: &str =
    "The status of every answer that is not 2xx. Where it is left out, or 429, each has its own.";
pub(super) const AUTHZ_ENTRIES: &str = "Further entries, each a parameter of its own: `entry.NAME=value`, or `header.NAME=Field` for the \
    value of a header field (no entry where that is missing or empty). Each name once, and none of `client_ip`, `method`, `path`, `host` \
    and `user_agent`, which the request itself supplies.";
pub(super) const AUTHZ_UNAUTHORIZED: &str =
    "An API key is needed, or this one is not good. With `status=401` everything that is not 200.";
pub(super) const AUTHZ_FORBIDDEN: &str = "The subject is banned, or the key lacks the scope `check`. With `status=403` everything that is not \
    200: over a limit, as in the example, and errors.";
pub(super) const AUTHZ_MALFORMED: &str =
    "The request cannot be read, or a trusted proxy's description of one has no clear meaning.";
pub(super) const AUTHZ_HEADERS_TOO_LARGE: &str =
    "More than 96 header fields. Above 100 of them, or 16 KiB, the answer has no body and no fields.";

pub(super) const AUTHZ_ROOM: &str = "With `room`, and no `domain`: the visitor has been let in, and shows its pass; or it is a browser's preflight.";
pub(super) const AUTHZ_ROOM_NAME: &str = "A waiting room whose visitors pass: those that show a pass of it, in the cookie that it gave, or in \
    `X-Tidegate-Pass`. A person without one is sent to the waiting page (302), a program gets its seat (429, or 503 where the room is \
    closed). Without `domain` nothing else is asked, and `cost` and entries are refused. `X-Tidegate-Room` names a room that is asked beside the rules.";

pub(super) const STATS: &str = "Every bucket of the domain that this value alone selects: of rules whose `key` is one entry. The numbers \
    at the top are those of the tightest enforced one.";

pub(super) const METRICS: &str = "Tenants' domains and rules are named to an operator's key (scope `admin-read`); for all others they are counted together, as \
    `(tenants)`.";

pub(super) const DEMO: &str = "Protected by the rules of the domain `demo`. Tidegate itself supplies the entries `client_ip`, `method`, \
    `path`, `host` and `user_agent`, beside `user_id`.";

pub(super) const MALFORMED: &str =
    "The request cannot be read: no Host or several, or a body that is not JSON.";
pub(super) const HEADERS_TOO_LARGE: &str =
    "More than 64 header fields. Above 100 of them, or 16 KiB, the answer has no body and no fields.";
pub(super) const UNAUTHORIZED: &str = "An API key is needed, or this one is not good.";
pub(super) const CEILING: &str =
    "The key's tenant asks more often than its ceiling allows; `violated-policies` is `tenant-requests`.";
pub(super) const BANNED: &str = "The subject is banned, or the key lacks the scope `check`.";
pub(super) const NEVER_PASSES: &str = "A field is wrong (`invalid-field`), or the cost is more than the quota can ever hold (`cost-never-passes`).";
pub(super) const DENIED: &str = "Over a limit, and nothing was charged: wait `retry_after_ms`. Without `allowed`: over the ceiling of the key's tenant.";
pub(super) const NO_DECISION: &str = "The store does not answer and the rule's policy is `deny`, or no decision could be made. `temporary-reduced-capacity`: more \
    requests are in progress than the node takes, or the rules are changing; try again.";

pub(super) const PERMIT_ID: &str = "9250e651b99694fc-00112233445566778899aabbccddeeff";

/// Bodies by name, each with what it shows.
type Examples = Vec<(&'static str, &'static str, Value)>;

pub(super) fn check_examples() -> Examples {
    let descriptors =
        json!({ "user_id": "u1", "path": "/v1/charges/7", "method": "POST", "client_ip": "192.0.2.7" });
    vec![
        ("client", "One client", json!({ "client_id": "api_client", "cost": 1 })),
        (
            "entries",
            "A domain and several entries",
            json!({ "domain": "payments", "descriptors": descriptors }),
        ),
        ("peek", "What would be answered", json!({ "client_id": "api_client", "cost": 5, "peek": true })),
        (
            "once",
            "Charged once, however often it is sent",
            json!({ "client_id": "api_client", "idempotency_key": "order-4711" }),
        ),
    ]
}

pub(super) fn checks_examples() -> Examples {
    let checks = json!([{ "client_id": "b1" }, { "client_id": "b1", "cost": 200 }, { "client_id": "b2", "peek": true }]);
    vec![("three", "Three of them", json!({ "checks": checks }))]
}

pub(super) fn refund_examples() -> Examples {
    vec![("refund", "Three units", json!({ "client_id": "api_client", "cost": 3 }))]
}

pub(super) fn permit_examples() -> Examples {
    let descriptors = json!({ "user_id": "u1", "path": "/v1/uploads", "method": "POST" });
    vec![("upload", "An upload", json!({ "domain": "payments", "descriptors": descriptors }))]
}

pub(super) fn allowed(reset_at: f64) -> Value {
    json!({
        "allowed": true, "remaining": 19, "limit": 20, "window": 60, "reset_at": reset_at,
        "domain": "default", "rule": "api-client", "rules_version": 1,
    })
}

pub(super) fn denied(reset_at: f64) -> Value {
    let kind = ProblemType::QuotaExceeded;
    let message = "Rate limit exceeded. Try again in 3 seconds.";
    json!({
        "type": kind.uri(), "title": kind.title(), "status": 429, "detail": message, "message": message,
        "violated-policies": ["api-client"], "allowed": false, "remaining": 0, "limit": 20, "window": 60,
        "reset_at": reset_at, "retry_after_ms": 3000, "domain": "default", "rule": "api-client", "rules_version": 1,
    })
}

pub(super) fn banned() -> Value {
    let kind = ProblemType::Banned;
    json!({
        "type": kind.uri(), "title": kind.title(), "status": 403, "detail": "stolen card", "allowed": false,
        "banned": true, "banned_until": null,
    })
}

pub(super) fn invalid_field() -> Value {
    let detail = "cost: must be at least 1; to look without charging send \"peek\": true";
    of(&Problem::invalid_field("cost", detail))
}

pub(super) fn store_away() -> Value {
    of(&Problem::new(ProblemType::StoreUnavailable, "the store does not answer; try again shortly"))
}

pub(super) fn refunded(reset_at: f64) -> Value {
    json!({
        "cost": 3, "remaining": 20, "limit": 20, "window": 60, "reset_at": reset_at, "domain": "default",
        "rule": "api-client",
    })
}

pub(super) fn demo_data(reset_at: f64) -> Value {
    json!({
        "message": "Here is your data.", "user_id": "alice", "remaining": 9, "limit": 10, "window": 60,
        "reset_at": reset_at,
    })
}

/// `named` is the object that says whose they are.
pub(super) fn stats(mut named: Value, reset_at: f64) -> Value {
    let bucket = json!({
        "rule": "api-client", "algorithm": "token_bucket", "mode": "enforce", "allowed": true, "used": 6, "remaining": 14,
        "limit": 20, "window": 60, "burst": 20, "reset_at": reset_at,
    });
    let rest = json!({
        "domain": "default", "used": 6, "remaining": 14, "limit": 20, "window": 60, "reset_at": reset_at,
        "buckets": [bucket],
    });
    if let (Some(named), Value::Object(rest)) = (named.as_object_mut(), rest) {
        named.extend(rest);
    }
    named
}

pub(super) fn breaker() -> Value {
    json!({
        "state": "closed", "consecutive_failures": 0, "failure_threshold": 5, "cool_down_ms": 1000, "opened_at": null,
        "next_attempt_in_ms": null, "last_error": null, "transitions": 0, "rejected": 0, "store": "memory",
    })
}

fn of(problem: &Problem) -> Value {
    serde_json::from_slice(&problem.to_json()).unwrap_or_default()
}
