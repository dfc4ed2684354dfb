//! Goal: every answer is true: a retry time is the earliest that works, a denial changes nothing, a refund gives back
//! what was taken and no more, a clock that steps locks nobody out, and no extreme input panics, wraps or lets too much
//! pass.
//! Method: properties over random states, found by random requests before (proptest chooses and shrinks), and a grid of
//! extremes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail, and prints its seed"
)]

mod common;

use common::*;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tidegate_core::algorithm::{Ask, CLOCK_TOLERANCE, Meter, State};
use tidegate_core::decision::Verdict;
use tidegate_core::quota::{Algorithm, MAX_LIMIT, MAX_WINDOW, MIN_WINDOW, Quota};
use tidegate_core::rule::model::Queue;
use tidegate_core::time::{Micros, Timestamp};

/// A meter and a state that some random requests have led to, and the time then.
#[derive(Debug)]
struct Situation {
    meter: Meter,
    state: State,
    now: u64,
}

fn situation(algorithm: Algorithm, seed: u64) -> (Situation, Random) {
    let mut random = Random::new(seed);
    let quota = random_quota(&mut random, algorithm);
    let meter = Meter::new(algorithm, quota, random_queue(&mut random, algorithm));
    let (mut state, mut now) = (meter.fresh(), START + random.below(DAY));
    for permit in 0..random.below(30) {
        let cost = if random.once_in(2) { 1 } else { random.any_size(quota.burst().max(1)) };
        let ask = Ask { cost, reserved: 0, permit };
        if meter.judge(&state, at(now), &ask).is_allow() {
            meter.charge(&mut state, at(now), &ask);
        }
        now += random.below(2) * random.any_size(quota.window().as_micros() / 2);
    }
    (Situation { meter, state, now }, random)
}

fn random_ask(random: &mut Random, quota: &Quota) -> Ask {
    let reserved = random.below(2) * random.any_size(quota.burst().max(1));
    let cost = match random.below(4) {
        0 => 1,
        1 => quota.burst().saturating_sub(reserved),
        2 => u64::MAX,
        _ => random.any_size(quota.burst().max(1)),
    };
    Ask { cost, reserved, permit: random.next() }
}

