//! Usage: added once, summed, rolled up.

use tidegate_catalog::model::{Resolution, UsageCounts, UsageKey};
use tidegate_catalog::repository::{Added, Dimension, Repository, Retention, UsageQuery};

use crate::database::*;

crate::on_both!(
    the_same_batch_counts_once,
    usage_is_summed_apart_for_what_is_asked,
    old_minutes_become_hours_and_old_hours_go,
    several_nodes_may_roll_up_at_once,
    costs_beyond_all_bounds_stay_at_the_bound,
);

/// Some hour, in seconds.
const HOUR: i64 = 1_800_000_000;

pub(crate) fn row(rule: &str, tier: &str, at_s: i64) -> UsageKey {
    UsageKey {
        tenant: "default".to_owned(),
        domain: "pay".to_owned(),
        rule: rule.to_owned(),
        tier: tier.to_owned(),
        at_s,
    }
}

fn counts(allowed: u64) -> UsageCounts {
    UsageCounts { allowed, denied: 1, cost: allowed * 2 }
}

fn all(resolution: Resolution, group_by: &[Dimension]) -> UsageQuery {
    UsageQuery {
        tenant: Some("default".to_owned()),
        domain: None,
        rule: None,
        tier: None,
        from_s: 0,
        to_s: i64::MAX,
        resolution,
        group_by: group_by.to_vec(),
        limit: 100,
    }
}

pub(crate) async fn total(repository: &Repository, resolution: Resolution) -> Option<UsageCounts> {
    repository.usage(&all(resolution, &[])).await.unwrap().pop().map(|(_, counts)| counts)
}

async fn the_same_batch_counts_once(database: Database) {
    let repository = database.open();
    assert_eq!(total(&repository, Resolution::Hour).await, None);
    // The same row twice in one batch is one row.
    let rows = [(row("a", "", HOUR), counts(1)), (row("a", "", HOUR + 59), counts(2))];
    assert_eq!(repository.add_usage("n1", 1, NOW, &rows).await.unwrap(), Added::Now);
    assert_eq!(database.open().add_usage("n1", 1, NOW, &rows).await.unwrap(), Added::Before);
    assert_eq!(total(&repository, Resolution::Minute).await.unwrap().allowed, 3);
    assert_eq!(repository.add_usage("n2", 1, NOW, &rows).await.unwrap(), Added::Now);
    assert_eq!(repository.add_usage("n1", 2, NOW, &[]).await.unwrap(), Added::Now);
    let sums = repository.usage(&all(Resolution::Minute, &[Dimension::Time])).await.unwrap();
    assert_eq!(sums.len(), 1);
    assert_eq!((sums[0].0.at_s, sums[0].1), (HOUR, UsageCounts { allowed: 6, denied: 4, cost: 12 }));
}

async fn usage_is_summed_apart_for_what_is_asked(database: Database) {
    let repository = database.open();
    let rows = [
        (row("a", "free", HOUR), counts(1)),
        (row("a", "gold", HOUR + 60), counts(10)),
        (row("b", "free", HOUR + 3_600), counts(100)),
    ];
    repository.add_usage("n", 1, NOW, &rows).await.unwrap();
    let summed = async |query: UsageQuery| -> Vec<(String, String, i64, u64)> {
        let sums = repository.usage(&query).await.unwrap();
        sums.into_iter().map(|(key, counts)| (key.rule, key.tier, key.at_s, counts.allowed)).collect()
    };
    let text = str::to_owned;
    let by_rule = all(Resolution::Hour, &[Dimension::Rule]);
    assert_eq!(summed(by_rule.clone()).await, [(text("a"), text(""), 0, 11), (text("b"), text(""), 0, 100)]);
    let by_time = all(Resolution::Hour, &[Dimension::Time]);
    assert_eq!(
        summed(by_time.clone()).await,
        [(text(""), text(""), HOUR, 11), (text(""), text(""), HOUR + 3_600, 100)]
    );
    let of_free = UsageQuery {
        tier: Some(text("free")),
        ..all(Resolution::Minute, &[Dimension::Tier, Dimension::Time])
    };
    assert_eq!(
        summed(of_free).await,
        [(text(""), text("free"), HOUR, 1), (text(""), text("free"), HOUR + 3_600, 100)]
    );
    let of_a = UsageQuery { rule: Some(text("a")), to_s: HOUR + 60, ..by_time };
    assert_eq!(summed(of_a).await, [(text(""), text(""), HOUR, 1)]);
    assert_eq!(summed(UsageQuery { from_s: HOUR + 61, limit: 1, ..by_rule }).await.len(), 1);
}

