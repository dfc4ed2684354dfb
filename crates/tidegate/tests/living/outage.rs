//! The database killed and paused, at the start and while nodes serve.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tidegate_testkit::{Postgres, RedisServer, Stopwatch, TempDir, Tidegate, wait_until};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::machine::{PATIENCE, RUNTIME, alone, bound, hold, is_strict};
use crate::site::{Nodes, check_of, most_until_caught_up, options, tiered};
use crate::wire::Connection;

/// The longest that nearly every answer may take while the database does not: a lookup is waited for 100 ms at the most, and
/// then not tried for a while.
fn most_of_an_answer() -> Duration {
    bound(Duration::from_millis(150), Duration::from_millis(400))
}

/// Waits until a node's last good rules on disk have a text in them.
fn wait_until_kept(nodes: &Nodes, node: usize, text: &str) {
    let path = nodes.dir.join(&format!("last-good-{node}"));
    wait_until("the last good rules are on disk", PATIENCE, || {
        std::fs::read(&path).is_ok_and(|kept| String::from_utf8_lossy(&kept).contains(text))
    });
}

fn set_tier(nodes: &Nodes, node: usize, subject: &str, tier: &str) {
    let path = format!("/domains/payments/subjects/{subject}");
    nodes.admin(node, "PUT", &path, &format!(r#"{{"tier":"{tier}"}}"#));
}

#[test]
fn a_node_that_starts_without_its_database_serves_its_last_good_rules_and_keys() {
    let _alone = alone();
    let mut postgres = Postgres::start();
    let mut nodes = Nodes::start(&[postgres.url()], &["--require-api-key"]);
    nodes.change(0, "PUT", "/domains/payments", &tiered(7));
    let made = nodes.admin(0, "POST", "/keys", r#"{"name":"app","scopes":["check"]}"#);
    let key = made["key"].as_str().unwrap().to_owned();
    wait_until_kept(&nodes, 0, made["prefix"].as_str().unwrap());
    wait_until_kept(&nodes, 0, "per-user");
    let ask = |nodes: &Nodes, key: &str| {
        let mut connection = Connection::new(nodes.nodes[0].address());
        let (fields, body) = (format!("x-api-key: {key}\r\n"), check_of("payments", "u"));
        RUNTIME.block_on(connection.request("POST", "/v1/check", &fields, &body)).unwrap()
    };
    assert_eq!(ask(&nodes, &key).json()["limit"], 7);
    let version = ask(&nodes, &key).json()["rules_version"].clone();

    postgres.kill();
    let watch = Stopwatch::start();
    nodes.nodes[0].restart();
    println!("ready {:?} after a start without the database", watch.elapsed());
    let catalog = nodes.catalog(0);
    assert_eq!(
        (&catalog["rules_from"], &catalog["database"]["state"]),
        (&"last-good".into(), &"down".into())
    );
    assert_eq!(catalog["current"], false);
    assert_eq!(nodes.metric(0, "tidegate_catalog_up"), 0.0);
    let answer = ask(&nodes, &key).json();
    assert_eq!((&answer["limit"], &answer["tier_lookup"]), (&7.into(), &"failed".into()), "{answer}");
    assert_eq!(answer["rules_version"], version);
    assert_eq!(ask(&nodes, "tg_nobody").status, 401);

    postgres.restart();
    let back = nodes.wait_until_database(0, "up");
    wait_until("the rules are the database's", PATIENCE, || nodes.catalog(0)["rules_from"] == "database");
    println!("on the database {back:?} after it came");
    assert!(back <= most_until_caught_up(), "{back:?}");
    // The same rules keep their version: whoever compares answers of two nodes sees that nothing has changed.
    assert_eq!(ask(&nodes, &key).json()["rules_version"], version);
    assert_eq!(nodes.metric(0, "tidegate_catalog_up"), 1.0);
    nodes.assert_alive();
}

#[test]
fn a_node_that_knows_nothing_waits_for_its_database_and_one_with_a_rule_file_does_not() {
    let _alone = alone();
    let mut postgres = Postgres::start();
    postgres.kill();
    let dir = TempDir::new("living");
    let empty = options(&dir, 0, &postgres.url(), &[]);
    let starting = thread::spawn(move || Tidegate::with(&empty));
    let rules = dir.write("rules.yaml", "version: 1\ndomains:\n  - name: filed\n    rules:\n      - { name: r, key: [u], limit: 5, window: 1m }\n");
    let filed = options(&dir, 1, &postgres.url(), &["--rules", &rules.display().to_string()]);
    let nodes = Nodes { nodes: vec![Tidegate::with(&filed)], dir: TempDir::new("living") };
    let catalog = nodes.catalog(0);
    assert_eq!((&catalog["rules_from"], &catalog["database"]["state"]), (&"file".into(), &"down".into()));
    assert_eq!(nodes.check(0, r#"{"domain":"filed","descriptors":{"u":"1"}}"#).json()["limit"], 5);
    hold(Duration::from_secs(1));
    assert!(!starting.is_finished(), "a node without rules is ready");
    postgres.restart();
    let watch = Stopwatch::start();
    let waited = starting.join().unwrap();
    println!("the node that waited is ready {:?} after the database came", watch.elapsed());
    assert!(waited.logs().contains("waiting for it"), "{}", waited.logs());
    nodes.wait_until_database(0, "up");
    wait_until("the rules are the database's", PATIENCE, || nodes.catalog(0)["rules_from"] == "database");
    nodes.assert_alive();
}

/// Clients that ask for a known subject and for new ones in turn, and remember every answer: how long it took, whether the
/// subject is the known one, and what it was.
struct Probe {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<(Duration, bool, Value)>>>,
}

impl Probe {
    fn start(nodes: &Nodes, name: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |(node, address)| {
            let (stop, name) = (Arc::clone(&stop), format!("{name}-{node}"));
            RUNTIME.spawn(async move {
                let (mut connection, mut answers) = (Connection::new(address), Vec::new());
                let mut ticks = interval(Duration::from_millis(10));
                ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
                for turn in 0.. {
                    if stop.load(Relaxed) {
                        break;
                    }
                    ticks.tick().await;
                    let user = if turn % 2 == 0 { "vip".to_owned() } else { format!("{name}-{turn}") };
                    let watch = Stopwatch::start();
                    let answer = connection.post("/v1/check", &check_of("payments", &user)).await.unwrap();
                    answers.push((watch.elapsed(), turn % 2 == 0, answer.json()));
                }
                answers
            })
        };
        let clients = nodes.addresses().into_iter().enumerate().map(client).collect();
        Self { stop, clients }
    }

    fn stop(self) -> Vec<(Duration, bool, Value)> {
        self.stop.store(true, Relaxed);
        let all = async {
            let mut answers = Vec::new();
            for client in self.clients {
                answers.append(&mut client.await.unwrap());
            }
            answers
        };
        RUNTIME.block_on(all)
    }
}

fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

#[test]
fn checks_go_on_while_the_database_is_killed_or_paused_and_nodes_catch_up_by_themselves() {
    let _alone = alone();
    let (mut postgres, redis) = (Postgres::start(), RedisServer::start());
    let nodes = Nodes::three(&postgres.url(), &redis.url());
    nodes.change(0, "PUT", "/domains/payments", &tiered(10));
    set_tier(&nodes, 0, "vip", "enterprise");
    // A look at the database takes rules first: when the second change is there, the tier is.
    nodes.change(0, "PUT", "/domains/payments", &tiered(9));
    nodes.change(0, "PUT", "/domains/payments", &tiered(10));
    nodes.wait_until_each("the tier is known", &check_of("payments", "vip"), |answer| {
        answer["limit"] == 1_000
    });
    let length = Duration::from_secs(if is_strict() { 20 } else { 3 });
    for outage in ["killed", "paused"] {
        let version = nodes.catalog(0)["version"].clone();
        if outage == "killed" {
            postgres.kill();
        } else {
            postgres.pause();
        }
        let probe = Probe::start(&nodes, outage);
        let watch = Stopwatch::start();
        for node in 0..3 {
            nodes.wait_until_database(node, "down");
        }
        println!("{outage}: every node says so {:?} after it", watch.elapsed());
        assert_eq!(nodes.metric(1, "tidegate_catalog_up"), 0.0);
        hold(length.saturating_sub(watch.elapsed()));
        let answers = probe.stop();
        let mut failed = 0;
        for (_, is_known, answer) in &answers {
            assert_eq!(answer["rules_version"], version);
            if *is_known {
                assert_eq!(
                    (&answer["tier"], &answer["limit"]),
                    (&"enterprise".into(), &1_000.into()),
                    "{answer}"
                );
            } else {
                assert_eq!(
                    (&answer["tier_lookup"], &answer["limit"]),
                    (&"failed".into(), &10.into()),
                    "{answer}"
                );
                failed += 1;
            }
        }
        assert!(failed > 0);
        let slow = p99(answers.iter().map(|(took, ..)| *took).collect());
        println!("{outage}: {} answers, {failed} without a lookup, p99 {slow:?}", answers.len());
        assert!(slow <= most_of_an_answer(), "{slow:?}");

        if outage == "killed" {
            postgres.restart();
        } else {
            postgres.resume();
        }
        let watch = Stopwatch::start();
        postgres.sql("postgres", &format!("INSERT INTO subjects (domain, subject, tier) VALUES ('payments', 'after-{outage}', 'enterprise')"));
        let body = check_of("payments", &format!("after-{outage}"));
        nodes.wait_until_each("the nodes catch up", &body, |answer| answer["limit"] == 1_000);
        let took = watch.elapsed();
        println!("{outage}: a change afterwards in force {took:?} after the return");
        assert!(took <= most_until_caught_up(), "{took:?}");
        for node in 0..3 {
            nodes.wait_until_database(node, "up");
        }
    }
    nodes.assert_alive();
}
