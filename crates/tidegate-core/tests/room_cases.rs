//! Goal: what a room does for visitors and operators in the cases that people ask about, instant by instant.
//! Method: a room of few seats, told what happens; what it answers is written down here.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail, and prints its seed"
)]

mod common;

use common::house::*;
use common::{SECOND, START, at};
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::room::draw::Seed;
use tidegate_core::room::*;
use tidegate_core::time::Micros;

#[test]
fn below_capacity_there_is_no_line_and_beyond_it_there_is() {
    let mut house = demo();
    for who in 1..=5 {
        assert_eq!(admitted(house.join(who)).number.get(), who);
    }
    let sixth = waiting(house.join(6));
    assert_eq!((sixth.number.get(), sixth.position, sixth.estimated_wait), (6, Some(0), None));
    assert_eq!(waiting(house.join(7)).position, Some(1));
    // A hundred tabs are one visitor.
    for _ in 0..100 {
        assert_eq!(waiting(house.join(6)).number.get(), 6);
        assert_eq!(admitted(house.join(3)).start, at(START));
    }
    assert_eq!((house.status().waiting, house.status().active, house.status().next_number), (2, 5, 8));
}

#[test]
fn a_session_ends_at_its_limit_however_often_it_is_heard_of() {
    let mut house = demo();
    house.join(1);
    for second in 1..40 {
        house.now = START + second * SECOND;
        let session = admitted(house.beat(1));
        assert_eq!((session.start, session.limit_at), (at(START), Some(at(START + 40 * SECOND))));
        assert_eq!(session.deadline, at(START + (second + 15).min(40) * SECOND));
    }
    house.now = START + 40 * SECOND - 1;
    assert!(matches!(house.look(1), Answer::Admitted(_)));
    house.now += 1;
    assert_eq!(house.look(1), Answer::Lapsed);
    assert_eq!(house.room.next_due(at(house.now)), Some(at(house.now)));
    house.ask(Command::Turn);
    assert!(matches!(house.events[..], [Event::Ended { by: EndedBy::Limit, held_until: None, .. }]));
    assert_eq!(house.beat(1), Answer::Lapsed);
}

#[test]
fn a_closed_tab_frees_its_seat_within_the_idle_time_and_the_next_is_called_at_once() {
    let mut house = demo();
    (1..=6).for_each(|who| {
        house.join(who);
    });
    house.now = START + 10 * SECOND;
    (2..=5).for_each(|who| {
        house.beat(who);
    });
    assert_eq!(house.room.next_due(at(house.now)), Some(at(START + 15 * SECOND)));
    house.now = START + 15 * SECOND;
    house.ask(Command::Turn);
    let called = ready(house.look(6));
    assert_eq!(called.claim_until, at(house.now + 20 * SECOND));
    let first = admitted(house.after(SECOND).claim(6));
    assert_eq!(admitted(house.after(SECOND).claim(6)).start, first.start, "claimed twice");
}

#[test]
fn a_seat_that_is_left_stays_taken_until_its_pass_expires_if_passes_are_checked_elsewhere() {
    for (early_end, is_free) in [(EarlyEnd::HoldsSeat, false), (EarlyEnd::FreesSeat, true)] {
        let mut spec = spec(1);
        spec.session.early_end = early_end;
        let mut house = House::new(spec);
        let pass = admitted(house.join(1)).deadline;
        house.join(2);
        assert_eq!(house.after(SECOND).leave(1), Answer::Left);
        assert_eq!(matches!(house.look(2), Answer::Ready(_)), is_free);
        assert_eq!(house.leave(1), Answer::Lapsed, "left already");
        assert_eq!(waiting(house.join(1)).number.get(), 3, "who left is new");
        house.now = pass.as_micros();
        house.ask(Command::Turn);
        assert!(matches!(house.look(2), Answer::Ready(_)));
    }
}

