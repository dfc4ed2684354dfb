//! Nodes on one store, and what the tests ask of them.

use std::env;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tidegate_testkit::{
    RedisServer, Reply, RespClient, Stopwatch, TempDir, Tidegate, TidegateOptions, wait_for, wait_until,
};
use tokio::runtime::Runtime;

use crate::wire::{Answer, Connection};

/// How long a node may take for anything that it is waited for.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The argument that bounds one call of the store.
pub const DEADLINE: &str = "--store-deadline";

/// The clients' runtime: the tests themselves block, because the processes they start do.
pub static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
});

/// One test at a time: they measure, and two cores have enough to do with one fleet.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a phase under load lasts: so many seconds, unless `TIDEGATE_SECONDS` says otherwise.
pub fn seconds(usual: u64) -> Duration {
    Duration::from_secs(setting("TIDEGATE_SECONDS").unwrap_or(usual))
}

/// How often something is done: so often, unless `TIDEGATE_ROUNDS` says otherwise.
pub fn rounds(usual: u32) -> u32 {
    setting("TIDEGATE_ROUNDS").unwrap_or(usual)
}

fn setting<T: FromStr>(name: &str) -> Option<T> {
    let text = env::var_os(name)?.into_string().unwrap();
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// A bound that holds on an idle machine with a release build; elsewhere the looser one, which still tells right from
/// wrong.
pub fn bound(strict: Duration, loose: Duration) -> Duration {
    if is_strict() { strict } else { loose }
}

/// Whether the machine is idle and the build a release, as `TIDEGATE_STRICT` says.
pub fn is_strict() -> bool {
    env::var_os("TIDEGATE_STRICT").is_some()
}

/// The longest time from when the store is well to when nodes use it.
pub fn most_until_back() -> Duration {
    bound(Duration::from_secs(2), Duration::from_secs(4))
}

/// The server to test.
pub fn binary() -> TidegateOptions {
    let built = env!("CARGO_BIN_EXE_tidegate").into();
    TidegateOptions::new(env::var_os("TIDEGATE_BINARY").unwrap_or(built))
}

/// The clock of this machine, which Redis reads too.
#[allow(clippy::disallowed_methods, reason = "real processes have no fake clock")]
pub fn now_micros() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

/// Lets a state of affairs last: an outage has a length.
pub fn hold(span: Duration) {
    RUNTIME.block_on(async { tokio::time::sleep(span).await });
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
