//! Waiting rooms: the list `rooms` of a rule file.

use std::collections::HashMap;

use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::room::draw::Seed;
use tidegate_core::room::{
    ClaimTerms, EarlyEnd, Method, Opening, OpeningOrder, RoomName, SessionTerms, Settings, SettingsError,
    Spec,
};
use tidegate_core::time::Timestamp;

use super::fields::{self, Fields, Shape};
use super::{is_not, scalar};
use crate::duration::parse_duration;
use crate::path::Path;
use crate::report::{Report, Spot};
use crate::suggest::quote;
use crate::yaml::{Node, Value};

/// The most rooms of one file.
pub const MAX_ROOMS: usize = 1_000;
/// The most hosts of one room.
pub const MAX_ROOM_HOSTS: usize = 16;
/// The longest title of a room, in characters.
pub const MAX_ROOM_TITLE_CHARS: usize = 100;
/// The longest message to those who wait, in characters.
pub const MAX_ROOM_MESSAGE_CHARS: usize = 1_000;
/// The most origins of pictures, styles and fonts of one room.
pub const MAX_ROOM_ASSET_ORIGINS: usize = 8;
/// The longest name of a template, in bytes.
pub const MAX_ROOM_TEMPLATE_BYTES: usize = 100;

pub(super) const ROOM: Shape = Shape {
    what: "a room",
    fields: &[
        "name",
        "title",
        "capacity",
        "release_rate",
        "session",
        "claim",
        "one_seat_per",
        "seats_per_prefix",
        "max_waiting",
        "method",
        "opens_at",
        "order",
        "hosts",
        "return_to",
        "message",
        "accent",
        "template",
        "asset_origins",
        "min_lease",
    ],
    others: &[
        ("id", "name"),
        ("room", "name"),
        ("seats", "capacity"),
        ("total_active_users", "capacity"),
        ("max_active", "capacity"),
        ("rate", "release_rate"),
        ("new_users_per_minute", "release_rate"),
        ("identity", "one_seat_per"),
        ("queueing_method", "method"),
        ("start", "opens_at"),
        ("opening", "opens_at"),
        ("host", "hosts"),
        ("domains", "hosts"),
        ("color", "accent"),
        ("colour", "accent"),
        ("page", "template"),
        ("origins", "asset_origins"),
        ("lease", "min_lease"),
    ],
};

pub(super) const SESSION: Shape = Shape {
    what: "a session",
    fields: &["limit", "idle", "renewals", "early_end"],
    others: &[("duration", "limit"), ("max", "limit"), ("timeout", "idle"), ("renew", "renewals")],
};

pub(super) const CLAIM: Shape = Shape {
    what: "a claim",
    fields: &["window", "extensions"],
    others: &[("time", "window"), ("timeout", "window"), ("extend", "extensions")],
};

const METHODS: [(&str, Method); 4] = [
    (Method::Fifo.name(), Method::Fifo),
    (Method::Random.name(), Method::Random),
    (Method::Passthrough.name(), Method::Passthrough),
    (Method::Reject.name(), Method::Reject),
];
const ORDERS: [(&str, OpeningOrder); 2] =
    [("shuffled", OpeningOrder::Shuffled), ("arrival", OpeningOrder::AsTheyCame)];
const EARLY_ENDS: [(&str, EarlyEnd); 2] =
    [("holds_seat", EarlyEnd::HoldsSeat), ("frees_seat", EarlyEnd::FreesSeat)];

/// Whose seat one is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RoomSeatPer {
    /// A browser's.
    #[default]
    Device,
    /// A client address's.
    Ip,
    /// Of whom this header field names, which a trusted proxy writes.
    Header(String),
}

/// A room of a rule file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomDefinition {
    /// The name in addresses.
    pub name: RoomName,
    /// What decides; sound but for the seed of draws, which is no matter of files.
    pub spec: Spec,
    /// Whose seat one is.
    pub one_seat_per: RoomSeatPer,
    /// The hosts of the site, as written.
    pub hosts: Vec<String>,
    /// Where visitors go who did not say it, as written.
    pub return_to: Option<String>,
    /// What visitors read as its name.
    pub title: String,
    /// What those who wait are told.
    pub message: Option<String>,
    /// The brand's colour, as written.
    pub accent: Option<String>,
    /// The name of a template in the server's folder of templates.
    pub template: Option<String>,
    /// Where a template may have pictures, styles and fonts from, as written.
    pub asset_origins: Vec<String>,
}

