//! Where a visitor goes afterwards: a path on the host that serves the page, or a host of the room's list.
//!
//! A text is refused unless it is plain in every reading: first its characters are looked at, then it is parsed by the
//! rules that browsers follow (WHATWG), then what was parsed is compared with the list and with what was written. What
//! comes out is the parsed form, not the text, so a browser cannot read it otherwise; and it still is harmless when
//! somebody decodes its path once or twice too often.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::percent_decode_str;
use url::Url;

use super::site::{AllowedHosts, Scheme, SiteHost};

/// Longest text that is looked at, and longest that comes out, in bytes.
pub const MAX_RETURN_TO_BYTES: usize = 2048;

/// How often a path is decoded in the search for tricks.
const MAX_DECODINGS: usize = 4;

/// Stands for the host that serves the page; nobody can own it.
const OWN_HOST: &str = "https://own.invalid";

/// A place to which a browser may be sent: an absolute path, or a URL of an allowed host. Visible ASCII without quotes, angle
/// brackets and backslashes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReturnTo(String);

/// Why a text is no place to return to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReturnToError {
    /// Nothing, or more than [`MAX_RETURN_TO_BYTES`].
    #[error("return_to has 1 to {MAX_RETURN_TO_BYTES} bytes")]
    Length,
    /// A blank, a control character, a backslash, or something that is not ASCII.
    #[error("return_to has a character at byte {0} that must be percent-encoded")]
    Character(usize),
    /// Neither `/…` nor `https://…` nor `http://…`.
    #[error("return_to must begin with `/` or `https://`")]
    Form,
    /// The path begins like the name of a host, or hides control characters.
    #[error(
        "the path of return_to must not begin with two slashes, however they are written, nor hide control characters"
    )]
    Path,
    /// A user or a password.
    #[error("return_to must not have a user or a password")]
    UserInfo,
    /// The host is not written as a browser reads it.
    #[error(
        "the host of return_to must be written plainly: in ASCII, without escapes, with its port if that is not the usual one"
    )]
    Host,
    /// Not a host of the room.
    #[error("the host of return_to is not one of this room's hosts: the room's operator can add it")]
    ForeignHost,
}

impl ReturnTo {
    /// Reads a place to return to.
    ///
    /// # Errors
    /// [`ReturnToError`], for the first thing that is wrong.
    pub fn parse(text: &str, allowed: &AllowedHosts) -> Result<Self, ReturnToError> {
        if !(1..=MAX_RETURN_TO_BYTES).contains(&text.len()) {
            return Err(ReturnToError::Length);
        }
        if let Some(at) = text.bytes().position(|byte| !byte.is_ascii_graphic() || byte == b'\\') {
            return Err(ReturnToError::Character(at));
        }
        let place = if text.starts_with('/') { own_path(text)? } else { allowed_url(text, allowed)? };
        if place.len() > MAX_RETURN_TO_BYTES { Err(ReturnToError::Length) } else { Ok(Self(place)) }
    }

    /// The place as the value of a cookie.
    #[must_use]
    pub fn to_cookie(&self) -> String {
        URL_SAFE_NO_PAD.encode(&self.0)
    }

    /// Reads a place that a cookie holds, of which nobody knows who wrote it; `None` if visitors may not be sent there.
    #[must_use]
    pub fn of_cookie(value: &str, allowed: &AllowedHosts) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(value).ok()?).ok()?;
        Self::parse(&text, allowed).ok()
    }

    /// The place, for a `Location` header or, escaped, a page.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ReturnTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn own_path(text: &str) -> Result<String, ReturnToError> {
    if text.starts_with("//") {
        return Err(ReturnToError::Path);
    }
    let own = Url::parse(OWN_HOST).map_err(|_| ReturnToError::Form)?;
    let url = own.join(text).map_err(|_| ReturnToError::Path)?;
    if url.origin() != own.origin() || !url.username().is_empty() || url.password().is_some() {
        return Err(ReturnToError::Path);
    }
    check_path(url.path())?;
    url.as_str().strip_prefix(OWN_HOST).map(str::to_owned).ok_or(ReturnToError::Path)
}

fn allowed_url(text: &str, allowed: &AllowedHosts) -> Result<String, ReturnToError> {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (Scheme::Https, rest),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (Scheme::Http, rest),
        _ => return Err(ReturnToError::Form),
    };
    let written = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if written.contains('@') {
        return Err(ReturnToError::UserInfo);
    }
    let url = Url::parse(text).map_err(|_| ReturnToError::Host)?;
    if url.scheme() != scheme.as_str() || !url.username().is_empty() || url.password().is_some() {
        return Err(ReturnToError::UserInfo);
    }
    let host = SiteHost::of_url(&url).ok_or(ReturnToError::Host)?;
    if !is_plainly(written, &host, url.port_or_known_default()) {
        return Err(ReturnToError::Host);
    }
    if !allowed.contains(scheme, &host) {
        return Err(ReturnToError::ForeignHost);
    }
    check_path(url.path())?;
    Ok(url.into())
}

/// Whether the host as written is the host as parsed, but for capitals and a port that goes without saying.
fn is_plainly(written: &str, host: &SiteHost, port: Option<u16>) -> bool {
    let bare = port.and_then(|port| written.strip_suffix(&format!(":{port}")));
    [Some(written), bare].into_iter().flatten().any(|text| text.eq_ignore_ascii_case(host.as_str()))
}

/// Refuses paths that would name a host, or break a header, for somebody who decodes them again.
fn check_path(path: &str) -> Result<(), ReturnToError> {
    let mut path = path.to_owned();
    for _ in 0..MAX_DECODINGS {
        let mut chars = path.chars();
        let starts_well = chars.next() == Some('/') && !chars.next().is_some_and(reads_as_slash);
        // Browsers have resolved those that stand in the open; what comes out of an escape is to reach further up.
        let climbs = path.split(['/', '\\']).any(|segment| matches!(segment, "." | ".."));
        if !starts_well || climbs || path.contains(char::is_control) {
            return Err(ReturnToError::Path);
        }
        let decoded = percent_decode_str(&path).decode_utf8_lossy().into_owned();
        if decoded == path {
            return Ok(());
        }
        path = decoded;
    }
    // Nobody writes a path that is encoded so often for its own sake.
    Err(ReturnToError::Path)
}

/// Slashes, what looks or folds like one, and what some readers drop before looking for one.
fn reads_as_slash(c: char) -> bool {
    const ALIKE: &str = "/\\\u{2044}\u{2215}\u{2216}\u{2571}\u{2572}\u{27cb}\u{27cd}\u{29f5}\u{29f6}\u{29f8}\u{29f9}\u{fe68}\u{ff0f}\u{ff3c}\u{fffd}";
    c.is_whitespace()
        || c.is_control()
        || ALIKE.contains(c)
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{ad}')
}
