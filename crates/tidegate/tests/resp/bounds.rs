//! What a connection may cost, and how the door closes.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use tidegate_testkit::{TempDir, wait_for, wait_until};

use super::*;

#[test]
fn who_waits_too_long_is_let_go() {
    let node = Node::start(&["--idle-timeout", "200ms", "--header-timeout", "200ms"]);
    let mut idle = node.raw();
    assert_eq!(idle.rest(), "", "without a command");
    let mut torn = node.raw();
    torn.send("*1\r\n$4\r\nPI");
    assert_eq!(torn.rest(), "", "with half a command");
    let mut served = node.raw();
    served.send(command("PING"));
    served.expect("+PONG\r\n");
    assert_eq!(served.rest(), "", "after a command");
}

#[test]
fn at_the_cap_nobody_else_is_let_in() {
    let node = Node::start(&["--max-connections", "2"]);
    let connect = || {
        let mut client = node.raw();
        let mut said = [0; 7];
        let asked = client.0.write_all(b"PING\r\n").and_then(|()| client.0.read_exact(&mut said));
        (asked.is_ok() && said == *b"+PONG\r\n").then_some(client)
    };
    let (first, second) = (connect().unwrap(), connect().unwrap());
    assert!(connect().is_none(), "a third of the same address");
    drop(first);
    let third = wait_for("there is room again", DEADLINE, connect);
    assert!(connect().is_none());
    drop((second, third));
}

/// The most memory that the server ever had, in KiB.
fn peak_kib(node: &Node) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_client_that_reads_nothing_is_not_served_for_ever_and_takes_little_memory() {
    let node = Node::start(&["--write-timeout", "300ms"]);
    let before = peak_kib(&node);
    let mut raw = node.raw();
    let message = format!("*2\r\n$4\r\nECHO\r\n$60000\r\n{}\r\n", "x".repeat(60_000));
    // Once the buffers of both sides are full the server writes no more, and then reads no more.
    raw.0.set_write_timeout(Some(DEADLINE)).unwrap();
    let failed = (0..10_000).find_map(|_| raw.0.write_all(message.as_bytes()).err());
    let failed = failed.expect("so much fits no buffer");
    assert!(
        !matches!(failed.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
        "{failed}"
    );
    // A turn's replies, and what came after it; the rest is what the allocator takes at a time.
    let taken = peak_kib(&node) - before;
    assert!(taken < 16 * 1024, "{taken} KiB");
}

#[test]
fn what_was_asked_is_answered_at_the_end() {
    let mut node = Node::start(&["--drain-delay", "0s"]);
    let mut idle = node.raw();
    idle.send(command("PING"));
    idle.expect("+PONG\r\n");
    // A rule that lets requests wait: this one waits while the server is told to stop.
    let directory = TempDir::new("resp");
    let rules = directory.join("rules.yaml");
    std::fs::write(
        &rules,
        "version: 1\ndomains:\n  - name: d\n    rules:\n      - { name: valve, key: [user], algorithm: leaky_bucket, limit: 1, window: 1s, queue: { max_wait: 5s, max_depth: 5 } }\n",
    )
    .unwrap();
    let waiting = Node::start(&["--drain-delay", "0s", "--rules", rules.to_str().unwrap()]);
    let mut client = waiting.raw();
    client.send(
        [command("TIDEGATE.CHECK d user u"), command("TIDEGATE.CHECK d user u"), command("PING")].concat(),
    );
    let mut server = waiting.server;
    assert!(server.terminate().success());
    let said = client.rest();
    assert!(said.matches("*6\r\n:1\r\n").count() == 2 && said.ends_with("+PONG\r\n"), "{said}");
    assert!(node.server.terminate().success());
    assert_eq!(idle.rest(), "");
}

#[test]
fn a_socket_in_the_file_system_comes_and_goes_with_the_server() {
    let directory = TempDir::new("resp");
    let path = directory.join("resp.sock");
    let arguments = ["--resp-unix", path.to_str().unwrap()];
    let ping = || {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(&[command("CL.THROTTLE k 15 30 60"), command("QUIT")].concat()).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        assert_eq!(said, numbers(&[0, 16, 15, -1, 2]) + "+OK\r\n");
    };
    let mut node = Node::start(&arguments);
    ping();
    node.server.kill();
    assert!(path.exists(), "killed, it left its socket behind");
    let mut node = Node::start(&arguments);
    ping();
    assert!(node.server.terminate().success());
    assert!(!path.exists());
}

#[test]
fn a_socket_in_the_file_system_that_cannot_accept_says_so() {
    let directory = TempDir::new("resp");
    let path = directory.join("resp.sock");
    let script = format!("#!/bin/sh\nulimit -n 64\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_tidegate"));
    let script = directory.write("limited", &script);
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let options = TidegateOptions::new(&script).arguments(["--max-connections", "1000"]);
    let server = Tidegate::with(&options.arguments(["--resp-unix", path.to_str().unwrap()]));
    let _clients: Vec<UnixStream> = (0..80).map(|_| UnixStream::connect(&path).unwrap()).collect();
    wait_until("it is said", DEADLINE, || server.logs().contains("cannot accept connections"));
}
