//! Messages into domain, entries and costs.
//!
//! Two kinds of trouble are told apart. What an operator wrote (domain, names of entries, costs) is refused where it is
//! wrong. What comes from Envoy's client (values) is never refused: Envoy lets requests pass, by default, whose check ends in
//! an error, so a client that could cause one would be unlimited. Such values are brought into shape.

use std::borrow::Cow;
use std::net::IpAddr;

use http::header::{FORWARDED, HeaderName, HeaderValue};
use http::{HeaderMap, header};
use smallvec::SmallVec;
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::time::Micros;
use tidegate_proto::envoy::config::core::v3::address::Address;
use tidegate_proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use tidegate_proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::{
    Entry, RateLimitOverride,
};
use tidegate_proto::envoy::service::auth::v3::AttributeContext;
use tidegate_proto::envoy::service::auth::v3::attribute_context::HttpRequest;
use tidegate_proto::envoy::service::ratelimit::v3::RateLimitRequest;
use tidegate_proto::envoy::r#type::v3::RateLimitUnit;
use tidegate_wire::check::{
    self, CLIENT_IP, DEFAULT_DOMAIN, HOST, MAX_COST, MAX_ENTRIES, PATH, REMOTE_ADDRESS, unnumbered,
};
use tidegate_wire::identity::{IdentityPolicy, Ipv6Prefix, canonical_ip_key};
use tidegate_wire::path::{PathError, normalize_any_path};
use tonic::Status;

use crate::door::entries::{self, Described, OwnedEntries, cut};

/// The most descriptors of a request.
pub(super) const MAX_DESCRIPTORS: usize = 100;

/// How an override is counted.
pub(super) const OVERRIDE_ALGORITHM: Algorithm = Algorithm::FixedWindow;

/// Envoy's units, in seconds.
pub(super) const SECOND: u64 = 1;
pub(super) const MINUTE: u64 = 60;
pub(super) const HOUR: u64 = 60 * MINUTE;
pub(super) const DAY: u64 = 24 * HOUR;
pub(super) const WEEK: u64 = 7 * DAY;
/// As Envoy's rate limit service counts it.
pub(super) const MONTH: u64 = 30 * DAY;
pub(super) const YEAR: u64 = 365 * DAY;

/// The context extension that chooses the domain.
const DOMAIN: &str = "domain";
/// The value of [`CLIENT_IP`] for all whose address is not known: they share a bucket, as without the entry no rule of addresses would
/// hold for them.
const NO_ADDRESS: &str = "unknown";
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Entries of one descriptor.
pub(super) type Entries<'a> = SmallVec<[(Cow<'a, str>, Cow<'a, str>); 4]>;

/// One descriptor, valid.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) entries: Entries<'a>,
    pub(super) hits: Hits,
    /// The quota that the request brings, in place of those of the rules.
    pub(super) quota: Option<Quota>,
}

impl Asked<'_> {
    /// Whether it asks the rules whether it may pass.
    pub(super) const fn is_of_rules(&self) -> bool {
        self.quota.is_none() && !matches!(self.hits, Hits::GiveBack(_))
    }
}

/// What is to be done with the quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hits {
    /// Take units.
    Take(u64),
    /// Say whether one more would pass.
    Peek,
    /// Give units back.
    GiveBack(u64),
}

/// The descriptors of a request.
///
/// # Errors
/// INVALID_ARGUMENT, naming the field.
pub(super) fn descriptors(
    request: &RateLimitRequest,
    ipv6_prefix: Ipv6Prefix,
) -> Result<SmallVec<[Asked<'_>; 1]>, Status> {
    check::check_domain(&request.domain).map_err(|reason| invalid("domain", &reason))?;
    let count = request.descriptors.len();
    if count == 0 || count > MAX_DESCRIPTORS {
        return Err(invalid("descriptors", &format!("send 1 to {MAX_DESCRIPTORS}, not {count}")));
    }
    let by_default = u64::from(request.hits_addend.max(1));
    let descriptors = request.descriptors.iter().enumerate();
    descriptors.map(|(index, descriptor)| asked(index, descriptor, by_default, ipv6_prefix)).collect()
}

fn asked(
    index: usize,
    descriptor: &RateLimitDescriptor,
    by_default: u64,
    ipv6_prefix: Ipv6Prefix,
) -> Result<Asked<'_>, Status> {
    let field = |rest: &str| format!("descriptors[{index}].{rest}");
    let quota = descriptor.limit.as_ref().map(quota_of).transpose();
    let quota = quota.map_err(|reason| invalid(&field("limit"), &reason))?;
    let units = descriptor.hits_addend.unwrap_or(by_default);
    if units > MAX_COST {
        return Err(invalid(&field("hits_addend"), &format!("must be at most {MAX_COST}")));
    }
    let hits = match (units, descriptor.is_negative_hits) {
        (0, _) => Hits::Peek,
        (units, false) => Hits::Take(units),
        (units, true) => Hits::GiveBack(units),
    };
    if quota.is_some() && matches!(hits, Hits::GiveBack(_)) {
        let reason = "nothing can be given back to a limit that the request brings";
        return Err(invalid(&field("is_negative_hits"), reason));
    }
    let count = descriptor.entries.len();
    if count == 0 || count > MAX_ENTRIES {
        return Err(invalid(&field("entries"), &format!("send 1 to {MAX_ENTRIES}, not {count}")));
    }
    let mut entries = Entries::new();
    for (at, Entry { key, value }) in descriptor.entries.iter().enumerate() {
        let name = distinct(key, &entries);
        check::check_name(&name).map_err(|reason| invalid(&field(&format!("entries[{at}].key")), &reason))?;
        entries.push((name, value_of(key, value, ipv6_prefix)));
    }
    Ok(Asked { entries, hits, quota })
}

