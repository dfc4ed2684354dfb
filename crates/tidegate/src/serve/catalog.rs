//! The catalog beside the engine: opened before it, followed and written to while it serves.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tidegate_catalog::compose::Composer;
use tidegate_catalog::edit::Editor;
use tidegate_catalog::follow::{DatabaseParts, First, Follower, InForce};
use tidegate_catalog::keys::{KeyRing, NewKey, OperatorToken};
use tidegate_catalog::last_good::LastGood;
use tidegate_catalog::model::{Actor, ApiKey, Scope};
use tidegate_catalog::recent::Recorder;
use tidegate_catalog::repository::{CatalogError, DatabaseSettings, Repository, Retention};
use tidegate_catalog::seed::Seed;
use tidegate_catalog::source::{RuleFile, WatchOptions};
use tidegate_catalog::state::StateCell;
use tidegate_catalog::subjects::{SubjectCache, SubjectOptions};
use tidegate_catalog::usage::{TopKeys, UsageMeter, Writer, WriterOptions};
use tidegate_config::{
    Defaults, EXAMPLE_RULES, RoomDefinition, RoomFault, RoomsOfRules, parse_rules_checked,
    quota_settings_from, read_text,
};
use tidegate_core::rule::RuleSet;
use tidegate_engine::{Clock, Engine, SystemClock, random_seed};
use tidegate_store::BucketStore;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::settings::{CatalogPlace, CatalogSettings, ServeSettings, SettingsError};
use crate::gate::{Catalog, CatalogParts, unix_us};
use crate::rooms::{Pages, Rooms};

/// How often a node tidies up: what is over is removed, old usage is rolled up, when keys were used is written.
const TIDY_INTERVAL: Duration = Duration::from_secs(60);
/// How long the last usage may take to be written when stopping.
const LAST_FLUSH: Duration = Duration::from_secs(2);
/// Subjects that are read at a time to warm the cache.
const PRELOAD_PAGE: u32 = 2_000;
/// How often a page is read again because subjects changed while it was read.
const PRELOAD_TRIES: u32 = 20;

/// The catalog, before there is an engine.
pub(super) struct Opened {
    follower: Follower,
    file: Option<RuleFile>,
    database: Option<Database>,
    /// The rooms of the rule file.
    rooms: Vec<RoomDefinition>,
    background: Handle,
}

/// What there is with a database only.
struct Database {
    repository: Repository,
    catalog: Arc<Catalog>,
    editor: Editor,
    settings: CatalogSettings,
}

/// An operator's key that was made because there was none.
pub(super) struct FirstKey(pub(super) String);

