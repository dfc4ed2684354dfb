//! Whatever a client writes into headers, it is never taken for an address that no proxy of ours vouches for, and
//! address keys and paths are their own normal form. The lines of the input are the header lines.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use http::header::{FORWARDED, HeaderMap, HeaderName, HeaderValue};
use tidegate_wire::correlation::CorrelationId;
use tidegate_wire::identity::{
    ClientIp, HeaderFamily, Hop, Hops, HopsError, IdentityPolicy, Ipv6Prefix, MAX_HEADER_TEXT_BYTES,
    MAX_HOPS, TrustedProxies, canonical_ip_key, parse_forwarded, parse_x_forwarded_for,
};
use tidegate_wire::path::{MAX_PATH_BYTES, normalize_path};

/// The most lines of an input that are looked at.
const MAX_LINES: usize = 64;
/// The longest error about a list of proxies, in bytes: it repeats 64 characters of the text.
const MAX_ERROR_BYTES: usize = 512;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Our proxies in front of the peers below, in every spelling that a list may have.
static PROXIES: LazyLock<TrustedProxies> = LazyLock::new(|| {
    let networks = ["10.0.0.0/8", "192.0.2.1", "::ffff:172.16.0.0/108", "2001:db8:ffff::/48"];
    TrustedProxies::new(networks).unwrap_or_default()
});
static NO_HEADER: LazyLock<IdentityPolicy> = LazyLock::new(|| believing(HeaderFamily::None));
static BY_FORWARDED: LazyLock<IdentityPolicy> = LazyLock::new(|| believing(HeaderFamily::Forwarded));
static BY_X_FORWARDED_FOR: LazyLock<IdentityPolicy> =
    LazyLock::new(|| believing(HeaderFamily::XForwardedFor));

const TRUSTED_PEERS: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3)),
    IpAddr::V6(Ipv4Addr::new(172, 16, 0, 9).to_ipv6_mapped()),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1)),
];
const STRANGE_PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 9));

/// The client that our nearest proxy names in [`honest_text`].
const NAMED_CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));

pub(crate) fn holds(data: &[u8]) {
    let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').take(MAX_LINES).collect();
    for family in [HeaderFamily::Forwarded, HeaderFamily::XForwardedFor] {
        hops(family, data);
        lines.iter().for_each(|line| hops(family, line));
        headers(family, &lines);
        forgery(family, &lines);
    }
    for line in &lines {
        if let Some(id) = CorrelationId::accept(line) {
            assert_eq!(id.as_str().as_bytes(), *line);
            assert!(HeaderValue::from_str(id.as_str()).is_ok());
        }
        if let Ok(text) = str::from_utf8(line) {
            [48, 61, 64].into_iter().flat_map(Ipv6Prefix::new).for_each(|prefix| address_key(text, prefix));
            path(text);
            proxy(text);
        }
    }
}

fn believing(family: HeaderFamily) -> IdentityPolicy {
    IdentityPolicy { proxies: PROXIES.clone(), family, ipv6_prefix: Ipv6Prefix::default() }
}

fn policy(family: HeaderFamily) -> &'static IdentityPolicy {
    match family {
        HeaderFamily::None => &NO_HEADER,
        HeaderFamily::Forwarded => &BY_FORWARDED,
        HeaderFamily::XForwardedFor => &BY_X_FORWARDED_FOR,
    }
}

fn parse(family: HeaderFamily, line: &[u8]) -> Result<Hops, HopsError> {
    match family {
        HeaderFamily::Forwarded => parse_forwarded(line),
        HeaderFamily::XForwardedFor | HeaderFamily::None => parse_x_forwarded_for(line),
    }
}

fn name(family: HeaderFamily) -> HeaderName {
    match family {
        HeaderFamily::Forwarded => FORWARDED,
        HeaderFamily::XForwardedFor | HeaderFamily::None => X_FORWARDED_FOR,
    }
}

/// What our nearest proxy writes behind what it was sent.
fn honest_text(family: HeaderFamily) -> &'static [u8] {
    match family {
        HeaderFamily::Forwarded => b"for=203.0.113.7",
        HeaderFamily::XForwardedFor | HeaderFamily::None => b"203.0.113.7",
    }
}

/// A list of hops keeps its maxima, and an error its place.
fn hops(family: HeaderFamily, line: &[u8]) {
    let parsed = parse(family, line);
    assert_eq!(parsed == Err(HopsError::TooLong), line.len() > MAX_HEADER_TEXT_BYTES);
    match parsed {
        Ok(hops) => {
            assert!((1..=MAX_HOPS).contains(&hops.as_slice().len()));
            for hop in hops.as_slice() {
                assert!(!matches!(hop, Hop::Address(addr) if *addr != addr.to_canonical()), "{hop:?}");
            }
        }
        Err(HopsError::Malformed(at)) => {
            assert!(family == HeaderFamily::Forwarded && at <= line.len());
        }
        Err(HopsError::TooManyHops | HopsError::TooLong) => {}
    }
}

