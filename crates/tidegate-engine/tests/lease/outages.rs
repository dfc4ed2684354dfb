//! A store that does not answer, while something is held.

use tidegate_core::rule::model::{FailurePolicy, Rule};
use tidegate_core::time::Micros;
use tidegate_engine::Answer;

use super::store::Called::{Apply, Withdraw};
use super::store::Mood;
use super::{Fleet, SECOND, bucket, poll_once, ready, request};

fn denying(limit: u64, units: u64) -> Rule {
    Rule { on_store_failure: Some(FailurePolicy::Deny), ..bucket(limit, units) }
}

#[test]
fn a_lease_is_finished_and_then_the_policy_decides() {
    let fleet = Fleet::new(vec![denying(100, 10)], 1);
    fleet.fill(0, 10);
    fleet.store.set_mood(Mood::Failing);
    for _ in 0..10 {
        let decision = fleet.decide(0);
        assert!(decision.is_allowed() && decision.degraded().is_none());
    }
    let decision = fleet.decide(0);
    assert!(decision.answer() == Answer::Deny && decision.degraded().is_some());
    fleet.store.set_mood(Mood::Well);
    assert!(fleet.decide(0).degraded().is_none());
}

#[test]
fn who_waits_for_a_lease_does_not_wait_for_the_store_a_second_time() {
    let fleet = Fleet::new(vec![denying(100, 10)], 1);
    assert_eq!(fleet.passed(0, 2), 2);
    fleet.store.calls();
    fleet.store.set_stopped(true);
    let (node, request) = (&fleet.nodes[0], request());
    let mut calls: Vec<_> = (0..5).map(|_| Box::pin(node.decide(&request))).collect();
    assert!(calls.iter_mut().all(|call| poll_once(call.as_mut()).is_pending()));
    fleet.store.set_mood(Mood::Failing);
    fleet.store.set_stopped(false);
    for call in calls {
        assert!(ready(call).unwrap().degraded().is_some());
    }
    assert_eq!(fleet.store.calls(), [Apply(11)]);
}

#[test]
fn what_the_store_refuses_to_take_back_is_kept_and_tried_again() {
    let fleet = Fleet::new(vec![bucket(100, 10)], 1);
    let spent = fleet.fill(0, 10);
    fleet.store.set_mood(Mood::Failing);
    fleet.clock.advance(SECOND);
    fleet.store.calls();
    fleet.return_due(0);
    fleet.return_due(0);
    assert_eq!(fleet.store.calls(), [Withdraw(10)], "not again at once");
    assert_eq!(fleet.passed(0, 1), 1, "meanwhile it may be spent");
    fleet.store.set_mood(Mood::Well);
    fleet.clock.advance(SECOND);
    fleet.return_due(0);
    assert_eq!((fleet.store.calls(), fleet.used()), (vec![Withdraw(9)], spent + 1));
}

#[test]
fn what_may_have_been_given_back_is_not_given_back_again() {
    let fleet = Fleet::new(vec![bucket(100, 10)], 1);
    let spent = fleet.fill(0, 10);
    fleet.clock.advance(SECOND);
    fleet.store.set_mood(Mood::Mute);
    fleet.return_due(0);
    assert_eq!(fleet.used(), spent, "it was done");
    fleet.store.set_mood(Mood::Well);
    fleet.clock.advance(Micros::from_secs(10));
    fleet.return_due(0);
    ready(fleet.nodes[0].store().return_all());
    assert_eq!((fleet.used(), fleet.stats(0).lost, fleet.stats(0).units), (spent, 10, 0));
}

#[test]
fn a_lease_that_may_have_been_taken_is_not_spent() {
    let fleet = Fleet::new(vec![denying(100, 10)], 1);
    assert_eq!(fleet.passed(0, 2), 2);
    fleet.store.set_mood(Mood::Mute);
    assert!(fleet.decide(0).degraded().is_some());
    fleet.store.set_mood(Mood::Well);
    assert_eq!((fleet.used(), fleet.stats(0).units), (2 + 11, 0), "debited, and lost");
    assert_eq!(fleet.passed(0, 100), 100 - 13);
}

#[test]
fn what_a_dead_node_held_is_lost_and_no_more() {
    let mut fleet = Fleet::new(vec![bucket(100, 10)], 2);
    let spent = fleet.fill(0, 10);
    fleet.nodes[0] = fleet.new_node();
    let passed = fleet.passed(0, 60) + fleet.passed(1, 60) + fleet.passed(0, 60);
    assert_eq!(passed, 100 - spent - 10);
}
