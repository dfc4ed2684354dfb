//! All rooms of a store: the steps, and the order in which they are kept.

use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use parking_lot::RwLock;
use tidegate_core::room::{
    Answer, Command, Event, Lost, MAX_LEASE, MAX_WAITING, QueueNumber, Resume, Room, RoomName, Settings,
    Ticket,
};
use tidegate_core::time::Timestamp;

use super::Clock;
use super::due::DueQueue;
use super::slot::{Kept, Slot};
use crate::rooms::journal::{Durability, Journal, JournalOptions, Log, OpenError, Restored, Source};
use crate::rooms::outbox::Watchers;
use crate::rooms::port::{MAX_ROOMS, RoomError, Told};

pub(super) struct Rooms {
    clock: Clock,
    table: RwLock<Table>,
    pub(super) due: DueQueue,
    pub(super) watchers: Watchers,
    pub(super) journal: Option<Journal>,
}

#[derive(Default)]
struct Table {
    by_name: BTreeMap<RoomName, Arc<Slot>>,
    by_id: BTreeMap<u32, Arc<Slot>>,
    /// The last room's.
    last_id: u32,
    /// Above every epoch of rooms that were removed, whose tickets must not be taken for those of a new one.
    least_epoch: u32,
}

impl Table {
    fn insert(&mut self, slot: Arc<Slot>) {
        self.by_name.insert(slot.name.clone(), Arc::clone(&slot));
        self.by_id.insert(slot.id, slot);
    }
}

/// Something that was read.
pub(super) struct Seen<T> {
    pub(super) what: T,
    /// It is kept once this record is; 0 where there is nothing to wait for.
    pub(super) record: u64,
}

