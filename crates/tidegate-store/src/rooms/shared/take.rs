//! How a node gets a room: from what others tell, from the log, and as its keeper.

use std::sync::Arc;

use tidegate_core::room::{Lost, MAX_WAITING, QueueNumber, Room, Settings};
use tidegate_core::time::Timestamp;
use tokio::time::{Instant, sleep};

use super::entry::{Mark, get_entry, pieces_of};
use super::keeper::Keeper;
use super::log::{Appended, Head, LogError, NodeId, RoomLog, Taken};
use super::message::{Has, put_take, seek};
use super::node::Node;
use super::slot::{Misfit, Other, Slot, State};
use crate::rooms::outbox::tell_of_rooms;
use crate::rooms::port::RoomError;

impl<L: RoomLog> Node<L> {
    /// Brings a replica up to date, from the log, unless that is under way.
    pub(super) fn refresh_soon(self: &Arc<Self>, slot: &Arc<Slot>) {
        if std::mem::replace(&mut slot.state.lock().is_loading, true) {
            return;
        }
        let (node, slot) = (Arc::clone(self), Arc::clone(slot));
        self.spawn(async move {
            let busy = slot.busy.lock().await;
            let is_follower = slot.state.lock().keeper.is_none();
            if is_follower {
                // Where it fails, the next beat of the keeper finds the gap again.
                let _ = node.catch_up(&slot).await;
            }
            {
                let mut state = slot.state.lock();
                state.is_loading = false;
                state.hear_backlog(&slot.outbox, Instant::now());
                if state.keeper.is_none() {
                    slot.set_kept(state.mark.entry);
                }
            }
            drop(busy);
            node.tell_watchers(&slot);
            // What was loaded anew was told to nobody.
            tell_of_rooms(&node.watchers);
            slot.changed.notify_waiters();
        });
    }

    /// Loads what the replica lacks. Whoever calls it holds the slot's `busy`.
    async fn catch_up(&self, slot: &Slot) -> Result<(), RoomError> {
        let mut is_anew = false;
        loop {
            let known = |state: &State| match state.room {
                Some(_) if !state.is_stray && !is_anew => state.mark.entry,
                _ => 0,
            };
            let after = known(&slot.state.lock());
            let began = (self.now(), Instant::now());
            let loaded = self.log.load(&slot.name, after).await.map_err(|error| self.failed(error))?;
            let mut state = slot.state.lock();
            if known(&state) != after {
                // It was told meanwhile what was being loaded.
                continue;
            }
            let taken_in = state.take_in(loaded, after, &slot.outbox, Instant::now());
            slot.set_kept(state.mark.entry);
            match taken_in {
                Ok(()) if state.loaded(began, began.1 + self.options.lease) => return Ok(()),
                Ok(()) => {}
                Err(Misfit::Corrupt(what)) if after == 0 => return Err(RoomError::Corrupt(what)),
                Err(Misfit::Stray | Misfit::Corrupt(_)) => is_anew = true,
            }
        }
    }

    /// Becomes the room's keeper, or finds out who is. Where the room is not there, it is made with `make`.
    pub(super) async fn take(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        make: Option<&Settings>,
    ) -> Result<(), RoomError> {
        let _busy = slot.busy.lock().await;
        let began = Instant::now();
        {
            let state = slot.state.lock();
            if state.keeper.is_some() || state.is_kept_elsewhere(began) {
                return Ok(());
            }
            if state.is_gone {
                return Err(RoomError::UnknownRoom);
            }
        }
        match self.take_from_log(slot, make.is_some()).await? {
            Taken::NoRoom { .. } => {
                self.forget(slot);
                Err(RoomError::UnknownRoom)
            }
            Taken::Kept { by, term } => {
                // It was not heard of, so the lease may be about to end.
                let until = Instant::now() + self.options.lease / 6;
                let other = Other { node: by, until, pause: self.pause() };
                slot.state.lock().note_keeper(other, term);
                self.post.moved(&slot.name, term);
                slot.changed.notify_waiters();
                Ok(())
            }
            Taken::Yours(head) => {
                let entered = self.enter(slot, head, began, make).await;
                if entered.is_err() {
                    // Another node may do better.
                    let _ = self.log.release(&slot.name, head.term).await;
                }
                entered
            }
        }
    }

    async fn take_from_log(&self, slot: &Slot, make: bool) -> Result<Taken, RoomError> {
        let lease = self.options.lease;
        let take = async |make| {
            let taken = self.log.take(&slot.name, self.id, lease, make).await;
            taken.map_err(|error| self.failed(error))
        };
        let taken = take(make).await?;
        let is_known = self.own_mark(slot).entry > 0;
        match taken {
            // The place has lost it, and this node has not.
            Taken::NoRoom { was_removed: false } if is_known => take(true).await,
            taken => Ok(taken),
        }
    }

