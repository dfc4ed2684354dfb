//! Which format a log has, and which entries are taken from where.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use tidegate_core::rule::model::Rule;
use tidegate_engine::{PRIORITY_ENTRY, TIER_ENTRY};

use super::clf;
use super::error::{ReplayError, Unreadable};
use super::json_lines::{JsonReader, TIME_ENTRY};
use super::record::{Field, LogRecord};

#[cfg(test)]
mod tests;

/// The most `--field` mappings of one run.
pub const MAX_FIELD_MAPPINGS: usize = 64;

const MAX_ENTRY_BYTES: usize = 64;
const MAX_PATH_BYTES: usize = 256;
const MAX_PATH_DEPTH: usize = 16;

/// The format of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Found from the first readable lines of each log.
    #[default]
    Auto,
    /// The common log format.
    Common,
    /// The combined log format: common with referrer and user agent. One parser reads both.
    Combined,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// The formats as an argument may name them.
    pub const NAMES: [&'static str; 4] = ["auto", "common", "combined", "json"];

    const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Common => "common",
            Self::Combined => "combined",
            Self::Json => "json",
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Auto, Self::Common, Self::Combined, Self::Json]
            .into_iter()
            .find(|format| format.name() == text)
            .ok_or_else(|| format!("{text:?} is no log format: use one of {}", Self::NAMES.join(", ")))
    }
}

/// Where entries come from beyond the usual names: `entry=source` pairs.
///
/// In a JSON log the source is a path of names joined by dots, and the entry `time` names the time. In
/// common and combined logs it is one of the format's fields (`user_id=user`).
#[derive(Debug, Clone, Default)]
pub struct FieldMap {
    mappings: Vec<Mapping>,
}

#[derive(Debug, Clone)]
struct Mapping {
    entry: Arc<str>,
    source: Box<str>,
    wanted: Wanted,
}

/// What it means if a format cannot have the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// Somebody asked for it: an error.
    Asked,
    /// A rule could use it: nothing.
    Offered,
}

/// Every entry that rules look at, some more than once: in their keys and conditions, and what says the tier and the priority.
pub fn entries_used_by<'a>(rules: impl IntoIterator<Item = &'a Rule>) -> impl Iterator<Item = &'a str> {
    let of_rule = |rule: &'a Rule| {
        let conditions = rule.all_conditions().map(|wanted| wanted.entry.as_str());
        rule.key.iter().chain(&rule.order).map(String::as_str).chain(conditions)
    };
    [TIER_ENTRY, PRIORITY_ENTRY].into_iter().chain(rules.into_iter().flat_map(of_rule))
}

impl FieldMap {
    /// Adds one `entry=source` argument.
    ///
    /// # Errors
    /// [`ReplayError::BadField`] if it is not of that shape or names an entry twice,
    /// [`ReplayError::TooManyFields`] beyond [`MAX_FIELD_MAPPINGS`].
    pub fn add(&mut self, argument: &str) -> Result<(), ReplayError> {
        let bad = |reason| ReplayError::BadField { text: argument.chars().take(200).collect(), reason };
        let (entry, source) = argument
            .split_once('=')
            .ok_or_else(|| bad("write it as ENTRY=SOURCE, for example user_id=auth.user.id"))?;
        if entry.is_empty() || entry.len() > MAX_ENTRY_BYTES {
            return Err(bad("the entry's name must have 1 to 64 bytes"));
        }
        if source.is_empty() || source.len() > MAX_PATH_BYTES {
            return Err(bad("the source must have 1 to 256 bytes"));
        }
        let depth = source.split('.').count();
        if depth > MAX_PATH_DEPTH || source.split('.').any(str::is_empty) {
            return Err(bad("the source must be 1 to 16 names joined by single dots"));
        }
        if self.has(entry) {
            return Err(bad("this entry is mapped twice: keep one of them"));
        }
        if self.mappings.len() == MAX_FIELD_MAPPINGS {
            return Err(ReplayError::TooManyFields);
        }
        self.mappings.push(Mapping { entry: entry.into(), source: source.into(), wanted: Wanted::Asked });
        Ok(())
    }

