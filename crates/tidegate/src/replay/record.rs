//! One logged request: its time and its descriptor entries, in a single allocation.

use std::fmt;
use std::sync::Arc;

/// An entry that access logs commonly have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Field {
    /// `client_ip`: the address (or host name) of the client, without a port.
    ClientIp,
    /// `method`: the HTTP method.
    Method,
    /// `path`: the request's path as logged, without its query.
    Path,
    /// `host`: the host asked for.
    Host,
    /// `user_agent`: the User-Agent header.
    UserAgent,
    /// `user`: the authenticated user.
    User,
    /// `status`: the status that was answered.
    Status,
}

impl Field {
    /// Every field, in the order in which [`LogRecord::entries`] yields them.
    pub const ALL: [Self; 7] =
        [Self::ClientIp, Self::Method, Self::Path, Self::Host, Self::UserAgent, Self::User, Self::Status];

    /// The entry's name in rules.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClientIp => "client_ip",
            Self::Method => "method",
            Self::Path => "path",
            Self::Host => "host",
            Self::UserAgent => "user_agent",
            Self::User => "user",
            Self::Status => "status",
        }
    }

    /// The field of that name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a value stands in the record's text.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    len: u32,
}

/// One logged request.
///
/// All values share one string: a log has millions of lines, and the reorder buffer holds many of them.
#[derive(Debug, Clone)]
pub struct LogRecord {
    /// When the request was made, in microseconds since the Unix epoch. Records from a
    /// [`LogStream`](super::LogStream) never go back in time.
    pub at_us: u64,
    text: String,
    known: [Option<Span>; Field::ALL.len()],
    extra: Vec<(Arc<str>, Span)>,
}

impl LogRecord {
    /// A record without entries; `capacity` is a guess at the bytes its values need.
    #[must_use]
    pub(super) fn new(at_us: u64, capacity: usize) -> Self {
        Self {
            at_us,
            text: String::with_capacity(capacity),
            known: [None; Field::ALL.len()],
            extra: Vec::new(),
        }
    }

    /// The value of a common field, if the log has it.
    #[must_use]
    pub fn get(&self, field: Field) -> Option<&str> {
        self.known[field as usize].map(|span| self.slice(span))
    }

    /// The value of the entry of that name, common or mapped.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<&str> {
        match Field::from_name(name) {
            Some(field) => self.get(field),
            None => self.extra.iter().find(|(entry, _)| &**entry == name).map(|(_, span)| self.slice(*span)),
        }
    }

    /// Every entry present as (name, value): the common fields first, then the mapped ones.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        let known = Field::ALL.into_iter().filter_map(|field| Some((field.name(), self.get(field)?)));
        known.chain(self.extra.iter().map(|(name, span)| (&**name, self.slice(*span))))
    }

    /// Sets a common field.
    pub(super) fn set(&mut self, field: Field, value: &str) {
        self.known[field as usize] = Some(self.append(value));
    }

    /// Sets a common field from bytes that should be UTF-8; what is not becomes U+FFFD.
    pub(super) fn set_bytes(&mut self, field: Field, value: &[u8]) {
        self.set(field, &String::from_utf8_lossy(value));
    }

    /// Removes a common field.
    pub(super) fn clear(&mut self, field: Field) {
        self.known[field as usize] = None;
    }

    /// Sets the entry of that name: a common field if it is one, else a mapped entry.
    pub(super) fn set_entry(&mut self, name: &Arc<str>, value: &str) {
        match Field::from_name(name) {
            Some(field) => self.set(field, value),
            None => {
                let span = self.append(value);
                self.extra.push((Arc::clone(name), span));
            }
        }
    }

    fn append(&mut self, value: &str) -> Span {
        // Lines are at most MAX_LINE_BYTES and mappings MAX_FIELD_MAPPINGS, so that u32 cannot overflow.
        let start = u32::try_from(self.text.len()).unwrap_or(u32::MAX);
        self.text.push_str(value);
        Span { start, len: u32::try_from(value.len()).unwrap_or(0) }
    }

    fn slice(&self, span: Span) -> &str {
        let start = span.start as usize;
        self.text.get(start..start + span.len as usize).unwrap_or("")
    }
}
