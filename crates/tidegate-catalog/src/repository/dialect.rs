//! What the two databases say differently.

use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::error::Result;

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// A file, for one machine.
    Sqlite,
    /// A server, for a fleet.
    Postgres,
}

/// Kinds of things that have a version, in the order in which their rows are locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Rules,
    Subjects,
    Keys,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Kind::Rules => "rules",
            Kind::Subjects => "subjects",
            Kind::Keys => "keys",
        }
    }
}

impl Dialect {
    /// How many changes one node has under way at a time. SQLite takes one. PostgreSQL makes most wait for a row of `versions`
    /// anyway; with two, a long change of subjects does not hold up one of the rules.
    pub(super) const fn writers(self) -> usize {
        match self {
            Dialect::Sqlite => 1,
            Dialect::Postgres => 2,
        }
    }

    /// Begins a change. With SQLite it is the only one from here on; with PostgreSQL the row of `versions` sees to that.
    pub(super) const fn begin_write(self) -> &'static str {
        match self {
            Dialect::Sqlite => "BEGIN IMMEDIATE",
            Dialect::Postgres => "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
        }
    }

    /// Begins reading: all that is read is of one moment.
    pub(super) const fn begin_read(self) -> &'static str {
        match self {
            Dialect::Sqlite => "BEGIN",
            Dialect::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        }
    }

    /// What a new connection is told: no statement, lock or forgotten transaction lasts for ever. SQLite's connections wait for
    /// locks for five seconds and heed foreign keys as they are.
    pub(super) const fn greeting(self) -> Option<&'static str> {
        match self {
            Dialect::Sqlite => None,
            Dialect::Postgres => Some(
                "SET application_name = 'tidegate'; SET statement_timeout = '60s'; SET lock_timeout = '4s'; \
                 SET idle_in_transaction_session_timeout = '10s';",
            ),
        }
    }

    /// The rows of a JSON array of arrays of up to three texts: columns `a`, `b`, `c` of `given`.
    pub(super) fn given(self, parameter: u8) -> String {
        match self {
            Dialect::Sqlite => format!(
                "(SELECT value ->> 0 AS a, value ->> 1 AS b, value ->> 2 AS c FROM json_each(${parameter})) AS given"
            ),
            Dialect::Postgres => format!(
                "(SELECT e ->> 0 AS a, e ->> 1 AS b, e ->> 2 AS c FROM jsonb_array_elements(${parameter}::jsonb) AS e) \
                 AS given"
            ),
        }
    }

    /// The version, which stays until this transaction ends.
    pub(super) async fn lock(self, conn: &mut AnyConnection, kind: Kind) -> Result<i64> {
        let sql = match self {
            Dialect::Sqlite => "SELECT version FROM versions WHERE kind = $1",
            Dialect::Postgres => "SELECT version FROM versions WHERE kind = $1 FOR UPDATE",
        };
        let row = sqlx::query(sql).bind(kind.name()).fetch_one(conn).await?;
        int(&row, 0)
    }

    /// From here on SQLite's triggers do not log each row of subjects; PostgreSQL's count rows themselves.
    pub(super) async fn begin_bulk(self, conn: &mut AnyConnection) -> Result<()> {
        if self == Dialect::Sqlite {
            sqlx::query("INSERT INTO meta (name, value) VALUES ('bulk', '')").execute(conn).await?;
        }
        Ok(())
    }

    /// The end of [`begin_bulk`](Self::begin_bulk): everything may have changed, unless nothing was affected since.
    pub(super) async fn end_bulk(self, conn: &mut AnyConnection, affected: u64) -> Result<()> {
        if self == Dialect::Sqlite {
            sqlx::query("DELETE FROM meta WHERE name = 'bulk'").execute(&mut *conn).await?;
            if affected == 0 {
                return Ok(());
            }
            let version = bump(conn, Kind::Subjects).await?;
            let log = sqlx::query("INSERT INTO subject_changes (version) VALUES ($1)");
            log.bind(version).execute(conn).await?;
        }
        Ok(())
    }
}

/// Has one version more, which nobody else gets; others who want one wait until this transaction ends.
pub(super) async fn bump(conn: &mut AnyConnection, kind: Kind) -> Result<i64> {
    let row = sqlx::query("UPDATE versions SET version = version + 1 WHERE kind = $1 RETURNING version")
        .bind(kind.name())
        .fetch_one(conn)
        .await?;
    int(&row, 0)
}

/// A statement put together from texts of this program only, never from what came from outside.
pub(super) const fn fixed(sql: String) -> AssertSqlSafe<String> {
    AssertSqlSafe(sql)
}

pub(super) fn int(row: &AnyRow, column: usize) -> Result<i64> {
    Ok(row.try_get(column)?)
}

pub(super) fn maybe_int(row: &AnyRow, column: usize) -> Result<Option<i64>> {
    Ok(row.try_get(column)?)
}

pub(super) fn text(row: &AnyRow, column: usize) -> Result<String> {
    Ok(row.try_get(column)?)
}

pub(super) fn maybe_text(row: &AnyRow, column: usize) -> Result<Option<String>> {
    Ok(row.try_get(column)?)
}

pub(super) fn bytes(row: &AnyRow, column: usize) -> Result<Vec<u8>> {
    Ok(row.try_get(column)?)
}

pub(super) fn maybe_bytes(row: &AnyRow, column: usize) -> Result<Option<Vec<u8>>> {
    Ok(row.try_get(column)?)
}

/// A number that is not negative; what is, is taken for 0.
pub(super) fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// A number as the database has it; what is too large is the largest.
pub(super) fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
