//! What a lease saves, what it does not touch, and what is said of it.

use std::pin::Pin;

use tidegate_core::quota::Algorithm;
use tidegate_core::rule::model::{Consistency, Lease, Mode, Queue, Reserve, Rule};
use tidegate_core::time::Micros;
use tidegate_engine::{Decision, LeaseOptions, Leases, Request, Selection};

use super::store::Called::{Apply, Peek, Withdraw};
use super::{Fleet, MINUTE, SECOND, bucket, leased, poll_once, ready, request, rule, set};

#[test]
fn a_hot_bucket_is_asked_about_once_a_lease() {
    let fleet = Fleet::new(vec![bucket(1_000, 10)], 1);
    assert_eq!(fleet.passed(0, 2), 2);
    assert_eq!(fleet.store.calls(), [Apply(1), Apply(1)], "nobody knows yet whether it is asked about again");
    assert_eq!(fleet.passed(0, 1 + 10), 11);
    assert_eq!(fleet.store.calls(), [Apply(11)], "what the request takes, and a lease");
    assert_eq!(fleet.passed(0, 110), 110);
    assert_eq!(fleet.store.calls(), [Apply(11); 10]);
    let stats = fleet.stats(0);
    assert_eq!((stats.answered, stats.leases, stats.units, stats.lost), (110, 11, 0, 0));
}

#[test]
fn a_bucket_that_is_seldom_asked_about_is_not_leased() {
    let fleet = Fleet::new(vec![bucket(1_000, 10)], 1);
    for _ in 0..10 {
        assert_eq!(fleet.passed(0, 2), 2);
        fleet.clock.advance(Micros::from_secs(2));
    }
    assert_eq!(fleet.store.calls(), [Apply(1); 20]);
    assert_eq!(fleet.stats(0).buckets, 0);
}

#[test]
fn all_that_is_there_is_spent_and_a_denial_is_the_stores() {
    let fleet = Fleet::new(vec![bucket(100, 30)], 2);
    assert_eq!(fleet.passed(0, 200), 100);
    let decision = fleet.decide(1);
    assert!(!decision.is_allowed() && decision.retry_after().is_some());
    assert_eq!(decision.binding().unwrap().gauge.remaining, 0);
    fleet.store.calls();
    assert_eq!(fleet.passed(0, 5), 0);
    assert_eq!(fleet.store.calls(), [Apply(1); 5], "no lease is asked for where there is none");
}

#[test]
fn what_is_left_over_is_not_kept_from_a_larger_request() {
    let fleet = Fleet::new(vec![bucket(20, 5)], 1);
    fleet.fill(0, 5);
    assert_eq!(fleet.passed(0, 3), 3, "two are left here");
    let left = 20 - fleet.used();
    assert!(fleet.decide_cost(0, left + 2).is_allowed(), "everything there is");
    assert_eq!((fleet.used(), fleet.stats(0).units, fleet.stats(0).lost), (20, 0, 0));
}

#[test]
fn a_lease_as_large_as_the_burst_is_cut_to_what_can_pass() {
    let fast = rule("r", Algorithm::TokenBucket, 10, Micros::from_millis(10));
    let fleet = Fleet::new(vec![leased(fast, 10, SECOND)], 1);
    assert_eq!(fleet.passed(0, 2), 2);
    fleet.clock.advance(Micros::from_millis(10));
    fleet.store.calls();
    assert_eq!(fleet.passed(0, 10), 10);
    assert_eq!(fleet.store.calls(), [Apply(10)]);
}

#[test]
fn what_is_left_over_is_part_of_the_next_lease() {
    let fleet = Fleet::new(vec![bucket(1_000, 10)], 1);
    fleet.fill(0, 10);
    assert_eq!(fleet.passed(0, 8), 8);
    fleet.store.calls();
    assert!(fleet.decide_cost(0, 5).is_allowed());
    assert_eq!((fleet.store.calls(), fleet.stats(0).units), (vec![Apply(5 - 2 + 10)], 10));
}

