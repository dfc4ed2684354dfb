//! Quotas of single subjects.

use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::audit::{Record, record};
use super::dialect::{Kind, count, int, maybe_int, stored, text};
use super::error::{CatalogError, Result};
use super::subjects::require_tenant;
use super::{CALL, Repository, versions};
use crate::model::{Actor, MAX_PAGE, Override, OverrideQuota, SubjectKey, Versions};

/// The most overrides of one tenant.
pub const MAX_OVERRIDES: u32 = 10_000;
/// The most different quotas of one rule's overrides: each is a tier of the compiled rule.
pub const MAX_DISTINCT_QUOTAS: u32 = 64;

impl Repository {
    /// Gives a subject a quota of its own for one rule, or replaces it. Returns the versions that have it: new
    /// quotas are compiled.
    ///
    /// # Errors
    ///
    /// `NotFound` where the tenant is not there; `Ceiling` where the tenant has [`MAX_OVERRIDES`] or the rule would have more than
    /// [`MAX_DISTINCT_QUOTAS`].
    pub async fn put_override(
        &self,
        actor: &Actor,
        now_us: i64,
        key: &SubjectKey,
        given: &Override,
    ) -> Result<Versions> {
        self.bounded(CALL, async {
            let mut write = self.write().await?;
            let conn = write.conn();
            self.dialect.lock(conn, Kind::Rules).await?;
            self.dialect.lock(conn, Kind::Subjects).await?;
            require_tenant(conn, &key.tenant).await?;
            let before = find(conn, key, &given.rule).await?;
            let sql = "INSERT INTO overrides \
                       (tenant, domain, subject, rule, limit_units, window_us, burst, until_us, reason) \
                       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
                       ON CONFLICT (tenant, domain, subject, rule) DO UPDATE SET limit_units = excluded.limit_units, \
                       window_us = excluded.window_us, burst = excluded.burst, until_us = excluded.until_us, \
                       reason = excluded.reason";
            let query = sqlx::query(sql).bind(&key.tenant).bind(&key.domain).bind(&key.subject).bind(&given.rule);
            let query = query.bind(stored(given.quota.limit)).bind(given.quota.window_us.map(stored));
            let query = query.bind(given.quota.burst.map(stored)).bind(given.until_us).bind(&given.reason);
            query.execute(&mut *conn).await?;
            check_ceilings(conn, now_us, key, &given.rule).await?;
            log(conn, actor, now_us, "override.put", key, before.as_ref(), Some(given)).await?;
            let version = versions(conn).await?;
            write.commit().await?;
            Ok(version)
        })
        .await
    }

    /// Takes a subject's own quota for one rule away. Returns the versions that have it.
    ///
    /// # Errors
    ///
    /// `NotFound` where there is none.
    pub async fn delete_override(
        &self,
        actor: &Actor,
        now_us: i64,
        key: &SubjectKey,
        rule: &str,
    ) -> Result<Versions> {
        self.bounded(CALL, async {
            let mut write = self.write().await?;
            let conn = write.conn();
            self.dialect.lock(conn, Kind::Rules).await?;
            self.dialect.lock(conn, Kind::Subjects).await?;
            let before = find(conn, key, rule).await?.ok_or(CatalogError::NotFound)?;
            let sql =
                "DELETE FROM overrides WHERE tenant = $1 AND domain = $2 AND subject = $3 AND rule = $4";
            let query = sqlx::query(sql).bind(&key.tenant).bind(&key.domain).bind(&key.subject).bind(rule);
            query.execute(&mut *conn).await?;
            log(conn, actor, now_us, "override.delete", key, Some(&before), None).await?;
            let version = versions(conn).await?;
            write.commit().await?;
            Ok(version)
        })
        .await
    }

    /// Overrides of a domain in the order of subject and rule: of one subject or all, those after `after` (subject and rule) or
    /// all; those that are over may be among them.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn overrides(
        &self,
        tenant: &str,
        domain: &str,
        subject: Option<&str>,
        after: Option<(&str, &str)>,
        limit: u32,
    ) -> Result<Vec<(String, Override)>> {
        self.bounded(CALL, async {
            let sql = "SELECT subject, rule, reason, until_us, limit_units, window_us, burst FROM overrides \
                       WHERE tenant = $1 AND domain = $2 AND ($3 IS NULL OR subject = $3) \
                       AND (subject, rule) > ($4, $5) ORDER BY subject, rule LIMIT $6";
            let (after_subject, after_rule) = after.unwrap_or_default();
            let query =
                sqlx::query(sql).bind(tenant).bind(domain).bind(subject).bind(after_subject).bind(after_rule);
            let query = query.bind(i64::from(limit.min(MAX_PAGE)));
            let rows = query.fetch_all(&mut *self.desk().await?).await?;
            rows.iter().map(|row| Ok((text(row, 0)?, of_row(row, 1)?))).collect()
        })
        .await
    }
}

