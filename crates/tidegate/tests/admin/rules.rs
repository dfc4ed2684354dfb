//! Rules changed by several people at once, renamed, put back.

use std::sync::Barrier;
use std::thread;

use serde_json::{Value, json};

use super::site::{Answer, Site, payments};

fn rule(limit: u64) -> Value {
    json!({ "name": "calls", "key": ["user_id"], "algorithm": "sliding_window", "limit": limit, "window": "1h" })
}

fn with_payments() -> Site {
    let site = Site::start();
    site.domain("default", &payments(100));
    site
}

/// One request of sue; the answer.
fn check(site: &Site) -> Value {
    let body = json!({ "domain": "payments", "descriptors": { "user_id": "sue" } });
    site.door("POST", "/v1/check").json(&body).send().json()
}

fn put(site: &Site, tag: &str, limit: u64) -> Answer {
    site.operator("PUT", "/domains/payments/rules/calls").if_match(tag).json(&rule(limit)).send()
}

/// What may be changed, each as it would be without saying what is expected.
fn changes() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("PUT", "/domains/payments", payments(7)),
        ("DELETE", "/domains/payments", Value::Null),
        ("PUT", "/domains/payments/rules/calls", rule(7)),
        ("DELETE", "/domains/payments/rules/calls", Value::Null),
        ("POST", "/domains/payments/rules/calls/rename", json!({ "to": "asks" })),
        ("POST", "/domains/payments/rollback", json!({ "version": 1 })),
        ("PUT", "/tenants/acme", json!({ "max_rules": 1, "max_keys": 1 })),
        ("DELETE", "/tenants/acme", Value::Null),
    ]
}

fn body_of(value: &Value) -> String {
    if value.is_null() { String::new() } else { value.to_string() }
}

#[test]
fn who_changes_rules_says_what_was_read() {
    let site = with_payments();
    site.tenant("acme");
    let before = site.operator("GET", "/export").send().expect(200).body;
    for (method, target, body) in changes() {
        let ask = site.operator(method, target).body(body_of(&body));
        ask.clone().send().expect(428);
        let stale = ask.clone().if_match("\"1\"").send();
        assert!(
            stale.status == 412 || target.ends_with("rollback") && stale.status == 404,
            "{target}: {stale:?}"
        );
        ask.clone().if_match("\"x\"").send().expect(400);
        ask.clone().if_match("W/\"1\"").send().expect(400);
        ask.if_match("\"1\"").field("If-None-Match", "*").send().expect(400);
    }
    assert_eq!(site.operator("GET", "/export").send().body, before);
}

#[test]
fn the_second_of_two_writers_is_told_the_version_that_is_there() {
    let site = with_payments();
    let read = site.operator("GET", "/domains/payments/rules/calls").send().expect(200).etag();
    let first = put(&site, &read, 20).expect(200);
    let second = put(&site, &read, 30).expect(412);
    assert_eq!(second.etag(), first.etag());
    assert_eq!(format!("\"{}\"", second.json()["current_version"]), first.etag());
    let now = site.operator("GET", "/domains/payments/rules/calls").send().expect(200);
    assert_eq!((now.json()["limit"].clone(), now.etag()), (json!(20), first.etag()));
    put(&site, &second.etag(), 30).expect(200);
}

#[test]
fn of_sixteen_writers_at_once_one_writes() {
    let site = with_payments();
    for round in 0..5 {
        let read = site.operator("GET", "/domains/payments/rules/calls").send().expect(200).etag();
        let start = Barrier::new(16);
        let statuses: Vec<u16> = thread::scope(|scope| {
            let writer = |limit: u64| {
                let (site, read, start) = (&site, &read, &start);
                scope.spawn(move || {
                    start.wait();
                    put(site, read, limit).status
                })
            };
            let writers: Vec<_> = (0..16).map(|n| writer(1_000 + round * 16 + n)).collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 412).count(), 15, "{statuses:?}");
    }
    let history = site.operator("GET", "/domains/payments/history?rule=calls").send().expect(200).json();
    assert_eq!(history["items"].as_array().unwrap().len(), 6);
}

