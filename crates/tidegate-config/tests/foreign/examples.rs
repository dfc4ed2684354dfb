//! The examples, and what becomes of them.

use std::path::Path;

use tidegate_config::{Format, rules_yaml};
use tidegate_core::rule::RuleSet;

use super::{matching, parse};

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/migrating").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Compares with the file of this name in tests/data; `TIDEGATE_BLESS=1` writes it anew.
fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    #[expect(
        clippy::disallowed_methods,
        reason = "only this test writes the file, and only when it is asked to"
    )]
    if std::env::var("TIDEGATE_BLESS").is_ok() {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(
        text,
        std::fs::read_to_string(&path).unwrap_or_default(),
        "{name} is old; TIDEGATE_BLESS=1 writes it"
    );
}

#[test]
fn the_example_of_envoy_becomes_these_rules() {
    let parsed = parse(&example("envoy-ratelimit.yaml"));
    assert_eq!((parsed.format, parsed.warnings.len()), (Format::Envoy, 0));
    golden("envoy-ratelimit.converted.yaml", &rules_yaml(&parsed.rules));
    let rules = RuleSet::compile(parsed.rules).unwrap();
    let found = |entries: &[(&str, &str)]| matching(&rules, "shop", entries).join(" ");
    assert_eq!(found(&[("remote_address", "192.0.2.1")]), "remote_address");
    assert_eq!(found(&[("remote_address", "203.0.113.7")]), "");
    assert_eq!(found(&[("generic_key", "sign-in")]), "all-sign-ins");
    assert_eq!(
        found(&[("generic_key", "sign-in"), ("remote_address", "203.0.113.7")]),
        "generic_key_sign-in.remote_address"
    );
    assert_eq!(found(&[("path", "/api/search")]), "path_/api/search");
    assert_eq!(found(&[("path", "/api/find")]), "path_/api/any");
    assert_eq!(found(&[("path", "/about")]), "path");
    assert_eq!(found(&[("path", "/about"), ("more", "x")]), "");
}

#[test]
fn the_example_of_limitador_becomes_these_rules() {
    let parsed = parse(&example("limitador.yaml"));
    assert_eq!((parsed.format, parsed.warnings.len()), (Format::Limitador, 1));
    golden("limitador.converted.yaml", &rules_yaml(&parsed.rules));
    let rules = RuleSet::compile(parsed.rules).unwrap();
    let found = |entries: &[(&str, &str)]| matching(&rules, "shop", entries).join(" ");
    assert_eq!(found(&[("method", "GET"), ("user_id", "u"), ("path", "/a")]), "reads");
    assert_eq!(
        found(&[("method", "PUT"), ("user_id", "u"), ("path", "/a")]),
        "per-1m-by-user_id-when-method-path-user_id"
    );
    assert_eq!(found(&[("method", "PUT"), ("user_id", "u"), ("path", "/health/x")]), "");
}
