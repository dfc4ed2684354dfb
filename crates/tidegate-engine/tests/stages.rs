//! Goal: what a request waits for is written down where it asks for that, and nothing else.
//! Method: the embedded store on a clock that the test moves; tokio's paused time for waits.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::rule::RuleSet;
use tidegate_core::rule::model::{Domain, Queue, Rule, Rules};
use tidegate_core::time::{Micros, Timestamp};
use tidegate_engine::{Answer, Engine, ManualClock, Request, StageKind, Stages};
use tidegate_store::{MemoryOptions, MemoryStore};

fn valve() -> Rule {
    let quota = Quota::new(Algorithm::LeakyBucket, 10, Micros::from_secs(1), None).unwrap();
    let mut valve = Rule::new("valve", Algorithm::LeakyBucket, quota);
    valve.queue = Some(Queue { max_wait: Micros::from_secs(2), max_depth: 3 });
    valve
}

#[tokio::test(start_paused = true)]
async fn what_a_request_waits_for_is_written_down_where_it_asks_for_that() {
    let clock = ManualClock::new(Timestamp::from_micros(1_767_225_600_000_000));
    let rules = RuleSet::compile(Rules { domains: vec![Domain::new("d", vec![valve()])] }).unwrap();
    let store = MemoryStore::new(&MemoryOptions::new([1, 2]));
    let engine = Engine::with_parts(rules, store, clock.clone(), None);
    let stages = Stages::default();
    let call = Request::new("d", &[]).with_stages(Some(&stages));
    let kinds =
        || stages.take().0.iter().map(|stage| (stage.kind, stage.ended.is_some())).collect::<Vec<_>>();
    engine.peek(&call).await.unwrap();
    assert!(engine.check(&call).await.unwrap().is_allowed());
    assert_eq!(kinds(), [(StageKind::Store, true), (StageKind::Store, true)]);

    let began = engine.now();
    clock.advance(Micros::from_millis(10));
    assert!(matches!(engine.check(&call).await.unwrap().answer(), Answer::Wait(_)));
    let (kept, more) = stages.take();
    assert_eq!((kept.len(), more, kept[1].kind), (2, 0, StageKind::Queue));
    assert_eq!(kept[1].began.since(began), Micros::from_millis(10), "by the engine's clock");

    let given_up = tokio::time::timeout(Duration::from_millis(10), engine.check(&call)).await;
    assert!(given_up.is_err());
    assert_eq!(kinds(), [(StageKind::Store, true), (StageKind::Queue, false)]);

    // Several requests of one call wait once. One that no rule is for asks no store.
    let decision = engine.decide(&call).await.unwrap();
    engine.wait_for_all(&[(call, &decision), (call, &decision)]).await;
    assert_eq!(kinds(), [(StageKind::Store, true), (StageKind::Queue, true)]);
    engine.decide(&Request::new("nowhere", &[]).with_stages(Some(&stages))).await.unwrap();
    assert_eq!(kinds(), []);
}