#[test]
fn what_is_to_be_new_does_not_replace() {
    let site = with_payments();
    let domain = |limit| site.operator("PUT", "/domains/payments").json(&payments(limit));
    let rule = |limit| site.operator("PUT", "/domains/payments/rules/calls").json(&rule(limit));
    domain(1).field("If-None-Match", "*").send().expect(412);
    rule(1).field("If-None-Match", "*").send().expect(412);
    assert_eq!(check(&site)["limit"], 100);
    site.operator("DELETE", "/domains/payments").if_match("*").send().expect(200);
    rule(1).field("If-None-Match", "*").send().expect(404);
    domain(2).if_match("\"1\"").send().expect(412);
    domain(2).field("If-None-Match", "*").send().expect(200);
    assert_eq!(check(&site)["limit"], 2);
}

#[test]
fn a_condition_on_what_is_there_makes_nothing() {
    let site = with_payments();
    let other = json!({ "name": "other", "rules": [] });
    site.operator("PUT", "/domains/other").if_match("*").json(&other).send().expect(412);
    site.operator("GET", "/domains/other").send().expect(404);
    let mut new = rule(1);
    new["name"] = json!("new");
    site.operator("PUT", "/domains/payments/rules/new").if_match("*").json(&new).send().expect(412);
    site.operator("GET", "/domains/payments/rules/new").send().expect(404);
}

#[test]
fn a_condition_that_cannot_be_read_is_not_taken_for_another() {
    let site = with_payments();
    let read = site.operator("GET", "/domains/payments/rules/calls").send().expect(200).etag();
    let ask = site.operator("PUT", "/domains/payments/rules/calls").json(&rule(7));
    ask.clone().if_match(&read).if_match("\"1\"").send().expect(400);
    ask.clone().if_match(&read).if_match(&read).send().expect(400);
    ask.clone().if_match(&read).field("If-None-Match", "\u{e9}").send().expect(400);
    ask.clone().if_match("\u{e9}").send().expect(400);
    assert_eq!(check(&site)["limit"], 100);
    ask.if_match(&read).send().expect(200);
}

#[test]
fn who_changes_nothing_is_told_the_version_that_the_domain_has() {
    let site = with_payments();
    let read = site.operator("GET", "/domains/payments").send().expect(200);
    // Somebody changes something else.
    site.domain("default", &json!({ "name": "other", "rules": [] }));
    let put = |tag: &str, limit| {
        site.operator("PUT", "/domains/payments").if_match(tag).json(&payments(limit)).send().expect(200)
    };
    let same = put(&read.etag(), 100);
    assert_eq!(same.etag(), read.etag());
    let version = read.etag().trim_matches('"').parse::<i64>().unwrap();
    assert_eq!(same.json()["version"], version);
    let rollback = site.operator("POST", "/domains/payments/rollback").if_match(&same.etag());
    assert_eq!(rollback.json(&json!({ "version": version })).send().expect(200).etag(), read.etag());
    put(&same.etag(), 50);
    // The version of an import is no domain's.
    let import = site.operator("POST", "/import").body("version: 1\ndomains: []").send().expect(200);
    assert_eq!(import.field("etag"), None);
}

