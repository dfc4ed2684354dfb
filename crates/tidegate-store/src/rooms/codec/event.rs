//! What has happened in a room.

use tidegate_core::room::{CalledBy, EndedBy, Event, Flush, RoomState, Slower};
use tidegate_core::time::Timestamp;

use super::{
    Malformed, Read, Reader, coded, get_settings, put_at, put_coded, put_drawn, put_integer, put_lease,
    put_number, put_option, put_settings, put_span, put_visitor,
};

coded!(RoomState {
    0 => RoomState::Open,
    1 => RoomState::Paused,
    2 => RoomState::Draining,
    3 => RoomState::Closed,
});
coded!(Flush { 0 => Flush::Line, 1 => Flush::Everybody });
coded!(Slower { 0 => Slower::Paused, 1 => Slower::Cut, 2 => Slower::Release });
coded!(CalledBy { 0 => CalledBy::Line, 1 => CalledBy::Operator });
coded!(EndedBy { 0 => EndedBy::Limit, 1 => EndedBy::Idle, 2 => EndedBy::Visitor, 3 => EndedBy::Origin });

const JOINED: u8 = 1;
const TOUCHED: u8 = 2;
const RECOGNISED: u8 = 3;
const LEFT: u8 = 4;
const EXPIRED: u8 = 5;
const SKIPPED: u8 = 6;
const CALLED: u8 = 7;
const CLAIM_EXTENDED: u8 = 8;
const ABANDONED: u8 = 9;
const ADMITTED: u8 = 10;
const SEEN: u8 = 11;
const RENEWED: u8 = 12;
const ENDED: u8 = 13;
const FREED: u8 = 14;
const RETURNED: u8 = 15;
const OPENED: u8 = 16;
const BEACON_SET: u8 = 17;
const STATE_SET: u8 = 18;
const CHANGED: u8 = 19;
const PACED: u8 = 20;
const FLUSHED: u8 = 21;
const RESUMED: u8 = 22;
const DECLINED: u8 = 23;

/// Writes an event that happened at `at`, which is written elsewhere.
pub(in crate::rooms) fn put_event(out: &mut Vec<u8>, at: Timestamp, event: &Event) {
    let mut tagged = |tag, number| {
        out.push(tag);
        put_number(out, number);
    };
    match event {
        Event::Joined { number, visitor, lease } => {
            tagged(JOINED, *number);
            put_visitor(out, *visitor);
            put_lease(out, *lease, at);
        }
        Event::Touched { number, lease } => {
            tagged(TOUCHED, *number);
            put_lease(out, *lease, at);
        }
        Event::Recognised { number, visitor } => {
            tagged(RECOGNISED, *number);
            put_visitor(out, *visitor);
        }
        Event::Left { number, by } => {
            tagged(LEFT, *number);
            put_coded(out, by);
        }
        Event::Declined { number, by } => {
            tagged(DECLINED, *number);
            put_coded(out, by);
        }
        Event::Expired { number } => tagged(EXPIRED, *number),
        Event::Skipped { number } => tagged(SKIPPED, *number),
        Event::Called { number, by, claim_until } => {
            tagged(CALLED, *number);
            put_coded(out, by);
            put_at(out, *claim_until);
        }
        Event::ClaimExtended { number, claim_until } => {
            tagged(CLAIM_EXTENDED, *number);
            put_at(out, *claim_until);
        }
        Event::Abandoned { number } => tagged(ABANDONED, *number),
        Event::Admitted { number, deadline, limit_at } => {
            tagged(ADMITTED, *number);
            put_at(out, *deadline);
            put_option(out, *limit_at, put_at);
        }
        Event::Seen { number, deadline } => {
            tagged(SEEN, *number);
            put_at(out, *deadline);
        }
        Event::Renewed { number, deadline, limit_at } => {
            tagged(RENEWED, *number);
            put_at(out, *deadline);
            put_at(out, *limit_at);
        }
        Event::Ended { number, by, held_until } => {
            tagged(ENDED, *number);
            put_coded(out, by);
            put_option(out, *held_until, put_at);
        }
        Event::Freed { number } => tagged(FREED, *number),
        Event::Returned { number, visitor, start, deadline } => {
            tagged(RETURNED, *number);
            put_visitor(out, *visitor);
            put_at(out, *start);
            put_at(out, *deadline);
        }
        _ => put_of_room(out, at, event),
    }
}

