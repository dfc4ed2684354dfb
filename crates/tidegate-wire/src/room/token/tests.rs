//! Goal: nothing but what a live key has signed is believed, and only where it belongs. Method: properties over claims,
//! bits and kinds; tables of what is refused; known answers; another library (ring) for what is published.

use proptest::prelude::*;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::Value;

use super::keys::{RoomSecret, RoomSecretError};
use super::*;
use crate::room::site::{Audience, MAX_SITE_HOSTS, MAX_SITE_HOSTS_BYTES, Scheme};
use crate::room::visitor::DeviceId;

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_123_456);

const KNOWN_DEVICE: &str =
    "v1.dsd7cbYOsJO0.AAAAAAAAAAABI0VniavN7wAGCiQYICJA._1P5sp5V6rCUscvGaOwE1BGM5o-JAbjhn2tXwRJF6wE";
const KNOWN_TICKET: &str = "v1.tF6QIadv6TQ0.BGRlbW8AAAAAAAAAAwAAAAAAAAAGAAAAAAAAAAAAAAAAAAAAKgAGCiQYICJA.UKyYpTvYcnTwyob5ylbnefFpV2XkFkqeARRamEtL6f8";
const KNOWN_PASS: &str = "v1.p6RPTs-potRQ.BGRlbW8AAAAAAAAAAwAAAAAAAAAGAAAAAAAAAAAAAAAAAAAAKgAGCiQYICJAAAYKJBqCfEAMc2hvcC5leGFtcGxlEXNob3AuZXhhbXBsZTo4NDQz.hJsqUdg64iLxUDi5qewH4Qv366MI_v17zAhw_7YZorNEvKOwUD3ORfNlGCG3eFzT2GOE7tNtODzXwM8TwKsQAg";

fn secret(first: u8) -> RoomSecret {
    let bytes: [u8; 32] = std::array::from_fn(|index| first.wrapping_add(index as u8));
    RoomSecret::from_bytes(&bytes).unwrap()
}

fn keys(newest: u8, previous: Option<u8>) -> TokenKeys {
    TokenKeys::new(&secret(newest), previous.map(secret).as_ref()).unwrap()
}

fn room(text: &str) -> RoomName {
    RoomName::new(text).unwrap()
}

fn host(text: &str) -> SiteHost {
    SiteHost::parse(text, Scheme::Https).unwrap()
}

fn device() -> Device {
    Device { id: DeviceId::from_random(0x0123_4567_89ab_cdef), issued_at: NOW }
}

fn ticket() -> Ticket {
    Ticket {
        room: room("demo"),
        epoch: 3,
        queue_number: 6,
        visitor: VisitorId::from_bits(42),
        joined_at: NOW,
    }
}

fn pass() -> Pass {
    Pass {
        room: room("demo"),
        epoch: 3,
        queue_number: 6,
        visitor: VisitorId::from_bits(42),
        started_at: NOW,
        expires_at: NOW.saturating_add(Micros::from_secs(40)),
        audience: Audience::new([host("shop.example"), host("shop.example:8443")]).unwrap(),
    }
}

fn check(room: &RoomName) -> TokenCheck<'_> {
    TokenCheck { room, epochs: 3..=3, visitor: Some(VisitorId::from_bits(42)), now: NOW }
}

/// Why each verifier refuses a token: device, ticket, pass.
fn refusals(keys: &TokenKeys, token: &str) -> [Option<TokenError>; 3] {
    let demo = room("demo");
    [
        keys.verify_device(token, NOW).err(),
        keys.verify_ticket(token, &check(&demo)).err(),
        keys.verify_pass(token, &host("shop.example"), &check(&demo)).err(),
    ]
}

fn one_of_each(keys: &TokenKeys) -> [String; 3] {
    [keys.sign_device(&device()), keys.sign_ticket(&ticket()), keys.sign_pass(&pass())]
}

#[test]
fn a_kind_is_taken_only_as_itself() {
    let keys = keys(1, None);
    for (index, token) in one_of_each(&keys).iter().enumerate() {
        let refused = refusals(&keys, token);
        for (verifier, refusal) in refused.into_iter().enumerate() {
            let expected = (verifier != index).then_some(TokenError::WrongKind);
            assert!(refusal == expected || refusal == Some(TokenError::TooLong), "{token}: {refusal:?}");
            assert_eq!(refusal.is_none(), verifier == index);
        }
    }
}

