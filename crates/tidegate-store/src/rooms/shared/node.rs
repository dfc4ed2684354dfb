//! One node of shared rooms: what it hears, whom it asks, and its tasks.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tidegate_core::room::RoomName;
use tidegate_core::time::Timestamp;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::SharedOptions;
use super::keeper::{Answers, Asker};
use super::log::{Heard, NodeId, RoomLog};
use super::message::{Happened, Item, Message, get_message, put_has};
use super::post::Post;
use super::pulse::Pulse;
use super::slot::{Other, Slot};
use crate::rooms::memory::Clock;
use crate::rooms::outbox::{Watchers, tell_of_rooms};
use crate::rooms::port::{MAX_ROOMS, RoomError};

/// How often the directory is read, in case that a message about a new room was lost.
const DIRECTORY_EVERY: Duration = Duration::from_secs(30);
/// How soon it is read again when that failed.
const DIRECTORY_AGAIN: Duration = Duration::from_secs(1);
/// The most rooms that this node knows: nodes that make rooms at the same time can make some more than [`MAX_ROOMS`].
const MAX_KNOWN_ROOMS: usize = 2 * MAX_ROOMS;

/// The most nodes whose answers are waited for when something was lost.
const MAX_FOUND: usize = 1_000;

/// What a node that has started knows of the rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Known {
    Nothing,
    /// The directory was read.
    Names,
    /// So was every room in it that can be.
    Rooms,
}

pub(super) struct Node<L> {
    pub(super) log: L,
    pub(super) id: NodeId,
    pub(super) clock: Clock,
    pub(super) options: SharedOptions,
    pub(super) table: RwLock<BTreeMap<RoomName, Arc<Slot>>>,
    pub(super) watchers: Watchers,
    pub(super) post: Post,
    /// Epochs that rooms which were removed have had: a new one of the name begins later.
    epochs: Mutex<BTreeMap<RoomName, u32>>,
    pub(super) known: watch::Sender<Known>,
    directory: Notify,
    random: Mutex<fastrand::Rng>,
    pulse: Pulse,
    tasks: Mutex<JoinSet<()>>,
    pub(super) is_closing: AtomicBool,
}

// === impl what all use ===

impl<L: RoomLog> Node<L> {
    pub(super) fn new(log: L, id: NodeId, clock: Clock, options: SharedOptions) -> Self {
        Self {
            log,
            id,
            clock,
            options,
            table: RwLock::default(),
            watchers: Watchers::default(),
            post: Post::default(),
            epochs: Mutex::default(),
            known: watch::Sender::new(Known::Nothing),
            directory: Notify::new(),
            random: Mutex::new(fastrand::Rng::with_seed(id.0)),
            pulse: Pulse::new(),
            tasks: Mutex::new(JoinSet::new()),
            is_closing: AtomicBool::new(false),
        }
    }

    pub(super) fn start(self: &Arc<Self>) {
        let (hears, posts, reads) = (Arc::clone(self), Arc::clone(self), Arc::clone(self));
        let beats = Arc::clone(self);
        let heard = self.log.listen(self.id);
        self.spawn(async move { hears.listen(heard).await });
        self.spawn(async move { posts.post.run(posts.id, &posts.log).await });
        self.spawn(async move { reads.read_directory().await });
        self.spawn(async move { beats.feel_pulse().await });
    }

    /// Finds out whether this node stood still. Messages that were sent meanwhile wait for it: what it hears first afterwards is old.
    async fn feel_pulse(self: Arc<Self>) {
        loop {
            let now = Instant::now();
            if !self.is_steady(now) {
                for slot in self.slots() {
                    slot.state.lock().doubt(now);
                    self.refresh_soon(&slot);
                }
            }
            self.pulse.beat(now);
            sleep(self.options.lease / 16).await;
        }
    }

