//! A collector for tests: takes OTLP over gRPC, or protobuf over HTTP, and keeps what it was sent.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tidegate_testkit::{TempDir, wait_for};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// How long spans may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(20);

/// How the collector is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Grpc,
    Http,
}

/// What it does with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Takes it.
    Takes,
    /// Says that it cannot now.
    Refuses,
    /// Says so to the first batch, and takes the others.
    RefusesOnce,
    /// Takes all but one span of every batch.
    RejectsOne,
    /// Takes connections and never says anything.
    Hangs,
}

/// A span with its attributes as text.
#[derive(Clone, Debug)]
pub struct Received(pub Span);

impl Received {
    pub fn attribute(&self, key: &str) -> Option<String> {
        value_of(&self.0.attributes, key)
    }

    pub fn is_child_of(&self, parent: &Received) -> bool {
        self.0.trace_id == parent.0.trace_id && self.0.parent_span_id == parent.0.span_id
    }

    /// How long it took.
    pub fn took(&self) -> Duration {
        Duration::from_nanos(self.0.end_time_unix_nano - self.0.start_time_unix_nano)
    }
}

pub fn value_of(attributes: &[KeyValue], key: &str) -> Option<String> {
    let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
    Some(match attribute.value.clone()?.value? {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other => panic!("{key} is {other:?}"),
    })
}

/// A collector on a free port; ends when dropped.
pub struct Collector {
    pub address: SocketAddr,
    kept: Kept,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Batch>>>);

#[derive(Clone)]
struct Batch {
    is_taken: bool,
    headers: HeaderMap,
    request: ExportTraceServiceRequest,
}

/// A certificate for 127.0.0.1 that vouches for itself, and its key.
pub struct Identity {
    folder: TempDir,
}

impl Identity {
    pub fn new() -> Self {
        let folder = TempDir::new("collector-tls");
        let wanted = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=collector \
                      -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=IP:127.0.0.1 \
                      -keyout key.pem -out cert.pem";
        let made =
            Command::new("openssl").args(wanted.split_whitespace()).current_dir(folder.path()).output();
        let made = made.expect("openssl is needed (apt-get install openssl)");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self { folder }
    }

    /// The file with the certificate.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("cert.pem")
    }

    fn acceptor(&self) -> TlsAcceptor {
        let certificate = CertificateDer::from_pem_file(self.certificate()).unwrap();
        let key = PrivateKeyDer::from_pem_file(self.folder.join("key.pem")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let mut config = config.with_single_cert(vec![certificate], key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

impl Collector {
    pub fn start(protocol: Protocol, manner: Manner) -> Self {
        Self::launch(protocol, manner, None)
    }

    /// One that speaks TLS.
    pub fn encrypted(protocol: Protocol, identity: &Identity) -> Self {
        Self::launch(protocol, Manner::Takes, Some(identity.acceptor()))
    }

    fn launch(protocol: Protocol, manner: Manner, tls: Option<TlsAcceptor>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let kept = Kept::default();
        let (stop, stopped) = oneshot::channel();
        let receiver = Receiver { kept: kept.clone(), manner };
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = serve(listener, receiver, protocol, tls) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, kept, stop: Some(stop), thread: Some(thread) }
    }

    /// Waits until so many spans have arrived, and gives them all.
    pub fn spans(&self, at_least: usize) -> Vec<Received> {
        wait_for(&format!("{at_least} spans arrive"), ARRIVAL, || {
            let spans = self.now();
            (spans.len() >= at_least).then_some(spans)
        })
    }

    /// What has arrived so far.
    pub fn now(&self) -> Vec<Received> {
        let batches = self.kept.0.lock().unwrap();
        let taken = batches.iter().filter(|batch| batch.is_taken);
        let resources = taken.flat_map(|batch| &batch.request.resource_spans);
        let scopes = resources.flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| &scope.spans).cloned().map(Received).collect()
    }

    /// An attribute of the node that sent the first batch.
    pub fn resource(&self, key: &str) -> Option<String> {
        let batches = self.kept.0.lock().unwrap();
        value_of(&batches[0].request.resource_spans[0].resource.as_ref().unwrap().attributes, key)
    }

    /// A header of the first batch.
    pub fn header(&self, name: &str) -> Option<String> {
        let batches = self.kept.0.lock().unwrap();
        Some(batches[0].headers.get(name)?.to_str().unwrap().to_owned())
    }

    /// How many batches were sent, taken or not.
    pub fn batches(&self) -> usize {
        self.kept.0.lock().unwrap().len()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().unwrap().join();
    }
}

#[derive(Clone)]
struct Receiver {
    kept: Kept,
    manner: Manner,
}

impl Receiver {
    /// What is answered; `None` where the batch is refused.
    fn take(
        &self,
        headers: HeaderMap,
        request: ExportTraceServiceRequest,
    ) -> Option<ExportTraceServiceResponse> {
        let mut kept = self.kept.0.lock().unwrap();
        let is_taken = match self.manner {
            Manner::Takes | Manner::Hangs | Manner::RejectsOne => true,
            Manner::Refuses => false,
            Manner::RefusesOnce => !kept.is_empty(),
        };
        kept.push(Batch { is_taken, headers, request });
        let rejected_spans = i64::from(self.manner == Manner::RejectsOne);
        let partial = ExportTracePartialSuccess { rejected_spans, error_message: "one too many".to_owned() };
        let partial_success = (rejected_spans > 0).then_some(partial);
        is_taken.then_some(ExportTraceServiceResponse { partial_success })
    }

    /// Answers on one connection; most end with the server under test, in the middle.
    async fn answer_all(
        self,
        protocol: Protocol,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) {
        let builder = Builder::new(TokioExecutor::new());
        let _ = match protocol {
            Protocol::Grpc => {
                let service = TowerToHyperService::new(TraceServiceServer::new(self));
                builder.serve_connection(TokioIo::new(stream), service).await
            }
            Protocol::Http => {
                let service = hyper::service::service_fn(move |request| self.clone().answer(request));
                builder.serve_connection(TokioIo::new(stream), service).await
            }
        };
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        assert_eq!((head.method.as_str(), head.uri.path()), ("POST", "/v1/traces"));
        assert_eq!(head.headers["content-type"], "application/x-protobuf");
        let mut response = Response::new(Full::default());
        match self.take(head.headers, ExportTraceServiceRequest::decode(body).unwrap()) {
            Some(answer) => *response.body_mut() = Full::from(answer.encode_to_vec()),
            None => *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE,
        }
        Ok(response)
    }
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let (metadata, _, request) = request.into_parts();
        let answer = self.take(metadata.into_headers(), request);
        answer.map(tonic::Response::new).ok_or_else(|| tonic::Status::unavailable("not now"))
    }
}

async fn serve(listener: TcpListener, receiver: Receiver, protocol: Protocol, tls: Option<TlsAcceptor>) {
    let mut silent = Vec::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        if receiver.manner == Manner::Hangs {
            silent.push(stream);
            continue;
        }
        let (receiver, tls) = (receiver.clone(), tls.clone());
        tokio::spawn(async move {
            match tls {
                None => receiver.answer_all(protocol, stream).await,
                // Whoever does not trust the certificate hangs up.
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        receiver.answer_all(protocol, stream).await;
                    }
                }
            }
        });
    }
}