impl RoomDefinition {
    /// A room of which only this is known, and everything else is as usual.
    #[must_use]
    pub fn new(name: RoomName, spec: Spec) -> Self {
        Self {
            title: name.to_string(),
            name,
            // No matter of files.
            spec: Spec { seed: None, ..spec },
            one_seat_per: RoomSeatPer::default(),
            hosts: Vec::new(),
            return_to: None,
            message: None,
            accent: None,
            template: None,
            asset_origins: Vec::new(),
        }
    }
}

/// What is wrong with a room that this crate cannot see: it knows no hosts, no pages and no files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomFault {
    /// The field of the room.
    pub field: &'static str,
    /// Which item of a list, from 0.
    pub item: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// Looks at a room for what the server would refuse.
pub type RoomCheck<'c> = dyn Fn(&RoomDefinition) -> Vec<RoomFault> + 'c;

/// Nothing more to look at.
pub(super) fn no_check(_: &RoomDefinition) -> Vec<RoomFault> {
    Vec::new()
}

/// Reads the list of rooms.
pub(super) fn read_list(
    node: &Node,
    path: &Path<'_>,
    check: &RoomCheck<'_>,
    report: &mut Report<'_>,
) -> Option<Vec<RoomDefinition>> {
    let items = fields::list(node, path, "write a list of rooms, each with '- name:'", report)?;
    fields::at_most(MAX_ROOMS, items.len(), "rooms", node, path, report);
    let mut names: HashMap<String, Spot> = HashMap::new();
    let mut rooms = Vec::new();
    for (index, item) in items.iter().take(MAX_ROOMS).enumerate() {
        let path = path.index(index);
        rooms.extend(read(item, path, check, report));
        fields::unique_name(item, &path, "room", &mut names, report);
    }
    Some(rooms)
}

/// The names of the rooms of a list, right or wrong as they are otherwise.
pub(super) fn names_of(list: &Node) -> Vec<&str> {
    match &list.value {
        Value::List(items) => items.iter().filter_map(|item| item.get("name")?.text()).collect(),
        _ => Vec::new(),
    }
}

pub(super) fn read(
    node: &Node,
    path: Path<'_>,
    check: &RoomCheck<'_>,
    report: &mut Report<'_>,
) -> Option<RoomDefinition> {
    let fields = Fields::read(node, path, &ROOM, report)?;
    let name = fields.required("name", "write name: and a name", report, self::name);
    let capacity = fields.required("capacity", "write capacity: and the most visitors inside", report, small);
    let release = fields.required("release_rate", "write release_rate: 10/s", report, rate);
    let session = fields.optional("session", report, read_session).unwrap_or_default();
    let claim = fields.optional("claim", report, read_claim).unwrap_or_default();
    let method = fields.optional("method", report, |node, path, report| {
        scalar::choice(node, path, &METHODS, &[("fcfs", "fifo"), ("first_come", "fifo")], report)
    });
    let order = fields.optional("order", report, |node, path, report| {
        scalar::choice(node, path, &ORDERS, &[("random", "shuffled"), ("fifo", "arrival")], report)
    });
    let opens_at = fields.optional("opens_at", report, instant);
    if let (Some(node), None) = (fields.get("order"), fields.get("opens_at")) {
        let message = "an order is of those who come before the opening, and there is none";
        report.error(node.at, &path.field("order"), message, "add opens_at, or remove order");
    }
    let opening = opens_at.map(|at| Opening { at, order: order.unwrap_or(OpeningOrder::Shuffled) });
    let max_waiting = fields.optional("max_waiting", report, small);
    let seats_per_prefix = fields.optional("seats_per_prefix", report, small);
    let one_seat_per = fields.optional("one_seat_per", report, seat_per).unwrap_or_default();
    let hosts = fields.optional("hosts", report, hosts).unwrap_or_default();
    let return_to =
        fields.optional("return_to", report, |node, path, report| text(node, path, 2_048, report));
    let title =
        fields.optional("title", report, |node, path, report| text(node, path, MAX_ROOM_TITLE_CHARS, report));
    let message = fields
        .optional("message", report, |node, path, report| text(node, path, MAX_ROOM_MESSAGE_CHARS, report));
    let accent = fields.optional("accent", report, |node, path, report| text(node, path, 7, report));
    let template = fields.optional("template", report, file_name);
    let asset_origins = fields.optional("asset_origins", report, origins).unwrap_or_default();
    let min_lease = fields.optional("min_lease", report, scalar::duration);
    let (name, capacity, release) = (name?, capacity?, release?);
    let usual = Spec::new(capacity, release);
    let spec = Spec {
        method: method.unwrap_or_default(),
        claim,
        session,
        max_waiting: max_waiting.unwrap_or(usual.max_waiting),
        seats_per_prefix,
        opening,
        min_lease: min_lease.unwrap_or(usual.min_lease),
        ..usual
    };
    check_spec(&spec, &fields, report);
    let title = title.unwrap_or_else(|| name.to_string());
    let room = RoomDefinition {
        name,
        spec,
        one_seat_per,
        hosts,
        return_to,
        title,
        message,
        accent,
        template,
        asset_origins,
    };
    for fault in check(&room) {
        let node = fields.get(fault.field);
        let item = fault.item.and_then(|index| match &node?.value {
            Value::List(items) => items.get(index),
            _ => None,
        });
        let at = item.or(node).unwrap_or(fields.node).at;
        let path = fields.path.field(fault.field);
        match (item, fault.item) {
            (Some(_), Some(index)) => report.error(at, &path.index(index), fault.message, fault.remedy),
            _ => report.error(at, &path, fault.message, fault.remedy),
        }
    }
    Some(room)
}

