//! Times as logs write them, and as the report writes them: microseconds since the Unix epoch.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Serializer;

use super::error::Unreadable;

#[cfg(test)]
mod tests;

/// The latest time taken from a log: the largest integer that is exact in a double, in the year 2255.
/// Stores keep time in doubles, and a nonsense year must not overflow their arithmetic.
pub(super) const MAX_AT_US: u64 = (1 << 53) - 1;

pub(super) const SECOND_US: u64 = 1_000_000;

/// Below this a number is seconds since the epoch, then milliseconds, microseconds, nanoseconds: each
/// thousand times the last. As seconds it is the year 5138, as milliseconds 1973.
const MAX_SECONDS: u64 = 100_000_000_000;

const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// Parses `17/May/2015:10:05:03 +0000`, with an optional fraction of the second.
pub(super) fn parse_clf(text: &[u8]) -> Result<u64, Unreadable> {
    parse_clf_seconds(text).ok_or(Unreadable::BadTime).and_then(|(seconds, fraction_us)| {
        let seconds = u64::try_from(seconds).map_err(|_| Unreadable::TimeOutOfRange)?;
        in_range(u128::from(seconds) * u128::from(SECOND_US) + u128::from(fraction_us))
    })
}

fn parse_clf_seconds(text: &[u8]) -> Option<(i64, u64)> {
    let (head, tail) = text.split_at_checked(20)?;
    let [_, _, b'/', m1, m2, m3, b'/', _, _, _, _, b':', _, _, b':', _, _, b':', _, _] = head else {
        return None;
    };
    let day = digits(&head[..2])?;
    let month = (1..).zip(MONTHS).find_map(|(number, name)| (*name == [*m1, *m2, *m3]).then_some(number))?;
    let year = digits(&head[7..11])?;
    let (hour, minute, second) = (digits(&head[12..14])?, digits(&head[15..17])?, digits(&head[18..20])?);
    // 60 is a leap second: the epoch has none, so it falls together with the second before.
    if day < 1 || day > days_in_month(year, month) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction_us, zone) = parse_fraction(tail)?;
    let [b' ', sign @ (b'+' | b'-'), zone @ ..] = zone else { return None };
    if zone.len() != 4 {
        return None;
    }
    let (offset_hours, offset_minutes) = (digits(&zone[..2])?, digits(&zone[2..])?);
    if offset_hours > 23 || offset_minutes > 59 {
        return None;
    }
    let offset = (offset_hours * 60 + offset_minutes) * 60;
    let local = days_from_epoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second.min(59);
    Some((if *sign == b'+' { local - offset } else { local + offset }, fraction_us))
}

/// Takes `.123…` off the front: its microseconds, and the rest.
fn parse_fraction(text: &[u8]) -> Option<(u64, &[u8])> {
    let Some(after) = text.strip_prefix(b".") else { return Some((0, text)) };
    let len = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (len > 0).then(|| (fraction_us(&after[..len]), &after[len..]))
}

