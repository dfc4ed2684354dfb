//! What the catalog adds to decisions: tiers, bans, versions, and whose key it takes.

use serde_json::{Value, json};

use super::site::{Answer, Ask, Site, payments};

fn body(subject: &str) -> Value {
    json!({ "domain": "payments", "descriptors": { "user_id": subject } })
}

fn check(site: &Site, subject: &str) -> Answer {
    site.door("POST", "/v1/check").json(&body(subject)).send()
}

#[test]
fn an_answer_names_the_tier_and_the_version_of_the_rules() {
    let site = Site::start();
    site.domain("default", &payments(10));
    let plain = check(&site, "sue").expect(200).json();
    assert_eq!((plain.get("tier"), plain.get("tier_lookup")), (None, None));
    let version = plain["rules_version"].as_u64().unwrap();
    let target = "/domains/payments/subjects/sue";
    site.operator("PUT", target).json(&json!({ "tier": "gold" })).send().expect(200);
    let gold = check(&site, "sue").expect(200).json();
    assert_eq!((&gold["tier"], &gold["limit"]), (&json!("gold"), &json!(100)));
    assert_eq!(gold["rules_version"].as_u64(), Some(version));
    site.domain("default", &payments(20));
    let later = check(&site, "sue").expect(200).json();
    assert!(later["rules_version"].as_u64() > Some(version));
    assert_eq!(later["limit"], 200);
    site.operator("DELETE", target).send().expect(200);
    assert_eq!(check(&site, "sue").json()["limit"], 20);
}

#[test]
fn a_banned_subject_is_told_why_and_charged_nothing() {
    let site = Site::start();
    site.domain("default", &payments(10));
    let target = "/domains/payments/subjects/sue/ban";
    let ban = json!({ "reason": "scraping", "for": "1h" });
    site.operator("PUT", target).json(&ban).send().expect(200);
    let refused = check(&site, "sue").expect(403);
    assert_eq!(refused.field("content-type"), Some("application/problem+json"));
    let said = refused.json();
    assert_eq!((&said["allowed"], &said["banned"]), (&json!(false), &json!(true)));
    assert_eq!((&said["detail"], &said["status"]), (&json!("scraping"), &json!(403)));
    assert!(said["banned_until"].as_f64().unwrap() > 1_700_000_000.0);
    assert!(said["retry_after_ms"].as_u64().unwrap() > 3_000_000);
    let both = site
        .door("POST", "/v1/checks")
        .json(&json!({ "checks": [body("sue"), body("bob")] }))
        .send()
        .expect(200)
        .json();
    let items = both.as_array().or_else(|| both["results"].as_array()).unwrap_or_else(|| panic!("{both}"));
    assert_eq!((&items[0]["banned"], &items[0]["allowed"]), (&json!(true), &json!(false)));
    assert_eq!((items[1].get("banned"), &items[1]["allowed"]), (None, &json!(true)));
    site.operator("DELETE", target).send().expect(200);
    assert_eq!(check(&site, "sue").expect(200).json()["remaining"], 9);
    let forever = json!({ "reason": "scraping" });
    site.operator("PUT", target).json(&forever).send().expect(200);
    let said = check(&site, "sue").expect(403).json();
    assert_eq!((&said["banned_until"], said.get("retry_after_ms")), (&Value::Null, None));
}

#[test]
fn where_keys_are_required_nothing_is_decided_without_one() {
    let site = Site::with(&["--require-api-key"]);
    site.domain("default", &payments(10));
    site.tenant("acme");
    site.domain("acme", &payments(10));
    let many = json!({ "checks": [body("sue")] });
    let refund = json!({ "domain": "payments", "descriptors": { "user_id": "sue" }, "cost": 1 });
    let asks: Vec<Ask> = vec![
        site.door("POST", "/v1/check").json(&body("sue")),
        site.door("POST", "/v1/checks").json(&many),
        site.door("POST", "/v1/refund").json(&refund),
        site.door("POST", "/v1/permits").json(&body("sue")),
        site.door("GET", "/v1/authz?domain=payments&entry.user_id=sue"),
        site.door("DELETE", "/v1/permits/0123456789abcdef-00"),
        site.door("GET", "/v1/stats/payments/sue"),
        site.door("GET", "/stats/sue"),
    ];
    let reader = site.key(Some("acme"), "reader", &["admin-read", "admin-write"]);
    let checks = site.key(Some("acme"), "checks", &["check"]);
    for (number, ask) in asks.iter().enumerate() {
        let none = ask.send().expect(401);
        assert_eq!(none.field("www-authenticate"), Some("Bearer realm=\"tidegate\""), "{number}");
        ask.clone().key("tg_AAAAAAAAAA_wrong").send().expect(401);
        ask.clone().key(&reader).send().expect(403);
        let status = ask.clone().key(&checks).send().status;
        assert!(![401, 403].contains(&status), "{number}: {status}");
    }
    for target in ["/health", "/ready", "/metrics"] {
        site.door("GET", target).send().expect(200);
    }
    let for_nginx = site.door("GET", "/v1/authz?domain=payments&entry.user_id=sue&status=403");
    let none = for_nginx.send().expect(403);
    assert_eq!((none.field("x-tidegate-status"), none.field("www-authenticate")), (Some("401"), None));
    let allowed = for_nginx.key(&checks).send().expect(200).json();
    assert_eq!((&allowed["rule"], &allowed["remaining"]), (&json!("calls"), &json!(7)));
}

