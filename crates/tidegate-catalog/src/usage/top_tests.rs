//! Tests of the busiest keys.

use super::*;

fn record(top: &TopKeys, now_us: i64, key: &str) {
    top.record(now_us, "pay", key, Told::Allowed, 2);
}

/// Keys as they come in: low numbers often, high ones seldom.
fn skewed(random: &mut fastrand::Rng, keys: u64) -> u64 {
    let most = random.u64(..keys) + 1;
    let most = random.u64(..most) + 1;
    random.u64(..most)
}

#[test]
fn counts_are_wrong_by_less_than_their_error_and_busy_keys_are_there() {
    for seed in 0..5 {
        let (top, mut random, mut exact) =
            (TopKeys::default(), fastrand::Rng::with_seed(seed), HashMap::new());
        let requests = 50_000;
        for request in 0..requests {
            // The second half falls into the next span.
            let now_us = SPAN_US + if request < requests / 2 { 0 } else { SPAN_US };
            let key = skewed(&mut random, 5_000).to_string();
            record(&top, now_us, &key);
            *exact.entry(key).or_insert(0_u64) += 1;
        }
        let found = top.top("pay", usize::MAX, 2 * SPAN_US);
        let bound = requests / COUNTERS as u64;
        for key in &found {
            let exact = exact.get(&key.key).copied().unwrap_or(0);
            assert!(
                key.count - key.error <= exact && exact <= key.count,
                "seed {seed}: {key:?}, not {exact}"
            );
            assert!(key.error <= bound, "seed {seed}: {key:?}");
            assert!(key.allowed <= exact && key.cost == 2 * key.allowed, "seed {seed}: {key:?}");
        }
        let missing = exact.iter().filter(|(_, count)| **count > bound);
        assert_eq!(missing.filter(|(key, _)| !found.iter().any(|found| found.key == **key)).count(), 0);
    }
}

#[test]
fn memory_is_bounded_however_many_keys_come() {
    let top = TopKeys::default();
    (0..100_000).for_each(|key| record(&top, SPAN_US, &key.to_string()));
    let domain = Arc::clone(&top.domains.read()["pay"]);
    let sketch = &domain.lock().current;
    assert_eq!(
        (sketch.counters.len(), sketch.by_key.len(), sketch.heap.len()),
        (COUNTERS, COUNTERS, COUNTERS)
    );
    assert_eq!(sketch.counters.iter().map(|counter| counter.count).sum::<u64>(), 100_000);
}

#[test]
fn few_keys_are_counted_exactly_busiest_first() {
    let top = TopKeys::default();
    for key in ["a", "b", "b", "c", "b", "c"] {
        record(&top, SPAN_US, key);
    }
    top.record(SPAN_US, "pay", "b", Told::Denied, 9);
    let found = top.top("pay", 2, SPAN_US);
    let b = TopKey { key: "b".to_owned(), count: 4, error: 0, allowed: 3, denied: 1, cost: 6 };
    let c = TopKey { key: "c".to_owned(), count: 2, error: 0, allowed: 2, denied: 0, cost: 4 };
    assert_eq!(found, [b, c]);
    assert_eq!(top.top("other", 2, SPAN_US), []);
}

#[test]
fn what_was_busy_long_ago_is_forgotten() {
    let top = TopKeys::default();
    record(&top, SPAN_US, "old");
    let keys = |now_us| top.top("pay", 9, now_us).into_iter().map(|key| key.key).collect::<Vec<_>>();
    assert_eq!(keys(2 * SPAN_US), ["old"]);
    record(&top, 2 * SPAN_US, "new");
    assert_eq!(keys(3 * SPAN_US - 1), ["new", "old"]);
    assert_eq!(keys(3 * SPAN_US), ["new"]);
    assert_eq!(keys(5 * SPAN_US), Vec::<String>::new());
}

#[test]
fn a_long_key_is_cut_between_characters() {
    let top = TopKeys::default();
    record(&top, SPAN_US, &format!("x{}", "é".repeat(200)));
    assert_eq!(top.top("pay", 1, SPAN_US)[0].key, format!("x{}", "é".repeat(127)));
}

#[test]
fn a_domain_beyond_the_most_takes_the_place_of_a_quiet_one() {
    let top = TopKeys::default();
    let record = |now_us, domain: usize| top.record(now_us, &domain.to_string(), "a", Told::Allowed, 1);
    (0..MAX_DOMAINS).for_each(|domain| record(SPAN_US, domain));
    record(SPAN_US, MAX_DOMAINS);
    assert_eq!((top.domains.read().len(), top.skipped()), (MAX_DOMAINS, 1));
    record(3 * SPAN_US, MAX_DOMAINS);
    assert_eq!((top.domains.read().len(), top.skipped()), (1, 1));
}

#[test]
fn a_request_that_would_have_to_wait_is_skipped() {
    let top = TopKeys::default();
    record(&top, SPAN_US, "a");
    let domain = Arc::clone(&top.domains.read()["pay"]);
    let held = domain.lock();
    record(&top, SPAN_US, "a");
    drop(held);
    assert_eq!((top.top("pay", 1, SPAN_US)[0].count, top.skipped()), (1, 1));
}
