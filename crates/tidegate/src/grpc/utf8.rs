//! Values of a rate limit request that are no UTF-8.
//!
//! Envoy puts what its client sent into the values of descriptors as it came, and a field of HTTP may hold any bytes from 0x80
//! on (RFC 9110 section 5.5, `obs-text`). A message with such a text cannot be read, and Envoy lets a request pass, by
//! default, whose check ends in an error: a client could be unlimited by one byte. So what is no UTF-8 is replaced before the
//! message is read, as Envoy itself does it in authorization requests (`MessageUtil::sanitizeUtf8String`): each byte by `!`,
//! which keeps all lengths.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// What stands before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

// The numbers of the fields on the way to a value.
const DESCRIPTORS: u32 = 2;
const ENTRIES: u32 = 1;
const VALUE: u32 = 2;

/// The same body of a `ShouldRateLimit`, with values that can be read. What is no message stays as it is.
pub(super) fn with_values_of_utf8(body: Bytes) -> Bytes {
    if body.is_ascii() {
        return body;
    }
    let mut body = BytesMut::from(body);
    if let Some(request) = body.get_mut(PREFIX_BYTES..) {
        for_each(request, DESCRIPTORS, |descriptor| {
            for_each(descriptor, ENTRIES, |entry| for_each(entry, VALUE, make_utf8));
        });
    }
    body.freeze()
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
    use tidegate_proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
    use tidegate_proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::{
        Entry, RateLimitOverride,
    };
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

    fn body(request: &RateLimitRequest) -> Vec<u8> {
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
        for (sent, read) in [
            (&b"\xff1234567"[..], "!1234567"),
            (b"12\xc3(4567", "12!(4567"),
            (b"1234567\xe2", "1234567!"),
            (b"\xf0\x9f\x8ex1\x80\xc2\x85", "!!!x1!\u{85}"),
        ] {
            let sent = replaced(body(&request("original")), "original", sent);
            let answer = with_values_of_utf8(sent.into());
            let read_back = RateLimitRequest::decode(&answer[PREFIX_BYTES..]);
            assert_eq!(read_back.unwrap(), request(read));
        }
    }

    #[test]
    fn what_can_be_read_or_is_no_message_stays_as_it_is() {
        let whole = body(&request("ünïcode"));
        for length in 0..=whole.len() {
            let cut = Bytes::copy_from_slice(&whole[..length]);
            assert_eq!(with_values_of_utf8(cut.clone()), cut, "{length} bytes");
        }
        let other = Bytes::from_static(b"\0\0\0\0\x07\x0a\x05\xff\xff\xff\xff\xff");
        assert_eq!(with_values_of_utf8(other.clone()), other, "only values are mended");
        let endless = Bytes::from_static(b"\0\0\0\0\0\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\xff");
        assert_eq!(with_values_of_utf8(endless.clone()), endless);
    }
}
