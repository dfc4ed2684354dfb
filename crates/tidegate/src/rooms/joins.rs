//! How often one address may ask for places: a bound on floods, far above what people do.
//!
//! A new browser is a new visitor, and nothing but an address tells a thousand browsers from one program that throws its cookies away.
//! So joins are limited by address on each node: IPv4 whole, IPv6 by its network. This machine's own addresses are not: a proxy of
//! whom the server was not told would be everybody. How many seats one address may have is another matter, and each room's own
//! (`seats_per_prefix`).

use std::sync::Arc;

use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::rule::RuleSet;
use tidegate_core::rule::model::{Domain, Rule, Rules};
use tidegate_core::time::{Micros, Timestamp};
use tidegate_engine::{Clock, Engine, Request, random_seed};
use tidegate_store::{MemoryOptions, MemoryStore};
use tidegate_wire::identity::ClientIp;
use tidegate_wire::problem::Problem;

/// Joins of one address a second, where nothing else is said.
pub const DEFAULT_JOINS_PER_ADDRESS: u32 = 100;
/// The most that can be said.
pub const MAX_JOINS_PER_ADDRESS: u32 = 1_000_000;
/// So many seconds' joins may come at one instant: a sale opens, and a whole office comes through one address.
const BURST_SECONDS: u64 = 10;
/// Memory of the limiter; beyond it, addresses that have been quiet longest are forgotten.
const LIMITER_BYTES: usize = 8 << 20;
const DOMAIN: &str = "joins";
const ENTRY: &str = "client_ip";

/// Limits joins by address.
pub(super) struct Joins(Option<Engine<MemoryStore, OfRooms>>);

/// The clock of the rooms.
struct OfRooms(Arc<dyn Clock>);

impl Clock for OfRooms {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

impl Joins {
    /// So many joins of one address a second; 0 is no limit.
    pub(super) fn new(per_second: u32, clock: Arc<dyn Clock>) -> Self {
        let quota = |per_second: u32| {
            let (limit, burst) = (u64::from(per_second), u64::from(per_second) * BURST_SECONDS);
            Quota::new(Algorithm::TokenBucket, limit, Micros::from_secs(1), Some(burst)).ok()
        };
        let limiter = (per_second > 0).then_some(per_second).and_then(quota).and_then(|quota| {
            let rule = Rule::new(DOMAIN, Algorithm::TokenBucket, quota).with_key([ENTRY]);
            let rules = RuleSet::compile(Rules { domains: vec![Domain::new(DOMAIN, vec![rule])] }).ok()?;
            let options = MemoryOptions { max_bytes: LIMITER_BYTES, ..MemoryOptions::new(random_seed()) };
            Some(Engine::with_parts(rules, MemoryStore::new(&options), OfRooms(clock), None))
        });
        Self(limiter)
    }

    /// Counts a join of this address; what is answered where there are too many.
    pub(super) async fn refuse(&self, client: ClientIp) -> Option<Problem> {
        let limiter = self.0.as_ref().filter(|_| !client.addr().is_loopback())?;
        let key = client.key();
        let decided = limiter.decide(&Request::new(DOMAIN, &[(ENTRY, &key)])).await.ok()?;
        let retry_after_ms = decided.retry_after()?.as_millis_ceil();
        Some(Problem {
            detail: "too many from this address ask for a place at once; try again shortly".into(),
            ..Problem::quota_exceeded(retry_after_ms, vec![DOMAIN.to_owned()])
        })
    }
}
