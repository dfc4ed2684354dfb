//! Why the catalog did not do as asked.

/// A call that failed.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The database did not answer in time, or said that it cannot now. A change may have been made all the same.
    #[error("the catalog database does not answer: {0}")]
    Unavailable(String),
    /// What the change expects is not so.
    #[error("it is not in the version that the change expects")]
    Conflict {
        /// The version it is in; absent where it is not there.
        current: Option<i64>,
    },
    /// A domain is no longer as it was when the change was checked: check again.
    #[error("a domain has changed since this was checked against it")]
    Stale,
    /// There is no such thing.
    #[error("there is no such thing in the catalog")]
    NotFound,
    /// There would be too many.
    #[error("there may be at most {most} {what}")]
    Ceiling {
        /// Of what.
        what: &'static str,
        /// The most there may be.
        most: u64,
    },
    /// It is never done, whatever the state.
    #[error("{0}")]
    Refused(&'static str),
    /// The database holds what cannot be.
    #[error("the catalog database is damaged: {0}")]
    Corrupt(String),
    /// Somebody must change settings, or the database's schema or privileges.
    #[error("the catalog database cannot be used: {0}")]
    Misconfigured(String),
}

/// What a call of the catalog gives.
pub type Result<T, E = CatalogError> = std::result::Result<T, E>;

impl CatalogError {
    /// Whether the same call may succeed later, without anybody doing anything.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        match self {
            CatalogError::Unavailable(_) => true,
            CatalogError::Conflict { .. }
            | CatalogError::Stale
            | CatalogError::NotFound
            | CatalogError::Ceiling { .. }
            | CatalogError::Refused(_)
            | CatalogError::Corrupt(_)
            | CatalogError::Misconfigured(_) => false,
        }
    }
}

impl From<sqlx::Error> for CatalogError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(told) => {
                let code = told.code().unwrap_or_default();
                let text = told.message().to_owned();
                // Those of PostgreSQL have five characters, the numbers of SQLite have fewer.
                match code.parse() {
                    Ok(number) if code.len() < 5 => of_sqlite(number, text),
                    _ => of_postgres(&code, text),
                }
            }
            sqlx::Error::Decode(_)
            | sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnIndexOutOfBounds { .. }
            | sqlx::Error::RowNotFound
            | sqlx::Error::TypeNotFound { .. } => CatalogError::Corrupt(error.to_string()),
            sqlx::Error::Configuration(_) | sqlx::Error::InvalidArgument(_) | sqlx::Error::Encode(_) => {
                CatalogError::Misconfigured(error.to_string())
            }
            sqlx::Error::PoolTimedOut => CatalogError::Unavailable("no connection in time".to_owned()),
            _ => CatalogError::Unavailable(error.to_string()),
        }
    }
}

/// By SQLSTATE: its first two characters are the class.
fn of_postgres(code: &str, text: String) -> CatalogError {
    match (code.get(..2).unwrap_or_default(), code) {
        (_, "42P01" | "42703") => not_migrated(&text),
        // A server that follows another one; it may be the first one soon.
        (_, "25006") => CatalogError::Unavailable(text),
        (_, "23505") => CatalogError::Conflict { current: None },
        ("22" | "23" | "25" | "28" | "3D" | "3F" | "42" | "54", _) => CatalogError::Misconfigured(text),
        ("XX", _) => CatalogError::Corrupt(text),
        _ => CatalogError::Unavailable(text),
    }
}

/// By SQLite's extended code: its last byte is the plain one.
fn of_sqlite(code: u32, text: String) -> CatalogError {
    const UNIQUE: u32 = 2_067;
    const PRIMARY_KEY: u32 = 1_555;
    match (code, code & 0xff) {
        (UNIQUE | PRIMARY_KEY, _) => CatalogError::Conflict { current: None },
        // Busy, locked, out of memory, input or output, full, cannot open, changed schema.
        (_, 5 | 6 | 7 | 10 | 13 | 14 | 15 | 17) => CatalogError::Unavailable(text),
        (_, 11 | 26) => CatalogError::Corrupt(text),
        (_, 1) if text.starts_with("no such") => not_migrated(&text),
        _ => CatalogError::Misconfigured(text),
    }
}

fn not_migrated(text: &str) -> CatalogError {
    CatalogError::Misconfigured(format!(
        "{text}: the database has not the tables of this version, migrate it"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_by_itself_is_unavailable() {
        // Deadlock, serialization, shutdown, too many connections, lock timeout, read-only.
        for code in ["40P01", "40001", "57P01", "57P03", "53300", "55P03", "25006", "08006"] {
            assert!(of_postgres(code, String::new()).retryable(), "{code}");
        }
        // Wrong password, no database, no privilege, text with a zero byte.
        for code in ["28P01", "3D000", "42501", "22021"] {
            assert!(matches!(of_postgres(code, String::new()), CatalogError::Misconfigured(_)), "{code}");
        }
        // Busy, busy with a snapshot, disk full.
        for code in [5, 517, 13] {
            assert!(of_sqlite(code, String::new()).retryable(), "{code}");
        }
        assert!(matches!(of_sqlite(26, String::new()), CatalogError::Corrupt(_)));
        assert!(matches!(of_sqlite(8, String::new()), CatalogError::Misconfigured(_)));
        for taken in [of_postgres("23505", String::new()), of_sqlite(1_555, String::new())] {
            assert!(matches!(taken, CatalogError::Conflict { current: None }));
        }
    }
}
