//! Operators who write SQL: nodes hear of it as of any change.

use std::time::Duration;

use tidegate_catalog::model::SubjectKey;
use tidegate_catalog::repository::Changed;

use crate::database::*;

crate::on_both!(
    a_tier_set_with_sql_is_seen,
    a_ban_and_an_override_set_with_sql_are_seen,
    a_subject_renamed_with_sql_has_changed_under_both_names,
    a_tier_without_a_name_is_refused,
    values_of_a_wrong_kind_are_refused,
);

fn these(subjects: &[&str]) -> Changed {
    Changed::These(subjects.iter().map(|subject| key(subject)).collect())
}

async fn a_tier_set_with_sql_is_seen(database: Database) {
    let repository = database.open();
    edit(&repository, &[put_domain("payments")]).await.unwrap();
    let tiers = ["u1", "u2"].map(|subject| (subject.to_owned(), Some("free".to_owned())));
    let before = repository.put_subjects(&actor(), NOW, "default", "payments", &tiers).await.unwrap();
    database
        .sql("UPDATE subjects SET tier = 'enterprise' WHERE domain = 'payments' AND subject = 'u1'")
        .await;
    let changes = repository.subject_changes(before, 10).await.unwrap();
    let u1 = SubjectKey { domain: "payments".to_owned(), ..key("u1") };
    assert_eq!((changes.version, changes.what), (before + 1, Changed::These(vec![u1.clone()])));
    assert_eq!(repository.subject(&u1, NOW).await.unwrap().tier.as_deref(), Some("enterprise"));
}

async fn a_ban_and_an_override_set_with_sql_are_seen(database: Database) {
    let repository = database.open();
    with_rules(&repository, &["a"]).await;
    let before = repository.versions().await.unwrap();
    database.sql("INSERT INTO bans (domain, subject) VALUES ('pay', 'u1')").await;
    let middle = repository.subject_changes(before.subjects, 10).await.unwrap();
    assert_eq!(middle.what, these(&["u1"]));
    assert!(repository.subject(&key("u1"), NOW).await.unwrap().ban.is_some());
    database
        .sql("INSERT INTO overrides (domain, subject, rule, limit_units) VALUES ('pay', 'u2', 'a', 9)")
        .await;
    assert_eq!(repository.subject_changes(middle.version, 10).await.unwrap().what, these(&["u2"]));
    assert_eq!(repository.versions().await.unwrap().rules, before.rules + 1);
    assert_eq!(repository.subject(&key("u2"), NOW).await.unwrap().overrides[0].quota.limit, 9);
    database.sql("DELETE FROM bans WHERE subject = 'u1'").await;
    assert_eq!(repository.subject_changes(middle.version + 1, 10).await.unwrap().what, these(&["u1"]));
}

async fn a_subject_renamed_with_sql_has_changed_under_both_names(database: Database) {
    let repository = database.open();
    with_rules(&repository, &[]).await;
    let tiers = [("old".to_owned(), Some("free".to_owned()))];
    let before = repository.put_subjects(&actor(), NOW, "default", "pay", &tiers).await.unwrap();
    database.sql("UPDATE subjects SET subject = 'new' WHERE subject = 'old'").await;
    match repository.subject_changes(before, 10).await.unwrap().what {
        Changed::These(mut keys) => {
            keys.sort();
            assert_eq!(keys, [key("new"), key("old")]);
        }
        Changed::Everything => panic!("two changed"),
    }
}

async fn a_tier_without_a_name_is_refused(database: Database) {
    let repository = database.open();
    with_rules(&repository, &[]).await;
    let before = repository.versions().await.unwrap();
    let tiers = [("a".to_owned(), Some(String::new()))];
    assert!(repository.put_subjects(&actor(), NOW, "default", "pay", &tiers).await.is_err());
    assert_eq!(repository.versions().await.unwrap(), before);
}

/// What a reader could not read would take the rules, or a ban, away from everybody.
async fn values_of_a_wrong_kind_are_refused(database: Database) {
    let repository = database.open();
    with_rules(&repository, &["a"]).await;
    for statement in [
        "INSERT INTO bans (domain, subject, until_us) VALUES ('pay', 'u1', 1e300)",
        "INSERT INTO bans (domain, subject, until_us) VALUES ('pay', 'u1', 'tomorrow')",
        "INSERT INTO overrides (domain, subject, rule, limit_units) VALUES ('pay', 'u1', 'a', 'ten')",
    ] {
        assert!(!database.try_sql(statement).await, "{statement}");
    }
    assert_eq!(repository.subject(&key("u1"), NOW).await.unwrap(), Default::default());
    assert!(repository.rules(NOW, &Default::default()).await.unwrap().overrides.is_empty());
}

#[tokio::test]
async fn a_statement_that_changes_very_many_is_logged_once() {
    let database = Database::postgres().await;
    let repository = database.open();
    with_rules(&repository, &[]).await;
    let before = repository.versions().await.unwrap().subjects;
    database
        .sql("INSERT INTO subjects (domain, subject, tier) SELECT 'pay', 'u' || n, 'free' FROM generate_series(1, 1000) n")
        .await;
    assert!(matches!(repository.subject_changes(before, 1_000).await.unwrap().what, Changed::These(_)));
    database.sql("INSERT INTO subjects (domain, subject, tier) VALUES ('pay', 'one more', 'free')").await;
    let before = repository.versions().await.unwrap().subjects;
    database.sql("UPDATE subjects SET tier = 'gold'").await;
    let changes = repository.subject_changes(before, 10_000).await.unwrap();
    assert_eq!((changes.version, changes.what), (before + 1, Changed::Everything));
    // A statement that changes nothing counts nothing.
    database.sql("UPDATE subjects SET tier = 'gold' WHERE subject = 'nobody'").await;
    assert_eq!(repository.versions().await.unwrap().subjects, before + 1);
    database.sql("TRUNCATE subjects").await;
    let changes = repository.subject_changes(before + 1, 10_000).await.unwrap();
    assert_eq!((changes.version, changes.what), (before + 2, Changed::Everything));
}

#[tokio::test]
async fn every_kind_of_change_is_told_to_who_listens() {
    let database = Database::postgres().await;
    let repository = database.open();
    with_rules(&repository, &["a"]).await;
    let mut listener = repository.listen().await.unwrap().unwrap();
    let mut told = async || {
        tokio::time::timeout(Duration::from_secs(10), listener.changed()).await.expect("told").unwrap();
    };
    edit(&repository, &[put_rule("pay", "a", "2")]).await.unwrap();
    told().await;
    database.sql("INSERT INTO subjects (domain, subject, tier) VALUES ('pay', 'u', 'free')").await;
    told().await;
    let api_key = crate::keys::api_key("k1", None);
    repository.create_key(&actor(), NOW, &api_key).await.unwrap();
    told().await;
}

#[tokio::test]
async fn a_file_tells_nobody() {
    assert!(Database::sqlite().await.open().listen().await.unwrap().is_none());
}
