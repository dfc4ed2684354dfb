//! A database that holds what cannot be put in force.

use tidegate_testkit::{Postgres, RedisServer, wait_until};

use crate::machine::{PATIENCE, alone};
use crate::site::{Nodes, check_of, tiered};

/// Writes a rule's document as nobody should, and counts the versions as the program does.
fn write_by_hand(postgres: &Postgres, document: &str) {
    let count = "UPDATE versions SET version = version + 1 WHERE kind = 'rules'";
    let version = "(SELECT version FROM versions WHERE kind = 'rules')";
    postgres.sql(
        "postgres",
        &format!(
            "BEGIN; {count}; UPDATE rules SET document = '{document}', version = {version} WHERE domain = 'payments'; \
             UPDATE domains SET content_version = {version} WHERE name = 'payments'; COMMIT"
        ),
    );
}

#[test]
fn a_state_that_cannot_be_put_in_force_is_said_loudly_and_the_last_good_one_stays() {
    let _alone = alone();
    let (postgres, redis) = (Postgres::start(), RedisServer::start());
    let mut nodes = Nodes::three(&postgres.url(), &redis.url());
    nodes.change(0, "PUT", "/domains/payments", &tiered(10));
    let last_good = nodes.dir.join("last-good-0");
    wait_until("the last good rules are on disk", PATIENCE, || {
        std::fs::read(&last_good).is_ok_and(|kept| String::from_utf8_lossy(&kept).contains("per-user"))
    });
    let good = postgres.sql("postgres", "SELECT document FROM rules WHERE domain = 'payments'");
    let version = nodes.catalog(0)["version"].clone();
    let failures = |nodes: &Nodes, node| nodes.metric(node, "tidegate_catalog_reload_failures_total");
    for bad in [r#"{"name":"per-user","key":["user_id"],"limit":-4,"window":"1d"}"#, "{", "[]", r#""rule""#] {
        let before: Vec<f64> = (0..3).map(|node| failures(&nodes, node)).collect();
        write_by_hand(&postgres, bad);
        for (node, before) in before.into_iter().enumerate() {
            wait_until("the node has seen it", PATIENCE, || failures(&nodes, node) > before);
            let catalog = nodes.catalog(node);
            assert_eq!(
                (&catalog["version"], &catalog["current"]),
                (&version, &false.into()),
                "{bad}: {catalog}"
            );
            assert_eq!(catalog["rules_error"], true, "{bad}: {catalog}");
            assert_eq!(catalog["database"]["state"], "up", "{bad}: {catalog}");
            assert_eq!(nodes.metric(node, "tidegate_catalog_current"), 0.0);
            assert_eq!(nodes.check(node, &check_of("payments", "u")).json()["limit"], 10);
        }
    }
    let logs = nodes.nodes[0].logs();
    assert!(logs.contains("ERROR") && logs.contains("cannot be put in force"), "{logs}");

    // Its last good rules are not the bad ones, whenever it is started.
    nodes.nodes[0].restart();
    let catalog = nodes.catalog(0);
    assert_eq!((&catalog["rules_from"], &catalog["version"]), (&"last-good".into(), &version), "{catalog}");
    assert_eq!(nodes.check(0, &check_of("payments", "u")).json()["limit"], 10);
    wait_until("the node says so", PATIENCE, || nodes.catalog(0)["rules_error"] == true);

    write_by_hand(&postgres, &good);
    for node in 0..3 {
        wait_until("the node recovers", PATIENCE, || nodes.catalog(node)["current"] == true);
        let catalog = nodes.catalog(node);
        assert_eq!((&catalog["rules_error"], &catalog["rules_from"]), (&false.into(), &"database".into()));
    }
    nodes.change(1, "PUT", "/domains/payments", &tiered(12));
    nodes.wait_until_each("rules change again", &check_of("payments", "v"), |answer| answer["limit"] == 12);
    nodes.assert_alive();
}

#[test]
fn rules_that_do_not_go_together_are_never_kept_as_the_last_good_ones() {
    let _alone = alone();
    let postgres = Postgres::start();
    let mut nodes = Nodes::start(&[postgres.url()], &[]);
    nodes.change(0, "PUT", "/domains/payments", &tiered(10));
    let version = nodes.catalog(0)["version"].clone();
    // Each is good; that all of them apply to one request is not.
    let document = r#"'{"name":"r' || n || '","key":["user_id"],"limit":5,"window":"' || n || 's"}'"#;
    let count = "UPDATE versions SET version = version + 1 WHERE kind = 'rules'";
    let (rule, domain) = ("'default', 'payments', 'r' || n, 1000 + n", "WHERE name = 'payments'");
    postgres.sql(
        "postgres",
        &format!(
            "BEGIN; {count}; INSERT INTO rules SELECT {rule}, {document}, 99 FROM generate_series(1, 80) n; \
             UPDATE domains SET content_version = 99 {domain}; COMMIT"
        ),
    );
    wait_until("the node says so", PATIENCE, || nodes.catalog(0)["rules_error"] == true);
    // A new key is kept with the last good rules.
    let made = nodes.admin(0, "POST", "/keys", r#"{"name":"app","scopes":["check"]}"#);
    let last_good = nodes.dir.join("last-good-0");
    wait_until("the key is on disk", PATIENCE, || {
        let prefix = made["prefix"].as_str().unwrap();
        std::fs::read(&last_good).is_ok_and(|kept| String::from_utf8_lossy(&kept).contains(prefix))
    });
    nodes.nodes[0].restart();
    let catalog = nodes.catalog(0);
    assert_eq!((&catalog["rules_from"], &catalog["version"]), (&"last-good".into(), &version), "{catalog}");
    let answer = nodes.check(0, &check_of("payments", "u")).json();
    assert_eq!((&answer["rule"], &answer["limit"]), (&"per-user".into(), &10.into()), "{answer}");
    postgres.sql("postgres", &format!("BEGIN; {count}; DELETE FROM rules WHERE name ~ '^r'; UPDATE domains SET content_version = 100 {domain}; COMMIT"));
    wait_until("the node recovers", PATIENCE, || nodes.catalog(0)["current"] == true);
    assert_eq!(nodes.catalog(0)["rules_from"], "database");
    nodes.assert_alive();
}
