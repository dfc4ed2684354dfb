//! Nodes on one store, and what the tests ask of them.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tidegate_testkit::{
    RedisServer, Reply, RespClient, Stopwatch, TempDir, Tidegate, TidegateOptions, wait_for, wait_until,
};

pub use crate::machine::{
    PATIENCE, RUNTIME, alone, binary, bound, hold, is_strict, now_micros, rounds, seconds,
};
use crate::wire::{Answer, Connection};

/// The argument that bounds one call of the store.
pub const DEADLINE: &str = "--store-deadline";

/// The longest time from when the store is well to when nodes use it.
pub fn most_until_back() -> Duration {
    bound(Duration::from_secs(2), Duration::from_secs(4))
}

/// A rule file with one domain `d`.
pub fn domain(rules: &[&str]) -> String {
    let rules: String = rules.iter().map(|rule| format!("      - {{ {rule} }}\n")).collect();
    format!("version: 1\ndomains:\n  - name: d\n    rules:\n{rules}")
}

/// The body of a check in the domain `d`, for a rule with the key `[u]`.
pub fn check_of(user: &str, cost: u64) -> String {
    format!(r#"{{"domain":"d","descriptors":{{"u":"{user}"}},"cost":{cost}}}"#)
}

/// The keys of buckets in a server.
pub fn bucket_keys(client: &mut RespClient) -> Vec<Vec<u8>> {
    let keys = client.command(&["KEYS", "*"]).ok();
    let keys = keys.items().iter().map(|key| match key {
        Reply::Bulk(key) => key.clone(),
        other => panic!("not a key: {other:?}"),
    });
    // What nodes say of themselves is a sorted set.
    keys.filter(|key| client.command(&[b"TYPE", key.as_slice()]).text() != "zset").collect()
}

/// The buckets in a server, to the byte.
pub fn buckets_in(redis: &RedisServer) -> Vec<(Vec<u8>, Reply)> {
    let mut client = redis.client();
    let mut keys = bucket_keys(&mut client);
    keys.sort();
    keys.into_iter().map(|key| (key.clone(), client.command(&[b"DUMP", key.as_slice()]).ok())).collect()
}

/// Several nodes with the same rules and the same store.
pub struct Fleet {
    pub nodes: Vec<Tidegate>,
    _rules: TempDir,
}

impl Fleet {
    /// Starts so many nodes and waits until they are ready.
    pub fn start(count: usize, store: &str, rules: &str, arguments: &[&str]) -> Self {
        Self::with(count, &binary(), store, rules, arguments)
    }

    /// As [`start`](Self::start), with a server that is set up otherwise. Where nothing is said of it, the store has more
    /// time for an answer than by default: a busy machine must not look like a store that is away.
    pub fn with(
        count: usize,
        options: &TidegateOptions,
        store: &str,
        rules: &str,
        arguments: &[&str],
    ) -> Self {
        let dir = TempDir::new("fleet");
        let rules = dir.write("rules.yaml", rules).display().to_string();
        let mut options =
            options.clone().arguments(["--store", store, "--rules", &rules]).arguments(arguments);
        if !arguments.contains(&DEADLINE) {
            let deadline = bound(Duration::from_millis(100), Duration::from_secs(1));
            options = options.arguments([DEADLINE, &format!("{}ms", deadline.as_millis())]);
        }
        Self { nodes: (0..count).map(|_| Tidegate::with(&options)).collect(), _rules: dir }
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(Tidegate::address).collect()
    }

    /// One check, on a connection of its own.
    #[track_caller]
    pub fn check(&self, node: usize, body: &str) -> Answer {
        let mut connection = Connection::new(self.nodes[node].address());
        RUNTIME.block_on(connection.post("/v1/check", body)).unwrap()
    }

    #[track_caller]
    pub fn get(&self, node: usize, path: &str) -> Value {
        let mut connection = Connection::new(self.nodes[node].address());
        RUNTIME.block_on(connection.get(path)).unwrap().json()
    }

    pub fn breaker(&self, node: usize) -> Value {
        self.get(node, "/circuit-breaker-status")
    }

    /// What a key of the domain `d` has used, as the store says.
    pub fn used(&self, user: &str) -> u64 {
        wait_for("the statistics of a key", PATIENCE, || {
            self.get(0, &format!("/v1/stats/d/{user}"))["used"].as_u64()
        })
    }

    /// Waits until every node decides by the store and calls it well; how long that took.
    pub fn wait_until_on_store(&self, body: &str) -> Duration {
        let watch = Stopwatch::start();
        for node in 0..self.nodes.len() {
            wait_until("the node decides by the store", PATIENCE, || {
                !self.check(node, body).degraded && self.breaker(node)["state"] == "closed"
            });
        }
        watch.elapsed()
    }

    /// Asserts that every node is the process that was started.
    pub fn assert_alive(&self) {
        for (index, node) in self.nodes.iter().enumerate() {
            assert_eq!(self.get(index, "/health")["status"], "ok");
            assert!(!node.logs().contains("panicked"), "{}", node.logs());
        }
    }
}
