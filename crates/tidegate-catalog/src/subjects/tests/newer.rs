//! A subject that is newer than the rules in force.

use super::*;
use crate::model::RulePlace;

fn override_of(limit: u64, until_us: Option<i64>) -> Override {
    let quota = OverrideQuota { limit, window_us: None, burst: None };
    Override { rule: "each".to_owned(), quota, reason: String::new(), until_us }
}

fn set_override(source: &Source, given: Override) {
    let subject = Subject { overrides: vec![given], ..Subject::default() };
    source.subjects.lock().insert(key("sue"), subject);
}

/// The rules before have `before`, those in force have `limit`.
fn know(cache: &TestCache, before: u64, limit: u64) {
    let quotas = |limit| {
        let place: RulePlace = ("acme".to_owned(), "pay".to_owned(), "each".to_owned());
        Arc::new(OverrideQuotas::from([(place, OverrideQuota { limit, window_us: None, burst: None })]))
    };
    cache.know_quotas([quotas(limit), quotas(before)]);
}

/// The tier of the only override, also where it is stale.
fn own(looked: &Looked<'_>) -> Result<String, Option<String>> {
    let tier_of = |known: &Known<'_>| known.overrides().first().map(|one| one.tier.to_string());
    match looked {
        Looked::Found(known) => Ok(tier_of(known).unwrap_or_default()),
        Looked::Failed { stale } => Err(stale.as_ref().and_then(tier_of)),
    }
}

#[tokio::test(start_paused = true)]
async fn it_asks_for_newer_rules_and_waits_for_them() {
    let (cache, source) = cache(9, |_| ());
    set_override(&source, override_of(100, None));
    know(&cache, 1, 50);
    let asking = tokio::spawn({
        let cache = cache.clone();
        async move { own(&cache.lookup(&key("sue"), NOW).await) }
    });
    let wanted = cache.newer_rules_wanted();
    tokio::time::timeout(MAX_FLIGHT, wanted.notified()).await.expect("newer rules are asked for");
    assert!(matches!(cache.cached("acme", "pay", "sue", NOW), Cached::Miss));
    know(&cache, 50, 100);
    assert_eq!(asking.await.expect("no panic"), Ok("=100//".to_owned()));
    assert!(matches!(cache.cached("acme", "pay", "sue", NOW), Cached::Hit(_)));
}

#[tokio::test(start_paused = true)]
async fn while_they_do_not_come_what_was_known_is_stale_and_the_source_is_not_blamed() {
    let (cache, source) = cache(9, |_| ());
    know(&cache, 1, 50);
    set_override(&source, override_of(50, None));
    assert_eq!(own(&cache.lookup(&key("sue"), NOW).await), Ok("=50//".to_owned()));
    set_override(&source, override_of(100, None));
    cache.changed(&[key("sue")]);
    for _ in 0..2 {
        let begun = tokio::time::Instant::now();
        assert_eq!(own(&cache.lookup(&key("sue"), NOW).await), Err(Some("=50//".to_owned())));
        assert_eq!(begun.elapsed(), Duration::from_millis(100));
    }
    assert_eq!(looked_up(&cache, "ann", NOW).await, Ok(None), "the source answers others");
    tokio::time::sleep(MAX_FLIGHT).await;
    assert!(matches!(cache.cached("acme", "pay", "sue", NOW), Cached::Miss), "it was given up");
    know(&cache, 50, 100);
    assert_eq!(own(&cache.lookup(&key("sue"), NOW).await), Ok("=100//".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_answers_again_is_up_although_the_rules_are_behind() {
    let (cache, source) = cache(9, |_| ());
    know(&cache, 1, 50);
    set_override(&source, override_of(100, None));
    source.is(Down::Fails);
    assert_eq!(looked_up(&cache, "ann", NOW).await, Err(None));
    source.is(Down::No);
    assert_eq!(own(&cache.lookup(&key("sue"), NOW + 250_000).await), Err(None));
    assert_eq!(looked_up(&cache, "ann", NOW + 250_001).await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn quotas_of_the_rules_before_and_those_that_are_over_keep_nobody_waiting() {
    let (cache, source) = cache(9, |_| ());
    know(&cache, 50, 100);
    set_override(&source, override_of(50, None));
    assert_eq!(own(&cache.lookup(&key("sue"), NOW).await), Ok("=50//".to_owned()));
    set_override(&source, override_of(7, Some(NOW)));
    cache.changed_all();
    assert_eq!(own(&cache.lookup(&key("sue"), NOW).await), Ok(String::new()));
}
