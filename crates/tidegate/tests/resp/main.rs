//! Goal: Redis clients get decisions from the RESP door, whole, in order and within its bounds, whatever they send.
//! Method: the real program on free ports; raw sockets, `redis-cli`, `redis-benchmark` and the Rust `redis` crate.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

mod bounds;
mod clients;
#[path = "../common/conformance.rs"]
mod conformance;
mod door;
mod keys;
mod overload;
#[path = "../admin/site.rs"]
#[allow(dead_code, reason = "the admin API's own tests use the rest")]
mod site;
mod stores;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tidegate_testkit::{PortLease, RespClient, Tidegate, TidegateOptions};

/// Longer than any answer takes.
const DEADLINE: Duration = Duration::from_secs(20);

/// A server with a RESP door.
struct Node {
    server: Tidegate,
    port: PortLease,
}

impl Node {
    fn start(arguments: &[&str]) -> Self {
        let port = PortLease::new();
        let options = TidegateOptions::new(env!("CARGO_BIN_EXE_tidegate"))
            .arguments(["--resp-listen", &port.address().to_string()])
            .arguments(arguments);
        Self { server: Tidegate::with(&options), port }
    }

    fn address(&self) -> SocketAddr {
        self.port.address()
    }

    fn client(&self) -> RespClient {
        RespClient::connect(self.address(), DEADLINE).unwrap()
    }

    fn raw(&self) -> Raw {
        Raw::to(TcpStream::connect(self.address()).unwrap())
    }
}

/// Bytes, as they are.
struct Raw(TcpStream);

impl Raw {
    fn to(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).unwrap();
    }

    /// Exactly so many bytes.
    fn take(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Fails unless this comes next.
    #[track_caller]
    fn expect(&mut self, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        let come = self.take(text.len());
        assert_eq!(String::from_utf8_lossy(&come), String::from_utf8_lossy(text));
    }

    /// Everything up to the end of the connection.
    fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        match self.0.read_to_end(&mut bytes) {
            Ok(_) => {}
            // What was sent after the end was not read by the server.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the connection was not closed: {error}"),
        }
        String::from_utf8(bytes).unwrap()
    }
}

/// A command as clients send it.
fn command(line: &str) -> Vec<u8> {
    let words: Vec<&str> = line.split(' ').collect();
    let words_written: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    format!("*{}\r\n{words_written}", words.len()).into_bytes()
}

/// A reply of numbers.
fn numbers(all: &[i64]) -> String {
    let lines: String = all.iter().map(|number| format!(":{number}\r\n")).collect();
    format!("*{}\r\n{lines}", all.len())
}
