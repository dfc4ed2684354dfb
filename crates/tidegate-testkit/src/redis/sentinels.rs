//! One primary with replicas, and the sentinels that choose the next primary.

use std::net::SocketAddr;
use std::time::Duration;

use super::options::{Kind, RedisOptions};
use super::server::RedisServer;
use crate::wait::{wait_for, wait_until};

/// The name under which the sentinels know the primary.
const MASTER_NAME: &str = "tidegate";
/// How long the sentinels may take to know each other and the replicas.
const FORM_DEADLINE: Duration = Duration::from_secs(30);
/// How long a sentinel may take to answer; a paused one is passed over.
const ANSWER_DEADLINE: Duration = Duration::from_millis(500);

/// How the group is set up.
#[derive(Clone, Debug)]
pub struct SentinelOptions {
    /// Copies of the primary.
    pub replicas: usize,
    /// Sentinels.
    pub sentinels: usize,
    /// How many of them must find the primary silent.
    pub quorum: usize,
    /// How long it must be silent for that.
    pub down_after: Duration,
    /// After how long a failover that does not succeed is tried again.
    pub failover_timeout: Duration,
    /// What every Redis server is told besides.
    pub redis: RedisOptions,
}

impl Default for SentinelOptions {
    /// One replica, three sentinels of which two must agree, 700 ms of silence.
    fn default() -> Self {
        Self {
            replicas: 1,
            sentinels: 3,
            quorum: 2,
            down_after: Duration::from_millis(700),
            failover_timeout: Duration::from_secs(3),
            redis: RedisOptions::new(),
        }
    }
}

/// A primary, its replicas and their sentinels; all are killed when it is dropped.
#[derive(Debug)]
pub struct Sentinels {
    servers: Vec<RedisServer>,
    sentinels: Vec<RedisServer>,
}

impl Sentinels {
    /// Starts the default group and waits until the sentinels are ready for a failover.
    pub fn start() -> Self {
        Self::with(&SentinelOptions::default())
    }

    /// Starts a group and waits until the sentinels are ready for a failover.
    ///
    /// # Panics
    ///
    /// Panics where they are not within half a minute.
    pub fn with(options: &SentinelOptions) -> Self {
        let primary = RedisServer::with(&options.redis);
        let primary_port = primary.port();
        let replica = options.redis.clone().setting("replicaof", format!("127.0.0.1 {primary_port}"));
        let mut servers = vec![primary];
        servers.extend((0..options.replicas).map(|_| RedisServer::with(&replica)));
        for replica in &servers[1..] {
            replica.wait_until_synced_replica(FORM_DEADLINE);
        }
        let sentinel = sentinel_options(options, primary_port);
        let sentinels = (0..options.sentinels).map(|_| {
            let sentinel = RedisServer::with(&sentinel);
            hurry(&sentinel);
            sentinel
        });
        let sentinels = sentinels.collect();
        let group = Self { servers, sentinels };
        wait_until("the sentinels know each other and the replicas", FORM_DEADLINE, || {
            group.sentinels.iter().all(|sentinel| {
                let state = sentinel.command(&["SENTINEL", "MASTER", MASTER_NAME]).ok();
                let field = |name: &str| state.field(name).expect("a field of the state").text();
                field("num-other-sentinels") == (options.sentinels - 1).to_string()
                    && field("num-slaves") == options.replicas.to_string()
                    && field("flags") == "master"
            })
        });
        group
    }

    /// The name under which clients ask for the primary.
    pub fn master_name(&self) -> &'static str {
        MASTER_NAME
    }

    /// Where the sentinels listen.
    pub fn sentinel_addresses(&self) -> Vec<SocketAddr> {
        self.sentinels.iter().map(RedisServer::address).collect()
    }

    /// The Redis servers: the first primary, then its replicas. Roles change with failovers, positions do not.
    pub fn servers(&self) -> &[RedisServer] {
        &self.servers
    }

    /// One Redis server, to kill or restart.
    pub fn server_mut(&mut self, index: usize) -> &mut RedisServer {
        &mut self.servers[index]
    }

    /// The sentinels, to pause and look into.
    pub fn sentinels(&self) -> &[RedisServer] {
        &self.sentinels
    }

    /// Kills a sentinel (SIGKILL).
    pub fn kill_sentinel(&mut self, index: usize) {
        self.sentinels[index].kill();
    }

    /// Starts a sentinel again; it remembers what it knew.
    pub fn restart_sentinel(&mut self, index: usize) {
        self.sentinels[index].restart();
        hurry(&self.sentinels[index]);
    }

    /// The position of the primary, as the first sentinel that answers says; it may be one that was just killed.
    ///
    /// # Panics
    ///
    /// Panics where no sentinel answers.
    pub fn primary(&self) -> usize {
        let mut clients = self
            .sentinels
            .iter()
            .filter(|sentinel| sentinel.is_running())
            .filter_map(|sentinel| sentinel.try_client(ANSWER_DEADLINE).ok());
        let answer = clients
            .find_map(|mut client| {
                client.try_command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME]).ok()
            })
            .expect("a sentinel that answers");
        let port = answer.items()[1].integer();
        let position = self.servers.iter().position(|server| i64::from(server.port()) == port);
        position.expect("a server of this group")
    }

    /// Kills the primary (SIGKILL) and says which it was.
    pub fn kill_primary(&mut self) -> usize {
        let primary = self.primary();
        self.servers[primary].kill();
        primary
    }

    /// Waits until the sentinels name another primary than `former` and it takes writes; says which.
    pub fn wait_for_failover(&self, former: usize, within: Duration) -> usize {
        wait_for("another primary takes writes", within, || {
            let primary = self.primary();
            if primary == former {
                return None;
            }
            // A promotion cuts connections off.
            let role = self.servers[primary].try_command(&["ROLE"]).ok()?.items()[0].text();
            (role == "master").then_some(primary)
        })
    }

    /// Starts a server again. It comes up empty and with the role it had; the sentinels make a former primary a
    /// replica some seconds later ([`RedisServer::wait_until_synced_replica`]).
    pub fn restart(&mut self, index: usize) {
        self.servers[index].restart();
    }
}

/// Lets a sentinel look and talk more often than every one to ten seconds.
///
/// It would ping once in `down_after` where that is less than a second, and so find healthy servers silent. Five
/// times the ping's period must be more than a second all the same: for longer a sentinel does not believe what it
/// knows of replicas, which it asks every second while the primary is down.
fn hurry(sentinel: &RedisServer) {
    let periods = ["PING-PERIOD", "300", "INFO-PERIOD", "500", "PUBLISH-PERIOD", "500"];
    sentinel.command(&[&["SENTINEL", "DEBUG"], &periods[..]].concat()).ok();
}

fn sentinel_options(options: &SentinelOptions, primary_port: u16) -> RedisOptions {
    let millis = |span: Duration| format!("{MASTER_NAME} {}", span.as_millis());
    let monitor = format!("monitor {MASTER_NAME} 127.0.0.1 {primary_port} {}", options.quorum);
    let mut sentinel = RedisOptions::new()
        .kind(Kind::Sentinel)
        .setting("sentinel", monitor)
        .setting("sentinel down-after-milliseconds", millis(options.down_after))
        .setting("sentinel failover-timeout", millis(options.failover_timeout))
        .setting("sentinel parallel-syncs", format!("{MASTER_NAME} 1"));
    if let Some(password) = &options.redis.password {
        sentinel = sentinel.setting("sentinel auth-pass", format!("{MASTER_NAME} {password}"));
    }
    sentinel
}
