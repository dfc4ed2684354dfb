//! What one node has of one room: the room itself where it keeps it, a replica otherwise.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_core::room::{Answer, Command, Event, Room, RoomName, Ticket};
use tidegate_core::time::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::entry::{Mark, Step, get_entry, room_of};
use super::keeper::Keeper;
use super::log::{Loaded, NodeId};
use super::message::{Happened, Has, ToldStep};
use crate::rooms::codec::Malformed;
use crate::rooms::outbox::Outbox;
use crate::rooms::port::{RoomError, Told};

/// A session that goes on is heard of at least that often: browsers let a hidden page run once a minute.
const SESSIONS_HEARD: Duration = Duration::from_secs(90);

/// The most messages that are kept while what comes before them is loaded.
const MAX_BACKLOG: usize = 64;

/// A room at this node.
pub(super) struct Slot {
    pub(super) name: RoomName,
    pub(super) state: Mutex<State>,
    pub(super) outbox: Outbox,
    /// The last entry that watchers may be told of.
    pub(super) kept: AtomicU64,
    /// The replica is newer, or somebody else keeps the room, or nobody could take it.
    pub(super) changed: Notify,
    /// There is something to write.
    pub(super) work: Notify,
    /// Held by whoever loads the room or takes it.
    pub(super) busy: tokio::sync::Mutex<()>,
}

impl Slot {
    pub(super) fn new(name: RoomName) -> Self {
        Self {
            name,
            state: Mutex::new(State::default()),
            outbox: Outbox::default(),
            kept: AtomicU64::new(0),
            changed: Notify::new(),
            work: Notify::new(),
            busy: tokio::sync::Mutex::new(()),
        }
    }

    pub(super) fn set_kept(&self, entry: u64) {
        self.kept.store(entry, Ordering::Release);
    }
}

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "five conditions that have nothing to do with one another")]
pub(super) struct State {
    /// The keeper's is ahead of what is kept by what it has not written yet. `None` where it was not loaded.
    pub(super) room: Option<Room>,
    /// The last entry in it.
    pub(super) mark: Mark,
    /// `None` where another node keeps it, or nobody.
    pub(super) keeper: Option<Box<Keeper>>,
    /// The last entry of which this node knows that it was kept, where `mark` is of one that was not: it was the keeper, and is none any more.
    pub(super) unsure_after: Option<Mark>,
    /// The last term in which this node kept the room; 0 where it never did.
    pub(super) kept_in: u64,
    /// What others have of the room, of which this node has asked in this term.
    pub(super) sought: Option<(u64, Vec<(NodeId, Has)>)>,
    /// Another one, as far as is known.
    pub(super) other: Option<Other>,
    /// The highest term that was heard of, and how many times its keeper has told.
    pub(super) term: u64,
    count: u64,
    /// When this was up to date last, as far as is known: what was told was heard, or loaded.
    pub(super) heard_at: Timestamp,
    /// Until when it is taken for that.
    fresh_until: Option<Instant>,
    /// Since when it is not, whatever is heard: until it was loaded after that.
    doubted_at: Option<Instant>,
    /// What answers of this node were made from: what is told later must not be older.
    needs: (Mark, u64),
    /// What was told while something before it was missing, the last of it.
    backlog: VecDeque<Happened>,
    /// Until when this replica may not know of heartbeats, because it has missed some.
    unsure_until: Option<Instant>,
    /// The replica is none of this log any more.
    pub(super) is_stray: bool,
    /// The log was read, and has nothing: whoever was to make the room has not.
    pub(super) is_empty: bool,
    pub(super) is_loading: bool,
    pub(super) is_taking: bool,
    /// Why the room could not be taken the last time, and when that was.
    pub(super) failed: Option<(Instant, RoomError)>,
    /// It was removed: nothing more is done with this.
    pub(super) is_gone: bool,
}

