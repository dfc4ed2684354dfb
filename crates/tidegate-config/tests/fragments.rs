//! Single domains and rules, the field `formerly`, and defaults: what they become, and what is said of wrong ones.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use tidegate_config::{
    Defaults, MAX_FILE_BYTES, parse_domain_with, parse_rule_with, parse_rules, parse_rules_with, rule_json,
    rules_yaml,
};
use tidegate_core::quota::Algorithm;
use tidegate_core::rule::model::Rule;

fn rule(text: &str) -> Rule {
    parse_rule_with(text, "r", &Defaults::default()).unwrap_or_else(|errors| panic!("{errors}")).rule
}

fn rule_errors(text: &str) -> String {
    parse_rule_with(text, "r", &Defaults::default()).unwrap_err().to_string()
}

fn domain_errors(text: &str) -> String {
    parse_domain_with(text, "d", &Defaults::default()).unwrap_err().to_string()
}

#[test]
fn findings_of_a_rule_have_its_own_lines_and_fields() {
    let text = "{\n  \"name\": \"r\",\n  \"key\": [],\n  \"limit\": 5,\n  \"windwo\": \"1s\"\n}";
    let errors = parse_rule_with(text, "the body", &Defaults::default()).unwrap_err().errors;
    let places: Vec<_> =
        errors.iter().map(|error| (error.line, error.column, error.field.as_str())).collect();
    assert_eq!(places, [(5, 3, "windwo")]);
    assert!(errors[0].to_string().starts_with("the body:5:3: windwo: "), "{}", errors[0]);

    let nested = rule_errors("name: r\nkey: []\nlimit: 5\nwindow: 1s\ntiers:\n  pro: { limit: x }\n");
    assert!(nested.starts_with("r:6:17: tiers.pro.limit: "), "{nested}");
}

#[test]
fn findings_of_a_domain_have_its_own_lines_and_fields() {
    let errors = domain_errors("name: d\nrules:\n  - { name: r, key: [], limit: x, window: 1s }\n");
    assert!(errors.starts_with("d:3:32: rules[0].limit: "), "{errors}");
}

#[test]
fn a_domain_may_have_no_rules() {
    let parsed =
        parse_domain_with("{\"name\": \"d\", \"subject\": \"user_id\"}", "d", &Defaults::default()).unwrap();
    assert_eq!((parsed.domain.rules.len(), parsed.domain.subject.as_deref()), (0, Some("user_id")));
    // In a file, that is a mistake.
    assert!(parse_rules("version: 1\ndomains:\n  - name: d\n", "f").is_err());
}

#[test]
fn a_text_that_says_nothing_is_an_error_of_its_own() {
    for text in ["", " \n", "# nothing\n", "null", "~", "[]", "7", "---\n"] {
        for errors in [rule_errors(text), domain_errors(text)] {
            assert!(!errors.is_empty() && !errors.contains("version"), "{text:?}: {errors}");
        }
    }
    let errors = rule_errors(&" ".repeat(MAX_FILE_BYTES + 1));
    assert!(errors.contains("larger than 16 MiB"), "{errors}");
}

#[test]
fn two_documents_are_not_one_rule() {
    let errors = rule_errors("name: r\nkey: []\nlimit: 1\nwindow: 1s\n---\nname: s\n");
    assert!(errors.contains("r:"), "{errors}");
}

#[test]
fn characters_that_json_escapes_are_understood() {
    let found = rule(
        r#"{"name":"r","match":{"a":"\u00e9\u65e5","b":"\ud83d\ude00"},"key":[],"limit":1,"window":"1s"}"#,
    );
    let written = rule_json(&found)["match"].clone();
    assert_eq!((written["a"].as_str(), written["b"].as_str()), (Some("é日"), Some("😀")));
}

#[test]
fn what_cannot_be_written_again_is_not_read() {
    for escape in ["\\ufffe", "\\uffff", "\\u0000", "\\u0085"] {
        let text = format!(
            "{{\"name\":\"r\",\"match\":{{\"a\":\"x{escape}\"}},\"key\":[],\"limit\":1,\"window\":\"1s\"}}"
        );
        let errors = rule_errors(&text);
        assert!(errors.starts_with("r:1:"), "{escape}: {errors}");
    }
}

