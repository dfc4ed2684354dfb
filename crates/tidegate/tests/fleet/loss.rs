//! A store that is killed and forgets: how much too much passes, and how soon nodes are back.

use std::time::Duration;

use tidegate_testkit::excess::TokenBound;
use tidegate_testkit::{RedisCluster, RedisServer, Sentinels, Stopwatch, wait_until};

use crate::load::{Aim, Ask, History, Load, Sample};
use crate::site::{
    Fleet, PATIENCE, alone, bucket_keys, check_of, domain, most_until_back, now_micros, rounds,
};

const NODES: usize = 4;
const CLIENTS_PER_NODE: usize = 16;
/// Requests a second: ten times what comes back in an outage of a second, and the whole burst in less than one.
const RATE: u64 = 1_000;
/// A burst that a loss gives back whole, and a refill that does not hide it.
const BOUND: TokenBound = TokenBound { burst: 300, tokens: 5, per_micros: 1_000_000 };
const RULE: &str = "name: hot, key: [u], limit: 300, window: 60s";
/// Of a burst, what may pass too much at each loss where nodes remember what they saw.
const MOST_WITH_WITNESS: f64 = 0.2;

const WITH_WITNESS: &str = "all";
const WITHOUT_WITNESS: &str = "coalesce,batch,deny-cache,shadow";

/// A store that can be killed.
trait Store {
    fn url(&self) -> String;
    /// Kills what serves the hot bucket.
    fn kill(&mut self);
    /// Waits until there is a store again.
    fn heal(&mut self);
    /// Makes ready for the next kill.
    fn settle(&mut self) {}
}

struct Alone(RedisServer);

impl Store for Alone {
    fn url(&self) -> String {
        self.0.url()
    }

    fn kill(&mut self) {
        self.0.kill();
    }

    fn heal(&mut self) {
        self.0.restart();
    }
}

struct UnderSentinels {
    group: Sentinels,
    killed: usize,
}

impl Store for UnderSentinels {
    fn url(&self) -> String {
        let sentinels: Vec<_> = self.group.sentinel_addresses().iter().map(ToString::to_string).collect();
        format!("redis+sentinel://{}/{}", sentinels.join(","), self.group.master_name())
    }

    fn kill(&mut self) {
        self.killed = self.group.kill_primary();
    }

    fn heal(&mut self) {
        self.group.wait_for_failover(self.killed, PATIENCE);
    }

    fn settle(&mut self) {
        self.group.restart(self.killed);
        self.group.servers()[self.killed].wait_until_synced_replica(2 * PATIENCE);
    }
}

struct Sharded {
    cluster: RedisCluster,
    killed: usize,
    slot: u16,
}

impl Sharded {
    fn new() -> Self {
        Self { cluster: RedisCluster::start(3, 1), killed: 0, slot: 0 }
    }

    /// The slot of the hot bucket: there is no other.
    fn find_slot(&self) -> u16 {
        let find_on = |node: &RedisServer| {
            let mut client = node.client();
            // Replicas answer for their keys, too.
            client.command(&["READONLY"]).ok();
            let bucket = bucket_keys(&mut client).pop()?;
            Some(client.command(&[b"CLUSTER".as_slice(), b"KEYSLOT", &bucket]).integer())
        };
        let slot = self.cluster.nodes().iter().find_map(find_on).expect("the hot bucket");
        u16::try_from(slot).unwrap()
    }
}

impl Store for Sharded {
    fn url(&self) -> String {
        let nodes: Vec<_> = self.cluster.addresses().iter().map(ToString::to_string).collect();
        format!("redis+cluster://{}", nodes.join(","))
    }

    fn kill(&mut self) {
        self.slot = self.find_slot();
        self.killed = self.cluster.master_of(self.slot);
        self.cluster.kill(self.killed);
    }

    fn heal(&mut self) {
        wait_until("another node serves the slot", 2 * PATIENCE, || {
            self.cluster.master_of(self.slot) != self.killed
        });
        self.cluster.wait_until_whole(2 * PATIENCE);
    }

    fn settle(&mut self) {
        self.cluster.restart(self.killed);
        self.cluster.wait_until_whole(2 * PATIENCE);
        self.cluster.nodes()[self.killed].wait_until_synced_replica(2 * PATIENCE);
    }
}

