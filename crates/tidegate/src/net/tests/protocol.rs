//! HTTP/2, heads that are too large, and addresses that cannot be had.

use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::super::{Http2Limits, LimitError, ListenError};
use super::*;

type Sender = http2::SendRequest<Empty<Bytes>>;

/// An HTTP/2 client with prior knowledge, and the end of its connection.
async fn connect_http2(address: SocketAddr) -> (Sender, JoinHandle<hyper::Result<()>>) {
    let socket = TcpStream::connect(address).await.unwrap();
    let (sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.expect("a handshake");
    (sender, tokio::spawn(connection))
}

fn request(path: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("http://t{path}")).body(Empty::new()).unwrap()
}

async fn body_of(response: Response<Incoming>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn http2_is_served_with_prior_knowledge() {
    let door = start(patient());
    let (mut sender, _connection) = connect_http2(door.address).await;
    let response = sender.send_request(request("/")).await.expect("a response");
    assert_eq!(response.version(), http::Version::HTTP_2);
    assert_eq!(body_of(response).await, "hello");
}

#[tokio::test]
async fn http2_requests_in_flight_survive_the_drain() {
    let mut door = start(patient());
    let (mut sender, connection) = connect_http2(door.address).await;
    let held = sender.send_request(request("/hold"));
    let held = tokio::spawn(held);
    eventually("it is in flight", || door.holding.load(Ordering::SeqCst) == 1).await;
    door.signal();
    sleep(Duration::from_millis(300)).await;
    door.release.add_permits(1);
    let response = timeout(PATIENCE, held).await.unwrap().unwrap().expect("the response");
    assert_eq!(body_of(response).await, "held");
    timeout(PATIENCE, connection).await.expect("the connection ends").unwrap().expect("without an error");
    assert_eq!(door.ended().await, DrainReport { open_at_signal: 1, aborted: 0 });
}

/// Longer than the idle timeout and the time for a goodbye together.
#[tokio::test]
async fn a_slow_answer_over_http2_is_nobodys_timeout() {
    let door = start(ConnectionLimits { header_timeout_ms: 250, idle_timeout_ms: 250, ..patient() });
    let (mut sender, _connection) = connect_http2(door.address).await;
    let held = tokio::spawn(sender.send_request(request("/hold")));
    sleep(Duration::from_millis(5_900)).await;
    door.release.add_permits(1);
    let response = timeout(PATIENCE, held).await.unwrap().unwrap().expect("the response");
    assert_eq!(body_of(response).await, "held");
}

/// Idle is the time without requests: the frames that answer pings do not begin a head.
#[tokio::test]
async fn an_idle_http2_connection_is_closed_by_the_idle_timeout_only() {
    let http2 = Http2Limits { keep_alive_interval_ms: 1_000, ..Http2Limits::default() };
    let limits = ConnectionLimits { header_timeout_ms: 300, idle_timeout_ms: 2_500, http2, ..patient() };
    let door = start(limits);
    let (mut sender, connection) = connect_http2(door.address).await;
    sender.send_request(request("/")).await.expect("a response");
    sleep(Duration::from_millis(1_700)).await;
    sender.send_request(request("/")).await.expect("a response after a ping");
    timeout(PATIENCE, connection).await.expect("the idle timeout").unwrap().expect("a goodbye, not an error");
    assert_eq!(value(&door.stats.idle_timeouts), 1);
    assert_eq!(value(&door.stats.header_timeouts), 0);
}

/// Its socket takes whatever is written and it answers pings, but the client lets no answer come.
#[tokio::test]
async fn an_http2_client_that_takes_no_answer_is_closed_after_the_write_stall_timeout() {
    let door = start(ConnectionLimits { write_stall_timeout_ms: 250, ..patient() });
    let (mut reader, _connection) = connect_http2(door.address).await;
    let waiting = tokio::spawn(reader.send_request(request("/hold")));
    eventually("it is in flight", || door.holding.load(Ordering::SeqCst) == 1).await;

    let socket = TcpStream::connect(door.address).await.unwrap();
    let mut builder = http2::Builder::new(TokioExecutor::new());
    let (mut sender, connection) =
        builder.initial_stream_window_size(0).handshake(TokioIo::new(socket)).await.expect("a handshake");
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request("/")).await.expect("the head, which needs no window");
    timeout(PATIENCE, connection).await.expect("it ends").unwrap().expect_err("without a goodbye");
    assert_eq!(value(&door.stats.write_stalls), 1);
    response.into_body().collect().await.expect_err("the body never came");

    door.release.add_permits(1);
    let held = waiting.await.unwrap().expect("whoever waits for its answer is not meant");
    assert_eq!(body_of(held).await, "held");
}

