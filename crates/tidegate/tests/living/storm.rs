//! A thousand changes of rules a minute, under load.
//!
//! One rule is made ten times as large and as small again, renamed and back, deleted and made again; others change beside
//! it. Clients on connections of their own remember every answer. Afterwards each is compared with what the history says of
//! the version that it names, and the admissions of one key with what its bucket may let pass: the larger burst and what is
//! refilled at the larger rate while that may be in force.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use serde_json::Value;
use tidegate_testkit::excess::{Admission, TokenBound, certain_token_excess};
use tidegate_testkit::{Postgres, RedisServer};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};

use crate::machine::{RUNTIME, alone, hold, is_strict, now_micros, seconds};
use crate::site::{Nodes, admin_call};
use crate::wire::Connection;

const CHANGES_A_MINUTE: u64 = 1_000;
/// The hot rule's limit, of ten seconds, and how much larger it is at times.
const LIMIT: u64 = 50;
const WINDOW_SECONDS: u64 = 10;
const FACTOR: u64 = 10;
/// Clients, of which every fourth hammers one key of the hot rule.
const CLIENTS: usize = 12;
/// Requests of one client in a second.
const RATE: u64 = 40;
/// Rules that change beside the hot one.
const OTHERS: usize = 8;

/// One answer.
struct Seen {
    sent: i64,
    received: i64,
    is_hot_key: bool,
    domain: &'static str,
    answer: Value,
}

impl Seen {
    fn version(&self) -> u64 {
        self.answer["rules_version"].as_u64().unwrap()
    }
}

/// Clients that run until they are stopped; each gives its answers in order.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<Seen>>>,
}

impl Load {
    fn start(nodes: &Nodes) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let addresses = nodes.addresses().into_iter().cycle().take(CLIENTS).enumerate();
        let clients = addresses
            .map(|(index, address)| RUNTIME.spawn(ask(index, Connection::new(address), Arc::clone(&stop))))
            .collect();
        Self { stop, clients }
    }

    fn stop(self) -> Vec<Vec<Seen>> {
        self.stop.store(true, Relaxed);
        self.clients.into_iter().map(|client| RUNTIME.block_on(client).unwrap()).collect()
    }
}

