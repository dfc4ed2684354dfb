//! What nodes write is read as the same, and whatever else comes is refused.

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::select;
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::room::{
    Admitted, Answer, Command, EstimatedWait, Event, Flush, Halt, Identity, Lost, Pass, Prefix, QueueNumber,
    Ready, Refusal, Resume, Room, RoomName, RoomState, Settings, Slower, Spec, Ticket, Visitor, Waiting,
};
use tidegate_core::time::{Micros, Timestamp};

use super::entry::{self, Entry, Mark, Step, get_entry, pieces_of, room_of};
use super::log::{MAX_PIECE_BYTES, NodeId};
use super::message::{
    self, Happened, Has, Item, Message, Outcome, ToldStep, What, get_message, put_ask, put_has, put_outcome,
    put_step_head, put_take,
};
use crate::rooms::port::Told;

const AT: Timestamp = Timestamp::from_micros(1_780_000_000_123_456);

fn settings() -> Settings {
    let release = Quota::new(Algorithm::TokenBucket, 7, Micros::from_secs(3), Some(11)).unwrap();
    Settings::new(Spec::new(5, release)).unwrap()
}

fn name() -> RoomName {
    RoomName::new("sale").unwrap()
}

prop_compose! {
    fn number()(number in 0..=QueueNumber::MAX.get()) -> QueueNumber { QueueNumber::new(number) }
}

prop_compose! {
    fn at()(at in 0..=Timestamp::MAX.as_micros()) -> Timestamp { Timestamp::from_micros(at) }
}

prop_compose! {
    fn span()(span in 0..=Micros::MAX.as_micros()) -> Micros { Micros::from_micros(span) }
}

prop_compose! {
    fn visitor()(identity in any::<Option<u64>>(), prefix in any::<Option<u32>>()) -> Visitor {
        Visitor { identity: identity.map(Identity::new), prefix: prefix.map(Prefix::new) }
    }
}

prop_compose! {
    fn ticket()(epoch in any::<u32>(), number in number(), visitor in visitor()) -> Ticket {
        Ticket { epoch, number, visitor }
    }
}

fn refusal() -> impl Strategy<Value = Refusal> {
    use Refusal::*;
    let all = [
        LineFull,
        NoSeat,
        PrefixFull,
        Draining,
        Closed,
        NobodyWaiting,
        Recovering,
        NoExtensionLeft,
        NoRenewalLeft,
        OpeningFixed,
        StaleRoom,
        StaleEpoch,
        LossTooLarge,
    ];
    select(all.to_vec())
}

fn halt() -> impl Strategy<Value = Halt> {
    prop_oneof![
        Just(Halt::Closed),
        Just(Halt::Paused),
        at().prop_map(|opens_at| Halt::NotYetOpen { opens_at }),
        at().prop_map(|until| Halt::Recovering { until }),
    ]
}

prop_compose! {
    fn estimate()(
        low in span(), high in span(),
        slower in proptest::option::of(select(vec![Slower::Paused, Slower::Cut, Slower::Release])),
    ) -> EstimatedWait {
        EstimatedWait { low, high, slower }
    }
}

prop_compose! {
    fn waiting()(
        number in number(), position in any::<Option<u64>>(), estimated_wait in proptest::option::of(estimate()),
        poll_after in span(), lease_until in at(), halt in proptest::option::of(halt()),
    ) -> Waiting {
        Waiting { number, position, estimated_wait, poll_after, lease_until, halt }
    }
}

prop_compose! {
    fn ready()(
        number in number(), claim_until in at(), extensions_left in any::<u16>(), poll_after in span(),
    ) -> Ready {
        Ready { number, claim_until, extensions_left, poll_after }
    }
}

