//! Visitors at nodes of shared rooms, and what must be true of all that they are told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use parking_lot::Mutex;
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::room::{
    Admitted, Answer, CalledBy, Command, EarlyEnd, Event, Identity, RoomName, Settings, Spec, Ticket, Visitor,
};
use tidegate_core::time::{Micros, Timestamp};
use tidegate_store::rooms::shared::{NodeId, SharedOptions, SharedRooms};
use tidegate_store::rooms::{Clock, RoomError, RoomStore, RoomWatcher, Told};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::place::{Faults, Place, PlaceLog};
use super::{clock, nodes};

/// The lease, and the time that messages take.
const STALE: Micros = Micros::from_millis(3_200);

/// What is told of an instant that is longer ago is not about the present.
const PRESENT: Micros = Micros::from_millis(100);

type Shared = Arc<SharedRooms<PlaceLog>>;

/// What the room is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) capacity: u32,
    pub(crate) options: SharedOptions,
}

impl Default for Terms {
    fn default() -> Self {
        // So short a log that snapshots are put all the time.
        Self {
            capacity: 4,
            options: SharedOptions { may_lose: 50, max_log_bytes: 8_000, ..SharedOptions::default() },
        }
    }
}

pub(crate) struct Site {
    pub(crate) place: Place,
    pub(crate) nodes: Vec<Shared>,
    pub(crate) room: RoomName,
    terms: Terms,
    seed: u64,
    clock: Clock,
    ledger: Arc<Mutex<Ledger>>,
    watches: Vec<Arc<Watch>>,
    visitors: Mutex<JoinSet<()>>,
    drivers: Mutex<JoinSet<()>>,
}

/// What visitors were told.
#[derive(Default)]
struct Ledger {
    answers: u64,
    errors: u64,
    /// Whose a number is.
    owners: BTreeMap<u64, u64>,
    sessions: BTreeMap<u64, Inside>,
    /// The best that was told of a ticket by a node.
    told: BTreeMap<(usize, u64), u64>,
    /// Whenever something better was told of a ticket, by any node.
    stood: BTreeMap<u64, Vec<(Timestamp, u64)>>,
}

#[derive(Clone, Copy, Debug)]
struct Inside {
    start: Timestamp,
    until: Timestamp,
}

/// What a node's watcher was told.
#[derive(Default)]
struct Watch {
    sooner: Notify,
    told: Mutex<Happened>,
}

#[derive(Default)]
struct Happened {
    last: Timestamp,
    joined: BTreeMap<u64, Option<Identity>>,
    called: BTreeMap<u64, Timestamp>,
    admitted: BTreeMap<u64, Timestamp>,
}

impl RoomWatcher for Watch {
    fn happened(&self, _: &RoomName, at: Timestamp, events: &[Event]) {
        let mut told = self.told.lock();
        assert!(at >= told.last, "watchers are told in order");
        told.last = at;
        for event in events {
            match event {
                Event::Joined { number, visitor, .. } => {
                    assert_eq!(
                        told.joined.insert(number.get(), visitor.identity),
                        None,
                        "{number} joined twice"
                    );
                }
                Event::Called { number, by: CalledBy::Line, .. } => {
                    assert_eq!(told.called.insert(number.get(), at), None, "{number} was called twice");
                }
                Event::Admitted { number, .. } => {
                    assert_eq!(told.admitted.insert(number.get(), at), None, "{number} was admitted twice");
                }
                _ => {}
            }
        }
        drop(told);
        self.sooner.notify_one();
    }
}

impl Site {
    pub(crate) async fn open(seed: u64, count: u64, terms: Terms) -> Self {
        let place = Place::new(seed);
        place.set_faults(Faults { delay: Duration::from_millis(2), ..Faults::default() });
        let clock = clock(Micros::ZERO);
        let nodes = nodes(&place, count, terms.options, |_| Arc::clone(&clock));
        let room = RoomName::new("sale").unwrap();
        nodes[0].put(&room, &settings(terms.capacity)).await.unwrap();
        sleep(Duration::from_millis(100)).await;
        let watches: Vec<Arc<Watch>> = nodes.iter().map(|_| Arc::default()).collect();
        let mut drivers = JoinSet::new();
        for (node, watch) in nodes.iter().zip(&watches) {
            node.watch(Arc::clone(watch) as Arc<dyn RoomWatcher>);
            drivers.spawn(drive(Arc::clone(node), Arc::clone(watch), Arc::clone(&clock)));
        }
        let (visitors, drivers) = (Mutex::default(), Mutex::new(drivers));
        Self { place, nodes, room, terms, seed, clock, ledger: Arc::default(), watches, visitors, drivers }
    }

    pub(crate) fn keeper(&self) -> Option<NodeId> {
        self.place.keeper(&self.room)
    }

