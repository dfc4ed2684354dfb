//! The cache against a source that answers when told, under a paused clock.

use std::collections::HashMap;

use tidegate_testkit::Stopwatch;
use tokio::sync::Semaphore;

use super::*;
use crate::model::{Ban, Override, OverrideQuota};

const NOW: i64 = 1_700_000_000_000_000;
const SECOND: i64 = 1_000_000;
const NEVER_ANSWERED: &str = "never answered";

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
async fn what_was_known_is_stale_while_the_source_fails() {
    let (cache, source) = cache(9, |_| ());
    source.set_tier("ann", "pro");
    source.set_tier("bob", "pro");
    looked_up(&cache, "ann", NOW).await.expect("found");
    looked_up(&cache, "bob", NOW).await.expect("found");
    source.is(Down::Fails);
    cache.changed(&[key("bob")]);
    let later = NOW + 120 * SECOND;
    assert_eq!(looked_up(&cache, "ann", later).await, Err(pro()));
    assert_eq!(looked_up(&cache, "bob", later).await, Err(pro()), "changed, but nothing newer is known");
    assert_eq!(looked_up(&cache, "eve", later).await, Err(None));
    cache.changed_all();
    assert_eq!(looked_up(&cache, "ann", later).await, Err(pro()));
    assert_eq!(cache.stats().failures, 4);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_failed_is_left_alone_and_then_tried_by_one() {
    let (cache, source) = cache(9, |_| ());
    source.is(Down::Fails);
    assert_eq!(looked_up(&cache, "ann", NOW).await, Err(None));
    for name in ["bob", "eve", "ann"] {
        assert_eq!(looked_up(&cache, name, NOW + 249_999).await, Err(None));
    }
    assert_eq!(source.asked(), 1, "left alone");
    assert_eq!(looked_up(&cache, "bob", NOW + 250_000).await, Err(None));
    assert_eq!(looked_up(&cache, "eve", NOW + 250_001).await, Err(None));
    assert_eq!(source.asked(), 2, "tried by one");
    source.is(Down::No);
    assert_eq!(looked_up(&cache, "ann", NOW + 500_000).await, Ok(None));
    assert_eq!(looked_up(&cache, "eve", NOW + 500_000).await, Ok(None), "up again");
}

#[tokio::test(start_paused = true)]
async fn while_one_tries_again_the_others_do_not_wait() {
    let (cache, source) = cache(0, |_| ());
    source.is(Down::Fails);
    assert_eq!(looked_up(&cache, "ann", NOW).await, Err(None));
    source.is(Down::No);
    let trying = on_its_way(&cache, "bob", NOW + 250_000).await;
    let begun = tokio::time::Instant::now();
    assert_eq!(looked_up(&cache, "eve", NOW + 250_001).await, Err(None));
    assert_eq!(looked_up(&cache, "bob", NOW + 250_001).await, Err(None));
    assert_eq!((begun.elapsed(), source.asked()), (Duration::ZERO, 2));
    source.may_answer(2);
    assert_eq!(trying.await.expect("no panic"), Ok(None));
    assert_eq!(looked_up(&cache, "eve", NOW + 250_002).await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn a_clock_set_back_does_not_keep_the_source_alone() {
    let (cache, source) = cache(9, |_| ());
    source.is(Down::Fails);
    assert_eq!(looked_up(&cache, "ann", NOW).await, Err(None));
    source.is(Down::No);
    assert_eq!(looked_up(&cache, "ann", NOW - 3_600 * SECOND).await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_slow_costs_one_deadline_and_its_answer_is_kept() {
    let (cache, source) = cache(0, |_| ());
    source.set_tier("ann", "pro");
    let begun = tokio::time::Instant::now();
    assert_eq!(looked_up(&cache, "ann", NOW).await, Err(None));
    assert_eq!(begun.elapsed().as_millis(), 100);
    for name in ["ann", "bob"] {
        assert_eq!(looked_up(&cache, name, NOW + 100_000).await, Err(None), "{name}");
    }
    assert_eq!(begun.elapsed().as_millis(), 100, "no second deadline");
    source.may_answer(1);
    while cached_tier(&cache, "ann", NOW).is_none() {
        tokio::task::yield_now().await;
    }
    source.may_answer(1);
    assert_eq!(looked_up(&cache, "bob", NOW + 100_000).await, Ok(None), "up again");
}

#[tokio::test(start_paused = true)]
async fn one_slow_answer_among_good_ones_is_no_outage() {
    let (cache, source) = cache(0, |_| ());
    let slow = on_its_way(&cache, NEVER_ANSWERED, NOW).await;
    source.may_answer(2);
    assert_eq!(looked_up(&cache, "ann", NOW).await, Ok(None));
    assert_eq!(slow.await.expect("no panic"), Err(None));
    assert_eq!(looked_up(&cache, "bob", NOW + 100_000).await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn only_so_many_subjects_are_asked_for_at_a_time() {
    let (cache, source) = cache(0, |options| options.max_flights = 2);
    let tasks = [on_its_way(&cache, "ann", NOW).await, on_its_way(&cache, "bob", NOW).await];
    assert_eq!(looked_up(&cache, "eve", NOW).await, Err(None));
    // Flights that a change has overtaken count, too.
    cache.changed_all();
    assert_eq!(looked_up(&cache, "eve", NOW).await, Err(None));
    assert_eq!(source.asked(), 2);
    source.may_answer(3);
    for task in tasks {
        assert_eq!(task.await.expect("no panic"), Ok(None));
    }
    assert_eq!(looked_up(&cache, "eve", NOW).await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn flights_end_when_the_source_never_answers_or_panics() {
    let (cache, source) = cache(0, |options| options.max_flights = 1);
    assert_eq!(looked_up(&cache, "ann", NOW).await, Err(None));
    tokio::time::sleep(MAX_FLIGHT).await;
    source.is(Down::Panics);
    assert_eq!(looked_up(&cache, "ann", NOW + 9 * SECOND).await, Err(None));
    source.is(Down::No);
    source.may_answer(1);
    assert_eq!(looked_up(&cache, "ann", NOW + 18 * SECOND).await, Ok(None));
    assert_eq!(source.asked(), 3);
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

#[test]
fn entries_are_bounded_and_heavy_ones_count_more() {
    let (cache, _) = cache(0, |options| options.entries = 1_000);
    let plain = |number: u32| (key(&number.to_string()), Subject { tier: pro(), ..Subject::default() });
    cache.preload((0..20_000).map(plain), cache.mark(), NOW);
    let entries = cache.stats().entries;
    assert!((900..=1_100).contains(&entries), "{entries}");
    let banned = |number: u32| {
        let ban =
            Ban { reason: "x".repeat(1_000), until_us: None, by: String::new(), since_us: i64::from(number) };
        (key(&number.to_string()), Subject { ban: Some(ban), ..Subject::default() })
    };
    cache.preload((0..20_000).map(banned), cache.mark(), NOW);
    let entries = cache.stats().entries;
    assert!((10..=100).contains(&entries), "{entries}");
}

#[test]
fn subjects_fit_the_stated_memory() {
    const COUNT: u32 = 100_000;
    let (cache, _) = cache(0, |options| options.entries = COUNT as usize);
    let row = |number: u32| (key(&number.to_string()), Subject { tier: pro(), ..Subject::default() });
    // Three times as many: those that were evicted leave traces, which take memory, too.
    cache.preload((0..3 * COUNT).map(row), cache.mark(), NOW);
    let each = cache.0.kept.memory_used().total() as f64 / f64::from(COUNT);
    println!("{each:.0} bytes an entry");
    assert!(each < 128.0, "{each} bytes an entry");
}

/// Prints what a hit costs; in a release build, that is the figure of the module's documentation.
#[test]
fn a_hit_is_quick() {
    const ROUNDS: u32 = 200_000;
    let (cache, _) = cache(0, |_| ());
    let names: Vec<String> = (0..1_000).map(|number| format!("user-{number}@example.com")).collect();
    let row = |name: &String| (key(name), Subject { tier: pro(), ..Subject::default() });
    cache.preload(names.iter().map(row), cache.mark(), NOW);
    let watch = Stopwatch::start();
    let mut hits = 0;
    for name in names.iter().cycle().take(ROUNDS as usize) {
        if let Cached::Hit(known) = cache.cached("acme", "pay", name, NOW) {
            hits += u32::from(known.tier() == Some("pro"));
        }
    }
    println!("{} ns a hit", watch.elapsed().as_nanos() / u128::from(ROUNDS));
    assert_eq!(hits, ROUNDS);
}
