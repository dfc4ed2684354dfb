//! The start: the last snapshot, and the journal after it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tidegate_core::room::{Parts, QueueNumber, Room, RoomName, Seat, TicketRow};
use tidegate_core::time::Timestamp;

use super::OpenError;
use super::folder::Folder;
use super::frame::{self, BadHead, FILE_HEAD_BYTES, FileHead, Frames, Kind, Next};
use super::record::{Record, get_record};
use crate::rooms::codec::{Malformed, Piece, Reader, get_piece};

/// What was kept.
#[derive(Default)]
pub(in crate::rooms) struct Restored {
    pub(in crate::rooms) rooms: BTreeMap<u32, RestoredRoom>,
    pub(in crate::rooms) last_id: u32,
    pub(in crate::rooms) least_epoch: u32,
    /// Nothing that was told is missing.
    pub(in crate::rooms) is_complete: bool,
    /// The latest generation that has a file.
    pub(in crate::rooms) generation: u64,
    /// The number that the next record gets.
    pub(super) next_record: u64,
    /// Up to here, records may be of rooms that were removed while the snapshot was made.
    fuzzy_until: u64,
}

pub(in crate::rooms) struct RestoredRoom {
    pub(in crate::rooms) name: RoomName,
    pub(in crate::rooms) room: Room,
    /// The last record that is in it.
    record: u64,
}

/// Reads what a folder holds, without what was being written when it was left. Changes nothing.
pub(super) fn restore(folder: &Folder) -> Result<Restored, OpenError> {
    let generations = folder.generations().map_err(io_error(folder.path()))?;
    let last = generations.journals.last().max(generations.snapshots.last()).copied();
    let Some(last) = last else { return Ok(Restored { next_record: 1, ..Restored::default() }) };
    let first = generations.snapshots.last().copied();
    let mut restored = match first {
        Some(first) => read_snapshot(&folder.snapshot(first))?,
        None => Restored { next_record: 1, ..Restored::default() },
    };
    restored.generation = last;
    // Without a snapshot, only the very first start can have ended, before it kept anything.
    let journals = first.or(generations.journals.first().copied()).unwrap_or(last)..=last;
    let mut replay = Replay { restored, expected: None, torn: None };
    for generation in journals {
        let path = folder.journal(generation);
        if !generations.journals.contains(&generation) {
            return Err(OpenError::Missing { file: path });
        }
        let records = replay.read_journal(&path)?;
        if records > 0 && first.is_none() {
            return Err(OpenError::Missing { file: folder.snapshot(generation) });
        }
    }
    let mut restored = replay.restored;
    restored.next_record = restored.next_record.max(replay.expected.unwrap_or(0));
    Ok(restored)
}

// === impl journal ===

struct Replay {
    restored: Restored,
    /// The number that the next record has to have.
    expected: Option<u64>,
    /// Where a frame is not whole, in the last file that has any.
    torn: Option<(PathBuf, usize)>,
}

impl Replay {
    /// Replays one file; how many records it has.
    fn read_journal(&mut self, path: &Path) -> Result<u64, OpenError> {
        let file = fs::read(path).map_err(io_error(path))?;
        let head = match read_head(path, &file, Kind::Journal) {
            // It was being begun.
            Ok(None) => return Ok(0),
            other => other?,
        };
        let mut records = 0;
        let mut frames = Frames::new(&file);
        loop {
            match frames.next() {
                Next::End => return Ok(records),
                Next::Torn { offset } => {
                    self.torn = Some((path.to_owned(), offset));
                    return Ok(records);
                }
                Next::Broken { offset } => {
                    return Err(damaged(path, offset, "this was kept, and was changed later"));
                }
                Next::Frame(frame) => {
                    if let Some((torn, offset)) = &self.torn {
                        return Err(damaged(torn, *offset, "this was kept, and was changed later"));
                    }
                    let begins = head.map_or(frame.first_record, |head| head.first_record);
                    let expected = self.expected.unwrap_or(begins);
                    let is_gap = self.expected.is_none() && begins > self.restored.next_record;
                    if frame.first_record != expected || is_gap {
                        return Err(damaged(path, frame.offset, "records before it are missing"));
                    }
                    records += self.read_frame(path, &frame)?;
                }
            }
        }
    }

    fn read_frame(&mut self, path: &Path, frame: &frame::Frame<'_>) -> Result<u64, OpenError> {
        let mut reader = Reader::new(frame.payload);
        let mut number = frame.first_record;
        while !reader.is_empty() {
            let done = get_record(&mut reader)
                .map_err(|malformed| malformed.0.to_owned())
                .and_then(|record| self.restored.apply(number, record));
            done.map_err(|what| damaged(path, frame.offset, &format!("record {number}: {what}")))?;
            number += 1;
        }
        self.expected = Some(number);
        Ok(number - frame.first_record)
    }
}

