//! Limits by tier, on three nodes, and tiers that change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tidegate_testkit::{Postgres, RedisServer, Stopwatch, TempDir};

use crate::machine::{RUNTIME, alone};
use crate::site::{MOST_UNTIL_IN_FORCE, Nodes, check_of, tiered};
use crate::wire::Connection;

const USERS: usize = 100;
const FREE: u64 = 10;
const ENTERPRISE: u64 = 1_000;

/// Sends so many checks of each user, spread over the nodes, and gives who passed.
fn checks(nodes: &Nodes, name: &str, each: usize) -> Vec<Vec<bool>> {
    let mut connections: Vec<_> = nodes.addresses().into_iter().map(Connection::new).collect();
    let asking = async {
        let mut passed = Vec::with_capacity(USERS);
        for user in 0..USERS {
            let body = check_of("payments", &format!("{name}-{user}"));
            let mut of_user = Vec::with_capacity(each);
            for turn in 0..each {
                let at = (user + turn) % connections.len();
                let answer = connections[at].post("/v1/check", &body).await.unwrap();
                assert!(matches!(answer.status, 200 | 429) && !answer.degraded, "{answer:?}");
                of_user.push(answer.status == 200);
            }
            passed.push(of_user);
        }
        passed
    };
    RUNTIME.block_on(asking)
}

/// A load on the domain `marketing`, as fast as it is answered, until it is stopped.
struct Hammer {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
}

impl Hammer {
    fn start(nodes: &Nodes) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        for address in nodes.addresses().into_iter().cycle().take(6) {
            let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
            RUNTIME.spawn(async move {
                let mut connection = Connection::new(address);
                let body = check_of("marketing", "campaign");
                while !stop.load(Relaxed) && connection.post("/v1/check", &body).await.is_ok() {
                    sent.fetch_add(1, Relaxed);
                }
            });
        }
        Self { stop, sent }
    }

    fn stop(self) -> u64 {
        self.stop.store(true, Relaxed);
        self.sent.load(Relaxed)
    }
}

/// Whether each node has these quotas in force for a user, how long until they had, and how many checks passed meanwhile.
fn time_to_effect(nodes: &Nodes, user: &str, limit: u64, watch: Stopwatch) -> (Duration, u64) {
    let admitted = AtomicU64::new(0);
    nodes.wait_until_each("the tier is in force", &check_of("payments", user), |answer| {
        admitted.fetch_add(u64::from(answer["allowed"] == true), Relaxed);
        answer["limit"] == limit
    });
    (watch.elapsed(), admitted.into_inner())
}

/// Makes a user who has used up the free quota enterprise and free again, and checks every count.
fn up_and_down(nodes: &Nodes, user: &str, change: impl Fn(&str)) {
    let body = check_of("payments", user);
    let count = nodes.nodes.len();
    for turn in 0..FREE as usize + 3 {
        assert_eq!(nodes.check(turn % count, &body).status, if turn < FREE as usize { 200 } else { 429 });
    }
    let watch = Stopwatch::start();
    change("enterprise");
    let (took, mut admitted) = time_to_effect(nodes, user, ENTERPRISE, watch);
    println!("{user}: enterprise on {count} nodes {took:?} after the change");
    assert!(took <= MOST_UNTIL_IN_FORCE, "{took:?}");
    let mut turn = 0;
    while nodes.check(turn % count, &body).status == 200 {
        admitted += 1;
        turn += 1;
    }
    assert_eq!(FREE + admitted, ENTERPRISE, "429s stop until the new limit, and begin there");
    let watch = Stopwatch::start();
    change("free");
    let (took, admitted) = time_to_effect(nodes, user, FREE, watch);
    println!("{user}: free on {count} nodes {took:?} after the change");
    assert!(took <= MOST_UNTIL_IN_FORCE, "{took:?}");
    assert_eq!(admitted, 0);
}

#[test]
fn a_hundred_free_users_are_denied_after_ten_requests_each_and_another_domain_changes_nothing() {
    let _alone = alone();
    let (postgres, redis) = (Postgres::start(), RedisServer::start());
    let nodes = Nodes::three(&postgres.url(), &redis.url());
    nodes.change(0, "PUT", "/domains/payments", &tiered(FREE));
    let marketing =
        r#"{"name":"marketing","rules":[{"name":"campaigns","key":["user_id"],"limit":10,"window":"1s"}]}"#;
    nodes.change(1, "PUT", "/domains/marketing", marketing);
    let each = FREE as usize + 2;
    let quiet = checks(&nodes, "quiet", each);
    let (hammer, watch) = (Hammer::start(&nodes), Stopwatch::start());
    let mut times = 0;
    // Until marketing had a hundred times its limit.
    while times == 0 || hammer.sent.load(Relaxed) < 1_000 {
        let noisy = checks(&nodes, &format!("noisy-{times}"), each);
        assert!(quiet == noisy, "marketing changed what payments is answered");
        times += 1;
    }
    let (sent, took) = (hammer.stop(), watch.elapsed());
    println!("marketing: {:.0} requests a second at a limit of 10", sent as f64 / took.as_secs_f64());
    let wanted: Vec<bool> = (0..each).map(|turn| turn < FREE as usize).collect();
    assert!(quiet.iter().all(|passed| *passed == wanted), "ten of twelve pass, the first ten");
    nodes.assert_alive();
}

#[test]
fn one_call_or_one_statement_changes_a_tier_on_three_nodes() {
    let _alone = alone();
    let (postgres, redis) = (Postgres::start(), RedisServer::start());
    let nodes = Nodes::three(&postgres.url(), &redis.url());
    nodes.change(0, "PUT", "/domains/payments", &tiered(FREE));
    up_and_down(&nodes, "called", |tier| {
        nodes.admin(1, "PUT", "/domains/payments/subjects/called", &format!(r#"{{"tier":"{tier}"}}"#));
    });
    postgres
        .sql("postgres", "INSERT INTO subjects (domain, subject, tier) VALUES ('payments', 'told', 'free')");
    up_and_down(&nodes, "told", |tier| {
        postgres.sql("postgres", &format!("UPDATE subjects SET tier = '{tier}' WHERE subject = 'told'"));
    });
    nodes.assert_alive();
}

#[test]
fn one_call_changes_a_tier_on_three_nodes_that_share_a_file() {
    let _alone = alone();
    let (shared, redis) = (TempDir::new("shared"), RedisServer::start());
    let file = shared.join("catalog.db").display().to_string();
    let nodes = Nodes::three(&file, &redis.url());
    nodes.change(0, "PUT", "/domains/payments", &tiered(FREE));
    up_and_down(&nodes, "called", |tier| {
        nodes.admin(2, "PUT", "/domains/payments/subjects/called", &format!(r#"{{"tier":"{tier}"}}"#));
    });
    nodes.assert_alive();
}