prop_compose! {
    fn admitted()(
        number in number(), start in at(), deadline in at(), limit_at in proptest::option::of(at()),
        renewals_left in any::<u16>(), heartbeat_after in span(),
    ) -> Admitted {
        Admitted { number, start, deadline, limit_at, renewals_left, heartbeat_after }
    }
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        waiting().prop_map(Answer::Waiting),
        ready().prop_map(Answer::Ready),
        admitted().prop_map(Answer::Admitted),
        refusal().prop_map(Answer::Refused),
        select(vec![Answer::Lapsed, Answer::Left, Answer::Done]),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let pass = (ticket(), at(), at()).prop_map(|(ticket, start, deadline)| Pass { ticket, start, deadline });
    let lost =
        proptest::option::of((any::<u64>(), any::<u64>()).prop_map(|(serving, last)| Lost { serving, last }));
    let resume = (any::<u32>(), span(), lost).prop_map(|(epoch, longest_lease, lost)| Resume {
        epoch,
        longest_lease,
        lost,
    });
    let state = vec![RoomState::Open, RoomState::Paused, RoomState::Draining, RoomState::Closed];
    prop_oneof![
        visitor().prop_map(Command::Join),
        ticket().prop_map(Command::Poll),
        ticket().prop_map(Command::Claim),
        ticket().prop_map(Command::ExtendClaim),
        ticket().prop_map(Command::Heartbeat),
        ticket().prop_map(Command::Renew),
        ticket().prop_map(Command::Leave),
        pass.prop_map(Command::Return),
        number().prop_map(Command::End),
        proptest::option::of(number()).prop_map(Command::AdmitOne),
        select(state).prop_map(Command::SetState),
        Just(Command::Change(Box::new(settings()))),
        any::<[u8; 32]>().prop_map(Command::Beacon),
        select(vec![Flush::Line, Flush::Everybody]).prop_map(Command::Flush),
        resume.prop_map(Command::Resume),
        Just(Command::Turn),
    ]
}

fn mark() -> impl Strategy<Value = Mark> {
    any::<(u64, u64)>().prop_map(|(term, entry)| Mark { term, entry })
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let told = (answer(), at(), any::<u32>()).prop_map(|(answer, at, epoch)| Told { answer, at, epoch });
    prop_oneof![
        (told, mark(), any::<u64>()).prop_map(|(told, mark, count)| Outcome::Answered { told, mark, count }),
        any::<bool>().prop_map(|may_be_done| Outcome::Moved { may_be_done }),
        "[a-zé]{0,80}".prop_map(Outcome::Unavailable),
        select(vec![Outcome::Gone, Outcome::UnknownRoom, Outcome::Overloaded]),
    ]
}

fn item() -> impl Strategy<Value = Item> {
    let what =
        prop_oneof![command().prop_map(What::Command), ticket().prop_map(What::Look), Just(What::Remove),];
    let has = (mark(), any::<u64>()).prop_map(|(mark, kept_in)| Has { mark, kept_in });
    prop_oneof![
        (any::<u64>(), what).prop_map(|(id, what)| Item::Ask { id, room: name(), what }),
        (any::<u64>(), outcome()).prop_map(|(id, outcome)| Item::Outcome { id, outcome }),
        (any::<u64>(), has).prop_map(|(term, has)| Item::Has { room: name(), term, has }),
        any::<u64>().prop_map(|term| Item::Take { room: name(), term }),
    ]
}

fn put_item(out: &mut Vec<u8>, item: &Item) {
    match item {
        Item::Ask { id, room, what } => put_ask(out, *id, room, what),
        Item::Outcome { id, outcome } => put_outcome(out, *id, outcome),
        Item::Has { room, term, has } => put_has(out, room, *term, *has),
        Item::Take { room, term } => put_take(out, room, *term),
    }
}

proptest! {
    #[test]
    fn mail_comes_back(from in any::<u64>(), items in proptest::collection::vec(item(), 0..12)) {
        let mut out = message::begin_mail(NodeId(from));
        items.iter().for_each(|item| put_item(&mut out, item));
        let message = get_message(&out);
        prop_assert_eq!(message, Ok(Message::Mail { from: NodeId(from), items: items.clone() }));
        // Cut short within an item, all of it is refused.
        if !items.is_empty() {
            prop_assert!(get_message(&out[..out.len() - 1]).is_err());
        }
    }

    #[test]
    fn no_bytes_make_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = get_message(&bytes);
        let _ = get_entry(&bytes);
        let _ = room_of(&[Bytes::from(bytes.clone())]);
        for kind in 1..=6 {
            let mut bytes = bytes.clone();
            bytes.splice(..2.min(bytes.len()), [entry::VERSION, kind]);
            let _ = get_message(&bytes);
        }
    }

    /// As [`no_bytes_make_reading_panic`], near to what is written.
    #[test]
    fn no_change_makes_reading_panic(
        items in proptest::collection::vec(item(), 1..4),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut mail = message::begin_mail(NodeId(7));
        items.iter().for_each(|item| put_item(&mut mail, item));
        let (room, events) = room();
        let mut log = Vec::new();
        entry::put_head(&mut log, 3, 2);
        entry::put_made(&mut log, &room);
        entry::put_happened(&mut log, AT, &events, |_| true);
        let pieces = pieces_of(&name(), Mark { term: 3, entry: 9 }, &room);
        for written in [&mail[..], &log, &pieces[0]] {
            let mut bytes = written.to_vec();
            for (place, byte) in &changes {
                let place = place.index(bytes.len());
                bytes[place] = *byte;
            }
            let _ = get_message(&bytes);
            let _ = get_entry(&bytes);
            let _ = room_of(&[Bytes::from(bytes)]);
        }
    }
}

