//! Tiers, bans and overrides of subjects, and the log of who changed.

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_catalog::model::{Ban, Expect, Override, OverrideQuota, OverrideQuotas, Subject, SubjectKey};
use tidegate_catalog::repository::{CatalogError, Changed, MAX_DISTINCT_QUOTAS, Repository, RuleEdit};

use crate::database::*;

crate::on_both!(
    all_that_is_known_of_a_subject_is_read_at_once,
    what_is_over_is_left_out_and_purged,
    tiers_are_given_changed_and_taken_away,
    pages_of_subjects_meet_everyone_once,
    changes_name_the_subjects_that_changed,
    more_than_a_thousand_changes_are_logged_as_everything,
    a_node_that_is_too_far_behind_hears_everything,
    an_override_counts_the_rules_version_too,
    a_rule_has_at_most_so_many_different_override_quotas,
    overrides_follow_a_rule_to_its_new_name,
    bans_are_listed_lifted_and_logged,
    subjects_of_a_tenant_that_is_absent_are_not_found,
    any_text_is_a_subject,
);

fn tier(subject: &str, tier: &str) -> (String, Option<String>) {
    (subject.to_owned(), Some(tier.to_owned()))
}

async fn put(repository: &Repository, tiers: &[(String, Option<String>)]) -> i64 {
    repository.put_subjects(&actor(), NOW, "default", "pay", tiers).await.unwrap()
}

pub(crate) fn ban(until_us: Option<i64>) -> Ban {
    Ban { reason: "abuse".to_owned(), until_us, by: "admin".to_owned(), since_us: NOW }
}

fn own(rule: &str, limit: u64, until_us: Option<i64>) -> Override {
    let quota = OverrideQuota { limit, window_us: Some(60_000_000), burst: None };
    Override { rule: rule.to_owned(), quota, reason: "contract".to_owned(), until_us }
}

async fn all_that_is_known_of_a_subject_is_read_at_once(database: Database) {
    let repository = database.open();
    with_rules(&repository, &["a", "b"]).await;
    assert_eq!(repository.subject(&key("u"), NOW).await.unwrap(), Subject::default());
    put(&repository, &[tier("u", "gold"), tier("other", "free")]).await;
    repository.put_ban(&actor(), NOW, &key("u"), &ban(Some(NOW + 1))).await.unwrap();
    for given in [own("b", 5, None), own("a", u64::MAX >> 1, Some(NOW + 1))] {
        repository.put_override(&actor(), NOW, &key("u"), &given).await.unwrap();
    }
    let expected = Subject {
        tier: Some("gold".to_owned()),
        ban: Some(ban(Some(NOW + 1))),
        overrides: vec![own("a", u64::MAX >> 1, Some(NOW + 1)), own("b", 5, None)],
    };
    assert_eq!(repository.subject(&key("u"), NOW).await.unwrap(), expected);
}

async fn what_is_over_is_left_out_and_purged(database: Database) {
    let repository = database.open();
    with_rules(&repository, &["a"]).await;
    repository.put_ban(&actor(), NOW, &key("u"), &ban(Some(NOW + 5))).await.unwrap();
    repository.put_override(&actor(), NOW, &key("u"), &own("a", 5, Some(NOW + 5))).await.unwrap();
    assert_eq!(repository.rules(NOW, &HashMap::new()).await.unwrap().overrides.len(), 1);
    let later = NOW + 5;
    assert_eq!(repository.subject(&key("u"), later).await.unwrap(), Subject::default());
    assert_eq!(repository.rules(later, &HashMap::new()).await.unwrap().overrides, Arc::default());
    repository.purge(later - 1).await.unwrap();
    assert_eq!(repository.bans("default", "pay", None, 10).await.unwrap().len(), 1);
    repository.purge(later).await.unwrap();
    assert_eq!(repository.bans("default", "pay", None, 10).await.unwrap(), []);
    assert_eq!(repository.overrides("default", "pay", None, None, 10).await.unwrap(), []);
}

