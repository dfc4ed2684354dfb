//! What a proxy asks with `/v1/authz`: its settings in the query, and the request that it describes.
//!
//! The query is the proxy's own configuration: `domain`, `cost`, `status`, `room`, `entry.NAME=value`, `header.NAME=Header-Name`. A
//! parameter that is unknown, twice or unusable is refused, so that a slip of the pen is noticed at the first request.

use std::borrow::Cow;
use std::net::IpAddr;

use http::header::HeaderName;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use smallvec::SmallVec;
use tidegate_wire::check::{
    DEFAULT_DOMAIN, MAX_COST, MAX_DOMAIN_BYTES, MAX_NAME_BYTES, MAX_VALUE_BYTES, parse_entry,
};
use tidegate_wire::identity::{IdentityPolicy, Ipv6Prefix, is_alias_name, single_header};
use tidegate_wire::problem::{Problem, ProblemType};

use super::described::{Described, Describer};
use super::entries_of_described;
use crate::door::form_text;

/// Most entries that the query chooses.
const MAX_CHOSEN_ENTRIES: usize = 16;
/// Longest parameter name, in bytes: an entry's name and what stands before it.
const MAX_PARAMETER_BYTES: usize = ENTRY_PREFIX.len() + HEADER_PREFIX.len() + MAX_NAME_BYTES;

const ENTRY_PREFIX: &str = "entry.";
const HEADER_PREFIX: &str = "header.";
/// The parameter that chooses the status of a denial.
const STATUS: &str = "status";
/// The parameter that names a waiting room, which is asked first.
const ROOM: &str = "room";
/// Entries that the request itself supplies: the query must not say otherwise.
const SUPPLIED: [&str; 5] = ["client_ip", "method", "path", "host", "user_agent"];

/// Name and value.
type Entry<'a> = (Cow<'a, str>, Cow<'a, str>);

/// A request to decide for a proxy.
#[derive(Debug)]
pub(in crate::http) struct AuthzRequest<'a> {
    pub(in crate::http) domain: Cow<'a, str>,
    pub(in crate::http) cost: u64,
    /// What the request supplies, then what the query chooses.
    pub(in crate::http) entries: SmallVec<[Entry<'a>; 8]>,
    /// Whether somebody who is no trusted proxy described another request; that was ignored.
    pub(in crate::http) by_stranger: bool,
}

/// The status of an answer that is not 2xx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum DenialStatus {
    /// What it is.
    Own,
    /// This one, whatever it is.
    Always(StatusCode),
}

/// Reads what a proxy asks, whose settings are read already.
///
/// # Errors
/// A setting or a description without one clear meaning: 400 or 422.
pub(in crate::http) fn read_authz<'a>(
    policy: &IdentityPolicy,
    peer: IpAddr,
    head: &'a Parts,
    settings: AuthzSettings<'a>,
) -> Result<AuthzRequest<'a>, Problem> {
    let (described, describer) = Described::by_proxy(policy, peer, head)?;
    let supplied = entries_of_described(policy, peer, head, &described)
        .map_err(|error| Problem::new(ProblemType::Malformed, format!("the request's path: {error}")))?;
    let mut entries: SmallVec<_> =
        supplied.into_iter().map(|(name, value)| (Cow::Borrowed(name), value)).collect();
    for chosen in settings.chosen {
        if let Some(entry) = chosen.entry(&head.headers, policy.ipv6_prefix)? {
            entries.push(entry);
        }
    }
    Ok(AuthzRequest {
        domain: settings.domain.unwrap_or(Cow::Borrowed(DEFAULT_DOMAIN)),
        cost: settings.cost.unwrap_or(1),
        entries,
        by_stranger: describer == Describer::Stranger,
    })
}

/// An entry that the query chooses.
struct Chosen<'a> {
    parameter: Cow<'a, str>,
    value: Cow<'a, str>,
}

/// The query.
#[derive(Default)]
pub(in crate::http) struct AuthzSettings<'a> {
    /// The waiting room that is asked first.
    pub(in crate::http) room: Option<Cow<'a, str>>,
    domain: Option<Cow<'a, str>>,
    cost: Option<u64>,
    chosen: Vec<Chosen<'a>>,
}

// === impl DenialStatus ===

impl DenialStatus {
    /// What the query chooses, right or wrong as it is otherwise: 429 is a denial's own status.
    pub(in crate::http) fn of(query: Option<&str>) -> Self {
        let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        let is_status = |name: &str| form_text(name, STATUS.len()).is_some_and(|name| name == STATUS);
        let mut values = pairs.filter(|(name, _)| is_status(name)).map(|(_, value)| value);
        match values.next().and_then(|value| form_text(value, MAX_VALUE_BYTES)).as_deref() {
            Some("401") => Self::Always(StatusCode::UNAUTHORIZED),
            Some("403") => Self::Always(StatusCode::FORBIDDEN),
            _ => Self::Own,
        }
    }
}

// === impl AuthzSettings ===