    /// So many visitors come, each of them so many times.
    pub(crate) fn let_in(&self, count: u64, visits: u64) {
        for identity in 1..=count {
            let guest = Guest {
                place: self.place.clone(),
                nodes: self.nodes.clone(),
                room: self.room.clone(),
                ledger: Arc::clone(&self.ledger),
                random: Rng::with_seed(self.seed * 1_000 + identity),
                visitor: Visitor { identity: Some(Identity::new(identity)), prefix: None },
                clock: Arc::clone(&self.clock),
            };
            self.visitors.lock().spawn(guest.come(visits));
        }
    }

    /// Nothing fails any more.
    pub(crate) fn heal(&self) {
        if self.place.faults().is_down {
            self.place.start(0, true);
        }
        self.place.set_faults(Faults { delay: Duration::from_millis(2), ..Faults::default() });
        for node in 1..=self.nodes.len() as u64 {
            self.place.set_link(NodeId(node), super::place::Link::Up);
        }
    }

    /// Waits until every visitor was inside as often as it wanted.
    pub(crate) async fn finish(&self, longest: Duration) {
        let mut visitors = std::mem::take(&mut *self.visitors.lock());
        let all = async {
            while let Some(visitor) = visitors.join_next().await {
                visitor.unwrap();
            }
        };
        timeout(longest, all).await.expect("everybody comes in");
        let mut drivers = std::mem::take(&mut *self.drivers.lock());
        assert!(drivers.try_join_next().is_none(), "drivers never end");
        // Nothing happens any more, and everybody hears of it.
        drivers.shutdown().await;
        sleep(Duration::from_secs(2)).await;
        let mut statuses = Vec::new();
        for node in &self.nodes {
            statuses.push(node.status(&self.room).await.unwrap());
        }
        assert!(statuses.windows(2).all(|pair| pair[0].status == pair[1].status), "{statuses:#?}");
    }

    /// What must be true of everything that was told; how many answers there were.
    pub(crate) fn check(&self) -> u64 {
        let ledger = self.ledger.lock();
        // Never more are inside than there are seats.
        let mut changes: Vec<(Timestamp, bool)> = Vec::new();
        for inside in ledger.sessions.values() {
            changes.extend([(inside.start, true), (inside.until, false)]);
        }
        changes.sort_unstable();
        let mut inside = 0;
        for (at, comes) in changes {
            inside = if comes { inside + 1 } else { inside - 1 };
            assert!(inside <= self.terms.capacity, "{inside} are inside at {at:?}");
        }
        // Everybody is called in the order of the numbers, once.
        let mut called: BTreeMap<u64, Timestamp> = BTreeMap::new();
        let mut admitted: BTreeMap<u64, Timestamp> = BTreeMap::new();
        for watch in &self.watches {
            let told = watch.told.lock();
            for (all, some) in [(&mut called, &told.called), (&mut admitted, &told.admitted)] {
                for (number, at) in some {
                    assert_eq!(all.entry(*number).or_insert(*at), at, "{number} twice");
                }
            }
        }
        assert!(called.values().is_sorted(), "in order: {called:?}");
        let owners: BTreeSet<_> = ledger.owners.values().collect();
        assert!(owners.len() >= 30);
        ledger.answers
    }
}

async fn drive(node: Shared, watch: Arc<Watch>, clock: Clock) {
    loop {
        let next = node.turn().await.unwrap();
        sleep(Duration::from_millis(1)).await;
        let rest = next.map_or(60_000_000, |next| next.since(clock()).as_micros());
        let _ = timeout(Duration::from_micros(rest), watch.sooner.notified()).await;
    }
}

fn settings(capacity: u32) -> Settings {
    let release = Quota::new(Algorithm::TokenBucket, 1_000, Micros::from_secs(1), Some(1_000)).unwrap();
    let mut spec = Spec::new(capacity, release);
    spec.session.early_end = EarlyEnd::FreesSeat;
    spec.session.limit = Some(Micros::from_secs(120));
    spec.session.idle = Some(Micros::from_secs(20));
    Settings::new(spec).unwrap()
}

/// One visitor, who does what the answers say, and tries again where there is none.
struct Guest {
    place: Place,
    nodes: Vec<Shared>,
    room: RoomName,
    ledger: Arc<Mutex<Ledger>>,
    random: Rng,
    visitor: Visitor,
    clock: Clock,
}

impl Guest {
    async fn come(mut self, visits: u64) {
        for _ in 0..visits {
            sleep(Duration::from_millis(self.random.u64(..3_000))).await;
            self.visit().await;
        }
    }

