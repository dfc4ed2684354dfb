//! Every operation of the admin API's document, done once; and the refusals that every one of them has.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tidegate::admin::{MAX_IMPORT_BYTES, routes};

use super::conformance::{Place, admin};
use super::site::{Answer, Site, filled, payments};

const NAMES: &[(&str, &str)] = &[
    ("tenant", "acme"),
    ("domain", "payments"),
    ("rule", "calls"),
    ("subject", "sue"),
    ("version", "2"),
    ("prefix", "AAAAAAAAAA"),
    ("room", "demo"),
];

/// The statuses that are looked for at every operation that has them. The others need a broken database, a busy machine or a
/// slow client; the tests of the admin API meet some of them, and hold what they meet against the document.
const LOOKED_FOR: &[u16] = &[200, 201, 403, 404, 405, 413, 422, 428];

fn get(site: &Site, target: &str) -> Answer {
    site.operator("GET", target).send().expect(200)
}

fn write(site: &Site, method: &str, target: &str, body: &Value) -> Answer {
    site.operator(method, target).if_match("*").json(body).send()
}

fn delete(site: &Site, target: &str) {
    site.operator("DELETE", target).if_match("*").send().expect(200);
}

fn rules_are_made_and_changed(site: &Site) {
    site.domain("default", &payments(10));
    let rule = json!({ "name": "more", "key": ["user_id"], "limit": 5, "window": "1m" });
    let put = site.operator("PUT", "/domains/payments/rules/more").field("If-None-Match", "*").json(&rule);
    let first = put.send().expect(200).json()["version"].clone();
    for target in ["/domains", "/domains/payments", "/domains/payments/rules", "/domains/payments/rules/more"]
    {
        get(site, target);
    }
    write(site, "POST", "/domains/payments/rules/more/rename", &json!({ "to": "most" })).expect(200);
    delete(site, "/domains/payments/rules/most?dry_run=15m");
    delete(site, "/domains/payments/rules/most");
    get(site, "/domains/payments/history");
    get(site, &format!("/domains/payments/versions/{first}"));
    write(site, "POST", "/domains/payments/rollback", &json!({ "version": first })).expect(200);
    site.door("POST", "/v1/check")
        .json(&json!({ "domain": "payments", "descriptors": { "user_id": "sue" } }))
        .send()
        .expect(200);
    write(site, "PUT", "/domains/payments?dry_run=15m", &payments(1)).expect(200);
    let log = "192.0.2.1 - - [01/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.1\" 200 1\n".repeat(3);
    write(site, "POST", "/domains/payments/dry-run", &json!({ "domain": payments(1), "log": log }))
        .expect(200);
    let file = get(site, "/export").body;
    site.operator("POST", "/import").body(file).send().expect(200);
}

fn subjects_are_treated(site: &Site) {
    let sue = "/domains/payments/subjects/sue";
    write(site, "PUT", sue, &json!({ "tier": "gold" })).expect(200);
    write(site, "POST", "/domains/payments/subjects", &json!({ "tiers": { "joe": "silver", "ann": null } }))
        .expect(200);
    write(site, "PUT", &format!("{sue}/ban"), &json!({ "reason": "a test", "for": "1h" })).expect(200);
    write(site, "PUT", &format!("{sue}/overrides/calls"), &json!({ "limit": 7, "for": "1h" })).expect(200);
    for target in ["subjects", "subjects/sue", "bans", "overrides"] {
        get(site, &format!("/domains/payments/{target}"));
    }
    write(site, "POST", &format!("{sue}/refund"), &json!({ "cost": 1 })).expect(200);
    site.operator("POST", &format!("{sue}/reset")).send().expect(200);
    for target in ["/ban", "/overrides/calls", ""] {
        delete(site, &format!("{sue}{target}"));
    }
}

fn tenants_and_keys_come_and_go(site: &Site) {
    site.tenant("acme");
    get(site, "/tenants");
    get(site, "/tenants/acme");
    write(site, "PUT", "/tenants/acme", &json!({ "max_rules": 10, "max_keys": 2 })).expect(200);
    let wanted = json!({ "name": "a test", "scopes": ["check"], "for": "90d" });
    let made = site.about("acme", "POST", "/keys").json(&wanted).send().expect(201).json();
    let key = format!("/keys/{}", made["prefix"].as_str().unwrap());
    get(site, "/keys");
    get(site, &key);
    write(site, "POST", &format!("{key}/rotate"), &json!({ "grace": "1h" })).expect(200);
    delete(site, &key);
    delete(site, "/tenants/acme");
}