/// Another node that keeps a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Other {
    pub(super) node: NodeId,
    /// Until when it does, if it is not heard of again.
    pub(super) until: Instant,
    /// How much later this node takes the room to turn it, so that not all come at once.
    pub(super) pause: Duration,
}

/// Why what was loaded is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    /// The replica is none of this log: everything has to be loaded.
    Stray,
    /// The log cannot be read.
    Corrupt(String),
}

// === impl replica ===

impl State {
    /// Whether another node keeps the room at this instant, as far as is known.
    pub(super) fn is_kept_elsewhere(&self, now: Instant) -> bool {
        self.other.is_some_and(|other| now < other.until)
    }

    /// Everything that was told up to this instant is in the replica, unless messages wait since this node stood still.
    pub(super) fn refreshed(&mut self, at: Timestamp, until: Instant) {
        if !self.is_doubted() {
            (self.heard_at, self.fresh_until) = (at, Some(until));
        }
    }

    /// Everything that was kept when a load `began` is in the replica; false where that is not enough.
    pub(super) fn loaded(&mut self, began: (Timestamp, Instant), until: Instant) -> bool {
        self.doubted_at = self.doubted_at.filter(|doubted_at| *doubted_at > began.1);
        self.is_empty = self.room.is_none();
        self.refreshed(began.0, until);
        !self.is_doubted()
    }

    /// This node stood still: messages that come now may be old.
    pub(super) fn doubt(&mut self, now: Instant) {
        (self.doubted_at, self.fresh_until) = (Some(now), None);
    }

    pub(super) fn is_doubted(&self) -> bool {
        self.doubted_at.is_some()
    }