#[test]
fn pages_of_rules_go_by_name() {
    let site = Site::start();
    let named = |number: u64| {
        let mut rule = rule(1);
        rule["name"] = json!(format!("rule-{number:03}"));
        rule["key"] = json!([format!("entry_{number}")]);
        rule
    };
    let rules: Vec<Value> = (0..250).rev().map(named).collect();
    site.domain("default", &json!({ "name": "many", "rules": rules }));
    let page =
        |query: &str| site.operator("GET", &format!("/domains/many/rules?{query}")).send().expect(200).json();
    let names = |page: &Value| -> Vec<String> {
        page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let first = page("limit=200");
    site.operator("DELETE", "/domains/many/rules/rule-003").if_match("*").send().expect(200);
    let second = page(&format!("after={}", first["next"].as_str().unwrap()));
    let seen = [names(&first), names(&second)].concat();
    assert_eq!(seen, (0..250).map(|number| format!("rule-{number:03}")).collect::<Vec<_>>());
    assert_eq!(second["next"], Value::Null);
}

#[test]
fn pages_of_overrides_go_on_after_the_longest_place() {
    let site = Site::start();
    let (subject, name) = ("s".repeat(1_024), "r".repeat(128));
    let mut document = payments(10);
    document["rules"][0]["name"] = json!(name);
    site.domain("default", &document);
    for subject in [&subject[..], "t"] {
        let target = format!("/domains/payments/subjects/{subject}/overrides/{name}");
        site.operator("PUT", &target).json(&json!({ "limit": 7 })).send().expect(200);
    }
    let page = |query: &str| {
        let target = format!("/domains/payments/overrides?limit=1{query}");
        site.operator("GET", &target).send().expect(200).json()
    };
    let first = page("");
    assert_eq!(first["items"][0]["subject"], json!(subject));
    let second = page(&format!("&after={}", first["next"].as_str().unwrap().replace('|', "%7c")));
    assert_eq!(second["items"][0]["subject"], "t");
}

#[test]
fn domains_of_the_file_and_of_the_database_are_one_list() {
    let directory = tidegate_testkit::TempDir::new("list");
    let domain = |name| {
        format!(
            "  - name: {name}\n    on_store_failure: deny\n    rules:\n      - {{ name: a, key: [user_id], limit: 9, window: 1h }}\n"
        )
    };
    let file = ["a", "c", "e"].map(domain).concat();
    let path = directory.write("rules.yaml", &format!("version: 1\ndomains:\n{file}"));
    let site = Site::with(&["--rules", path.to_str().unwrap()]);
    for name in ["b", "d", "f"] {
        site.domain("default", &json!({ "name": name, "rules": [] }));
    }
    let (mut after, mut seen) = (String::new(), Vec::new());
    loop {
        let page = site.operator("GET", &format!("/domains?limit=2{after}")).send().expect(200).json();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2, "{page}");
        seen.extend(items.iter().map(|item| item["name"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(seen, ["a", "b", "c", "d", "e", "f"]);
    // And a domain of the file is answered whole.
    let answered = site.operator("GET", "/domains/a").send().expect(200).json();
    assert_eq!(answered["on_store_failure"], "deny");
}

#[test]
fn what_is_not_there_is_not_removed() {
    let site = with_payments();
    for target in
        ["/domains/none", "/domains/payments/rules/none", "/domains/none/rules/calls", "/tenants/none"]
    {
        let answer = site.operator("DELETE", target).if_match("*").send();
        assert!([404, 412].contains(&answer.status), "{target}: {answer:?}");
    }
    for target in ["/domains/payments/subjects/none/ban", "/domains/payments/subjects/none/overrides/calls"] {
        let answer = site.operator("DELETE", target).send();
        assert!([200, 404].contains(&answer.status), "{target}: {answer:?}");
    }
    site.operator("DELETE", "/keys/AAAAAAAAAA").send().expect(404);
}

#[test]
fn a_renamed_rule_keeps_its_buckets() {
    let site = with_payments();
    (0..4).for_each(|_| assert_eq!(check(&site)["allowed"], true));
    let rename = |from: &str, to: &str| {
        let target = format!("/domains/payments/rules/{from}/rename");
        site.operator("POST", &target).if_match("*").json(&json!({ "to": to })).send()
    };
    assert_eq!(rename("calls", "asks").expect(200).json()["in_force"], true);
    let after = check(&site);
    assert_eq!((&after["rule"], &after["remaining"]), (&json!("asks"), &json!(95)));
    rename("calls", "more").expect(404);
    rename("asks", "more").expect(200);
    assert_eq!(check(&site)["remaining"], 94);
    // Another rule of the old name is another rule.
    let another = site.operator("PUT", "/domains/payments/rules/calls").field("If-None-Match", "*");
    another.json(&rule(50)).send().expect(422);
    rename("more", "calls").expect(200);
    assert_eq!(check(&site)["remaining"], 93);
    rename("calls", "").expect(422);
    rename("calls", "a\u{1f}b").expect(422);
    rename("calls", &"x".repeat(10_000)).expect(422);
}

#[test]
fn a_domain_is_put_back_to_how_it_was() {
    let site = with_payments();
    let before = site.operator("GET", "/domains/payments").send().expect(200);
    put(&site, "*", 5).expect(200);
    let added = json!({ "name": "more", "key": ["user_id"], "limit": 1, "window": "1s" });
    let put_more = site.operator("PUT", "/domains/payments/rules/more").field("If-None-Match", "*");
    put_more.json(&added).send().expect(200);
    let version = before.etag().trim_matches('"').parse::<i64>().unwrap();
    let was =
        site.operator("GET", &format!("/domains/payments/versions/{version}")).send().expect(200).json();
    assert_eq!(was, before.json());
    let back = json!({ "version": version });
    let rollback = || site.operator("POST", "/domains/payments/rollback").json(&back);
    rollback().if_match(&before.etag()).send().expect(412);
    assert_eq!(rollback().if_match("*").send().expect(200).json()["in_force"], true);
    assert_eq!(site.operator("GET", "/domains/payments").send().json(), before.json());
    assert_eq!(check(&site)["limit"], 100);
    // Also where the domain is gone.
    for (field, value) in [("If-None-Match", "*"), ("If-Match", "*")] {
        site.operator("DELETE", "/domains/payments").if_match("*").send().expect(200);
        rollback().field(field, value).send().expect(200);
    }
    assert_eq!(site.operator("GET", "/domains/payments").send().json(), before.json());
    let actions = site.operator("GET", "/domains/payments/history").send().expect(200).json();
    assert!(actions["items"].as_array().unwrap().len() >= 8, "{actions}");
}

#[test]
fn overrides_follow_a_rule_however_it_is_renamed() {
    let site = with_payments();
    let mut domain = site.operator("GET", "/domains/payments").send().expect(200);
    let version = domain.etag().trim_matches('"').parse::<i64>().unwrap();
    // A page after nothing is not the first one again.
    site.operator("GET", "/domains/payments/overrides?after=u").send().expect(422);
    let target = "/domains/payments/subjects/u/overrides/calls";
    site.operator("PUT", target).json(&json!({ "limit": 7 })).send().expect(200);
    let of = || {
        let overrides = site.operator("GET", "/domains/payments/overrides").send().expect(200).json();
        assert_eq!(overrides["items"].as_array().unwrap().len(), 1, "{overrides}");
        overrides["items"][0]["rule"].clone()
    };
    let rename = site.operator("POST", "/domains/payments/rules/calls/rename").if_match("*");
    rename.json(&json!({ "to": "asks" })).send().expect(200);
    assert_eq!(of(), "asks");
    let rollback = site.operator("POST", "/domains/payments/rollback").if_match("*");
    rollback.json(&json!({ "version": version })).send().expect(200);
    assert_eq!(of(), "calls");
    // As a file would say it.
    domain = site.operator("GET", "/domains/payments").send().expect(200);
    let mut document = domain.json();
    document["rules"][0]["name"] = json!("more");
    document["rules"][0]["formerly"] = json!("calls");
    site.operator("PUT", "/domains/payments").if_match("*").json(&document).send().expect(200);
    assert_eq!(of(), "more");
}

#[test]
fn a_dry_run_changes_nothing() {
    let site = with_payments();
    site.tenant("acme");
    let seen = || {
        ["/export", "/audit", "/domains/payments/history", "/tenants", "/status"]
            .map(|target| site.operator("GET", target).send().expect(200).body)
    };
    let before = seen();
    for (method, target, body) in
        changes().into_iter().filter(|(_, target, _)| target.starts_with("/domains"))
    {
        let target = format!("{target}?dry_run=5m");
        let answer = site.operator(method, &target).if_match("*").body(body_of(&body)).send();
        assert!(answer.status == 200 || target.contains("rollback"), "{target}: {answer:?}");
    }
    site.operator("POST", "/import?dry_run=true&others=remove")
        .body("version: 1\ndomains: []")
        .send()
        .expect(200);
    site.operator("POST", "/domains/payments/dry-run")
        .json(&json!({ "domain": payments(1) }))
        .send()
        .expect(200);
    assert_eq!(seen()[..4], before[..4]);
    assert_eq!(check(&site)["limit"], 100);
}

#[test]
fn domains_of_the_rule_file_are_changed_by_the_file_only() {
    let directory = tidegate_testkit::TempDir::new("rules");
    let file = "version: 1\ndomains:\n  - name: payments\n    rules:\n      - name: calls\n        key: [user_id]\n        limit: 9\n        window: 1h\n";
    let path = directory.write("rules.yaml", file);
    let site = Site::with(&["--rules", path.to_str().unwrap()]);
    let put = |tag| site.operator("PUT", "/domains/payments").if_match(tag).json(&payments(1)).send();
    let refused = put("*").expect(409);
    assert!(refused.body.contains("rule file"), "{}", refused.body);
    site.operator("POST", "/import").body(file).send().expect(409);
    for (method, target) in [("DELETE", ""), ("DELETE", "/rules/calls")] {
        let answer = site.operator(method, &format!("/domains/payments{target}")).if_match("*").send();
        assert_eq!(answer.status, 409, "{method} {target}: {answer:?}");
    }
    assert_eq!(check(&site)["limit"], 9);
    // Another tenant's domain of the same name is another domain.
    site.tenant("acme");
    site.domain("acme", &payments(3));
}

#[test]
fn of_sixteen_who_make_the_same_domain_one_makes_it() {
    let site = Site::start();
    let document = |limit| json!({ "name": "new", "rules": [rule(limit)] });
    let start = Barrier::new(16);
    let statuses: Vec<u16> = thread::scope(|scope| {
        let maker = |limit: u64| {
            let (site, start, document) = (&site, &start, &document);
            scope.spawn(move || {
                start.wait();
                let put = site.operator("PUT", "/domains/new").field("If-None-Match", "*");
                put.json(&document(limit)).send().status
            })
        };
        let makers: Vec<_> = (1..=16).map(maker).collect();
        makers.into_iter().map(|maker| maker.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 412).count(), 15, "{statuses:?}");
}

#[test]
fn a_rule_that_comes_back_gives_nobody_a_second_burst() {
    let site = with_payments();
    (0..4).for_each(|_| assert_eq!(check(&site)["allowed"], true));
    site.operator("DELETE", "/domains/payments/rules/calls").if_match("*").send().expect(200);
    let gone = check(&site);
    assert_eq!((&gone["allowed"], &gone["rule"]), (&json!(true), &Value::Null));
    put(&site, "*", 100).expect(412);
    let new = site.operator("PUT", "/domains/payments/rules/calls").field("If-None-Match", "*");
    new.json(&rule(100)).send().expect(200);
    assert_eq!(check(&site)["remaining"], 95);
    site.operator("DELETE", "/domains/payments").if_match("*").send().expect(200);
    site.domain("default", &payments(100));
    assert_eq!(check(&site)["remaining"], 94);
}
