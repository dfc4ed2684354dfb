//! The start: rules from the database, or without it.

use tidegate_core::rule::RuleSet;
use tokio::time::Instant;

use super::{Follower, MAX_RETRY, MIN_PAUSE};
use crate::compose::ComposeError;
use crate::last_good::{LastGood, LastGoodError};
use crate::model::Versions;
use crate::repository::{CatalogError, RulesDelta};
use crate::state::{Database, Origin};

/// What can be put in force at the start.
#[derive(Debug)]
pub struct First {
    /// The rules.
    pub rules: RuleSet,
    /// Their version.
    pub version: u64,
}

/// Why new rules are not in force.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Compose(#[from] ComposeError),
}

impl Follower {
    /// The rules to begin with: the database's; else the last good ones; else the rule file's, if it has any; else waits for
    /// the database. Never fails for want of the database.
    ///
    /// # Errors
    /// The database cannot be used as it is set up, or what it holds cannot be put in force and there are no last good rules.
    pub async fn first(&mut self, now_us: i64) -> Result<First, CatalogError> {
        if self.database.is_none() {
            return self
                .compose_first(Origin::File)
                .map_err(|error| CatalogError::Corrupt(error.to_string()));
        }
        let mut pause = MIN_PAUSE;
        loop {
            let error = match self.load_all(now_us).await {
                Ok(()) => match self.compose_first(Origin::Database) {
                    Ok(first) => return Ok(first),
                    Err(error) => CatalogError::Corrupt(error.to_string()),
                },
                Err(ReloadError::Catalog(error)) => error,
                Err(ReloadError::Compose(error)) => CatalogError::Corrupt(error.to_string()),
            };
            if let CatalogError::Misconfigured(_) = &error {
                return Err(error);
            }
            self.note_failure(&error, now_us);
            if let Some(first) = self.without_database(&error) {
                return Ok(first);
            }
            if !error.retryable() {
                return Err(error);
            }
            tracing::error!(%error, "the database does not answer, and there are no last good rules: waiting for it");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_RETRY);
        }
    }

    fn without_database(&mut self, error: &CatalogError) -> Option<First> {
        match self.restore() {
            Ok(Some(saved_us)) => match self.compose_first(Origin::LastGood) {
                Ok(first) => {
                    tracing::warn!(%error, saved_us, "serving the last good rules: the database does not give any");
                    return Some(first);
                }
                Err(problem) => tracing::error!(%problem, "the last good rules cannot be put in force"),
            },
            Ok(None) => {}
            Err(problem) => tracing::error!(error = %problem, "the last good rules cannot be read"),
        }
        if self.composer.file().domains.is_empty() || !error.retryable() {
            return None;
        }
        let first = self.compose_first(Origin::File).ok()?;
        tracing::warn!(%error, "serving the rule file alone: the database does not answer");
        Some(first)
    }

    fn restore(&mut self) -> Result<Option<i64>, LastGoodError> {
        let Some(database) = &self.database else { return Ok(None) };
        let Some(saved) = database.last_good.as_ref().map(LastGood::load).transpose()?.flatten() else {
            return Ok(None);
        };
        let domains =
            saved.domains.iter().map(|d| (d.tenant.clone(), d.name.clone(), d.content_version)).collect();
        let delta = RulesDelta {
            version: saved.rules_version,
            domains,
            changed: saved.domains,
            tenants: saved.tenants,
            overrides: saved.overrides,
        };
        if let Err(error) = self.composer.apply(delta) {
            tracing::error!(%error, "the last good rules cannot be read");
            return Ok(None);
        }
        if let Some(database) = &self.database {
            database.keys.replace(saved.keys.clone());
        }
        self.kept_keys = saved.keys;
        Ok(Some(saved.saved_us))
    }

    fn compose_first(&mut self, origin: Origin) -> Result<First, ComposeError> {
        let composed = self.composer.compose()?;
        self.tell(composed.warnings);
        let version = self.composer.version();
        self.state.change(|state| {
            state.origin = origin;
            state.applied.rules = version;
        });
        if origin == Origin::Database {
            self.unsaved_since = Some(Instant::now());
        }
        Ok(First { rules: composed.rules, version: u64::try_from(version).unwrap_or(1).max(1) })
    }

    /// Everything there is to know, for the start.
    async fn load_all(&mut self, now_us: i64) -> Result<(), ReloadError> {
        self.prepare(now_us).await?;
        let Some(database) = &self.database else { return Ok(()) };
        let versions = database.repository.versions().await?;
        let keys = database.repository.all_keys().await?;
        let delta = database.repository.rules(now_us, &self.composer.known()).await?;
        self.composer.apply(delta)?;
        database.keys.replace(keys.clone());
        self.kept_keys = keys;
        self.state.change(|state| {
            state.database = Database::Up;
            state.seen = versions;
            state.applied = Versions { rules: state.applied.rules, ..versions };
        });
        Ok(())
    }

    /// Brings a database up to this program, and puts in what a new one begins with; once.
    pub(super) async fn prepare(&mut self, now_us: i64) -> Result<(), CatalogError> {
        let Some(database) = self.database.as_ref().filter(|_| !self.is_migrated) else { return Ok(()) };
        let migrated = database.repository.migrate().await?;
        if migrated.from != migrated.to {
            tracing::info!(
                from = migrated.from,
                to = migrated.to,
                "the database was brought up to this version"
            );
        }
        if let Some(seed) = &database.seed
            && seed.plant(&database.repository, now_us).await?
        {
            tracing::info!("the database is new: it begins with the example rules");
        }
        self.is_migrated = true;
        Ok(())
    }
}
