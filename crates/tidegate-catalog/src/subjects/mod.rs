//! Whose tier is what: a bounded cache in front of where subjects are kept.
//!
//! A request asks [`SubjectCache::cached`], which waits for nothing. On a miss it asks [`SubjectCache::lookup`]:
//! however many ask for one subject at a time, the source is asked once. What the source does not know is kept too, or
//! every unknown visitor would cost a query.
//!
//! Three things bound how old an answer may be. [`SubjectCache::changed`] drops what is known of some subjects, at
//! once. An answer that was on its way when its subject changed is given to those who waited for it, never kept.
//! And nothing is used after `max_age`, even where no change was heard of; except as *stale*, marked so, while the
//! source fails.
//!
//! An answer may be newer than the rules in force: an override in it then names a quota that they do not know. It waits for
//! them, within the caller's deadline, and rather than it what was known before is used, as stale.
//!
//! A source that fails or does not answer in time is left alone for a moment: misses fail at once, and one of them
//! at a time tries again, so a dead database does not cost every request the deadline.
//!
//! No subject's text is kept: 128 bits of a keyed hash stand for it, so an entry is small and nobody outside can choose
//! subjects that meet. An entry takes about 100 bytes, all told (`subjects_fit_the_stated_memory`), a hit about 50 ns
//! (`a_hit_is_quick`).

mod flight;
mod kept;
mod quotas;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use quick_cache::sync::{Cache, DefaultLifecycle};
use tokio::sync::Notify;

use crate::model::{MAX_SUBJECT_BYTES, OverrideQuotas, Subject, SubjectKey};
use crate::repository::CatalogError;
use flight::{Boarded, Flights, Landed, Stage, fly};
use kept::{AsHash, Fingerprint, Hasher, Kept, Tiers, Weight};
pub use kept::{Known, MAX_TIERS};
use quotas::Quotas;

/// The most entries of a cache.
pub const MAX_ENTRIES: usize = 100_000_000;
/// After this a lookup is given up; callers are long gone.
pub const MAX_FLIGHT: Duration = Duration::from_secs(5);

/// Where subjects are kept.
pub trait SubjectSource: Send + Sync + 'static {
    /// What is known of a subject; [`Subject::default`] where nothing is.
    ///
    /// # Errors
    /// [`SourceError`] where the source does not answer, of whatever reason.
    fn subject(&self, key: &SubjectKey) -> impl Future<Output = Result<Subject, SourceError>> + Send;
}

/// A source did not answer.
#[derive(Debug, thiserror::Error)]
#[error("a subject could not be looked up; the last known tiers, or the default ones, are used")]
pub struct SourceError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

impl SourceError {
    /// Whether the source did answer, with what cannot be: nothing is wrong with other subjects then.
    fn is_damage(&self) -> bool {
        matches!(self.0.downcast_ref(), Some(CatalogError::Corrupt(_)))
    }
}

/// How a cache behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubjectOptions {
    /// The secret under which subjects are hashed.
    pub seed: [u64; 2],
    /// How many entries are kept, 1 to [`MAX_ENTRIES`]. One with a ban or overrides counts for several.
    pub entries: usize,
    /// How old an answer may be.
    pub max_age: Duration,
    /// How long a caller waits for the source.
    pub deadline: Duration,
    /// How long a source that failed is left alone.
    pub retry_after: Duration,
    /// How many subjects are looked up at a time.
    pub max_flights: usize,
}

impl SubjectOptions {
    /// A million entries, at most a minute old; 100 ms for the source, which is left alone for 250 ms after a failure.
    #[must_use]
    pub const fn new(seed: [u64; 2]) -> Self {
        Self {
            seed,
            entries: 1_000_000,
            max_age: Duration::from_secs(60),
            deadline: Duration::from_millis(100),
            retry_after: Duration::from_millis(250),
            max_flights: 64,
        }
    }
}

/// What the cache itself can say.
#[derive(Clone, Debug)]
pub enum Cached<'a> {
    /// It knows.
    Hit(Known<'a>),
    /// It does not; [`SubjectCache::lookup`] may.
    Miss,
}

/// What came of a lookup.
#[derive(Clone, Debug)]
pub enum Looked<'a> {
    /// The source has answered.
    Found(Known<'a>),
    /// It has not, or not in time.
    Failed {
        /// What was known once, older than it should be.
        stale: Option<Known<'a>>,
    },
}

