//! Following the catalog: what changes in the database or in the rule file is in force on this node a moment later.
//!
//! Versions are asked for every so often, and at once where the database or this node says that something has changed.
//! Rules are loaded in one snapshot, validated whole, compiled, and swapped in one step; where that fails, the last good
//! ones stay in force. What is in force is kept on disk, so that a node can start while the database is away.

mod keep;
mod listen;
mod rules;
mod start;
mod subjects;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use tidegate_config::{Defaults, RoomDefinition, RoomFault};
use tidegate_core::rule::RuleSet;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::compose::Composer;
use crate::keys::KeyRing;
use crate::last_good::LastGood;
use crate::model::ApiKey;
use crate::repository::{CatalogError, Repository};
use crate::source::RuleFile;
use crate::state::{Database, Origin, StateCell};
use crate::subjects::SubjectCache;
use listen::{Ear, Heard, Listening};
use rules::{FileChanges, file_changed, note_file};
pub use start::First;

/// The shortest time between two looks at the database, however often it says that something has changed.
const MIN_PAUSE: Duration = Duration::from_millis(20);
/// The shortest time until a look because others have changed something: a storm of their changes is taken up a few at a time,
/// and leaves the processor to the requests.
const MIN_PAUSE_HEARD: Duration = Duration::from_millis(400);
/// How long changes of this node are gathered before a look. It differs each time, lest nodes that were changed at the same
/// instant read and compile at the same instant, too.
const GATHER_MICROS: RangeInclusive<u64> = 4_000..=16_000;
/// The longest pause between two tries while the database does not answer.
const MAX_RETRY: Duration = Duration::from_secs(2);

/// Lets changes that come at the same time be in one look.
async fn gather() {
    tokio::time::sleep(Duration::from_micros(fastrand::u64(GATHER_MICROS))).await;
}

/// The engine, as far as following needs it.
pub trait InForce: Send + Sync + 'static {
    /// Puts rules in force in one step, as the given version or a higher one.
    fn replace(&self, rules: RuleSet, version: u64);
    /// The present, in microseconds since the Unix epoch.
    fn now_us(&self) -> i64;
    /// What would be refused of a waiting room of the rule file.
    fn check_room(&self, room: &RoomDefinition) -> Vec<RoomFault> {
        let _ = room;
        Vec::new()
    }
    /// Takes up the waiting rooms of the rule file, all or none; what goes wrong is said.
    fn take_up_rooms(&self, rooms: &[RoomDefinition]) -> impl Future<Output = Result<(), String>> + Send {
        let _ = rooms;
        std::future::ready(Ok(()))
    }
    /// Goes back to the waiting rooms before those that were taken up last: their file cannot be put in force.
    fn put_rooms_back(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
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
    /// Shared with a compilation only, while there is one.
    composer: Arc<Composer>,
    state: StateCell,
    nudge: Arc<Notify>,
    kept_keys: Vec<ApiKey>,
    /// Where the keys are from, wherever the rules in force are from.
    keys_from: Origin,
    /// The rules version that composing failed for, so that the same failure is told once.
    failed: Option<i64>,
    is_migrated: bool,
    /// Whether what is known may be of another history than the database's: a standby that took over, or a copy that was
    /// put back, may have counted to the same versions with other changes.
    is_doubtful: bool,
    unsaved_since: Option<Instant>,
    /// Whether keeping what is in force has failed.
    is_unsaved: bool,
    /// What was warned of already: it is not said again at every change of something else.
    told: Vec<String>,
}

impl Follower {
    /// A follower that has seen nothing yet. `composer` knows the rule file's domains.
    #[must_use]
    pub fn new(database: Option<DatabaseParts>, defaults: Defaults, composer: Composer) -> Self {
        let state = StateCell::default();
        // A subject that is newer than the rules wants newer rules as much as a change of this node does.
        let nudge = database.as_ref().map(|database| database.subjects.newer_rules_wanted());
        note_file(&state, &composer);
        Self {
            database,
            defaults,
            composer: Arc::new(composer),
            state,
            nudge: nudge.unwrap_or_default(),
            kept_keys: Vec::new(),
            keys_from: Origin::Nowhere,
            failed: None,
            is_migrated: false,
            is_doubtful: false,
            unsaved_since: None,
            is_unsaved: false,
            told: Vec::new(),
        }
    }

    /// How far it is.
    #[must_use]
    pub fn state(&self) -> StateCell {
        self.state.clone()
    }

    /// Told when this node has changed something, or has seen something new, and wants it in force at once.
    #[must_use]
    pub fn nudge(&self) -> Arc<Notify> {
        Arc::clone(&self.nudge)
    }