/// Reports what the core does not take, at the field that says it.
fn check_spec(spec: &Spec, fields: &Fields<'_, '_>, report: &mut Report<'_>) {
    // The server has a seed.
    let seed = Some(Seed::new([0; 32]));
    let Err(error) = Settings::new(Spec { seed, ..spec.clone() }) else { return };
    let (field, part) = match error {
        SettingsError::CapacityTooLarge => ("capacity", None),
        SettingsError::ReleaseZero => ("release_rate", None),
        SettingsError::ClaimWindowOutOfRange => ("claim", Some("window")),
        SettingsError::TooManyClaimExtensions => ("claim", Some("extensions")),
        SettingsError::SessionEndless => ("session", None),
        SettingsError::SessionLimitOutOfRange | SettingsError::NothingToRenew => ("session", Some("limit")),
        SettingsError::IdleOutOfRange => ("session", Some("idle")),
        SettingsError::TooManyRenewals => ("session", Some("renewals")),
        SettingsError::MaxWaitingTooLarge => ("max_waiting", None),
        SettingsError::SeatsPerPrefixOutOfRange => ("seats_per_prefix", None),
        SettingsError::MinLeaseOutOfRange => ("min_lease", None),
        SettingsError::SeedMissing => ("name", None),
    };
    let node = fields.get(field);
    let part_node = part.and_then(|part| node?.get(part));
    let at = part_node.or(node).unwrap_or(fields.node).at;
    let path = fields.path.field(field);
    let remedy = "write a value within this range";
    match part {
        Some(part) => report.error(at, &path.field(part), error.to_string(), remedy),
        None => report.error(at, &path, error.to_string(), remedy),
    }
}

fn read_session(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<SessionTerms> {
    let fields = Fields::read(node, *path, &SESSION, report)?;
    let usual = SessionTerms::default();
    let span = |name, usual, report: &mut Report<'_>| match fields.get(name) {
        None => usual,
        Some(node) if node.text() == Some("none") => None,
        Some(_) => fields.optional(name, report, scalar::duration).or(usual),
    };
    let (limit, idle) = (span("limit", usual.limit, report), span("idle", usual.idle, report));
    let renewals = fields.optional("renewals", report, few).unwrap_or(usual.renewals);
    let early_end = fields.optional("early_end", report, |node, path, report| {
        scalar::choice(node, path, &EARLY_ENDS, &[("hold", "holds_seat"), ("free", "frees_seat")], report)
    });
    Some(SessionTerms { limit, idle, renewals, early_end: early_end.unwrap_or_default() })
}

