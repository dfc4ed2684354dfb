//! Rules in and out as a rule file.

use std::fmt::Write;

use serde_json::{Value, json};

use super::site::{Site, payments};

/// A rule file with a thousand rules, and the line of the one whose limit is not a number, if there is one.
fn thousand(wrong: Option<usize>) -> (String, Option<usize>) {
    let (mut text, mut line) = (String::from("version: 1\ndomains:\n"), None);
    for domain in 0..20 {
        writeln!(text, "  - name: bulk-{domain}\n    rules:").unwrap();
        for rule in 0..50 {
            let number = domain * 50 + rule;
            let limit = if wrong == Some(number) { "many" } else { "5" };
            writeln!(text, "      - name: rule-{number}\n        key: [user_id, entry_{number}]").unwrap();
            if wrong == Some(number) {
                line = Some(text.lines().count() + 1);
            }
            writeln!(text, "        limit: {limit}\n        window: 1h").unwrap();
        }
    }
    (text, line)
}

#[test]
fn an_import_with_one_error_changes_nothing_and_names_the_line() {
    let site = Site::start();
    site.domain("default", &payments(10));
    let seen = || ["/export", "/audit"].map(|target| site.operator("GET", target).send().expect(200).body);
    let before = seen();
    let (text, line) = thousand(Some(777));
    let refused = site.operator("POST", "/import").body(text.as_str()).send().expect(422).json();
    let findings = refused["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 1, "{refused}");
    assert_eq!(findings[0]["line"], json!(line.unwrap()), "{refused}");
    let path = site.directory.write("bulk.yaml", &text);
    let output = site.command(&["rules", "apply", path.to_str().unwrap()]);
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&format!(":{}:", line.unwrap())), "{said}");
    assert_eq!(seen(), before);
    let (text, _) = thousand(None);
    let taken = site.operator("POST", "/import").body(text).send().expect(200).json();
    assert_eq!(taken["in_force"], true);
    assert_eq!(
        taken["changed"].as_array().unwrap().iter().filter(|one| !one["rule"].is_null()).count(),
        1_000
    );
}

#[test]
fn what_was_exported_changes_nothing_when_it_comes_back() {
    let site = Site::start();
    site.domain("default", &payments(10));
    let export = || site.operator("GET", "/export").send().expect(200);
    let (before, status) = (export(), site.operator("GET", "/status").send().expect(200).json());
    assert_eq!(before.field("content-type"), Some("application/yaml"));
    for others in ["keep", "remove"] {
        let target = format!("/import?others={others}");
        let taken = site.operator("POST", &target).body(before.body.as_str()).send().expect(200).json();
        assert_eq!(taken["changed"], json!([]));
    }
    assert_eq!(export().body, before.body);
    let version = |status: &Value| status["rules_version"].clone();
    assert_eq!(version(&site.operator("GET", "/status").send().json()), version(&status));
}

#[test]
fn an_import_removes_other_domains_only_when_it_is_told_to() {
    let site = Site::start();
    site.domain("default", &payments(10));
    let one = "version: 1\ndomains:\n  - name: one\n    rules:\n      - {name: a, key: [user_id], limit: 1, window: 1s}\n";
    let import = |target: &str| site.operator("POST", target).body(one).send();
    let names = || {
        let list = site.operator("GET", "/domains").send().expect(200).json();
        let items = list["items"].as_array().unwrap().clone();
        items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    import("/import").expect(200);
    assert!(names().contains(&"payments".to_owned()));
    import("/import?others=away").expect(422);
    import("/import?others=remove&dry_run=true").expect(200);
    assert!(names().contains(&"payments".to_owned()));
    import("/import?others=remove").expect(200);
    assert_eq!(names(), ["one"]);
}

#[test]
fn a_trial_on_a_log_reads_what_either_set_of_rules_looks_at() {
    let site = Site::start();
    let rule = |name: &str, limit: u64, when: Value| json!({ "name": name, "match": when, "key": ["user_id"], "limit": limit, "window": "1h" });
    let document = |rules: Value| json!({ "name": "logged", "rules": rules });
    site.domain("default", &document(json!([rule("old", 2, json!({ "colour": "red" }))])));
    let line = |second: u64, entries: &str| {
        format!("{{\"time\":\"2026-01-01T00:00:{second:02}Z\",\"user_id\":\"u\",{entries}}}\n")
    };
    let log = (0..5).map(|second| line(second, "\"colour\":\"red\",\"tier\":\"gold\"")).collect::<String>();
    let mut new = rule("new", 1, json!({ "colour": "red" }));
    new["tiers"] = json!({ "gold": { "limit": 4 } });
    let wanted = json!({ "domain": document(json!([new])), "log": log });
    let answer = site.operator("POST", "/domains/logged/dry-run").json(&wanted).send().expect(200).json();
    let effect = &answer["results"][0]["effect"];
    assert_eq!((&effect["requests"], &effect["unmatched"]), (&json!(5), &json!(0)), "{answer}");
    let denied = (&effect["before"]["denied"], &effect["after"]["denied"]);
    assert_eq!(denied, (&json!(3), &json!(1)), "{answer}");
}
