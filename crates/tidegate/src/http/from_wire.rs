//! What a request says about itself, or a proxy about another one: the entries that the door can supply.

mod authz;
mod described;

use std::net::IpAddr;

use http::Version;
use http::header::{HOST, USER_AGENT};
use http::request::Parts;
use tidegate_wire::identity::IdentityPolicy;
use tidegate_wire::path::PathError;
use tidegate_wire::problem::{Problem, ProblemType};

pub(super) use authz::{AuthzRequest, AuthzSettings, DenialStatus, read_authz};
use described::Described;

use crate::door::entries::{self, OwnedEntries};

/// The most header fields of a request.
const MAX_HEADER_FIELDS: usize = 64;
/// The most where a proxy passes on the fields of its client's request and adds its own.
const MAX_PASSED_HEADER_FIELDS: usize = 96;

/// What the fields of a head are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fields {
    /// Of the request itself.
    Own,
    /// Passed on by a proxy, with its own.
    PassedOn,
}

/// Refuses a head that no endpoint takes.
pub(super) fn check_head(head: &Parts, fields: Fields) -> Result<(), Problem> {
    let most = match fields {
        Fields::Own => MAX_HEADER_FIELDS,
        Fields::PassedOn => MAX_PASSED_HEADER_FIELDS,
    };
    if head.headers.len() > most {
        let detail = format!("a request may have {most} header fields at most: send fewer");
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

/// What a request says about itself.
///
/// # Errors
/// As [`entries::entries_of`].
pub(super) fn entries_of<'a>(
    policy: &IdentityPolicy,
    peer: IpAddr,
    head: &'a Parts,
) -> Result<OwnedEntries<'a>, PathError> {
    entries_of_described(policy, peer, head, &Described::by_itself(head))
}

/// Method and address, with its query, of the request that a head describes.
///
/// # Errors
/// As [`Described::by_proxy`].
pub(super) fn described<'a>(
    policy: &IdentityPolicy,
    peer: IpAddr,
    head: &'a Parts,
) -> Result<(&'a str, &'a str), Problem> {
    let (described, _) = Described::by_proxy(policy, peer, head)?;
    Ok((described.method, described.path))
}

/// The entries of the request that a head describes.
fn entries_of_described<'a>(
    policy: &IdentityPolicy,
    peer: IpAddr,
    head: &'a Parts,
    described: &Described<'a>,
) -> Result<OwnedEntries<'a>, PathError> {
    entries::entries_of(entries::Described {
        client: Some(policy.client_ip(peer, &head.headers)),
        method: described.method,
        path: described.path,
        host: described.host,
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
