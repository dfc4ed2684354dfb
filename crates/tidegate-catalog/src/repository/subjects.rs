//! Subjects' tiers, and all that is known of one subject.

use std::collections::BTreeMap;

use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::audit::{Record, record};
use super::dialect::{Dialect, Kind, fixed, int, maybe_text, text};
use super::error::{CatalogError, Result};
use super::{CALL, LONG_CALL, Repository, bans, overrides, versions};
use crate::model::{Actor, MAX_PAGE, Subject, SubjectKey};
use crate::subjects::{SourceError, SubjectSource};

/// The most subjects of one change.
pub const MAX_SUBJECTS: u32 = 1_000_000;
/// The most subjects of one page of [`Repository::all_subjects`].
const MAX_PRELOAD_PAGE: u32 = 10_000;
/// Subjects written by one statement.
const CHUNK: usize = 10_000;
/// More subjects than these in one change are logged as if all had changed; PostgreSQL's triggers know the number, too.
const BULK: usize = 1_000;
/// How many subjects of a change the audit log names.
const NAMED: usize = 10;

/// What is over is left out by the cache, which knows the time.
impl SubjectSource for Repository {
    async fn subject(&self, key: &SubjectKey) -> Result<Subject, SourceError> {
        Repository::subject(self, key, i64::MIN).await.map_err(|error| SourceError(Box::new(error)))
    }
}

