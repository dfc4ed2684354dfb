//! Goal: the JSON is that of the contract, field by field, and reads back. Method: the contract's example, every reason,
//! and properties.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn at(micros: u64) -> UnixTime {
    UnixTime(Timestamp::from_micros(micros))
}

fn seat(standing: Standing) -> Seat {
    Seat {
        room: RoomName::new("demo").unwrap(),
        standing,
        room_state: RoomState::Open,
        ticket: Some("v1.t".to_owned()),
        queue_number: Some(6),
        position: Some(0),
        waiting: 1,
        serving_number: 5,
        estimated_wait: Some(EstimatedWait { from_s: 10, to_s: 40, reason: None }),
        progress: Progress::of_line(0, 0),
        opens_at: None,
        message: None,
        poll_after_ms: 2000,
        return_to: Some("/shop".to_owned()),
    }
}

fn claim() -> Claim {
    Claim { ends_at: at(1_234_567_890_123_000), left_ms: 20_000, extensions_left: 2 }
}

fn session() -> Session {
    Session {
        started_at: at(1_234_567_850_000_000),
        ends_at: at(1_234_567_890_000_999),
        left_ms: 39_000,
        idle_ms: 15_000,
        heartbeat_ms: 5_000,
        renewable: false,
    }
}

#[test]
fn a_seat_in_the_line_is_the_contracts_example() {
    let want = json!({
        "room": "demo", "state": "waiting", "why": null, "room_state": "open",
        "ticket": "v1.t", "queue_number": 6, "position": 0, "waiting": 1, "serving_number": 5,
        "estimated_wait": {"from_s": 10, "to_s": 40, "reason": null},
        "progress": 0.0, "opens_at": null, "message": null, "poll_after_ms": 2000,
        "claim": null, "session": null, "pass": null, "return_to": "/shop",
    });
    let text = serde_json::to_string(&seat(Standing::Waiting)).unwrap();
    assert_eq!(text, want.to_string(), "with the fields in this order");
}

#[test]
fn standings_have_what_belongs_to_them() {
    let value = |standing| serde_json::to_value(seat(standing)).unwrap();
    let ready = value(Standing::Ready(claim()));
    assert_eq!(ready["state"], "ready");
    assert_eq!(ready["claim"], json!({"ends_at": 1_234_567_890.123, "left_ms": 20000, "extensions_left": 2}));
    let pass = Some("v1.p".to_owned());
    let admitted = value(Standing::Admitted { pass: pass.clone(), pass_jwt: None, session: session() });
    assert_eq!((&admitted["state"], &admitted["pass"]), (&json!("admitted"), &json!("v1.p")));
    assert_eq!(admitted.get("pass_jwt"), None, "not even as null: most servers make none");
    let both = Standing::Admitted { pass, pass_jwt: Some("e30.e30.c2ln".to_owned()), session: session() };
    assert_eq!(value(both)["pass_jwt"], json!("e30.e30.c2ln"));
    assert_eq!(
        admitted["session"],
        json!({
            "started_at": 1_234_567_850.0, "ends_at": 1_234_567_890.0, "left_ms": 39000,
            "idle_ms": 15000, "heartbeat_ms": 5000, "renewable": false,
        })
    );
    for (why, word) in [
        (EndedWhy::SessionLimit, "session_limit"),
        (EndedWhy::Idle, "idle"),
        (EndedWhy::Left, "left"),
        (EndedWhy::NotClaimed, "not_claimed"),
        (EndedWhy::Lapsed, "lapsed"),
        (EndedWhy::ByOperator, "by_operator"),
        (EndedWhy::Revoked, "revoked"),
    ] {
        let ended = value(Standing::Ended(why));
        assert_eq!((&ended["state"], &ended["why"]), (&json!("ended"), &json!(word)));
        assert_eq!(serde_json::from_value::<Seat>(ended).unwrap(), seat(Standing::Ended(why)));
    }
    for (why, word) in [
        (RefusedWhy::RoomClosed, "room_closed"),
        (RefusedWhy::RoomFull, "room_full"),
        (RefusedWhy::Draining, "draining"),
        (RefusedWhy::TooManySeats, "too_many_seats"),
        (RefusedWhy::Rejected, "rejected"),
    ] {
        let refused = value(Standing::Refused(why));
        assert_eq!((&refused["state"], &refused["why"]), (&json!("refused"), &json!(word)));
        assert_eq!(serde_json::from_value::<Seat>(refused).unwrap(), seat(Standing::Refused(why)));
    }
}

