//! Which node of a Cluster serves a slot.

use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use redis::Value;
use tokio::time::Instant;

use super::facts::text;
use super::{Batch, ConnectError, Connector};
use crate::settings::Address;

/// The slots of a Cluster.
pub const SLOTS: u16 = 16_384;
/// Nodes in a table, at most: Redis recommends no more than 1,000.
const MAX_NODES: usize = 4_096;
/// The table is read anew at most this often.
const REFRESH_PAUSE: Duration = Duration::from_millis(250);
/// Nodes that are asked for the table in one refresh, at most.
const MAX_ASKED: usize = 5;

/// Which node serves which slot, as far as is known. Sans-IO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotTable {
    /// For each slot the place of its node, or [`NOBODY`].
    slots: Box<[u16]>,
    nodes: Vec<Address>,
}

const NOBODY: u16 = u16::MAX;

impl SlotTable {
    /// Nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self { slots: vec![NOBODY; usize::from(SLOTS)].into(), nodes: Vec::new() }
    }

    /// The table in a reply to `CLUSTER SLOTS`; a node without a host is the one that was asked. `None` if the reply is
    /// not understood.
    #[must_use]
    pub fn read(reply: &Value, asked: &Address) -> Option<Self> {
        let Value::Array(ranges) = reply else { return None };
        let mut table = Self::new();
        for range in ranges {
            let Value::Array(parts) = range else { return None };
            let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = parts.as_slice() else {
                return None;
            };
            let (first, last) = (slot(*first)?, slot(*last)?);
            let place = table.place_of(&node(primary, asked)?)?;
            table.slots.get_mut(usize::from(first)..=usize::from(last))?.fill(place);
        }
        Some(table)
    }

    /// The node that serves the slot, if any.
    #[must_use]
    pub fn address_of(&self, slot: u16) -> Option<&Address> {
        let place = *self.slots.get(usize::from(slot))?;
        self.nodes.get(usize::from(place))
    }

    /// A node said that this one serves the slot.
    pub fn note_moved(&mut self, slot: u16, address: &Address) {
        if let Some(place) = self.place_of(address)
            && let Some(known) = self.slots.get_mut(usize::from(slot))
        {
            *known = place;
        }
    }

    /// The nodes that serve slots, or did when the table was read.
    #[must_use]
    pub fn nodes(&self) -> &[Address] {
        &self.nodes
    }

    /// The place of the node, which is made one if it is new and there is room.
    fn place_of(&mut self, address: &Address) -> Option<u16> {
        let place = match self.nodes.iter().position(|node| node == address) {
            Some(place) => place,
            None if self.nodes.len() < MAX_NODES => {
                self.nodes.push(address.clone());
                self.nodes.len() - 1
            }
            None => return None,
        };
        u16::try_from(place).ok()
    }
}

impl Default for SlotTable {
    fn default() -> Self {
        Self::new()
    }
}

fn slot(number: i64) -> Option<u16> {
    u16::try_from(number).ok().filter(|slot| *slot < SLOTS)
}

/// `[host, port, id, …]`; the host is nil or empty if the node does not know what it is called from here, `?` if it is to
/// have a name and has none.
fn node(parts: &[Value], asked: &Address) -> Option<Address> {
    let [host, Value::Int(port), ..] = parts else { return None };
    let port = u16::try_from(*port).ok().filter(|port| *port > 0)?;
    match (text(host), asked) {
        (None | Some("" | "?"), Address::Tcp { host, .. }) => Some(Address::tcp(host.clone(), port)),
        (None | Some("" | "?"), Address::Unix(_)) => None,
        (Some(host), _) => Some(Address::tcp(host, port)),
    }
}

/// The slot table of one Cluster, shared by all that send to it, and how to read it anew.
#[derive(Debug)]
pub struct ClusterMap {
    table: RwLock<SlotTable>,
    seeds: Vec<Connector>,
    next_refresh: Mutex<Option<Instant>>,
}

