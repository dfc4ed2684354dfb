//! Nodes on one catalog, and what the tests ask of them.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tidegate_testkit::{Stopwatch, TempDir, Tidegate, TidegateOptions, wait_until};

use crate::machine::{PATIENCE, RUNTIME, binary, bound};
use crate::wire::{Answer, Connection};

/// The operator's token of every node.
pub const TOKEN: &str = "an-operators-token-of-32-letters";

/// The longest time from a change to when every node answers by it.
pub const MOST_UNTIL_IN_FORCE: Duration = Duration::from_millis(1_500);

/// The longest time from when the database is well to when every node follows it again.
pub fn most_until_caught_up() -> Duration {
    bound(Duration::from_secs(3), Duration::from_secs(5))
}

/// Several nodes, each with a folder of its own.
pub struct Nodes {
    pub nodes: Vec<Tidegate>,
    pub dir: TempDir,
}

impl Nodes {
    /// Starts a node for each URL of a database and waits until they are ready.
    pub fn start(databases: &[String], arguments: &[&str]) -> Self {
        let dir = TempDir::new("living");
        let start = |(index, url): (usize, &String)| Tidegate::with(&options(&dir, index, url, arguments));
        Self { nodes: databases.iter().enumerate().map(start).collect(), dir }
    }

    /// Three nodes with one database and one store.
    pub fn three(database: &str, store: &str) -> Self {
        Self::start(&vec![database.to_owned(); 3], &["--store", store, "--store-deadline", "1s"])
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
    pub fn get(&self, node: usize, path: &str) -> Answer {
        let mut connection = Connection::new(self.nodes[node].address());
        RUNTIME.block_on(connection.get(path)).unwrap()
    }

    /// What `/ready` says of the catalog.
    #[track_caller]
    pub fn catalog(&self, node: usize) -> Value {
        self.get(node, "/ready").json()["catalog"].take()
    }

    /// A number of `/metrics`.
    #[track_caller]
    pub fn metric(&self, node: usize, name: &str) -> f64 {
        let text = String::from_utf8(self.get(node, "/metrics").body).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("no {name} in {text}"))
    }

    /// A call of the admin API that succeeds, as late as its limiter wants it.
    #[track_caller]
    pub fn admin(&self, node: usize, method: &str, path: &str, body: &str) -> Value {
        let mut answer = self.try_admin(node, method, path, body).unwrap();
        while answer.status == 429 {
            let wait = answer.json()["retry_after_ms"].as_u64().unwrap();
            RUNTIME.block_on(async { tokio::time::sleep(Duration::from_millis(wait)).await });
            answer = self.try_admin(node, method, path, body).unwrap();
        }
        assert!(answer.status < 300, "{method} {path}: {}", String::from_utf8_lossy(&answer.body));
        answer.json()
    }

    /// A change of rules, in force on every node; how long that took from the call on.
    #[track_caller]
    pub fn change(&self, node: usize, method: &str, path: &str, body: &str) -> Duration {
        let watch = Stopwatch::start();
        let version = self.admin(node, method, path, body)["version"].as_i64().unwrap();
        self.wait_until_at(version);
        watch.elapsed()
    }

    /// A call of the admin API, whatever comes of it.
    pub fn try_admin(&self, node: usize, method: &str, path: &str, body: &str) -> std::io::Result<Answer> {
        let mut connection = Connection::new(self.nodes[node].admin_address());
        RUNTIME.block_on(admin_call(&mut connection, method, path, body))
    }

    /// Waits until every node answers a check as wanted; how long that took.
    #[track_caller]
    pub fn wait_until_each(&self, what: &str, body: &str, wanted: impl Fn(&Value) -> bool) -> Duration {
        let watch = Stopwatch::start();
        for node in 0..self.nodes.len() {
            wait_until(what, PATIENCE, || wanted(&self.check(node, body).json()));
        }
        watch.elapsed()
    }

    /// Waits until every node has this version of the rules in force; how long that took.
    #[track_caller]
    pub fn wait_until_at(&self, version: i64) -> Duration {
        let watch = Stopwatch::start();
        for node in 0..self.nodes.len() {
            wait_until("the node has the rules in force", PATIENCE, || {
                self.catalog(node)["version"].as_i64().unwrap() >= version
            });
        }
        watch.elapsed()
    }

    /// Waits until a node says that its database is `up` or `down`; how long that took.
    #[track_caller]
    pub fn wait_until_database(&self, node: usize, state: &str) -> Duration {
        let watch = Stopwatch::start();
        wait_until("the node knows how its database is", PATIENCE, || {
            self.catalog(node)["database"]["state"] == state
        });
        watch.elapsed()
    }

    /// Asserts that every node is the process that was started.
    #[track_caller]
    pub fn assert_alive(&self) {
        for (index, node) in self.nodes.iter().enumerate() {
            assert_eq!(self.get(index, "/health").status, 200);
            assert!(!node.logs().contains("panicked"), "{}", node.logs());
        }
    }
}

/// How a node is started.
pub fn options(dir: &TempDir, index: usize, database: &str, arguments: &[&str]) -> TidegateOptions {
    binary().catalog(database, TOKEN, dir.join(&format!("last-good-{index}"))).arguments(arguments)
}

/// One call of the admin API, of an operator who makes things, or changes them whatever they are.
pub async fn admin_call(
    connection: &mut Connection,
    method: &str,
    path: &str,
    body: &str,
) -> std::io::Result<Answer> {
    let path = format!("/admin/v1{path}");
    let fields = format!("authorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\n");
    if !matches!(method, "PUT" | "DELETE" | "POST") {
        return connection.request(method, &path, &fields, body).await;
    }
    let answer = connection.request(method, &path, &format!("{fields}if-match: *\r\n"), body).await?;
    if answer.status != 412 {
        return Ok(answer);
    }
    connection.request(method, &path, &format!("{fields}if-none-match: *\r\n"), body).await
}

/// A check of a user.
pub fn check_of(domain: &str, user: &str) -> String {
    format!(r#"{{"domain":"{domain}","descriptors":{{"user_id":"{user}"}}}}"#)
}

/// A domain with one rule for each user, and tiers.
pub fn tiered(limit: u64) -> String {
    format!(
        r#"{{"name":"payments","subject":"user_id","default_tier":"free","rules":[{{"name":"per-user","key":["user_id"],
        "algorithm":"sliding_window","limit":{limit},"window":"1d","tiers":{{"enterprise":{{"limit":1000}}}}}}]}}"#
    )
}
