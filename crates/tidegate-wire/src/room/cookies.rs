//! The cookies that carry tokens: read from all `Cookie` lines together, written as `Set-Cookie`.
//!
//! Over TLS the names begin with `__Host-`: a browser takes such a cookie only from this very host, so a neighbour
//! below the same domain cannot plant one, and only those names are read. A name that comes twice says nothing
//! certain: it is refused, or each of its values verified.

use http::header::{COOKIE, HeaderMap, HeaderValue};

use super::name::RoomName;
use crate::identity::trim_blanks;

#[cfg(test)]
mod tests;

/// Most bytes of all `Cookie` lines together; most of them are the site's own.
pub const MAX_COOKIE_HEADER_BYTES: usize = 32 * 1024;
/// Most cookies in all lines together.
pub const MAX_COOKIES: usize = 256;
/// Longest cookie that is written, name and value, in bytes: what browsers keep.
pub const MAX_SET_COOKIE_BYTES: usize = 4096;
/// `Max-Age` of the device's cookie, in seconds: a year, within what browsers allow.
pub const DEVICE_MAX_AGE_S: u32 = 365 * 24 * 3600;

/// Whether the browser's connection is encrypted, as far as the door knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// HTTPS: `__Host-` and `Secure`.
    Tls,
    /// HTTP: for development.
    Plain,
}

/// Which cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CookieName<'r> {
    /// `tidegate_device`.
    Device,
    /// `tidegate_ticket_<room>`.
    Ticket(&'r RoomName),
    /// `tidegate_pass_<room>`.
    Pass(&'r RoomName),
    /// `tidegate_jwt_<room>`: the pass for the site, which Tidegate itself never reads.
    PassJwt(&'r RoomName),
    /// `tidegate_place_<room>`: where the visitor wanted to go, in base64url. It is not signed, so it is parsed anew whenever it is
    /// read.
    Place(&'r RoomName),
}

/// Why cookies cannot be read, or one cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CookieError {
    /// More than [`MAX_COOKIE_HEADER_BYTES`].
    #[error("more than {MAX_COOKIE_HEADER_BYTES} bytes of cookies: delete some of this site's cookies")]
    TooLong,
    /// More than [`MAX_COOKIES`].
    #[error("more than {MAX_COOKIES} cookies: delete some of this site's cookies")]
    TooMany,
    /// The name came more than once, so two readers could believe different values.
    #[error("the cookie {0} came more than once: delete this site's cookies")]
    Duplicate(String),
    /// The value is no token.
    #[error("the cookie {0} holds characters that no token has")]
    NotAToken(String),
    /// The cookie to be written is longer than [`MAX_SET_COOKIE_BYTES`].
    #[error("the cookie {0} would be longer than the {MAX_SET_COOKIE_BYTES} bytes that browsers keep")]
    TooLongToKeep(String),
}

impl CookieName<'_> {
    /// The name as it stands in headers.
    #[must_use]
    pub fn in_header(self, transport: Transport) -> String {
        let prefix = match transport {
            Transport::Tls => "__Host-",
            Transport::Plain => "",
        };
        match self {
            Self::Device => format!("{prefix}tidegate_device"),
            Self::Ticket(room) => format!("{prefix}tidegate_ticket_{room}"),
            Self::Pass(room) => format!("{prefix}tidegate_pass_{room}"),
            Self::PassJwt(room) => format!("{prefix}tidegate_jwt_{room}"),
            Self::Place(room) => format!("{prefix}tidegate_place_{room}"),
        }
    }
}

/// All values of a cookie that a token may have, of which there can be two where a neighbour below the same domain has planted one: only
/// for whoever verifies each. Others are left out, since we have never written them.
///
/// # Errors
/// [`CookieError`] if there are too many cookies.
pub fn read_cookies<'h>(
    headers: &'h HeaderMap,
    name: CookieName<'_>,
    transport: Transport,
) -> Result<Vec<&'h str>, CookieError> {
    let name = name.in_header(transport);
    let mut found = Vec::new();
    each_value(headers, &name, |value| {
        found.extend(
            str::from_utf8(value).ok().filter(|value| !value.is_empty() && is_token(value.as_bytes())),
        );
        Ok(())
    })?;
    Ok(found)
}

