//! What a door is asked, and what its answers say.

use anyhow::bail;
use clap::ValueEnum;
use memchr::memmem;
use tidegate_bench::http_load::head_and_length;
use tidegate_bench::template::{Template, any_key};

use crate::grpc;

/// Whoever says more than this for one request has failed.
pub(crate) const MAX_ANSWER_BYTES: usize = 256 << 10;

/// The door that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Door {
    /// `POST /v1/check`; with a batch, `POST /v1/checks`
    Http,
    /// `ShouldRateLimit`, one call at a time on a connection
    Grpc,
    /// `CL.THROTTLE`, one command at a time
    Resp,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was decided.
    Decided,
    /// There was no room for it.
    Shed,
    /// Anything else: there is no store, a cap was reached.
    Other,
}

impl Door {
    /// A request with so many decisions.
    pub(crate) fn request(self, batch: usize) -> Template {
        match self {
            Door::Http if batch == 1 => Template::checks("/v1/check", 1),
            Door::Http => Template::checks("/v1/checks", batch),
            Door::Grpc => grpc::request(),
            Door::Resp => {
                let (key, quota) = (any_key(), "$9\r\n100000000\r\n$9\r\n100000000\r\n$2\r\n60");
                Template::of(format!("*5\r\n$11\r\nCL.THROTTLE\r\n${}\r\n{key}\r\n{quota}\r\n", key.len()))
            }
        }
    }

    /// What a connection begins with.
    pub(crate) const fn opening(self) -> &'static [u8] {
        match self {
            Door::Grpc => grpc::OPENING,
            Door::Http | Door::Resp => &[],
        }
    }

    /// Makes a request the one with this number, from 0, on its connection.
    pub(crate) fn set_number(self, request: &mut [u8], number: u32) {
        if self == Door::Grpc {
            grpc::set_number(request, number);
        }
    }

    /// The length of what a server says although it was asked nothing. What it has to be told is put to `owed`.
    pub(crate) fn aside(self, bytes: &[u8], owed: &mut Vec<u8>) -> anyhow::Result<usize> {
        match self {
            Door::Grpc => grpc::aside(bytes, owed),
            Door::Http | Door::Resp => Ok(0),
        }
    }

    /// The length of the answer that these bytes begin with, and what it says; nothing while it is not whole. What the server has
    /// to be told before the next request is put to `owed`.
    pub(crate) fn answer(self, bytes: &[u8], owed: &mut Vec<u8>) -> anyhow::Result<Option<(usize, Outcome)>> {
        match self {
            Door::Http => http(bytes),
            Door::Grpc => grpc::answer(bytes, owed),
            Door::Resp => resp(bytes),
        }
    }
}

fn http(bytes: &[u8]) -> anyhow::Result<Option<(usize, Outcome)>> {
    let Some((head, length)) = head_and_length(bytes)?.filter(|(_, length)| bytes.len() >= *length) else {
        return Ok(None);
    };
    let outcome = match head.get(9..12) {
        Some(b"200") => Outcome::Decided,
        Some(b"503")
            if memmem::find(&bytes[head.len()..length], b"#temporary-reduced-capacity").is_some() =>
        {
            Outcome::Shed
        }
        _ => Outcome::Other,
    };
    Ok(Some((length, outcome)))
}

/// An array of five numbers, or an error.
fn resp(bytes: &[u8]) -> anyhow::Result<Option<(usize, Outcome)>> {
    let (lines, outcome) = match bytes.first() {
        None => return Ok(None),
        Some(b'*') => (6, Outcome::Decided),
        Some(b'-') if bytes.starts_with(b"-BUSY") => (1, Outcome::Shed),
        Some(b'-') => (1, Outcome::Other),
        Some(other) => bail!("a reply that begins with {other}"),
    };
    let end = memchr::memchr_iter(b'\n', bytes).nth(lines - 1);
    Ok(end.map(|end| (end + 1, outcome)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_when_they_are_whole() {
        let shed = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 31\r\n\r\n{\"#temporary-reduced-capacity\"}";
        assert_eq!(Door::Http.answer(shed, &mut Vec::new()).unwrap(), Some((shed.len(), Outcome::Shed)));
        assert_eq!(Door::Http.answer(&shed[..shed.len() - 1], &mut Vec::new()).unwrap(), None);
        let passed = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(
            Door::Http.answer(passed, &mut Vec::new()).unwrap(),
            Some((passed.len(), Outcome::Decided))
        );
        let other = b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(Door::Http.answer(other, &mut Vec::new()).unwrap(), Some((other.len(), Outcome::Other)));
        let passed = b"*5\r\n:0\r\n:1\r\n:1\r\n:-1\r\n:0\r\n";
        assert_eq!(
            Door::Resp.answer(passed, &mut Vec::new()).unwrap(),
            Some((passed.len(), Outcome::Decided))
        );
        assert_eq!(Door::Resp.answer(&passed[..9], &mut Vec::new()).unwrap(), None);
        assert_eq!(Door::Resp.answer(b"-BUSY x\r\n", &mut Vec::new()).unwrap(), Some((9, Outcome::Shed)));
        assert_eq!(Door::Resp.answer(b"-ERR x\r\n", &mut Vec::new()).unwrap(), Some((8, Outcome::Other)));
    }

    #[test]
    fn a_command_is_as_long_as_it_says() {
        let mut request = Door::Resp.request(1);
        request.draw(&mut fastrand::Rng::with_seed(1), 1_000_000_000);
        let text = String::from_utf8(request.bytes).unwrap();
        let words: Vec<&str> = text.trim_end().split("\r\n").skip(1).collect();
        assert_eq!(words.len(), 2 * 5);
        for pair in words.chunks(2) {
            assert_eq!(pair[0], format!("${}", pair[1].len()), "{text}");
        }
    }
}