#[test]
fn a_call_that_is_not_claimed_is_lost_and_goes_to_the_next() {
    let mut house = demo();
    house.change(|spec| (spec.capacity, spec.claim.extensions) = (1, 1));
    (1..=3).for_each(|who| {
        house.join(who);
    });
    house.ask(Command::End(QueueNumber::new(1)));
    house.now = START + 15 * SECOND;
    house.ask(Command::Turn);
    let call = ready(house.look(2));
    assert_eq!((call.claim_until, call.extensions_left), (at(house.now + 20 * SECOND), 1));
    house.now += 19 * SECOND;
    let ticket = house.ticket(2);
    let longer = ready(house.ask(Command::ExtendClaim(ticket)));
    assert_eq!((longer.claim_until, longer.extensions_left), (at(house.now + 20 * SECOND), 0));
    assert_eq!(house.ask(Command::ExtendClaim(ticket)), Answer::Refused(Refusal::NoExtensionLeft));
    house.now = longer.claim_until.as_micros();
    assert_eq!(house.claim(2), Answer::Lapsed);
    let number = QueueNumber::new;
    assert!(matches!(house.events[0], Event::Abandoned { number: lost } if lost == number(2)));
    assert!(matches!(house.events[1], Event::Called { number: next, .. } if next == number(3)));
}

#[test]
fn tickets_whose_lease_has_ended_are_skipped_and_have_to_join_again() {
    let mut house = demo();
    house.change(|spec| (spec.capacity, spec.min_lease) = (1, Micros::from_secs(20)));
    (1..=4).for_each(|who| {
        house.join(who);
    });
    for second in 1..=30 {
        house.now = START + second * SECOND;
        house.beat(1);
        house.poll(3);
    }
    // 2 and 4 have not polled for 20 seconds.
    assert_eq!([house.look(2), house.look(4), house.poll(2)], [Answer::Lapsed; 3]);
    assert_eq!(waiting(house.look(3)).position, Some(0));
    assert_eq!(waiting(house.join(2)).number.get(), 5);
}

#[test]
fn the_release_rate_spreads_calls_evenly_and_wakes_in_time() {
    let mut spec = spec(100);
    spec.release = rate(2, 1);
    let mut house = House::new(spec);
    assert!(matches!(house.join(1), Answer::Admitted(_)));
    house.join(2);
    house.join(3);
    assert_eq!(house.status().gate, Gate::Rate { until: at(START + SECOND / 2) });
    assert_eq!(house.room.next_due(at(house.now)), Some(at(START + SECOND / 2)));
    house.after(SECOND / 2 - 1).ask(Command::Turn);
    assert_eq!(house.events, []);
    house.after(1).ask(Command::Turn);
    assert_eq!(house.status().ready, 1);
    house.after(SECOND / 2).ask(Command::Turn);
    assert_eq!(house.status().ready, 2);
}

#[test]
fn paused_calls_nobody_draining_takes_nobody_closed_admits_nobody() {
    let mut house = demo();
    house.change(|spec| spec.session.early_end = EarlyEnd::FreesSeat);
    (1..=8).for_each(|who| {
        house.join(who);
    });
    house.ask(Command::SetState(RoomState::Paused));
    house.leave(1);
    assert_eq!(waiting(house.look(6)).halt, Some(Halt::Paused));
    assert_eq!(waiting(house.join(9)).position, Some(3));
    assert!(matches!(house.beat(2), Answer::Admitted(_)));
    house.ask(Command::SetState(RoomState::Draining));
    assert!(matches!(house.look(6), Answer::Ready(_)), "the line is served");
    assert_eq!(house.join(10), Answer::Refused(Refusal::Draining));
    assert_eq!(waiting(house.join(9)).number.get(), 9, "who waits is told so");
    house.ask(Command::SetState(RoomState::Closed));
    assert_eq!(house.claim(6), Answer::Refused(Refusal::Closed));
    assert_eq!(house.join(10), Answer::Refused(Refusal::Closed));
    house.leave(2);
    assert_eq!(waiting(house.look(7)).halt, Some(Halt::Closed));
    house.ask(Command::SetState(RoomState::Open));
    assert!(matches!(house.look(7), Answer::Ready(_)));
    assert!(matches!(house.claim(6), Answer::Admitted(_)));
}

