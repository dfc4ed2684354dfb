//! Records: what is written of one step.
//!
//! | journal | after its tag byte |
//! | --- | --- |
//! | 1, made | id, name, first epoch, time, settings |
//! | 2, removed | id, the least epoch of a new room from then on |
//! | 3, happened | id, time, number of events, events |
//! | 4, closed | nothing: the store was shut down after this, and lost nothing |
//!
//! Records of a journal are numbered one after another through all its files.

use tidegate_core::room::{Event, Room, RoomName, Settings};
use tidegate_core::time::Timestamp;

use crate::rooms::codec::{
    Malformed, Read, Reader, get_event, get_settings, put_at, put_event, put_integer, put_name, put_settings,
};

const MADE: u8 = 1;
const REMOVED: u8 = 2;
const HAPPENED: u8 = 3;
const CLOSED: u8 = 4;

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
