//! The journal of a store of rooms: what has happened, kept on a disk before anybody is told of it.
//!
//! - Every step of every room is a record ([`record`]), numbered in the order of the steps. Steps put their records into a queue; a
//!   thread ([`writer`]) writes everything that has gathered as one frame ([`frame`]) and syncs it once, so many joins
//!   share one write. Whoever asked waits for the number of its record ([`Kept`]).
//! - Renewed leases and heartbeats are not written. A room that comes back presumes that everybody is still there.
//! - When a journal has grown, the next one is begun, and another thread writes a snapshot ([`snapshot`]) of every room, one after
//!   the other, each copied under its lock. Once it is in place, earlier files are removed.
//! - At the start the last snapshot is read and the journal after it is replayed ([`replay`]).
//! - When the disk fails, the journal stalls: what was not kept stays in the queue and is written again, from the end of what is known
//!   to be kept, until it succeeds. Meanwhile rooms stand still.

mod disk;
mod folder;
mod frame;
mod record;
mod replay;
mod snapshot;
#[cfg(test)]
mod tests;
mod wait;
mod writer;

use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex};
use tidegate_core::room::{Event, Room, RoomName};
use tidegate_core::time::Timestamp;

use super::port::RoomError;
use folder::Folder;
use wait::Waiters;

#[cfg(test)]
pub(super) use disk::DiskFile;
pub(super) use disk::{Disk, FileSystem};
pub(super) use replay::Restored;
pub(super) use snapshot::Source;
pub(super) use wait::Kept;
pub(super) use writer::Log;

/// A journal is this long before a snapshot takes its place, where nothing else is said: 64 MiB.
pub const DEFAULT_JOURNAL_BYTES: u64 = 64 << 20;
/// The least that can be said: 64 KiB.
pub const MIN_JOURNAL_BYTES: u64 = 64 << 10;
/// The most bytes of records that wait to be written. Beyond, nothing is taken on.
const MAX_QUEUE_BYTES: usize = 8 << 20;

/// Whether what was written is forced to the disk before anybody is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It is: nothing that was told is lost, even when the power fails.
    Synced,
    /// It is left to the operating system: nothing is lost when this process is killed, the last seconds are when the machine is. A
    /// room then admits nobody until every pass that may have been lost has ended.
    Unsynced {
        /// How many tickets of one room can have been given in those seconds. So many are presumed to be there.
        may_lose: u32,
    },
}

/// Where and how rooms are kept on a disk.
#[derive(Clone, Debug)]
pub struct JournalOptions {
    /// The folder, which is made if it is not there, and must be used for nothing else.
    pub folder: PathBuf,
    /// Whether writes are synced.
    pub durability: Durability,
    /// A journal of so many bytes, or of as many as the last snapshot had if that is more, gives way to a snapshot; at least
    /// [`MIN_JOURNAL_BYTES`].
    pub max_journal_bytes: u64,
}

impl JournalOptions {
    /// Rooms in this folder, synced.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            durability: Durability::Synced,
            max_journal_bytes: DEFAULT_JOURNAL_BYTES,
        }
    }
}

/// Why rooms that were kept cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Reading or writing failed.
    #[error("{} cannot be read or written", file.display())]
    Io {
        /// The file or folder.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has the folder.
    #[error("the rooms in {} are in use by another process; stop it, or name another folder", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// A file was changed, or is another program's.
    #[error(
        "{} is damaged at byte {offset}: {what}; restore the folder from a copy, or move it away to start without rooms",
        file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// Another version of Tidegate wrote it.
    #[error(
        "{} has format {found}, this version reads {}; use the version that wrote it, or move the folder away",
        file.display(),
        frame::VERSION
    )]
    UnknownVersion {
        /// The file.
        file: PathBuf,
        /// The format it has.
        found: u32,
    },
    /// A file that has to be there is not.
    #[error("{} is missing; restore the folder from a copy, or move it away to start without rooms", file.display())]
    Missing {
        /// The file.
        file: PathBuf,
    },
}

/// What is written, and how far it is.
pub(super) struct Journal {
    folder: Folder,
    disk: Arc<dyn Disk>,
    durability: Durability,
    max_journal_bytes: u64,
    queue: Mutex<Queue>,
    /// Something is in the queue, or it closes.
    work: Condvar,
    /// The last record that is kept.
    kept: AtomicU64,
    /// Since when nothing can be written, µs; 0 while all is well.
    stalled_since: AtomicU64,
    /// How often it began to be well again.
    recoveries: AtomicU64,
    waiters: Mutex<Waiters>,
    snapshots: Mutex<Snapshots>,
    /// A snapshot is wanted, or it closes.
    wanted: Condvar,
}

/// Records that nobody writes yet.
struct Queue {
    /// A frame in the making.
    frame: Vec<u8>,
    /// The next record's number.
    next: u64,
    /// The rooms that the records are of, some more than once.
    rooms: Vec<u32>,
    is_closing: bool,
}

struct Snapshots {
    /// Of this generation, which has a journal already.
    wanted: Option<u64>,
    /// Bytes of the last one.
    last_bytes: u64,
    is_closing: bool,
}

/// What one write is of.
struct Batch {
    frame: Vec<u8>,
    last: u64,
    rooms: Vec<u32>,
}