fn read_claim(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<ClaimTerms> {
    let fields = Fields::read(node, *path, &CLAIM, report)?;
    let usual = ClaimTerms::default();
    let window = fields.optional("window", report, scalar::duration).unwrap_or(usual.window);
    let extensions = fields.optional("extensions", report, few).unwrap_or(usual.extensions);
    Some(ClaimTerms { window, extensions })
}

pub(super) fn name(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<RoomName> {
    let text = node.text().unwrap_or_default();
    match RoomName::new(text) {
        Ok(name) => Some(name),
        Err(error) => {
            report.error(node.at, path, error.to_string(), "write for example summer-sale");
            None
        }
    }
}

/// `10/s`, `600/m`, `1/5s`: so many visitors in that time.
fn rate(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<Quota> {
    let read = |text: &str| {
        let (count, span) = text.split_once('/')?;
        let count = count.trim().replace('_', "").parse().ok()?;
        let span = span.trim();
        let whole =
            if span.starts_with(|c: char| c.is_ascii_digit()) { span.to_owned() } else { format!("1{span}") };
        Some((count, parse_duration(&whole).ok()?))
    };
    let remedy = "write visitors and a time, for example 10/s or 600/m";
    let Some((count, window)) = node.text().and_then(read) else {
        report.error(node.at, path, is_not(node, "a rate"), remedy);
        return None;
    };
    match Quota::new(Algorithm::TokenBucket, count, window, None) {
        Ok(quota) => Some(quota),
        Err(error) => {
            report.error(node.at, path, error.to_string(), remedy);
            None
        }
    }
}

/// An instant, RFC 3339.
fn instant(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<Timestamp> {
    let at = node.text().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let micros = at.and_then(|at| u64::try_from(at.as_microsecond()).ok());
    if micros.is_none() {
        let remedy = "write day, time and offset, for example 2026-11-27T09:00:00Z";
        report.error(node.at, path, is_not(node, "an instant"), remedy);
    }
    micros.map(Timestamp::from_micros)
}

fn seat_per(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<RoomSeatPer> {
    let text = node.text().unwrap_or_default();
    let is_name = |name: &str| {
        !name.is_empty()
            && name.len() <= 64
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    match text.strip_prefix("header:").map(str::trim) {
        _ if text == "device" => Some(RoomSeatPer::Device),
        _ if text == "ip" => Some(RoomSeatPer::Ip),
        Some(name) if is_name(name) => Some(RoomSeatPer::Header(name.to_ascii_lowercase())),
        _ => {
            let remedy = "write device, ip, or header: and the name of a field, such as 'header:X-User-Id'";
            report.error(node.at, path, is_not(node, "a way to tell visitors apart"), remedy);
            None
        }
    }
}

fn hosts(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<Vec<String>> {
    let items = fields::list(node, path, "write a list of hosts, such as [shop.example]", report)?;
    fields::at_most(MAX_ROOM_HOSTS, items.len(), "hosts", node, path, report);
    Some(texts(items, MAX_ROOM_HOSTS, path, report))
}

fn origins(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<Vec<String>> {
    let remedy = "write a list of origins, such as ['https://cdn.example.com']";
    let items = fields::list(node, path, remedy, report)?;
    fields::at_most(MAX_ROOM_ASSET_ORIGINS, items.len(), "origins", node, path, report);
    Some(texts(items, MAX_ROOM_ASSET_ORIGINS, path, report))
}

fn texts(items: &[Node], most: usize, path: &Path<'_>, report: &mut Report<'_>) -> Vec<String> {
    let mut texts = Vec::new();
    for (index, item) in items.iter().take(most).enumerate() {
        texts.extend(text(item, &path.index(index), 255, report));
    }
    texts
}

/// The name of a file, and no way out of its folder.
fn file_name(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<String> {
    let name = text(node, path, MAX_ROOM_TEMPLATE_BYTES, report)?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if name.starts_with('.') || !name.bytes().all(is_plain) {
        let message = format!("{} is not the name of a file", quote(&name));
        let remedy =
            "write the name of a file in the folder of --room-templates: letters, digits and . _ - only";
        report.error(node.at, path, message, remedy);
        return None;
    }
    Some(name)
}

fn text(node: &Node, path: &Path<'_>, most: usize, report: &mut Report<'_>) -> Option<String> {
    let Some(text) = node.text() else {
        report.error(node.at, path, is_not(node, "a text"), "write a text, in quotes if need be");
        return None;
    };
    let text = text.trim();
    if text.is_empty() || text.chars().count() > most || text.chars().any(scalar::is_unwritable) {
        let message = format!("{} is no text of 1 to {most} characters in one line", quote(text));
        report.error(node.at, path, message, "write another one");
        return None;
    }
    Some(text.to_owned())
}

fn small(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<u32> {
    let number = scalar::unsigned(node, path, report)?;
    Some(u32::try_from(number).unwrap_or(u32::MAX))
}

fn few(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<u16> {
    let number = scalar::unsigned(node, path, report)?;
    Some(u16::try_from(number).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
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
            (
                "capacity: 1, release_rate: 1/s, opens_at: soon",
                "rooms[0].opens_at",
                "'soon' is not an instant",
            ),
            ("capacity: 1, release_rate: 1/s, one_seat_per: tab", "rooms[0].one_seat_per", "'tab' is not"),
            ("capacity: 1, release_rate: 1/s, seats: 1", "rooms[0].seats", "no field 'seats'"),
            ("capacity: 1, release_rate: 1/s, min_lease: 1s", "rooms[0].min_lease", "not from 5s"),
            ("capacity: 1, release_rate: 1/s, template: ../x", "rooms[0].template", "not the name of a file"),
            (
                "capacity: 1, release_rate: 1/s, template: .hidden",
                "rooms[0].template",
                "not the name of a file",
            ),
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
}