    /// Whether this node has not stood still.
    pub(super) fn is_steady(&self, now: Instant) -> bool {
        self.pulse.missing(now) < self.options.lease / 4
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    pub(super) fn slots(&self) -> Vec<Arc<Slot>> {
        self.table.read().values().cloned().collect()
    }

    pub(super) fn slot(&self, room: &RoomName) -> Result<Arc<Slot>, RoomError> {
        self.table.read().get(room).cloned().ok_or(RoomError::UnknownRoom)
    }

    /// The slot of a room that is there, or is about to be; whether it is a new one.
    pub(super) fn slot_for(&self, room: &RoomName) -> Option<(Arc<Slot>, bool)> {
        let mut table = self.table.write();
        if let Some(slot) = table.get(room) {
            return Some((Arc::clone(slot), false));
        }
        if table.len() >= MAX_KNOWN_ROOMS {
            return None;
        }
        let slot = Arc::new(Slot::new(room.clone()));
        table.insert(room.clone(), Arc::clone(&slot));
        Some((slot, true))
    }

    /// The room is not there any more.
    pub(super) fn forget(&self, slot: &Arc<Slot>) {
        let mut table = self.table.write();
        if table.get(&slot.name).is_some_and(|known| Arc::ptr_eq(known, slot)) {
            table.remove(&slot.name);
        }
        drop(table);
        let answers = {
            let mut state = slot.state.lock();
            state.is_gone = true;
            if let Some(room) = state.room.take() {
                self.note_epoch(&slot.name, room.epoch().saturating_add(1));
            }
            state.keeper.take().map(|mut keeper| keeper.drain()).unwrap_or_default()
        };
        self.deliver(answers);
        slot.work.notify_one();
        slot.changed.notify_waiters();
        tell_of_rooms(&self.watchers);
    }

    pub(super) fn note_epoch(&self, room: &RoomName, least: u32) {
        let mut epochs = self.epochs.lock();
        if epochs.len() >= MAX_KNOWN_ROOMS && !epochs.contains_key(room) {
            epochs.pop_first();
        }
        let known = epochs.entry(room.clone()).or_default();
        *known = least.max(*known);
    }

    /// The first epoch of a room that is made now: later than those of any other room of its name.
    pub(super) fn first_epoch(&self, room: &RoomName, now: Timestamp) -> u32 {
        let seconds = u32::try_from(now.as_micros() / 1_000_000).unwrap_or(u32::MAX / 2);
        self.epochs.lock().get(room).copied().unwrap_or(0).max(seconds)
    }

    /// A part of the lease, so that not all nodes do the same at the same time.
    pub(super) fn pause(&self) -> Duration {
        self.options.lease.mul_f64(self.random.lock().f64() / 4.0)
    }

    /// Runs a task until this node is closed.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock();
        while tasks.try_join_next().is_some() {}
        if !self.is_closing.load(Ordering::Acquire) {
            tasks.spawn(task);
        }
    }

    /// Ends all tasks.
    pub(super) fn end(&self) {
        self.is_closing.store(true, Ordering::Release);
        self.tasks.lock().abort_all();
    }

    pub(super) fn deliver(&self, answers: Answers) {
        for (asker, outcome) in answers {
            match asker {
                // Whoever asked may have given up.
                Asker::Here(answer) => drop(answer.send(outcome)),
                Asker::At(node, id) => self.post.answer(node, id, &outcome),
            }
        }
    }

    pub(super) fn tell_watchers(&self, slot: &Slot) {
        slot.outbox.tell(&slot.name, &self.watchers, || slot.kept.load(Ordering::Acquire));
    }
}

// === impl what is heard ===

impl<L: RoomLog> Node<L> {
    async fn listen(self: Arc<Self>, mut heard: mpsc::Receiver<Heard>) {
        while let Some(heard) = heard.recv().await {
            match heard {
                Heard::Up => self.directory.notify_one(),
                // Leases of other keepers end, as far as this node knows.
                Heard::Down => {}
                Heard::Message(bytes) => self.hear(&bytes),
            }
        }
    }

    fn hear(self: &Arc<Self>, bytes: &Bytes) {
        // What cannot be read is of another version, or of somebody else who uses the place.
        let Ok(message) = get_message(bytes) else { return };
        match message {
            Message::Happened(told) if told.from == self.id => {}
            Message::Happened(told) => self.hear_happened(told),
            Message::Mail { from, items } => {
                items.into_iter().for_each(|item| self.hear_item(from, item));
            }
            Message::Made(room) => self.hear_of(&room),
            Message::Removed { room, term, least_epoch } => {
                self.note_epoch(&room, least_epoch);
                if let Ok(slot) = self.slot(&room)
                    && slot.state.lock().term <= term
                {
                    self.forget(&slot);
                }
            }
            Message::Released { room, term } => {
                if let Ok(slot) = self.slot(&room) {
                    let mut state = slot.state.lock();
                    if state.term <= term {
                        state.other = None;
                    }
                    drop(state);
                    slot.changed.notify_waiters();
                }
            }
            Message::Seek { from, .. } if from == self.id => {}
            Message::Seek { room, from, term } => {
                if let Ok(slot) = self.slot(&room) {
                    self.depose_before(&slot, term);
                    let has = slot.state.lock().has();
                    self.post.tell(from, |letter| put_has(letter, &room, term, has));
                }
            }
        }
    }

