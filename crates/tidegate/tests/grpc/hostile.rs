//! Goal: what is no gRPC, too large or too slow is refused, and the server goes on.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::TcpStream;

use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tidegate_testkit::Stopwatch;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tonic::Code;

use crate::site::{PATIENCE, Site, descriptor, request};

const SHOULD_RATE_LIMIT: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
/// Longest message, in bytes.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;

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

#[tokio::test]
async fn a_message_has_a_largest_size() {
    let site = Site::start();
    let of_size = |bytes: usize| request("edge", vec![descriptor(&[("user_id", &"x".repeat(bytes))])]);
    site.try_ask(of_size(MAX_MESSAGE_BYTES - 100)).await.expect("a value is cut, not refused");
    for bytes in [MAX_MESSAGE_BYTES, 10 * MAX_MESSAGE_BYTES] {
        let refused = site.try_ask(of_size(bytes)).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
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