/// Kills the store again and again under ten times the load it allows; the share of a burst that passed too much at
/// the worst kill.
fn kill_again_and_again(name: &str, store: &mut impl Store, accelerate: &str, kills: u32) -> f64 {
    let arguments = ["--fail-mode", "deny", "--accelerate", accelerate];
    let fleet = Fleet::start(NODES, &store.url(), &domain(&[RULE]), &arguments);
    let load = Load::start(&Aim::new(fleet.addresses(), CLIENTS_PER_NODE, RATE), |_| Ask {
        body: check_of("hot", 1),
        cost: 1,
    });
    let (mut worst_back, mut killed_at) = (Duration::ZERO, Vec::new());
    for _ in 0..kills {
        // The bucket is exhausted: a loss gives back all of it.
        load.wait_until_denied(RATE / 2);
        killed_at.push(now_micros());
        store.kill();
        wait_until("the store is missed", PATIENCE, || fleet.check(0, &check_of("hot", 1)).degraded);
        store.heal();
        let well = Stopwatch::start();
        for node in 0..NODES {
            wait_until("the node uses the store", PATIENCE, || fleet.breaker(node)["state"] == "closed");
        }
        worst_back = worst_back.max(well.elapsed());
        load.wait_until_denied(RATE / 2);
        store.settle();
    }
    load.wait_until_denied(RATE / 2);
    let history = load.stop();
    let is_by_policy = |sample: &Sample| sample.status == 503 && sample.degraded;
    let by_policy = history.count(is_by_policy);
    let other = history.count(|sample| !(sample.is_admitted() || sample.is_denied() || is_by_policy(sample)));
    let excess = history.excess(BOUND);
    let share = |units: i128| units.max(0) as f64 / BOUND.burst as f64;
    let worst = share(worst_of(&history, &killed_at));
    println!(
        "{name}, accelerate {accelerate}: {kills} kills under {} requests: excess in all {excess} \
         = {:.3} B a kill, of the worst kill {worst:.3} B, back on the store after {worst_back:?} at worst, {by_policy} refused by policy, {other} other answers",
        history.0.len(),
        share(excess) / f64::from(kills),
    );
    assert_eq!(other, 0, "errors that no policy made");
    assert!(worst_back <= most_until_back(), "{worst_back:?}");
    assert!(worst <= 1.0 && excess <= i128::from(kills) * i128::from(BOUND.burst));
    fleet.assert_alive();
    worst
}

/// What passed too much at the worst kill. The bucket is exhausted then, so that nothing may pass from there to the next
/// kill but what comes back.
fn worst_of(history: &History, killed_at: &[i64]) -> i128 {
    let ends = killed_at.iter().skip(1).copied().chain([i64::MAX]);
    let after_kill = killed_at.iter().zip(ends).map(|(&from, to)| {
        let samples = history.0.iter().filter(|sample| (from..to).contains(&sample.sent));
        History(samples.copied().collect()).excess(TokenBound { burst: 0, ..BOUND })
    });
    after_kill.max().unwrap_or(0)
}

#[test]
fn a_server_without_persistence() {
    let _alone = alone();
    let forgotten =
        kill_again_and_again("alone", &mut Alone(RedisServer::start()), WITHOUT_WITNESS, rounds(2));
    assert!(forgotten > MOST_WITH_WITNESS, "otherwise the witness has nothing to do here");
    let remembered = kill_again_and_again("alone", &mut Alone(RedisServer::start()), WITH_WITNESS, rounds(3));
    assert!(remembered <= MOST_WITH_WITNESS);
}

#[test]
fn a_primary_under_sentinels() {
    let _alone = alone();
    for accelerate in [WITHOUT_WITNESS, WITH_WITNESS] {
        let mut store = UnderSentinels { group: Sentinels::start(), killed: 0 };
        let share = kill_again_and_again("sentinels", &mut store, accelerate, rounds(1));
        assert!(share <= MOST_WITH_WITNESS, "a replica has nearly everything");
    }
}

#[test]
fn a_primary_of_a_cluster() {
    let _alone = alone();
    for accelerate in [WITHOUT_WITNESS, WITH_WITNESS] {
        let mut store = Sharded::new();
        let share = kill_again_and_again("cluster", &mut store, accelerate, rounds(1));
        assert!(share <= MOST_WITH_WITNESS, "a replica has nearly everything");
    }
}