#[test]
fn what_is_left_over_is_not_carried_into_the_next_window() {
    let fleet = Fleet::new(vec![leased(rule("r", Algorithm::FixedWindow, 1_000, MINUTE), 10, MINUTE)], 1);
    fleet.fill(0, 10);
    assert_eq!(fleet.passed(0, 8), 8);
    fleet.store.set_stopped(true);
    let (node, larger) = (&fleet.nodes[0], request().with_cost(5));
    let mut asking = Box::pin(node.decide(&larger));
    assert!(poll_once(asking.as_mut()).is_pending());
    fleet.clock.advance(MINUTE);
    fleet.store.set_stopped(false);
    assert!(ready(asking).unwrap().is_allowed());
    assert_eq!((fleet.used(), fleet.stats(0).units, fleet.stats(0).lost), (13, 13 - 5, 2));
}

#[test]
fn a_stampede_takes_one_lease() {
    let fleet = Fleet::new(vec![bucket(1_000, 20)], 1);
    assert_eq!(fleet.passed(0, 2), 2);
    fleet.store.calls();
    fleet.store.set_stopped(true);
    let decide = || -> Pin<Box<dyn Future<Output = bool>>> {
        let node = fleet.nodes[0].clone();
        Box::pin(async move { node.decide(&request()).await.unwrap().is_allowed() })
    };
    let mut calls: Vec<_> = (0..50).map(|_| decide()).collect();
    assert!(calls.iter_mut().all(|call| poll_once(call.as_mut()).is_pending()));
    let (asked, exactly) = (fleet.store.calls(), vec![Apply(1); 50 - 21]);
    assert_eq!(asked, [vec![Apply(21)], exactly].concat(), "those whom it does not cover do not wait for it");
    fleet.store.set_stopped(false);
    assert!(calls.iter_mut().all(|call| ready(call.as_mut())));
    assert_eq!((fleet.store.calls(), fleet.stats(0).units), (vec![], 0));
}

#[test]
fn who_goes_away_while_asking_leaves_the_others_to_ask() {
    let fleet = Fleet::new(vec![bucket(1_000, 20)], 1);
    assert_eq!(fleet.passed(0, 2), 2);
    fleet.store.set_stopped(true);
    let (node, request) = (&fleet.nodes[0], request());
    let (mut asking, mut waiting) = (Box::pin(node.decide(&request)), Box::pin(node.decide(&request)));
    assert!(poll_once(asking.as_mut()).is_pending() && poll_once(waiting.as_mut()).is_pending());
    drop(asking);
    fleet.store.set_stopped(false);
    assert!(ready(waiting).unwrap().is_allowed());
    assert!(fleet.passed(0, 30) == 30 && fleet.stats(0).units > 0, "and the bucket is leased again");
}

#[test]
fn what_is_unspent_goes_back_when_it_has_been_held_long_enough() {
    let fleet = Fleet::new(vec![bucket(100, 10)], 1);
    fleet.fill(0, 10);
    assert_eq!(fleet.passed(0, 4), 4);
    fleet.store.calls();
    fleet.clock.advance(Micros::from_micros(SECOND.as_micros() - 1));
    fleet.return_due(0);
    assert_eq!(fleet.store.calls(), []);
    fleet.clock.advance(Micros::from_micros(1));
    fleet.return_due(0);
    fleet.return_due(0);
    assert_eq!(fleet.store.calls(), [Withdraw(6)], "once");
    let stats = fleet.stats(0);
    assert_eq!((stats.buckets, stats.units, stats.returned, stats.lost), (0, 0, 6, 0));
    assert_eq!(fleet.used(), 3 + 4);
}

#[test]
fn at_the_end_everything_goes_back_and_nothing_is_leased_any_more() {
    let fleet = Fleet::new(vec![bucket(100, 10)], 1);
    let spent = fleet.fill(0, 10);
    ready(fleet.nodes[0].store().return_all());
    assert_eq!((fleet.used(), fleet.stats(0).units), (spent, 0));
    fleet.store.calls();
    assert_eq!(fleet.passed(0, 20), 20);
    assert_eq!(fleet.store.calls(), [Apply(1); 20]);
}

