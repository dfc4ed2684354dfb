//! The catalog's database: SQLite for one machine, PostgreSQL for a fleet, one interface.
//!
//! - Nothing is asked of the network before the first call, no call lasts longer than its bound, and a call that
//!   meets a connection to a server that is gone says that another may succeed.
//! - Every change is one transaction with its entry in the audit log. It takes the next version while it holds the row of
//!   `versions`, so changes become visible in the order of their versions.
//! - Names are compared and ordered as bytes, by both databases.
//! - Operators may write tiers, overrides and bans with SQL of their own: triggers count the version and log the change.

mod audit;
mod bans;
mod changes;
mod dialect;
mod edit;
mod error;
mod history;
mod keys;
mod migrate;
mod overrides;
mod rules;
mod settings;
mod subjects;
mod tenants;
mod trail;
mod usage;

use std::fmt;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions, install_default_drivers};
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool, Connection, Executor, Transaction};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

pub use audit::{AuditEntry, Deed};
pub use bans::MAX_BANS;
pub use changes::{Changed, Listener, SubjectChanges};
pub use dialect::Dialect;
pub(crate) use edit::expect_version;
pub use edit::{DomainGuard, RuleEdit};
pub use error::{CatalogError, Result};
pub use history::HistoryEntry;
pub use migrate::Migrated;
pub use overrides::{MAX_DISTINCT_QUOTAS, MAX_OVERRIDES};
pub use rules::{DomainSummary, RulesDelta};
pub use settings::DatabaseSettings;
pub use subjects::MAX_SUBJECTS;
pub use usage::{Added, Dimension, Retention, UsageQuery};

use dialect::{Kind, int, text};
use settings::Place;

use crate::model::Versions;

/// The longest a call lasts; those that move many rows say otherwise.
const CALL: Duration = Duration::from_secs(5);
/// The longest a look at the versions lasts: a database that is silent should be noticed soon.
const LOOK: Duration = Duration::from_secs(2);
/// The longest a call of many rows lasts.
const LONG_CALL: Duration = Duration::from_secs(60);
/// How long to wait for a connection.
const ACQUIRE: Duration = Duration::from_secs(2);
/// How long a connection that nobody used is taken for a good one, and the longest it may take to prove it afterwards.
const FRESH: Duration = Duration::from_secs(1);
/// A node's connections for changes, and for what people and its own chores read.
const DESK: u32 = 4;
/// A node's connections for what its requests and its following live by.
const VITAL: u32 = 2;

/// The catalog's database.
#[derive(Clone)]
pub struct Repository {
    /// For changes and all that may be slow.
    desk: AnyPool,
    /// For versions, rules, keys and single subjects: nothing that is done at the desk takes these connections away.
    vital: AnyPool,
    dialect: Dialect,
    settings: Arc<DatabaseSettings>,
    /// So many changes of this process are under way at a time. The others wait here, in turn, and leave the desk's
    /// connections to readers.
    writer: Arc<Semaphore>,
    trouble: Trouble,
}

/// When the database was last found not to answer, or a call was given up: connections from before are not trusted.
#[derive(Clone, Default)]
struct Trouble(Arc<Mutex<Option<Instant>>>);

/// A transaction that changes something; rolled back where it is not committed.
struct Write {
    tx: Transaction<'static, Any>,
    _turn: Option<OwnedSemaphorePermit>,
}

impl Repository {
    /// The catalog in this database. A file that is missing is made, readable for its owner only; nothing is connected yet.
    ///
    /// # Errors
    ///
    /// Misconfigured where the file cannot be made.
    pub fn open(settings: &DatabaseSettings) -> Result<Self> {
        install_default_drivers();
        let (dialect, url) = match settings.place() {
            Place::Sqlite(path) => {
                let path = make_file(path)?;
                (Dialect::Sqlite, format!("sqlite:{}?mode=rw", escaped(&path)?))
            }
            Place::Postgres(url) => (Dialect::Postgres, url.clone()),
        };
        let options: AnyConnectOptions = url.parse()?;
        let trouble = Trouble::default();
        let pool = |connections| pool(dialect, &trouble, connections).connect_lazy_with(options.clone());
        let (desk, vital) = (pool(DESK), pool(VITAL));
        let writer = Arc::new(Semaphore::new(dialect.writers()));
        Ok(Self { desk, vital, dialect, settings: Arc::new(settings.clone()), writer, trouble })
    }

    /// The kind of database.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Whether it is a server that several nodes share, and that tells them of changes.
    #[must_use]
    pub fn is_postgres(&self) -> bool {
        self.dialect == Dialect::Postgres
    }

    /// Which database.
    #[must_use]
    pub fn settings(&self) -> &DatabaseSettings {
        &self.settings
    }

