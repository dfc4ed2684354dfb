//! Who is asking: the client's address, taken only from what a trusted proxy wrote.
//!
//! By default no header is believed and the client is the peer of the connection. When a header family and
//! proxies are configured, the hops are walked from the **right**, where the nearest proxy wrote, past the trusted
//! proxies, to the first address that none of them vouches for. A hop that is no address ends the walk at the peer:
//! a guess further to the left would be text chosen by the client.
//!
//! Addresses are compared and keyed by their bits, never by their text, and an IPv4-mapped IPv6 address is IPv4.
//! A client with an IPv6 network is one client: keys name the network of [`Ipv6Prefix`] bits.

mod headers;
mod hops;
mod proxies;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use http::HeaderMap;
use ipnet::Ipv6Net;

pub use headers::{HeaderError, is_alias_name, single_header};
pub(crate) use hops::trim_blanks;
pub use hops::{
    Hop, Hops, HopsError, MAX_HEADER_TEXT_BYTES, MAX_HOPS, parse_forwarded, parse_x_forwarded_for,
};
pub use proxies::{MAX_TRUSTED_PROXIES, ProxyListError, TrustedProxies, WideNetworks};

/// Longest address text that [`canonical_ip_key`] looks at, in bytes (an IPv6 network has at most 43).
const MAX_ADDRESS_TEXT_BYTES: usize = 64;

/// The one family of headers that the proxies in front of us maintain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeaderFamily {
    /// Believe no header; the client is the peer.
    #[default]
    None,
    /// RFC 7239 `Forwarded`.
    Forwarded,
    /// `X-Forwarded-For`.
    XForwardedFor,
}

/// How many leading bits of an IPv6 address name a client: 48 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ipv6Prefix(u8);

/// The prefix length is outside 48..=64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an IPv6 client prefix of {0} bits is out of range: use 48 to 64, usually 64")]
pub struct Ipv6PrefixError(pub u8);

/// Whom to believe about the client's address, and how its key is cut.
#[derive(Debug, Clone, Default)]
pub struct IdentityPolicy {
    /// The networks of our own proxies; empty means that no header is believed.
    pub proxies: TrustedProxies,
    /// The header those proxies write.
    pub family: HeaderFamily,
    /// The bits of an IPv6 address that name a client.
    pub ipv6_prefix: Ipv6Prefix,
}

/// A client's address with the prefix that cuts its key. Displays as its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientIp {
    addr: IpAddr,
    prefix: Ipv6Prefix,
}

/// The key of an address that a caller supplies as text, or `None` if it is not one address.
///
/// IPv4 comes back dotted, IPv6 as its network (`2001:db8:1:2::/64`). A network of exactly `prefix` bits is taken
/// too, so that a key is its own key. Zone ids, ports, brackets and other networks are refused.
#[must_use]
pub fn canonical_ip_key(text: &str, prefix: Ipv6Prefix) -> Option<String> {
    client_of_text(text, prefix).map(|client| client.key())
}

/// The client of an address that a caller supplies as text, under the same conditions as [`canonical_ip_key`].
#[must_use]
pub fn client_of_text(text: &str, prefix: Ipv6Prefix) -> Option<ClientIp> {
    if text.len() > MAX_ADDRESS_TEXT_BYTES {
        return None;
    }
    if let Ok(addr) = text.parse::<IpAddr>() {
        return Some(ClientIp::new(addr, prefix));
    }
    let net = text.parse::<Ipv6Net>().ok()?;
    let is_own_key = net.prefix_len() == prefix.0 && net.trunc() == net;
    is_own_key.then(|| ClientIp::new(IpAddr::V6(net.addr()), prefix))
}

/// The address by its bits: `::ffff:0:0/96` is IPv4.
pub(crate) fn canonical(addr: IpAddr) -> IpAddr {
    addr.to_canonical()
}

// === impl Ipv6Prefix ===

impl Ipv6Prefix {
    /// The shortest prefix, and so the widest client, in bits.
    pub const MIN: u8 = 48;
    /// The longest prefix, in bits: one host can use every address of a /64.
    pub const MAX: u8 = 64;

    /// Checks the range 48..=64.
    ///
    /// # Errors
    /// [`Ipv6PrefixError`] outside it.
    pub const fn new(bits: u8) -> Result<Self, Ipv6PrefixError> {
        if bits < Self::MIN || bits > Self::MAX { Err(Ipv6PrefixError(bits)) } else { Ok(Self(bits)) }
    }

    /// The prefix length in bits.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    fn network_of(self, addr: Ipv6Addr) -> Ipv6Addr {
        Ipv6Addr::from_bits(addr.to_bits() & (u128::MAX << (128 - u32::from(self.0))))
    }
}

impl Default for Ipv6Prefix {
    fn default() -> Self {
        Self(Self::MAX)
    }
}

impl TryFrom<u8> for Ipv6Prefix {
    type Error = Ipv6PrefixError;

    fn try_from(bits: u8) -> Result<Self, Self::Error> {
        Self::new(bits)
    }
}

// === impl IdentityPolicy ===

impl IdentityPolicy {
    /// The client behind `peer`, who sent `headers`.
    ///
    /// The peer itself unless it is a trusted proxy and the header of the configured family names someone else;
    /// the leftmost hop if every hop is trusted. Headers that do not parse, or exceed [`MAX_HOPS`] or
    /// [`MAX_HEADER_TEXT_BYTES`], leave the peer.
    #[must_use]
    pub fn client_ip(&self, peer: IpAddr, headers: &HeaderMap) -> ClientIp {
        let peer = canonical(peer);
        let addr = self.forwarded_addr(peer, headers).unwrap_or(peer);
        ClientIp::new(addr, self.ipv6_prefix)
    }

    fn forwarded_addr(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        if self.family == HeaderFamily::None || !self.proxies.contains(peer) {
            return None;
        }
        let hops = hops::from_headers(self.family, headers).ok()?;
        let mut leftmost = None;
        for hop in hops.as_slice().iter().rev() {
            match *hop {
                Hop::Opaque => return None,
                Hop::Address(addr) if !self.proxies.contains(addr) => return Some(addr),
                Hop::Address(addr) => leftmost = Some(addr),
            }
        }
        leftmost
    }
}

// === impl ClientIp ===

impl ClientIp {
    /// An address by its bits, with the prefix for its key.
    #[must_use]
    pub fn new(addr: IpAddr, prefix: Ipv6Prefix) -> Self {
        Self { addr: canonical(addr), prefix }
    }

    /// The full address, never an IPv4-mapped one.
    #[must_use]
    pub const fn addr(&self) -> IpAddr {
        self.addr
    }

    /// The canonical partition text: IPv4 dotted, IPv6 as its network, `2001:db8:1:2::/64`.
    #[must_use]
    pub fn key(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for ClientIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.addr {
            IpAddr::V4(addr) => write!(f, "{addr}"),
            IpAddr::V6(addr) => write!(f, "{}/{}", self.prefix.network_of(addr), self.prefix.0),
        }
    }
}
