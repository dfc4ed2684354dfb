//! Following the catalog: what changes in the database or in the rule file is in force on this node a moment later.
//!
//! Versions are asked for every so often, and at once where the database or this node says that something has changed.
//! Rules are loaded in one snapshot, validated whole, compiled, and swapped in one step; where that fails, the last good
//! ones stay in force. What is in force is kept on disk, so that a node can start while the database is away.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidegate_config::{Defaults, RuleFileErrors, parse_rules_with};
use tidegate_core::rule::RuleSet;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::compose::{ComposeError, Composer};
use crate::keys::KeyRing;
use crate::last_good::{LastGood, LastGoodError, Saved};
use crate::model::{ApiKey, Versions};
use crate::repository::{CatalogError, Changed, Listener, Repository, RulesDelta, SubjectChanges};
use crate::source::RuleFile;
use crate::state::{Database, Origin, StateCell};
use crate::subjects::SubjectCache;

/// The most subjects that are forgotten one by one after a change; beyond, all are.
const MAX_SUBJECT_CHANGES: u32 = 10_000;
/// The shortest time between two looks at the database, however often it says that something has changed.
const MIN_PAUSE: Duration = Duration::from_millis(20);
/// The longest pause between two tries while the database does not answer.
const MAX_RETRY: Duration = Duration::from_secs(2);
/// How long after a change of rules the last good ones are written to disk: once for many changes.
const SAVE_DELAY: Duration = Duration::from_secs(2);

/// The engine, as far as following needs it.
pub trait InForce: Send + Sync + 'static {
    /// Puts rules in force in one step, as the given version or a higher one.
    fn replace(&self, rules: RuleSet, version: u64);
    /// The present, in microseconds since the Unix epoch.
    fn now_us(&self) -> i64;
}

/// What following a database takes.
#[derive(Debug)]
pub struct DatabaseParts {
    /// The database.
    pub repository: Repository,
    /// API keys, replaced when they change.
    pub keys: Arc<KeyRing>,
    /// Subjects, forgotten when they change.
    pub subjects: SubjectCache<Repository>,
    /// Where what is in force is kept.
    pub last_good: Option<LastGood>,
    /// How often the database is asked.
    pub poll: Duration,
    /// What a new database begins with, under the name of the default tenant.
    pub seed: Option<crate::seed::Seed>,
}

/// Follows the catalog for one node.
#[derive(Debug)]
pub struct Follower {
    /// `None` where there is a rule file only.
    database: Option<DatabaseParts>,
    defaults: Defaults,
    composer: Composer,
    state: StateCell,
    nudge: Arc<Notify>,
    kept_keys: Vec<ApiKey>,
    /// The rules version that composing failed for, so that the same failure is told once.
    failed: Option<i64>,
    is_migrated: bool,
    unsaved_since: Option<Instant>,
}

/// Why new rules are not in force.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Compose(#[from] ComposeError),
}

/// What can be put in force at the start.
#[derive(Debug)]
pub struct First {
    /// The rules.
    pub rules: RuleSet,
    /// Their version.
    pub version: u64,
}

impl Follower {
    /// A follower that has seen nothing yet. `composer` knows the rule file's domains.
    #[must_use]
    pub fn new(database: Option<DatabaseParts>, defaults: Defaults, composer: Composer) -> Self {
        let (state, nudge) = (StateCell::default(), Arc::default());
        note_file(&state, &composer);
        Self {
            database,
            defaults,
            composer,
            state,
            nudge,
            kept_keys: Vec::new(),
            failed: None,
            is_migrated: false,
            unsaved_since: None,
        }
    }

    /// How far it is.
    #[must_use]
    pub fn state(&self) -> StateCell {
        self.state.clone()
    }

