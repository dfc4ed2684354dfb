//! Every change leaves who made it, on what, and how it was; secrets leave nothing.

use serde_json::{Value, json};

use super::site::{Site, payments, prefix_of};

/// The newest entries first.
fn entries(site: &Site) -> Vec<Value> {
    site.operator("GET", "/audit").send().expect(200).json()["items"].as_array().unwrap().clone()
}

#[test]
fn every_kind_of_change_is_written_down() {
    let site = Site::start();
    let key = site.key(None, "the auditor", &["admin-write"]);
    let prefix = prefix_of(&key).to_owned();
    let rule = json!({ "name": "calls", "key": ["user_id"], "limit": 5, "window": "1h" });
    let made = |target: &str, body: &Value| {
        site.bare("POST", target).key(&key).json(body).send().expect(201).json()["prefix"]
            .as_str()
            .map(str::to_owned)
    };
    made("/tenants", &json!({ "name": "acme" }));
    let second = made("/keys", &json!({ "name": "second", "scopes": ["check"] })).unwrap();
    let import = json!({ "version": 1, "domains": [payments(9)] });
    let changes: Vec<(&str, String, Value)> = vec![
        ("PUT", "/tenants/acme".into(), json!({ "max_rules": 5, "max_keys": 5 })),
        ("DELETE", "/tenants/acme".into(), Value::Null),
        ("POST", format!("/keys/{second}/rotate"), json!({})),
        ("DELETE", format!("/keys/{second}"), Value::Null),
        ("PUT", "/domains/payments".into(), payments(10)),
        ("PUT", "/domains/payments/rules/calls".into(), rule),
        ("POST", "/domains/payments/rules/calls/rename".into(), json!({ "to": "asks" })),
        ("POST", "/import".into(), import),
        ("PUT", "/domains/payments/subjects/sue".into(), json!({ "tier": "gold" })),
        ("POST", "/domains/payments/subjects".into(), json!({ "tiers": { "sue": null, "bob": "gold" } })),
        ("DELETE", "/domains/payments/subjects/bob".into(), Value::Null),
        ("PUT", "/domains/payments/subjects/sue/ban".into(), json!({ "reason": "why not" })),
        ("DELETE", "/domains/payments/subjects/sue/ban".into(), Value::Null),
        ("PUT", "/domains/payments/subjects/sue/overrides/calls".into(), json!({ "limit": 3 })),
        ("DELETE", "/domains/payments/subjects/sue/overrides/calls".into(), Value::Null),
        ("POST", "/domains/payments/subjects/sue/reset".into(), json!({})),
        ("POST", "/domains/payments/subjects/sue/refund".into(), json!({ "cost": 1 })),
        ("DELETE", "/domains/payments/rules/calls".into(), Value::Null),
        ("DELETE", "/domains/payments".into(), Value::Null),
    ];
    for (number, (method, target, body)) in changes.iter().enumerate() {
        let newest = entries(&site)[0]["id"].as_i64().unwrap();
        let correlation = format!("change-{number}");
        let ask = site.bare(method, target).key(&key).if_match("*").field("X-Correlation-ID", &correlation);
        ask.body(if body.is_null() { String::new() } else { body.to_string() }).send().expect(200);
        let new: Vec<Value> =
            entries(&site).into_iter().filter(|entry| entry["id"].as_i64() > Some(newest)).collect();
        assert!(!new.is_empty(), "{method} {target} left nothing");
        for entry in new {
            assert_eq!(entry["actor"], format!("the auditor ({prefix})"), "{target}: {entry}");
            assert_eq!(entry["correlation_id"], correlation, "{target}: {entry}");
            assert!(
                !entry["action"].as_str().unwrap().is_empty()
                    && !entry["target"].as_str().unwrap().is_empty()
            );
            if *method == "DELETE" {
                assert!(!entry["before"].is_null(), "{target}: {entry}");
            } else {
                assert!(
                    !entry["after"].is_null() || entry["action"].as_str().unwrap().ends_with("delete"),
                    "{target}: {entry}"
                );
            }
        }
    }
}

