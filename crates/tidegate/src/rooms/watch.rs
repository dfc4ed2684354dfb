//! What happens in rooms, as the store tells it: it wakes the driver, is counted, remembered for those who ask why their place
//! is over, and told to those who follow a stream.
//!
//! A store tells it while somebody waits for the answer, so nothing here waits.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use tidegate_core::room::{EndedBy, Event, Flush, QueueNumber};
use tidegate_core::time::{Micros, Timestamp};
use tidegate_wire::room::name::RoomName;
use tidegate_wire::room::seat::EndedWhy;
use tidegate_wire::room::token::Ticket;
use tokio::sync::Notify;

use super::events::News;
use crate::telemetry::metrics::RoomWaits;
use tidegate_store::rooms::RoomWatcher;

/// The most places of which it is remembered why they are over, of all rooms.
const MAX_ENDS: usize = 65_536;
/// How long it is remembered: pages that are older ask for something new, and rooms that free seats are asked about passes.
const ENDS_KEPT: Micros = Micros::from_secs(600);

/// What was counted of one room on this node since it started.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Visitors that were given a place in the line.
    pub(super) joined: AtomicU64,
    /// Sessions that began.
    pub(super) admitted: AtomicU64,
    /// Calls that nobody claimed.
    pub(super) abandoned: AtomicU64,
    /// Places in the line whose visitor stopped asking.
    pub(super) expired: AtomicU64,
    /// Sessions that ended.
    pub(super) ended: AtomicU64,
    /// How long those waited who came in.
    pub(super) waits: Arc<RoomWaits>,
}

/// Told of what happens in rooms.
#[derive(Debug, Default)]
pub(super) struct Watch {
    sooner: Notify,
    rooms: Notify,
    ends: RwLock<Ends>,
    followed: RwLock<HashMap<RoomName, Followed>>,
}

/// Who is told of one room.
#[derive(Debug)]
struct Followed {
    news: Arc<News>,
    counts: Arc<Counts>,
    /// When everybody was sent away: passes from before are not good any more.
    flushed_at: Timestamp,
    /// When the line was emptied: tickets from before are not good any more.
    emptied_at: Timestamp,
}

/// Why places are over, the oldest first in `order`.
#[derive(Debug, Default)]
struct Ends {
    why: HashMap<(RoomName, QueueNumber), (EndedWhy, Timestamp)>,
    order: VecDeque<(RoomName, QueueNumber)>,
}

// === impl Watch ===

impl Watch {
    /// Resolves when something has happened that may be due before what was due.
    pub(super) async fn happened_sooner(&self) {
        self.sooner.notified().await;
    }

    /// Resolves when rooms may have been made, changed or removed.
    pub(super) async fn rooms_differ(&self) {
        self.rooms.notified().await;
    }

    /// Somebody is to look which rooms there are.
    pub(super) fn look_again(&self) {
        self.rooms.notify_one();
    }

    /// Tells the followers of a room from here on.
    pub(super) fn follow(&self, room: &RoomName, news: &Arc<News>, counts: &Arc<Counts>) {
        let mut followed = self.followed.write();
        let former = followed.get(room).map(|former| (former.flushed_at, former.emptied_at));
        let (flushed_at, emptied_at) = former.unwrap_or((Timestamp::EPOCH, Timestamp::EPOCH));
        let new = Followed { news: Arc::clone(news), counts: Arc::clone(counts), flushed_at, emptied_at };
        followed.insert(room.clone(), new);
    }

    /// Tells nobody of a room any more: it was removed.
    pub(super) fn forget(&self, room: &RoomName) {
        self.followed.write().remove(room);
        let mut ends = self.ends.write();
        ends.why.retain(|(of, _), _| of != room);
        ends.order.retain(|(of, _)| of != room);
    }

    /// Why the place with this number is over, if that was not long ago and happened on this node.
    pub(super) fn why_ended(&self, room: &RoomName, number: QueueNumber, now: Timestamp) -> Option<EndedWhy> {
        let ends = self.ends.read();
        let (why, at) = ends.why.get(&(room.clone(), number))?;
        (now.since(*at) <= ENDS_KEPT).then_some(*why)
    }

    /// Why a place that lapsed is over: the same, or because those who came before some instant were all sent away.
    pub(super) fn why_lapsed(&self, room: &RoomName, ticket: &Ticket, now: Timestamp) -> Option<EndedWhy> {
        self.why_ended(room, QueueNumber::new(ticket.queue_number), now).or_else(|| {
            let emptied_at = self.followed.read().get(room)?.emptied_at;
            let is_sent_away = ticket.joined_at <= emptied_at && now.since(emptied_at) <= ENDS_KEPT;
            is_sent_away.then_some(EndedWhy::Revoked)
        })
    }

    /// Whether a pass that began at `started_at` was revoked with all others.
    pub(super) fn is_revoked(&self, room: &RoomName, started_at: Timestamp) -> bool {
        self.followed.read().get(room).is_some_and(|followed| started_at <= followed.flushed_at)
    }