async fn ask(index: usize, mut connection: Connection, stop: Arc<AtomicBool>) -> Vec<Seen> {
    let is_hot_key = (index / 3).is_multiple_of(4);
    let pace = Duration::from_micros(1_000_000 / RATE);
    let mut ticks = interval_at(Instant::now() + pace.mul_f64(index as f64 / CLIENTS as f64), pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut all = Vec::new();
    for turn in 0_usize.. {
        if stop.load(Relaxed) {
            break;
        }
        ticks.tick().await;
        let domain = if is_hot_key || turn.is_multiple_of(2) { "hot" } else { "others" };
        let user = if is_hot_key { "hammered".to_owned() } else { format!("{index}-{turn}") };
        let body =
            format!(r#"{{"domain":"{domain}","descriptors":{{"u":"{user}","r":"{}"}}}}"#, turn % OTHERS);
        let sent = now_micros();
        let answer = connection.post("/v1/check", &body).await.unwrap();
        assert!(matches!(answer.status, 200 | 429) && !answer.degraded, "{answer:?}");
        let received = now_micros().max(sent);
        all.push(Seen { sent, received, is_hot_key, domain, answer: answer.json() });
    }
    all
}

fn hot_rule(name: &str, limit: u64) -> String {
    format!(
        r#"{{"name":"{name}","key":["u"],"algorithm":"token_bucket","limit":{limit},"window":"{WINDOW_SECONDS}s"}}"#
    )
}

fn other_rule(index: usize, limit: u64) -> String {
    format!(r#"{{"name":"r{index}","match":{{"r":"{index}"}},"key":["u"],"limit":{limit},"window":"60s"}}"#)
}

/// When the larger limit may have been in force: from the call that made it so to the answer of the call that took it back,
/// and until no node can decide by it any more.
type Large = Vec<(i64, i64)>;

/// One call after the other, at a pace. Gives how many, and when the larger limit was in force.
async fn change_the_hot_rule(mut admin: Connection, stop: Arc<AtomicBool>, pace: Duration) -> (u64, Large) {
    let mut ticks = interval(pace);
    let (mut made, mut large) = (0, Large::new());
    let mut larger_since = None;
    let (normal, larger) = (hot_rule("hot", LIMIT), hot_rule("hot", LIMIT * FACTOR));
    for turn in 0_u64.. {
        let step = turn % 6;
        if step == 0 && stop.load(Relaxed) {
            break;
        }
        ticks.tick().await;
        // Another name each time: a bucket that a rename loses would be a fresh one.
        let renamed = format!("renamed-{}", turn / 6);
        let to = format!(r#"{{"to":"{renamed}"}}"#);
        let back = format!("/domains/hot/rules/{renamed}/rename");
        let (method, path, body) = match step {
            0 => ("PUT", "/domains/hot/rules/hot", &*larger),
            2 => ("POST", "/domains/hot/rules/hot/rename", &*to),
            3 => ("POST", &*back, r#"{"to":"hot"}"#),
            4 => ("DELETE", "/domains/hot/rules/hot", ""),
            _ => ("PUT", "/domains/hot/rules/hot", &*normal),
        };
        if step == 0 {
            larger_since = Some(now_micros());
        }
        let answer = admin_call(&mut admin, method, path, body).await.unwrap();
        assert!(answer.status < 300, "{method} {path}: {}", String::from_utf8_lossy(&answer.body));
        if let Some(since) = larger_since.take_if(|_| step == 1) {
            large.push((since, now_micros()));
        }
        made += 1;
    }
    (made, large)
}

/// Half a pace behind the hot rule's changes, so that together they come evenly; at the same instants with `TIDEGATE_IN_PAIRS=1`.
async fn change_other_rules(mut admin: Connection, stop: Arc<AtomicBool>, pace: Duration) -> u64 {
    let behind = if std::env::var_os("TIDEGATE_IN_PAIRS").is_some() { Duration::ZERO } else { pace / 2 };
    let mut ticks = interval_at(Instant::now() + behind, pace);
    let mut made = 0;
    while !stop.load(Relaxed) {
        ticks.tick().await;
        let index = usize::try_from(made).unwrap() % OTHERS;
        let (path, body) = (format!("/domains/others/rules/r{index}"), other_rule(index, 1_000 + made));
        let answer = admin_call(&mut admin, "PUT", &path, &body).await.unwrap();
        assert!(answer.status < 300, "{}", String::from_utf8_lossy(&answer.body));
        made += 1;
    }
    made
}

fn p99(all: &[Vec<Seen>]) -> Duration {
    let mut times: Vec<_> = all.iter().flatten().map(|seen| seen.received - seen.sent).collect();
    times.sort_unstable();
    Duration::from_micros(times[times.len() * 99 / 100].unsigned_abs())
}

/// Every answer names a rule and a limit that its version has, and versions of a connection never fall.
fn check_versions(nodes: &Nodes, all: &[Vec<Seen>]) -> usize {
    for connection in all {
        assert!(connection.is_sorted_by_key(Seen::version), "versions of a connection fall");
    }
    let mut rules: BTreeMap<(&str, u64), BTreeSet<(String, u64)>> = BTreeMap::new();
    for seen in all.iter().flatten() {
        let version = seen.version();
        let of_version = rules.entry((seen.domain, version)).or_insert_with(|| {
            let domain = nodes.admin(0, "GET", &format!("/domains/{}/versions/{version}", seen.domain), "");
            let pair =
                |rule: &Value| (rule["name"].as_str().unwrap().to_owned(), rule["limit"].as_u64().unwrap());
            domain["rules"].as_array().unwrap().iter().map(pair).collect()
        });
        match seen.answer["rule"].as_str() {
            Some(rule) => {
                let pair = (rule.to_owned(), seen.answer["limit"].as_u64().unwrap());
                assert!(of_version.contains(&pair), "version {version} has {of_version:?}: {}", seen.answer);
            }
            None => assert!(of_version.is_empty(), "version {version} has {of_version:?}: {}", seen.answer),
        }
    }
    rules.keys().map(|(_, version)| version).collect::<BTreeSet<_>>().len()
}

/// How many units of the hammered key passed, and how many too many in the worst interval. Times are stretched where the
/// larger rate may be in force, so that the rate is one and the same; while the rule is deleted nothing is counted.
fn check_bound(all: &[Vec<Seen>], large: &Large) -> (usize, i128) {
    // A node may decide by the larger limit until it has heard of the next one.
    let by_larger = || all.iter().flatten().filter(|seen| seen.answer["limit"] == LIMIT * FACTOR);
    let last = |from: i64, to: i64, next: i64| {
        let received = by_larger().map(|seen| seen.received).filter(|at| (from..next).contains(at));
        received.max().map_or(to, |last| last.max(to))
    };
    let next = |index: usize| large.get(index + 1).map_or(i64::MAX, |(next, _)| *next);
    let large = large.iter().enumerate().map(|(index, (from, to))| (*from, last(*from, *to, next(index))));
    let large: Vec<(i64, i64)> = large.collect();
    let span: i64 = large.iter().map(|(from, to)| to - from).sum();
    println!("the larger limit was in force for {} ms at the most", span / 1_000);
    let stretched = |at: i64| {
        let more: i64 = large.iter().map(|(from, to)| (at.min(*to) - from).max(0)).sum();
        at + more * (i64::try_from(FACTOR).unwrap() - 1)
    };
    let admissions: Vec<Admission> = all
        .iter()
        .flatten()
        .filter(|seen| seen.is_hot_key && seen.answer["allowed"] == true && !seen.answer["rule"].is_null())
        .map(|seen| Admission::between(stretched(seen.sent), stretched(seen.received), 1))
        .collect();
    let bound = TokenBound { burst: LIMIT * FACTOR, tokens: LIMIT, per_micros: WINDOW_SECONDS * 1_000_000 };
    let excess = certain_token_excess(&admissions, bound).unwrap().tokens();
    (admissions.len(), excess)
}

#[test]
fn a_thousand_changes_a_minute_leave_every_answer_with_one_valid_version_and_every_bound_held() {
    let _alone = alone();
    let (postgres, redis) = (Postgres::start(), RedisServer::start());
    let nodes = Nodes::three(&postgres.url(), &redis.url());
    let others: Vec<String> = (0..OTHERS).map(|index| other_rule(index, 1_000)).collect();
    nodes.change(
        0,
        "PUT",
        "/domains/others",
        &format!(r#"{{"name":"others","rules":[{}]}}"#, others.join(",")),
    );
    nodes.change(
        0,
        "PUT",
        "/domains/hot",
        &format!(r#"{{"name":"hot","rules":[{}]}}"#, hot_rule("hot", LIMIT)),
    );
    let length = seconds(if is_strict() { 60 } else { 6 });
    let quiet = Load::start(&nodes);
    hold(length / 2);
    let quiet = p99(&quiet.stop());

    let load = Load::start(&nodes);
    let stop = Arc::new(AtomicBool::new(false));
    let pace = Duration::from_micros(2 * 60_000_000 / CHANGES_A_MINUTE);
    let [first, second] = [0, 1].map(|node| Connection::new(nodes.nodes[node].admin_address()));
    let hot = RUNTIME.spawn(change_the_hot_rule(first, Arc::clone(&stop), pace));
    let beside = RUNTIME.spawn(change_other_rules(second, Arc::clone(&stop), pace));
    let begun = now_micros();
    hold(length);
    stop.store(true, Relaxed);
    let ((hot, large), beside) = (RUNTIME.block_on(hot).unwrap(), RUNTIME.block_on(beside).unwrap());
    let took = now_micros() - begun;
    let all = load.stop();
    let busy = p99(&all);

    let a_minute = (hot + beside) as f64 * 60e6 / took as f64;
    let answers: usize = all.iter().map(Vec::len).sum();
    println!("{hot} changes of the hot rule and {beside} others, {a_minute:.0} a minute; {answers} answers");
    println!("p99 {quiet:?} without changes, {busy:?} with");
    let versions = check_versions(&nodes, &all);
    let (admitted, excess) = check_bound(&all, &large);
    println!("{versions} versions in answers; hammered key: {admitted} passed, {} below its bound", -excess);
    assert!(a_minute >= CHANGES_A_MINUTE as f64 * 0.9, "changes are too slow");
    assert!(versions as u64 > (hot + beside) / 4, "most versions were in force");
    assert!(excess <= 0, "{excess} too many");
    if is_strict() {
        assert!(busy < quiet * 2, "{busy:?}");
    }
    nodes.assert_alive();
}

#[test]
fn a_rule_that_is_renamed_or_deleted_and_made_again_keeps_its_buckets_on_every_node() {
    let _alone = alone();
    let (postgres, redis) = (Postgres::start(), RedisServer::start());
    let nodes = Nodes::three(&postgres.url(), &redis.url());
    let rule = r#"{"name":"hot","key":["u"],"limit":5,"window":"1d"}"#;
    nodes.change(0, "PUT", "/domains/hot", &format!(r#"{{"name":"hot","rules":[{rule}]}}"#));
    let body = r#"{"domain":"hot","descriptors":{"u":"hammered"}}"#;
    let passed = (0..9).filter(|turn| nodes.check(turn % 3, body).status == 200).count();
    assert_eq!(passed, 5);
    let steps = [
        ("POST", "/domains/hot/rules/hot/rename", r#"{"to":"other"}"#),
        ("POST", "/domains/hot/rules/other/rename", r#"{"to":"third"}"#),
        ("POST", "/domains/hot/rules/third/rename", r#"{"to":"hot"}"#),
        ("DELETE", "/domains/hot/rules/hot", ""),
        ("PUT", "/domains/hot/rules/hot", rule),
    ];
    for (method, path, change) in steps {
        nodes.change(0, method, path, change);
        let wanted = if method == "DELETE" { 200 } else { 429 };
        for node in 0..3 {
            assert_eq!(nodes.check(node, body).status, wanted, "{method} {path}");
        }
    }
}