#[test]
fn before_and_after_are_what_was_changed() {
    let site = Site::start();
    site.domain("default", &payments(10));
    let rule = |limit| json!({ "name": "calls", "key": ["user_id"], "limit": limit, "window": "1h" });
    let put = |limit| {
        site.operator("PUT", "/domains/payments/rules/calls")
            .if_match("*")
            .json(&rule(limit))
            .send()
            .expect(200)
    };
    put(5);
    put(6);
    let entry = &entries(&site)[0];
    assert_eq!((&entry["before"]["limit"], &entry["after"]["limit"]), (&json!(5), &json!(6)), "{entry}");
    assert_eq!(entry["tenant"], "default");
    let page = site.operator("GET", "/audit?limit=1").send().expect(200).json();
    assert_eq!(page["items"][0], *entry);
    let older =
        site.operator("GET", &format!("/audit?limit=1&before={}", page["next"])).send().expect(200).json();
    assert_eq!(older["items"][0]["after"]["limit"], 5);
}

#[test]
fn a_refused_change_leaves_nothing() {
    let site = Site::start();
    site.domain("default", &payments(10));
    let before = entries(&site);
    site.operator("PUT", "/domains/payments").if_match("\"1\"").json(&payments(3)).send().expect(412);
    site.operator("PUT", "/domains/payments").if_match("*").body("{").send().expect(422);
    site.operator("POST", "/keys").json(&json!({ "name": "x", "scopes": ["all"] })).send().expect(422);
    assert_eq!(entries(&site), before);
}

#[test]
fn what_is_done_to_buckets_is_noted_before_it_is_done() {
    // A store that never answers, so that what the database has by then was written first.
    let site = Site::with(&["--store", "redis://127.0.0.1:1"]);
    site.domain("default", &payments(10));
    for (action, body) in [
        ("reset", json!({})),
        ("reset", json!({ "descriptors": { "lane": "x" } })),
        ("refund", json!({ "cost": 3 })),
        ("refund", json!({ "cost": 3, "descriptors": { "lane": "x" } })),
    ] {
        let before = entries(&site).len();
        let target = format!("/domains/payments/subjects/sue/{action}");
        site.operator("POST", &target).json(&body).send().expect(503);
        let after = entries(&site);
        assert_eq!(after.len(), before + 1, "{target} {body}");
        assert_eq!(after[0]["action"], format!("subject.{action}"));
    }
    // What cannot be done is not noted.
    let before = entries(&site).len();
    let itself = json!({ "cost": 3, "descriptors": { "user_id": "sue" } });
    site.operator("POST", "/domains/payments/subjects/sue/refund").json(&itself).send().expect(422);
    assert_eq!(entries(&site).len(), before);
}

#[test]
fn secrets_are_nowhere() {
    let site = Site::start();
    site.tenant("acme");
    let first = site.key(Some("acme"), "one", &["check", "admin-write"]);
    let target = format!("/keys/{}/rotate", prefix_of(&first));
    let second = site.operator("POST", &target).send().expect(200).json()["key"].as_str().unwrap().to_owned();
    site.bare("GET", "/whoami").key(&second).send().expect(200);
    site.bare("GET", "/whoami").key(&format!("{second}x")).send().expect(401);
    let one = format!("/keys/{}", prefix_of(&first));
    let mut seen: Vec<String> = ["/audit", "/keys", &one, "/whoami", "/status", "/export"]
        .iter()
        .map(|target| site.operator("GET", target).send().expect(200).body)
        .collect();
    seen.push(site.door("GET", "/metrics").send().body);
    seen.push(site.server.logs());
    for secret in [&first, &second] {
        let secret = secret.rsplit('_').next().unwrap();
        assert!(seen.iter().all(|text| !text.contains(secret)));
    }
    for text in &seen {
        assert!(!text.contains("hash") && !text.contains(super::site::TOKEN), "{text}");
    }
}