async fn old_minutes_become_hours_and_old_hours_go(database: Database) {
    let repository = database.open();
    let rows: Vec<_> = (0..180).map(|minute| (row("a", "", HOUR + minute * 60), counts(1))).collect();
    repository.add_usage("n", 1, NOW, &rows).await.unwrap();
    let hours = all(Resolution::Hour, &[Dimension::Time]);
    let before = repository.usage(&hours).await.unwrap();
    let keep = Retention { minutes_s: 3_600, hours_s: 7_200 };
    // Two hours and a half after the first minute: the first hour is old.
    let now_us = (HOUR + 9_000) * SECOND;
    repository.roll_up(now_us, &keep).await.unwrap();
    assert_eq!(repository.usage(&hours).await.unwrap(), before);
    assert_eq!(total(&repository, Resolution::Minute).await.unwrap().allowed, 120);
    // A minute that comes late is added to its hour the next time.
    repository.add_usage("n", 2, NOW, &[(row("a", "", HOUR), counts(5))]).await.unwrap();
    repository.roll_up(now_us, &keep).await.unwrap();
    assert_eq!(repository.usage(&hours).await.unwrap()[0].1.allowed, 65);
    assert_eq!(total(&repository, Resolution::Minute).await.unwrap().allowed, 120);
    repository.roll_up(now_us + 3_600 * SECOND, &keep).await.unwrap();
    assert_eq!(repository.usage(&hours).await.unwrap().len(), 2);
    // Batches of more than a day ago are not known any more.
    repository.roll_up(NOW + 24 * 3_600 * SECOND + 1, &keep).await.unwrap();
    assert_eq!(repository.add_usage("n", 2, NOW, &[]).await.unwrap(), Added::Now);
}

async fn costs_beyond_all_bounds_stay_at_the_bound(database: Database) {
    let repository = database.open();
    let huge = UsageCounts { allowed: 1, denied: 0, cost: u64::MAX };
    for batch in 1..=2 {
        let rows =
            [(row("a", "", HOUR), huge), (row("a", "", HOUR + 60), huge), (row("b", "", HOUR), counts(1))];
        repository.add_usage("n", batch, NOW, &rows).await.unwrap();
    }
    let most = Some(UsageCounts { allowed: 6, denied: 2, cost: 9_000_000_000_000_000_000 });
    assert_eq!(total(&repository, Resolution::Minute).await, most);
    let keep = Retention { minutes_s: 3_600, hours_s: 7_200 };
    repository.roll_up((HOUR + 9_000) * SECOND, &keep).await.unwrap();
    assert_eq!(total(&repository, Resolution::Minute).await, None);
    assert_eq!(total(&repository, Resolution::Hour).await, most);
}

async fn several_nodes_may_roll_up_at_once(database: Database) {
    let repository = database.open();
    let rows: Vec<_> = (0..600).map(|minute| (row("a", "", HOUR + minute * 60), counts(1))).collect();
    repository.add_usage("n", 1, NOW, &rows).await.unwrap();
    let keep = Retention { minutes_s: 0, hours_s: 86_400 };
    let nodes: Vec<_> = (0..3)
        .map(|_| {
            let node = database.open();
            tokio::spawn(async move { node.roll_up((HOUR + 36_000) * SECOND, &keep).await })
        })
        .collect();
    for node in nodes {
        node.await.unwrap().unwrap();
    }
    assert_eq!(total(&repository, Resolution::Minute).await, None);
    assert_eq!(total(&repository, Resolution::Hour).await.unwrap().allowed, 600);
}