    fn hear_item(self: &Arc<Self>, from: NodeId, item: Item) {
        match item {
            Item::Outcome { id, outcome } => self.post.answered(id, outcome),
            Item::Ask { id, room, what } => self.serve(&room, Asker::At(from, id), what),
            Item::Has { room, term, has } => {
                if let Ok(slot) = self.slot(&room)
                    && let Some((sought, found)) = &mut slot.state.lock().sought
                    && *sought == term
                    && found.len() < MAX_FOUND
                {
                    found.push((from, has));
                }
            }
            Item::Take { room, term } => {
                if let Ok(slot) = self.slot(&room) {
                    self.depose_before(&slot, term);
                    slot.state.lock().other = None;
                    self.take_soon(&slot, None);
                }
            }
        }
    }

    /// Another node has taken the room in this term.
    fn depose_before(&self, slot: &Slot, term: u64) {
        let kept_in = slot.state.lock().keeper.as_ref().map(|keeper| keeper.term);
        if let Some(kept_in) = kept_in.filter(|kept_in| *kept_in < term) {
            self.depose(slot, kept_in);
        }
    }

    fn hear_happened(self: &Arc<Self>, told: Happened) {
        let Some((slot, _)) = self.slot_for(&told.room) else { return };
        let instant = Instant::now();
        let other = Other { node: told.from, until: instant + self.options.lease, pause: self.pause() };
        let (is_up_to_date, is_new, is_made) = {
            let mut state = slot.state.lock();
            let was_there = state.room.is_some();
            let is_new = told.term > state.term;
            let term = told.term;
            if state.keeper.is_some() || !state.note_keeper(other, term) {
                return;
            }
            let is_sound = state.hear(told, &slot.outbox, instant);
            if is_sound {
                state.refreshed(self.now(), other.until);
            }
            let is_up_to_date = is_sound && !state.is_doubted();
            slot.set_kept(state.mark.entry);
            (is_up_to_date, is_new.then_some(term), !was_there && state.room.is_some())
        };
        if !is_up_to_date {
            self.refresh_soon(&slot);
        }
        if let Some(term) = is_new {
            self.post.moved(&slot.name, term);
        }
        self.tell_watchers(&slot);
        if is_made {
            tell_of_rooms(&self.watchers);
        }
        slot.changed.notify_waiters();
    }

    /// There is a room of this name.
    fn hear_of(self: &Arc<Self>, room: &RoomName) {
        if let Some((slot, _)) = self.slot_for(room)
            && slot.state.lock().room.is_none()
        {
            self.refresh_soon(&slot);
        }
    }

    async fn read_directory(self: Arc<Self>) {
        loop {
            let read = self.log.rooms().await;
            let pause = match read {
                Ok(rooms) => {
                    self.compare(&rooms).await;
                    DIRECTORY_EVERY
                }
                Err(_) => DIRECTORY_AGAIN,
            };
            let _ = timeout(pause, self.directory.notified()).await;
        }
    }

    /// Loads rooms that are not known, and finds out what became of those that are not there.
    async fn compare(self: &Arc<Self>, rooms: &[RoomName]) {
        let known = self.slots();
        for room in rooms.iter().take(MAX_KNOWN_ROOMS) {
            self.hear_of(room);
        }
        for slot in known {
            let is_idle = {
                let state = slot.state.lock();
                state.keeper.is_none() && !state.is_taking && !state.is_kept_elsewhere(Instant::now())
            };
            if is_idle && !rooms.contains(&slot.name) {
                // It was removed, or the place has lost it.
                self.take_soon(&slot, None);
            }
        }
        if *self.known.borrow() < Known::Rooms {
            self.known.send_replace(Known::Names);
            for slot in self.slots() {
                while slot.state.lock().is_loading {
                    let _ = timeout(DIRECTORY_AGAIN, slot.changed.notified()).await;
                }
                // One after the other was begun; wait for the load itself.
                drop(slot.busy.lock().await);
            }
            self.known.send_replace(Known::Rooms);
        }
    }
}

// === impl leaving ===

impl<L: RoomLog> Node<L> {
    /// Gives up every room, so that others take them at once.
    pub(super) async fn close(self: &Arc<Self>) {
        for slot in self.slots() {
            if let Some(keeper) = &mut slot.state.lock().keeper {
                keeper.is_leaving = true;
            }
            slot.work.notify_one();
        }
        let is_left = || self.slots().iter().all(|slot| slot.state.lock().keeper.is_none());
        let end = Instant::now() + self.options.lease;
        while !is_left() && Instant::now() < end {
            sleep(Duration::from_millis(5)).await;
        }
        // What was told of the rooms is sent.
        sleep(Duration::from_millis(5)).await;
        self.end();
    }
}
