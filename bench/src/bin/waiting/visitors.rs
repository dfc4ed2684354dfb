//! Visitors: joined one after the other over a few connections, and asked for by the requests that their browsers would send.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, ensure};
use tidegate_bench::http_load::response_length;

const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_ANSWER_BYTES: usize = 64 << 10;
/// Connections over which visitors join.
const AT_ONCE: u32 = 32;

/// A call of a room without a body.
pub(crate) fn request(room: &str, call: &str, cookies: &str) -> Vec<u8> {
    let method = if call == "events" { "GET" } else { "POST" };
    let cookies = if cookies.is_empty() { String::new() } else { format!("Cookie: {cookies}\r\n") };
    format!(
        "{method} /v1/rooms/{room}/{call} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{cookies}Content-Length: \
         0\r\n\r\n"
    )
    .into_bytes()
}

/// One answer over a connection that is kept.
pub(crate) fn ask(stream: &mut TcpStream, request: &[u8]) -> anyhow::Result<String> {
    stream.write_all(request)?;
    let mut answer = Vec::new();
    loop {
        let mut part = [0; 8_192];
        let count = stream.read(&mut part).context("no answer")?;
        ensure!(count > 0 && answer.len() < MAX_ANSWER_BYTES, "the server hung up, or never stops");
        answer.extend_from_slice(&part[..count]);
        if response_length(&answer)?.is_some_and(|length| answer.len() >= length) {
            return Ok(String::from_utf8(answer)?);
        }
    }
}

pub(crate) fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The cookies that an answer wants kept, as they are sent back.
pub(crate) fn cookies(answer: &str) -> String {
    let lines = answer.lines().take_while(|line| !line.is_empty());
    let kept = lines.filter_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("set-cookie").then(|| value.split(';').next().unwrap_or_default())
    });
    kept.collect::<Vec<_>>().join("; ")
}

/// So many visitors in a room, each as its cookies.
pub(crate) fn join(address: SocketAddr, room: &str, count: u32) -> anyhow::Result<Vec<String>> {
    let joined = |share: u32| -> anyhow::Result<Vec<String>> {
        let mut stream = connect(address)?;
        let join = request(room, "join", "");
        (0..share).map(|_| ask(&mut stream, &join).map(|answer| cookies(&answer))).collect()
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE)
            .map(|index| scope.spawn(move || joined(count / AT_ONCE + u32::from(index < count % AT_ONCE))))
            .collect();
        let mut all = Vec::new();
        for thread in threads {
            all.extend(thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??);
        }
        Ok(all)
    })
}
