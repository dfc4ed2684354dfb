//! The JSON bodies of `/v1/check`, `/v1/checks` and `/v1/refund`, read and validated in one pass.
//!
//! Text is borrowed from the body wherever it holds no escapes, and nothing is built for a field that is refused. Two
//! kinds of errors are told apart: a body that is not JSON is [malformed](BodyError::Malformed) (400); JSON that
//! breaks a rule is [invalid](BodyError::Invalid) (422) and names the field, like `checks[3].descriptors.user_id`. The
//! first error ends the reading. `null` is never taken for "absent": a caller that lost its user id must hear of it.

mod read;
pub(crate) mod rules;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub(crate) use read::shown;
use smallvec::SmallVec;

use crate::identity::Ipv6Prefix;
use crate::problem::{Problem, ProblemType};

/// Largest body of `/v1/check` and `/v1/refund`, in bytes.
pub const MAX_CHECK_BODY_BYTES: usize = 64 * 1024;
/// Largest body of `/v1/checks`, in bytes.
pub const MAX_CHECKS_BODY_BYTES: usize = 512 * 1024;
/// Most items of `/v1/checks`.
pub const MAX_CHECKS: usize = 100;
/// Most entries of one check, with the one that `client_id` makes.
pub const MAX_ENTRIES: usize = 32;
/// Longest entry name, in bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// Longest entry value and `client_id`, in bytes.
pub const MAX_VALUE_BYTES: usize = 1024;
/// Longest domain, in bytes.
pub const MAX_DOMAIN_BYTES: usize = 128;
/// Longest idempotency key, in bytes.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 128;
/// Largest cost, in quota units.
pub const MAX_COST: u64 = 1_000_000_000_000;

/// The domain of a body that names none.
pub const DEFAULT_DOMAIN: &str = "default";
/// The entry that the `client_id` field makes.
pub const CLIENT_ID: &str = "client_id";
/// The entry whose value is normalized as a path.
pub const PATH: &str = "path";
/// The entry whose value is normalized as an address.
pub const CLIENT_IP: &str = "client_ip";
/// What Envoy calls the same. It is normalized likewise, but may be something else.
pub const REMOTE_ADDRESS: &str = "remote_address";
/// The entry whose value is compared in small letters (RFC 9110 section 4.2.3).
pub const HOST: &str = "host";

/// The entries of a descriptor, name and value, in the order of the body; names are distinct.
pub type Entries<'a> = SmallVec<[(Cow<'a, str>, Cow<'a, str>); 4]>;

/// A valid check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckRequest<'a> {
    /// The domain, 1 to [`MAX_DOMAIN_BYTES`] bytes.
    pub domain: Cow<'a, str>,
    /// 1 to [`MAX_ENTRIES`] entries; `client_id` is the last one if it came as a field.
    pub entries: Entries<'a>,
    /// Quota units, 1 to [`MAX_COST`].
    pub cost: u64,
    /// Whether to answer without charging.
    pub peek: bool,
    /// The caller's name for this attempt: the same key is charged once.
    pub idempotency_key: Option<Cow<'a, str>>,
    /// The visitor's ticket of a waiting room to which a rule sends, 1 to [`MAX_TOKEN_BYTES`](crate::room::token::MAX_TOKEN_BYTES) bytes. Not verified yet.
    pub ticket: Option<Cow<'a, str>>,
    /// The visitor's pass of such a room, 1 to [`MAX_TOKEN_BYTES`](crate::room::token::MAX_TOKEN_BYTES) bytes. Not verified yet.
    pub pass: Option<Cow<'a, str>>,
}

/// A valid refund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundRequest<'a> {
    /// The domain, 1 to [`MAX_DOMAIN_BYTES`] bytes.
    pub domain: Cow<'a, str>,
    /// 1 to [`MAX_ENTRIES`] entries; `client_id` is the last one if it came as a field.
    pub entries: Entries<'a>,
    /// Quota units to give back, 1 to [`MAX_COST`].
    pub cost: u64,
    /// The caller's name for this attempt: the same key is given back once.
    pub idempotency_key: Option<Cow<'a, str>>,
}

/// Why a body is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// 413: longer than its maximum, in bytes.
    #[error("the body may be at most {max_bytes} bytes: send less, or several requests")]
    TooLarge {
        /// The maximum.
        max_bytes: usize,
    },
    /// 400: not JSON, or not UTF-8.
    #[error("the body is not valid JSON: {reason}")]
    Malformed {
        /// What is wrong, and where (line and column, or byte).
        reason: String,
    },
    /// 422: JSON that breaks a rule.
    #[error("{field}: {reason}")]
    Invalid {
        /// The path of the offending field; `body` if it is the whole.
        field: String,
        /// What is wrong and what to do.
        reason: Cow<'static, str>,
    },
}