impl Rooms {
    pub(super) fn new(clock: Clock, journal: Option<Journal>) -> Self {
        Self {
            clock,
            table: RwLock::default(),
            due: DueQueue::default(),
            watchers: Watchers::default(),
            journal,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    pub(super) fn slots(&self) -> Vec<Arc<Slot>> {
        self.table.read().by_name.values().cloned().collect()
    }

    pub(super) fn slot(&self, room: &RoomName) -> Result<Arc<Slot>, RoomError> {
        self.table.read().by_name.get(room).cloned().ok_or(RoomError::UnknownRoom)
    }

    pub(super) fn slot_of(&self, id: u32) -> Option<Arc<Slot>> {
        self.table.read().by_id.get(&id).cloned()
    }

    /// Waits until a record is kept.
    pub(super) async fn wait_for(&self, record: u64) -> Result<(), RoomError> {
        match &self.journal {
            Some(journal) => journal.wait_for(record).await,
            None => Ok(()),
        }
    }

    /// One step. What is told holds once the record is kept.
    pub(super) fn step(&self, slot: &Slot, command: &Command) -> Result<(Told, u64), RoomError> {
        if let Some(journal) = &self.journal {
            journal.check()?;
        }
        let (told, record) = {
            let mut kept = slot.kept.lock();
            let at = self.catch_up(slot, &mut kept)?;
            let mut events = Vec::new();
            let room = kept.room_mut()?;
            let answer = room.handle(at, command, &mut events);
            let told = Told { answer, at, epoch: room.epoch() };
            self.note(slot, &mut kept, at, events);
            (told, kept.record)
        };
        slot.outbox.tell(&slot.name, &self.watchers, || self.kept());
        Ok((told, record))
    }

    /// Reads from a room. While the disk fails, it is as it was when that began.
    pub(super) fn read<T>(
        &self,
        name: &RoomName,
        read: impl FnOnce(&Room, Timestamp) -> T,
    ) -> Result<Seen<T>, RoomError> {
        let slot = self.slot(name)?;
        let mut kept = slot.kept.lock();
        let stalled_since = self.journal.as_ref().and_then(Journal::stalled_since);
        let (at, record) = match stalled_since {
            Some(since) => (since.max(kept.room()?.clock()), 0),
            None => (self.catch_up(&slot, &mut kept)?, kept.record),
        };
        Ok(Seen { what: read(kept.room()?, at), record })
    }

    /// How a ticket stands. While the disk fails, it is how it stood after the last that is kept.
    pub(super) fn look(&self, name: &RoomName, ticket: &Ticket) -> Result<Seen<Told>, RoomError> {
        let slot = self.slot(name)?;
        let mut kept = slot.kept.lock();
        let stalled = self.journal.as_ref().and_then(|journal| Some((journal, journal.stalled_since()?)));
        let Some((journal, since)) = stalled else {
            let at = self.catch_up(&slot, &mut kept)?;
            let room = kept.room()?;
            let told = Told { answer: room.look(at, ticket), at, epoch: room.epoch() };
            // Proxies ask about sessions all the time: where what has happened to one is kept, it waits for nothing of others.
            let is_kept = matches!(told.answer, Answer::Admitted(_))
                && self.journal.as_ref().is_none_or(|journal| kept.is_kept(ticket.number, journal.kept()));
            return Ok(Seen { what: told, record: if is_kept { 0 } else { kept.record } });
        };
        let up_to = journal.kept();
        if !kept.is_kept(ticket.number, up_to) {
            journal.check()?;
        }
        let room = kept.room()?;
        let at = since.max(room.clock());
        let answer = room.look_before(at, ticket, kept.gone_from_line(up_to));
        Ok(Seen { what: Told { answer, at, epoch: room.epoch() }, record: 0 })
    }

    /// Makes a room, to be kept by the record; `None` where there is one.
    pub(super) fn make(&self, name: &RoomName, settings: &Settings) -> Result<Option<u64>, RoomError> {
        let mut table = self.table.write();
        if table.by_name.contains_key(name) {
            return Ok(None);
        }
        if table.by_name.len() >= MAX_ROOMS {
            return Err(RoomError::TooManyRooms);
        }
        if let Some(journal) = &self.journal {
            journal.check()?;
        }
        let now = self.now();
        // Of a room that was in the memory of an earlier process only, tickets may be about: its epoch was earlier.
        let seconds = u32::try_from(now.as_micros() / 1_000_000).unwrap_or(u32::MAX / 2);
        let room = Room::new(settings.clone(), table.least_epoch.max(seconds), now);
        table.last_id += 1;
        let id = table.last_id;
        let record = self.journal.as_ref().map_or(0, |journal| journal.made(id, name, &room));
        let slot = Arc::new(Slot::new(id, name.clone(), room, record, self.recoveries()));
        self.note(&slot, &mut slot.kept.lock(), now, Vec::new());
        table.insert(slot);
        Ok(Some(record))
    }

    /// Removes a room, for good once the record is kept; `None` where there is none.
    pub(super) fn remove(&self, name: &RoomName) -> Result<Option<u64>, RoomError> {
        let mut table = self.table.write();
        let Some(slot) = table.by_name.get(name).cloned() else { return Ok(None) };
        if let Some(journal) = &self.journal {
            journal.check()?;
        }
        table.by_name.remove(name);
        table.by_id.remove(&slot.id);
        let mut kept = slot.kept.lock();
        if let Some(room) = kept.take() {
            table.least_epoch = table.least_epoch.max(room.epoch().saturating_add(1));
        }
        self.due.change(slot.id, kept.due.take(), None);
        Ok(Some(self.journal.as_ref().map_or(0, |journal| journal.removed(slot.id, table.least_epoch))))
    }

    /// The instant of the next step. Where the disk has failed since the last one, the room goes on first.
    fn catch_up(&self, slot: &Slot, kept: &mut Kept) -> Result<Timestamp, RoomError> {
        let recoveries = self.recoveries();
        let missed = kept.recoveries != recoveries;
        let now = self.now();
        let room = kept.room_mut()?;
        let at = now.max(room.clock());
        if !missed {
            return Ok(at);
        }
        let mut events = Vec::new();
        let resume = Resume { epoch: room.epoch().saturating_add(1), longest_lease: MAX_LEASE, lost: None };
        room.handle(at, &Command::Resume(resume), &mut events);
        kept.recoveries = recoveries;
        self.note(slot, kept, at, events);
        Ok(at)
    }

    /// A step is done: its events are written and to be told, and the room may be due at another time.
    fn note(&self, slot: &Slot, kept: &mut Kept, at: Timestamp, events: Vec<Event>) {
        if let Some(journal) = &self.journal
            && let Some(record) = journal.happened(slot.id, at, &events)
        {
            kept.note(record, &events, journal.kept());
        }
        let due = kept.room().ok().and_then(|room| room.next_due(at));
        self.due.change(slot.id, kept.due, due);
        kept.due = due;
        if !events.is_empty() && !self.watchers.read().is_empty() {
            slot.outbox.put(at, events, kept.record);
        }
    }

    fn kept(&self) -> u64 {
        self.journal.as_ref().map_or(u64::MAX, Journal::kept)
    }

    fn recoveries(&self) -> u64 {
        self.journal.as_ref().map_or(0, Journal::recoveries)
    }
}

// === impl journal ===

impl Rooms {
    /// Takes in what was kept. Every room goes on in a new epoch.
    pub(super) fn resume(&self, restored: Restored, options: &JournalOptions) -> Result<(), OpenError> {
        let may_lose = match options.durability {
            Durability::Unsynced { may_lose } if !restored.is_complete => Some(may_lose),
            Durability::Synced | Durability::Unsynced { .. } => None,
        };
        let now = self.now();
        let mut table = self.table.write();
        table.last_id = restored.last_id;
        table.least_epoch = restored.least_epoch;
        for (id, kept) in restored.rooms {
            let mut room = kept.room;
            let at = now.max(room.clock());
            let lost = may_lose.map(|may_lose| lost_of(&room, at, may_lose));
            let epoch = room.epoch().saturating_add(1);
            let resume = Resume { epoch, longest_lease: MAX_LEASE, lost };
            if let Answer::Refused(refusal) = room.handle(at, &Command::Resume(resume), &mut Vec::new()) {
                let what = format!("room {} cannot go on: {refusal}", kept.name);
                return Err(OpenError::Damaged { file: options.folder.clone(), offset: 0, what });
            }
            let slot = Arc::new(Slot::new(id, kept.name, room, 0, self.recoveries()));
            self.note(&slot, &mut slot.kept.lock(), at, Vec::new());
            table.insert(slot);
        }
        Ok(())
    }

    /// The work of the thread that writes the journal.
    pub(super) fn write_journal(&self, log: Log) {
        let Some(journal) = &self.journal else { return };
        let tell = |ids: &[u32]| {
            for slot in ids.iter().filter_map(|id| self.slot_of(*id)) {
                let tell = || slot.outbox.tell(&slot.name, &self.watchers, || self.kept());
                // A watcher that panics has said so; the journal of all rooms must not end with it.
                let _ = panic::catch_unwind(AssertUnwindSafe(tell));
            }
        };
        journal.write_all(log, || self.now(), tell);
    }

    /// The work of the thread that writes snapshots.
    pub(super) fn write_snapshots(&self) {
        if let Some(journal) = &self.journal {
            journal.write_snapshots(self);
        }
    }
}

/// What a room may have lost, as far as it can go on at all.
fn lost_of(room: &Room, at: Timestamp, may_lose: u32) -> Lost {
    let status = room.status(at);
    let most = u64::from(MAX_WAITING).saturating_sub(status.waiting);
    let last = (status.next_number - 1).saturating_add(u64::from(may_lose).min(most));
    Lost { serving: status.serving_number, last: last.min(QueueNumber::MAX.get() - 1) }
}

impl Source for Rooms {
    fn rooms(&self) -> (u32, u32, Vec<u32>) {
        let table = self.table.read();
        (table.last_id, table.least_epoch, table.by_id.keys().copied().collect())
    }

    fn room(&self, id: u32) -> Option<(RoomName, Room, u64)> {
        let slot = self.slot_of(id)?;
        let kept = slot.kept.lock();
        Some((slot.name.clone(), kept.room().ok()?.clone(), kept.record))
    }
}