/// A client that connects ahead of its first request has the idle timeout; one that then does
/// not even answer the goodbye is cut off.
#[tokio::test]
async fn an_http2_preface_alone_is_closed_in_the_end() {
    let door = start(ConnectionLimits { header_timeout_ms: 250, idle_timeout_ms: 200, ..patient() });
    let mut client = door.connect().await;
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!(client.receive().await, None);
    assert_eq!(value(&door.stats.idle_timeouts), 1);
    assert_eq!(value(&door.stats.header_timeouts), 0);
}

#[tokio::test]
async fn heads_have_a_size_and_a_number_of_fields() {
    let door = start(patient());
    let fields = |count: usize| "a: b\r\n".repeat(count);
    let cases = [
        (format!("GET / HTTP/1.1\r\nhost: t\r\n{}\r\n", fields(63)), "200"),
        (format!("GET / HTTP/1.1\r\nhost: t\r\n{}\r\n", fields(64)), "431"),
        (format!("GET / HTTP/1.1\r\nhost: t\r\n{}\r\n", fields(200)), "431"),
        (format!("GET / HTTP/1.1\r\nhost: t\r\nx: {}\r\n\r\n", "x".repeat(15_000)), "200"),
        (format!("GET / HTTP/1.1\r\nhost: t\r\nx: {}\r\n\r\n", "x".repeat(16_384)), "431"),
    ];
    for (head, status) in cases {
        let response = door.connect().await.ask(head.as_bytes()).await.expect("a response");
        assert!(response.starts_with(&format!("HTTP/1.1 {status}")), "{} bytes: {response}", head.len());
    }
}

/// A response must not wait for the rest of the next request (as it does with hyper's
/// `pipeline_flush`), nor for a stray line end after a body.
#[tokio::test]
async fn a_response_does_not_wait_for_the_next_request() {
    let door = start(patient());
    let mut client = door.connect().await;
    client.send(b"GET / HTTP/1.1\r\nhost: t\r\n\r\nGET / HT").await;
    client.receive().await.expect("the first response");
    client.send(b"TP/1.1\r\nhost: t\r\n\r\n").await;
    client.receive().await.expect("the second response");
    let stray = b"POST /echo HTTP/1.1\r\nhost: t\r\ncontent-length: 1\r\n\r\na\r\n";
    client.ask(stray).await.expect("the third response");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_the_setting_that_chose_it() {
    let first = bind(&ListenOptions::new("127.0.0.1:0".parse().unwrap(), "--listen")).unwrap();
    let address = first.local_addr().unwrap();
    let error = bind(&ListenOptions::new(address, "--listen")).expect_err("the port is taken");
    assert!(matches!(error, ListenError::InUse { .. }));
    let port = address.port();
    assert_eq!(error.to_string(), format!("port {port} is already in use: choose another with --listen"));
}

#[tokio::test]
async fn an_address_of_another_machine_is_named() {
    // 192.0.2.0/24 is reserved for documentation.
    let options = ListenOptions::new("192.0.2.1:0".parse().unwrap(), "--admin-listen");
    let error = bind(&options).expect_err("not our address");
    assert!(matches!(error, ListenError::NoSuchAddress { .. }), "{error}");
    assert!(error.to_string().contains("192.0.2.1") && error.to_string().contains("--admin-listen"));
}

#[test]
fn limits_outside_their_range_are_named() {
    assert_eq!(ConnectionLimits::default().validate(), Ok(()));
    let none = ConnectionLimits { max_connections: 0, ..ConnectionLimits::default() };
    let error = LimitError { field: "max_connections", value: 0, min: 1, max: 1_000_000 };
    assert_eq!(none.validate(), Err(error));
    assert_eq!(error.to_string(), "max_connections is 0: choose a value from 1 to 1000000");
}