impl Restored {
    fn apply(&mut self, number: u64, record: Record) -> Result<(), String> {
        self.is_complete = matches!(record, Record::Closed);
        match record {
            Record::Made { id, name, epoch, at, settings } => {
                self.last_id = self.last_id.max(id);
                let is_there = self.rooms.get(&id).map(|room| room.record);
                if is_there.is_some_and(|record| number > record) {
                    return Err(format!("room {name} is made twice"));
                }
                if is_there.is_none() {
                    let room = Room::new(*settings, epoch, at);
                    self.rooms.insert(id, RestoredRoom { name, room, record: number });
                }
            }
            Record::Removed { id, least_epoch } => {
                self.least_epoch = self.least_epoch.max(least_epoch);
                if self.rooms.remove(&id).is_none() {
                    self.check_fuzzy(number)?;
                }
            }
            Record::Happened { id, at, events } => {
                let Some(room) = self.rooms.get_mut(&id) else { return self.check_fuzzy(number) };
                if number > room.record {
                    for event in &events {
                        room.room
                            .replay(at, event)
                            .map_err(|unfit| format!("room {}: {unfit}", room.name))?;
                    }
                    room.record = number;
                }
            }
            Record::Closed => {}
        }
        Ok(())
    }

    fn check_fuzzy(&self, number: u64) -> Result<(), String> {
        if number <= self.fuzzy_until { Ok(()) } else { Err("it is of a room that is not there".to_owned()) }
    }
}

// === impl snapshot ===

/// A room whose tickets and seats are being read.
struct Half {
    id: u32,
    name: RoomName,
    record: u64,
    parts: Box<Parts>,
    tickets: Vec<TicketRow>,
    seats: Vec<(QueueNumber, Seat)>,
}

/// Reads a snapshot. It was in its place only once it was whole, so whatever is wrong with it is damage.
fn read_snapshot(path: &Path) -> Result<Restored, OpenError> {
    let file = fs::read(path).map_err(io_error(path))?;
    let head = read_head(path, &file, Kind::Snapshot)?
        .ok_or_else(|| damaged(path, file.len(), "it ends within its head"))?;
    let mut restored = Restored { next_record: head.first_record, ..Restored::default() };
    let mut half = None;
    let mut frames = Frames::new(&file);
    let mut count = 0;
    let mut is_whole = false;
    let end = loop {
        match frames.next() {
            Next::End => break file.len(),
            Next::Torn { offset } | Next::Broken { offset } => {
                return Err(damaged(path, offset, "a part is not whole"));
            }
            Next::Frame(frame) => {
                count += 1;
                let failed = |what: String| damaged(path, frame.offset, &what);
                if is_whole || frame.first_record != count {
                    return Err(failed("a part is missing, or is one too many".to_owned()));
                }
                is_whole = restored.read_pieces(frame.payload, &mut half).map_err(failed)?;
            }
        }
    };
    if is_whole { Ok(restored) } else { Err(damaged(path, end, "its end is missing")) }
}

impl Restored {
    /// Reads one frame of a snapshot; whether it was the last.
    fn read_pieces(&mut self, payload: &[u8], half: &mut Option<Half>) -> Result<bool, String> {
        let mut reader = Reader::new(payload);
        while !reader.is_empty() {
            let clock = half.as_ref().map_or(Timestamp::EPOCH, |half| half.parts.clock);
            match get_piece(&mut reader, clock).map_err(|Malformed(what)| what.to_owned())? {
                Piece::Store { last_id, least_epoch } => {
                    (self.last_id, self.least_epoch) = (last_id, least_epoch);
                }
                Piece::Room { id, name, record, parts } => {
                    self.finish(half.take())?;
                    *half = Some(Half { id, name, record, parts, tickets: Vec::new(), seats: Vec::new() });
                }
                Piece::Tickets(rows) => {
                    half.as_mut().ok_or("tickets without a room")?.tickets.extend(rows);
                }
                Piece::Seats(rows) => half.as_mut().ok_or("seats without a room")?.seats.extend(rows),
                Piece::End { record, rooms } => {
                    self.finish(half.take())?;
                    self.fuzzy_until = record;
                    self.next_record = self.next_record.max(record + 1);
                    let is_all = rooms == self.rooms.len() as u64;
                    return if is_all { Ok(true) } else { Err("rooms are missing".to_owned()) };
                }
            }
        }
        Ok(false)
    }

    fn finish(&mut self, half: Option<Half>) -> Result<(), String> {
        let Some(Half { id, name, record, parts, tickets, seats }) = half else { return Ok(()) };
        let room = Room::from_parts(*parts, tickets, seats).map_err(|bad| format!("room {name}: {bad}"))?;
        self.last_id = self.last_id.max(id);
        match self.rooms.insert(id, RestoredRoom { name, room, record }) {
            None => Ok(()),
            Some(other) => Err(format!("room {} is there twice", other.name)),
        }
    }
}

/// The head of a file; `None` where it ends within.
fn read_head(path: &Path, file: &[u8], kind: Kind) -> Result<Option<FileHead>, OpenError> {
    match frame::file_head(file, kind) {
        Ok(head) => Ok(Some(head)),
        Err(BadHead::Short) if file.len() < FILE_HEAD_BYTES => Ok(None),
        Err(BadHead::Version(found)) => Err(OpenError::UnknownVersion { file: path.to_owned(), found }),
        Err(BadHead::Foreign) => Err(damaged(path, 0, "it is no file of rooms")),
        Err(BadHead::Short | BadHead::Damaged) => Err(damaged(path, 0, "its head was changed")),
    }
}

fn damaged(path: &Path, offset: usize, what: &str) -> OpenError {
    OpenError::Damaged { file: path.to_owned(), offset: offset as u64, what: what.to_owned() }
}

fn io_error(path: &Path) -> impl FnOnce(std::io::Error) -> OpenError {
    let file = path.to_owned();
    |source| OpenError::Io { file, source }
}