/// The signature of one kind under the key id of another, and payloads of one with signatures of the other.
#[test]
fn parts_of_tokens_cannot_be_exchanged() {
    let keys = keys(1, None);
    let mut other = ticket();
    other.queue_number = 1;
    let tokens = one_of_each(&keys).into_iter().chain([keys.sign_ticket(&other)]).collect::<Vec<_>>();
    let parts: Vec<Vec<&str>> = tokens.iter().map(|token| token.split('.').collect()).collect();
    for id in &parts {
        for payload in &parts {
            for signature in &parts {
                let mixed = format!("v1.{}.{}.{}", id[1], payload[2], signature[3]);
                if !tokens.contains(&mixed) {
                    assert!(refusals(&keys, &mixed).iter().all(Option::is_some), "{mixed}");
                }
            }
        }
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let keys = keys(1, Some(2));
    for token in one_of_each(&keys) {
        for at in 0..token.len() {
            for bit in 0..8 {
                let mut bytes = token.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                let Ok(text) = String::from_utf8(bytes) else { continue };
                assert!(refusals(&keys, &text).iter().all(Option::is_some), "bit {bit} of byte {at}: {text}");
            }
        }
        for end in 0..token.len() {
            assert!(refusals(&keys, &token[..end]).iter().all(Option::is_some), "{end} bytes of {token}");
        }
    }
}

#[test]
fn a_token_must_belong_here() {
    let keys = keys(1, None);
    let (demo, sale) = (room("demo"), room("sale"));
    let (ticket_text, pass_text) = (keys.sign_ticket(&ticket()), keys.sign_pass(&pass()));
    let later = |seconds| NOW.saturating_add(Micros::from_secs(seconds));
    let cases = [
        (check(&demo), None),
        (TokenCheck { visitor: None, ..check(&demo) }, None),
        (TokenCheck { epochs: 2..=4, ..check(&demo) }, None),
        (check(&sale), Some(TokenError::WrongRoom)),
        (TokenCheck { epochs: 4..=4, ..check(&demo) }, Some(TokenError::WrongEpoch)),
        (TokenCheck { epochs: 0..=2, ..check(&demo) }, Some(TokenError::WrongEpoch)),
        (
            TokenCheck { visitor: Some(VisitorId::from_bits(43)), ..check(&demo) },
            Some(TokenError::WrongVisitor),
        ),
    ];
    for (check, expected) in cases {
        assert_eq!(keys.verify_ticket(&ticket_text, &check).err(), expected, "{check:?}");
        assert_eq!(keys.verify_pass(&pass_text, &host("shop.example"), &check).err(), expected, "{check:?}");
    }
    for (text, refusal) in [
        ("shop.example:8443", None),
        ("shop.example:8444", Some(TokenError::WrongAudience)),
        ("www.shop.example", Some(TokenError::WrongAudience)),
    ] {
        assert_eq!(keys.verify_pass(&pass_text, &host(text), &check(&demo)).err(), refusal, "{text}");
    }
    let ends = pass().expires_at;
    for (now, refusal) in [
        (Timestamp::from_micros(ends.as_micros() - 1), None),
        (ends, Some(TokenError::Expired)),
        (Timestamp::MAX, Some(TokenError::Expired)),
    ] {
        let check = TokenCheck { now, ..check(&demo) };
        assert_eq!(keys.verify_pass(&pass_text, &host("shop.example"), &check).err(), refusal);
    }
    let life = TICKET_LIFE.as_micros() / 1_000_000;
    for (now, refusal) in [(later(life - 1), None), (later(life), Some(TokenError::Expired))] {
        let check = TokenCheck { now, ..check(&demo) };
        assert_eq!(keys.verify_ticket(&ticket_text, &check).err(), refusal);
    }
    let life = DEVICE_LIFE.as_micros() / 1_000_000;
    let device_text = keys.sign_device(&device());
    for (now, refusal) in [(later(life - 1), None), (later(life), Some(TokenError::Expired))] {
        assert_eq!(keys.verify_device(&device_text, now).err(), refusal);
    }
}

#[test]
fn two_keys_are_live_while_they_are_rotated() {
    let (before, during, after) = (keys(1, None), keys(2, Some(1)), keys(2, None));
    for token in one_of_each(&before) {
        let kind = refusals(&before, &token).iter().position(Option::is_none).unwrap();
        assert_eq!(refusals(&during, &token)[kind], None);
        assert_eq!(refusals(&after, &token)[kind], Some(TokenError::UnknownKey));
    }
    for token in one_of_each(&during) {
        assert!(refusals(&after, &token).contains(&None), "signed with the newest: {token}");
    }
    assert_eq!(TokenKeys::new(&secret(1), Some(&secret(1))).err(), Some(keys::SameSecretError));
}

#[test]
fn what_is_no_token_says_so() {
    let keys = keys(1, None);
    let good = keys.sign_ticket(&ticket());
    let parts: Vec<&str> = good.split('.').collect();
    let (id, payload, signature) = (parts[1], parts[2], parts[3]);
    let long = format!("{good}{}", "A".repeat(Kind::Ticket.max_bytes()));
    let unknown = format!("t{}", "A".repeat(KEY_ID_CHARS - 1));
    for (text, refusal) in [
        (String::new(), TokenError::Malformed),
        ("v1".to_owned(), TokenError::Malformed),
        (format!("v2.{id}.{payload}.{signature}"), TokenError::Malformed),
        (format!("V1.{id}.{payload}.{signature}"), TokenError::Malformed),
        (format!(" {good}"), TokenError::Malformed),
        (format!("{good}."), TokenError::Malformed),
        (format!("{good}="), TokenError::Malformed),
        (format!("v1.{id}.{payload}=.{signature}"), TokenError::Malformed),
        (format!("v1.{id}.{payload}"), TokenError::Malformed),
        (format!("v1..{payload}.{signature}"), TokenError::Malformed),
        (format!("v1.{id}x.{payload}.{signature}"), TokenError::Malformed),
        (format!("v1.{id}..{signature}"), TokenError::Forged),
        (format!("v1.{id}.{payload}."), TokenError::Forged),
        (format!("v1.{unknown}.{payload}.{signature}"), TokenError::UnknownKey),
        (format!("v1.x{}.{payload}.{signature}", &id[1..]), TokenError::UnknownKey),
        ("eyJhbGciOiJub25lIn0.eyJyb29tIjoiZGVtbyJ9.".to_owned(), TokenError::Malformed),
        (long, TokenError::TooLong),
    ] {
        assert_eq!(keys.verify_ticket(&text, &check(&room("demo"))), Err(refusal), "{text}");
    }
}

/// A signature that verifies under lax rules is refused: with the order of the curve added to its scalar.
#[test]
fn a_pass_has_one_signature() {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let keys = keys(1, None);
    let token = keys.sign_pass(&pass());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let mut carry = 0;
    for (byte, add) in bytes[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        (*byte, carry) = (sum as u8, sum >> 8);
    }
    let second = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(bytes));
    let refused = keys.verify_pass(&second, &host("shop.example"), &check(&room("demo")));
    assert_eq!(refused, Err(TokenError::Forged));
}

