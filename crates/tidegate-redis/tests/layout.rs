//! How buckets lie in Redis: what they cost, when they expire, and where a change of rules or of the layout leaves them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says its seed"
)]

use std::time::Duration;

use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::rule::RuleSet;
use tidegate_core::rule::model::{Domain, Rule, Rules};
use tidegate_core::time::{Micros, Timestamp};
use tidegate_redis::{RedisOptions, RedisSettings, RedisStore};
use tidegate_store::{Applied, BucketStore, Plan};
use tidegate_testkit::{RedisCluster, RedisServer, Reply};

const MINUTE: Micros = Micros::from_secs(60);
/// Long enough for no window to end while a test runs on a slow machine, but at midnight.
const DAY: Micros = Micros::from_secs(86_400);
/// The store's clock decides, so the caller's time means nothing.
const NOW: Timestamp = Timestamp::EPOCH;
/// Times in the short form count from 2026-01-01.
const BASE: u64 = 1_767_225_600_000_000;

async fn store(server: &RedisServer, layout: &str) -> RedisStore {
    store_at(&format!("{}?layout={layout}", server.url())).await
}

async fn store_at(address: &str) -> RedisStore {
    let settings = RedisSettings::parse(address).unwrap();
    let settings = settings.with_call_deadline(Duration::from_secs(10)).unwrap();
    let store = RedisStore::new(&settings, RedisOptions::default()).unwrap();
    store.wait_until_tried().await;
    store
}

fn compile(rules: Vec<Rule>) -> RuleSet {
    RuleSet::compile(Rules { domains: vec![Domain::new("payments", rules)] }).unwrap()
}

/// One bucket for each user.
fn rule(algorithm: Algorithm, limit: u64, window: Micros, burst: Option<u64>) -> RuleSet {
    compile(vec![named("r", algorithm, limit, window, burst)])
}

fn named(name: &str, algorithm: Algorithm, limit: u64, window: Micros, burst: Option<u64>) -> Rule {
    let quota = Quota::new(algorithm, limit, window, burst).unwrap();
    Rule::new(name, algorithm, quota).with_key(["user"])
}

fn plan<'r>(rules: &'r RuleSet, user: &str, cost: u64) -> Plan<'r> {
    let mut plan = Plan::new(cost);
    for rule in rules.domains()[0].rules() {
        plan.add(rule, rule.metered(None), 0, &[("user", user)]);
    }
    plan
}

async fn passes(store: &RedisStore, rules: &RuleSet, user: &str, cost: u64) -> bool {
    match store.apply(&plan(rules, user, cost), NOW).await.unwrap() {
        Applied::Decided(outcome) => outcome.charged,
        Applied::Stale => panic!("every revision is known"),
    }
}

/// Charges these users one unit each, many at once.
async fn charge_all(store: &RedisStore, rules: &RuleSet, users: std::ops::Range<u32>) {
    let names: Vec<String> = users.map(|user| format!("user:{user:07}")).collect();
    for names in names.chunks(256) {
        let calls: Vec<_> = names.iter().map(|name| passes(store, rules, name, 1)).collect();
        assert!(all(calls).await.into_iter().all(|passed| passed));
    }
}

async fn all<F: Future>(calls: Vec<F>) -> Vec<F::Output> {
    let mut calls: Vec<_> = calls.into_iter().map(Box::pin).collect();
    let mut outputs: Vec<Option<F::Output>> = calls.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (call, output) in calls.iter_mut().zip(&mut outputs) {
            if output.is_none()
                && let std::task::Poll::Ready(value) = call.as_mut().poll(context)
            {
                *output = Some(value);
            }
        }
        if outputs.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    outputs.into_iter().flatten().collect()
}

fn bytes(reply: &Reply) -> &[u8] {
    match reply {
        Reply::Bulk(bytes) => bytes,
        other => panic!("no string: {other:?}"),
    }
}

fn keys(server: &RedisServer) -> Vec<Vec<u8>> {
    server.command(&["KEYS", "*"]).items().iter().map(|key| bytes(key).to_vec()).collect()
}

fn members(server: &RedisServer) -> i64 {
    let mut client = server.client();
    keys(server).iter().map(|key| client.command(&[b"HLEN".as_slice(), key]).integer()).sum()
}

