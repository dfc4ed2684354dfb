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
    pub fn new(name: RoomName, spec: &Spec) -> Self {
        Self {
            title: name.to_string(),
            name,
            // No matter of files.
            spec: Spec { seed: None, ..spec.clone() },
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
mod tests;