#[test]
fn a_lease_that_comes_after_the_end_goes_back_at_once() {
    let fleet = Fleet::new(vec![bucket(100, 10)], 1);
    assert_eq!(fleet.passed(0, 2), 2);
    fleet.store.set_stopped(true);
    let (node, request) = (&fleet.nodes[0], request());
    let mut asking = Box::pin(node.decide(&request));
    assert!(poll_once(asking.as_mut()).is_pending());
    ready(node.store().return_all());
    fleet.store.set_stopped(false);
    assert!(ready(asking).unwrap().is_allowed());
    assert_eq!((fleet.used(), fleet.stats(0).units), (3, 0));
}

#[test]
fn an_exact_rule_beside_a_leased_one_is_asked_alone() {
    let exact = rule("exact", Algorithm::TokenBucket, 20, MINUTE);
    let by_user = |request: &Decision| -> Vec<bool> {
        request.verdicts().map(|verdict| verdict.verdict.is_allow()).collect()
    };
    let fleet = Fleet::new(vec![bucket(100, 40), exact.when("kind", "both")], 1);
    fleet.fill(0, 40);
    let (held, used) = (fleet.stats(0).units, fleet.used());
    fleet.store.calls();
    let entries = [("user", "u1"), ("kind", "both")];
    let both = Request::new("d", &entries);
    let decide = || ready(fleet.nodes[0].decide(&both)).unwrap();
    assert_eq!(by_user(&decide()), [true, true]);
    assert_eq!((fleet.store.calls(), fleet.stats(0).units, fleet.used()), (vec![Apply(1)], held - 1, used));
    // Denied by one is denied by all: what was taken of the other is put back.
    let denied = ready(fleet.nodes[0].decide(&both.with_cost(5)));
    assert_eq!(by_user(&denied.unwrap()), [true, true]);
    let denied = (0..30).map(|_| decide()).find(|decision| !decision.is_allowed()).unwrap();
    let held = fleet.stats(0).units;
    assert!(held > 0 && !decide().is_allowed());
    assert_eq!(fleet.stats(0).units, held);
    let [leased, exact] = denied.verdicts().collect::<Vec<_>>().try_into().unwrap();
    assert!(leased.verdict.is_allow() && !exact.verdict.is_allow());
    assert_eq!(leased.gauge.used + leased.gauge.remaining, 100);
    assert_eq!(leased.gauge.used, fleet.used() - held, "nothing was charged anywhere");
}

#[test]
fn what_is_put_back_never_makes_a_lease_larger() {
    let exact = rule("exact", Algorithm::TokenBucket, 0, MINUTE);
    let fleet = Fleet::new(vec![bucket(100, 10), exact.when("kind", "both")], 1);
    fleet.fill(0, 10);
    let (node, entries) = (&fleet.nodes[0], [("user", "u1"), ("kind", "both")]);
    let both = Request::new("d", &entries);
    fleet.store.set_stopped(true);
    let mut to_be_denied = Box::pin(node.decide(&both));
    assert!(poll_once(to_be_denied.as_mut()).is_pending());
    assert_eq!((fleet.passed(0, 9), fleet.stats(0).units), (9, 0));
    fleet.store.set_stopped(false);
    assert!(fleet.decide(0).is_allowed() && fleet.stats(0).units == 10, "another lease");
    assert!(!ready(to_be_denied).unwrap().is_allowed());
    assert_eq!((fleet.stats(0).units, fleet.stats(0).lost), (10, 1));
}