impl ClusterMap {
    /// Knows the seeds, at least one, and no slots yet.
    pub(super) fn new(seeds: Vec<Connector>) -> Self {
        Self { table: RwLock::new(SlotTable::new()), seeds, next_refresh: Mutex::new(None) }
    }

    /// The node that serves the slot, if it is known.
    #[must_use]
    pub fn address_of(&self, slot: u16) -> Option<Address> {
        self.table.read().address_of(slot).cloned()
    }

    /// Takes a [`Moved`](super::Refusal::Moved) to heart; others of its kind follow, so refresh soon.
    pub fn note_moved(&self, slot: u16, address: &Address) {
        let known = self.table.read().address_of(slot) == Some(address);
        if !known {
            self.table.write().note_moved(slot, address);
        }
    }

    /// The nodes that serve slots.
    #[must_use]
    pub fn nodes(&self) -> Vec<Address> {
        self.table.read().nodes().to_vec()
    }

    /// Makes connections to this node.
    #[must_use]
    pub fn connector(&self, address: Address) -> Option<Connector> {
        self.seeds.first().map(|seed| seed.at(address))
    }

    /// Makes connections to one of the nodes, known ones or seeds, at random.
    #[must_use]
    pub fn some_node(&self, rng: &mut fastrand::Rng) -> Option<Connector> {
        let sources = self.sources(rng);
        sources.get(rng.usize(..sources.len().max(1))).cloned()
    }

