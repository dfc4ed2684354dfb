//! Just enough RESP2 to look into a server.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A status as `OK`.
    Simple(String),
    /// An error, with its code first, as `WRONGTYPE …`.
    Error(String),
    /// A number.
    Integer(i64),
    /// A string of bytes.
    Bulk(Vec<u8>),
    /// Several answers.
    Array(Vec<Reply>),
    /// Nothing.
    Nil,
}

impl Reply {
    /// The text of a status or a string.
    ///
    /// # Panics
    ///
    /// Panics where it is something else, an error above all.
    pub fn text(&self) -> String {
        match self {
            Self::Simple(text) => text.clone(),
            Self::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => panic!("not a text: {other:?}"),
        }
    }

    /// The number, also where it is written as a string.
    ///
    /// # Panics
    ///
    /// Panics where it is none.
    pub fn integer(&self) -> i64 {
        match self {
            Self::Integer(number) => *number,
            other => other.text().parse().unwrap_or_else(|_| panic!("not a number: {other:?}")),
        }
    }

    /// The answers in it.
    ///
    /// # Panics
    ///
    /// Panics where it is not an array.
    pub fn items(&self) -> &[Reply] {
        match self {
            Self::Array(items) => items,
            other => panic!("not an array: {other:?}"),
        }
    }

    /// The value after `name` in an array of names and values, as `MEMORY STATS` gives.
    pub fn field(&self, name: &str) -> Option<&Reply> {
        let pairs = self.items().chunks_exact(2);
        pairs.map(|pair| (&pair[0], &pair[1])).find(|(key, _)| key.text() == name).map(|(_, value)| value)
    }

    /// The error, if it is one.
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Error(message) => Some(message),
            _ => None,
        }
    }

    /// Itself, if it is no error.
    ///
    /// # Panics
    ///
    /// Panics with the error.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.error().is_none(), "{self:?}");
        self
    }
}

/// One connection that waits for each answer.
#[derive(Debug)]
pub struct RespClient {
    stream: BufReader<TcpStream>,
}

impl RespClient {
    /// Connects; `timeout` bounds the connecting and each answer.
    pub fn connect(address: SocketAddr, timeout: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends a command and gives the answer; an error of the server is an answer.
    ///
    /// # Panics
    ///
    /// Panics where the connection fails.
    #[track_caller]
    pub fn command<A: AsRef<[u8]>>(&mut self, parts: &[A]) -> Reply {
        let name = parts.first().map(|part| String::from_utf8_lossy(part.as_ref()).into_owned());
        self.try_command(parts).unwrap_or_else(|error| panic!("{name:?}: {error}"))
    }

    /// As [`command`](Self::command), where the connection may fail.
    pub fn try_command<A: AsRef<[u8]>>(&mut self, parts: &[A]) -> io::Result<Reply> {
        let mut request = format!("*{}\r\n", parts.len()).into_bytes();
        for part in parts.iter().map(AsRef::as_ref) {
            write!(request, "${}\r\n", part.len())?;
            request.extend_from_slice(part);
            request.extend_from_slice(b"\r\n");
        }
        self.stream.get_mut().write_all(&request)?;
        self.read_reply()
    }

    fn read_reply(&mut self) -> io::Result<Reply> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, format!("not RESP2: {line:?}"));
        let (kind, rest) = line.trim_end().split_at_checked(1).ok_or_else(invalid)?;
        let number = || rest.parse::<i64>().map_err(|_| invalid());
        match kind {
            "+" => Ok(Reply::Simple(rest.to_owned())),
            "-" => Ok(Reply::Error(rest.to_owned())),
            ":" => Ok(Reply::Integer(number()?)),
            "$" => match usize::try_from(number()?) {
                Err(_) => Ok(Reply::Nil),
                Ok(length) => {
                    let mut bytes = vec![0; length + 2];
                    self.stream.read_exact(&mut bytes)?;
                    bytes.truncate(length);
                    Ok(Reply::Bulk(bytes))
                }
            },
            "*" => match usize::try_from(number()?) {
                Err(_) => Ok(Reply::Nil),
                Ok(length) => {
                    (0..length).map(|_| self.read_reply()).collect::<io::Result<_>>().map(Reply::Array)
                }
            },
            _ => Err(invalid()),
        }
    }
}
