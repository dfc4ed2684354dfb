//! Where a command ends, and what its arguments are.
//!
//! Clients send arrays of strings: `*2\r\n$4\r\nPING\r\n$2\r\nhi\r\n`. People send lines: `PING hi\r\n`. Nothing is copied;
//! arguments are parts of what was read.

use smallvec::SmallVec;

use super::{MAX_ARGUMENTS, MAX_FRAME_BYTES, MAX_INLINE_BYTES};

/// Longest line that says a number, in bytes, without its line end.
const MAX_NUMBER_BYTES: usize = 10;

/// The arguments of a command, its name first. Nothing where nothing was asked: an empty line, or an empty array.
pub type Arguments<'a> = SmallVec<[&'a [u8]; 8]>;

/// How far a command was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A whole command, of so many bytes.
    Whole {
        /// The bytes that it takes.
        bytes: usize,
    },
    /// More is to come: it is not worth looking again before there are so many bytes in all.
    Partial {
        /// The fewest bytes with which something more is known: that the command goes on, or that it cannot be read. Whoever
        /// sends a wrong one hears of it with its first wrong byte, however it is torn.
        bytes: usize,
    },
}

/// Why a stream cannot be read any further. The text is sent to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length of the array is no number, or above its maximum.
    #[error("Protocol error: invalid multibulk length, at most {MAX_ARGUMENTS}")]
    ArrayLength,
    /// The length of a string is no number, or above its maximum.
    #[error("Protocol error: invalid bulk length, at most {MAX_FRAME_BYTES}")]
    BulkLength,
    /// An argument is something else than a string.
    #[error("Protocol error: expected '$': a command is an array of strings")]
    NotAString,
    /// A string does not end where its length says.
    #[error("Protocol error: expected a line end after a string")]
    NoLineEnd,
    /// The whole command is above its maximum.
    #[error("Protocol error: a command may take at most {MAX_FRAME_BYTES} bytes")]
    TooLong,
    /// A line without an end.
    #[error("Protocol error: too big inline request, at most {MAX_INLINE_BYTES} bytes")]
    InlineTooLong,
    /// A quotation that does not end, or with an escape.
    #[error("Protocol error: unbalanced quotes in request, or a backslash in them: send an array of strings")]
    Quotes,
    /// A line of HTTP. A page in somebody's browser can make it send such requests here, with commands in their bodies.
    #[error("Protocol error: this port speaks RESP, the protocol of Redis, not HTTP")]
    Http,
}

/// Reads the first command of `input`. What was in `arguments` before is gone.
///
/// # Errors
/// [`FrameError`]: the stream cannot go on.
pub fn read<'a>(input: &'a [u8], arguments: &mut Arguments<'a>) -> Result<Progress, FrameError> {
    arguments.clear();
    match input.first() {
        None => Ok(Progress::Partial { bytes: 1 }),
        Some(b'*') => array(input, arguments),
        Some(_) => inline(input, arguments),
    }
}

fn array<'a>(input: &'a [u8], arguments: &mut Arguments<'a>) -> Result<Progress, FrameError> {
    let Some((count, mut at)) = number(input, 1).map_err(|NotANumber| FrameError::ArrayLength)? else {
        return partial(input.len() + 1);
    };
    // Redis takes a missing array for an empty one.
    let count = count.unwrap_or(0);
    if count > MAX_ARGUMENTS {
        return Err(FrameError::ArrayLength);
    }
    for _ in 0..count {
        match input.get(at) {
            None => return partial(at + 1),
            Some(b'$') => {}
            Some(_) => return Err(FrameError::NotAString),
        }
        let Some((length, start)) = number(input, at + 1).map_err(|NotANumber| FrameError::BulkLength)?
        else {
            return partial(input.len() + 1);
        };
        let length = length.filter(|length| *length <= MAX_FRAME_BYTES).ok_or(FrameError::BulkLength)?;
        let end = start + length;
        if end + 2 > MAX_FRAME_BYTES {
            return Err(FrameError::TooLong);
        }
        let Some(argument) = input.get(start..end) else {
            return partial(end + 1);
        };
        match input.get(end..end + 2) {
            Some(b"\r\n") => {}
            Some(_) => return Err(FrameError::NoLineEnd),
            None if input.get(end).is_some_and(|byte| *byte != b'\r') => return Err(FrameError::NoLineEnd),
            None => return partial(input.len() + 1),
        }
        arguments.push(argument);
        at = end + 2;
    }
    Ok(Progress::Whole { bytes: at })
}

