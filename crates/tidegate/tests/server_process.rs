//! Goal: the program as people run it: the first minute, a full house, and the end.
//! Method: the binary on a free port, real sockets, real signals; ended by its process id.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod common;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::Client;
use serde_json::json;
use tidegate_testkit::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A running server; killed when dropped.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    /// Starts the server and reads its address from the banner.
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args([
                "--listen",
                "127.0.0.1:0",
                "--database-url",
                "none",
                "--admin-listen",
                "off",
                "--grpc-listen",
                "none",
                "--resp-listen",
                "none",
            ])
            .args(arguments)
            .env_remove("TIDEGATE_RULES")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut banner = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut banner).unwrap();
        let address = banner
            .trim()
            .rsplit("http://")
            .next()
            .unwrap()
            .parse()
            .expect("the banner ends with the address");
        Self { child, address }
    }

    fn signal(&self, name: &str) {
        let status =
            Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    fn wait(mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_clients_on_one_key_get_exactly_the_burst() {
    let server = Process::start(&[]);
    let started = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let allowed = common::hammer(server.address).await;
    let elapsed = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap() - started;
    // 500 at once, and one more every 120 ms of the time this took.
    let refilled = u64::try_from(elapsed.as_millis() / 120).unwrap();
    assert!((500..=500 + refilled + 1).contains(&allowed), "{allowed} in {elapsed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_drops_no_accepted_request() {
    let server = Process::start(&["--drain-delay", "200ms"]);
    let address = server.address;
    let stopping = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU64::new(0));
    let mut clients = Vec::new();
    for index in 0..16 {
        let (stopping, answered) = (Arc::clone(&stopping), Arc::clone(&answered));
        clients.push(tokio::spawn(async move {
            let mut lost = 0;
            'connections: while let Ok(stream) = TcpStream::connect(address).await {
                drop(stream);
                let mut client = Client::connect(address).await;
                loop {
                    let body = json!({"client_id": format!("c{index}")}).to_string();
                    match client.try_request("POST", "/v1/check", "", body.as_bytes()).await {
                        Some(answer) => {
                            assert!(answer.status == 200 || answer.status == 429, "{}", answer.head);
                            answered.fetch_add(1, Ordering::Relaxed);
                            if answer.field("connection") == Some("close") {
                                continue 'connections;
                            }
                        }
                        None => {
                            lost += 1;
                            break 'connections;
                        }
                    }
                }
            }
            assert!(stopping.load(Ordering::Relaxed), "connections are refused only after the signal");
            lost
        }));
    }
    while answered.load(Ordering::Relaxed) < 2_000 {
        tokio::task::yield_now().await;
    }
    let mut probe = Client::connect(address).await;
    assert_eq!(probe.get("/ready").await.status, 200);
    stopping.store(true, Ordering::Relaxed);
    server.signal("TERM");
    let unready = tokio::time::timeout(Duration::from_secs(5), async {
        while probe.get("/ready").await.status != 503 {
            tokio::task::yield_now().await;
        }
    });
    unready.await.expect("readiness goes off first, while requests are still answered");
    let mut lost = 0;
    for client in clients {
        lost += client.await.unwrap();
    }
    assert_eq!(lost, 0, "of {} answered", answered.load(Ordering::Relaxed));
    assert_eq!(server.wait(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_idle_and_slow_sockets_do_not_hurt_others() {
    const SOCKETS: usize = 5_000;
    let server = Process::start(&[]);
    let mut open = Vec::with_capacity(SOCKETS);
    for index in 0..SOCKETS {
        let Ok(stream) = TcpStream::connect(server.address).await else {
            panic!("only {index} sockets could be opened; raise the limit of open files (ulimit -n)");
        };
        if index % 2 == 0 {
            stream.try_write(b"POST /v1/check HT").unwrap();
        }
        open.push(stream);
    }
    let mut client = Client::connect(server.address).await;
    for _ in 0..200 {
        let answer =
            tokio::time::timeout(Duration::from_secs(2), client.check(json!({"client_id": "x"}))).await;
        let status = answer.expect("an answer while others stall").status;
        assert!(status == 200 || status == 429);
    }
    assert_eq!(Client::connect(server.address).await.get("/health").await.status, 200, "new clients too");
}

#[tokio::test]
async fn a_planned_restart_forgets_nothing_and_sighup_reads_the_rules_again() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("restart-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (rules, state) = (folder.join("rules.yaml"), folder.join("state"));
    let write = |rules: &Path, limit: u32| {
        let text = format!(
            "version: 1\ndomains:\n  - name: default\n    rules:\n      - {{ name: r, key: [client_id], limit: {limit}, window: 1d }}\n"
        );
        std::fs::write(rules, text).unwrap();
    };
    write(&rules, 100);
    // Without a terminal and with its own rules the server prints no banner: ask it to listen on a port that is free.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let arguments = |port: u16| {
        [
            "--rules".to_owned(),
            rules.display().to_string(),
            "--state-file".into(),
            state.display().to_string(),
            "--listen".into(),
            format!("127.0.0.1:{port}"),
        ]
    };
    let start = |port: u16| {
        let child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(arguments(port))
            .args([
                "--database-url",
                "none",
                "--admin-listen",
                "off",
                "--grpc-listen",
                "none",
                "--resp-listen",
                "none",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Process { child, address: format!("127.0.0.1:{port}").parse().unwrap() }
    };
    let until_up = async |address: SocketAddr| {
        while TcpStream::connect(address).await.is_err() {
            tokio::task::yield_now().await;
        }
        Client::connect(address).await
    };
    let server = start(port);
    let mut client = until_up(server.address).await;
    assert_eq!(client.check(json!({"client_id": "a", "cost": 40})).await.json()["remaining"], 60);

    write(&rules, 50);
    server.signal("HUP");
    let smaller = async {
        loop {
            let body = client.check(json!({"client_id": "a", "peek": true})).await.json();
            if body["limit"] == 50 {
                return body;
            }
        }
    };
    let body = tokio::time::timeout(Duration::from_secs(10), smaller).await.expect("the new rules");
    assert_eq!(body["remaining"], 10, "40 stay used");
    assert_eq!(client.check(json!({"client_id": "a"})).await.json()["remaining"], 9);

    server.signal("INT");
    assert_eq!(server.wait(), 0);
    let server = start(port);
    let mut client = until_up(server.address).await;
    let body = client.check(json!({"client_id": "a", "peek": true})).await.json();
    assert_eq!((&body["limit"], &body["remaining"]), (&json!(50), &json!(9)), "41 are still used");
    server.signal("INT");
    assert_eq!(server.wait(), 0);
}

/// Both doors have a request whose body never comes, and may wait for it for a minute.
#[tokio::test]
async fn a_second_signal_cuts_off_requests_at_both_doors() {
    const TOKEN: &str = "an-operators-token-of-a-test";
    let folder = TempDir::new("second-signal");
    let port = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (address, admin) = (port(), port());
    let child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["--listen", &address.to_string(), "--admin-listen", &admin.to_string()])
        .args(["--database-url", folder.path().join("t.db").to_str().unwrap()])
        .args(["--admin-token", TOKEN, "--drain-timeout", "60s", "--body-timeout", "60s"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Process { child, address };
    let mut held = Vec::new();
    let key = format!("authorization: Bearer {TOKEN}\r\n");
    for (address, path, key) in [(address, "/v1/check", ""), (admin, "/admin/v1/import", &key)] {
        let mut stream = loop {
            match TcpStream::connect(address).await {
                Ok(stream) => break stream,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: t\r\n{key}expect: 100-continue\r\ncontent-length: 9\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut wanted = [0; 25];
        stream.read_exact(&mut wanted).await.unwrap();
        assert_eq!(wanted, *b"HTTP/1.1 100 Continue\r\n\r\n", "{path} waits for the body");
        held.push(stream);
    }
    server.signal("INT");
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    server.signal("INT");
    for mut stream in held {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert_eq!(String::from_utf8_lossy(&answer), "");
    }
    assert_eq!(server.wait(), 0);
}
