//! The keeper of a room: it does what is asked, gathers what has happened for the next append, and answers once that is kept.

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use bytes::Bytes;
use tidegate_core::room::{Answer, Command, Event, MAX_LEASE, QueueNumber, Resume, Room, RoomName};
use tidegate_core::time::Timestamp;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::entry::{self, Mark};
use super::log::{MAX_PIECE_BYTES, NodeId};
use super::message::{Happened, Outcome, What, put_step_head};
use super::slot::State;
use crate::rooms::outbox::Outbox;
use crate::rooms::port::Told;
use crate::rooms::unkept::Unkept;

/// An entry that has so many bytes is closed. A step is shorter than [`MAX_PIECE_BYTES`] by far: it has at most some thousand events.
const ENTRY_BYTES: usize = 64 << 10;
/// The most bytes that wait for an append. Beyond, nothing is taken on.
const MAX_GATHERED_BYTES: usize = 2 << 20;
/// The most asks of one room that wait for what they have changed to be kept, or for the room to be sure of its lease.
const MAX_WAITING_ASKS: usize = 65_536;
/// Appends are at least so far apart.
const SPACING: Duration = Duration::from_millis(2);
/// What may be lost is told after this time, where nothing else is.
const LOSSY_SPACING: Duration = Duration::from_millis(20);

/// Who asks.
#[derive(Debug)]
pub(super) enum Asker {
    /// Somebody at this node.
    Here(oneshot::Sender<Outcome>),
    /// Another node, which has given the ask this number.
    At(NodeId, u64),
}

/// Answers that can be given.
pub(super) type Answers = Vec<(Asker, Outcome)>;

pub(super) struct Keeper {
    pub(super) term: u64,
    /// The last entry that is kept.
    kept: u64,
    /// Until when nobody else can have taken the room.
    sure_until: Instant,
    /// Since when nothing can be kept, and why.
    failing: Option<(Timestamp, String)>,
    gathered: Gathered,
    /// Answers that wait for an entry.
    unanswered: VecDeque<(u64, Asker, Outcome)>,
    /// Asks that wait for the lease to be sure.
    deferred: VecDeque<(Asker, What)>,
    unkept: Unkept,
    /// How many times it has told.
    count: u64,
    last_write: Instant,
    /// Bytes of entries since the last snapshot, and of that.
    pub(super) log_bytes: usize,
    pub(super) snapshot_bytes: usize,
    pub(super) is_writing_snapshot: bool,
    /// The room is given up once everything is kept.
    pub(super) is_leaving: bool,
}

/// What the next append is made of.
#[derive(Default)]
struct Gathered {
    entries: Vec<Vec<u8>>,
    /// More can be put into the last one.
    is_open: bool,
    bytes: usize,
    /// The state before everything that is to be told.
    after: Mark,
    told: Vec<u8>,
}

/// One append.
pub(super) struct Batch {
    pub(super) after: u64,
    pub(super) last: u64,
    pub(super) entries: Vec<Bytes>,
    pub(super) tell: Bytes,
}

impl Keeper {
    /// The keeper of this term, of a room that ends with `mark`.
    pub(super) fn new(term: u64, mark: Mark, sure_until: Instant, now: Instant) -> Self {
        Self {
            term,
            kept: mark.entry,
            sure_until,
            failing: None,
            gathered: Gathered { after: mark, ..Gathered::default() },
            unanswered: VecDeque::new(),
            deferred: VecDeque::new(),
            unkept: Unkept::default(),
            count: 0,
            last_write: now,
            log_bytes: 0,
            snapshot_bytes: 0,
            is_writing_snapshot: false,
            is_leaving: false,
        }
    }

    pub(super) const fn kept(&self) -> u64 {
        self.kept
    }

    pub(super) fn is_sure(&self, now: Instant) -> bool {
        now < self.sure_until
    }

    /// Whether the room stands still.
    pub(super) fn is_standing(&self, now: Instant) -> bool {
        self.failing.is_some() || !self.is_sure(now)
    }

    /// Whether everything that has happened to this seat is kept.
    pub(super) fn is_kept(&self, number: QueueNumber) -> bool {
        self.unkept.is_kept(number, self.kept)
    }

    /// Those who have left the line, where that is not kept.
    pub(super) fn gone_from_line(&self) -> impl Iterator<Item = QueueNumber> {
        self.unkept.gone_from_line(self.kept)
    }

    /// When to write next.
    pub(super) fn next_write(&self, now: Instant, beat: Duration) -> Instant {
        if !self.is_sure(now) {
            now
        } else if !self.gathered.entries.is_empty() {
            self.last_write + SPACING
        } else if !self.gathered.told.is_empty() {
            self.last_write + LOSSY_SPACING
        } else if self.is_leaving {
            now
        } else {
            self.last_write + beat
        }
    }

