//! The API of one room without a room: it answers what it was told last, and remembers what it was asked.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tidegate::rooms::web::{
    Failure, LanguageOptions, Languages, Opening, Page, PageOptions, PageRequest, asset, snippet,
};
use tokio::net::TcpListener;

type Answer = Response<Full<Bytes>>;

/// A page of a site that has the snippet, and a policy as strict as can be.
const SHOP: &str = "<!doctype html><html lang=\"en\"><title>Shop</title><h1>Shop</h1>\
    <script src=\"/tidegate.js\" data-room=\"demo\" defer></script>";

/// What was told, and what was asked.
struct State {
    page: Page,
    /// The seat that calls are answered with.
    seat: Value,
    /// A status that calls are answered with instead.
    status: Option<u16>,
    /// What the page shows instead of a seat.
    failure: Option<Failure>,
    calls: Vec<Value>,
    answered_ms: u64,
}

pub(crate) struct StandIn {
    address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

impl StandIn {
    pub(crate) fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::new()));
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&state);
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(request, Arc::clone(&state)));
                    let http = hyper::server::conn::http1::Builder::new();
                    // A browser that goes away ends its connections as it likes.
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, _runtime: runtime }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn answer(request: Request<Incoming>, state: Arc<Mutex<State>>) -> Result<Answer, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let path = head.uri.path();
    let mut state = state.lock();
    Ok(match path {
        "/told" => state.told(&body),
        "/asked" => respond(StatusCode::OK, "application/json", json!(state.calls).to_string()),
        "/shop" => {
            let mut answer = respond(StatusCode::OK, "text/html", SHOP.to_owned());
            let policy =
                HeaderValue::from_static("default-src 'none'; script-src 'self'; connect-src 'self'");
            answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
            answer
        }
        "/tidegate.js" => snippet(&head.headers),
        "/rooms/demo" => state.page(&head.headers),
        _ => match (path.strip_prefix("/rooms/assets/"), path.strip_prefix("/v1/rooms/demo/")) {
            (Some(name), _) => asset(name, &head.headers).unwrap(),
            (_, Some(call)) => state.call(call, &head.headers, &body),
            _ => respond(StatusCode::NOT_FOUND, "text/plain", String::new()),
        },
    })
}

impl State {
    fn new() -> Self {
        let languages = Arc::new(Languages::load(&LanguageOptions::default()).unwrap());
        let options = PageOptions {
            room: "demo".to_owned(),
            title: "Demo Shop".to_owned(),
            accent: None,
            template: None,
            asset_origins: Vec::new(),
            goals: Vec::new(),
            opening: Opening::Draw,
        };
        let page = Page::new(options, languages).unwrap();
        Self { page, seat: Value::Null, status: None, failure: None, calls: Vec::new(), answered_ms: 0 }
    }

    fn told(&mut self, body: &[u8]) -> Answer {
        let told: Value = serde_json::from_slice(body).unwrap();
        self.seat = told["seat"].clone();
        self.status = told["status"].as_u64().map(|status| u16::try_from(status).unwrap());
        self.failure = match told["failure"].as_str() {
            Some("unavailable") => Some(Failure::Unavailable),
            Some("not_found") => Some(Failure::NotFound),
            Some(_) => Some(Failure::NotValid),
            None => None,
        };
        self.calls.clear();
        respond(StatusCode::OK, "text/plain", String::new())
    }

    fn page(&self, headers: &HeaderMap) -> Answer {
        let request = PageRequest {
            accept_language: headers.get("accept-language").and_then(|value| value.to_str().ok()),
            now_ms: now_ms(),
            nonce: [7; 16],
        };
        match self.failure {
            Some(failure) => self.page.of_failure(failure, request),
            None => self.page.of_seat(&serde_json::from_value(self.seat.clone()).unwrap(), request),
        }
    }

    fn call(&mut self, call: &str, headers: &HeaderMap, body: &[u8]) -> Answer {
        let now_ms = now_ms();
        let body = String::from_utf8_lossy(body);
        // How long after the last answer this was asked: that is what a client was told to wait.
        self.calls
            .push(json!({ "call": call, "body": body, "after_ms": now_ms.saturating_sub(self.answered_ms) }));
        if let Some(status) = self.status {
            return respond(
                StatusCode::from_u16(status).unwrap(),
                "application/problem+json",
                "{}".to_owned(),
            );
        }
        if call == "claim" && !body.contains("extend") {
            let started_at = now_ms as f64 / 1_000.0;
            self.seat["state"] = json!("admitted");
            self.seat["claim"] = Value::Null;
            self.seat["pass"] = json!("v1.pass");
            self.seat["session"] = json!({
                "started_at": started_at, "ends_at": started_at + 40.0, "left_ms": 40_000, "idle_ms": 15_000,
                "heartbeat_ms": 400, "renewable": false,
            });
        }
        self.answered_ms = now_ms;
        let content_type =
            headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if content_type.starts_with("application/x-www-form-urlencoded") {
            let mut answer = respond(StatusCode::SEE_OTHER, "text/plain", String::new());
            answer.headers_mut().insert(LOCATION, HeaderValue::from_static("/rooms/demo"));
            return answer;
        }
        if call == "leave" {
            return respond(StatusCode::NO_CONTENT, "text/plain", String::new());
        }
        respond(StatusCode::OK, "application/json", self.seat.to_string())
    }
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

#[expect(clippy::disallowed_methods, reason = "a stand-in for a server, in front of a real browser")]
fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}
