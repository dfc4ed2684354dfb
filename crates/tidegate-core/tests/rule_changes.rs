//! Goal: state carried over lazily, when it is next met, is the state that would have been carried at the change; and a
//! change of rule never hands out a fresh burst.
//! Method: random traces in which limits, windows, bursts, queues, tiers and algorithms change, and rules go and come
//! back, against the model, which converts every bucket at once; then the published bound over all pairs of instants.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail, and prints its seed"
)]

mod common;

use common::admissions::Admissions;
use common::*;
use tidegate_core::algorithm::{Ask, Meter, State};
use tidegate_core::model::{ModelStore, Take};
use tidegate_core::quota::Algorithm;
use tidegate_core::rule::model::Rule;
use tidegate_core::rule::{MAX_LINEAGE, Revision};
use tidegate_core::time::Micros;

const TIERS: [&str; 3] = ["free", "pro", "max"];
const KEYS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// Quotas whose units fade within what a trace covers.
fn random_rule(random: &mut Random, algorithm: Algorithm) -> Rule {
    let some_quota = |random: &mut Random| {
        let limit = if random.once_in(30) { 0 } else { random.range(1, 60) };
        let window = random.pick(&[SECOND / 7, SECOND, 7 * SECOND, 60 * SECOND, 3_600 * SECOND]);
        let burst = (algorithm.has_burst() && random.once_in(2)).then(|| random.range(1, 100));
        quota(algorithm, limit, window, burst)
    };
    let mut rule = Rule::new("r", algorithm, some_quota(random)).with_key(["k"]);
    for tier in TIERS {
        if random.once_in(2) {
            rule.tiers.push((tier.to_owned(), some_quota(random)));
        }
    }
    rule.queue = random_queue(random, algorithm);
    rule
}

/// One trace of `operations` requests with a change of rule about every `between`. Returns allowed and denied.
fn compare(
    seed: u64,
    operations: u64,
    between: u64,
    algorithms: &[Algorithm],
    evicts: Eviction,
) -> (u64, u64) {
    let mut random = Random::new(seed);
    let algorithm = random.pick(algorithms);
    let mut rules = vec![random_rule(&mut random, algorithm)];
    let mut now = START + random.below(DAY);
    let mut real = RealStore::new(&rules, evicts);
    let mut model = ModelStore::new();
    model.change_rule(&rules[0], at(now));
    let (mut allowed, mut denied, mut permit) = (0, 0, 0);
    for number in 0..operations {
        now += if random.once_in(3) { 0 } else { random.any_size(4 * SECOND) };
        if random.once_in(between) {
            // A rule that was gone until all its buckets were at rest is a new one, so stores must drop what is at rest.
            if rules.is_empty() || evicts == Eviction::Never || !random.once_in(4) {
                let algorithm = random.pick(algorithms);
                rules = vec![random_rule(&mut random, algorithm)];
                model.change_rule(&rules[0], at(now));
            } else {
                rules.clear();
                model.remove_rule("r");
            }
            real.replace_rules(&rules, at(now));
            now += if random.once_in(2) { 0 } else { random.any_size(4 * SECOND) };
        }
        let tier = if random.once_in(3) { None } else { Some(random.pick(&TIERS)) };
        let buckets = [bucket("r", random.pick(&KEYS), tier, 0)];
        let context = || format!("seed={seed} operation={number} now={now} {buckets:?} {rules:?}");
        match random.below(8) {
            0 => {
                let cost = random.range(0, 5);
                let gauges = real.refund(&buckets, cost, at(now));
                assert_eq!(gauges, model.refund(&buckets, cost, at(now)), "refund {}", context());
            }
            1 => {
                let id = permit - random.below(8).min(permit);
                let key = &buckets[0].key;
                let (released, expected) =
                    (real.release("r", key, id, at(now)), model.release("r", key, id, at(now)));
                // A store releases without asking a rule, so permits of a rule that became something else are still there.
                assert!(released == expected || algorithms.len() > 1, "release {id} {}", context());
            }
            _ => {
                permit += 1;
                let cost = if random.once_in(3) { random.range(0, 40) } else { 1 };
                let take = Take { cost, permit };
                let outcome = real.apply(&buckets, take, at(now));
                assert_eq!(outcome, model.apply(&buckets, take, at(now)), "apply cost={cost} {}", context());
                if outcome.charged { allowed += 1 } else { denied += 1 }
            }
        }
    }
    (allowed, denied)
}

