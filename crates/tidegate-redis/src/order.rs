//! A plan on its way to a server: everything a script needs, owned, so that it can travel with others.

use smallvec::SmallVec;
use tidegate_core::time::Timestamp;
use tidegate_store::Plan;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::ask::AskRow;
use crate::key::{KeyMaker, RedisKey};
use crate::link::Refusal;

/// What is done with the buckets of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Decide, and charge if all allow it.
    Apply,
    /// Decide only.
    Peek,
}

/// A plan, owned.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) deed: Deed,
    pub(crate) buckets: SmallVec<[OrderBucket; 2]>,
    /// The key of the remembered call.
    pub(crate) remembered: Option<RedisKey>,
    pub(crate) permit: u64,
    /// The instant to decide at, where it is not the server's.
    pub(crate) at: Option<Timestamp>,
    /// Until when the answer is wanted.
    pub(crate) deadline: Instant,
    /// The slot of its keys; 0 where there is no Cluster.
    pub(crate) slot: u16,
    /// Not with others in one call: its slot is being moved.
    pub(crate) alone: bool,
    /// The server has to be told that it is asked for a slot it is only taking over.
    pub(crate) asking: bool,
}

/// One bucket of an order.
#[derive(Clone, Debug)]
pub(crate) struct OrderBucket {
    pub(crate) key: RedisKey,
    pub(crate) ask: AskRow,
    /// The fullest state this node has seen of it, where the store may have forgotten.
    pub(crate) witness: Option<[u64; 3]>,
}

/// What a script said of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// Decided at `now`: the states of its buckets before it, and before `place` equal orders that were granted.
    /// `epoch` is how many losses of connection there had been when it was sent.
    Decided { now: Timestamp, granted: bool, place: u64, states: SmallVec<[u64; 8]>, epoch: u64 },
    /// A bucket has to be looked at first; nothing was done.
    Attention { now: Timestamp },
    /// The call was charged before; what was remembered of it.
    Remembered(Vec<u8>),
}

/// Why an order has no report.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// It was surely not executed.
    NotDone(String),
    /// It may have been.
    Unknown,
    /// It cannot be, as the server is set up.
    Misconfigured(String),
    /// The reply made no sense.
    Garbled(String),
    /// It was not executed and belongs elsewhere, or here a little later.
    Elsewhere(Box<(Order, Refusal)>),
}

/// An order, and who waits for its report.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) order: Order,
    pub(crate) reply: oneshot::Sender<Result<Report, Failure>>,
}

impl Order {
    pub(crate) fn new(plan: &Plan<'_>, deed: Deed, keys: &KeyMaker, deadline: Instant) -> Self {
        let buckets = plan.buckets().iter().map(|bucket| OrderBucket {
            key: keys.bucket(bucket.rule.domain_uid(), plan.key_of(bucket)),
            ask: AskRow::new(plan, bucket),
            witness: None,
        });
        let buckets: SmallVec<[OrderBucket; 2]> = buckets.collect();
        let domain = plan.buckets().first().map_or(0, |bucket| bucket.rule.domain_uid());
        let remembered = plan.idempotency_key.as_ref().filter(|_| deed == Deed::Apply);
        let remembered = remembered.map(|name| keys.remembered(domain, name));
        Self {
            deed,
            buckets,
            remembered,
            permit: plan.permit,
            at: None,
            deadline,
            slot: 0,
            alone: false,
            asking: false,
        }
    }

    /// The key that stands for the order where it is sent somewhere.
    pub(crate) fn first_key(&self) -> &[u8] {
        self.buckets.first().map_or(&[], |bucket| &bucket.key)
    }

    /// Whether equal orders may be asked as one: one enforced bucket, and nothing that is the order's own.
    pub(crate) fn can_ride_together(&self) -> bool {
        self.deed == Deed::Apply
            && self.remembered.is_none()
            && matches!(self.buckets.as_slice(), [bucket] if bucket.ask.can_ride_together())
    }

    /// What it asks, where it is one enforced bucket in the short form and nothing that is the order's own.
    pub(crate) fn as_tokens(&self) -> Option<&AskRow> {
        match self.buckets.as_slice() {
            [bucket] if self.can_ride_together() && bucket.witness.is_none() && bucket.ask.is_short() => {
                Some(&bucket.ask)
            }
            _ => None,
        }
    }

    /// How many numbers its buckets' states take in a reply.
    pub(crate) fn width(&self) -> usize {
        self.buckets.iter().map(|bucket| bucket.ask.width()).sum()
    }
}
