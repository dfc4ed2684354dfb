//! Records: what is written of one step, and what a snapshot is made of.
//!
//! | journal | after its tag byte |
//! | --- | --- |
//! | 1, made | id, name, first epoch, time, settings |
//! | 2, removed | id, the least epoch of a new room from then on |
//! | 3, happened | id, time, number of events, events |
//! | 4, closed | nothing: the store was shut down after this, and lost nothing |
//!
//! | snapshot | after its tag byte |
//! | --- | --- |
//! | 16, store | the last id, the least epoch of a new room |
//! | 17, room | id, name, the last record that is in it, its parts |
//! | 18, tickets | of the room before: their number, and each |
//! | 19, seats | of the room before: their number, and each |
//! | 20, end | the last record when it was finished, the number of rooms |
//!
//! Records of a journal are numbered one after another through all its files. A room in a snapshot has everything up to the record that
//! it names, so that the journal goes on while a snapshot is made.

use tidegate_core::room::{Event, Parts, RoomName, Seat, Settings, TicketRow};
use tidegate_core::room::{QueueNumber, Room};
use tidegate_core::time::Timestamp;

use super::codec::{
    Malformed, Read, Reader, get_event, get_parts, get_seat, get_settings, get_ticket, put_at, put_event,
    put_integer, put_name, put_parts, put_seat, put_settings, put_ticket,
};

const MADE: u8 = 1;
const REMOVED: u8 = 2;
const HAPPENED: u8 = 3;
const CLOSED: u8 = 4;
const STORE: u8 = 16;
const ROOM: u8 = 17;
const TICKETS: u8 = 18;
const SEATS: u8 = 19;
const END: u8 = 20;

/// One step of a store.
#[derive(Debug)]
pub(super) enum Record {
    Made { id: u32, name: RoomName, epoch: u32, at: Timestamp, settings: Box<Settings> },
    Removed { id: u32, least_epoch: u32 },
    Happened { id: u32, at: Timestamp, events: Vec<Event> },
    Closed,
}

pub(super) fn put_made(out: &mut Vec<u8>, id: u32, name: &RoomName, room: &Room) {
    out.push(MADE);
    put_integer(out, u64::from(id));
    put_name(out, name);
    put_integer(out, u64::from(room.epoch()));
    put_at(out, room.clock());
    put_settings(out, room.settings());
}

pub(super) fn put_removed(out: &mut Vec<u8>, id: u32, least_epoch: u32) {
    out.push(REMOVED);
    put_integer(out, u64::from(id));
    put_integer(out, u64::from(least_epoch));
}

/// What has happened, without what may be lost.
pub(super) fn put_happened(out: &mut Vec<u8>, id: u32, at: Timestamp, events: &[Event]) {
    let kept = || events.iter().filter(|event| !event.may_be_lost());
    out.push(HAPPENED);
    put_integer(out, u64::from(id));
    put_at(out, at);
    put_integer(out, kept().count() as u64);
    kept().for_each(|event| put_event(out, at, event));
}

pub(super) fn put_closed(out: &mut Vec<u8>) {
    out.push(CLOSED);
}

pub(super) fn get_record(reader: &mut Reader<'_>) -> Read<Record> {
    Ok(match reader.byte()? {
        MADE => Record::Made {
            id: reader.small()?,
            name: reader.name()?,
            epoch: reader.small()?,
            at: reader.at()?,
            settings: Box::new(get_settings(reader)?),
        },
        REMOVED => Record::Removed { id: reader.small()?, least_epoch: reader.small()? },
        HAPPENED => {
            let (id, at, count) = (reader.small()?, reader.at()?, reader.integer()?);
            let mut events = Vec::new();
            for _ in 0..count {
                events.push(get_event(reader, at)?);
            }
            Record::Happened { id, at, events }
        }
        CLOSED => Record::Closed,
        _ => return Err(Malformed("an unknown record")),
    })
}

/// A piece of a snapshot.
#[derive(Debug)]
pub(super) enum Piece {
    Store { last_id: u32, least_epoch: u32 },
    Room { id: u32, name: RoomName, record: u64, parts: Box<Parts> },
    Tickets(Vec<TicketRow>),
    Seats(Vec<(QueueNumber, Seat)>),
    End { record: u64, rooms: u64 },
}

pub(super) fn put_store(out: &mut Vec<u8>, last_id: u32, least_epoch: u32) {
    out.push(STORE);
    put_integer(out, u64::from(last_id));
    put_integer(out, u64::from(least_epoch));
}

pub(super) fn put_room(out: &mut Vec<u8>, id: u32, name: &RoomName, record: u64, room: &Room) {
    out.push(ROOM);
    put_integer(out, u64::from(id));
    put_name(out, name);
    put_integer(out, record);
    put_parts(out, &room.parts());
}

pub(super) fn put_tickets(out: &mut Vec<u8>, clock: Timestamp, rows: &[TicketRow]) {
    out.push(TICKETS);
    put_integer(out, rows.len() as u64);
    rows.iter().for_each(|row| put_ticket(out, clock, row));
}

pub(super) fn put_seats(out: &mut Vec<u8>, seats: &[(QueueNumber, &Seat)]) {
    out.push(SEATS);
    put_integer(out, seats.len() as u64);
    seats.iter().for_each(|(number, seat)| put_seat(out, *number, seat));
}

pub(super) fn put_end(out: &mut Vec<u8>, record: u64, rooms: u64) {
    out.push(END);
    put_integer(out, record);
    put_integer(out, rooms);
}

/// Reads a piece; `clock` is that of the room before it.
pub(super) fn get_piece(reader: &mut Reader<'_>, clock: Timestamp) -> Read<Piece> {
    Ok(match reader.byte()? {
        STORE => Piece::Store { last_id: reader.small()?, least_epoch: reader.small()? },
        ROOM => Piece::Room {
            id: reader.small()?,
            name: reader.name()?,
            record: reader.integer()?,
            parts: Box::new(get_parts(reader)?),
        },
        TICKETS => Piece::Tickets(get_all(reader, |reader| get_ticket(reader, clock))?),
        SEATS => Piece::Seats(get_all(reader, get_seat)?),
        END => Piece::End { record: reader.integer()?, rooms: reader.integer()? },
        _ => return Err(Malformed("an unknown piece")),
    })
}

/// Memory is taken as they are read, whatever their number promises.
fn get_all<'a, T>(reader: &mut Reader<'a>, mut get: impl FnMut(&mut Reader<'a>) -> Read<T>) -> Read<Vec<T>> {
    let count = reader.integer()?;
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(get(reader)?);
    }
    Ok(all)
}
