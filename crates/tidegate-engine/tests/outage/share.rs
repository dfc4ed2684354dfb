//! This node's share: how much it is, and what happens to it when rules or the number of nodes change.

use tidegate_core::rule::model::Queue;
use tidegate_engine::Answer;

use super::*;
use FailurePolicy::Local;

#[tokio::test(start_paused = true)]
async fn a_share_is_exactly_the_limit_by_the_number_of_nodes() {
    for algorithm in Algorithm::ALL {
        if algorithm == Algorithm::LeakyBucket {
            continue; // its burst is one, whatever its limit
        }
        for (limit, nodes, share) in [(100, 1, 100), (100, 3, 33), (100, 4, 25), (2, 5, 1), (0, 2, 0)] {
            let site = Site::new(vec![rule("r", algorithm, limit, Local)]);
            site.engine.set_live_nodes(nodes);
            site.outage().await;
            assert_eq!(site.passed(150).await, share, "{algorithm}: {limit} by {nodes}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn verdicts_are_those_of_the_share() {
    let site = Site::new(vec![bucket("r", 100, Local)]);
    site.engine.set_live_nodes(4);
    site.outage().await;
    let decision = site.decide().await;
    let binding = decision.binding().unwrap();
    assert_eq!((binding.rule.name(), binding.quota.limit(), binding.quota.burst()), ("r", 25, 25));
    assert_eq!((binding.gauge.remaining, binding.most), (24, 25));
    site.passed(24).await;
    let denied = site.decide().await;
    assert_eq!(denied.retry_after(), Some(Micros::from_micros(2_400_000)), "a quarter of the rate");
    site.clock.advance(Micros::from_micros(2_399_999));
    assert!(!site.decide().await.is_allowed());
    site.clock.advance(Micros::from_micros(1));
    assert!(site.decide().await.is_allowed());
}

#[tokio::test(start_paused = true)]
async fn tiers_and_a_hierarchy_have_their_shares_all_or_nothing() {
    let quota = Quota::new(Algorithm::TokenBucket, 40, MINUTE, None).unwrap();
    let tiered = Rule { tiers: vec![("pro".into(), quota)], ..bucket("user", 10, Local) };
    let mut all = bucket("all", 24, Local);
    all.key.clear();
    let site = Site::new(vec![tiered, all]);
    site.engine.set_live_nodes(2);
    site.outage().await;
    assert_eq!(site.passed(100).await, 5, "half of 10");
    let pro = [("user", "u2"), ("tier", "pro")];
    let mut passed = 0;
    for _ in 0..100 {
        passed += u64::from(site.engine.decide(&Request::new("d", &pro)).await.unwrap().is_allowed());
    }
    assert_eq!(passed, 7, "of half of 24, five are gone; half of 40 would be more");
}

#[tokio::test(start_paused = true)]
async fn a_change_of_rules_or_nodes_brings_no_fresh_burst() {
    let site = Site::new(vec![bucket("r", 100, Local)]);
    site.engine.set_live_nodes(2);
    site.outage().await;
    assert_eq!(site.passed(100).await, 50);
    site.engine.set_live_nodes(1);
    assert_eq!(site.passed(100).await, 50, "a hundred less the fifty that are used");
    site.engine.set_live_nodes(4);
    assert_eq!(site.passed(100).await, 0);
    site.engine.replace_rules(set(vec![bucket("r", 480, Local)]));
    let decision = site.decide().await;
    assert_eq!((decision.rules_version(), decision.is_allowed()), (2, true), "a quarter is 120: 20 are left");
    assert_eq!(site.passed(100).await, 19);
    for flip in 0..40 {
        site.engine.set_live_nodes(1 + flip % 2 * 3);
        site.passed(1).await;
    }
    site.engine.set_live_nodes(4);
    assert_eq!(site.passed(500).await, 0);
}

#[tokio::test(start_paused = true)]
async fn rules_replaced_in_the_outage_hold_at_once() {
    let site = Site::new(vec![bucket("r", 10, FailurePolicy::Deny)]);
    site.outage().await;
    assert_eq!(site.passed(5).await, 0);
    site.engine.replace_rules(set(vec![bucket("r", 10, Local)]));
    assert_eq!(site.passed(20).await, 10);
    site.engine.replace_rules(set(vec![bucket("r", 10, FailurePolicy::Allow)]));
    assert_eq!(site.passed(20).await, 20);
    site.engine.replace_rules(set(vec![bucket("other", 3, Local)]));
    assert_eq!(site.passed(20).await, 3);
}

#[tokio::test(start_paused = true)]
async fn permits_of_this_node_are_taken_and_given_back_here() {
    let site = Site::new(vec![rule("r", Algorithm::Concurrency, 4, Local)]);
    let from_the_store = site.decide().await.permit().unwrap().clone();
    site.engine.set_live_nodes(2);
    site.outage().await;
    let first = site.decide().await.permit().unwrap().clone();
    assert!(site.decide().await.is_allowed());
    assert!(!site.decide().await.is_allowed());
    let text = first.to_string();
    assert!(site.engine.release(&text.parse().unwrap()).await.unwrap());
    assert!(!site.engine.release(&first).await.unwrap(), "only once");
    assert!(site.decide().await.is_allowed());
    assert!(site.engine.release(&from_the_store).await.is_err(), "the store keeps that one");
    site.recovery().await;
    assert_eq!(site.store.debits(), [0_u64; 0], "permits are not owed");
}

#[tokio::test(start_paused = true)]
async fn a_key_is_charged_once_as_long_as_this_node_decides() {
    let site = Site::new(vec![bucket("r", 10, Local)]);
    site.outage().await;
    let once = Request { idempotency_key: Some("order-1"), ..request() };
    for repeated in [false, true, true] {
        let decision = site.engine.decide(&once).await.unwrap();
        assert_eq!((decision.is_repeated(), decision.binding().unwrap().gauge.remaining), (repeated, 9));
    }
    assert_eq!(site.engine.degraded_counts().debts, 1);
}

#[tokio::test(start_paused = true)]
async fn who_stops_waiting_for_this_node_gives_the_place_back_and_owes_nothing() {
    let queue = Some(Queue { max_wait: Micros::from_secs(600), max_depth: 100 });
    let site = Site::new(vec![Rule { queue, ..rule("valve", Algorithm::LeakyBucket, 1, Local) }]);
    site.outage().await;
    assert_eq!(site.decide().await.answer(), Answer::Allow);
    let entries = request();
    let left = tokio::time::timeout(Duration::from_secs(1), site.engine.check(&entries)).await;
    assert!(left.is_err());
    assert_eq!(site.decide().await.answer(), Answer::Wait(MINUTE), "the place is free again");
    site.spawn_loops();
    site.store.set(Mood::Well);
    site.advance(5_000).await;
    assert_eq!(site.store.debits(), [2], "of the two that stayed");
}