impl<'a> AuthzSettings<'a> {
    /// Reads them.
    ///
    /// # Errors
    /// One that is unknown, twice, unusable or without effect: 422.
    pub(in crate::http) fn of(query: Option<&'a str>) -> Result<Self, Problem> {
        let mut settings = Self::default();
        let mut status = None;
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = form_text(name, MAX_PARAMETER_BYTES).ok_or_else(|| {
                Problem::invalid_field("query", "a parameter's name is too long, or no text")
            })?;
            let value = form_text(value, MAX_VALUE_BYTES).ok_or_else(|| {
                let detail = format!("must be 1 to {MAX_VALUE_BYTES} bytes of text, percent-encoded");
                Problem::invalid_field(&*name, format!("{name} {detail}"))
            })?;
            match &*name {
                "domain" => once(&mut settings.domain, &name, domain(value))?,
                "cost" => once(&mut settings.cost, &name, cost(&value))?,
                STATUS => once(&mut status, &name, denial_status(&value))?,
                ROOM => once(&mut settings.room, &name, Ok(value))?,
                _ => settings.choose(name, value)?,
            }
        }
        if settings.is_of_room_alone() && (settings.cost.is_some() || !settings.chosen.is_empty()) {
            let detail =
                "cost, entry.NAME and header.NAME are for rules: with a room, name their domain, too";
            return Err(Problem::invalid_field("domain", detail));
        }
        Ok(settings)
    }

    /// Whether a room is asked and no rules are.
    pub(in crate::http) fn is_of_room_alone(&self) -> bool {
        self.room.is_some() && self.domain.is_none()
    }

    fn choose(&mut self, parameter: Cow<'a, str>, value: Cow<'a, str>) -> Result<(), Problem> {
        let refuse = |detail: String| Err(Problem::invalid_field(&*parameter, detail));
        let Some(name) = entry_name(&parameter) else {
            return refuse(format!(
                "{parameter} is not a known parameter; they are domain, cost, status, room, entry.NAME and header.NAME"
            ));
        };
        if SUPPLIED.contains(&name) {
            return refuse(format!("{parameter}: the request itself says its {name}"));
        }
        if self.chosen.iter().any(|chosen| entry_name(&chosen.parameter) == Some(name)) {
            return refuse(format!("{parameter}: the entry {name} is given twice"));
        }
        if self.chosen.len() >= MAX_CHOSEN_ENTRIES {
            return refuse(format!("at most {MAX_CHOSEN_ENTRIES} entries can be chosen"));
        }
        self.chosen.push(Chosen { parameter, value });
        Ok(())
    }
}

/// The name of the entry that a parameter chooses.
fn entry_name(parameter: &str) -> Option<&str> {
    parameter.strip_prefix(ENTRY_PREFIX).or_else(|| parameter.strip_prefix(HEADER_PREFIX))
}

/// Fills what may be said once.
fn once<T>(slot: &mut Option<T>, name: &str, value: Result<T, String>) -> Result<(), Problem> {
    let reason = match value {
        Ok(value) if slot.is_none() => {
            *slot = Some(value);
            return Ok(());
        }
        Ok(_) => "is given twice".to_owned(),
        Err(reason) => reason,
    };
    Err(Problem::invalid_field(name, format!("{name} {reason}")))
}

fn domain(value: Cow<'_, str>) -> Result<Cow<'_, str>, String> {
    if value.len() > MAX_DOMAIN_BYTES {
        return Err(format!("must be at most {MAX_DOMAIN_BYTES} bytes long"));
    }
    Ok(value)
}

fn cost(value: &str) -> Result<u64, String> {
    let cost = value.parse().ok().filter(|cost| (1..=MAX_COST).contains(cost));
    cost.ok_or_else(|| format!("must be a whole number from 1 to {MAX_COST}"))
}

fn denial_status(value: &str) -> Result<(), String> {
    if matches!(value, "401" | "403" | "429") { Ok(()) } else { Err("must be 401, 403 or 429".to_owned()) }
}

// === impl Chosen ===

impl<'a> Chosen<'a> {
    /// The entry; `None` where the field that holds its value is missing or empty.
    fn entry(self, headers: &'a HeaderMap, ipv6_prefix: Ipv6Prefix) -> Result<Option<Entry<'a>>, Problem> {
        let Some(name) = entry_name(&self.parameter).map(str::to_owned) else { return Ok(None) };
        let refuse = |kind, reason: &str| {
            let field = Some(self.parameter.to_string());
            Problem { field, ..Problem::new(kind, format!("{} {reason}", self.parameter)) }
        };
        if self.parameter.starts_with(ENTRY_PREFIX) {
            let value = parse_entry(&name, self.value, ipv6_prefix);
            let value = value.map_err(|reason| refuse(ProblemType::InvalidField, &reason))?;
            return Ok(Some((Cow::Owned(name), value)));
        }
        let field =
            HeaderName::from_bytes(self.value.as_bytes()).ok().filter(|field| !is_alias_name(field.as_str()));
        let field = field.ok_or_else(|| {
            refuse(ProblemType::InvalidField, "must name a header field, without _ and . in its name")
        })?;
        // From here on it is the client's fault.
        let value = single_header(headers, &field)
            .map_err(|error| refuse(ProblemType::Malformed, &format!("cannot be read: {error}")))?;
        let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(None) };
        let value = parse_entry(&name, Cow::Borrowed(value), ipv6_prefix).map_err(|reason| {
            refuse(ProblemType::Malformed, &format!("cannot be read: its value {reason}"))
        })?;
        Ok(Some((Cow::Owned(name), value)))
    }
}