/// The quota of an override. Its unit is its window, a month has 30 days and a year 365, and it is counted in fixed windows, as
/// Envoy's own service does.
fn quota_of(limit: &RateLimitOverride) -> Result<Quota, String> {
    let seconds = match limit.unit() {
        RateLimitUnit::Unknown => return Err("unit: say which".to_owned()),
        RateLimitUnit::Second => SECOND,
        RateLimitUnit::Minute => MINUTE,
        RateLimitUnit::Hour => HOUR,
        RateLimitUnit::Day => DAY,
        RateLimitUnit::Month => MONTH,
        RateLimitUnit::Year => YEAR,
    };
    let window = Micros::from_secs(seconds);
    Quota::new(OVERRIDE_ALGORITHM, limit.requests_per_unit.into(), window, None)
        .map_err(|error| error.to_string())
}

/// The name of an entry: Envoy's keys may repeat (`generic_key` often does), names do not. The second one gets `.2`, the third
/// `.3`.
fn distinct<'a>(key: &'a str, before: &Entries<'_>) -> Cow<'a, str> {
    let taken = |name: &str| before.iter().any(|(other, _)| other == name);
    if !taken(key) {
        return Cow::Borrowed(key);
    }
    let mut number = 2;
    loop {
        let name = format!("{key}.{number}");
        if !taken(&name) {
            return Cow::Owned(name);
        }
        number += 1;
    }
}

/// A value in shape: paths, addresses and hosts in their normal form, control characters replaced, and no longer than a value
/// may be. It is cut last: what is too long as it came may be short in its normal form, and then a rule may name it.
fn value_of<'a>(name: &str, value: &'a str, ipv6_prefix: Ipv6Prefix) -> Cow<'a, str> {
    let normal = match unnumbered(name) {
        PATH => normalize_any_path(value),
        CLIENT_IP | REMOTE_ADDRESS => canonical_ip_key(value, ipv6_prefix).map_or(value.into(), Cow::Owned),
        HOST => entries::lower_case(value),
        _ => Cow::Borrowed(value),
    };
    match normal {
        Cow::Borrowed(value) => harmless(value),
        Cow::Owned(value) => Cow::Owned(harmless(&value).into_owned()),
    }
}

/// A text without control characters, and no longer than a value may be.
fn harmless(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        let mut text = text.replace(char::is_control, "\u{fffd}");
        text.truncate(cut(&text).len());
        Cow::Owned(text)
    } else {
        Cow::Borrowed(cut(text))
    }
}

fn invalid(field: &str, reason: &str) -> Status {
    Status::invalid_argument(format!("{field}: {reason}"))
}

// === authorization ===

/// The domain of an authorization request.
///
/// # Errors
/// INVALID_ARGUMENT: the extension holds no domain.
pub(super) fn domain(attributes: &AttributeContext) -> Result<&str, Status> {
    let Some(domain) = attributes.context_extensions.get(DOMAIN) else { return Ok(DEFAULT_DOMAIN) };
    check::check_domain(domain).map_err(|reason| invalid("context_extensions.domain", &reason))?;
    Ok(domain)
}

/// What an authorization request says about the request it is for: what the HTTP door would know of it, and the context
/// extensions, which come first. `Ok(Err(_))`: its path has no normal form.
///
/// # Errors
/// INVALID_ARGUMENT: a context extension cannot be an entry.
pub(super) fn attributes<'a>(
    policy: &IdentityPolicy,
    attributes: &'a AttributeContext,
) -> Result<Result<OwnedEntries<'a>, PathError>, Status> {
    let http = attributes.request.as_ref().and_then(|request| request.http.as_ref());
    let client = source_of(attributes).map(|peer| {
        let fields = http.map(forwarded).unwrap_or_default();
        policy.client_ip(peer, &fields)
    });
    let mut entries = match http {
        Some(http) => {
            let described = Described {
                client,
                method: &http.method,
                path: http.path.split('?').next().unwrap_or_default(),
                host: Some(entries::without_port(&http.host)),
                user_agent: headers_of(http, header::USER_AGENT.as_str()).next(),
            };
            match entries::entries_of(described) {
                Ok(entries) => entries,
                Err(error) => return Ok(Err(error)),
            }
        }
        None => client.map(|client| (CLIENT_IP, Cow::Owned(client.key()))).into_iter().collect(),
    };
    if client.is_none() {
        entries.push((CLIENT_IP, Cow::Borrowed(NO_ADDRESS)));
    }
    for (_, value) in &mut entries {
        let shaped = harmless(value);
        if let Some(better) = (shaped != *value).then(|| shaped.into_owned()) {
            *value = Cow::Owned(better);
        }
    }
    extend(&mut entries, attributes, policy.ipv6_prefix)?;
    Ok(Ok(entries))
}

