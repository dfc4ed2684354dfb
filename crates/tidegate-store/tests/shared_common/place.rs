//! A place that nodes of shared rooms have between them, in this process's memory, which fails when it is told to: calls and messages
//! are late or lost, entries are lost, nodes are cut off or stopped. Its time is Tokio's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use parking_lot::Mutex;
use tidegate_core::room::RoomName;
use tidegate_store::rooms::shared::{
    Append, Appended, Head, Heard, Loaded, LogError, MAX_PIECE_BYTES, NodeId, RoomLog, Taken,
};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// How the place fails while this is set.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// The longest delay of a call, each way, and of a message.
    pub(crate) delay: Duration,
    /// How many calls in a hundred are refused, are lost before they are done, and are lost afterwards.
    pub(crate) refused: u8,
    pub(crate) asks_lost: u8,
    pub(crate) replies_lost: u8,
    /// How many messages in a hundred are lost.
    pub(crate) messages_lost: u8,
    /// Nothing can be reached.
    pub(crate) is_down: bool,
}

/// What has happened to a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Link {
    #[default]
    Up,
    /// Its calls are not done, its messages are lost.
    Cut,
    /// It stands still: its calls are done when it goes on, and messages wait for it.
    Stopped,
}

#[derive(Clone)]
pub(crate) struct Place(Arc<Mutex<Inner>>);

struct Inner {
    rooms: BTreeMap<RoomName, Kept>,
    terms: BTreeMap<RoomName, u64>,
    nodes: BTreeMap<NodeId, Listener>,
    faults: Faults,
    random: Rng,
    appends: u64,
    first_term: u64,
}

struct Listener {
    heard: mpsc::UnboundedSender<(Instant, Heard)>,
    link: watch::Sender<Link>,
}

#[derive(Default)]
struct Kept {
    term: u64,
    keeper: Option<(NodeId, Instant)>,
    snapshot: Option<(u64, Vec<Bytes>)>,
    entries: BTreeMap<u64, Bytes>,
    last: u64,
    may_have_lost: bool,
}

/// A node's way to the place.
pub(crate) struct PlaceLog {
    place: Place,
    node: NodeId,
    link: watch::Receiver<Link>,
}

impl Place {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            rooms: BTreeMap::new(),
            terms: BTreeMap::new(),
            nodes: BTreeMap::new(),
            faults: Faults::default(),
            random: Rng::with_seed(seed),
            appends: 0,
            first_term: 0,
        })))
    }

    pub(crate) fn log(&self, node: NodeId) -> PlaceLog {
        let (heard, _) = mpsc::unbounded_channel();
        let (link, receiver) = watch::channel(Link::Up);
        self.0.lock().nodes.insert(node, Listener { heard, link });
        PlaceLog { place: self.clone(), node, link: receiver }
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.0.lock().faults = faults;
    }

    pub(crate) fn faults(&self) -> Faults {
        self.0.lock().faults
    }

    pub(crate) fn set_link(&self, node: NodeId, link: Link) {
        let mut inner = self.0.lock();
        let before = inner.nodes[&node].link.send_replace(link);
        if link == Link::Cut && before != Link::Cut {
            inner.tell(Some(node), &Heard::Down);
        } else if before == Link::Cut && link != Link::Cut {
            inner.tell(Some(node), &Heard::Up);
        }
    }

    /// The place stops; when it starts again, the last `entries` of each room are gone, and the leases are where `leases` is false.
    pub(crate) fn stop(&self) {
        let mut inner = self.0.lock();
        inner.faults.is_down = true;
        inner.tell(None, &Heard::Down);
    }

    pub(crate) fn start(&self, entries: u64, leases: bool) {
        let mut inner = self.0.lock();
        inner.faults.is_down = false;
        for kept in inner.rooms.values_mut() {
            let least = kept.snapshot.as_ref().map_or(0, |(last, _)| *last).max(1);
            let last = kept.last.saturating_sub(entries).max(least.min(kept.last));
            kept.entries.retain(|number, _| *number <= last);
            kept.last = last;
            kept.may_have_lost = true;
            if !leases {
                kept.keeper = None;
            }
        }
        inner.tell(None, &Heard::Up);
    }

    /// The place starts again without anything.
    pub(crate) fn start_empty(&self) {
        let mut inner = self.0.lock();
        inner.rooms.clear();
        // As terms are made from a clock where they may have been lost.
        inner.first_term += 1_000_000;
        inner.terms.clear();
        drop(inner);
        self.start(0, false);
    }

    /// Who keeps a room.
    pub(crate) fn keeper(&self, room: &RoomName) -> Option<NodeId> {
        self.0.lock().rooms.get(room)?.keeper.map(|(node, _)| node)
    }

    /// Whether a node can reach the place.
    pub(crate) fn is_well(&self, node: u64) -> bool {
        let inner = self.0.lock();
        !inner.faults.is_down && *inner.nodes[&NodeId(node)].link.borrow() == Link::Up
    }

    /// Who keep any.
    pub(crate) fn keepers(&self) -> Vec<NodeId> {
        self.0.lock().rooms.values().filter_map(|kept| Some(kept.keeper?.0)).collect()
    }

    /// The bytes of everything that is kept of a room, and how many entries.
    pub(crate) fn size(&self, room: &RoomName) -> (usize, usize) {
        let inner = self.0.lock();
        let kept = &inner.rooms[room];
        let snapshot: usize = kept.snapshot.iter().flat_map(|(_, pieces)| pieces).map(Bytes::len).sum();
        (snapshot + kept.entries.values().map(Bytes::len).sum::<usize>(), kept.entries.len())
    }

    /// Calls that have appended something, or held a room.
    pub(crate) fn appends(&self) -> u64 {
        self.0.lock().appends
    }
}

