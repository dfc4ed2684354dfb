//! Rooms that several nodes share.
//!
//! A room is a state machine that gives events, so of all nodes one at a time keeps it: it runs the machine in its memory and appends
//! the events to a log that all nodes can read ([`RoomLog`]). The others hold a replica, which they bring to the same state by
//! what the keeper tells, and answer polls that change nothing from it. Everything else they ask the keeper.
//!
//! - An answer is given once its events, and all before, are kept ([`keeper`]). What is asked while an append is under way goes into
//!   the next one ([`writer`]), so the place has work by rooms and nodes, not by visitors.
//! - A keeper that cannot be sure that its lease still runs does nothing before an append was kept.
//! - When a keeper is not heard of for a lease, the node that has something to ask or to turn takes the room ([`take`]). It goes on
//!   from its replica, in a new epoch, in which everybody is presumed to be there.
//! - A place that has lost entries gets them back from the keeper, or from the replica of whoever takes the room.
//! - While the place cannot be reached, visitors who ask are told how they stood when it was last; everything else is refused.
//! - Lock order: the table of rooms, a room, then the post, the outbox and the epochs. No lock is held while anything is waited for, but
//!   a slot's `busy`, which is taken first.

mod ask;
mod entry;
mod keeper;
mod log;
mod message;
mod node;
mod post;
mod pulse;
mod slot;
mod take;
#[cfg(test)]
mod tests;
mod writer;

use core::fmt;
use core::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tidegate_core::room::{Answer, Command, Listed, Room, RoomName, Settings, Ticket};
use tidegate_core::time::{Micros, Timestamp};
use tokio::time::{Instant, timeout, timeout_at};

use super::memory::{Clock, asks_about};
use super::port::{LineDocument, MAX_ROOMS, RoomError, RoomStatus, RoomStore, RoomWatcher, Told};
use message::{Outcome, What, made};
use node::{Known, Node};
use slot::{Slot, State};

pub use log::{Append, Appended, Head, Heard, Loaded, LogError, MAX_PIECE_BYTES, NodeId, RoomLog, Taken};

/// How long a node that has started may take to read all rooms, once it knows which there are. One with a million visitors takes about a
/// second.
const MAX_LOADING: Duration = Duration::from_secs(30);
/// When to turn again where a room cannot be turned now.
const TURN_AGAIN: Micros = Micros::from_millis(250);

/// How shared rooms behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedOptions {
    /// For how long a room stands still at the most when its keeper dies, and how long a keeper may be away before another one
    /// goes on. It must be the same on all nodes.
    pub lease: Duration,
    /// After what time an ask ends in [`RoomError::Timeout`].
    pub ask_timeout: Duration,
    /// A log of so many bytes, or of as many as the last snapshot had if that is more, gives way to a snapshot.
    pub max_log_bytes: usize,
    /// How many tickets of one room the place may lose with no node left that knows of them: so many are presumed to be there then.
    pub may_lose: u32,
}

impl Default for SharedOptions {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(3),
            ask_timeout: Duration::from_secs(2),
            max_log_bytes: 4 << 20,
            may_lose: 10_000,
        }
    }
}

impl SharedOptions {
    /// For how long from its beginning a call that held a room makes the keeper sure of it: clocks of machines run differently.
    fn sure(&self) -> Duration {
        self.lease - self.lease / 8
    }
}

/// Rooms that this node shares with others. Clones share everything; the node's tasks end with the last of them.
pub struct SharedRooms<L: RoomLog>(Arc<Owner<L>>);

/// Ends the node's tasks, which have the node, too.
struct Owner<L: RoomLog>(Arc<Node<L>>);