#[test]
fn a_lower_capacity_throws_nobody_out_and_lets_nobody_in() {
    let mut house = demo();
    house.change(|spec| spec.session.early_end = EarlyEnd::FreesSeat);
    (1..=6).for_each(|who| {
        house.join(who);
    });
    house.change(|spec| spec.capacity = 3);
    assert_eq!(house.status().active, 5);
    for who in 1..=2 {
        house.leave(who);
        assert_eq!(waiting(house.look(6)).position, Some(0));
    }
    house.leave(3);
    assert!(matches!(house.look(6), Answer::Ready(_)));
}

#[test]
fn everything_that_can_be_too_much_has_an_end() {
    let mut house = demo();
    house.change(|spec| (spec.max_waiting, spec.seats_per_prefix) = (2, Some(3)));
    let from = |who: u64, prefix| Visitor { prefix: Some(Prefix::new(prefix)), ..person(who) };
    for who in 1..=3 {
        assert!(matches!(house.ask(Command::Join(from(who, 9))), Answer::Admitted(_)));
    }
    assert_eq!(house.ask(Command::Join(from(4, 9))), Answer::Refused(Refusal::PrefixFull));
    assert!(matches!(house.ask(Command::Join(from(3, 9))), Answer::Admitted(_)), "has a seat");
    (5..=8).for_each(|who| {
        house.join(who);
    });
    assert_eq!(house.join(9), Answer::Refused(Refusal::LineFull));
    house.change(|spec| spec.method = Method::Reject);
    assert_eq!(house.join(9), Answer::Refused(Refusal::NoSeat));
    house.leave(1);
    house.now = START + 15 * SECOND;
    house.ask(Command::Turn);
    assert!(
        matches!(house.ask(Command::Join(from(4, 9))), Answer::Admitted(_)),
        "a seat of the prefix is free"
    );
}

#[test]
fn an_operator_lets_one_in_past_order_and_rate_but_not_past_capacity() {
    let mut spec = spec(2);
    spec.release = rate(1, 1);
    let mut house = House::new(spec);
    (1..=4).for_each(|who| {
        house.join(who);
    });
    assert_eq!(house.status().gate, Gate::Rate { until: at(START + SECOND) });
    let called = house.ask(Command::AdmitOne(Some(QueueNumber::new(3))));
    assert_eq!(ready(called).number.get(), 3);
    assert_eq!(waiting(house.look(4)).position, Some(1));
    assert_eq!(house.ask(Command::AdmitOne(Some(QueueNumber::new(3)))), called, "once");
    assert_eq!(house.ask(Command::AdmitOne(None)), Answer::Refused(Refusal::NoSeat));
    house.change(|spec| spec.capacity = 9);
    assert_eq!(ready(house.ask(Command::AdmitOne(None))).number.get(), 2);
    assert_eq!(house.ask(Command::AdmitOne(Some(QueueNumber::new(77)))), Answer::Lapsed);
    house.ask(Command::AdmitOne(None));
    assert_eq!(house.ask(Command::AdmitOne(None)), Answer::Refused(Refusal::NobodyWaiting));
    // Those let in past the rate were charged to it, as far as it goes.
    assert_eq!(house.status().gate, Gate::Rate { until: at(START + SECOND) });
}

#[test]
fn a_session_is_renewed_as_often_as_its_room_allows() {
    let mut house = demo();
    house.change(|spec| spec.session.renewals = 1);
    house.join(1);
    let ticket = house.ticket(1);
    house.now += 10 * SECOND;
    let renewed = admitted(house.ask(Command::Renew(ticket)));
    assert_eq!((renewed.start, renewed.limit_at), (at(START), Some(at(START + 50 * SECOND))));
    assert_eq!(renewed.renewals_left, 0);
    assert_eq!(house.ask(Command::Renew(ticket)), Answer::Refused(Refusal::NoRenewalLeft));
}

