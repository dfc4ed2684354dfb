//! Any bytes that come as the message of a call of Envoy's services are answered: with a status that the door documents,
//! or with a decision that the rules and the message account for. What a refused call asked for is not charged, nobody gets
//! more than a limit, and nothing is left behind when all windows are over.
//!
//! The first byte chooses the service (bit 0), and whether the rest is the message or the whole body of the request (bit 1).
//! The call goes through the door's own connection, in memory, on which the clock stands still.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tidegate::door::overload::Overload;
use tidegate::door::{LegacyFields, Readiness};
use tidegate::grpc::{DeniedBody, GrpcDoor, GrpcOptions};
use tidegate_config::parse_rules;
use tidegate_core::rule::RuleSet;
use tidegate_core::rule::model::{Mode, Rule};
use tidegate_core::time::{Micros, Timestamp};
use tidegate_engine::{Engine, ManualClock};
use tidegate_proto::envoy::config::core::v3::address::Address;
use tidegate_proto::envoy::config::core::v3::{HeaderValue as Field, HeaderValueOption};
use tidegate_proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use tidegate_proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::RateLimitOverride;
use tidegate_proto::envoy::service::auth::v3::check_response::HttpResponse;
use tidegate_proto::envoy::service::auth::v3::{CheckRequest, CheckResponse, DeniedHttpResponse};
use tidegate_proto::envoy::service::ratelimit::v3::rate_limit_response::{Code, DescriptorStatus};
use tidegate_proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use tidegate_store::{MIN_MEMORY_BYTES, MemoryOptions, MemoryStore};
use tidegate_wire::identity::{HeaderFamily, IdentityPolicy, Ipv6Prefix, TrustedProxies};
use tokio::runtime::{Builder, Runtime};
use tonic::{Code as GrpcCode, Status};

const RATE_LIMIT: &str = "http://x/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
const CHECK: &str = "http://x/envoy.service.auth.v3.Authorization/Check";
const NOW: Timestamp = Timestamp::from_micros(1_780_000_000_000_000);
/// The longest window: that of an override by the year, in seconds.
const LONGEST_WINDOW_SECONDS: i64 = 365 * 86_400;
/// When every window is over, that of a limit which is filled again over two of them, too.
const AFTERWARDS: Timestamp = NOW.saturating_add(Micros::from_secs(3 * 365 * 86_400));
/// How often the same message is sent: more often than some limits allow.
const CALLS: u64 = 4;
/// Before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// The longest reason for which a message is refused, in bytes.
const MAX_REASON_BYTES: usize = 256;
/// The longest reason why a body is refused, in bytes. What gRPC lets all fields of a response have.
const MAX_TRACE_BYTES: usize = 8 * 1024;
/// What the connection in memory holds, in bytes.
const PIPE_BYTES: usize = 128 * 1024;
/// What whoever sent what cannot be read is told.
const UNREAD: &str = "what there is to say of the request";
/// The longest time that a message may take. Nothing is waited for, so it is never used up.
const PATIENCE: Duration = Duration::from_secs(600);

/// The domain for authorization where the message names none.
const DEFAULT_DOMAIN: &str = "default";
/// What a client may do in that domain.
const PER_CLIENT: u64 = 2;
const RULES: &str = "
version: 1
domains:
  - name: edge
    rules:
      - { name: per-address, key: [remote_address], algorithm: fixed_window, limit: 5, window: 1d }
      - { name: per-user, key: [user_id], algorithm: token_bucket, limit: 3, window: 1d }
      - { name: pairs, key: [generic_key, generic_key.2], algorithm: sliding_window, limit: 2, window: 1h }
      - { name: strict, match: { path: /strict }, key: [], algorithm: sliding_window_log, limit: 1, window: 1m }
      - { name: closed, key: [closed], algorithm: fixed_window, limit: 0, window: 1d }
      - { name: huge, key: [huge], algorithm: fixed_window, limit: 1_000_000_000_000, window: 1d }
      - { name: watched, key: [watched], algorithm: fixed_window, limit: 0, window: 1d, mode: shadow }
  - name: default
    rules:
      - { name: per-client, key: [client_ip], algorithm: fixed_window, limit: 2, window: 1d }
      - { name: per-agent, key: [method, host, user_agent], algorithm: token_bucket, limit: 3, window: 1h }
      - { name: closed, key: [closed], algorithm: fixed_window, limit: 0, window: 1d }
";

