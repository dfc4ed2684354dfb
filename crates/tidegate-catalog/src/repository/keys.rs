//! API keys; their secrets are known by their hashes only.

use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::audit::{Record, record};
use super::dialect::{Kind, bump, bytes, count, fixed, int, maybe_bytes, maybe_int, maybe_text, text};
use super::error::{CatalogError, Result};
use super::{CALL, Repository};
use crate::model::{Actor, ApiKey, MAX_PAGE, PreviousSecret, Scope};

/// The most keys of all tenants and operators that are neither revoked nor over: a node knows all of them.
const MAX_LIVE_KEYS: i64 = 100_000;
/// How long a key that is revoked or over can still be looked at.
const ENDED_KEPT_US: i64 = 30 * 24 * 3_600 * 1_000_000;
/// When a key ends that has no end.
const FOR_EVER_US: i64 = i64::MAX;
/// What a key is read from.
const COLUMNS: &str = "prefix, tenant, name, scopes, hash, previous_hash, previous_until_us, created_us, expires_us, \
                       last_used_us, revoked_us";

impl Repository {
    /// Makes a key. Returns the keys version.
    ///
    /// # Errors
    ///
    /// `NotFound` where the tenant is not there, `Conflict` where the prefix is taken, `Ceiling` where the tenant has as many
    /// keys as it may have, or all have 100,000 together.
    pub async fn create_key(&self, actor: &Actor, now_us: i64, key: &ApiKey) -> Result<i64> {
        self.bounded(CALL, async {
            let mut write = self.write().await?;
            let conn = write.conn();
            let version = bump(conn, Kind::Keys).await?;
            if let Some(tenant) = &key.tenant {
                check_ceiling(conn, tenant).await?;
            }
            check_installation(conn, now_us).await?;
            insert(conn, actor, now_us, key).await?;
            write.commit().await?;
            Ok(version)
        })
        .await
    }

