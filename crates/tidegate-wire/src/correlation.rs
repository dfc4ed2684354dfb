//! `X-Correlation-ID`: the caller's id if it is harmless in a log line and a header, else a new one.

use std::fmt;

use http::HeaderMap;
use http::header::HeaderName;

/// The header, in and out.
pub const X_CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");

/// Longest id that is taken over, in bytes.
pub const MAX_CORRELATION_ID_BYTES: usize = 128;

/// Hexadecimal digits of an id made here.
const MADE_BYTES: usize = 32;

/// The id that joins a request's log lines and spans. Displays as its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CorrelationId<'h>(Source<'h>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source<'h> {
    Given(&'h str),
    Made([u8; MADE_BYTES]),
}

impl<'h> CorrelationId<'h> {
    /// Takes over an incoming id of 1 to [`MAX_CORRELATION_ID_BYTES`] bytes from `A-Z a-z 0-9 . _ : / + = @ -`.
    #[must_use]
    pub fn accept(value: &'h [u8]) -> Option<Self> {
        let text = str::from_utf8(value).ok()?;
        let fits = (1..=MAX_CORRELATION_ID_BYTES).contains(&text.len());
        (fits && text.bytes().all(is_id_byte)).then_some(Self(Source::Given(text)))
    }

    /// The incoming id, or one made of `random` if it is absent, repeated or not acceptable.
    #[must_use]
    pub fn from_headers(headers: &'h HeaderMap, random: impl FnOnce() -> u128) -> Self {
        let mut values = headers.get_all(X_CORRELATION_ID).iter();
        let given = match (values.next(), values.next()) {
            (Some(value), None) => Self::accept(value.as_bytes()),
            _ => None,
        };
        given.unwrap_or_else(|| CorrelationId::from_random(random()))
    }

    /// The id as text, always ASCII and valid as a header value.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Source::Given(text) => text,
            Source::Made(digits) => str::from_utf8(digits).unwrap_or_default(),
        }
    }
}

impl CorrelationId<'static> {
    /// 32 hexadecimal digits of a random number, which the caller draws.
    #[must_use]
    pub fn from_random(random: u128) -> Self {
        let mut digits = [0; MADE_BYTES];
        let bytes = random.to_be_bytes();
        for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
            pair.copy_from_slice(&[hex_digit(byte >> 4), hex_digit(byte & 0xf)]);
        }
        Self(Source::Made(digits))
    }
}

impl fmt::Display for CorrelationId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._:/+=@-".contains(&byte)
}

fn hex_digit(nibble: u8) -> u8 {
    match nibble {
        0..=9 => b'0' + nibble,
        nibble => b'a' + nibble - 10,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn incoming_ids() {
        let longest = "x".repeat(MAX_CORRELATION_ID_BYTES);
        for good in ["a", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "Root=1-67@x:y/z+a_b.c", &longest] {
            assert_eq!(CorrelationId::accept(good.as_bytes()).unwrap().as_str(), good);
        }
        let too_long = "x".repeat(MAX_CORRELATION_ID_BYTES + 1);
        for bad in ["", "a b", "a\r\nX: y", "a,b", "\"a\"", "é", "<b>", "%00", &too_long] {
            assert_eq!(CorrelationId::accept(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(CorrelationId::accept(b"\xff"), None);
    }

    #[test]
    fn absent_repeated_or_bad_headers_make_a_new_id() {
        let id = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(X_CORRELATION_ID, HeaderValue::from_static(value));
            }
            CorrelationId::from_headers(&headers, || 0x1f).to_string()
        };
        let made = "0000000000000000000000000000001f";
        assert_eq!(id(&["given"]), "given");
        assert_eq!([id(&[]), id(&["a", "a"]), id(&["a b"])], [made; 3]);
    }

    proptest! {
        #[test]
        fn made_ids_are_the_number_in_hexadecimal_and_acceptable(random in any::<u128>()) {
            let id = CorrelationId::from_random(random);
            prop_assert_eq!(id.as_str(), format!("{random:032x}"));
            prop_assert!(CorrelationId::accept(id.as_str().as_bytes()).is_some());
        }
    }
}