/// The value of a cookie, `None` if it is absent or empty. Other cookies may hold any bytes.
///
/// # Errors
/// [`CookieError`] if there are too many cookies, or this one came twice or is no token.
pub fn read_cookie<'h>(
    headers: &'h HeaderMap,
    name: CookieName<'_>,
    transport: Transport,
) -> Result<Option<&'h str>, CookieError> {
    let name = name.in_header(transport);
    let mut found = None;
    each_value(headers, &name, |value| match found.replace(value) {
        None => Ok(()),
        Some(_) => Err(CookieError::Duplicate(name.clone())),
    })?;
    match found {
        None | Some(b"") => Ok(None),
        Some(value) if is_token(value) => Ok(str::from_utf8(value).ok()),
        Some(_) => Err(CookieError::NotAToken(name)),
    }
}

fn each_value<'h>(
    headers: &'h HeaderMap,
    name: &str,
    mut take: impl FnMut(&'h [u8]) -> Result<(), CookieError>,
) -> Result<(), CookieError> {
    let (mut bytes, mut count) = (0, 0);
    // HTTP/2 splits cookies into lines as it likes.
    for line in headers.get_all(COOKIE) {
        let line = line.as_bytes();
        bytes += line.len();
        if bytes > MAX_COOKIE_HEADER_BYTES {
            return Err(CookieError::TooLong);
        }
        for pair in line.split(|byte| *byte == b';') {
            count += 1;
            if count > MAX_COOKIES {
                return Err(CookieError::TooMany);
            }
            let Some(value) = value_of(pair, name.as_bytes()) else { continue };
            take(value)?;
        }
    }
    Ok(())
}

/// `Set-Cookie` for a token that the browser keeps for `max_age_s` seconds.
///
/// # Errors
/// [`CookieError::NotAToken`] or [`CookieError::TooLongToKeep`].
pub fn set_cookie(
    name: CookieName<'_>,
    token: &str,
    max_age_s: u32,
    transport: Transport,
) -> Result<HeaderValue, CookieError> {
    let name = name.in_header(transport);
    if token.is_empty() || !is_token(token.as_bytes()) {
        return Err(CookieError::NotAToken(name));
    }
    if name.len() + token.len() > MAX_SET_COOKIE_BYTES {
        return Err(CookieError::TooLongToKeep(name));
    }
    write(name, token, max_age_s, transport)
}

/// `Set-Cookie` that makes the browser forget a token.
#[must_use]
pub fn clear_cookie(name: CookieName<'_>, transport: Transport) -> HeaderValue {
    // A name and nothing else is always a header's text.
    write(name.in_header(transport), "", 0, transport).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn write(
    name: String,
    token: &str,
    max_age_s: u32,
    transport: Transport,
) -> Result<HeaderValue, CookieError> {
    let secure = match transport {
        Transport::Tls => "; Secure",
        Transport::Plain => "",
    };
    let text = format!("{name}={token}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::from_maybe_shared(text.into_bytes()).map_err(|_| CookieError::NotAToken(name))
}

/// The value of a pair of this name. Only blanks and tabs are cut off: whoever cuts off more reads a name that the
/// browser did not guard.
fn value_of<'h>(pair: &'h [u8], name: &[u8]) -> Option<&'h [u8]> {
    let at = pair.iter().position(|byte| *byte == b'=')?;
    let (key, value) = pair.split_at_checked(at)?;
    (trim_blanks(key) == name).then(|| trim_blanks(value.get(1..).unwrap_or_default()))
}

/// Letters, digits and `. _ -`: what tokens are made of.
fn is_token(value: &[u8]) -> bool {
    value.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}