impl Inner {
    fn tell(&mut self, to: Option<NodeId>, heard: &Heard) {
        let faults = self.faults;
        let chosen = self.nodes.iter().filter(|(node, _)| to.is_none_or(|to| to == **node));
        for (_, listener) in chosen {
            let is_message = matches!(heard, Heard::Message(_));
            let is_lost = faults.is_down
                || *listener.link.borrow() == Link::Cut
                || self.random.u8(..100) < faults.messages_lost;
            if is_message && is_lost {
                continue;
            }
            let at = Instant::now() + delay(&mut self.random, faults.delay);
            let _ = listener.heard.send((at, heard.clone()));
        }
    }
}

fn delay(random: &mut Rng, longest: Duration) -> Duration {
    longest.mul_f64(random.f64())
}

impl PlaceLog {
    async fn call<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> Result<T, LogError> {
        let (faults, waits, dice) = {
            let mut inner = self.place.0.lock();
            let faults = inner.faults;
            let waits = [(); 2].map(|()| delay(&mut inner.random, faults.delay));
            (faults, waits, [(); 3].map(|()| inner.random.u8(..100)))
        };
        if dice[0] < faults.refused {
            return Err(LogError::NotDone("refused".to_owned()));
        }
        if waits[0] > Duration::ZERO {
            sleep(waits[0]).await;
        }
        let mut link = self.link.clone();
        // A node that was stopped has sent this before, or sends it when it goes on.
        let _ = link.wait_for(|link| *link != Link::Stopped).await;
        if dice[1] < faults.asks_lost || *link.borrow() == Link::Cut {
            sleep(Duration::from_millis(500)).await;
            return Err(LogError::Unknown("the call was lost".to_owned()));
        }
        let done = {
            let mut inner = self.place.0.lock();
            if inner.faults.is_down {
                return Err(LogError::NotDone("connection refused".to_owned()));
            }
            act(&mut inner)
        };
        if dice[2] < faults.replies_lost {
            sleep(Duration::from_millis(500)).await;
            return Err(LogError::Unknown("the reply was lost".to_owned()));
        }
        if waits[1] > Duration::ZERO {
            sleep(waits[1]).await;
        }
        let _ = link.wait_for(|link| *link != Link::Stopped).await;
        Ok(done)
    }
}

fn within_bounds<'a>(pieces: impl IntoIterator<Item = &'a Bytes>) -> Result<(), LogError> {
    let fits = pieces.into_iter().all(|piece| piece.len() <= MAX_PIECE_BYTES);
    if fits { Ok(()) } else { Err(LogError::NotDone("too large".to_owned())) }
}

impl RoomLog for PlaceLog {
    async fn rooms(&self) -> Result<Vec<RoomName>, LogError> {
        self.call(|inner| inner.rooms.keys().cloned().collect()).await
    }

    async fn take(
        &self,
        room: &RoomName,
        node: NodeId,
        lease: Duration,
        make: bool,
    ) -> Result<Taken, LogError> {
        self.call(|inner| {
            if !inner.rooms.contains_key(room) {
                if !make {
                    return Taken::NoRoom { was_removed: inner.terms.contains_key(room) };
                }
                inner.rooms.insert(room.clone(), Kept::default());
            }
            let term = inner.terms.entry(room.clone()).or_insert(inner.first_term);
            let Some(kept) = inner.rooms.get_mut(room) else {
                return Taken::NoRoom { was_removed: false };
            };
            let now = Instant::now();
            if let Some((by, until)) = kept.keeper
                && by != node
                && now < until
            {
                return Taken::Kept { by, term: kept.term };
            }
            let former = std::mem::replace(&mut kept.term, *term + 1);
            *term += 1;
            kept.keeper = Some((node, now + lease));
            let (last, may_have_lost) = (kept.last, kept.may_have_lost);
            Taken::Yours(Head { term: *term, former, last, may_have_lost })
        })
        .await
    }

