//! The database killed in the middle of a change of many rules: all of it or nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tidegate_testkit::{Postgres, RedisServer, wait_for};

use crate::machine::{PATIENCE, RUNTIME, alone, hold, is_strict, rounds};
use crate::site::Nodes;
use crate::wire::Connection;

/// Rules of each of two domains.
const RULES: usize = 150;
/// A request that both the first and the last rule of a domain speak of.
const BOTH: &str = r#"{"domain":"left","descriptors":{"u":"1"}}"#;

/// Two domains whose rules all have one limit; the first and the last rule apply to every request.
fn rule_file(limit: u64) -> String {
    let domain = |name: &str| {
        let rule = |index: usize| {
            let when = if index == 0 || index == RULES - 1 {
                String::new()
            } else {
                format!(", match: {{ u: n{index} }}")
            };
            let window = 60 + index;
            format!("      - {{ name: r{index}, key: [u], limit: {limit}, window: {window}s{when} }}\n")
        };
        let rules: String = (0..RULES).map(rule).collect();
        format!("  - name: {name}\n    rules:\n{rules}")
    };
    format!("version: 1\ndomains:\n{}{}", domain("left"), domain("right"))
}

/// The limits that an answer names.
fn limits_of(answer: &Value) -> BTreeSet<u64> {
    let verdicts = answer["verdicts"].as_array().unwrap_or_else(|| panic!("{answer}"));
    assert_eq!(verdicts.len(), 2, "{answer}");
    verdicts.iter().map(|verdict| verdict["limit"].as_u64().unwrap()).collect()
}

/// The limits of all rules of both domains in the database.
fn limits_kept(nodes: &Nodes, node: usize) -> BTreeSet<u64> {
    let of = |domain: &str| {
        let domain = nodes.admin(node, "GET", &format!("/domains/{domain}"), "");
        let rules = domain["rules"].as_array().unwrap().clone();
        assert_eq!(rules.len(), RULES);
        rules.into_iter().map(|rule| rule["limit"].as_u64().unwrap())
    };
    of("left").chain(of("right")).collect()
}

#[test]
fn a_change_that_the_database_dies_in_is_in_force_whole_or_not_at_all() {
    let _alone = alone();
    let (mut postgres, redis) = (Postgres::start(), RedisServer::start());
    let nodes = Nodes::three(&postgres.url(), &redis.url());
    let usual = nodes.change(0, "POST", "/import", &rule_file(1_000_000));
    let stop = Arc::new(AtomicBool::new(false));
    let watchers: Vec<_> = nodes
        .addresses()
        .into_iter()
        .map(|address| {
            let stop = Arc::clone(&stop);
            RUNTIME.spawn(async move {
                let (mut connection, mut seen) = (Connection::new(address), 0);
                while !stop.load(Relaxed) {
                    let answer = connection.post("/v1/check", BOTH).await.unwrap().json();
                    assert_eq!(limits_of(&answer).len(), 1, "half a change: {answer}");
                    seen += 1;
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                seen
            })
        })
        .collect();
    let mut random = fastrand::Rng::new();
    println!("seed {}", random.get_seed());
    let (mut made, mut unmade) = (0, 0);
    let mut before = 1_000_000;
    for round in 1..=u64::from(rounds(if is_strict() { 30 } else { 3 })) {
        let after = 1_000_000 + round;
        let delay = usual.mul_f64(random.f64() * 1.5);
        let body = rule_file(after);
        let said = thread::scope(|scope| {
            let making = scope.spawn(|| nodes.try_admin(0, "POST", "/import", &body));
            hold(delay);
            postgres.kill();
            let said = making.join().unwrap();
            postgres.restart();
            said.is_ok_and(|answer| answer.status == 200)
        });
        // Every node has what the database has, and that is one of the two.
        let kept = wait_for("the database answers", PATIENCE, || {
            let listed = nodes.try_admin(1, "GET", "/domains/left", "").ok()?;
            (listed.status == 200).then(|| limits_kept(&nodes, 1))
        });
        let kept: Vec<u64> = kept.into_iter().collect();
        assert!(kept == [before] || kept == [after], "round {round}: {kept:?}");
        assert!(!said || kept == [after], "round {round}: said to be made, and it is not");
        nodes.wait_until_each("every node has it", BOTH, |answer| limits_of(answer).contains(&kept[0]));
        if kept == [after] {
            made += 1;
        } else {
            unmade += 1;
        }
        before = kept[0];
    }
    stop.store(true, Relaxed);
    let seen: u64 = watchers.into_iter().map(|watcher| RUNTIME.block_on(watcher).unwrap()).sum();
    println!("{made} changes made, {unmade} not, none in part; {seen} answers watched");
    nodes.assert_alive();
}
