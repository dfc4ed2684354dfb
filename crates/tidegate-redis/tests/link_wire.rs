//! The link against a server that does what it should not: a listener of this test that answers with written bytes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod link_common;

use std::net::SocketAddr;
use std::time::Duration;

use link_common::{ask, batch, connect, pong, soon};
use redis::Value;
use tidegate_redis::link::{ConnectError, Link, LinkError, Refusal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// The login: the name; then INFO twice, ROLE and TIME.
const LOGIN: [&[u8]; 2] =
    [b"+OK\r\n", b"-NOPERM\r\n-NOPERM\r\n*1\r\n$6\r\nmaster\r\n*2\r\n$10\r\n1780000000\r\n$1\r\n5\r\n"];

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Reads whatever came, one request of these tests.
async fn request(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = vec![0; 64 << 10];
    let length = stream.read(&mut bytes).await.unwrap();
    bytes.truncate(length);
    bytes
}

/// A connected link, and the other end of it.
async fn pair() -> (Link, TcpStream) {
    let (listener, address) = listen().await;
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        for answer in LOGIN {
            request(&mut stream).await;
            stream.write_all(answer).await.unwrap();
        }
        stream
    };
    let url = format!("redis://{address}");
    let (link, stream) = tokio::join!(connect(&url), serving);
    (link.unwrap(), stream)
}

/// The outcome of a PING that is answered so; then the server closes the connection.
async fn answered(bytes: &'static [u8]) -> Result<Value, LinkError> {
    let (mut link, mut stream) = pair().await;
    let ping = batch(&[&["PING"]]);
    let serving = async move {
        assert_eq!(request(&mut stream).await, b"*1\r\n$4\r\nPING\r\n");
        stream.write_all(bytes).await.unwrap();
    };
    let (outcome, ()) = tokio::join!(link.call(&ping, soon()), serving);
    assert_eq!(outcome.is_ok(), link.is_open());
    outcome.map(|mut replies| replies.pop().unwrap().unwrap())
}

#[tokio::test]
async fn what_is_no_reply_loses_the_call() {
    assert_eq!(answered(b"+PONG\r\n").await, Ok(pong()));
    for bytes in [
        &b"HTTP/1.1 200 OK\r\n\r\n"[..],
        b"+PO",
        b"",
        b"*2\r\n+PONG\r\n",
        b"$99999999999\r\n",
        b"*99999999999\r\n",
    ] {
        let outcome = answered(bytes).await;
        assert!(matches!(outcome, Err(LinkError::Lost(_))), "{bytes:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_reply_in_single_bytes_is_one_reply() {
    let (mut link, mut stream) = pair().await;
    let ping = batch(&[&["PING"], &["PING"]]);
    let serving = async {
        request(&mut stream).await;
        for byte in b"*2\r\n$3\r\na\r\n\r\n:7\r\n-NOSCRIPT x\r\n" {
            stream.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let (replies, ()) = tokio::join!(link.call(&ping, soon()), serving);
    let first = Value::Array(vec![Value::BulkString(b"a\r\n".to_vec()), Value::Int(7)]);
    assert_eq!(replies, Ok(vec![Ok(first), Err(Refusal::NoScript)]));
}

/// One reply too many would answer the next question: the connection ends before it is asked.
#[tokio::test]
async fn a_server_that_speaks_unasked_is_not_asked_again() {
    for unasked in [&b"+MORE\r\n"[..], b"+M"] {
        let (mut link, mut stream) = pair().await;
        let ping = batch(&[&["PING"]]);
        let serving = async {
            request(&mut stream).await;
            stream.write_all(&[b"+PONG\r\n", unasked].concat()).await.unwrap();
        };
        let (outcome, ()) = tokio::join!(link.call(&ping, soon()), serving);
        assert!(outcome.is_ok());
        let outcome = link.call(&ping, soon()).await;
        assert_eq!(outcome, Err(LinkError::NotSent("the server spoke without being asked".into())));
        drop(link);
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap_or(0), 0, "nothing more was sent");
    }

    let (mut link, mut stream) = pair().await;
    stream.write_all(b"+LATE\r\n").await.unwrap();
    link.closed().await;
    assert!(!link.is_open(), "noticed while idle");
}

#[tokio::test]
async fn a_batch_that_is_partly_written_is_lost_or_timed_out() {
    let large = "x".repeat(16 << 20);
    let set = batch(&[&["SET", "k", &large]]);
    let (mut link, stream) = pair().await;
    // The other side does not read: the socket takes some of it.
    let outcome = link.call(&set, Instant::now() + Duration::from_millis(100)).await;
    assert_eq!(outcome, Err(LinkError::TimedOut), "a part of it is on its way");
    assert!(!link.is_open());
    drop(stream);

    let (mut link, mut stream) = pair().await;
    let serving = async {
        request(&mut stream).await;
        drop(stream);
    };
    let (outcome, ()) = tokio::join!(link.call(&set, soon()), serving);
    assert!(matches!(outcome, Err(LinkError::Lost(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_write_that_is_given_up_closes_the_connection() {
    let (mut link, mut stream) = pair().await;
    let large = "x".repeat(16 << 20);
    let set = batch(&[&["SET", "k", &large]]);
    let given_up = tokio::time::timeout(Duration::from_millis(50), link.send(&set, soon())).await;
    assert!(given_up.is_err());
    assert!(!link.is_open());
    assert!(matches!(link.call(&batch(&[&["PING"]]), soon()).await, Err(LinkError::NotSent(_))));
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all).await;
    assert!(all.len() < large.len(), "the rest never came");
}

#[tokio::test]
async fn a_login_that_is_not_answered_ends_at_the_connect_timeout() {
    let (listener, address) = listen().await;
    let url = format!("redis://:hunter2@{address}?deadline_ms=100&connect_timeout_ms=80");
    let settings = tidegate_redis::RedisSettings::parse(&url).unwrap();
    let begun = Instant::now();
    let error = link_common::connector(&settings).connect().await.unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut(_)), "{error:?}");
    assert!(begun.elapsed() < Duration::from_millis(500));
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    assert!(all.starts_with(b"*2\r\n$4\r\nAUTH\r\n$7\r\nhunter2\r\n"), "and the connection is closed");
}

#[tokio::test]
async fn a_second_question_goes_out_before_the_first_is_answered() {
    let (mut link, mut stream) = pair().await;
    link.send(&batch(&[&["PING"]]), soon()).await.unwrap();
    link.send(&batch(&[&["PING"]]), soon()).await.unwrap();
    let mut asked = vec![0; 28];
    stream.read_exact(&mut asked).await.unwrap();
    stream.write_all(b"+PONG\r\n").await.unwrap();
    assert_eq!(link.receive(soon()).await, Ok(vec![Ok(pong())]));
    // A wait that is given up loses nothing.
    let nothing = tokio::time::timeout(Duration::from_millis(20), link.receive(soon())).await;
    assert!(nothing.is_err() && link.is_open());
    stream.write_all(b"+PO").await.unwrap();
    let part = tokio::time::timeout(Duration::from_millis(20), link.receive(soon())).await;
    assert!(part.is_err() && link.is_open());
    stream.write_all(b"NG\r\n").await.unwrap();
    assert_eq!(link.receive(soon()).await, Ok(vec![Ok(pong())]));
    let serving = async {
        request(&mut stream).await;
        stream.write_all(b":1\r\n").await.unwrap();
    };
    let (reply, ()) = tokio::join!(ask(&mut link, &["INCR", "n"]), serving);
    assert_eq!(reply, Ok(Value::Int(1)));
}
