//! `traceparent` and `tracestate`: what a caller says of its own trace (<https://www.w3.org/TR/trace-context/>).

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};

use http::{HeaderMap, HeaderName};

/// The header that names the caller's trace and span.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The header with what vendors add.
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Longest `tracestate` that is kept, in bytes, over all its headers: what W3C asks to be passed on at least. A longer one is left out.
pub const MAX_TRACESTATE_BYTES: usize = 512;
/// The most members of a `tracestate` (W3C, 3.3.1.1).
const MAX_TRACESTATE_MEMBERS: usize = 32;

/// Length of a `traceparent` of version 00, in bytes: `00-<32>-<16>-<2>`.
const LENGTH: usize = 55;
/// Longest `traceparent` of a later version that is looked at, in bytes.
const MAX_TRACEPARENT_BYTES: usize = 256;
/// The flag of a caller that traces its part.
const SAMPLED: u8 = 0x01;

/// A trace. Displays as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(NonZeroU128);

/// A span of a trace. Displays as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(NonZeroU64);

/// The caller's trace, and its span that is the parent of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace_id: TraceId,
    /// The caller's span.
    pub span_id: SpanId,
    /// Whether the caller traces its part.
    pub sampled: bool,
}

impl TraceId {
    /// A new trace.
    #[must_use]
    pub fn random() -> Self {
        Self(NonZeroU128::new(fastrand::u128(1..)).unwrap_or(NonZeroU128::MIN))
    }

    /// The bytes on the wire.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.get().to_be_bytes()
    }

    /// The half that samplers of all vendors look at.
    pub(super) const fn low(self) -> u64 {
        self.0.get() as u64
    }
}

impl SpanId {
    /// A new span.
    #[must_use]
    pub fn random() -> Self {
        Self(NonZeroU64::new(fastrand::u64(1..)).unwrap_or(NonZeroU64::MIN))
    }

    /// The bytes on the wire.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.get().to_be_bytes()
    }
}

impl From<NonZeroU128> for TraceId {
    fn from(id: NonZeroU128) -> Self {
        Self(id)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl TraceParent {
    /// The caller's trace, if its headers name one. A header that is wrong or stands twice counts as none (W3C, 2.2.2).
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => Self::parse(value.as_bytes()),
            _ => None,
        }
    }

    /// Reads the value of a header. Of a version that is not known yet, the part that version 00 knows counts.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let known = value.get(..LENGTH)?;
        let version = u8::try_from(hex(known.get(..2)?)?).ok()?;
        let is_whole = match (version, value.get(LENGTH)) {
            (0xff, _) => false,
            (_, None) => true,
            (0, Some(_)) => false,
            (_, Some(next)) => *next == b'-' && value.len() <= MAX_TRACEPARENT_BYTES,
        };
        let dashes = [2, 35, 52].iter().all(|at| known.get(*at) == Some(&b'-'));
        if !is_whole || !dashes {
            return None;
        }
        let trace_id = TraceId(NonZeroU128::new(hex(known.get(3..35)?)?)?);
        let span_id = SpanId(NonZeroU64::new(u64::try_from(hex(known.get(36..52)?)?).ok()?)?);
        let flags = u8::try_from(hex(known.get(53..)?)?).ok()?;
        Some(Self { trace_id, span_id, sampled: flags & SAMPLED != 0 })
    }
}

/// A number of at most 32 lower-case hexadecimal digits.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number: u128, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

