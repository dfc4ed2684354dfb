//! The ceiling for an HTTP check: bare axum 0.8 that parses the same body and answers the same JSON with the same
//! header fields, and decides nothing.
//!
//! ```text
//! POST /v1/check           answers through serde, as any axum handler does
//! POST /v1/check-constant  answers with bytes made beforehand: what no server that decides can reach
//! POST /v1/checks          one answer per item, through serde
//! ```

use std::net::SocketAddr;

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::IntoResponse;
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
            .route("/v1/checks", post(checks));
        let listener = tokio::net::TcpListener::bind(arguments.listen).await?;
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        Ok(axum::serve(listener, router).await?)
    })
}
