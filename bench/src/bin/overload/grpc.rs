//! gRPC as bytes: one `ShouldRateLimit` after the other on a connection, written and read without a library, so that the load
//! generator can do many times what the node can. HTTP/2 is RFC 9113, its header compression RFC 7541.

use anyhow::ensure;
use memchr::memmem;
use prost::Message as _;
use tidegate_bench::template::{Template, any_key};
use tidegate_proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use tidegate_proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use tidegate_proto::envoy::service::ratelimit::v3::RateLimitRequest;

use crate::wire::Outcome;

const FRAME_HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
/// `14`, UNAVAILABLE, as a value of two bytes in the Huffman code: 00001 011010, and ones to the end.
const UNAVAILABLE: [u8; 3] = [0x82, 0x0b, 0x5f];

/// What a connection begins with: no table of header fields, so that every answer is written alike, and a window that a minute
/// does not fill.
pub(crate) const OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
    \x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\
    \x00\x00\x04\x08\x00\x00\x00\x00\x00\x7f\x00\x00\x00";

/// One check. No field is taken from a table.
pub(crate) fn request() -> Template {
    let entries = vec![Entry { key: "client_id".to_owned(), value: any_key() }];
    let descriptors = vec![RateLimitDescriptor { entries, ..Default::default() }];
    let message =
        RateLimitRequest { domain: "default".to_owned(), descriptors, hits_addend: 1 }.encode_to_vec();
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"),
        (":authority", "tidegate"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let mut head = Vec::new();
    for (name, value) in fields {
        head.push(0);
        for text in [name, value] {
            head.push(text.len() as u8);
            head.extend(text.as_bytes());
        }
    }
    let mut body = vec![0, 0, 0, 0, message.len() as u8];
    body.extend(message);
    let mut bytes = frame(HEADERS, END_HEADERS, &head);
    bytes.extend(frame(DATA, END_STREAM, &body));
    Template::of(bytes)
}

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, (payload.len() >> 8) as u8, payload.len() as u8, kind, flags, 0, 0, 0, 0];
    bytes.extend(payload);
    bytes
}

/// Makes a request the one with this number, from 0, on its connection.
pub(crate) fn set_number(request: &mut [u8], number: u32) {
    let stream = (number * 2 + 1).to_be_bytes();
    let mut at = 0;
    while let Some((_, _, length)) = head_of(&request[at..]) {
        request[at + 5..at + FRAME_HEAD].copy_from_slice(&stream);
        at += length;
    }
}

/// The kind, flags and length of the frame that these bytes begin with.
fn head_of(bytes: &[u8]) -> Option<(u8, u8, usize)> {
    let head = bytes.first_chunk::<FRAME_HEAD>()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    Some((head[3], head[4], FRAME_HEAD + length))
}

/// The length of the whole frames that these bytes begin with, which are about the connection: a server hangs up on whoever does
/// not answer its pings, also while it is asked nothing.
pub(crate) fn aside(bytes: &[u8], owed: &mut Vec<u8>) -> anyhow::Result<usize> {
    let mut at = 0;
    while let Some((kind, flags, length)) = head_of(&bytes[at..]) {
        let Some(frame) = bytes.get(at..at + length) else { break };
        ensure!(!matches!(kind, DATA | HEADERS), "an answer to nothing");
        ensure_open(kind, frame)?;
        owed.extend(acknowledgement(kind, flags, frame).unwrap_or_default());
        at += length;
    }
    Ok(at)
}

/// What a ping has to be answered with.
fn acknowledgement(kind: u8, flags: u8, frame: &[u8]) -> Option<Vec<u8>> {
    (kind == PING && flags & ACK == 0).then(|| self::frame(PING, ACK, &frame[FRAME_HEAD..]))
}

/// After RST_STREAM a request has no answer any more, after GOAWAY a connection takes none.
fn ensure_open(kind: u8, frame: &[u8]) -> anyhow::Result<()> {
    ensure!(!matches!(kind, RST_STREAM | GOAWAY), "the server ends the stream or the connection: {frame:?}");
    Ok(())
}