    /// Goes on with a room that was taken.
    async fn enter(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        head: Head,
        began: Instant,
        make: Option<&Settings>,
    ) -> Result<(), RoomError> {
        let known = std::mem::replace(&mut slot.state.lock().kept_in, head.term);
        let mine = self.own_mark(slot);
        let is_doubtful = head.may_have_lost || head.last <= mine.entry;
        let of_log = if is_doubtful { self.last_mark(slot, head.last).await? } else { mine };
        let is_ahead = head.last < mine.entry && of_log < mine;
        let mut may_have_lost = head.may_have_lost && !is_ahead;
        if is_ahead || head.may_have_lost {
            let found = self.seek(slot, head.term).await;
            let best = found.iter().max_by_key(|(_, has)| has.mark);
            if let Some((node, _)) = best.filter(|(_, has)| has.mark > mine && has.mark > of_log) {
                return self.leave_to(slot, head.term, *node).await;
            }
            // Whoever kept the room last knows what was kept.
            let kept_in = found.iter().map(|(_, has)| has.kept_in).max().unwrap_or(0).max(known);
            may_have_lost &= kept_in < head.former;
        }
        if is_ahead {
            self.put_mine(slot, head.term).await?;
        } else {
            slot.state.lock().is_stray |= head.last <= mine.entry && of_log != mine;
            self.catch_up(slot).await?;
            let reached = slot.state.lock().mark.entry;
            if reached < head.last {
                let what = format!("its last entry is {}, and only {reached} can be read", head.last);
                return Err(RoomError::Corrupt(what));
            }
        }
        self.tell_watchers(slot);
        let now = self.now();
        {
            let mut state = slot.state.lock();
            let mark = state.mark;
            if state.room.is_none() {
                let Some(settings) = make else { return Err(RoomError::UnknownRoom) };
                state.room = Some(Room::new(settings.clone(), self.first_epoch(&slot.name, now), now));
            }
            state.term = state.term.max(head.term);
            (state.other, state.failed, state.heard_at, state.unsure_after) = (None, None, now, None);
            let sure_until = began + self.options.sure();
            state.keeper = Some(Box::new(Keeper::new(head.term, mark, sure_until, began)));
            slot.set_kept(mark.entry);
            if mark == Mark::default() {
                state.gather_made();
            } else {
                let lost = if may_have_lost { self.lost_of(&state.room, now) } else { None };
                state.resume(now, lost, &slot.outbox);
            }
        }
        let (node, kept, term) = (Arc::clone(self), Arc::clone(slot), head.term);
        self.spawn(node.keep(kept, term));
        self.post.moved(&slot.name, head.term);
        slot.changed.notify_waiters();
        tell_of_rooms(&self.watchers);
        Ok(())
    }

    /// What other nodes have of a room of which the log may have lost something.
    async fn seek(&self, slot: &Slot, term: u64) -> Vec<(NodeId, Has)> {
        slot.state.lock().sought = Some((term, Vec::new()));
        self.log.send(None, seek(&slot.name, self.id, term));
        sleep(self.options.lease / 10).await;
        slot.state.lock().sought.take().map(|(_, found)| found).unwrap_or_default()
    }

    /// Gives a room that was just taken to the node that has more of it.
    async fn leave_to(&self, slot: &Slot, term: u64, node: NodeId) -> Result<(), RoomError> {
        self.log.release(&slot.name, term).await.map_err(|error| self.failed(error))?;
        self.post.tell(node, |letter| put_take(letter, &slot.name, term));
        let until = Instant::now() + self.options.lease / 3;
        slot.state.lock().other = Some(Other { node, until, pause: self.pause() });
        Ok(())
    }

    /// The last entry in what this node has.
    fn own_mark(&self, slot: &Slot) -> Mark {
        let mut state = slot.state.lock();
        if state.room.is_none() || state.is_stray {
            (state.room, state.mark, state.is_empty) = (None, Mark::default(), false);
        }
        state.mark
    }

    /// The last entry of the log, and its term.
    async fn last_mark(&self, slot: &Slot, last: u64) -> Result<Mark, RoomError> {
        let Some(before) = last.checked_sub(1) else { return Ok(Mark::default()) };
        let loaded = self.log.load(&slot.name, before).await.map_err(|error| self.failed(error))?;
        if let Some((entry, bytes)) = loaded.entries.last() {
            let read = get_entry(bytes).map_err(|malformed| RoomError::Corrupt(malformed.0.to_owned()))?;
            return Ok(Mark { term: read.term, entry: *entry });
        }
        match loaded.snapshot {
            Some((_, pieces)) => {
                super::entry::room_of(&pieces).map(|(mark, _)| mark).map_err(RoomError::Corrupt)
            }
            None => Err(RoomError::Corrupt(format!("entry {last} is missing"))),
        }
    }

    /// The log has lost what this node has: it gets it back.
    async fn put_mine(&self, slot: &Slot, term: u64) -> Result<(), RoomError> {
        let (room, mark) = {
            let state = slot.state.lock();
            (state.room.clone().ok_or(RoomError::UnknownRoom)?, state.mark)
        };
        let pieces = pieces_of(&slot.name, mark, &room);
        match self.log.put_snapshot(&slot.name, term, mark.entry, &pieces).await {
            Ok(Appended::Kept) => Ok(()),
            Ok(Appended::Deposed | Appended::Behind { .. }) => {
                Err(RoomError::Unavailable("another node has taken the room".to_owned()))
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// What may be missing in a room of which nobody has more.
    fn lost_of(&self, room: &Option<Room>, now: Timestamp) -> Option<Lost> {
        let status = room.as_ref()?.status(now);
        let most = u64::from(MAX_WAITING).saturating_sub(status.waiting);
        let last = (status.next_number - 1).saturating_add(u64::from(self.options.may_lose).min(most));
        Some(Lost { serving: status.serving_number, last: last.min(QueueNumber::MAX.get() - 1) })
    }

    pub(super) fn failed(&self, error: LogError) -> RoomError {
        match error {
            LogError::NotDone(why) => RoomError::Unavailable(why),
            LogError::Unknown(_) => RoomError::Timeout,
            LogError::Corrupt(what) => RoomError::Corrupt(what),
        }
    }
}
