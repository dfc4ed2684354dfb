//! Tests of the record of recent requests.

use std::collections::VecDeque;

use super::*;

/// A recorder with room in one ring only, so that the order of what is forgotten is known.
fn one_ring(bytes: usize) -> Recorder {
    let recorder = Recorder::new(bytes * RINGS);
    NEXT.set(0);
    recorder
}

fn record_to_first(recorder: &Recorder, request: &RecentRequest, domain: &str) {
    NEXT.set(0);
    let entries: Vec<_> =
        request.entries.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    recorder.record(request.at_us, domain, &entries, None, request.cost);
}

fn random_request(random: &mut fastrand::Rng, at_us: i64) -> RecentRequest {
    let mut text = |most| "é".repeat(random.usize(..most));
    let entries = (0..text(4).len() / 2).map(|_| (text(10), text(30))).collect();
    RecentRequest { at_us, entries, cost: random.u64(..) }
}

#[test]
fn a_ring_keeps_the_newest_that_fit() {
    for seed in 0..100 {
        let mut random = fastrand::Rng::with_seed(seed);
        let capacity = random.usize(20..600);
        let (recorder, mut model, mut skipped) = (one_ring(capacity), VecDeque::new(), 0);
        for at_us in 0..200 {
            let (request, domain) =
                (random_request(&mut random, at_us), ["pay", "acme\u{1f}pay"][random.usize(..2)]);
            record_to_first(&recorder, &request, domain);
            let texts: usize = request.entries.iter().map(|(name, value)| 4 + name.len() + value.len()).sum();
            let bytes = 20 + domain.len() + texts;
            if bytes > capacity {
                skipped += 1;
                continue;
            }
            model.push_back((bytes, domain, request));
            while model.iter().map(|(bytes, ..)| bytes).sum::<usize>() > capacity {
                model.pop_front();
            }
            let from_us = random.i64(..=at_us);
            let expected = model.iter().filter(|(_, of, request)| *of == "pay" && request.at_us >= from_us);
            let expected: Vec<_> = expected.map(|(.., request)| request.clone()).collect();
            assert_eq!(recorder.since(from_us, "pay", usize::MAX), expected, "seed {seed}");
        }
        assert_eq!(recorder.skipped(), skipped, "seed {seed}");
    }
}

#[test]
fn requests_come_in_the_order_of_time_from_all_rings() {
    let recorder = Recorder::new(8 * 1024);
    let times = [5, 3, 9, 1, 7, 2, 8, 6, 4, 0];
    times.iter().for_each(|at_us| recorder.record(*at_us, "pay", &[("user", "u1")], None, 1));
    let used = recorder.rings.iter().filter(|ring| !ring.0.lock().to_vec().is_empty()).count();
    assert_eq!((used, recorder.capacity_bytes()), (RINGS, 8 * 1024));
    let found = recorder.since(2, "pay", usize::MAX);
    assert_eq!(found.iter().map(|request| request.at_us).collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn of_many_requests_the_newest_are_given() {
    let recorder = Recorder::new(64 * 1024);
    (0..400).for_each(|at_us| recorder.record(at_us, "pay", &[("user", "u1")], None, 1));
    for most in [0, 1, 7, 399, 400, 401] {
        let found: Vec<i64> =
            recorder.since(0, "pay", most).into_iter().map(|request| request.at_us).collect();
        let oldest = 400 - i64::try_from(most.min(400)).unwrap();
        assert_eq!(found, (oldest..400).collect::<Vec<_>>(), "{most}");
    }
}

#[test]
fn a_tier_is_kept_unless_the_request_says_one() {
    let recorder = Recorder::new(8 * 1024);
    recorder.record(1, "pay", &[("user", "u1")], Some("gold"), 1);
    recorder.record(2, "pay", &[("tier", "free")], Some("gold"), 1);
    recorder.record(3, "pay", &[], None, 1);
    let entry = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let found: Vec<_> =
        recorder.since(0, "pay", usize::MAX).into_iter().map(|request| request.entries).collect();
    assert_eq!(
        found,
        [vec![entry("user", "u1"), entry("tier", "gold")], vec![entry("tier", "free")], vec![]]
    );
}

#[test]
fn what_is_too_large_is_skipped() {
    let recorder = Recorder::new(1 << 20);
    let largest = MAX_RECORD_BYTES - record_bytes("pay", [("user", "")].into_iter());
    recorder.record(1, "pay", &[("user", &"x".repeat(largest + 1))], None, 1);
    assert_eq!((recorder.since(0, "pay", usize::MAX).len(), recorder.skipped()), (0, 1));
    recorder.record(1, "pay", &[("user", &"x".repeat(largest))], None, 1);
    assert_eq!((recorder.since(0, "pay", usize::MAX).len(), recorder.skipped()), (1, 1));
}

#[test]
fn without_room_nothing_is_recorded_or_skipped() {
    let recorder = Recorder::new(0);
    recorder.record(1, "pay", &[], None, 1);
    assert_eq!(
        (recorder.since(0, "pay", usize::MAX), recorder.capacity_bytes(), recorder.skipped()),
        (vec![], 0, 0)
    );
}

#[test]
fn threads_record_beside_one_another_and_a_reader() {
    let recorder = Recorder::new(1 << 20);
    std::thread::scope(|scope| {
        for thread in 0..4_i64 {
            let recorder = &recorder;
            scope.spawn(move || {
                for request in 0..1_000 {
                    recorder.record(thread * 1_000 + request, "pay", &[("user", "u1")], None, 7);
                }
            });
        }
        let whole = |request: &RecentRequest| request.cost == 7 && request.entries.len() == 1;
        (0..20).for_each(|_| assert!(recorder.since(0, "pay", usize::MAX).iter().all(whole)));
    });
    let mut found: Vec<_> =
        recorder.since(0, "pay", usize::MAX).into_iter().map(|request| request.at_us).collect();
    assert_eq!(found.len() as u64 + recorder.skipped(), 4_000);
    found.dedup();
    assert_eq!(found.len() as u64 + recorder.skipped(), 4_000);
}
