//! The common and combined log formats of Apache and nginx:
//! `%h %l %u %t "%r" %>s %b` and then `"%{Referer}i" "%{User-agent}i"`.
//!
//! Also read: a virtual host in front (Debian's `vhost_combined`) and fields added behind. A limiter would
//! have seen every request, so a line is a record as soon as client, time and status are whole: if the
//! request line is none (`-`, TLS bytes sent to a plain port), without method and path; if the line is
//! torn further on, without user agent.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use super::error::Unreadable;
use super::format::FieldMap;
use super::record::{Field, LogRecord};
use super::time;

#[cfg(test)]
mod tests;

/// What a mapping may name in these formats, for messages.
pub(super) const SOURCE_NAMES: &str =
    "client_ip, ident, user, method, path, host, status, referer and user_agent";

/// A line cut into its fields, still escaped.
struct ClfLine<'a> {
    host: Option<&'a [u8]>,
    client: &'a [u8],
    ident: &'a [u8],
    user: &'a [u8],
    at_us: u64,
    request: &'a [u8],
    status: &'a [u8],
    referer: Option<&'a [u8]>,
    agent: Option<&'a [u8]>,
}

/// Whether a mapping's source exists in these formats.
pub(super) fn has_source(name: &str) -> bool {
    Field::from_name(name).is_some() || name == "ident" || name == "referer"
}

/// Parses one line.
pub(super) fn parse(line: &[u8], fields: &FieldMap) -> Result<LogRecord, Unreadable> {
    let cut = cut(line)?;
    let mut record = LogRecord::new(cut.at_us, line.len());
    let present = |value: &[u8]| !value.is_empty() && value != b"-";
    record.set_bytes(Field::ClientIp, cut.client);
    for (field, value) in [(Field::Host, cut.host), (Field::User, Some(cut.user))] {
        if let Some(value) = value.filter(|value| present(value)) {
            record.set_bytes(field, &unescape(value));
        }
    }
    record.set_bytes(Field::Status, cut.status);
    if let Some(agent) = cut.agent.filter(|value| present(value)) {
        record.set_bytes(Field::UserAgent, &unescape(agent));
    }
    set_request_line(&mut record, &String::from_utf8_lossy(&unescape(cut.request)));
    if !fields.is_empty() {
        apply_mappings(&mut record, &cut, fields);
    }
    Ok(record)
}

fn apply_mappings(record: &mut LogRecord, cut: &ClfLine<'_>, fields: &FieldMap) {
    // All sources are read before any is overwritten, so that mappings do not depend on their order.
    let values: Vec<Option<String>> = fields
        .iter()
        .map(|(_, source)| {
            let raw = match source {
                "ident" => Some(cut.ident),
                "referer" => cut.referer,
                known => return record.entry(known).map(str::to_owned),
            };
            let raw = raw.filter(|value| !value.is_empty() && *value != b"-")?;
            Some(String::from_utf8_lossy(&unescape(raw)).into_owned())
        })
        .collect();
    for ((entry, _), value) in fields.iter().zip(values) {
        match (value, Field::from_name(entry)) {
            (Some(value), _) => record.set_entry(entry, &value),
            (None, Some(field)) => record.clear(field),
            (None, None) => {}
        }
    }
}

fn cut(line: &[u8]) -> Result<ClfLine<'_>, Unreadable> {
    let open = find(line, b'[').ok_or(Unreadable::NoTime)?;
    let close = open + find(&line[open..], b']').ok_or(Unreadable::NoTime)?;
    let (host, client, ident, user) = cut_front(&line[..open])?;
    let at_us = time::parse_clf(&line[open + 1..close])?;
    let (request, rest) = quoted(&line[close + 1..])?.ok_or(Unreadable::NoRequest)?;
    let (status, rest) = word(rest.trim_ascii_start());
    if status.len() != 3 || !status.iter().all(u8::is_ascii_digit) {
        return Err(Unreadable::NoStatus);
    }
    let (_bytes_sent, rest) = word(rest);
    let (referer, rest) = quoted(rest).ok().flatten().unzip();
    let agent = rest.and_then(|rest| quoted(rest).ok().flatten()).map(|(agent, _)| agent);
    Ok(ClfLine { host, client, ident, user, at_us, request, status, referer, agent })
}

type Front<'a> = (Option<&'a [u8]>, &'a [u8], &'a [u8], &'a [u8]);

/// `[vhost:port] client ident user`; the user may contain spaces.
fn cut_front(front: &[u8]) -> Result<Front<'_>, Unreadable> {
    let (first, rest) = word(front.trim_ascii());
    let (second, rest) = word(rest);
    if rest.is_empty() {
        return Err(Unreadable::NoTime);
    }
    let (third, after_third) = word(rest);
    if !after_third.is_empty() && is_address(second) && !is_address(first) {
        return Ok((Some(without_port(first)), second, third, after_third));
    }
    Ok((None, first, second, rest))
}

