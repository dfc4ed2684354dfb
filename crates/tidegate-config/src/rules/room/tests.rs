//! Rooms of rule files: read, written back, and what is said of those that are wrong.

use tidegate_core::time::Micros;

use super::*;
use crate::parse_rules;

fn rooms(text: &str) -> Result<Vec<RoomDefinition>, String> {
    let text = format!("version: 1\ndomains: []\nrooms:\n{text}");
    parse_rules(&text, "rules.yaml").map(|parsed| parsed.rooms).map_err(|errors| errors.to_string())
}

#[test]
fn a_room_says_little_or_everything() {
    let room = &rooms("  - { name: sale, capacity: 5, release_rate: 10/s }").unwrap()[0];
    assert_eq!((room.name.as_str(), room.title.as_str(), room.spec.capacity), ("sale", "sale", 5));
    let release = Quota::new(Algorithm::TokenBucket, 10, Micros::from_secs(1), None).unwrap();
    assert_eq!(room.spec, Spec::new(5, release));
    let room = &rooms(
        "  - name: sale\n    title: Summer sale\n    capacity: 500\n    release_rate: 1/5s\n    \
         session: { limit: 40s, idle: none, early_end: frees_seat }\n    claim: { window: 30s, extensions: 2 }\n    \
         one_seat_per: header:X-User-Id\n    seats_per_prefix: 20\n    opens_at: 2026-11-27T09:00:00Z\n    \
         order: arrival\n    hosts: [shop.example]\n    return_to: /shop\n    message: Be patient\n",
    )
    .unwrap()[0];
    assert_eq!(room.one_seat_per, RoomSeatPer::Header("x-user-id".to_owned()));
    assert_eq!((room.spec.session.idle, room.spec.claim.extensions), (None, 2));
    let opening =
        Opening { at: Timestamp::from_micros(1_795_770_000_000_000), order: OpeningOrder::AsTheyCame };
    assert_eq!(room.spec.opening, Some(opening));
    assert_eq!(room.spec.release.window(), Micros::from_secs(5));
    assert_eq!(room.hosts, ["shop.example"]);
}

#[test]
fn a_file_of_rooms_alone_is_no_mistake() {
    let text = "version: 1\ndomains: []\nrooms: [{ name: sale, capacity: 5, release_rate: 10/s }]";
    assert_eq!(parse_rules(text, "rules.yaml").unwrap().warnings, []);
}

#[test]
fn a_room_that_is_written_reads_back() {
    for text in [
        "{ name: sale, capacity: 5, release_rate: 10/s }",
        "{ name: sale, capacity: 0, release_rate: 1/5s, session: { limit: none, idle: 1m, early_end: frees_seat }, \
         claim: { window: 30s, extensions: 2 }, one_seat_per: ip, seats_per_prefix: 2, max_waiting: 9, method: random, \
         opens_at: 2026-11-27T09:00:00.5Z, order: arrival, hosts: [a.example], return_to: /x, message: Hello, title: T, \
         accent: '#07a', template: brand.html, asset_origins: ['https://cdn.example'], min_lease: 30s }",
        "{ name: sale, capacity: 5, release_rate: 600/m, one_seat_per: header:X-User, session: { limit: 1h, renewals: 3 } }",
    ] {
        let room = crate::parse_room(text, "x").unwrap();
        let written = crate::room_json(&room).to_string();
        assert_eq!(crate::parse_room(&written, "x"), Ok(room), "{written}");
    }
}