#[tokio::test]
async fn a_packed_subject_costs_at_most_40_bytes() {
    const SUBJECTS: u32 = 20_000;
    let server = RedisServer::start();
    let store = store(&server, "packed:9").await;
    let rules = rule(Algorithm::TokenBucket, 1, Micros::from_secs(3_600), None);
    let used = || server.info("memory")["used_memory_dataset"].parse::<i64>().unwrap();
    // Whatever a connection and a script take is taken before.
    charge_all(&store, &rules, SUBJECTS..SUBJECTS + 256).await;
    let before = used();
    charge_all(&store, &rules, 0..SUBJECTS).await;
    let whole = used() - before;
    let mut client = server.client();
    let keys = keys(&server);
    let usage = |key: &Vec<u8>| client.command(&[b"MEMORY".as_slice(), b"USAGE", key]).integer();
    // With 64 bytes for the table of expiries, which `MEMORY USAGE` leaves out.
    let sum = keys.iter().map(usage).sum::<i64>() + 64 * keys.len() as i64;
    let each = (sum / i64::from(SUBJECTS), whole / i64::from(SUBJECTS));
    assert!(each.0 <= 40 && each.1 <= 40, "{each:?} bytes a subject in {} keys", keys.len());
    assert_eq!(members(&server), i64::from(SUBJECTS) + 256, "nobody was swept away");
    assert!(!passes(&store, &rules, "user:0000000", 1).await);
    assert!(!passes(&store, &rules, "user:0019999", 1).await);
}

#[tokio::test]
async fn members_at_rest_are_swept_away() {
    const SUBJECTS: u32 = 20_000;
    let server = RedisServer::start();
    let store = store(&server, "packed:8").await;
    // At rest after a millisecond.
    let rules = rule(Algorithm::TokenBucket, 1_000, Micros::from_secs(1), Some(1));
    charge_all(&store, &rules, 0..SUBJECTS).await;
    let left = members(&server);
    assert!(left < i64::from(SUBJECTS) / 3, "{left} of {SUBJECTS} are left");
}

/// When the state in a text is at rest; nothing where it is not that of a token bucket.
fn rest(text: &[u8]) -> Option<u64> {
    match text.split_first()? {
        (b'0'..=b'9', _) => {
            let number: u64 = std::str::from_utf8(text).unwrap().parse().unwrap();
            Some((number / 1_000).div_ceil(8) + BASE)
        }
        (b'A', rest) => Some(f64::from_le_bytes(rest[4..12].try_into().unwrap()).ceil() as u64),
        _ => None,
    }
}

/// Every key expires, and none before what is in it is at rest.
fn expiries_are_late_enough(server: &RedisServer) -> usize {
    let mut client = server.client();
    let mut states = 0;
    for key in keys(server) {
        let left = client.command(&[b"PTTL".as_slice(), &key]).integer();
        assert!(left > 0, "{key:?} has no expiry or is over: {left}");
        let time = client.command(&["TIME"]);
        let now = time.items()[0].integer() * 1_000_000 + time.items()[1].integer();
        let texts: Vec<Vec<u8>> = match client.command(&[b"TYPE".as_slice(), &key]).text().as_str() {
            "hash" => {
                let all = client.command(&[b"HVALS".as_slice(), &key]);
                all.items().iter().map(|text| bytes(text).to_vec()).collect()
            }
            "string" => vec![bytes(&client.command(&[b"GET".as_slice(), &key])).to_vec()],
            _ => Vec::new(),
        };
        for rest in texts.iter().filter_map(|text| rest(text)) {
            let expires = now as u64 + left as u64 * 1_000;
            assert!(rest <= expires, "{key:?} expires {} µs too early", rest - expires);
            states += 1;
        }
    }
    states
}