    /// Told when this node has changed something and wants it in force at once.
    #[must_use]
    pub fn nudge(&self) -> Arc<Notify> {
        Arc::clone(&self.nudge)
    }

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
        composed.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
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
    async fn prepare(&mut self, now_us: i64) -> Result<(), CatalogError> {
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

    /// Follows until dropped. `file` is the rule file, if there is one; `reread` asks to read it again.
    pub async fn run<E: InForce>(mut self, engine: Arc<E>, file: Option<RuleFile>, reread: Arc<Notify>) {
        let mut file = file.map(FileChanges::of);
        let mut listener: Option<Listener> = None;
        let mut pause = self.database.as_ref().map_or(MAX_RETRY, |database| database.poll);
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.nudge.notified() => {}
                () = heard(&mut listener) => {}
                changed = file_changed(&mut file) => self.file_changed(changed, &engine).await,
                () = reread.notified() => self.reread(file.as_ref(), &engine).await,
            }
            pause = self.look(&engine, &mut listener, pause).await;
            self.save_if_due(engine.now_us()).await;
            tokio::time::sleep(MIN_PAUSE).await;
        }
    }

    /// Looks at the database once. Returns how long to wait for the next look.
    async fn look<E: InForce>(
        &mut self,
        engine: &Arc<E>,
        listener: &mut Option<Listener>,
        pause: Duration,
    ) -> Duration {
        let caught_up = self.catch_up(engine).await;
        let Some(database) = &self.database else { return pause };
        match caught_up {
            Ok(()) => {
                if listener.is_none() {
                    *listener = database.repository.listen().await.ok().flatten();
                }
                let poll = database.poll;
                self.note_success();
                poll
            }
            Err(error) => {
                *listener = None;
                let longest = MAX_RETRY.max(database.poll);
                self.note_failure(&error, engine.now_us());
                (pause * 2).min(longest)
            }
        }
    }

    async fn catch_up<E: InForce>(&mut self, engine: &Arc<E>) -> Result<(), CatalogError> {
        self.prepare(engine.now_us()).await?;
        let Some(database) = &self.database else { return Ok(()) };
        let versions = database.repository.versions().await?;
        self.state.change(|state| state.seen = versions);
        let state = self.state.get();
        // Rules first: a subject's new override needs its quota.
        if versions.rules != state.applied.rules || state.origin != Origin::Database {
            self.reload(engine, versions.rules).await?;
        }
        if versions.subjects != state.applied.subjects {
            self.follow_subjects(state.applied.subjects).await?;
        }
        if versions.keys != state.applied.keys {
            self.follow_keys().await?;
            self.unsaved_since.get_or_insert_with(Instant::now);
            self.state.change(|state| state.applied.keys = versions.keys);
        }
        Ok(())
    }

    async fn follow_keys(&mut self) -> Result<(), CatalogError> {
        let Some(database) = &self.database else { return Ok(()) };
        let keys = database.repository.all_keys().await?;
        database.keys.replace(keys.clone());
        self.kept_keys = keys;
        Ok(())
    }

    async fn follow_subjects(&mut self, since: i64) -> Result<(), CatalogError> {
        let Some(database) = &self.database else { return Ok(()) };
        let SubjectChanges { version, what } =
            database.repository.subject_changes(since, MAX_SUBJECT_CHANGES).await?;
        match what {
            Changed::These(keys) => database.subjects.changed(&keys),
            Changed::Everything => database.subjects.changed_all(),
        }
        self.state.change(|state| state.applied.subjects = version);
        Ok(())
    }

    /// Loads what has changed and puts it in force. What cannot be put in force is said once, and tried again when it
    /// changes.
    async fn reload<E: InForce>(&mut self, engine: &Arc<E>, seen: i64) -> Result<(), CatalogError> {
        if self.failed == Some(seen) {
            return Ok(());
        }
        let Some(database) = &self.database else { return Ok(()) };
        let delta = database.repository.rules(engine.now_us(), &self.composer.known()).await?;
        let version = delta.version;
        let before = match self.composer.apply(delta) {
            Ok(before) => before,
            Err(error) => {
                self.note_bad_rules(version, &error);
                return Ok(());
            }
        };
        // The last good rules were these: they keep their version.
        let is_in_force = version == self.state.get().applied.rules && self.composer.is_as(&before);
        if !is_in_force && let Err(error) = self.put_in_force(engine).await {
            self.composer.take_back(before);
            self.note_bad_rules(version, &error);
            return Ok(());
        }
        self.failed = None;
        self.state.change(|state| {
            state.origin = Origin::Database;
            state.rules_error = None;
        });
        Ok(())
    }

    /// Compiles and swaps beside the requests: a large set takes a while, which no request should have to share.
    async fn put_in_force<E: InForce>(&mut self, engine: &Arc<E>) -> Result<(), ComposeError> {
        let (composer, engine) = (std::mem::take(&mut self.composer), Arc::clone(engine));
        let version = composer.version();
        let composing = tokio::task::spawn_blocking(move || {
            let composed = composer.compose().map(|composed| {
                engine.replace(composed.rules, u64::try_from(version).unwrap_or(0));
                composed.warnings
            });
            (composer, composed)
        });
        let (composer, composed) = composing.await.map_err(|_| ComposeError::Interrupted)?;
        self.composer = composer;
        composed?.iter().for_each(|warning| tracing::warn!("{warning}"));
        self.unsaved_since.get_or_insert_with(Instant::now);
        self.state.change(|state| {
            state.applied.rules = version;
            state.rules_error = None;
            state.reloads += 1;
        });
        Ok(())
    }

    fn note_bad_rules(&mut self, version: i64, error: &ComposeError) {
        tracing::error!(%error, version, "new rules cannot be put in force: the last good ones stay");
        self.failed = Some(version);
        self.state.change(|state| {
            state.failed_reloads += 1;
            state.rules_error = Some(error.to_string());
        });
    }

    async fn file_changed<E: InForce>(&mut self, changed: Result<String, String>, engine: &Arc<E>) {
        let result = match changed {
            Ok(text) => self.take_file(text, engine).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &result {
            error.lines().for_each(|line| tracing::error!("{line}"));
            tracing::error!("the rules were not changed: the file has errors");
        }
        self.state.change(|state| {
            state.failed_reloads += u64::from(result.is_err());
            state.file_error = result.err();
        });
    }

    async fn reread<E: InForce>(&mut self, file: Option<&FileChanges>, engine: &Arc<E>) {
        let Some(file) = file else { return };
        let text = tidegate_config::read_text(&file.path).map_err(|errors| errors.to_string());
        self.file_changed(text, engine).await;
    }

    async fn take_file<E: InForce>(&mut self, text: String, engine: &Arc<E>) -> Result<(), String> {
        let defaults = self.defaults;
        let parsing =
            tokio::task::spawn_blocking(move || parse_rules_with(&text, "the rule file", &defaults));
        let parsed = parsing.await.map_err(|_| "reading it was interrupted".to_owned())?;
        let parsed = parsed.map_err(|errors: RuleFileErrors| errors.to_string())?;
        parsed.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let before = self.composer.file().clone();
        self.composer.set_file(parsed.rules);
        match self.put_in_force(engine).await {
            Ok(()) => {
                note_file(&self.state, &self.composer);
                tracing::info!("new rules of the rule file are in force");
                Ok(())
            }
            Err(error) => {
                self.composer.set_file(before);
                Err(error.to_string())
            }
        }
    }

    fn note_success(&mut self) {
        if let Database::Down { since_us, .. } = self.state.get().database {
            tracing::info!(since_us, "the database answers again");
        }
        self.state.change(|state| state.database = Database::Up);
    }

    fn note_failure(&mut self, error: &CatalogError, now_us: i64) {
        let was_down = matches!(self.state.get().database, Database::Down { .. });
        if !was_down {
            tracing::error!(%error, "the database does not answer: the rules in force stay, subjects not in the cache have their default tier");
        }
        self.state.change(|state| {
            let since_us = match &state.database {
                Database::Down { since_us, .. } => *since_us,
                Database::Up | Database::Unknown => now_us,
            };
            state.outages += u64::from(!was_down);
            state.database = Database::Down { since_us, error: error.to_string() };
        });
    }

    /// Writes the last good rules, a while after the first change that is not in them.
    async fn save_if_due(&mut self, now_us: i64) {
        let due = self.unsaved_since.is_some_and(|since| since.elapsed() >= SAVE_DELAY);
        if due && self.state.get().origin == Origin::Database {
            self.save(now_us).await;
        }
    }

    async fn save(&mut self, now_us: i64) {
        let Some(last_good) = self.database.as_ref().and_then(|database| database.last_good.clone()) else {
            return;
        };
        self.unsaved_since = None;
        let (domains, tenants, overrides) = self.composer.kept();
        let keys = self.kept_keys.clone();
        let rules_version = self.composer.version();
        let saved = Saved { rules_version, saved_us: now_us, domains, tenants, overrides, keys };
        let saving = tokio::task::spawn_blocking(move || last_good.save(&saved)).await;
        if let Ok(Err(error)) = saving {
            tracing::warn!(%error, "the last good rules were not kept");
        }
    }
}

