//! Subjects that are refused whatever the rules say.

use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::audit::{Record, record};
use super::dialect::{Kind, int, maybe_int, text};
use super::error::{CatalogError, Result};
use super::subjects::require_tenant;
use super::{CALL, Repository, versions};
use crate::model::{Actor, Ban, MAX_PAGE, SubjectKey};

/// The most bans of one tenant.
pub const MAX_BANS: u32 = 100_000;

impl Repository {
    /// Bans a subject, or replaces its ban. Returns the subjects version.
    ///
    /// # Errors
    ///
    /// `NotFound` where the tenant is not there, `Ceiling` where the tenant has [`MAX_BANS`].
    pub async fn put_ban(&self, actor: &Actor, now_us: i64, key: &SubjectKey, ban: &Ban) -> Result<i64> {
        self.bounded(CALL, async {
            let mut write = self.write().await?;
            let conn = write.conn();
            self.dialect.lock(conn, Kind::Subjects).await?;
            require_tenant(conn, &key.tenant).await?;
            let before = find(conn, key).await?;
            if before.is_none() {
                let query = sqlx::query("SELECT COUNT(*) FROM bans WHERE tenant = $1").bind(&key.tenant);
                if int(&query.fetch_one(&mut *conn).await?, 0)? >= i64::from(MAX_BANS) {
                    return Err(CatalogError::Ceiling { what: "bans of a tenant", most: u64::from(MAX_BANS) });
                }
            }
            let sql = "INSERT INTO bans (tenant, domain, subject, reason, until_us, by_name, since_us) \
                       VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant, domain, subject) DO UPDATE SET \
                       reason = excluded.reason, until_us = excluded.until_us, by_name = excluded.by_name, \
                       since_us = excluded.since_us";
            let query = sqlx::query(sql).bind(&key.tenant).bind(&key.domain).bind(&key.subject).bind(&ban.reason);
            query.bind(ban.until_us).bind(&ban.by).bind(ban.since_us).execute(&mut *conn).await?;
            log(conn, actor, now_us, "ban.put", key, before.as_ref(), Some(ban)).await?;
            let version = versions(conn).await?.subjects;
            write.commit().await?;
            Ok(version)
        })
        .await
    }

    /// Lifts a ban. Returns the subjects version.
    ///
    /// # Errors
    ///
    /// `NotFound` where there is none.
    pub async fn delete_ban(&self, actor: &Actor, now_us: i64, key: &SubjectKey) -> Result<i64> {
        self.bounded(CALL, async {
            let mut write = self.write().await?;
            let conn = write.conn();
            self.dialect.lock(conn, Kind::Subjects).await?;
            let before = find(conn, key).await?.ok_or(CatalogError::NotFound)?;
            let query = sqlx::query("DELETE FROM bans WHERE tenant = $1 AND domain = $2 AND subject = $3");
            let query = query.bind(&key.tenant).bind(&key.domain).bind(&key.subject);
            query.execute(&mut *conn).await?;
            log(conn, actor, now_us, "ban.delete", key, Some(&before), None).await?;
            let version = versions(conn).await?.subjects;
            write.commit().await?;
            Ok(version)
        })
        .await
    }

    /// Banned subjects of a domain in the order of their names, those after `after` or all; bans that are over may be among them.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn bans(
        &self,
        tenant: &str,
        domain: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, Ban)>> {
        self.bounded(CALL, async {
            let sql = "SELECT subject, reason, by_name, until_us, since_us FROM bans \
                       WHERE tenant = $1 AND domain = $2 AND subject > $3 ORDER BY subject LIMIT $4";
            let query = sqlx::query(sql).bind(tenant).bind(domain).bind(after.unwrap_or_default());
            let query = query.bind(i64::from(limit.min(MAX_PAGE)));
            let rows = query.fetch_all(&mut *self.desk().await?).await?;
            rows.iter().map(|row| Ok((text(row, 0)?, ban(row, 1)?))).collect()
        })
        .await
    }
}

/// From the columns reason, by_name, until_us, since_us, the first at `at`.
pub(super) fn ban(row: &AnyRow, at: usize) -> Result<Ban> {
    Ok(Ban {
        reason: text(row, at)?,
        by: text(row, at + 1)?,
        until_us: maybe_int(row, at + 2)?,
        since_us: int(row, at + 3)?,
    })
}

async fn find(conn: &mut AnyConnection, key: &SubjectKey) -> Result<Option<Ban>> {
    let sql = "SELECT reason, by_name, until_us, since_us FROM bans WHERE tenant = $1 AND domain = $2 AND subject = $3";
    let query = sqlx::query(sql).bind(&key.tenant).bind(&key.domain).bind(&key.subject);
    query.fetch_optional(conn).await?.map(|row| ban(&row, 0)).transpose()
}

async fn log(
    conn: &mut AnyConnection,
    actor: &Actor,
    now_us: i64,
    action: &'static str,
    key: &SubjectKey,
    before: Option<&Ban>,
    after: Option<&Ban>,
) -> Result<()> {
    let shown = |ban: &Ban| {
        serde_json::json!({
            "reason": ban.reason, "until_us": ban.until_us, "by": ban.by, "since_us": ban.since_us,
        })
        .to_string()
    };
    let entry = Record {
        tenant: Some(&key.tenant),
        action,
        target: format!("{}/{}", key.domain, key.subject),
        before: before.map(shown),
        after: after.map(shown),
    };
    record(conn, actor, now_us, entry).await
}
