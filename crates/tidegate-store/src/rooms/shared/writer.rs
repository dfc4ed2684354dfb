//! The task that keeps a room: it appends what has gathered, holds the lease, and puts snapshots.

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::room::Room;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::entry::{Mark, pieces_of};
use super::keeper::{Answers, Batch};
use super::log::{Append, Appended, LogError, RoomLog};
use super::message::released;
use super::node::Node;
use super::slot::Slot;

/// How long a write that failed is left alone before the next try, at first and at most.
const RETRY: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(250)];

/// What became of a write.
enum Written {
    Kept,
    /// It is not the keeper any more.
    Deposed,
    /// It is not kept, and a copy of the room is to be put into the log.
    Behind,
}

impl<L: RoomLog> Node<L> {
    /// Keeps a room until another node does, or it is given up.
    pub(super) async fn keep(self: Arc<Self>, slot: Arc<Slot>, term: u64) {
        let beat = self.options.lease / 3;
        loop {
            let now = Instant::now();
            let next = {
                let state = slot.state.lock();
                match state.keeper.as_ref().filter(|keeper| keeper.term == term) {
                    Some(keeper) if keeper.is_leaving && keeper.is_done() => break,
                    Some(keeper) => keeper.next_write(now, beat),
                    None => return,
                }
            };
            if next > now {
                tokio::select! {
                    () = sleep_until(next) => {}
                    () = slot.work.notified() => {}
                }
                continue;
            }
            let Some(batch) = slot.state.lock().batch(&slot.name, self.id, now) else { return };
            let written = match self.append(&slot, term, &batch).await {
                Written::Behind => self.make_up(&slot, term).await,
                written => written,
            };
            match written {
                Written::Kept | Written::Behind => self.put_snapshot_if_long(&slot, term),
                Written::Deposed => return self.depose(&slot, term),
            }
        }
        self.leave(&slot, term).await;
    }

    /// Appends, again and again until it is known what became of it.
    async fn append(&self, slot: &Slot, term: u64, batch: &Batch) -> Written {
        let lease = self.options.lease;
        let append = Append { term, after: batch.after, entries: &batch.entries, tell: &batch.tell, lease };
        let mut pause = RETRY[0];
        loop {
            let began = Instant::now();
            let appended = timeout(lease, self.log.append(&slot.name, append)).await;
            match appended
                .unwrap_or_else(|_| Err(LogError::Unknown("it took longer than a lease".to_owned())))
            {
                Ok(Appended::Kept) => {
                    self.kept(slot, batch.last, Some((began, began + self.options.sure())));
                    return Written::Kept;
                }
                Ok(Appended::Deposed) => return Written::Deposed,
                Ok(Appended::Behind { .. }) => return Written::Behind,
                Err(error) => self.wait_after(slot, error, &mut pause).await,
            }
        }
    }

    /// The log has lost entries: the whole room is put into it.
    async fn make_up(&self, slot: &Slot, term: u64) -> Written {
        let Some((room, mark)) = slot.state.lock().copy_for_log() else { return Written::Deposed };
        let pieces = pieces_of(&slot.name, mark, &room);
        let mut pause = RETRY[0];
        loop {
            match self.log.put_snapshot(&slot.name, term, mark.entry, &pieces).await {
                Ok(Appended::Kept) => {
                    self.kept(slot, mark.entry, None);
                    return Written::Kept;
                }
                Ok(Appended::Deposed) => return Written::Deposed,
                Ok(Appended::Behind { .. }) => sleep(pause).await,
                Err(error) => self.wait_after(slot, error, &mut pause).await,
            }
        }
    }

    async fn wait_after(&self, slot: &Slot, error: LogError, pause: &mut Duration) {
        let answers = {
            let mut state = slot.state.lock();
            let now = self.now();
            state.keeper.as_mut().map(|keeper| keeper.fail(now, error.to_string())).unwrap_or_default()
        };
        self.deliver(answers);
        sleep(*pause).await;
        *pause = (*pause * 2).min(RETRY[1]);
    }

