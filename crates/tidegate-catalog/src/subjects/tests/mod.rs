//! The cache against a source that answers when told, under a paused clock.

mod newer;
mod outage;
mod size;

use std::collections::HashMap;

use tokio::sync::Semaphore;

use super::*;
use crate::model::{Ban, Override, OverrideQuota};

const NOW: i64 = 1_700_000_000_000_000;
const SECOND: i64 = 1_000_000;
const NEVER_ANSWERED: &str = "never answered";
const DAMAGED: &str = "damaged";

/// What it answers, and how many may be answered.
#[derive(Debug)]
struct Source {
    subjects: Mutex<HashMap<SubjectKey, Subject>>,
    answers: Semaphore,
    asked: AtomicU64,
    down: Mutex<Down>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Down {
    No,
    Fails,
    Panics,
}

impl SubjectSource for Arc<Source> {
    /// Reads at once and answers when it may, as a database far away does.
    async fn subject(&self, key: &SubjectKey) -> Result<Subject, SourceError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let found = self.subjects.lock().get(key).cloned().unwrap_or_default();
        let down = *self.down.lock();
        assert!(down != Down::Panics, "told to");
        if down == Down::Fails {
            return Err(SourceError("down".into()));
        }
        if key.subject == DAMAGED {
            return Err(SourceError(Box::new(CatalogError::Corrupt("told so".to_owned()))));
        }
        if key.subject == NEVER_ANSWERED {
            std::future::pending::<()>().await;
        }
        self.answers.acquire().await.expect("never closed").forget();
        Ok(found)
    }
}

