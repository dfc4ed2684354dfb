//! One connection to a real server: who we are there, what it says about itself, what it refuses.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod link_common;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use link_common::{ask, batch, connect, connected, connector, lane, ping, settings, soon};
use redis::Value;
use tidegate_core::time::Micros;
use tidegate_redis::link::{ConnectError, LinkError, Refusal, Role};
use tidegate_testkit::{RedisOptions, RedisServer, TempDir, TlsFiles, wait_until};
use tokio::time::Instant;

#[tokio::test]
async fn a_batch_has_one_reply_for_each_command() {
    let server = RedisServer::start();
    let mut link = connect(&server.url()).await.unwrap();
    let mixed =
        batch(&[&["SET", "a", "1"], &["INCR", "a"], &["LPUSH", "a", "x"], &["GET", "a"], &["NONSENSE"]]);
    let replies = link.call(&mixed, soon()).await.unwrap();
    assert_eq!(replies[0], Ok(Value::Okay));
    assert_eq!(replies[1], Ok(Value::Int(2)));
    assert_eq!(replies[2], Err(Refusal::WrongType), "an error is of one command only");
    assert_eq!(replies[3], Ok(Value::BulkString(b"2".to_vec())));
    assert!(matches!(&replies[4], Err(Refusal::Other(text)) if text.contains("unknown command")));
    assert_eq!(replies.len(), 5);
    assert_eq!(link.call(&batch(&[]), soon()).await, Ok(Vec::new()));
}

#[tokio::test]
async fn several_batches_can_be_under_way() {
    let server = RedisServer::start();
    let mut link = connect(&server.url()).await.unwrap();
    for round in 1..=3_i64 {
        for _ in 0..8 {
            link.send(&batch(&[&["INCR", "n"], &["PING"]]), soon()).await.unwrap();
        }
        assert_eq!(link.under_way(), 8);
        let refused = link.call(&batch(&[&["INCR", "n"]]), soon()).await;
        assert!(matches!(refused, Err(LinkError::NotSent(_))), "a call would take another's replies");
        for number in 1..=8 {
            let replies = link.receive(soon()).await.unwrap();
            assert_eq!(replies[0], Ok(Value::Int((round - 1) * 8 + number)));
        }
    }
    assert_eq!(link.receive(soon()).await, Ok(Vec::new()));
}

#[tokio::test]
async fn long_replies_arrive_whole() {
    let server = RedisServer::start();
    let mut link = connect(&server.url()).await.unwrap();
    let long = "x".repeat(3 << 20);
    let replies =
        link.call(&batch(&[&["SET", "long", &long], &["GET", "long"], &["PING"]]), soon()).await.unwrap();
    assert!(matches!(&replies[1], Ok(Value::BulkString(bytes)) if bytes.len() == long.len()));
    let script = "local t = {} for i = 1, 50000 do t[i] = i end return t";
    let Ok(Value::Array(numbers)) = ask(&mut link, &["EVAL", script, "0"]).await else { panic!() };
    assert_eq!(numbers.last(), Some(&Value::Int(50_000)));

    let too_long = "return string.rep('x', 17000000)";
    let outcome = link.call(&batch(&[&["EVAL", too_long, "0"]]), soon()).await;
    assert_eq!(outcome, Err(LinkError::Lost("a reply is longer than 16 MiB".into())));
    assert!(!link.is_open());
}

#[tokio::test]
async fn the_server_says_what_it_is_and_what_time_it_has() {
    let options =
        RedisOptions::new().setting("maxmemory", "100mb").setting("maxmemory-policy", "allkeys-lru");
    let server = RedisServer::with(&options);
    let link = connect(&server.url()).await.unwrap();
    let facts = link.facts();
    assert_eq!(facts.role, Some(Role::Primary));
    assert_eq!(facts.evicts(), Some(true));
    assert_eq!(facts.clustered, Some(false));
    assert_eq!(facts.run_id.as_deref(), server.info("server").get("run_id").map(|id| id.trim()));
    assert!(facts.version.is_some());

    let time = server.command(&["TIME"]);
    let seconds: u64 = time.items()[0].text().parse().unwrap();
    let now = Instant::now();
    let (low, high) = (link.clock().server_at_least(now).unwrap(), link.clock().server_at_most(now).unwrap());
    assert!(low <= high && high.since(low) < Micros::from_secs(5));
    assert!(low.as_micros() / 1_000_000 <= seconds + 1 && seconds <= high.as_micros() / 1_000_000);
}

#[tokio::test]
async fn a_database_of_its_own_and_a_name() {
    let server = RedisServer::start();
    let mut link = connect(&format!("{}/3", server.url())).await.unwrap();
    ask(&mut link, &["SET", "here", "1"]).await.unwrap();
    assert!(server.command(&["INFO", "keyspace"]).text().contains("db3:keys=1"));
    assert!(server.command(&["CLIENT", "LIST"]).text().contains("name=tidegate"));

    let refused = connect(&format!("{}/99", server.url())).await.unwrap_err();
    assert!(matches!(&refused, ConnectError::Refused { what: "SELECT", .. }), "{refused}");
}

