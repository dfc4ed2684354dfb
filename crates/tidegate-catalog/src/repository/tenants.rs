//! Tenants and what they may have.

use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::audit::{Record, record};
use super::dialect::{Kind, bump, fixed, int, maybe_int, text};
use super::edit::{check_installation, expect_version};
use super::error::{CatalogError, Result};
use super::{CALL, LONG_CALL, Repository, set_meta, subjects};
use crate::model::{Actor, Ceilings, DEFAULT_TENANT, Expect, MAX_PAGE, Tenant};

/// What a tenant is read from.
const COLUMNS: &str = "name, max_rules, max_keys, max_requests_per_second, created_us, version";
/// Names of removed tenants are kept in `meta` behind this.
const REMOVED: &str = "removed-tenant:";
/// How long the name of a removed tenant cannot be used: nodes still know its busiest keys and recent requests, and buckets go
/// by the name.
const NAME_RESTS_US: i64 = 24 * 3_600 * 1_000_000;

impl Repository {
    /// Makes a tenant. Returns the rules version.
    ///
    /// # Errors
    ///
    /// `Conflict` where the name is taken, `Refused` where it was until less than a day ago, `Ceiling` where the rule that
    /// its ceiling of requests takes would be one too many for the installation.
    pub async fn create_tenant(
        &self,
        actor: &Actor,
        now_us: i64,
        name: &str,
        ceilings: &Ceilings,
    ) -> Result<i64> {
        self.bounded(CALL, async {
            let mut write = self.write().await?;
            let conn = write.conn();
            let version = bump(conn, Kind::Rules).await?;
            expect_version(Expect::Absent, find(conn, name).await?.map(|tenant| tenant.version))?;
            if was_removed_lately(conn, now_us, name).await? {
                return Err(CatalogError::Refused(
                    "a tenant of this name was removed less than a day ago, and what its requests have left behind would become the new one's: choose another name, or wait",
                ));
            }
            let sql = "INSERT INTO tenants (name, max_rules, max_keys, max_requests_per_second, created_us, version) \
                       VALUES ($1, $2, $3, $4, $5, $6)";
            let query = sqlx::query(sql).bind(name).bind(i64::from(ceilings.max_rules));
            let query = query.bind(i64::from(ceilings.max_keys)).bind(ceilings.max_requests_per_second.map(i64::from));
            query.bind(now_us).bind(version).execute(&mut *conn).await?;
            if ceilings.max_requests_per_second.is_some() {
                check_installation(conn).await?;
            }
            log(conn, actor, now_us, "tenant.create", name, None, Some(ceilings)).await?;
            write.commit().await?;
            Ok(version)
        })
        .await
    }

    /// A tenant.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn tenant(&self, name: &str) -> Result<Option<Tenant>> {
        self.bounded(CALL, async { find(&mut *self.desk().await?, name).await }).await
    }

    /// Tenants in the order of their names, those after `after` or all.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn tenants(&self, after: Option<&str>, limit: u32) -> Result<Vec<Tenant>> {
        self.bounded(CALL, async {
            let sql = format!("SELECT {COLUMNS} FROM tenants WHERE name > $1 ORDER BY name LIMIT $2");
            let query =
                sqlx::query(fixed(sql)).bind(after.unwrap_or_default()).bind(i64::from(limit.min(MAX_PAGE)));
            query.fetch_all(&mut *self.desk().await?).await?.iter().map(tenant).collect()
        })
        .await
    }

    /// Changes what a tenant may have; what it has already it keeps. Returns the rules version.
    ///
    /// # Errors
    ///
    /// `NotFound` where it is not there, `Conflict` where the expectation does not hold, `Ceiling` as in
    /// [`create_tenant`](Self::create_tenant).
    pub async fn update_tenant(
        &self,
        actor: &Actor,
        now_us: i64,
        name: &str,
        ceilings: &Ceilings,
        expect: Expect,
    ) -> Result<i64> {
        self.bounded(CALL, async {
            let mut write = self.write().await?;
            let conn = write.conn();
            let version = bump(conn, Kind::Rules).await?;
            let before = expected(conn, name, expect).await?;
            let sql = "UPDATE tenants SET max_rules = $2, max_keys = $3, max_requests_per_second = $4, version = $5 \
                       WHERE name = $1";
            let query = sqlx::query(sql).bind(name).bind(i64::from(ceilings.max_rules));
            let query = query.bind(i64::from(ceilings.max_keys)).bind(ceilings.max_requests_per_second.map(i64::from));
            query.bind(version).execute(&mut *conn).await?;
            // One that had a ceiling of requests has a rule for it already.
            if before.ceilings.max_requests_per_second.is_none() && ceilings.max_requests_per_second.is_some() {
                check_installation(conn).await?;
            }
            log(conn, actor, now_us, "tenant.update", name, Some(&before.ceilings), Some(ceilings)).await?;
            write.commit().await?;
            Ok(version)
        })
        .await
    }

    /// Removes a tenant and all it has: domains, rules with their history, subjects, keys, usage. The audit log stays.
    /// Returns the rules version.
    ///
    /// # Errors
    ///
    /// `NotFound` where it is not there, `Conflict` where the expectation does not hold, `Refused` for `default`.
    pub async fn delete_tenant(&self, actor: &Actor, now_us: i64, name: &str, expect: Expect) -> Result<i64> {
        if name == DEFAULT_TENANT {
            return Err(CatalogError::Refused("the tenant 'default' cannot be deleted"));
        }
        self.bounded(LONG_CALL, async {
            let mut write = self.write().await?;
            let conn = write.conn();
            let version = bump(conn, Kind::Rules).await?;
            let before = expected(conn, name, expect).await?;
            subjects::forget(self.dialect, conn, name, None).await?;
            bump(conn, Kind::Keys).await?;
            for sql in [
                "DELETE FROM api_keys WHERE tenant = $1",
                "DELETE FROM rules WHERE tenant = $1",
                "DELETE FROM domains WHERE tenant = $1",
                "DELETE FROM rule_history WHERE tenant = $1",
                "DELETE FROM usage WHERE tenant = $1",
                "DELETE FROM tenants WHERE name = $1",
            ] {
                sqlx::query(sql).bind(name).execute(&mut *conn).await?;
            }
            set_meta(conn, &removal_of(name), &now_us.to_string()).await?;
            log(conn, actor, now_us, "tenant.delete", name, Some(&before.ceilings), None).await?;
            write.commit().await?;
            Ok(version)
        })
        .await
    }
}

