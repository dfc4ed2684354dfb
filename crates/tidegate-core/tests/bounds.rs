//! Goal: no algorithm ever lets more pass than its published bound, and none drifts from the exact rate.
//! Method: random traces of one bucket with a forward clock; every pair of admissions is checked with exact integers.
//! Drift: greedy callers over 24 h of virtual time, counted against the rational answer.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail, and prints its seed"
)]

mod common;

use common::*;
use tidegate_core::algorithm::{Ask, Meter, State};
use tidegate_core::decision::Verdict;
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::rule::model::Queue;
use tidegate_core::time::Micros;

/// (instant of passing in µs, units), in order of passing.
type Passed = Vec<(u64, u64)>;

/// A trace of `operations` requests that press hard on the limit; what passed, each at the end of its wait.
fn press(random: &mut Random, meter: &Meter, operations: u64) -> Passed {
    let quota = *meter.quota();
    let (mut now, mut state, mut passed) = (START + random.below(DAY), meter.fresh(), Passed::new());
    for _ in 0..operations {
        let cost = if random.once_in(4) { random.range(0, quota.burst()) } else { random.range(0, 2) };
        let ask = Ask { cost, reserved: random.below(2) * random.below(quota.burst() + 1), permit: now };
        match meter.judge(&state, at(now), &ask) {
            Verdict::Allow { wait } => {
                meter.charge(&mut state, at(now), &ask);
                passed.push((now + wait.as_micros(), cost));
                now += random.below(2) * random.any_size(quota.window().as_micros());
            }
            // As soon as it may, a little later, or now and again.
            Verdict::Deny { retry_after: Some(retry_after) } => {
                now += retry_after.as_micros() * random.below(2) + random.below(3) * random.any_size(1_000);
            }
            Verdict::Deny { retry_after: None } => now += 1,
        }
    }
    passed.sort_unstable();
    passed
}

fn small_quota(random: &mut Random, algorithm: Algorithm) -> Quota {
    let limit = random.pick(&[1, 2, 3, 7, 10, 60, 1_000_003]);
    let window = random.pick(&[1_000, 1_001, SECOND / 3, SECOND, 60 * SECOND, DAY]);
    let burst = algorithm.has_burst().then(|| random.pick(&[1, 2, 5, limit, 2 * limit]));
    quota(algorithm, limit.min(algorithm.max_limit()), window, burst)
}

/// Every pair of admissions of every trace: `check(quota, first instant, last instant, units from first to last)`.
fn for_all_pairs(algorithm: Algorithm, check: impl Fn(&Quota, u64, u64, u128)) {
    let seed = seed() ^ algorithm as u64;
    let mut pairs = 0_u64;
    for number in 0..operations(100_000).div_ceil(400) {
        let mut random = Random::new(seed.wrapping_add(number));
        let quota = small_quota(&mut random, algorithm);
        let passed = press(&mut random, &Meter::new(algorithm, quota, None), 400);
        for first in 0..passed.len() {
            let mut sum = 0;
            for (time, units) in &passed[first..] {
                sum += u128::from(*units);
                check(&quota, passed[first].0, *time, sum);
                pairs += 1;
            }
        }
    }
    println!("{algorithm}: {pairs} pairs");
    assert!(pairs > 100_000);
}

/// Units · W ≤ B · W + τ · L, without a rounding.
fn within_burst_and_rate(quota: &Quota, from: u64, to: u64, units: u128) {
    let window = u128::from(quota.window().as_micros());
    let bound = u128::from(quota.burst()) * window + u128::from(to - from) * u128::from(quota.limit());
    assert!(units * window <= bound, "{units} units from {from} to {to}: {quota:?}");
}

#[test]
fn token_and_leaky_bucket_pass_at_most_burst_and_rate() {
    for_all_pairs(Algorithm::TokenBucket, within_burst_and_rate);
    for_all_pairs(Algorithm::LeakyBucket, within_burst_and_rate);
}

#[test]
fn fixed_window_passes_its_limit_in_a_window_and_twice_that_across_a_boundary() {
    for_all_pairs(Algorithm::FixedWindow, |quota, from, to, units| {
        let (limit, window) = (u128::from(quota.limit()), quota.window().as_micros());
        if from / window == to / window {
            assert!(units <= limit, "{units} in one window: {quota:?}");
        }
        if to - from < window {
            assert!(units <= 2 * limit, "{units} in {} µs: {quota:?}", to - from);
        }
    });
}

