//! Goal: no text from a client chooses its own key. Method: tables of spoofing attempts, and properties over random
//! bytes and random hops.

use std::net::{IpAddr, Ipv6Addr};

use http::header::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

const PROXY: &str = "10.0.0.9";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn headers(name: &'static str, lines: &[&[u8]]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for line in lines {
        map.append(HeaderName::from_static(name), HeaderValue::from_bytes(line).unwrap());
    }
    map
}

fn policy(family: HeaderFamily) -> IdentityPolicy {
    IdentityPolicy {
        proxies: TrustedProxies::new(["10.0.0.0/8", "2001:db8:aaaa::/48"]).unwrap(),
        family,
        ipv6_prefix: Ipv6Prefix::default(),
    }
}

#[test]
fn x_forwarded_for_table() {
    let long = format!("203.0.113.7,{}", " ".repeat(MAX_HEADER_TEXT_BYTES));
    let many = vec!["203.0.113.7"; MAX_HOPS + 1].join(",");
    let most = vec!["203.0.113.7"; MAX_HOPS].join(",");
    let cases: &[(&str, &[&str], &str)] = &[
        (PROXY, &[], PROXY),
        (PROXY, &["203.0.113.7"], "203.0.113.7"),
        (PROXY, &["1.1.1.1, 203.0.113.7"], "203.0.113.7"),
        (PROXY, &["1.1.1.1, 203.0.113.7, 10.1.1.1"], "203.0.113.7"),
        (PROXY, &["1.1.1.1", "203.0.113.7"], "203.0.113.7"),
        (PROXY, &["203.0.113.7", "10.1.1.1,10.1.1.2"], "203.0.113.7"),
        (PROXY, &["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
        (PROXY, &["nonsense, 203.0.113.7"], "203.0.113.7"),
        (PROXY, &["203.0.113.7, nonsense"], PROXY),
        (PROXY, &["203.0.113.7, unknown, 10.1.1.1"], PROXY),
        (PROXY, &["203.0.113.7,"], PROXY),
        (PROXY, &["203.0.113.7", ""], PROXY),
        (PROXY, &["203.0.113.07"], PROXY),
        (PROXY, &["203.0.113"], PROXY),
        (PROXY, &["3405803783"], PROXY),
        (PROXY, &["0xcb.0.113.7"], PROXY),
        (PROXY, &["fe80::1%eth0"], PROXY),
        (PROXY, &["\"203.0.113.7\""], PROXY),
        (PROXY, &["203.0.113.7:443"], "203.0.113.7"),
        (PROXY, &["203.0.113.7:99999"], PROXY),
        (PROXY, &["203.0.113.7:"], PROXY),
        (PROXY, &["[2001:db8:1:2::9]:443"], "2001:db8:1:2::/64"),
        (PROXY, &["2001:db8:1:2::9"], "2001:db8:1:2::/64"),
        (PROXY, &["::ffff:203.0.113.7"], "203.0.113.7"),
        (PROXY, &["203.0.113.7, ::ffff:10.1.1.1"], "203.0.113.7"),
        (PROXY, &["203.0.113.7, ::ffff:a01:101"], "203.0.113.7"),
        (PROXY, &["203.0.113.7, 2001:db8:aaaa::5"], "203.0.113.7"),
        (PROXY, &[&long], PROXY),
        (PROXY, &[&many], PROXY),
        (PROXY, &[&most], "203.0.113.7"),
        ("::ffff:10.0.0.9", &["203.0.113.7"], "203.0.113.7"),
        ("198.51.100.1", &["203.0.113.7"], "198.51.100.1"),
        ("::ffff:198.51.100.1", &["203.0.113.7"], "198.51.100.1"),
        ("2001:db8:5:6:7:8:9:a", &["203.0.113.7"], "2001:db8:5:6::/64"),
    ];
    for (peer, lines, want) in cases {
        let bytes: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        let map = headers("x-forwarded-for", &bytes);
        let got = policy(HeaderFamily::XForwardedFor).client_ip(ip(peer), &map);
        assert_eq!(got.key(), *want, "peer {peer}, lines {lines:.80?}");
    }
}

#[test]
fn forwarded_table() {
    let cases: &[(&[&str], &str)] = &[
        (&["for=203.0.113.7"], "203.0.113.7"),
        (&["For=203.0.113.7;Proto=https;BY=10.0.0.1"], "203.0.113.7"),
        (&["proto=http; for=203.0.113.7 ; by=10.0.0.1"], "203.0.113.7"),
        (&["for=\"[2001:db8:1:2::17]:4711\""], "2001:db8:1:2::/64"),
        (&["for=\"203.0.113.7:_port\""], "203.0.113.7"),
        (&["for=\"203.0.113.\\7\""], "203.0.113.7"),
        (&["for=\"\\[::ffff:203.0.113.7\\]\""], "203.0.113.7"),
        (&["for=1.1.1.1, for=203.0.113.7;proto=https, for=10.1.1.1"], "203.0.113.7"),
        (&["for=1.1.1.1", "for=203.0.113.7"], "203.0.113.7"),
        (&["host=\"a,for=6.6.6.6\";for=203.0.113.7"], "203.0.113.7"),
        (&["for=203.0.113.7;host=\"x\\\",for=6.6.6.6\""], "203.0.113.7"),
        (&["for=_hidden, for=203.0.113.7"], "203.0.113.7"),
        (&["for=10.4.4.4, for=10.5.5.5"], "10.4.4.4"),
        (&["for=203.0.113.7, for=_hidden"], PROXY),
        (&["for=203.0.113.7, for=unknown"], PROXY),
        (&["for=203.0.113.7, proto=https"], PROXY),
        (&["for=203.0.113.7,"], PROXY),
        (&["for=203.0.113.7", ""], PROXY),
        (&["for=1.1.1.1;for=203.0.113.7"], PROXY),
        (&["for=1.1.1.1;FOR=203.0.113.7"], PROXY),
        (&["for=\"1.1.1.1, for=203.0.113.7"], PROXY),
        (&["for=\"1.1.1.1", "for=203.0.113.7"], PROXY),
        (&["for=[2001:db8::1]"], PROXY),
        (&["for=\"2001:db8::1\""], PROXY),
        (&["for=\"[fe80::1%eth0]\""], PROXY),
        (&["for=\"[203.0.113.7]\""], PROXY),
        (&["for=203.0.113.7:80"], PROXY),
        (&["for = 203.0.113.7"], PROXY),
        (&["for=203.0.113.7 proto=https"], PROXY),
        (&["203.0.113.7"], PROXY),
        (&["for="], PROXY),
        (&["=203.0.113.7"], PROXY),
        (&["for=\"203.0.113.7\\"], PROXY),
    ];
    for (lines, want) in cases {
        let bytes: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        let map = headers("forwarded", &bytes);
        let got = policy(HeaderFamily::Forwarded).client_ip(ip(PROXY), &map);
        assert_eq!(got.key(), *want, "lines {lines:?}");
    }
}

#[test]
fn only_the_chosen_family_counts() {
    let mut map = headers("x-forwarded-for", &[b"203.0.113.7"]);
    map.append("forwarded", HeaderValue::from_static("for=203.0.113.8"));
    map.append("x-real-ip", HeaderValue::from_static("203.0.113.9"));
    map.append("x_forwarded_for", HeaderValue::from_static("203.0.113.10"));
    let key = |family| policy(family).client_ip(ip(PROXY), &map).key();
    assert_eq!(key(HeaderFamily::None), PROXY);
    assert_eq!(key(HeaderFamily::XForwardedFor), "203.0.113.7");
    assert_eq!(key(HeaderFamily::Forwarded), "203.0.113.8");
    assert_eq!(IdentityPolicy::default().client_ip(ip(PROXY), &map).key(), PROXY);
}

#[test]
fn aliases_of_the_header_are_never_read() {
    let map = headers("x_forwarded_for", &[b"203.0.113.7"]);
    assert_eq!(policy(HeaderFamily::XForwardedFor).client_ip(ip(PROXY), &map).key(), PROXY);
}

#[test]
fn maxima_hold_over_all_lines_together() {
    let key = |lines: &[&[u8]]| {
        policy(HeaderFamily::XForwardedFor).client_ip(ip(PROXY), &headers("x-forwarded-for", lines)).key()
    };
    let half = [b' '; MAX_HEADER_TEXT_BYTES / 2];
    let last = b"203.0.113.7";
    assert_eq!(key(&[&half, &half[last.len()..], last]), "203.0.113.7");
    assert_eq!(key(&[&half, &half[last.len() - 1..], last]), PROXY);
    let lines = [last.as_slice(); MAX_HOPS + 1];
    assert_eq!((key(&lines[1..]), key(&lines)), ("203.0.113.7".to_owned(), PROXY.to_owned()));
}

#[test]
fn forwarded_elements_have_a_maximum_of_parameters() {
    let element = |count: usize| {
        let parameters: Vec<String> = (1..count).map(|index| format!("p{index}=v")).collect();
        format!("for=203.0.113.7;{}", parameters.join(";"))
    };
    let most = parse_forwarded(element(16).as_bytes()).unwrap();
    assert_eq!(most.as_slice(), [Hop::Address(ip("203.0.113.7"))]);
    assert!(matches!(parse_forwarded(element(17).as_bytes()), Err(HopsError::Malformed(_))));
}

#[test]
fn single_headers() {
    let name = HeaderName::from_static("x-api-key");
    assert_eq!(single_header(&HeaderMap::new(), &name), Ok(None));
    assert_eq!(single_header(&headers("x-api-key", &[b"a b"]), &name), Ok(Some("a b")));
    assert_eq!(
        single_header(&headers("x-api-key", &[b"a", b"a"]), &name),
        Err(HeaderError::Duplicate(name.clone()))
    );
    assert_eq!(
        single_header(&headers("x-api-key", &[b"\xff"]), &name),
        Err(HeaderError::NotText(name.clone()))
    );
    assert_eq!(single_header(&headers("x_api_key", &[b"a"]), &name), Ok(None));
    let alias = HeaderName::from_static("x_api_key");
    assert_eq!(single_header(&headers("x_api_key", &[b"a"]), &alias), Ok(None));
}

#[test]
fn proxy_lists() {
    let refused = |text: &str| TrustedProxies::new([text]).unwrap_err();
    for text in ["0.0.0.0/0", "::/0", "1.2.3.4/0"] {
        assert_eq!(refused(text), ProxyListError::Everyone(text.into()));
    }
    for text in ["::ffff:10.0.0.0/8", "::ffff:0:0/96", "::ffff:10.0.0.0/0", "::ffff:a00:0/95"] {
        assert_eq!(refused(text), ProxyListError::WideMapped(text.into()));
    }
    for text in ["", "10.0.0", "10.0.0.0/33", "::1/129", "fe80::1%eth0", "localhost", "10.0.0.0/-1"] {
        assert_eq!(refused(text), ProxyListError::NotANetwork(text.into()));
    }
    assert_eq!(TrustedProxies::new(vec!["10.0.0.1"; MAX_TRUSTED_PROXIES + 1]), Err(ProxyListError::TooMany));

    let mapped = TrustedProxies::new(["::ffff:10.0.0.0/104", " 192.0.2.1 "]).unwrap();
    assert!(mapped.contains(ip("10.255.0.1")) && mapped.contains(ip("::ffff:10.1.2.3")));
    assert!(mapped.contains(ip("192.0.2.1")) && !mapped.contains(ip("192.0.2.2")));
    assert!(!mapped.contains(ip("11.0.0.1")) && !mapped.contains(ip("2001:db8::1")));
    assert!(TrustedProxies::default().is_empty() && !mapped.is_empty());

    let forced = TrustedProxies::with_policy(["::ffff:0:0/96"], WideNetworks::Force).unwrap();
    assert!(forced.contains(ip("203.0.113.7")) && !forced.contains(ip("2001:db8::1")));
    let forced = TrustedProxies::with_policy(["::/0"], WideNetworks::Force).unwrap();
    assert!(!forced.contains(ip("203.0.113.7")) && forced.contains(ip("2001:db8::1")));
}

#[test]
fn address_keys() {
    let key = |text| canonical_ip_key(text, Ipv6Prefix::default());
    for (text, want) in [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::FFFF:cb00:7107", "203.0.113.7"),
        ("0:0:0:0:0:ffff:cb00:7107", "203.0.113.7"),
        ("2001:DB8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:0db8:0001:0002::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::/64", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
    ] {
        assert_eq!(key(text).as_deref(), Some(want), "{text}");
    }
    for text in [
        "",
        " 203.0.113.7",
        "203.0.113.7:80",
        "[::1]",
        "fe80::1%1",
        "2001:db8::/48",
        "2001:db8::1/64",
        "10.0.0.0/8",
        "0177.0.0.1",
    ] {
        assert_eq!(key(text), None, "{text}");
    }
    let wide = Ipv6Prefix::new(48).unwrap();
    assert_eq!(canonical_ip_key("2001:db8:1:2::9", wide).as_deref(), Some("2001:db8:1::/48"));
    assert_eq!(
        (Ipv6Prefix::new(47), Ipv6Prefix::new(65)),
        (Err(Ipv6PrefixError(47)), Err(Ipv6PrefixError(65)))
    );
}

proptest! {
    #[test]
    fn parsers_take_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse_forwarded(&bytes);
        let hops = parse_x_forwarded_for(&bytes);
        let commas = bytes.iter().filter(|byte| **byte == b',').count();
        prop_assert_eq!(hops.is_ok(), commas < MAX_HOPS);
    }

    #[test]
    fn forwarded_takes_near_misses(text in "[fF]or=[\\\\\"0-9a-f.:;,= \\[\\]_]{0,40}") {
        let _ = parse_forwarded(text.as_bytes());
    }

    #[test]
    fn what_the_client_wrote_does_not_matter(
        forged in "[ -+\\--~]{0,60}(,[ -+\\--~]{0,60}){0,5}", client in any::<[u8; 4]>(), inner in 0u8..4,
    ) {
        prop_assume!(client[0] != 10);
        let client = IpAddr::from(client);
        let mut text = format!("{forged},{client}");
        for hop in 0..inner {
            text.push_str(&format!(", 10.0.1.{hop}"));
        }
        let map = headers("x-forwarded-for", &[text.as_bytes()]);
        let got = policy(HeaderFamily::XForwardedFor).client_ip(ip(PROXY), &map);
        prop_assert_eq!(got.addr(), client);
    }

    #[test]
    fn both_families_agree(addrs in prop::collection::vec(any::<u128>(), 1..8), mapped in any::<u32>()) {
        let mut addrs: Vec<Ipv6Addr> = addrs.into_iter().map(Ipv6Addr::from_bits).collect();
        addrs.push(std::net::Ipv4Addr::from_bits(mapped).to_ipv6_mapped());
        let xff: Vec<String> = addrs.iter().map(Ipv6Addr::to_string).collect();
        let forwarded: Vec<String> = addrs.iter().map(|addr| format!("for=\"[{addr}]\"")).collect();
        prop_assert_eq!(
            parse_x_forwarded_for(xff.join(", ").as_bytes()).unwrap(),
            parse_forwarded(forwarded.join(",").as_bytes()).unwrap()
        );
    }

    #[test]
    fn one_network_one_key(net in any::<u64>(), a in any::<u64>(), b in any::<u64>()) {
        prop_assume!(net != 0);
        let key = |low: u64| {
            let addr = Ipv6Addr::from_bits(u128::from(net) << 64 | u128::from(low));
            ClientIp::new(IpAddr::V6(addr), Ipv6Prefix::default()).key()
        };
        prop_assert_eq!(key(a), key(b));
        prop_assert_eq!(canonical_ip_key(&key(a), Ipv6Prefix::default()), Some(key(a)));
    }
}
