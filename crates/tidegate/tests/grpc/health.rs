//! Goal: load balancers hear of the drain, and a stream that would last for ever does not hold it up.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tidegate_testkit::Stopwatch;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::site::{PATIENCE, Site, channel, descriptor, request};

const SERVICES: [&str; 3] =
    ["", "envoy.service.ratelimit.v3.RateLimitService", "envoy.service.auth.v3.Authorization"];

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_until_the_drain_and_its_watches_hear_of_it() {
    let mut site = Site::with(&["--drain-delay", "1s"]);
    let mut client = HealthClient::new(channel(site.server.grpc_address()).await);
    let mut watches = Vec::new();
    for service in SERVICES {
        let answer = client.check(of(service)).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
        let mut watch = client.watch(of(service)).await.unwrap().into_inner();
        assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
        watches.push(watch);
    }
    let mut asking = site.rate_limit().await;
    let stopping = tokio::task::spawn_blocking(move || {
        let watch = Stopwatch::start();
        let status = site.server.terminate();
        (status, watch.elapsed(), site)
    });
    for watch in &mut watches {
        let heard = tokio::time::timeout(PATIENCE, watch.message()).await.unwrap();
        assert_eq!(heard.unwrap().unwrap().status(), ServingStatus::NotServing);
    }
    let answer = client.check(of("")).await.unwrap().into_inner();
    assert_eq!(answer.status(), ServingStatus::NotServing);
    asking.should_rate_limit(request("edge", vec![descriptor(&[("user_id", "u")])])).await.unwrap();
    for watch in &mut watches {
        let ended = tokio::time::timeout(PATIENCE, watch.message()).await.unwrap().unwrap_err();
        assert_eq!(ended.code(), Code::Unavailable);
    }
    let (status, took, _site) = stopping.await.unwrap();
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(15), "the drain timeout is 30 s, and it took {took:?}");
}

#[tokio::test]
async fn a_service_that_is_not_there_is_unknown() {
    let site = Site::start();
    let mut client = HealthClient::new(channel(site.server.grpc_address()).await);
    assert_eq!(client.check(of("nowhere")).await.unwrap_err().code(), Code::NotFound);
    let mut watch = client.watch(of("nowhere")).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
}

/// Nobody needs a key for a watch, and it keeps its connection from being idle.
#[tokio::test(flavor = "multi_thread")]
async fn watches_are_as_many_as_there_are_places_for_them() {
    /// On one connection, and over all of them.
    const ON_ONE: usize = 16;
    const IN_ALL: usize = 1_024;

    let site = Site::start();
    let connect = async || HealthClient::new(channel(site.server.grpc_address()).await);
    let mut watches = Vec::new();
    for _ in 0..IN_ALL / ON_ONE {
        let mut client = connect().await;
        for _ in 0..ON_ONE {
            watches.push(client.watch(of("")).await.expect("a place"));
        }
        if watches.len() == ON_ONE {
            let refused = client.watch(of("")).await.expect_err("one has no more");
            assert_eq!(refused.code(), Code::ResourceExhausted);
        }
    }
    let mut client = connect().await;
    assert_eq!(client.watch(of("")).await.expect_err("there are no more").code(), Code::ResourceExhausted);
    client.check(of("")).await.expect("a question needs no place");
    watches.pop();
    let free = async {
        while client.watch(of("")).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, free).await.expect("who leaves makes room");
}

/// A watch says nothing for as long as nothing changes; that is not the client's doing.
#[tokio::test]
async fn a_watch_outlives_the_time_in_which_clients_have_to_take_an_answer() {
    let site = Site::with(&["--write-timeout", "200ms"]);
    let address = site.server.grpc_address();
    let mut client = HealthClient::new(channel(address).await);
    let mut watch = client.watch(of("")).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    // Another client, which takes nothing, is closed after that time.
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut sender, connection) =
        builder.initial_stream_window_size(0).handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let call = http::Request::post("http://x/grpc.health.v1.Health/Check")
        .header("content-type", "application/grpc")
        .body(Full::new(Bytes::from_static(&[0; 5])))
        .unwrap();
    let _answer = sender.send_request(call).await.expect("the head of the answer");
    tokio::time::timeout(PATIENCE, connection).await.expect("it ends").unwrap().expect_err("cut off");
    let silent = tokio::time::timeout(Duration::ZERO, watch.message()).await;
    assert!(silent.is_err(), "the watch goes on: {silent:?}");
}
