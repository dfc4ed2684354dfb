//! Batches to the collector: OTLP over gRPC, or protobuf over HTTP (<https://opentelemetry.io/docs/specs/otlp/>).

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use tokio::time::timeout;
use tokio_rustls::rustls::crypto::ring;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use super::settings::{OtlpProtocol, TraceSettings};

/// Who sends.
const AGENT: &str = concat!("tidegate/", env!("CARGO_PKG_VERSION"));
/// The largest answer of a collector that is read, in bytes: it says how many spans it refused, and why.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// A way to the collector.
pub(super) struct Transport {
    way: Way,
    timeout: Duration,
}

enum Way {
    Grpc(Box<GrpcTransport>),
    Http(Box<HttpTransport>),
}

struct GrpcTransport {
    endpoint: Endpoint,
    client: TraceServiceClient<Channel>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

struct HttpTransport {
    client: HttpClient,
    uri: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
}

enum HttpClient {
    Plain(Client<HttpConnector, Full<Bytes>>),
    Tls(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

/// Why a batch did not arrive. No text repeats a header.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExportError {
    #[error("it did not answer within {0:?}")]
    Timeout(Duration),
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("it answered {} ({})", .0.code(), .0.message())]
    Grpc(Box<tonic::Status>),
}

impl ExportError {
    /// Whether the same batch may be taken a little later (OTLP, "Retryable Response Codes"). Not after a silence: the next
    /// batches have waited long enough.
    pub(super) fn may_pass(&self) -> bool {
        use tonic::Code;
        match self {
            ExportError::Timeout(_) => false,
            ExportError::Unreachable(_) => true,
            ExportError::Status(status) => matches!(status.as_u16(), 429 | 502..=504),
            ExportError::Grpc(status) => matches!(
                status.code(),
                Code::Cancelled | Code::Aborted | Code::OutOfRange | Code::Unavailable | Code::DataLoss
            ),
        }
    }
}

impl Transport {
    /// A way to the collector; connections are made when there is something to send. To be called inside the runtime they
    /// will live in.
    pub(super) fn new(settings: &TraceSettings) -> anyhow::Result<Self> {
        let headers = settings.headers.clone();
        let way = match settings.endpoint.protocol {
            OtlpProtocol::Grpc => {
                let endpoint = grpc_endpoint(settings)?;
                Way::Grpc(Box::new(GrpcTransport { client: grpc_client(&endpoint), endpoint, headers }))
            }
            OtlpProtocol::HttpProtobuf => {
                let uri = settings.endpoint.uri.clone();
                Way::Http(Box::new(HttpTransport { client: http_client(&uri)?, uri, headers }))
            }
        };
        Ok(Self { way, timeout: settings.timeout })
    }

    /// Sends a batch. Returns how many of its spans the collector refused.
    pub(super) async fn send(&mut self, request: ExportTraceServiceRequest) -> Result<i64, ExportError> {
        let sent = match &mut self.way {
            Way::Grpc(grpc) => timeout(self.timeout, grpc.send(request)).await,
            Way::Http(http) => timeout(self.timeout, http.send(&request)).await,
        };
        let Ok(answer) = sent else {
            // HTTP/1 closes a connection whose answer nobody awaits. HTTP/2 would go on with one whose other end may be gone.
            if let Way::Grpc(grpc) = &mut self.way {
                grpc.client = grpc_client(&grpc.endpoint);
            }
            return Err(ExportError::Timeout(self.timeout));
        };
        let answer = answer?;
        Ok(answer.partial_success.map_or(0, |partial| partial.rejected_spans.max(0)))
    }
}

impl GrpcTransport {
    async fn send(
        &mut self,
        request: ExportTraceServiceRequest,
    ) -> Result<ExportTraceServiceResponse, ExportError> {
        let headers: http::HeaderMap = self.headers.iter().cloned().collect();
        let metadata = tonic::metadata::MetadataMap::from_headers(headers);
        let request = tonic::Request::from_parts(metadata, tonic::Extensions::new(), request);
        match self.client.export(request).await {
            Ok(answer) => Ok(answer.into_inner()),
            // What comes of a connection and not of the collector has a cause, and is called Unavailable or Unknown.
            Err(status) => Err(match std::error::Error::source(&status) {
                Some(cause) => ExportError::Unreachable(with_causes(cause)),
                None => ExportError::Grpc(Box::new(status)),
            }),
        }
    }
}

impl HttpTransport {
    async fn send(
        &self,
        batch: &ExportTraceServiceRequest,
    ) -> Result<ExportTraceServiceResponse, ExportError> {
        let mut request = Request::new(Full::new(Bytes::from(batch.encode_to_vec())));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.uri.clone();
        let fields = request.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        fields.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        fields.extend(self.headers.iter().cloned());
        let answer = match &self.client {
            HttpClient::Plain(client) => client.request(request).await,
            HttpClient::Tls(client) => client.request(request).await,
        };
        let answer = answer.map_err(|error| ExportError::Unreachable(with_causes(&error)))?;
        let status = answer.status();
        let body = body(answer).await;
        if !status.is_success() {
            return Err(ExportError::Status(status));
        }
        // Taken is taken; what cannot be read here says nothing.
        Ok(body.and_then(|body| ExportTraceServiceResponse::decode(body).ok()).unwrap_or_default())
    }
}

/// The whole body, so that the connection can be used again; `None` where it is too large or breaks off.
async fn body(answer: Response<Incoming>) -> Option<Bytes> {
    Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await.ok().map(|body| body.to_bytes())
}

fn grpc_endpoint(settings: &TraceSettings) -> anyhow::Result<Endpoint> {
    let uri = settings.endpoint.uri.clone();
    let is_tls = is_https(&uri);
    let mut endpoint = Endpoint::from(uri).user_agent(AGENT)?.connect_timeout(settings.timeout);
    if is_tls {
        let tls = ClientTlsConfig::new().with_native_roots();
        endpoint = endpoint.tls_config(tls).context("TLS to the collector cannot be set up")?;
    }
    Ok(endpoint)
}

fn grpc_client(endpoint: &Endpoint) -> TraceServiceClient<Channel> {
    TraceServiceClient::new(endpoint.connect_lazy()).max_decoding_message_size(MAX_ANSWER_BYTES)
}

fn http_client(uri: &Uri) -> anyhow::Result<HttpClient> {
    let builder = || Client::builder(TokioExecutor::new());
    if !is_https(uri) {
        return Ok(HttpClient::Plain(builder().build(HttpConnector::new())));
    }
    let connector = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(ring::default_provider())
        .context("the system's certificates, which TLS to the collector needs, cannot be read")?
        .https_only()
        .enable_http1()
        .build();
    Ok(HttpClient::Tls(builder().build(connector)))
}

fn is_https(uri: &Uri) -> bool {
    uri.scheme() == Some(&http::uri::Scheme::HTTPS)
}

/// An error with what caused it: the text of hyper's alone says nothing.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
