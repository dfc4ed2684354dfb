//! Goal: openings are drawn so that anybody can check them; estimates and poll intervals follow the line.
//! Method: rooms that are told what happens; what they answer is written down here, and draws are computed again.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail, and prints its seed"
)]

mod common;

use common::house::*;
use common::{SECOND, START, at};
use tidegate_core::room::draw::{Permutation, Seed, commitment, key};
use tidegate_core::room::*;
use tidegate_core::time::Micros;

fn sale(order: OpeningOrder) -> House {
    let mut spec = spec(10);
    spec.opening = Some(Opening { at: at(START + 60 * SECOND), order });
    spec.seed = Some(Seed::new([42; 32]));
    House::new(spec)
}

/// Until the opening, nobody of these is called.
fn gather(house: &mut House, many: u64) {
    for who in 1..=many {
        let waits = waiting(house.join(who));
        assert_eq!(waits.halt, Some(Halt::NotYetOpen { opens_at: at(START + 60 * SECOND) }));
    }
}

#[test]
fn before_the_opening_visitors_gather_and_at_it_they_are_called_as_they_came() {
    let mut house = sale(OpeningOrder::AsTheyCame);
    gather(&mut house, 30);
    assert_eq!(waiting(house.look(30)).position, Some(29));
    assert_eq!(house.room.next_due(at(house.now)), Some(at(START + 60 * SECOND)));
    house.now = START + 60 * SECOND;
    house.ask(Command::Turn);
    assert!((1..=10).all(|number| matches!(house.look(number), Answer::Ready(_))));
    assert_eq!(waiting(house.look(11)).position, Some(0));
}

#[test]
fn a_shuffle_is_drawn_once_from_what_was_committed_and_the_beacon_and_anyone_can_check_it() {
    let mut house = sale(OpeningOrder::Shuffled);
    let committed = commitment(&house.room.settings().spec().seed.unwrap());
    gather(&mut house, 1_000);
    assert_eq!(waiting(house.look(7)).position, None, "nobody knows yet");
    // Committed is committed.
    let other = house.change(|spec| spec.seed = Some(Seed::new([43; 32])));
    assert_eq!(other, Answer::Done, "as after a change of the secret that seeds are made from");
    assert_eq!(commitment(&house.room.settings().spec().seed.unwrap()), committed);
    assert_eq!(house.change(|spec| spec.opening = None), Answer::Refused(Refusal::OpeningFixed));
    house.leave(1);
    house.leave(500);
    assert_eq!(house.ask(Command::Beacon([5; 32])), Answer::Done);
    assert_eq!(house.ask(Command::Beacon([6; 32])), Answer::Refused(Refusal::OpeningFixed));
    house.now = START + 60 * SECOND;
    house.ask(Command::Turn);
    waiting(house.join(9_999));

    let drawn = house.room.drawn().unwrap().clone();
    let seed = house.room.settings().spec().seed.unwrap();
    assert_eq!(commitment(&seed), committed);
    assert_eq!((drawn.after, drawn.last), (1, 1_000));
    assert_eq!(drawn.key, key(&seed, Some(&[5; 32]), 999));
    let order = Permutation::new(&drawn.key, 999);
    let mut places: Vec<(u64, u64)> = (2..=1_000)
        .filter(|number| *number != 500)
        .map(|number| (order.forward(number - 2), number))
        .collect();
    places.sort_unstable();
    for (ahead, (_, number)) in places.iter().enumerate() {
        match house.look(*number) {
            Answer::Ready(_) => assert!(ahead < 10),
            answer => assert_eq!(waiting(answer).position, Some(ahead as u64 - 10)),
        }
    }
    assert_eq!(waiting(house.look(1_001)).position, Some(988), "who comes later follows");
    assert_ne!(places[0].1, 2);
    house.change(|spec| spec.seed = Some(Seed::new([43; 32])));
    assert_eq!(commitment(&house.room.settings().spec().seed.unwrap()), committed);
    assert_eq!(house.ask(Command::Beacon([6; 32])), Answer::Refused(Refusal::OpeningFixed));
}

#[test]
fn an_opening_that_is_over_is_none_any_more_and_there_is_no_second_one() {
    for order in [OpeningOrder::Shuffled, OpeningOrder::AsTheyCame] {
        let mut house = sale(order);
        gather(&mut house, 30);
        house.now = START + 60 * SECOND;
        house.ask(Command::Turn);
        let positions = |house: &House| (1..=30).map(|number| house.look(number)).collect::<Vec<_>>();
        let (before, drawn) = (positions(&house), house.room.drawn().cloned());
        let opening =
            |at_s: u64| Some(Opening { at: at(START + at_s * SECOND), order: OpeningOrder::AsTheyCame });
        for past in [None, opening(60), opening(5), None] {
            assert_eq!(house.change(|spec| spec.opening = past), Answer::Done, "{past:?}");
            assert_eq!((positions(&house), house.room.drawn().cloned()), (before.clone(), drawn.clone()));
        }
        let again = house.change(|spec| spec.opening = opening(61));
        assert_eq!(again, Answer::Refused(Refusal::OpeningFixed));
    }
}

