//! The worst case, built by hand: the bound is reached to the unit, and so is the smallest that can be promised.

use tidegate_core::quota::Algorithm;
use tidegate_core::time::{Micros, Timestamp};
use tidegate_testkit::excess::{Admission, TokenBound, any_window_excess, token_excess};

use super::{Fleet, MINUTE, SECOND, leased, rule};
use tidegate_engine::Clock;

const NODES: usize = 3;
const LEASE: u64 = 10;
const LIMIT: u64 = 100;

/// Every node fills its lease; time passes until the store has forgotten that; then all is spent at one instant.
fn spent_at_once(algorithm: Algorithm, window: Micros, pause: Micros, hold: Micros) -> Vec<Admission> {
    let fleet = Fleet::new(vec![leased(rule("r", algorithm, LIMIT, window), LEASE, hold)], NODES);
    let at = |now: Timestamp| i64::try_from(now.as_micros()).unwrap();
    let mut history = Vec::new();
    for node in 0..NODES {
        let units = fleet.fill(node, LEASE);
        history.push(Admission::at(at(fleet.clock.now()), units));
    }
    fleet.clock.advance(pause);
    for node in 0..NODES {
        fleet.return_due(node);
        assert_eq!(fleet.stats(node).units, LEASE, "it is not due yet");
        history.push(Admission::at(at(fleet.clock.now()), fleet.passed(node, 1_000)));
    }
    history
}

#[test]
fn a_token_bucket_reaches_its_bound_and_no_more() {
    // The bucket is full again after the pause.
    let history = spent_at_once(Algorithm::TokenBucket, SECOND, SECOND, MINUTE);
    let bound = |burst| TokenBound { burst, tokens: LIMIT, per_micros: SECOND.as_micros() };
    let spent = |bound| token_excess(&history, bound).unwrap().tokens();
    let leases = u64::try_from(NODES).unwrap() * LEASE;
    assert_eq!(spent(bound(LIMIT + leases)), 0, "the bound is reached");
    assert_eq!(spent(bound(LIMIT)), i128::from(leases), "by leases alone");
}

#[test]
fn a_log_reaches_its_bound_and_no_more() {
    // The leases are spent just before what they were debited with leaves the log, and all is there again just after.
    let window = MINUTE;
    let fleet =
        Fleet::new(vec![leased(rule("r", Algorithm::SlidingWindowLog, LIMIT, window), LEASE, MINUTE)], NODES);
    let mut history = Vec::new();
    let mut spend = |fleet: &Fleet, units| {
        let at = i64::try_from(fleet.clock.now().as_micros()).unwrap();
        history.push(Admission::at(at, units));
    };
    for node in 0..NODES {
        let units = fleet.fill(node, LEASE);
        spend(&fleet, units);
    }
    // As long before the end as it takes to be sure that it is before the end, with clocks that run apart.
    let margin = Micros::from_micros(window.as_micros() / 1_024 + 100);
    fleet.clock.advance(window.saturating_sub(margin));
    for node in 0..NODES {
        spend(&fleet, fleet.passed(node, LEASE));
    }
    fleet.clock.advance(margin);
    spend(&fleet, fleet.passed(0, 1_000));
    let excess = |limit| any_window_excess(&history, limit, window.as_micros()).unwrap().0;
    let leases = u64::try_from(NODES).unwrap() * LEASE;
    assert_eq!((excess(LIMIT + leases), excess(LIMIT)), (0, i128::from(leases)));
}

#[test]
fn windows_add_nothing_even_so() {
    for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindow] {
        // Leases are taken at the end of a window, and asked for at the start of the next.
        let fleet = Fleet::new(vec![leased(rule("r", algorithm, LIMIT, MINUTE), LEASE, MINUTE)], NODES);
        let into = fleet.clock.now().as_micros() % MINUTE.as_micros();
        fleet.clock.advance(Micros::from_micros(MINUTE.as_micros() - into - 100_000));
        let mut first = 0;
        for node in 0..NODES {
            first += fleet.fill(node, LEASE);
        }
        fleet.clock.advance(Micros::from_micros(100_000));
        let second: u64 = (0..NODES).map(|node| fleet.passed(node, 1_000)).sum();
        assert!(second <= LIMIT, "{algorithm}: {second}");
        assert!(first + second <= 2 * LIMIT, "{algorithm}: {first} + {second}");
        let weighs_on = if algorithm == Algorithm::SlidingWindow { first } else { 0 };
        let left: u64 = (0..NODES).map(|node| fleet.stats(node).units).sum();
        assert_eq!((second, left), (LIMIT - weighs_on, 0), "{algorithm}: and nothing is withheld");
    }
}
