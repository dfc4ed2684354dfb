//! Goal: what a node knows of rules, of subjects and of keys goes together at every instant, whatever the database does.
//! Method: a follower of a database, with an engine that looks at the subjects when it gets rules.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::ConnectOptions;
use tidegate_catalog::compose::Composer;
use tidegate_catalog::follow::{DatabaseParts, Follower, InForce};
use tidegate_catalog::keys::{KeyRing, NewKey};
use tidegate_catalog::last_good::{LastGood, Saved};
use tidegate_catalog::model::{
    Actor, ApiKey, Ceilings, DEFAULT_TENANT, Expect, Override, OverrideQuota, Scope, SubjectKey, Tenant,
    Versions,
};
use tidegate_catalog::repository::{DatabaseSettings, Repository, RuleEdit};
use tidegate_catalog::state::{Database, Origin, StateCell};
use tidegate_catalog::subjects::{Cached, Looked, SubjectCache, SubjectOptions};
use tidegate_config::{Defaults, parse_rules_with};
use tidegate_core::rule::RuleSet;
use tidegate_testkit::{Postgres, TempDir, wait_until};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

const NOW_US: i64 = 1_700_000_000_000_000;
/// A busy machine is not an error.
const LONG: Duration = Duration::from_secs(30);

/// What an engine got, and what was known of the subject then.
#[derive(Debug, PartialEq)]
struct Swap {
    /// The tiers of the first rule.
    tiers: Vec<String>,
    /// The override that is in the cache.
    cached: Option<String>,
}

/// An engine that remembers all sets of rules that it got.
struct Witness {
    subjects: SubjectCache<Repository>,
    swaps: Mutex<Vec<Swap>>,
    panics: AtomicBool,
}

impl InForce for Witness {
    fn replace(&self, rules: RuleSet, _version: u64) {
        assert!(!self.panics.swap(false, Ordering::Relaxed), "told to");
        let tiers = &rules.domain("pay").unwrap().rules()[0].model().tiers;
        let tiers = tiers.iter().map(|(name, _)| name.clone()).collect();
        self.swaps.lock().unwrap().push(Swap { tiers, cached: cached(&self.subjects) });
    }

    fn now_us(&self) -> i64 {
        NOW_US
    }
}

/// The override of the subject in the cache: empty where there is none, `None` where the subject is not known.
fn cached(subjects: &SubjectCache<Repository>) -> Option<String> {
    match subjects.cached(DEFAULT_TENANT, "pay", "sue", NOW_US) {
        Cached::Hit(known) => {
            Some(known.overrides().first().map(|one| one.tier.to_string()).unwrap_or_default())
        }
        Cached::Miss => None,
    }
}

/// A database with the domain `pay`, and what a node has beside it.
struct Site {
    directory: TempDir,
    repository: Repository,
    keys: Arc<KeyRing>,
    subjects: SubjectCache<Repository>,
}

