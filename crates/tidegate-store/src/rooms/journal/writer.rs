//! The thread that writes the journal: whatever has gathered, in one piece, and again until it is kept.

use std::io;
use std::mem;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidegate_core::time::Timestamp;

use super::disk::DiskFile;
use super::frame::{self, FileHead, Kind};
use super::{Batch, Durability, Journal, record};

/// How long a failed write is left alone before the next try.
const RETRY: Duration = Duration::from_millis(250);

/// The journal that is being written.
pub(in crate::rooms) struct Log {
    file: Box<dyn DiskFile>,
    generation: u64,
    /// Up to where it is known to be kept.
    length: u64,
}

impl Journal {
    /// Begins the journal of a generation, whose first record is `first_record`.
    pub(super) fn begin_log(&self, generation: u64, first_record: u64) -> io::Result<Log> {
        let mut file = self.disk.create(&self.folder.journal(generation))?;
        let head = FileHead { kind: Kind::Journal, generation, first_record }.to_bytes();
        file.write_all(&head)?;
        if self.durability == Durability::Synced {
            file.sync()?;
            self.disk.sync_folder(self.folder_path())?;
        }
        Ok(Log { file, generation, length: head.len() as u64 })
    }

    /// Writes until the queue is closed and empty. After each write, `tell` is called with the rooms it was of.
    pub(in crate::rooms) fn write_all(
        &self,
        mut log: Log,
        now: impl Fn() -> Timestamp,
        tell: impl Fn(&[u32]),
    ) {
        let mut spare = Vec::new();
        let mut first = self.kept() + 1;
        while let Some(mut batch) = self.next_batch(mem::take(&mut spare)) {
            frame::finish(&mut batch.frame, first);
            if !self.keep(&mut log, &batch, &now) {
                return;
            }
            first = batch.last + 1;
            tell(&batch.rooms);
            self.rotate(&mut log, first);
            spare = batch.frame;
        }
        let mut last = spare;
        frame::begin(&mut last);
        record::put_closed(&mut last);
        frame::finish(&mut last, first);
        // Where this fails, the next start cannot know that nothing was lost, and takes care.
        let _ = self.write(&mut log, &last);
    }

    /// Writes a batch, trying as long as it takes; false where it was given up because the store closes.
    fn keep(&self, log: &mut Log, batch: &Batch, now: impl Fn() -> Timestamp) -> bool {
        while let Err(error) = self.write(log, &batch.frame) {
            self.stall(&error, now());
            let mut queue = self.queue.lock();
            if queue.is_closing {
                return false;
            }
            self.work.wait_for(&mut queue, RETRY);
        }
        self.kept.store(batch.last, Ordering::Release);
        let woken = {
            let mut waiters = self.waiters.lock();
            if waiters.failed.take().is_some() {
                // In this order: who finds the journal well finds that it was not, too.
                self.recoveries.fetch_add(1, Ordering::AcqRel);
                self.stalled_since.store(0, Ordering::Release);
            }
            waiters.up_to(batch.last)
        };
        woken.into_iter().for_each(std::task::Waker::wake);
        true
    }

    /// Writes a frame behind what is known to be kept. After a failure, what may be there of it is taken away first:
    /// a sync that has failed says nothing about what was written before it.
    fn write(&self, log: &mut Log, frame: &[u8]) -> io::Result<()> {
        if self.stalled_since().is_some() {
            log.file.cut(log.length)?;
        }
        log.file.write_all(frame)?;
        log.file.flush()?;
        if self.durability == Durability::Synced {
            log.file.sync()?;
        }
        log.length += frame.len() as u64;
        Ok(())
    }

    fn stall(&self, error: &io::Error, now: Timestamp) {
        if self.stalled_since().is_none() {
            self.stalled_since.store(now.as_micros().max(1), Ordering::Release);
        }
        let why = format!("the journal in {} cannot be written: {error}", self.folder_path().display());
        let woken = self.waiters.lock().fail(why);
        woken.into_iter().for_each(std::task::Waker::wake);
    }

    /// Goes on in a new file once this one is long, and asks for a snapshot.
    fn rotate(&self, log: &mut Log, first_record: u64) {
        let mut snapshots = self.snapshots.lock();
        let is_long = log.length >= self.max_journal_bytes.max(snapshots.last_bytes);
        if !is_long || snapshots.wanted.is_some() {
            return;
        }
        let generation = log.generation + 1;
        // Where it cannot be begun, the present one goes on, and the next write tries again.
        if let Ok(next) = self.begin_log(generation, first_record) {
            *log = next;
            snapshots.wanted = Some(generation);
            self.wanted.notify_one();
        }
    }
}