/// How many changes a cache had heard of; see [`SubjectCache::preload`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(u64);

/// What came of a preload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preloaded {
    /// All rows are in.
    Done,
    /// Something has changed since they were read, so those that were not in yet were left out: read them again.
    Outdated,
}

/// Counters since the start, and a level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubjectStats {
    /// Answers of [`SubjectCache::cached`], those that nothing is known included.
    pub hits: u64,
    /// Answers that nothing is known.
    pub negative_hits: u64,
    /// Questions that it could not answer.
    pub misses: u64,
    /// Lookups without an answer.
    pub failures: u64,
    /// Questions to the source.
    pub flights: u64,
    /// Subjects that are kept now.
    pub entries: u64,
}

/// The cache. Clones share it.
#[derive(Debug)]
pub struct SubjectCache<S>(Arc<Shared<S>>);

#[derive(Debug)]
struct Shared<S> {
    source: S,
    options: SubjectOptions,
    hasher: Hasher,
    max_age_us: u64,
    kept: Cache<Fingerprint, Kept, Weight, AsHash>,
    tiers: Tiers,
    quotas: Quotas,
    /// Entries of an earlier epoch are outdated. Changed with `flights` locked only.
    epoch: AtomicU32,
    /// What comes from the source is kept with this locked only, so that it never comes after a change.
    flights: Mutex<Flights>,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    hits: AtomicU64,
    negative_hits: AtomicU64,
    misses: AtomicU64,
    failures: AtomicU64,
    flights: AtomicU64,
}

// === impl SubjectCache ===

impl<S> Clone for SubjectCache<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: SubjectSource> SubjectCache<S> {
    /// An empty cache in front of `source`.
    #[must_use]
    pub fn new(source: S, options: &SubjectOptions) -> Self {
        let entries = options.entries.clamp(1, MAX_ENTRIES);
        let weight = u64::try_from(entries).unwrap_or(u64::MAX);
        Self(Arc::new(Shared {
            source,
            options: *options,
            hasher: Hasher::new(options.seed),
            max_age_us: micros(options.max_age),
            kept: Cache::with(entries, weight, Weight, AsHash, DefaultLifecycle::default()),
            tiers: Tiers::default(),
            quotas: Quotas::default(),
            epoch: AtomicU32::new(0),
            flights: Mutex::default(),
            counters: Counters::default(),
        }))
    }