thread_local! {
    /// What the last input left, or nothing if the property did not hold for it.
    static SITE: RefCell<Option<Site>> = const { RefCell::new(None) };
}

/// A door, and a connection to it.
struct Site {
    runtime: Runtime,
    client: SendRequest<Full<Bytes>>,
    engine: Engine<MemoryStore, ManualClock>,
}

/// What came of a call: the message, or the status.
type Answer = Result<Bytes, Status>;

pub(crate) fn holds(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    let site = SITE.take();
    let mut site = site.filter(|site| !site.client.is_closed()).unwrap_or_else(Site::open);
    match (kind & 2 == 0, kind & 1 == 0) {
        (true, true) => rate_limited(&mut site, data),
        (true, false) => authorized(&mut site, data),
        (false, true) => body(&mut site, RATE_LIMIT, data, is_unread_limit),
        (false, false) => body(&mut site, CHECK, data, is_unread_check),
    }
    site.engine.store().sweep(AFTERWARDS, usize::MAX);
    assert_eq!(site.keys(), 0, "left behind");
    SITE.set(Some(site));
}

// === rate limit ===

/// A request as Envoy sends it: the values are what its client sent, whether they are text or not.
#[derive(Clone, PartialEq, Message)]
struct Sent {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(message, repeated, tag = "2")]
    descriptors: Vec<SentDescriptor>,
    #[prost(uint32, tag = "3")]
    hits_addend: u32,
}

#[derive(Clone, PartialEq, Message)]
struct SentDescriptor {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<SentEntry>,
    #[prost(message, optional, tag = "2")]
    limit: Option<RateLimitOverride>,
    #[prost(message, optional, tag = "3")]
    hits_addend: Option<u64>,
    #[prost(bool, tag = "4")]
    is_negative_hits: bool,
}

#[derive(Clone, PartialEq, Message)]
struct SentEntry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// The request that a message is read as.
fn request_of(message: &[u8]) -> Result<RateLimitRequest, prost::DecodeError> {
    let mut sent = Sent::decode(message)?;
    for entry in sent.descriptors.iter_mut().flat_map(|descriptor| &mut descriptor.entries) {
        entry.value = String::from_utf8_lossy(&entry.value).into_owned().into_bytes();
    }
    RateLimitRequest::decode(&*sent.encode_to_vec())
}

fn rate_limited(site: &mut Site, message: &[u8]) {
    let request = request_of(message);
    let answers = site.calls(RATE_LIMIT, message);
    let Some((request, answers)) = accounted(site, request, answers, is_unread_limit) else { return };
    let answers: Vec<RateLimitResponse> = answers.into_iter().map(read).collect();
    let rules = site.engine.rules();
    for answer in &answers {
        assert_eq!(answer.statuses.len(), request.descriptors.len());
        let over = answer.statuses.iter().any(is_over);
        assert_eq!(answer.overall_code(), if over { Code::OverLimit } else { Code::Ok });
        for (descriptor, status) in request.descriptors.iter().zip(&answer.statuses) {
            accounts_for(&rules, &request, descriptor, status);
        }
        fields(&answer.response_headers_to_add);
        assert!(over || !answer.response_headers_to_add.iter().any(|field| field.key == "retry-after"));
        assert_eq!(over, !answer.raw_body.is_empty(), "the refused get a body, and nobody else");
        if over {
            is_problem(&answer.raw_body, None);
        }
    }
    if request.descriptors.iter().all(|descriptor| descriptor.hits_addend == Some(0)) {
        assert!(answers.iter().all(|answer| answer == &answers[0]), "a look changes nothing");
        assert_eq!(site.keys(), 0, "a look changes nothing");
    }
    if let [descriptor] = &request.descriptors[..] {
        let statuses: Vec<&DescriptorStatus> = answers.iter().flat_map(|answer| &answer.statuses).collect();
        nobody_gets_more(descriptor, hits(&request, descriptor), &statuses);
    }
}

