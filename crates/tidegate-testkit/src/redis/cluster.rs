//! Several servers that share the key space.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::options::{Kind, RedisOptions};
use super::resp::{Reply, RespClient};
use super::server::RedisServer;
use crate::wait::wait_until;

/// Slots of a cluster.
const SLOTS: u16 = 16_384;
/// How long the nodes may take to agree.
const FORM_DEADLINE: Duration = Duration::from_secs(30);
/// How long a node may take to say what it sees; a paused one is passed over.
const VIEW_DEADLINE: Duration = Duration::from_millis(500);
/// Keys moved in one step of a migration.
const KEYS_PER_STEP: &str = "100";
/// How long one step of a migration may take, in milliseconds.
const STEP_TIMEOUT_MS: &str = "5000";

/// How a cluster is set up.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Nodes that own slots, at least three if one is to fail over.
    pub masters: usize,
    /// Copies of each of them.
    pub replicas_per_master: usize,
    /// How long a node may be silent before the others call it failed.
    pub node_timeout: Duration,
    /// What every node is told besides.
    pub redis: RedisOptions,
}

impl Default for ClusterOptions {
    /// Three masters without replicas, and a second of silence.
    fn default() -> Self {
        Self {
            masters: 3,
            replicas_per_master: 0,
            node_timeout: Duration::from_secs(1),
            redis: RedisOptions::new(),
        }
    }
}

/// A cluster; its nodes are killed when it is dropped.
///
/// The masters come first in [`nodes`](Self::nodes), each with an equal share of the slots in ascending order; the
/// replicas of the first master follow, then those of the second, and so on. Roles change with failovers,
/// positions do not.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
}

/// One line of `CLUSTER NODES`.
struct NodeView {
    port: u16,
    flags: String,
    config_epoch: u64,
    slots: Vec<RangeInclusive<u16>>,
}

impl RedisCluster {
    /// Starts a cluster with the defaults and waits until it is whole.
    pub fn start(masters: usize, replicas_per_master: usize) -> Self {
        Self::with(&ClusterOptions { masters, replicas_per_master, ..ClusterOptions::default() })
    }

    /// Starts a cluster and waits until all nodes call it whole and all replicas are in step.
    ///
    /// # Panics
    ///
    /// Panics where it does not become whole within half a minute.
    pub fn with(options: &ClusterOptions) -> Self {
        let node = options
            .redis
            .clone()
            .kind(Kind::ClusterNode)
            .setting("cluster-node-timeout", options.node_timeout.as_millis().to_string())
            // Replicas stay with the master they were given to.
            .setting("cluster-allow-replica-migration", "no");
        let count = options.masters * (1 + options.replicas_per_master);
        let cluster = Self { nodes: (0..count).map(|_| RedisServer::with(&node)).collect() };
        cluster.form(options.masters, options.replicas_per_master);
        cluster
    }

    /// All nodes; see the order above.
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// One node, to restart, kill or pause.
    pub fn node_mut(&mut self, index: usize) -> &mut RedisServer {
        &mut self.nodes[index]
    }

    /// The nodes' URLs for clients.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(RedisServer::url).collect()
    }

    /// The nodes' addresses.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(RedisServer::address).collect()
    }

    /// Kills a node (SIGKILL).
    pub fn kill(&mut self, index: usize) {
        self.nodes[index].kill();
    }

    /// Starts a node again; it remembers its place, and not its data.
    pub fn restart(&mut self, index: usize) {
        self.nodes[index].restart();
    }

    /// The node that owns `slot`, as the node with the latest news says; it may be one that was just killed.
    ///
    /// # Panics
    ///
    /// Panics where no node answers or nobody owns the slot.
    pub fn master_of(&self, slot: u16) -> usize {
        let owners =
            self.views().flatten().filter(|view| view.slots.iter().any(|range| range.contains(&slot)));
        let owner = owners.max_by_key(|view| view.config_epoch).expect("an owner of the slot");
        self.nodes.iter().position(|node| node.port() == owner.port).expect("a node of this cluster")
    }

    /// The slot of a key, `{…}` heeded.
    pub fn slot_of(&self, key: &str) -> u16 {
        let mut views = self.running().filter_map(|node| node.try_client(VIEW_DEADLINE).ok());
        let reply = views.next().expect("a running node").command(&["CLUSTER", "KEYSLOT", key]);
        u16::try_from(reply.integer()).expect("a slot")
    }

    /// Waits until every running node calls the cluster whole and every running replica is in step.
    pub fn wait_until_whole(&self, within: Duration) {
        wait_until("the cluster is whole", within, || self.running().all(is_settled));
    }

    /// Moves slots with their keys from one node to another, as operators do it, under whatever load there is.
    ///
    /// # Panics
    ///
    /// Panics where a node refuses a step, as it does where `from` does not own a slot.
    pub fn migrate_slots(&self, slots: RangeInclusive<u16>, from: usize, to: usize) {
        let mut migration = Migration::new(self, from, to);
        for slot in slots {
            migration.move_slot(slot);
        }
    }

    /// Tells both ends that a slot is moving and moves nothing: clients see ASK for keys that are not at `from`.
    ///
    /// [`migrate_slots`](Self::migrate_slots) of the same slot finishes the work.
    pub fn open_slot(&self, slot: u16, from: usize, to: usize) {
        Migration::new(self, from, to).open(slot);
    }

    fn form(&self, masters: usize, replicas_per_master: usize) {
        for (index, node) in self.nodes.iter().enumerate() {
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]).ok();
        }
        for (index, node) in self.nodes[..masters].iter().enumerate() {
            let bound = |index: usize| index * usize::from(SLOTS) / masters;
            let (first, last) = (bound(index).to_string(), (bound(index + 1) - 1).to_string());
            node.command(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]).ok();
        }
        for node in &self.nodes[1..] {
            let (port, bus) = (node.port().to_string(), node.bus_port().to_string());
            self.nodes[0].command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).ok();
        }
        wait_until("the nodes know each other", FORM_DEADLINE, || {
            self.views().all(|views| {
                let known = views.iter().filter(|view| !view.flags.contains("handshake"));
                known.count() == self.nodes.len() && views.len() == self.nodes.len()
            })
        });
        for (index, replica) in self.nodes[masters..].iter().enumerate() {
            let master = id(&self.nodes[index / replicas_per_master]);
            replica.command(&["CLUSTER", "REPLICATE", &master]).ok();
        }
        wait_until("every node knows the replicas", FORM_DEADLINE, || {
            let replicas = self.nodes.len() - masters;
            self.views()
                .all(|views| views.iter().filter(|view| view.flags.contains("slave")).count() == replicas)
        });
        self.wait_until_whole(FORM_DEADLINE);
    }

    fn running(&self) -> impl Iterator<Item = &RedisServer> {
        self.nodes.iter().filter(|node| node.is_running())
    }

    /// What each node that answers sees.
    fn views(&self) -> impl Iterator<Item = Vec<NodeView>> {
        self.running().filter_map(|node| {
            let reply = node.try_client(VIEW_DEADLINE).ok()?.try_command(&["CLUSTER", "NODES"]).ok()?;
            // One that loads its data says only that.
            reply.error().is_none().then(|| reply.text().lines().map(NodeView::parse).collect())
        })
    }
}

