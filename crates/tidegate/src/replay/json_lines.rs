//! Access logs with one JSON object a line, as nginx, Envoy, Traefik, Caddy and most applications write
//! them. The usual names are known; `--field entry=json.path` names the others.

use std::borrow::Cow;

use super::clf;
use super::error::Unreadable;
use super::format::FieldMap;
use super::json_paths::{PathTree, Scalar, Slot};
use super::record::{Field, LogRecord};
use super::time;

#[cfg(test)]
mod tests;

/// The pseudo entry that a mapping uses to name the time.
pub(super) const TIME_ENTRY: &str = "time";

// The start of a request is when a limiter would have seen it, so it goes before the time of the line.
const TIME_PATHS: &[&str] = &[
    "start_time",
    "StartUTC",
    "time",
    "timestamp",
    "@timestamp",
    "ts",
    "time_iso8601",
    "msec",
    "time_local",
    "datetime",
];

/// Paths that hold a whole request line (nginx's `$request`).
const REQUEST_PATHS: &[&str] = &["request", "request_line"];

const fn usual_paths(field: Field) -> &'static [&'static str] {
    match field {
        Field::ClientIp => &[
            "client_ip",
            "remote_addr",
            "remote_ip",
            "ip",
            "client.ip",
            "source.ip",
            "request.client_ip",
            "request.remote_ip",
            "ClientHost",
            "downstream_remote_address",
            "clientip",
            "remote_address",
        ],
        Field::Method => {
            &["method", "request_method", "request.method", "http.request.method", "RequestMethod", "verb"]
        }
        Field::Path => &[
            "path",
            "uri",
            "request_uri",
            "request.uri",
            "request_path",
            "url.path",
            "url.original",
            "RequestPath",
            "url",
        ],
        Field::Host => &["host", "http_host", "request.host", "url.domain", "authority", "RequestHost"],
        Field::UserAgent => &[
            "user_agent",
            "http_user_agent",
            "user_agent.original",
            "request.headers.User-Agent",
            "request_User-Agent",
            "agent",
        ],
        Field::User => &["user", "remote_user", "user.name", "ClientUsername"],
        Field::Status => {
            &["status", "response_code", "http.response.status_code", "DownstreamStatus", "status_code"]
        }
    }
}

const FIELD_SLOTS: usize = Field::ALL.len();
const TIME_SLOT: usize = FIELD_SLOTS;
const REQUEST_SLOT: usize = FIELD_SLOTS + 1;
const FIRST_EXTRA_SLOT: usize = FIELD_SLOTS + 2;

/// Reads JSON lines with given mappings.
#[derive(Debug, Clone)]
pub(super) struct JsonReader {
    tree: PathTree,
    fields: FieldMap,
}

impl JsonReader {
    /// A mapping of a known entry, or of `time`, replaces its usual names.
    pub(super) fn new(fields: &FieldMap) -> Self {
        let mut tree = PathTree::new(FIRST_EXTRA_SLOT + fields.len());
        let mut mapped = [false; FIRST_EXTRA_SLOT];
        for (index, (entry, path)) in fields.iter().enumerate() {
            let slot = match Field::from_name(entry) {
                Some(field) => field as usize,
                None if &**entry == TIME_ENTRY => TIME_SLOT,
                None => FIRST_EXTRA_SLOT + index,
            };
            if let Some(mapped) = mapped.get_mut(slot) {
                *mapped = true;
            }
            tree.add(slot, 0, path);
        }
        let usual = Field::ALL.into_iter().map(|field| (field as usize, usual_paths(field)));
        for (slot, paths) in usual.chain([(TIME_SLOT, TIME_PATHS), (REQUEST_SLOT, REQUEST_PATHS)]) {
            if !mapped[slot] {
                for (rank, path) in paths.iter().enumerate() {
                    tree.add(slot, rank, path);
                }
            }
        }
        Self { tree, fields: fields.clone() }
    }

    /// Parses one line.
    pub(super) fn parse(&self, line: &[u8]) -> Result<LogRecord, Unreadable> {
        match self.tree.read(line) {
            Ok(slots) => self.record(&slots, line.len()),
            Err(error) => match String::from_utf8_lossy(line) {
                Cow::Owned(repaired) => {
                    let slots = self.tree.read(repaired.as_bytes()).map_err(bad_json)?;
                    self.record(&slots, repaired.len())
                }
                Cow::Borrowed(_) => Err(bad_json(error)),
            },
        }
    }

    fn record(&self, slots: &[Slot<'_>], line_bytes: usize) -> Result<LogRecord, Unreadable> {
        let value = |slot: usize| slots.get(slot).and_then(|slot| slot.value.as_ref());
        let at_us = value(TIME_SLOT).ok_or(Unreadable::NoTimeField).and_then(read_time)?;
        let mut record = LogRecord::new(at_us, line_bytes.min(512));
        let text = |slot| value(slot).map(Scalar::as_text).filter(|text| !text.is_empty() && text != "-");
        for field in Field::ALL {
            let Some(text) = text(field as usize) else { continue };
            match field {
                Field::ClientIp => record.set(field, &clf::without_client_port(&text)),
                Field::Path => clf::set_path(&mut record, &text),
                // An absolute target has already given it; the Host field itself says the same or better.
                _ => record.set(field, &text),
            }
        }
        if record.get(Field::Path).is_none()
            && record.get(Field::Method).is_none()
            && let Some(line) = text(REQUEST_SLOT)
        {
            clf::set_request_line(&mut record, &line);
        }
        for (index, (entry, _)) in self.fields.iter().enumerate() {
            if let Some(text) = text(FIRST_EXTRA_SLOT + index) {
                record.set_entry(entry, &text);
            }
        }
        Ok(record)
    }
}

fn read_time(value: &Scalar<'_>) -> Result<u64, Unreadable> {
    match value {
        Scalar::Text(text) => time::parse_text(text),
        Scalar::Unsigned(number) => time::from_integer(*number),
        Scalar::Float(number) => time::from_float(*number),
        Scalar::Negative(_) => Err(Unreadable::TimeOutOfRange),
        Scalar::Bool(_) => Err(Unreadable::BadTime),
    }
}

/// The longest reason, in characters: an error may repeat text of the line, which strangers wrote.
const MAX_REASON_CHARS: usize = 120;

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn bad_json(error: serde_json::Error) -> Unreadable {
    Unreadable::BadJson(error.to_string().chars().take(MAX_REASON_CHARS).collect())
}