    /// Whether the replica is taken for up to date.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        self.fresh_until.is_some_and(|until| now < until)
    }

    /// What this node has of the room.
    pub(super) fn has(&self) -> Has {
        let mark = match &self.keeper {
            // Entries before its own are kept in any case.
            Some(keeper) if keeper.kept() < self.mark.entry => {
                Mark { term: self.mark.term, entry: keeper.kept() }
            }
            _ => self.unsure_after.unwrap_or(self.mark),
        };
        let is_whole = self.room.is_some() && !self.is_stray;
        Has { mark: if is_whole { mark } else { Mark::default() }, kept_in: self.kept_in }
    }

    /// A keeper was heard of; false where that is an old one.
    pub(super) fn note_keeper(&mut self, other: Other, term: u64) -> bool {
        if term < self.term {
            return false;
        }
        if term > self.term {
            self.term = term;
            self.count = 0;
        }
        self.other = Some(other);
        true
    }

    /// Takes in what the keeper tells that was noted; false where something before it is missing. It is kept then, for when that was
    /// loaded.
    pub(super) fn hear(&mut self, told: Happened, outbox: &Outbox, now: Instant) -> bool {
        if told.count > self.count + 1 {
            self.miss(now);
        }
        self.count = self.count.max(told.count);
        let is_sound = !self.is_stray && self.unsure_after.is_none();
        let is_next = self.mark == told.after && is_sound && (self.room.is_some() || told.after.entry == 0);
        let is_within = self.mark.term == told.term
            && self.mark.entry >= told.after.entry
            && self.room.is_some()
            && is_sound;
        let is_told = told.last <= self.mark.entry || !told.steps.is_empty();
        if !(is_next || is_within) || !is_told {
            let is_other = !is_next && !is_within && self.mark.entry >= told.after.entry;
            self.is_stray |= is_other || self.unsure_after.is_some();
            if self.backlog.len() >= MAX_BACKLOG {
                self.backlog.pop_front();
            }
            self.backlog.push_back(told);
            return false;
        }
        self.apply_told(told, outbox)
    }

    fn apply_told(&mut self, told: Happened, outbox: &Outbox) -> bool {
        let start = self.mark.entry;
        for ToldStep { entry, is_kept, step } in told.steps {
            if is_kept && entry <= start {
                continue;
            }
            if !self.apply(step, entry, outbox) && is_kept {
                self.is_stray = true;
                return false;
            }
        }
        if told.last > start {
            self.mark = Mark { term: told.term, entry: told.last };
        }
        true
    }

    /// Takes in what was told while something was missing.
    pub(super) fn hear_backlog(&mut self, outbox: &Outbox, now: Instant) {
        for told in std::mem::take(&mut self.backlog) {
            if told.term == self.term && self.keeper.is_none() && !self.hear(told, outbox, now) {
                break;
            }
        }
        self.backlog.clear();
    }

    /// Takes in what was loaded from after entry `after`: the last one in the replica, or 0 for everything.
    pub(super) fn take_in(
        &mut self,
        loaded: Loaded,
        after: u64,
        outbox: &Outbox,
        now: Instant,
    ) -> Result<(), Misfit> {
        let corrupt = |Malformed(what)| Misfit::Corrupt(what.to_owned());
        self.miss(now);
        self.is_empty = false;
        let is_anew = after == 0 || loaded.snapshot.is_some();
        if let Some((last, pieces)) = loaded.snapshot {
            let (mark, room) = room_of(&pieces).map_err(Misfit::Corrupt)?;
            if mark.entry != last {
                return Err(Misfit::Corrupt("a snapshot stands for other entries than it says".to_owned()));
            }
            (self.room, self.mark, self.is_stray, self.unsure_after) = (Some(room), mark, false, None);
        } else if after == 0 {
            (self.room, self.mark, self.is_stray, self.unsure_after) = (None, Mark::default(), false, None);
        }
        // Whoever watches was told of some of it, and cannot be told of the rest in order.
        let silent = Outbox::default();
        let outbox = if is_anew { &silent } else { outbox };
        for (number, bytes) in loaded.entries {
            if number <= self.mark.entry {
                continue;
            }
            let entry = get_entry(&bytes).map_err(corrupt)?;
            if number != self.mark.entry + 1 || entry.before != self.mark.term {
                let gap = || Misfit::Corrupt(format!("entry {number} does not follow the one before"));
                return Err(if is_anew { gap() } else { Misfit::Stray });
            }
            for step in entry.steps {
                if !self.apply(step, number, outbox) {
                    self.is_stray = true;
                    return Err(Misfit::Corrupt(format!("entry {number} cannot have happened in this room")));
                }
            }
            self.mark = Mark { term: entry.term, entry: number };
        }
        Ok(())
    }

    /// Applies a step; false where it cannot have happened.
    fn apply(&mut self, step: Step, entry: u64, outbox: &Outbox) -> bool {
        let (at, events) = match step {
            Step::Made { at, epoch, settings } => {
                if self.room.is_some() {
                    return false;
                }
                self.room = Some(Room::new(*settings, epoch, at));
                return true;
            }
            Step::Happened { at, events } => (at, events),
        };
        let Some(room) = &mut self.room else { return false };
        for event in &events {
            if room.replay(at, event).is_err() {
                return false;
            }
            // Everybody is presumed to be there then.
            if matches!(event, Event::Resumed { .. }) {
                self.unsure_until = None;
            }
        }
        outbox.put(at, events, entry);
        true
    }

    /// Heartbeats may have been missed.
    fn miss(&mut self, now: Instant) {
        self.unsure_until = Some(now + SESSIONS_HEARD);
    }

    /// This node has answered from this state; what it tells later must not be older.
    pub(super) fn need(&mut self, mark: Mark, count: u64) {
        self.needs = self.needs.max((mark, count));
    }

    /// Whether the replica is at least as new as what this node has told.
    pub(super) fn is_new_enough(&self) -> bool {
        let (mark, count) = self.needs;
        self.mark >= mark && (self.term > mark.term || self.count >= count)
    }
}

// === impl answers of a replica ===

