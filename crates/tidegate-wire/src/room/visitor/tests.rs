//! Goal: one visitor is one number in one room, and tells nothing anywhere else. Method: tables of who is whom.

use std::collections::HashSet;
use std::net::IpAddr;

use super::*;
use crate::identity::Ipv6Prefix;

fn key(byte: u8) -> VisitorKey {
    let mut bytes = [byte; 32];
    bytes[0] = 0;
    VisitorKey::new(&RoomSecret::from_bytes(&bytes).unwrap())
}

fn room(text: &str) -> RoomName {
    RoomName::new(text).unwrap()
}

fn client(text: &str) -> ClientIp {
    ClientIp::new(text.parse::<IpAddr>().unwrap(), Ipv6Prefix::default())
}

#[test]
fn a_value_has_other_bits_for_every_purpose_room_and_key() {
    let (demo, sale) = (room("demo"), room("sale"));
    let mut seen = HashSet::new();
    for key in [key(1), key(2)] {
        for room in [&demo, &sale] {
            let address = client("192.0.2.1");
            seen.insert(key.of_device(room, DeviceId::from_random(7)).to_bits());
            seen.insert(key.of_device(room, DeviceId::from_random(8)).to_bits());
            seen.insert(key.of_address(room, address).to_bits());
            seen.insert(key.of_header(room, b"192.0.2.1").unwrap().to_bits());
            seen.insert(key.address_of(room, address).to_bits());
            seen.insert(key.sighting(room, address, 7));
            seen.insert(key.sighting(room, address, 8));
            seen.insert(key.sighting(room, client("192.0.2.2"), 8));
        }
    }
    assert_eq!(seen.len(), 32);
}

#[test]
fn the_hash_is_the_same_everywhere() {
    let visitor = key(1).of_device(&room("demo"), DeviceId::from_random(7));
    assert_eq!(visitor, key(1).of_device(&room("demo"), DeviceId::from_random(7)));
    // HMAC-SHA-256 with Python's hmac module: nodes of other versions must agree.
    assert_eq!(visitor.to_string(), "16339cb28af58d1d58fe2b4f5b4954ff");
}

#[test]
fn an_address_counts_by_its_prefix() {
    let (key, demo) = (key(1), room("demo"));
    let of = |text| key.address_of(&demo, client(text));
    assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
    assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
    assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
}

#[test]
fn a_header_names_somebody_within_its_maximum() {
    let (key, demo) = (key(1), room("demo"));
    let longest = [b'u'; MAX_IDENTITY_HEADER_BYTES + 1];
    assert!(key.of_header(&demo, &longest[1..]).is_ok());
    for value in [b"".as_slice(), &longest] {
        assert_eq!(key.of_header(&demo, value), Err(IdentityHeaderError));
    }
}

#[test]
fn a_device_is_not_shown() {
    assert_eq!(format!("{:?}", DeviceId::from_random(7)), "DeviceId(…)");
}
