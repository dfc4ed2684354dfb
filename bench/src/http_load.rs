//! A closed loop over HTTP on one thread: every connection has one request in flight, and sends the next when it is answered.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use hdrhistogram::Histogram;
use memchr::memmem;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::contest::Driven;
use crate::machine::ProcessCpu;
use crate::server::Server;
use crate::template::Template;

/// Before anything is measured: connections are made, tables grow to their size.
const WARM_UP: Duration = Duration::from_millis(700);
/// A server that says nothing for so long has failed.
const SILENCE: Duration = Duration::from_secs(5);
const BUFFER_BYTES: usize = 64 << 10;

/// How a server is driven.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Keep-alive connections, each with one request in flight.
    pub connections: usize,
    /// Distinct keys.
    pub keys: u64,
    /// The length of the measured stretch.
    pub measured: Duration,
}

struct Connection {
    stream: TcpStream,
    request: Template,
    /// Bytes of the request that are sent.
    sent: usize,
    sent_at: Instant,
    answer: Vec<u8>,
    filled: usize,
}

/// Drives a server for the length of the pace.
///
/// # Errors
/// It hangs up, falls silent, or answers anything but 200.
pub fn drive(server: &Server, request: &Template, pace: &Pace) -> anyhow::Result<Driven> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(pace.connections.max(1));
    let mut random = fastrand::Rng::with_seed(7);
    let mut connections = Vec::with_capacity(pace.connections);
    for index in 0..pace.connections {
        let stream = std::net::TcpStream::connect(server.address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry().register(&mut stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
        let mut connection = Connection {
            stream,
            request: request.clone(),
            sent: 0,
            sent_at: Instant::now(),
            answer: vec![0; BUFFER_BYTES],
            filled: 0,
        };
        connection.begin(&mut random, pace.keys)?;
        connections.push(connection);
    }

    let mut latency_ns = Histogram::new_with_bounds(1_000, 60_000_000_000, 3)?;
    let mut requests = 0_u64;
    let mut start: Option<Start> = None;
    let warm_at = Instant::now() + WARM_UP;
    loop {
        poll.poll(&mut events, Some(SILENCE))?;
        ensure!(!events.is_empty(), "the server has said nothing for {SILENCE:?}");
        for event in &events {
            let connection = connections.get_mut(event.token().0).context("an unknown connection")?;
            if event.is_writable() {
                connection.send()?;
            }
            while connection.receive()? {
                let now = Instant::now();
                if start.is_some() {
                    requests += 1;
                    latency_ns.saturating_record((now - connection.sent_at).as_nanos() as u64);
                }
                connection.begin(&mut random, pace.keys)?;
            }
        }
        let now = Instant::now();
        match &start {
            None if now >= warm_at => start = Some(Start::at(now, server)?),
            Some(start) if now - start.at >= pace.measured => {
                let end = Start::at(now, server)?;
                let wall = end.at - start.at;
                let busy = end.own.since(start.own).total().as_secs_f64();
                return Ok(Driven {
                    requests,
                    wall,
                    server: end.server.since(start.server),
                    latency_ns,
                    load_share: busy / wall.as_secs_f64(),
                });
            }
            _ => {}
        }
    }
}

/// The counters at one instant.
struct Start {
    at: Instant,
    server: ProcessCpu,
    own: ProcessCpu,
}

impl Start {
    fn at(at: Instant, server: &Server) -> anyhow::Result<Self> {
        Ok(Self { at, server: ProcessCpu::of(server.pid())?, own: ProcessCpu::of(std::process::id())? })
    }
}

impl Connection {
    /// Sends a new request.
    fn begin(&mut self, random: &mut fastrand::Rng, keys: u64) -> anyhow::Result<()> {
        self.request.draw(random, keys);
        (self.sent, self.filled) = (0, 0);
        self.sent_at = Instant::now();
        self.send()
    }

    /// Sends what the socket takes; the rest when it takes more.
    fn send(&mut self) -> anyhow::Result<()> {
        while self.sent < self.request.bytes.len() {
            match self.stream.write(&self.request.bytes[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("the server hung up"),
            }
        }
        Ok(())
    }

    /// Reads what there is. True when the answer is complete.
    fn receive(&mut self) -> anyhow::Result<bool> {
        loop {
            ensure!(self.filled < self.answer.len(), "an answer of more than {BUFFER_BYTES} bytes");
            match self.stream.read(&mut self.answer[self.filled..]) {
                Ok(0) => return Err(anyhow!("the server hung up")),
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error).context("the server hung up"),
            }
            let answer = &self.answer[..self.filled];
            if let Some(length) = response_length(answer)?.filter(|length| answer.len() >= *length) {
                ensure!(answer.len() == length, "more than the answer to one request");
                return Ok(true);
            }
        }
    }
}

/// The length of a response that is 200, head and body; `None` while its head is not complete.
///
/// # Errors
/// It is no such response, or does not say how long it is.
pub fn response_length(answer: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some((head, length)) = head_and_length(answer)? else { return Ok(None) };
    ensure!(
        head.starts_with(b"HTTP/1.1 200 "),
        "not a 200: {}",
        String::from_utf8_lossy(&answer[..answer.len().min(400)])
    );
    Ok(Some(length))
}

/// The head of a response, and the length of all of it; `None` while the head is not complete.
///
/// # Errors
/// It does not say how long it is.
pub fn head_and_length(answer: &[u8]) -> anyhow::Result<Option<(&[u8], usize)>> {
    const NAME: &[u8] = b"content-length: ";
    let Some(end) = memmem::find(answer, b"\r\n\r\n") else { return Ok(None) };
    let head = &answer[..end];
    let start = memmem::find(head, NAME).context("an answer without content-length")? + NAME.len();
    let digits = head[start..].iter().take_while(|byte| byte.is_ascii_digit());
    let length = digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'));
    Ok(Some((head, end + 4 + length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_as_long_as_it_says() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\nx: y\r\n\r\nhello";
        assert_eq!(response_length(answer).unwrap(), Some(answer.len() - 5 + 12));
        assert_eq!(response_length(b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n").unwrap(), None);
        assert!(response_length(b"HTTP/1.1 429 Too Many\r\ncontent-length: 1\r\n\r\n").is_err());
    }
}
