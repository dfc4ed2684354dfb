//! Goal: a host has one spelling. Method: tables.

use super::*;

#[test]
fn hosts_are_read_as_a_browser_reads_them() {
    for (text, scheme, want) in [
        ("shop.example", Scheme::Https, "shop.example"),
        ("SHOP.Example:443", Scheme::Https, "shop.example"),
        ("shop.example:443", Scheme::Http, "shop.example:443"),
        ("shop.example:80", Scheme::Http, "shop.example"),
        ("shop.example:8443", Scheme::Https, "shop.example:8443"),
        ("bücher.example", Scheme::Https, "xn--bcher-kva.example"),
        ("192.0.2.1:8080", Scheme::Http, "192.0.2.1:8080"),
        ("0xc0.0.2.1", Scheme::Http, "192.0.2.1"),
        ("[2001:DB8:0::1]:8443", Scheme::Https, "[2001:db8::1]:8443"),
        ("localhost", Scheme::Http, "localhost"),
    ] {
        let host = SiteHost::parse(text, scheme).unwrap();
        assert_eq!(host.as_str(), want, "{text}");
        assert_eq!(SiteHost::parse(want, scheme), Ok(host), "{want} is its own spelling");
    }
}

#[test]
fn what_is_no_host_is_refused_by_name() {
    let long = format!("{}.example", "a".repeat(MAX_HOST_BYTES));
    for text in [
        "",
        "shop.example/",
        "shop.example/path",
        "user@shop.example",
        "shop.example?x",
        "shop.example#x",
        "shop example",
        " shop.example",
        "shop.example\n",
        "shop.example\\x",
        "shop%2eexample",
        "shop.example:99999",
        "shop.example:x",
        "::1",
        "[::1",
        ":443",
        &long,
    ] {
        let error = SiteHost::parse(text, Scheme::Https).unwrap_err();
        assert!(matches!(error, SiteError::NotAHost(_)), "{text:?}: {error}");
    }
    assert!(matches!(SiteHost::parse("*.shop.example", Scheme::Https), Err(SiteError::Pattern(_))));
    for text in ["ftp://shop.example", "HTTPS://shop.example", "https://", "https://shop.example/"] {
        assert!(matches!(AllowedHosts::new([text]), Err(SiteError::NotAHost(_))), "{text}");
    }
}

#[test]
fn a_list_allows_scheme_host_and_port_exactly() {
    let list =
        AllowedHosts::new(["shop.example", "https://shop.example:443", "http://localhost:3000"]).unwrap();
    let host = |text| SiteHost::parse(text, Scheme::Https).unwrap();
    assert!(list.contains(Scheme::Https, &host("shop.example")));
    assert!(!list.contains(Scheme::Http, &host("shop.example")));
    assert!(!list.contains(Scheme::Https, &host("shop.example:8443")));
    assert!(!list.contains(Scheme::Https, &host("www.shop.example")));
    assert!(list.contains(Scheme::Http, &host("localhost:3000")));
    let audience = list.audience();
    assert_eq!(audience.hosts(), [host("shop.example"), host("localhost:3000")]);
    assert!(audience.contains(&host("shop.example")) && !audience.contains(&host("localhost")));
    assert!(!Audience::default().contains(&host("shop.example")));
}

#[test]
fn lists_have_a_maximum() {
    let names: Vec<String> = (0..=MAX_SITE_HOSTS).map(|index| format!("h{index}.example")).collect();
    let list = |names: &[String]| AllowedHosts::new(names.iter().map(String::as_str));
    assert!(list(&names[1..]).is_ok());
    assert_eq!(list(&names), Err(SiteError::TooMany));
    let label = "a".repeat(60);
    let wide: Vec<String> = (0..5).map(|index| format!("{label}.{label}.{label}.{index}.example")).collect();
    assert!(list(&wide).is_ok_and(|list| list.audience().hosts().len() == 5));
    let wide: Vec<String> = (0..6).map(|index| format!("{label}.{label}.{label}.{index}.example")).collect();
    assert_eq!(list(&wide), Err(SiteError::TooMany));
}