    /// How far everything has come.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn versions(&self) -> Result<Versions> {
        self.bounded(LOOK, async { versions(&mut *self.vital().await?).await }).await
    }

    /// What was kept under a name by [`set_meta`](Self::set_meta).
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn meta(&self, name: &str) -> Result<Option<String>> {
        self.bounded(CALL, async {
            let query = sqlx::query("SELECT value FROM meta WHERE name = $1").bind(name);
            let row = query.fetch_optional(&mut *self.desk().await?).await?;
            row.map(|row| text(&row, 0)).transpose()
        })
        .await
    }

    /// Keeps a text of the program under a name.
    ///
    /// # Errors
    ///
    /// See [`CatalogError`].
    pub async fn set_meta(&self, name: &str, value: &str) -> Result<()> {
        self.bounded(CALL, async {
            let mut write = self.write().await?;
            set_meta(write.conn(), name, value).await?;
            write.commit().await
        })
        .await
    }

    /// Closes all connections.
    pub async fn close(&self) {
        let both = async { tokio::join!(self.desk.close(), self.vital.close()) };
        let _ = tokio::time::timeout(ACQUIRE, both).await;
    }

    async fn bounded<T>(&self, within: Duration, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let late = |_| CatalogError::Unavailable(format!("no answer within {} seconds", within.as_secs()));
        let noted = async {
            let mut work = std::pin::pin!(work);
            // Dropped before the work is, which gives its connection back.
            let mut given_up = GivenUp(Some(&self.trouble));
            let result = work.as_mut().await;
            given_up.0 = None;
            result
        };
        let result = tokio::time::timeout(within, noted).await.map_err(late).and_then(|result| result);
        if matches!(result, Err(CatalogError::Unavailable(_))) {
            self.trouble.note();
        }
        result
    }

    /// A connection for reading what is not vital.
    async fn desk(&self) -> Result<PoolConnection<Any>> {
        Ok(self.desk.acquire().await?)
    }

    /// A connection for what requests wait for, and for what tells that the database answers.
    async fn vital(&self) -> Result<PoolConnection<Any>> {
        Ok(self.vital.acquire().await?)
    }

    async fn write(&self) -> Result<Write> {
        let turn = Arc::clone(&self.writer).acquire_owned().await.ok();
        Ok(Write { tx: self.desk.begin_with(self.dialect.begin_write()).await?, _turn: turn })
    }

    /// Everything read through it is of one moment.
    async fn snapshot(&self, pool: &AnyPool) -> Result<Transaction<'static, Any>> {
        Ok(pool.begin_with(self.dialect.begin_read()).await?)
    }
}

/// Connections of which none is trusted blindly after trouble.
fn pool(dialect: Dialect, trouble: &Trouble, connections: u32) -> AnyPoolOptions {
    let (before, after) = (trouble.clone(), trouble.clone());
    AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE)
        .after_connect(move |conn, _| {
            Box::pin(async move {
                if let Some(greeting) = dialect.greeting() {
                    conn.execute(sqlx::raw_sql(greeting)).await?;
                }
                Ok(())
            })
        })
        // One that has just worked is not asked first: a call is one round trip.
        .test_before_acquire(false)
        .before_acquire(move |conn, meta| {
            let good = meta.idle_for < FRESH && !before.is_since(meta.idle_for);
            Box::pin(async move {
                Ok(good || matches!(tokio::time::timeout(FRESH, conn.ping()).await, Ok(Ok(()))))
            })
        })
        // A call that was given up leaves its connection to the pool, which would wait for it as long as TCP does.
        .after_release(move |conn, _| {
            let good = !after.is_since(ACQUIRE);
            Box::pin(async move {
                if good {
                    return Ok(true);
                }
                let alive = tokio::time::timeout(ACQUIRE, conn.ping()).await;
                alive.map_err(|_| sqlx::Error::PoolTimedOut)?.map(|()| true)
            })
        })
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Repository({})", self.settings)
    }
}

/// Notes trouble where a call ends before its time: its connection may be in the middle of an answer.
struct GivenUp<'a>(Option<&'a Trouble>);

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        if let Some(trouble) = self.0 {
            trouble.note();
        }
    }
}

impl Trouble {
    fn note(&self) {
        *self.0.lock() = Some(Instant::now());
    }

    /// Whether there was any in this time.
    fn is_since(&self, idle: Duration) -> bool {
        self.0.lock().is_some_and(|last| last.elapsed() <= idle)
    }
}

impl Write {
    fn conn(&mut self) -> &mut AnyConnection {
        &mut self.tx
    }

    async fn commit(self) -> Result<()> {
        Ok(self.tx.commit().await?)
    }
}

async fn versions(conn: &mut AnyConnection) -> Result<Versions> {
    let mut versions = Versions::default();
    for row in sqlx::query("SELECT kind, version FROM versions").fetch_all(conn).await? {
        let version = int(&row, 1)?;
        match text(&row, 0)?.as_str() {
            kind if kind == Kind::Rules.name() => versions.rules = version,
            kind if kind == Kind::Subjects.name() => versions.subjects = version,
            kind if kind == Kind::Keys.name() => versions.keys = version,
            // Of a newer version.
            _ => {}
        }
    }
    Ok(versions)
}

async fn set_meta(conn: &mut AnyConnection, name: &str, value: &str) -> Result<()> {
    let upsert = "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    sqlx::query(upsert).bind(name).bind(value).execute(conn).await?;
    Ok(())
}

/// A file that only its owner reads: it holds who is who, and hashes of keys. Gives its whole path.
fn make_file(path: &Path) -> Result<PathBuf> {
    let made = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    made.and_then(|_| path.canonicalize()).map_err(|error| {
        let advice = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
                format!("; make the folder {} first", folder.display())
            }
            _ => String::new(),
        };
        CatalogError::Misconfigured(format!("{}: {error}{advice}", path.display()))
    })
}

/// A path for a URL.
fn escaped(path: &Path) -> Result<String> {
    let path = path.to_str();
    let path =
        path.ok_or_else(|| CatalogError::Misconfigured("the path of a database is UTF-8".to_owned()))?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-~".contains(&byte);
    let escape = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    Ok(path.bytes().map(escape).collect())
}
