//! Streams of events: who reads nothing loses its stream, and nobody has more of them than there are.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
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
        let cookies: Vec<String> =
            visitor.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let uri = format!("http://{}/v1/rooms/demo/events", visitor.address);
        let request =
            hyper::Request::get(uri).header("cookie", cookies.join("; ")).body(Empty::new()).unwrap();
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
    assert!(problem["detail"].as_str().unwrap().ends_with("this visitor 4: poll instead"), "{problem}");
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