/// Reads the body of `/v1/check`. IPv6 values of `client_ip` are cut to networks of `ipv6_prefix` bits.
///
/// # Errors
/// [`BodyError`], for the first thing that is wrong.
pub fn parse_check(body: &[u8], ipv6_prefix: Ipv6Prefix) -> Result<CheckRequest<'_>, BodyError> {
    read::one(body, read::Operation::Check, ipv6_prefix)
}

/// Reads the body of `/v1/checks`: `{"checks": […]}` with 1 to [`MAX_CHECKS`] items, all of them valid.
///
/// # Errors
/// [`BodyError`], for the first thing that is wrong.
pub fn parse_checks(body: &[u8], ipv6_prefix: Ipv6Prefix) -> Result<Vec<CheckRequest<'_>>, BodyError> {
    read::list(body, ipv6_prefix)
}

/// Reads the body of `/v1/refund`: a check without `peek`.
///
/// # Errors
/// [`BodyError`], for the first thing that is wrong.
pub fn parse_refund(body: &[u8], ipv6_prefix: Ipv6Prefix) -> Result<RefundRequest<'_>, BodyError> {
    let CheckRequest { domain, entries, cost, idempotency_key, .. } =
        read::one(body, read::Operation::Refund, ipv6_prefix)?;
    Ok(RefundRequest { domain, entries, cost, idempotency_key })
}

/// The name without the number of a key that repeats: `path` for `path.2`. The values of both have the same spelling.
#[must_use]
pub fn unnumbered(name: &str) -> &str {
    let numbered = name.rsplit_once('.').filter(|(_, number)| number.parse::<u32>().is_ok());
    numbered.map_or(name, |(name, _)| name)
}

/// Checks an entry's name: 1 to [`MAX_NAME_BYTES`] bytes of letters, digits and `_ . : -`.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<(), Cow<'static, str>> {
    rules::entry_name(name)
}

/// Checks a domain: 1 to [`MAX_DOMAIN_BYTES`] bytes without control characters.
///
/// # Errors
/// What is wrong with it.
pub fn check_domain(domain: &str) -> Result<(), Cow<'static, str>> {
    rules::bounded(Cow::Borrowed(domain), MAX_DOMAIN_BYTES).map(drop)
}

/// A check from texts that are no JSON: the same maxima, the same normal forms.
///
/// # Errors
/// [`BodyError::Invalid`], for the first thing that is wrong.
pub fn from_texts<'a>(
    domain: &'a str,
    pairs: &[(&'a str, &'a str)],
    cost: u64,
    peek: bool,
    ipv6_prefix: Ipv6Prefix,
) -> Result<CheckRequest<'a>, BodyError> {
    let invalid = |field: &str, reason| BodyError::Invalid { field: field.to_owned(), reason };
    let text = |text: &'a str| rules::Value::Text(Cow::Borrowed(text));
    let domain = rules::domain(text(domain)).map_err(|reason| invalid("domain", reason))?;
    if pairs.is_empty() || pairs.len() > MAX_ENTRIES {
        return Err(invalid("entries", format!("give 1 to {MAX_ENTRIES} of them").into()));
    }
    let mut entries = Entries::new();
    for (name, value) in pairs {
        rules::entry_name(name).map_err(|reason| invalid("entries", reason))?;
        if entries.iter().any(|(known, _)| known == name) {
            return Err(invalid(name, "stands twice: keep one".into()));
        }
        let value = rules::entry_value(name, text(value), ipv6_prefix);
        entries.push((Cow::Borrowed(*name), value.map_err(|reason| invalid(name, reason))?));
    }
    Ok(CheckRequest { domain, entries, cost, peek, idempotency_key: None, ticket: None, pass: None })
}

/// The value of an entry that came otherwise than in a body, by the same rules: paths, addresses and hosts in their normal form.
///
/// # Errors
/// What is wrong with its name or its value and what to do, without repeating the value.
pub fn parse_entry<'a>(
    name: &str,
    value: Cow<'a, str>,
    ipv6_prefix: Ipv6Prefix,
) -> Result<Cow<'a, str>, Cow<'static, str>> {
    rules::entry_name(name)?;
    rules::entry_value(name, rules::Value::Text(value), ipv6_prefix)
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        let detail = error.to_string();
        match error {
            BodyError::TooLarge { .. } => Self::new(ProblemType::TooLarge, detail),
            BodyError::Malformed { .. } => Self::new(ProblemType::Malformed, detail),
            BodyError::Invalid { field, .. } => Self::invalid_field(field, detail),
        }
    }
}
