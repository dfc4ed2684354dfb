//! What is known of a batch when the server, or the way to it, fails: not sent, lost, or timed out; and that no batch is
//! sent twice.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod link_common;

use std::time::Duration;

use link_common::{LONG, ask, batch, connect, connected, lane, ping, pong, settings, soon};
use redis::Value;
use tidegate_redis::link::{ConnectError, LinkError};
use tidegate_testkit::{FaultProxy, Link as Passes, RedisServer};
use tokio::time::Instant;

fn url(proxy: &FaultProxy) -> String {
    format!("redis://{}", proxy.address())
}

#[tokio::test]
async fn a_killed_server_loses_the_call_then_refuses_at_once_and_comes_back() {
    let mut server = RedisServer::start();
    let mut lane = lane(&settings(&server.url()));
    connected(&mut lane).await;
    // The script never ends: the reply is out for sure.
    lane.send(&batch(&[&["EVAL", "while true do end", "0"]]), soon()).await.unwrap();
    server.kill();
    assert!(matches!(lane.receive(soon()).await, Err(LinkError::Lost(_))));

    let before = Instant::now();
    assert!(matches!(ping(&mut lane).await, Err(LinkError::NotSent(_))));
    while lane.reason().is_none() {
        lane.changed().await;
    }
    assert!(matches!(lane.reason(), Some(ConnectError::Unreachable(_))));
    for _ in 0..100 {
        assert!(matches!(ping(&mut lane).await, Err(LinkError::NotSent(_))));
    }
    assert!(before.elapsed() < Duration::from_secs(1), "calls without a connection do not wait");

    server.restart();
    let back = Instant::now();
    connected(&mut lane).await;
    assert!(back.elapsed() < Duration::from_secs(2), "{:?}", back.elapsed());
    assert_eq!(ping(&mut lane).await, Ok(pong()));
}

#[tokio::test]
async fn an_idle_connection_that_the_server_closed_is_no_loss() {
    let mut server = RedisServer::start();
    let mut link = connect(&server.url()).await.unwrap();
    let mut watched = connect(&server.url()).await.unwrap();
    server.kill();
    watched.closed().await;
    assert!(!watched.is_open());
    let outcome = link.call(&batch(&[&["PING"]]), soon()).await;
    assert!(matches!(outcome, Err(LinkError::NotSent(_))), "it was surely not executed: {outcome:?}");
    assert!(!link.is_open());
    link.closed().await;
}

#[tokio::test]
async fn a_stopped_server_costs_the_deadline_and_attempts_cost_the_connect_timeout() {
    let server = RedisServer::start();
    let short = settings(&server.url()).with_connect_timeout(Duration::from_millis(80)).unwrap();
    let mut lane = lane(&short);
    connected(&mut lane).await;
    server.pause();
    let begun = Instant::now();
    let outcome = lane.call(&batch(&[&["INCR", "n"]]), begun + Duration::from_millis(100)).await;
    assert_eq!(outcome, Err(LinkError::TimedOut));
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(100) && took < Duration::from_millis(500), "{took:?}");
    assert!(lane.link().is_none(), "the connection is given up");

    for _ in 0..3 {
        let begun = Instant::now();
        lane.changed().await;
        assert!(matches!(lane.reason(), Some(ConnectError::TimedOut(_))), "{:?}", lane.reason());
        // The pause before an attempt is at most 200 ms here.
        assert!(begun.elapsed() < Duration::from_millis(700), "{:?}", begun.elapsed());
        assert!(matches!(ping(&mut lane).await, Err(LinkError::NotSent(_))));
    }

    server.resume();
    connected(&mut lane).await;
    let link = lane.link().unwrap();
    assert_eq!(
        ask(link, &["GET", "n"]).await,
        Ok(Value::BulkString(b"1".to_vec())),
        "a timeout is not: not executed"
    );
}

#[tokio::test]
async fn a_deadline_that_has_passed_sends_nothing() {
    let server = RedisServer::start();
    let mut link = connect(&server.url()).await.unwrap();
    let outcome = link.call(&batch(&[&["INCR", "n"]]), Instant::now()).await;
    assert!(matches!(outcome, Err(LinkError::NotSent(_))));
    assert!(link.is_open(), "nothing is wrong with the connection");
    assert_eq!(ask(&mut link, &["INCR", "n"]).await, Ok(Value::Int(1)));
}

