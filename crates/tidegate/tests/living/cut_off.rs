//! One node cut off from the database that the others still reach.

use std::time::Duration;

use tidegate_testkit::{FaultProxy, Link, Postgres, RedisServer, Stopwatch, wait_until};

use crate::machine::{alone, hold, is_strict};
use crate::site::{Nodes, check_of, most_until_caught_up, tiered};

#[test]
fn changes_made_while_a_node_was_cut_off_arrive_when_it_is_back() {
    let _alone = alone();
    let (postgres, redis) = (Postgres::start(), RedisServer::start());
    let proxy = FaultProxy::start(([127, 0, 0, 1], postgres.port()).into(), 7);
    let cut_off = format!("postgres://postgres@{}/postgres", proxy.address());
    let databases = [postgres.url(), postgres.url(), cut_off];
    let nodes = Nodes::start(&databases, &["--store", &redis.url(), "--store-deadline", "1s"]);
    nodes.change(0, "PUT", "/domains/payments", &tiered(10));
    for (round, link) in [Link::Refuse, Link::BlackHole].into_iter().enumerate() {
        let user = format!("user-{round}");
        let body = check_of("payments", &user);
        nodes.wait_until_each("the user is known", &body, |answer| answer["tier"].is_null());
        proxy.change(|faults| faults.link = link);
        let (watch, limit) = (Stopwatch::start(), 20 + round);
        let put = nodes.admin(0, "PUT", "/domains/payments", &tiered(limit as u64));
        postgres.sql(
            "postgres",
            &format!(
                "INSERT INTO subjects (domain, subject, tier) VALUES ('payments', '{user}', 'enterprise')"
            ),
        );
        nodes.wait_until_database(2, "down");
        println!("{link:?}: the node says so {:?} after it", watch.elapsed());
        hold(Duration::from_secs(if is_strict() { 20 } else { 0 }));
        // The node may notice sooner than the others hear of the tier.
        wait_until("the others have the tier", Duration::from_secs(10), || {
            nodes.check(0, &body).json()["limit"] == 1_000
        });
        assert_ne!(nodes.check(2, &body).json()["limit"], 1_000, "the node is not cut off");
        proxy.heal();
        let watch = Stopwatch::start();
        nodes.wait_until_each("the tier arrives", &body, |answer| answer["limit"] == 1_000);
        let other = check_of("payments", &format!("other-{round}"));
        nodes.wait_until_each("the rule arrives", &other, |answer| answer["limit"] == limit);
        nodes.wait_until_at(put["version"].as_i64().unwrap());
        let took = watch.elapsed();
        println!("{link:?}: caught up {took:?} after the link was back");
        assert!(took <= most_until_caught_up(), "{took:?}");
    }
    nodes.assert_alive();
}

#[test]
fn a_node_that_missed_a_change_and_its_undoing_counts_in_the_same_buckets() {
    let _alone = alone();
    let (postgres, redis) = (Postgres::start(), RedisServer::start());
    let proxy = FaultProxy::start(([127, 0, 0, 1], postgres.port()).into(), 7);
    let cut_off = format!("postgres://postgres@{}/postgres", proxy.address());
    let nodes =
        Nodes::start(&[postgres.url(), cut_off], &["--store", &redis.url(), "--store-deadline", "1s"]);
    let domain = |limit: u64| {
        format!(
            r#"{{"name":"hot","rules":[{{"name":"hot","key":["user_id"],"limit":{limit},"window":"2s"}}]}}"#
        )
    };
    nodes.change(0, "PUT", "/domains/hot", &domain(20));
    proxy.change(|faults| faults.link = Link::Refuse);
    nodes.admin(0, "PUT", "/domains/hot", &domain(200));
    let put = nodes.admin(0, "PUT", "/domains/hot", &domain(20));
    // Buckets of before are at rest.
    hold(Duration::from_secs(3));
    proxy.heal();
    nodes.wait_until_at(put["version"].as_i64().unwrap());
    nodes.change(0, "PUT", "/domains/other", r#"{"name":"other","rules":[]}"#);
    let (watch, mut passed) = (Stopwatch::start(), 0);
    for turn in 0..400 {
        passed += u64::from(nodes.check(turn % 2, &check_of("hot", "hammered")).status == 200);
    }
    let most = 20 + watch.elapsed().as_millis() as u64 / 100 + 1;
    println!("two nodes, of which one has missed two changes: {passed} passed of {most} at the most");
    assert!(passed <= most, "{passed} of {most}");
    nodes.assert_alive();
}
