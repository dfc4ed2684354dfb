//! Spans of time as people write them: `250ms`, `60s`, `1h30m`.

use tidegate_core::time::Micros;

use crate::suggest::quote;

/// Every unit, the largest first, with its length in microseconds.
const UNITS: [(&str, u64); 7] = [
    ("w", 7 * 86_400_000_000),
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

/// Units that others write, and ours.
const OTHER_UNITS: [(&str, &str); 24] = [
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("min", "m"),
    ("mins", "m"),
    ("minute", "m"),
    ("minutes", "m"),
    ("hr", "h"),
    ("hrs", "h"),
    ("hour", "h"),
    ("hours", "h"),
    ("day", "d"),
    ("days", "d"),
    ("week", "w"),
    ("weeks", "w"),
    ("msec", "ms"),
    ("milli", "ms"),
    ("millis", "ms"),
    ("millisecond", "ms"),
    ("milliseconds", "ms"),
    ("usec", "us"),
    ("micros", "us"),
    ("microseconds", "us"),
];

/// Why a text is not a span of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// A number without a unit.
    #[error("'{number}' has no unit; write {number}s for seconds, or use ms, m, h, d or w")]
    NoUnit {
        /// The number as it was written.
        number: String,
    },
    /// A unit we write otherwise, a blank, or a decimal fraction.
    #[error("{found} is not a duration; write {meant}")]
    Spelling {
        /// What was written, in quotes.
        found: String,
        /// The same span as it should be written.
        meant: String,
    },
    /// The units are out of order, or one is there twice.
    #[error(
        "{found} has its units out of order; write the largest unit first and each once, for example 1h30m"
    )]
    Order {
        /// What was written, in quotes.
        found: String,
    },
    /// More than can be counted.
    #[error("{found} is too long; write at most 3650d")]
    TooLong {
        /// What was written, in quotes.
        found: String,
    },
    /// Nothing like a duration.
    #[error("{found} is not a duration; write a number and a unit, for example 250ms, 60s, 5m, 1h30m or 1d")]
    Unreadable {
        /// What was written, in quotes.
        found: String,
    },
}

/// Reads a span: whole numbers, each with one of the units w, d, h, m, s, ms and us, the largest unit first.
///
/// # Errors
/// [`DurationError`] says how the span should have been written.
pub fn parse_duration(text: &str) -> Result<Micros, DurationError> {
    let found = || quote(text);
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(DurationError::NoUnit { number: text.chars().take(20).collect() });
    }
    let mut total: u64 = 0;
    let mut next_unit = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, unit, after) = split(rest).ok_or_else(|| unreadable(text))?;
        let Some(position) = UNITS.iter().position(|(name, _)| *name == unit) else {
            return Err(unreadable(text));
        };
        if position < next_unit {
            return Err(DurationError::Order { found: found() });
        }
        next_unit = position + 1;
        total = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(UNITS[position].1))
            .and_then(|part| total.checked_add(part))
            .filter(|total| *total <= Micros::MAX.as_micros())
            .ok_or_else(|| DurationError::TooLong { found: found() })?;
        rest = after;
    }
    if text.is_empty() { Err(unreadable(text)) } else { Ok(Micros::from_micros(total)) }
}

/// Splits `90s…` into digits, letters and what follows.
fn split(text: &str) -> Option<(&str, &str, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let letters = text.bytes().skip(digits).take_while(u8::is_ascii_alphabetic).count();
    (digits > 0 && letters > 0)
        .then(|| (&text[..digits], &text[digits..digits + letters], &text[digits + letters..]))
}

/// The error for a text in which something is not ours: with the span as we write it, where that can be seen.
fn unreadable(text: &str) -> DurationError {
    match respelled(text) {
        Some(meant) => DurationError::Spelling { found: quote(text), meant },
        None => DurationError::Unreadable { found: quote(text) },
    }
}

/// One number with one unit, both generously read: `5 min` is 5m, `1.5s` is 1500ms.
fn respelled(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = (&text[..end], text[end..].trim());
    let unit = OTHER_UNITS.iter().find(|(other, _)| *other == unit).map_or(unit, |(_, ours)| *ours);
    let (_, size) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let Some((whole, fraction)) = number.split_once('.') else {
        return number.parse::<u32>().ok().map(|number| format!("{number}{unit}"));
    };
    if fraction.is_empty() || fraction.len() > 6 {
        return None;
    }
    let scale = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let part = fraction.parse::<u64>().ok()?.checked_mul(*size)?;
    let micros = u64::from(whole.parse::<u32>().ok()?).checked_mul(*size)?.checked_add(part / scale)?;
    (part % scale == 0).then(|| Micros::from_micros(micros).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_sums_of_their_units() {
        for (text, micros) in [
            ("0s", 0),
            ("7us", 7),
            ("250ms", 250_000),
            ("1m30s", 90_000_000),
            ("1w2d3h4m5s6ms7us", 788_645_006_007),
            ("3650d", 315_360_000_000_000),
            ("007s", 7_000_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Micros::from_micros(micros)), "{text}");
        }
    }

    #[test]
    fn what_the_core_writes_is_read_back() {
        for micros in [1, 999, 1_000, 60_000_000, 5_400_000_000, 86_400_000_000, Micros::MAX.as_micros()] {
            let span = Micros::from_micros(micros);
            assert_eq!(parse_duration(&span.to_string()), Ok(span), "{span}");
        }
    }

    #[test]
    fn other_spellings_are_shown_in_ours() {
        for (text, meant) in [
            ("5 min", "5m"),
            ("10 Seconds", "10s"),
            ("1.5h", "90m"),
            ("0.25s", "250ms"),
            ("60S", "60s"),
            (" 60s", "60s"),
            ("2hours", "2h"),
        ] {
            let error = DurationError::Spelling { found: quote(text), meant: meant.to_owned() };
            assert_eq!(parse_duration(text), Err(error), "{text}");
        }
        for text in ["", "s", "1y", "1s1", "-5s", "1.s", "1:30", "٣s", "1.1234567s", "soon", "1h 30m"] {
            assert_eq!(parse_duration(text), Err(DurationError::Unreadable { found: quote(text) }), "{text}");
        }
        assert!(matches!(parse_duration("1s1s"), Err(DurationError::Order { .. })));
        assert!(matches!(parse_duration("30m1h"), Err(DurationError::Order { .. })));
        assert!(matches!(parse_duration("15000000w"), Err(DurationError::TooLong { .. })));
        assert!(matches!(parse_duration("60"), Err(DurationError::NoUnit { .. })));
    }
}