#[test]
fn other_libraries_verify_passes_with_the_published_keys() {
    let keys = keys(2, Some(1));
    let set: Value = serde_json::from_str(&keys.jwks()).unwrap();
    let published = set["keys"].as_array().unwrap();
    assert_eq!(published.len(), 2);
    for key in published {
        let facts = ["kty", "crv", "use", "alg"].map(|field| key[field].as_str().unwrap().to_owned());
        assert_eq!(facts, ["OKP", "Ed25519", "sig", "EdDSA"]);
        assert_eq!(key.as_object().unwrap().len(), 6, "and nothing secret: {key}");
    }
    let public = |id: &str| {
        let key = published.iter().find(|key| key["kid"] == id).expect("the key id is published");
        UnparsedPublicKey::new(&ED25519, URL_SAFE_NO_PAD.decode(key["x"].as_str().unwrap()).unwrap())
    };

    let token = keys.sign_pass(&pass());
    let [_, id, payload, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let [payload, signature] = [payload, signature].map(|part| URL_SAFE_NO_PAD.decode(part).unwrap());
    let mut message = Vec::new();
    for part in [b"tidegate room v1".as_slice(), b"pass", id.as_bytes(), &payload] {
        message.extend((part.len() as u64).to_be_bytes());
        message.extend(part);
    }
    public(id).verify(&message, &signature).unwrap();

    let jwt = keys.sign_pass_jwt(&pass(), &Issuer::new("https://queue.example").unwrap());
    let (signed, signature) = jwt.rsplit_once('.').unwrap();
    let parts: Vec<Value> = signed
        .split('.')
        .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
        .collect();
    assert_eq!(parts[0], serde_json::json!({"alg": "EdDSA", "typ": "JWT", "kid": id}));
    public(id).verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    assert_eq!(
        parts[1],
        serde_json::json!({
            "iss": "https://queue.example", "sub": "0000000000000000000000000000002a",
            "aud": ["shop.example", "shop.example:8443"], "iat": 1_700_000_000, "exp": 1_700_000_040,
            "room": "demo", "epoch": 3, "queue_number": 6,
        })
    );
    assert_eq!(
        refusals(&keys, &jwt),
        [Some(TokenError::TooLong), Some(TokenError::TooLong), Some(TokenError::Malformed)]
    );
}

/// Computed with Python's `hmac` and `cryptography` from the ADR: nodes of other versions must agree.
#[test]
fn tokens_are_the_same_everywhere() {
    let [device, ticket, pass] = one_of_each(&keys(1, None));
    assert_eq!(device, KNOWN_DEVICE);
    assert_eq!(ticket, KNOWN_TICKET);
    assert_eq!(pass, KNOWN_PASS);
}

#[test]
fn the_largest_tokens_are_within_their_maxima() {
    let keys = keys(1, None);
    // 16 hosts of 64 characters: all that hosts may have.
    let label = "a".repeat(52);
    let hosts = (0..MAX_SITE_HOSTS).map(|index| host(&format!("{label}{index:02}.com:{}", 60_000 + index)));
    let audience = Audience::new(hosts).unwrap();
    assert_eq!(audience.hosts().iter().map(|host| host.as_str().len()).sum::<usize>(), MAX_SITE_HOSTS_BYTES);
    let name = room(&"r".repeat(crate::room::name::MAX_ROOM_NAME_BYTES));
    let largest = Pass {
        room: name.clone(),
        epoch: u64::MAX,
        queue_number: u64::MAX,
        visitor: VisitorId::from_bits(u128::MAX),
        started_at: Timestamp::MAX,
        expires_at: Timestamp::MAX,
        audience,
    };
    let text = keys.sign_pass(&largest);
    assert!(text.len() <= MAX_TOKEN_BYTES, "{}", text.len());
    let issuer = Issuer::new(&"i".repeat(MAX_ISSUER_BYTES)).unwrap();
    let jwt = keys.sign_pass_jwt(&largest, &issuer);
    assert!(jwt.len() <= MAX_JWT_BYTES, "{}", jwt.len());
    let ticket = Ticket { room: name, epoch: u64::MAX, queue_number: u64::MAX, ..ticket() };
    assert!(keys.sign_ticket(&ticket).len() <= Kind::Ticket.max_bytes());
    assert!(keys.sign_device(&device()).len() <= Kind::Device.max_bytes());
}

#[test]
fn issuers_are_plain() {
    assert!(Issuer::new("https://queue.example").is_ok());
    for text in ["", "a b", "a\"b", "a\\b", "ä", "a\n", &"i".repeat(MAX_ISSUER_BYTES + 1)] {
        assert_eq!(Issuer::new(text), Err(IssuerError), "{text}");
    }
}

#[test]
fn secrets_are_read_and_not_shown() {
    let hex = "000102030405060708090A0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    let read = RoomSecret::from_hex(&format!("{hex}\n")).unwrap();
    let (one, other) = (TokenKeys::new(&read, None).unwrap(), keys(0, None));
    assert_eq!(one.jwks(), other.jwks(), "the bytes 0 to 31");
    assert_eq!(format!("{read:?}"), "RoomSecret(…)");
    let shown = format!("{one:?}");
    assert!(shown.len() < 200 && shown.contains("[d"), "key ids and nothing else: {shown}");
    for text in ["", "00", &hex[1..], &format!("{hex}0"), &hex.replace('0', "+"), &hex.replace('0', "é")] {
        assert_eq!(RoomSecret::from_hex(text).err(), Some(RoomSecretError::Shape), "{text}");
    }
    assert_eq!(RoomSecret::from_bytes(&[1; 31]).err(), Some(RoomSecretError::Shape));
    assert_eq!(RoomSecret::from_bytes(&[7; 32]).err(), Some(RoomSecretError::NotRandom));
}

prop_compose! {
    fn any_ticket()(
        name in "[a-z0-9][a-z0-9-]{0,62}", epoch in any::<u64>(), queue_number in any::<u64>(),
        visitor in any::<u128>(), joined_us in 0..=Timestamp::MAX.as_micros(),
    ) -> Ticket {
        Ticket {
            room: room(&name), epoch, queue_number, visitor: VisitorId::from_bits(visitor),
            joined_at: Timestamp::from_micros(joined_us),
        }
    }
}

prop_compose! {
    fn any_pass()(
        ticket in any_ticket(), expires_us in 1..=Timestamp::MAX.as_micros(),
        hosts in prop::collection::vec("[a-z]{1,20}\\.example(:[1-9][0-9]{3})?", 1..MAX_SITE_HOSTS),
    ) -> Pass {
        Pass {
            room: ticket.room, epoch: ticket.epoch, queue_number: ticket.queue_number, visitor: ticket.visitor,
            started_at: ticket.joined_at, expires_at: Timestamp::from_micros(expires_us),
            audience: Audience::new(hosts.iter().map(|text| host(text))).unwrap(),
        }
    }
}

proptest! {
    #[test]
    fn claims_read_back(ticket in any_ticket(), pass in any_pass(), id in any::<u128>(), key in 1u8..9) {
        let keys = keys(key, None);
        let known = Device { id: DeviceId::from_random(id), issued_at: ticket.joined_at };
        prop_assert_eq!(keys.verify_device(&keys.sign_device(&known), ticket.joined_at), Ok(known));
        let at = |room, now| TokenCheck { room, epochs: 0..=u64::MAX, visitor: None, now };
        let read = keys.verify_ticket(&keys.sign_ticket(&ticket), &at(&ticket.room, ticket.joined_at));
        prop_assert_eq!(read.as_ref(), Ok(&ticket));
        let text = keys.sign_pass(&pass);
        for host in pass.audience.hosts().iter().take(2) {
            let read = keys.verify_pass(&text, host, &at(&pass.room, Timestamp::EPOCH));
            prop_assert_eq!(read, Ok(pass.clone()));
        }
    }

    #[test]
    fn other_claims_have_other_tokens(one in any_ticket(), other in any_ticket()) {
        let keys = keys(1, None);
        prop_assert_eq!(one == other, keys.sign_ticket(&one) == keys.sign_ticket(&other));
    }

    #[test]
    fn rooms_cannot_be_exchanged(ticket in any_ticket(), name in "[a-z0-9]{1,20}") {
        prop_assume!(ticket.room.as_str() != name);
        let keys = keys(1, None);
        let other = room(&name);
        let check = TokenCheck { room: &other, epochs: 0..=u64::MAX, visitor: None, now: ticket.joined_at };
        prop_assert_eq!(keys.verify_ticket(&keys.sign_ticket(&ticket), &check), Err(TokenError::WrongRoom));
    }

    #[test]
    fn any_text_is_refused(text in "(v1\\.)?[dtp]?[A-Za-z0-9_=.-]{0,200}|\\PC{0,100}") {
        prop_assert!(refusals(&keys(1, None), &text).iter().all(Option::is_some));
    }

    /// What has the right signature and the wrong bytes is refused as well: nothing is made of half a payload.
    #[test]
    fn payloads_have_one_encoding(
        ticket in any_ticket(), pass in any_pass(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        one_encoding(&ticket, at, byte)?;
        one_encoding(&pass, at, byte)?;
        one_encoding(&Device { id: DeviceId::from_random(7), issued_at: ticket.joined_at }, at, byte)?;
    }
}

/// One byte more makes no claims (one more host of a pass would have at least two), and what is read after a byte was
/// changed is written the same.
fn one_encoding<C: Claims + PartialEq + std::fmt::Debug>(
    claims: &C,
    at: prop::sample::Index,
    byte: u8,
) -> Result<(), TestCaseError> {
    let mut payload = Vec::new();
    claims.write(&mut payload);
    let read = Reader::whole(&payload, C::read);
    prop_assert_eq!(read.as_ref(), Some(claims));
    prop_assert_eq!(Reader::whole(&[&payload[..], &[byte]].concat(), C::read), None);
    let at = at.index(payload.len());
    payload[at] = byte;
    if let Some(read) = Reader::whole(&payload, C::read) {
        let mut again = Vec::new();
        read.write(&mut again);
        prop_assert_eq!(again, payload);
    }
    Ok(())
}
