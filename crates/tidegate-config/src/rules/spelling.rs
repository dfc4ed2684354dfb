//! The spelling in which doors bring addresses and hosts, whatever a client has sent. What a file says of them is brought into
//! the same one, so that it matches.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

/// How many leading bits of an IPv6 address name a client where `--ipv6-prefix` says nothing else.
const IPV6_BITS: u32 = 64;
/// As few as `--ipv6-prefix` may say.
const LEAST_IPV6_BITS: u32 = 48;
/// The bits of a whole IPv6 address.
const WHOLE_IPV6_BITS: u32 = 128;

/// What a door makes of an address as it is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// The same address in its one spelling.
    Same(String),
    /// The network that counts as one client, with the addresses beside the one that is written.
    Wider(String),
    /// A network that no door makes of any address.
    Never,
}

/// Whether the entry holds an address: the client's, as Tidegate or Envoy calls it.
pub(super) fn is_address(entry: &str) -> bool {
    matches!(unnumbered(entry), "client_ip" | "remote_address")
}

pub(super) fn is_host(entry: &str) -> bool {
    unnumbered(entry) == "host"
}

/// What a door makes of the address, or nothing where it is none.
pub(super) fn address(text: &str) -> Option<Address> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(match address.to_canonical() {
            IpAddr::V4(address) => Address::Same(address.to_string()),
            IpAddr::V6(address) => Address::Wider(network(address, IPV6_BITS)),
        });
    }
    let (before, bits) = text.split_once('/')?;
    let bits = bits.parse::<u32>().ok();
    Some(match (before.parse::<Ipv6Addr>().map(|address| address.to_canonical()), bits) {
        (Ok(IpAddr::V4(address)), Some(WHOLE_IPV6_BITS)) => Address::Same(address.to_string()),
        (Ok(IpAddr::V6(address)), Some(bits @ LEAST_IPV6_BITS..=WHOLE_IPV6_BITS)) => {
            let kept = bits.min(IPV6_BITS);
            let network = network(address, kept);
            let is_whole = kept == bits && address.to_bits() & !mask(bits) == 0;
            if is_whole { Address::Same(network) } else { Address::Wider(network) }
        }
        _ => Address::Never,
    })
}

/// The beginning of an address or host as a door would bring it.
pub(super) fn beginning<'a>(entry: &str, text: &'a str) -> Cow<'a, str> {
    let mapped = text.get(..7).filter(|start| is_address(entry) && start.eq_ignore_ascii_case("::ffff:"));
    match mapped.and_then(|start| text.strip_prefix(start)) {
        Some(rest) if rest.contains('.') => Cow::Borrowed(rest),
        _ => part(entry, text),
    }
}

/// Some part of an address or host as a door would bring it.
pub(super) fn part<'a>(entry: &str, text: &'a str) -> Cow<'a, str> {
    let has_capitals = text.bytes().any(|byte| byte.is_ascii_uppercase());
    if has_capitals && (is_address(entry) || is_host(entry)) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

/// The name without the number of a key that repeats: `remote_address.2`.
fn unnumbered(entry: &str) -> &str {
    let numbered = entry.rsplit_once('.').filter(|(_, number)| number.parse::<u32>().is_ok());
    numbered.map_or(entry, |(name, _)| name)
}

fn mask(bits: u32) -> u128 {
    u128::MAX.checked_shl(WHOLE_IPV6_BITS - bits).unwrap_or(0)
}

fn network(address: Ipv6Addr, bits: u32) -> String {
    format!("{}/{bits}", Ipv6Addr::from_bits(address.to_bits() & mask(bits)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_one_spelling() {
        let same = |text: &str| Some(Address::Same(text.to_owned()));
        let wider = |text: &str| Some(Address::Wider(text.to_owned()));
        let cases = [
            ("192.0.2.1", same("192.0.2.1")),
            ("::ffff:192.0.2.1", same("192.0.2.1")),
            ("::ffff:192.0.2.1/128", same("192.0.2.1")),
            ("2001:db8::1", wider("2001:db8::/64")),
            ("2001:DB8:0::7", wider("2001:db8::/64")),
            ("2001:db8::1/128", wider("2001:db8::/64")),
            ("2001:db8::1/64", wider("2001:db8::/64")),
            ("2001:DB8:0:0::/64", same("2001:db8::/64")),
            ("2001:db8:1::/48", same("2001:db8:1::/48")),
            ("2001:db8::/32", Some(Address::Never)),
            ("2001:db8::/129", Some(Address::Never)),
            ("10.0.0.0/8", Some(Address::Never)),
            ("::ffff:10.0.0.0/104", Some(Address::Never)),
            ("unknown", None),
        ];
        for (text, expected) in cases {
            assert_eq!(address(text), expected, "{text}");
        }
    }

    #[test]
    fn only_addresses_and_hosts_are_brought_into_shape() {
        assert_eq!(beginning("client_ip", "2001:DB8:"), "2001:db8:");
        assert_eq!(beginning("remote_address.2", "::FFFF:10."), "10.");
        assert_eq!(beginning("other", "::ffff:10."), "::ffff:10.");
        assert_eq!(part("host", ".Example"), ".example");
        assert_eq!(part("user", "Alice"), "Alice");
    }
}
