//! How nodes learn of changes: notifications, and a log of the subjects that changed.

use std::fmt;

use sqlx::postgres::PgListener;

use super::dialect::{Kind, int, maybe_int, maybe_text};
use super::error::{CatalogError, Result};
use super::settings::Place;
use super::{CALL, LONG_CALL, Repository, Trouble, keys, set_meta, tenants, versions};
use crate::model::SubjectKey;

/// The channel on which PostgreSQL says that a version has grown.
const CHANNEL: &str = "tidegate";
/// How many changes of subjects are kept; nodes that are further behind forget all they know.
const KEPT_CHANGES: i64 = 100_000;
/// The name in `meta` of the version up to which changes are no longer known.
const FLOOR: &str = "subject_changes_floor";

/// Notifications of changes.
pub struct Listener {
    listener: PgListener,
    trouble: Trouble,
}

/// What changed of subjects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectChanges {
    /// The subjects version with these changes.
    pub version: i64,
    /// Whose.
    pub what: Changed,
}

/// The subjects that a change is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// These, each once.
    These(Vec<SubjectKey>),
    /// All: too many changed, or it is not known any more which.
    Everything,
}

impl Listener {
    /// Waits until something has changed.
    ///
    /// # Errors
    ///
    /// Unavailable where notifications may have been lost: make another listener, and look at the versions then. A server that
    /// is silent is not noticed here: look at the versions now and then anyway.
    pub async fn changed(&mut self) -> Result<()> {
        match self.listener.try_recv().await {
            Ok(Some(_)) => {
                // One transaction may have counted several versions; they are all looked at together.
                while self.listener.next_buffered().is_some() {}
                Ok(())
            }
            lost => {
                self.trouble.note();
                let why = lost.err().map_or_else(|| "closed".to_owned(), |error| error.to_string());
                Err(CatalogError::Unavailable(format!("the connection for notifications is lost: {why}")))
            }
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

impl Repository {
    /// Notifications from now on; `None` where the database has none. Changes before it are seen in the versions only.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn listen(&self) -> Result<Option<Listener>> {
        let Place::Postgres(url) = self.settings.place() else { return Ok(None) };
        self.bounded(CALL, async {
            let mut listener = PgListener::connect(url).await?;
            listener.eager_reconnect(false);
            listener.listen(CHANNEL).await?;
            Ok(Some(Listener { listener, trouble: self.trouble.clone() }))
        })
        .await
    }

    /// The subjects that changed after the version `since`, at most `limit`.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn subject_changes(&self, since: i64, limit: u32) -> Result<SubjectChanges> {
        self.bounded(CALL, async {
            let mut tx = self.snapshot(&self.vital).await?;
            let version = versions(&mut tx).await?.subjects;
            if since == version {
                return Ok(SubjectChanges { version, what: Changed::These(Vec::new()) });
            }
            let everything = SubjectChanges { version, what: Changed::Everything };
            let floor = sqlx::query("SELECT CAST(value AS BIGINT) FROM meta WHERE name = $1").bind(FLOOR);
            let floor = floor.fetch_optional(&mut *tx).await?.map(|row| int(&row, 0)).transpose()?;
            // A database that was put back to an earlier state has a lower version.
            if since > version || since < floor.unwrap_or(0) {
                return Ok(everything);
            }
            let sql =
                "SELECT DISTINCT tenant, domain, subject FROM subject_changes WHERE version > $1 LIMIT $2";
            let rows = sqlx::query(sql).bind(since).bind(i64::from(limit) + 1).fetch_all(&mut *tx).await?;
            if rows.len() > limit as usize {
                return Ok(everything);
            }
            let mut keys = Vec::with_capacity(rows.len());
            for row in &rows {
                match (maybe_text(row, 0)?, maybe_text(row, 1)?, maybe_text(row, 2)?) {
                    (Some(tenant), Some(domain), Some(subject)) => {
                        keys.push(SubjectKey { tenant, domain, subject });
                    }
                    _ => return Ok(everything),
                }
            }
            Ok(SubjectChanges { version, what: Changed::These(keys) })
        })
        .await
    }

    /// Removes bans and overrides that are over, keys that ended long ago, and the oldest changes of subjects.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn purge(&self, now_us: i64) -> Result<()> {
        self.bounded(LONG_CALL, async {
            let mut write = self.write().await?;
            self.dialect.lock(write.conn(), Kind::Rules).await?;
            self.dialect.lock(write.conn(), Kind::Subjects).await?;
            for sql in ["DELETE FROM bans WHERE until_us <= $1", "DELETE FROM overrides WHERE until_us <= $1"]
            {
                sqlx::query(sql).bind(now_us).execute(write.conn()).await?;
            }
            let oldest = "SELECT MAX(id), MAX(version) FROM subject_changes \
                          WHERE id <= (SELECT MAX(id) FROM subject_changes) - $1";
            let row = sqlx::query(oldest).bind(KEPT_CHANGES).fetch_one(write.conn()).await?;
            if let (Some(id), Some(version)) = (maybe_int(&row, 0)?, maybe_int(&row, 1)?) {
                set_meta(write.conn(), FLOOR, &version.to_string()).await?;
                let delete = sqlx::query("DELETE FROM subject_changes WHERE id <= $1").bind(id);
                delete.execute(write.conn()).await?;
            }
            keys::purge(write.conn(), now_us).await?;
            tenants::purge(write.conn(), now_us).await?;
            write.commit().await
        })
        .await
    }
}