#[tokio::test]
async fn a_password_is_wanted_right_or_wrong() {
    let server = RedisServer::with(&RedisOptions::new().password("pass@word"));
    let at = server.address();
    let mut link = connect(&format!("redis://:pass%40word@{at}")).await.unwrap();
    assert_eq!(ask(&mut link, &["PING"]).await, Ok(link_common::pong()));

    for (url, refusal) in [
        (format!("redis://{at}"), Refusal::NoAuth),
        (format!("redis://:hunter2@{at}"), Refusal::WrongPass),
        (format!("redis://nobody:hunter2@{at}"), Refusal::WrongPass),
    ] {
        let error = connect(&url).await.unwrap_err();
        assert!(matches!(&error, ConnectError::Refused { refusal: r, .. } if *r == refusal), "{error:?}");
        assert!(error.is_misconfigured());
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    let mut lane = lane(&settings(&format!("redis://{at}")));
    lane.changed().await;
    assert!(lane.reason().is_some_and(ConnectError::is_misconfigured));
    assert!(matches!(ping(&mut lane).await, Err(LinkError::NotSent(why)) if why.contains("wants a login")));
}

#[tokio::test]
async fn a_user_who_may_run_scripts_and_nothing_else() {
    let acl = "user root on >root ~* &* +@all\nuser gate on >gate ~t:* +evalsha +script|load +time\nuser default off\n";
    let server = RedisServer::with(&RedisOptions::new().acl(acl, "root", "root"));
    let mut link = connect(&format!("redis://gate:gate@{}", server.address())).await.unwrap();
    assert_eq!(link.facts().version, None, "INFO is forbidden");
    assert_eq!((link.facts().role, link.facts().evicts()), (None, None));
    assert!(link.clock().server_at_least(Instant::now()).is_some());

    let Ok(Value::BulkString(sha)) = ask(&mut link, &["SCRIPT", "LOAD", "return redis.call('TIME')"]).await
    else {
        panic!()
    };
    let sha = String::from_utf8(sha).unwrap();
    assert!(ask(&mut link, &["EVALSHA", &sha, "0"]).await.is_ok());
    let refused = ask(&mut link, &["GET", "t:1"]).await.unwrap_err();
    assert!(matches!(refused, Refusal::NoPerm(_)) && refused.proves_not_executed());
    let unknown = ask(&mut link, &["EVALSHA", &"0".repeat(40), "0"]).await;
    assert_eq!(unknown, Err(Refusal::NoScript));
}

#[tokio::test]
async fn a_script_that_is_stopped_half_way_is_no_proof() {
    let server = RedisServer::start();
    let mut link = connect(&server.url()).await.unwrap();
    let script = "redis.call('SET', KEYS[1], 1) return redis.call('LPUSH', KEYS[1], 2)";
    let refusal = ask(&mut link, &["EVAL", script, "1", "k"]).await.unwrap_err();
    assert_eq!(refusal, Refusal::WrongType);
    assert!(!refusal.proves_not_executed());
    assert_eq!(ask(&mut link, &["GET", "k"]).await, Ok(Value::BulkString(b"1".to_vec())), "it did write");

    let full = ["CONFIG", "SET", "maxmemory", "1"];
    assert_eq!(ask(&mut link, &full).await, Ok(Value::Okay));
    let refusal =
        ask(&mut link, &["EVAL", "return redis.call('SET', KEYS[1], 1)", "1", "l"]).await.unwrap_err();
    assert_eq!(refusal, Refusal::OutOfMemory);
    assert!(refusal.proves_not_executed() && refusal.is_transient());
}

#[tokio::test]
async fn over_a_socket_in_the_file_system() {
    let server = RedisServer::with(&RedisOptions::new().unix_socket());
    let url = format!("unix://{}?db=1", server.unix_socket().display());
    let mut link = connect(&url).await.unwrap();
    assert_eq!(ask(&mut link, &["INCR", "n"]).await, Ok(Value::Int(1)));
    let missing = connect("unix:///nowhere/redis.sock").await.unwrap_err();
    assert!(matches!(missing, ConnectError::Unreachable(_)), "{missing:?}");
}

#[tokio::test]
async fn over_tls_the_certificate_is_checked() {
    let dir = TempDir::new("tls");
    let files = certificates(dir.path(), "server");
    let others = certificates(dir.path(), "other");
    let server = RedisServer::with(&RedisOptions::new().tls(files.clone()));
    let at =
        |host: &str, ca: &Path| format!("rediss://{host}:{}/2?ca_file={}", server.tls_port(), ca.display());

    let mut link = connect(&at("localhost", &files.authority)).await.unwrap();
    assert_eq!(ask(&mut link, &["INCR", "n"]).await, Ok(Value::Int(1)));
    let mut link = connect(&at("127.0.0.1", &files.authority)).await.unwrap();
    assert_eq!(ask(&mut link, &["INCR", "n"]).await, Ok(Value::Int(2)));

    for url in [at("localhost", &others.authority), format!("rediss://localhost:{}", server.tls_port())] {
        // Where the system trusts nothing at all, that is said at once.
        let Ok(topology) = std::panic::catch_unwind(|| connector(&settings(&url))) else { continue };
        let error = topology.connect().await.unwrap_err();
        assert!(matches!(error, ConnectError::Tls(_)), "{error:?}");
        assert!(error.is_misconfigured());
    }
    let plain =
        connect(&format!("rediss://localhost:{}?ca_file={}", server.port(), files.authority.display())).await;
    assert!(plain.is_err(), "a server without TLS");

    let mut lane = lane(&settings(&at("localhost", &files.authority)));
    connected(&mut lane).await;
    assert_eq!(ping(&mut lane).await, Ok(link_common::pong()));
}

/// A certificate for localhost, and its authority, made by openssl.
fn certificates(dir: &Path, name: &str) -> TlsFiles {
    let path = |suffix: &str| dir.join(format!("{name}{suffix}"));
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).current_dir(dir).output().unwrap();
        assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    };
    let [ca_key, ca, key, request, extensions, certificate] =
        ["-ca.key", "-ca.pem", ".key", ".csr", ".ext", ".pem"].map(path);
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let mut authority = vec!["req", "-x509", "-days", "2", "-subj", "/CN=test authority", "-keyout"];
    let (ca_key_text, ca_text) = (text(&ca_key), text(&ca));
    authority.extend([&*ca_key_text, "-out", &*ca_text]);
    authority.extend(new_key);
    openssl(&authority);

    let (key_text, request_text) = (text(&key), text(&request));
    let mut wanted = vec!["req", "-subj", "/CN=localhost", "-keyout", &key_text, "-out", &request_text];
    wanted.extend(new_key);
    openssl(&wanted);

    std::fs::write(&extensions, "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
        .unwrap();
    let (certificate_text, extensions_text) = (text(&certificate), text(&extensions));
    openssl(&[
        "x509",
        "-req",
        "-days",
        "2",
        "-in",
        &request_text,
        "-CA",
        &ca_text,
        "-CAkey",
        &ca_key_text,
        "-CAcreateserial",
        "-extfile",
        &extensions_text,
        "-out",
        &certificate_text,
    ]);
    TlsFiles { certificate, key, authority: ca }
}

