//! The most there may be: reached with plain SQL but for one, then with that one, then refused.

use tidegate_catalog::model::{Ceilings, Expect, Override, OverrideQuota};
use tidegate_catalog::repository::{CatalogError, MAX_BANS, MAX_OVERRIDES, Result};

use crate::database::*;
use crate::keys::api_key;
use crate::subjects::ban;

crate::on_both!(
    a_tenant_has_at_most_so_many_bans,
    a_tenant_has_at_most_so_many_overrides,
    an_installation_has_at_most_so_many_live_keys,
    an_installation_has_at_most_so_many_domains,
    an_installation_has_at_most_so_many_rules_and_ceilings_of_requests,
);

/// The numbers up to the last one, as `n (i)`.
macro_rules! numbers {
    ($last:literal) => {
        concat!("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ", $last, ") ")
    };
}

/// Rows that nobody need hear of.
async fn fill(database: &Database, statement: &'static str) {
    database.sql("INSERT INTO meta (name, value) VALUES ('bulk', '')").await;
    database.sql(statement).await;
    database.sql("DELETE FROM meta WHERE name = 'bulk'").await;
}

#[track_caller]
fn assert_ceiling<T: std::fmt::Debug>(told: &Result<T>, expected: u32) {
    assert!(
        matches!(told, Err(CatalogError::Ceiling { most, .. }) if *most == u64::from(expected)),
        "{told:?}"
    );
}

async fn a_tenant_has_at_most_so_many_bans(database: Database) {
    let repository = database.open();
    with_rules(&repository, &[]).await;
    fill(
        &database,
        concat!(numbers!(99999), "INSERT INTO bans (domain, subject) SELECT 'pay', CAST(i AS TEXT) FROM n"),
    )
    .await;
    repository.put_ban(&actor(), NOW, &key("last"), &ban(None)).await.unwrap();
    assert_ceiling(&repository.put_ban(&actor(), NOW, &key("more"), &ban(None)).await, MAX_BANS);
    repository.put_ban(&actor(), NOW, &key("last"), &ban(Some(NOW))).await.unwrap();
}

async fn a_tenant_has_at_most_so_many_overrides(database: Database) {
    let repository = database.open();
    with_rules(&repository, &["a"]).await;
    let rows = concat!(
        numbers!(9999),
        "INSERT INTO overrides (domain, subject, rule, limit_units) SELECT 'pay', CAST(i AS TEXT), 'a', 7 FROM n"
    );
    fill(&database, rows).await;
    let quota = OverrideQuota { limit: 7, window_us: None, burst: None };
    let given = Override { rule: "a".to_owned(), quota, reason: String::new(), until_us: None };
    repository.put_override(&actor(), NOW, &key("last"), &given).await.unwrap();
    assert_ceiling(&repository.put_override(&actor(), NOW, &key("more"), &given).await, MAX_OVERRIDES);
    repository.put_override(&actor(), NOW, &key("last"), &given).await.unwrap();
}

async fn an_installation_has_at_most_so_many_live_keys(database: Database) {
    let repository = database.open();
    // One of them has ended, and one was revoked: neither takes the place of a live one.
    let rows = match repository.is_postgres() {
        true => concat!(
            numbers!(100001),
            "INSERT INTO api_keys (prefix, tenant, name, scopes, hash, created_us, expires_us, revoked_us) \
             SELECT CAST(i AS TEXT), 'default', 'k', 'check', decode(repeat('07', 32), 'hex'), 0, \
             CASE WHEN i = 1 THEN 1 END, CASE WHEN i = 2 THEN 1 END FROM n"
        ),
        false => concat!(
            numbers!(100001),
            "INSERT INTO api_keys (prefix, tenant, name, scopes, hash, created_us, expires_us, revoked_us) \
             SELECT CAST(i AS TEXT), 'default', 'k', 'check', zeroblob(32), 0, \
             CASE WHEN i = 1 THEN 1 END, CASE WHEN i = 2 THEN 1 END FROM n"
        ),
    };
    fill(&database, rows).await;
    repository.create_key(&actor(), NOW, &api_key("last", None)).await.unwrap();
    assert_ceiling(&repository.create_key(&actor(), NOW, &api_key("more", None)).await, 100_000);
    let all = repository.all_keys().await.unwrap();
    assert_eq!(all.len(), 100_000);
    assert!(all.iter().any(|key| key.prefix == "last") && all.iter().all(|key| key.prefix != "1"));
    repository.revoke_key(&actor(), NOW, "3").await.unwrap();
    repository.create_key(&actor(), NOW, &api_key("more", None)).await.unwrap();
}

async fn an_installation_has_at_most_so_many_domains(database: Database) {
    let repository = database.open();
    let rows = concat!(
        numbers!(8999),
        "INSERT INTO domains (tenant, name, document, version, content_version) \
         SELECT 'default', CAST(i AS TEXT), '{}', 1, 1 FROM n"
    );
    fill(&database, rows).await;
    edit(&repository, &[put_domain("pay")]).await.unwrap();
    assert_ceiling(&edit(&repository, &[put_domain("more")]).await, 9_000);
    assert_eq!(repository.domain("default", "more").await.unwrap(), None);
    edit(&repository, &[put_domain("pay")]).await.unwrap();
}

async fn an_installation_has_at_most_so_many_rules_and_ceilings_of_requests(database: Database) {
    let repository = database.open();
    with_rules(&repository, &["a"]).await;
    let rows = concat!(
        numbers!(89997),
        "INSERT INTO rules (tenant, domain, name, position, document, version) \
         SELECT 'default', 'pay', CAST(i AS TEXT), i, '{}', 1 FROM n"
    );
    fill(&database, rows).await;
    let (free, metered) =
        (Ceilings::default(), Ceilings { max_requests_per_second: Some(9), ..Ceilings::default() });
    repository.create_tenant(&actor(), NOW, "acme", &metered).await.unwrap();
    edit(&repository, &[put_rule("pay", "b", "{}")]).await.unwrap();
    assert_ceiling(&edit(&repository, &[put_rule("pay", "c", "{}")]).await, 90_000);
    assert_ceiling(&repository.create_tenant(&actor(), NOW, "more", &metered).await, 90_000);
    repository.create_tenant(&actor(), NOW, "more", &free).await.unwrap();
    let changed = repository.update_tenant(&actor(), NOW, "more", &metered, Expect::Any).await;
    assert_ceiling(&changed, 90_000);
    // What is there can be changed, and what goes makes room.
    edit(&repository, &[put_rule("pay", "b", "2"), delete_rule("pay", "1"), put_rule("pay", "c", "{}")])
        .await
        .unwrap();
    repository.update_tenant(&actor(), NOW, "acme", &metered, Expect::Any).await.unwrap();
    repository.update_tenant(&actor(), NOW, "acme", &free, Expect::Any).await.unwrap();
    repository.update_tenant(&actor(), NOW, "more", &metered, Expect::Any).await.unwrap();
}
