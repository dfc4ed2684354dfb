//! A Redis that is there and does not answer: slow must cost no more than down.

use std::time::Duration;

use tidegate_testkit::{RedisServer, Stopwatch, wait_for};

use crate::load::{Aim, Ask, Load, Sample};
use crate::site::{
    DEADLINE, Fleet, PATIENCE, alone, bound, buckets_in, check_of, domain, hold, most_until_back, now_micros,
    rounds, seconds,
};

const NODES: usize = 3;
const CLIENTS_PER_NODE: usize = 16;
/// Requests a second.
const RATE: u64 = 600;
/// A bucket that is never exhausted, and whose count is exact for ten years at a time.
const RULE: &str = "name: wide, key: [u], algorithm: fixed_window, limit: 1_000_000_000, window: 3650d";

/// The deadline is what an answer costs while nobody knows better.
const ARGUMENTS: [&str; 4] = ["--fail-mode", "deny", DEADLINE, "100ms"];
/// Connections that a node may make in one second of an outage: 4 that try again twice a second, and as many to be sure.
const MOST_CONNECTS_PER_SECOND: f64 = 16.0;

fn load(fleet: &Fleet) -> Load {
    Load::start(&Aim::new(fleet.addresses(), CLIENTS_PER_NODE, RATE), |_| Ask {
        body: check_of("wide", 1),
        cost: 1,
    })
}

/// When each node stopped asking, in microseconds since the epoch.
fn opened_at(fleet: &Fleet) -> Vec<i64> {
    let nodes = 0..fleet.nodes.len();
    let opened = nodes.map(|node| {
        wait_for("the circuit opens", PATIENCE, || {
            let opened_at = fleet.breaker(node)["opened_at"].as_f64()?;
            Some((opened_at * 1e6) as i64)
        })
    });
    opened.collect()
}

#[test]
fn a_stopped_redis_costs_a_deadline_until_the_circuit_opens_and_nothing_after() {
    let _alone = alone();
    let redis = RedisServer::start();
    let fleet = Fleet::start(NODES, &redis.url(), &domain(&[RULE]), &ARGUMENTS);
    let before = load(&fleet);
    before.wait_until_sent(500);
    let before = before.stop();
    before.assert_decided();
    assert_eq!(fleet.used("wide"), before.granted());
    let charged = buckets_in(&redis);
    assert_eq!(charged.len(), 1);

    let stopped_at = now_micros();
    redis.pause();
    let running = load(&fleet);
    let opened = opened_at(&fleet);
    hold(seconds(5));
    let history = running.stop();

    assert_eq!(history.count(|sample| sample.status == 503 && sample.degraded), history.0.len());
    let until_open = opened.iter().map(|at| at - stopped_at).max().unwrap();
    let until_open = Duration::from_micros(until_open.unsigned_abs());
    let is_before = |sample: &Sample| sample.sent < opened[sample.node];
    let first = history.percentile(0.99, is_before);
    let median = history.percentile(0.5, |sample| !is_before(sample));
    let then = history.percentile(0.99, |sample| !is_before(sample));
    println!(
        "stopped: {} answers, all by policy; circuit open after {until_open:?}; p99 before {first:?} ({} answers), \
         after {then:?}, worst after {:?}",
        history.0.len(),
        history.count(is_before),
        history.percentile(1.0, |sample| !is_before(sample)),
    );
    assert!(until_open <= bound(Duration::from_secs(1), Duration::from_secs(3)));
    assert!(first <= bound(Duration::from_millis(120), Duration::from_millis(200)));
    // An answer that waits for the store takes at least the deadline.
    assert!(median <= bound(Duration::from_millis(5), Duration::from_millis(50)));
    assert!(then <= bound(Duration::from_millis(5), Duration::from_secs(1)));

    // What was sent to it while it stood still is read by it now, too late.
    redis.resume();
    let back = fleet.wait_until_on_store(&check_of("other", 1));
    let after = buckets_in(&redis);
    println!("going on: nodes are back after {back:?}");
    assert!(charged.iter().all(|bucket| after.contains(bucket)), "{charged:?} became {after:?}");
    assert_eq!(fleet.used("wide"), before.granted());
    assert!(back <= most_until_back());
    fleet.assert_alive();
}

#[test]
fn a_redis_that_comes_and_goes_is_not_stormed() {
    let _alone = alone();
    let redis = RedisServer::start();
    let fleet = Fleet::start(NODES, &redis.url(), &domain(&[RULE]), &ARGUMENTS);
    let connections = || -> f64 { redis.info("stats")["total_connections_received"].parse().unwrap() };
    let before = connections();
    let running = load(&fleet);
    let watch = Stopwatch::start();
    let mut worst = Duration::ZERO;
    let rounds = rounds(2);
    for _ in 0..rounds {
        redis.pause();
        hold(Duration::from_secs(2));
        redis.resume();
        let well = Stopwatch::start();
        worst = worst.max(fleet.wait_until_on_store(&check_of("other", 1)));
        hold(Duration::from_secs(2).saturating_sub(well.elapsed()));
    }
    let elapsed = watch.elapsed();
    let history = running.stop();
    let made = connections() - before;
    let per_second = made / elapsed.as_secs_f64() / NODES as f64;
    println!(
        "{rounds} times 2 s there, 2 s away: {made} connections of {NODES} nodes ({per_second:.1} a second and node), \
         back after {worst:?} at worst, {} of {} answers by the store, p99 of all {:?}",
        history.count(|sample| !sample.degraded),
        history.0.len(),
        history.percentile(0.99, |_| true),
    );
    assert!(per_second <= MOST_CONNECTS_PER_SECOND);
    assert!(worst <= most_until_back());
    assert_eq!(
        history.count(|sample| !matches!((sample.status, sample.degraded), (200, false) | (503, true))),
        0
    );
    // Late scripts refuse themselves: what was charged is what was granted, and what was answered too late to be told.
    let (used, granted) = (fleet.used("wide"), history.granted());
    let unknown = history.count(|sample| sample.degraded) as u64;
    println!("{used} units charged, {granted} granted, {unknown} answers by policy");
    assert!(used >= granted && used <= granted + unknown);
}