/// The client of a request with these header lines is the one that a walk from the right finds.
fn headers(family: HeaderFamily, lines: &[&[u8]]) {
    let mut headers = HeaderMap::new();
    let mut sent = Vec::new();
    for line in lines {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(name(family), value);
            sent.push(*line);
        }
    }
    let walked = walk(family, &sent);
    for peer in TRUSTED_PEERS {
        let client = policy(family).client_ip(peer, &headers);
        assert_eq!(client.addr(), walked.unwrap_or(peer.to_canonical()), "{family:?} behind {peer}");
        assert_eq!(canonical_ip_key(&client.key(), Ipv6Prefix::default()), Some(client.key()));
        assert_eq!(policy(HeaderFamily::None).client_ip(peer, &headers).addr(), peer.to_canonical());
    }
    assert_eq!(policy(family).client_ip(STRANGE_PEER, &headers).addr(), STRANGE_PEER);
}

/// The rightmost hop that is none of our proxies, else the leftmost; none if it is no address or a line is refused.
fn walk(family: HeaderFamily, lines: &[&[u8]]) -> Option<IpAddr> {
    let mut hops = Vec::new();
    for line in lines {
        hops.extend_from_slice(parse(family, line).ok()?.as_slice());
    }
    let length: usize = lines.iter().map(|line| line.len()).sum();
    if length > MAX_HEADER_TEXT_BYTES || hops.len() > MAX_HOPS {
        return None;
    }
    let is_ours = |hop: &&Hop| matches!(hop, Hop::Address(addr) if PROXIES.contains(*addr));
    match hops.iter().rev().find(|hop| !is_ours(hop)).or(hops.first())? {
        Hop::Address(addr) => Some(*addr),
        Hop::Opaque => None,
    }
}

/// Behind a proxy that adds the address it saw, as a line or to the last line, no text of the client's changes who
/// it is; at worst all clients of that proxy are one.
fn forgery(family: HeaderFamily, lines: &[&[u8]]) {
    let honest = honest_text(family);
    let Some((last, before)) = lines.split_last() else { return };
    for ends in [vec![last.to_vec(), honest.to_vec()], vec![[last, b", ".as_slice(), honest].concat()]] {
        let mut headers = HeaderMap::new();
        for line in before.iter().copied().chain(ends.iter().map(Vec::as_slice)) {
            if let Ok(value) = HeaderValue::from_bytes(line) {
                headers.append(name(family), value);
            }
        }
        let is_sent = ends.iter().all(|line| HeaderValue::from_bytes(line).is_ok());
        for peer in TRUSTED_PEERS.into_iter().filter(|_| is_sent) {
            let client = policy(family).client_ip(peer, &headers).addr();
            assert!(client == NAMED_CLIENT || client == peer.to_canonical(), "{client} was believed");
        }
    }
}

/// A key is its own key, whatever text it was made of.
fn address_key(text: &str, prefix: Ipv6Prefix) {
    let Some(key) = canonical_ip_key(text, prefix) else { return };
    assert_eq!(canonical_ip_key(&key, prefix).as_deref(), Some(&*key), "{text:?}");
    if let Ok(addr) = text.parse::<IpAddr>() {
        assert_eq!(ClientIp::new(addr, prefix).key(), key, "{text:?}");
    }
}

/// A normal path has no trick left and is its own normal form.
fn path(text: &str) {
    let Ok(path) = normalize_path(text) else { return };
    assert_eq!(normalize_path(&path).as_deref(), Ok(&*path), "{text:?}");
    assert!(path.starts_with('/') && path.len() <= MAX_PATH_BYTES, "{path:?}");
    assert!(!path.contains("//") && !path.contains(['?', '#', '\\']), "{path:?}");
    assert!(!path.contains(char::is_control), "{path:?}");
    assert!(path.split('/').all(|segment| segment != "." && segment != ".."), "{path:?}");
}

/// One network that is not insisted on never holds every address of a family.
fn proxy(text: &str) {
    match TrustedProxies::new([text]) {
        Ok(proxies) => {
            let first_and_last_v4 = [Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST].map(IpAddr::V4);
            let first_and_last_v6 = [Ipv6Addr::UNSPECIFIED, Ipv6Addr::from_bits(u128::MAX)].map(IpAddr::V6);
            for ends in [first_and_last_v4, first_and_last_v6] {
                assert!(!ends.into_iter().all(|end| proxies.contains(end)), "{text:?} trusts everybody");
            }
        }
        Err(error) => assert!(error.to_string().len() <= MAX_ERROR_BYTES, "{error}"),
    }
}
