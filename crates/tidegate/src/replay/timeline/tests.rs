//! Buckets that grow with the log.

use super::*;

const S: u64 = SECOND_US;

fn totals(timeline: &Timeline) -> u64 {
    timeline.buckets().map(|(_, counts)| counts.allowed + counts.waited + counts.denied).sum()
}

#[test]
fn seconds_while_the_log_is_short() {
    let mut timeline = Timeline::new();
    timeline.record(100 * S + 5, Outcome::Allowed);
    timeline.record(100 * S + 999_999, Outcome::Denied);
    timeline.record(102 * S, Outcome::Waited);
    let buckets: Vec<_> = timeline.buckets().map(|(at, counts)| (at / S, *counts)).collect();
    let counts = |allowed, waited, denied| Counts { allowed, waited, denied };
    assert_eq!(buckets, [(100, counts(1, 0, 1)), (101, counts(0, 0, 0)), (102, counts(0, 1, 0))]);
}

#[test]
fn every_width_is_a_multiple_of_the_one_before() {
    assert!(WIDTHS_S.windows(2).all(|pair| pair[1] % pair[0] == 0 && pair[1] > pair[0]));
}

/// Nothing is lost or moved out of its bucket, whatever the gaps.
#[test]
fn joined_buckets_count_what_a_direct_count_does() {
    let seed = 0x71e5_u64;
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..50 {
        let mut at = random.u64(..2_000_000_000) * S;
        let gap = 10_u64.pow(random.u32(1..9));
        let mut timeline = Timeline::new();
        let mut times = Vec::new();
        for _ in 0..2_000 {
            at += random.u64(..gap);
            times.push(at);
            timeline.record(at, Outcome::Allowed);
            assert!(timeline.buckets.len() <= MAX_KEPT);
        }
        timeline.shrink_to(60);
        assert!(timeline.buckets.len() <= 60);
        let width_us = timeline.width_s() * S;
        for (start, counts) in timeline.buckets() {
            let direct = times.iter().filter(|at| **at >= start && **at < start + width_us).count() as u64;
            assert_eq!(counts.allowed, direct, "seed {seed} round {round}");
            assert_eq!(start % width_us, 0);
        }
        assert_eq!(totals(&timeline), 2_000);
    }
}

#[test]
fn centuries_fit() {
    let mut timeline = Timeline::new();
    timeline.record(0, Outcome::Allowed);
    timeline.record((1 << 53) - 1, Outcome::Denied);
    assert!(timeline.buckets.len() <= MAX_KEPT);
    assert_eq!(totals(&timeline), 2);
    timeline.shrink_to(0);
    assert_eq!(timeline.buckets.len(), 1);
}
