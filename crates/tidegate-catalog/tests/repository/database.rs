//! Databases to test on, and short words for what tests do most.

use std::sync::{Arc, Mutex, Weak};

use tidegate_catalog::model::{Actor, Expect, SubjectKey};
use tidegate_catalog::repository::{DatabaseSettings, Repository, Result, RuleEdit};
use tidegate_testkit::{Postgres, TempDir};

/// The time of tests: some day in 2026.
pub(crate) const NOW: i64 = 1_800_000_000_000_000;
/// One second of it.
pub(crate) const SECOND: i64 = 1_000_000;

/// A database of its own.
pub(crate) struct Database {
    pub(crate) settings: DatabaseSettings,
    place: Place,
}

enum Place {
    File { _dir: TempDir, path: String },
    Server { server: Arc<Postgres>, name: String },
}

/// A connection in a transaction, see [`Database::hold`].
#[expect(dead_code, reason = "held, and dropped")]
pub(crate) enum Holder {
    File(sqlx::SqliteConnection),
    Server(sqlx::PgConnection),
}

/// The server of tests that run at the same time; the last one ends it.
static SERVER: Mutex<(Weak<Postgres>, u32)> = Mutex::new((Weak::new(), 0));

impl Database {
    /// A new file with its tables.
    pub(crate) async fn sqlite() -> Self {
        let database = Self::empty_sqlite();
        database.open().migrate().await.unwrap();
        database
    }

    /// A new database of a server, with its tables.
    pub(crate) async fn postgres() -> Self {
        let database = Self::empty_postgres();
        database.open().migrate().await.unwrap();
        database
    }

    pub(crate) fn empty_sqlite() -> Self {
        let dir = TempDir::new("catalog");
        // A name that a URL would take for something else.
        let path = dir.join("a b%20?#.db");
        let settings = DatabaseSettings::file(&path);
        Self { settings, place: Place::File { path: path.display().to_string(), _dir: dir } }
    }

    pub(crate) fn empty_postgres() -> Self {
        let (server, name) = {
            let mut shared = SERVER.lock().unwrap();
            let server = shared.0.upgrade().unwrap_or_else(|| Arc::new(Postgres::start()));
            shared.0 = Arc::downgrade(&server);
            shared.1 += 1;
            (server, format!("test{}", shared.1))
        };
        let settings = DatabaseSettings::parse(&server.database(&name)).unwrap();
        Self { settings, place: Place::Server { server, name } }
    }

    /// As another node would open it.
    pub(crate) fn open(&self) -> Repository {
        Repository::open(&self.settings).unwrap()
    }

    /// Holds what every change needs, and with a server the audit log, too, until it is dropped.
    pub(crate) async fn hold(&self) -> Holder {
        use sqlx::{ConnectOptions, Connection, SqliteConnection};
        match &self.place {
            Place::File { path, .. } => {
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
                let mut connection: SqliteConnection = options.connect().await.unwrap();
                sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
                Holder::File(connection)
            }
            Place::Server { .. } => {
                let url = self.settings.to_string();
                let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
                let lock = "BEGIN; SELECT version FROM versions FOR UPDATE; LOCK TABLE audit";
                sqlx::raw_sql(lock).execute(&mut connection).await.unwrap();
                Holder::Server(connection)
            }
        }
    }

    /// As an operator would write it; whether the database takes it.
    pub(crate) async fn try_sql(&self, statement: &'static str) -> bool {
        use sqlx::{ConnectOptions, Connection};
        match &self.place {
            Place::File { path, .. } => {
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
                let mut connection = options.connect().await.unwrap();
                sqlx::query(statement).execute(&mut connection).await.is_ok()
            }
            Place::Server { .. } => {
                let mut connection = sqlx::PgConnection::connect(&self.settings.to_string()).await.unwrap();
                sqlx::query(statement).execute(&mut connection).await.is_ok()
            }
        }
    }

    /// As an operator would write it. Gives the first column of the rows.
    pub(crate) async fn sql(&self, statement: &'static str) -> Vec<String> {
        match &self.place {
            Place::File { path, .. } => {
                use sqlx::{ConnectOptions, Row};
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
                let mut connection = options.connect().await.unwrap();
                let rows = sqlx::query(statement).fetch_all(&mut connection).await.unwrap();
                rows.iter()
                    .map(|row| row.try_get_unchecked::<Option<String>, _>(0).unwrap().unwrap_or_default())
                    .collect()
            }
            Place::Server { server, name } => {
                server.sql(name, statement).lines().map(str::to_owned).collect()
            }
        }
    }
}

pub(crate) fn actor() -> Actor {
    Actor { name: "admin (k1)".to_owned(), correlation: Some("c-1".to_owned()) }
}

pub(crate) fn key(subject: &str) -> SubjectKey {
    SubjectKey { tenant: "default".to_owned(), domain: "pay".to_owned(), subject: subject.to_owned() }
}

pub(crate) fn put_domain(domain: &str) -> RuleEdit {
    RuleEdit::PutDomain { domain: domain.to_owned(), document: r#"{"a":1}"#.to_owned(), expect: Expect::Any }
}

pub(crate) fn put_rule(domain: &str, rule: &str, document: &str) -> RuleEdit {
    put_rule_if(domain, rule, document, Expect::Any)
}

pub(crate) fn put_rule_if(domain: &str, rule: &str, document: &str, expect: Expect) -> RuleEdit {
    RuleEdit::PutRule {
        domain: domain.to_owned(),
        rule: rule.to_owned(),
        document: document.to_owned(),
        expect,
    }
}

pub(crate) fn delete_rule(domain: &str, rule: &str) -> RuleEdit {
    RuleEdit::DeleteRule { domain: domain.to_owned(), rule: rule.to_owned(), expect: Expect::Any }
}

/// Edits of the default tenant.
pub(crate) async fn edit(repository: &Repository, edits: &[RuleEdit]) -> Result<i64> {
    repository.edit_rules(&actor(), NOW, "default", edits, &[]).await
}

/// The domain `pay` with rules of these names, each with the document `{}`.
pub(crate) async fn with_rules(repository: &Repository, rules: &[&str]) -> i64 {
    let mut edits = vec![put_domain("pay")];
    edits.extend(rules.iter().map(|rule| put_rule("pay", rule, "{}")));
    edit(repository, &edits).await.unwrap()
}

/// The names of the rules of `pay`, in their order.
pub(crate) async fn rules_of(repository: &Repository) -> Vec<String> {
    let domain = repository.domain("default", "pay").await.unwrap().unwrap();
    domain.rules.into_iter().map(|rule| rule.name).collect()
}