#[tokio::test]
async fn a_late_reply_is_never_anothers() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(server.address(), 7);
    let mut lane = lane(&settings(&url(&proxy)));
    connected(&mut lane).await;
    proxy.change(|faults| faults.reply_delay = Duration::from_millis(150));
    for word in ["one", "two", "three"] {
        let deadline = Instant::now() + Duration::from_millis(30);
        assert_eq!(lane.call(&batch(&[&["ECHO", word]]), deadline).await, Err(LinkError::TimedOut));
        connected(&mut lane).await;
        let replies = lane.call(&batch(&[&["ECHO", "mine"]]), soon()).await.unwrap();
        assert_eq!(replies, [Ok(Value::BulkString(b"mine".to_vec()))]);
    }
}

#[tokio::test]
async fn replies_that_are_lost_are_not_asked_for_again() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(server.address(), 11);
    let mut lane = lane(&settings(&url(&proxy)));
    let (mut lost, mut answered) = (0, 0);
    for _ in 0..10 {
        connected(&mut lane).await;
        proxy.drop_next_replies(1);
        match lane.call(&batch(&[&["INCR", "n"]]), soon()).await {
            Err(LinkError::Lost(_)) => lost += 1,
            Ok(_) => answered += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((lost, answered), (10, 0));
    assert_eq!(server.command(&["GET", "n"]).text(), "10", "each was executed once");
}

#[tokio::test]
async fn a_way_that_swallows_everything_ends_at_the_deadline() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(server.address(), 13);
    let short = settings(&url(&proxy)).with_connect_timeout(Duration::from_millis(100)).unwrap();
    let mut lane = lane(&short);
    connected(&mut lane).await;
    proxy.change(|faults| faults.link = Passes::BlackHole);
    let deadline = Instant::now() + Duration::from_millis(50);
    assert_eq!(lane.call(&batch(&[&["INCR", "n"]]), deadline).await, Err(LinkError::TimedOut));
    lane.changed().await;
    assert!(matches!(lane.reason(), Some(ConnectError::TimedOut(_))), "{:?}", lane.reason());
    proxy.change(|faults| faults.link = Passes::Refuse);
    while !matches!(lane.reason(), Some(ConnectError::Unreachable(_))) {
        lane.changed().await;
    }
    proxy.heal();
    connected(&mut lane).await;
    assert_eq!(ping(&mut lane).await, Ok(pong()));
}

#[tokio::test]
async fn attempts_are_no_more_than_the_pace_allows() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(server.address(), 17);
    proxy.change(|faults| faults.drop_replies = 1.0);
    let mut lane = lane(&settings(&url(&proxy)));
    let hammering = async {
        loop {
            // Both at once, as the owner of a lane does it: the future is dropped and called again all the time.
            let _ = tokio::time::timeout(Duration::from_millis(1), lane.changed()).await;
            assert!(matches!(ping(&mut lane).await, Err(LinkError::NotSent(_))));
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(2), hammering).await;
    // Pauses of at least 25 ms, on average 37, 62, 112, 212, 412, 512 ms...
    let attempts = proxy.connections();
    assert!((4..=20).contains(&attempts), "{attempts} attempts in 2 s");
}

#[tokio::test]
async fn the_reply_of_a_call_that_is_given_up_is_nobody_elses() {
    let server = RedisServer::start();
    let mut link = connect(&server.url()).await.unwrap();
    // Nobody waits for the reply any more; the link knows that one is still to come.
    let given_up = tokio::time::timeout(Duration::from_millis(30), async {
        link.call(&batch(&[&["EVAL", "local t = redis.call('TIME') local e = t[1] * 1e6 + t[2] + 150000 repeat t = redis.call('TIME') until t[1] * 1e6 + t[2] > e return 'late'", "0"]]), soon()).await
    });
    assert!(given_up.await.is_err());
    assert_eq!(link.under_way(), 1);
    assert!(matches!(link.call(&batch(&[&["PING"]]), soon()).await, Err(LinkError::NotSent(_))));
    assert_eq!(link.receive(Instant::now() + LONG).await, Ok(vec![Ok(Value::BulkString(b"late".to_vec()))]));
    assert_eq!(ask(&mut link, &["PING"]).await, Ok(pong()));
}
