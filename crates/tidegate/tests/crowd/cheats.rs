//! Servers that are not fair, and a crowd that finds it out: books that cannot fail say nothing.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{COOKIE, SET_COOKIE};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tidegate::crowd::{FirstCall, Habits, Node, Plan, Progress, Report, run};
use tidegate_core::time::Micros;
use tokio::net::TcpListener;

/// What the server does with a visitor who asks for the `n`th time, from 1; by its number.
type Cheat = fn(number: u64, asked: u64) -> Told;

/// What it tells.
#[derive(Clone, Copy, Debug)]
enum Told {
    Waiting {
        number: u64,
        position: u64,
    },
    /// A session that started so many milliseconds after the first, and goes on for another second.
    Inside {
        number: u64,
        started_ms: u64,
    },
    Over,
}

/// Visitors come one after the other, and the first number is 1.
async fn serve(cheat: Cheat) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked: Arc<Mutex<HashMap<u64, u64>>> = Arc::default();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let asked = Arc::clone(&asked);
            let service = service_fn(move |request| answer(request, Arc::clone(&asked), cheat));
            tokio::spawn(async move {
                let http = hyper::server::conn::http1::Builder::new();
                let _ = http.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

async fn answer(
    request: Request<Incoming>,
    asked: Arc<Mutex<HashMap<u64, u64>>>,
    cheat: Cheat,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut asked = asked.lock();
    if request.uri().path().ends_with("/status") {
        let status = json!({"room": "demo", "room_state": "open", "opens_at": null, "waiting": 0, "active": 0, "capacity": 2,
            "release_rate": 1.0, "estimated_wait": null, "message": null, "line_version": 1});
        return Ok(Response::new(Full::from(status.to_string())));
    }
    let cookie = request
        .headers()
        .get(COOKIE)
        .and_then(|cookie| cookie.to_str().ok()?.strip_prefix("me=")?.parse().ok());
    let number = cookie.unwrap_or(asked.len() as u64 + 1);
    let times = asked.entry(number).or_default();
    *times += 1;
    let seat = seat(cheat(number, *times)).to_string();
    let response = Response::builder().header(SET_COOKIE, format!("me={number}; Path=/"));
    Ok(response.body(Full::from(seat)).unwrap())
}

fn seat(told: Told) -> Value {
    let mut seat = json!({
        "room": "demo", "state": "waiting", "why": null, "room_state": "open", "ticket": "t", "queue_number": null, "position": null,
        "waiting": 1, "serving_number": 0, "estimated_wait": null, "progress": 0.0, "opens_at": null, "message": null,
        "poll_after_ms": 50, "claim": null, "session": null, "pass": null, "return_to": null
    });
    match told {
        Told::Waiting { number, position } => {
            (seat["queue_number"], seat["position"]) = (number.into(), position.into());
        }
        Told::Inside { number, started_ms } => {
            let started_at = 1_800_000_000.0 + started_ms as f64 / 1e3;
            (seat["state"], seat["queue_number"]) = ("admitted".into(), number.into());
            seat["session"] = json!({"started_at": started_at, "ends_at": started_at + 3.0, "left_ms": 2_000, "idle_ms": 2_000,
                "heartbeat_ms": 50, "renewable": false});
        }
        Told::Over => (seat["state"], seat["why"]) = ("ended".into(), "lapsed".into()),
    }
    seat
}

/// What the books of five visitors say.
async fn books(cheat: Cheat) -> Report {
    let plan = Plan {
        nodes: vec![Node::parse(&format!("http://{}", serve(cheat).await)).unwrap()],
        room: "demo".parse().unwrap(),
        visitors: 5,
        arrivals_per_s: 20,
        connections: 4,
        at_most: Micros::from_millis(1_500),
        timeout: Micros::from_secs(1),
        max_age: Micros::ZERO,
        first_call: FirstCall::Join,
        habits: Habits::PATIENT,
        seed: 1,
    };
    run(&plan, pending(), &mut Progress::hidden()).await.unwrap()
}

#[tokio::test]
async fn nothing_is_found_where_nobody_cheats() {
    // Two after the other; the others wait.
    let report = books(|number, asked| match number {
        1 | 2 if asked > 2 => Told::Inside { number, started_ms: number },
        _ => Told::Waiting { number, position: number - 1 },
    })
    .await;
    assert!(report.is_fair, "{report:#?}");
    assert_eq!((report.admitted, report.sessions.most_seen, report.sessions.capacity), (2, 2, Some(2)));
    assert_eq!(report.visitors, [("inside", 2), ("waiting", 3)].into());
}

#[tokio::test]
async fn somebody_who_is_let_in_before_others_is_found() {
    let report = books(|number, asked| match number {
        4 if asked > 2 => Told::Inside { number, started_ms: 0 },
        _ => Told::Waiting { number, position: number - 1 },
    })
    .await;
    let overtaken = report.violations.overtaken;
    assert_eq!((report.is_fair, overtaken.visitors, overtaken.most_numbers), (false, 3, 3), "{report:#?}");
    assert!(overtaken.longest_ms > 300.0, "{report:#?}");
}

#[tokio::test]
async fn a_visitor_with_two_places_and_two_with_one_are_found() {
    let report = books(|number, asked| match number {
        2 => Told::Waiting { number: if asked > 3 { 20 } else { 2 }, position: 0 },
        3 => Told::Inside { number, started_ms: if asked > 3 { 900 } else { 0 } },
        5 => Told::Waiting { number: 4, position: 0 },
        _ => Told::Waiting { number, position: 0 },
    })
    .await;
    let found = report.violations;
    assert_eq!((found.second_numbers, found.second_sessions), (1, 1), "{report:#?}");
    assert!(found.shared_numbers > 0 && !report.is_fair, "{report:#?}");
    assert_eq!(found.double_admissions(), 2 + found.shared_numbers);
}

#[tokio::test]
async fn places_and_sessions_that_are_lost_are_found_and_positions_that_grow() {
    let report = books(|number, asked| match (number, asked) {
        (1, 4) | (2, 6) => Told::Over,
        (2, 3..) => Told::Inside { number, started_ms: 0 },
        (3, 5) => Told::Waiting { number, position: 9 },
        _ => Told::Waiting { number, position: 1 },
    })
    .await;
    let found = report.violations;
    assert_eq!((found.lost_places, found.lost_sessions, found.grown_positions), (1, 1, 1), "{report:#?}");
    assert_eq!(report.visitors, [("lost", 2), ("waiting", 3)].into());
}

#[tokio::test]
async fn more_sessions_than_seats_are_found() {
    let report = books(|number, _| Told::Inside { number, started_ms: number }).await;
    assert_eq!((report.violations.over_capacity, report.sessions.most_seen), (3, 5), "{report:#?}");
}
