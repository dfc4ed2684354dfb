//! API keys.

use tidegate_catalog::model::{ApiKey, Ceilings, PreviousSecret, Scope};
use tidegate_catalog::repository::CatalogError;

use crate::database::*;

crate::on_both!(
    a_key_is_kept_as_it_was_made,
    the_first_operators_key_is_made_once_and_with_its_mark,
    where_an_operator_has_a_key_no_first_one_is_made,
    a_key_is_rotated_touched_and_revoked,
    the_secret_before_a_rotation_is_the_last_one_that_was_shown,
    an_expired_key_is_not_rotated,
    a_tenant_has_at_most_so_many_keys_as_its_ceiling,
    keys_are_listed_by_tenant_in_pages,
    keys_that_ended_are_forgotten_after_thirty_days,
    nodes_that_touch_the_same_keys_never_wait_crosswise,
);

pub(crate) fn api_key(prefix: &str, tenant: Option<&str>) -> ApiKey {
    ApiKey {
        prefix: prefix.to_owned(),
        tenant: tenant.map(str::to_owned),
        name: "ci".to_owned(),
        scopes: vec![Scope::Check, Scope::AdminRead],
        hash: [7; 32],
        previous: None,
        created_us: NOW,
        expires_us: Some(NOW + SECOND),
        last_used_us: None,
        revoked_us: None,
    }
}

async fn a_key_is_kept_as_it_was_made(database: Database) {
    let repository = database.open();
    let key = api_key("k1", Some("default"));
    let before = repository.versions().await.unwrap();
    let version = repository.create_key(&actor(), NOW, &key).await.unwrap();
    assert_eq!(version, before.keys + 1);
    assert_eq!(repository.key("k1").await.unwrap(), Some(key.clone()));
    assert_eq!(repository.all_keys().await.unwrap(), std::slice::from_ref(&key));
    let again = repository.create_key(&actor(), NOW, &key).await;
    assert!(matches!(again, Err(CatalogError::Conflict { .. })), "{again:?}");
    let log = repository.audit(None, None, 10).await.unwrap();
    assert_eq!((log.len(), log[0].target.as_str()), (1, "k1"));
}

/// Were the mark written without the key, nobody could ever get in.
async fn the_first_operators_key_is_made_once_and_with_its_mark(database: Database) {
    let repository = database.open();
    repository.create_key(&actor(), NOW, &api_key("taken", Some("default"))).await.unwrap();
    let failed = repository.create_first_operator_key(&actor(), NOW, &api_key("taken", None)).await;
    assert!(matches!(failed, Err(CatalogError::Conflict { .. })), "{failed:?}");
    let before = repository.versions().await.unwrap();
    assert!(repository.create_first_operator_key(&actor(), NOW, &api_key("k1", None)).await.unwrap());
    assert!(repository.versions().await.unwrap().keys > before.keys);
    assert_eq!(repository.key("k1").await.unwrap(), Some(api_key("k1", None)));
    assert!(!repository.create_first_operator_key(&actor(), NOW, &api_key("k2", None)).await.unwrap());
    assert_eq!(repository.key("k2").await.unwrap(), None);
}

async fn where_an_operator_has_a_key_no_first_one_is_made(database: Database) {
    let repository = database.open();
    repository.create_key(&actor(), NOW, &api_key("k1", None)).await.unwrap();
    repository.revoke_key(&actor(), NOW, "k1").await.unwrap();
    let before = repository.versions().await.unwrap();
    assert!(!repository.create_first_operator_key(&actor(), NOW, &api_key("k2", None)).await.unwrap());
    assert_eq!(repository.versions().await.unwrap(), before);
}

async fn a_key_is_rotated_touched_and_revoked(database: Database) {
    let repository = database.open();
    let key = api_key("k1", None);
    repository.create_key(&actor(), NOW, &key).await.unwrap();
    let previous = PreviousSecret { hash: [7; 32], until_us: NOW + 5 };
    let version = repository.rotate_key(&actor(), NOW, "k1", [8; 32], NOW + 5).await.unwrap();
    for at_us in [NOW + 3, NOW + 2] {
        repository.touch_keys(&[("k1".to_owned(), at_us), ("none".to_owned(), NOW)]).await.unwrap();
    }
    let rotated = ApiKey { hash: [8; 32], previous: Some(previous), last_used_us: Some(NOW + 3), ..key };
    assert_eq!(repository.key("k1").await.unwrap(), Some(rotated.clone()));
    assert_eq!(repository.versions().await.unwrap().keys, version);
    repository.revoke_key(&actor(), NOW + 4, "k1").await.unwrap();
    let revoked = ApiKey { revoked_us: Some(NOW + 4), ..rotated };
    assert_eq!(repository.keys(None, None, 10).await.unwrap(), [revoked]);
    assert_eq!(repository.all_keys().await.unwrap(), []);
    assert!(matches!(repository.revoke_key(&actor(), NOW, "k1").await, Err(CatalogError::NotFound)));
    let told = repository.rotate_key(&actor(), NOW, "k1", [9; 32], NOW + 5).await;
    assert!(matches!(told, Err(CatalogError::NotFound)));
}