/// Opens the database, if there is one, and reads the rule file, if there is one. Nothing is asked of the database yet.
/// What works with it runs in the background.
pub(super) fn open(settings: &ServeSettings, background: &Handle, pages: &Pages) -> anyhow::Result<Opened> {
    // Rules of the database may send to any room of this node.
    let rooms = RoomsOfRules::Elsewhere;
    let defaults = Defaults { algorithm: settings.catalog.algorithm, rooms, ..Defaults::default() };
    let of_file = Defaults { rooms: RoomsOfRules::OfFile, ..defaults };
    let of_file = match &settings.rules {
        Some(_) => Defaults { format: settings.rules_format, ..of_file },
        None => of_file,
    };
    let quota_settings = quota_settings_from(settings.catalog.quota_variables.iter().cloned())?;
    let mut composer = Composer::new(defaults, quota_settings);
    let (text, name) = match &settings.rules {
        Some(path) => {
            (read_text(path).map_err(|errors| SettingsError::of(&errors))?, path.display().to_string())
        }
        None => (EXAMPLE_RULES.to_owned(), "the shipped example rules".to_owned()),
    };
    let parsed = parse_rules_checked(&text, &name, &of_file, &|room| pages.check(room));
    let parsed = parsed.map_err(|errors| SettingsError::of(&errors))?;
    parsed.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let file = settings.rules.as_deref().map(|path| RuleFile::watch(path, &text, WatchOptions::default()));
    let background = background.clone();
    let database = match &settings.catalog.database {
        CatalogPlace::None => None,
        CatalogPlace::Sqlite(path) => Some(DatabaseSettings::file(path)),
        CatalogPlace::Postgres(url) => Some(DatabaseSettings::parse(url.expose())?),
    };
    let Some(database) = database else {
        composer.set_file(parsed.rules);
        return Ok(Opened {
            follower: Follower::new(None, of_file, composer),
            file,
            database: None,
            rooms: parsed.rooms,
            background,
        });
    };
    let seed = if file.is_some() {
        composer.set_file(parsed.rules);
        None
    } else {
        Some(Seed::new(parsed.rules))
    };
    let repository = Repository::open(&database).context("--database-url")?;
    let token = settings.catalog.admin_token.as_ref().map(|token| OperatorToken::new(token.expose()));
    let keys = Arc::new(KeyRing::new(token.transpose().context("--admin-token")?));
    let subjects = SubjectCache::new(repository.clone(), &subject_options(&settings.catalog));
    let parts = DatabaseParts {
        repository: repository.clone(),
        keys: Arc::clone(&keys),
        subjects: subjects.clone(),
        last_good: settings.catalog.last_good.clone().map(LastGood::new),
        poll: settings.catalog.poll_interval,
        seed,
    };
    let follower = Follower::new(Some(parts), of_file, composer);
    let usage = Arc::new(UsageMeter::new(settings.catalog.usage_buffer_rows));
    let catalog = Arc::new(Catalog::new(CatalogParts {
        keys,
        subjects,
        state: follower.state(),
        nudge: follower.nudge(),
        written: Arc::default(),
        usage,
        top: TopKeys::default(),
        recent: Recorder::new(usize::try_from(settings.catalog.record_mib << 20).unwrap_or(usize::MAX)),
    }));
    let editor = Editor::new(repository.clone(), defaults, follower.state());
    let database = Database { repository, catalog, editor, settings: settings.catalog.clone() };
    Ok(Opened { follower, file, database: Some(database), rooms: parsed.rooms, background })
}

fn subject_options(settings: &CatalogSettings) -> SubjectOptions {
    SubjectOptions {
        entries: settings.subject_cache_entries,
        max_age: settings.subject_max_age,
        ..SubjectOptions::new(random_seed())
    }
}

impl Opened {
    /// The waiting rooms of the rule file.
    pub(super) fn rooms(&self) -> &[RoomDefinition] {
        &self.rooms
    }

    /// The rules to begin with; see [`Follower::first`].
    pub(super) async fn first(mut self) -> anyhow::Result<(First, Self)> {
        let background = self.background.clone();
        let reading = background.spawn(async move {
            let first = self.follower.first(now_us(&SystemClock::new())).await?;
            Ok((first, self))
        });
        reading.await.context("reading the first rules was interrupted")?
    }

    /// Where it runs.
    pub(super) const fn background(&self) -> &Handle {
        &self.background
    }

    /// What the doors need to know of it; `None` without a database.
    pub(super) fn catalog(&self) -> Option<Arc<Catalog>> {
        self.database.as_ref().map(|database| Arc::clone(&database.catalog))
    }

    /// How rules are followed, with a database or without.
    pub(super) fn state(&self) -> StateCell {
        self.follower.state()
    }

    /// What the admin API works with; `None` without a database.
    pub(super) fn admin(&self) -> Option<(Repository, Editor, Arc<Catalog>)> {
        let database = self.database.as_ref()?;
        Some((database.repository.clone(), database.editor.clone(), Arc::clone(&database.catalog)))
    }