    /// What is known of a subject now, without waiting.
    #[must_use]
    pub fn cached(&self, tenant: &str, domain: &str, subject: &str, now_us: i64) -> Cached<'_> {
        let shared = &*self.0;
        let Some(kept) = shared.fresh(shared.hasher.fingerprint(tenant, domain, subject), now_us) else {
            count(&shared.counters.misses);
            return Cached::Miss;
        };
        count(&shared.counters.hits);
        if kept.is_nothing() {
            count(&shared.counters.negative_hits);
        }
        Cached::Hit(shared.known(kept, now_us))
    }

    /// What the source knows of a subject, within the deadline. A caller may be dropped at any time: the answer is
    /// kept all the same, and others who wait for it get it. Runs on a Tokio runtime.
    pub async fn lookup(&self, key: &SubjectKey, now_us: i64) -> Looked<'_> {
        let shared = &*self.0;
        if key.subject.len() > MAX_SUBJECT_BYTES {
            return Looked::Found(shared.known(Kept::nothing(), now_us));
        }
        let fingerprint = shared.hasher.fingerprint(&key.tenant, &key.domain, &key.subject);
        let (mut landing, successes) = match flight::board(&self.0, fingerprint, now_us) {
            Boarded::Kept(kept) => return Looked::Found(shared.known(kept, now_us)),
            Boarded::Refused => return shared.failed(fingerprint, now_us),
            Boarded::Joined(landing, successes) => (landing, successes),
            Boarded::TookOff(ticket, landing) => {
                let successes = ticket.successes();
                tokio::spawn(fly(ticket, key.clone()));
                (landing, successes)
            }
        };
        let deadline = shared.options.deadline;
        let landed = tokio::time::timeout(deadline, landing.wait_for(Stage::is_last)).await;
        let stage = landed.map(|landed| landed.map_or(Stage::Landed(Landed::Failed), |stage| stage.clone()));
        match stage.unwrap_or_else(|_| landing.borrow().clone()) {
            Stage::Landed(Landed::Known(kept)) => Looked::Found(shared.known(kept, now_us)),
            Stage::Landed(Landed::Failed) | Stage::Answered => shared.failed(fingerprint, now_us),
            Stage::Asked => {
                let error = SourceError("no answer within the deadline".into());
                let then_us = after(now_us, deadline);
                shared.flights.lock().has_failed(&error, successes, then_us, &shared.options);
                shared.failed(fingerprint, now_us)
            }
        }
    }

    /// These subjects have changed: what is known of them, or on its way, is used no more.
    pub fn changed(&self, keys: &[SubjectKey]) {
        let shared = &*self.0;
        let mut flights = shared.flights.lock();
        flights.count_change();
        for key in keys {
            let fingerprint = shared.hasher.fingerprint(&key.tenant, &key.domain, &key.subject);
            flights.forget(fingerprint);
            if let Some(kept) = shared.kept.peek(&fingerprint) {
                // Evicted meanwhile: as good.
                let _ = shared.kept.replace(fingerprint, kept.outdated(), true);
            }
        }
    }

    /// Any subject may have changed, as when changes could not be followed for a while.
    pub fn changed_all(&self) {
        let mut flights = self.0.flights.lock();
        flights.count_change();
        flights.forget_all();
        self.0.epoch.fetch_add(1, Ordering::Release);
    }

    /// The quotas of overrides that the rules in force have, or cannot have; and those of the rules before. What names another
    /// one waits until it is known.
    pub fn know_quotas(&self, quotas: [Arc<OverrideQuotas>; 2]) {
        self.0.quotas.know(quotas);
    }

    /// Told when a subject is newer than the rules in force.
    #[must_use]
    pub fn newer_rules_wanted(&self) -> Arc<Notify> {
        self.0.quotas.wanted()
    }

    /// What to hand to [`SubjectCache::preload`]; taken before the rows are read.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(self.0.flights.lock().changes())
    }

    /// Takes in rows that were read after `mark`, at `now_us`. A page of a thousand or so at a time, since a change in
    /// between makes the rest of a page useless.
    pub fn preload(
        &self,
        rows: impl IntoIterator<Item = (SubjectKey, Subject)>,
        mark: Mark,
        now_us: i64,
    ) -> Preloaded {
        let shared = &*self.0;
        for (key, subject) in rows {
            let fingerprint = shared.hasher.fingerprint(&key.tenant, &key.domain, &key.subject);
            let kept = Kept::new(subject, &shared.tiers, now_us);
            let flights = shared.flights.lock();
            if flights.changes() != mark.0 {
                return Preloaded::Outdated;
            }
            shared.keep(fingerprint, kept);
        }
        Preloaded::Done
    }

    /// Counters, and how many are kept.
    #[must_use]
    pub fn stats(&self) -> SubjectStats {
        let counters = &self.0.counters;
        SubjectStats {
            hits: counters.hits.load(Ordering::Relaxed),
            negative_hits: counters.negative_hits.load(Ordering::Relaxed),
            misses: counters.misses.load(Ordering::Relaxed),
            failures: counters.failures.load(Ordering::Relaxed),
            flights: counters.flights.load(Ordering::Relaxed),
            entries: u64::try_from(self.0.kept.len()).unwrap_or(u64::MAX),
        }
    }
}

// === impl Shared ===

impl<S> Shared<S> {
    fn fresh(&self, fingerprint: Fingerprint, now_us: i64) -> Option<Kept> {
        let epoch = self.epoch.load(Ordering::Acquire);
        self.kept.get(&fingerprint).filter(|kept| kept.is_fresh(epoch, now_us, self.max_age_us))
    }

    fn known(&self, kept: Kept, now_us: i64) -> Known<'_> {
        Known::new(kept, &self.tiers, now_us)
    }

    fn failed(&self, fingerprint: Fingerprint, now_us: i64) -> Looked<'_> {
        count(&self.counters.failures);
        Looked::Failed { stale: self.kept.get(&fingerprint).map(|kept| self.known(kept, now_us)) }
    }

    /// With `flights` locked only.
    fn keep(&self, fingerprint: Fingerprint, kept: Kept) {
        self.kept.insert(fingerprint, kept.in_epoch(self.epoch.load(Ordering::Acquire)));
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn after(now_us: i64, duration: Duration) -> i64 {
    now_us.saturating_add_unsigned(micros(duration))
}