#[test]
fn what_a_client_has_for_the_application_is_no_key_of_its_proxy() {
    let site = Site::start();
    site.domain("default", &payments(10));
    site.tenant("acme");
    site.domain("acme", &payments(20));
    let checks = site.key(Some("acme"), "checks", &["check"]);
    let ask = || site.door("GET", "/v1/authz?domain=payments&entry.user_id=sue");
    let of_default = Some(r#""calls";q=10;w=3600"#);
    // Not even a good key: it is the proxy that says whose rules these are.
    for key in ["of-the-application", "tg_AAAAAAAAAA_wrong", &checks] {
        let allowed = ask().key(key).send().expect(200);
        assert_eq!(allowed.field("ratelimit-policy"), of_default, "{key}");
    }
    let allowed = ask().field("X-API-Key", "of-the-application").send().expect(200);
    assert_eq!(allowed.field("ratelimit-policy"), of_default);
    let of_acme = ask().key("of-the-application").field("X-API-Key", &checks).send().expect(200);
    assert_eq!(of_acme.field("ratelimit-policy"), Some(r#""calls";q=20;w=3600"#));
    ask().field("X-API-Key", "tg_AAAAAAAAAA_wrong").send().expect(401);
    ask().field("X-API-Key", &checks).field("X-API-Key", "of-the-application").send().expect(401);

    let site = Site::with(&["--require-api-key"]);
    site.domain("default", &payments(10));
    site.tenant("acme");
    site.domain("acme", &payments(20));
    let checks = site.key(Some("acme"), "checks", &["check"]);
    let ask = || site.door("GET", "/v1/authz?domain=payments&entry.user_id=sue");
    ask().key("of-the-application").send().expect(401);
    ask().field("X-API-Key", "of-the-application").send().expect(401);
    ask().key("of-the-application").field("X-API-Key", &checks).send().expect(200);
    ask().key(&checks).send().expect(200);
}

#[test]
fn a_proxy_is_told_of_a_ban_and_of_a_tier() {
    let site = Site::start();
    site.domain("default", &payments(10));
    let target = "/domains/payments/subjects/sue";
    site.operator("PUT", target).json(&json!({ "tier": "gold" })).send().expect(200);
    let authz = |wanted: &str| {
        site.door("HEAD", &format!("/v1/authz?domain=payments&header.user_id=X-User-Id{wanted}"))
            .field("X-User-Id", "sue")
            .send()
    };
    let allowed = authz("&status=403").expect(200);
    assert_eq!(allowed.field("ratelimit-policy"), Some(r#""calls";q=100;w=3600"#), "{allowed:?}");
    let ban = json!({ "reason": "scraping", "for": "1h" });
    site.operator("PUT", &format!("{target}/ban")).json(&ban).send().expect(200);
    for (wanted, status) in [("", 403), ("&status=403", 403), ("&status=401", 401)] {
        let banned = authz(wanted).expect(status);
        assert_eq!(banned.field("x-tidegate-status"), Some("403"), "{wanted}");
        assert!(banned.field("retry-after").is_some());
    }
}

#[test]
fn a_key_that_is_not_good_is_never_taken_for_none() {
    let site = Site::start();
    site.domain("default", &payments(10));
    check(&site, "sue").expect(200);
    for key in ["tg_AAAAAAAAAA_wrong", "x", super::site::TOKEN] {
        let answer = site.door("POST", "/v1/check").json(&body("sue")).key(key).send();
        assert_eq!(answer.status == 200, key == super::site::TOKEN, "{key}: {answer:?}");
    }
}
