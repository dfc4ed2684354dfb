//! Goal: a room that was away, or has lost its state, keeps the order and never lets too many in; and it takes the memory it
//! is said to.
//! Method: rooms that are told what happens; what they answer is written down here.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail, and prints what it measured"
)]

mod common;

use common::house::*;
use common::{SECOND, START, at};
use tidegate_core::room::*;
use tidegate_core::time::{Micros, Timestamp};

#[test]
fn a_restart_that_lost_nothing_keeps_everybody() {
    let mut house = demo();
    house.change(|spec| spec.min_lease = Micros::from_secs(20));
    (1..=8).for_each(|who| {
        house.join(who);
    });
    let (parts, tickets) = (house.room.parts(), house.room.tickets().collect::<Vec<_>>());
    let seats: Vec<_> = house.room.seats().map(|(number, seat)| (number, *seat)).collect();
    // Half a minute later, when every lease and every idle time that was written has ended.
    house.now += 30 * SECOND;
    house.room = Room::from_parts(parts, tickets, seats).unwrap();
    let resume = Resume { epoch: 2, longest_lease: Micros::from_secs(75), lost: None };
    assert_eq!(house.ask(Command::Resume(resume)), Answer::Done);
    assert_eq!((house.status().waiting, house.status().active), (3, 5));
    assert_eq!(waiting(house.look(8)).position, Some(2));
    // The limit of their sessions is none that was lost.
    assert_eq!(admitted(house.look(1)).deadline, at(START + 40 * SECOND));
    assert_eq!(house.ask(Command::Resume(resume)), Answer::Refused(Refusal::StaleEpoch));
}

#[test]
fn after_a_loss_tickets_come_back_in_order_and_nobody_is_let_in_until_all_is_known() {
    let mut spec = spec(2);
    spec.session.limit = None;
    let mut house = House::new(spec);
    // Everything before this is lost: 1 and 2 were inside, 3 to 9 waited, and there may have been a tenth.
    let lost = Some(Lost { serving: 2, last: 10 });
    let resume = Resume { epoch: 7, longest_lease: Micros::from_secs(60), lost };
    assert_eq!(house.ask(Command::Resume(resume)), Answer::Done);
    let until = at(START + 60 * SECOND);
    let old = |number: u64| Ticket { epoch: 6, number: QueueNumber::new(number), visitor: person(number) };
    let nine = waiting(house.ask(Command::Poll(old(9))));
    assert_eq!((nine.position, nine.halt), (Some(6), Some(Halt::Recovering { until })));
    assert_eq!(waiting(house.join(9)).number.get(), 9, "its identity is known again");
    assert_eq!(waiting(house.join(50)).number.get(), 11, "who is new is behind all that may be");
    house.ask(Command::Poll(old(5)));
    assert_eq!(house.ask(Command::AdmitOne(None)), Answer::Refused(Refusal::Recovering));
    // A pass comes back, once; one that has expired does not.
    let pass =
        |number, deadline| Pass { ticket: old(number), start: at(START - SECOND), deadline: at(deadline) };
    let back = admitted(house.ask(Command::Return(pass(1, START + 9 * SECOND))));
    assert_eq!((back.start, back.deadline), (at(START - SECOND), at(START + 9 * SECOND)));
    house.ask(Command::Return(pass(1, START + 9 * SECOND)));
    assert_eq!(house.status().active, 1);
    assert_eq!(house.ask(Command::Return(pass(2, START))), Answer::Lapsed);
    assert_eq!(house.ask(Command::Poll(old(2))), Answer::Lapsed, "it had left the line");
    assert_eq!(house.ask(Command::Poll(old(12))), Answer::Lapsed, "beyond what can have been lost");
    assert_eq!(
        house.ask(Command::Poll(Ticket { epoch: 8, ..old(9) })),
        Answer::Refused(Refusal::StaleRoom),
        "somebody else leads"
    );
    for second in 1..60 {
        house.now = START + second * SECOND;
        [5, 9].into_iter().for_each(|number| {
            house.ask(Command::Poll(old(number)));
        });
    }
    // Another restart on the way does not end the hold.
    house.ask(Command::Resume(Resume { epoch: 8, longest_lease: Micros::ZERO, lost: None }));
    assert_eq!(waiting(house.look(9)).halt, Some(Halt::Recovering { until }));
    assert_eq!(house.status().ready, 0);
    house.now = until.as_micros();
    house.ask(Command::Turn);
    // The others have not come back; in order, those who have are called.
    assert!(matches!(house.look(5), Answer::Ready(_)));
    assert!(matches!(house.look(9), Answer::Ready(_)));
    assert_eq!(house.status().serving_number, 10);
}

#[test]
fn a_flush_empties_the_line_and_old_tickets_are_over() {
    let mut house = demo();
    (1..=8).for_each(|who| {
        house.join(who);
    });
    let old = house.ticket(7);
    house.ask(Command::Flush(Flush::Line));
    assert_eq!((house.room.epoch(), house.status().waiting, house.status().active), (2, 0, 5));
    assert_eq!(house.ask(Command::Poll(old)), Answer::Lapsed);
    assert_eq!(waiting(house.join(7)).number.get(), 9);
    house.ask(Command::Flush(Flush::Everybody));
    assert_eq!((house.status().active, house.status().held), (0, 5));
    assert_eq!(house.look(1), Answer::Lapsed);
}

#[test]
fn what_does_not_fit_is_not_replayed() {
    let mut house = demo();
    house.join(1);
    let number = QueueNumber::new(1);
    let wrong = [
        Event::Joined { number, visitor: person(2), lease: 1 },
        Event::Joined { number: QueueNumber::new(2), visitor: person(1), lease: 1 },
        Event::Called { number, by: CalledBy::Line, claim_until: Timestamp::MAX },
        Event::Freed { number },
        Event::Opened { drawn: None },
        Event::Resumed { epoch: 2, serving: 0, last: u64::MAX, lease: 1, hold_until: None },
    ];
    let before = common::room::whole(&house.room);
    for event in wrong {
        let unfit = house.room.replay(at(house.now), &event).unwrap_err();
        assert_eq!(unfit.event, event);
    }
    let late = Event::BeaconSet([0; 32]);
    assert!(house.room.replay(at(START - 1), &late).is_err(), "before the last event");
    assert_eq!(before, common::room::whole(&house.room));
}

// === memory ===

/// A million who wait, and then the memory of those who have left.
#[test]
fn a_million_wait_in_a_few_megabytes() {
    const MANY: u64 = 1_000_000;
    let each = |with: &dyn Fn(u64) -> Visitor| {
        let mut house = House::new(spec(0));
        let empty = house.room.bytes();
        for who in 1..=MANY {
            house.ask(Command::Join(with(who)));
        }
        assert_eq!(house.status().waiting, MANY);
        let full = house.room.bytes() - empty;
        (1..=MANY - 1_000).for_each(|number| {
            house.leave(number);
        });
        assert!(house.room.bytes() - empty < full / 50, "{} of {full} are kept", house.room.bytes());
        assert_eq!(waiting(house.look(MANY)).position, Some(999));
        full as u64 * 10 / MANY
    };
    let nobody = each(&|_| Visitor::default());
    let known = each(&person);
    let placed = each(&|who| Visitor { prefix: Some(Prefix::new(who as u32)), ..person(who) });
    println!(
        "tenths of a byte a waiter: {nobody} unnamed, {known} with identities, {placed} with prefixes, too"
    );
    assert!(nobody < 50 && known < 240 && placed < 420, "{nobody} {known} {placed}");
}