async fn tiers_are_given_changed_and_taken_away(database: Database) {
    let repository = database.open();
    with_rules(&repository, &[]).await;
    let first = put(&repository, &[tier("a", "free"), tier("b", "free"), tier("a", "gold")]).await;
    assert_eq!(
        repository.subjects("default", "pay", None, None, 10).await.unwrap(),
        [("a".to_owned(), "gold".to_owned()), ("b".to_owned(), "free".to_owned())]
    );
    // What stays as it is moves nobody.
    assert_eq!(put(&repository, &[tier("a", "gold")]).await, first);
    let second = put(&repository, &[("a".to_owned(), None), tier("b", "gold")]).await;
    assert!(second > first);
    assert_eq!(repository.subject(&key("a"), NOW).await.unwrap().tier, None);
    assert_eq!(repository.subjects("default", "pay", None, Some("gold"), 10).await.unwrap().len(), 1);
    assert_eq!(repository.subjects("default", "pay", None, Some("free"), 10).await.unwrap(), []);
    let log = repository.audit(None, None, 1).await.unwrap();
    assert_eq!((log[0].action.as_str(), log[0].target.as_str()), ("subjects.put", "pay"));
    assert_eq!(log[0].before.as_deref(), Some(r#"{"subjects":2,"first":{"a":"gold","b":"free"}}"#));
    assert_eq!(log[0].after.as_deref(), Some(r#"{"subjects":2,"first":{"a":null,"b":"gold"}}"#));
}

async fn pages_of_subjects_meet_everyone_once(database: Database) {
    let repository = database.open();
    edit(&repository, &[put_domain("a"), put_domain("b")]).await.unwrap();
    for domain in ["b", "a"] {
        let tiers: Vec<_> = (0..25).map(|number| tier(&format!("u{number}"), domain)).collect();
        repository.put_subjects(&actor(), NOW, "default", domain, &tiers).await.unwrap();
    }
    let mut seen: Vec<(SubjectKey, String)> = Vec::new();
    loop {
        let page = repository.all_subjects(seen.last().map(|(key, _)| key), 7).await.unwrap();
        if page.is_empty() {
            break;
        }
        seen.extend(page);
    }
    assert_eq!(seen.len(), 50);
    assert!(seen.is_sorted() && seen.iter().all(|(key, tier)| key.domain == *tier));
    let mut named: Vec<String> = Vec::new();
    while let Some((last, _)) =
        repository.subjects("default", "a", named.last().map(String::as_str), None, 1).await.unwrap().pop()
    {
        named.push(last);
    }
    assert_eq!(named.len(), 25);
}

async fn changes_name_the_subjects_that_changed(database: Database) {
    let repository = database.open();
    with_rules(&repository, &["a"]).await;
    let start = repository.versions().await.unwrap().subjects;
    assert_eq!(repository.subject_changes(start, 10).await.unwrap().what, Changed::These(vec![]));
    put(&repository, &[tier("a", "free"), tier("b", "free")]).await;
    let middle = repository.put_ban(&actor(), NOW, &key("c"), &ban(None)).await.unwrap();
    repository.put_override(&actor(), NOW, &key("a"), &own("a", 1, None)).await.unwrap();
    let named = async |since, limit| {
        let changes = repository.subject_changes(since, limit).await.unwrap();
        match changes.what {
            Changed::These(mut keys) => {
                keys.sort();
                Some((changes.version, keys.into_iter().map(|key| key.subject).collect::<Vec<_>>()))
            }
            Changed::Everything => None,
        }
    };
    let end = repository.versions().await.unwrap().subjects;
    let all = ["a", "b", "c"].map(str::to_owned).to_vec();
    assert_eq!(named(start, 3).await, Some((end, all)));
    assert_eq!(named(middle, 3).await, Some((end, vec!["a".to_owned()])));
    assert_eq!(named(start, 2).await, None);
    // A database that was put back.
    assert_eq!(named(end + 1, 10).await, None);
}

async fn more_than_a_thousand_changes_are_logged_as_everything(database: Database) {
    let repository = database.open();
    with_rules(&repository, &[]).await;
    let start = repository.versions().await.unwrap().subjects;
    let tiers: Vec<_> = (0..1_001).map(|number| tier(&format!("u{number}"), "free")).collect();
    let end = put(&repository, &tiers).await;
    let changes = repository.subject_changes(start, 1_000_000).await.unwrap();
    assert_eq!((changes.version, changes.what), (end, Changed::Everything));
    assert_eq!(database.sql("SELECT COUNT(*) FROM subject_changes").await, ["1"]);
    // The same again changes nothing, so nobody need forget what is known.
    assert_eq!(put(&repository, &tiers).await, end);
    // The next small change is named again.
    put(&repository, &[tier("u1", "gold")]).await;
    assert_eq!(repository.subject_changes(end, 10).await.unwrap().what, Changed::These(vec![key("u1")]));
}

async fn a_node_that_is_too_far_behind_hears_everything(database: Database) {
    let repository = database.open();
    with_rules(&repository, &[]).await;
    let start = repository.versions().await.unwrap().subjects;
    put(&repository, &[tier("a", "free")]).await;
    let next = put(&repository, &[tier("b", "free")]).await;
    // As if a hundred thousand more had changed.
    match repository.is_postgres() {
        true => database.sql("ALTER TABLE subject_changes ALTER id RESTART WITH 100002").await,
        false => database.sql("UPDATE sqlite_sequence SET seq = 100001 WHERE name = 'subject_changes'").await,
    };
    put(&repository, &[tier("c", "free")]).await;
    repository.purge(NOW).await.unwrap();
    assert_eq!(repository.subject_changes(start, 10).await.unwrap().what, Changed::Everything);
    assert_eq!(repository.subject_changes(next, 10).await.unwrap().what, Changed::These(vec![key("c")]));
}

async fn an_override_counts_the_rules_version_too(database: Database) {
    let repository = database.open();
    with_rules(&repository, &["a"]).await;
    let before = repository.versions().await.unwrap();
    let version = repository.put_override(&actor(), NOW, &key("u"), &own("a", 7, None)).await.unwrap().rules;
    let after = repository.versions().await.unwrap();
    assert_eq!((after.rules, after.subjects), (before.rules + 1, before.subjects + 1));
    assert_eq!(version, after.rules);
    repository.put_override(&actor(), NOW, &key("v"), &own("a", 7, None)).await.unwrap();
    let quotas = repository.rules(NOW, &HashMap::new()).await.unwrap().overrides;
    let rule = ("default".to_owned(), "pay".to_owned(), "a".to_owned());
    assert_eq!(*quotas, OverrideQuotas::from([(rule, own("a", 7, None).quota)]));
    let of_u = repository.overrides("default", "pay", Some("u"), None, 10).await.unwrap();
    assert_eq!(of_u, [("u".to_owned(), own("a", 7, None))]);
    let rest = repository.overrides("default", "pay", None, Some(("u", "a")), 10).await.unwrap();
    assert_eq!(rest, [("v".to_owned(), own("a", 7, None))]);
    assert!(repository.delete_override(&actor(), NOW, &key("u"), "a").await.unwrap().rules > after.rules);
    let gone = repository.delete_override(&actor(), NOW, &key("u"), "a").await;
    assert!(matches!(gone, Err(CatalogError::NotFound)));
    let log = repository.audit(None, None, 1).await.unwrap();
    assert_eq!((log[0].action.as_str(), log[0].target.as_str()), ("override.delete", "pay/u/a"));
}

async fn overrides_follow_a_rule_to_its_new_name(database: Database) {
    let repository = database.open();
    with_rules(&repository, &["a", "b"]).await;
    repository.put_override(&actor(), NOW, &key("u"), &own("a", 7, None)).await.unwrap();
    // Of a rule that had the name before: they are not the renamed rule's.
    repository.put_override(&actor(), NOW, &key("u"), &own("b", 8, None)).await.unwrap();
    let before = edit(&repository, &[delete_rule("pay", "b")]).await.unwrap();
    let subjects = repository.versions().await.unwrap().subjects;
    let rename = RuleEdit::RenameRule {
        domain: "pay".to_owned(),
        rule: "a".to_owned(),
        to: "b".to_owned(),
        document: "{}".to_owned(),
        expect: Expect::Any,
    };
    assert!(edit(&repository, &[rename]).await.unwrap() > before);
    assert_eq!(repository.subject(&key("u"), NOW).await.unwrap().overrides, [own("b", 7, None)]);
    let changes = repository.subject_changes(subjects, 10).await.unwrap();
    assert_eq!(changes.what, Changed::These(vec![key("u")]));
}

async fn a_rule_has_at_most_so_many_different_override_quotas(database: Database) {
    let repository = database.open();
    with_rules(&repository, &["a"]).await;
    for limit in 0..u64::from(MAX_DISTINCT_QUOTAS) {
        let subject = key(&format!("u{limit}"));
        repository.put_override(&actor(), NOW, &subject, &own("a", limit, Some(NOW + 9))).await.unwrap();
    }
    let one_more = repository.put_override(&actor(), NOW, &key("x"), &own("a", 1_000, None)).await;
    assert!(matches!(one_more, Err(CatalogError::Ceiling { most: 64, .. })), "{one_more:?}");
    assert_eq!(repository.subject(&key("x"), NOW).await.unwrap().overrides, []);
    repository.put_override(&actor(), NOW, &key("x"), &own("a", 0, None)).await.unwrap();
    repository.put_override(&actor(), NOW, &key("x"), &own("b", 1_000, None)).await.unwrap();
    repository.put_override(&actor(), NOW + 9, &key("x"), &own("a", 1_000, None)).await.unwrap();
}

async fn bans_are_listed_lifted_and_logged(database: Database) {
    let repository = database.open();
    with_rules(&repository, &[]).await;
    for subject in ["b", "a", "c"] {
        repository.put_ban(&actor(), NOW, &key(subject), &ban(None)).await.unwrap();
    }
    let version = repository.put_ban(&actor(), NOW, &key("a"), &ban(Some(NOW + 9))).await.unwrap();
    let first = repository.bans("default", "pay", None, 1).await.unwrap();
    assert_eq!(first, [("a".to_owned(), ban(Some(NOW + 9)))]);
    let rest = repository.bans("default", "pay", Some("a"), 10).await.unwrap();
    assert_eq!(rest.iter().map(|(subject, _)| subject.as_str()).collect::<Vec<_>>(), ["b", "c"]);
    assert_eq!(repository.delete_ban(&actor(), NOW, &key("a")).await.unwrap(), version + 1);
    assert!(matches!(repository.delete_ban(&actor(), NOW, &key("a")).await, Err(CatalogError::NotFound)));
    let log = repository.audit(None, None, 2).await.unwrap();
    assert_eq!((log[0].action.as_str(), log[1].action.as_str()), ("ban.delete", "ban.put"));
    assert_eq!((&log[0].before, &log[0].after), (&log[1].after, &None));
    assert!(log[1].before.is_some());
}

async fn subjects_of_a_tenant_that_is_absent_are_not_found(database: Database) {
    let repository = database.open();
    let told = repository.put_subjects(&actor(), NOW, "nobody", "pay", &[tier("a", "free")]).await;
    assert!(matches!(told, Err(CatalogError::NotFound)));
    let of_nobody = SubjectKey { tenant: "nobody".to_owned(), ..key("a") };
    let told = repository.put_ban(&actor(), NOW, &of_nobody, &ban(None)).await;
    assert!(matches!(told, Err(CatalogError::NotFound)));
    let told = repository.put_override(&actor(), NOW, &of_nobody, &own("a", 1, None)).await;
    assert!(matches!(told, Err(CatalogError::NotFound)));
    // A domain that the database does not know may be a rule file's.
    assert!(repository.put_ban(&actor(), NOW, &key("a"), &ban(None)).await.is_ok());
}

async fn any_text_is_a_subject(database: Database) {
    let repository = database.open();
    with_rules(&repository, &[]).await;
    let long = "x".repeat(1_024);
    let odd = ["'; DROP TABLE subjects; --", "\"\\\u{1}\u{1f}", "日本 é", "$1", "%", &long];
    put(&repository, &odd.map(|subject| tier(subject, "gold"))).await;
    for subject in odd {
        assert_eq!(
            repository.subject(&key(subject), NOW).await.unwrap().tier.as_deref(),
            Some("gold"),
            "{subject}"
        );
    }
    assert_eq!(repository.subject(&key("a\0b"), NOW).await.unwrap(), Subject::default());
    let version = repository.versions().await.unwrap();
    for cut in [tier("a\0b", "gold"), tier("a", "go\0ld")] {
        let told = repository.put_subjects(&actor(), NOW, "default", "pay", &[cut]).await;
        assert!(matches!(told, Err(CatalogError::Refused(_))), "{told:?}");
    }
    assert_eq!(repository.versions().await.unwrap(), version);
    assert_eq!(repository.subject(&key("a"), NOW).await.unwrap(), Subject::default());
}