/// Where it is noted that a tenant was removed, and when.
fn removal_of(tenant: &str) -> String {
    format!("{REMOVED}{tenant}")
}

async fn was_removed_lately(conn: &mut AnyConnection, now_us: i64, tenant: &str) -> Result<bool> {
    let query =
        sqlx::query("SELECT CAST(value AS BIGINT) FROM meta WHERE name = $1").bind(removal_of(tenant));
    let removed = query.fetch_optional(conn).await?.map(|row| int(&row, 0)).transpose()?;
    Ok(removed.is_some_and(|removed| now_us.saturating_sub(removed) < NAME_RESTS_US))
}

/// Forgets which tenants were removed so long ago that their names can be used again.
pub(super) async fn purge(conn: &mut AnyConnection, now_us: i64) -> Result<()> {
    // In this order: other values of `meta` are no numbers.
    let sql = "DELETE FROM meta WHERE CASE WHEN name LIKE 'removed-tenant:%' THEN CAST(value AS BIGINT) <= $1 ELSE FALSE END";
    sqlx::query(sql).bind(now_us.saturating_sub(NAME_RESTS_US)).execute(conn).await?;
    Ok(())
}

/// Every tenant in the order of their names.
pub(super) async fn all(conn: &mut AnyConnection) -> Result<Vec<Tenant>> {
    let sql = format!("SELECT {COLUMNS} FROM tenants ORDER BY name");
    sqlx::query(fixed(sql)).fetch_all(conn).await?.iter().map(tenant).collect()
}

async fn find(conn: &mut AnyConnection, name: &str) -> Result<Option<Tenant>> {
    let sql = format!("SELECT {COLUMNS} FROM tenants WHERE name = $1");
    let query = sqlx::query(fixed(sql)).bind(name);
    query.fetch_optional(conn).await?.map(|row| tenant(&row)).transpose()
}

async fn expected(conn: &mut AnyConnection, name: &str, expect: Expect) -> Result<Tenant> {
    let found = find(conn, name).await?;
    expect_version(expect, found.as_ref().map(|tenant| tenant.version))?;
    found.ok_or(CatalogError::NotFound)
}

/// From [`COLUMNS`].
fn tenant(row: &AnyRow) -> Result<Tenant> {
    let small = |number: i64| u32::try_from(number.max(0)).unwrap_or(u32::MAX);
    Ok(Tenant {
        name: text(row, 0)?,
        ceilings: Ceilings {
            max_rules: small(int(row, 1)?),
            max_keys: small(int(row, 2)?),
            max_requests_per_second: maybe_int(row, 3)?.map(small),
        },
        created_us: int(row, 4)?,
        version: int(row, 5)?,
    })
}

async fn log(
    conn: &mut AnyConnection,
    actor: &Actor,
    now_us: i64,
    action: &'static str,
    name: &str,
    before: Option<&Ceilings>,
    after: Option<&Ceilings>,
) -> Result<()> {
    let shown = |ceilings: &Ceilings| {
        serde_json::json!({
            "max_rules": ceilings.max_rules, "max_keys": ceilings.max_keys,
            "max_requests_per_second": ceilings.max_requests_per_second,
        })
        .to_string()
    };
    let (before, after) = (before.map(shown), after.map(shown));
    record(conn, actor, now_us, Record { tenant: Some(name), action, target: name.to_owned(), before, after })
        .await
}