fn compare_many(algorithms: &[Algorithm], evicts: Eviction) {
    let seed = seed();
    let total = operations(100_000);
    let (mut allowed, mut denied) = (0, 0);
    for number in 0..total.div_ceil(200) {
        let between = [3, 10, 40][number as usize % 3];
        let counts = compare(seed.wrapping_add(number), 200, between, algorithms, evicts);
        allowed += counts.0;
        denied += counts.1;
    }
    println!("{algorithms:?}: {total} operations, {allowed} allowed, {denied} denied");
    assert!(allowed * 10 > total && denied * 10 > total);
}

#[test]
fn lazily_carried_buckets_equal_eagerly_converted_ones() {
    compare_many(&[Algorithm::TokenBucket, Algorithm::LeakyBucket], Eviction::Never);
}

#[test]
fn so_they_do_for_permits() {
    compare_many(&[Algorithm::Concurrency], Eviction::Never);
}

#[test]
fn so_they_do_when_algorithms_change() {
    compare_many(&Algorithm::ALL, Eviction::Never);
}

#[test]
fn so_they_do_when_buckets_at_rest_are_dropped() {
    compare_many(&Algorithm::ALL, Eviction::AtRest);
}

/// Whatever changes, never more than the largest burst plus the integral of the rate.
#[test]
fn rule_changes_keep_the_bound() {
    let seed = seed();
    for number in 0..operations(40_000).div_ceil(400) {
        let mut random = Random::new(seed.wrapping_add(number));
        let some = |random: &mut Random| {
            let window = random.pick(&[SECOND, 7 * SECOND, 60 * SECOND]);
            (random.range(1, 100), window, random.range(1, 50))
        };
        let rule = |(limit, window, burst)| {
            Rule::new("r", Algorithm::TokenBucket, quota(Algorithm::TokenBucket, limit, window, Some(burst)))
                .with_key(["k"])
        };
        let mut now = START;
        let first = some(&mut random);
        let mut real = RealStore::new(&[rule(first)], Eviction::AtRest);
        let mut seen = Admissions { taken: Vec::new(), changes: vec![(now, first.0, first.1, first.2)] };
        for _ in 0..400 {
            if random.once_in(20) {
                let next = some(&mut random);
                real.replace_rules(&[rule(next)], at(now));
                seen.changes.push((now, next.0, next.1, next.2));
            }
            let cost = random.range(1, 20);
            if real.apply(&[bucket("r", "a", None, 0)], Take { cost, permit: 0 }, at(now)).charged {
                seen.taken.push((now, cost));
            }
            now += random.any_size(2 * SECOND);
        }
        seen.check();
    }
}

/// 40 flips 100 ↔ 10 at one instant, a greedy caller after each: 100 units, not 1,810.
#[test]
fn flips_at_one_instant_give_no_fresh_burst() {
    for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| *algorithm != Algorithm::Concurrency) {
        for window in [60 * SECOND, 10 * SECOND] {
            let burst = |limit| algorithm.has_burst().then_some(limit);
            let rule = |limit, window| {
                Rule::new("r", algorithm, quota(algorithm, limit, window, burst(limit))).with_key(["k"])
            };
            let mut real = RealStore::new(&[rule(100, 60 * SECOND)], Eviction::Never);
            let take_all = |real: &mut RealStore| {
                let one = Take { cost: 1, permit: 0 };
                (0..1_000)
                    .take_while(|_| real.apply(&[bucket("r", "a", None, 0)], one, at(START)).charged)
                    .count()
            };
            let mut taken = take_all(&mut real);
            for _ in 0..20 {
                real.replace_rules(&[rule(10, window)], at(START));
                taken += take_all(&mut real);
                real.replace_rules(&[rule(100, 60 * SECOND)], at(START));
                taken += take_all(&mut real);
            }
            assert_eq!(taken, 100, "{algorithm}, 10 per {window} µs");
        }
    }
}