    /// Takes an entry that the rules use from the field of the same name, where a log has one. Call it after
    /// all [`add`](Self::add)s: entries that are mapped already, that have usual names of their own, or that
    /// come after [`MAX_FIELD_MAPPINGS`] are left as they are.
    pub fn offer(&mut self, entry: &str) {
        let usable = (1..=MAX_ENTRY_BYTES).contains(&entry.len())
            && entry != TIME_ENTRY
            && entry.split('.').count() <= MAX_PATH_DEPTH;
        if usable
            && Field::from_name(entry).is_none()
            && !self.has(entry)
            && self.mappings.len() < MAX_FIELD_MAPPINGS
        {
            self.mappings.push(Mapping {
                entry: entry.into(),
                source: entry.into(),
                wanted: Wanted::Offered,
            });
        }
    }

    /// [`offer`](Self::offer)s every entry that rules look at: a request without them would be another request.
    pub fn offer_used_by<'a>(&mut self, rules: impl IntoIterator<Item = &'a Rule>) {
        entries_used_by(rules).for_each(|entry| self.offer(entry));
    }

    fn has(&self, entry: &str) -> bool {
        self.mappings.iter().any(|mapping| &*mapping.entry == entry)
    }

    /// How many mappings there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.mappings.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.mappings.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &str)> {
        self.mappings.iter().map(|mapping| (&mapping.entry, &*mapping.source))
    }
}

/// Parses the lines of one log.
#[derive(Debug, Clone)]
pub(super) enum LogParser {
    /// Common or combined.
    Clf(FieldMap),
    /// JSON lines.
    Json(Box<JsonReader>),
}

impl LogParser {
    /// A parser of a certain format; [`LogFormat::Auto`] must have been resolved by [`detect`] and reads as
    /// common otherwise. `file` is for the message.
    pub(super) fn new(format: LogFormat, fields: &FieldMap, file: &str) -> Result<Self, ReplayError> {
        if format == LogFormat::Json {
            return Ok(Self::Json(Box::new(JsonReader::new(fields))));
        }
        let exists = |mapping: &Mapping| clf::has_source(&mapping.source) && &*mapping.entry != TIME_ENTRY;
        let (found, missing): (Vec<_>, Vec<_>) = fields.mappings.iter().cloned().partition(exists);
        match missing.into_iter().find(|mapping| mapping.wanted == Wanted::Asked) {
            None => Ok(Self::Clf(FieldMap { mappings: found })),
            Some(mapping) => Err(ReplayError::FieldNotInFormat {
                file: file.to_owned(),
                entry: mapping.entry.to_string(),
                source_name: mapping.source.into(),
                format,
                available: clf::SOURCE_NAMES,
            }),
        }
    }

    /// Parses one line without its end.
    pub(super) fn parse(&self, line: &[u8]) -> Result<LogRecord, Unreadable> {
        match self {
            Self::Clf(fields) => clf::parse(line, fields),
            Self::Json(reader) => reader.parse(line),
        }
    }
}

/// Finds the format of a log from its first lines: JSON if most readable lines are, combined if there is a
/// user agent. `Err` has the reason why the first line cannot be read.
pub(super) fn detect<'a>(
    lines: impl Iterator<Item = &'a [u8]>,
    fields: &FieldMap,
) -> Result<LogFormat, Option<Unreadable>> {
    let json = JsonReader::new(fields);
    let none = FieldMap::default();
    let (mut json_lines, mut combined_lines, mut common_lines) = (0, 0, 0);
    let mut first_reason = None;
    for line in lines {
        if line.trim_ascii_start().starts_with(b"{") {
            match json.parse(line) {
                Ok(_) => json_lines += 1,
                Err(reason) => first_reason = first_reason.or(Some(reason)),
            }
        } else {
            match clf::parse(line, &none) {
                Ok(record) if record.get(Field::UserAgent).is_some() => combined_lines += 1,
                Ok(_) => common_lines += 1,
                Err(reason) => first_reason = first_reason.or(Some(reason)),
            }
        }
    }
    let clf_lines = combined_lines + common_lines;
    match (json_lines, clf_lines) {
        (0, 0) => Err(first_reason),
        (json, clf) if json >= clf => Ok(LogFormat::Json),
        _ if combined_lines > 0 => Ok(LogFormat::Combined),
        _ => Ok(LogFormat::Common),
    }
}
