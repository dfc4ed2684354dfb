//! A Redis that answers and refuses: whatever its reason, requests are decided by policy, and by it again when it is over.

use std::thread;

use tidegate_testkit::{RedisOptions, RedisServer, RespClient, wait_until};

use crate::site::{Fleet, PATIENCE, alone, check_of, domain, most_until_back};

const RULE: &str = "name: wide, key: [u], algorithm: fixed_window, limit: 1_000_000, window: 3650d";
/// Checks made while the store refuses.
const CHECKS: u64 = 50;

/// A reason to refuse.
struct Reason {
    name: &'static str,
    /// Commands on a connection that was there before.
    begin: &'static [&'static [&'static str]],
    end: &'static [&'static [&'static str]],
    /// What the status calls it.
    cause: &'static str,
}

const REASONS: [Reason; 5] = [
    Reason {
        name: "READONLY",
        begin: &[&["REPLICAOF", "127.0.0.1", "1"]],
        end: &[&["REPLICAOF", "NO", "ONE"]],
        cause: "unavailable",
    },
    Reason {
        name: "MASTERDOWN",
        begin: &[&["CONFIG", "SET", "replica-serve-stale-data", "no"], &["REPLICAOF", "127.0.0.1", "1"]],
        end: &[&["REPLICAOF", "NO", "ONE"]],
        cause: "unavailable",
    },
    Reason {
        name: "OOM",
        begin: &[&["CONFIG", "SET", "maxmemory", "1"]],
        end: &[&["CONFIG", "SET", "maxmemory", "0"]],
        cause: "unavailable",
    },
    Reason {
        name: "NOAUTH",
        begin: &[
            &["CONFIG", "SET", "requirepass", "secret"],
            &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"],
        ],
        end: &[&["CONFIG", "SET", "requirepass", ""]],
        cause: "misconfigured",
    },
    Reason {
        name: "NOPERM",
        begin: &[&["ACL", "SETUSER", "default", "-@scripting"]],
        end: &[&["ACL", "SETUSER", "default", "+@all"]],
        cause: "misconfigured",
    },
];

fn say(client: &mut RespClient, commands: &[&[&str]]) {
    for command in commands {
        client.command(command).ok();
    }
}

/// Checks until the store is missed, then says that policy alone answers, and why.
fn assert_by_policy(fleet: &Fleet, name: &str, cause: &str) -> u64 {
    let mut granted = 0;
    wait_until("the store is missed", PATIENCE, || {
        let answer = fleet.check(0, &check_of("u", 1));
        granted += u64::from(answer.is_admitted());
        answer.degraded
    });
    for _ in 0..CHECKS {
        let answer = fleet.check(0, &check_of("u", 1));
        assert_eq!((answer.status, answer.degraded), (503, true), "{name}: {answer:?}");
    }
    wait_until("the status names the cause", PATIENCE, || {
        let answer = fleet.check(0, &check_of("u", 1));
        assert!(answer.degraded, "{name}: {answer:?}");
        let status = fleet.breaker(0);
        status["state"] != "closed" && status["last_error"] == cause
    });
    granted
}

#[test]
fn every_refusal_is_answered_by_policy_and_got_over() {
    let _alone = alone();
    for Reason { name, begin, end, cause } in REASONS {
        let redis = RedisServer::start();
        let mut client = redis.client();
        let fleet = Fleet::start(1, &redis.url(), &domain(&[RULE]), &["--fail-mode", "deny"]);
        assert!(fleet.check(0, &check_of("u", 1)).is_admitted());
        say(&mut client, begin);
        let granted = 1 + assert_by_policy(&fleet, name, cause);
        say(&mut client, end);
        let back = fleet.wait_until_on_store(&check_of("other", 1));
        println!("{name}: by policy, then on the store {back:?} after the end of it");
        assert!(back <= most_until_back(), "{name}: {back:?}");
        assert_eq!(fleet.used("u"), granted, "{name}: what was refused is not charged");
        fleet.assert_alive();
    }
}

#[test]
fn a_server_that_loads_its_data_is_waited_for() {
    let _alone = alone();
    // Loading takes so long that it shows, and the server answers meanwhile.
    let options = RedisOptions::new()
        .setting("key-load-delay", "1000")
        .setting("loading-process-events-interval-bytes", "1024");
    let mut redis = RedisServer::with(&options);
    let fleet = Fleet::start(1, &redis.url(), &domain(&[RULE]), &["--fail-mode", "deny"]);
    assert!(fleet.check(0, &check_of("u", 1)).is_admitted());
    let fill = "for i = 1, 4000 do redis.call('SET', 'filler' .. i, i) end";
    redis.command(&["EVAL", fill, "0"]).ok();
    redis.command(&["SAVE"]).ok();
    let address = redis.address();
    let is_loading = || {
        let client = RespClient::connect(address, PATIENCE);
        let pong = client.and_then(|mut client| client.try_command(&["PING"]));
        pong.is_ok_and(|pong| pong.error().is_some_and(|error| error.starts_with("LOADING")))
    };
    thread::scope(|scope| {
        let restarting = scope.spawn(|| redis.restart());
        wait_until("the server loads", PATIENCE, is_loading);
        let granted = assert_by_policy(&fleet, "LOADING", "unavailable");
        assert!(is_loading(), "it was loading all the time");
        restarting.join().unwrap();
        let back = fleet.wait_until_on_store(&check_of("other", 1));
        println!("LOADING: by policy, then on the store {back:?} after the end of it");
        assert!(back <= most_until_back(), "{back:?}");
        assert_eq!(fleet.used("u"), 1 + granted, "what was saved is there again");
    });
    fleet.assert_alive();
}
