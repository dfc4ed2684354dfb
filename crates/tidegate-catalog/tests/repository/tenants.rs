//! Tenants.

use tidegate_catalog::model::{Ceilings, Expect, Resolution, UsageCounts, UsageKey};
use tidegate_catalog::repository::{CatalogError, Changed, UsageQuery};

use crate::database::*;

crate::on_both!(
    an_installation_has_the_default_tenant_for_good,
    a_tenant_is_made_changed_and_listed,
    a_deleted_tenant_leaves_nothing_but_the_audit_log,
    the_name_of_a_removed_tenant_rests_for_a_day,
);

async fn an_installation_has_the_default_tenant_for_good(database: Database) {
    let repository = database.open();
    let tenant = repository.tenant("default").await.unwrap().unwrap();
    let ceilings = Ceilings { max_rules: 100_000, max_keys: 1_000, max_requests_per_second: None };
    assert_eq!(tenant.ceilings, ceilings);
    let told = repository.delete_tenant(&actor(), NOW, "default", Expect::Any).await;
    assert!(matches!(told, Err(CatalogError::Refused(_))));
}

async fn a_tenant_is_made_changed_and_listed(database: Database) {
    let repository = database.open();
    let ceilings = Ceilings { max_requests_per_second: Some(u32::MAX), ..Ceilings::default() };
    let version = repository.create_tenant(&actor(), NOW, "acme", &ceilings).await.unwrap();
    let made = repository.tenant("acme").await.unwrap().unwrap();
    assert_eq!((made.ceilings, made.created_us, made.version), (ceilings, NOW, version));
    let again = repository.create_tenant(&actor(), NOW, "acme", &ceilings).await;
    assert!(matches!(again, Err(CatalogError::Conflict { current }) if current == Some(version)));
    let other = Ceilings::default();
    let old = Expect::Version(version - 1);
    let told = repository.update_tenant(&actor(), NOW, "acme", &other, old).await;
    assert!(matches!(told, Err(CatalogError::Conflict { current }) if current == Some(version)));
    repository.update_tenant(&actor(), NOW, "acme", &other, Expect::Version(version)).await.unwrap();
    assert_eq!(repository.tenant("acme").await.unwrap().unwrap().ceilings, other);
    let told = repository.update_tenant(&actor(), NOW, "nobody", &other, Expect::Any).await;
    assert!(matches!(told, Err(CatalogError::NotFound)));
    let first = repository.tenants(None, 1).await.unwrap();
    let rest = repository.tenants(Some("acme"), 10).await.unwrap();
    assert_eq!((first[0].name.as_str(), rest[0].name.as_str(), rest.len()), ("acme", "default", 1));
}

async fn a_deleted_tenant_leaves_nothing_but_the_audit_log(database: Database) {
    let repository = database.open();
    repository.create_tenant(&actor(), NOW, "acme", &Ceilings::default()).await.unwrap();
    let edits = [put_domain("d"), put_rule("d", "r", "{}")];
    repository.edit_rules(&actor(), NOW, "acme", &edits, &[]).await.unwrap();
    let tiers = [("u".to_owned(), Some("gold".to_owned()))];
    repository.put_subjects(&actor(), NOW, "acme", "d", &tiers).await.unwrap();
    repository.create_key(&actor(), NOW, &crate::keys::api_key("k", Some("acme"))).await.unwrap();
    let row = UsageKey {
        tenant: "acme".to_owned(),
        domain: "d".to_owned(),
        rule: "r".to_owned(),
        tier: String::new(),
        at_s: 60,
    };
    repository.add_usage("n", 1, NOW, &[(row, UsageCounts::default())]).await.unwrap();
    let before = repository.versions().await.unwrap();

    repository.delete_tenant(&actor(), NOW, "acme", Expect::Any).await.unwrap();

    let after = repository.versions().await.unwrap();
    assert!(after.rules > before.rules && after.subjects > before.subjects && after.keys > before.keys);
    assert_eq!(repository.tenant("acme").await.unwrap(), None);
    assert_eq!(repository.domain("acme", "d").await.unwrap(), None);
    assert_eq!(repository.history("acme", "d", None, None, 10).await.unwrap(), []);
    assert_eq!(repository.all_subjects(None, 10).await.unwrap(), []);
    assert_eq!(repository.all_keys().await.unwrap(), []);
    let asked = UsageQuery {
        tenant: None,
        domain: None,
        rule: None,
        tier: None,
        from_s: 0,
        to_s: i64::MAX,
        resolution: Resolution::Hour,
        group_by: vec![],
        limit: 10,
    };
    assert_eq!(repository.usage(&asked).await.unwrap(), []);
    assert_ne!(repository.subject_changes(before.subjects, 10).await.unwrap().what, Changed::These(vec![]));
    let log = repository.audit(Some("acme"), None, 10).await.unwrap();
    assert_eq!(log[0].action, "tenant.delete");
    let told = repository.delete_tenant(&actor(), NOW, "acme", Expect::Any).await;
    assert!(matches!(told, Err(CatalogError::NotFound)));
}

async fn the_name_of_a_removed_tenant_rests_for_a_day(database: Database) {
    let repository = database.open();
    let make = async |now_us| repository.create_tenant(&actor(), now_us, "acme", &Ceilings::default()).await;
    make(NOW).await.unwrap();
    repository.delete_tenant(&actor(), NOW, "acme", Expect::Any).await.unwrap();
    let day = 24 * 3_600 * 1_000_000;
    repository.purge(NOW + day - 1).await.unwrap();
    assert!(matches!(make(NOW + day - 1).await, Err(CatalogError::Refused(_))));
    repository.purge(NOW + day).await.unwrap();
    assert!(make(NOW + day).await.is_ok());
}