impl NodeView {
    /// `<id> <ip:port@bus> <flags> <master> <ping> <pong> <config-epoch> <link> <slot>…`
    fn parse(line: &str) -> Self {
        let fields: Vec<&str> = line.split(' ').collect();
        let (address, _) = fields[1].split_once('@').expect("an address with its bus port");
        let (_, port) = address.rsplit_once(':').expect("an address with its port");
        let slots = fields[8..].iter().filter(|range| !range.starts_with('[')).map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            first.parse().expect("a slot")..=last.parse().expect("a slot")
        });
        Self {
            port: port.parse().expect("a port"),
            flags: fields[2].to_owned(),
            config_epoch: fields[6].parse().expect("an epoch"),
            slots: slots.collect(),
        }
    }
}

/// Slots on their way from one node to another.
struct Migration<'a> {
    cluster: &'a RedisCluster,
    source: RespClient,
    target: RespClient,
    source_id: String,
    target_id: String,
    /// `MIGRATE host port "" 0 timeout [AUTH password] KEYS`, before the keys.
    migrate: Vec<Vec<u8>>,
}

impl<'a> Migration<'a> {
    fn new(cluster: &'a RedisCluster, from: usize, to: usize) -> Self {
        let (source, target) = (&cluster.nodes[from], &cluster.nodes[to]);
        let port = target.port().to_string();
        let mut migrate = vec!["MIGRATE", "127.0.0.1", &port, "", "0", STEP_TIMEOUT_MS];
        if let Some(password) = target.password() {
            migrate.extend(["AUTH", password]);
        }
        migrate.push("KEYS");
        Self {
            cluster,
            source: source.client(),
            target: target.client(),
            source_id: id(source),
            target_id: id(target),
            migrate: migrate.into_iter().map(|part| part.as_bytes().to_vec()).collect(),
        }
    }

    fn move_slot(&mut self, slot: u16) {
        self.open(slot);
        self.move_keys(slot);
        self.close(slot);
    }

    fn open(&mut self, slot: u16) {
        let slot = slot.to_string();
        self.target.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &self.source_id]).ok();
        self.source.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &self.target_id]).ok();
    }

    fn move_keys(&mut self, slot: u16) {
        let slot = slot.to_string();
        loop {
            let listed = self.source.command(&["CLUSTER", "GETKEYSINSLOT", &slot, KEYS_PER_STEP]).ok();
            if listed.items().is_empty() {
                return;
            }
            let keys = listed.items().iter().map(|key| match key {
                Reply::Bulk(bytes) => bytes.clone(),
                other => panic!("not a key: {other:?}"),
            });
            let command: Vec<Vec<u8>> = self.migrate.iter().cloned().chain(keys).collect();
            self.source.command(&command).ok();
        }
    }

    /// The new owner is told first, so that at no time both ends send clients away; then everybody who can be told.
    fn close(&mut self, slot: u16) {
        let slot = slot.to_string();
        let command = ["CLUSTER", "SETSLOT", &slot, "NODE", &self.target_id];
        self.target.command(&command).ok();
        self.source.command(&command).ok();
        for node in self.cluster.running() {
            // Replicas refuse, and learn it from their master.
            let _ = node.try_client(VIEW_DEADLINE).and_then(|mut client| client.try_command(&command));
        }
    }
}

fn id(node: &RedisServer) -> String {
    node.command(&["CLUSTER", "MYID"]).text()
}

/// Whether a node calls the cluster whole and, as a replica, is in step with its master.
fn is_settled(node: &RedisServer) -> bool {
    let Ok(mut client) = node.try_client(VIEW_DEADLINE) else { return false };
    let mut text = |parts: &[&str]| {
        let reply = client.try_command(parts).ok().filter(|reply| reply.error().is_none());
        reply.map(|reply| reply.text()).unwrap_or_default()
    };
    let replication = text(&["INFO", "replication"]);
    text(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
        && (replication.contains("role:master") || replication.contains("master_link_status:up"))
}
