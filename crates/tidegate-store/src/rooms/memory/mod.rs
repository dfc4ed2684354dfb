//! The embedded store of rooms: each in this process's memory, under a lock of its own.
//!
//! - One call is one step under the lock of its room, which is never held while anything is waited for.
//! - What is due in which room is known by a queue ([`due`]), so [`RoomStore::turn`] touches only rooms that are.
//! - Watchers are told without any lock, and in order ([`outbox`]).
//! - Lock order: the table of rooms, a room, then the queue or an outbox.

mod due;
mod outbox;

use core::fmt;
use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tidegate_core::room::{Answer, Command, Room, RoomName, Settings, Ticket};
use tidegate_core::time::Timestamp;

use super::port::{LineDocument, MAX_ROOMS, RoomError, RoomStatus, RoomStore, RoomWatcher, Told};
use due::DueQueue;
use outbox::{Outbox, Watchers};

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Rooms in memory, shared by all threads of this process.
pub struct MemoryRooms {
    clock: Clock,
    table: RwLock<Table>,
    due: DueQueue,
    watchers: Watchers,
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

/// Where a room is kept.
struct Slot {
    id: u32,
    name: RoomName,
    kept: Mutex<Kept>,
    outbox: Outbox,
}

struct Kept {
    /// `None` once it was removed.
    room: Option<Room>,
    due: Option<Timestamp>,
}

impl MemoryRooms {
    /// A store without rooms. What it keeps is gone when the process ends.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, table: RwLock::default(), due: DueQueue::default(), watchers: Watchers::default() }
    }

    /// When something is due in any room; `None` where nothing will happen by itself.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.first()
    }

    fn slot(&self, room: &RoomName) -> Result<Arc<Slot>, RoomError> {
        self.table.read().by_name.get(room).cloned().ok_or(RoomError::UnknownRoom)
    }

    fn handle(&self, slot: &Slot, command: &Command) -> Result<Told, RoomError> {
        let mut events = Vec::new();
        let told = {
            let mut kept = slot.kept.lock();
            let kept = &mut *kept;
            let room = kept.room.as_mut().ok_or(RoomError::UnknownRoom)?;
            let at = (self.clock)().max(room.clock());
            let answer = room.handle(at, command, &mut events);
            let due = room.next_due(at);
            let told = Told { answer, at, epoch: room.epoch() };
            self.due.change(slot.id, kept.due, due);
            kept.due = due;
            if !events.is_empty() && !self.watchers.read().is_empty() {
                slot.outbox.put(at, events);
            }
            told
        };
        slot.outbox.tell(&slot.name, &self.watchers);
        Ok(told)
    }

    fn read<T>(&self, name: &RoomName, read: impl FnOnce(&Room, Timestamp) -> T) -> Result<T, RoomError> {
        let slot = self.slot(name)?;
        let kept = slot.kept.lock();
        let room = kept.room.as_ref().ok_or(RoomError::UnknownRoom)?;
        Ok(read(room, (self.clock)().max(room.clock())))
    }

    /// Makes a room; `None` where there is one.
    fn make(&self, name: &RoomName, settings: &Settings) -> Result<Option<Arc<Slot>>, RoomError> {
        let mut table = self.table.write();
        if table.by_name.contains_key(name) {
            return Ok(None);
        }
        if table.by_name.len() >= MAX_ROOMS {
            return Err(RoomError::TooManyRooms);
        }
        let now = (self.clock)();
        // Of a room that was kept in memory only, tickets may be about; its epoch was earlier.
        let seconds = u32::try_from(now.as_micros() / 1_000_000).unwrap_or(u32::MAX / 2);
        let room = Room::new(settings.clone(), table.least_epoch.max(seconds), now);
        table.last_id += 1;
        let due = room.next_due(now);
        let slot = Arc::new(Slot {
            id: table.last_id,
            name: name.clone(),
            kept: Mutex::new(Kept { room: Some(room), due }),
            outbox: Outbox::default(),
        });
        self.due.change(slot.id, None, due);
        table.by_id.insert(slot.id, Arc::clone(&slot));
        table.by_name.insert(name.clone(), Arc::clone(&slot));
        Ok(Some(slot))
    }

    fn take_away(&self, name: &RoomName) -> bool {
        let mut table = self.table.write();
        let Some(slot) = table.by_name.remove(name) else { return false };
        table.by_id.remove(&slot.id);
        let mut kept = slot.kept.lock();
        if let Some(room) = kept.room.take() {
            table.least_epoch = table.least_epoch.max(room.epoch().saturating_add(1));
        }
        self.due.change(slot.id, kept.due.take(), None);
        true
    }
}

impl fmt::Debug for MemoryRooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryRooms").field("rooms", &self.table.read().by_name.len()).finish_non_exhaustive()
    }
}

impl RoomStore for MemoryRooms {
    async fn put(&self, room: &RoomName, settings: &Settings) -> Result<Answer, RoomError> {
        match self.make(room, settings)? {
            Some(_) => Ok(Answer::Done),
            None => {
                let change = Command::Change(Box::new(settings.clone()));
                Ok(self.handle(&*self.slot(room)?, &change)?.answer)
            }
        }
    }

    async fn remove(&self, room: &RoomName) -> Result<bool, RoomError> {
        Ok(self.take_away(room))
    }

    async fn rooms(&self) -> Result<Vec<(RoomName, Settings)>, RoomError> {
        let slots: Vec<_> = self.table.read().by_name.values().cloned().collect();
        let settings = |slot: &Arc<Slot>| slot.kept.lock().room.as_ref().map(|room| room.settings().clone());
        Ok(slots.iter().filter_map(|slot| Some((slot.name.clone(), settings(slot)?))).collect())
    }

    async fn ask(&self, room: &RoomName, command: &Command) -> Result<Told, RoomError> {
        self.handle(&*self.slot(room)?, command)
    }

    async fn look(&self, room: &RoomName, ticket: &Ticket) -> Result<Told, RoomError> {
        self.read(room, |room, at| Told { answer: room.look(at, ticket), at, epoch: room.epoch() })
    }

    async fn status(&self, room: &RoomName) -> Result<RoomStatus, RoomError> {
        self.read(room, |room, at| RoomStatus {
            at,
            status: room.status(at),
            settings: room.settings().clone(),
            drawn: room.drawn().cloned(),
        })
    }

    async fn line(&self, room: &RoomName) -> Result<LineDocument, RoomError> {
        self.read(room, |room, at| {
            let status = room.status(at);
            let (first_block, counts) = room.blocks();
            LineDocument {
                at,
                epoch: status.epoch,
                serving_number: status.serving_number,
                next_number: status.next_number,
                first_block,
                counts: counts.collect(),
                drawn: room.drawn().cloned(),
            }
        })
    }

    async fn turn(&self) -> Result<Option<Timestamp>, RoomError> {
        for id in self.due.due((self.clock)()) {
            let slot = self.table.read().by_id.get(&id).cloned();
            if let Some(slot) = slot {
                match self.handle(&slot, &Command::Turn) {
                    // It was removed meanwhile.
                    Ok(_) | Err(RoomError::UnknownRoom) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(self.due.first())
    }

    fn watch(&self, watcher: Arc<dyn RoomWatcher>) {
        self.watchers.write().push(watcher);
    }
}