impl<L: RoomLog> Deref for Owner<L> {
    type Target = Arc<Node<L>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<L: RoomLog> Drop for Owner<L> {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl<L: RoomLog> Clone for SharedRooms<L> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<L: RoomLog> SharedRooms<L> {
    /// The rooms that are kept in `log`, at this node. Runs its tasks on the present Tokio runtime, until it is dropped.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    #[must_use]
    pub fn new(log: L, node: NodeId, clock: Clock, options: SharedOptions) -> Self {
        let node = Arc::new(Node::new(log, node, clock, options));
        node.start();
        Self(Arc::new(Owner(node)))
    }

    /// Keeps what has happened and gives up the rooms that this node keeps, so that others go on with them at once. Nothing more is
    /// answered.
    pub async fn close(&self) {
        self.0.close().await;
    }

    /// The slot of a room that is loaded.
    async fn loaded(&self, room: &RoomName) -> Result<Arc<Slot>, RoomError> {
        let slot = self.0.slot(room)?;
        let deadline = Instant::now() + self.0.options.ask_timeout;
        loop {
            let changed = slot.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let state = slot.state.lock();
                if state.is_gone {
                    return Err(RoomError::UnknownRoom);
                }
                if state.room.is_some() {
                    break;
                }
                if state.is_empty && !state.is_kept_elsewhere(Instant::now()) {
                    return Err(RoomError::UnknownRoom);
                }
            }
            self.0.refresh_soon(&slot);
            let waited = timeout_at(deadline, changed).await;
            waited.map_err(|_| RoomError::Unavailable("the room is not loaded yet".to_owned()))?;
        }
        Ok(slot)
    }

    /// Reads from a room as it stands, or stood when it was last heard of.
    async fn read<T>(&self, room: &RoomName, read: impl Fn(&Room, Timestamp) -> T) -> Result<T, RoomError> {
        loop {
            let slot = self.loaded(room).await?;
            let state = slot.state.lock();
            if let Some(room) = &state.room {
                return Ok(read(room, self.instant_of(&state).max(room.clock())));
            }
        }
    }

    fn instant_of(&self, state: &State) -> Timestamp {
        let (now, instant) = (self.0.now(), Instant::now());
        let is_now = match &state.keeper {
            Some(keeper) => !keeper.is_standing(instant),
            None => state.is_fresh(instant),
        };
        if is_now { now } else { state.heard_at.min(now) }
    }

    /// Tells how a visitor stood where nobody can tell how it stands.
    fn or_last_known(slot: &Slot, ticket: &Ticket, error: RoomError) -> Result<Told, RoomError> {
        let known =
            if error.retryable() { slot.state.lock().last_known(ticket, Instant::now()) } else { None };
        known.ok_or(error)
    }
}

impl<L: RoomLog> fmt::Debug for SharedRooms<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedRooms").field("node", &self.0.id).finish_non_exhaustive()
    }
}

impl<L: RoomLog> RoomStore for SharedRooms<L> {
    async fn put(&self, room: &RoomName, settings: &Settings) -> Result<Answer, RoomError> {
        let deadline = Instant::now() + self.0.options.ask_timeout;
        loop {
            let slot = match self.0.slot(room) {
                Ok(slot) if slot.state.lock().room.is_some() => slot,
                _ => self.make(room, settings, deadline).await?,
            };
            let is_same = {
                let state = slot.state.lock();
                let is_kept = state.keeper.is_some() || state.is_fresh(Instant::now());
                is_kept && state.room.as_ref().is_some_and(|room| room.settings() == settings)
            };
            if is_same {
                return Ok(Answer::Done);
            }
            let change = What::Command(Command::Change(Box::new(settings.clone())));
            match self.0.ask(&slot, &change).await {
                // It was removed meanwhile.
                Err(RoomError::UnknownRoom) if Instant::now() < deadline => {}
                told => return told.map(|told| told.answer),
            }
        }
    }

    async fn remove(&self, room: &RoomName) -> Result<bool, RoomError> {
        let Ok(slot) = self.0.slot(room) else { return Ok(false) };
        let deadline = Instant::now() + self.0.options.ask_timeout;
        match self.0.ask_until(&slot, &What::Remove, deadline).await {
            Ok(Outcome::Gone) => {
                // The message that says so may be on its way yet.
                self.0.forget(&slot);
                Ok(true)
            }
            Ok(Outcome::UnknownRoom) | Err(RoomError::UnknownRoom) => Ok(false),
            Ok(Outcome::Unavailable(why)) => Err(RoomError::Unavailable(why)),
            Ok(Outcome::Overloaded) => Err(RoomError::Overloaded),
            Ok(_) => Err(RoomError::Timeout),
            Err(error) => Err(error),
        }
    }

    async fn rooms(&self) -> Result<Vec<(RoomName, Settings)>, RoomError> {
        let mut known = self.0.known.subscribe();
        for (wanted, within) in [(Known::Names, self.0.options.ask_timeout), (Known::Rooms, MAX_LOADING)] {
            let is_known = timeout(within, known.wait_for(|known| *known >= wanted)).await;
            if !matches!(is_known, Ok(Ok(_))) {
                return Err(RoomError::Unavailable("the list of rooms cannot be read".to_owned()));
            }
        }
        let settings = |slot: &Slot| Some(slot.state.lock().room.as_ref()?.settings().clone());
        Ok(self.0.slots().iter().filter_map(|slot| Some((slot.name.clone(), settings(slot)?))).collect())
    }

    async fn ask(&self, room: &RoomName, command: &Command) -> Result<Told, RoomError> {
        let slot = self.0.slot(room)?;
        let now = Instant::now();
        let early = || slot.state.lock().answer_to_early(command, self.0.now(), now);
        if let Some(told) = self.0.is_steady(now).then(early).flatten() {
            return Ok(told);
        }
        match self.0.ask(&slot, &What::Command(command.clone())).await {
            Err(error) => match asks_about(command) {
                Some(ticket) => Self::or_last_known(&slot, ticket, error),
                None => Err(error),
            },
            told => told,
        }
    }

