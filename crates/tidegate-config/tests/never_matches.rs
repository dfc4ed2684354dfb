//! Goal: a rule that no request can ever match is found before it is relied on.
//! Method: rules that ask for what the doors never bring, and what is said about them.

use tidegate_config::parse_rules;

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
        ("{ name: r, match: { a: \"\" }, key: [], limit: 1, window: 1s }", "no entry has an empty value"),
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
