//! A source that fails, hangs, or is asked too much.

use super::*;

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
async fn a_subject_that_is_damaged_is_no_outage() {
    let (cache, source) = cache(9, |_| ());
    source.set_tier("ann", "pro");
    assert_eq!(looked_up(&cache, DAMAGED, NOW).await, Err(None));
    assert_eq!(looked_up(&cache, "ann", NOW).await, Ok(pro()), "others are asked for all the same");
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
