//! Streams of events: who reads nothing loses its stream, and nobody has more of them than there are.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tidegate::http::HttpOptions;
use tidegate_wire::identity::{HeaderFamily, IdentityPolicy, TrustedProxies};
use tokio::net::TcpStream;

use crate::common::options;
use crate::site::{SECRET, Visitor, five_seats, serve_as};

const RULES: &str = "version: 1\ndomains: []";

struct Client(SendRequest<Empty<Bytes>>);

impl Client {
    /// `window` is how much of a body it takes before it has read any of it.
    async fn connect(address: std::net::SocketAddr, window: u32) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(window);
        let (sender, connection) = builder.handshake(TokioIo::new(socket)).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    async fn follow(&mut self, visitor: &Visitor) -> hyper::Response<Incoming> {
        self.follow_with(visitor, &[]).await
    }

    async fn follow_with(&mut self, visitor: &Visitor, fields: &[(&str, &str)]) -> hyper::Response<Incoming> {
        let cookies: Vec<String> =
            visitor.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let uri = format!("http://{}/v1/rooms/demo/events", visitor.address);
        let request = hyper::Request::get(uri).header("cookie", cookies.join("; "));
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(Empty::new()).unwrap();
        self.0.send_request(request).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_nothing_makes_room_and_who_asks_for_more_is_told_why_not() {
    let stall = Duration::from_millis(300);
    let slow = |rooms: tidegate::rooms::Rooms| rooms.with_stream_stall(stall);
    let (address, _clock) = serve_as(&[five_seats("demo")], SECRET, RULES, options(), slow).await;
    let mut visitor = Visitor::new(address);
    visitor.seat("join").await;
    // A window of one byte, and nobody reads that one: all four streams of a visitor.
    let mut deaf = Client::connect(address, 1).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let stream = deaf.follow(&visitor).await;
        assert_eq!(stream.status(), 200);
        held.push(stream);
    }
    let mut reader = Client::connect(address, 1 << 16).await;
    let refused = reader.follow(&visitor).await;
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (503, "1"));
    let body = refused.into_body().collect().await.unwrap().to_bytes();
    let problem: Value = serde_json::from_slice(&body).unwrap();
    assert!(
        problem["detail"].as_str().unwrap().ends_with("this address 100, or this visitor 4: poll instead"),
        "{problem}"
    );
    // The four are dropped, so there is a place again; the deadline is far, the wait short.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let stream = loop {
        let stream = reader.follow(&visitor).await;
        if stream.status() == 200 {
            break stream;
        }
        assert!(tokio::time::Instant::now() < deadline, "nobody was dropped");
        // Something happens in the room, so that there is a frame that is not taken.
        Visitor::new(address).seat("join").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    // Who reads is told, over HTTP/2 too, and stays.
    let mut body = stream.into_body();
    let mut told = Vec::new();
    while !String::from_utf8_lossy(&told).contains("event: line") {
        let frame = tokio::time::timeout(Duration::from_secs(20), body.frame()).await.unwrap();
        told.extend_from_slice(frame.unwrap().unwrap().data_ref().unwrap());
    }
    assert!(
        String::from_utf8_lossy(&told).contains("event: seat\ndata: {"),
        "what it is told first is its seat"
    );
    tokio::time::sleep(stall * 3).await;
    let next = tokio::time::timeout(Duration::from_millis(100), body.frame()).await;
    assert!(!matches!(next, Ok(None | Some(Err(_)))), "it was dropped although it reads: {next:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_end_when_the_node_does() {
    let mut keep = None;
    let kept = |rooms: tidegate::rooms::Rooms| {
        keep = Some(rooms.clone());
        rooms
    };
    let (address, _clock) = serve_as(&[five_seats("demo")], SECRET, RULES, options(), kept).await;
    let mut visitor = Visitor::new(address);
    visitor.seat("join").await;
    let mut body = Client::connect(address, 1 << 16).await.follow(&visitor).await.into_body();
    body.frame().await.unwrap().unwrap();
    keep.unwrap().close();
    let end =
        tokio::time::timeout(Duration::from_secs(20), async { while body.frame().await.is_some() {} }).await;
    end.expect("the stream goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_with_the_place_and_is_not_begun_again() {
    let (address, _clock) = serve_as(&[five_seats("demo")], SECRET, RULES, options(), |rooms| rooms).await;
    let mut visitor = Visitor::new(address);
    visitor.seat("join").await;
    let mut client = Client::connect(address, 1 << 16).await;
    let mut body = client.follow(&visitor).await.into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(visitor.call("leave", serde_json::json!({})).await.status, 204);
    let mut told = Vec::new();
    let read = async {
        while let Some(frame) = body.frame().await {
            told.extend_from_slice(frame.unwrap().data_ref().unwrap());
        }
    };
    tokio::time::timeout(Duration::from_secs(20), read).await.expect("the stream goes on");
    let told = String::from_utf8(told).unwrap();
    let last = told.trim_end().rsplit("\n\n").next().unwrap();
    assert!(last.starts_with("id: over\nevent: seat\ndata: {") && last.contains("\"ended\""), "{told}");
    // A browser comes back by itself, and stops where there is nothing more.
    let again = client.follow_with(&visitor, &[("last-event-id", "over")]).await;
    assert_eq!(again.status(), 204);
    assert_eq!(client.follow(&visitor).await.status(), 200, "somebody new is told why");
    visitor.seat("join").await;
    let anew = client.follow_with(&visitor, &[("last-event-id", "over")]).await;
    assert_eq!(anew.status(), 200, "it has another place");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_does_not_take_all_streams() {
    let proxies = TrustedProxies::new(["127.0.0.1"]).unwrap();
    let identity = IdentityPolicy { proxies, family: HeaderFamily::XForwardedFor, ..Default::default() };
    let options = HttpOptions { identity, ..options() };
    let limit = |rooms: tidegate::rooms::Rooms| rooms.with_streams_per_address(2);
    let (address, _clock) = serve_as(&[five_seats("demo")], SECRET, RULES, options, limit).await;
    let mut client = Client::connect(address, 1 << 16).await;
    let mut held = Vec::new();
    for (from, status) in [
        ("2001:db8::1", 200),
        ("2001:db8::2", 200),
        ("2001:db8::3", 503),
        ("2001:db8:0:1::3", 200),
        ("192.0.2.1", 200),
        ("127.0.0.1", 200),
        ("127.0.0.1", 200),
        ("127.0.0.1", 200),
    ] {
        let mut visitor = Visitor::new(address);
        visitor.seat("join").await;
        let stream = client.follow_with(&visitor, &[("x-forwarded-for", from)]).await;
        assert_eq!(stream.status(), status, "{from}");
        held.push(stream);
    }
}
