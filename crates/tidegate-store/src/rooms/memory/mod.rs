//! The embedded store of rooms: each in this process's memory, under a lock of its own, and on a disk if wanted.
//!
//! - One call is one step under the lock of its room ([`slot`]), which is never held while anything is waited for.
//! - What is due in which room is known by a queue ([`due`]), so [`RoomStore::turn`] touches only rooms that are.
//! - Watchers are told without any lock, and in order ([`outbox`](super::outbox)).
//! - With a [`journal`](super::journal), nobody is told what is not kept. While the disk fails, rooms stand still: visitors
//!   who ask are told how they stood when it began, and everything else is refused. Afterwards rooms go on in a new
//!   epoch, in which everybody is presumed to be there.
//! - Lock order: the table of rooms, a room, then any of the queues and the outbox.

mod due;
mod rooms;
mod slot;
#[cfg(test)]
mod tests;

use core::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tidegate_core::room::{Answer, Command, Listed, RoomName, Settings, Ticket};
use tidegate_core::time::{Micros, Timestamp};

use super::journal::{Disk, FileSystem, Journal, JournalOptions, OpenError};
use super::outbox::tell_of_rooms;
use super::port::{LineDocument, RoomError, RoomStatus, RoomStore, RoomWatcher, Told};
use rooms::Rooms;

/// When to turn again while the disk fails, or cannot keep up.
const TURN_AGAIN: Micros = Micros::from_millis(250);

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Rooms in memory, shared by all threads of this process.
pub struct MemoryRooms {
    rooms: Arc<Rooms>,
    /// Those of the journal.
    threads: Vec<JoinHandle<()>>,
}

impl MemoryRooms {
    /// A store without rooms. What it keeps is gone when the process ends.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { rooms: Arc::new(Rooms::new(clock, None)), threads: Vec::new() }
    }

    /// The rooms that are kept in a folder, with everybody in them, in new epochs. Reads everything that is there, and takes as long.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong with the folder; nothing in it is changed then.
    pub fn open(options: &JournalOptions, clock: Clock) -> Result<Self, OpenError> {
        Self::open_on(options, clock, Arc::new(FileSystem))
    }

    fn open_on(options: &JournalOptions, clock: Clock, disk: Arc<dyn Disk>) -> Result<Self, OpenError> {
        let (journal, restored) = Journal::open(options, disk)?;
        let generation = restored.generation + 1;
        let rooms = Arc::new(Rooms::new(clock, Some(journal)));
        rooms.resume(restored, options)?;
        let mut store = Self { rooms: Arc::clone(&rooms), threads: Vec::new() };
        let Some(journal) = &rooms.journal else { return Ok(store) };
        let log = journal.begin(generation, &*rooms)?;
        let writer = Arc::clone(&rooms);
        let snapshots = Arc::clone(&rooms);
        store.run("room-journal", options, move || writer.write_journal(log))?;
        store.run("room-snapshot", options, move || snapshots.write_snapshots())?;
        Ok(store)
    }

    fn run(
        &mut self,
        name: &str,
        options: &JournalOptions,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<(), OpenError> {
        let failed = |source: io::Error| OpenError::Io { file: options.folder.clone(), source };
        self.threads.push(thread::Builder::new().name(name.to_owned()).spawn(work).map_err(failed)?);
        Ok(())
    }

    /// When something is due in any room; `None` where nothing will happen by itself.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.rooms.due.first()
    }

    /// Since when the disk has failed; `None` while all is well.
    #[must_use]
    pub fn stalled_since(&self) -> Option<Timestamp> {
        self.rooms.journal.as_ref()?.stalled_since()
    }

    /// The memory that all rooms take, in bytes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.rooms.slots().iter().map(|slot| slot.kept.lock().bytes()).sum()
    }
}

