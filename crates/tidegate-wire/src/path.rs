//! One spelling for each request path, so that `//a`, `/./a` and `/%61` share one bucket with `/a`.
//!
//! The query and fragment are cut off, percent escapes are decoded once, slashes merged and dot segments resolved.
//! `%25`, `%3F` and `%23` stay escaped: decoded, they would read as an escape, a query or a fragment to whoever looks
//! at the result next. So the result is its own normal form, always. A trailing slash is kept, and letters keep
//! their case: both can name another resource.

use std::borrow::Cow;

#[cfg(test)]
mod tests;

/// Longest path before decoding, without query and fragment, in bytes.
pub const MAX_PATH_BYTES: usize = 2048;

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin with `/`.
    #[error("a path must begin with `/`")]
    NotAbsolute,
    /// More than [`MAX_PATH_BYTES`].
    #[error("a path may be at most {MAX_PATH_BYTES} bytes long")]
    TooLong,
    /// `%` without two hexadecimal digits.
    #[error("`%` must be followed by two hexadecimal digits; write a percent sign as %25")]
    BadEscape,
    /// `%2F`, `%5C` or a backslash: servers disagree whether it separates segments.
    #[error("a path must not contain %2F, %5C or a backslash, because servers disagree about their meaning")]
    AmbiguousSeparator,
    /// A control character, escaped or not; `%00` is one.
    #[error("a path must not contain control characters")]
    Control,
    /// The decoded bytes are not UTF-8.
    #[error("a path must decode to UTF-8")]
    NotUtf8,
}

/// The normal form of a request path; borrowed if nothing but the query or fragment had to go.
///
/// ```
/// # use tidegate_wire::path::normalize_path;
/// assert_eq!(normalize_path("/a//b/../%63?q=1").as_deref(), Ok("/a/c"));
/// ```
///
/// # Errors
/// [`PathError`] for a path without one clear meaning.
pub fn normalize_path(raw: &str) -> Result<Cow<'_, str>, PathError> {
    let path = raw.find(['?', '#']).map_or(raw, |end| &raw[..end]);
    if path.len() > MAX_PATH_BYTES {
        return Err(PathError::TooLong);
    }
    if !path.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    if is_plain(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = String::from_utf8(decode(path.as_bytes())?).map_err(|_| PathError::NotUtf8)?;
    if decoded.chars().any(char::is_control) {
        return Err(PathError::Control);
    }
    let resolved = resolve(&decoded);
    Ok(if resolved == path { Cow::Borrowed(path) } else { Cow::Owned(resolved) })
}

/// A normal form for whatever stands where a path should, for doors that cannot refuse: as [`normalize_path`] has it where that has
/// one. Else what may separate segments does (`%2F`, `%5C`, a backslash), `/` is put in front, `%` that begins no escape is
/// `%25`, control characters and what is no UTF-8 become U+FFFD, and no length is too long.
///
/// ```
/// # use tidegate_wire::path::normalize_any_path;
/// assert_eq!(normalize_any_path(r"/x/..\../login"), "/login");
/// ```
#[must_use]
pub fn normalize_any_path(raw: &str) -> Cow<'_, str> {
    normalize_path(raw).unwrap_or_else(|_| {
        let path = raw.find(['?', '#']).map_or(raw, |end| &raw[..end]);
        let decoded = decode_any(path.as_bytes());
        let decoded = String::from_utf8_lossy(&decoded).replace(char::is_control, "\u{fffd}");
        Cow::Owned(resolve(&decoded))
    })
}

/// Whether the path is surely in normal form: ASCII, no escape, no segment that is empty or begins with a dot.
fn is_plain(path: &[u8]) -> bool {
    let mut previous = 0;
    path.iter().all(|&byte| {
        let suspect_start = previous == b'/' && matches!(byte, b'/' | b'.');
        previous = byte;
        matches!(byte, 0x20..0x7f) && !matches!(byte, b'%' | b'\\') && !suspect_start
    })
}

fn decode(path: &[u8]) -> Result<Vec<u8>, PathError> {
    let mut out = Vec::with_capacity(path.len());
    let mut bytes = path.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => return Err(PathError::AmbiguousSeparator),
            b'%' => {
                let high = bytes.next().and_then(hex_value).ok_or(PathError::BadEscape)?;
                let low = bytes.next().and_then(hex_value).ok_or(PathError::BadEscape)?;
                match high << 4 | low {
                    b'/' | b'\\' => return Err(PathError::AmbiguousSeparator),
                    b'%' => out.extend_from_slice(b"%25"),
                    b'?' => out.extend_from_slice(b"%3F"),
                    b'#' => out.extend_from_slice(b"%23"),
                    decoded => out.push(decoded),
                }
            }
            byte => out.push(byte),
        }
    }
    Ok(out)
}

/// As [`decode`], where everything has a meaning.
fn decode_any(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [byte, after @ ..] = rest {
        rest = after;
        let mut decoded = *byte;
        if let (b'%', [high, low, behind @ ..]) = (byte, after)
            && let Some((high, low)) = hex_value(*high).zip(hex_value(*low))
        {
            decoded = high << 4 | low;
            rest = behind;
        }
        match decoded {
            b'\\' => out.push(b'/'),
            b'%' => out.extend_from_slice(b"%25"),
            b'?' => out.extend_from_slice(b"%3F"),
            b'#' => out.extend_from_slice(b"%23"),
            decoded => out.push(decoded),
        }
    }
    out
}

fn hex_value(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Merges slashes and resolves `.` and `..` (RFC 3986 section 5.2.4: `..` at the root stays at the root).
fn resolve(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut ends_in_slash = false;
    for segment in path.split('/') {
        ends_in_slash = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => out.truncate(out.rfind('/').unwrap_or(0)),
            segment => {
                out.push('/');
                out.push_str(segment);
            }
        }
    }
    if ends_in_slash {
        out.push('/');
    }
    out
}
