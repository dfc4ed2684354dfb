//! The tables, brought to the form that this program knows: one numbered file of SQL after the other.
//!
//! Each file is one transaction with the note that it ran, so a program killed in the middle leaves nothing half done, and
//! of several that start together one runs it and the others find it done.

use sqlx::{AnyConnection, Executor};

use super::dialect::{Dialect, int, text};
use super::error::{CatalogError, Result};
use super::{LONG_CALL, Repository};
use crate::digest::{hex, sha256};

/// What PostgreSQL's lock of migrations is known by: "tidegate" as a number.
const LOCK: i64 = 0x7469_6465_6761_7465;
/// How often a file is asked to keep a log of its own, which it refuses while somebody else opens it.
const JOURNAL_ATTEMPTS: u32 = 50;
/// The time between two of these.
const JOURNAL_REST: std::time::Duration = std::time::Duration::from_millis(50);

/// The numbers of the last file before and after a migration; 0 is an empty database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// Before.
    pub from: i64,
    /// Now.
    pub to: i64,
}

struct Step {
    version: i64,
    sql: &'static str,
}

const SQLITE: &[Step] = &[Step { version: 1, sql: include_str!("../../migrations/sqlite/0001_catalog.sql") }];
const POSTGRES: &[Step] =
    &[Step { version: 1, sql: include_str!("../../migrations/postgres/0001_catalog.sql") }];

impl Repository {
    /// Makes or changes the tables as this program needs them. Safe to call by several nodes at once, and again.
    ///
    /// # Errors
    ///
    /// Misconfigured where a newer program has written the database, or where a file that ran was another one.
    pub async fn migrate(&self) -> Result<Migrated> {
        self.bounded(LONG_CALL, async {
            if self.dialect == Dialect::Sqlite {
                self.keep_log().await?;
            }
            let mut from = None;
            loop {
                let (before, now) = self.step().await?;
                let from = *from.get_or_insert(before);
                if before == now {
                    return Ok(Migrated { from, to: now });
                }
            }
        })
        .await
    }

    /// Runs the first file that has not run. Returns the number before and after.
    async fn step(&self) -> Result<(i64, i64)> {
        let steps = match self.dialect {
            Dialect::Sqlite => SQLITE,
            Dialect::Postgres => POSTGRES,
        };
        let mut write = self.write().await?;
        let conn = write.conn();
        if self.is_postgres() {
            conn.execute(sqlx::raw_sql("SET LOCAL lock_timeout = '50s'")).await?;
            sqlx::query("SELECT 1 FROM pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *conn).await?;
        }
        let ran = ran(conn, steps).await?;
        let Some(step) = steps.iter().find(|step| step.version > ran) else { return Ok((ran, ran)) };
        conn.execute(sqlx::raw_sql(step.sql)).await?;
        let note = sqlx::query("INSERT INTO tidegate_migrations (version, checksum) VALUES ($1, $2)");
        note.bind(step.version).bind(checksum(step.sql)).execute(&mut *conn).await?;
        write.commit().await?;
        Ok((ran, step.version))
    }

    /// SQLite's write-ahead log: readers do not wait for whoever writes. The file remembers it.
    async fn keep_log(&self) -> Result<()> {
        let mut attempts = 1;
        loop {
            let mut conn = self.desk().await?;
            match sqlx::query("PRAGMA journal_mode = WAL")
                .fetch_one(&mut *conn)
                .await
                .map_err(CatalogError::from)
            {
                Ok(_) => return Ok(()),
                Err(error) if error.retryable() && attempts < JOURNAL_ATTEMPTS => attempts += 1,
                Err(error) => return Err(error),
            }
            drop(conn);
            tokio::time::sleep(JOURNAL_REST).await;
        }
    }
}

/// The number of the last file that ran, when all that ran are as this program has them.
async fn ran(conn: &mut AnyConnection, steps: &[Step]) -> Result<i64> {
    let table =
        "CREATE TABLE IF NOT EXISTS tidegate_migrations (version BIGINT PRIMARY KEY, checksum TEXT NOT NULL)";
    conn.execute(table).await?;
    let mut last = 0;
    let rows = sqlx::query("SELECT version, checksum FROM tidegate_migrations ORDER BY version");
    for row in rows.fetch_all(conn).await? {
        last = int(&row, 0)?;
        let Some(step) = steps.iter().find(|step| step.version == last) else {
            return Err(CatalogError::Misconfigured(format!(
                "the database was written by a newer Tidegate (migration {last}, this one knows {}): start that one",
                steps.last().map_or(0, |step| step.version)
            )));
        };
        if text(&row, 1)? != checksum(step.sql) {
            return Err(CatalogError::Misconfigured(format!(
                "migration {last} of the database is not the one of this Tidegate: was it written by a build of your own?"
            )));
        }
    }
    Ok(last)
}

fn checksum(sql: &str) -> String {
    hex(&sha256(sql.as_bytes()))
}
