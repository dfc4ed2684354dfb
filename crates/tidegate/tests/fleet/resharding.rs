//! Slots that move from one node of a Cluster to another under load: nobody notices.

use std::time::Duration;

use tidegate_testkit::excess::TokenBound;
use tidegate_testkit::{RedisCluster, RedisServer, Stopwatch};

use crate::load::{Aim, Ask, History, Load, Sample};
use crate::site::{Fleet, alone, rounds};

const NODES: usize = 2;
const CLIENTS_PER_NODE: usize = 16;
/// Requests a second, most of them for the hot domain.
const RATE: u64 = 600;
/// Each domain has a slot of its own.
const DOMAINS: usize = 300;
/// The slots that move, from the first node to the second and back.
const MOVED: std::ops::RangeInclusive<u16> = 0..=999;
const HOT_BOUND: TokenBound = TokenBound { burst: 30, tokens: 30, per_micros: 1_000_000 };

fn body(domain: usize) -> String {
    format!(r#"{{"domain":"d{domain}","descriptors":{{"u":"a"}}}}"#)
}

fn rules() -> String {
    let domains: String = (0..DOMAINS)
        .map(|domain| {
            format!(
                "  - name: d{domain}\n    rules:\n      - {{ name: r, key: [u], limit: 30, window: 1s }}\n"
            )
        })
        .collect();
    format!("version: 1\ndomains:\n{domains}")
}

/// The slots in the range that hold a bucket.
fn buckets_in(node: &RedisServer, range: std::ops::RangeInclusive<u16>) -> usize {
    let mut client = node.client();
    range
        .filter(|slot| client.command(&["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()]).integer() > 0)
        .count()
}

#[test]
fn a_thousand_slots_move_under_load() {
    let _alone = alone();
    let cluster = RedisCluster::start(3, 0);
    let addresses: Vec<_> = cluster.addresses().iter().map(ToString::to_string).collect();
    let url = format!("redis+cluster://{}", addresses.join(","));
    let fleet = Fleet::start(NODES, &url, &rules(), &["--fail-mode", "deny"]);

    // The hot domain is one whose slot moves: found by asking for each once, on an empty cluster.
    let hot = (0..DOMAINS)
        .find(|domain| {
            assert_eq!(fleet.check(0, &body(*domain)).status, 200);
            buckets_in(&cluster.nodes()[0], MOVED) > 0
        })
        .expect("one of 300 slots is among a thousand");

    let load = Load::start(&Aim::new(fleet.addresses(), CLIENTS_PER_NODE, RATE), move |random| {
        // The cost is only a mark here: 1 is hot, the others are left out of the account below.
        let domain = if random.u8(..4) == 0 { random.usize(..DOMAINS) } else { hot };
        Ask { body: body(domain), cost: u64::from(domain == hot) }
    });
    load.wait_until_sent(RATE);
    let used = buckets_in(&cluster.nodes()[0], MOVED);
    let (watch, times) = (Stopwatch::start(), rounds(1));
    for _ in 0..times {
        cluster.migrate_slots(MOVED, 0, 1);
        load.wait_until_sent(RATE / 2);
        cluster.migrate_slots(MOVED, 1, 0);
        load.wait_until_sent(RATE / 2);
    }
    let elapsed = watch.elapsed();
    let history = load.stop();
    report(&history, used, times, elapsed);
    history.assert_decided();
    assert!(used > 1, "more than the hot slot was in use");
    let hot = History(history.0.iter().filter(|sample| sample.cost == 1).copied().collect());
    assert!(hot.excess(HOT_BOUND) <= 0);
    fleet.assert_alive();
}

fn report(history: &History, used: usize, times: u32, elapsed: Duration) {
    let surfaced = |sample: &Sample| !sample.is_admitted() && !sample.is_denied();
    println!(
        "1000 slots, {used} of them in use, moved {} times in {elapsed:?} under {} requests: {} errors, excess of the \
         hot bucket {}, p99 {:?}, worst {:?}",
        2 * times,
        history.0.len(),
        history.count(surfaced),
        history.excess(HOT_BOUND),
        history.percentile(0.99, |_| true),
        history.percentile(1.0, |_| true),
    );
}