    /// Makes an operator's key where there never was one; whether it did. It does so once in the life of the database, and
    /// that it did and the key are written together.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn create_first_operator_key(&self, actor: &Actor, now_us: i64, key: &ApiKey) -> Result<bool> {
        self.bounded(CALL, async {
            let mut write = self.write().await?;
            let conn = write.conn();
            bump(conn, Kind::Keys).await?;
            let sql = "INSERT INTO meta (name, value) SELECT 'seed:first-operator-key', $1 \
                       WHERE NOT EXISTS (SELECT 1 FROM api_keys WHERE tenant IS NULL) \
                       ON CONFLICT (name) DO NOTHING";
            let marked = sqlx::query(sql).bind(now_us.to_string()).execute(&mut *conn).await?;
            if marked.rows_affected() == 0 {
                return Ok(false);
            }
            insert(conn, actor, now_us, key).await?;
            write.commit().await?;
            Ok(true)
        })
        .await
    }

    /// Keys in the order of their prefixes: of one tenant or all, those after `after` or all; revoked ones too.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn keys(&self, tenant: Option<&str>, after: Option<&str>, limit: u32) -> Result<Vec<ApiKey>> {
        self.bounded(CALL, async {
            let sql = format!(
                "SELECT {COLUMNS} FROM api_keys WHERE ($1 IS NULL OR tenant = $1) AND prefix > $2 \
                 ORDER BY prefix LIMIT $3"
            );
            let query = sqlx::query(fixed(sql)).bind(tenant).bind(after.unwrap_or_default());
            let query = query.bind(i64::from(limit.min(MAX_PAGE)));
            query.fetch_all(&mut *self.desk().await?).await?.iter().map(key).collect()
        })
        .await
    }

    /// A key.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn key(&self, prefix: &str) -> Result<Option<ApiKey>> {
        self.bounded(CALL, async { find(&mut *self.desk().await?, prefix).await }).await
    }

    /// Every key that is not revoked, to verify with; at most 100,000, of which those come first that are good for longest. Those
    /// that are over may be among them, never in the place of a good one.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn all_keys(&self) -> Result<Vec<ApiKey>> {
        self.bounded(CALL, async {
            let sql = format!(
                "SELECT {COLUMNS} FROM api_keys WHERE revoked_us IS NULL \
                 ORDER BY COALESCE(expires_us, {FOR_EVER_US}) DESC, tenant IS NOT NULL, prefix LIMIT $1"
            );
            let query = sqlx::query(fixed(sql)).bind(MAX_LIVE_KEYS);
            query.fetch_all(&mut *self.vital().await?).await?.iter().map(key).collect()
        })
        .await
    }

    /// Gives a key another secret; the one that it has until now is good until `previous_until_us`. Returns the keys
    /// version.
    ///
    /// # Errors
    ///
    /// `NotFound` where it is not there or revoked, `Refused` where it has expired.
    pub async fn rotate_key(
        &self,
        actor: &Actor,
        now_us: i64,
        prefix: &str,
        hash: [u8; 32],
        previous_until_us: i64,
    ) -> Result<i64> {
        self.bounded(CALL, async {
            let mut write = self.write().await?;
            let conn = write.conn();
            let version = bump(conn, Kind::Keys).await?;
            let before = live(conn, prefix).await?;
            if before.expires_us.is_some_and(|end| now_us >= end) {
                return Err(CatalogError::Refused("the key has expired: make another one"));
            }
            // What is known of the key only now: somebody else may have rotated it meanwhile.
            let previous = PreviousSecret { hash: before.hash, until_us: previous_until_us };
            let sql =
                "UPDATE api_keys SET hash = $2, previous_hash = $3, previous_until_us = $4 WHERE prefix = $1";
            let query = sqlx::query(sql).bind(prefix).bind(hash.to_vec()).bind(previous.hash.to_vec());
            query.bind(previous.until_us).execute(&mut *conn).await?;
            let after = ApiKey { hash, previous: Some(previous), ..before.clone() };
            log(conn, actor, now_us, "key.rotate", Some(&before), Some(&after)).await?;
            write.commit().await?;
            Ok(version)
        })
        .await
    }

    /// Ends a key for good. Returns the keys version.
    ///
    /// # Errors
    ///
    /// `NotFound` where it is not there or revoked already.
    pub async fn revoke_key(&self, actor: &Actor, now_us: i64, prefix: &str) -> Result<i64> {
        self.bounded(CALL, async {
            let mut write = self.write().await?;
            let conn = write.conn();
            let version = bump(conn, Kind::Keys).await?;
            let before = live(conn, prefix).await?;
            let query = sqlx::query("UPDATE api_keys SET revoked_us = $2 WHERE prefix = $1");
            query.bind(prefix).bind(now_us).execute(&mut *conn).await?;
            let after = ApiKey { revoked_us: Some(now_us), ..before.clone() };
            log(conn, actor, now_us, "key.revoke", Some(&before), Some(&after)).await?;
            write.commit().await?;
            Ok(version)
        })
        .await
    }

    /// Notes when keys, named by prefix, were last used; the version stays, and nobody's change is logged.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn touch_keys(&self, used: &[(String, i64)]) -> Result<()> {
        if used.is_empty() {
            return Ok(());
        }
        self.bounded(CALL, async {
            let given = self.dialect.given(1);
            let sql = format!(
                "UPDATE api_keys SET last_used_us = CAST(given.b AS BIGINT) FROM {given} WHERE prefix = given.a \
                 AND (last_used_us IS NULL OR last_used_us < CAST(given.b AS BIGINT))"
            );
            let used: Vec<_> = used.iter().map(|(prefix, at_us)| [prefix.clone(), at_us.to_string()]).collect();
            let used = serde_json::json!(used).to_string();
            let mut write = self.write().await?;
            if self.is_postgres() {
                // In order, so that two nodes that have seen the same keys never wait for one another crosswise.
                let turn = format!(
                    "SELECT prefix FROM api_keys WHERE prefix IN (SELECT a FROM {given}) ORDER BY prefix FOR UPDATE"
                );
                sqlx::query(fixed(turn)).bind(&used).execute(write.conn()).await?;
            }
            sqlx::query(fixed(sql)).bind(&used).execute(write.conn()).await?;
            write.commit().await
        })
        .await
    }
}

async fn insert(conn: &mut AnyConnection, actor: &Actor, now_us: i64, key: &ApiKey) -> Result<()> {
    let sql = "INSERT INTO api_keys (prefix, tenant, name, scopes, hash, created_us, expires_us) \
               VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.name()).collect();
    let query = sqlx::query(sql).bind(&key.prefix).bind(&key.tenant).bind(&key.name).bind(scopes.join(","));
    let query = query.bind(key.hash.to_vec()).bind(key.created_us).bind(key.expires_us);
    query.execute(&mut *conn).await?;
    log(conn, actor, now_us, "key.create", None, Some(key)).await
}

