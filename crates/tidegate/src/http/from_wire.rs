//! What a request says about itself: the entries that the door can supply.

use std::net::IpAddr;

use http::Version;
use http::header::{HOST, USER_AGENT};
use http::request::Parts;
use tidegate_wire::identity::IdentityPolicy;
use tidegate_wire::path::PathError;
use tidegate_wire::problem::{Problem, ProblemType};

use crate::door::entries::{self, Described, OwnedEntries};

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

/// What the request says about itself.
///
/// # Errors
/// As [`entries::entries_of`].
pub(super) fn entries_of<'a>(
    policy: &IdentityPolicy,
    peer: IpAddr,
    head: &'a Parts,
) -> Result<OwnedEntries<'a>, PathError> {
    entries::entries_of(Described {
        client: Some(policy.client_ip(peer, &head.headers)),
        method: head.method.as_str(),
        path: head.uri.path(),
        host: host_of(head),
        user_agent: head.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()),
    })
}

/// The host without its port, as HTTP/2 has it in the URI and HTTP/1 in a field.
fn host_of(head: &Parts) -> Option<&str> {
    match head.uri.host() {
        Some(host) => Some(host),
        None => head.headers.get(HOST)?.to_str().ok().map(entries::without_port),
    }
}
