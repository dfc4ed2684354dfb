//! The documents as files, and what holds of a document alone.

use std::collections::BTreeSet;

use serde_json::Value;

use super::common::kept::is_up_to_date;
use super::conformance::{Api, admin, http_door};

#[test]
fn the_files_are_up_to_date() {
    const TEST: &str = "--test api_docs files";
    is_up_to_date("openapi.json", &tidegate::http::open_api_document(), TEST);
    is_up_to_date("openapi-admin.json", &tidegate::admin::open_api_document(), TEST);
}

/// Every `$ref` leads to something, everything that can be referred to is, and names are there once.
#[test]
fn references_lead_somewhere_and_names_are_there_once() {
    for api in [http_door(), admin()] {
        let mut referred = BTreeSet::new();
        visit(&api.document, &mut |value| {
            if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(api.document.pointer(pointer).is_some(), "{reference} leads nowhere");
                referred.insert(reference.to_owned());
            }
        });
        for kind in ["schemas", "headers", "responses"] {
            for name in api.document["components"][kind].as_object().unwrap().keys() {
                assert!(
                    referred.contains(&format!("#/components/{kind}/{name}")),
                    "nothing refers to {name}"
                );
            }
        }
        let mut ids = BTreeSet::new();
        for (path, item) in api.paths() {
            for (method, operation) in item.as_object().unwrap() {
                let id = operation["operationId"].as_str().unwrap();
                assert!(ids.insert(id.to_owned()), "{method} {path}: another operation is called {id}");
                let tag = &operation["tags"][0];
                let tags = api.document["tags"].as_array().unwrap();
                assert!(tags.iter().any(|known| known["name"] == *tag), "{method} {path}: {tag}");
            }
        }
    }
}

#[test]
fn examples_are_what_their_schemas_say() {
    for api in [http_door(), admin()] {
        let mut seen = 0;
        for (path, item) in api.paths() {
            for (method, operation) in item.as_object().unwrap() {
                let place = format!("{method} {path}");
                let bodies = operation.get("requestBody").into_iter();
                for content in bodies.chain(operation["responses"].as_object().unwrap().values()) {
                    seen += check_examples(api, &place, api.whole(content));
                }
            }
        }
        assert!(seen > 30, "{seen} examples");
    }
}

fn check_examples(api: &Api, place: &str, of: &Value) -> usize {
    let mut seen = 0;
    for content in of["content"].as_object().into_iter().flat_map(|content| content.values()) {
        let named = content["examples"].as_object().into_iter().flat_map(|examples| examples.values());
        for example in named.map(|example| &example["value"]).chain(content.get("example")) {
            let name = format!("{place} {}", content["schema"]);
            api.conforms(&name, &content["schema"], example)
                .unwrap_or_else(|error| panic!("{place}: {error}\n{example}"));
            seen += 1;
        }
    }
    seen
}

fn visit(value: &Value, look: &mut impl FnMut(&Value)) {
    look(value);
    match value {
        Value::Object(object) => object.values().for_each(|value| visit(value, look)),
        Value::Array(items) => items.iter().for_each(|value| visit(value, look)),
        _ => {}
    }
}
