//! Just enough HTTP for commands that ask a server: one request, one answer, bounded in bytes and time.

use std::time::Duration;

use anyhow::Context;
use http::{HeaderMap, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The longest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// The longest a server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Where a server is.
#[derive(Clone, Debug)]
pub(super) struct Address {
    authority: http::uri::Authority,
    /// What its URL says before our paths, without a slash at the end.
    base: String,
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Address {
    /// The address of an `http://` URL.
    pub(super) fn parse(url: &str) -> anyhow::Result<Self> {
        let remedy = "write an http:// URL, for example http://127.0.0.1:8080";
        let uri: Uri = url.trim_end_matches('/').parse().ok().context(remedy)?;
        if uri.scheme_str() != Some("http") {
            anyhow::bail!("{remedy}");
        }
        let authority = uri.authority().context("the URL names no host")?.clone();
        let base = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { authority, base })
    }
}

/// Sends a request to a path of a server.
pub(super) async fn send(
    address: &Address,
    path: &str,
    request: http::request::Builder,
    body: Vec<u8>,
) -> anyhow::Result<Response> {
    let sent = tokio::time::timeout(TIMEOUT, send_unbounded(address, path, request, body)).await;
    sent.with_context(|| format!("{} did not answer within {} s", address.authority, TIMEOUT.as_secs()))?
}

async fn send_unbounded(
    address: &Address,
    path: &str,
    request: http::request::Builder,
    body: Vec<u8>,
) -> anyhow::Result<Response> {
    let authority = &address.authority;
    let place = (authority.host().trim_matches(['[', ']']), authority.port_u16().unwrap_or(80));
    let socket = TcpStream::connect(place).await.with_context(|| format!("{authority} cannot be reached"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
    let connection = tokio::spawn(connection);
    let request = request
        .uri(format!("{}{path}", address.base))
        .header(http::header::HOST, authority.as_str())
        .body(Full::new(Bytes::from(body)))?;
    let response = sender.send_request(request).await?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!(error)).context("the answer cannot be read")?.to_bytes();
    connection.abort();
    Ok(Response { status: head.status, headers: head.headers, body: body.to_vec() })
}