    /// Whether nothing waits to be written.
    pub(super) fn is_done(&self) -> bool {
        self.gathered.entries.is_empty() && self.gathered.told.is_empty()
    }

    /// What is told next has this count.
    pub(super) fn count_of_next(&self) -> u64 {
        self.count + u64::from(!self.gathered.told.is_empty())
    }

    fn refusal(&self) -> Option<Outcome> {
        if let Some((_, why)) = &self.failing {
            return Some(Outcome::Unavailable(why.clone()));
        }
        let is_full = self.gathered.bytes >= MAX_GATHERED_BYTES
            || self.unanswered.len() + self.deferred.len() >= MAX_WAITING_ASKS;
        is_full.then_some(Outcome::Overloaded)
    }

    /// Nothing could be kept.
    pub(super) fn fail(&mut self, at: Timestamp, why: String) -> Answers {
        let (since, _) = self.failing.take().unwrap_or((at, String::new()));
        let deferred = self.deferred.drain(..);
        let answers = deferred.map(|(asker, _)| (asker, Outcome::Unavailable(why.clone()))).collect();
        self.failing = Some((since, why));
        answers
    }

    /// Everything that nobody was answered, since this is not the keeper any more.
    pub(super) fn drain(&mut self) -> Answers {
        let unanswered = self.unanswered.drain(..);
        let mut answers: Answers =
            unanswered.map(|(_, asker, _)| (asker, Outcome::Moved { may_be_done: true })).collect();
        let deferred = self.deferred.drain(..);
        answers.extend(deferred.map(|(asker, _)| (asker, Outcome::Moved { may_be_done: false })));
        answers
    }
}

// === impl steps ===

impl State {
    /// Does what is asked, or puts it off until the lease is sure. What can be answered now is put into `answers`.
    pub(super) fn serve(
        &mut self,
        asker: Asker,
        what: What,
        (now, instant): (Timestamp, Instant),
        outbox: &Outbox,
        answers: &mut Answers,
    ) {
        let Some(keeper) = self.keeper.as_mut().filter(|keeper| !keeper.is_leaving) else {
            answers.push((asker, Outcome::Moved { may_be_done: false }));
            return;
        };
        if let Some(refusal) = keeper.refusal() {
            answers.push((asker, refusal));
        } else if !keeper.is_sure(instant) {
            keeper.deferred.push_back((asker, what));
        } else {
            let Some(outcome) = self.do_what(&what, now, outbox) else {
                answers.push((asker, Outcome::UnknownRoom));
                return;
            };
            self.answer(asker, outcome, answers);
        }
    }

    fn do_what(&mut self, what: &What, now: Timestamp, outbox: &Outbox) -> Option<Outcome> {
        let told = match what {
            What::Command(command) => self.step(now, command, outbox)?,
            What::Look(ticket) => {
                let room = self.room.as_ref()?;
                let at = now.max(room.clock());
                Told { answer: room.look(at, ticket), at, epoch: room.epoch() }
            }
            // Done by whoever can wait.
            What::Remove => return None,
        };
        let count = self.keeper.as_ref()?.count_of_next();
        Some(Outcome::Answered { told, mark: self.mark, count })
    }

    /// Answers once everything that has happened is kept.
    fn answer(&mut self, asker: Asker, outcome: Outcome, answers: &mut Answers) {
        let entry = self.mark.entry;
        match &mut self.keeper {
            Some(keeper) if keeper.kept < entry => keeper.unanswered.push_back((entry, asker, outcome)),
            _ => answers.push((asker, outcome)),
        }
    }

    /// One step of the room that this node keeps.
    pub(super) fn step(&mut self, now: Timestamp, command: &Command, outbox: &Outbox) -> Option<Told> {
        let room = self.room.as_mut()?;
        let at = now.max(room.clock());
        let mut events = Vec::new();
        let answer = room.handle(at, command, &mut events);
        let told = Told { answer, at, epoch: room.epoch() };
        self.gather(at, events, outbox);
        Some(told)
    }

    /// The room goes on after it stood still, or was kept by another node: everybody is presumed to be there.
    pub(super) fn resume(
        &mut self,
        now: Timestamp,
        lost: Option<tidegate_core::room::Lost>,
        outbox: &Outbox,
    ) -> Option<Answer> {
        let epoch = self.room.as_ref()?.epoch().saturating_add(1);
        let resume = Resume { epoch, longest_lease: MAX_LEASE, lost };
        self.step(now, &Command::Resume(resume), outbox).map(|told| told.answer)
    }

