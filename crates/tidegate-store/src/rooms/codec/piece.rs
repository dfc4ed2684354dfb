//! Pieces: what a snapshot is made of.
//!
//! | piece | after its tag byte |
//! | --- | --- |
//! | 16, store | the last id, the least epoch of a new room |
//! | 17, room | id, name, the last record that is in it, its parts |
//! | 18, tickets | of the room before: their number, and each |
//! | 19, seats | of the room before: their number, and each |
//! | 20, end | the last record when it was finished, the number of rooms |
//!
//! A room has everything up to the record that it names, so that things go on while a snapshot is made.

use tidegate_core::room::{Parts, QueueNumber, Room, RoomName, Seat, TicketRow};
use tidegate_core::time::Timestamp;

use super::{
    Malformed, Read, Reader, get_parts, get_seat, get_ticket, put_integer, put_name, put_parts, put_seat,
    put_ticket,
};

/// Tickets or seats of one piece.
const ROWS: usize = 4_096;

const STORE: u8 = 16;
const ROOM: u8 = 17;
const TICKETS: u8 = 18;
const SEATS: u8 = 19;
const END: u8 = 20;

/// A piece of a snapshot.
#[derive(Debug)]
pub(in crate::rooms) enum Piece {
    Store { last_id: u32, least_epoch: u32 },
    Room { id: u32, name: RoomName, record: u64, parts: Box<Parts> },
    Tickets(Vec<TicketRow>),
    Seats(Vec<(QueueNumber, Seat)>),
    End { record: u64, rooms: u64 },
}

pub(in crate::rooms) fn put_store(out: &mut Vec<u8>, last_id: u32, least_epoch: u32) {
    out.push(STORE);
    put_integer(out, u64::from(last_id));
    put_integer(out, u64::from(least_epoch));
}

pub(in crate::rooms) fn put_room(out: &mut Vec<u8>, id: u32, name: &RoomName, record: u64, room: &Room) {
    out.push(ROOM);
    put_integer(out, u64::from(id));
    put_name(out, name);
    put_integer(out, record);
    put_parts(out, &room.parts());
}

pub(in crate::rooms) fn put_tickets(out: &mut Vec<u8>, clock: Timestamp, rows: &[TicketRow]) {
    out.push(TICKETS);
    put_integer(out, rows.len() as u64);
    rows.iter().for_each(|row| put_ticket(out, clock, row));
}

pub(in crate::rooms) fn put_seats(out: &mut Vec<u8>, seats: &[(QueueNumber, &Seat)]) {
    out.push(SEATS);
    put_integer(out, seats.len() as u64);
    seats.iter().for_each(|(number, seat)| put_seat(out, *number, seat));
}

pub(in crate::rooms) fn put_end(out: &mut Vec<u8>, record: u64, rooms: u64) {
    out.push(END);
    put_integer(out, record);
    put_integer(out, rooms);
}

/// Reads a piece; `clock` is that of the room before it.
pub(in crate::rooms) fn get_piece(reader: &mut Reader<'_>, clock: Timestamp) -> Read<Piece> {
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

/// Writes a room, its tickets and its seats. After each piece `next` may take away what was written.
pub(in crate::rooms) fn put_whole_room<E>(
    out: &mut Vec<u8>,
    id: u32,
    name: &RoomName,
    record: u64,
    room: &Room,
    mut next: impl FnMut(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    put_room(out, id, name, record, room);
    let mut tickets = room.tickets().peekable();
    let mut rows = Vec::with_capacity(ROWS);
    while tickets.peek().is_some() {
        rows.clear();
        rows.extend(tickets.by_ref().take(ROWS));
        put_tickets(out, room.clock(), &rows);
        next(out)?;
    }
    let mut seats = room.seats().peekable();
    while seats.peek().is_some() {
        let rows: Vec<_> = seats.by_ref().take(ROWS).collect();
        put_seats(out, &rows);
        next(out)?;
    }
    Ok(())
}
