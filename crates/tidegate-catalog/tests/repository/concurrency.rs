//! Several writers, several nodes, at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidegate_catalog::model::Expect;
use tidegate_catalog::repository::CatalogError;

use crate::database::*;

crate::on_both!(
    of_two_writers_with_the_same_version_one_is_in_conflict,
    versions_become_visible_in_their_order,
    of_three_nodes_one_seeds,
    nodes_that_add_the_same_rows_of_usage_never_lose_any,
    what_a_node_lives_by_waits_for_no_change_and_no_list,
);

/// The longest that something takes which waits for nothing, with room for a busy machine; less than a lock is waited for.
const SOON: Duration = Duration::from_secs(1);

async fn of_two_writers_with_the_same_version_one_is_in_conflict(database: Database) {
    let repository = database.open();
    let mut version = with_rules(&repository, &["a"]).await;
    for round in 0..10 {
        let writers = ["x", "y"].map(|name| {
            let node = database.open();
            let edits = [put_rule_if("pay", "a", &format!("\"{name}{round}\""), Expect::Version(version))];
            tokio::spawn(async move { edit(&node, &edits).await })
        });
        let mut made = Vec::new();
        for writer in writers {
            match writer.await.unwrap() {
                Ok(version) => made.push(version),
                Err(CatalogError::Conflict { current }) => assert!(current > Some(version)),
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(made.len(), 1);
        version = made[0];
    }
}

/// A reader that has seen a version has seen all before it: it finds no lower one later.
async fn versions_become_visible_in_their_order(database: Database) {
    const WRITERS: usize = 8;
    const EDITS: usize = 10;
    let repository = database.open();
    let start = with_rules(&repository, &[]).await;
    let done = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn({
        let (done, repository) = (Arc::clone(&done), database.open());
        async move {
            let mut seen: Vec<i64> = Vec::new();
            loop {
                let last = done.load(Ordering::Acquire);
                let at = repository.rules(NOW, &Default::default()).await.unwrap();
                let domain = &at.changed[0];
                // What is visible at version N is exactly the changes up to N.
                let newest = domain.rules.iter().map(|rule| rule.version).max().unwrap_or(at.version);
                assert_eq!(newest, at.version);
                assert_eq!(domain.rules.len() as i64, at.version - start);
                seen.push(at.version);
                if last {
                    return seen;
                }
            }
        }
    });
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let node = database.open();
            tokio::spawn(async move {
                for number in 0..EDITS {
                    edit(&node, &[put_rule("pay", &format!("{writer}-{number}"), "{}")]).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    done.store(true, Ordering::Release);
    let seen = reader.await.unwrap();
    assert!(seen.is_sorted());
    assert_eq!(*seen.last().unwrap(), start + (WRITERS * EDITS) as i64);
    let ids = repository.history("default", "pay", None, None, 200).await.unwrap();
    assert!(ids.windows(2).all(|pair| pair[0].version >= pair[1].version));
}

async fn of_three_nodes_one_seeds(database: Database) {
    let nodes: Vec<_> = (0..3)
        .map(|_| {
            let node = database.open();
            let edits = [put_domain("pay"), put_rule("pay", "a", "{}")];
            tokio::spawn(async move { node.seed(&actor(), NOW, "default", &edits, "examples").await })
        })
        .collect();
    let mut sown = 0;
    for node in nodes {
        sown += usize::from(node.await.unwrap().unwrap());
    }
    assert_eq!(sown, 1);
    assert_eq!(rules_of(&database.open()).await, ["a"]);
}

async fn nodes_that_add_the_same_rows_of_usage_never_lose_any(database: Database) {
    use tidegate_catalog::model::{Resolution, UsageCounts, UsageKey};
    use tidegate_catalog::repository::UsageQuery;

    let nodes: Vec<_> = (0..4)
        .map(|node| {
            let repository = database.open();
            tokio::spawn(async move {
                for batch in 0..5 {
                    let row = |number: i64| {
                        let key = UsageKey {
                            tenant: "default".to_owned(),
                            domain: "pay".to_owned(),
                            rule: format!("r{}", (number * 7 + node) % 50),
                            tier: String::new(),
                            at_s: 0,
                        };
                        (key, UsageCounts { allowed: 1, denied: 0, cost: 1 })
                    };
                    let rows: Vec<_> = (0..50).map(row).collect();
                    repository.add_usage(&format!("n{node}"), batch, NOW, &rows).await.unwrap();
                }
            })
        })
        .collect();
    for node in nodes {
        node.await.unwrap();
    }
    let asked = UsageQuery {
        tenant: None,
        domain: None,
        rule: None,
        tier: None,
        from_s: 0,
        to_s: 60,
        resolution: Resolution::Minute,
        group_by: vec![],
        limit: 1,
    };
    assert_eq!(database.open().usage(&asked).await.unwrap()[0].1.allowed, 4 * 5 * 50);
}

/// Goal: however many changes and lists are under way, versions, rules, keys and single subjects are read as if there were none.
/// Method: somebody holds what changes and the audit log need, many ask for both, and the rest is asked meanwhile.
async fn what_a_node_lives_by_waits_for_no_change_and_no_list(database: Database) {
    let repository = database.open();
    with_rules(&repository, &["a"]).await;
    repository.put_ban(&actor(), NOW, &key("u"), &crate::subjects::ban(None)).await.unwrap();
    let holder = database.hold().await;
    let waiting: Vec<_> = (0..16)
        .map(|number| {
            let repository = repository.clone();
            tokio::spawn(async move {
                let change = [put_rule("pay", &format!("r{number}"), "{}")];
                tokio::join!(edit(&repository, &change), repository.audit(None, None, 1))
            })
        })
        .collect();
    // All have begun to wait when one more change has, which is behind them.
    let behind = tokio::time::timeout(SOON, edit(&repository, &[put_rule("pay", "b", "{}")])).await;
    assert!(behind.is_err(), "somebody holds what it needs");
    for _ in 0..10 {
        let asked = async {
            repository.versions().await.unwrap();
            assert!(repository.subject(&key("u"), NOW).await.unwrap().ban.is_some());
            assert_eq!(repository.rules(NOW, &Default::default()).await.unwrap().domains.len(), 1);
            assert_eq!(repository.all_keys().await.unwrap(), []);
        };
        tokio::time::timeout(SOON, asked).await.expect("it waits for nothing");
    }
    drop(holder);
    for calls in waiting {
        let _ = calls.await.unwrap();
    }
    edit(&repository, &[put_rule("pay", "c", "{}")]).await.unwrap();
}
