//! Who may do what, at every endpoint of the table.

use std::time::Duration;

use serde_json::json;
use tidegate::admin::{Route, routes};
use tidegate_testkit::wait_until;

use super::site::{Answer, Site, TOKEN, filled, is_of_operators, payments, prefix_of, writes};

const NAMES: &[(&str, &str)] = &[
    ("tenant", "acme"),
    ("domain", "payments"),
    ("rule", "calls"),
    ("subject", "sue"),
    ("version", "1"),
    ("prefix", "AAAAAAAAAA"),
    ("room", "demo"),
];

/// Asks for every endpoint with one key, and hands each answer to the test.
fn everywhere(site: &Site, key: &str, look: impl Fn(&Route, Answer)) {
    for route in routes() {
        let ask = site.bare(route.method.as_str(), &filled(&route, NAMES));
        look(&route, ask.key(key).send());
    }
}

fn with_acme() -> Site {
    let site = Site::start();
    site.tenant("acme");
    site.domain("acme", &payments(10));
    site
}

#[test]
fn every_endpoint_refuses_without_a_key() {
    // A server each for some of them: thirty refusals of one address are enough.
    for some in routes().chunks(25) {
        let site = Site::start();
        for route in some {
            let answer = site.bare(route.method.as_str(), &filled(route, NAMES)).send();
            assert_eq!(answer.status, 401, "{route:?}");
            assert_eq!(answer.field("www-authenticate"), Some("Bearer realm=\"tidegate\""), "{route:?}");
        }
    }
}

#[test]
fn every_endpoint_refuses_a_key_for_checks() {
    let site = with_acme();
    for tenant in [None, Some("acme")] {
        let key = site.key(tenant, "checks", &["check"]);
        everywhere(&site, &key, |route, answer| assert_eq!(answer.status, 403, "{route:?}"));
    }
}

#[test]
fn a_key_that_reads_changes_nothing() {
    let site = with_acme();
    for tenant in [None, Some("acme")] {
        let key = site.key(tenant, "reader", &["check", "admin-read"]);
        everywhere(&site, &key, |route, answer| {
            if writes(route) || is_of_operators(route) && tenant.is_some() {
                assert_eq!(answer.status, 403, "{route:?}");
            } else {
                // What is not there, or a question without its parameters, is another matter.
                assert!(![401, 403].contains(&answer.status), "{route:?}: {answer:?}");
            }
        });
    }
    assert!(site.about("acme", "GET", "/export").send().expect(200).body.contains("calls"));
}

#[test]
fn endpoints_for_operators_refuse_every_key_of_a_tenant() {
    let site = with_acme();
    let key = site.key(Some("acme"), "all", &["check", "admin-read", "admin-write"]);
    let mut refused = 0;
    for route in routes().iter().filter(|route| is_of_operators(route)) {
        let answer = site.bare(route.method.as_str(), &filled(route, NAMES)).key(&key).send();
        assert_eq!(answer.status, 403, "{route:?}");
        refused += 1;
    }
    assert!(refused >= 4);
}

#[test]
fn a_key_of_a_tenant_names_no_other() {
    let site = with_acme();
    site.tenant("other");
    let key = site.key(Some("acme"), "all", &["check", "admin-read", "admin-write"]);
    for route in routes() {
        let target = filled(&route, NAMES);
        let by_field = site.bare(route.method.as_str(), &target).field("Tidegate-Tenant", "other");
        let by_query = site.bare(route.method.as_str(), &format!("{target}?tenant=other"));
        for ask in [by_field, by_query] {
            assert_eq!(ask.key(&key).send().status, 403, "{route:?}");
        }
    }
    site.bare("GET", "/tenants/other").key(&key).send().expect(403);
    site.bare("GET", "/tenants/none").key(&key).send().expect(403);
    site.bare("GET", "/tenants/acme").key(&key).send().expect(200);
    site.bare("GET", "/whoami?tenant=acme").key(&key).send().expect(200);
}

#[test]
fn a_key_of_a_tenant_makes_no_operators() {
    let site = with_acme();
    let key = site.key(Some("acme"), "all", &["admin-write"]);
    let ask = |operator| json!({ "name": "more", "scopes": ["admin-write"], "operator": operator });
    site.bare("POST", "/keys").key(&key).json(&ask(true)).send().expect(403);
    let made = site.bare("POST", "/keys").key(&key).json(&ask(false)).send().expect(201).json();
    assert_eq!((&made["tenant"], &made["operator"]), (&json!("acme"), &json!(false)));
}

#[test]
fn a_revoked_key_is_refused_everywhere() {
    let site = with_acme();
    let key = site.key(None, "gone", &["check", "admin-read", "admin-write"]);
    site.bare("GET", "/whoami").key(&key).send().expect(200);
    let revoked = site.operator("DELETE", &format!("/keys/{}", prefix_of(&key))).send().expect(200).json();
    assert_eq!(revoked["in_force"], true);
    // Thirty refusals of one address are enough.
    for route in routes().iter().take(25) {
        let answer = site.bare(route.method.as_str(), &filled(route, NAMES)).key(&key).send();
        assert_eq!(answer.status, 401, "{route:?}");
    }
    let check = json!({ "domain": "payments", "descriptors": { "user_id": "sue" } });
    site.door("POST", "/v1/check").key(&key).json(&check).send().expect(401);
}

