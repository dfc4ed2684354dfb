//! Domains and rules: written together, read as one, known as they were.

use std::collections::HashMap;

use tidegate_catalog::model::{Ceilings, Expect};
use tidegate_catalog::repository::{CatalogError, DomainGuard, RuleEdit};

use crate::database::*;

crate::on_both!(
    edits_of_one_call_are_made_together_or_not_at_all,
    a_rule_keeps_its_place_and_a_new_one_is_the_last,
    an_expectation_that_does_not_hold_is_a_conflict_with_the_current_version,
    what_is_absent_is_not_found,
    a_guard_that_does_not_hold_is_stale,
    only_domains_that_changed_are_read_again,
    a_domain_is_known_as_it_was_at_every_version,
    history_is_read_from_the_newest_in_pages,
    a_tenant_has_at_most_so_many_rules_as_its_ceiling,
    every_change_is_in_the_audit_log_with_before_and_after,
    names_are_ordered_by_their_bytes,
    a_seed_is_sown_once,
    a_deleted_domain_takes_its_subjects_with_it,
);

async fn edits_of_one_call_are_made_together_or_not_at_all(database: Database) {
    let repository = database.open();
    let before = repository.versions().await.unwrap();
    let edits = [put_domain("pay"), put_rule("pay", "a", "{}"), delete_rule("pay", "missing")];
    assert!(matches!(edit(&repository, &edits).await, Err(CatalogError::NotFound)));
    assert_eq!(repository.versions().await.unwrap(), before);
    assert_eq!(repository.domain("default", "pay").await.unwrap(), None);
    assert_eq!(repository.audit(None, None, 10).await.unwrap(), []);
    let version = edit(&repository, &edits[..2]).await.unwrap();
    assert_eq!(version, before.rules + 1);
    let domain = repository.domain("default", "pay").await.unwrap().unwrap();
    assert_eq!(
        (domain.version, domain.content_version, domain.rules[0].version),
        (version, version, version)
    );
}