fn algorithms() -> impl Strategy<Value = Algorithm> {
    prop::sample::select(Algorithm::ALL.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 20_000,
        rng_seed: RngSeed::Fixed(seed()),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// At +retry_after the same cost passes, one microsecond earlier it does not; where nothing is named, never.
    #[test]
    fn the_retry_time_is_the_earliest_that_works(algorithm in algorithms(), seed in any::<u64>()) {
        let (Situation { meter, state, now }, mut random) = situation(algorithm, seed);
        for _ in 0..8 {
            let ask = random_ask(&mut random, meter.quota());
            let allowed = |time| meter.judge(&state, at(time), &ask).is_allow();
            match meter.judge(&state, at(now), &ask) {
                Verdict::Allow { wait } => {
                    let wait = wait.as_micros();
                    prop_assert!(wait == 0 || meter.judge(&state, at(now + wait), &ask) == Verdict::ALLOW);
                    prop_assert!(wait == 0 || meter.judge(&state, at(now + wait - 1), &ask) != Verdict::ALLOW);
                }
                Verdict::Deny { retry_after: Some(retry_after) } => {
                    let retry_after = retry_after.as_micros();
                    prop_assert!(retry_after > 0);
                    prop_assert!(allowed(now + retry_after), "not at +{retry_after}: {ask:?}");
                    prop_assert!(!allowed(now + retry_after - 1), "already before +{retry_after}: {ask:?}");
                }
                Verdict::Deny { retry_after: None } => {
                    prop_assert!(!allowed(now + 100 * 365 * DAY) && !allowed(now + 10 * SECOND));
                    let total = u128::from(ask.cost) + u128::from(ask.reserved);
                    prop_assert!(meter.quota().limit() == 0 || total > u128::from(meter.quota().burst()));
                }
            }
        }
    }

    /// Asking and looking leave the state as it was, to the last bit.
    #[test]
    fn a_denial_and_a_look_change_nothing(algorithm in algorithms(), seed in any::<u64>()) {
        let (Situation { meter, state, now }, mut random) = situation(algorithm, seed);
        let before = state.clone();
        for _ in 0..8 {
            let ask = random_ask(&mut random, meter.quota());
            let verdict = meter.judge(&state, at(now), &ask);
            prop_assert_eq!(meter.judge(&state, at(now), &ask), verdict);
            let gauge = meter.gauge(&state, at(now), ask.reserved);
            prop_assert_eq!(meter.gauge(&state, at(now), ask.reserved), gauge);
        }
        prop_assert_eq!(state, before);
    }

    /// A gauge keeps its promises: `remaining` passes and one more does not, until `replenish_after`; at `reset_after`
    /// the bucket is as good as fresh.
    #[test]
    fn a_gauge_says_what_would_pass(algorithm in algorithms(), seed in any::<u64>()) {
        let (Situation { meter, state, now }, mut random) = situation(algorithm, seed);
        let meter = Meter::new(algorithm, *meter.quota(), None);
        let reserved = random.below(2) * random.any_size(meter.quota().burst().max(1));
        let gauge = meter.gauge(&state, at(now), reserved);
        let passes = |cost, time| meter.judge(&state, at(time), &Ask { cost, reserved, permit: 0 }).is_allow();
        if gauge.remaining > 0 {
            prop_assert!(passes(gauge.remaining, now));
        }
        prop_assert!(!passes(gauge.remaining + 1, now));
        if let Some(replenish_after) = gauge.replenish_after {
            let replenish_after = replenish_after.as_micros();
            prop_assert!(passes(gauge.remaining + 1, now + replenish_after));
            prop_assert!(!passes(gauge.remaining + 1, now + replenish_after - 1));
        }
        let rested = now + gauge.reset_after.as_micros();
        prop_assert_eq!(meter.gauge(&state, at(rested), 0), meter.gauge(&meter.fresh(), at(rested), 0));
        prop_assert_eq!(gauge.used == 0, gauge.reset_after == Micros::ZERO);
    }

    /// What is charged and given back at one instant is as if it had not been; giving back more than was taken is giving
    /// back all; giving back never makes an answer worse.
    #[test]
    fn a_refund_takes_a_charge_back(algorithm in algorithms(), seed in any::<u64>()) {
        let (Situation { meter, state, now }, mut random) = situation(algorithm, seed);
        let gauge = |state: &State, time| meter.gauge(state, at(time), 0);
        let later = |random: &mut Random| now + random.below(2) * random.any_size(meter.quota().window().as_micros());
        let ask = Ask { cost: random.range(0, 5), reserved: 0, permit: 1 };
        if algorithm != Algorithm::Concurrency && meter.judge(&state, at(now), &ask) == Verdict::ALLOW {
            let mut after = state.clone();
            meter.charge(&mut after, at(now), &ask);
            meter.refund(&mut after, at(now), ask.cost);
            let time = later(&mut random);
            prop_assert_eq!(gauge(&after, time), gauge(&state, time));
        }
        let (mut less, cost) = (state.clone(), random.any_size(u64::MAX));
        meter.refund(&mut less, at(now), cost);
        let before = now - random.below(2) * random.any_size(SECOND);
        for time in [now, later(&mut random), before] {
            prop_assert!(gauge(&less, time).used <= gauge(&state, time).used, "at {}", time);
            prop_assert!(gauge(&less, time).remaining >= gauge(&state, time).remaining);
        }
        // Those who wait in a queue keep the instants they were told, so nothing is given back before their turn.
        let somebody_waits = gauge(&state, now).used > meter.quota().burst();
        let mut none = state.clone();
        meter.refund(&mut none, at(now), u64::MAX);
        match algorithm {
            Algorithm::Concurrency => {}
            _ if gauge(&none, now).used == 0 => {}
            _ => prop_assert!(somebody_waits && none == state),
        }
        prop_assert!(gauge(&none, now).remaining <= meter.quota().burst());
    }

    /// A state that a clock wrote which was wrong by an hour is pulled back, so the key is locked out no longer than its
    /// rule can; one a working clock wrote is left alone.
    #[test]
    fn a_wrong_clock_locks_nobody_out(algorithm in algorithms(), seed in any::<u64>()) {
        let (Situation { meter, state, now }, _) = situation(algorithm, seed);
        let mut untouched = state.clone();
        prop_assert!(!meter.repair(&mut untouched, at(now)));
        prop_assert_eq!(&untouched, &state);
        let longest = meter.rest_at(&meter.fullest(at(now))).since(at(now));
        for back in [9 * SECOND, 10 * SECOND + 1, 3_600 * SECOND, 20 * 365 * DAY] {
            let mut repaired = state.clone();
            meter.repair(&mut repaired, at(now - back));
            let left = meter.gauge(&repaired, at(now - back), 0).reset_after;
            let most = longest.saturating_add(CLOCK_TOLERANCE).saturating_add(meter.quota().window());
            prop_assert!(left <= most, "{} after {} back, at most {}", left, back, most);
            let mut again = repaired.clone();
            prop_assert!(!meter.repair(&mut again, at(now - back)), "one repair is enough");
        }
    }
}

/// Both ends of every range, and both ends of time.
#[test]
fn extremes_neither_panic_nor_wrap_nor_let_too_much_pass() {
    let windows = [MIN_WINDOW, Micros::from_micros(1_001), Micros::from_secs(1), MAX_WINDOW];
    let times = [Timestamp::EPOCH, at(1), at(START), at(Timestamp::MAX.as_micros() - 1), Timestamp::MAX];
    let mut quotas = 0;
    for algorithm in Algorithm::ALL {
        let most = algorithm.max_limit();
        let bursts = [None, Some(1), Some(MAX_LIMIT)];
        for limit in [0, 1, 2, most - 1, most] {
            for (window, burst) in windows.iter().flat_map(|window| bursts.map(|burst| (*window, burst))) {
                let Ok(quota) = Quota::new(algorithm, limit, window, burst) else { continue };
                quotas += 1;
                let endless = Queue { max_wait: Micros::MAX, max_depth: u64::MAX };
                for meter in [Meter::new(algorithm, quota, None), Meter::new(algorithm, quota, Some(endless))]
                {
                    times.iter().for_each(|now| push_to_the_limit(&meter, *now));
                }
            }
        }
    }
    assert!(quotas > 100);
}

fn push_to_the_limit(meter: &Meter, now: Timestamp) {
    let quota = meter.quota();
    let mut state = meter.fresh();
    let mut taken = 0;
    let hours =
        [now, now.saturating_sub(Micros::from_secs(3_600)), now.saturating_add(Micros::from_secs(3_600))];
    for cost in [0, quota.burst(), 1, 0, quota.burst().saturating_add(1), u64::MAX, 1] {
        for reserved in [u64::MAX, quota.burst(), 0] {
            let ask = Ask { cost, reserved, permit: 1 };
            let verdict = meter.judge(&state, now, &ask);
            // Within the tolerance of the queue more may be promised, but not for now.
            if verdict == Verdict::ALLOW {
                meter.charge(&mut state, now, &ask);
                taken += cost;
            }
            assert!(reserved <= quota.burst() || verdict == Verdict::NEVER);
            assert!(cost <= quota.burst() || verdict == Verdict::NEVER);
        }
        for time in hours {
            let gauge = meter.gauge(&state, time, 0);
            assert!(gauge.remaining <= quota.burst());
            let _ = meter.gauge(&state, time, u64::MAX);
        }
        assert!(
            taken <= quota.burst() && (quota.limit() > 0 || taken == 0),
            "{taken} of {quota:?} at {now:?}"
        );
    }
    assert!(quota.limit() == 0 || taken == quota.burst(), "what is there can be taken: {taken} of {quota:?}");
    for time in hours {
        let mut stepped = state.clone();
        meter.repair(&mut stepped, time);
        meter.refund(&mut stepped, time, u64::MAX);
        assert!(meter.gauge(&stepped, time, 0).remaining <= quota.burst());
    }
}

/// From any meter to any other, at both ends of time: carried state never panics and never makes a bucket fuller than
/// fresh.
#[test]
fn carrying_between_extremes_is_safe() {
    let mut meters = Vec::new();
    for algorithm in Algorithm::ALL {
        for limit in [0, 1, 7, algorithm.max_limit()] {
            for window in [MIN_WINDOW, Micros::from_micros(1_001), Micros::from_secs(60), MAX_WINDOW] {
                meters.extend(
                    Quota::new(algorithm, limit, window, None)
                        .map(|quota| Meter::new(algorithm, quota, None)),
                );
            }
        }
    }
    for from in &meters {
        for to in &meters {
            for now in [Timestamp::EPOCH, at(START), Timestamp::MAX] {
                let state = from.fullest(now);
                let used = from.gauge(&state, now, 0).used;
                let carried = to.carry(from, &state, now);
                let gauge = to.gauge(&carried, now, 0);
                let permits = [from, to].map(|meter| meter.algorithm() == Algorithm::Concurrency);
                if permits[0] == permits[1] {
                    let kept = used.min(to.algorithm().max_limit()).min(1_000_000);
                    let forever = to.rest_at(&carried) == Timestamp::MAX;
                    assert!(
                        forever || gauge.used >= kept,
                        "{used} became {}: {from:?} {to:?} {now:?}",
                        gauge.used
                    );
                }
                assert!(gauge.remaining <= to.quota().burst());
            }
        }
    }
}
