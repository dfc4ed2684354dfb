//! What a door is asked, and what its answers say.

use anyhow::{Context, bail};
use clap::ValueEnum;
use memchr::memmem;
use tidegate_bench::keys::{DIGITS, PREFIX, digits_of};

/// Whoever says more than this for one request has failed.
pub(crate) const MAX_ANSWER_BYTES: usize = 256 << 10;

/// The door that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Door {
    /// `POST /v1/check`; with a batch, `POST /v1/checks`
    Http,
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

/// The bytes of a request, and where its keys have their digits.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) bytes: Vec<u8>,
    digits: Vec<usize>,
}

impl Request {
    /// A request with so many decisions.
    pub(crate) fn new(door: Door, batch: usize) -> Self {
        let key = format!("{PREFIX}{}", "0".repeat(DIGITS));
        let text = match door {
            Door::Resp => format!(
                "*5\r\n$11\r\nCL.THROTTLE\r\n${}\r\n{key}\r\n$9\r\n100000000\r\n$9\r\n100000000\r\n$2\r\n60\r\n",
                key.len()
            ),
            Door::Http => {
                let check = format!(r#"{{"client_id":"{key}","cost":1}}"#);
                let (path, body) = match batch {
                    1 => ("/v1/check", check),
                    _ => {
                        ("/v1/checks", format!(r#"{{"checks":[{}]}}"#, vec![check.as_str(); batch].join(",")))
                    }
                };
                format!(
                    "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                )
            }
        };
        let digits = text.match_indices(PREFIX).map(|(start, _)| start + PREFIX.len()).collect();
        Self { bytes: text.into_bytes(), digits }
    }

    /// Draws new keys below `keys`.
    pub(crate) fn draw(&mut self, random: &mut fastrand::Rng, keys: u64) {
        for start in &self.digits {
            if let Some(place) = self.bytes.get_mut(*start..start + DIGITS) {
                place.copy_from_slice(&digits_of(random.u64(..keys)));
            }
        }
    }
}

impl Door {
    /// The length of the answer that these bytes begin with, and what it says; nothing while it is not whole.
    pub(crate) fn answer(self, bytes: &[u8]) -> anyhow::Result<Option<(usize, Outcome)>> {
        match self {
            Door::Http => http(bytes),
            Door::Resp => resp(bytes),
        }
    }
}

fn http(bytes: &[u8]) -> anyhow::Result<Option<(usize, Outcome)>> {
    const LENGTH: &[u8] = b"content-length: ";
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let head = &bytes[..end];
    let start = memmem::find(head, LENGTH).context("an answer without content-length")? + LENGTH.len();
    let digits = head[start..].iter().take_while(|byte| byte.is_ascii_digit());
    let length = end + 4 + digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'));
    if bytes.len() < length {
        return Ok(None);
    }
    let outcome = match head.get(9..12) {
        Some(b"200") => Outcome::Decided,
        Some(b"503") if memmem::find(&bytes[end..length], b"#temporary-reduced-capacity").is_some() => {
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
        assert_eq!(Door::Http.answer(shed).unwrap(), Some((shed.len(), Outcome::Shed)));
        assert_eq!(Door::Http.answer(&shed[..shed.len() - 1]).unwrap(), None);
        let passed = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(Door::Http.answer(passed).unwrap(), Some((passed.len(), Outcome::Decided)));
        let other = b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(Door::Http.answer(other).unwrap(), Some((other.len(), Outcome::Other)));
        let passed = b"*5\r\n:0\r\n:1\r\n:1\r\n:-1\r\n:0\r\n";
        assert_eq!(Door::Resp.answer(passed).unwrap(), Some((passed.len(), Outcome::Decided)));
        assert_eq!(Door::Resp.answer(&passed[..9]).unwrap(), None);
        assert_eq!(Door::Resp.answer(b"-BUSY x\r\n").unwrap(), Some((9, Outcome::Shed)));
        assert_eq!(Door::Resp.answer(b"-ERR x\r\n").unwrap(), Some((8, Outcome::Other)));
    }

    #[test]
    fn only_digits_change() {
        for (door, batch, keys) in [(Door::Http, 1, 1), (Door::Http, 3, 3), (Door::Resp, 1, 1)] {
            let mut request = Request::new(door, batch);
            assert_eq!(request.digits.len(), keys);
            let before = request.bytes.clone();
            request.draw(&mut fastrand::Rng::with_seed(1), 1_000_000_000);
            assert_eq!(request.bytes.len(), before.len());
            assert_ne!(request.bytes, before);
        }
    }
}
