//! What a change of rules leaves behind: lines of history and of the audit log, and new content versions of its domains. They are
//! written together: with a server that is one round trip, however many they are.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sqlx::AnyConnection;

use super::dialect::{Dialect, fixed};
use super::error::Result;
use crate::model::Actor;

/// The most lines that wait to be written.
const MAX_LINES: usize = 1_000;

/// What is not written yet.
#[derive(Default)]
pub(super) struct Trail<'a> {
    /// Domain, rule, position, document, action.
    history: Vec<Value>,
    /// Action, target, before, after.
    audit: Vec<Value>,
    touched: BTreeSet<&'a str>,
}

/// Whose change it is.
#[derive(Clone, Copy)]
pub(super) struct Author<'a> {
    pub(super) actor: &'a Actor,
    pub(super) now_us: i64,
    pub(super) tenant: &'a str,
    pub(super) version: i64,
}

/// A state of a rule, or of a domain's settings.
pub(super) struct Line<'a> {
    /// The rule; '' is the domain's settings.
    pub(super) rule: &'a str,
    pub(super) action: &'static str,
    /// Absent where it is gone.
    pub(super) document: Option<&'a str>,
    pub(super) position: i64,
}

impl<'a> Trail<'a> {
    /// A line of history; the domain has changed.
    pub(super) fn keep(&mut self, domain: &'a str, line: &Line<'_>) {
        self.touched.insert(domain);
        self.history.push(json!([domain, line.rule, line.position, line.document, line.action]));
    }

    /// A line of the audit log.
    pub(super) fn record(
        &mut self,
        action: &'static str,
        target: &str,
        before: Option<&str>,
        after: Option<&str>,
    ) {
        self.audit.push(json!([action, target, before, after]));
    }

    /// Whether so much waits that it is to be written.
    pub(super) fn is_full(&self) -> bool {
        self.history.len().max(self.audit.len()) >= MAX_LINES
    }

    /// Writes all that waits, in its order.
    pub(super) async fn write(
        &mut self,
        dialect: Dialect,
        conn: &mut AnyConnection,
        author: Author<'_>,
    ) -> Result<()> {
        let Self { history, audit, touched } = std::mem::take(self);
        if touched.is_empty() && audit.is_empty() {
            return Ok(());
        }
        let touched: Vec<[&str; 1]> = touched.into_iter().map(|domain| [domain]).collect();
        let Author { actor, now_us, tenant, version } = author;
        let query = sqlx::query(fixed(statement(dialect))).bind(version).bind(tenant).bind(&actor.name);
        let query = query.bind(now_us).bind(&actor.correlation).bind(json!(history).to_string());
        query.bind(json!(audit).to_string()).bind(json!(touched).to_string()).execute(conn).await?;
        Ok(())
    }
}

/// PostgreSQL takes parameters for one statement only, SQLite changes one table by a statement only.
fn statement(dialect: Dialect) -> String {
    let rows = |parameter: u8| match dialect {
        Dialect::Sqlite => format!("json_each(${parameter})"),
        Dialect::Postgres => format!("jsonb_array_elements(${parameter}::jsonb) AS given (value)"),
    };
    let history = format!(
        "INSERT INTO rule_history (version, tenant, actor, at_us, domain, rule, position, document, action) \
         SELECT $1, $2, $3, $4, value ->> 0, value ->> 1, CAST(value ->> 2 AS BIGINT), value ->> 3, value ->> 4 \
         FROM {}",
        rows(6)
    );
    let audit = format!(
        "INSERT INTO audit (tenant, actor, at_us, correlation, action, target, before_json, after_json) \
         SELECT $2, $3, $4, $5, value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM {}",
        rows(7)
    );
    let domains = format!(
        "UPDATE domains SET content_version = $1 WHERE tenant = $2 AND name IN (SELECT value ->> 0 FROM {})",
        rows(8)
    );
    match dialect {
        Dialect::Sqlite => format!("{history}; {audit}; {domains}"),
        Dialect::Postgres => format!("WITH kept AS ({history}), logged AS ({audit}) {domains}"),
    }
}
