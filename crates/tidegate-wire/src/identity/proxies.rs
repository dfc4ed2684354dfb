//! The networks of the proxies whose headers are believed.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::canonical;

/// Most networks in one list of trusted proxies.
pub const MAX_TRUSTED_PROXIES: usize = 1024;

/// Bits before the IPv4 part of an IPv4-mapped IPv6 address.
const MAPPED_PREFIX_BITS: u8 = 96;

/// What to do with a network so wide that it trusts everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WideNetworks {
    /// It is an error: with it anybody can write any address into the header.
    #[default]
    Reject,
    /// The operator insists: only sound where nothing but a proxy can reach us.
    Force,
}

/// Why a list of trusted proxies is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyListError {
    /// Not an address and not a network.
    #[error(
        "trusted proxy `{0}` is neither an address nor a network: write it like 10.0.0.0/8 or 2001:db8::/32"
    )]
    NotANetwork(String),
    /// `0.0.0.0/0` or `::/0`.
    #[error(
        "trusted proxy `{0}` trusts every address, so any client could forge its own: name your proxies' networks"
    )]
    Everyone(String),
    /// An IPv4-mapped base with a prefix that counts from the IPv4 part.
    #[error(
        "trusted proxy `{0}` covers all of IPv4: a mapped network counts 96 bits more, so write it as plain IPv4 \
         or with a prefix of at least 97"
    )]
    WideMapped(String),
    /// More than [`MAX_TRUSTED_PROXIES`].
    #[error("more than {MAX_TRUSTED_PROXIES} trusted proxies: join neighbouring networks")]
    TooMany,
}

/// A list of networks, compared by bits. Empty by default: nobody is trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    v4: Vec<Ipv4Net>,
    v6: Vec<Ipv6Net>,
}

impl TrustedProxies {
    /// Reads addresses (`10.0.0.1`) and networks (`10.0.0.0/8`), refusing those that trust everybody.
    ///
    /// # Errors
    /// The first [`ProxyListError`] of the list.
    pub fn new<I>(networks: I) -> Result<Self, ProxyListError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        Self::with_policy(networks, WideNetworks::Reject)
    }

    /// Like [`new`](Self::new), with the say over networks that trust everybody.
    ///
    /// A forced mapped base with 96 bits or fewer is `0.0.0.0/0`; a forced `::/0` is IPv6 only.
    ///
    /// # Errors
    /// The first [`ProxyListError`] of the list.
    pub fn with_policy<I>(networks: I, wide: WideNetworks) -> Result<Self, ProxyListError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let mut list = Self::default();
        for (index, text) in networks.into_iter().enumerate() {
            if index >= MAX_TRUSTED_PROXIES {
                return Err(ProxyListError::TooMany);
            }
            match parse_network(text.as_ref().trim(), wide)? {
                IpNet::V4(net) => list.v4.push(net),
                IpNet::V6(net) => list.v6.push(net),
            }
        }
        Ok(Self { v4: Ipv4Net::aggregate(&list.v4), v6: Ipv6Net::aggregate(&list.v6) })
    }

    /// Whether one of the networks holds the address; a mapped address is looked up as IPv4.
    #[must_use]
    pub fn contains(&self, addr: IpAddr) -> bool {
        match canonical(addr) {
            IpAddr::V4(addr) => self.v4.iter().any(|net| net.contains(&addr)),
            IpAddr::V6(addr) => self.v6.iter().any(|net| net.contains(&addr)),
        }
    }

    /// Whether nobody is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

fn parse_network(text: &str, wide: WideNetworks) -> Result<IpNet, ProxyListError> {
    let net = match text.parse::<IpNet>() {
        Ok(net) => net,
        Err(_) => {
            let addr = text.parse::<IpAddr>().map_err(|_| ProxyListError::NotANetwork(shortened(text)))?;
            return Ok(IpNet::from(canonical(addr)));
        }
    };
    let mapped = match net {
        IpNet::V6(v6) => v6.addr().to_ipv4_mapped(),
        IpNet::V4(_) => None,
    };
    if let Some(base) = mapped {
        if net.prefix_len() <= MAPPED_PREFIX_BITS && wide == WideNetworks::Reject {
            return Err(ProxyListError::WideMapped(shortened(text)));
        }
        let bits = net.prefix_len().saturating_sub(MAPPED_PREFIX_BITS);
        return Ipv4Net::new(base, bits)
            .map(|v4| IpNet::V4(v4.trunc()))
            .map_err(|_| ProxyListError::NotANetwork(shortened(text)));
    }
    if net.prefix_len() == 0 && wide == WideNetworks::Reject {
        return Err(ProxyListError::Everyone(shortened(text)));
    }
    Ok(net.trunc())
}

fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}
