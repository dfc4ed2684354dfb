//! Goal: no statement reads a whole table that may have a million rows, and a change takes few statements, each of which is a
//! round trip with a server. Method: SQLite, which tells how it would run a statement, and a listener to what sqlx says it ran.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fmt;
use std::sync::Mutex;

use sqlx::{ConnectOptions, Row, SqliteConnection};
use tidegate_catalog::model::{
    Actor, ApiKey, Ban, Ceilings, Expect, Override, OverrideQuota, Resolution, Scope, SubjectKey,
    UsageCounts, UsageKey,
};
use tidegate_catalog::repository::{
    DatabaseSettings, DomainGuard, Repository, Retention, RuleEdit, UsageQuery,
};
use tidegate_testkit::TempDir;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

const NOW: i64 = 1_800_000_000_000_000;

/// Tables that may have very many rows, with the names that statements give them.
const LARGE: [&str; 11] = [
    "audit",
    "subjects",
    "s",
    "overrides",
    "o",
    "bans",
    "b",
    "rule_history",
    "subject_changes",
    "usage",
    "usage_batches",
];

/// Parts of statements, and the index that is to be used where they are.
const INDEXED: [(&str, &str); 3] = [
    ("AND tier = $5", "subjects_by_tier"),
    ("AND tenant = $3", "audit_by_tenant"),
    ("AND rule = $5", "rule_history_by_rule"),
];

/// What sqlx has run, in this order.
static STATEMENTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Listener;

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sqlx::query"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut said = Said::default();
        event.record(&mut said);
        let statement = if said.whole.trim().is_empty() { said.summary } else { said.whole };
        STATEMENTS.lock().unwrap().push(statement.trim().to_owned());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// A short statement is its own summary.
