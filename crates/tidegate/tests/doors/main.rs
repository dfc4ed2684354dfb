//! Goal: whichever door a request comes through, it gets the same decision, with the same units left and the same times.
//! Method: one table of cases. Each is asked in process, where the table says what has to come of it, and through every door
//! with keys of its own; what a door says must be, field for field, what its wire makes of the decision in process. All doors
//! have one gate, and one clock that only this test moves, on Redis too: so times are compared exactly, in the unit of the wire
//! and rounded as the wire rounds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod authorization;
mod cases;
#[path = "../common/mod.rs"]
mod common;
mod door;
mod forward_auth;
mod http;
mod rate_limit;
mod resp;
mod said;
mod site;

use std::time::Duration;

use tidegate_redis::{RedisOptions, RedisSettings, RedisStore, StoreClock};
use tidegate_store::{BucketStore, MemoryOptions, MemoryStore};
use tidegate_testkit::RedisServer;

use authorization::Authorization;
use cases::{CASES, Case};
use door::go_through;
use forward_auth::ForwardAuth;
use http::Http;
use rate_limit::RateLimit;
use resp::{Check, Throttle};
use site::Site;

/// HTTP and TIDEGATE.CHECK have words for everything.
const EVERYTHING: fn(&Case) -> bool = |_| true;
/// Descriptors cannot say at which cost they look.
const LOOKS_AT_ONE: fn(&Case) -> bool = |case| case.steps.iter().all(|step| !step.peek || step.cost == 1);
/// Envoy asks for one request, and never only looks.
const TAKES_ONE: fn(&Case) -> bool = |case| case.steps.iter().all(|step| !step.peek && step.cost == 1);
/// A proxy asks before a request, and never only looks.
const NEVER_LOOKS: fn(&Case) -> bool = |case| case.steps.iter().all(|step| !step.peek);
/// The quota comes along, so it is a token bucket, and the only one.
const IS_PLAIN: fn(&Case) -> bool = |case| case.plain.is_some();

/// Every case through every door that can ask it.
async fn every_door<S: BucketStore>(store: S) {
    let site = Site::start(store).await;
    let mut asked = Vec::new();
    asked.push(go_through(&site, &mut Http::connect(&site).await, EVERYTHING).await);
    asked.push(go_through(&site, &mut RateLimit::connect(&site).await, LOOKS_AT_ONE).await);
    asked.push(go_through(&site, &mut Authorization::connect(&site).await, TAKES_ONE).await);
    asked.push(go_through(&site, &mut ForwardAuth::connect(&site).await, NEVER_LOOKS).await);
    asked.push(go_through(&site, &mut Check::connect(&site, "resp2"), EVERYTHING).await);
    asked.push(go_through(&site, &mut Check::connect(&site, "resp3"), EVERYTHING).await);
    asked.push(go_through(&site, &mut Throttle::connect(&site, "CL.THROTTLE"), IS_PLAIN).await);
    asked.push(go_through(&site, &mut Throttle::connect(&site, "THROTTLE"), IS_PLAIN).await);
    // A case that a door silently left out would show here.
    let all = CASES.len();
    let of = |can: fn(&Case) -> bool| CASES.iter().filter(|case| can(case)).count();
    let plain = of(IS_PLAIN);
    assert_eq!(asked, [all, of(LOOKS_AT_ONE), of(TAKES_ONE), of(NEVER_LOOKS), all, all, plain, plain]);
    assert!(
        of(LOOKS_AT_ONE) >= 12 && of(TAKES_ONE) >= 10 && of(NEVER_LOOKS) >= 14 && of(IS_PLAIN) >= 5,
        "too few cases"
    );
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_door_says_the_same_from_memory() {
    every_door(MemoryStore::new(&MemoryOptions::new([1, 2]))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_door_says_the_same_from_redis() {
    let server = RedisServer::start();
    // The machine may be busy; no answer is to be late.
    let settings =
        RedisSettings::parse(&server.url()).unwrap().with_call_deadline(Duration::from_secs(10)).unwrap();
    let options = RedisOptions { clock: StoreClock::Caller, ..RedisOptions::default() };
    let store = RedisStore::new(&settings, options).unwrap();
    store.wait_until_tried().await;
    every_door(store).await;
}