fn note_file(state: &StateCell, composer: &Composer) {
    let names = composer.file().domains.iter().map(|domain| domain.name.clone()).collect();
    state.change(|state| state.file_domains = names);
}

/// Resolves when the database says that something has changed; never where it says nothing.
async fn heard(listener: &mut Option<Listener>) {
    match listener {
        Some(listening) => {
            if listening.changed().await.is_err() {
                *listener = None;
            }
        }
        None => std::future::pending().await,
    }
}

/// The contents of the rule file as they come. They are waited for beside everything else: a file has to stay the same for
/// a moment, and a database that changes all the time must not keep it from that.
struct FileChanges {
    path: PathBuf,
    contents: mpsc::Receiver<Result<String, String>>,
    _watching: JoinSet<()>,
}

impl FileChanges {
    fn of(mut file: RuleFile) -> Self {
        let (sender, contents) = mpsc::channel(1);
        let (path, mut watching) = (file.path().to_owned(), JoinSet::new());
        watching.spawn(async move {
            loop {
                let changed = file.changed().await;
                let content = changed.map(|changed| changed.text).map_err(|error| error.0.to_string());
                if sender.send(content).await.is_err() {
                    return;
                }
            }
        });
        Self { path, contents, _watching: watching }
    }
}

/// The next content of the rule file, or why it cannot be read; never where there is none.
async fn file_changed(file: &mut Option<FileChanges>) -> Result<String, String> {
    let next = match file {
        Some(file) => file.contents.recv().await,
        None => None,
    };
    match next {
        Some(content) => content,
        None => std::future::pending().await,
    }
}
