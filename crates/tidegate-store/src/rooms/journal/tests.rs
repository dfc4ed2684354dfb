//! What is written is read as the same, and what was not written is refused.

use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::room::draw::{Drawn, Seed};
use tidegate_core::room::{
    CalledBy, Command, EarlyEnd, EndedBy, Event, Flush, Identity, Method, Opening, OpeningOrder, Prefix,
    QueueNumber, Room, RoomName, RoomState, Settings, Slower, Spec, Visitor,
};
use tidegate_core::time::{Micros, Timestamp};

use super::record::{self, Record, get_record};
use crate::rooms::codec::{self, Piece, Reader, get_event, get_piece, get_settings, put_event, put_settings};

const AT: Timestamp = Timestamp::from_micros(1_780_000_000_123_456);

fn settings() -> Settings {
    let release = Quota::new(Algorithm::TokenBucket, 7, Micros::from_secs(3), Some(11)).unwrap();
    let mut spec = Spec::new(5, release);
    spec.method = Method::Random;
    spec.claim.extensions = 3;
    spec.session.idle = None;
    spec.session.renewals = 4;
    spec.session.early_end = EarlyEnd::FreesSeat;
    spec.max_waiting = 123_456;
    spec.seats_per_prefix = Some(9);
    spec.opening = Some(Opening { at: AT, order: OpeningOrder::Shuffled });
    spec.seed = Some(Seed::new([7; 32]));
    Settings::new(spec).unwrap()
}

/// One of each kind.
fn events() -> Vec<Event> {
    let number = QueueNumber::new(1_234_567);
    let visitor = Visitor { identity: Some(Identity::new(u64::MAX)), prefix: Some(Prefix::new(u32::MAX)) };
    let (lease, later) = (1_780_000_075, AT.saturating_add(Micros::from_secs(60)));
    let drawn = Drawn { after: 3, last: 9, key: [5; 32] };
    vec![
        Event::Joined { number, visitor, lease },
        Event::Joined { number, visitor: Visitor { prefix: None, ..visitor }, lease: 0 },
        Event::Joined { number, visitor: Visitor { identity: None, ..visitor }, lease: u32::MAX },
        Event::Touched { number, lease },
        Event::Recognised { number, visitor },
        Event::Left { number, by: EndedBy::Visitor },
        Event::Declined { number, by: EndedBy::Origin },
        Event::Expired { number },
        Event::Skipped { number },
        Event::Called { number, by: CalledBy::Operator, claim_until: later },
        Event::ClaimExtended { number, claim_until: later },
        Event::Abandoned { number },
        Event::Admitted { number, deadline: later, limit_at: Some(later) },
        Event::Admitted { number, deadline: later, limit_at: None },
        Event::Seen { number, deadline: later },
        Event::Renewed { number, deadline: AT, limit_at: later },
        Event::Ended { number, by: EndedBy::Idle, held_until: Some(later) },
        Event::Ended { number, by: EndedBy::Limit, held_until: None },
        Event::Freed { number: QueueNumber::MAX },
        Event::Returned { number, visitor, start: Timestamp::EPOCH, deadline: Timestamp::MAX },
        Event::Opened { drawn: Some(Box::new(drawn)) },
        Event::Opened { drawn: None },
        Event::BeaconSet([9; 32]),
        Event::StateSet(RoomState::Draining),
        Event::Changed(Box::new(settings())),
        Event::Paced { pace: Micros::from_millis(30), slower: Some(Slower::Cut) },
        Event::Flushed(Flush::Everybody),
        Event::Resumed { epoch: u32::MAX, serving: 8, last: u64::MAX, lease, hold_until: Some(later) },
    ]
}

#[test]
fn every_event_comes_back() {
    for event in events() {
        let mut out = Vec::new();
        put_event(&mut out, AT, &event);
        let mut reader = Reader::new(&out);
        assert_eq!(get_event(&mut reader, AT), Ok(event.clone()));
        assert!(reader.is_empty(), "{event:?}");
        // Cut short anywhere, it is refused.
        for end in 0..out.len() {
            assert!(get_event(&mut Reader::new(&out[..end]), AT).is_err(), "{event:?} up to {end}");
        }
    }
}

