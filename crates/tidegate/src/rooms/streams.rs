//! How many streams of events a node has open, and how many of them are of one address: who holds many tickets may not take all of them.
//!
//! IPv4 addresses count whole, IPv6 by their network. This machine's own are not counted: a proxy of whom the server was not told would
//! be everybody.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tidegate_wire::identity::ClientIp;

/// The most streams of a node.
pub(super) const MAX_STREAMS: usize = 4_096;
/// Streams of one address, where nothing else is said.
pub const DEFAULT_STREAMS_PER_ADDRESS: u32 = 100;
/// The most that can be said: all of a node's.
pub const MAX_STREAMS_PER_ADDRESS: u32 = MAX_STREAMS as u32;

/// The streams that are open.
#[derive(Debug)]
pub(super) struct Open {
    counts: Mutex<Counts>,
    /// 0 is no limit but that of the node.
    per_address: u32,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_address: HashMap<String, u32>,
}

/// A stream that is open until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    open: Arc<Open>,
    address: Option<String>,
}

impl Open {
    /// None yet.
    pub(super) fn new(per_address: u32) -> Self {
        Self { counts: Mutex::default(), per_address }
    }

    /// The most of one address.
    pub(super) const fn per_address(&self) -> u32 {
        self.per_address
    }

    /// Opens one; `None` where there are as many as may be.
    pub(super) fn take(self: &Arc<Self>, client: ClientIp) -> Option<Place> {
        let is_limited = self.per_address > 0 && !client.addr().is_loopback();
        let address = is_limited.then(|| client.key());
        let mut counts = self.counts.lock();
        if counts.all >= MAX_STREAMS {
            return None;
        }
        if let Some(address) = &address {
            let open = counts.by_address.get(address).copied().unwrap_or_default();
            if open >= self.per_address {
                return None;
            }
            counts.by_address.insert(address.clone(), open + 1);
        }
        counts.all += 1;
        Some(Place { open: Arc::clone(self), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.open.counts.lock();
        counts.all -= 1;
        let Some(address) = &self.address else { return };
        if let Some(open) = counts.by_address.get_mut(address) {
            *open -= 1;
            if *open == 0 {
                counts.by_address.remove(address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_wire::identity::Ipv6Prefix;

    use super::*;

    fn client(text: &str) -> ClientIp {
        ClientIp::new(text.parse().unwrap(), Ipv6Prefix::default())
    }

    #[test]
    fn an_address_has_so_many_and_a_node_so_many_in_all() {
        let open = Arc::new(Open::new(2));
        let mut held: Vec<Place> =
            ["2001:db8::1", "2001:db8::2"].iter().map(|text| open.take(client(text)).unwrap()).collect();
        assert!(open.take(client("2001:db8::3")).is_none(), "a network is one");
        held.push(open.take(client("2001:db8:0:1::1")).unwrap());
        held.push(open.take(client("192.0.2.1")).unwrap());
        held.swap_remove(0);
        held.push(open.take(client("2001:db8::3")).unwrap());
        held.extend((held.len()..MAX_STREAMS).map(|_| open.take(client("127.0.0.1")).unwrap()));
        assert!(open.take(client("192.0.2.2")).is_none());
        drop(held);
        let counts = open.counts.lock();
        assert_eq!((counts.all, counts.by_address.len()), (0, 0));
        let unlimited = Arc::new(Open::new(0));
        let held: Vec<_> = (0..300).map(|_| unlimited.take(client("192.0.2.1"))).collect();
        assert!(held.iter().all(Option::is_some));
    }
}