impl Drop for MemoryRooms {
    /// Writes what was not written yet.
    fn drop(&mut self) {
        if let Some(journal) = &self.rooms.journal {
            journal.close();
        }
        for thread in self.threads.drain(..) {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for MemoryRooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryRooms").field("rooms", &self.rooms.slots().len()).finish_non_exhaustive()
    }
}

/// What a command asks for that can be told without changing anything.
pub(super) fn asks_about(command: &Command) -> Option<&Ticket> {
    match command {
        Command::Poll(ticket) | Command::Heartbeat(ticket) => Some(ticket),
        Command::Return(pass) => Some(&pass.ticket),
        _ => None,
    }
}

impl RoomStore for MemoryRooms {
    async fn put(&self, room: &RoomName, settings: &Settings) -> Result<Answer, RoomError> {
        if let Some(record) = self.rooms.make(room, settings)? {
            self.rooms.wait_for(record).await?;
            tell_of_rooms(&self.rooms.watchers);
            return Ok(Answer::Done);
        }
        let change = Command::Change(Box::new(settings.clone()));
        Ok(self.ask(room, &change).await?.answer)
    }

    async fn remove(&self, room: &RoomName) -> Result<bool, RoomError> {
        let Some(record) = self.rooms.remove(room)? else { return Ok(false) };
        self.rooms.wait_for(record).await?;
        tell_of_rooms(&self.rooms.watchers);
        Ok(true)
    }

    async fn rooms(&self) -> Result<Vec<(RoomName, Settings)>, RoomError> {
        let slots = self.rooms.slots();
        let settings = |slot: &slot::Slot| Some(slot.kept.lock().room().ok()?.settings().clone());
        Ok(slots.iter().filter_map(|slot| Some((slot.name.clone(), settings(slot)?))).collect())
    }

    async fn ask(&self, room: &RoomName, command: &Command) -> Result<Told, RoomError> {
        if let Some(ticket) = asks_about(command)
            && self.stalled_since().is_some()
        {
            return self.look(room, ticket).await;
        }
        let slot = self.rooms.slot(room)?;
        let (told, record) = self.rooms.step(&slot, command)?;
        self.rooms.wait_for(record).await?;
        Ok(told)
    }

    async fn look(&self, room: &RoomName, ticket: &Ticket) -> Result<Told, RoomError> {
        let told = self.rooms.look(room, ticket)?;
        self.rooms.wait_for(told.record).await?;
        Ok(told.what)
    }

    async fn status(&self, room: &RoomName) -> Result<RoomStatus, RoomError> {
        let status = self.rooms.read(room, |room, at| RoomStatus {
            at,
            status: room.status(at),
            settings: room.settings().clone(),
            drawn: room.drawn().cloned(),
        })?;
        Ok(status.what)
    }

    async fn line(&self, room: &RoomName) -> Result<LineDocument, RoomError> {
        let line = self.rooms.read(room, LineDocument::of)?;
        self.rooms.wait_for(line.record).await?;
        Ok(line.what)
    }

    async fn listed(&self, room: &RoomName, after: u64, most: usize) -> Result<Vec<Listed>, RoomError> {
        let listed = self.rooms.read(room, |room, _| room.listed(after, most))?;
        self.rooms.wait_for(listed.record).await?;
        Ok(listed.what)
    }

    async fn turn(&self) -> Result<Option<Timestamp>, RoomError> {
        let now = self.rooms.now();
        for id in self.rooms.due.due(now) {
            let Some(slot) = self.rooms.slot_of(id) else { continue };
            match self.rooms.step(&slot, &Command::Turn) {
                // It was removed meanwhile.
                Ok(_) | Err(RoomError::UnknownRoom) => {}
                Err(error) if error.retryable() => return Ok(Some(now.saturating_add(TURN_AGAIN))),
                Err(error) => return Err(error),
            }
        }
        Ok(self.next_due())
    }

    fn watch(&self, watcher: Arc<dyn RoomWatcher>) {
        self.rooms.watchers.write().push(watcher);
    }
}