#[test]
fn what_may_not_be_leased_is_asked_as_it_stands() {
    let lease = Consistency::Leased(Lease::default());
    let quota = |algorithm| rule("r", algorithm, 1_000, MINUTE);
    let queue = Some(Queue { max_wait: SECOND, max_depth: 5 });
    let reserve = vec![Reserve { priority: "high".to_owned(), percent: 10 }];
    for rule in [
        quota(Algorithm::TokenBucket),
        Rule { consistency: lease, ..quota(Algorithm::Concurrency) },
        Rule { consistency: lease, queue, ..quota(Algorithm::TokenBucket) },
        Rule { consistency: lease, reserve, ..quota(Algorithm::FixedWindow) },
        Rule { consistency: lease, mode: Mode::Shadow, ..quota(Algorithm::FixedWindow) },
    ] {
        let fleet = Fleet::new(vec![rule.clone()], 1);
        assert_eq!(fleet.passed(0, 20), 20);
        assert_eq!(fleet.store.calls(), [Apply(1); 20], "{rule:?}");
        assert_eq!(fleet.stats(0), Default::default());
    }
    let fleet = Fleet::new(vec![bucket(1_000, 10)], 1);
    let keyed = Request { idempotency_key: Some("once"), ..request() };
    for _ in 0..5 {
        assert!(ready(fleet.nodes[0].decide(&keyed)).unwrap().is_allowed());
    }
    assert_eq!((fleet.store.calls(), fleet.used()), (vec![Apply(1); 5], 1));
}

#[test]
fn no_more_buckets_are_leased_than_there_is_room_for() {
    let fleet = Fleet::new(vec![bucket(1_000, 10)], 1);
    let options = LeaseOptions { max_leases: 32, ..LeaseOptions::new([3, 4]) };
    let leases = Leases::new(fleet.store.clone(), &options, fleet.clock.clone());
    let node = tidegate_engine::Engine::with_parts(fleet.rules.clone(), leases, fleet.clock.clone(), None);
    for user in 0..1_000 {
        let user = user.to_string();
        let entries = [("user", user.as_str())];
        for _ in 0..5 {
            assert!(ready(node.decide(&Request::new("d", &entries))).unwrap().is_allowed());
        }
    }
    let held = node.store().stats().buckets;
    assert!((16..=32).contains(&held), "{held}");
    fleet.clock.advance(SECOND);
    ready(node.store().return_due());
    assert_eq!(node.store().stats().units, 0);
}

#[test]
fn what_this_node_holds_is_left() {
    let fleet = Fleet::new(vec![bucket(100, 10)], 2);
    let spent = fleet.fill(0, 10);
    let remaining = |decision: &Decision| {
        let gauge = decision.binding().unwrap().gauge;
        assert_eq!(gauge.used + gauge.remaining, 100);
        gauge.remaining
    };
    assert_eq!(remaining(&fleet.decide(0)), 100 - spent - 1);
    let peek = |node: usize, cost| ready(fleet.nodes[node].peek(&request().with_cost(cost))).unwrap();
    fleet.store.calls();
    assert_eq!(remaining(&peek(0, 1)), 100 - spent - 1);
    assert_eq!(remaining(&ready(fleet.nodes[0].stats(&Selection::new("d", "u1"))).unwrap()), 100 - spent - 1);
    assert_eq!(fleet.store.calls(), [Peek; 2]);
    assert_eq!(remaining(&peek(1, 1)), 100 - spent - 10, "another node cannot have it");
    let rest = 100 - fleet.used();
    assert!(fleet.decide_cost(1, rest).is_allowed());
    assert!(peek(0, 9).is_allowed() && !peek(0, 10).is_allowed(), "a peek says what a decision would");
    assert_eq!(fleet.passed(0, 20), 9);
}

#[test]
fn the_bound_is_said_with_the_number_of_nodes() {
    let log = leased(rule("log", Algorithm::SlidingWindowLog, 100, MINUTE), 7, SECOND);
    let window = leased(rule("window", Algorithm::SlidingWindow, 100, MINUTE), 7, SECOND);
    let exact = rule("exact", Algorithm::TokenBucket, 100, MINUTE);
    let rules = vec![bucket(100, 10), log, window, exact];
    let fleet = Fleet::new(rules.clone(), 1);
    fleet.nodes[0].set_live_nodes(3);
    let bounds = |decision: &Decision| -> Vec<Option<u64>> {
        decision.verdicts().map(|verdict| verdict.overshoot_bound).collect()
    };
    assert_eq!(bounds(&fleet.decide(0)), [Some(30), Some(21), Some(0), None]);
    // A store that leases nothing keeps its bounds, whatever the rules say.
    let alone = tidegate_engine::Engine::new(set(rules), fleet.store);
    assert_eq!(bounds(&ready(alone.decide(&request())).unwrap()), [None; 4]);
}