    /// Puts what has happened into the next append.
    fn gather(&mut self, at: Timestamp, events: Vec<Event>, outbox: &Outbox) {
        let Some(keeper) = &mut self.keeper else { return };
        if events.is_empty() {
            return;
        }
        let is_kept = events.iter().any(|event| !event.may_be_lost());
        if is_kept {
            let entry = keeper.gathered.open(keeper.term, &mut self.mark);
            entry::put_happened(entry, at, &events, |event| !event.may_be_lost());
        }
        put_step_head(&mut keeper.gathered.told, self.mark.entry, is_kept);
        entry::put_happened(&mut keeper.gathered.told, at, &events, |_| true);
        keeper.gathered.count_bytes();
        keeper.unkept.note(self.mark.entry, &events, keeper.kept);
        outbox.put(at, events, self.mark.entry);
    }

    /// Puts a room that has just been made into the next append.
    pub(super) fn gather_made(&mut self) {
        let (Some(keeper), Some(room)) = (&mut self.keeper, &self.room) else { return };
        entry::put_made(keeper.gathered.open(keeper.term, &mut self.mark), room);
        put_step_head(&mut keeper.gathered.told, self.mark.entry, true);
        entry::put_made(&mut keeper.gathered.told, room);
    }

    /// The next append.
    pub(super) fn batch(&mut self, room: &RoomName, node: NodeId, now: Instant) -> Option<Batch> {
        let keeper = self.keeper.as_mut()?;
        let entries: Vec<Bytes> =
            mem::take(&mut keeper.gathered.entries).into_iter().map(Bytes::from).collect();
        let told = mem::take(&mut keeper.gathered.told);
        keeper.count += 1;
        let head = Happened {
            room: room.clone(),
            from: node,
            term: keeper.term,
            count: keeper.count,
            after: keeper.gathered.after,
            last: self.mark.entry,
            steps: Vec::new(),
        };
        let mut tell = head.put_head();
        // The others read in the log what is too much to be told.
        if tell.len() + told.len() <= MAX_PIECE_BYTES {
            tell.extend(told);
        }
        keeper.gathered = Gathered { after: self.mark, ..Gathered::default() };
        keeper.last_write = now;
        keeper.log_bytes += entries.iter().map(Bytes::len).sum::<usize>();
        let after = self.mark.entry - entries.len() as u64;
        Some(Batch { after, last: self.mark.entry, entries, tell: tell.into() })
    }

    /// A copy of the room, of whatever is gathered included, and the last entry in it.
    pub(super) fn copy(&mut self) -> Option<(Room, Mark)> {
        // What comes later must not go into an entry that is in the copy.
        self.keeper.as_mut()?.gathered.is_open = false;
        Some((self.room.clone()?, self.mark))
    }

    /// A copy that is put into the log, in place of what is gathered.
    pub(super) fn copy_for_log(&mut self) -> Option<(Room, Mark)> {
        let copy = self.copy()?;
        self.keeper.as_mut()?.gathered.entries.clear();
        Some(copy)
    }

    /// Everything up to entry `last` is kept; where an append that began at `held` has held the room, its lease is sure until
    /// `sure_until`.
    pub(super) fn keep(
        &mut self,
        last: u64,
        held: Option<(Instant, Instant)>,
        (now, instant): (Timestamp, Instant),
        outbox: &Outbox,
        (stall, answers): (Duration, &mut Answers),
    ) {
        let Some(keeper) = &mut self.keeper else { return };
        keeper.kept = keeper.kept.max(last);
        while let Some((_, asker, outcome)) = keeper.unanswered.pop_front_if(|(entry, ..)| *entry <= last) {
            answers.push((asker, outcome));
        }
        let Some((began, sure_until)) = held else { return };
        let has_lapsed = !keeper.is_sure(began);
        keeper.sure_until = sure_until;
        let stood =
            keeper.failing.take().map(|(since, _)| Duration::from_micros(now.since(since).as_micros()));
        if has_lapsed || stood.is_some_and(|stood| stood >= stall) {
            self.resume(now, None, outbox);
        }
        let Some(keeper) = &mut self.keeper else { return };
        if keeper.is_sure(instant) {
            for (asker, what) in mem::take(&mut keeper.deferred) {
                self.serve(asker, what, (now, instant), outbox, answers);
            }
        }
    }
}

impl Gathered {
    /// The entry that the next step goes into.
    fn open(&mut self, term: u64, mark: &mut Mark) -> &mut Vec<u8> {
        let is_open = self.is_open && self.entries.last().is_some_and(|entry| entry.len() < ENTRY_BYTES);
        if !is_open || self.entries.is_empty() {
            let mut entry = Vec::new();
            entry::put_head(&mut entry, term, mark.term);
            *mark = Mark { term, entry: mark.entry + 1 };
            self.entries.push(entry);
            self.is_open = true;
        }
        let last = self.entries.len() - 1;
        &mut self.entries[last]
    }

    fn count_bytes(&mut self) {
        self.bytes = self.told.len() * 2;
    }
}
