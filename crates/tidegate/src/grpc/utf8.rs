//! Texts of a request that are no UTF-8.
//!
//! Envoy puts what its client sent into the values of descriptors as it came, and a field of HTTP may hold any bytes from 0x80
//! on (RFC 9110 section 5.5, `obs-text`). A message with such a text cannot be read, and Envoy lets a request pass, by
//! default, whose check ends in an error: a client could be unlimited by one byte. In authorization requests Envoy mends the
//! fields (`MessageUtil::sanitizeUtf8String`), but not path, method and host, nor what a certificate says of its owner. So what
//! is no UTF-8 is replaced before the message is read, as Envoy does it: each byte by `!`, which keeps all lengths.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// What stands before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// The numbers of the fields on the way to a text.
type Path = &'static [u32];

/// Of a `RateLimitRequest`: the values of the entries of the descriptors.
const RATE_LIMIT: &[Path] = &[&[2, 1, 2]];

/// Of a `CheckRequest`: what comes from Envoy's client.
const CHECK: &[Path] = &[
    // attributes.source: principal and certificate.
    &[1, 1, 4],
    &[1, 1, 5],
    // attributes.request.http: method, path, host, query, fragment, and body.
    &[1, 4, 2, 2],
    &[1, 4, 2, 4],
    &[1, 4, 2, 5],
    &[1, 4, 2, 7],
    &[1, 4, 2, 8],
    &[1, 4, 2, 11],
    // attributes.request.http: values of headers, and of header_map.
    &[1, 4, 2, 3, 2],
    &[1, 4, 2, 13, 1, 2],
    // attributes.tls_session: the name that the client asks for.
    &[1, 12, 1],
];

/// The same body of a `ShouldRateLimit`, with values that can be read. What is no message stays as it is.
pub(super) fn mend_rate_limit(body: Bytes) -> Bytes {
    mend(body, RATE_LIMIT)
}

/// The same body of a `Check`, with texts that can be read. What is no message stays as it is.
pub(super) fn mend_check(body: Bytes) -> Bytes {
    mend(body, CHECK)
}

fn mend(body: Bytes, texts: &[Path]) -> Bytes {
    if body.is_ascii() {
        return body;
    }
    let mut body = BytesMut::from(body);
    if let Some(message) = body.get_mut(PREFIX_BYTES..) {
        texts.iter().for_each(|path| follow(message, path));
    }
    body.freeze()
}

/// Mends all texts at the end of the path.
fn follow(content: &mut [u8], path: &[u32]) {
    match path {
        [] => make_utf8(content),
        [number, rest @ ..] => for_each(content, *number, |content| follow(content, rest)),
    }
}

/// Visits all contents of the field of this number, up to where the message breaks off.
fn for_each(message: &mut [u8], number: u32, visit: impl Fn(&mut [u8])) {
    let mut at = 0;
    while let Some((found, Range { start, end })) = message.get(at..).and_then(first_field) {
        if found == number
            && let Some(content) = message.get_mut(at + start..at + end)
        {
            visit(content);
        }
        at += end;
    }
}

/// The number of the first field, and where its content stands: nowhere, where that is neither a text nor a message.
fn first_field(message: &[u8]) -> Option<(u32, Range<usize>)> {
    let mut left = message;
    let (number, wire_type) = decode_key(&mut left).ok()?;
    if wire_type == WireType::LengthDelimited {
        let length = usize::try_from(decode_varint(&mut left).ok()?).ok()?;
        let start = message.len() - left.len();
        return (length <= left.len()).then(|| (number, start..start + length));
    }
    skip_field(wire_type, number, &mut left, DecodeContext::default()).ok()?;
    let end = message.len() - left.len();
    Some((number, end..end))
}

