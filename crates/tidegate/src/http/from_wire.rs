//! What a request says about itself: the entries that the door can supply.

use std::borrow::Cow;
use std::net::IpAddr;

use http::Version;
use http::header::{HOST, USER_AGENT};
use http::request::Parts;
use percent_encoding::percent_decode_str;
use smallvec::SmallVec;
use tidegate_wire::check::MAX_VALUE_BYTES;
use tidegate_wire::identity::IdentityPolicy;
use tidegate_wire::path::{PathError, normalize_path};
use tidegate_wire::problem::{Problem, ProblemType};

/// Entries with their values borrowed where they can be.
pub(super) type OwnedEntries<'a> = SmallVec<[(&'static str, Cow<'a, str>); 8]>;

/// The most header fields of a request.
const MAX_HEADER_FIELDS: usize = 64;

/// Refuses a head that no endpoint takes.
pub(super) fn check_head(head: &Parts) -> Result<(), Problem> {
    if head.headers.len() > MAX_HEADER_FIELDS {
        let detail = format!("a request may have {MAX_HEADER_FIELDS} header fields at most: send fewer");
        return Err(Problem::new(ProblemType::HeadersTooLarge, detail));
    }
    let hosts = head.headers.get_all(HOST).iter().count();
    if hosts > 1 || (hosts == 0 && head.version == Version::HTTP_11) {
        return Err(Problem::new(
            ProblemType::Malformed,
            "a request must have one Host field (RFC 9112 section 3.2)",
        ));
    }
    Ok(())
}

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
    if let Some(host) = host_of(head).filter(|host| !host.is_empty() && host.len() <= MAX_VALUE_BYTES) {
        entries.push(("host", lower_case(host)));
    }
    if let Some(agent) = head.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()) {
        entries.push(("user_agent", Cow::Borrowed(agent.get(..MAX_VALUE_BYTES).unwrap_or(agent))));
    }
    Ok(entries)
}

/// The host without its port, as HTTP/2 has it in the URI and HTTP/1 in a field.
fn host_of(head: &Parts) -> Option<&str> {
    match head.uri.host() {
        Some(host) => Some(host),
        None => {
            let authority = head.headers.get(HOST)?.to_str().ok()?;
            let without_port =
                authority.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
            Some(without_port.map_or(authority, |(host, _)| host))
        }
    }
}

/// Host names are compared without regard to case (RFC 9110 section 4.2.3).
fn lower_case(host: &str) -> Cow<'_, str> {
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

/// A name or value from the path: percent-decoded, UTF-8, not empty, within its length, without controls.
pub(super) fn text_of(encoded: &str) -> Option<Cow<'_, str>> {
    if !escapes_are_whole(encoded) {
        return None;
    }
    let text = percent_decode_str(encoded).decode_utf8().ok()?;
    let usable = !text.is_empty() && text.len() <= MAX_VALUE_BYTES && !text.chars().any(char::is_control);
    usable.then_some(text)
}

/// The value of a query parameter, read like a form: `+` is a space. `None` where it is missing, unusable as by
/// [`text_of`], or there twice.
pub(super) fn query_parameter<'a>(query: Option<&'a str>, name: &str) -> Option<Cow<'a, str>> {
    let pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    let mut values = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value);
    let (value, None) = (values.next()?, values.next()) else { return None };
    if value.contains('+') {
        text_of(&value.replace('+', " ")).map(|text| Cow::Owned(text.into_owned()))
    } else {
        text_of(value)
    }
}

/// Whether every `%` begins an escape of two hexadecimal digits.
fn escapes_are_whole(encoded: &str) -> bool {
    encoded.split('%').skip(1).all(|rest| {
        let digits = rest.as_bytes().first_chunk::<2>();
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_decoded_once_and_checked() {
        assert_eq!(text_of("a%20b").as_deref(), Some("a b"));
        assert_eq!(text_of("%2561").as_deref(), Some("%61"));
        for bad in ["", "%ff", "%00", "a%0a", "%zz", "%6", "%", &"x".repeat(MAX_VALUE_BYTES + 1)] {
            assert_eq!(text_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn parameters_are_found_by_their_whole_name() {
        let value = |query| query_parameter(Some(query), "user_id");
        assert_eq!(value("a=1&user_id=u%201&b").as_deref(), Some("u 1"));
        assert_eq!(value("user_id=a+b").as_deref(), Some("a b"));
        for query in ["xuser_id=1", "user_id=", "user_id=a&user_id=b", "user_id=%zz"] {
            assert_eq!(value(query), None, "{query}");
        }
        assert_eq!(query_parameter(None, "user_id"), None);
    }
}
