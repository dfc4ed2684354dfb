//! Which database: parsed once, shown without its password.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;

use super::error::{CatalogError, Result};

/// The longest text that names a database, in bytes.
const MAX_BYTES: usize = 4_096;

/// Where the catalog is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseSettings(Place);

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A file, made where it is missing; its folder is not.
    Sqlite(PathBuf),
    /// A URL.
    Postgres(String),
}

impl DatabaseSettings {
    /// From `postgres://…`, `postgresql://…`, `sqlite:PATH` or a path.
    ///
    /// # Errors
    ///
    /// Misconfigured, without the password, where it is none of these.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |why: String| Err(CatalogError::Misconfigured(why));
        if text.len() > MAX_BYTES {
            return wrong(format!("a database is named in at most {MAX_BYTES} bytes"));
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return match PgConnectOptions::from_str(text) {
                Ok(_) => Ok(Self(Place::Postgres(text.to_owned()))),
                Err(error) => wrong(format!("{} is no URL of a database ({error})", without_password(text))),
            };
        }
        let path = text.strip_prefix("sqlite:").unwrap_or(text);
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() || path.contains('\0') || path.starts_with(':') {
            return wrong("name a file, or postgres://USER@HOST/DATABASE".to_owned());
        }
        if path.contains("://") {
            return wrong(format!("{}: only postgres:// and sqlite: are known", without_password(path)));
        }
        Ok(Self(Place::Sqlite(PathBuf::from(path))))
    }

    /// A file of SQLite.
    #[must_use]
    pub fn file(path: &Path) -> Self {
        Self(Place::Sqlite(path.to_owned()))
    }

    pub(super) fn place(&self) -> &Place {
        &self.0
    }
}

impl fmt::Display for DatabaseSettings {
    /// The password, where there is one, is shown as `***`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Place::Postgres(url) => f.write_str(&without_password(url)),
        }
    }
}

impl fmt::Debug for DatabaseSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseSettings({self})")
    }
}

/// `scheme://user:***@rest`, and `password=***` in the query. A password may have any character, a `?` or an `@` too, so all
/// from the first `:` to the last `@` is hidden; rather too much than a part of it.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return without_values(url) };
    match rest.find([':', '/', '?', '#', '@']).and_then(|end| rest.split_at_checked(end)) {
        Some((user, secret)) if secret.starts_with(':') => match secret.rsplit_once('@') {
            Some((_, place)) => format!("{scheme}://{user}:***@{}", without_values(place)),
            None => format!("{scheme}://{user}{}", without_values(secret)),
        },
        _ => format!("{scheme}://{}", without_values(rest)),
    }
}

/// Of what stands behind a `?`, only what is known to be no secret.
fn without_values(address: &str) -> String {
    let Some((address, query)) = address.split_once('?') else { return address.to_owned() };
    let hidden = |part: &str| match part.split_once('=') {
        Some(("sslmode" | "host" | "port" | "user" | "dbname", _)) => part.to_owned(),
        Some((name, _)) => format!("{name}=***"),
        None => "***".to_owned(),
    };
    let parts: Vec<String> = query.split('&').map(hidden).collect();
    format!("{address}?{}", parts.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_are_named_in_four_ways() {
        for (text, shown) in [
            ("postgres://u@h/d", "postgres://u@h/d"),
            ("postgresql://h:5433/d", "postgresql://h:5433/d"),
            ("postgres://u:12?ss@h/d?sslmode=disable", "postgres://u:***@h/d?sslmode=disable"),
            ("sqlite:/var/lib/tidegate.db", "sqlite:/var/lib/tidegate.db"),
            ("sqlite:///var/lib/tidegate.db", "sqlite:/var/lib/tidegate.db"),
            ("tidegate.db", "sqlite:tidegate.db"),
        ] {
            assert_eq!(DatabaseSettings::parse(text).unwrap().to_string(), shown);
        }
        for bad in
            ["", "sqlite:", ":memory:", "mysql://h/d", "postgres://h:port/d", "a\0b", &"x".repeat(5_000)]
        {
            assert!(DatabaseSettings::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        for url in [
            "postgres://u:secret@h/d",
            "postgres://u:se@cret@h/d?sslmode=require",
            "postgres://u@h/d?password=secret&user=u",
            "postgres://u:secret@h:port/d",
            "mysql://u:secret@h/d",
            "postgres://u:p?secret@h/d",
            "postgres://u:12?secret@h/d",
            "postgres://u:12/secret@h/d",
            "postgres://u:12#secret@h/d",
            "postgres://u:1?a=2&host=secret@h/d",
            "postgres://u@h/d?password=se@cret&user=u",
            "postgres://u@h/d?secret",
        ] {
            let shown = match DatabaseSettings::parse(url) {
                Ok(settings) => format!("{settings} {settings:?}"),
                Err(error) => error.to_string(),
            };
            assert!(!shown.contains("secret") && !shown.contains("cret@"), "{shown}");
        }
    }
}
