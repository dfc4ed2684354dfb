//! Paying back what this node let through.

use super::*;
use FailurePolicy::Local;

/// What the store says is left for a user.
async fn remaining(site: &Site, user: &str) -> u64 {
    let stats = site.engine.stats(&Selection::new("d", user)).await.unwrap();
    stats.verdicts().next().unwrap().gauge.remaining
}

#[tokio::test(start_paused = true)]
async fn what_was_let_through_is_debited_once_the_store_answers() {
    let site = Site::new(vec![rule("r", Algorithm::FixedWindow, 100, Local)]);
    site.spawn_loops();
    site.engine.set_live_nodes(2);
    assert_eq!(site.passed(10).await, 10);
    site.outage().await;
    assert_eq!(site.passed(70).await, 50);
    site.advance(5_000).await;
    let counts = site.engine.degraded_counts();
    assert_eq!((counts.local, counts.debts, counts.units_debited), (70, 1, 0), "it is remembered meanwhile");
    site.store.set(Mood::Well);
    site.advance(2_000).await;
    assert_eq!(site.store.debits(), [50], "and paid without anybody asking");
    assert_eq!(remaining(&site, "u1").await, 40);
    let counts = site.engine.degraded_counts();
    assert_eq!((counts.debts, counts.units_debited, counts.units_lost), (0, 50, 0));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_goes_again_is_owed_still() {
    let site = Site::new(vec![rule("r", Algorithm::FixedWindow, 100, Local)]);
    site.spawn_loops();
    site.outage().await;
    assert_eq!(site.passed(30).await, 30);
    site.store.set(Mood::OnlyProbes);
    site.advance(10_000).await;
    assert_eq!(site.engine.degraded_counts().debts, 1, "tried, refused, put back");
    site.store.set(Mood::Well);
    site.advance(3_000).await;
    assert_eq!(site.store.debits(), [30]);
    site.advance(20_000).await;
    assert_eq!(site.store.debits(), [30], "once");
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_charged_is_not_charged_again() {
    let site = Site::new(vec![bucket("r", 100, Local)]);
    site.spawn_loops();
    site.store.set(Mood::Timing);
    assert_eq!(site.passed(4).await, 4);
    assert_eq!(site.engine.degraded_counts().debts, 0, "a charge that timed out counts as made");
    site.store.set(Mood::Failing);
    assert_eq!(site.passed(3).await, 3);
    site.store.set(Mood::Timing);
    site.advance(1_000).await;
    let counts = site.engine.degraded_counts();
    assert_eq!((counts.debts, counts.units_lost), (1, 0), "while the circuit is open nothing is tried");
    site.advance(60_000).await;
    let counts = site.engine.degraded_counts();
    assert_eq!((counts.debts, counts.units_lost), (0, 3), "and a debit that timed out is not repeated");
    site.store.set(Mood::Well);
    site.advance(10_000).await;
    assert_eq!(site.store.debits(), [0_u64; 0]);
}

#[tokio::test(start_paused = true)]
async fn debts_find_their_buckets_under_new_rules_or_are_lost() {
    let paths =
        Rule { on_store_failure: Some(Local), ..bucket("paths", 100, Local).with_key(["user", "path"]) };
    let site = Site::new(vec![bucket("stays", 100, Local), bucket("goes", 100, Local), paths]);
    site.spawn_loops();
    site.outage().await;
    let entries = [("user", "u1"), ("path", "/a")];
    for _ in 0..7 {
        assert!(site.engine.decide(&Request::new("d", &entries)).await.unwrap().is_allowed());
    }
    assert_eq!(site.engine.degraded_counts().debts, 3);
    // Another limit, one rule less, and another key.
    let rekeyed = bucket("paths", 100, Local);
    site.engine.replace_rules(set(vec![bucket("stays", 50, Local), rekeyed]));
    site.store.set(Mood::Well);
    site.advance(2_000).await;
    assert_eq!(site.store.debits(), [7]);
    let counts = site.engine.degraded_counts();
    assert_eq!((counts.debts, counts.units_debited, counts.units_lost), (0, 7, 14));
}

#[tokio::test(start_paused = true)]
async fn many_debts_are_paid_at_a_bounded_rate() {
    let site = Site::new(vec![rule("r", Algorithm::FixedWindow, 100, Local)]);
    site.spawn_loops();
    site.outage().await;
    for user in 0..2_500 {
        let user = user.to_string();
        let entries = [("user", user.as_str())];
        assert!(site.engine.decide(&Request::new("d", &entries)).await.unwrap().is_allowed());
    }
    site.recovery().await;
    let paid = site.store.debits().len();
    site.advance(500).await;
    let more = site.store.debits().len() - paid;
    assert!(more <= 1_200, "2,000 a second at most: {more}");
    site.advance(3_000).await;
    assert_eq!(site.store.debits().len(), 2_500);
}

#[tokio::test(start_paused = true)]
async fn buckets_of_this_node_are_forgotten_when_the_store_has_gone_on_answering() {
    let site = Site::new(vec![rule("r", Algorithm::FixedWindow, 100, Local)]);
    site.clock.set(START.saturating_add(Micros::from_secs(1)));
    site.spawn_loops();
    site.outage().await;
    assert_eq!(site.passed(200).await, 100);
    site.store.set(Mood::Well);
    site.advance(3_000).await;
    site.outage().await;
    assert_eq!(site.passed(10).await, 0, "a store that comes and goes brings no fresh burst");
    site.store.set(Mood::Well);
    site.advance(2_000).await;
    assert_eq!(remaining(&site, "u1").await, 0);
    site.advance(15_000).await;
    site.outage().await;
    assert_eq!(site.passed(10).await, 10, "it is the store that remembers now");
}