/// Whether the tenant may have one more.
async fn check_ceiling(conn: &mut AnyConnection, tenant: &str) -> Result<()> {
    let sql = "SELECT max_keys, (SELECT COUNT(*) FROM api_keys WHERE tenant = $1 AND revoked_us IS NULL) \
               FROM tenants WHERE name = $1";
    let row = sqlx::query(sql).bind(tenant).fetch_optional(conn).await?.ok_or(CatalogError::NotFound)?;
    let most = int(&row, 0)?;
    if int(&row, 1)? < most {
        return Ok(());
    }
    Err(CatalogError::Ceiling { what: "API keys of a tenant", most: count(most) })
}

/// Whether there may be one more of whomever; exact, for whoever makes a key holds the keys' version.
async fn check_installation(conn: &mut AnyConnection, now_us: i64) -> Result<()> {
    let sql =
        "SELECT COUNT(*) FROM api_keys WHERE revoked_us IS NULL AND (expires_us IS NULL OR expires_us > $1)";
    if int(&sqlx::query(sql).bind(now_us).fetch_one(conn).await?, 0)? < MAX_LIVE_KEYS {
        return Ok(());
    }
    Err(CatalogError::Ceiling { what: "API keys of this installation", most: count(MAX_LIVE_KEYS) })
}

/// Forgets keys that ended long ago; nobody can come with them any more.
pub(super) async fn purge(conn: &mut AnyConnection, now_us: i64) -> Result<()> {
    for sql in ["DELETE FROM api_keys WHERE expires_us <= $1", "DELETE FROM api_keys WHERE revoked_us <= $1"]
    {
        sqlx::query(sql).bind(now_us.saturating_sub(ENDED_KEPT_US)).execute(&mut *conn).await?;
    }
    Ok(())
}

async fn find(conn: &mut AnyConnection, prefix: &str) -> Result<Option<ApiKey>> {
    let sql = format!("SELECT {COLUMNS} FROM api_keys WHERE prefix = $1");
    let row = sqlx::query(fixed(sql)).bind(prefix).fetch_optional(conn).await?;
    row.map(|row| key(&row)).transpose()
}

async fn live(conn: &mut AnyConnection, prefix: &str) -> Result<ApiKey> {
    find(conn, prefix).await?.filter(|key| key.revoked_us.is_none()).ok_or(CatalogError::NotFound)
}

/// From [`COLUMNS`].
fn key(row: &AnyRow) -> Result<ApiKey> {
    let prefix = text(row, 0)?;
    let damaged = |what: &str| CatalogError::Corrupt(format!("the API key {prefix} has {what}"));
    let hash = |bytes: Vec<u8>| bytes.try_into().map_err(|_| damaged("a hash that is none"));
    let scopes = text(row, 3)?;
    let scopes =
        scopes.split(',').map(|name| Scope::of_name(name).ok_or_else(|| damaged("a scope that is none")));
    let previous = match (maybe_bytes(row, 5)?, maybe_int(row, 6)?) {
        (Some(bytes), Some(until_us)) => Some(PreviousSecret { hash: hash(bytes)?, until_us }),
        _ => None,
    };
    Ok(ApiKey {
        scopes: scopes.collect::<Result<_>>()?,
        hash: hash(bytes(row, 4)?)?,
        previous,
        tenant: maybe_text(row, 1)?,
        name: text(row, 2)?,
        created_us: int(row, 7)?,
        expires_us: maybe_int(row, 8)?,
        last_used_us: maybe_int(row, 9)?,
        revoked_us: maybe_int(row, 10)?,
        prefix,
    })
}

/// The log never has hashes.
async fn log(
    conn: &mut AnyConnection,
    actor: &Actor,
    now_us: i64,
    action: &'static str,
    before: Option<&ApiKey>,
    after: Option<&ApiKey>,
) -> Result<()> {
    let shown = |key: &ApiKey| {
        let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.name()).collect();
        serde_json::json!({
            "name": key.name, "scopes": scopes, "expires_us": key.expires_us, "revoked_us": key.revoked_us,
            "previous_until_us": key.previous.map(|previous| previous.until_us),
        })
        .to_string()
    };
    let Some(key) = after.or(before) else { return Ok(()) };
    let entry = Record {
        tenant: key.tenant.as_deref(),
        action,
        target: key.prefix.clone(),
        before: before.map(shown),
        after: after.map(shown),
    };
    record(conn, actor, now_us, entry).await
}