/// A shorter window must not forget what was taken under the longer one: what was used stays used.
#[test]
fn a_shorter_window_gives_no_fresh_burst() {
    for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| *algorithm != Algorithm::Concurrency) {
        let burst = algorithm.has_burst().then_some(10);
        let rule = |window| Rule::new("r", algorithm, quota(algorithm, 10, window, burst)).with_key(["k"]);
        let mut real = RealStore::new(&[rule(3_600 * SECOND)], Eviction::AtRest);
        let asked = [bucket("r", "a", None, 0)];
        // A multiple of both windows, so that no boundary falls between.
        assert!(real.apply(&asked, Take { cost: 10, permit: 0 }, at(START)).charged);
        let later = START + 2 * SECOND;
        real.replace_rules(&[rule(SECOND)], at(later));
        let left = real.peek(&asked, 10, at(later))[0].1.remaining;
        assert_eq!(left, 0, "{algorithm}");
        let rested = real.peek(&asked, 10, at(later + 2 * SECOND))[0].1.remaining;
        assert_eq!(rested, 10, "{algorithm}: a bucket must go on refilling");
    }
}

/// A bucket at rest is a fresh one, also for a rule that would have remembered longer.
#[test]
fn a_bucket_at_rest_stays_at_rest_under_a_longer_window() {
    for algorithm in Algorithm::ALL {
        let burst = algorithm.has_burst().then_some(10);
        let rule = |window| Rule::new("r", algorithm, quota(algorithm, 10, window, burst)).with_key(["k"]);
        let mut real = RealStore::new(&[rule(SECOND)], Eviction::Never);
        let asked = [bucket("r", "a", None, 0)];
        assert!(real.apply(&asked, Take { cost: 10, permit: 0 }, at(START)).charged);
        let later = START + 5 * SECOND;
        real.replace_rules(&[rule(3_600 * SECOND)], at(later));
        assert_eq!(real.peek(&asked, 10, at(later))[0].1.remaining, 10, "{algorithm}");
    }
}

/// Permits keep the life they were given when the rule's life becomes shorter.
#[test]
fn a_shorter_permit_life_cuts_no_permit() {
    let rule = |life| Rule::new("r", Algorithm::Concurrency, quota(Algorithm::Concurrency, 1, life, None));
    let mut real = RealStore::new(&[rule(3_600 * SECOND)], Eviction::AtRest);
    let asked = [bucket("r", "a", None, 0)];
    assert!(real.apply(&asked, Take { cost: 1, permit: 1 }, at(START)).charged);
    real.replace_rules(&[rule(SECOND)], at(START + SECOND));
    for second in [2, 60, 3_599] {
        let outcome = real.apply(&asked, Take { cost: 1, permit: 2 }, at(START + second * SECOND));
        assert!(!outcome.charged, "after {second} s the first holder is still at work");
    }
    assert!(real.apply(&asked, Take { cost: 1, permit: 3 }, at(START + 3_600 * SECOND)).charged);
}

/// A queue that is taken away leaves those who wait charged: nobody may pass in their place.
#[test]
fn a_queue_taken_away_leaves_its_places_charged() {
    let plain = Rule::new("r", Algorithm::LeakyBucket, quota(Algorithm::LeakyBucket, 1, SECOND, None));
    let mut queued = plain.clone();
    queued.queue =
        Some(tidegate_core::rule::model::Queue { max_wait: Micros::from_secs(600), max_depth: 100 });
    let mut real = RealStore::new(&[queued], Eviction::Never);
    let asked = [bucket("r", "a", None, 0)];
    for _ in 0..101 {
        assert!(real.apply(&asked, Take { cost: 1, permit: 0 }, at(START)).charged);
    }
    real.replace_rules(&[plain], at(START));
    let outcome = real.apply(&asked, Take { cost: 1, permit: 0 }, at(START));
    assert_eq!(outcome.results[0].1.used, 101);
    assert_eq!(outcome.results[0].1.reset_after, Micros::from_secs(101));
}

