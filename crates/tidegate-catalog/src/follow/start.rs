//! The start: rules from the database, or without it.

use std::sync::Arc;

use tidegate_core::rule::RuleSet;
use tokio::time::Instant;

use super::{Follower, MAX_RETRY, MIN_PAUSE};
use crate::compose::ComposeError;
use crate::last_good::Saved;
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
            if let Some(first) = self.without_database(&error).await {
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

    async fn without_database(&mut self, error: &CatalogError) -> Option<First> {
        if let Some(saved) = self.last_good().await {
            let saved_us = saved.saved_us;
            match self.restore(saved) {
                Ok(first) => {
                    tracing::warn!(%error, saved_us, "serving the last good rules: the database does not give any");
                    return Some(first);
                }
                Err(problem) => tracing::error!(%problem, "the last good rules cannot be put in force"),
            }
        }
        if self.composer.file().domains.is_empty() || !error.retryable() {
            return None;
        }
        match self.compose_first(Origin::File) {
            Ok(first) => {
                tracing::warn!(%error, "serving the rule file alone: the database does not answer");
                Some(first)
            }
            Err(problem) => {
                tracing::error!(%problem, "the rule file cannot be put in force");
                None
            }
        }
    }

    /// The last good rules, read where waiting for the disk keeps nobody.
    async fn last_good(&self) -> Option<Saved> {
        let last_good = self.database.as_ref()?.last_good.clone()?;
        let problem = match tokio::task::spawn_blocking(move || last_good.load()).await {
            Ok(Ok(saved)) => return saved,
            Ok(Err(problem)) => problem.to_string(),
            Err(problem) => problem.to_string(),
        };
        tracing::error!(error = problem, "the last good rules cannot be read");
        None
    }

    /// Puts the last good rules together. Where they do not go together, they are known no more. Keys that the database has
    /// given stay.
    fn restore(&mut self, saved: Saved) -> Result<First, ComposeError> {
        let domains =
            saved.domains.iter().map(|d| (d.tenant.clone(), d.name.clone(), d.content_version)).collect();
        let delta = RulesDelta {
            version: saved.rules_version,
            domains,
            changed: saved.domains,
            tenants: saved.tenants,
            overrides: Arc::new(saved.overrides.into_iter().collect()),
        };
        let before = Arc::make_mut(&mut self.composer).apply(delta)?;
        let first = match self.compose_first(Origin::LastGood) {
            Ok(first) => first,
            Err(problem) => {
                Arc::make_mut(&mut self.composer).take_back(before);
                return Err(problem);
            }
        };
        if self.keys_from != Origin::Database {
            self.take_keys(saved.keys, Origin::LastGood);
        }
        Ok(first)
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
        if let Some(database) = &self.database {
            database.subjects.know_quotas(self.composer.quotas());
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
        self.take_keys(keys, Origin::Database);
        self.state.change(|state| {
            state.database = Database::Up;
            state.seen = versions;
            state.applied = Versions { rules: state.applied.rules, ..versions };
        });
        Arc::make_mut(&mut self.composer).apply(delta)?;
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