#[tokio::test]
async fn no_key_expires_before_its_buckets_are_at_rest() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for layout in ["plain", "packed:8"] {
        let server = RedisServer::start();
        let store = store(&server, layout).await;
        let second = Micros::from_secs(1);
        // Nothing but the burst of the first rule changes, and that over a restart: its revision stays the same.
        let with_burst = |burst| {
            compile(vec![
                named("fast", Algorithm::TokenBucket, 1, second, Some(burst)),
                named("slow", Algorithm::LeakyBucket, 60_000, Micros::from_secs(86_400), Some(40_000)),
                named("odd", Algorithm::TokenBucket, 25_000, Micros::from_secs(9_001), Some(40_000)),
                named("window", Algorithm::FixedWindow, 40_000, MINUTE, None),
            ])
        };
        for round in 0..24 {
            let burst = [2, 50, 1_000, 20_000, 400][round % 5];
            let rules = with_burst(burst);
            for _ in 0..40 {
                let user = format!("user:{}", random.u32(..30));
                let cost = random.u64(1..=burst);
                let plan = plan(&rules, &user, cost);
                let done = match random.u32(..20) {
                    0 => store.refund(&plan, NOW).await.map(|_| ()),
                    1 => store.reset(&plan, NOW).await,
                    2 => store.debit(&plan, NOW).await.map(|_| ()),
                    _ => store.apply(&plan, NOW).await.map(|_| ()),
                };
                done.unwrap();
            }
            assert!(expiries_are_late_enough(&server) > 20, "{layout}");
        }
    }
}

#[tokio::test]
async fn from_the_plain_layout_buckets_are_carried_over() {
    let server = RedisServer::start();
    let rules = rule(Algorithm::TokenBucket, 5, MINUTE, None);
    assert!(passes(&store(&server, "plain").await, &rules, "ann", 3).await);
    let packed = store(&server, "packed").await;
    assert!(!passes(&packed, &rules, "ann", 3).await, "3 of 5 are used");
    assert!(passes(&packed, &rules, "ann", 2).await);
    let keys = keys(&server);
    assert_eq!(keys.len(), 1, "nothing is left of the old layout: {keys:?}");
    assert_eq!(members(&server), 1);
    expiries_are_late_enough(&server);
}

#[tokio::test]
async fn rules_that_keep_a_bucket_elsewhere_do_not_start_it_afresh() {
    let server = RedisServer::start();
    let store = store(&server, "packed").await;
    let forms = [Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::SlidingWindowLog];
    for (number, (from, to)) in forms.iter().flat_map(|a| forms.iter().map(move |b| (*a, *b))).enumerate() {
        if from == to {
            continue;
        }
        let user = format!("user:{number}");
        let old = rule(from, 10, DAY, None);
        let new = rule(to, 10, DAY, None).succeeding(&old, NOW);
        assert!(passes(&store, &new, &user, 7).await);
        // A node that has not heard of the new rules yet asks for them.
        for cost in [1, 7] {
            let answer = store.apply(&plan(&old, &user, cost), NOW).await;
            assert_eq!(answer, Ok(Applied::Stale), "{from} met {to}");
        }
        assert!(passes(&store, &new, &user, 3).await, "{from} met {to}");
        assert!(!passes(&store, &new, &user, 1).await, "{from} met {to}");
        store.reset(&plan(&new, &user, 1), NOW).await.unwrap();
        assert!(passes(&store, &old, &user, 10).await, "{from} met {to}, and was put to rest");
    }
}

#[tokio::test]
async fn while_a_slot_is_moved_its_hashes_are_found_on_either_side() {
    let cluster = RedisCluster::start(3, 0);
    let address = cluster.urls().first().unwrap().replace("redis://", "redis+cluster://");
    let store = store_at(&format!("{address}?layout=packed:8")).await;
    let rules = rule(Algorithm::TokenBucket, 1, Micros::from_secs(3_600), None);
    charge_all(&store, &rules, 0..200).await;
    let from = cluster.nodes().iter().position(|node| !keys(node).is_empty()).unwrap();
    let key = String::from_utf8_lossy(&keys(&cluster.nodes()[from])[0]).into_owned();
    let (slot, to) = (cluster.slot_of(&key), (from + 1) % 3);
    cluster.open_slot(slot, from, to);
    // Some are added to hashes that are still here, some to new ones over there.
    charge_all(&store, &rules, 200..400).await;
    assert!(!keys(&cluster.nodes()[to]).is_empty());
    let nobody = async |when: &str| {
        for user in 0..400 {
            assert!(!passes(&store, &rules, &format!("user:{user:07}"), 1).await, "{user} {when}");
        }
    };
    nobody("on the way").await;
    cluster.migrate_slots(slot..=slot, from, to);
    nobody("at the end").await;
    assert!(keys(&cluster.nodes()[from]).is_empty());
}