#[test]
fn sliding_window_passes_less_than_twice_its_limit_and_never_more_at_one_instant() {
    for_all_pairs(Algorithm::SlidingWindow, |quota, from, to, units| {
        let limit = u128::from(quota.limit());
        if from == to {
            assert!(units <= limit, "{units} at one instant: {quota:?}");
        }
        if to - from < quota.window().as_micros() {
            assert!(units < 2 * limit, "{units} in {} µs: {quota:?}", to - from);
        }
    });
}

#[test]
fn sliding_window_log_passes_its_limit_in_any_window() {
    for_all_pairs(Algorithm::SlidingWindowLog, |quota, from, to, units| {
        if to - from < quota.window().as_micros() {
            assert!(units <= u128::from(quota.limit()), "{units} in {} µs: {quota:?}", to - from);
        }
    });
}

/// Live permits, counted by hand, with releases between.
#[test]
fn concurrency_never_holds_more_than_its_permits() {
    let seed = seed();
    for number in 0..operations(100_000).div_ceil(500) {
        let mut random = Random::new(seed.wrapping_add(number));
        let quota =
            quota(Algorithm::Concurrency, random.range(1, 20), random.pick(&[1_000, SECOND, DAY]), None);
        let meter = Meter::new(Algorithm::Concurrency, quota, None);
        let (mut state, mut now, mut live) = (meter.fresh(), START, Vec::<(u64, u64, u64)>::new());
        for id in 1..=500 {
            now += random.below(2) * random.any_size(quota.window().as_micros() / 4);
            live.retain(|(_, expires_at, _)| *expires_at > now);
            if random.once_in(3) && !live.is_empty() {
                let (id, ..) = live.remove(random.below(live.len() as u64) as usize);
                let State::Permits(permits) = &mut state else { panic!("permits") };
                assert!(permits.release(id, at(now)));
                assert!(!permits.release(id, at(now)), "given back once");
            }
            let ask = Ask { cost: random.range(0, 3), reserved: 0, permit: id };
            if meter.judge(&state, at(now), &ask).is_allow() {
                meter.charge(&mut state, at(now), &ask);
                if ask.cost > 0 {
                    live.push((id, now + quota.window().as_micros(), ask.cost));
                }
            }
            assert!(live.iter().map(|(.., units)| units).sum::<u64>() <= quota.limit());
        }
    }
}

/// The valve: whatever comes in, what goes out after its wait is smooth, waits no longer than allowed, and nobody
/// overtakes.
#[test]
fn a_queue_lets_out_burst_and_rate_in_the_order_of_arrival() {
    let seed = seed();
    let mut waited = 0_u64;
    for number in 0..operations(40_000).div_ceil(400) {
        let mut random = Random::new(seed.wrapping_add(number));
        let quota = small_quota(&mut random, Algorithm::LeakyBucket);
        let queue = Queue {
            max_wait: Micros::from_micros(random.range(1, 20 * SECOND)),
            max_depth: random.range(1, 300),
        };
        let meter = Meter::new(Algorithm::LeakyBucket, quota, Some(queue));
        let (mut state, mut now, mut out) = (meter.fresh(), START, Passed::new());
        for _ in 0..400 {
            // Deeper into the queue than a request of cost 1 stands another only with a higher cost, so all cost the same.
            if let Verdict::Allow { wait } = meter.judge(&state, at(now), &Ask::cost(1)) {
                meter.charge(&mut state, at(now), &Ask::cost(1));
                assert!(wait <= queue.max_wait);
                let turn = now + wait.as_micros();
                assert!(out.last().is_none_or(|(before, _)| *before <= turn), "nobody overtakes");
                waited += u64::from(wait > Micros::ZERO);
                out.push((turn, 1));
                let inside = out.iter().filter(|(turn, _)| *turn > now).count() as u64;
                assert!(inside <= queue.max_depth, "{inside} wait: {queue:?}");
            }
            now += random.below(2) * random.any_size(quota.window().as_micros() / 8 + 1);
        }
        for first in 0..out.len() {
            for last in first..out.len() {
                // A turn is rounded up to a whole microsecond, so the first may come out one late.
                let units = (last - first + 1) as u128;
                let (from, to) = (out[first].0, out[last].0);
                let from = if first < last { from - 1 } else { from };
                within_burst_and_rate(&quota, from, to, units);
            }
        }
    }
    assert!(waited > 1_000, "{waited} waited");
}