#[test]
fn a_rule_says_what_it_was_called() {
    let fields = "key: [], limit: 5, window: 1s }";
    let found = rule(&format!("{{ name: new, formerly: old, {fields}"));
    assert_eq!((found.formerly.as_deref(), found.identity()), (Some("old"), "old"));
    // A name that did not change says nothing.
    assert_eq!(rule(&format!("{{ name: r, formerly: r, {fields}")).formerly, None);
    let wrong = rule_errors(&format!("{{ name: new, formerly: 'old name', {fields}"));
    assert!(wrong.contains("formerly: the name 'old name' cannot stand in a response header"), "{wrong}");
    let other = rule_errors(&format!("{{ name: new, was: old, {fields}"));
    assert!(other.contains("did you mean 'formerly'?"), "{other}");
}

#[test]
fn rules_that_would_share_buckets_are_named_with_their_lines() {
    let file = |one: &str, other: &str| {
        let rule =
            |names: &str, limit: u64| format!("  - {{ {names}, key: [], limit: {limit}, window: 1s }}\n");
        format!("name: d\nrules:\n{}{}", rule(one, 5), rule(other, 6))
    };
    let remedy = "give the new rule another name, or remove formerly if the old buckets are not needed";
    assert_eq!(
        domain_errors(&file("name: old", "name: new, formerly: old")),
        format!(
            "d:4:28: rules[1].formerly: 'new' and 'old' (line 3) would share buckets: 'new' was formerly 'old'; {remedy}"
        )
    );
    assert_eq!(
        domain_errors(&file("name: new, formerly: old", "name: old")),
        format!(
            "d:4:13: rules[1].name: 'old' and 'new' (line 3) would share buckets: 'new' was formerly 'old'; {remedy}"
        )
    );
    assert_eq!(
        domain_errors(&file("name: one, formerly: old", "name: two, formerly: old")),
        format!(
            "d:4:28: rules[1].formerly: 'two' and 'one' (line 3) would share buckets: 'two' was formerly 'old'; {remedy}"
        )
    );
    let swapped = file("name: a, formerly: b", "name: b, formerly: a");
    assert!(parse_domain_with(&swapped, "d", &Defaults::default()).is_ok());
}

#[test]
fn no_tier_begins_with_an_equals_sign() {
    let errors = rule_errors("{ name: r, key: [], limit: 5, window: 1s, tiers: { '=5/1s': { limit: 6 } } }");
    assert!(errors.contains("the name '=5/1s' begins with '='; begin with something else"), "{errors}");
    let errors = domain_errors("{ name: d, default_tier: '=5' }");
    assert!(errors.contains("default_tier: the name '=5' begins with '='"), "{errors}");
}

#[test]
fn the_default_algorithm_holds_where_none_is_named() {
    let file = "version: 1\ndomains:\n  - name: d\n    rules:\n      - { name: a, key: [], limit: 5, window: 1s }\n      - { name: b, key: [], limit: 5, window: 1s, algorithm: token_bucket }\n";
    let algorithms = |defaults: &Defaults| {
        let rules = parse_rules_with(file, "f", defaults).unwrap().rules;
        [rules.domains[0].rules[0].algorithm, rules.domains[0].rules[1].algorithm]
    };
    let sliding = Defaults { algorithm: Algorithm::SlidingWindow, ..Defaults::default() };
    assert_eq!(algorithms(&Defaults::default()), [Algorithm::TokenBucket; 2]);
    assert_eq!(algorithms(&sliding), [Algorithm::SlidingWindow, Algorithm::TokenBucket]);
    // A word that is not understood is an error, not the default.
    let text = "{ name: a, key: [], limit: 5, window: 1s, algorithm: sldng }";
    assert!(parse_rule_with(text, "r", &sliding).is_err());
}

#[test]
fn a_written_file_is_good_to_read() {
    let fields = "match: { path: '/v1/x/{id}', method: [POST, PUT], agent: 'yes' }, key: [user_id], \
         limit: 10, window: 60s, burst: 5, tiers: { pro: { limit: 100, burst: 50 }, max: { limit: 1000, window: 1d } }, \
         reserve: { critical: 20% }";
    let text = format!(
        "version: 1\ndomains:\n  - name: d\n    default_tier: pro\n    rules:\n      - {{ name: new, formerly: old, {fields} }}\n      - {{ name: all, key: [], limit: 9, window: 90s }}\n  - {{ name: empty, rules: [] }}\n"
    );
    assert_eq!(rules_yaml(&parse_rules(&text, "f").unwrap().rules), include_str!("data/written.yaml"));
}