/// What vendors have added to the caller's trace, as it came. One that is too long or no list of members is left out.
pub(super) fn tracestate(headers: &HeaderMap) -> Option<Box<str>> {
    let mut state = String::new();
    for value in headers.get_all(TRACESTATE) {
        let value = value.to_str().ok()?;
        if state.len() + value.len() >= MAX_TRACESTATE_BYTES {
            return None;
        }
        if !state.is_empty() {
            state.push(',');
        }
        state.push_str(value);
    }
    let members = || state.split(',').map(str::trim).filter(|member| !member.is_empty());
    let is_good = members().all(|member| member.split_once('=').is_some_and(|(key, _)| !key.is_empty()));
    let count = members().count();
    (is_good && (1..=MAX_TRACESTATE_MEMBERS).contains(&count)).then(|| state.into())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn parse(text: &str) -> Option<(String, String, bool)> {
        let parent = TraceParent::parse(text.as_bytes())?;
        Some((parent.trace_id.to_string(), parent.span_id.to_string(), parent.sampled))
    }

    fn headers(name: &HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_trace_is_continued() {
        let ids = ("4bf92f3577b34da6a3ce929d0e0e4736".to_owned(), "00f067aa0ba902b7".to_owned());
        for (text, sampled) in [
            (GOOD, true),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", false),
            // Only the first flag says it; the second one says that the id is random.
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff", true),
            // Later versions: with and without what they add.
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true),
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-adds", true),
            ("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-", false),
        ] {
            assert_eq!(parse(text), Some((ids.0.clone(), ids.1.clone(), sampled)), "{text}");
        }
    }

    #[test]
    fn what_w3c_forbids_is_no_parent() {
        let long = format!("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-{}", "x".repeat(300));
        for text in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0A",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 ",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.what",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01x",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "0-4bf92f3577b34da6a3ce929d0e0e47360-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
            &long,
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_header_that_stands_twice_is_none() {
        assert!(TraceParent::from_headers(&headers(&TRACEPARENT, &[GOOD])).is_some());
        assert_eq!(TraceParent::from_headers(&headers(&TRACEPARENT, &[GOOD, GOOD])), None);
        assert_eq!(TraceParent::from_headers(&headers(&TRACESTATE, &[GOOD])), None);
    }

    #[test]
    fn the_state_is_kept_within_its_bounds() {
        let state = |values: &[&str]| tracestate(&headers(&TRACESTATE, values)).map(String::from);
        assert_eq!(state(&["rojo=00f067aa0ba902b7,congo=t61"]).unwrap(), "rojo=00f067aa0ba902b7,congo=t61");
        assert_eq!(state(&["a=1", "b@c=2, "]).unwrap(), "a=1,b@c=2, ");
        let longest = format!("a={}", "x".repeat(MAX_TRACESTATE_BYTES - 3));
        assert_eq!(state(&[&longest]), Some(longest.clone()));
        let many = |count| vec!["a=1"; count].join(",");
        assert!(state(&[&many(MAX_TRACESTATE_MEMBERS)]).is_some());
        for bad in [&format!("{longest}x"), "", " , ", "a", "=1", &many(MAX_TRACESTATE_MEMBERS + 1)] {
            assert_eq!(state(&[bad]), None, "{bad:?}");
        }
        assert_eq!(state(&[&longest, "b=2"]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(parent) = TraceParent::parse(&bytes) {
                let text = std::str::from_utf8(&bytes[3..52]).unwrap();
                prop_assert_eq!(text, format!("{}-{}", parent.trace_id, parent.span_id));
            }
        }

        #[test]
        fn what_is_nearly_good_is_read_as_it_stands(at in 0..LENGTH, byte in any::<u8>()) {
            let mut bytes = GOOD.as_bytes().to_vec();
            bytes[at] = byte;
            if let Some(parent) = TraceParent::parse(&bytes) {
                let text = format!("{}-{}", parent.trace_id, parent.span_id);
                prop_assert_eq!(text.as_bytes(), &bytes[3..52]);
            }
        }

        #[test]
        fn every_id_is_read_back(trace in 1_u128.., span in 1_u64.., flags in any::<u8>()) {
            let read = parse(&format!("00-{trace:032x}-{span:016x}-{flags:02x}"));
            prop_assert_eq!(read, Some((format!("{trace:032x}"), format!("{span:016x}"), flags & 1 == 1)));
        }
    }
}