async fn a_rule_keeps_its_place_and_a_new_one_is_the_last(database: Database) {
    let repository = database.open();
    with_rules(&repository, &["c", "a", "b"]).await;
    edit(&repository, &[put_rule("pay", "a", r#"{"x":2}"#), put_rule("pay", "0", "{}")]).await.unwrap();
    assert_eq!(rules_of(&repository).await, ["c", "a", "b", "0"]);
    let rename = RuleEdit::RenameRule {
        domain: "pay".to_owned(),
        rule: "a".to_owned(),
        to: "z".to_owned(),
        document: r#"{"formerly":"a"}"#.to_owned(),
        expect: Expect::Present,
    };
    edit(&repository, &[rename.clone(), delete_rule("pay", "c")]).await.unwrap();
    assert_eq!(rules_of(&repository).await, ["z", "b", "0"]);
    assert!(matches!(edit(&repository, &[rename]).await, Err(CatalogError::Conflict { current: None })));
    let taken = RuleEdit::RenameRule {
        domain: "pay".to_owned(),
        rule: "z".to_owned(),
        to: "b".to_owned(),
        document: "{}".to_owned(),
        expect: Expect::Any,
    };
    assert!(matches!(edit(&repository, &[taken]).await, Err(CatalogError::Conflict { current: Some(_) })));
}

async fn an_expectation_that_does_not_hold_is_a_conflict_with_the_current_version(database: Database) {
    let repository = database.open();
    let version = with_rules(&repository, &["a"]).await;
    for (rule, expect, current) in [
        ("a", Expect::Absent, Some(version)),
        ("a", Expect::Version(version - 1), Some(version)),
        ("b", Expect::Present, None),
        ("b", Expect::Version(version), None),
    ] {
        match edit(&repository, &[put_rule_if("pay", rule, "{}", expect)]).await {
            Err(CatalogError::Conflict { current: told }) => assert_eq!(told, current, "{rule} {expect:?}"),
            other => panic!("{rule} {expect:?}: {other:?}"),
        }
    }
    for expect in [Expect::Version(version), Expect::Present, Expect::Any] {
        edit(&repository, &[put_rule_if("pay", "a", "{}", expect)]).await.unwrap();
    }
}

async fn what_is_absent_is_not_found(database: Database) {
    let repository = database.open();
    with_rules(&repository, &[]).await;
    let delete = RuleEdit::DeleteDomain { domain: "none".to_owned(), expect: Expect::Any };
    for bad in [put_rule("none", "a", "{}"), delete_rule("pay", "a"), delete] {
        assert!(matches!(edit(&repository, &[bad]).await, Err(CatalogError::NotFound)));
    }
    let of_nobody = repository.edit_rules(&actor(), NOW, "nobody", &[put_domain("d")], &[]).await;
    assert!(matches!(of_nobody, Err(CatalogError::NotFound)));
    assert_eq!(repository.domain_at("default", "none", 100).await.unwrap(), None);
}

async fn a_guard_that_does_not_hold_is_stale(database: Database) {
    let repository = database.open();
    let version = with_rules(&repository, &["a"]).await;
    let guard = |content_version| [DomainGuard { domain: "pay".to_owned(), content_version }];
    let edits = [put_rule("pay", "b", "{}")];
    for stale in [None, Some(version - 1)] {
        let told = repository.edit_rules(&actor(), NOW, "default", &edits, &guard(stale)).await;
        assert!(matches!(told, Err(CatalogError::Stale)));
    }
    repository.edit_rules(&actor(), NOW, "default", &edits, &guard(Some(version))).await.unwrap();
    let other = [DomainGuard { domain: "other".to_owned(), content_version: None }];
    repository.edit_rules(&actor(), NOW, "default", &[put_domain("other")], &other).await.unwrap();
}

async fn only_domains_that_changed_are_read_again(database: Database) {
    let repository = database.open();
    edit(&repository, &[put_domain("a"), put_domain("b"), put_rule("b", "r", "{}")]).await.unwrap();
    let all = repository.rules(NOW, &HashMap::new()).await.unwrap();
    let names = |delta: &tidegate_catalog::repository::RulesDelta| -> Vec<String> {
        delta.changed.iter().map(|domain| domain.name.clone()).collect()
    };
    assert_eq!(names(&all), ["a", "b"]);
    assert_eq!(all.changed[1].rules[0].name, "r");
    assert_eq!(all.tenants[0].name, "default");
    let known: HashMap<_, _> =
        all.domains.into_iter().map(|(tenant, name, version)| ((tenant, name), version)).collect();
    let none = repository.rules(NOW, &known).await.unwrap();
    assert_eq!((names(&none).len(), none.domains.len(), none.version), (0, 2, all.version));
    let version = edit(&repository, &[delete_rule("b", "r")]).await.unwrap();
    let one = repository.rules(NOW, &known).await.unwrap();
    assert_eq!((names(&one), one.version), (vec!["b".to_owned()], version));
}

async fn a_domain_is_known_as_it_was_at_every_version(database: Database) {
    let repository = database.open();
    let mut states = Vec::new();
    let rename = RuleEdit::RenameRule {
        domain: "pay".to_owned(),
        rule: "b".to_owned(),
        to: "B".to_owned(),
        document: "{}".to_owned(),
        expect: Expect::Any,
    };
    let delete = RuleEdit::DeleteDomain { domain: "pay".to_owned(), expect: Expect::Any };
    for edits in [
        vec![put_domain("pay"), put_rule("pay", "b", "1"), put_rule("pay", "a", "1")],
        vec![put_rule("pay", "b", "2")],
        vec![rename, put_rule("pay", "c", "1")],
        vec![delete_rule("pay", "a"), put_rule("pay", "a", "3")],
        vec![delete.clone()],
        vec![put_domain("pay"), put_rule("pay", "new", "1")],
        // Twice the same rule, in one change, before and after its domain was another one.
        vec![put_rule("pay", "x", "1"), delete, put_domain("pay"), put_rule("pay", "y", "1")],
        // More than are written at once.
        (0..1_100).map(|number| put_rule("pay", "y", &number.to_string())).collect(),
    ] {
        let version = edit(&repository, &edits).await.unwrap();
        states.push((version, repository.domain("default", "pay").await.unwrap()));
    }
    for (version, state) in states {
        assert_eq!(repository.domain_at("default", "pay", version).await.unwrap(), state, "{version}");
    }
    assert_eq!(repository.domain_at("default", "pay", 1).await.unwrap(), None);
}

async fn history_is_read_from_the_newest_in_pages(database: Database) {
    let repository = database.open();
    let first = with_rules(&repository, &["a"]).await;
    edit(&repository, &[put_rule("pay", "a", "2")]).await.unwrap();
    edit(&repository, &[delete_rule("pay", "a")]).await.unwrap();
    let newest = repository.history("default", "pay", Some("a"), None, 2).await.unwrap();
    let seen: Vec<_> =
        newest.iter().map(|entry| (entry.action.as_str(), entry.document.as_deref())).collect();
    assert_eq!(seen, [("delete", None), ("put", Some("2"))]);
    assert_eq!((newest[0].actor.as_str(), newest[0].at_us), ("admin (k1)", NOW));
    let rest = repository.history("default", "pay", Some("a"), Some(newest[1].id), 2).await.unwrap();
    assert_eq!(rest.iter().map(|entry| entry.version).collect::<Vec<_>>(), [first]);
    let all = repository.history("default", "pay", None, None, 10).await.unwrap();
    assert_eq!((all.len(), all[3].rule.as_deref()), (4, None));
}

async fn a_tenant_has_at_most_so_many_rules_as_its_ceiling(database: Database) {
    let repository = database.open();
    let ceilings = |max_rules| Ceilings { max_rules, ..Ceilings::default() };
    repository.create_tenant(&actor(), NOW, "acme", &ceilings(2)).await.unwrap();
    let edit = async |edits: &[RuleEdit]| repository.edit_rules(&actor(), NOW, "acme", edits, &[]).await;
    edit(&[put_domain("d"), put_rule("d", "a", "{}"), put_rule("d", "b", "{}")]).await.unwrap();
    let told = edit(&[put_rule("d", "c", "{}")]).await;
    assert!(matches!(told, Err(CatalogError::Ceiling { most: 2, .. })), "{told:?}");
    edit(&[put_rule("d", "c", "{}"), delete_rule("d", "a")]).await.unwrap();
    repository.update_tenant(&actor(), NOW, "acme", &ceilings(1), Expect::Any).await.unwrap();
    edit(&[put_rule("d", "c", "2")]).await.unwrap();
    edit(&[delete_rule("d", "c")]).await.unwrap();
    assert!(edit(&[put_rule("d", "c", "{}")]).await.is_err());
    // Nor more domains, empty ones included.
    let told = edit(&[put_domain("e")]).await;
    assert!(matches!(told, Err(CatalogError::Ceiling { what: "domains of a tenant", most: 1 })), "{told:?}");
}

async fn every_change_is_in_the_audit_log_with_before_and_after(database: Database) {
    let repository = database.open();
    with_rules(&repository, &["a"]).await;
    edit(&repository, &[put_rule("pay", "a", r#"{"x":2}"#)]).await.unwrap();
    edit(&repository, &[delete_rule("pay", "a")]).await.unwrap();
    let log = repository.audit(Some("default"), None, 10).await.unwrap();
    let seen: Vec<_> = log
        .iter()
        .map(|entry| (entry.action.as_str(), entry.before.as_deref(), entry.after.as_deref()))
        .collect();
    assert_eq!(
        seen,
        [
            ("rule.delete", Some(r#"{"x":2}"#), None),
            ("rule.put", Some("{}"), Some(r#"{"x":2}"#)),
            ("rule.put", None, Some("{}")),
            ("domain.put", None, Some(r#"{"a":1}"#)),
        ]
    );
    assert_eq!((log[0].target.as_str(), log[0].actor.as_str()), ("pay/a", "admin (k1)"));
    assert_eq!((log[0].at_us, log[0].correlation.as_deref()), (NOW, Some("c-1")));
    assert_eq!(repository.audit(None, Some(log[1].id), 10).await.unwrap(), log[2..]);
    assert_eq!(repository.audit(Some("other"), None, 10).await.unwrap(), []);
}

async fn names_are_ordered_by_their_bytes(database: Database) {
    let repository = database.open();
    let names = ["Z", "_", "a", "a-b", "a.b", "aB", "ab", "é", "日"];
    let edits: Vec<_> = names.iter().rev().map(|name| put_domain(name)).collect();
    edit(&repository, &edits).await.unwrap();
    let mut seen: Vec<String> = Vec::new();
    loop {
        let page = repository.domains("default", seen.last().map(String::as_str), 2).await.unwrap();
        if page.is_empty() {
            break;
        }
        seen.extend(page.into_iter().map(|domain| domain.name));
    }
    assert_eq!(seen, names);
}

async fn a_seed_is_sown_once(database: Database) {
    let repository = database.open();
    let edits = [put_domain("pay")];
    assert!(repository.seed(&actor(), NOW, "default", &edits, "examples").await.unwrap());
    let delete = RuleEdit::DeleteDomain { domain: "pay".to_owned(), expect: Expect::Any };
    edit(&repository, &[delete]).await.unwrap();
    assert!(!database.open().seed(&actor(), NOW, "default", &edits, "examples").await.unwrap());
    assert_eq!(repository.domain("default", "pay").await.unwrap(), None);
    // One that fails is not counted.
    let bad = repository.seed(&actor(), NOW, "default", &[put_rule("none", "a", "{}")], "others").await;
    assert!(matches!(bad, Err(CatalogError::NotFound)));
    assert!(repository.seed(&actor(), NOW, "default", &edits, "others").await.unwrap());
}

async fn a_deleted_domain_takes_its_subjects_with_it(database: Database) {
    let repository = database.open();
    with_rules(&repository, &["a"]).await;
    let tiers = [("u".to_owned(), Some("gold".to_owned()))];
    repository.put_subjects(&actor(), NOW, "default", "pay", &tiers).await.unwrap();
    let delete = RuleEdit::DeleteDomain { domain: "pay".to_owned(), expect: Expect::Any };
    edit(&repository, &[delete, put_domain("pay")]).await.unwrap();
    assert_eq!(repository.subject(&key("u"), NOW).await.unwrap().tier, None);
}
