use serde_json::{Value, json};

use super::*;
use crate::crowd::asking::Failure;
use crate::crowd::plan::Share;

fn at(ms: u64) -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000 + ms * 1_000)
}

fn plan(habits: Habits) -> Plan {
    Plan {
        nodes: Vec::new(),
        room: "demo".parse().unwrap(),
        visitors: 1,
        arrivals_per_s: 1,
        connections: 1,
        at_most: Micros::from_secs(60),
        timeout: Micros::from_secs(5),
        max_age: Micros::ZERO,
        first_call: FirstCall::Join,
        habits,
        seed: 1,
    }
}

/// A visitor, what is found, and a clock.
struct Scene {
    visitor: Visitor,
    tally: Tally,
    random: Rng,
}

impl Scene {
    fn new(habits: Habits) -> Self {
        let mut random = Rng::with_seed(1);
        let visitor = Visitor::new(&plan(habits), at(0), &mut random);
        Self { visitor, tally: Tally::new().unwrap(), random }
    }

    /// Asks at one instant, and hears this at the next but nine.
    fn turn(&mut self, ms: u64, wanted: Call, heard: &Heard) {
        assert_eq!(self.visitor.ask(at(ms), &mut self.random), Some(wanted));
        self.visitor.hear(wanted, heard, at(ms), at(ms + 10), &mut self.tally);
    }

    fn next_ms(&self) -> Option<u64> {
        self.visitor.next().map(|next| next.since(at(0)).as_micros() / 1_000)
    }
}

fn seat(state: &str, number: u64, more: &Value) -> Heard {
    let mut seat = json!({
        "room": "demo", "state": state, "why": null, "room_state": "open", "ticket": "t", "queue_number": number, "position": null,
        "waiting": 1, "serving_number": 0, "estimated_wait": null, "progress": 0.0, "opens_at": null, "message": null,
        "poll_after_ms": 2_000, "claim": null, "session": null, "pass": null, "return_to": null
    });
    more.as_object().unwrap().iter().for_each(|(name, value)| seat[name] = value.clone());
    Heard::Seat(Box::new(serde_json::from_value(seat).unwrap()))
}

fn waiting(number: u64, position: u64) -> Heard {
    seat("waiting", number, &json!({ "position": position }))
}

fn ready(number: u64) -> Heard {
    let claim = json!({"ends_at": 1_800_000_030.0, "left_ms": 20_000, "extensions_left": 1});
    seat("ready", number, &json!({ "claim": claim }))
}

/// A session that started after so many seconds, of 40.
fn inside(number: u64, start_s: f64, left_ms: u64) -> Heard {
    let start = 1_800_000_000.0 + start_s;
    let session = json!({"started_at": start, "ends_at": start + 40.0, "left_ms": left_ms, "idle_ms": 15_000, "heartbeat_ms": 5_000,
        "renewable": false});
    seat("admitted", number, &json!({ "session": session }))
}

fn ended(number: u64, why: &str) -> Heard {
    seat("ended", number, &json!({ "why": why }))
}

#[test]
fn a_visitor_asks_as_it_is_told_and_comes_when_it_is_called() {
    let mut scene = Scene::new(Habits::PATIENT);
    scene.turn(0, Call::Join, &waiting(7, 2));
    assert_eq!(scene.next_ms(), Some(2_010));
    scene.turn(2_010, Call::Poll, &waiting(7, 0));
    scene.turn(4_020, Call::Poll, &ready(7));
    scene.turn(4_030, Call::Claim, &inside(7, 4.03, 40_000));
    assert_eq!(scene.next_ms(), Some(9_040));
    scene.turn(9_040, Call::Heartbeat, &inside(7, 4.03, 1_000));
    assert_eq!(scene.next_ms(), Some(10_150), "soon after the end, to see what became of it");
    scene.turn(10_150, Call::Heartbeat, &ended(7, "session_limit"));
    let record = &scene.visitor.record;
    assert_eq!((scene.next_ms(), record.end, record.number), (None, Some(End::SessionOver), Some(7)));
    assert_eq!((record.joined_at, record.waited_at), (Some(at(10)), Some(at(2_010))));
    assert_eq!((record.offered_at, record.admitted_at), (Some(at(4_030)), Some(at(4_040))));
    let stay = record.stay.unwrap();
    assert_eq!((stay.start, stay.seen), (at(4_030), at(43_030)), "by the room's clock");
    for finding in [Finding::LostPlace, Finding::LostSession, Finding::Late, Finding::AnotherSession] {
        assert_eq!(scene.tally.found(finding), 0, "{finding:?}");
    }
}

#[test]
fn a_place_that_is_over_was_lost_unless_its_visitor_asked_late() {
    for (asked_ms, finding) in [(4_000, Finding::LostPlace), (4_011, Finding::Late)] {
        for heard in [ended(7, "lapsed"), ended(7, "not_claimed"), gone()] {
            let mut scene = Scene::new(Habits::PATIENT);
            scene.turn(0, Call::Join, &waiting(7, 2));
            scene.turn(asked_ms, Call::Poll, &heard);
            assert_eq!((scene.tally.found(finding), scene.next_ms()), (1, None), "{finding:?} {heard:?}");
        }
    }
    let mut scene = Scene::new(Habits::PATIENT);
    scene.turn(0, Call::Join, &inside(7, 0.0, 40_000));
    scene.turn(5_010, Call::Heartbeat, &ended(7, "idle"));
    assert_eq!(scene.tally.found(Finding::LostSession), 1);
}

