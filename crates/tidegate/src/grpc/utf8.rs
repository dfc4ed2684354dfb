//! What is done to a message before it is read, so that it can be.
//!
//! Envoy puts what its client sent into the values of descriptors as it came, and a field of HTTP may hold any bytes from 0x80
//! on (RFC 9110 section 5.5, `obs-text`). A message with such a text cannot be read, and Envoy lets a request pass, by
//! default, whose check ends in an error: a client could be unlimited by one byte. In authorization requests Envoy mends the
//! fields (`MessageUtil::sanitizeUtf8String`), but not path, method and host, nor what a certificate says of its owner. So what
//! is no UTF-8 is replaced before the message is read, as Envoy does it: each byte by `!`, which keeps all lengths.
//!
//! What filters of Envoy's noted of a request (`metadata_context`) may be nested deeper than prost reads, and nobody here
//! reads it: its field gets a number that is none, so that it is passed over.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// What stands before a message: whether it is compressed, and its length.
pub(super) const PREFIX_BYTES: usize = 5;
/// The most fields of a message, with those of the messages in it: one of two bytes may take a hundred in memory. As many as 100
/// descriptors of 32 entries have, and half as many again.
const MAX_PARTS: usize = 16_384;
/// Messages up to here need not be counted: they cannot have many more parts than that.
const SMALL_BYTES: usize = 64 * 1024;
/// The key (number and wire type) of a field that no message has that is read here: number 15, with a length.
const NO_FIELD: u8 = 15 << 3 | 2;

/// The fields of a message that need care, by their numbers.
type Fields = &'static [(u32, Field)];

/// What a field holds.
enum Field {
    Text,
    Message(Fields),
    /// What nobody reads.
    Unread,
}

use Field::{Message, Text, Unread};

/// Of an entry of a map of texts, of an entry of a descriptor, of a field of HTTP.
const PAIR: Fields = &[(1, Text), (2, Text)];

/// What a request may hold.
pub(super) struct Parts(Fields);

/// Of a `ShouldRateLimit`: the domain, and the entries of the descriptors.
pub(super) const RATE_LIMIT: Parts = Parts(&[(1, Text), (2, Message(&[(1, Message(PAIR))]))]);

/// Of a `Check`: all texts of its attributes.
pub(super) const CHECK: Parts = Parts(&[(
    1,
    Message(&[
        (1, Message(PEER)),
        (2, Message(PEER)),
        (4, Message(&[(2, Message(HTTP))])),
        (10, Message(PAIR)),
        // metadata_context, and route_metadata_context.
        (11, Unread),
        (13, Unread),
        // The name that the client of a TLS session asks for.
        (12, Message(&[(1, Text)])),
    ]),
)]);

/// Source and destination: address, service, labels, principal and certificate.
const PEER: Fields = &[(1, Message(ADDRESS)), (2, Text), (3, Message(PAIR)), (4, Text), (5, Text)];

/// Socket, pipe, or a listener of Envoy's own.
const ADDRESS: Fields = &[
    (1, Message(&[(2, Text), (4, Text), (5, Text), (7, Text)])),
    (2, Message(&[(1, Text)])),
    (3, Message(PAIR)),
];

/// Id, method, headers, path, host, scheme, query, fragment, protocol, body, and header_map.
const HTTP: Fields = &[
    (1, Text),
    (2, Text),
    (3, Message(PAIR)),
    (4, Text),
    (5, Text),
    (6, Text),
    (7, Text),
    (8, Text),
    (10, Text),
    (11, Text),
    (13, Message(&[(1, Message(PAIR))])),
];

/// A message has more fields than anybody reads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooManyParts;

impl Parts {
    /// The same body of a request, with texts that can be read. What is no message stays as it is.
    pub(super) fn mend(&self, body: Bytes) -> Result<Bytes, TooManyParts> {
        // No message that nests too deep is so short that all its lengths are ASCII.
        if body.len() <= SMALL_BYTES && body.is_ascii() {
            return Ok(body);
        }
        let mut body = BytesMut::from(body);
        let mut parts = 0;
        if let Some(message) = body.get_mut(PREFIX_BYTES..) {
            walk(message, self.0, &mut parts);
        }
        if parts > MAX_PARTS { Err(TooManyParts) } else { Ok(body.freeze()) }
    }
}

