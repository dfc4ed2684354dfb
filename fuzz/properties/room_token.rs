//! Whatever text comes as a token of a room, only those that were signed are taken, as their own kind and to the last
//! character. A cookie is found only where it came once. A body that is read reads the same when it is written out. The lines
//! of the input are the tokens and the `Cookie` lines; the whole of it is the body.

#![expect(clippy::expect_used, reason = "a property fails by panicking")]

use std::sync::LazyLock;

use http::header::{COOKIE, HeaderMap, HeaderValue};
use serde_json::json;
use tidegate_core::time::{Micros, Timestamp};
use tidegate_wire::room::call::{Call, CallFormat, MAX_CALL_BODY_BYTES};
use tidegate_wire::room::cookies::{CookieError, CookieName, Transport, read_cookie, set_cookie};
use tidegate_wire::room::name::RoomName;
use tidegate_wire::room::site::{Audience, Scheme, SiteHost};
use tidegate_wire::room::token::keys::RoomSecret;
use tidegate_wire::room::token::{Device, Pass, Ticket, TokenCheck, TokenError, TokenKeys};
use tidegate_wire::room::visitor::{DeviceId, VisitorId};

/// The most lines of an input that are looked at.
const MAX_LINES: usize = 32;
/// The longest text of an error, in bytes.
const MAX_ERROR_BYTES: usize = 512;
const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_123_456);

struct World {
    keys: TokenKeys,
    room: RoomName,
    host: SiteHost,
    /// A device, a ticket and a pass.
    good: [String; 3],
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    // The bytes 1 to 32, as in the seeds.
    let bytes: [u8; 32] = std::array::from_fn(|index| index as u8 + 1);
    let secret = |bytes: &[u8]| RoomSecret::from_bytes(bytes).expect("32 bytes are a secret");
    let previous = bytes.map(|byte| byte + 100);
    let keys = TokenKeys::new(&secret(&bytes), Some(&secret(&previous))).expect("the secrets differ");
    let room = RoomName::new("demo").expect("the name is good");
    let [host, other] = ["shop.example", "shop.example:8443"]
        .map(|text| SiteHost::parse(text, Scheme::Https).expect("the host is good"));
    let visitor = VisitorId::from_bits(42);
    let audience = Audience::new([host.clone(), other]).expect("two hosts are not too many");
    let good = [
        keys.sign_device(&Device { id: DeviceId::from_random(0x0123_4567_89ab_cdef), issued_at: NOW }),
        keys.sign_ticket(&Ticket { room: room.clone(), epoch: 3, queue_number: 6, visitor, joined_at: NOW }),
        keys.sign_pass(&Pass {
            room: room.clone(),
            epoch: 3,
            queue_number: 6,
            visitor,
            started_at: NOW,
            expires_at: NOW.saturating_add(Micros::from_secs(40)),
            audience,
        }),
    ];
    World { keys, room, host, good }
});

pub(crate) fn holds(data: &[u8]) {
    let world = &*WORLD;
    let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').take(MAX_LINES).collect();
    for text in lines.iter().filter_map(|line| str::from_utf8(line).ok()) {
        token(world, text);
        for good in &world.good {
            // Near a good token, too: every beginning of it with the text behind it.
            let cut = text.len() % (good.len() + 1);
            token(world, &format!("{}{text}", good.get(..cut).unwrap_or_default()));
        }
    }
    world.good.iter().for_each(|good| token(world, good));
    cookie(world, &lines);
    body(data);
}

fn token(world: &World, text: &str) {
    let check = TokenCheck { room: &world.room, epochs: 3..=3, visitor: None, now: NOW };
    let read: [Result<(), TokenError>; 3] = [
        world.keys.verify_device(text, NOW).map(drop),
        world.keys.verify_ticket(text, &check).map(drop),
        world.keys.verify_pass(text, &world.host, &check).map(drop),
    ];
    for (read, good) in read.iter().zip(&world.good) {
        assert_eq!(read.is_ok(), text == good, "{text:?}: {read:?}");
    }
}

/// A value that is found stands in the lines once behind its name, and can be written.
fn cookie(world: &World, lines: &[&[u8]]) {
    let mut headers = HeaderMap::new();
    for line in lines.iter().filter_map(|line| HeaderValue::from_bytes(line).ok()) {
        headers.append(COOKIE, line);
    }
    let room = &world.room;
    let names =
        [CookieName::Device, CookieName::Ticket(room), CookieName::Pass(room), CookieName::PassJwt(room)];
    for name in names {
        for transport in [Transport::Tls, Transport::Plain] {
            match read_cookie(&headers, name, transport) {
                Ok(Some(value)) => {
                    let written = set_cookie(name, value, 1, transport);
                    assert!(
                        written.is_ok() || matches!(written, Err(CookieError::TooLongToKeep(_))),
                        "{value:?}"
                    );
                    let mut doubled = headers.clone();
                    let again = format!("{}=", name.in_header(transport));
                    doubled.append(COOKIE, HeaderValue::from_str(&again).expect("a name is plain"));
                    assert!(read_cookie(&doubled, name, transport).is_err(), "{value:?} came twice");
                }
                Ok(None) => {}
                Err(error) => assert!(error.to_string().len() <= MAX_ERROR_BYTES, "{error}"),
            }
        }
    }
}

fn body(data: &[u8]) {
    for format in [CallFormat::Json, CallFormat::Form] {
        match Call::parse(data, format) {
            Ok(call) => {
                assert!(data.len() <= MAX_CALL_BODY_BYTES);
                let Call { ticket, pass, return_to, extend, hint } = &call;
                let written = json!({
                    "ticket": ticket, "pass": pass, "return_to": return_to, "extend": extend, "hint": hint,
                })
                .to_string();
                if written.len() <= MAX_CALL_BODY_BYTES {
                    let again = Call::parse(written.as_bytes(), CallFormat::Json);
                    assert!(again.is_ok_and(|again| again == call), "{written}");
                }
            }
            Err(error) => {
                let text = error.to_string();
                assert!(text.len() <= MAX_ERROR_BYTES && !text.contains(char::is_control), "{text:?}");
            }
        }
    }
}
