//! The header fields that tell a client about its quotas.
//!
//! `RateLimit-Policy` and `RateLimit` follow draft-ietf-httpapi-ratelimit-headers-10 and -11 (RFC 9651 lists of
//! strings with parameters), `Retry-After` RFC 9110. The draft may still rename fields and parameters, so their names
//! are one value, [`FieldNames`]. The legacy `X-RateLimit-*` fields come in the delta form: seconds from now.
//!
//! The writers append the value to a buffer that the caller keeps, and allocate nothing themselves. Times are
//! microseconds in and whole seconds out, rounded up: a client that obeys is never early.

use http::header::HeaderName;
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

#[cfg(test)]
mod tests;

/// Most items in one field; list the binding one first, as items beyond are left out (the draft allows a selection).
pub const MAX_FIELD_ITEMS: usize = 16;

/// The largest integer of a structured field (RFC 9651 section 3.3.1); larger numbers are written as this one.
pub const MAX_FIELD_INTEGER: u64 = 999_999_999_999_999;

/// `X-RateLimit-Limit`: the quota's limit, in units.
pub const X_RATELIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
/// `X-RateLimit-Remaining`: units left.
pub const X_RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
/// `X-RateLimit-Reset`: seconds from now until the bucket is at rest.
pub const X_RATELIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

const MICROS_PER_SECOND: u64 = 1_000_000;

/// What an sf-string cannot hold, and `%` so that the escape can be undone.
const NOT_IN_NAMES: &AsciiSet = &CONTROLS.add(b'%');

/// The names of the draft's fields and parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldNames {
    /// The field that lists quotas.
    pub policy: HeaderName,
    /// The field that lists what is left.
    pub rate_limit: HeaderName,
    /// Policy parameter: the limit.
    pub quota: &'static str,
    /// Policy parameter: the window in seconds.
    pub window: &'static str,
    /// Limit parameter: units left.
    pub remaining: &'static str,
    /// Limit parameter: seconds until some quota returns.
    pub replenish_after: &'static str,
}

/// One quota, as it is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyItem<'a> {
    /// The rule's name.
    pub name: &'a str,
    /// Units per window.
    pub limit: u64,
    /// The window, in microseconds.
    pub window_us: u64,
}

/// One quota, as it stands after a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitItem<'a> {
    /// The rule's name.
    pub name: &'a str,
    /// Units left.
    pub remaining: u64,
    /// Time until some quota returns, in microseconds; `None` leaves the parameter out.
    pub replenish_after_us: Option<u64>,
}

impl FieldNames {
    /// Drafts 10 and 11.
    pub const DRAFT_11: Self = Self {
        policy: HeaderName::from_static("ratelimit-policy"),
        rate_limit: HeaderName::from_static("ratelimit"),
        quota: "q",
        window: "w",
        remaining: "r",
        replenish_after: "t",
    };

    /// Appends the `RateLimit-Policy` value: `"per-user";q=100;w=60`, items joined by `, `.
    ///
    /// The window is in whole seconds, rounded up and at least 1.
    pub fn write_policy<'a>(&self, out: &mut Vec<u8>, items: impl IntoIterator<Item = PolicyItem<'a>>) {
        for (index, item) in items.into_iter().take(MAX_FIELD_ITEMS).enumerate() {
            write_item_name(out, index, item.name);
            write_parameter(out, self.quota, item.limit);
            write_parameter(out, self.window, ceil_seconds(item.window_us).max(1));
        }
    }

    /// Appends the `RateLimit` value: `"per-user";r=19;t=3`, items joined by `, `.
    pub fn write_rate_limit<'a>(&self, out: &mut Vec<u8>, items: impl IntoIterator<Item = LimitItem<'a>>) {
        for (index, item) in items.into_iter().take(MAX_FIELD_ITEMS).enumerate() {
            write_item_name(out, index, item.name);
            write_parameter(out, self.remaining, item.remaining);
            if let Some(after_us) = item.replenish_after_us {
                write_parameter(out, self.replenish_after, ceil_seconds(after_us));
            }
        }
    }
}

/// The whole seconds of `Retry-After`: rounded up, at least 1, and never earlier than the field's `t`.
///
/// `replenish_after_us` is the largest one among the items that were written.
#[must_use]
pub fn retry_after_seconds(retry_after_us: u64, replenish_after_us: Option<u64>) -> u64 {
    ceil_seconds(retry_after_us.max(replenish_after_us.unwrap_or(0))).max(1)
}

/// Appends the `Retry-After` value of [`retry_after_seconds`].
pub fn write_retry_after(out: &mut Vec<u8>, retry_after_us: u64, replenish_after_us: Option<u64>) {
    write_integer(out, retry_after_seconds(retry_after_us, replenish_after_us));
}

/// Appends the value of [`X_RATELIMIT_LIMIT`] or [`X_RATELIMIT_REMAINING`]: units.
pub fn write_legacy_units(out: &mut Vec<u8>, units: u64) {
    write_integer(out, units);
}

/// Appends the value of [`X_RATELIMIT_RESET`]: whole seconds from now, rounded up.
pub fn write_legacy_reset(out: &mut Vec<u8>, reset_after_us: u64) {
    write_integer(out, ceil_seconds(reset_after_us));
}

/// Microseconds as whole seconds, rounded up.
#[must_use]
pub const fn ceil_seconds(micros: u64) -> u64 {
    micros.div_ceil(MICROS_PER_SECOND)
}

/// Appends `"name"` as an sf-string, with what such a string cannot hold, and `%`, percent-encoded as UTF-8.
fn write_item_name(out: &mut Vec<u8>, index: usize, name: &str) {
    if index > 0 {
        out.extend_from_slice(b", ");
    }
    out.push(b'"');
    for part in percent_encode(name.as_bytes(), NOT_IN_NAMES) {
        for byte in part.bytes() {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(byte);
        }
    }
    out.push(b'"');
}

fn write_parameter(out: &mut Vec<u8>, key: &str, value: u64) {
    out.push(b';');
    out.extend_from_slice(key.as_bytes());
    out.push(b'=');
    write_integer(out, value);
}

fn write_integer(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value.min(MAX_FIELD_INTEGER)).as_bytes());
}
