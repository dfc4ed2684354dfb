//! Refund, reset and other rules, while something is held.

use tidegate_core::quota::Algorithm;
use tidegate_core::rule::model::Rule;

use super::store::Called::{Apply, Refund, Reset, Withdraw};
use super::{Fleet, MINUTE, bucket, leased, poll_once, ready, request, rule, set};

#[test]
fn a_refund_gives_the_lease_back_first() {
    let fleet = Fleet::new(vec![bucket(100, 10)], 1);
    let spent = fleet.fill(0, 10);
    fleet.store.calls();
    let decision = ready(fleet.nodes[0].refund(&request())).unwrap();
    assert_eq!(fleet.store.calls(), [Withdraw(10), Refund(1)]);
    assert_eq!(decision.binding().unwrap().gauge.used, spent - 1);
    assert_eq!((fleet.used(), fleet.stats(0).units), (spent - 1, 0));
}

#[test]
fn a_reset_forgets_the_lease() {
    let fleet = Fleet::new(vec![leased(rule("r", Algorithm::FixedWindow, 100, MINUTE), 10, MINUTE)], 2);
    fleet.fill(0, 10);
    fleet.store.calls();
    ready(fleet.nodes[0].reset(&request())).unwrap();
    assert_eq!((fleet.store.calls(), fleet.stats(0).units), (vec![Reset], 0));
    // What was debited before the reset must not be taken from what is used after it.
    assert_eq!(fleet.passed(1, 200), 100);
    ready(fleet.nodes[0].store().return_all());
    assert_eq!(fleet.used(), 100);
}

#[test]
fn a_lease_on_its_way_is_forgotten_by_a_reset_too() {
    let fleet = Fleet::new(vec![bucket(100, 10)], 1);
    assert_eq!(fleet.passed(0, 2), 2);
    fleet.store.set_stopped(true);
    let (node, request) = (&fleet.nodes[0], request());
    let mut asking = Box::pin(node.decide(&request));
    let mut resetting = Box::pin(node.reset(&request));
    assert!(poll_once(asking.as_mut()).is_pending() && poll_once(resetting.as_mut()).is_pending());
    fleet.store.set_stopped(false);
    assert!(ready(asking).unwrap().is_allowed());
    ready(resetting).unwrap();
    assert_eq!((fleet.stats(0).units, fleet.used()), (0, 0));
}

#[test]
fn leases_of_other_rules_go_back() {
    let fleet = Fleet::new(vec![bucket(100, 10)], 1);
    let spent = fleet.fill(0, 10);
    fleet.nodes[0].replace_rules(set(vec![bucket(50, 10)]));
    fleet.store.calls();
    assert!(fleet.decide(0).is_allowed());
    assert_eq!(fleet.store.calls(), [Apply(1)], "it is not spent under the new rules");
    fleet.return_due(0);
    assert_eq!(fleet.stats(0).units, 0);
    assert_eq!(fleet.used(), spent + 1);
    assert_eq!(fleet.passed(0, 100), 50 - spent - 1);
}

#[test]
fn a_lease_on_its_way_goes_back_when_the_rules_change() {
    let fleet = Fleet::new(vec![bucket(100, 10)], 1);
    assert_eq!(fleet.passed(0, 2), 2);
    fleet.store.set_stopped(true);
    let (node, request) = (&fleet.nodes[0], request());
    let mut asking = Box::pin(node.decide(&request));
    assert!(poll_once(asking.as_mut()).is_pending());
    node.replace_rules(set(vec![bucket(100, 20)]));
    fleet.store.set_stopped(false);
    assert!(ready(asking).unwrap().is_allowed());
    fleet.store.calls();
    assert!(fleet.decide(0).is_allowed());
    fleet.return_due(0);
    assert_eq!((fleet.store.calls(), fleet.used()), (vec![Apply(1), Withdraw(10)], 4));
}

#[test]
fn a_rule_that_becomes_exact_is_exact() {
    let fleet = Fleet::new(vec![bucket(100, 10)], 1);
    let spent = fleet.fill(0, 10);
    let exact = Rule { consistency: Default::default(), ..bucket(100, 10) };
    fleet.nodes[0].replace_rules(set(vec![exact]));
    fleet.return_due(0);
    assert_eq!((fleet.used(), fleet.stats(0).units), (spent, 0));
    fleet.store.calls();
    assert_eq!(fleet.passed(0, 100), 100 - spent);
    assert_eq!(fleet.store.calls(), [Apply(1); 100]);
}
