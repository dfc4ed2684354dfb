//! What is asked of a room.

use tidegate_core::room::{Command, Lost, Pass, Resume, Ticket};

use super::{
    Malformed, Read, Reader, get_settings, put_at, put_coded, put_integer, put_number, put_option,
    put_settings, put_span, put_visitor,
};

const JOIN: u8 = 1;
const POLL: u8 = 2;
const CLAIM: u8 = 3;
const EXTEND_CLAIM: u8 = 4;
const HEARTBEAT: u8 = 5;
const RENEW: u8 = 6;
const RETURN: u8 = 7;
const LEAVE: u8 = 8;
const END: u8 = 9;
const ADMIT_ONE: u8 = 10;
const SET_STATE: u8 = 11;
const CHANGE: u8 = 12;
const BEACON: u8 = 13;
const FLUSH: u8 = 14;
const RESUME: u8 = 15;
const TURN: u8 = 16;

pub(in crate::rooms) fn put_command(out: &mut Vec<u8>, command: &Command) {
    let mut of_ticket = |tag, ticket: &Ticket| {
        out.push(tag);
        put_ticket_of(out, ticket);
    };
    match command {
        Command::Poll(ticket) => of_ticket(POLL, ticket),
        Command::Claim(ticket) => of_ticket(CLAIM, ticket),
        Command::ExtendClaim(ticket) => of_ticket(EXTEND_CLAIM, ticket),
        Command::Heartbeat(ticket) => of_ticket(HEARTBEAT, ticket),
        Command::Renew(ticket) => of_ticket(RENEW, ticket),
        Command::Leave(ticket) => of_ticket(LEAVE, ticket),
        Command::Return(Pass { ticket, start, deadline }) => {
            of_ticket(RETURN, ticket);
            put_at(out, *start);
            put_at(out, *deadline);
        }
        Command::Join(visitor) => {
            out.push(JOIN);
            put_visitor(out, *visitor);
        }
        Command::End(number) => {
            out.push(END);
            put_number(out, *number);
        }
        Command::AdmitOne(number) => {
            out.push(ADMIT_ONE);
            put_option(out, *number, put_number);
        }
        Command::SetState(state) => {
            out.push(SET_STATE);
            put_coded(out, state);
        }
        Command::Change(settings) => {
            out.push(CHANGE);
            put_settings(out, settings);
        }
        Command::Beacon(beacon) => {
            out.push(BEACON);
            out.extend(beacon);
        }
        Command::Flush(flush) => {
            out.push(FLUSH);
            put_coded(out, flush);
        }
        Command::Resume(Resume { epoch, longest_lease, lost }) => {
            out.push(RESUME);
            put_integer(out, u64::from(*epoch));
            put_span(out, *longest_lease);
            put_option(out, *lost, |out, Lost { serving, last }| {
                put_integer(out, serving);
                put_integer(out, last);
            });
        }
        Command::Turn => out.push(TURN),
    }
}

pub(in crate::rooms) fn get_command(reader: &mut Reader<'_>) -> Read<Command> {
    Ok(match reader.byte()? {
        JOIN => Command::Join(reader.visitor()?),
        POLL => Command::Poll(get_ticket_of(reader)?),
        CLAIM => Command::Claim(get_ticket_of(reader)?),
        EXTEND_CLAIM => Command::ExtendClaim(get_ticket_of(reader)?),
        HEARTBEAT => Command::Heartbeat(get_ticket_of(reader)?),
        RENEW => Command::Renew(get_ticket_of(reader)?),
        RETURN => Command::Return(Pass {
            ticket: get_ticket_of(reader)?,
            start: reader.at()?,
            deadline: reader.at()?,
        }),
        LEAVE => Command::Leave(get_ticket_of(reader)?),
        END => Command::End(reader.number()?),
        ADMIT_ONE => Command::AdmitOne(reader.option(Reader::number)?),
        SET_STATE => Command::SetState(reader.coded()?),
        CHANGE => Command::Change(Box::new(get_settings(reader)?)),
        BEACON => Command::Beacon(reader.array()?),
        FLUSH => Command::Flush(reader.coded()?),
        RESUME => Command::Resume(Resume {
            epoch: reader.small()?,
            longest_lease: reader.span()?,
            lost: reader.option(|reader| Ok(Lost { serving: reader.integer()?, last: reader.integer()? }))?,
        }),
        TURN => Command::Turn,
        _ => return Err(Malformed("an unknown command")),
    })
}

/// Writes a ticket as its visitor shows it.
pub(in crate::rooms) fn put_ticket_of(out: &mut Vec<u8>, ticket: &Ticket) {
    put_integer(out, u64::from(ticket.epoch));
    put_number(out, ticket.number);
    put_visitor(out, ticket.visitor);
}

pub(in crate::rooms) fn get_ticket_of(reader: &mut Reader<'_>) -> Read<Ticket> {
    Ok(Ticket { epoch: reader.small()?, number: reader.number()?, visitor: reader.visitor()? })
}
