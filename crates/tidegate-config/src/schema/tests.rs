//! The schema and the reader say the same, and the published schema is up to date.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value as Json;
use tidegate_core::quota::Algorithm;
use tidegate_core::rule::model::{Consistency, Denies, FailurePolicy, Lease, Mode};

use super::json_schema;
use crate::rules::shapes;

fn schema() -> Json {
    serde_json::from_str(&json_schema()).unwrap()
}

/// The words of an enumeration.
fn words(schema: &Json, name: &str) -> Vec<String> {
    let choices = schema["$defs"][name]["oneOf"].as_array().unwrap();
    choices.iter().map(|choice| choice["const"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_published_schema_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/rules.schema.json");
    #[expect(
        clippy::disallowed_methods,
        reason = "only this test writes the file, and only when it is asked to"
    )]
    let bless = std::env::var("TIDEGATE_BLESS").is_ok();
    if bless {
        std::fs::write(&path, json_schema()).unwrap();
    }
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        published == json_schema(),
        "docs/reference/rules.schema.json is old; run: TIDEGATE_BLESS=1 cargo test -p tidegate-config schema"
    );
}

#[test]
fn schema_and_reader_know_the_same_fields() {
    let schema = schema();
    let long_forms: BTreeSet<&str> = ["LongValue", "Presence"]
        .iter()
        .flat_map(|name| schema["$defs"][name]["oneOf"].as_array().unwrap())
        .flat_map(|form| form["properties"].as_object().unwrap().keys().map(String::as_str))
        .collect();
    let maps = ["Except", "All"].map(|name| schema["$defs"][name]["properties"].as_object().unwrap());
    let of_maps = maps.iter().flat_map(|fields| fields.keys().map(String::as_str));
    let long_forms: BTreeSet<&str> = long_forms.into_iter().chain(of_maps).collect();
    for (name, shape) in shapes() {
        let read: BTreeSet<&str> = shape.iter().copied().collect();
        if name == "Condition" {
            assert_eq!(long_forms, read);
            continue;
        }
        let described = match name {
            "RuleFile" => &schema["properties"],
            _ => &schema["$defs"][name]["properties"],
        };
        let described: BTreeSet<&str> = described.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(described, read, "{name}");
        let object = if name == "RuleFile" { &schema } else { &schema["$defs"][name] };
        assert_eq!(object["additionalProperties"], Json::Bool(false), "{name}");
    }
}

#[test]
fn schema_and_core_know_the_same_words() {
    let schema = schema();
    assert_eq!(words(&schema, "Algorithm"), Algorithm::ALL.map(Algorithm::name));
    assert_eq!(words(&schema, "Mode"), [Mode::Enforce, Mode::Shadow, Mode::Off].map(Mode::name));
    assert_eq!(words(&schema, "Denies"), [Denies::Alone, Denies::Together].map(Denies::name));
    let lease = Consistency::Leased(Lease::default());
    assert_eq!(
        words(&schema, "Consistency"),
        [Consistency::Exact, lease].map(|consistency| consistency.name())
    );
    let policies = [FailurePolicy::Allow, FailurePolicy::Deny, FailurePolicy::Local];
    assert_eq!(words(&schema, "FailurePolicy"), policies.map(FailurePolicy::name));
}

#[test]
fn optional_fields_are_left_out_never_null() {
    let schema = json_schema();
    assert!(!schema.contains("\"null\""));
    assert!(schema.contains("\"$schema\": \"https://json-schema.org/draft/2020-12/schema\""));
}