/// A greedy caller who comes at every instant at which one more passes, for 24 h: the count is ⌊B + r·τ⌋ exactly.
#[test]
fn a_day_of_greed_is_counted_exactly() {
    for (limit, window) in [
        (7, SECOND),
        (3, DAY),
        (1, 7 * SECOND),
        (11, 13 * SECOND),
        (1_000_003, DAY),
        (86_399, DAY),
        (49, 60 * SECOND),
    ] {
        for burst in [1, 5] {
            let quota = quota(Algorithm::TokenBucket, limit, window, Some(burst));
            let meter = Meter::new(Algorithm::TokenBucket, quota, None);
            let (mut state, mut now, mut count) = (meter.fresh(), START, 0_u128);
            while now <= START + DAY {
                match meter.judge(&state, at(now), &Ask::cost(1)) {
                    Verdict::Allow { .. } => {
                        meter.charge(&mut state, at(now), &Ask::cost(1));
                        count += 1;
                    }
                    Verdict::Deny { retry_after } => {
                        let retry_after = retry_after.unwrap().as_micros();
                        assert!(retry_after > 0, "a denial that names no time to wait");
                        now += retry_after;
                    }
                }
            }
            let exact = if burst == 1 {
                // Full at a part of a microsecond, asked at the next whole one: what would come between overflows.
                1 + u128::from(DAY / window.div_ceil(limit))
            } else {
                u128::from(burst) + u128::from(DAY) * u128::from(limit) / u128::from(window)
            };
            assert_eq!(count, exact, "{limit} per {window} µs, burst {burst}");
        }
    }
}

/// The same for rates beyond one a microsecond and for odd large ones: the caller takes all there is, every 37 ms, for 24 h.
#[test]
fn a_day_of_greed_in_large_helpings_is_counted_exactly() {
    for (limit, window) in
        [(1_000_003, SECOND), (300_000_000, SECOND), (999_999_999_989, SECOND), (999_983, 1_001), (7, 1_000)]
    {
        let burst = limit * 40_000 / window + 1;
        let quota = quota(Algorithm::TokenBucket, limit, window, Some(burst));
        let meter = Meter::new(Algorithm::TokenBucket, quota, None);
        let (mut state, mut now, mut count) = (meter.fresh(), START, 0_u128);
        while now <= START + DAY {
            let cost = meter.gauge(&state, at(now), 0).remaining;
            assert!(meter.judge(&state, at(now), &Ask::cost(cost)).is_allow());
            meter.charge(&mut state, at(now), &Ask::cost(cost));
            count += u128::from(cost);
            now += 37_000;
        }
        let elapsed = u128::from(now - 37_000 - START);
        let exact = u128::from(burst) + elapsed * u128::from(limit) / u128::from(window);
        assert_eq!(count, exact, "{limit} per {window} µs");
    }
}

/// The burst bug: after any idle time the bucket holds B, not nearly 2·B.
#[test]
fn idling_never_stores_more_than_one_burst() {
    for idle in
        [0, 1, SECOND / 10, SECOND, 9_999_999, 10 * SECOND, 10 * SECOND + 1, 3_600 * SECOND, 365 * DAY]
    {
        for algorithm in Algorithm::ALL {
            let burst = algorithm.has_burst().then_some(10);
            let meter = Meter::new(algorithm, quota(algorithm, 10, 10 * SECOND, burst), None);
            let mut state = meter.fresh();
            meter.charge(&mut state, at(START), &Ask { cost: 1, reserved: 0, permit: 1 });
            let now = at(START + idle);
            let taken = (0..30)
                .take_while(|id| {
                    let ask = Ask { cost: 1, reserved: 0, permit: 100 + id };
                    let allowed = meter.judge(&state, now, &ask).is_allow();
                    if allowed {
                        meter.charge(&mut state, now, &ask);
                    }
                    allowed
                })
                .count();
            assert!(taken <= 10, "{algorithm} let {taken} pass after {idle} µs of rest");
        }
    }
}

/// The worst cases are reached, so the bounds are not looser than they need to be.
#[test]
fn the_bounds_of_the_windows_are_reached() {
    let take_all = |meter: &Meter, state: &mut State, now: u64| {
        let cost = meter.gauge(state, at(now), 0).remaining;
        meter.charge(state, at(now), &Ask::cost(cost));
        cost
    };
    let boundary = START;
    let fixed = Meter::new(Algorithm::FixedWindow, quota(Algorithm::FixedWindow, 10, SECOND, None), None);
    let mut state = fixed.fresh();
    let across = take_all(&fixed, &mut state, boundary - 1) + take_all(&fixed, &mut state, boundary);
    assert_eq!(across, 20);

    let sliding =
        Meter::new(Algorithm::SlidingWindow, quota(Algorithm::SlidingWindow, 10, SECOND, None), None);
    let mut state = sliding.fresh();
    let mut within = take_all(&sliding, &mut state, boundary - 1);
    for tenth in 1..10 {
        within += take_all(&sliding, &mut state, boundary + tenth * SECOND / 10);
    }
    assert_eq!(within, 19, "2·L − 1 within one window");
}