/// A status says what a rule, or the limit of the descriptor, leads to.
fn accounts_for(
    rules: &RuleSet,
    request: &RateLimitRequest,
    descriptor: &RateLimitDescriptor,
    status: &DescriptorStatus,
) {
    assert_ne!(status.code(), Code::Unknown);
    let gives_back = descriptor.is_negative_hits && hits(request, descriptor) > 0;
    assert!(!(gives_back && is_over(status)), "what is given back is not refused");
    let Some(limit) = &status.current_limit else {
        assert!(!is_over(status), "refused, and nothing limits it");
        assert_eq!((status.limit_remaining, status.duration_until_reset), (u32::MAX, None));
        return;
    };
    assert!(status.limit_remaining <= limit.requests_per_unit, "{status:?}");
    let reset = status.duration_until_reset.unwrap_or_default();
    assert!((0..=LONGEST_WINDOW_SECONDS).contains(&reset.seconds), "{status:?}");
    assert!((0..1_000_000_000).contains(&reset.nanos), "{status:?}");
    if let Some(own) = &descriptor.limit {
        assert_eq!((&limit.name, limit.requests_per_unit), (&request.domain, own.requests_per_unit));
        return;
    }
    let of_domain = rules.domain(&request.domain).map_or(&[][..], |domain| domain.rules());
    let rule = of_domain.iter().map(|rule| rule.model()).find(|rule| rule.name == limit.name);
    assert!(rule.is_some_and(|rule| rule.mode == Mode::Enforce && applies(rule, descriptor)), "{status:?}");
}

