//! The request that a trusted proxy asks about.
//!
//! Proxies describe it in one of two families of fields: `X-Forwarded-Method`, `-Uri` and `-Host` (Traefik, Caddy), or
//! `X-Original-Method` and `-URI` with the request's own `Host` (nginx). A family counts only whole. Proxies pass on fields of
//! their clients that they do not set themselves: what one family lacks, or another one says, could be a client's word.

use std::net::IpAddr;

use http::header::HeaderName;
use http::request::Parts;
use http::{HeaderMap, Method};
use tidegate_wire::check::MAX_VALUE_BYTES;
use tidegate_wire::identity::{IdentityPolicy, single_header};
use tidegate_wire::problem::{Problem, ProblemType};

use super::host_of;
use crate::door::entries::without_port;

const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
const X_ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");

/// Fields that only a description has: other proxies send `X-Forwarded-Host` with every request.
const DESCRIBING: [HeaderName; 4] = [X_FORWARDED_METHOD, X_FORWARDED_URI, X_ORIGINAL_METHOD, X_ORIGINAL_URI];

/// A request as somebody describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Described<'a> {
    pub(super) method: &'a str,
    /// With or without its query.
    pub(super) path: &'a str,
    pub(super) host: Option<&'a str>,
}

/// Who described a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Describer {
    /// The request itself.
    Itself,
    /// A trusted proxy.
    Proxy,
    /// Somebody whose word does not count, so that the request itself does.
    Stranger,
}

impl<'a> Described<'a> {
    /// What a head says about its own request.
    pub(super) fn by_itself(head: &'a Parts) -> Self {
        Self { method: head.method.as_str(), path: head.uri.path(), host: host_of(head) }
    }

    /// What a head says about the request that is meant, and who says it.
    ///
    /// # Errors
    /// A trusted proxy's description that has no one clear meaning: 400.
    pub(super) fn by_proxy(
        policy: &IdentityPolicy,
        peer: IpAddr,
        head: &'a Parts,
    ) -> Result<(Self, Describer), Problem> {
        if !DESCRIBING.iter().any(|name| head.headers.contains_key(name)) {
            return Ok((Self::by_itself(head), Describer::Itself));
        }
        if !policy.proxies.contains(peer) {
            return Ok((Self::by_itself(head), Describer::Stranger));
        }
        let field = |name| single_field(&head.headers, &name);
        let forwarded = (field(X_FORWARDED_METHOD)?, field(X_FORWARDED_URI)?);
        let original = (field(X_ORIGINAL_METHOD)?, field(X_ORIGINAL_URI)?);
        let described = match (forwarded, original) {
            ((Some(method), Some(path)), (None, None)) => {
                let host = field(X_FORWARDED_HOST)?.ok_or_else(incomplete)?;
                Self { method, path, host: Some(host_name(host)?) }
            }
            ((None, None), (Some(method), Some(path))) => Self { method, path, host: host_of(head) },
            ((None, None), _) | (_, (None, None)) => return Err(incomplete()),
            _ => {
                return Err(malformed(
                    "both X-Forwarded-Method/-Uri and X-Original-Method/-URI describe a request: let the proxy empty the \
                     fields that it does not set, so that a client cannot",
                ));
            }
        };
        if described.method.len() > MAX_VALUE_BYTES
            || Method::from_bytes(described.method.as_bytes()).is_err()
        {
            return Err(malformed("the method that the proxy names is none (RFC 9110 section 9.1)"));
        }
        Ok((described, Describer::Proxy))
    }
}

fn single_field<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Problem> {
    single_header(headers, name).map_err(|error| malformed(error.to_string()))
}

/// A host name without its port; one only.
fn host_name(authority: &str) -> Result<&str, Problem> {
    let fits =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    let host = without_port(authority);
    if host.is_empty() || host.len() > MAX_VALUE_BYTES || !authority.bytes().all(fits) {
        return Err(malformed("X-Forwarded-Host must be one host name, with or without a port"));
    }
    Ok(host)
}

fn incomplete() -> Problem {
    malformed(
        "the description of the request is incomplete: let the proxy send X-Forwarded-Method, -Uri and -Host, or \
         X-Original-Method and X-Original-URI; what it leaves out, a client could add",
    )
}

fn malformed(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(ProblemType::Malformed, detail)
}