fn partial(bytes: usize) -> Result<Progress, FrameError> {
    if bytes > MAX_FRAME_BYTES { Err(FrameError::TooLong) } else { Ok(Progress::Partial { bytes }) }
}

struct NotANumber;

/// The number in the line that begins at `at`, none for -1, and where the next line begins; nothing where the line has no
/// end yet.
fn number(input: &[u8], at: usize) -> Result<Option<(Option<usize>, usize)>, NotANumber> {
    let line = input.get(at..).unwrap_or_default();
    let mut value = 0;
    for (place, byte) in line.iter().take(MAX_NUMBER_BYTES + 1).enumerate() {
        match byte {
            b'0'..=b'9' => value = value * 10 + usize::from(byte - b'0'),
            b'\r' if place > 0 => {
                return match line.get(place + 1) {
                    None => Ok(None),
                    Some(b'\n') => Ok(Some((Some(value), at + place + 2))),
                    Some(_) => Err(NotANumber),
                };
            }
            b'-' if place == 0 => return minus_one(line, at),
            _ => return Err(NotANumber),
        }
    }
    if line.len() > MAX_NUMBER_BYTES { Err(NotANumber) } else { Ok(None) }
}

fn minus_one(line: &[u8], at: usize) -> Result<Option<(Option<usize>, usize)>, NotANumber> {
    const MINUS_ONE: &[u8] = b"-1\r\n";
    let come = line.len().min(MINUS_ONE.len());
    match line.get(..come) == MINUS_ONE.get(..come) {
        false => Err(NotANumber),
        true if come == MINUS_ONE.len() => Ok(Some((None, at + come))),
        true => Ok(None),
    }
}

fn inline<'a>(input: &'a [u8], arguments: &mut Arguments<'a>) -> Result<Progress, FrameError> {
    let Some(end) = input.iter().take(MAX_INLINE_BYTES).position(|byte| *byte == b'\n') else {
        let is_too_long = input.len() >= MAX_INLINE_BYTES;
        return if is_too_long {
            Err(FrameError::InlineTooLong)
        } else {
            Ok(Progress::Partial { bytes: input.len() + 1 })
        };
    };
    let mut rest = input.get(..end).unwrap_or_default();
    rest = rest.strip_suffix(b"\r").unwrap_or(rest);
    loop {
        rest = rest.trim_ascii_start();
        let Some(first) = rest.first() else {
            return if is_http(arguments) {
                Err(FrameError::Http)
            } else {
                Ok(Progress::Whole { bytes: end + 1 })
            };
        };
        let (argument, others) = if matches!(first, b'"' | b'\'') {
            quoted(rest, *first)?
        } else {
            let is_end = |byte: &u8| byte.is_ascii_whitespace();
            rest.split_at(rest.iter().position(is_end).unwrap_or(rest.len()))
        };
        if arguments.len() == MAX_ARGUMENTS {
            return Err(FrameError::ArrayLength);
        }
        arguments.push(argument);
        rest = others;
    }
}

/// Whether a line is the first of a request of HTTP that has a body, or the field that every request of HTTP/1.1 has, which is
/// before its body.
fn is_http(arguments: &Arguments<'_>) -> bool {
    let is = |word: &&[u8], known: &str| word.eq_ignore_ascii_case(known.as_bytes());
    arguments.first().is_some_and(|word| is(word, "POST") || is(word, "Host:"))
}

/// What stands in the quotation that `text` begins with, and what comes after it.
fn quoted(text: &[u8], quote: u8) -> Result<(&[u8], &[u8]), FrameError> {
    let inside = text.get(1..).unwrap_or_default();
    let end = inside.iter().position(|byte| *byte == quote).ok_or(FrameError::Quotes)?;
    let (argument, rest) = inside.split_at(end);
    let rest = rest.get(1..).unwrap_or_default();
    let goes_on = rest.first().is_some_and(|byte| !byte.is_ascii_whitespace());
    if goes_on || argument.contains(&b'\\') { Err(FrameError::Quotes) } else { Ok((argument, rest)) }
}