impl Journal {
    /// Takes a folder, and reads what it holds.
    pub(super) fn open(options: &JournalOptions, disk: Arc<dyn Disk>) -> Result<(Self, Restored), OpenError> {
        let folder = Folder::take(&options.folder)?;
        let mut restored = replay::restore(&folder)?;
        // Whoever was killed has written what it told of; only the machine's end takes that away.
        restored.is_complete |= folder.is_same_boot;
        let mut frame = Vec::new();
        frame::begin(&mut frame);
        let journal = Self {
            folder,
            disk,
            durability: options.durability,
            max_journal_bytes: options.max_journal_bytes.max(MIN_JOURNAL_BYTES),
            queue: Mutex::new(Queue {
                frame,
                next: restored.next_record,
                rooms: Vec::new(),
                is_closing: false,
            }),
            work: Condvar::new(),
            kept: AtomicU64::new(restored.next_record - 1),
            stalled_since: AtomicU64::new(0),
            recoveries: AtomicU64::new(0),
            waiters: Mutex::default(),
            snapshots: Mutex::new(Snapshots { wanted: None, last_bytes: 0, is_closing: false }),
            wanted: Condvar::new(),
        };
        Ok((journal, restored))
    }

    /// Begins the next generation, with a snapshot of everything in `source`, before anything is written.
    pub(super) fn begin(&self, generation: u64, source: &impl Source) -> Result<Log, OpenError> {
        let failed = |file: PathBuf| move |source| OpenError::Io { file, source };
        let log =
            self.begin_log(generation, self.last() + 1).map_err(failed(self.folder.journal(generation)))?;
        let bytes =
            self.write_snapshot(generation, source).map_err(failed(self.folder.snapshot(generation)))?;
        self.snapshots.lock().last_bytes = bytes;
        Ok(log)
    }

    /// The last record that is kept.
    pub(super) fn kept(&self) -> u64 {
        self.kept.load(Ordering::Acquire)
    }

    /// Since when the disk has failed; `None` while all is well.
    pub(super) fn stalled_since(&self) -> Option<Timestamp> {
        let since = self.stalled_since.load(Ordering::Acquire);
        (since > 0).then(|| Timestamp::from_micros(since))
    }

    /// How often the disk has come back.
    pub(super) fn recoveries(&self) -> u64 {
        self.recoveries.load(Ordering::Acquire)
    }

    /// Why nothing can be kept now, if so.
    pub(super) fn check(&self) -> Result<(), RoomError> {
        if self.stalled_since().is_some() {
            return Err(self.waiters.lock().failure());
        }
        if self.queue.lock().frame.len() >= MAX_QUEUE_BYTES {
            return Err(RoomError::Overloaded);
        }
        Ok(())
    }

    /// Writes down what has happened, and says under which number; `None` where nothing of it has to be kept. Called under
    /// the lock of the room.
    pub(super) fn happened(&self, id: u32, at: Timestamp, events: &[Event]) -> Option<u64> {
        if events.iter().all(Event::may_be_lost) {
            return None;
        }
        let mut bytes = Vec::with_capacity(64);
        record::put_happened(&mut bytes, id, at, events);
        Some(self.append(id, &bytes))
    }

    pub(super) fn made(&self, id: u32, name: &RoomName, room: &Room) -> u64 {
        let mut bytes = Vec::new();
        record::put_made(&mut bytes, id, name, room);
        self.append(id, &bytes)
    }

    pub(super) fn removed(&self, id: u32, least_epoch: u32) -> u64 {
        let mut bytes = Vec::new();
        record::put_removed(&mut bytes, id, least_epoch);
        self.append(id, &bytes)
    }

    fn append(&self, id: u32, bytes: &[u8]) -> u64 {
        let mut queue = self.queue.lock();
        queue.frame.extend(bytes);
        if queue.rooms.last() != Some(&id) {
            queue.rooms.push(id);
        }
        let number = queue.next;
        queue.next += 1;
        self.work.notify_one();
        number
    }

    /// The last record that was given a number.
    fn last(&self) -> u64 {
        self.queue.lock().next - 1
    }

    /// Waits until a record is kept.
    pub(super) const fn wait_for(&self, record: u64) -> Kept<'_> {
        Kept::new(self, record)
    }

    /// Nothing more comes. What is in the queue is still written, if it can be.
    pub(super) fn close(&self) {
        self.queue.lock().is_closing = true;
        self.work.notify_all();
        self.snapshots.lock().is_closing = true;
        self.wanted.notify_all();
    }

    /// Takes what has gathered, waiting for it; `None` once the queue is closed and empty.
    fn next_batch(&self, mut spare: Vec<u8>) -> Option<Batch> {
        frame::begin(&mut spare);
        let mut queue = self.queue.lock();
        while frame::payload_of(&queue.frame).is_empty() {
            if queue.is_closing {
                return None;
            }
            self.work.wait(&mut queue);
        }
        let frame = mem::replace(&mut queue.frame, spare);
        Some(Batch { frame, last: queue.next - 1, rooms: mem::take(&mut queue.rooms) })
    }

    fn folder_path(&self) -> &Path {
        self.folder.path()
    }
}