    /// Everything up to an entry is kept: whoever waits for that is answered, and watchers are told.
    fn kept(&self, slot: &Slot, last: u64, held: Option<(Instant, Instant)>) {
        let mut answers = Answers::new();
        {
            let mut state = slot.state.lock();
            let times = (self.now(), Instant::now());
            state.heard_at = times.0;
            state.keep(last, held, times, &slot.outbox, (self.options.lease / 3, &mut answers));
            if let Some(keeper) = &state.keeper {
                slot.set_kept(keeper.kept());
            }
        }
        self.deliver(answers);
        self.tell_watchers(slot);
        slot.changed.notify_waiters();
    }

    /// Another node keeps the room.
    pub(super) fn depose(&self, slot: &Slot, term: u64) {
        let answers = {
            let mut state = slot.state.lock();
            let Some(mut keeper) = state.keeper.take_if(|keeper| keeper.term == term) else { return };
            slot.outbox.forget_after(keeper.kept());
            // What was not kept is still in the room: it is loaded anew, unless the log has lost even more and this node is to make up for it.
            if state.mark.entry != keeper.kept() {
                let kept = Mark { term, entry: keeper.kept() };
                state.unsure_after = Some(kept);
            }
            state.other = None;
            keeper.drain()
        };
        self.deliver(answers);
        slot.changed.notify_waiters();
    }

    /// Gives up a room of which everything is kept.
    async fn leave(&self, slot: &Slot, term: u64) {
        // Where it fails, the lease ends by itself.
        let is_released = timeout(self.options.lease, self.log.release(&slot.name, term)).await;
        let answers =
            slot.state.lock().keeper.take_if(|keeper| keeper.term == term).map(|mut keeper| keeper.drain());
        self.deliver(answers.unwrap_or_default());
        if let Ok(Ok(())) = is_released {
            self.log.send(None, released(&slot.name, term));
        }
        slot.changed.notify_waiters();
    }

    fn put_snapshot_if_long(self: &Arc<Self>, slot: &Arc<Slot>, term: u64) {
        let copy = {
            let mut state = slot.state.lock();
            let least = self.options.max_log_bytes;
            let is_long = state.keeper.as_ref().is_some_and(|keeper| {
                !keeper.is_writing_snapshot && keeper.log_bytes > keeper.snapshot_bytes.max(least)
            });
            let copy = if is_long { state.copy() } else { None };
            if let (Some(_), Some(keeper)) = (&copy, &mut state.keeper) {
                keeper.is_writing_snapshot = true;
                keeper.log_bytes = 0;
            }
            copy
        };
        if let Some((room, mark)) = copy {
            let (node, slot) = (Arc::clone(self), Arc::clone(slot));
            self.spawn(async move { node.put_snapshot(&slot, term, mark, &room).await });
        }
    }

    async fn put_snapshot(&self, slot: &Slot, term: u64, mark: Mark, room: &Room) {
        let pieces = pieces_of(&slot.name, mark, room);
        let is_kept = || {
            let state = slot.state.lock();
            state
                .keeper
                .as_ref()
                .filter(|keeper| keeper.term == term)
                .map(|keeper| keeper.kept() >= mark.entry)
        };
        loop {
            let changed = slot.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match is_kept() {
                Some(true) => break,
                Some(false) => changed.await,
                None => return,
            }
        }
        let put = self.log.put_snapshot(&slot.name, term, mark.entry, &pieces).await;
        let mut state = slot.state.lock();
        let Some(keeper) = state.keeper.as_mut().filter(|keeper| keeper.term == term) else { return };
        keeper.is_writing_snapshot = false;
        // Where it failed, the log is longer than it has to be until the next one.
        if put.is_ok() {
            keeper.snapshot_bytes = pieces.iter().map(bytes::Bytes::len).sum();
        }
    }
}