/// Events that are about the room and not about one visitor.
fn put_of_room(out: &mut Vec<u8>, at: Timestamp, event: &Event) {
    match event {
        Event::Opened { drawn } => {
            out.push(OPENED);
            put_option(out, drawn.as_deref(), put_drawn);
        }
        Event::BeaconSet(beacon) => {
            out.push(BEACON_SET);
            out.extend(beacon);
        }
        Event::StateSet(state) => {
            out.push(STATE_SET);
            put_coded(out, state);
        }
        Event::Changed(settings) => {
            out.push(CHANGED);
            put_settings(out, settings);
        }
        Event::Paced { pace, slower } => {
            out.push(PACED);
            put_span(out, *pace);
            put_option(out, slower.as_ref(), put_coded);
        }
        Event::Flushed(flush) => {
            out.push(FLUSHED);
            put_coded(out, flush);
        }
        Event::Resumed { epoch, serving, last, lease, hold_until } => {
            out.push(RESUMED);
            put_integer(out, u64::from(*epoch));
            put_integer(out, *serving);
            put_integer(out, *last);
            put_lease(out, *lease, at);
            put_option(out, *hold_until, put_at);
        }
        _ => {}
    }
}

/// Reads an event that happened at `at`.
pub(in crate::rooms) fn get_event(reader: &mut Reader<'_>, at: Timestamp) -> Read<Event> {
    let tag = reader.byte()?;
    // A kind of one visitor that came later has a tag behind those of the room.
    if (OPENED..=RESUMED).contains(&tag) {
        return get_of_room(reader, at, tag);
    }
    let number = reader.number()?;
    Ok(match tag {
        JOINED => Event::Joined { number, visitor: reader.visitor()?, lease: reader.lease(at)? },
        TOUCHED => Event::Touched { number, lease: reader.lease(at)? },
        RECOGNISED => Event::Recognised { number, visitor: reader.visitor()? },
        LEFT => Event::Left { number, by: reader.coded()? },
        DECLINED => Event::Declined { number, by: reader.coded()? },
        EXPIRED => Event::Expired { number },
        SKIPPED => Event::Skipped { number },
        CALLED => Event::Called { number, by: reader.coded()?, claim_until: reader.at()? },
        CLAIM_EXTENDED => Event::ClaimExtended { number, claim_until: reader.at()? },
        ABANDONED => Event::Abandoned { number },
        ADMITTED => Event::Admitted { number, deadline: reader.at()?, limit_at: reader.option(Reader::at)? },
        SEEN => Event::Seen { number, deadline: reader.at()? },
        RENEWED => Event::Renewed { number, deadline: reader.at()?, limit_at: reader.at()? },
        ENDED => Event::Ended { number, by: reader.coded()?, held_until: reader.option(Reader::at)? },
        FREED => Event::Freed { number },
        RETURNED => Event::Returned {
            number,
            visitor: reader.visitor()?,
            start: reader.at()?,
            deadline: reader.at()?,
        },
        _ => return Err(Malformed("an unknown event")),
    })
}

fn get_of_room(reader: &mut Reader<'_>, at: Timestamp, tag: u8) -> Read<Event> {
    Ok(match tag {
        OPENED => Event::Opened { drawn: reader.option(Reader::drawn)?.map(Box::new) },
        BEACON_SET => Event::BeaconSet(reader.array()?),
        STATE_SET => Event::StateSet(reader.coded()?),
        CHANGED => Event::Changed(Box::new(get_settings(reader)?)),
        PACED => Event::Paced { pace: reader.span()?, slower: reader.option(Reader::coded)? },
        FLUSHED => Event::Flushed(reader.coded()?),
        RESUMED => Event::Resumed {
            epoch: reader.small()?,
            serving: reader.integer()?,
            last: reader.integer()?,
            lease: reader.lease(at)?,
            hold_until: reader.option(Reader::at)?,
        },
        _ => return Err(Malformed("an unknown event")),
    })
}