    /// Follows until `stop`, and keeps on disk what is in force then. `file` is the rule file, if there is one; `reread` asks to
    /// read it again.
    pub async fn run<E: InForce>(
        mut self,
        engine: Arc<E>,
        file: Option<RuleFile>,
        reread: Arc<Notify>,
        stop: impl Future<Output = ()>,
    ) {
        let mut stop = std::pin::pin!(stop);
        let mut file = file.map(FileChanges::of);
        let mut ear = Ear::default();
        let mut looked_at = Instant::now();
        let mut pause = self.database.as_ref().map_or(MAX_RETRY, |database| database.poll);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                () = tokio::time::sleep(pause) => {}
                () = self.nudge.notified() => gather().await,
                heard = ear.heard_after(looked_at + MIN_PAUSE_HEARD) => self.is_doubtful |= heard == Heard::Lost,
                changed = file_changed(&mut file) => self.file_changed(changed, &engine).await,
                () = reread.notified() => self.reread(file.as_ref(), &engine).await,
            }
            pause = self.look(&engine, &mut ear, pause).await;
            looked_at = Instant::now();
            self.save_if_due(engine.now_us()).await;
            tokio::time::sleep(MIN_PAUSE).await;
        }
        self.save_if_needed(engine.now_us()).await;
    }

    /// Looks at the database once. Returns how long to wait for the next look.
    async fn look<E: InForce>(&mut self, engine: &Arc<E>, ear: &mut Ear, pause: Duration) -> Duration {
        let caught_up = self.catch_up(engine).await;
        let Some(database) = &self.database else { return pause };
        match caught_up {
            Ok(()) => {
                let poll = database.poll;
                let listening = ear.listen(&database.repository).await;
                self.note_success();
                if listening == Listening::Begun { Duration::ZERO } else { poll }
            }
            Err(error) => {
                ear.close();
                let longest = MAX_RETRY.max(database.poll);
                self.note_failure(&error, engine.now_us());
                (pause.max(MIN_PAUSE) * 2).min(longest)
            }
        }
    }

    async fn catch_up<E: InForce>(&mut self, engine: &Arc<E>) -> Result<(), CatalogError> {
        self.prepare(engine.now_us()).await?;
        let Some(database) = &self.database else { return Ok(()) };
        let versions = database.repository.versions().await?;
        self.state.change(|state| state.seen = versions);
        let state = self.state.get();
        let is_other = self.is_doubtful || state.origin != Origin::Database;
        let is_tried = self.failed == Some(versions.rules) && !self.is_doubtful;
        if (versions.rules != state.applied.rules || is_other) && !is_tried {
            self.reload(engine).await?;
        } else if (versions.subjects != state.applied.subjects || self.is_doubtful)
            && let Some(news) = self.read_subjects().await?
        {
            news.take_up();
            self.note_subjects(&news);
        }
        if versions.keys != state.applied.keys || self.is_doubtful || self.keys_from != Origin::Database {
            self.follow_keys().await?;
            self.unsaved_since.get_or_insert_with(Instant::now);
            self.state.change(|state| state.applied.keys = versions.keys);
        }
        self.is_doubtful = false;
        Ok(())
    }

    async fn follow_keys(&mut self) -> Result<(), CatalogError> {
        let Some(database) = &self.database else { return Ok(()) };
        let keys = database.repository.all_keys().await?;
        self.take_keys(keys, Origin::Database);
        Ok(())
    }

    /// These keys are good from now on.
    fn take_keys(&mut self, keys: Vec<ApiKey>, from: Origin) {
        let Some(database) = &self.database else { return };
        database.keys.replace(keys.clone());
        (self.kept_keys, self.keys_from) = (keys, from);
    }

    /// Warns of what was not warned of before.
    fn tell(&mut self, warnings: Vec<String>) {
        warnings
            .iter()
            .filter(|warning| !self.told.contains(warning))
            .for_each(|warning| tracing::warn!("{warning}"));
        self.told = warnings;
    }

    fn note_success(&mut self) {
        if let Database::Down { since_us, .. } = self.state.get().database {
            tracing::info!(since_us, "the database answers again");
        }
        self.state.change(|state| state.database = Database::Up);
    }

    fn note_failure(&mut self, error: &CatalogError, now_us: i64) {
        self.is_doubtful = true;
        let was_down = matches!(self.state.get().database, Database::Down { .. });
        if !was_down && error.retryable() {
            tracing::error!(%error, "the database does not answer: the rules in force stay, subjects not in the cache have their default tier");
        } else if !was_down {
            tracing::error!(%error, "what the database has cannot be used: what is in force stays");
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
}