/// Before the opening, only those poll often who may be called soon after it.
#[test]
fn a_crowd_before_the_opening_does_not_poll_all_at_once() {
    let told = |order, number| {
        let mut house = sale(order);
        gather(&mut house, 20_000);
        house.now = START + 58 * SECOND;
        waiting(house.look(number)).poll_after.as_micros() / SECOND
    };
    assert_eq!(told(OpeningOrder::AsTheyCame, 1), 2);
    assert!((20..=26).contains(&told(OpeningOrder::AsTheyCame, 20_000)));
    // Whoever is the first of a draw has half of the claim window left when it polls.
    assert!((1..=20).all(|number| told(OpeningOrder::Shuffled, number) == 12));
}

#[test]
fn a_random_order_is_not_the_order_of_coming_and_passthrough_has_no_gate() {
    let mut spec = spec(0);
    (spec.method, spec.seed) = (Method::Random, Some(Seed::new([1; 32])));
    let mut house = House::new(spec);
    (1..=50).for_each(|who| {
        house.join(who);
    });
    assert_eq!(waiting(house.look(20)).position, None);
    house.change(|spec| spec.capacity = 10);
    let called = |house: &House| -> Vec<u64> {
        (1..=50).filter(|number| matches!(house.look(*number), Answer::Ready(_))).collect()
    };
    assert_eq!(called(&house).len(), 10);
    assert_ne!(called(&house), (1..=10).collect::<Vec<_>>());
    house.change(|spec| spec.method = Method::Passthrough);
    assert_eq!(called(&house).len(), 50);
    assert!(matches!(house.join(51), Answer::Admitted(_)));
}

// === waits and polls ===

/// One visitor after the other is called, each second.
fn flow(house: &mut House, seconds: u64) {
    for _ in 0..seconds {
        house.now += SECOND;
        let due: Vec<u64> =
            (1..=2_000).filter(|number| matches!(house.look(*number), Answer::Waiting(_))).collect();
        for number in due {
            house.poll(number);
        }
        house.ask(Command::Turn);
    }
}

#[test]
fn estimates_follow_the_line_and_grow_only_with_a_reason() {
    let mut spec = spec(1_000);
    spec.release = rate(1, 1);
    let mut house = House::new(spec);
    (0..300).for_each(|who| {
        house.join(who);
    });
    assert_eq!(waiting(house.look(250)).estimated_wait, None, "nobody was ever called");
    let poll_after = waiting(house.look(250)).poll_after.as_micros();
    assert!((24..=31).contains(&(poll_after / SECOND)), "as if the rate were used fully: {poll_after}");
    flow(&mut house, 60);
    let wait = |house: &House| waiting(house.look(250)).estimated_wait.unwrap();
    let ahead = waiting(house.look(250)).position.unwrap();
    let before = wait(&house);
    let mean = before.low.as_micros().midpoint(before.high.as_micros());
    assert!(mean.abs_diff(ahead * SECOND) < 12 * SECOND, "{mean} for {ahead}");
    assert_eq!(before.slower, None);

    house.ask(Command::SetState(RoomState::Paused));
    flow(&mut house, 2);
    assert!(wait(&house).high <= before.high, "a moment is not a reason");
    flow(&mut house, 60);
    let paused = wait(&house);
    assert!(paused.high.as_micros() > before.high.as_micros() * 115 / 100);
    assert_eq!(paused.slower, Some(Slower::Paused));
    house.ask(Command::SetState(RoomState::Open));
    flow(&mut house, 30);
    assert!(wait(&house).high < paused.high);
}

#[test]
fn a_cut_is_told_as_the_reason() {
    let mut spec = spec(1_000);
    spec.release = rate(4, 4);
    let mut house = House::new(spec);
    (0..600).for_each(|who| {
        house.join(who);
    });
    flow(&mut house, 40);
    house.change(|spec| spec.release = rate(1, 1));
    flow(&mut house, 40);
    let wait = waiting(house.look(500)).estimated_wait.unwrap();
    assert_eq!(wait.slower, Some(Slower::Cut));
}

/// Who polls as told is never called while it is away for longer than half of its claim window, even if all seats are
/// freed at once.
#[test]
fn who_polls_as_told_does_not_miss_its_call() {
    let mut spec = spec(1);
    spec.release = rate(50, 10);
    spec.session.idle = None;
    let mut house = House::new(spec);
    (0..5_000).for_each(|who| {
        house.join(who);
    });
    // One seat, so the wait seems endless; then there are seats for all.
    house.change(|spec| spec.capacity = 10_000);
    for number in [100_u64, 1_000, 4_999] {
        let told = match house.look(number) {
            Answer::Waiting(waiting) => waiting.poll_after,
            _ => continue,
        };
        let position = waiting(house.look(number)).position.unwrap();
        let called = Micros::from_micros((position + 1).saturating_sub(10) * SECOND / 50);
        assert!(told <= called.saturating_add(Micros::from_secs(10)), "{number}: {told} {called}");
    }
}