/// The length of what these bytes begin with up to the end of an answer, and what it says; nothing while it is not whole.
/// What answers to pings have to be is put to `owed`.
pub(crate) fn answer(bytes: &[u8], owed: &mut Vec<u8>) -> anyhow::Result<Option<(usize, Outcome)>> {
    let (mut at, mut pings, mut is_decided) = (0, Vec::new(), false);
    while let Some((kind, flags, length)) = head_of(&bytes[at..]) {
        let Some(frame) = bytes.get(at..at + length) else { break };
        at += length;
        ensure_open(kind, frame)?;
        match kind {
            DATA => is_decided = true,
            HEADERS if flags & END_STREAM != 0 => {
                let is_unavailable = memmem::find(&frame[FRAME_HEAD..], &UNAVAILABLE).is_some();
                let outcome = match (is_decided, is_unavailable) {
                    (true, false) => Outcome::Decided,
                    (false, true) => Outcome::Shed,
                    _ => Outcome::Other,
                };
                owed.append(&mut pings);
                return Ok(Some((at, outcome)));
            }
            _ => pings.extend(acknowledgement(kind, flags, frame).unwrap_or_default()),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_two_frames_with_its_number() {
        let mut request = request();
        request.draw(&mut fastrand::Rng::with_seed(1), 1_000_000_000);
        set_number(&mut request.bytes, 200);
        let (kind, flags, length) = head_of(&request.bytes).unwrap();
        assert_eq!((kind, flags), (HEADERS, END_HEADERS));
        assert_eq!(request.bytes[5..9], 401_u32.to_be_bytes());
        let data = &request.bytes[length..];
        assert_eq!(head_of(data), Some((DATA, END_STREAM, data.len())));
        assert_eq!(data[5..9], 401_u32.to_be_bytes());
        let message = RateLimitRequest::decode(&data[FRAME_HEAD + 5..]).unwrap();
        let (value, any) = (&message.descriptors[0].entries[0].value, any_key());
        assert!(value.len() == any.len() && *value != any, "{value}");
    }

    #[test]
    fn answers_are_told_apart_when_they_are_whole() {
        let mut owed = Vec::new();
        let ok = [frame(4, 0, &[]), frame(HEADERS, 4, b"x"), frame(DATA, 0, b"y"), frame(HEADERS, 5, b"z")]
            .concat();
        assert_eq!(answer(&ok, &mut owed).unwrap(), Some((ok.len(), Outcome::Decided)));
        assert_eq!(answer(&ok[..ok.len() - 1], &mut owed).unwrap(), None);
        assert!(owed.is_empty());
        let ping = frame(PING, 0, b"12345678");
        let shed = [ping.clone(), frame(HEADERS, 5, &UNAVAILABLE), ping].concat();
        assert_eq!(answer(&shed, &mut owed).unwrap(), Some((shed.len() - 17, Outcome::Shed)));
        assert_eq!(owed, frame(PING, ACK, b"12345678"));
        let other = frame(HEADERS, 5, b"z");
        assert_eq!(answer(&other, &mut owed).unwrap(), Some((other.len(), Outcome::Other)));
        assert!(answer(&frame(GOAWAY, 0, &[0; 8]), &mut owed).is_err());
    }

    #[test]
    fn pings_are_answered_while_nothing_is_asked() {
        let mut owed = Vec::new();
        let ping = frame(PING, 0, b"12345678");
        let said =
            [frame(4, 0, &[]), ping.clone(), frame(PING, ACK, b"87654321"), ping[..16].to_vec()].concat();
        assert_eq!(aside(&said, &mut owed).unwrap(), said.len() - 16);
        assert_eq!(owed, frame(PING, ACK, b"12345678"));
        assert!(aside(&frame(DATA, 0, b"y"), &mut owed).is_err());
        assert!(aside(&frame(GOAWAY, 0, &[0; 8]), &mut owed).is_err());
    }
}