impl Repository {
    /// What is known of a subject; bans and overrides that are over are left out.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn subject(&self, key: &SubjectKey, now_us: i64) -> Result<Subject> {
        // PostgreSQL keeps no such text and would call it an error.
        if key.subject.contains('\0') {
            return Ok(Subject::default());
        }
        self.bounded(CALL, async {
            // One round trip: each row says by its first column what it is.
            let sql = "SELECT 0 AS kind, tier AS a, '' AS b, CAST(NULL AS BIGINT) AS until_us, \
                       CAST(NULL AS BIGINT) AS x, CAST(NULL AS BIGINT) AS y, CAST(NULL AS BIGINT) AS z \
                       FROM subjects WHERE tenant = $1 AND domain = $2 AND subject = $3 \
                       UNION ALL SELECT 1, reason, by_name, until_us, since_us, NULL, NULL \
                       FROM bans WHERE tenant = $1 AND domain = $2 AND subject = $3 \
                       AND (until_us IS NULL OR until_us > $4) \
                       UNION ALL SELECT 2, rule, reason, until_us, limit_units, window_us, burst \
                       FROM overrides WHERE tenant = $1 AND domain = $2 AND subject = $3 \
                       AND (until_us IS NULL OR until_us > $4) ORDER BY 1, 2";
            let query = sqlx::query(sql).bind(&key.tenant).bind(&key.domain).bind(&key.subject).bind(now_us);
            let mut subject = Subject::default();
            for row in query.fetch_all(&mut *self.vital().await?).await? {
                match int(&row, 0)? {
                    0 => subject.tier = Some(text(&row, 1)?),
                    1 => subject.ban = Some(bans::ban(&row, 1)?),
                    _ => subject.overrides.push(overrides::of_row(&row, 1)?),
                }
            }
            Ok(subject)
        })
        .await
    }

    /// Gives subjects their tiers; those with `None` lose theirs. Of a subject named twice, the last counts.
    /// Returns the subjects version.
    ///
    /// # Errors
    ///
    /// `NotFound` where the tenant is not there, `Ceiling` where there are more than [`MAX_SUBJECTS`], `Refused` where a name has
    /// a zero byte.
    pub async fn put_subjects(
        &self,
        actor: &Actor,
        now_us: i64,
        tenant: &str,
        domain: &str,
        tiers: &[(String, Option<String>)],
    ) -> Result<i64> {
        if tiers.len() > MAX_SUBJECTS as usize {
            return Err(CatalogError::Ceiling {
                what: "subjects of one change",
                most: u64::from(MAX_SUBJECTS),
            });
        }
        // SQLite would cut it there, and PostgreSQL keeps no such text.
        if tiers.iter().any(|(subject, tier)| {
            subject.contains('\0') || tier.as_ref().is_some_and(|tier| tier.contains('\0'))
        }) {
            return Err(CatalogError::Refused("a subject or a tier has a zero byte in its name"));
        }
        // In order, so that neighbours in the index are written together.
        let tiers: BTreeMap<&str, Option<&str>> =
            tiers.iter().map(|(subject, tier)| (subject.as_str(), tier.as_deref())).collect();
        let given: Vec<[&str; 2]> =
            tiers.iter().filter_map(|(subject, tier)| Some([subject, (*tier)?])).collect();
        let gone: Vec<[&str; 1]> =
            tiers.iter().filter(|(_, tier)| tier.is_none()).map(|(subject, _)| [*subject]).collect();
        self.bounded(if tiers.len() > BULK { LONG_CALL } else { CALL }, async {
            let mut write = self.write().await?;
            let conn = write.conn();
            self.dialect.lock(conn, Kind::Subjects).await?;
            require_tenant(conn, tenant).await?;
            let named: BTreeMap<_, _> = tiers.iter().take(NAMED).map(|(subject, tier)| (*subject, *tier)).collect();
            let before = self.tiers_of(conn, tenant, domain, &named).await?;
            if tiers.len() > BULK {
                self.dialect.begin_bulk(conn).await?;
            }
            let mut affected = 0;
            for chunk in given.chunks(CHUNK) {
                affected += self.give(conn, tenant, domain, chunk).await?;
            }
            for chunk in gone.chunks(CHUNK) {
                let rows = self.dialect.given(3);
                let sql = format!(
                    "DELETE FROM subjects WHERE tenant = $1 AND domain = $2 AND subject IN (SELECT a FROM {rows})"
                );
                let query = sqlx::query(fixed(sql)).bind(tenant).bind(domain).bind(serde_json::json!(chunk).to_string());
                affected += query.execute(&mut *conn).await?.rows_affected();
            }
            if tiers.len() > BULK {
                self.dialect.end_bulk(conn, affected).await?;
            }
            let shown = |first| serde_json::json!({ "subjects": tiers.len(), "first": first }).to_string();
            let entry = Record {
                tenant: Some(tenant),
                action: "subjects.put",
                target: domain.to_owned(),
                before: Some(shown(serde_json::json!(before))),
                after: Some(shown(serde_json::json!(named))),
            };
            record(conn, actor, now_us, entry).await?;
            let version = versions(conn).await?.subjects;
            write.commit().await?;
            Ok(version)
        })
        .await
    }

    /// How many have another tier now.
    async fn give(
        &self,
        conn: &mut AnyConnection,
        tenant: &str,
        domain: &str,
        chunk: &[[&str; 2]],
    ) -> Result<u64> {
        let rows = self.dialect.given(3);
        // A tier that stays is not written, so it is no change: nobody hears of it. `WHERE true` tells SQLite that ON belongs to the insert.
        let sql = format!(
            "INSERT INTO subjects (tenant, domain, subject, tier) SELECT $1, $2, a, b FROM {rows} WHERE true \
             ON CONFLICT (tenant, domain, subject) DO UPDATE SET tier = excluded.tier \
             WHERE subjects.tier <> excluded.tier"
        );
        let query =
            sqlx::query(fixed(sql)).bind(tenant).bind(domain).bind(serde_json::json!(chunk).to_string());
        Ok(query.execute(conn).await?.rows_affected())
    }

    /// The tiers that these subjects have now.
    async fn tiers_of(
        &self,
        conn: &mut AnyConnection,
        tenant: &str,
        domain: &str,
        subjects: &BTreeMap<&str, Option<&str>>,
    ) -> Result<BTreeMap<String, Option<String>>> {
        let rows = self.dialect.given(3);
        let sql = format!(
            "SELECT a, (SELECT tier FROM subjects WHERE tenant = $1 AND domain = $2 AND subject = a) FROM {rows}"
        );
        let names: Vec<_> = subjects.keys().map(|subject| [subject]).collect();
        let query =
            sqlx::query(fixed(sql)).bind(tenant).bind(domain).bind(serde_json::json!(names).to_string());
        query.fetch_all(conn).await?.iter().map(|row| Ok((text(row, 0)?, maybe_text(row, 1)?))).collect()
    }

    /// Subjects of a domain with their tiers, in the order of their names; those after `after` or all, those of one tier or all.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn subjects(
        &self,
        tenant: &str,
        domain: &str,
        after: Option<&str>,
        tier: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, String)>> {
        self.bounded(CALL, async {
            // A rare tier has an index of its own, which a statement for any tier would not use.
            let of_tier = if tier.is_some() { "AND tier = $5" } else { "" };
            let sql = format!(
                "SELECT subject, tier FROM subjects WHERE tenant = $1 AND domain = $2 AND subject > $3 {of_tier} \
                 ORDER BY subject LIMIT $4"
            );
            let query = sqlx::query(fixed(sql)).bind(tenant).bind(domain).bind(after.unwrap_or_default());
            let query = query.bind(i64::from(limit.min(MAX_PAGE)));
            let query = if let Some(tier) = tier { query.bind(tier) } else { query };
            let rows = query.fetch_all(&mut *self.desk().await?).await?;
            rows.iter().map(|row| Ok((text(row, 0)?, text(row, 1)?))).collect()
        })
        .await
    }

    /// Subjects of all tenants of whom nothing but a tier is known, at most 10,000 a page, those after `after` or all.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn all_subjects(
        &self,
        after: Option<&SubjectKey>,
        limit: u32,
    ) -> Result<Vec<(SubjectKey, String)>> {
        self.bounded(CALL, async {
            let sql = "SELECT s.tenant, s.domain, s.subject, s.tier FROM subjects s \
                       WHERE (s.tenant, s.domain, s.subject) > ($1, $2, $3) \
                       AND NOT EXISTS (SELECT 1 FROM bans b WHERE b.tenant = s.tenant AND b.domain = s.domain AND b.subject = s.subject) \
                       AND NOT EXISTS (SELECT 1 FROM overrides o WHERE o.tenant = s.tenant AND o.domain = s.domain AND o.subject = s.subject) \
                       ORDER BY s.tenant, s.domain, s.subject LIMIT $4";
            let (tenant, domain, subject) =
                after.map_or(("", "", ""), |key| (&key.tenant, &key.domain, &key.subject));
            let query = sqlx::query(sql).bind(tenant).bind(domain).bind(subject);
            let query = query.bind(i64::from(limit.min(MAX_PRELOAD_PAGE)));
            let rows = query.fetch_all(&mut *self.desk().await?).await?;
            let one = |row: &AnyRow| {
                let key = SubjectKey { tenant: text(row, 0)?, domain: text(row, 1)?, subject: text(row, 2)? };
                Ok((key, text(row, 3)?))
            };
            rows.iter().map(one).collect()
        })
        .await
    }
}