    async fn visit(&mut self) {
        let (_, told) = self.ask(&Command::Join(self.visitor), None).await;
        let number = number_of(&told.answer).unwrap_or_else(|| panic!("{told:?}"));
        let ticket = Ticket { epoch: told.epoch, number, visitor: self.visitor };
        let mut told = told;
        let mut stays = None;
        loop {
            match told.answer {
                Answer::Waiting(waiting) => {
                    sleep(Duration::from_micros(waiting.poll_after.as_micros())).await;
                    self.look(&ticket).await;
                    (_, told) = self.ask(&Command::Poll(ticket), Some(&ticket)).await;
                }
                Answer::Ready(_) => (_, told) = self.ask(&Command::Claim(ticket), Some(&ticket)).await,
                Answer::Admitted(_) => {
                    let until = *stays
                        .get_or_insert(Instant::now() + Duration::from_millis(self.random.u64(..8_000)));
                    if Instant::now() >= until {
                        break self.leave(&ticket).await;
                    }
                    sleep(Duration::from_secs(1)).await;
                    self.look(&ticket).await;
                    (_, told) = self.ask(&Command::Heartbeat(ticket), Some(&ticket)).await;
                }
                other => panic!("{:?} has lost its place {number}: {other:?}", self.visitor.identity),
            }
        }
    }

    async fn leave(&mut self, ticket: &Ticket) {
        // From here on it may have left.
        let now = (self.clock)();
        if let Some(inside) = self.ledger.lock().sessions.get_mut(&ticket.number.get()) {
            inside.until = inside.until.min(now);
        }
        loop {
            let node = self.random.usize(..self.nodes.len());
            match self.nodes[node].ask(&self.room, &Command::Leave(*ticket)).await {
                Ok(told) if matches!(told.answer, Answer::Left | Answer::Lapsed) => return,
                Ok(told) => panic!("{told:?}"),
                Err(error) => self.wait_after(&error).await,
            }
        }
    }

    /// Asks until there is an answer.
    async fn ask(&mut self, command: &Command, ticket: Option<&Ticket>) -> (usize, Told) {
        loop {
            let node = self.random.usize(..self.nodes.len());
            match self.nodes[node].ask(&self.room, command).await {
                Ok(told) => {
                    self.note(node, &told, ticket);
                    return (node, told);
                }
                Err(error) => self.wait_after(&error).await,
            }
        }
    }

    async fn look(&mut self, ticket: &Ticket) {
        let node = self.random.usize(..self.nodes.len());
        match self.nodes[node].look(&self.room, ticket).await {
            Ok(told) => self.note(node, &told, Some(ticket)),
            Err(error) => self.wait_after(&error).await,
        }
    }

    async fn wait_after(&mut self, error: &RoomError) {
        assert!(error.retryable(), "{error:?}");
        self.ledger.lock().errors += 1;
        sleep(Duration::from_millis(self.random.u64(200..1_000))).await;
    }

    fn note(&self, node: usize, told: &Told, ticket: Option<&Ticket>) {
        let mut ledger = self.ledger.lock();
        ledger.answers += 1;
        let Some(number) = number_of(&told.answer) else {
            panic!("{:?}, {ticket:?}: {told:?}", self.visitor);
        };
        let identity = self.visitor.identity.map_or(0, Identity::get);
        let owner = *ledger.owners.entry(number.get()).or_insert(identity);
        assert_eq!(owner, identity, "{number} was given to two");
        assert!(ticket.is_none_or(|ticket| ticket.number == number), "{ticket:?}: {told:?}");
        // How far a ticket has come at a node: it never goes back there.
        let rank = match told.answer {
            Answer::Waiting(waiting) => 1_000_000 + waiting.position.unwrap_or(0),
            Answer::Ready(_) => 2,
            _ => 1,
        };
        let best = ledger.told.get(&(node, number.get())).copied().unwrap_or(u64::MAX);
        assert!(rank <= best, "{number} goes back at node {}: {told:?}", node + 1);
        // A keeper that cannot keep anything says how it stood, and may count out whose leaving is not kept.
        let is_present =
            told.at.saturating_add(PRESENT) >= (self.clock)() && self.place.is_well(node as u64 + 1);
        if is_present {
            ledger.told.insert((node, number.get()), rank);
        }
        // What any node says of an instant is not older than a lease.
        let stood = ledger.stood.entry(number.get()).or_default();
        let is_old = |(at, better): &(Timestamp, u64)| *better < rank && at.saturating_add(STALE) < told.at;
        assert!(!stood.iter().any(is_old), "node {} is behind: {told:?}, {stood:?}", node + 1);
        if is_present && stood.last().is_none_or(|(_, best)| rank < *best) {
            stood.push((told.at, rank));
        }
        if let Answer::Admitted(Admitted { start, deadline, .. }) = told.answer {
            let inside = ledger.sessions.entry(number.get()).or_insert(Inside { start, until: deadline });
            assert_eq!(inside.start, start, "{number} was admitted twice");
            inside.until = inside.until.max(deadline);
        }
    }
}

fn number_of(answer: &Answer) -> Option<tidegate_core::room::QueueNumber> {
    match answer {
        Answer::Waiting(waiting) => Some(waiting.number),
        Answer::Ready(ready) => Some(ready.number),
        Answer::Admitted(admitted) => Some(admitted.number),
        _ => None,
    }
}