#[tokio::test]
async fn a_server_that_is_full_is_said_to_be() {
    let server = RedisServer::with(&RedisOptions::new().setting("maxclients", "4"));
    let clients: Vec<_> = (0..4).map(|_| server.client()).collect();
    let mut lane = lane(&settings(&server.url()));
    lane.changed().await;
    let reason = lane.reason().cloned();
    let full = |reason: &ConnectError| match reason {
        ConnectError::Refused { refusal, .. } => *refusal == Refusal::TooManyClients,
        // The reset that follows can overtake the reason.
        ConnectError::Unreachable(_) => true,
        _ => false,
    };
    assert!(reason.as_ref().is_some_and(full), "{reason:?}");
    assert!(matches!(ping(&mut lane).await, Err(LinkError::NotSent(_))));
    drop(clients);
    connected(&mut lane).await;
    assert_eq!(ping(&mut lane).await, Ok(link_common::pong()));
}

#[tokio::test]
async fn a_server_that_loads_its_data_refuses_for_a_while() {
    let options = RedisOptions::new()
        .setting("key-load-delay", "1000")
        .setting("loading-process-events-interval-bytes", "1024");
    let mut server = RedisServer::with(&options);
    let fill = "for i = 1, 2000 do redis.call('SET', 'k' .. i, string.rep('x', 100)) end return redis.status_reply('OK')";
    server.command(&["EVAL", fill, "0"]).ok();
    server.command(&["SAVE"]).ok();
    let url = server.url();
    let restarting = std::thread::spawn(move || {
        server.restart();
        server
    });

    let mut lane = lane(&settings(&url));
    let mut refused = 0;
    let set = batch(&[&["SET", "new", "1"]]);
    let last = loop {
        connected(&mut lane).await;
        match lane.call(&set, soon()).await {
            Ok(replies) => match replies.into_iter().next().unwrap() {
                Err(Refusal::Loading) => refused += 1,
                other if refused > 0 => break other,
                // The server has not been ended yet.
                _ => {}
            },
            Err(_) => assert_eq!(refused, 0, "a server that loads keeps its connections"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(last, Ok(Value::Okay));
    assert!(lane.link().is_some(), "and the connection outlives it");
    restarting.join().unwrap();
}

#[tokio::test]
async fn dropping_a_link_closes_its_socket_at_once() {
    let server = RedisServer::start();
    let clients = || {
        server
            .command(&["CLIENT", "LIST"])
            .text()
            .lines()
            .filter(|line| line.contains("name=tidegate"))
            .count()
    };
    let link = connect(&server.url()).await.unwrap();
    assert_eq!(clients(), 1);
    drop(link);
    wait_until("the server sees it closed", link_common::LONG, || clients() == 0);
}
