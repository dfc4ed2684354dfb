//! The ceiling for an HTTP check: bare axum 0.8 that parses the same body and answers the same JSON with the same
//! header fields, and decides nothing.
//!
//! ```text
//! POST /v1/check           answers through serde, as any axum handler does
//! POST /v1/check-constant  answers with bytes made beforehand: what no server that decides can reach
//! POST /v1/checks          one answer per item, through serde
//! POST /v1/rooms/polls/poll, /v1/rooms/joins/join
//!                          a seat, through serde; the second with cookies
//! ```

use std::net::SocketAddr;

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{AppendHeaders, IntoResponse};
use axum::routing::post;
use axum::serve::ListenerExt;
use axum::{Json, Router};
use clap::Parser;
use serde::{Deserialize, Serialize};

// The allocator of this program is the library's, and that is the one of `tidegate`.
use tidegate_bench as _;

/// A JSON echo on axum.
#[derive(Debug, Parser)]
struct Arguments {
    /// Address and port
    #[arg(long)]
    listen: SocketAddr,
    /// Worker threads; one per core if not given
    #[arg(long)]
    threads: Option<usize>,
}

/// What is asked.
#[derive(Debug, Deserialize)]
struct Check {
    client_id: String,
    cost: u64,
}

/// Several at once.
#[derive(Debug, Deserialize)]
struct Checks {
    checks: Vec<Check>,
}

/// What Tidegate answers, with constant figures.
#[derive(Clone, Copy, Debug, Serialize)]
struct Answer {
    allowed: bool,
    remaining: u64,
    limit: u64,
    window: u64,
    reset_at: f64,
    domain: &'static str,
    rule: &'static str,
    rules_version: u64,
}

/// Answers to several.
#[derive(Debug, Serialize)]
struct Answers {
    results: Vec<Answer>,
}

const ANSWER: Answer = Answer {
    allowed: true,
    remaining: 99_999_999,
    limit: 100_000_000,
    window: 60,
    reset_at: 1_795_230_000.123,
    domain: "default",
    rule: "any-client",
    rules_version: 1,
};
const CONSTANT: &str = r#"{"allowed":true,"remaining":99999999,"limit":100000000,"window":60,"reset_at":1795230000.123,"domain":"default","rule":"any-client","rules_version":1}"#;

const FIELDS: [(HeaderName, HeaderValue); 3] = [
    (
        HeaderName::from_static("ratelimit-policy"),
        HeaderValue::from_static("\"any-client\";q=100000000;w=60"),
    ),
    (HeaderName::from_static("ratelimit"), HeaderValue::from_static("\"any-client\";r=99999999;t=1")),
    CORRELATION,
];
const CORRELATION: (HeaderName, HeaderValue) = (
    HeaderName::from_static("x-correlation-id"),
    HeaderValue::from_static("0123456789abcdef0123456789abcdef"),
);

async fn check(Json(check): Json<Check>) -> impl IntoResponse {
    std::hint::black_box((&check.client_id, check.cost));
    (FIELDS, Json(ANSWER))
}

async fn check_constant(Json(check): Json<Check>) -> impl IntoResponse {
    std::hint::black_box((&check.client_id, check.cost));
    (FIELDS, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], CONSTANT)
}

async fn checks(Json(checks): Json<Checks>) -> impl IntoResponse {
    let results = checks.checks.iter().map(|check| {
        std::hint::black_box((&check.client_id, check.cost));
        ANSWER
    });
    ([CORRELATION], Json(Answers { results: results.collect() }))
}

/// How a visitor of a waiting room stands, with constant figures.
#[derive(Clone, Copy, Debug, Serialize)]
struct Seat {
    room: &'static str,
    state: &'static str,
    why: Option<&'static str>,
    room_state: &'static str,
    ticket: Option<&'static str>,
    queue_number: Option<u64>,
    position: Option<u64>,
    waiting: u64,
    serving_number: u64,
    estimated_wait: Option<u64>,
    progress: f64,
    opens_at: Option<f64>,
    message: Option<&'static str>,
    poll_after_ms: u64,
    claim: Option<u64>,
    session: Option<u64>,
    pass: Option<&'static str>,
    return_to: Option<&'static str>,
}

const SEAT: Seat = Seat {
    room: "polls",
    state: "waiting",
    why: None,
    room_state: "open",
    ticket: Some(TICKET),
    queue_number: Some(4_321),
    position: Some(4_320),
    waiting: 5_000,
    serving_number: 0,
    estimated_wait: None,
    progress: 0.0,
    opens_at: None,
    message: None,
    poll_after_ms: 12_345,
    claim: None,
    session: None,
    pass: None,
    return_to: None,
};
const TICKET: &str = "v1.t0123456.BXBvbGxzAAAAAGoAAAAAAAAAAAAAEOEAAAAAAAAAAAAAAAAAAAAAAAZgAAAAAAAA.\
                      0123456789abcdef0123456789abcdef0123456789a";
const OF_SEAT: [(HeaderName, HeaderValue); 3] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::VARY, HeaderValue::from_static("origin")),
    CORRELATION,
];
const COOKIES: [(HeaderName, HeaderValue); 2] = [
    (
        header::SET_COOKIE,
        HeaderValue::from_static(
            "tidegate_device=v1.d0123456.AAAAAAAAAAAAAAAAAAAAAAAGYAAAAAAA.0123456789abcdef0123456789abcdef0123456789a; Path=/; \
             Max-Age=31536000; HttpOnly; SameSite=Lax",
        ),
    ),
    (
        header::SET_COOKIE,
        HeaderValue::from_static(
            "tidegate_ticket_joins=v1.t0123456.BXBvbGxzAAAAAGoAAAAAAAAAAAAAEOEAAAAAAAAAAAAAAAAAAAAAAAZgAAAAAAAA.\
             0123456789abcdef0123456789abcdef0123456789a; Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax",
        ),
    ),
];

async fn poll() -> impl IntoResponse {
    (OF_SEAT, Json(SEAT))
}

async fn join() -> impl IntoResponse {
    (OF_SEAT, AppendHeaders(COOKIES), Json(SEAT))
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = arguments.threads {
        runtime.worker_threads(threads);
    }
    runtime.enable_all().build()?.block_on(async {
        let router = Router::new()
            .route("/v1/check", post(check))
            .route("/v1/check-constant", post(check_constant))
            .route("/v1/checks", post(checks))
            .route("/v1/rooms/polls/poll", post(poll))
            .route("/v1/rooms/joins/join", post(join));
        let listener = tokio::net::TcpListener::bind(arguments.listen).await?;
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        Ok(axum::serve(listener, router).await?)
    })
}
