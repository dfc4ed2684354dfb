//! The hops of a request as `Forwarded` (RFC 7239) or `X-Forwarded-For` tell them, leftmost first.
//!
//! Several header lines are one list, in their order. A place in the list that holds no address is kept as
//! [`Hop::Opaque`], because dropping it would move trust to the next hop, which the client may have written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::header::{FORWARDED, HeaderMap, HeaderName};
use smallvec::SmallVec;

use super::{HeaderFamily, canonical};

/// Most hops in all header lines together.
pub const MAX_HOPS: usize = 32;

/// Most header text in all lines together, in bytes.
pub const MAX_HEADER_TEXT_BYTES: usize = 4096;

/// Most parameters in one `Forwarded` element.
const MAX_PARAMETERS: usize = 16;

/// `X-Forwarded-For`, which the http crate does not name.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// One hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hop {
    /// An address, never an IPv4-mapped one.
    Address(IpAddr),
    /// Something that is no address: `unknown`, an obfuscated name, a zone id, nothing at all.
    Opaque,
}

/// Why a header's text is not a list of hops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HopsError {
    /// More than [`MAX_HOPS`].
    #[error("more than {MAX_HOPS} hops")]
    TooManyHops,
    /// More than [`MAX_HEADER_TEXT_BYTES`].
    #[error("more than {MAX_HEADER_TEXT_BYTES} bytes of header text")]
    TooLong,
    /// The text breaks the grammar of RFC 7239, so that where a hop begins is not certain.
    #[error("the Forwarded text is malformed at byte {0}")]
    Malformed(usize),
}

/// A list of hops, leftmost (farthest) first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hops(SmallVec<[Hop; 8]>);

impl Hops {
    /// The hops, leftmost first.
    #[must_use]
    pub fn as_slice(&self) -> &[Hop] {
        &self.0
    }

    fn push(&mut self, hop: Hop) -> Result<(), HopsError> {
        if self.0.len() >= MAX_HOPS {
            return Err(HopsError::TooManyHops);
        }
        self.0.push(hop);
        Ok(())
    }
}

/// Parses one RFC 7239 `Forwarded` value: quoted strings, ports, bracketed IPv6, parameters in any case.
///
/// # Errors
/// [`HopsError`] for text that breaks the grammar or a maximum. A well-formed element without a usable `for` is
/// [`Hop::Opaque`], not an error.
pub fn parse_forwarded(value: &[u8]) -> Result<Hops, HopsError> {
    check_length(value.len())?;
    let mut hops = Hops::default();
    Forwarded { text: value, at: 0 }.list(&mut hops)?;
    Ok(hops)
}

/// Parses one `X-Forwarded-For` value: addresses, with or without ports and brackets, between commas.
///
/// # Errors
/// [`HopsError::TooLong`] or [`HopsError::TooManyHops`]; anything that is no address is [`Hop::Opaque`].
pub fn parse_x_forwarded_for(value: &[u8]) -> Result<Hops, HopsError> {
    check_length(value.len())?;
    let mut hops = Hops::default();
    push_x_forwarded_for(value, &mut hops)?;
    Ok(hops)
}

/// All lines of the family's header as one list; empty if there is none.
pub(super) fn from_headers(family: HeaderFamily, headers: &HeaderMap) -> Result<Hops, HopsError> {
    let name = match family {
        HeaderFamily::None => return Ok(Hops::default()),
        HeaderFamily::Forwarded => FORWARDED,
        HeaderFamily::XForwardedFor => X_FORWARDED_FOR,
    };
    let (mut hops, mut length) = (Hops::default(), 0);
    for line in headers.get_all(name) {
        let line = line.as_bytes();
        length += line.len();
        check_length(length)?;
        match family {
            HeaderFamily::Forwarded => Forwarded { text: line, at: 0 }.list(&mut hops)?,
            HeaderFamily::XForwardedFor | HeaderFamily::None => push_x_forwarded_for(line, &mut hops)?,
        }
    }
    Ok(hops)
}

fn check_length(length: usize) -> Result<(), HopsError> {
    if length > MAX_HEADER_TEXT_BYTES { Err(HopsError::TooLong) } else { Ok(()) }
}

fn push_x_forwarded_for(value: &[u8], hops: &mut Hops) -> Result<(), HopsError> {
    for item in value.split(|byte| *byte == b',') {
        let item = trim_blanks(item);
        let addr = str::from_utf8(item).ok().and_then(|text| {
            let bare_v6 = text.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
            bare_v6.or_else(|| node_address(text))
        });
        hops.push(addr.map_or(Hop::Opaque, |addr| Hop::Address(canonical(addr))))?;
    }
    Ok(())
}