#[test]
fn settings_come_back() {
    let release = Quota::new(Algorithm::TokenBucket, 100, Micros::from_secs(1), None).unwrap();
    for settings in [settings(), Settings::new(Spec::new(3, release)).unwrap()] {
        let mut out = Vec::new();
        put_settings(&mut out, &settings);
        assert_eq!(get_settings(&mut Reader::new(&out)), Ok(settings));
    }
}

#[test]
fn a_join_takes_less_than_forty_bytes() {
    let mut out = Vec::new();
    record::put_happened(&mut out, 300, AT, &events()[..1]);
    assert!(out.len() < 40, "{} bytes", out.len());
}

#[test]
fn what_may_be_lost_is_left_out() {
    let mut out = Vec::new();
    record::put_happened(&mut out, 1, AT, &events());
    let Ok(Record::Happened { events: read, .. }) = get_record(&mut Reader::new(&out)) else {
        panic!("it is read");
    };
    let kept: Vec<_> = events().into_iter().filter(|event| !event.may_be_lost()).collect();
    assert_eq!(read, kept);
}

/// A room with everything in it, and what is written of it.
fn pieces() -> (Room, Vec<u8>) {
    let mut spec = settings().spec().clone();
    spec.opening = None;
    spec.session.early_end = EarlyEnd::HoldsSeat;
    let mut room = Room::new(Settings::new(spec).unwrap(), 7, AT);
    let mut events = Vec::new();
    for identity in 1..=40 {
        let identity = Some(Identity::new(identity));
        let visitor =
            Visitor { identity, prefix: Some(Prefix::new(identity.map_or(0, |id| id.get() as u32 % 9))) };
        let now = AT.saturating_add(Micros::from_millis(100 * visitor.identity.map_or(0, Identity::get)));
        room.handle(now, &Command::Join(visitor), &mut events);
        room.handle(now, &Command::End(QueueNumber::new(2)), &mut events);
    }
    room.handle(AT, &Command::SetState(RoomState::Paused), &mut events);
    room.handle(AT, &Command::AdmitOne(None), &mut events);
    let mut out = Vec::new();
    codec::put_store(&mut out, 4, 9);
    codec::put_room(&mut out, 3, &RoomName::new("demo").unwrap(), 17, &room);
    codec::put_tickets(&mut out, room.clock(), &room.tickets().collect::<Vec<_>>());
    codec::put_seats(&mut out, &room.seats().collect::<Vec<_>>());
    codec::put_end(&mut out, 18, 1);
    (room, out)
}

#[test]
fn a_room_comes_back() {
    let (room, out) = pieces();
    let mut reader = Reader::new(&out);
    let mut next = || get_piece(&mut reader, room.clock()).unwrap();
    assert!(matches!(next(), Piece::Store { last_id: 4, least_epoch: 9 }));
    let Piece::Room { id: 3, record: 17, parts, .. } = next() else { panic!("a room") };
    assert_eq!(*parts, room.parts());
    let Piece::Tickets(tickets) = next() else { panic!("tickets") };
    let Piece::Seats(seats) = next() else { panic!("seats") };
    assert!(matches!(next(), Piece::End { record: 18, rooms: 1 }));
    assert!(tickets.len() > 10 && seats.len() > 3);
    assert_eq!(tickets, room.tickets().collect::<Vec<_>>());
    let restored = Room::from_parts(*parts, tickets, seats).unwrap();
    assert_eq!(restored.status(AT), room.status(AT));
    assert!(restored.seats().eq(room.seats()));
}

/// Whatever bytes a checksum lets through: an answer, and no more memory than the bytes are worth.
#[test]
fn no_bytes_make_reading_panic() {
    let mut state = 5_u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % below
    };
    let (room, pieces) = pieces();
    let mut journal = Vec::new();
    record::put_made(&mut journal, 1, &RoomName::new("demo").unwrap(), &room);
    record::put_happened(&mut journal, 1, AT, &events());
    record::put_removed(&mut journal, 1, 8);
    record::put_closed(&mut journal);
    for _ in 0..20_000 {
        for whole in [&pieces, &journal] {
            let mut bytes = whole.clone();
            for _ in 0..=random(4) {
                let place = random(bytes.len());
                bytes[place] = random(256) as u8;
            }
            bytes.truncate(bytes.len() - random(8));
            let mut reader = Reader::new(&bytes);
            while !reader.is_empty() && get_record(&mut reader).is_ok() {}
            let mut reader = Reader::new(&bytes);
            while !reader.is_empty() && get_piece(&mut reader, AT).is_ok() {}
        }
    }
}