fn rooms_are_steered(site: &Site) {
    let document = get(site, "/rooms/demo").json()["definition"].clone();
    get(site, "/rooms");
    let room = write(site, "PUT", "/rooms/demo", &document).expect(200).json();
    assert_eq!((&room["definition"], &room["state"]), (&document, &json!("open")));
    for state in ["paused", "draining", "closed", "open"] {
        write(site, "POST", "/rooms/demo/state", &json!({ "state": state })).expect(200);
    }
    write(site, "POST", "/rooms/demo/admit", &json!({})).expect(409);
    for visitor in 1..=6 {
        let seat = site.door("POST", "/v1/rooms/demo/join").send().expect(200).json();
        assert_eq!(seat["state"], if visitor < 6 { "admitted" } else { "waiting" });
    }
    write(site, "POST", "/rooms/demo/state", &json!({ "state": "paused" })).expect(200);
    write(site, "POST", "/rooms/demo/end", &json!({ "queue_number": 1 })).expect(200);
    let room = write(site, "POST", "/rooms/demo/admit", &json!({})).expect(200).json();
    assert_eq!((&room["waiting"], &room["ready"], &room["active"]), (&json!(0), &json!(1), &json!(4)));
    assert_eq!(room["counted"]["admitted"], 5);
    let room = write(site, "POST", "/rooms/demo/flush", &json!({ "sessions": true })).expect(200).json();
    assert_eq!((&room["ready"], &room["active"]), (&json!(0), &json!(0)));
    write(site, "PUT", "/rooms/demo", &json!({ "name": "demo", "capacity": 1 })).expect(422);
    let wrong = json!({ "name": "demo", "capacity": 1, "release_rate": "1/s", "template": "x.html", "accent": "red" });
    let refused = write(site, "PUT", "/rooms/demo", &wrong).expect(422);
    assert!(refused.body.contains("--room-templates"), "{refused:?}");
    let beacon = |room: &str, digits: &str| {
        write(site, "POST", &format!("/rooms/{room}/beacon"), &json!({ "beacon": digits }))
    };
    beacon("demo", &"0".repeat(63)).expect(422);
    beacon("demo", &"0f".repeat(32)).expect(409);
    let opening = json!({
        "name": "sale", "capacity": 1, "release_rate": "1/s", "opens_at": "2035-01-01T00:00:00Z", "accent": "#07a",
        "min_lease": "30s",
    });
    let sale = write(site, "PUT", "/rooms/sale", &opening).expect(200).json();
    assert_eq!(sale["draw"]["commitment"].as_str().unwrap().len(), 64);
    assert_eq!(sale["definition"]["min_lease"], "30s");
    beacon("sale", &"0f".repeat(32)).expect(200);
    beacon("sale", &"0f".repeat(32)).expect(200);
    beacon("sale", &"f0".repeat(32)).expect(409);
    for visitor in 1..=2 {
        let seat = site.door("POST", "/v1/rooms/sale/join").send().expect(200).json();
        assert_eq!(seat["queue_number"], visitor);
    }
    let rows = get(site, "/rooms/sale/export").body;
    let rows: Vec<Value> = rows.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    assert_eq!((rows.len(), &rows[1]["queue_number"], &rows[1]["state"]), (2, &json!(2), &json!("waiting")));
    let rows = get(site, "/rooms/sale/export?format=csv&after=1&limit=5").body;
    assert!(rows.starts_with("queue_number,state,until,") && rows.contains("\n2,waiting,"), "{rows}");
    site.operator("GET", "/rooms/sale/export?format=xml").send().expect(422);
    site.operator("GET", "/rooms/none/export").send().expect(404);
    delete(site, "/rooms/sale");
    site.operator("DELETE", "/rooms/sale").send().expect(404);
    site.door("POST", "/v1/rooms/sale/join").send().expect(404);
    let audit = get(site, "/audit").json();
    assert_eq!(
        (&audit["items"][0]["action"], &audit["items"][0]["target"]),
        (&json!("room.delete"), &json!("sale"))
    );
}

/// The same at every endpoint: the wrong key, tenant, method, parameter, length.
fn refused_everywhere(site: &Site) {
    let key = site.key(None, "checks", &["check"]);
    for route in routes() {
        let (method, target) = (route.method.as_str(), filled(&route, NAMES));
        site.bare(method, &target).key(&key).send().expect(403);
        site.operator(method, &format!("{target}?tenant=nobody")).send().expect(404);
        site.operator("PATCH", &target).send().expect(405);
        site.operator(method, &format!("{target}?surprise=1")).send().expect(422);
        let long = vec![b' '; if target == "/import" { MAX_IMPORT_BYTES } else { route.max_body_bytes } + 1];
        site.operator(method, &target).body(long).send().expect(413);
        // Most need more than this; what says 428 to it is what must name a version.
        site.operator(method, &target).send();
    }
}

#[test]
fn every_operation_of_the_admin_api_answers_as_documented() {
    let site = Site::start();
    for target in ["", "/whoami", "/status", "/openapi.json"] {
        get(&site, target);
    }
    rules_are_made_and_changed(&site);
    subjects_are_treated(&site);
    tenants_and_keys_come_and_go(&site);
    rooms_are_steered(&site);
    for target in ["/usage?by=tenant,domain,rule,tier,time&last=1h", "/top?domain=payments", "/audit"] {
        get(&site, target);
    }
    refused_everywhere(&site);
    delete(&site, "/domains/payments");
    let reached = admin().reached();
    let missed: BTreeSet<Place> = admin()
        .places()
        .into_iter()
        .filter(|place| LOOKED_FOR.contains(&place.2) && !reached.contains(place))
        .collect();
    assert_eq!(missed, BTreeSet::new(), "documented, and not what any request here was answered with");
}
