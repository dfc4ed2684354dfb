//! Replies, from bytes: RESP2 into [`redis::Value`], with limits.
//!
//! Memory is taken only for what has arrived: a count in a reply is a claim until its elements are there.

use redis::Value;

use super::Refusal;
use crate::settings::Address;

/// The longest reply, in bytes: more than any script or `CLUSTER SLOTS` answers.
pub(super) const MAX_REPLY: usize = 16 << 20;
/// How deep arrays may nest; `CLUSTER SLOTS` nests four deep.
const MAX_DEPTH: usize = 16;
/// The shortest element, `+\r\n`.
const MIN_ELEMENT: usize = 3;

/// What the bytes so far amount to.
#[derive(Debug, PartialEq)]
pub(super) enum Decoded {
    /// One reply, and the number of bytes that it took.
    Reply(Result<Value, Refusal>, usize),
    /// Not before there are this many bytes.
    Incomplete(usize),
}

/// The bytes are no reply, or one beyond the limits: nothing that follows can be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Malformed(&'static str);

/// The first reply in the bytes.
///
/// # Errors
///
/// The bytes are not RESP2, or the reply is beyond the limits.
pub(super) fn decode(bytes: &[u8], from: &Address) -> Result<Decoded, Malformed> {
    let mut reader = Reader { bytes, at: 0 };
    let reply = match reader.line() {
        Ok((b'-', line)) => Ok(Err(Refusal::classify(&String::from_utf8_lossy(line), from))),
        Ok((kind, line)) => reader.value(kind, line, 0).map(Ok),
        Err(stop) => Err(stop),
    };
    match reply {
        Ok(reply) => Ok(Decoded::Reply(reply, reader.at)),
        Err(Stop::Incomplete(needed)) if needed > MAX_REPLY => {
            Err(Malformed("a reply is longer than 16 MiB"))
        }
        Err(Stop::Incomplete(needed)) => Ok(Decoded::Incomplete(needed)),
        Err(Stop::Malformed(what)) => Err(Malformed(what)),
    }
}

enum Stop {
    Incomplete(usize),
    Malformed(&'static str),
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// The type byte and what follows it up to the end of the line.
    fn line(&mut self) -> Result<(u8, &'a [u8]), Stop> {
        let rest = self.rest();
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            return Err(Stop::Incomplete(self.bytes.len().saturating_add(1)));
        };
        match rest.get(..end) {
            Some([kind, line @ .., b'\r']) => {
                self.at += end + 1;
                Ok((*kind, line))
            }
            _ => Err(Stop::Malformed("a line of a reply does not end as it should")),
        }
    }

    fn value(&mut self, kind: u8, line: &'a [u8], depth: usize) -> Result<Value, Stop> {
        match kind {
            b':' => integer(line).map(Value::Int),
            b'$' => self.bulk(integer(line)?),
            b'*' => self.array(integer(line)?, depth),
            b'+' if line == b"OK" => Ok(Value::Okay),
            b'+' => Ok(Value::SimpleString(String::from_utf8_lossy(line).into_owned())),
            b'-' => nested_error(line),
            _ => Err(Stop::Malformed("a reply is not RESP2")),
        }
    }

    fn bulk(&mut self, length: i64) -> Result<Value, Stop> {
        let Some(length) = length_of(length)? else { return Ok(Value::Nil) };
        let end = length.saturating_add(2);
        match self.rest().get(..end) {
            Some([bulk @ .., b'\r', b'\n']) => {
                self.at += end;
                Ok(Value::BulkString(bulk.to_vec()))
            }
            Some(_) => Err(Stop::Malformed("a string of a reply does not end as it should")),
            None => Err(Stop::Incomplete(self.at.saturating_add(end))),
        }
    }

    fn array(&mut self, count: i64, depth: usize) -> Result<Value, Stop> {
        let Some(count) = length_of(count)? else { return Ok(Value::Nil) };
        if depth >= MAX_DEPTH {
            return Err(Stop::Malformed("a reply nests too deep"));
        }
        let least = count.saturating_mul(MIN_ELEMENT);
        if least > self.rest().len() {
            return Err(Stop::Incomplete(self.at.saturating_add(least)));
        }
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            let (kind, line) = self.line()?;
            values.push(self.value(kind, line, depth + 1)?);
        }
        Ok(Value::Array(values))
    }
}

/// A length or count: `None` for the -1 of nil.
fn length_of(number: i64) -> Result<Option<usize>, Stop> {
    match usize::try_from(number) {
        Ok(length) => Ok(Some(length)),
        Err(_) if number == -1 => Ok(None),
        Err(_) => Err(Stop::Malformed("a length in a reply is out of range")),
    }
}

fn integer(line: &[u8]) -> Result<i64, Stop> {
    const NO_NUMBER: Stop = Stop::Malformed("a number in a reply is none");
    let (negative, digits) = match line {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    // 19 digits fit into 64 bits without a sign: only the end needs a check.
    if digits.is_empty() || digits.len() > 19 {
        return Err(NO_NUMBER);
    }
    let mut number: u64 = 0;
    for digit in digits {
        let value = digit.wrapping_sub(b'0');
        if value > 9 {
            return Err(NO_NUMBER);
        }
        number = number.wrapping_mul(10).wrapping_add(u64::from(value));
    }
    if negative { 0_i64.checked_sub_unsigned(number) } else { i64::try_from(number).ok() }.ok_or(NO_NUMBER)
}

/// An error within an array, as scripts can return them. Only the library can make a value of it.
fn nested_error(line: &[u8]) -> Result<Value, Stop> {
    let whole = [b"-", line, b"\r\n"].concat();
    redis::parse_redis_value(&whole).map_err(|_| Stop::Malformed("an error in a reply cannot be read"))
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