fn extend<'a>(
    entries: &mut OwnedEntries<'a>,
    attributes: &'a AttributeContext,
    ipv6_prefix: Ipv6Prefix,
) -> Result<(), Status> {
    for (name, value) in attributes.context_extensions.iter().filter(|(name, _)| *name != DOMAIN) {
        let field = "context_extensions";
        check::check_name(name).map_err(|reason| invalid(field, &reason))?;
        entries.retain(|(other, _)| other != name);
        entries.push((name, value_of(name, value, ipv6_prefix)));
        if entries.len() > MAX_ENTRIES {
            return Err(invalid(
                field,
                &format!("with what the request says, {MAX_ENTRIES} entries at most"),
            ));
        }
    }
    Ok(())
}

/// The other end of Envoy's connection.
fn source_of(attributes: &AttributeContext) -> Option<IpAddr> {
    match attributes.source.as_ref()?.address.as_ref()?.address.as_ref()? {
        Address::SocketAddress(socket) => socket.address.parse().ok(),
        Address::Pipe(_) | Address::EnvoyInternalAddress(_) => None,
    }
}

/// The fields in which proxies say who is behind them.
fn forwarded(http: &HttpRequest) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for name in [X_FORWARDED_FOR, FORWARDED] {
        for value in headers_of(http, name.as_str()) {
            // A value that is none is as good as a hop that is no address: it ends the walk.
            let value = HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static("unknown"));
            fields.append(name.clone(), value);
        }
    }
    fields
}

/// The values of a field of the request, whose names Envoy writes in lower case: all of them in one text, joined with commas,
/// or one by one.
fn headers_of<'a>(http: &'a HttpRequest, name: &'a str) -> impl Iterator<Item = &'a str> {
    let one_by_one = http.header_map.iter().flat_map(|map| &map.headers);
    let one_by_one = one_by_one.filter(move |header| header.key == name).map(|header| {
        if header.value.is_empty() {
            str::from_utf8(&header.raw_value).unwrap_or_default()
        } else {
            &header.value
        }
    });
    http.headers.get(name).map(String::as_str).into_iter().chain(one_by_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_whatever_the_keys() {
        let mut entries = Entries::new();
        for key in ["a", "a.2", "a", "a", "b"] {
            let name = distinct(key, &entries);
            entries.push((name, Cow::Borrowed("x")));
        }
        let names: Vec<&str> = entries.iter().map(|(name, _)| name.as_ref()).collect();
        assert_eq!(names, ["a", "a.2", "a.3", "a.4", "b"]);
    }

    #[test]
    fn values_are_brought_into_shape_and_never_too_long() {
        let value = |name: &str, value: &str| value_of(name, value, Ipv6Prefix::default()).into_owned();
        assert_eq!(value("path", "//a/./b"), "/a/b");
        assert_eq!(value("path", "/a%2fb"), "/a/b", "what may separate segments does");
        assert_eq!(value("path.2", &format!("/{}login", "./".repeat(1_000))), "/login", "cut last");
        assert_eq!(value("path", &"/x".repeat(5_000)).len(), check::MAX_VALUE_BYTES);
        assert_eq!(value("host", "Example.COM"), "example.com");
        assert_eq!(value("remote_address", "2001:db8::1"), "2001:db8::/64");
        assert_eq!(value("other", "2001:db8::1"), "2001:db8::1");
        assert_eq!(value("other", "a\tb\u{85}"), "a\u{fffd}b\u{fffd}");
        assert_eq!(value("other", &"é".repeat(1_000)).len(), check::MAX_VALUE_BYTES);
        assert_eq!(value("other", &"\n".repeat(1_000)).len(), check::MAX_VALUE_BYTES - 1);
    }

    #[test]
    fn fields_that_come_one_by_one_are_all_heard() {
        use tidegate_proto::envoy::config::core::v3::{HeaderMap as Fields, HeaderValue as Field};

        let field = |key: &str, value: &str, raw: &[u8]| Field {
            key: key.to_owned(),
            value: value.to_owned(),
            raw_value: raw.to_vec(),
        };
        let fields = vec![
            field("x-forwarded-for", "192.0.2.1", b""),
            field("user-agent", "", b"t/1"),
            field("x-forwarded-for", "", b"198.51.100.1"),
            field("x-forwarded-for", "a\nb", b""),
        ];
        let http = HttpRequest { header_map: Some(Fields { headers: fields }), ..Default::default() };
        let heard = forwarded(&http);
        let heard: Vec<&str> =
            heard.get_all(X_FORWARDED_FOR).iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(heard, ["192.0.2.1", "198.51.100.1", "unknown"]);
        assert_eq!(headers_of(&http, "user-agent").next(), Some("t/1"));
    }
}
