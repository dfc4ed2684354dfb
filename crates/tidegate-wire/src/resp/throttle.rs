//! `CL.THROTTLE key max_burst count period [quantity]`, as redis-cell has it, and `THROTTLE`, as throttlecrab has it.
//!
//! `count` units come back in every `period` of seconds, and `max_burst` more than one may pass at one instant: burst is
//! `max_burst + 1`. A quantity of 0 looks and takes nothing.

use tidegate_core::quota::{Algorithm, MAX_LIMIT, Quota};
use tidegate_core::time::Micros;

use super::command::CommandError;
use super::reply;
use crate::check::MAX_VALUE_BYTES;

/// The command, and so the order of the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `CL.THROTTLE`: limited, limit, remaining, retry_after, reset_after.
    RedisCell,
    /// `THROTTLE`: allowed, limit, remaining, reset_after, retry_after.
    Throttlecrab,
}

/// A valid request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttle<'a> {
    /// The command.
    pub dialect: Dialect,
    /// The bucket, at most [`MAX_VALUE_BYTES`] bytes.
    pub key: &'a str,
    /// A token bucket's.
    pub quota: Quota,
    /// Units to take; 0 takes nothing.
    pub quantity: u64,
}

/// What is told of a decision. Times in seconds, rounded up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttled {
    /// Whether it may pass.
    pub is_allowed: bool,
    /// The burst: `max_burst + 1`.
    pub limit: u64,
    /// Units left.
    pub remaining: u64,
    /// The time until the same quantity can pass; nothing where it may pass now, and where it never can.
    pub retry_after: Option<Micros>,
    /// The time until the bucket is full again.
    pub reset_after: Micros,
}

impl<'a> Throttle<'a> {
    pub(super) fn parse(dialect: Dialect, arguments: &[&'a [u8]]) -> Result<Self, CommandError> {
        let (key, numbers) = match arguments {
            [key, numbers @ ..] if matches!(numbers.len(), 3 | 4) => (*key, numbers),
            _ => {
                return Err(CommandError::arguments(match dialect {
                    Dialect::RedisCell => "CL.THROTTLE key max_burst count period [quantity]",
                    Dialect::Throttlecrab => "THROTTLE key max_burst count period [quantity]",
                }));
            }
        };
        if key.len() > MAX_VALUE_BYTES {
            return Err(CommandError::of(format!("key may be at most {MAX_VALUE_BYTES} bytes long")));
        }
        let key = text(key, "key")?;
        let at = |place: usize| numbers.get(place).copied().unwrap_or(b"1");
        let burst = number(at(0), "max_burst", 0, MAX_LIMIT - 1)? + 1;
        let count = number(at(1), "count", 1, MAX_LIMIT)?;
        let period = number(at(2), "period", 1, MAX_LIMIT)?;
        let quantity = number(at(3), "quantity", 0, MAX_LIMIT)?;
        let quota = Quota::new(Algorithm::TokenBucket, count, Micros::from_secs(period), Some(burst));
        let quota =
            quota.map_err(|error| CommandError::of(format!("max_burst, count and period: {error}")))?;
        Ok(Self { dialect, key, quota, quantity })
    }
}

impl Throttled {
    /// Appends the reply.
    pub fn write(&self, dialect: Dialect, out: &mut Vec<u8>) {
        let retry_after = self.retry_after.map_or(-1, |span| signed(span.as_secs_ceil()));
        let reset_after = signed(self.reset_after.as_secs_ceil());
        let (first, fourth, fifth) = match dialect {
            Dialect::RedisCell => (!self.is_allowed, retry_after, reset_after),
            Dialect::Throttlecrab => (self.is_allowed, reset_after, retry_after),
        };
        reply::array(out, 5);
        for number in [i64::from(first), signed(self.limit), signed(self.remaining), fourth, fifth] {
            reply::integer(out, number);
        }
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn text<'a>(bytes: &'a [u8], name: &str) -> Result<&'a str, CommandError> {
    std::str::from_utf8(bytes).map_err(|_| CommandError::of(format!("{name} must be UTF-8")))
}

/// A whole number in its range.
pub(super) fn number(bytes: &[u8], name: &str, least: u64, most: u64) -> Result<u64, CommandError> {
    /// Digits of the largest maximum.
    const MAX_DIGITS: usize = 13;
    let fail = || CommandError::of(format!("{name} must be a whole number from {least} to {most}"));
    if bytes.is_empty() || bytes.len() > MAX_DIGITS {
        return Err(fail());
    }
    let mut value = 0;
    for byte in bytes {
        match byte {
            b'0'..=b'9' => value = value * 10 + u64::from(byte - b'0'),
            _ => return Err(fail()),
        }
    }
    if (least..=most).contains(&value) { Ok(value) } else { Err(fail()) }
}