/// The first six digits of a fraction as microseconds.
fn fraction_us(digits: &[u8]) -> u64 {
    let padded = digits.iter().copied().chain(std::iter::repeat(b'0'));
    padded.take(6).fold(0, |us, digit| us * 10 + u64::from(digit - b'0'))
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter()
        .try_fold(0_i64, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
}

const fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. Years begin in March here, so that the leap
/// day is the last of the year and months before it have a fixed length (Hinnant, "chrono-compatible
/// low-level date algorithms").
const fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Parses a time written as text: RFC 3339, the common log format's, or a number since the epoch.
/// A date and time without an offset is taken as UTC.
pub(super) fn parse_text(text: &str) -> Result<u64, Unreadable> {
    let text = text.trim();
    let bytes = text.as_bytes();
    if bytes.get(2) == Some(&b'/') {
        return parse_clf(bytes);
    }
    if let Some(time) = parse_number_text(bytes) {
        return time;
    }
    let timestamp = match text.parse::<Timestamp>() {
        Ok(timestamp) => timestamp,
        // A date alone would put all requests of a day at midnight.
        Err(_) if !text.contains(['T', 't', ' ']) => return Err(Unreadable::BadTime),
        Err(_) => {
            let local = text.parse::<DateTime>().map_err(|_| Unreadable::BadTime)?;
            local.to_zoned(TimeZone::UTC).map_err(|_| Unreadable::BadTime)?.timestamp()
        }
    };
    u128::try_from(timestamp.as_microsecond()).map_err(|_| Unreadable::TimeOutOfRange).and_then(in_range)
}

/// `1431857103.123` without the detour over a double.
fn parse_number_text(text: &[u8]) -> Option<Result<u64, Unreadable>> {
    let whole_len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (whole, rest) = text.split_at(whole_len);
    // A year alone, or a compact date (20150517), is no number of seconds that a log would have.
    if !(9..=19).contains(&whole_len) {
        return None;
    }
    let (fraction, rest) = parse_fraction(rest)?;
    if !rest.is_empty() {
        return None;
    }
    let whole = whole.iter().fold(0_u64, |number, digit| number.wrapping_mul(10) + u64::from(digit - b'0'));
    Some(if whole < MAX_SECONDS {
        in_range(u128::from(whole) * u128::from(SECOND_US) + u128::from(fraction))
    } else {
        from_integer(whole)
    })
}

/// A whole number since the epoch: seconds, milliseconds, microseconds or nanoseconds, by its size.
pub(super) fn from_integer(number: u64) -> Result<u64, Unreadable> {
    let number = u128::from(number);
    let limit = u128::from(MAX_SECONDS);
    in_range(match number {
        n if n < limit => n * 1_000_000,
        n if n < limit * 1_000 => n * 1_000,
        n if n < limit * 1_000_000 => n,
        n => n / 1_000,
    })
}

/// A fractional number since the epoch; its unit is found as in [`from_integer`].
pub(super) fn from_float(number: f64) -> Result<u64, Unreadable> {
    let limit = MAX_SECONDS as f64;
    if !number.is_finite() || number < 0.0 {
        return Err(Unreadable::TimeOutOfRange);
    }
    let us = match number {
        n if n < limit => n * 1e6,
        n if n < limit * 1e3 => n * 1e3,
        n if n < limit * 1e6 => n,
        n => n / 1e3,
    };
    // The cast saturates; what is too large is refused next.
    in_range(us.round() as u128)
}

fn in_range(us: u128) -> Result<u64, Unreadable> {
    u64::try_from(us).ok().filter(|us| *us <= MAX_AT_US).ok_or(Unreadable::TimeOutOfRange)
}

/// RFC 3339 in UTC, with as many digits of a fraction as the time has: `2015-05-17T10:05:03Z`.
pub(super) fn rfc3339(at_us: u64) -> String {
    let at_us = i64::try_from(at_us.min(MAX_AT_US)).unwrap_or(0);
    Timestamp::from_microsecond(at_us).map_or_else(|_| String::new(), |time| time.to_string())
}

/// The same for people, to the second: `2015-05-17 10:05:03`.
pub(super) fn readable(at_us: u64) -> String {
    rfc3339(at_us / SECOND_US * SECOND_US).replace('T', " ").replace('Z', "")
}

/// A length of time for people: its two largest units (`3d 11h`, `45s`).
pub(super) fn readable_length(us: u64) -> String {
    let seconds = us / SECOND_US;
    let units = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
    let Some(first) = units.iter().position(|(_, size)| seconds >= *size) else {
        return format!("{}ms", us / 1_000);
    };
    let (name, size) = units[first];
    let mut text = format!("{}{name}", seconds / size);
    if let Some((next_name, next_size)) = units.get(first + 1) {
        let rest = seconds % size / next_size;
        if rest > 0 {
            text.push_str(&format!(" {rest}{next_name}"));
        }
    }
    text
}

/// Writes a time as RFC 3339 text in serde output.
pub(super) fn serialize<S: Serializer>(at_us: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*at_us))
}

/// Writes an optional time as RFC 3339 text or null in serde output.
pub(super) fn serialize_option<S: Serializer>(at_us: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    match at_us {
        Some(at_us) => serialize(at_us, serializer),
        None => serializer.serialize_none(),
    }
}
