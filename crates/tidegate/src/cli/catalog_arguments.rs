//! `tidegate serve`: where rules that live are kept, who may change them, and what of usage is kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use clap::builder::{BoolishValueParser, PossibleValuesParser, TypedValueParser};
use tidegate_config::parse_duration;
use tidegate_core::quota::Algorithm;
use tidegate_core::time::Micros;

use crate::gate::ApiKeys;
use crate::serve::{CatalogPlace, CatalogSettings};
use crate::settings::{OptionalAddress, Origins, Secret, optional_address};

/// The database that a fresh installation makes: a file where the server was started.
const DEFAULT_DATABASE: &str = "tidegate.db";
/// The file of the last good rules beside a database that is no file.
const LAST_GOOD: &str = "tidegate-last-good.json";
/// The fewest bytes of an operator's token: fewer can be guessed.
const MIN_TOKEN_BYTES: usize = tidegate_catalog::keys::MIN_OPERATOR_TOKEN_BYTES;
/// The most bytes of an operator's token: no longer text is looked at as a key.
const MAX_TOKEN_BYTES: usize = tidegate_catalog::keys::MAX_KEY_BYTES;
/// The most bytes of a database's address.
const MAX_DATABASE_BYTES: usize = 4_096;
/// The most memory for recent requests, in MiB: 4 GiB.
const MAX_RECORD_MIB: u64 = 4_096;

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

#[derive(Debug, Args)]
#[command(next_help_heading = "Catalog")]
pub(super) struct CatalogArguments {
    /// Where rules, tiers and keys are kept that change while the server runs: an SQLite file (a path, or sqlite:PATH),
    /// postgres://user:password@host/name, or none. DATABASE_URL is taken, too
    #[arg(long, env = "TIDEGATE_DATABASE_URL", value_name = "URL", default_value = DEFAULT_DATABASE, hide_env_values = true)]
    database_url: Secret,

    /// Address and port of the admin API, or off
    #[arg(long, env = "TIDEGATE_ADMIN_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8082", value_parser = optional_address)]
    admin_listen: OptionalAddress,

    /// A token with which an operator's scripts use the admin API, at least 24 characters
    #[arg(long, env = "TIDEGATE_ADMIN_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    admin_token: Option<Secret>,

    /// Refuse requests to /v1/* and /stats/* that have no API key
    #[arg(long, env = "TIDEGATE_REQUIRE_API_KEY", value_parser = BoolishValueParser::new())]
    require_api_key: bool,

    /// How often the database is asked for changes, 50ms to 10s
    #[arg(long, env = "TIDEGATE_CATALOG_POLL", value_name = "TIME", default_value = "500ms", value_parser = poll)]
    catalog_poll: Micros,

    /// Where the last good rules are kept, for a start without the database (beside an SQLite database, or
    /// tidegate-last-good.json, if not given)
    #[arg(long, env = "TIDEGATE_LAST_GOOD_RULES", value_name = "FILE")]
    last_good_rules: Option<PathBuf>,

    /// The algorithm of rules that name none. ALGORITHM is taken, too
    #[arg(long, env = "TIDEGATE_ALGORITHM", value_name = "ALGORITHM", default_value = "token_bucket", value_parser = algorithm())]
    algorithm: Algorithm,

    /// Most subjects whose tier is remembered, 1,000 to 100,000,000
    #[arg(long, env = "TIDEGATE_SUBJECT_CACHE_ENTRIES", value_name = "N", default_value_t = 1_000_000,
          value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    subject_cache_entries: u32,

    /// A subject is looked up again after this time, even if no change was heard of, 1s to 1h
    #[arg(long, env = "TIDEGATE_SUBJECT_MAX_AGE", value_name = "TIME", default_value = "10m", value_parser = max_age)]
    subject_max_age: Micros,

    /// How long usage is kept by the minute, 1h to 90d
    #[arg(long, env = "TIDEGATE_USAGE_KEEP_MINUTES", value_name = "TIME", default_value = "48h", value_parser = keep_minutes)]
    usage_keep_minutes: Micros,

    /// How long usage is kept by the hour, 1d to 3650d
    #[arg(long, env = "TIDEGATE_USAGE_KEEP_HOURS", value_name = "TIME", default_value = "90d", value_parser = keep_hours)]
    usage_keep_hours: Micros,

    /// How often usage is written, 100ms to 5m
    #[arg(long, env = "TIDEGATE_USAGE_FLUSH", value_name = "TIME", default_value = "5s", value_parser = flush)]
    usage_flush: Micros,

    /// Most rows of usage that wait for the database, 1,000 to 10,000,000; more are dropped and counted
    #[arg(long, env = "TIDEGATE_USAGE_BUFFER_ROWS", value_name = "N", default_value_t = 100_000,
          value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    usage_buffer_rows: u32,

    /// Memory for recent requests that a change of rules is tried on, in MiB, 0 (none) to 4,096
    #[arg(long, env = "TIDEGATE_RECORD_MIB", value_name = "MIB", default_value_t = 8,
          value_parser = clap::value_parser!(u64).range(0..=MAX_RECORD_MIB))]
    record_mib: u64,
}

