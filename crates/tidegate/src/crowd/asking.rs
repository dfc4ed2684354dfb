//! Requests and answers, over connections that are kept.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE, RETRY_AFTER, SET_COOKIE, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};
use tidegate_core::time::Micros;
use tidegate_wire::room::seat::{RoomStatus, Seat};
use tokio_rustls::rustls::crypto::ring;

use super::plan::{NodeError, Plan};

/// Who asks.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("tidegate-crowd/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// What a page that goes can send.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain");
const HINT: &[u8] = br#"{"hint":true}"#;
/// The longest answer that is read, in bytes: a page with everything in it is shorter.
const MAX_ANSWER_BYTES: usize = 256 << 10;
/// The longest that anybody who is told to come back waits.
const MAX_RETRY_AFTER: Micros = Micros::from_secs(60);
/// The longest name of an error that is kept.
const MAX_KIND_CHARS: usize = 60;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Call {
    Page,
    Join,
    Poll,
    Claim,
    Heartbeat,
    Leave,
    /// The page is closed, and says so.
    Beacon,
}

/// What is heard.
#[derive(Clone, Debug)]
pub(super) enum Heard {
    Seat(Box<Seat>),
    /// That all is well, and nothing more.
    Done,
    /// That it will not be done.
    Refused {
        status: StatusCode,
        /// The last part of the type of the problem.
        kind: String,
        retry_after: Option<Micros>,
    },
    Failed(Failure),
}

/// Why nothing was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nobody takes connections.
    Connecting,
    /// The connection broke.
    Broken,
    /// Not in time.
    Silent,
    /// Something, but no answer of a room.
    Unreadable,
}

/// A way to all nodes.
#[derive(Clone)]
pub(super) struct Asking(Arc<Inner>);

struct Inner {
    client: HttpClient,
    timeout: Duration,
    /// The addresses of each node: calls in their order, then the status.
    addresses: Vec<[Uri; Call::ALL.len() + 1]>,
}

enum HttpClient {
    Plain(Client<HttpConnector, Full<Bytes>>),
    Tls(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

#[derive(Deserialize)]
struct Problem {
    #[serde(rename = "type")]
    kind: String,
}

// === impl Call ===

impl Call {
    pub(super) const ALL: [Self; 7] =
        [Self::Page, Self::Join, Self::Poll, Self::Claim, Self::Heartbeat, Self::Leave, Self::Beacon];

    /// The name in reports.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Join => "join",
            Self::Poll => "poll",
            Self::Claim => "claim",
            Self::Heartbeat => "heartbeat",
            Self::Leave => "leave",
            Self::Beacon => "beacon",
        }
    }

    fn path(self, room: &str) -> String {
        match self {
            Self::Page => format!("/rooms/{room}"),
            Self::Beacon => format!("/v1/rooms/{room}/leave"),
            _ => format!("/v1/rooms/{room}/{}", self.name()),
        }
    }
}

// === impl Heard ===

impl Heard {
    /// What kind of error it is, if it is one.
    pub(super) fn error(&self) -> Option<String> {
        match self {
            Self::Seat(_) | Self::Done => None,
            Self::Refused { status, kind, .. } => Some(format!("{} {kind}", status.as_u16())),
            Self::Failed(failure) => Some(failure.name().to_owned()),
        }
    }
}

impl Failure {
    const fn name(self) -> &'static str {
        match self {
            Self::Connecting => "no connection",
            Self::Broken => "broken connection",
            Self::Silent => "no answer in time",
            Self::Unreadable => "unreadable answer",
        }
    }
}

// === impl Asking ===

impl Asking {
    pub(super) fn new(plan: &Plan) -> Result<Self, super::CrowdError> {
        let addresses = |node: &super::Node| -> Result<_, NodeError> {
            let room = plan.room.as_str();
            let status = node.uri(&format!("/v1/rooms/{room}/status"))?;
            let mut uris = [const { None }; Call::ALL.len()];
            for (uri, call) in uris.iter_mut().zip(Call::ALL) {
                *uri = Some(node.uri(&call.path(room))?);
            }
            let [page, join, poll, claim, heartbeat, leave, beacon] =
                uris.map(|uri| uri.unwrap_or_else(|| status.clone()));
            Ok([page, join, poll, claim, heartbeat, leave, beacon, status])
        };
        let client = if plan.nodes.iter().any(super::Node::is_tls) {
            HttpClient::Tls(tls_client(plan)?)
        } else {
            let mut connector = HttpConnector::new();
            connector.set_nodelay(true);
            HttpClient::Plain(builder(plan).build(connector))
        };
        Ok(Self(Arc::new(Inner {
            client,
            timeout: plan.timeout.into(),
            addresses: plan.nodes.iter().map(addresses).collect::<Result<_, _>>()?,
        })))
    }

