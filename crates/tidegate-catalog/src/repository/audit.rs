//! Who changed what, and how it was before.

use sqlx::AnyConnection;

use super::dialect::{fixed, int, maybe_text, text};
use super::error::Result;
use super::{CALL, Repository};
use crate::model::{Actor, MAX_PAGE};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Grows with time.
    pub id: i64,
    /// When.
    pub at_us: i64,
    /// Who: the name of a key, or `server`.
    pub actor: String,
    /// Whose thing it is; absent for what belongs to no tenant.
    pub tenant: Option<String>,
    /// `rule.put`, `key.revoke` and so on.
    pub action: String,
    /// Which thing.
    pub target: String,
    /// How it was, as JSON; absent where it was not there.
    pub before: Option<String>,
    /// How it is now, as JSON; absent where it is gone.
    pub after: Option<String>,
    /// The request's correlation id.
    pub correlation: Option<String>,
}

/// An entry to be.
pub(super) struct Record<'a> {
    pub(super) tenant: Option<&'a str>,
    pub(super) action: &'static str,
    pub(super) target: String,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
}

impl Repository {
    /// The newest entries first; those of one tenant since it was made or all, those with a lower id than `before` or all.
    /// A tenant that was removed and made again under its name is another one.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`](super::CatalogError).
    pub async fn audit(
        &self,
        tenant: Option<&str>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>> {
        self.bounded(CALL, async {
            // One statement for both would be planned for the worse of them, and read the whole log.
            let of_tenant = match tenant {
                Some(_) => "AND tenant = $3 AND at_us >= COALESCE((SELECT created_us FROM tenants WHERE name = $3), 0)",
                None => "",
            };
            let sql = format!(
                "SELECT id, at_us, actor, tenant, action, target, before_json, after_json, correlation FROM audit \
                 WHERE id < $1 {of_tenant} ORDER BY id DESC LIMIT $2"
            );
            let query = sqlx::query(fixed(sql)).bind(before.unwrap_or(i64::MAX)).bind(i64::from(limit.min(MAX_PAGE)));
            let query = if let Some(tenant) = tenant { query.bind(tenant) } else { query };
            let rows = query.fetch_all(&mut *self.desk().await?).await?;
            let entry = |row| {
                Ok(AuditEntry {
                    id: int(row, 0)?,
                    at_us: int(row, 1)?,
                    actor: text(row, 2)?,
                    tenant: maybe_text(row, 3)?,
                    action: text(row, 4)?,
                    target: text(row, 5)?,
                    before: maybe_text(row, 6)?,
                    after: maybe_text(row, 7)?,
                    correlation: maybe_text(row, 8)?,
                })
            };
            rows.iter().map(entry).collect()
        })
        .await
    }
}

/// Something done that changed nothing in the database, such as giving units back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// Whose thing it is about.
    pub tenant: String,
    /// `subject.reset` and so on.
    pub action: &'static str,
    /// Which thing.
    pub target: String,
    /// What was done, as JSON.
    pub after: Option<String>,
}

impl Repository {
    /// Writes what was done elsewhere into the audit log.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`](super::CatalogError).
    pub async fn note(&self, actor: &Actor, now_us: i64, deed: Deed) -> Result<()> {
        self.bounded(CALL, async {
            let mut write = self.write().await?;
            let Deed { tenant, action, target, after } = deed;
            let entry = Record { tenant: Some(&tenant), action, target, before: None, after };
            record(write.conn(), actor, now_us, entry).await?;
            write.commit().await
        })
        .await
    }
}

/// Part of every change's transaction.
pub(super) async fn record(
    conn: &mut AnyConnection,
    actor: &Actor,
    now_us: i64,
    record: Record<'_>,
) -> Result<()> {
    let sql = "INSERT INTO audit (at_us, actor, tenant, action, target, before_json, after_json, correlation) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let query = sqlx::query(sql).bind(now_us).bind(&actor.name).bind(record.tenant).bind(record.action);
    let query = query.bind(record.target).bind(record.before).bind(record.after);
    query.bind(&actor.correlation).execute(conn).await?;
    Ok(())
}