/// Why an address of a database cannot be one. The text never repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DatabaseUrlError {
    /// Another kind of database.
    #[error("the database is none, a path, sqlite:PATH or postgres://user:password@host/name")]
    Scheme,
    /// No path after `sqlite:`, or more than a path.
    #[error("after sqlite: comes the path of a file, and no parameters; a catalog cannot be in memory")]
    Path,
    /// No server after `postgres://`.
    #[error(
        "after postgres:// come the server and the name of the database: postgres://user:password@host/name"
    )]
    Server,
    /// What was meant for a server, and is none: it may hold a password.
    #[error(
        "a file's path has no @ and does not begin with postgres:; a server is postgres://user:password@host/name"
    )]
    Login,
    /// Longer than any address.
    #[error("the address of the database is longer than {MAX_DATABASE_BYTES} bytes")]
    TooLong,
}

/// Where a text says that the catalog is.
pub(super) fn catalog_place(text: &str) -> Result<CatalogPlace, DatabaseUrlError> {
    if text.len() > MAX_DATABASE_BYTES {
        return Err(DatabaseUrlError::TooLong);
    }
    if text == "none" {
        return Ok(CatalogPlace::None);
    }
    if let Some(path) = text.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() || path.starts_with(':') || path.contains('?') {
            return Err(DatabaseUrlError::Path);
        }
        if is_meant_for_a_server(path) {
            return Err(DatabaseUrlError::Login);
        }
        return Ok(CatalogPlace::Sqlite(path.into()));
    }
    match text.split_once("://") {
        Some(("postgres" | "postgresql", "")) => Err(DatabaseUrlError::Server),
        Some(("postgres" | "postgresql", _)) => Ok(CatalogPlace::Postgres(text.into())),
        Some(_) => Err(DatabaseUrlError::Scheme),
        None if is_meant_for_a_server(text) => Err(DatabaseUrlError::Login),
        None => Ok(CatalogPlace::Sqlite(text.into())),
    }
}

/// Whether a text without `://` is an address of a server with a slip in it. Paths are shown, so no password may be in one.
fn is_meant_for_a_server(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    text.contains('@') || lower.starts_with("postgres:") || lower.starts_with("postgresql:")
}

/// Names of algorithms. Permits are held, not metered: a rule has to ask for them.
fn algorithm() -> impl TypedValueParser<Value = Algorithm> {
    let all = || Algorithm::ALL.into_iter().filter(|algorithm| *algorithm != Algorithm::Concurrency);
    PossibleValuesParser::new(all().map(Algorithm::name))
        .map(move |name| all().find(|algorithm| algorithm.name() == name).unwrap_or(Algorithm::TokenBucket))
}

fn poll(text: &str) -> Result<Micros, String> {
    span(text, Micros::from_millis(50), "50ms", Micros::from_secs(10), "10s")
}

fn max_age(text: &str) -> Result<Micros, String> {
    span(text, Micros::from_secs(1), "1s", Micros::from_secs(HOUR), "1h")
}

fn keep_minutes(text: &str) -> Result<Micros, String> {
    span(text, Micros::from_secs(HOUR), "1h", Micros::from_secs(90 * DAY), "90d")
}

fn keep_hours(text: &str) -> Result<Micros, String> {
    span(text, Micros::from_secs(DAY), "1d", Micros::from_secs(3_650 * DAY), "3650d")
}

fn flush(text: &str) -> Result<Micros, String> {
    span(text, Micros::from_millis(100), "100ms", Micros::from_secs(300), "5m")
}

fn span(
    text: &str,
    least: Micros,
    least_shown: &str,
    most: Micros,
    most_shown: &str,
) -> Result<Micros, String> {
    match parse_duration(text).map_err(|error| error.to_string())? {
        span if span < least || span > most => Err(format!("write {least_shown} to {most_shown}")),
        span => Ok(span),
    }
}

impl CatalogArguments {
    /// What the server is told about the catalog.
    ///
    /// # Errors
    /// The database's address cannot be one, or the operator's token is too short or too long. No text repeats either.
    pub(super) fn settings(
        self,
        origins: &Origins,
        quota_variables: Vec<(String, String)>,
    ) -> anyhow::Result<CatalogSettings> {
        let named = |id: &str, error: String| anyhow::anyhow!("{}: {error}", origins.name(id));
        let database = catalog_place(self.database_url.expose())
            .map_err(|error| named("database_url", error.to_string()))?;
        if let Some(token) = &self.admin_token
            && let Some(error) = unfit_token(token.expose())
        {
            return Err(named("admin_token", error));
        }
        Ok(CatalogSettings {
            last_good: last_good(self.last_good_rules, &database),
            database,
            admin: self.admin_listen.0,
            admin_token: self.admin_token,
            api_keys: if self.require_api_key { ApiKeys::Required } else { ApiKeys::Optional },
            poll_interval: Duration::from(self.catalog_poll),
            subject_cache_entries: self.subject_cache_entries as usize,
            subject_max_age: Duration::from(self.subject_max_age),
            usage_keep_minutes: Duration::from(self.usage_keep_minutes),
            usage_keep_hours: Duration::from(self.usage_keep_hours),
            usage_flush: Duration::from(self.usage_flush),
            usage_buffer_rows: self.usage_buffer_rows as usize,
            record_mib: self.record_mib,
            algorithm: self.algorithm,
            quota_variables,
        })
    }
}

