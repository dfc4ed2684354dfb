//! What a request says about itself: the entries that the door can supply.

use std::borrow::Cow;
use std::net::IpAddr;

use http::header::{HOST, USER_AGENT};
use http::request::Parts;
use percent_encoding::percent_decode_str;
use smallvec::SmallVec;
use tidegate_wire::check::MAX_VALUE_BYTES;
use tidegate_wire::identity::IdentityPolicy;
use tidegate_wire::path::{PathError, normalize_path};

/// Entries with their values borrowed where they can be.
pub(super) type OwnedEntries<'a> = SmallVec<[(&'static str, Cow<'a, str>); 8]>;

/// `client_ip`, `method`, `path`, `host` and `user_agent`, as far as the request has them. Values that are too long
/// for an entry are cut where a prefix still says what it is, which is so for a user agent only.
pub(super) fn entries_of<'a>(
    policy: &IdentityPolicy,
    peer: IpAddr,
    head: &'a Parts,
) -> Result<OwnedEntries<'a>, PathError> {
    let mut entries = OwnedEntries::new();
    entries.push(("client_ip", Cow::Owned(policy.client_ip(peer, &head.headers).key())));
    entries.push(("method", Cow::Borrowed(head.method.as_str())));
    entries.push(("path", normalize_path(head.uri.path())?));
    let host = head.uri.host().or_else(|| head.headers.get(HOST).and_then(|host| host.to_str().ok()));
    if let Some(host) = host.filter(|host| !host.is_empty() && host.len() <= MAX_VALUE_BYTES) {
        entries.push(("host", lower_case(host)));
    }
    if let Some(agent) = head.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()) {
        entries.push(("user_agent", Cow::Borrowed(agent.get(..MAX_VALUE_BYTES).unwrap_or(agent))));
    }
    Ok(entries)
}

/// Host names are compared without regard to case (RFC 9110 section 4.2.3).
fn lower_case(host: &str) -> Cow<'_, str> {
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

/// A name or value from the path or query: percent-decoded, UTF-8, not empty, within its length, without controls.
pub(super) fn text_of(encoded: &str) -> Option<Cow<'_, str>> {
    let text = percent_decode_str(encoded).decode_utf8().ok()?;
    let usable = !text.is_empty() && text.len() <= MAX_VALUE_BYTES && !text.chars().any(char::is_control);
    usable.then_some(text)
}

/// The value of a query parameter, as it stands in the query.
pub(super) fn query_parameter<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    let pairs = query?.split('&');
    pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_decoded_once_and_checked() {
        assert_eq!(text_of("a%20b").as_deref(), Some("a b"));
        assert_eq!(text_of("%2561").as_deref(), Some("%61"));
        for bad in ["", "%ff", "%00", "a%0a", &"x".repeat(MAX_VALUE_BYTES + 1)] {
            assert_eq!(text_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn parameters_are_found_by_their_whole_name() {
        assert_eq!(query_parameter(Some("a=1&user_id=u%201&b"), "user_id"), Some("u%201"));
        assert_eq!(query_parameter(Some("xuser_id=1"), "user_id"), None);
        assert_eq!(query_parameter(None, "user_id"), None);
    }
}
