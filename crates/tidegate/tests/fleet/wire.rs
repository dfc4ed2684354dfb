//! Just enough HTTP/1.1 for a load: a connection, one request at a time, and what came of it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long an answer may take: longer than anything that is measured.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// One answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// Whether it says that the store did not make the decision.
    pub degraded: bool,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// Whether the store let it pass.
    pub fn is_admitted(&self) -> bool {
        self.status == 200 && !self.degraded
    }
}

/// A connection that is made when it is needed, and again after it failed; a request is never sent twice.
#[derive(Debug)]
pub struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

impl Connection {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, stream: None }
    }

    /// Makes the connection now.
    pub async fn open(&mut self) -> io::Result<()> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.address).await?;
            stream.set_nodelay(true)?;
            self.stream = Some(stream);
        }
        Ok(())
    }

    pub async fn post(&mut self, path: &str, body: &str) -> io::Result<Answer> {
        self.request("POST", path, "", body).await
    }

    pub async fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.request("GET", path, "", "").await
    }

    /// A request with more header fields, each with its line end.
    pub async fn request(
        &mut self,
        method: &str,
        path: &str,
        fields: &str,
        body: &str,
    ) -> io::Result<Answer> {
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: fleet\r\ncontent-length: {length}\r\n{fields}\r\n");
        self.send(&(head + body)).await
    }

    async fn send(&mut self, request: &str) -> io::Result<Answer> {
        let exchange = async {
            self.open().await?;
            // A future that is dropped in between must not leave a connection with half an answer.
            let mut stream = self.stream.take().expect("it was just opened");
            stream.write_all(request.as_bytes()).await?;
            let (answer, closes) = read_answer(&mut stream).await?;
            self.stream = (!closes).then_some(stream);
            Ok(answer)
        };
        tokio::time::timeout(ANSWER_DEADLINE, exchange)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// The answer, and whether the connection is closed after it.
async fn read_answer(stream: &mut TcpStream) -> io::Result<(Answer, bool)> {
    let mut bytes = Vec::with_capacity(1_024);
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        read_some(stream, &mut bytes).await?;
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).to_ascii_lowercase();
    let field = |name: &str| {
        head.lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(of, _)| *of == name)
            .map(|(_, value)| value)
    };
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, head.clone());
    let status = head.get(9..12).and_then(|status| status.parse().ok()).ok_or_else(invalid)?;
    let length: usize = field("content-length").and_then(|length| length.parse().ok()).ok_or_else(invalid)?;
    let degraded = field("x-tidegate-degraded").is_some();
    let closes = field("connection") == Some("close");
    while bytes.len() < head_end + length {
        read_some(stream, &mut bytes).await?;
    }
    Ok((Answer { status, degraded, body: bytes.split_off(head_end) }, closes))
}

async fn read_some(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<()> {
    match stream.read_buf(bytes).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}
