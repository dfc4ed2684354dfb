//! Goal: a rule that no request can ever match is found before it is relied on.
//! Method: rules that ask for what the doors never bring, and what is said about them.

use tidegate_config::parse_rules;
use tidegate_core::rule::RuleSet;

fn findings(rule: &str) -> Vec<String> {
    let text = format!("version: 1\ndomains:\n  - name: d\n    rules:\n      - {rule}\n");
    match parse_rules(&text, "r.yaml") {
        Ok(parsed) => parsed.warnings.iter().map(ToString::to_string).collect(),
        Err(errors) => errors.errors.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn what_no_door_brings_is_named() {
    let cases = [
        ("{ name: r, key: [\"user id\"], limit: 1, window: 1s }", "no request has an entry named 'user id'"),
        ("{ name: r, match: { a: \"\" }, key: [], limit: 1, window: 1s }", "the value is empty"),
        ("{ name: r, match: { host: Example.com }, key: [], limit: 1, window: 1s }", "write example.com"),
        ("{ name: r, match: { client_ip: 10.0.0.0/8 }, key: [], limit: 1, window: 1s }", "not as a network"),
    ];
    for (rule, expected) in cases {
        let found = findings(rule);
        assert!(found.iter().any(|finding| finding.contains(expected)), "{rule}: {found:?}");
    }
    let long = format!("{{ name: r, key: [{}], limit: 1, window: 1s }}", "x".repeat(65));
    assert!(findings(&long).iter().any(|finding| finding.contains("at most 64 letters")));
    assert!(
        findings(
            "{ name: r, match: { host: example.com, client_ip: 10.0.0.1 }, key: [], limit: 1, window: 1s }"
        )
        .is_empty()
    );
}

/// The doors bring addresses and hosts in one spelling, so rules are brought into it, too.
#[test]
fn an_address_or_host_matches_however_it_is_written() {
    let cases = [
        ("client_ip", "2001:db8::1", "2001:db8::/64", "write '2001:db8::/64'"),
        ("client_ip", "2001:DB8:0::7", "2001:db8::/64", "write '2001:db8::/64'"),
        ("remote_address", "2001:db8::1/64", "2001:db8::/64", "write '2001:db8::/64'"),
        ("remote_address", "2001:DB8:0:0::/64", "2001:db8::/64", ""),
        ("client_ip", "2001:DB8:*", "2001:db8::/64", ""),
        ("client_ip", "*:DB8:*", "2001:db8::/64", ""),
        ("remote_address.2", "::ffff:192.0.2.1", "192.0.2.1", ""),
        ("host", "Example.COM", "example.com", "write example.com"),
        ("host", "*.Example.COM", "a.example.com", ""),
    ];
    for (entry, written, brought, expected) in cases {
        let rule =
            format!("{{ name: r, match: {{ {entry}: \"{written}\" }}, key: [], limit: 1, window: 1s }}");
        let text = format!("version: 1\ndomains:\n  - name: d\n    rules:\n      - {rule}\n");
        let parsed = parse_rules(&text, "r.yaml").unwrap();
        let warnings: Vec<String> = parsed.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings.is_empty(), expected.is_empty(), "{rule}: {warnings:?}");
        assert!(warnings.iter().all(|warning| warning.contains(expected)), "{rule}: {warnings:?}");
        let rules = RuleSet::compile(parsed.rules).unwrap();
        let matches = rules.domain("d").unwrap().matches(&[(entry, brought)]);
        assert_eq!(matches.as_slice().len(), 1, "{rule}");
    }
    for entry in ["client_ip", "remote_address"] {
        for never in ["2001:db8::/32", "10.0.0.0/8"] {
            let rule =
                format!("{{ name: r, match: {{ {entry}: \"{never}\" }}, key: [], limit: 1, window: 1s }}");
            assert!(findings(&rule).iter().any(|finding| finding.contains("never matches")), "{rule}");
        }
    }
}