#[test]
fn a_key_ends_when_it_was_to_end() {
    let site = Site::start();
    let wanted = json!({ "name": "short", "scopes": ["admin-read"], "operator": true, "for": "1500ms" });
    let key = site.operator("POST", "/keys").json(&wanted).send().expect(201).json()["key"].clone();
    let status = || site.bare("GET", "/whoami").key(key.as_str().unwrap()).send().status;
    assert_eq!(status(), 200);
    wait_until("the key has ended", Duration::from_secs(10), || status() == 401);
}

#[test]
fn a_rotated_key_leaves_the_old_one_as_long_as_was_asked() {
    let site = Site::start();
    let first = site.key(None, "turning", &["admin-read"]);
    let rotate = |grace: &str| {
        let target = format!("/keys/{}/rotate", prefix_of(&first));
        let turned =
            site.operator("POST", &target).json(&json!({ "grace": grace })).send().expect(200).json();
        assert_eq!(turned["in_force"], true);
        turned["key"].as_str().unwrap().to_owned()
    };
    let status = |key: &str| site.bare("GET", "/whoami").key(key).send().status;
    let second = rotate("1h");
    assert_eq!((status(&first), status(&second)), (200, 200));
    let third = rotate("0s");
    assert_eq!((status(&first), status(&second), status(&third)), (401, 401, 200));
    let gone = site.operator("DELETE", &format!("/keys/{}", prefix_of(&first))).send().expect(200).json();
    assert_eq!(gone["in_force"], true);
    assert_eq!(status(&third), 401);
    let target = format!("/keys/{}/rotate", prefix_of(&first));
    let again = site.operator("POST", &target).send();
    assert!([404, 409].contains(&again.status), "a revoked key has been turned into a good one: {again:?}");
}

#[test]
fn what_is_no_key_is_refused_and_two_are_too_many() {
    let site = Site::start();
    let whoami = || site.bare("GET", "/whoami");
    let long = "x".repeat(4_000);
    for value in ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer tg_", "Bearer tg_AAAAAAAAAA_", TOKEN, &long]
    {
        assert_eq!(whoami().field("Authorization", value).send().status, 401, "{value}");
    }
    let longer = format!("Bearer {TOKEN}{long}");
    whoami().field("Authorization", &longer).send().expect(401);
    whoami().field("Authorization", "Bearer \u{e9}\u{e9}").send().expect(401);
    whoami().key(TOKEN).key(TOKEN).send().expect(401);
    whoami().key(TOKEN).field("X-API-Key", TOKEN).send().expect(401);
    whoami().field("X-API-Key", TOKEN).send().expect(200);
    whoami().field("Authorization", &format!("bEARER {TOKEN}")).send().expect(200);
}

#[test]
fn an_address_that_guesses_keys_has_to_wait() {
    let site = Site::start();
    let guess = || site.bare("GET", "/whoami").key("tg_AAAAAAAAAA_wrong").send();
    for _ in 0..30 {
        guess().expect(401);
    }
    let refused = guess().expect(429);
    assert!(refused.field("retry-after").is_some());
    // Somebody who has a key, and the same address, does not have to wait.
    site.operator("GET", "/whoami").send().expect(200);
    guess().expect(429);
}

#[test]
fn a_tenant_is_named_once_and_is_there() {
    let site = with_acme();
    let export = |target: &str| site.operator("GET", target);
    assert!(export("/export?tenant=acme").send().expect(200).body.contains("calls"));
    export("/export?tenant=acme").field("Tidegate-Tenant", "acme").send().expect(200);
    export("/export?tenant=acme").field("Tidegate-Tenant", "default").send().expect(422);
    export("/export?tenant=acme&tenant=default").send().expect(422);
    export("/export").field("Tidegate-Tenant", "acme").field("Tidegate-Tenant", "acme").send().expect(422);
    export("/export").field("Tidegate-Tenant", "Acme").send().expect(422);
    let nobody = |method: &str, target: &str| site.about("nobody", method, target).if_match("*");
    nobody("PUT", "/domains/payments").json(&payments(1)).send().expect(404);
    nobody("POST", "/import").json(&json!({ "version": 1, "domains": [payments(1)] })).send().expect(404);
    nobody("POST", "/keys").json(&json!({ "name": "x", "scopes": ["check"] })).send().expect(404);
    assert!(!site.operator("GET", "/tenants").send().expect(200).body.contains("nobody"));
}

#[test]
fn the_default_tenant_stays_and_names_are_taken_once() {
    let site = with_acme();
    let make = |name: &str| site.operator("POST", "/tenants").json(&json!({ "name": name })).send();
    for taken in ["acme", "default"] {
        assert_eq!(make(taken).status, 409, "{taken}: {}", make(taken).body);
    }
    for bad in ["", "A", "-a", "a\u{1f}b", "a.b", &"x".repeat(64)] {
        assert_eq!(make(bad).status, 422, "{bad}");
    }
    site.operator("DELETE", "/tenants/default").if_match("*").send().expect(409);
    site.operator("GET", "/tenants/default").send().expect(200);
}
