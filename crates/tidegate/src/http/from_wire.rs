//! What a request says about itself: the entries that the door can supply.

use std::borrow::Cow;
use std::net::IpAddr;

use http::Version;
use http::header::{HOST, USER_AGENT};
use http::request::Parts;
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