/// More changes than a lineage remembers: nothing panics, no bucket is stuck, and old state is at most forgotten.
#[test]
fn more_changes_than_a_lineage_remembers_are_safe() {
    let algorithms = [Algorithm::TokenBucket, Algorithm::SlidingWindow, Algorithm::SlidingWindowLog];
    let rule = |number: usize| {
        let algorithm = algorithms[number % algorithms.len()];
        let limit = 10 + number as u64 % 7;
        Rule::new("r", algorithm, quota(algorithm, limit, 3_600 * SECOND, None)).with_key(["k"])
    };
    let mut real = RealStore::new(&[rule(0)], Eviction::Never);
    let asked = [bucket("r", "a", None, 0)];
    assert!(real.apply(&asked, Take { cost: 10, permit: 1 }, at(START)).charged);
    let changes = MAX_LINEAGE + 10;
    for number in 1..=changes {
        real.replace_rules(&[rule(number)], at(START));
        if number == MAX_LINEAGE {
            let used = real.peek(&asked, 1, at(START))[0].1.used;
            assert_eq!(used, 10, "as many as are remembered are carried");
        }
    }
    let limit = 10 + changes as u64 % 7;
    let mut taken = 0;
    while real.apply(&asked, Take { cost: 1, permit: 2 }, at(START + 1)).charged {
        taken += 1;
        assert!(taken <= limit, "a lost state costs at most one burst");
    }
    let rested = real.peek(&asked, 1, at(START + 2 * 3_600 * SECOND))[0];
    assert_eq!(rested.1.remaining, limit);
}

/// A clock that stepped back between two changes makes the earlier one the later to rest; its way to the present goes
/// over the other, which must stay known.
#[test]
fn a_step_back_between_changes_breaks_no_lineage() {
    let rule = |seconds| {
        Rule::new("r", Algorithm::TokenBucket, quota(Algorithm::TokenBucket, 10, seconds * SECOND, None))
    };
    let mut real = RealStore::new(&[rule(3_600)], Eviction::Never);
    let asked = [bucket("r", "a", None, 0)];
    assert!(real.apply(&asked, Take { cost: 10, permit: 0 }, at(START + 5 * SECOND)).charged);
    real.replace_rules(&[rule(1_800)], at(START + 5 * SECOND));
    real.replace_rules(&[rule(900)], at(START));
    // 5 s of the step are 2.5 s at the new rate: the bucket rests at 902.5 s, what the second rule wrote at 900 s.
    real.replace_rules(&[rule(450)], at(START + 901 * SECOND));
    let rested = real.peek(&asked, 1, at(START + 901 * SECOND))[0].1.reset_after;
    assert_eq!(rested, Micros::from_millis(750));
}

/// A state of a kind that the meter does not know (a rule that came from elsewhere, a damaged store) is replaced, so
/// that charges are kept.
#[test]
fn a_state_of_another_kind_is_replaced_when_charged() {
    for own in Algorithm::ALL {
        for foreign in Algorithm::ALL {
            let meter = Meter::new(own, quota(own, 3, SECOND, None), None);
            let other = Meter::new(foreign, quota(foreign, 3, SECOND, None), None);
            let mut state: State = other.fresh();
            other.charge(&mut state, at(START), &Ask::cost(1));
            let mut taken = 0;
            while meter.judge(&state, at(START), &Ask::cost(1)).is_allow() {
                meter.charge(&mut state, at(START), &Ask::cost(1));
                taken += 1;
                assert!(taken <= 3, "{own} over the state of {foreign}");
            }
        }
    }
}

/// A revision survives a restart: it follows from the quota alone.
#[test]
fn revisions_are_the_same_in_every_process() {
    let mut random = Random::new(seed());
    for _ in 0..1_000 {
        let algorithm = random.pick(&Algorithm::ALL);
        let rule = random_rule(&mut random, algorithm);
        let revision = |rules: &RealStore, tier| rules.rule("r").unwrap().metered(tier).revision;
        let (one, other) = (
            RealStore::new(std::slice::from_ref(&rule), Eviction::Never),
            RealStore::new(&[rule], Eviction::Never),
        );
        let mut all: Vec<Revision> = Vec::new();
        for tier in [None, Some("free"), Some("pro"), Some("max")] {
            assert_eq!(revision(&one, tier), revision(&other, tier));
            all.push(revision(&one, tier));
        }
        assert!(all.iter().all(|revision| revision.number() < 1 << Revision::BITS));
    }
}