    async fn look(&self, room: &RoomName, ticket: &Ticket) -> Result<Told, RoomError> {
        let slot = self.0.slot(room)?;
        let now = Instant::now();
        let known = || slot.state.lock().look(ticket, self.0.now(), now);
        if let Some(told) = self.0.is_steady(now).then(known).flatten() {
            return Ok(told);
        }
        match self.0.ask(&slot, &What::Look(*ticket)).await {
            Err(error) => Self::or_last_known(&slot, ticket, error),
            told => told,
        }
    }

    async fn status(&self, room: &RoomName) -> Result<RoomStatus, RoomError> {
        let status = |room: &Room, at| RoomStatus {
            at,
            status: room.status(at),
            settings: room.settings().clone(),
            drawn: room.drawn().cloned(),
        };
        self.read(room, status).await
    }

    async fn line(&self, room: &RoomName) -> Result<LineDocument, RoomError> {
        self.read(room, LineDocument::of).await
    }

    async fn listed(&self, room: &RoomName, after: u64, most: usize) -> Result<Vec<Listed>, RoomError> {
        self.read(room, |room, _| room.listed(after, most)).await
    }

    async fn turn(&self) -> Result<Option<Timestamp>, RoomError> {
        self.0.turn().await
    }

    fn watch(&self, watcher: Arc<dyn RoomWatcher>) {
        self.0.watchers.write().push(watcher);
    }
}

impl<L: RoomLog> SharedRooms<L> {
    /// Makes a room that is not known, or finds out that it is there.
    async fn make(
        &self,
        room: &RoomName,
        settings: &Settings,
        deadline: Instant,
    ) -> Result<Arc<Slot>, RoomError> {
        let node = &self.0;
        let rooms = node.log.rooms().await.map_err(|error| node.failed(error))?;
        let is_there = rooms.contains(room);
        if !is_there && rooms.len() >= MAX_ROOMS {
            return Err(RoomError::TooManyRooms);
        }
        let (slot, _) = node.slot_for(room).ok_or(RoomError::TooManyRooms)?;
        loop {
            let changed = slot.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let state = slot.state.lock();
                if state.is_gone {
                    return Err(RoomError::Timeout);
                }
                if state.room.is_some() || state.is_kept_elsewhere(Instant::now()) {
                    break;
                }
                if let Some((at, error)) = &state.failed
                    && *at + node.options.ask_timeout > deadline
                {
                    return Err(error.clone());
                }
            }
            node.take_soon(&slot, Some(settings.clone()));
            timeout_at(deadline, changed).await.map_err(|_| RoomError::Timeout)?;
        }
        if !is_there {
            node.log.send(None, made(room));
        }
        Ok(slot)
    }
}

impl<L: RoomLog> Node<L> {
    /// Turns the rooms that this node keeps, and takes those that nobody does and in which something is due.
    async fn turn(self: &Arc<Self>) -> Result<Option<Timestamp>, RoomError> {
        let mut turned = Vec::new();
        for slot in self.slots() {
            if self.next_turn(&slot).is_some_and(|next| next <= self.now()) {
                let is_kept = slot.state.lock().keeper.is_some();
                if !is_kept {
                    self.take_soon(&slot, None);
                }
                turned.push((is_kept.then(|| self.turn_here(&slot)), slot));
            }
        }
        let again = self.now().saturating_add(TURN_AGAIN);
        let deadline = Instant::now() + self.options.ask_timeout;
        let mut has_failed = false;
        for (turn, slot) in turned {
            let turn = match turn {
                Some(turn) => turn,
                None if self.take_until(&slot, deadline).await.is_err() => {
                    has_failed = true;
                    continue;
                }
                None if slot.state.lock().keeper.is_some() => self.turn_here(&slot),
                // Another node was sooner.
                None => continue,
            };
            has_failed |= !matches!(timeout_at(deadline, turn).await, Ok(Ok(Outcome::Answered { .. })));
        }
        let next = self.slots().iter().filter_map(|slot| self.next_turn(slot)).min();
        Ok(if has_failed { Some(next.map_or(again, |next| next.max(again))) } else { next })
    }

    /// When this node has something to do in a room: what is due, and not before another keeper's lease has ended.
    fn next_turn(&self, slot: &Slot) -> Option<Timestamp> {
        let now = self.now();
        let mut state = slot.state.lock();
        if state.keeper.is_some() {
            return state.room.as_ref()?.next_due(now);
        }
        let due = state.room.as_mut()?.find_next_due(now)?;
        let free = state.other.map_or(Duration::ZERO, |other| {
            (other.until + other.pause).saturating_duration_since(Instant::now())
        });
        let free = Micros::from_micros(u64::try_from(free.as_micros()).unwrap_or(u64::MAX));
        Some(due.max(now.saturating_add(free)))
    }
}
