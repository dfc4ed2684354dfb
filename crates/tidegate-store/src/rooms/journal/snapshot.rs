//! Snapshots: every room of a store in one file, written while the rooms go on.

use std::io;
use std::mem;
use std::time::Duration;

use tidegate_core::room::{Room, RoomName};

use super::Journal;
use super::frame::{self, FileHead, Kind};
use crate::rooms::codec;

/// How long a snapshot that could not be written is left alone before the next try.
const RETRY: Duration = Duration::from_secs(5);
/// A frame is written once its payload has so many bytes.
const FRAME_BYTES: usize = 256 << 10;

/// What a snapshot is made of.
pub(in crate::rooms) trait Source {
    /// The last id, the least epoch of a new room, and the ids of the rooms there are.
    fn rooms(&self) -> (u32, u32, Vec<u32>);

    /// A copy of a room, its name, and the last record that is in it; `None` where it was removed.
    fn room(&self, id: u32) -> Option<(RoomName, Room, u64)>;
}

impl Journal {
    /// Writes a snapshot whenever one is wanted, until the journal is closed.
    pub(in crate::rooms) fn write_snapshots(&self, source: &impl Source) {
        loop {
            let generation = {
                let mut snapshots = self.snapshots.lock();
                loop {
                    if snapshots.is_closing {
                        return;
                    }
                    match snapshots.wanted {
                        Some(generation) => break generation,
                        None => self.wanted.wait(&mut snapshots),
                    }
                }
            };
            let written = self.write_snapshot(generation, source);
            let mut snapshots = self.snapshots.lock();
            match written {
                Ok(bytes) => {
                    snapshots.last_bytes = bytes;
                    snapshots.wanted = None;
                }
                // The journals since the last one are all there, so nothing is lost but space.
                Err(_) if !snapshots.is_closing => {
                    self.wanted.wait_for(&mut snapshots, RETRY);
                }
                Err(_) => return,
            }
        }
    }

    /// Writes the snapshot of a generation whose journal was begun, and removes the files of earlier ones. Says how many bytes
    /// it has.
    pub(super) fn write_snapshot(&self, generation: u64, source: &impl Source) -> io::Result<u64> {
        let temporary = self.folder.temporary(generation);
        let bytes = self.write_file(&temporary, generation, source).inspect_err(|_| {
            // It takes up space, and the next try begins anew.
            let _ = self.disk.remove(&temporary);
        })?;
        self.disk.rename(&temporary, &self.folder.snapshot(generation))?;
        self.disk.sync_folder(self.folder_path())?;
        for file in self.folder.before(generation)? {
            self.disk.remove(&file)?;
        }
        Ok(bytes)
    }

    fn write_file(&self, path: &std::path::Path, generation: u64, source: &impl Source) -> io::Result<u64> {
        let mut file = self.disk.create(path)?;
        let (last_id, least_epoch, ids) = source.rooms();
        let head = FileHead { kind: Kind::Snapshot, generation, first_record: self.last() + 1 }.to_bytes();
        file.write_all(&head)?;
        let mut frames = FrameWriter { file: file.as_mut(), frame: Vec::new(), count: 0, bytes: head.len() };
        frame::begin(&mut frames.frame);
        codec::put_store(&mut frames.frame, last_id, least_epoch);
        let mut rooms = 0;
        for id in ids {
            if let Some((name, room, record)) = source.room(id) {
                frames.put_room(id, &name, &room, record)?;
                rooms += 1;
            }
        }
        codec::put_end(&mut frames.frame, self.last(), rooms);
        frames.finish()?;
        let bytes = frames.bytes as u64;
        file.flush()?;
        file.sync()?;
        Ok(bytes)
    }
}

/// Writes pieces as frames that are numbered from 1.
struct FrameWriter<'a> {
    file: &'a mut dyn super::disk::DiskFile,
    frame: Vec<u8>,
    count: u64,
    bytes: usize,
}

impl FrameWriter<'_> {
    fn put_room(&mut self, id: u32, name: &RoomName, room: &Room, record: u64) -> io::Result<()> {
        let mut frame = mem::take(&mut self.frame);
        let write_if_long = |frame: &mut Vec<u8>| {
            if frame.len() < FRAME_BYTES { Ok(()) } else { self.write(frame) }
        };
        let put = codec::put_whole_room(&mut frame, id, name, record, room, write_if_long);
        self.frame = frame;
        put
    }

    fn finish(&mut self) -> io::Result<()> {
        let mut frame = mem::take(&mut self.frame);
        self.write(&mut frame)
    }

    fn write(&mut self, frame: &mut Vec<u8>) -> io::Result<()> {
        self.count += 1;
        frame::finish(frame, self.count);
        self.file.write_all(frame)?;
        self.bytes += frame.len();
        frame::begin(frame);
        Ok(())
    }
}