impl Source {
    fn set_tier(&self, name: &str, tier: &str) {
        let subject = Subject { tier: Some(tier.to_owned()), ..Subject::default() };
        self.subjects.lock().insert(key(name), subject);
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    fn may_answer(&self, count: usize) {
        self.answers.add_permits(count);
    }

    fn is(&self, down: Down) {
        *self.down.lock() = down;
    }
}

type TestCache = SubjectCache<Arc<Source>>;

/// A cache whose source may answer `answers` times.
fn cache(answers: usize, change: impl FnOnce(&mut SubjectOptions)) -> (TestCache, Arc<Source>) {
    let source = Arc::new(Source {
        subjects: Mutex::default(),
        answers: Semaphore::new(answers),
        asked: AtomicU64::new(0),
        down: Mutex::new(Down::No),
    });
    let mut options = SubjectOptions { entries: 10_000, ..SubjectOptions::new([1, 2]) };
    change(&mut options);
    (SubjectCache::new(Arc::clone(&source), &options), source)
}

fn key(subject: &str) -> SubjectKey {
    SubjectKey { tenant: "acme".to_owned(), domain: "pay".to_owned(), subject: subject.to_owned() }
}

fn cached_tier(cache: &TestCache, subject: &str, now_us: i64) -> Option<Option<String>> {
    match cache.cached("acme", "pay", subject, now_us) {
        Cached::Hit(known) => Some(known.tier().map(str::to_owned)),
        Cached::Miss => None,
    }
}

fn tier_of(looked: &Looked<'_>) -> Result<Option<String>, Option<String>> {
    match looked {
        Looked::Found(known) => Ok(known.tier().map(str::to_owned)),
        Looked::Failed { stale } => Err(stale.as_ref().and_then(|known| known.tier()).map(str::to_owned)),
    }
}

async fn looked_up(cache: &TestCache, subject: &str, now_us: i64) -> Result<Option<String>, Option<String>> {
    tier_of(&cache.lookup(&key(subject), now_us).await)
}

/// A lookup on its way, in a task of its own.
async fn on_its_way(
    cache: &TestCache,
    subject: &str,
    now_us: i64,
) -> tokio::task::JoinHandle<Result<Option<String>, Option<String>>> {
    let (cache, subject) = (cache.clone(), subject.to_owned());
    let asked = cache.0.source.asked();
    let task = tokio::spawn({
        let cache = cache.clone();
        async move { looked_up(&cache, &subject, now_us).await }
    });
    for _ in 0..1_000 {
        if cache.0.source.asked() > asked {
            return task;
        }
        tokio::task::yield_now().await;
    }
    panic!("the source was not asked");
}

fn free() -> Option<String> {
    Some("free".to_owned())
}

fn pro() -> Option<String> {
    Some("pro".to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_tier_is_asked_for_once_and_then_known() {
    let (cache, source) = cache(9, |_| ());
    source.set_tier("ann", "pro");
    assert_eq!(cached_tier(&cache, "ann", NOW), None);
    assert_eq!(looked_up(&cache, "ann", NOW).await, Ok(pro()));
    assert_eq!(cached_tier(&cache, "ann", NOW), Some(pro()));
    assert_eq!(looked_up(&cache, "ann", NOW).await, Ok(pro()));
    assert_eq!(source.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn that_nothing_is_known_is_known_too() {
    let (cache, source) = cache(9, |_| ());
    assert_eq!(looked_up(&cache, "nobody", NOW).await, Ok(None));
    assert_eq!(cached_tier(&cache, "nobody", NOW), Some(None));
    assert_eq!(cached_tier(&cache, "somebody", NOW), None);
    assert_eq!(source.asked(), 1);
    let expected = SubjectStats { hits: 1, negative_hits: 1, misses: 1, failures: 0, flights: 1, entries: 1 };
    assert_eq!(cache.stats(), expected);
}

#[tokio::test(start_paused = true)]
async fn tenants_and_domains_have_their_own_subjects() {
    let (cache, source) = cache(9, |_| ());
    source.set_tier("ann", "pro");
    looked_up(&cache, "ann", NOW).await.expect("found");
    for (tenant, domain, subject) in
        [("acme", "paya", "nn"), ("acmep", "ay", "ann"), ("", "acmepay", "ann"), ("acme", "pay", "an")]
    {
        assert!(matches!(cache.cached(tenant, domain, subject, NOW), Cached::Miss), "{tenant} {domain}");
    }
}

#[tokio::test(start_paused = true)]
async fn many_who_miss_one_subject_ask_once() {
    let (cache, source) = cache(0, |_| ());
    source.set_tier("ann", "pro");
    let mut tasks = vec![on_its_way(&cache, "ann", NOW).await];
    for _ in 0..100 {
        let cache = cache.clone();
        tasks.push(tokio::spawn(async move { looked_up(&cache, "ann", NOW).await }));
    }
    tokio::task::yield_now().await;
    source.may_answer(1);
    for task in tasks {
        assert_eq!(task.await.expect("no panic"), Ok(pro()));
    }
    assert_eq!(source.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_leaves_takes_nothing_from_the_others() {
    let (cache, source) = cache(0, |_| ());
    source.set_tier("ann", "pro");
    let first = on_its_way(&cache, "ann", NOW).await;
    let second = tokio::spawn({
        let cache = cache.clone();
        async move { looked_up(&cache, "ann", NOW).await }
    });
    tokio::task::yield_now().await;
    first.abort();
    assert!(first.await.expect_err("aborted").is_cancelled());
    source.may_answer(1);
    assert_eq!(second.await.expect("no panic"), Ok(pro()));
    assert_eq!(source.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_from_before_a_change_is_not_kept() {
    for all in [false, true] {
        let (cache, source) = cache(0, |_| ());
        source.set_tier("ann", "free");
        let before = on_its_way(&cache, "ann", NOW).await;
        source.set_tier("ann", "pro");
        if all {
            cache.changed_all();
        } else {
            cache.changed(&[key("ann")]);
        }
        source.may_answer(1);
        assert_eq!(before.await.expect("no panic"), Ok(free()), "asked before the change");
        assert_eq!(cached_tier(&cache, "ann", NOW), None);
        source.may_answer(1);
        assert_eq!(looked_up(&cache, "ann", NOW).await, Ok(pro()));
        assert_eq!(cached_tier(&cache, "ann", NOW), Some(pro()));
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_answer_does_not_take_the_place_of_a_new_flight() {
    let (cache, source) = cache(0, |_| ());
    source.set_tier("ann", "free");
    let old = on_its_way(&cache, "ann", NOW).await;
    source.set_tier("ann", "pro");
    cache.changed(&[key("ann")]);
    let new = on_its_way(&cache, "ann", NOW).await;
    source.may_answer(1);
    assert_eq!(old.await.expect("no panic"), Ok(free()));
    assert_eq!(cached_tier(&cache, "ann", NOW), None);
    source.may_answer(1);
    assert_eq!(new.await.expect("no panic"), Ok(pro()));
    assert_eq!(cached_tier(&cache, "ann", NOW), Some(pro()));
}

#[tokio::test(start_paused = true)]
async fn a_tier_that_changes_is_seen() {
    let (cache, source) = cache(9, |_| ());
    source.set_tier("ann", "free");
    source.set_tier("bob", "free");
    looked_up(&cache, "ann", NOW).await.expect("found");
    looked_up(&cache, "bob", NOW).await.expect("found");
    source.set_tier("ann", "pro");
    cache.changed(&[key("ann"), key("somebody else")]);
    assert_eq!(cached_tier(&cache, "ann", NOW), None);
    assert_eq!(cached_tier(&cache, "bob", NOW), Some(free()));
    assert_eq!(looked_up(&cache, "ann", NOW).await, Ok(pro()));
    cache.changed_all();
    assert_eq!(cached_tier(&cache, "bob", NOW), None);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_used_for_longer_than_its_age() {
    let (cache, source) = cache(9, |options| options.max_age = Duration::from_secs(60));
    source.set_tier("ann", "pro");
    looked_up(&cache, "ann", NOW).await.expect("found");
    assert_eq!(cached_tier(&cache, "ann", NOW + 60 * SECOND - 1), Some(pro()));
    assert_eq!(cached_tier(&cache, "ann", NOW + 60 * SECOND), None);
    assert_eq!(cached_tier(&cache, "ann", NOW - 60 * SECOND), None, "a clock that was set back");
}

#[tokio::test(start_paused = true)]
async fn a_subject_that_is_too_long_is_not_asked_for() {
    let (cache, source) = cache(2, |_| ());
    assert_eq!(looked_up(&cache, &"x".repeat(MAX_SUBJECT_BYTES), NOW).await, Ok(None));
    assert_eq!(looked_up(&cache, &"x".repeat(MAX_SUBJECT_BYTES + 1), NOW).await, Ok(None));
    assert_eq!(source.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn bans_and_overrides_end_by_themselves() {
    let (cache, source) = cache(9, |_| ());
    let over = |rule: &str, limit, until_us| Override {
        rule: rule.to_owned(),
        quota: OverrideQuota { limit, window_us: None, burst: Some(7) },
        reason: String::new(),
        until_us,
    };
    let ban = Ban { reason: "abuse".to_owned(), until_us: Some(NOW + 10), by: "ops".to_owned(), since_us: 0 };
    let overrides = vec![over("a", 1, Some(NOW + 5)), over("b", 2, None), over("c", 3, Some(NOW + 20))];
    let subject = Subject { tier: pro(), ban: Some(ban.clone()), overrides };
    source.subjects.lock().insert(key("ann"), subject);
    let Looked::Found(known) = cache.lookup(&key("ann"), NOW).await else { panic!("not found") };
    assert_eq!((known.tier(), known.ban()), (Some("pro"), Some(&ban)));
    let rules_at = |now_us| match cache.cached("acme", "pay", "ann", now_us) {
        Cached::Hit(known) => {
            let rules = known.overrides().iter().map(|one| format!("{}{}", one.rule, one.tier));
            (known.ban().is_some(), rules.collect::<Vec<_>>())
        }
        Cached::Miss => panic!("a miss"),
    };
    assert_eq!(rules_at(NOW + 4), (true, vec!["b=2//7".into(), "c=3//7".into(), "a=1//7".into()]));
    assert_eq!(rules_at(NOW + 5), (true, vec!["b=2//7".into(), "c=3//7".into()]));
    assert_eq!(rules_at(NOW + 10), (false, vec!["b=2//7".into(), "c=3//7".into()]));
    assert_eq!(rules_at(NOW + 20), (false, vec!["b=2//7".into()]));
}

#[tokio::test(start_paused = true)]
async fn tiers_beyond_the_table_are_known_too() {
    let (cache, source) = cache(2_000, |_| ());
    for number in 0..MAX_TIERS + 2 {
        source.set_tier(&number.to_string(), &format!("tier-{number}"));
        looked_up(&cache, &number.to_string(), NOW).await.expect("found");
    }
    for number in [0, 1, MAX_TIERS - 1, MAX_TIERS, MAX_TIERS + 1] {
        assert_eq!(cached_tier(&cache, &number.to_string(), NOW), Some(Some(format!("tier-{number}"))));
    }
}

#[test]
fn a_preload_fills_and_never_undoes_a_change() {
    let (cache, _) = cache(0, |_| ());
    let row = |name: &str, tier: Option<String>| (key(name), Subject { tier, ..Subject::default() });
    let mark = cache.mark();
    assert_eq!(cache.preload([row("ann", pro()), row("bob", None)], mark, NOW), Preloaded::Done);
    assert_eq!(cached_tier(&cache, "ann", NOW), Some(pro()));
    assert_eq!(cached_tier(&cache, "bob", NOW), Some(None));
    for change in [|cache: &TestCache| cache.changed(&[key("ann")]), TestCache::changed_all] {
        let mark = cache.mark();
        change(&cache);
        assert_eq!(cache.preload([row("ann", free())], mark, NOW), Preloaded::Outdated);
        assert_eq!(cached_tier(&cache, "ann", NOW), None);
    }
}