/// A room, and what has happened in it.
fn room() -> (Room, Vec<Event>) {
    let (mut room, mut events) = (Room::new(settings(), 7, AT), Vec::new());
    for identity in 1..=40 {
        let visitor = Visitor { identity: Some(Identity::new(identity)), prefix: None };
        room.handle(AT, &Command::Join(visitor), &mut events);
    }
    (room, events)
}

#[test]
fn entries_and_what_is_told_of_them_come_back() {
    let (room, events) = room();
    let made = Step::Made { at: AT, epoch: 7, settings: Box::new(settings()) };
    let fresh = Room::new(settings(), 7, AT);
    let mut log = Vec::new();
    entry::put_head(&mut log, 3, 2);
    entry::put_made(&mut log, &fresh);
    entry::put_happened(&mut log, AT, &events, |event| !event.may_be_lost());
    let happened = Step::Happened { at: AT, events: events.clone() };
    let steps = vec![made, happened.clone()];
    assert_eq!(get_entry(&log), Ok(Entry { term: 3, before: 2, steps }));
    let mut told = Happened {
        room: name(),
        from: NodeId(u64::MAX),
        term: 3,
        count: 4,
        after: Mark { term: 2, entry: 8 },
        last: 9,
        steps: Vec::new(),
    };
    let mut out = told.put_head();
    put_step_head(&mut out, 9, true);
    entry::put_happened(&mut out, AT, &events, |_| true);
    told.steps.push(ToldStep { entry: 9, is_kept: true, step: happened });
    assert_eq!(get_message(&out), Ok(Message::Happened(told)));
    assert_eq!(room.status(AT).waiting + room.status(AT).active, 40);
}

#[test]
fn short_messages_come_back() {
    let cases = [
        (message::made(&name()), Message::Made(name())),
        (message::removed(&name(), 3, 8), Message::Removed { room: name(), term: 3, least_epoch: 8 }),
        (message::released(&name(), 3), Message::Released { room: name(), term: 3 }),
        (message::seek(&name(), NodeId(1), 3), Message::Seek { room: name(), from: NodeId(1), term: 3 }),
    ];
    for (bytes, message) in cases {
        assert_eq!(get_message(&bytes), Ok(message));
        let mut other = bytes.to_vec();
        other[0] += 1;
        assert!(get_message(&other).is_err(), "another version");
    }
}

#[test]
fn a_snapshot_of_many_pieces_comes_back() {
    let (mut room, mut events) = room();
    for identity in 100..40_000_u64 {
        let visitor = Visitor {
            identity: Some(Identity::new(identity.wrapping_mul(0x9e37_79b9_7f4a_7c15))),
            prefix: Some(Prefix::new(9)),
        };
        room.handle(AT, &Command::Join(visitor), &mut events);
    }
    let mark = Mark { term: 12, entry: 345 };
    let pieces = pieces_of(&name(), mark, &room);
    assert!(pieces.len() > 3);
    assert!(pieces.iter().all(|piece| piece.len() <= MAX_PIECE_BYTES));
    let (read, restored) = room_of(&pieces).unwrap();
    assert_eq!((read, restored.status(AT)), (mark, room.status(AT)));
    assert!(restored.tickets().eq(room.tickets()));
    assert!(room_of(&pieces[..pieces.len() - 1]).is_err(), "without its end");
}