fn word(text: &[u8]) -> Cut<'_> {
    let (word, rest) = text.split_at(find(text, b' ').unwrap_or(text.len()));
    (word, rest.trim_ascii_start())
}

fn is_address(word: &[u8]) -> bool {
    std::str::from_utf8(word).is_ok_and(|word| word.parse::<IpAddr>().is_ok())
}

fn without_port(host: &[u8]) -> &[u8] {
    match host.iter().rposition(|byte| *byte == b':') {
        Some(colon) if host[colon + 1..].iter().all(u8::is_ascii_digit) => &host[..colon],
        _ => host,
    }
}

fn find(text: &[u8], wanted: u8) -> Option<usize> {
    text.iter().position(|byte| *byte == wanted)
}

/// A field and what follows it.
type Cut<'a> = (&'a [u8], &'a [u8]);

/// A quoted field; `None` where no quote begins.
fn quoted(text: &[u8]) -> Result<Option<Cut<'_>>, Unreadable> {
    let Some(inner) = text.trim_ascii_start().strip_prefix(b"\"") else { return Ok(None) };
    let mut at = 0;
    while let Some(byte) = inner.get(at) {
        match byte {
            b'"' => return Ok(Some((&inner[..at], &inner[at + 1..]))),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    Err(Unreadable::OpenQuote)
}

/// Undoes the escapes of Apache (`\"`, `\\`, `\n`, `\xHH`) and nginx (`\xHH`). An unknown escape stays.
fn unescape(text: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = find(text, b'\\') else { return Cow::Borrowed(text) };
    let mut plain = text[..first].to_vec();
    let mut rest = &text[first..];
    while let Some((byte, tail)) = rest.split_first() {
        let (plain_byte, used) = match (byte, tail) {
            (b'\\', [b'x', high, low, ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high * 16 + low, 4),
                _ => (b'\\', 1),
            },
            (b'\\', [escaped @ (b'"' | b'\\'), ..]) => (*escaped, 2),
            (b'\\', [b'n', ..]) => (b'\n', 2),
            (b'\\', [b'r', ..]) => (b'\r', 2),
            (b'\\', [b't', ..]) => (b'\t', 2),
            (b'\\', [b'b', ..]) => (0x08, 2),
            (b'\\', [b'v', ..]) => (0x0b, 2),
            _ => (*byte, 1),
        };
        plain.push(plain_byte);
        rest = &rest[used..];
    }
    Cow::Owned(plain)
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Sets method, path and (of an absolute target) host from `GET /path?query HTTP/1.1`; sets nothing from
/// what is no request.
pub(super) fn set_request_line(record: &mut LogRecord, line: &str) {
    let Some((method, rest)) = line.split_once(' ') else { return };
    let target = match rest.rsplit_once(' ') {
        Some((target, version)) if version.starts_with("HTTP/") => target,
        // HTTP/0.9, or a target with a space in it and no version.
        _ => rest,
    };
    let is_method = !method.is_empty() && method.len() <= 32 && method.bytes().all(is_token_byte);
    if !is_method || !set_target(record, target, method) {
        return;
    }
    record.set(Field::Method, method);
}

/// Sets path and, of an absolute target, host; false if this is no request target (RFC 9112, 3.2).
fn set_target(record: &mut LogRecord, target: &str, method: &str) -> bool {
    if target.starts_with('/') || target == "*" {
        record.set(Field::Path, without_query(target));
        return true;
    }
    if let Some(("http" | "https", rest)) = target.split_once("://") {
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if record.get(Field::Host).is_none() {
            record.set(Field::Host, authority);
        }
        record.set(Field::Path, if path.starts_with('/') { without_query(path) } else { "/" });
        return true;
    }
    method == "CONNECT" && !target.is_empty()
}

/// Sets path and host from a field that holds only the target.
pub(super) fn set_path(record: &mut LogRecord, target: &str) {
    if !set_target(record, target, "") {
        record.set(Field::Path, without_query(target));
    }
}

fn without_query(target: &str) -> &str {
    target.split(['?', '#']).next().unwrap_or(target)
}

const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'!' | b'~' | b'+' | b'*' | b'$')
}

/// `192.0.2.1:443` → `192.0.2.1`: with its port every connection would be a client of its own.
pub(super) fn without_client_port(client: &str) -> Cow<'_, str> {
    if client.contains(':')
        && client.parse::<IpAddr>().is_err()
        && let Ok(address) = client.parse::<SocketAddr>()
    {
        return Cow::Owned(address.ip().to_string());
    }
    Cow::Borrowed(client)
}