    /// Asks a node. Gives the cookies that are to be kept with what was heard.
    pub(super) async fn ask(
        self,
        node: usize,
        call: Call,
        cookies: Option<HeaderValue>,
    ) -> (Heard, Vec<HeaderValue>) {
        let method = if call == Call::Page { Method::GET } else { Method::POST };
        let mut request = Request::new(Full::new(match call {
            Call::Beacon => Bytes::from_static(HINT),
            _ => Bytes::new(),
        }));
        *request.method_mut() = method;
        *request.uri_mut() = self.0.addresses[node][call as usize].clone();
        let fields = request.headers_mut();
        fields.insert(USER_AGENT, AGENT);
        if call != Call::Page {
            fields.insert(CONTENT_TYPE, if call == Call::Beacon { TEXT } else { JSON });
        }
        if let Some(cookies) = cookies {
            fields.insert(COOKIE, cookies);
        }
        self.send(request, read).await.unwrap_or_else(|failure| (Heard::Failed(failure), Vec::new()))
    }

    /// The room as a node tells of it; `None` where it does not.
    pub(super) async fn status(self, node: usize) -> Option<RoomStatus> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = self.0.addresses[node][Call::ALL.len()].clone();
        request.headers_mut().insert(USER_AGENT, AGENT);
        let read = |_: &http::response::Parts, body: &[u8]| serde_json::from_slice(body).ok();
        self.send(request, read).await.ok().flatten()
    }

    async fn send<T>(
        &self,
        request: Request<Full<Bytes>>,
        read: impl FnOnce(&http::response::Parts, &[u8]) -> T,
    ) -> Result<T, Failure> {
        let sent = async {
            let answer = match &self.0.client {
                HttpClient::Plain(client) => client.request(request).await,
                HttpClient::Tls(client) => client.request(request).await,
            };
            let answer = answer
                .map_err(|error| if error.is_connect() { Failure::Connecting } else { Failure::Broken })?;
            let (head, body) = answer.into_parts();
            Ok(read(&head, &whole(body).await?))
        };
        tokio::time::timeout(self.0.timeout, sent).await.unwrap_or(Err(Failure::Silent))
    }
}

fn builder(plan: &Plan) -> hyper_util::client::legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_max_idle_per_host(plan.connections as usize);
    builder
}

fn tls_client(plan: &Plan) -> Result<Client<HttpsConnector<HttpConnector>, Full<Bytes>>, super::CrowdError> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.enforce_http(false);
    let connector = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(ring::default_provider())
        .map_err(super::CrowdError::Certificates)?
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    Ok(builder(plan).build(connector))
}

/// The whole body, so that the connection can be used again.
async fn whole(body: Incoming) -> Result<Bytes, Failure> {
    match Limited::new(body, MAX_ANSWER_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(Failure::Unreadable),
        Err(_) => Err(Failure::Broken),
    }
}

fn read(head: &http::response::Parts, body: &[u8]) -> (Heard, Vec<HeaderValue>) {
    let cookies = head.headers.get_all(SET_COOKIE).iter().cloned().collect();
    let status = head.status;
    let heard = if status == StatusCode::OK {
        match serde_json::from_slice::<Seat>(body) {
            Ok(seat) => Heard::Seat(Box::new(seat)),
            // The page, with which there is nothing to be done here.
            Err(_) if body.starts_with(b"<!") => Heard::Done,
            Err(_) => Heard::Failed(Failure::Unreadable),
        }
    } else if status.is_success() || status.is_redirection() {
        Heard::Done
    } else {
        let retry_after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let retry_after = retry_after.map(|secs: u32| Micros::from_secs(secs.into()).min(MAX_RETRY_AFTER));
        Heard::Refused { status, kind: kind_of(body), retry_after }
    };
    (heard, cookies)
}

/// The last part of a problem's type.
fn kind_of(body: &[u8]) -> String {
    let problem = serde_json::from_slice::<Problem>(body);
    let kind = problem.map(|problem| problem.kind).unwrap_or_default();
    let last = kind.rsplit(['/', '#', ':']).next().unwrap_or_default();
    last.chars().filter(|c| c.is_ascii_graphic()).take(MAX_KIND_CHARS).collect()
}