#[derive(Default)]
struct Said {
    summary: String,
    whole: String,
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => value.clone_into(&mut self.summary),
            "db.statement" => value.clone_into(&mut self.whole),
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

fn taken() -> Vec<String> {
    std::mem::take(&mut *STATEMENTS.lock().unwrap())
}

#[tokio::test]
async fn statements_are_few_and_read_no_large_table_whole() {
    tracing::subscriber::set_global_default(Listener).unwrap();
    let dir = TempDir::new("statements");
    let path = dir.join("tidegate.db");
    let repository = Repository::open(&DatabaseSettings::file(&path)).unwrap();
    repository.migrate().await.unwrap();
    taken();
    call_everything(&repository).await;
    let statements = taken();
    assert!(statements.len() > 100, "{statements:#?}");
    let mut connection = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    for statement in statements.iter().flat_map(|sent| sent.split("; ")) {
        assert_no_scan(&mut connection, statement).await;
    }
    taken();
    a_change_takes_few_statements(&repository).await;
}

async fn assert_no_scan(connection: &mut SqliteConnection, statement: &str) {
    let verb = statement.split_whitespace().next().unwrap_or_default();
    if !["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"].contains(&verb) {
        return;
    }
    // All quotas are read to be compiled: there are at most 10,000 overrides of a tenant.
    if statement.starts_with("SELECT DISTINCT tenant, domain, rule, limit_units") {
        return;
    }
    let explain = format!("EXPLAIN QUERY PLAN {statement}");
    let plan = sqlx::query(sqlx::AssertSqlSafe(explain)).fetch_all(&mut *connection).await.unwrap();
    let plan: Vec<String> = plan.iter().map(|step| step.get("detail")).collect();
    for (part, index) in INDEXED {
        let used = plan.iter().any(|step| step.contains(index));
        assert!(used || !statement.contains(part), "{plan:?}: {statement}");
    }
    for step in &plan {
        let scanned = step.strip_prefix("SCAN ").and_then(|rest| rest.split_whitespace().next());
        assert!(!scanned.is_some_and(|table| LARGE.contains(&table)), "{step}: {statement}");
    }
}

/// BEGIN and COMMIT are two more, and sqlx does not speak of them.
async fn a_change_takes_few_statements(repository: &Repository) {
    let edit = async |edit: RuleEdit| {
        let domain = repository.domain("default", "pay").await.unwrap().unwrap();
        let guard = DomainGuard { domain: domain.name, content_version: Some(domain.content_version) };
        taken();
        repository.edit_rules(&actor(), NOW, "default", &[edit], &[guard]).await.unwrap();
        taken().len()
    };
    assert_eq!(edit(put_rule("a")).await, 5, "a rule that is there");
    assert_eq!(edit(put_rule("new")).await, 7, "a new rule");
    let delete =
        RuleEdit::DeleteRule { domain: "pay".to_owned(), rule: "new".to_owned(), expect: Expect::Any };
    assert_eq!(edit(delete).await, 5, "a rule that goes");
}

fn actor() -> Actor {
    Actor { name: "admin".to_owned(), correlation: None }
}

fn put_rule(rule: &str) -> RuleEdit {
    RuleEdit::PutRule {
        domain: "pay".to_owned(),
        rule: rule.to_owned(),
        document: "{}".to_owned(),
        expect: Expect::Any,
    }
}

fn put_domain(domain: &str) -> RuleEdit {
    RuleEdit::PutDomain { domain: domain.to_owned(), document: "{}".to_owned(), expect: Expect::Any }
}

async fn call_everything(repository: &Repository) {
    change_rules(repository).await;
    change_subjects(repository).await;
    let key = SubjectKey { tenant: "default".to_owned(), domain: "pay".to_owned(), subject: "u1".to_owned() };
    repository.versions().await.unwrap();
    repository.rules(NOW, &Default::default()).await.unwrap();
    repository.subject(&key, NOW).await.unwrap();
    repository.subject_changes(1, 10).await.unwrap();
    for tier in [None, Some("gold")] {
        repository.subjects("default", "pay", Some("u"), tier, 10).await.unwrap();
    }
    repository.all_subjects(Some(&key), 10).await.unwrap();
    repository.overrides("default", "pay", None, None, 10).await.unwrap();
    repository.bans("default", "pay", None, 10).await.unwrap();
    for tenant in [None, Some("default")] {
        repository.audit(tenant, None, 10).await.unwrap();
        repository.keys(tenant, None, 10).await.unwrap();
    }
    for rule in [None, Some("a")] {
        repository.history("default", "pay", rule, None, 10).await.unwrap();
    }
    repository.domain_at("default", "pay", 5).await.unwrap();
    repository.domains("default", None, 10).await.unwrap();
    use_and_tidy(repository).await;
    repository.delete_ban(&actor(), NOW, &key).await.unwrap();
    repository.delete_override(&actor(), NOW, &key, "a").await.unwrap();
    let delete = RuleEdit::DeleteDomain { domain: "shop".to_owned(), expect: Expect::Any };
    repository.edit_rules(&actor(), NOW, "default", &[delete], &[]).await.unwrap();
    repository.delete_tenant(&actor(), NOW, "acme", Expect::Any).await.unwrap();
}

async fn change_rules(repository: &Repository) {
    let ceilings = Ceilings { max_requests_per_second: Some(5), ..Ceilings::default() };
    repository.create_tenant(&actor(), NOW, "acme", &ceilings).await.unwrap();
    repository.update_tenant(&actor(), NOW, "acme", &ceilings, Expect::Any).await.unwrap();
    let rename = RuleEdit::RenameRule {
        domain: "pay".to_owned(),
        rule: "b".to_owned(),
        to: "c".to_owned(),
        document: "{}".to_owned(),
        expect: Expect::Any,
    };
    let edits = [put_domain("pay"), put_domain("shop"), put_rule("a"), put_rule("b"), rename];
    repository.edit_rules(&actor(), NOW, "default", &edits, &[]).await.unwrap();
}

async fn change_subjects(repository: &Repository) {
    let key = SubjectKey { tenant: "default".to_owned(), domain: "pay".to_owned(), subject: "u1".to_owned() };
    let tiers: Vec<_> = (0..1_500)
        .map(|number| (format!("u{number}"), (number % 2 == 0).then(|| "gold".to_owned())))
        .collect();
    for given in [&tiers[..], &tiers[..2]] {
        repository.put_subjects(&actor(), NOW, "default", "pay", given).await.unwrap();
    }
    let ban = Ban { reason: String::new(), until_us: Some(NOW + 1), by: String::new(), since_us: NOW };
    repository.put_ban(&actor(), NOW, &key, &ban).await.unwrap();
    let quota = OverrideQuota { limit: 1, window_us: None, burst: None };
    let own = Override { rule: "a".to_owned(), quota, reason: String::new(), until_us: Some(NOW + 1) };
    repository.put_override(&actor(), NOW, &key, &own).await.unwrap();
}

async fn use_and_tidy(repository: &Repository) {
    let api_key = ApiKey {
        prefix: "k1".to_owned(),
        tenant: Some("default".to_owned()),
        name: "k".to_owned(),
        scopes: vec![Scope::Check],
        hash: [1; 32],
        previous: None,
        created_us: NOW,
        expires_us: Some(NOW + 1),
        last_used_us: None,
        revoked_us: None,
    };
    repository.create_key(&actor(), NOW, &api_key).await.unwrap();
    repository.touch_keys(&[("k1".to_owned(), NOW)]).await.unwrap();
    repository.all_keys().await.unwrap();
    let row = UsageKey {
        tenant: "default".to_owned(),
        domain: "pay".to_owned(),
        rule: "a".to_owned(),
        tier: String::new(),
        at_s: 0,
    };
    repository.add_usage("n", 1, NOW, &[(row, UsageCounts::default())]).await.unwrap();
    for (tenant, resolution) in [None, Some("default".to_owned())]
        .into_iter()
        .flat_map(|tenant| [(tenant.clone(), Resolution::Minute), (tenant, Resolution::Hour)])
    {
        let asked = UsageQuery {
            tenant,
            domain: None,
            rule: None,
            tier: None,
            from_s: 0,
            to_s: 60,
            resolution,
            group_by: vec![],
            limit: 10,
        };
        repository.usage(&asked).await.unwrap();
    }
    repository.roll_up(NOW, &Retention { minutes_s: 60, hours_s: 3_600 }).await.unwrap();
    repository.purge(NOW).await.unwrap();
}
