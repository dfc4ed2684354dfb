//! Connections that listen: to a real server, and to one that says what it should not.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod link_common;

use std::time::Duration;

use link_common::{connector, settings, soon};
use tidegate_redis::link::{ConnectError, LinkError, Push, Refusal, Subscription};
use tidegate_testkit::{RedisOptions, RedisServer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

async fn subscribe(url: &str) -> Result<Subscription, ConnectError> {
    connector(&settings(url)).subscribe(&[b"a".to_vec(), b"b".to_vec()]).await
}

fn message(channel: &str, payload: &[u8]) -> Push {
    Push::Message { channel: channel.into(), payload: payload.to_vec() }
}

#[tokio::test]
async fn messages_and_answers_to_pings_come_in_order() {
    let mut server = RedisServer::start();
    let mut listening = subscribe(&server.url()).await.unwrap();
    let large = vec![b'\n'; 3 << 20];
    for payload in [&b"x"[..], b"", b"\0\r\n$5\r\n", &large] {
        assert_eq!(server.command(&[&b"PUBLISH"[..], b"b", payload]).integer(), 1);
        assert!(listening.next().await.unwrap() == message("b", payload));
    }
    server.command(&["PUBLISH", "c", "not for us"]).ok();
    listening.ping(soon()).await.unwrap();
    assert_eq!(listening.next().await, Ok(Push::Pong));
    // Waiting can be given up and taken up again.
    assert!(timeout(Duration::from_millis(20), listening.next()).await.is_err());
    server.command(&["PUBLISH", "a", "later"]).ok();
    assert_eq!(listening.next().await, Ok(message("a", b"later")));
    server.kill();
    assert!(matches!(listening.next().await, Err(LinkError::Lost(_))));
    assert!(listening.ping(soon()).await.is_err() || listening.next().await.is_err());
}

#[tokio::test]
async fn who_may_not_listen_is_told() {
    let users = "user admin on >admin ~* &* +@all\nuser deaf on >deaf ~* resetchannels &a +@all\n";
    let server = RedisServer::with(&RedisOptions::new().acl(users, "admin", "admin"));
    let refused = subscribe(&format!("redis://deaf:deaf@{}", server.address())).await;
    let Err(ConnectError::Refused { what: "SUBSCRIBE", refusal: Refusal::NoPerm(_), .. }) = refused else {
        panic!("{refused:?}");
    };
}

/// What a connection hears whose server says this after the login.
async fn told(pieces: &[&[u8]]) -> Result<Subscription, ConnectError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let login: [&[u8]; 2] = [b"+OK\r\n", b"-NOPERM\r\n-NOPERM\r\n*1\r\n$6\r\nmaster\r\n-NOPERM\r\n"];
        for answer in login {
            request(&mut stream).await;
            stream.write_all(answer).await.unwrap();
        }
        assert_eq!(request(&mut stream).await, b"*3\r\n$9\r\nSUBSCRIBE\r\n$1\r\na\r\n$1\r\nb\r\n");
        for piece in pieces {
            stream.write_all(piece).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::join!(subscribe(&url), serving).0
}

async fn request(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = vec![0; 4 << 10];
    let length = stream.read(&mut bytes).await.unwrap();
    bytes.truncate(length);
    bytes
}

const BOTH: &[u8] = b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n";

#[tokio::test]
async fn listening_begins_when_every_channel_is_confirmed() {
    let mut listening = told(&[
        b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$5\r\nearly\r\n",
        b"*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n*3\r\n$7\r\nmess",
        b"age\r\n$1\r\nb\r\n$2\r\nhi\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n",
    ])
    .await
    .unwrap();
    assert_eq!(listening.next().await, Ok(message("b", b"hi")));
    assert_eq!(listening.next().await, Ok(Push::Pong));
    assert!(matches!(listening.next().await, Err(LinkError::Lost(_))), "it was closed");

    for half in [
        &[&b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"[..]][..],
        &[b"-ERR no\r\n"],
        &[b"$-1\r\n"],
        &[b"!\r\n"],
    ] {
        let outcome = told(half).await;
        assert!(
            matches!(outcome, Err(ConnectError::Unreachable(_) | ConnectError::Refused { .. })),
            "{half:?}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_passed_over_or_ends_it() {
    for odd in [
        &b"*1\r\n$7\r\nmessage\r\n"[..],
        b"*0\r\n",
        b"*-1\r\n",
        b":7\r\n",
        b"+PONG\r\n",
        b"*3\r\n$8\r\npmessage\r\n$1\r\na\r\n$1\r\na\r\n",
        b"*3\r\n*0\r\n:1\r\n:2\r\n",
    ] {
        let pieces = [BOTH, odd, b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"];
        assert_eq!(told(&pieces).await.unwrap().next().await, Ok(Push::Pong), "{odd:?}");
    }
    for end in
        [&b"-ERR you are a slow reader\r\n"[..], b"!3\r\nabc\r\n", b"*3\r\n$7\r\nmessage\r\n$999999999\r\n"]
    {
        let pieces = [BOTH, end];
        let outcome = told(&pieces).await.unwrap().next().await;
        assert!(matches!(outcome, Err(LinkError::Lost(_))), "{end:?}: {outcome:?}");
    }
}