/// What is wrong with an operator's token.
fn unfit_token(token: &str) -> Option<String> {
    if token.len() < MIN_TOKEN_BYTES || token.len() > MAX_TOKEN_BYTES {
        return Some(format!("the token must have {MIN_TOKEN_BYTES} to {MAX_TOKEN_BYTES} characters"));
    }
    // It travels in a header field.
    let fit = token.bytes().all(|byte| byte.is_ascii_graphic());
    (!fit).then(|| "the token must be printable ASCII without blanks".to_owned())
}

/// Where the last good rules are kept: where told, else beside the database's file, else where the server was started.
fn last_good(told: Option<PathBuf>, database: &CatalogPlace) -> Option<PathBuf> {
    let beside = |file: &Path| {
        let mut name = file.file_stem().unwrap_or_default().to_owned();
        name.push("-last-good.json");
        file.with_file_name(name)
    };
    match database {
        CatalogPlace::None => None,
        CatalogPlace::Sqlite(file) => told.or_else(|| Some(beside(file))),
        CatalogPlace::Postgres(_) => told.or_else(|| Some(LAST_GOOD.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_a_file_a_server_or_none() {
        let sqlite = |text: &str| match catalog_place(text) {
            Ok(CatalogPlace::Sqlite(path)) => path.to_str().map(str::to_owned),
            _ => None,
        };
        assert_eq!(sqlite("tidegate.db").as_deref(), Some("tidegate.db"));
        assert_eq!(sqlite("sqlite:/var/lib/t.db").as_deref(), Some("/var/lib/t.db"));
        assert_eq!(sqlite("sqlite:///var/lib/t.db").as_deref(), Some("/var/lib/t.db"));
        assert_eq!(sqlite("sqlite://t.db").as_deref(), Some("t.db"));
        assert!(matches!(catalog_place("none"), Ok(CatalogPlace::None)));
        for url in ["postgres://u:p@h/n", "postgresql://h/n"] {
            assert!(
                matches!(catalog_place(url), Ok(CatalogPlace::Postgres(secret)) if secret.expose() == url)
            );
        }
        for (url, error) in [
            ("mysql://h/n", DatabaseUrlError::Scheme),
            ("sqlite:", DatabaseUrlError::Path),
            ("sqlite::memory:", DatabaseUrlError::Path),
            ("sqlite:t.db?mode=ro", DatabaseUrlError::Path),
            ("postgres://", DatabaseUrlError::Server),
            ("postgres:/u:hunter2@h/n", DatabaseUrlError::Login),
            ("Postgres:u:hunter2@h/n", DatabaseUrlError::Login),
            ("postgresql:h/n", DatabaseUrlError::Login),
            ("u:hunter2@h/n", DatabaseUrlError::Login),
            ("sqlite:u:hunter2@h/n", DatabaseUrlError::Login),
            (&"x".repeat(MAX_DATABASE_BYTES + 1), DatabaseUrlError::TooLong),
        ] {
            assert!(!error.to_string().contains("hunter2"));
            assert_eq!(catalog_place(url).err(), Some(error));
        }
    }

    #[test]
    fn the_last_good_rules_are_beside_the_database() {
        let kept = |database: &CatalogPlace| last_good(None, database);
        assert_eq!(kept(&CatalogPlace::Sqlite("tidegate.db".into())), Some(LAST_GOOD.into()));
        assert_eq!(kept(&CatalogPlace::Sqlite("/a/b.db".into())), Some("/a/b-last-good.json".into()));
        assert_eq!(kept(&CatalogPlace::Postgres("postgres://h".into())), Some(LAST_GOOD.into()));
        assert_eq!(last_good(Some("x".into()), &CatalogPlace::Postgres("p".into())), Some("x".into()));
        assert_eq!(last_good(Some("x".into()), &CatalogPlace::None), None);
    }

    #[test]
    fn a_token_is_long_and_fits_a_header_field() {
        assert!(unfit_token(&"t".repeat(MIN_TOKEN_BYTES)).is_none());
        assert!(unfit_token(&"t".repeat(MIN_TOKEN_BYTES - 1)).is_some());
        assert!(unfit_token(&"t".repeat(MAX_TOKEN_BYTES + 1)).is_some());
        assert!(unfit_token(&"t ".repeat(MIN_TOKEN_BYTES)).is_some());
        // What is fit here is taken there.
        assert!(tidegate_catalog::keys::OperatorToken::new(&"t".repeat(MAX_TOKEN_BYTES)).is_ok());
    }
}