async fn the_secret_before_a_rotation_is_the_last_one_that_was_shown(database: Database) {
    let repository = database.open();
    repository.create_key(&actor(), NOW, &api_key("k1", None)).await.unwrap();
    for hash in [[8; 32], [9; 32]] {
        repository.rotate_key(&actor(), NOW, "k1", hash, NOW + 5).await.unwrap();
    }
    let key = repository.key("k1").await.unwrap().unwrap();
    let previous = PreviousSecret { hash: [8; 32], until_us: NOW + 5 };
    assert_eq!((key.hash, key.previous), ([9; 32], Some(previous)));
}

async fn an_expired_key_is_not_rotated(database: Database) {
    let repository = database.open();
    repository.create_key(&actor(), NOW, &api_key("k1", None)).await.unwrap();
    let refused = repository.rotate_key(&actor(), NOW + SECOND, "k1", [8; 32], NOW + SECOND).await;
    assert!(matches!(refused, Err(CatalogError::Refused(_))), "{refused:?}");
    assert_eq!(repository.key("k1").await.unwrap().unwrap().hash, [7; 32]);
}

async fn a_tenant_has_at_most_so_many_keys_as_its_ceiling(database: Database) {
    let repository = database.open();
    let ceilings = Ceilings { max_keys: 1, ..Ceilings::default() };
    repository.create_tenant(&actor(), NOW, "acme", &ceilings).await.unwrap();
    repository.create_key(&actor(), NOW, &api_key("k1", Some("acme"))).await.unwrap();
    let told = repository.create_key(&actor(), NOW, &api_key("k2", Some("acme"))).await;
    assert!(matches!(told, Err(CatalogError::Ceiling { most: 1, .. })), "{told:?}");
    repository.revoke_key(&actor(), NOW, "k1").await.unwrap();
    repository.create_key(&actor(), NOW, &api_key("k2", Some("acme"))).await.unwrap();
    let told = repository.create_key(&actor(), NOW, &api_key("k3", Some("nobody"))).await;
    assert!(matches!(told, Err(CatalogError::NotFound)), "{told:?}");
}

async fn keys_are_listed_by_tenant_in_pages(database: Database) {
    let repository = database.open();
    for (prefix, tenant) in [("c", Some("default")), ("a", None), ("b", Some("default"))] {
        repository.create_key(&actor(), NOW, &api_key(prefix, tenant)).await.unwrap();
    }
    let prefixes = async |tenant, after, limit| -> Vec<String> {
        repository.keys(tenant, after, limit).await.unwrap().into_iter().map(|key| key.prefix).collect()
    };
    assert_eq!(prefixes(None, None, 2).await, ["a", "b"]);
    assert_eq!(prefixes(None, Some("b"), 2).await, ["c"]);
    assert_eq!(prefixes(Some("default"), None, 10).await, ["b", "c"]);
}

async fn keys_that_ended_are_forgotten_after_thirty_days(database: Database) {
    const KEPT: i64 = 30 * 24 * 3_600 * SECOND;
    let repository = database.open();
    for prefix in ["ends", "revoked", "good"] {
        let expires_us = (prefix == "ends").then_some(NOW + SECOND);
        let key = ApiKey { expires_us, ..api_key(prefix, None) };
        repository.create_key(&actor(), NOW, &key).await.unwrap();
    }
    repository.revoke_key(&actor(), NOW, "revoked").await.unwrap();
    let left = async |now_us| -> Vec<String> {
        repository.purge(now_us).await.unwrap();
        repository.keys(None, None, 10).await.unwrap().into_iter().map(|key| key.prefix).collect()
    };
    assert_eq!(left(NOW + KEPT - 1).await, ["ends", "good", "revoked"]);
    assert_eq!(left(NOW + KEPT).await, ["ends", "good"]);
    assert_eq!(left(NOW + KEPT + SECOND).await, ["good"]);
}

/// Two nodes that have seen the same keys, in orders of their own, often at the same time.
async fn nodes_that_touch_the_same_keys_never_wait_crosswise(database: Database) {
    let repository = database.open();
    let mut used = Vec::new();
    for number in 0..100 {
        let prefix = format!("k{}", number * 37 % 100);
        repository.create_key(&actor(), NOW, &api_key(&prefix, None)).await.unwrap();
        used.push(prefix);
    }
    let nodes: Vec<_> = (0..2)
        .map(|node| {
            let (repository, mut used) = (database.open(), used.clone());
            if node == 1 {
                used.reverse();
            }
            tokio::spawn(async move {
                for round in 1..=40 {
                    let used: Vec<_> = used.iter().map(|prefix| (prefix.clone(), NOW + round)).collect();
                    repository.touch_keys(&used).await.unwrap();
                }
            })
        })
        .collect();
    for node in nodes {
        node.await.unwrap();
    }
    assert_eq!(repository.key("k7").await.unwrap().unwrap().last_used_us, Some(NOW + 40));
}
