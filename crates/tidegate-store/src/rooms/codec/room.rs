//! The state of a room: its parts, its tickets, its seats.

use tidegate_core::algorithm::Tat;
use tidegate_core::room::{Pace, Parts, QueueNumber, Releases, Seat, SeatState, Session, TicketRow};
use tidegate_core::time::Timestamp;

use super::{
    Malformed, Read, Reader, get_settings, put_at, put_coded, put_drawn, put_flag, put_integer, put_lease,
    put_number, put_option, put_settings, put_span, put_visitor,
};

const READY: u8 = 0;
const ACTIVE: u8 = 1;
const HELD: u8 = 2;

pub(in crate::rooms) fn put_parts(out: &mut Vec<u8>, parts: &Parts) {
    put_settings(out, &parts.settings);
    put_coded(out, &parts.state);
    put_integer(out, u64::from(parts.epoch));
    put_at(out, parts.clock);
    put_number(out, parts.next);
    put_option(out, parts.drawn.as_ref(), put_drawn);
    put_integer(out, parts.released.micros);
    put_integer(out, parts.released.fraction);
    put_integer(out, parts.releases.busy);
    parts.releases.counts.iter().for_each(|count| put_integer(out, u64::from(*count)));
    put_integer(out, parts.releases.newest);
    put_option(out, parts.releases.last, put_integer);
    put_option(out, parts.pace, |out, pace| {
        put_span(out, pace.each);
        put_at(out, pace.at);
        put_option(out, pace.grew, |out, (why, at)| {
            put_coded(out, &why);
            put_at(out, at);
        });
    });
    put_option(out, parts.slowed, |out, (at, why)| {
        put_at(out, at);
        put_coded(out, &why);
    });
    put_flag(out, parts.is_open);
    put_option(out, parts.beacon, |out, beacon| out.extend(beacon));
    put_integer(out, parts.draws);
    put_integer(out, parts.former_last);
    put_option(out, parts.hold_until, put_at);
}

pub(in crate::rooms) fn get_parts(reader: &mut Reader<'_>) -> Read<Parts> {
    Ok(Parts {
        settings: get_settings(reader)?,
        state: reader.coded()?,
        epoch: reader.small()?,
        clock: reader.at()?,
        next: reader.number()?,
        drawn: reader.option(Reader::drawn)?,
        released: Tat { micros: reader.integer()?, fraction: reader.integer()? },
        releases: get_releases(reader)?,
        pace: reader.option(|reader| {
            let (each, at) = (reader.span()?, reader.at()?);
            let grew = reader.option(|reader| Ok((reader.coded()?, reader.at()?)))?;
            Ok(Pace { each, at, grew })
        })?,
        slowed: reader.option(|reader| Ok((reader.at()?, reader.coded()?)))?,
        is_open: reader.flag()?,
        beacon: reader.option(Reader::array)?,
        draws: reader.integer()?,
        former_last: reader.integer()?,
        hold_until: reader.option(Reader::at)?,
    })
}

fn get_releases(reader: &mut Reader<'_>) -> Read<Releases> {
    let mut releases = Releases { busy: reader.integer()?, ..Releases::default() };
    for count in &mut releases.counts {
        *count = reader.small()?;
    }
    releases.newest = reader.integer()?;
    releases.last = reader.option(Reader::integer)?;
    Ok(releases)
}

/// Writes a ticket; `clock` is that of its room.
pub(in crate::rooms) fn put_ticket(out: &mut Vec<u8>, clock: Timestamp, row: &TicketRow) {
    put_number(out, row.number);
    put_visitor(out, row.visitor);
    put_lease(out, row.lease, clock);
}

pub(in crate::rooms) fn get_ticket(reader: &mut Reader<'_>, clock: Timestamp) -> Read<TicketRow> {
    Ok(TicketRow { number: reader.number()?, visitor: reader.visitor()?, lease: reader.lease(clock)? })
}

pub(in crate::rooms) fn put_seat(out: &mut Vec<u8>, number: QueueNumber, seat: &Seat) {
    put_number(out, number);
    put_visitor(out, seat.visitor);
    put_at(out, seat.deadline);
    match seat.state {
        SeatState::Ready { extensions } => {
            out.push(READY);
            put_integer(out, u64::from(extensions));
        }
        SeatState::Active(Session { start, seen, limit_at, renewals }) => {
            out.push(ACTIVE);
            put_at(out, start);
            put_at(out, seen);
            put_option(out, limit_at, put_at);
            put_integer(out, u64::from(renewals));
        }
        SeatState::Held => out.push(HELD),
    }
}

pub(in crate::rooms) fn get_seat(reader: &mut Reader<'_>) -> Read<(QueueNumber, Seat)> {
    let (number, visitor, deadline) = (reader.number()?, reader.visitor()?, reader.at()?);
    let state = match reader.byte()? {
        READY => SeatState::Ready { extensions: reader.small()? },
        ACTIVE => SeatState::Active(Session {
            start: reader.at()?,
            seen: reader.at()?,
            limit_at: reader.option(Reader::at)?,
            renewals: reader.small()?,
        }),
        HELD => SeatState::Held,
        _ => return Err(Malformed("an unknown kind of seat")),
    };
    Ok((number, Seat { visitor, deadline, state }))
}