impl State {
    /// How a ticket stands, where this node can tell at once.
    pub(super) fn look(&mut self, ticket: &Ticket, now: Timestamp, instant: Instant) -> Option<Told> {
        let Some(keeper) = &self.keeper else {
            return self.tell(now, instant, |room, at| Some(room.look(at, ticket)));
        };
        // Proxies ask about sessions all the time: where what has happened to one is kept, it waits for nothing of others.
        let is_sure = !keeper.is_standing(instant) && !keeper.is_leaving && keeper.is_kept(ticket.number);
        let (room, count) = (self.room.as_ref().filter(|_| is_sure)?, keeper.count_of_next());
        let told = told_of(room, now, |room, at| Some(room.look(at, ticket)))
            .filter(|told| matches!(told.answer, Answer::Admitted(_)))?;
        self.need(self.mark, count);
        Some(told)
    }

    /// The answer to a command that changes nothing, where the replica can tell.
    pub(super) fn answer_to_early(
        &self,
        command: &Command,
        now: Timestamp,
        instant: Instant,
    ) -> Option<Told> {
        if !matches!(command, Command::Poll(_) | Command::Heartbeat(_)) {
            return None;
        }
        self.tell(now, instant, |room, at| room.answer_to_early(at, command))
    }

    fn tell(
        &self,
        now: Timestamp,
        instant: Instant,
        ask: impl FnOnce(&Room, Timestamp) -> Option<Answer>,
    ) -> Option<Told> {
        let is_replica = self.keeper.is_none() && !self.is_stray && self.unsure_after.is_none();
        if !is_replica || !self.is_fresh(instant) || !self.is_new_enough() {
            return None;
        }
        told_of(self.room.as_ref()?, now, ask).filter(|told| self.is_sure_of(told, instant))
    }

    /// Whether no heartbeat can have been missed that makes a difference.
    fn is_sure_of(&self, told: &Told, now: Instant) -> bool {
        !matches!(told.answer, Answer::Admitted(_)) || self.unsure_until.is_none_or(|until| now >= until)
    }

    /// How a ticket stood when it was known last that nobody else kept the room, or when its keeper was heard of.
    pub(super) fn last_known(&self, ticket: &Ticket, now: Instant) -> Option<Told> {
        let room = self.room.as_ref().filter(|_| self.unsure_after.is_none())?;
        let is_known = match &self.keeper {
            Some(keeper) => keeper.is_kept(ticket.number),
            None => self.is_new_enough(),
        };
        let look = |room: &Room, at| match &self.keeper {
            Some(keeper) => room.look_before(at, ticket, keeper.gone_from_line()),
            None => room.look(at, ticket),
        };
        let told = told_of(room, self.heard_at, |room, at| is_known.then(|| look(room, at)))?;
        // While there is a keeper, it is better asked again.
        (!self.is_kept_elsewhere(now) || self.is_sure_of(&told, now)).then_some(told)
    }
}

/// What is told of a seat that is there. A replica does not know why one is not: it may be behind.
fn told_of(
    room: &Room,
    now: Timestamp,
    ask: impl FnOnce(&Room, Timestamp) -> Option<Answer>,
) -> Option<Told> {
    let at = now.max(room.clock());
    let answer = ask(room, at)?;
    let is_there = matches!(answer, Answer::Waiting(_) | Answer::Ready(_) | Answer::Admitted(_));
    is_there.then_some(Told { answer, at, epoch: room.epoch() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_stood_still_believes_messages_only_after_a_load() {
        let (mut state, at, now) = (State::default(), Timestamp::EPOCH, Instant::now());
        let (later, until) = (now + Duration::from_secs(1), now + Duration::from_secs(9));
        state.refreshed(at, until);
        assert!(state.is_fresh(later));
        state.doubt(later);
        state.refreshed(at, until);
        assert!(!state.is_fresh(later), "what was heard may be old");
        assert!(!state.loaded((at, now), until), "what was loaded too");
        assert!(!state.is_fresh(later));
        assert!(state.loaded((at, later), until));
        assert!(state.is_fresh(later));
    }
}