#[test]
fn a_rule_sends_to_a_room_of_its_file() {
    let file = |fields: &str, rooms: &str| {
        format!(
            "version: 1\ndomains:\n  - name: d\n    rules:\n      - {{ name: r, key: [], limit: 1, window: 1s{fields} }}\nrooms: [{rooms}]\n"
        )
    };
    let sale = "{ name: sale, capacity: 1, release_rate: 1/s }";
    let good = parse_rules(&file(", on_limit: room, room: sale", sale), "f").unwrap();
    let rule = &good.rules.domains[0].rules[0];
    assert_eq!(rule.room().map(RoomName::as_str), Some("sale"));
    let written = crate::rule_json(rule).to_string();
    let read = crate::parse_rule_with(&written, "f", &crate::Defaults::default()).unwrap();
    assert_eq!(&read.rule, rule, "{written}");
    let refuses = parse_rules(&file(", on_limit: refuse", sale), "f").unwrap();
    assert_eq!(refuses.rules.domains[0].rules[0].room(), None);
    for (fields, field, what) in [
        (", on_limit: room, room: sal", "domains[0].rules[0].room", "did you mean 'sale'?"),
        (", on_limit: room, room: other", "domains[0].rules[0].room", "no room 'other' in this file"),
        (", on_limit: room", "domains[0].rules[0].room", "room is missing"),
        (", room: sale", "domains[0].rules[0].room", "write on_limit: room"),
        (", on_limit: refuse, room: sale", "domains[0].rules[0].room", "write on_limit: room"),
        (", on_limit: wait, room: sale", "domains[0].rules[0].on_limit", "did you mean 'room'?"),
        (", on_limit: room, room: Sale", "domains[0].rules[0].room", "write for example summer-sale"),
    ] {
        let error = parse_rules(&file(fields, sale), "f").unwrap_err().to_string();
        assert!(error.contains(field) && error.contains(what), "{fields}: {error}");
        assert!(error.starts_with("f:5:"), "{error}");
    }
    // What a server exports are rules alone.
    let elsewhere = crate::Defaults { rooms: crate::RoomsOfRules::Elsewhere, ..Default::default() };
    assert!(crate::parse_rules_with(&file(", on_limit: room, room: other", ""), "f", &elsewhere).is_ok());
}

#[test]
fn what_only_the_server_sees_is_said_with_its_place_too() {
    let text = "version: 1\ndomains: []\nrooms:\n  - name: sale\n    capacity: 1\n    release_rate: 1/s\n    hosts:\n      - a.example\n      - b.example\n";
    let check = |room: &RoomDefinition| {
        let fault = |field, item| RoomFault {
            field,
            item,
            message: format!("{} cannot be", room.hosts[1]),
            remedy: "change it".to_owned(),
        };
        vec![fault("hosts", Some(1)), fault("template", None)]
    };
    let errors = crate::parse_rules_checked(text, "f", &Default::default(), &check).unwrap_err();
    let places: Vec<_> =
        errors.errors.iter().map(|error| (error.line, error.column, error.field.as_str())).collect();
    // A field that is not written stands where its room does.
    assert_eq!(places, [(4, 5, "rooms[0].template"), (9, 9, "rooms[0].hosts[1]")]);
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (fields, field, what) in [
        ("capacity: 1", "rooms[0].release_rate", "release_rate is missing"),
        ("capacity: 1, release_rate: 0/s", "rooms[0].release_rate", "lets nobody in"),
        ("capacity: 1, release_rate: fast", "rooms[0].release_rate", "'fast' is not a rate"),
        ("capacity: 2_000_000, release_rate: 1/s", "rooms[0].capacity", "above 1000000 seats"),
        ("capacity: 1, release_rate: 1/s, claim: { window: 1s }", "rooms[0].claim.window", "not from 5s"),
        ("capacity: 1, release_rate: 1/s, order: arrival", "rooms[0].order", "there is none"),
        ("capacity: 1, release_rate: 1/s, opens_at: soon", "rooms[0].opens_at", "'soon' is not an instant"),
        ("capacity: 1, release_rate: 1/s, one_seat_per: tab", "rooms[0].one_seat_per", "'tab' is not"),
        ("capacity: 1, release_rate: 1/s, seats: 1", "rooms[0].seats", "no field 'seats'"),
        ("capacity: 1, release_rate: 1/s, min_lease: 1s", "rooms[0].min_lease", "not from 5s"),
        ("capacity: 1, release_rate: 1/s, template: ../x", "rooms[0].template", "not the name of a file"),
        ("capacity: 1, release_rate: 1/s, template: .hidden", "rooms[0].template", "not the name of a file"),
    ] {
        let error = rooms(&format!("  - {{ name: sale, {fields} }}")).unwrap_err();
        assert!(error.contains(field) && error.contains(what), "{fields}: {error}");
        assert!(error.starts_with("rules.yaml:4:"), "{error}");
    }
    let error = rooms("  - { name: Sale, capacity: 1, release_rate: 1/s }").unwrap_err();
    assert!(error.contains("rooms[0].name"), "{error}");
    let twice = "  - { name: a, capacity: 1, release_rate: 1/s }\n";
    assert!(rooms(&twice.repeat(2)).unwrap_err().contains("stands twice"));
}