/// `NotFound` where the tenant is not there. Its domain may be a rule file's, which the database does not know.
pub(super) async fn require_tenant(conn: &mut AnyConnection, tenant: &str) -> Result<()> {
    let query = sqlx::query("SELECT 1 FROM tenants WHERE name = $1").bind(tenant);
    query.fetch_optional(conn).await?.map(|_| ()).ok_or(CatalogError::NotFound)
}

/// Removes tiers, overrides and bans of a domain, or of all of a tenant's.
pub(super) async fn forget(
    dialect: Dialect,
    conn: &mut AnyConnection,
    tenant: &str,
    domain: Option<&str>,
) -> Result<()> {
    // Whoever gives subjects something now is waited for; whoever comes later finds the domain gone.
    dialect.lock(conn, Kind::Subjects).await?;
    dialect.begin_bulk(conn).await?;
    let of_domain = if domain.is_some() { "AND domain = $2" } else { "" };
    let mut affected = 0;
    for table in ["subjects", "overrides", "bans"] {
        let sql = format!("DELETE FROM {table} WHERE tenant = $1 {of_domain}");
        let query = sqlx::query(fixed(sql)).bind(tenant);
        let query = if let Some(domain) = domain { query.bind(domain) } else { query };
        affected += query.execute(&mut *conn).await?.rows_affected();
    }
    dialect.end_bulk(conn, affected).await
}