    async fn append(&self, room: &RoomName, append: Append<'_>) -> Result<Appended, LogError> {
        within_bounds(append.entries.iter().chain([append.tell]))?;
        let node = self.node;
        self.call(|inner| {
            inner.appends += 1;
            let Some(kept) = inner.rooms.get_mut(room).filter(|kept| kept.term == append.term) else {
                return Appended::Deposed;
            };
            if append.after > kept.last {
                return Appended::Behind { last: kept.last };
            }
            let last = append.after + append.entries.len() as u64;
            let is_new = append.entries.is_empty() || last > kept.last;
            for (number, entry) in (append.after + 1..).zip(append.entries) {
                // The snapshot may stand for some of them by now.
                if kept.snapshot.as_ref().is_some_and(|(last, _)| number <= *last) {
                    continue;
                }
                match kept.entries.get(&number) {
                    Some(there) => assert_eq!(there, entry, "one keeper writes an entry twice"),
                    None => drop(kept.entries.insert(number, entry.clone())),
                }
                kept.last = kept.last.max(number);
            }
            kept.keeper = Some((node, Instant::now() + append.lease));
            kept.may_have_lost = false;
            if is_new && !append.tell.is_empty() {
                inner.tell(None, &Heard::Message(append.tell.clone()));
            }
            Appended::Kept
        })
        .await
    }

    async fn load(&self, room: &RoomName, after: u64) -> Result<Loaded, LogError> {
        self.call(|inner| {
            let Some(kept) = inner.rooms.get(room) else { return Loaded::default() };
            let snapshot = kept.snapshot.clone().filter(|(last, _)| after < *last);
            let entries =
                kept.entries.range(after.saturating_add(1)..).map(|(number, entry)| (*number, entry.clone()));
            Loaded { snapshot, entries: entries.collect() }
        })
        .await
    }

    async fn put_snapshot(
        &self,
        room: &RoomName,
        term: u64,
        last: u64,
        pieces: &[Bytes],
    ) -> Result<Appended, LogError> {
        within_bounds(pieces)?;
        self.call(|inner| {
            let Some(kept) = inner.rooms.get_mut(room).filter(|kept| kept.term == term) else {
                return Appended::Deposed;
            };
            if kept.snapshot.as_ref().is_some_and(|(newer, _)| *newer > last) {
                return Appended::Kept;
            }
            kept.entries.retain(|number, _| *number > last);
            kept.last = kept.last.max(last);
            kept.snapshot = Some((last, pieces.to_vec()));
            Appended::Kept
        })
        .await
    }

    async fn release(&self, room: &RoomName, term: u64) -> Result<(), LogError> {
        self.call(|inner| {
            if let Some(kept) = inner.rooms.get_mut(room).filter(|kept| kept.term == term) {
                kept.keeper = None;
            }
        })
        .await
    }

    async fn remove(&self, room: &RoomName, term: u64) -> Result<Appended, LogError> {
        self.call(|inner| {
            if inner.terms.get(room) != Some(&term) {
                return Appended::Deposed;
            }
            inner.rooms.remove(room);
            Appended::Kept
        })
        .await
    }

    fn send(&self, to: Option<NodeId>, message: Bytes) -> bool {
        if message.len() > MAX_PIECE_BYTES {
            return false;
        }
        if *self.link.borrow() == Link::Up {
            self.place.0.lock().tell(to, &Heard::Message(message));
        }
        true
    }

    fn listen(&self, node: NodeId) -> mpsc::Receiver<Heard> {
        let (heard, receiver) = mpsc::channel(4_096);
        let (queue, mut queued) = mpsc::unbounded_channel::<(Instant, Heard)>();
        let mut link = self.link.clone();
        tokio::spawn(async move {
            while let Some((at, message)) = queued.recv().await {
                sleep_until(at).await;
                let _ = link.wait_for(|link| *link != Link::Stopped).await;
                if timeout(Duration::from_secs(60), heard.send(message)).await.is_err() {
                    return;
                }
            }
        });
        let mut inner = self.place.0.lock();
        if let Some(listener) = inner.nodes.get_mut(&node) {
            listener.heard = queue;
        }
        inner.tell(Some(node), &Heard::Up);
        receiver
    }
}
