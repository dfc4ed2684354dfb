//! What is kept of a shared room: entries of its log, and snapshots.
//!
//! An entry is the version (a byte), its term, the term of the entry before it, and steps up to its end. A step is a byte (1 made: time,
//! epoch, settings; 2 happened: time, number of events, events) and what belongs to it. A piece of a snapshot is the version,
//! the term of the last entry that it stands for, and pieces of the codec, the last one an end.
//!
//! An entry's number and term name it for ever: a keeper writes each number once, and terms are never used again. Each entry names
//! the term of the one before, so two states that end with the same entry are the same, whatever a place has lost in between.

use bytes::Bytes;
use tidegate_core::room::{Event, Parts, QueueNumber, Room, RoomName, Seat, Settings, TicketRow};
use tidegate_core::time::Timestamp;

use crate::rooms::codec::{
    Malformed, Piece, Read, Reader, get_event, get_piece, get_settings, put_at, put_end, put_event,
    put_integer, put_settings, put_whole_room,
};

/// Of entries, snapshots and messages.
pub(super) const VERSION: u8 = 1;

const MADE: u8 = 1;
const HAPPENED: u8 = 2;
/// A piece of a snapshot is closed once it has so many bytes.
const PIECE_BYTES: usize = 128 << 10;

/// The last entry that is in a state. Of two, that of the later term is the newer state, whatever the numbers are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    pub(super) term: u64,
    pub(super) entry: u64,
}

/// What one command has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Made { at: Timestamp, epoch: u32, settings: Box<Settings> },
    Happened { at: Timestamp, events: Vec<Event> },
}

/// An entry of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) term: u64,
    /// The term of the entry before it; 0 where it is the first.
    pub(super) before: u64,
    pub(super) steps: Vec<Step>,
}

pub(super) fn put_head(out: &mut Vec<u8>, term: u64, before: u64) {
    out.push(VERSION);
    put_integer(out, term);
    put_integer(out, before);
}

pub(super) fn put_made(out: &mut Vec<u8>, room: &Room) {
    out.push(MADE);
    put_at(out, room.clock());
    put_integer(out, u64::from(room.epoch()));
    put_settings(out, room.settings());
}

/// Writes the events of one step that `wanted` is true of.
pub(super) fn put_happened(
    out: &mut Vec<u8>,
    at: Timestamp,
    events: &[Event],
    wanted: impl Fn(&Event) -> bool,
) {
    let chosen = || events.iter().filter(|event| wanted(event));
    out.push(HAPPENED);
    put_at(out, at);
    put_integer(out, chosen().count() as u64);
    chosen().for_each(|event| put_event(out, at, event));
}

pub(super) fn get_entry(bytes: &[u8]) -> Read<Entry> {
    let mut reader = Reader::new(bytes);
    get_version(&mut reader)?;
    let (term, before) = (reader.integer()?, reader.integer()?);
    let mut steps = Vec::new();
    while !reader.is_empty() {
        steps.push(get_step(&mut reader)?);
    }
    Ok(Entry { term, before, steps })
}

pub(super) fn get_version(reader: &mut Reader<'_>) -> Read<()> {
    if reader.byte()? == VERSION {
        Ok(())
    } else {
        Err(Malformed("another version of Tidegate wrote it; use one version on all nodes"))
    }
}

pub(super) fn get_step(reader: &mut Reader<'_>) -> Read<Step> {
    Ok(match reader.byte()? {
        MADE => {
            Step::Made { at: reader.at()?, epoch: reader.small()?, settings: Box::new(get_settings(reader)?) }
        }
        HAPPENED => {
            let (at, count) = (reader.at()?, reader.integer()?);
            let mut events = Vec::new();
            for _ in 0..count {
                events.push(get_event(reader, at)?);
            }
            Step::Happened { at, events }
        }
        _ => return Err(Malformed("an unknown step")),
    })
}

/// A snapshot of a room in this state.
pub(super) fn pieces_of(name: &RoomName, mark: Mark, room: &Room) -> Vec<Bytes> {
    let begin = || {
        let mut piece = vec![VERSION];
        put_integer(&mut piece, mark.term);
        piece
    };
    let mut pieces = Vec::new();
    let mut piece = begin();
    let next = |piece: &mut Vec<u8>| {
        if piece.len() >= PIECE_BYTES {
            pieces.push(Bytes::from(std::mem::replace(piece, begin())));
        }
        Ok::<(), std::convert::Infallible>(())
    };
    let Ok(()) = put_whole_room(&mut piece, 0, name, mark.entry, room, next);
    put_end(&mut piece, mark.entry, 1);
    pieces.push(piece.into());
    pieces
}

/// The room of a snapshot, and the last entry that is in it.
pub(super) fn room_of(pieces: &[Bytes]) -> Result<(Mark, Room), String> {
    let malformed = |Malformed(what)| what.to_owned();
    let mut half: Option<(Mark, Box<Parts>)> = None;
    let (mut tickets, mut seats) = (Vec::<TicketRow>::new(), Vec::<(QueueNumber, Seat)>::new());
    let mut is_whole = false;
    for piece in pieces {
        let mut reader = Reader::new(piece);
        get_version(&mut reader).map_err(malformed)?;
        let term = reader.integer().map_err(malformed)?;
        while !reader.is_empty() {
            let clock = half.as_ref().map_or(Timestamp::EPOCH, |(_, parts)| parts.clock);
            match get_piece(&mut reader, clock).map_err(malformed)? {
                Piece::Room { record, parts, .. } => half = Some((Mark { term, entry: record }, parts)),
                Piece::Tickets(rows) => tickets.extend(rows),
                Piece::Seats(rows) => seats.extend(rows),
                Piece::End { .. } => is_whole = true,
                Piece::Store { .. } => return Err("a snapshot of something else".to_owned()),
            }
        }
    }
    let (mark, parts) = half.filter(|_| is_whole).ok_or("the snapshot is not whole")?;
    let room = Room::from_parts(*parts, tickets, seats).map_err(|bad| bad.to_string())?;
    Ok((mark, room))
}