/// From the columns rule, reason, until_us, limit_units, window_us, burst, the first at `at`.
pub(super) fn of_row(row: &AnyRow, at: usize) -> Result<Override> {
    Ok(Override {
        rule: text(row, at)?,
        reason: text(row, at + 1)?,
        until_us: maybe_int(row, at + 2)?,
        quota: quota(row, at + 3)?,
    })
}

/// From the columns limit_units, window_us, burst.
fn quota(row: &AnyRow, at: usize) -> Result<OverrideQuota> {
    Ok(OverrideQuota {
        limit: count(int(row, at)?),
        window_us: maybe_int(row, at + 1)?.map(count),
        burst: maybe_int(row, at + 2)?.map(count),
    })
}

/// Every quota that is not over, with its tenant, domain and rule.
pub(super) async fn quotas(
    conn: &mut AnyConnection,
    now_us: i64,
) -> Result<Vec<((String, String, String), OverrideQuota)>> {
    let sql = "SELECT DISTINCT tenant, domain, rule, limit_units, window_us, burst FROM overrides \
               WHERE until_us IS NULL OR until_us > $1 ORDER BY tenant, domain, rule, limit_units, window_us, burst";
    let rows = sqlx::query(sql).bind(now_us).fetch_all(conn).await?;
    rows.iter().map(|row| Ok(((text(row, 0)?, text(row, 1)?, text(row, 2)?), quota(row, 3)?))).collect()
}

/// Looked at after the change, which is undone where there are too many.
async fn check_ceilings(conn: &mut AnyConnection, now_us: i64, key: &SubjectKey, rule: &str) -> Result<()> {
    let query = sqlx::query("SELECT COUNT(*) FROM overrides WHERE tenant = $1").bind(&key.tenant);
    if int(&query.fetch_one(&mut *conn).await?, 0)? > i64::from(MAX_OVERRIDES) {
        return Err(CatalogError::Ceiling { what: "overrides of a tenant", most: u64::from(MAX_OVERRIDES) });
    }
    let sql = "SELECT COUNT(*) FROM (SELECT DISTINCT limit_units, window_us, burst FROM overrides \
               WHERE tenant = $1 AND domain = $2 AND rule = $3 AND (until_us IS NULL OR until_us > $4)) AS quotas";
    let query = sqlx::query(sql).bind(&key.tenant).bind(&key.domain).bind(rule).bind(now_us);
    if int(&query.fetch_one(conn).await?, 0)? > i64::from(MAX_DISTINCT_QUOTAS) {
        let what = "different quotas in the overrides of a rule";
        return Err(CatalogError::Ceiling { what, most: u64::from(MAX_DISTINCT_QUOTAS) });
    }
    Ok(())
}

async fn find(conn: &mut AnyConnection, key: &SubjectKey, rule: &str) -> Result<Option<Override>> {
    let sql = "SELECT rule, reason, until_us, limit_units, window_us, burst FROM overrides \
               WHERE tenant = $1 AND domain = $2 AND subject = $3 AND rule = $4";
    let query = sqlx::query(sql).bind(&key.tenant).bind(&key.domain).bind(&key.subject).bind(rule);
    query.fetch_optional(conn).await?.map(|row| of_row(&row, 0)).transpose()
}

async fn log(
    conn: &mut AnyConnection,
    actor: &Actor,
    now_us: i64,
    action: &'static str,
    key: &SubjectKey,
    before: Option<&Override>,
    after: Option<&Override>,
) -> Result<()> {
    let shown = |given: &Override| {
        serde_json::json!({
            "rule": given.rule, "limit": given.quota.limit, "window_us": given.quota.window_us,
            "burst": given.quota.burst, "until_us": given.until_us, "reason": given.reason,
        })
        .to_string()
    };
    let rule = before.or(after).map(|given| given.rule.as_str()).unwrap_or_default();
    let entry = Record {
        tenant: Some(&key.tenant),
        action,
        target: format!("{}/{}/{rule}", key.domain, key.subject),
        before: before.map(shown),
        after: after.map(shown),
    };
    record(conn, actor, now_us, entry).await
}
