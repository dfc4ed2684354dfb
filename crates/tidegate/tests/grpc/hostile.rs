//! Goal: what is no gRPC, too large or too slow is refused, and the server goes on.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::TcpStream;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tidegate_proto::envoy::config::core::v3::{HeaderMap, HeaderValue, Metadata};
use tidegate_proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use tidegate_proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::RateLimitOverride;
use tidegate_proto::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use tidegate_proto::envoy::service::auth::v3::check_response::HttpResponse;
use tidegate_proto::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse};
use tidegate_proto::envoy::service::ratelimit::v3::RateLimitResponse;
use tidegate_proto::envoy::service::ratelimit::v3::rate_limit_response::Code as Over;
use tidegate_testkit::Stopwatch;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tonic::Code;

use crate::site::{PATIENCE, Site, codes, descriptor, request};

const SHOULD_RATE_LIMIT: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
const HEALTH: &str = "/grpc.health.v1.Health/Check";
/// Longest message, in bytes.
const MAX_MESSAGE_BYTES: usize = 1024 * 1024;

fn sent_raw(site: &Site, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(site.server.grpc_address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_client_of_http_is_told_what_this_port_is() {
    let site = Site::start();
    let answer = sent_raw(&site, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 415 "), "{answer}");
    assert!(answer.contains("this port speaks gRPC"), "{answer}");
    let call = b"POST /grpc.health.v1.Health/Check HTTP/1.1\r\nHost: x\r\nContent-Type: application/grpc\r\nConnection: close\r\nContent-Length: 5\r\n\r\n\0\0\0\0\0";
    assert!(sent_raw(&site, call).starts_with("HTTP/1.1 415 "), "gRPC needs HTTP/2");
}

/// A call of these bytes: head and message of the answer.
async fn called(
    site: &Site,
    path: &str,
    fields: &[(&'static str, String)],
    message: &[u8],
) -> (http::response::Parts, Bytes) {
    let stream = tokio::net::TcpStream::connect(site.server.grpc_address()).await.unwrap();
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let body = Bytes::from([&[0][..], &length, message].concat());
    let mut call = http::Request::post(format!("http://x{path}")).header("content-type", "application/grpc");
    for (name, value) in fields {
        call = call.header(*name, value);
    }
    let call = client.send_request(call.body(Full::new(body)).unwrap());
    let (head, body) = tokio::time::timeout(PATIENCE, call).await.unwrap().unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head, body.slice(body.len().min(5)..))
}

/// A call of the rate limit service.
async fn limited(site: &Site, fields: &[(&'static str, String)], message: &[u8]) -> RateLimitResponse {
    let (head, message) = called(site, SHOULD_RATE_LIMIT, fields, message).await;
    assert!(head.status == 200 && head.headers.get("grpc-status").is_none(), "{head:?}");
    RateLimitResponse::decode(message).unwrap()
}

/// The HTTP status with which a check is denied; `None` if it passes.
async fn denied(site: &Site, fields: &[(&'static str, String)], message: &[u8]) -> Option<i32> {
    let (head, message) = called(site, CHECK, fields, message).await;
    assert!(head.status == 200 && head.headers.get("grpc-status").is_none(), "{head:?}");
    match CheckResponse::decode(message).unwrap().http_response.unwrap() {
        HttpResponse::DeniedResponse(denied) => Some(denied.status.unwrap().code),
        HttpResponse::OkResponse(_) => None,
        HttpResponse::ErrorResponse(error) => panic!("{error:?}"),
    }
}

/// What Envoy says of a request for this path.
fn check(path: String) -> CheckRequest {
    let query = path.split_once('?').map(|(_, query)| query.to_owned());
    let headers = [(":path".to_owned(), path.clone())].into();
    let http = HttpRequest { path, query: query.unwrap_or_default(), headers, ..Default::default() };
    let request = Request { http: Some(http), ..Default::default() };
    CheckRequest { attributes: Some(AttributeContext { request: Some(request), ..Default::default() }) }
}

/// Envoy takes heads of 60 KiB, lets a check that ends in an error pass, and tells every descriptor what the client sent.
#[tokio::test]
async fn a_client_of_envoy_cannot_be_too_long_for_a_decision() {
    let site = Site::start();
    let long = "x".repeat(60 * 1024);
    let entries = [("user_id", long.as_str()), ("path", &format!("/{long}")), ("remote_address", &long)];
    let many = vec![descriptor(&entries); 5];
    let answer = site.ask(many.clone()).await;
    assert_eq!(codes(&answer), [Over::Ok, Over::Ok, Over::Ok, Over::OverLimit, Over::OverLimit]);
    let own = |limit| RateLimitDescriptor {
        limit: Some(RateLimitOverride { requests_per_unit: limit, unit: 4 }),
        ..many[0].clone()
    };
    assert_eq!(codes(&site.ask(vec![own(1), own(1)]).await), [Over::Ok, Over::OverLimit], "a long key");
    let asked = check(format!("/a?{long}")).encode_to_vec();
    assert_eq!(denied(&site, &[], &asked).await, None);
    let asked = check(format!("/{long}")).encode_to_vec();
    assert_eq!(denied(&site, &[], &asked).await, Some(400), "a path that long has no normal form");
    let mut asked = check("/a".to_owned());
    let http = asked.attributes.as_mut().unwrap().request.as_mut().unwrap().http.as_mut().unwrap();
    (http.method, http.host) = (long.clone(), long.clone());
    http.headers.insert("user-agent".to_owned(), long.clone());
    http.headers.insert("x-forwarded-for".to_owned(), long);
    assert_eq!(denied(&site, &[], &asked.encode_to_vec()).await, None, "long fields");
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_and_not_an_error() {
    let site = Site::start();
    let of_size = |bytes: usize| request("edge", vec![descriptor(&[("user_id", &"x".repeat(bytes))])]);
    let answer = site.try_ask(of_size(MAX_MESSAGE_BYTES - 100)).await.expect("a value is cut");
    assert_eq!(codes(answer.get_ref()), [Over::Ok]);
    for bytes in [MAX_MESSAGE_BYTES, 4 * MAX_MESSAGE_BYTES] {
        let refused = site.try_ask(of_size(bytes)).await.expect("a decision").into_inner();
        assert_eq!((refused.overall_code(), codes(&refused)), (Over::OverLimit, Vec::new()));
        let asked = check(format!("/a?{}", "x".repeat(bytes))).encode_to_vec();
        assert_eq!(denied(&site, &[], &asked).await, Some(413));
    }
    let (health, _) = called(&site, HEALTH, &[], &vec![0; MAX_MESSAGE_BYTES]).await;
    let code: i32 = health.headers["grpc-status"].to_str().unwrap().parse().unwrap();
    assert_eq!(code, i32::from(Code::ResourceExhausted), "nobody passes by an error here");
}

/// In memory each part may take many times its bytes.
#[tokio::test]
async fn a_message_of_too_many_parts_is_refused() {
    let site = Site::start();
    let parts = vec![RateLimitDescriptor::default(); 20_000];
    let refused = limited(&site, &[], &request("edge", parts).encode_to_vec()).await;
    assert_eq!(refused.overall_code(), Over::OverLimit);
    let mut asked = check("/a".to_owned());
    let http = asked.attributes.as_mut().unwrap().request.as_mut().unwrap().http.as_mut().unwrap();
    http.header_map = Some(HeaderMap { headers: vec![HeaderValue::default(); 20_000] });
    assert_eq!(denied(&site, &[], &asked.encode_to_vec()).await, Some(413));
}

/// A client's `tracestate`, for one, goes on to whom Envoy asks.
#[tokio::test]
async fn the_head_of_a_call_may_hold_what_a_client_of_envoy_sent() {
    let site = Site::start();
    let asked = request("edge", vec![descriptor(&[("user_id", "u1")])]).encode_to_vec();
    let check = check("/a".to_owned()).encode_to_vec();
    let long = [("tracestate", "x".repeat(80 * 1024))];
    assert_eq!(limited(&site, &long, &asked).await.overall_code(), Over::Ok);
    assert_eq!(denied(&site, &long, &check).await, None);
    let several = vec![("tracestate", "x".to_owned()); 200];
    assert_eq!(limited(&site, &several, &asked).await.overall_code(), Over::Ok);
    let many = vec![("tracestate", "x".to_owned()); 1_000];
    assert_eq!(limited(&site, &many, &asked).await.overall_code(), Over::OverLimit);
    assert_eq!(denied(&site, &many, &check).await, Some(431));
    let (health, _) = called(&site, HEALTH, &many, &[]).await;
    assert_eq!((health.status.as_u16(), &health.headers["grpc-status"]), (200, &"8".parse().unwrap()));
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_and_not_an_error() {
    let site = Site::start();
    let garbage = b"\x0a\x7fx";
    assert_eq!(limited(&site, &[], garbage).await.overall_code(), Over::OverLimit);
    assert_eq!(denied(&site, &[], garbage).await, Some(400));
}

/// What filters of Envoy's keep of a request can be a client's JSON, as deep as it likes.
#[tokio::test]
async fn what_nobody_reads_may_be_as_deep_as_it_likes() {
    use prost_types::value::Kind;
    use prost_types::{Struct, Value};

    let mut deep = Struct::default();
    for _ in 0..60 {
        let value = Value { kind: Some(Kind::StructValue(deep)) };
        deep = Struct { fields: [("a".to_owned(), value)].into() };
    }
    let metadata = Metadata { filter_metadata: [("x".to_owned(), deep)].into(), ..Default::default() };
    let site = Site::start();
    for path in ["/a", "/\u{e4}"] {
        let mut asked = check(path.to_owned());
        let attributes = asked.attributes.as_mut().unwrap();
        attributes.metadata_context = Some(metadata.clone());
        attributes.route_metadata_context = Some(metadata.clone());
        assert_eq!(denied(&site, &[], &asked.encode_to_vec()).await, None, "{path}");
    }
}

#[tokio::test]
async fn bytes_that_are_no_message_are_refused() {
    use tidegate_proto::envoy::service::ratelimit::v3::rate_limit_service_server::SERVICE_NAME;
    let site = Site::start();
    let channel = crate::site::channel(site.server.grpc_address()).await;
    let mut client = tonic::client::Grpc::new(channel);
    let call = async |client: &mut tonic::client::Grpc<_>, path: &str, message: &str| {
        client.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<String, String>::default();
        let path = path.parse().unwrap();
        client.unary(tonic::Request::new(message.to_owned()), path, codec).await.unwrap_err().code()
    };
    // A string is a message whose field 1 is text: as a health check it names a service.
    let method = format!("/{SERVICE_NAME}/ShouldRateLimit");
    assert_eq!(call(&mut client, &method, "edge").await, Code::InvalidArgument, "a domain alone");
    assert_eq!(call(&mut client, &format!("/{SERVICE_NAME}/Nothing"), "x").await, Code::Unimplemented);
    assert_eq!(call(&mut client, "/no.such.Service/Method", "x").await, Code::Unimplemented);
}

#[tokio::test]
async fn a_message_that_does_not_come_holds_nobody_up() {
    let site = Site::with(&["--body-timeout", "200ms"]);
    let stream = tokio::net::TcpStream::connect(site.server.grpc_address()).await.unwrap();
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let never = StreamBody::new(tokio_stream::pending::<Result<Frame<Bytes>, Infallible>>());
    let call = http::Request::post(format!("http://x{SHOULD_RATE_LIMIT}"))
        .header("content-type", "application/grpc")
        .body(never)
        .unwrap();
    let watch = Stopwatch::start();
    let answer = tokio::time::timeout(PATIENCE, client.send_request(call)).await.unwrap().unwrap();
    assert!(watch.elapsed().as_millis() >= 200);
    let code: i32 = answer.headers()["grpc-status"].to_str().unwrap().parse().unwrap();
    assert_eq!(code, i32::from(Code::DeadlineExceeded));
}

/// Each message is within its size and its time; all of them together would be as much as the connections can carry.
#[tokio::test]
async fn messages_that_do_not_end_take_no_more_memory_than_there_is_for_them() {
    /// Together more than the 64 MiB that there are.
    const CONNECTIONS: usize = 2;
    const CALLS: usize = 600;
    const PART: &[u8] = &[0; 60_000];

    let site = Site::with(&["--body-timeout", "60s"]);
    let mut calls = JoinSet::new();
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let stream = tokio::net::TcpStream::connect(site.server.grpc_address()).await.unwrap();
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        for _ in 0..CALLS {
            let part = tokio_stream::once(Ok::<_, Infallible>(Frame::data(Bytes::from_static(PART))));
            let call = http::Request::post(format!("http://x{SHOULD_RATE_LIMIT}"))
                .header("content-type", "application/grpc")
                .body(StreamBody::new(part.chain(tokio_stream::pending())))
                .unwrap();
            calls.spawn(client.send_request(call));
        }
        clients.push(client);
    }
    let first = tokio::time::timeout(PATIENCE, calls.join_next()).await.expect("one is refused");
    let first = first.unwrap().unwrap().unwrap();
    let code: i32 = first.headers()["grpc-status"].to_str().unwrap().parse().unwrap();
    assert_eq!(code, i32::from(Code::Unavailable));
    let whole = request("edge", vec![descriptor(&[("user_id", "u1")])]);
    site.try_ask(whole).await.expect("one that comes whole needs no room");
    assert!(!site.metrics().await.contains("shed_total{door=\"grpc\",priority=\"normal\"} 0\n"));
}

/// Frames that no client has a reason to send are ignored (RFC 9113, section 6.7 says nothing of an answer that was not asked for),
/// and a line in the log for each would be a client's to write.
#[test]
fn no_frame_of_a_client_is_a_line_in_the_log() {
    const PING: u8 = 6;
    let site = Site::start();
    let mut stream = TcpStream::connect(site.server.grpc_address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let ping = |flags: u8| [&[0, 0, 8, PING, flags, 0, 0, 0, 0][..], b"unasked!"].concat();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    stream.write_all(&[ping(1).repeat(100), ping(0)].concat()).unwrap();
    // Frames are read in their order, so with this answer all of them were.
    let (answer, mut said) = (ping(1), Vec::new());
    while !said.windows(answer.len()).any(|frame| frame == answer) {
        let mut more = [0; 256];
        let count = stream.read(&mut more).unwrap();
        assert!(count > 0, "closed after {said:?}");
        said.extend_from_slice(&more[..count]);
    }
    let logs = site.server.logs();
    let of_frames: Vec<&str> = logs.lines().filter(|line| line.contains("h2::")).collect();
    assert!(of_frames.is_empty(), "{} lines, the first {:?}", of_frames.len(), of_frames[0]);
}