/// The address of an RFC 7239 node: `192.0.2.1`, `192.0.2.1:80`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn node_address(node: &str) -> Option<IpAddr> {
    if let Some(rest) = node.strip_prefix('[') {
        let (addr, port) = rest.split_once(']')?;
        let addr = addr.parse::<Ipv6Addr>().ok()?;
        return (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then_some(IpAddr::V6(addr));
    }
    let addr = match node.split_once(':') {
        Some((addr, port)) if is_port(port) => addr,
        Some(_) => return None,
        None => node,
    };
    addr.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

/// A port number or an obfuscated port (`_` and letters).
fn is_port(text: &str) -> bool {
    if let Some(name) = text.strip_prefix('_') {
        return !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    }
    (1..=5).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// Without the blanks and tabs around it, and nothing else.
pub(crate) fn trim_blanks(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// A cursor over one `Forwarded` value. RFC 7239 section 4; blanks are also allowed around `;`.
struct Forwarded<'t> {
    text: &'t [u8],
    at: usize,
}

/// A parameter's value; the text of a quoted string only where somebody will read it.
enum Parameter<'t> {
    Plain(&'t [u8]),
    Unescaped(SmallVec<[u8; 64]>),
}

impl<'t> Forwarded<'t> {
    fn list(&mut self, hops: &mut Hops) -> Result<(), HopsError> {
        loop {
            let hop = self.element()?;
            hops.push(hop)?;
            match self.peek() {
                None => return Ok(()),
                Some(b',') => self.at += 1,
                Some(_) => return Err(self.malformed()),
            }
        }
    }

    /// One element up to `,` or the end: `for=…;proto=…`.
    fn element(&mut self) -> Result<Hop, HopsError> {
        let mut hop = Hop::Opaque;
        let mut names: SmallVec<[&'t [u8]; 4]> = SmallVec::new();
        loop {
            self.skip_blanks();
            if !matches!(self.peek(), None | Some(b',' | b';')) {
                let start = self.at;
                let name = self.token()?;
                if names.len() >= MAX_PARAMETERS || names.iter().any(|seen| seen.eq_ignore_ascii_case(name)) {
                    return Err(HopsError::Malformed(start));
                }
                names.push(name);
                self.equals()?;
                let value = self.value()?;
                if name.eq_ignore_ascii_case(b"for") {
                    hop = value.hop();
                }
                self.skip_blanks();
            }
            match self.peek() {
                Some(b';') => self.at += 1,
                None | Some(b',') => return Ok(hop),
                Some(_) => return Err(self.malformed()),
            }
        }
    }

    fn value(&mut self) -> Result<Parameter<'t>, HopsError> {
        if self.peek() != Some(b'"') {
            return self.token().map(Parameter::Plain);
        }
        self.at += 1;
        let start = self.at;
        let mut unescaped: Option<SmallVec<[u8; 64]>> = None;
        while let Some(byte) = self.peek() {
            let end = self.at;
            self.at += 1;
            let kept = match byte {
                b'"' => {
                    let plain = Parameter::Plain(self.text.get(start..end).unwrap_or_default());
                    return Ok(unescaped.map_or(plain, Parameter::Unescaped));
                }
                b'\\' => {
                    let before = self.text.get(start..end).unwrap_or_default();
                    unescaped.get_or_insert_with(|| SmallVec::from_slice(before));
                    let escaped = self.peek().ok_or_else(|| self.malformed())?;
                    self.at += 1;
                    escaped
                }
                byte => byte,
            };
            if kept != b'\t' && kept.is_ascii_control() {
                return Err(HopsError::Malformed(end));
            }
            if let Some(buffer) = &mut unescaped {
                buffer.push(kept);
            }
        }
        Err(self.malformed())
    }

    fn token(&mut self) -> Result<&'t [u8], HopsError> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|byte| !is_token_byte(*byte)).unwrap_or(rest.len());
        if length == 0 {
            return Err(self.malformed());
        }
        self.at += length;
        Ok(&rest[..length])
    }

    fn equals(&mut self) -> Result<(), HopsError> {
        if self.peek() != Some(b'=') {
            return Err(self.malformed());
        }
        self.at += 1;
        Ok(())
    }

    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn malformed(&self) -> HopsError {
        HopsError::Malformed(self.at)
    }
}

impl Parameter<'_> {
    fn hop(&self) -> Hop {
        let bytes = match self {
            Self::Plain(bytes) => bytes,
            Self::Unescaped(buffer) => buffer.as_slice(),
        };
        let addr = str::from_utf8(bytes).ok().and_then(node_address);
        addr.map_or(Hop::Opaque, |addr| Hop::Address(canonical(addr)))
    }
}

/// `tchar` of RFC 9110.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