    /// Makes an operator's key where the embedded database has none and none is set: nobody could get in otherwise. There
    /// is no default password.
    pub(super) async fn first_key(&self, clock: &impl Clock) -> anyhow::Result<Option<FirstKey>> {
        let Some(database) = &self.database else { return Ok(None) };
        let needs_none = database.settings.admin.is_none()
            || database.settings.admin_token.is_some()
            || !matches!(database.settings.database, CatalogPlace::Sqlite(_));
        if needs_none {
            return Ok(None);
        }
        match make_first_key(database, now_us(clock)).await {
            Ok(key) => Ok(key),
            Err(error) if error.retryable() => {
                tracing::warn!(%error, "no operator's key could be made; the next start tries again");
                Ok(None)
            }
            Err(error) => Err(error).context("the first operator's key cannot be made"),
        }
    }

    /// Starts what runs beside the requests.
    pub(super) fn start<S: BucketStore>(
        self,
        engine: &Engine<S>,
        rooms: &Rooms,
        reread: Arc<Notify>,
    ) -> CatalogTasks {
        let Opened { follower, file, database, background, .. } = self;
        let in_force = Arc::new(EngineInForce { engine: engine.clone(), rooms: rooms.clone() });
        let mut ending = vec![Ending::of(&background, |stop| follower.run(in_force, file, reread, stop))];
        let mut tasks = Vec::new();
        if let Some(database) = database {
            let options = WriterOptions {
                node: format!("{:016x}", fastrand::u64(..)),
                flush: database.settings.usage_flush,
                buffer_rows: database.settings.usage_buffer_rows,
            };
            let (usage, stats) = (database.catalog.usage_meter(), database.catalog.writer_stats());
            let sink = database.repository.clone();
            let clock = SystemClock::new();
            let writer = Writer::new(sink, usage, stats, options);
            ending.push(Ending::of(&background, |stop| writer.run(move || now_us(&clock), stop)));
            tasks.push(background.spawn(preload(database.repository.clone(), Arc::clone(&database.catalog))));
            tasks.push(background.spawn(tidy(database)));
        }
        CatalogTasks { tasks, ending }
    }
}

async fn make_first_key(database: &Database, now_us: i64) -> Result<Option<FirstKey>, CatalogError> {
    let new = NewKey::new(getrandom::fill).map_err(|error| CatalogError::Misconfigured(error.to_string()))?;
    let key = ApiKey {
        prefix: new.prefix.clone(),
        tenant: None,
        name: "first operator".to_owned(),
        scopes: Scope::ALL.to_vec(),
        hash: new.hash,
        previous: None,
        created_us: now_us,
        expires_us: None,
        last_used_us: None,
        revoked_us: None,
    };
    let repository = &database.repository;
    if !repository.create_first_operator_key(&Actor::server(), now_us, &key).await? {
        return Ok(None);
    }
    // Whoever reads it may use it at once. It exists by now, so it is shown whether or not that works; the follower reads it soon.
    if let Ok(keys) = repository.all_keys().await {
        database.catalog.keys().replace(keys);
    }
    Ok(Some(FirstKey(new.shown.reveal().to_owned())))
}

/// Warms the subject cache, so that the first requests after a start ask the database for few subjects.
async fn preload(repository: Repository, catalog: Arc<Catalog>) {
    let (cache, clock) = (catalog.subjects(), SystemClock::new());
    let (mut after, mut tries) = (None, 0);
    loop {
        let mark = cache.mark();
        let page = match repository.all_subjects(after.as_ref(), PRELOAD_PAGE).await {
            Ok(page) => page,
            Err(error) => {
                tracing::debug!(%error, "the subject cache was not warmed");
                return;
            }
        };
        let Some(last) = page.last().map(|(key, _)| key.clone()) else { return };
        let subject = |tier| tidegate_catalog::model::Subject { tier: Some(tier), ..Default::default() };
        let rows = page.into_iter().map(|(key, tier)| (key, subject(tier)));
        match cache.preload(rows, mark, now_us(&clock)) {
            tidegate_catalog::subjects::Preloaded::Outdated if tries < PRELOAD_TRIES => tries += 1,
            _ => (after, tries) = (Some(last), 0),
        }
        tokio::task::yield_now().await;
    }
}