fn make_utf8(text: &mut [u8]) {
    let mut at = 0;
    while let Err(error) = str::from_utf8(text.get(at..).unwrap_or_default()) {
        let start = at + error.valid_up_to();
        let end = error.error_len().map_or(text.len(), |length| start + length);
        text.get_mut(start..end).unwrap_or_default().fill(b'!');
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use tidegate_proto::envoy::config::core::v3::{HeaderMap, HeaderValue};
    use tidegate_proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
    use tidegate_proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::{
        Entry, RateLimitOverride,
    };
    use tidegate_proto::envoy::service::auth::v3::attribute_context::{
        HttpRequest, Peer, Request, TlsSession,
    };
    use tidegate_proto::envoy::service::auth::v3::{AttributeContext, CheckRequest};
    use tidegate_proto::envoy::service::ratelimit::v3::RateLimitRequest;

    use super::*;

    fn request(value: &str) -> RateLimitRequest {
        let entry = |key: &str, value: &str| Entry { key: key.to_owned(), value: value.to_owned() };
        let descriptor = |entries| RateLimitDescriptor {
            entries,
            limit: Some(RateLimitOverride { requests_per_unit: 300, unit: 1 }),
            hits_addend: Some(200),
            is_negative_hits: true,
        };
        let descriptors = vec![
            descriptor(vec![entry("a", "grün"), entry("b", value)]),
            descriptor(vec![entry("c", value)]),
        ];
        RateLimitRequest { domain: "edge".to_owned(), descriptors, hits_addend: 70_000 }
    }

    /// With this wherever a client of Envoy may have put it.
    fn check(text: &str) -> CheckRequest {
        let text = || text.to_owned();
        let header = HeaderValue { key: "x".to_owned(), value: text(), raw_value: Vec::new() };
        let http = HttpRequest {
            method: text(),
            headers: [("x".to_owned(), text())].into(),
            header_map: Some(HeaderMap { headers: vec![header.clone(), header] }),
            path: text(),
            host: text(),
            query: text(),
            fragment: text(),
            body: text(),
            raw_body: vec![0xff, 0xfe],
            ..Default::default()
        };
        let attributes = AttributeContext {
            source: Some(Peer { principal: text(), certificate: text(), ..Default::default() }),
            request: Some(Request { http: Some(http), ..Default::default() }),
            context_extensions: [("plan".to_owned(), "grün".to_owned())].into(),
            tls_session: Some(TlsSession { sni: text() }),
            ..Default::default()
        };
        CheckRequest { attributes: Some(attributes) }
    }

    fn body(request: &impl Message) -> Vec<u8> {
        [&[0; PREFIX_BYTES][..], &request.encode_to_vec()].concat()
    }

    /// A body with these bytes wherever `value` stands; as many of both.
    fn replaced(mut body: Vec<u8>, value: &str, bytes: &[u8]) -> Vec<u8> {
        let mut at = 0;
        while let Some(found) = body[at..].windows(bytes.len()).position(|found| found == value.as_bytes()) {
            at += found + bytes.len();
            body[at - bytes.len()..at].copy_from_slice(bytes);
        }
        body
    }

    #[test]
    fn every_value_can_be_read_and_nothing_else_changes() {
        for (bytes, read) in [
            (&b"\xff1234567"[..], "!1234567"),
            (b"12\xc3(4567", "12!(4567"),
            (b"1234567\xe2", "1234567!"),
            (b"\xf0\x9f\x8ex1\x80\xc2\x85", "!!!x1!\u{85}"),
        ] {
            let sent = replaced(body(&request("original")), "original", bytes);
            let answer = mend_rate_limit(sent.into());
            let read_back = RateLimitRequest::decode(&answer[PREFIX_BYTES..]);
            assert_eq!(read_back.unwrap(), request(read));
            let sent = replaced(body(&check("original")), "original", bytes);
            assert!(CheckRequest::decode(&sent[PREFIX_BYTES..]).is_err());
            let read_back = CheckRequest::decode(&mend_check(sent.into())[PREFIX_BYTES..]);
            assert_eq!(read_back.unwrap(), check(read));
        }
    }

    #[test]
    fn what_can_be_read_or_is_no_message_stays_as_it_is() {
        let whole = body(&request("ünïcode"));
        for length in 0..=whole.len() {
            let cut = Bytes::copy_from_slice(&whole[..length]);
            assert_eq!(mend_rate_limit(cut.clone()), cut, "{length} bytes");
        }
        let other = Bytes::from_static(b"\0\0\0\0\x07\x0a\x05\xff\xff\xff\xff\xff");
        assert_eq!(mend_rate_limit(other.clone()), other, "only values are mended");
        let endless = Bytes::from_static(b"\0\0\0\0\0\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\xff");
        assert_eq!(mend_rate_limit(endless.clone()), endless);
    }
}