/// Whether a descriptor has the entries that a rule asks for. Entries whose key repeats have a number behind it.
fn applies(rule: &Rule, descriptor: &RateLimitDescriptor) -> bool {
    let mut wanted = rule.key.iter().chain(rule.conditions.iter().map(|condition| &condition.entry));
    wanted.all(|name| {
        descriptor.entries.iter().any(|entry| {
            name.strip_prefix(&entry.key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    })
}

/// From a limit of which nothing was used, as much is taken as fits, and no more, while the clock stands still.
fn nobody_gets_more(descriptor: &RateLimitDescriptor, hits: u64, statuses: &[&DescriptorStatus]) {
    let [first, ..] = statuses else { return };
    let Some(limit) = &first.current_limit else { return };
    let (all, left) = (limit.requests_per_unit, first.limit_remaining);
    if all == u32::MAX {
        // More than the message can say.
        return;
    }
    if hits == 0 || descriptor.is_negative_hits {
        assert!(statuses.iter().all(|status| status.limit_remaining == all), "nothing was taken");
        return;
    }
    assert_eq!(is_over(first), hits > u64::from(all), "{first:?}");
    assert_eq!(u64::from(left), if is_over(first) { all.into() } else { u64::from(all) - hits }, "{first:?}");
    let passed = statuses.iter().filter(|status| !is_over(status)).count() as u64;
    for status in statuses {
        let limit = status.current_limit.as_ref().map(|limit| u64::from(limit.requests_per_unit));
        assert!(limit.is_some_and(|limit| passed * hits <= limit), "{passed} of {hits} passed: {status:?}");
    }
}

/// The units of a descriptor.
fn hits(request: &RateLimitRequest, descriptor: &RateLimitDescriptor) -> u64 {
    descriptor.hits_addend.unwrap_or(request.hits_addend.max(1).into())
}

fn is_over(status: &DescriptorStatus) -> bool {
    status.code() == Code::OverLimit
}

// === authorization ===

fn authorized(site: &mut Site, message: &[u8]) {
    let request = CheckRequest::decode(message);
    let answers = site.calls(CHECK, message);
    let Some((request, answers)) = accounted(site, request, answers, is_unread_check) else { return };
    let answers: Vec<CheckResponse> = answers.into_iter().map(read).collect();
    let Some(attributes) = request.attributes else { unreachable!("an answer without attributes") };
    let mut passed = 0;
    for answer in answers {
        let code = answer.status.map(|status| GrpcCode::from(status.code));
        match answer.http_response {
            Some(HttpResponse::OkResponse(ok)) => {
                assert_eq!(code, Some(GrpcCode::Ok));
                assert!(ok.headers_to_remove.is_empty(), "nothing is taken from it");
                assert_eq!(
                    ok.headers, ok.response_headers_to_add,
                    "the application is told what the client is"
                );
                overwriting(&ok.response_headers_to_add);
                passed += 1;
            }
            Some(HttpResponse::DeniedResponse(denied)) => {
                let status = refused(&denied);
                assert_eq!(
                    code,
                    Some(if status == 429 {
                        GrpcCode::ResourceExhausted
                    } else {
                        GrpcCode::PermissionDenied
                    })
                );
            }
            other => unreachable!("{other:?}"),
        }
    }
    let domain = attributes.context_extensions.get("domain").map_or(DEFAULT_DOMAIN, String::as_str);
    let source = attributes.source.and_then(|peer| peer.address).and_then(|address| address.address);
    let has_address = match source {
        Some(Address::SocketAddress(socket)) => socket.address.parse::<std::net::IpAddr>().is_ok(),
        _ => false,
    };
    let is_closed = attributes.context_extensions.contains_key("closed");
    if domain == DEFAULT_DOMAIN {
        assert!(!has_address || passed <= PER_CLIENT, "{passed} passed");
        assert!(!is_closed || passed == 0, "{passed} passed what is closed");
    }
}

/// A response for the refused, whole: its HTTP status, which is 400 for a path that has no normal form.
fn refused(denied: &DeniedHttpResponse) -> i32 {
    let status = denied.status.as_ref().map_or(0, |status| status.code);
    assert!([400, 429].contains(&status), "{denied:?}");
    overwriting(&denied.headers);
    is_problem(denied.body.as_bytes(), Some(status));
    status
}

fn overwriting(options: &[HeaderValueOption]) {
    let headers: Vec<Field> = options.iter().filter_map(|option| option.header.clone()).collect();
    assert_eq!(headers.len(), options.len());
    fields(&headers);
}

// === both ===

/// The answers to a message that was taken, and the message; nothing where it is none, or none before the door has mended its texts
/// and left out what it does not read. What was not taken had to be refused every time, in a few clean words, and for nothing: by a
/// decision where it cannot be read, since Envoy lets pass what ends in an error, and otherwise with the reason.
fn accounted<T>(
    site: &Site,
    request: Result<T, prost::DecodeError>,
    answers: Vec<Answer>,
    is_unread: fn(&Bytes) -> bool,
) -> Option<(T, Vec<Bytes>)> {
    let (mut taken, mut unread) = (Vec::new(), 0);
    for answer in answers {
        match answer {
            Ok(message) if is_unread(&message) => unread += 1,
            Ok(message) => taken.push(message),
            Err(status) => {
                assert_eq!(status.code(), GrpcCode::InvalidArgument, "{status}");
                is_clean(&status, MAX_REASON_BYTES);
            }
        }
    }
    assert!(unread == 0 || (request.is_err() && unread == CALLS), "{unread} were not read");
    if taken.is_empty() {
        assert_eq!(site.keys(), 0, "a call that was refused is charged");
        return None;
    }
    assert_eq!(taken.len() as u64, CALLS, "the same message was taken and refused");
    Some((request.ok()?, taken))
}

/// Refused without a look at descriptors.
fn is_unread_limit(answer: &Bytes) -> bool {
    let answer: RateLimitResponse = read(answer.clone());
    answer.statuses.is_empty() && answer.overall_code() == Code::OverLimit
}

/// Refused without a look at the request.
fn is_unread_check(answer: &Bytes) -> bool {
    let answer: CheckResponse = read(answer.clone());
    let Some(HttpResponse::DeniedResponse(denied)) = &answer.http_response else { return false };
    denied.body.contains(UNREAD)
}

fn is_clean(status: &Status, max_bytes: usize) {
    let reason = status.message();
    assert!(!reason.is_empty() && reason.len() <= max_bytes, "{} bytes: {reason}", reason.len());
    assert!(!reason.chars().any(char::is_control), "{reason:?}");
}

/// Any body: it is refused, in clean words or by a decision, or it holds a message.
fn body(site: &mut Site, uri: &str, body: &[u8], is_unread: fn(&Bytes) -> bool) {
    match site.call(uri, Bytes::copy_from_slice(body)) {
        Ok(message) if is_unread(&message) => {}
        Ok(_) => {
            let length = body.get(1..PREFIX_BYTES).and_then(|length| length.first_chunk());
            let length = length.map_or(usize::MAX, |length| u32::from_be_bytes(*length) as usize);
            assert!(body.first() == Some(&0) && length <= body.len() - PREFIX_BYTES, "there is no message");
        }
        Err(status) => {
            assert_ne!(status.code(), GrpcCode::Unknown, "{status}");
            is_clean(&status, MAX_TRACE_BYTES);
        }
    }
}

/// Fields can be sent as they are, and no two have the same name.
fn fields(fields: &[Field]) {
    let mut names = BTreeSet::new();
    for field in fields {
        let name = HeaderName::from_lowercase(field.key.as_bytes());
        assert!(name.is_ok() && names.insert(&field.key), "{field:?}");
        let visible = HeaderValue::from_str(&field.value).is_ok_and(|value| value.to_str().is_ok());
        assert!(visible && field.raw_value.is_empty(), "{field:?}");
    }
}

/// Problem details, which say the status that the response has.
fn is_problem(body: &[u8], status: Option<i32>) {
    let problem: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let said = problem["status"].as_i64();
    assert!(said.is_some() && status.is_none_or(|status| said == Some(status.into())), "{problem}");
}

fn read<T: Message + Default>(message: Bytes) -> T {
    match T::decode(message) {
        Ok(message) => message,
        Err(error) => unreachable!("the door's own message: {error}"),
    }
}

// === impl Site ===

impl Site {
    fn open() -> Self {
        let rules = parse_rules(RULES, "rules.yaml").map(|parsed| RuleSet::compile(parsed.rules));
        let Ok(Ok(rules)) = rules else { unreachable!("the rules are good") };
        let memory =
            MemoryOptions { max_bytes: MIN_MEMORY_BYTES, shards: Some(1), ..MemoryOptions::new([1, 2]) };
        let engine = Engine::with_parts(rules, MemoryStore::new(&memory), ManualClock::new(NOW), None);
        let proxies = TrustedProxies::new(["192.0.2.0/24"]).unwrap_or_default();
        let options = GrpcOptions {
            identity: IdentityPolicy {
                proxies,
                family: HeaderFamily::XForwardedFor,
                ipv6_prefix: Ipv6Prefix::default(),
            },
            legacy_fields: LegacyFields::Send,
            denied_body: DeniedBody::Send,
            body_timeout: PATIENCE,
            overload: Overload::new("grpc", 1),
        };
        let door = GrpcDoor::new(engine.clone(), options, &Readiness::default());
        let runtime = Builder::new_current_thread().enable_time().build();
        let (Ok(door), Ok(runtime)) = (door, runtime) else { unreachable!("a door can be opened") };
        let client = runtime.block_on(connected(&door));
        Self { runtime, client, engine }
    }

    /// The answers to one message that is sent several times.
    fn calls(&mut self, uri: &str, message: &[u8]) -> Vec<Answer> {
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
        let body: Bytes = [&[0], &length.to_be_bytes()[..], message].concat().into();
        (0..CALLS).map(|_| self.call(uri, body.clone())).collect()
    }

    fn call(&mut self, uri: &str, body: Bytes) -> Answer {
        let request = Request::post(uri).header("content-type", "application/grpc").body(Full::new(body));
        let Ok(request) = request else { unreachable!("a request of fixed parts") };
        let answer = self.runtime.block_on(async {
            let response = self.client.send_request(request).await.ok()?;
            assert_eq!(response.status(), 200);
            let (head, body) = response.into_parts();
            let body = body.collect().await.ok()?;
            let trailers = body.trailers().cloned();
            Some((head.headers, trailers.unwrap_or_default(), body.to_bytes()))
        });
        let Some((head, trailers, body)) = answer else { unreachable!("the door does not answer") };
        answer_of(&head, &trailers, body)
    }

    /// Buckets that the store knows.
    fn keys(&self) -> usize {
        self.engine.store().stats().keys
    }
}

fn answer_of(head: &HeaderMap, trailers: &HeaderMap, mut body: Bytes) -> Answer {
    assert_eq!(head.get("content-type"), Some(&HeaderValue::from_static("application/grpc")));
    assert!(head.contains_key("x-correlation-id"));
    let status = Status::from_header_map(head).or_else(|| Status::from_header_map(trailers));
    let Some(status) = status else { unreachable!("no status: {head:?} {trailers:?}") };
    if status.code() != GrpcCode::Ok {
        assert!(body.is_empty(), "a message with {status}");
        return Err(status);
    }
    assert!(body.len() >= PREFIX_BYTES, "a message has a prefix");
    let prefix = body.split_to(PREFIX_BYTES);
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
    assert!(prefix[0] == 0 && prefix[1..] == length, "one whole message");
    Ok(body)
}

/// A connection to the door, in memory.
async fn connected(door: &GrpcDoor<MemoryStore, ManualClock>) -> SendRequest<Full<Bytes>> {
    let (near, far) = tokio::io::duplex(PIPE_BYTES);
    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    tokio::spawn(server.serve_connection(TokioIo::new(far), door.service()));
    let client = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(near)).await;
    let Ok((client, connection)) = client else { unreachable!("a connection in memory") };
    tokio::spawn(connection);
    client
}