/// Removes what is over, rolls usage up, and writes when keys were used.
async fn tidy(database: Database) {
    let clock = SystemClock::new();
    let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    let settings = &database.settings;
    let retention = Retention {
        minutes_s: seconds(settings.usage_keep_minutes),
        hours_s: seconds(settings.usage_keep_hours),
    };
    let mut ticks = tokio::time::interval(TIDY_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Uses of keys that are not written yet: the ring gives each out once.
    let mut used: BTreeMap<String, i64> = BTreeMap::new();
    loop {
        ticks.tick().await;
        let lately = database.catalog.keys().take_used();
        used.extend(lately.into_iter().map(|(prefix, at_us)| (prefix.to_string(), at_us)));
        let repository = &database.repository;
        let given: Vec<(String, i64)> = used.iter().map(|(prefix, at_us)| (prefix.clone(), *at_us)).collect();
        let touched = repository.touch_keys(&given).await;
        if touched.is_ok() {
            used.clear();
        }
        for result in [
            touched,
            repository.roll_up(now_us(&clock), &retention).await,
            repository.purge(now_us(&clock)).await,
        ] {
            if let Err(error) = result {
                tracing::debug!(%error, "tidying up the database has to wait");
            }
        }
    }
}

/// A task that has something to finish when it is told to stop.
struct Ending {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Ending {
    /// Starts what `run` gives when it gets the signal to stop.
    fn of<F: Future<Output = ()> + Send + 'static>(
        background: &Handle,
        run: impl FnOnce(Stopped) -> F,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let stopped: Stopped = Box::pin(async move {
            let _ = stopped.await;
        });
        Self { stop, task: background.spawn(run(stopped)) }
    }
}

/// Resolves when a task is to stop.
type Stopped = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What runs beside the requests; ends with this.
pub(super) struct CatalogTasks {
    tasks: Vec<JoinHandle<()>>,
    /// The follower keeps the last good rules on disk, the writer writes the usage that waits.
    ending: Vec<Ending>,
}

impl CatalogTasks {
    /// Finishes what can be finished soon, and ends the tasks.
    pub(super) async fn stop(mut self) {
        let ending = std::mem::take(&mut self.ending);
        let (stops, mut tasks): (Vec<_>, Vec<_>) = ending.into_iter().map(|one| (one.stop, one.task)).unzip();
        drop(stops);
        let finished = tokio::time::timeout(LAST_FLUSH, async {
            for task in &mut tasks {
                let _ = task.await;
            }
        });
        if finished.await.is_err() {
            tracing::warn!("the last usage or the last good rules could not be written");
            tasks.iter().for_each(JoinHandle::abort);
        }
    }
}

impl Drop for CatalogTasks {
    fn drop(&mut self) {
        self.tasks.iter().chain(self.ending.iter().map(|one| &one.task)).for_each(JoinHandle::abort);
    }
}

struct EngineInForce<S> {
    engine: Engine<S>,
    rooms: Rooms,
}

impl<S: BucketStore> InForce for EngineInForce<S> {
    fn replace(&self, rules: RuleSet, version: u64) {
        let version = self.engine.replace_rules(rules.at_version(version));
        tracing::info!(version, "new rules are in force");
    }

    fn now_us(&self) -> i64 {
        unix_us(self.engine.now())
    }

    fn check_room(&self, room: &RoomDefinition) -> Vec<RoomFault> {
        self.rooms.check(room)
    }

    async fn take_up_rooms(&self, rooms: &[RoomDefinition]) -> Result<(), String> {
        self.rooms.take_up_when_there(rooms).await.map(drop).map_err(|error| error.to_string())
    }

    async fn put_rooms_back(&self) {
        self.rooms.put_back().await;
    }
}

fn now_us(clock: &impl Clock) -> i64 {
    unix_us(clock.now())
}