    /// Reads the table from a node, unless that was done, or begun, in the last 250 ms: `false` then. Known nodes come
    /// first, in random order, then the seeds; up to five are asked, each in an equal share of the time that is left.
    ///
    /// # Errors
    ///
    /// None of them gave a table with slots before the deadline; what was known stays.
    pub async fn refresh(&self, deadline: Instant, rng: &mut fastrand::Rng) -> Result<bool, ConnectError> {
        if !self.claim(Instant::now()) {
            return Ok(false);
        }
        let sources = self.sources(rng);
        let mut last = None;
        for (asked, source) in sources.iter().enumerate() {
            let now = Instant::now();
            let left = u32::try_from(sources.len().saturating_sub(asked)).unwrap_or(u32::MAX).max(1);
            match read_table(source, now + deadline.saturating_duration_since(now) / left).await {
                Ok(table) => {
                    *self.table.write() = table;
                    return Ok(true);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| ConnectError::NoPrimary("the Cluster has no nodes".to_owned())))
    }

    /// Whether a refresh may start; if so, no other before the pause is over.
    fn claim(&self, now: Instant) -> bool {
        let mut next = self.next_refresh.lock();
        let may = next.is_none_or(|next| now >= next);
        if may {
            *next = Some(now + REFRESH_PAUSE);
        }
        may
    }

    fn sources(&self, rng: &mut fastrand::Rng) -> Vec<Connector> {
        let mut known = self.nodes();
        let mut seeds = self.seeds.clone();
        rng.shuffle(&mut known);
        rng.shuffle(&mut seeds);
        // One place is kept for a seed: it may be a name that leads to nodes which none of the known ones has heard of.
        let known = known.into_iter().take(MAX_ASKED - 1).filter_map(|address| self.connector(address));
        known.chain(seeds).take(MAX_ASKED).collect()
    }
}

async fn read_table(source: &Connector, deadline: Instant) -> Result<SlotTable, ConnectError> {
    let mut link = source.open(deadline).await?;
    let mut question = redis::cmd("CLUSTER");
    question.arg("SLOTS");
    let address = link.address().clone();
    match link.ask(&Batch::of(&question), deadline).await?.pop() {
        Some(Ok(reply)) => SlotTable::read(&reply, &address)
            .filter(|table| !table.nodes.is_empty())
            .ok_or_else(|| ConnectError::NoPrimary(format!("{address} knows no slots"))),
        Some(Err(refusal)) => {
            Err(ConnectError::Refused { address: address.to_string(), what: "CLUSTER SLOTS", refusal })
        }
        None => Err(ConnectError::NoPrimary(format!("{address} gave no slots"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn range(first: i64, last: i64, host: Value, port: i64) -> Value {
        let replica = Value::Array(vec![bulk("10.0.0.9"), Value::Int(1), bulk("id")]);
        let primary = Value::Array(vec![host, Value::Int(port), bulk("id"), Value::Array(Vec::new())]);
        Value::Array(vec![Value::Int(first), Value::Int(last), primary, replica])
    }

    fn asked() -> Address {
        Address::tcp("seed", 7_000)
    }

    #[test]
    fn slots_lead_to_primaries() {
        let reply = Value::Array(vec![
            range(0, 5_460, bulk("10.0.0.1"), 7_001),
            range(5_461, 5_461, bulk("10.0.0.2"), 7_002),
            range(5_463, 16_383, bulk("10.0.0.1"), 7_001),
        ]);
        let table = SlotTable::read(&reply, &asked()).unwrap();
        assert_eq!(table.nodes(), [Address::tcp("10.0.0.1", 7_001), Address::tcp("10.0.0.2", 7_002)]);
        assert_eq!(table.address_of(0), Some(&Address::tcp("10.0.0.1", 7_001)));
        assert_eq!(table.address_of(5_461), Some(&Address::tcp("10.0.0.2", 7_002)));
        assert_eq!(table.address_of(5_462), None, "a gap is served by nobody");
        assert_eq!(table.address_of(16_383), Some(&Address::tcp("10.0.0.1", 7_001)));
        assert_eq!(table.address_of(16_384), None);
    }

    #[test]
    fn a_node_without_a_host_is_at_the_host_that_was_asked() {
        for host in [Value::Nil, bulk(""), bulk("?")] {
            let table = SlotTable::read(&Value::Array(vec![range(0, 1, host, 7_003)]), &asked()).unwrap();
            assert_eq!(table.address_of(1), Some(&Address::tcp("seed", 7_003)));
        }
    }

    #[test]
    fn replies_that_make_no_sense_are_refused() {
        for reply in [
            Value::Okay,
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![range(0, 16_384, bulk("a"), 1)]),
            Value::Array(vec![range(-1, 3, bulk("a"), 1)]),
            Value::Array(vec![range(9, 8, bulk("a"), 0)]),
            Value::Array(vec![range(0, 1, bulk("a"), 65_536)]),
        ] {
            assert_eq!(SlotTable::read(&reply, &asked()), None, "{reply:?}");
        }
        // A range that ends before it begins holds nothing, and must not panic.
        let _ = SlotTable::read(&Value::Array(vec![range(9, 8, bulk("a"), 1)]), &asked());
        let _ = SlotTable::read(&Value::Array(vec![range(9, 3, bulk("a"), 1)]), &asked());
    }

    #[test]
    fn a_slot_that_moved_is_found_at_its_new_node() {
        let mut table =
            SlotTable::read(&Value::Array(vec![range(0, 16_383, bulk("a"), 1)]), &asked()).unwrap();
        table.note_moved(7, &Address::tcp("b", 2));
        table.note_moved(16_384, &Address::tcp("b", 2));
        assert_eq!(table.address_of(7), Some(&Address::tcp("b", 2)));
        assert_eq!(table.address_of(8), Some(&Address::tcp("a", 1)));
        for port in 1..=u16::MAX {
            table.note_moved(9, &Address::tcp("flood", port));
        }
        assert_eq!(table.nodes().len(), MAX_NODES, "nodes have a maximum");
    }

    #[test]
    fn refreshes_are_not_more_often_than_every_250_ms() {
        let now = Instant::now();
        let map = ClusterMap::new(Vec::new());
        assert!(map.claim(now));
        assert!(!map.claim(now + Duration::from_millis(249)));
        assert!(map.claim(now + Duration::from_millis(250)));
    }
}
