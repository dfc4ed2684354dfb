//! Snapshots: every room of a store in one file, written while the rooms go on.

use std::io;
use std::time::Duration;

use tidegate_core::room::{Room, RoomName};

use super::frame::{self, FileHead, Kind};
use super::{Journal, record};

/// How long a snapshot that could not be written is left alone before the next try.
const RETRY: Duration = Duration::from_secs(5);
/// Tickets or seats of one piece.
const PIECE: usize = 4_096;
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
        record::put_store(&mut frames.frame, last_id, least_epoch);
        let mut rooms = 0;
        for id in ids {
            if let Some((name, room, record)) = source.room(id) {
                put_room(&mut frames, id, &name, &room, record)?;
                rooms += 1;
            }
        }
        record::put_end(&mut frames.frame, self.last(), rooms);
        frames.write()?;
        let bytes = frames.bytes as u64;
        file.flush()?;
        file.sync()?;
        Ok(bytes)
    }
}

fn put_room(
    frames: &mut FrameWriter<'_>,
    id: u32,
    name: &RoomName,
    room: &Room,
    record: u64,
) -> io::Result<()> {
    record::put_room(&mut frames.frame, id, name, record, room);
    let mut tickets = room.tickets().peekable();
    let mut rows = Vec::with_capacity(PIECE);
    while tickets.peek().is_some() {
        rows.clear();
        rows.extend(tickets.by_ref().take(PIECE));
        record::put_tickets(&mut frames.frame, room.clock(), &rows);
        frames.write_if_long()?;
    }
    let mut seats = room.seats().peekable();
    while seats.peek().is_some() {
        let rows: Vec<_> = seats.by_ref().take(PIECE).collect();
        record::put_seats(&mut frames.frame, &rows);
        frames.write_if_long()?;
    }
    Ok(())
}

/// Writes pieces as frames that are numbered from 1.
struct FrameWriter<'a> {
    file: &'a mut dyn super::disk::DiskFile,
    frame: Vec<u8>,
    count: u64,
    bytes: usize,
}

impl FrameWriter<'_> {
    fn write_if_long(&mut self) -> io::Result<()> {
        if self.frame.len() < FRAME_BYTES { Ok(()) } else { self.write() }
    }

    fn write(&mut self) -> io::Result<()> {
        self.count += 1;
        frame::finish(&mut self.frame, self.count);
        self.file.write_all(&self.frame)?;
        self.bytes += self.frame.len();
        frame::begin(&mut self.frame);
        Ok(())
    }
}
