//! Nodes that start before their store does, or with a password that it does not know.

use tidegate_testkit::{RedisOptions, RedisServer, Stopwatch, wait_until};

use crate::site::{Fleet, PATIENCE, alone, binary, check_of, domain, most_until_back};

const RULE: &str = "name: wide, key: [u], algorithm: fixed_window, limit: 1_000_000, window: 3650d";

#[test]
fn a_node_that_starts_first_answers_by_policy_and_takes_the_store_when_it_comes() {
    let _alone = alone();
    let mut redis = RedisServer::start();
    redis.kill();
    for (mode, status) in [("allow", 200), ("deny", 503), ("local", 200)] {
        let options = binary().await_path("/health");
        let started = Stopwatch::start();
        let fleet = Fleet::with(1, &options, &redis.url(), &domain(&[RULE]), &["--fail-mode", mode]);
        let started = started.elapsed();
        let answer = fleet.check(0, &check_of("early", 1));
        assert_eq!((answer.status, answer.degraded), (status, true), "{mode}");
        wait_until("the circuit opens", PATIENCE, || {
            fleet.check(0, &check_of("early", 1));
            fleet.breaker(0)["state"] == "open"
        });
        assert_eq!(fleet.breaker(0)["last_error"], "unavailable");
        redis.restart();
        let back = fleet.wait_until_on_store(&check_of("late", 1));
        println!(
            "started without a store in {started:?}, fail mode {mode}: on the store {back:?} after it came"
        );
        assert!(back <= most_until_back(), "{back:?}");
        assert!(fleet.used("late") >= 1);
        fleet.assert_alive();
        redis.kill();
    }
}

#[test]
fn a_wrong_password_is_named_and_never_shown() {
    let _alone = alone();
    const RIGHT: &str = "right-7f3a91c2";
    const WRONG: &str = "wrong-5be0d417";
    let redis = RedisServer::with(&RedisOptions::new().password(RIGHT));
    let options = binary().await_path("/health").environment("TIDEGATE_LOG_LEVEL", "debug");
    let url = format!("redis://:{WRONG}@{}", redis.address());
    let fleet = Fleet::with(1, &options, &url, &domain(&[RULE]), &["--fail-mode", "deny"]);
    let mut shown = String::new();
    wait_until("the status names the cause", PATIENCE, || {
        let answer = fleet.check(0, &check_of("u", 1));
        assert_eq!((answer.status, answer.degraded), (503, true));
        shown += &String::from_utf8_lossy(&answer.body);
        let status = fleet.breaker(0);
        shown += &status.to_string();
        status["last_error"] == "misconfigured"
    });
    wait_until("the log names the cause", PATIENCE, || fleet.nodes[0].logs().contains("password"));
    let logs = fleet.nodes[0].logs();
    let line = logs.lines().find(|line| line.contains("password")).unwrap();
    println!("a wrong password: {line}");
    assert!(line.contains(&redis.address().to_string()), "the log says where: {line}");
    shown += &logs;
    assert!(!shown.contains(WRONG) && !shown.contains(RIGHT), "{shown}");

    // The right one, put into force at the server: the node needs no restart.
    redis.command(&["CONFIG", "SET", "requirepass", WRONG]).ok();
    let back = fleet.wait_until_on_store(&check_of("u", 1));
    println!("the server takes the password: on the store after {back:?}");
    assert!(back <= most_until_back());
}
