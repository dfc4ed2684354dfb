//! One quota for all nodes: never more than it, and hardly less.

use std::time::Duration;

use tidegate_config::parse_rules;
use tidegate_core::rule::RuleSet;
use tidegate_engine::{Engine, EngineOptions, FastAnswers, FastOptions, Request, SystemClock};
use tidegate_redis::{RedisOptions, RedisSettings, RedisStore};
use tidegate_testkit::excess::{Admission, TokenBound, token_excess};
use tidegate_testkit::{RedisServer, Stopwatch};
use tokio::time::{MissedTickBehavior, interval};

use crate::load::{Aim, Ask, History, Load};
use crate::site::{Fleet, RUNTIME, alone, buckets_in, check_of, domain, hold, is_strict, seconds};

const NODES: usize = 4;
const CLIENTS_PER_NODE: usize = 64;
/// Units a second, and at one instant.
const LIMIT: u64 = 100;
const BOUND: TokenBound = TokenBound { burst: LIMIT, tokens: LIMIT, per_micros: 1_000_000 };
/// The least share of what is allowed that must pass. What comes back while the last answers are on their way passes
/// nobody, and on a busy machine in a short run that counts.
const LEAST_USE: f64 = 0.99;
const LEAST_USE_WHEN_BUSY: f64 = 0.9;

/// What passed against what may pass in all that time; prints both.
fn assert_within(name: &str, bound: TokenBound, granted: u64, span_micros: u64, worst: i128) {
    let refilled = u128::from(bound.tokens) * u128::from(span_micros) / u128::from(bound.per_micros);
    let allowed = u128::from(bound.burst) + refilled;
    let used = granted as f64 / allowed as f64;
    println!("{name}: {granted} of {allowed} units passed ({:.2} %), worst excess {worst}", used * 100.0);
    assert!(u128::from(granted) <= allowed, "{granted} units passed, {allowed} are allowed");
    assert!(worst <= 0, "{worst} units too many in some interval");
    let least = if is_strict() { LEAST_USE } else { LEAST_USE_WHEN_BUSY };
    assert!(used >= least, "only {used} of the quota passed");
}

fn hammer(fleet: &Fleet, most_cost: u64) -> History {
    // Ten times what is allowed.
    let rate = 10 * LIMIT * 2 / (1 + most_cost);
    let load = Load::start(&Aim::new(fleet.addresses(), CLIENTS_PER_NODE, rate), move |random| {
        let cost = random.u64(1..=most_cost);
        Ask { body: check_of("hot", cost), cost }
    });
    hold(seconds(3));
    load.stop()
}

#[test]
fn four_nodes_share_one_quota_exactly() {
    let _alone = alone();
    for most_cost in [1, 5] {
        let redis = RedisServer::start();
        let rules = domain(&[&format!("name: hot, key: [u], limit: {LIMIT}, window: 1s")]);
        let fleet = Fleet::start(NODES, &redis.url(), &rules, &[]);
        let history = hammer(&fleet, most_cost);
        history.assert_decided();
        let name = format!("4 nodes x 64 clients, costs 1 to {most_cost}");
        println!(
            "{name}: {} requests, p50 {:?}, p99 {:?}",
            history.0.len(),
            history.percentile(0.5, |_| true),
            history.percentile(0.99, |_| true)
        );
        assert_within(&name, BOUND, history.granted(), history.span_micros(), history.excess(BOUND));
        fleet.assert_alive();
    }
}

/// The engines of four nodes in this process: their answers say when they were decided, so that the proof needs no
/// allowance for the way there and back.
#[test]
fn four_engines_share_one_quota_in_every_interval() {
    let _alone = alone();
    for most_cost in [1, 5] {
        let redis = RedisServer::start();
        let (history, elapsed) = RUNTIME.block_on(engines_hammer(&redis.url(), most_cost));
        let worst = token_excess(&history, BOUND).unwrap().tokens();
        let granted = history.iter().map(|admission| admission.tokens).sum();
        let span = u64::try_from(elapsed.as_micros()).unwrap();
        assert_within(&format!("4 engines, costs 1 to {most_cost}"), BOUND, granted, span, worst);
    }
}