#[test]
fn who_was_late_and_begins_anew_was_not_put_back() {
    let reload = Share::percent(100).unwrap();
    let mut scene = Scene::new(Habits { reload, ..Habits::PATIENT });
    scene.turn(0, Call::Join, &waiting(7, 2));
    scene.turn(90_000, Call::Join, &waiting(900, 80));
    assert_eq!((scene.tally.found(Finding::Late), scene.tally.found(Finding::AnotherNumber)), (1, 0));
    assert_eq!(scene.tally.found(Finding::GrownPosition), 0);
    assert_eq!((scene.visitor.record.number, scene.visitor.record.waited_at), (Some(900), Some(at(90_000))));
}

fn gone() -> Heard {
    Heard::Refused { status: StatusCode::GONE, kind: "gone".to_owned(), retry_after: None }
}

#[test]
fn what_nobody_answers_is_asked_again_less_and_less_often_and_is_not_late() {
    let mut scene = Scene::new(Habits::PATIENT);
    scene.turn(0, Call::Join, &waiting(7, 2));
    let mut now = 2_010;
    for wait in [250, 500, 1_000, 2_000, 4_000, 4_000] {
        scene.turn(now, Call::Poll, &Heard::Failed(Failure::Silent));
        assert_eq!(scene.next_ms(), Some(now + 10 + wait));
        now += 10 + wait;
    }
    let busy = Heard::Refused {
        status: StatusCode::SERVICE_UNAVAILABLE,
        kind: "overloaded".to_owned(),
        retry_after: Some(Micros::from_secs(9)),
    };
    scene.turn(now, Call::Poll, &busy);
    assert_eq!(scene.next_ms(), Some(now + 9_010));
    scene.turn(now + 9_010, Call::Poll, &ended(7, "lapsed"));
    assert_eq!(scene.tally.found(Finding::LostPlace), 1, "it tried all the time");
}

#[test]
fn second_numbers_and_sessions_and_positions_that_grow_are_found() {
    let mut scene = Scene::new(Habits::PATIENT);
    scene.turn(0, Call::Join, &waiting(7, 2));
    scene.turn(2_000, Call::Poll, &waiting(7, 3));
    assert_eq!(scene.tally.found(Finding::GrownPosition), 1);
    scene.turn(4_000, Call::Poll, &waiting(8, 1));
    assert_eq!(scene.tally.found(Finding::AnotherNumber), 1);
    scene.turn(6_000, Call::Poll, &inside(8, 6.0, 40_000));
    scene.turn(11_000, Call::Heartbeat, &inside(8, 6.0, 35_000));
    assert_eq!(scene.tally.found(Finding::AnotherSession), 0);
    scene.turn(16_000, Call::Heartbeat, &inside(8, 12.0, 35_000));
    assert_eq!(scene.tally.found(Finding::AnotherSession), 1);
    scene.turn(21_000, Call::Heartbeat, &waiting(8, 0));
    assert_eq!(scene.tally.found(Finding::LostSession), 1);
}

#[test]
fn some_go_when_they_have_enough() {
    let all = Share::percent(100).unwrap();
    let patience = Micros::from_secs(4);
    let mut leaves = Scene::new(Habits { leave_line: all, patience, ..Habits::PATIENT });
    leaves.turn(0, Call::Join, &waiting(1, 0));
    leaves.turn(6_100, Call::Leave, &Heard::Failed(Failure::Broken));
    assert_eq!(leaves.next_ms(), Some(6_360), "it says so until somebody hears it");
    leaves.turn(6_360, Call::Leave, &Heard::Done);
    assert_eq!(leaves.visitor.record.end, Some(End::LeftLine));

    let mut vanishes = Scene::new(Habits { vanish_line: all, patience, ..Habits::PATIENT });
    vanishes.turn(0, Call::Join, &waiting(1, 0));
    assert_eq!(vanishes.visitor.ask(at(6_100), &mut vanishes.random), None);
    assert_eq!((vanishes.next_ms(), vanishes.visitor.record.end), (None, Some(End::VanishedFromLine)));

    let mut closes = Scene::new(Habits { close_inside: all, stay: patience, ..Habits::PATIENT });
    closes.turn(0, Call::Join, &inside(1, 0.0, 40_000));
    closes.turn(6_100, Call::Beacon, &Heard::Done);
    assert_eq!(closes.visitor.record.end, Some(End::Closed));

    let mut never_comes = Scene::new(Habits { unclaimed: all, ..Habits::PATIENT });
    never_comes.turn(0, Call::Join, &ready(1));
    assert_eq!(never_comes.visitor.ask(at(20), &mut never_comes.random), None);
    assert_eq!(never_comes.visitor.record.end, Some(End::Unclaimed));
}