#[test]
fn what_is_due_all_at_once_is_done_in_bounded_steps() {
    let mut spec = spec(0);
    spec.release = rate(100, 10_000);
    let mut house = House::new(spec);
    (1..=5_000).for_each(|who| {
        house.join(who);
    });
    house.change(|spec| spec.capacity = 10_000);
    assert_eq!(house.status().ready, MAX_STEPS as u64, "what is due after the change");
    let mut turns = 1;
    while house.room.next_due(at(house.now)) == Some(at(house.now)) {
        house.ask(Command::Turn);
        assert!(house.events.len() <= 2 * MAX_STEPS + 1);
        turns += 1;
    }
    assert_eq!((house.status().ready, turns), (5_000, 3));
    house.after(3_600 * SECOND).ask(Command::Turn);
    assert_eq!(house.events.len(), 2 * MAX_STEPS, "calls are over, a part at a time");
}

/// A thousand and more leases have ended when the room opens; not all of them are found before the first ones' turn.
#[test]
fn a_call_is_never_of_a_ticket_whose_lease_has_ended() {
    let mut spec = spec(10);
    spec.opening = Some(Opening { at: at(START + 3_600 * SECOND), order: OpeningOrder::Shuffled });
    spec.seed = Some(Seed::new([3; 32]));
    let mut house = House::new(spec);
    (1..=5_000).for_each(|who| {
        house.join(who);
    });
    house.now += 3_600 * SECOND;
    let mut skipped = 0;
    while house.status().waiting > 0 {
        house.ask(Command::Turn);
        skipped += house.events.iter().filter(|event| matches!(event, Event::Skipped { .. })).count();
    }
    assert!(skipped > 1_000, "{skipped}");
    assert_eq!((house.status().ready, house.status().serving_number), (0, 5_000));
}

#[test]
fn settings_that_cannot_be_are_refused_with_what_to_do() {
    let refused = |change: &dyn Fn(&mut Spec)| {
        let mut spec = spec(1);
        change(&mut spec);
        let error = Settings::new(spec).unwrap_err();
        assert!(error.to_string().len() > 20);
        error
    };
    use SettingsError::*;
    let secs = Micros::from_secs;
    assert_eq!(refused(&|spec| spec.capacity = MAX_CAPACITY + 1), CapacityTooLarge);
    let nothing = Quota::new(Algorithm::TokenBucket, 0, secs(1), None).unwrap();
    assert_eq!(refused(&|spec| spec.release = nothing), ReleaseZero);
    assert_eq!(refused(&|spec| spec.claim.window = secs(4)), ClaimWindowOutOfRange);
    assert_eq!(refused(&|spec| spec.claim.window = secs(601)), ClaimWindowOutOfRange);
    assert_eq!(refused(&|spec| spec.claim.extensions = 101), TooManyClaimExtensions);
    assert_eq!(refused(&|spec| (spec.session.limit, spec.session.idle) = (None, None)), SessionEndless);
    assert_eq!(refused(&|spec| spec.session.limit = Some(Micros::ZERO)), SessionLimitOutOfRange);
    assert_eq!(refused(&|spec| spec.session.limit = Some(secs(86_401))), SessionLimitOutOfRange);
    assert_eq!(refused(&|spec| spec.session.idle = Some(Micros::ZERO)), IdleOutOfRange);
    assert_eq!(refused(&|spec| spec.session.renewals = 1_001), TooManyRenewals);
    assert_eq!(refused(&|spec| (spec.session.limit, spec.session.renewals) = (None, 1)), NothingToRenew);
    assert_eq!(refused(&|spec| spec.max_waiting = MAX_WAITING + 1), MaxWaitingTooLarge);
    assert_eq!(refused(&|spec| spec.seats_per_prefix = Some(0)), SeatsPerPrefixOutOfRange);
    assert_eq!(refused(&|spec| spec.min_lease = secs(4)), MinLeaseOutOfRange);
    assert_eq!(refused(&|spec| spec.min_lease = secs(901)), MinLeaseOutOfRange);
    assert_eq!(refused(&|spec| spec.method = Method::Random), SeedMissing);
}