async fn engines_hammer(url: &str, most_cost: u64) -> (Vec<Admission>, Duration) {
    let pace = Duration::from_micros((NODES * CLIENTS_PER_NODE) as u64 * (1 + most_cost) * 50_000 / LIMIT);
    let mut engines = Vec::new();
    for _ in 0..NODES {
        let yaml = domain(&[&format!("name: hot, key: [u], limit: {LIMIT}, window: 1s")]);
        let rules = RuleSet::compile(parse_rules(&yaml, "rules.yaml").unwrap().rules).unwrap();
        let store = RedisStore::new(&RedisSettings::parse(url).unwrap(), RedisOptions::default()).unwrap();
        store.wait_until_tried().await;
        let store = FastAnswers::new(store, &FastOptions::new([fastrand::u64(..), 1]));
        engines.push(Engine::with_options(rules, store, SystemClock::new(), EngineOptions::default()));
    }
    let watch = Stopwatch::start();
    let end = seconds(3);
    let mut clients = Vec::new();
    for index in 0..NODES * CLIENTS_PER_NODE {
        let engine = engines[index % NODES].clone();
        clients.push(tokio::spawn(async move {
            let mut ticks = interval(pace);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            let mut admitted = Vec::new();
            tokio::time::sleep(pace.mul_f64(fastrand::f64())).await;
            while watch.elapsed() < end {
                ticks.tick().await;
                let cost = fastrand::u64(1..=most_cost);
                let decision =
                    engine.check(&Request::new("d", &[("u", "hot")]).with_cost(cost)).await.unwrap();
                assert!(decision.degraded().is_none(), "the store answers");
                if decision.is_allowed() {
                    let decided_at = i64::try_from(decision.decided_at().as_micros()).unwrap();
                    admitted.push(Admission::at(decided_at, cost));
                }
            }
            admitted
        }));
    }
    let mut history = Vec::new();
    for client in clients {
        history.append(&mut client.await.unwrap());
    }
    (history, watch.elapsed())
}

/// Whichever of three rules refuses, the other two are not charged, and neither is the one that refuses: what Redis
/// holds is the same to the byte.
#[test]
fn a_denial_leaves_every_bucket_as_it_was() {
    let _alone = alone();
    let redis = RedisServer::start();
    let names = ["user", "tenant", "all"];
    for exhausted in 0..names.len() {
        let limit = |rule: usize| if rule == exhausted { 7 } else { 1_000_000 };
        let rules: Vec<String> = (names.iter().zip(["u, t", "t", ""]).enumerate())
            .map(|(rule, (name, key))| {
                format!("name: {name}, key: [{key}], limit: {}, window: 30d", limit(rule))
            })
            .collect();
        let rules = domain(&rules.iter().map(String::as_str).collect::<Vec<_>>());
        // With everything else a node would not ask the store at all.
        let fleet = Fleet::start(NODES, &redis.url(), &rules, &["--accelerate", "coalesce,batch"]);
        let ask = |_: &mut fastrand::Rng| {
            let body = r#"{"domain":"d","descriptors":{"u":"u1","t":"t1"}}"#.to_owned();
            Ask { body, cost: 1 }
        };
        let aim = |budget| Aim { budget, ..Aim::new(fleet.addresses(), 8, 0) };
        let first = Load::start(&aim(200), ask).finish();
        assert_eq!(first.granted(), 7);
        let before = buckets_in(&redis);
        assert_eq!(before.len(), 3, "a bucket for each rule: {before:?}");
        let denials = Load::start(&aim(3_400), ask).finish();
        denials.assert_decided();
        assert_eq!(denials.granted(), 0);
        assert_eq!(buckets_in(&redis), before, "after {} denials by {}", denials.0.len(), names[exhausted]);
        println!("{} denials by {}: 3 buckets unchanged to the byte", denials.0.len(), names[exhausted]);
        drop(fleet);
        redis.command(&["FLUSHALL"]).ok();
    }
}