/// Mends all fields of a message, up to where it breaks off, and counts them.
fn walk(message: &mut [u8], fields: Fields, parts: &mut usize) {
    let mut at = 0;
    while let Some((number, Range { start, end })) = message.get(at..).and_then(first_field) {
        *parts += 1;
        let field = fields.iter().find(|(known, _)| *known == number).map(|(_, field)| field);
        match (field, message.get_mut(at..at + end)) {
            (Some(Unread), Some(whole)) => pass_over(whole, number),
            (Some(Text), Some(whole)) => make_utf8(whole.get_mut(start..).unwrap_or_default()),
            (Some(Message(fields)), Some(whole)) => {
                walk(whole.get_mut(start..).unwrap_or_default(), fields, parts);
            }
            (None, _) | (_, None) => {}
        }
        at += end;
    }
}

/// Makes one of a field that nobody knows. Its key is one byte, as everybody writes such numbers.
fn pass_over(field: &mut [u8], number: u32) {
    if let Some(key) = field.first_mut()
        && u32::from(*key) == number << 3 | 2
    {
        *key = NO_FIELD;
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
    use tidegate_proto::envoy::config::core::v3::address::Address as AnyAddress;
    use tidegate_proto::envoy::config::core::v3::{Address, HeaderMap, HeaderValue, SocketAddress};
    use tidegate_proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
    use tidegate_proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::{
        Entry, RateLimitOverride,
    };
    use tidegate_proto::envoy::service::auth::v3::attribute_context::{
        HttpRequest, Peer, Request, TlsSession,
    };
    use tidegate_proto::envoy::service::auth::v3::{AttributeContext, CheckRequest};
    use tidegate_proto::envoy::service::ratelimit::v3::RateLimitRequest;

    use prost::Message as _;

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
        let header = HeaderValue { key: text(), value: text(), raw_value: Vec::new() };
        let http = HttpRequest {
            method: text(),
            id: text(),
            scheme: text(),
            protocol: text(),
            headers: [(text(), text())].into(),
            header_map: Some(HeaderMap { headers: vec![header.clone(), header] }),
            path: text(),
            host: text(),
            query: text(),
            fragment: text(),
            body: text(),
            raw_body: vec![0xff, 0xfe],
            ..Default::default()
        };
        let socket = SocketAddress { address: text(), resolver_name: text(), ..Default::default() };
        let peer = Peer {
            address: Some(Address { address: Some(AnyAddress::SocketAddress(socket)) }),
            service: text(),
            labels: [(text(), text())].into(),
            principal: text(),
            certificate: text(),
        };
        let attributes = AttributeContext {
            source: Some(peer.clone()),
            destination: Some(peer),
            request: Some(Request { http: Some(http), ..Default::default() }),
            context_extensions: [(text(), "grün".to_owned())].into(),
            tls_session: Some(TlsSession { sni: text() }),
            ..Default::default()
        };
        CheckRequest { attributes: Some(attributes) }
    }

    fn body(request: &impl prost::Message) -> Vec<u8> {
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
            let answer = RATE_LIMIT.mend(sent.into()).unwrap();
            let read_back = RateLimitRequest::decode(&answer[PREFIX_BYTES..]);
            assert_eq!(read_back.unwrap(), request(read));
            let sent = replaced(body(&check("original")), "original", bytes);
            assert!(CheckRequest::decode(&sent[PREFIX_BYTES..]).is_err());
            let read_back = CheckRequest::decode(&CHECK.mend(sent.into()).unwrap()[PREFIX_BYTES..]);
            assert_eq!(read_back.unwrap(), check(read));
        }
    }

    #[test]
    fn what_can_be_read_or_is_no_message_stays_as_it_is() {
        let whole = body(&request("ünïcode"));
        for length in 0..=whole.len() {
            let cut = Bytes::copy_from_slice(&whole[..length]);
            assert_eq!(RATE_LIMIT.mend(cut.clone()), Ok(cut.clone()), "{length} bytes");
        }
        let other = Bytes::from_static(b"\0\0\0\0\x07\x0a\x06\xff\xff\xff\xff\xff");
        assert_eq!(RATE_LIMIT.mend(other.clone()), Ok(other), "it breaks off");
        let endless = Bytes::from_static(b"\0\0\0\0\0\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\xff");
        assert_eq!(RATE_LIMIT.mend(endless.clone()), Ok(endless));
    }
}