    fn remember(&self, room: &RoomName, at: Timestamp, ended: impl Iterator<Item = (QueueNumber, EndedWhy)>) {
        let mut ended = ended.peekable();
        if ended.peek().is_none() {
            return;
        }
        let mut ends = self.ends.write();
        for (number, why) in ended {
            if ends.order.len() >= MAX_ENDS
                && let Some(oldest) = ends.order.pop_front()
            {
                ends.why.remove(&oldest);
            }
            if ends.why.insert((room.clone(), number), (why, at)).is_none() {
                ends.order.push_back((room.clone(), number));
            }
        }
    }
}

impl RoomWatcher for Watch {
    fn happened(&self, room: &RoomName, at: Timestamp, events: &[Event]) {
        // Leases and sessions that go on only put off what is due.
        if events.iter().any(|event| !event.may_be_lost()) {
            self.sooner.notify_one();
        }
        if events.iter().any(|event| matches!(event, Event::Changed(_))) {
            self.look_again();
        }
        self.remember(room, at, events.iter().filter_map(ended));
        for flush in events.iter().filter_map(|event| match event {
            Event::Flushed(flush) => Some(flush),
            _ => None,
        }) {
            let mut followed = self.followed.write();
            let Some(followed) = followed.get_mut(room) else { continue };
            followed.emptied_at = at;
            if matches!(flush, Flush::Everybody) {
                followed.flushed_at = at;
            }
        }
        let followed = self.followed.read();
        let Some(followed) = followed.get(room) else { return };
        for event in events {
            followed.counts.count(event);
            if let Some(number) = concerned(event) {
                followed.news.tell(number);
            }
        }
    }

    fn rooms_changed(&self) {
        self.look_again();
    }
}

// === impl Counts ===

impl Counts {
    fn count(&self, event: &Event) {
        let counter = match event {
            Event::Joined { .. } => &self.joined,
            Event::Admitted { .. } => &self.admitted,
            Event::Abandoned { .. } => &self.abandoned,
            Event::Expired { .. } | Event::Skipped { .. } => &self.expired,
            Event::Ended { .. } => &self.ended,
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whose place is over by an event, and why.
fn ended(event: &Event) -> Option<(QueueNumber, EndedWhy)> {
    match event {
        Event::Left { number, by } | Event::Declined { number, by } | Event::Ended { number, by, .. } => {
            let why = match by {
                EndedBy::Limit => EndedWhy::SessionLimit,
                EndedBy::Idle => EndedWhy::Idle,
                EndedBy::Visitor => EndedWhy::Left,
                EndedBy::Origin => EndedWhy::ByOperator,
            };
            Some((*number, why))
        }
        Event::Expired { number } | Event::Skipped { number } => Some((*number, EndedWhy::Lapsed)),
        Event::Abandoned { number } => Some((*number, EndedWhy::NotClaimed)),
        _ => None,
    }
}

/// Whom an event concerns in a way that it should hear of at once.
fn concerned(event: &Event) -> Option<QueueNumber> {
    match event {
        Event::Called { number, .. } | Event::Admitted { number, .. } => Some(*number),
        _ => ended(event).map(|(number, _)| number),
    }
}

#[cfg(test)]
mod tests {
    use tidegate_wire::room::visitor::VisitorId;

    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_micros(secs * 1_000_000)
    }

    #[test]
    fn the_latest_ends_are_remembered_and_for_a_while_only() {
        let (watch, room) = (Watch::default(), RoomName::new("demo").unwrap());
        let number = QueueNumber::new;
        let abandoned = |n: u64| Event::Abandoned { number: number(n) };
        for n in 1..=MAX_ENDS as u64 + 1 {
            watch.happened(&room, at(1), &[abandoned(n)]);
        }
        assert_eq!(watch.why_ended(&room, number(1), at(1)), None, "the oldest made room");
        assert_eq!(watch.why_ended(&room, number(2), at(601)), Some(EndedWhy::NotClaimed));
        assert_eq!(watch.why_ended(&room, number(2), at(602)), None);
        let other = RoomName::new("other").unwrap();
        assert_eq!(watch.why_ended(&other, number(2), at(1)), None);
        assert_eq!(watch.ends.read().why.len(), MAX_ENDS);
    }

    #[test]
    fn a_flush_revokes_the_passes_from_before() {
        let (watch, room) = (Watch::default(), RoomName::new("demo").unwrap());
        watch.follow(&room, &Arc::default(), &Arc::default());
        watch.happened(&room, at(5), &[Event::Flushed(Flush::Line)]);
        assert!(!watch.is_revoked(&room, at(4)), "sessions go on when the line is flushed");
        watch.happened(&room, at(5), &[Event::Flushed(Flush::Everybody)]);
        assert!(watch.is_revoked(&room, at(5)) && !watch.is_revoked(&room, at(6)));
        let ticket = |joined_at| Ticket {
            room: room.clone(),
            epoch: 1,
            queue_number: 7,
            visitor: VisitorId::from_bits(1),
            joined_at: at(joined_at),
        };
        assert_eq!(watch.why_lapsed(&room, &ticket(4), at(9)), Some(EndedWhy::Revoked));
        assert_eq!(watch.why_lapsed(&room, &ticket(6), at(9)), None, "who came later was not sent away");
        assert_eq!(watch.why_lapsed(&room, &ticket(4), at(606)), None, "that is no news any more");
    }
}