/// A follower that runs.
struct Running {
    witness: Arc<Witness>,
    state: StateCell,
    nudge: Arc<Notify>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Site {
    async fn new() -> Self {
        let directory = TempDir::new("following");
        let settings = DatabaseSettings::file(&directory.join("catalog.db"));
        Self::of(directory, &settings).await
    }

    async fn of(directory: TempDir, settings: &DatabaseSettings) -> Self {
        let repository = Repository::open(settings).unwrap();
        repository.migrate().await.unwrap();
        let options = SubjectOptions { deadline: LONG, ..SubjectOptions::new([1, 2]) };
        let subjects = SubjectCache::new(repository.clone(), &options);
        let site = Self { directory, repository, keys: Arc::new(KeyRing::new(None)), subjects };
        site.put_rule("each", r#"{"name":"each","key":["user"],"limit":5,"window":"1m"}"#).await;
        site
    }

    /// One that is told of changes only: it asks once in an hour.
    fn follower(&self, composer: Composer) -> Follower {
        let parts = DatabaseParts {
            repository: self.repository.clone(),
            keys: Arc::clone(&self.keys),
            subjects: self.subjects.clone(),
            last_good: Some(LastGood::new(self.last_good())),
            poll: Duration::from_secs(3_600),
            seed: None,
        };
        Follower::new(Some(parts), Defaults::default(), composer)
    }

    fn last_good(&self) -> PathBuf {
        self.directory.join("last-good.json")
    }

    async fn running(&self) -> Running {
        let mut follower = self.follower(composer());
        follower.first(NOW_US).await.unwrap();
        self.run(follower)
    }

    fn run(&self, follower: Follower) -> Running {
        let (state, nudge) = (follower.state(), follower.nudge());
        let witness = Arc::new(Witness {
            subjects: self.subjects.clone(),
            swaps: Mutex::default(),
            panics: AtomicBool::new(false),
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async move { drop(stopped.await) };
        let task = tokio::spawn(follower.run(Arc::clone(&witness), None, Arc::new(Notify::new()), stopped));
        Running { witness, state, nudge, stop, task }
    }

    async fn put_rule(&self, rule: &str, document: &str) -> i64 {
        let (domain, expect) = ("pay".to_owned(), Expect::Any);
        let settings = r#"{"name":"pay","subject":"user"}"#.to_owned();
        let edits = [
            RuleEdit::PutDomain { domain: domain.clone(), document: settings, expect },
            RuleEdit::PutRule { domain, rule: rule.to_owned(), document: document.to_owned(), expect },
        ];
        self.repository.edit_rules(&Actor::server(), NOW_US, DEFAULT_TENANT, &edits, &[]).await.unwrap()
    }

    async fn put_override(&self, limit: u64) -> Versions {
        let quota = OverrideQuota { limit, window_us: None, burst: None };
        let given = Override { rule: "each".to_owned(), quota, reason: String::new(), until_us: None };
        self.repository.put_override(&Actor::server(), NOW_US, &sue(), &given).await.unwrap()
    }

    /// Asks the database where the cache does not know.
    async fn look_up(&self) -> String {
        match self.subjects.lookup(&sue(), NOW_US).await {
            Looked::Found(known) => {
                known.overrides().first().map(|one| one.tier.to_string()).unwrap_or_default()
            }
            Looked::Failed { .. } => panic!("the database answers"),
        }
    }

    /// As an operator would write it into the file.
    async fn sql(&self, statements: &'static str) {
        let file = self.directory.join("catalog.db");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
        let mut connection = options.connect().await.unwrap();
        sqlx::raw_sql(statements).execute(&mut connection).await.unwrap();
    }
}

impl Running {
    async fn has(&self, versions: Versions) {
        self.nudge.notify_one();
        self.state
            .wait_until(|state| {
                state.applied.rules == versions.rules && state.applied.subjects == versions.subjects
            })
            .await;
    }

    fn swaps(&self) -> Vec<Swap> {
        std::mem::take(&mut self.witness.swaps.lock().unwrap())
    }

    async fn end(self) {
        drop(self.stop);
        self.task.await.unwrap();
    }
}

fn composer() -> Composer {
    Composer::new(Defaults::default(), Vec::new())
}

fn sue() -> SubjectKey {
    let [tenant, domain, subject] = [DEFAULT_TENANT, "pay", "sue"].map(str::to_owned);
    SubjectKey { tenant, domain, subject }
}

fn swap(tiers: &[&str], cached: &str) -> Swap {
    let tiers = tiers.iter().map(|tier| (*tier).to_owned()).collect();
    Swap { tiers, cached: Some(cached.to_owned()) }
}

fn api_key(new: &NewKey) -> ApiKey {
    ApiKey {
        prefix: new.prefix.clone(),
        tenant: None,
        name: "deploys".to_owned(),
        scopes: vec![Scope::AdminRead],
        hash: new.hash,
        previous: None,
        created_us: NOW_US,
        expires_us: None,
        last_used_us: None,
        revoked_us: None,
    }
}

#[tokio::test]
async fn the_quota_of_an_override_is_in_force_before_its_subject_is_looked_up_again() {
    let site = Site::new().await;
    let running = site.running().await;
    assert_eq!(site.look_up().await, "");
    let written = site.put_override(50).await;
    running.has(written).await;
    assert_eq!(running.swaps(), [swap(&["=50//"], "")]);
    assert_eq!(site.look_up().await, "=50//");
    running.end().await;
}

#[tokio::test]
async fn a_quota_that_changes_is_the_old_one_or_the_new_one() {
    let site = Site::new().await;
    site.put_override(50).await;
    let running = site.running().await;
    assert_eq!(site.look_up().await, "=50//");
    let written = site.put_override(100).await;
    running.has(written).await;
    // She has the old quota until the new one is there, and is forgotten then.
    assert_eq!(running.swaps(), [swap(&["=100//", "=50//"], "=50//")]);
    assert_eq!(cached(&site.subjects), None);
    assert_eq!(site.look_up().await, "=100//");
    let rules = site.put_rule("other", r#"{"name":"other","key":["user"],"limit":9,"window":"1m"}"#).await;
    running.has(Versions { rules, ..written }).await;
    assert_eq!(running.swaps(), [swap(&["=100//"], "=100//")]);
    running.end().await;
}

#[tokio::test]
async fn a_subject_that_is_newer_than_the_rules_brings_the_rules_with_it() {
    let site = Site::new().await;
    site.put_override(50).await;
    let running = site.running().await;
    // Nobody says that it has changed.
    site.put_override(100).await;
    assert_eq!(site.look_up().await, "=100//");
    let swaps = running.swaps();
    assert_eq!(swaps, [Swap { tiers: vec!["=100//".to_owned(), "=50//".to_owned()], cached: None }]);
    running.end().await;
}

#[tokio::test]
async fn subjects_of_rules_that_cannot_be_put_in_force_keep_nobody_waiting() {
    let site = Site::new().await;
    let running = site.running().await;
    site.put_rule("bad", r#"{"name":"bad","limit":"many"}"#).await;
    site.put_override(100).await;
    assert_eq!(site.look_up().await, "=100//");
    assert!(running.state.get().rules_error.is_some());
    running.end().await;
}

#[tokio::test]
async fn compiling_that_fails_badly_leaves_what_is_known() {
    let site = Site::new().await;
    let running = site.running().await;
    running.witness.panics.store(true, Ordering::Relaxed);
    site.put_override(50).await;
    running.nudge.notify_one();
    running.state.wait_until(|state| state.rules_error.is_some()).await;
    let written = site.put_override(60).await;
    running.has(written).await;
    let swaps = running.swaps();
    assert_eq!(swaps, [Swap { tiers: vec!["=60//".to_owned()], cached: None }]);
    running.end().await;
}

#[tokio::test]
async fn after_an_outage_subjects_are_looked_up_again_whatever_their_version() {
    let site = Site::new().await;
    let running = site.running().await;
    assert_eq!(site.look_up().await, "");
    site.sql("ALTER TABLE versions RENAME TO away").await;
    running.nudge.notify_one();
    running.state.wait_until(|state| matches!(state.database, Database::Down { .. })).await;
    // A standby that counted to the same version with another change.
    site.sql(
        "ALTER TABLE away RENAME TO versions; \
         INSERT INTO bans (domain, subject) VALUES ('pay', 'sue'); \
         UPDATE versions SET version = version - 1 WHERE kind = 'subjects'",
    )
    .await;
    assert_eq!(cached(&site.subjects).as_deref(), Some(""));
    running.nudge.notify_one();
    running.state.wait_until(|state| state.database == Database::Up).await;
    assert_eq!(cached(&site.subjects), None);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_lost_connection_everything_is_looked_up_again_whatever_its_version() {
    let server = Postgres::start();
    let settings = DatabaseSettings::parse(&server.database("lost")).unwrap();
    let site = Site::of(TempDir::new("lost"), &settings).await;
    let running = site.running().await;
    running.nudge.notify_one();
    let listening = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'lost' AND query LIKE 'LISTEN%'";
    wait_until("it listens", LONG, || server.sql("lost", listening) == "1");
    assert_eq!(site.look_up().await, "");
    server.sql(
        "lost",
        "BEGIN; ALTER TABLE versions DISABLE TRIGGER versions_notify; \
         INSERT INTO bans (domain, subject) VALUES ('pay', 'sue'); \
         UPDATE versions SET version = version - 1 WHERE kind = 'subjects'; COMMIT",
    );
    assert_eq!(cached(&site.subjects).as_deref(), Some(""));
    server.sql(
        "lost",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'lost' AND query LIKE 'LISTEN%'",
    );
    wait_until("she is looked up again", LONG, || cached(&site.subjects).is_none());
    running.end().await;
}

#[tokio::test]
async fn the_rule_file_is_served_where_the_last_good_rules_do_not_go_together() {
    let site = Site::new().await;
    let tenant = Tenant {
        name: "acme".to_owned(),
        ceilings: Ceilings { max_requests_per_second: Some(5), ..Ceilings::default() },
        created_us: 0,
        version: 1,
    };
    let saved = Saved { rules_version: 9, tenants: vec![tenant.clone(), tenant], ..Saved::default() };
    LastGood::new(site.last_good()).save(&saved).unwrap();
    let text = "version: 1\ndomains: [{ name: file, rules: [{ name: r, key: [], limit: 5, window: 1m }] }]";
    let mut composer = composer();
    composer.set_file(parse_rules_with(text, "f", &Defaults::default()).unwrap().rules);
    site.repository.close().await;
    let mut follower = site.follower(composer);
    let first = tokio::time::timeout(LONG, follower.first(NOW_US)).await.expect("it does not wait").unwrap();
    assert_eq!(follower.state().get().origin, Origin::File);
    let names: Vec<&str> = first.rules.domains().iter().map(|domain| domain.name()).collect();
    assert_eq!(names, ["file"]);
}

#[tokio::test]
async fn keys_of_the_database_stay_where_its_rules_cannot_be_used() {
    let site = Site::new().await;
    let [old, new] = [1_u8, 2].map(|_| NewKey::new(getrandom::fill).unwrap());
    site.repository.create_key(&Actor::server(), NOW_US, &api_key(&new)).await.unwrap();
    let saved = Saved { rules_version: 1, keys: vec![api_key(&old)], ..Saved::default() };
    LastGood::new(site.last_good()).save(&saved).unwrap();
    site.put_rule("bad", r#"{"name":"bad","limit":"many"}"#).await;
    let mut follower = site.follower(composer());
    follower.first(NOW_US).await.unwrap();
    assert_eq!(follower.state().get().origin, Origin::LastGood);
    let is_good = |key: &NewKey| site.keys.verify(key.shown.reveal(), NOW_US).is_ok();
    assert_eq!((is_good(&old), is_good(&new)), (false, true));
    let running = site.run(follower);
    running.nudge.notify_one();
    running.state.wait_until(|state| state.database == Database::Up).await;
    // They are read again when they change, not at every look.
    site.keys.replace([]);
    let (actor, tiers) = (Actor::server(), [("sue".to_owned(), Some("pro".to_owned()))]);
    let writing = site.repository.put_subjects(&actor, NOW_US, DEFAULT_TENANT, "pay", &tiers);
    let subjects = writing.await.unwrap();
    running.nudge.notify_one();
    running.state.wait_until(|state| state.applied.subjects == subjects).await;
    running.end().await;
    assert!(site.keys.is_empty());
}