#[test]
fn room_states_and_reasons() {
    let states =
        [RoomState::Open, RoomState::Paused, RoomState::Draining, RoomState::Closed, RoomState::Scheduled];
    assert_eq!(json!(states), json!(["open", "paused", "draining", "closed", "scheduled"]));
    let reasons = [WaitReason::Paused, WaitReason::Slower, WaitReason::Capacity];
    assert_eq!(json!(reasons), json!(["paused", "slower", "capacity"]));
}

#[test]
fn fields_that_do_not_belong_together_are_refused() {
    let good = serde_json::to_value(seat(Standing::Ready(claim()))).unwrap();
    assert!(serde_json::from_value::<Seat>(good.clone()).is_ok());
    for (field, value) in [
        ("state", json!("waiting")),
        ("state", json!("asleep")),
        ("claim", Value::Null),
        ("why", json!("left")),
        ("pass", json!("v1.p")),
        ("pass_jwt", json!("e30.e30.c2ln")),
        ("room", json!("Demo")),
        ("progress", json!(1.5)),
    ] {
        let mut bad = good.clone();
        bad[field] = value;
        assert!(serde_json::from_value::<Seat>(bad).is_err(), "{field}");
    }
}

#[test]
fn the_status_has_the_contracts_fields() {
    let status = RoomStatus {
        room: RoomName::new("demo").unwrap(),
        room_state: RoomState::Scheduled,
        opens_at: Some(at(1_234_567_890_500_000)),
        waiting: 7,
        active: 5,
        capacity: 5,
        release_rate: Some(2.5),
        estimated_wait: None,
        message: Some("soon".to_owned()),
        line_version: 9,
    };
    assert_eq!(
        serde_json::to_string(&status).unwrap(),
        r#"{"room":"demo","room_state":"scheduled","opens_at":1234567890.5,"waiting":7,"active":5,"capacity":5,"release_rate":2.5,"estimated_wait":null,"message":"soon","line_version":9}"#
    );
    let frame =
        LineFrame { serving_number: 5, waiting: 7, rate: 0.5, room_state: RoomState::Open, message: None };
    assert_eq!(
        serde_json::to_string(&frame).unwrap(),
        r#"{"serving_number":5,"waiting":7,"rate":0.5,"room_state":"open","message":null}"#
    );
}

#[test]
fn progress_is_part_of_the_way() {
    for (position, joined_behind, want) in
        [(0, 0, 0.0), (0, 10, 1.0), (10, 10, 0.0), (5, 10, 0.5), (11, 10, 0.0), (3, 0, 0.0)]
    {
        assert_eq!(
            Progress::of_line(position, joined_behind).as_f64(),
            want,
            "{position} of {joined_behind}"
        );
    }
}

proptest! {
    #[test]
    fn seats_read_back(
        numbers in any::<[u64; 4]>(), millis in 0..=Timestamp::MAX.as_micros() / 1000, text in any::<String>(), kind in 0..5,
    ) {
        let time = at(millis * 1000);
        let mut written = seat(match kind {
            0 => Standing::Waiting,
            1 => Standing::Ready(Claim { ends_at: time, ..claim() }),
            2 => Standing::Admitted { pass: None, pass_jwt: Some(text.clone()), session: Session { ends_at: time, ..session() } },
            3 => Standing::Ended(EndedWhy::Idle),
            _ => Standing::Refused(RefusedWhy::RoomFull),
        });
        written.opens_at = Some(time);
        written.message = Some(text);
        written.progress = Progress::of_line(numbers[0], numbers[1]);
        (written.position, written.waiting) = (Some(numbers[2]), numbers[3]);
        let json = serde_json::to_string(&written).unwrap();
        prop_assert_eq!(serde_json::from_str::<Seat>(&json).unwrap(), written);
    }
}
