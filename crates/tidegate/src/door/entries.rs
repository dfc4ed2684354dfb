//! What an HTTP request says about itself: the entries that a door can supply.

use std::borrow::Cow;

use smallvec::SmallVec;
use tidegate_wire::check::MAX_VALUE_BYTES;
use tidegate_wire::identity::ClientIp;
use tidegate_wire::path::{PathError, normalize_path};

/// Entries with their names and values borrowed where they can be.
pub(crate) type OwnedEntries<'a> = SmallVec<[(&'a str, Cow<'a, str>); 8]>;

/// The parts of a request that become entries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Described<'a> {
    /// The client, where it has an address.
    pub(crate) client: Option<ClientIp>,
    pub(crate) method: &'a str,
    /// Without the query.
    pub(crate) path: &'a str,
    /// Without the port.
    pub(crate) host: Option<&'a str>,
    pub(crate) user_agent: Option<&'a str>,
}

/// `client_ip`, `method`, `path`, `host` and `user_agent`, as far as the request has them. Values that are too long
/// for an entry are cut where a prefix still says what it is, which is so for a user agent only.
///
/// # Errors
/// The path has no normal form.
pub(crate) fn entries_of(request: Described<'_>) -> Result<OwnedEntries<'_>, PathError> {
    let mut entries = OwnedEntries::new();
    if let Some(client) = request.client {
        entries.push(("client_ip", Cow::Owned(client.key())));
    }
    entries.push(("method", Cow::Borrowed(request.method)));
    entries.push(("path", normalize_path(request.path)?));
    if let Some(host) = request.host.filter(|host| !host.is_empty() && host.len() <= MAX_VALUE_BYTES) {
        entries.push(("host", lower_case(host)));
    }
    if let Some(agent) = request.user_agent {
        entries.push(("user_agent", Cow::Borrowed(cut(agent))));
    }
    Ok(entries)
}

/// A host as fields carry it, without its port.
pub(crate) fn without_port(authority: &str) -> &str {
    let port = authority.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    port.map_or(authority, |(host, _)| host)
}

/// At most as much of a text as a value may hold.
pub(crate) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_VALUE_BYTES)]
}

/// Host names are compared without regard to case (RFC 9110 section 4.2.3).
pub(crate) fn lower_case(host: &str) -> Cow<'_, str> {
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_cut_between_characters() {
        let text = format!("{}é", "x".repeat(MAX_VALUE_BYTES - 1));
        assert_eq!(cut(&text), &text[..MAX_VALUE_BYTES - 1]);
        assert_eq!(cut("short"), "short");
    }

    #[test]
    fn only_a_port_is_taken_off_a_host() {
        for (authority, host) in [("a:80", "a"), ("a", "a"), ("[::1]:80", "[::1]"), ("a:b", "a:b")] {
            assert_eq!(without_port(authority), host);
        }
    }
}
